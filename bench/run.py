#!/usr/bin/env python3
"""Measures the CPU time that a request costs keygate, beside nginx on the same machine at the same time.

bench/README.md says what is measured and how to read it. Ends only the processes that it started.
"""

import argparse
import contextlib
import ctypes
import hashlib
import http.client
import os
import pathlib
import random
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
WORK = ROOT / "target" / "bench"

BODY = "x" * 199 + "\n"
KEYS = 1000
GATEWAYS = ("keygate", "nginx")
PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}

# load: (tool, door, keys that are sent, status that is right, what)
LOADS = {
    "key": ("wrk", "plain", "keys", 200, "key check, limit, fields; HTTP/1.1, keep-alive"),
    "tls": ("wrk", "tls", "keys", 200, "the same over TLS 1.3"),
    "http2": ("h2load", "tls", "keys", 200, "the same over TLS 1.3 and HTTP/2, 8 streams a connection"),
    "401": ("wrk", "plain", "unknown", 401, "a key that nobody knows"),
    "429": ("wrk", "plain", "limited", 429, "a key whose limit is spent"),
}


class Failure(Exception):
    """What ends the benchmark, in words for its user."""


def main():
    options = arguments()
    missing = [package for command, package in PACKAGES.items() if not shutil.which(command)]
    if missing:
        raise Failure(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failure("two cores are needed: one for the gateway, one for load and upstream")
    binary = options.binary.resolve() if options.binary else build()

    secrets_of = prepare()
    ports = dict(zip(("upstream", "admin", *(f"{name} {door}" for name in GATEWAYS for door in ("plain", "tls"))), free_ports(6)))
    os.sched_setaffinity(0, {cores[1]})
    with contextlib.ExitStack() as started:
        log = started.enter_context(open(WORK / "log.txt", "w"))
        start(started, nginx("upstream.conf", ports, "nginx"), {cores[1]}, ports["upstream"], log)
        commands = {"nginx": nginx("nginx.conf", ports, "nginx"), "keygate": keygate(binary, ports)}
        gateways = {}
        for name, command in commands.items():
            gateways[name] = start(started, command, {cores[0]}, ports[f"{name} plain"], log)
            expect_answers(name, ports[f"{name} plain"], secrets_of)
        idle = {name: pss_mib(gateway) for name, gateway in gateways.items()}

        print(f"{options.rounds} rounds of {len(options.loads)} loads of {options.seconds} s for each gateway: about "
              f"{options.rounds * len(options.loads) * len(gateways) * (options.seconds + 0.3):.0f} s\n", flush=True)
        results = measure(options, gateways, ports, secrets_of)
        memory = {name: (idle[name], pss_mib(gateway)) for name, gateway in gateways.items()}
    report(options.loads, results, memory)
    print(f"\n{versions(binary)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="times that each load is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="of wrk; h2load has a quarter (%(default)s)")
    parser.add_argument("--loads", type=lambda text: text.split(","), default=list(LOADS), help=f"some of {','.join(LOADS)}")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to measure; built from the sources if not given")
    options = parser.parse_args()
    if unknown := set(options.loads) - set(LOADS):
        parser.error(f"no such load: {', '.join(unknown)}")
    if min(options.rounds, options.seconds, options.connections) < 1:
        parser.error("rounds, seconds and connections are at least 1")
    return options


def build():
    print("building keygate (release)", flush=True)
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "keygate"


def prepare():
    """Writes keys, a certificate and the load's script anew. Returns the secrets by the name LOADS has for them."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    secret = lambda: "bench_" + secrets.token_hex(20)
    known, limited = [secret() for _ in range(KEYS)], secret()
    ids = [(f"key{number}", key, "") for number, key in enumerate(known)] + [("limited", limited, ", rate_limit: 1")]
    sha256 = lambda key: hashlib.sha256(key.encode()).hexdigest()
    entries = [f"  - {{ id: {name}, sha256: {sha256(key)}{extra} }}\n" for name, key, extra in ids]
    (WORK / "keys.yaml").write_text("keys:\n" + "".join(entries))
    (WORK / "keys.map").write_text("".join(f'"{key}" {name};\n' for name, key, _ in ids))
    by_name = {"keys": known, "unknown": [secret()], "limited": [limited]}
    for name, values in by_name.items():
        (WORK / f"{name}.lua").write_text(LUA.replace("@KEYS@", ", ".join(f'"{value}"' for value in values)))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=WORK, check=True, stderr=subprocess.DEVNULL)
    return by_name


# Requests are put together once; each takes the next key.
LUA = """
local requests, at = {}, 0
init = function()
    for number, key in ipairs({ @KEYS@ }) do
        requests[number] = wrk.format("GET", "/", { ["X-API-Key"] = key, ["Host"] = "localhost" })
    end
end
request = function()
    at = at % #requests + 1
    return requests[at]
end
"""


def written(template, ports, name):
    """Fills in a configuration's template. Returns where it lies."""
    values = {"UPSTREAM": ports["upstream"], "ADMIN": ports["admin"], "PLAIN": ports[f"{name} plain"],
              "TLS": ports[f"{name} tls"], "BODY": BODY.replace("\n", "\\n")}
    text = re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), (BENCH / template).read_text())
    (WORK / template).write_text(text)
    return WORK / template


def nginx(template, ports, name):
    return ["nginx", "-p", str(WORK), "-e", "stderr", "-c", str(written(template, ports, name))]


def keygate(binary, ports):
    return [str(binary), "run", "--config", str(written("keygate.yaml", ports, "keygate"))]


def free_ports(count):
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


def start(started, command, cores, port, log, session=True):
    """Starts a server on these cores, in a session of its own, and waits for its port. It ends with `started`.

    A session is a group to the scheduler (autogroup), as the control group of a service is: what priorities say holds
    within it alone.
    """

    def before():
        os.sched_setaffinity(0, cores)
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: ends with this script, however that ends.

    server = subprocess.Popen(command, cwd=WORK, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=before,
                              start_new_session=session)
    started.callback(stop, server)
    deadline = time.monotonic() + 15
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server
        time.sleep(0.05)
    raise Failure(f"{command[0]} does not answer; it said:\n{(WORK / 'log.txt').read_text()[-2000:]}")


def stop(server):
    processes = tree(server.pid)
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(5)
        return
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    server.wait()


def tree(root):
    """The process and all its descendants."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def cpu_us(gateway):
    """CPU time of all threads of all processes so far, as the scheduler counts it, in microseconds."""
    total_ns = 0
    for process in tree(gateway.pid):
        for schedstat in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
            total_ns += int(schedstat.read_text().split()[0])
    return total_ns / 1000


def pss_mib(gateway):
    """Memory in MiB, with what several processes share counted once."""
    rollups = [pathlib.Path(f"/proc/{process}/smaps_rollup").read_text() for process in tree(gateway.pid)]
    return sum(int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) for rollup in rollups) / 1024


def expect_answers(name, port, secrets_of):
    """Refuses to measure a gateway that does not do its work."""
    for keys, right in (("keys", 200), ("unknown", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/", headers={"X-API-Key": secrets_of[keys][0]})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        if response.status != right or (right == 200 and body != BODY):
            raise Failure(f"{name} answers {response.status} in place of {right}: see {WORK / 'log.txt'}")


def measure(options, gateways, ports, secrets_of):
    """All rounds; loads and gateways take turns in an order that is shuffled each time."""
    results = {load: {name: [] for name in gateways} for load in options.loads}
    for number in range(options.rounds):
        for load in random.sample(options.loads, len(options.loads)):
            for name in random.sample(list(gateways), len(gateways)):
                result = measure_once(options, load, gateways[name], ports[f"{name} {LOADS[load][1]}"], secrets_of)
                results[load][name].append(result)
                print(f"round {number + 1}  {load:6} {name:8} {result['cpu_us']:7.2f} µs  {result['per_second']:9,.0f}/s",
                      flush=True)
    return results


def measure_once(options, load, gateway, port, secrets_of):
    tool, door, keys, right, _ = LOADS[load]
    url = f"http{'s' if door == 'tls' else ''}://localhost:{port}/"
    if tool == "wrk":
        command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "-s", str(WORK / f"{keys}.lua"), url]
    else:
        command = ["h2load", "-t1", f"-c{max(1, options.connections // 4)}", "-m8", "-D", str(options.seconds),
                   "-H", f"x-api-key: {secrets_of[keys][0]}", url]
    cpu, begin = cpu_us(gateway), time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 30)
    cpu, elapsed = cpu_us(gateway) - cpu, time.monotonic() - begin
    if ran.returncode != 0:
        raise Failure(f"{' '.join(command[:4])} failed: {ran.stderr or ran.stdout}")
    answered, bad = counted(tool, ran.stdout, right)
    if right == 429:  # One a second is let through, and one more at the start.
        bad = max(0, bad - options.seconds - 1)
    if answered == 0:
        raise Failure(f"{load}: no request was answered; see {WORK / 'log.txt'}")
    return {"cpu_us": cpu / answered, "per_second": answered / elapsed, "core": cpu / elapsed / 1e6, "bad": bad}


def counted(tool, text, right):
    """How many requests were answered, and how many answers or connections were not as they should be."""
    number = lambda pattern: int((re.search(pattern, text) or [0, 0])[1])
    if tool == "h2load":
        answered = number(r"(\d+) done")
        return answered, answered - number(r"(\d+) 2xx") + number(r"(\d+) errored")
    answered, refused = number(r"(\d+) requests in"), number(r"Non-2xx or 3xx responses: (\d+)")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return answered, (refused if right == 200 else answered - refused) + failed


def versions(binary):
    said = lambda *command: subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.strip()
    model = re.search(r"^model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    machine = model[1] if model else os.uname().machine
    return f"{said(str(binary), '--version')}; {said('nginx', '-v')}; {machine}; Linux {os.uname().release}"


def report(loads, results, memory):
    print()
    print(f"{'load':6}  {'gateway':8}  {'CPU µs per request':22}  {'÷ nginx':>8}  {'requests/s':>10}  {'core':>5}  {'bad':>4}")
    for load in loads:
        for name in GATEWAYS:
            rows = results[load][name]
            cpu = [row["cpu_us"] for row in rows]
            spread = f"{statistics.median(cpu):6.2f} ({min(cpu):.2f} - {max(cpu):.2f})"
            ratio = statistics.median(mine["cpu_us"] / nginx["cpu_us"] for mine, nginx in zip(rows, results[load]["nginx"]))
            print(f"{load:6}  {name:8}  {spread:22}  {ratio:8.2f}  {statistics.median(row['per_second'] for row in rows):10,.0f}"
                  f"  {statistics.median(row['core'] for row in rows):5.2f}  {sum(row['bad'] for row in rows):4}")
    print()
    for load in loads:
        print(f"{load:6}  {LOADS[load][4]}")
    print()
    for name, (idle, after) in memory.items():
        print(f"memory  {name:8}  {idle:6.1f} MiB idle, {after:6.1f} MiB after the loads (Pss)")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
