"""The loads: what is asked of a gateway, who asks, and how the answers are counted."""

import dataclasses
import json
import re
import subprocess
import sys
import time

from servers import BENCH, WORK, Failure, cpu_us


@dataclasses.dataclass(frozen=True)
class Load:
    tool: str
    door: str
    # The keys that are sent, by the name `peers.prepare` has for them.
    keys: str
    what: str
    path: str = "/"
    status: int = 200
    content_bytes: int = 0
    # Connections at once. None: what the user chose.
    connections: int = None


# Uploads of one connection in one measurement.
UPLOADS = 3

LOADS = {
    "open": Load("wrk", "open", None, "plain proxy, nobody is asked for a key; HTTP/1.1, keep-alive, 200 B"),
    "open-10k": Load("wrk", "open", None, "the same, 10 KiB", "/10k"),
    "key": Load("wrk", "plain", "keys", "key check, limit, fields; HTTP/1.1, keep-alive, 200 B"),
    "post": Load("wrk", "plain", "keys", "the same, POST of 300 B", "/sink", content_bytes=300),
    "tls": Load("wrk", "tls", "keys", "`key` over TLS 1.3"),
    "tls-10k": Load("wrk", "tls", "keys", "the same, 10 KiB", "/10k"),
    "handshake": Load("handshakes full", "tls", "keys", "full handshake of TLS 1.3 and one request, a new connection each", connections=8),
    "resumed": Load("handshakes resumed", "tls", "keys", "the same, session resumed", connections=8),
    "http2": Load("h2load", "tls", "keys", "`tls` over HTTP/2, 8 streams a connection"),
    "401": Load("wrk", "plain", "unknown", "a key that nobody knows", status=401),
    "429": Load("wrk", "plain", "limited", "a key whose limit is spent", status=429),
    "down": Load("wrk", "plain", "keys", "answers of 1 MiB", "/1m", connections=8),
    "down-tls": Load("wrk", "tls", "keys", "answers of 1 MiB over TLS", "/1m", connections=8),
    "up": Load("uploads", "plain", "keys", "uploads of 64 MiB", connections=2),
    "up-tls": Load("uploads", "tls", "keys", "uploads of 64 MiB over TLS", connections=2),
    "steady": Load("steady", "plain", "keys", "`key` at a fixed rate: median time of an answer", connections=32),
    "steady-tls": Load("steady", "tls", "keys", "`tls` at a fixed rate: median time of an answer", connections=32),
}

# Requests are put together once, and each takes the next key.
LUA = """
local keys, requests, at = { @KEYS@ }, {}, 0
local content = @BYTES@ > 0 and string.rep("x", @BYTES@) or nil
init = function()
    for number = 1, math.max(#keys, 1) do
        requests[number] = wrk.format("@METHOD@", "@PATH@", { ["X-API-Key"] = keys[number], ["Host"] = "localhost" }, content)
    end
end
request = function()
    at = at % #requests + 1
    return requests[at]
end
"""


def write_script(name, load, secrets_of):
    """Writes what wrk needs for a load."""
    values = {"KEYS": ", ".join(f'"{key}"' for key in secrets_of[load.keys] if key), "PATH": load.path,
              "METHOD": "POST" if load.content_bytes else "GET", "BYTES": load.content_bytes}
    (WORK / f"{name}.lua").write_text(re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), LUA))


def command(name, load, port, options, secrets_of):
    url = f"http{'s' if load.door == 'tls' else ''}://localhost:{port}{load.path}"
    connections, key = load.connections or options.connections, secrets_of[load.keys][0]
    if load.tool == "wrk":
        return ["wrk", "-t1", f"-c{connections}", f"-d{options.seconds}s", "--timeout", "30s", "-s", str(WORK / f"{name}.lua"), url]
    if load.tool == "h2load":
        return ["h2load", "-t1", f"-c{max(1, connections // 4)}", "-m8", "-D", str(options.seconds), "-H", f"x-api-key: {key}", url]
    if load.tool == "steady":
        return [sys.executable, str(BENCH / "steady.py"), load.door, str(port), key, str(options.rate), str(connections), str(options.seconds)]
    if load.tool == "uploads":
        return [sys.executable, str(BENCH / "uploads.py"), load.door, str(port), key, str(connections), str(UPLOADS)]
    return [sys.executable, str(BENCH / "handshakes.py"), load.tool.split()[1], str(port), key, str(connections), str(options.seconds)]


def measure(options, name, load, server, port, secrets_of):
    """One load on one gateway: what a request cost it, and what else there is to know."""
    run = command(name, load, port, options, secrets_of)
    cpu, begin = cpu_us(server), time.monotonic()
    ran = subprocess.run(run, capture_output=True, text=True, timeout=options.seconds + 60)
    cpu, elapsed = cpu_us(server) - cpu, time.monotonic() - begin
    if ran.returncode != 0:
        raise Failure(f"{' '.join(run[:4])} failed: {ran.stderr or ran.stdout}")
    answered, bad, p50_us = counted(load, ran.stdout)
    if load.status == 429:  # One a second is let through, and one more at the start.
        bad = max(0, bad - options.seconds - 1)
    if answered == 0:
        raise Failure(f"{name}: no request was answered; see {WORK / 'log.txt'}")
    return {"cpu_us": cpu / answered, "per_second": answered / elapsed, "core": cpu / elapsed / 1e6, "bad": bad, "p50_us": p50_us}


def counted(load, text):
    """How many requests were answered, how many answers or connections were not as they should be, and the median time."""
    if load.tool not in ("wrk", "h2load"):
        told = json.loads(text)
        return told["answered"], told["bad"], told.get("p50_us")
    number = lambda pattern: int((re.search(pattern, text) or [0, 0])[1])
    if load.tool == "h2load":
        answered = number(r"(\d+) done")
        return answered, max(0, answered - number(r"(\d+) 2xx")) + number(r"(\d+) errored"), None
    answered, refused = number(r"(\d+) requests in"), number(r"Non-2xx or 3xx responses: (\d+)")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return answered, (refused if load.status == 200 else answered - refused) + failed, None
