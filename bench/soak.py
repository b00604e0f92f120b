#!/usr/bin/env python3
"""Runs keygate for minutes under mixed traffic, reloads, restarts of its upstream and faults, and looks at what is left.

bench/README.md says what it does and what it asserts. Ends only the processes that it started.
"""

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import logging
import os
import pathlib
import random
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from servers import Failure, build, demand, free_ports
from traffic import clients, credentials, streams, upstream, websocket
from traffic.run import Run, ask, close, key

HERE = pathlib.Path(__file__).resolve()
WARM_UP_S = 120      # Four sweeps of the gateway; and the allocator has met most of what comes together by chance.
LIGHT_S = 65         # Little traffic, longer than a sweep (30 s) and than memory for passwords is kept (60 s): what is free goes
                     # back while something happens.
SETTLE_S = 6         # Longer than connections to the upstream are kept.
OUTAGE_S = 0.7
GROWTH_MAX = 0.10
TENANT = "acme"

# What the gateway itself counts as open. Nothing of it may be left but the connections that it keeps.
OPEN = ("keygate_requests_in_flight", "keygate_connections", "keygate_tunnels", "keygate_upstream_connections")

# What must have come of the traffic at least: a kind that never happens proves nothing.
WANTED = (
    "HTTP/1.1 200", "HTTP/2 200", "TLS 200", "uploads 200", "limits 429", "session 200", "refusals 401", "faults 502",
    "WebSocket echoed and closed", "WebSocket ended for being idle", "WebSocket left by the client", "WebSocket left full",
    "WebSocket left by the upstream", "WebSocket 401", "WebSocket 426",
    "streams pages", "streams uploads", "streams uploads 413", "streams large answers", "streams refusals 401",
    "streams taken back", "disappear left open", "not read cut for reading too slowly",
    "gRPC calls", "gRPC conversations", "gRPC streams of messages", "gRPC taken back", "gRPC errors of the upstream",
    "gRPC broken by the upstream", "HTTP/1.1 to HTTP/2 200", "HTTP/1.1 to HTTP/2 502",
    "rests 200", "rests sent away", "100-continue 200", "100-continue refused with 413", "events whole", "events left",
    "slow readers cut", "half handshakes left", "half handshakes ended by the gateway", "rude clients",
    "tokens logged out", "tokens refused", "tokens ended by a token that came twice",
    "deliveries good 200", "deliveries forged 401", "deliveries late 401", "deliveries twice 409",
    "reloads", "restarts of the upstream",
)

CONFIGURATION = """
listen:
  - { address: 127.0.0.1:@PLAIN@, prior_knowledge: true }
  - address: 127.0.0.1:@TLS@
    tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
upstream: { url: "http://127.0.0.1:@UPSTREAM@", idle_timeout: 3s }
keys: { file: keys.yaml, database: keygate.db }
credentials: { session: { fields: [X-Session-Token] } }
tokens: { issuer: soak, keys: token-keys }
webhooks:
  secrets: webhook-secrets.yaml
  tolerance: 10s
  schemes:
    - name: standard
      signature:
        field: webhook-signature
        separator: space
        label_end: comma
        kinds: [{ label: v1, algorithm: hmac_sha256, encoding: base64, secrets: base64, secret_prefix: whsec_ }]
      timestamp: { field: webhook-timestamp }
      id: { field: webhook-id }
      signed: "{id}.{timestamp}.{body}"
limits:
  - { name: small, per: key, requests: 5, window: 1s }
  - { name: wide, per: key, requests: @WIDE@, window: 1s }
  - { name: addresses, per: address, count: unauthenticated, requests: 100000, window: 1s }
routes:
  - { name: orders, paths: ["/orders/{*rest}"], access: api_key, limits: [wide] }
  - { name: limited, paths: [/limited], access: api_key, limits: [small] }
  - { name: live, paths: ["/live/{*rest}"], access: api_key, limits: [wide], upgrade: [websocket] }
  - name: grpc
    paths: ["/grpc/{*rest}"]
    access: api_key
    limits: [wide]
    upstream: { url: "http://127.0.0.1:@GRPC@", protocol: http2, idle_timeout: 3s }
  - name: deliveries
    paths: ["/hooks/{provider}/{tenant}"]
    methods: [POST]
    access: webhook
    limits: []
    webhook: { scheme: "{provider}", tenant: "{tenant}", environment: live }
  - name: login
    paths: [/auth/login]
    methods: [POST]
    access: public
    limits: []
    operation:
      login:
        request: { login: "{{login}}", password: "{{password}}" }
        response: { access: "{{access_token}}", refresh: "{{refresh_token}}" }
  - name: refresh
    paths: [/auth/refresh]
    methods: [POST]
    access: public
    limits: []
    operation:
      refresh:
        request: { refresh: "{{refresh_token}}" }
        response: { access: "{{access_token}}", refresh: "{{refresh_token}}" }
  - { name: logout, paths: [/auth/logout], methods: [POST], access: token, limits: [], operation: { logout: {} } }
  - { name: account, paths: ["/account/{*rest}"], access: token, limits: [] }
  - { name: portal, paths: ["/portal/{*rest}"], access: session, limits: [] }
  - name: sign-in
    paths: ["/customers/{customer}/session"]
    methods: [POST]
    access: api_key
    limits: []
    operation: { create_session: { customer: "{customer}", lifetime: 5s, response: { token: "{{token}}" } } }
timeouts:
  connect: 2s
  tls_handshake: @HANDSHAKE@s
  request_head: 4s
  request_body: 5s
  response_head: 4s
  response_body: 5s
  idle: 10s
  write: @WRITE@s
  tunnel: @TUNNEL@s
minima: { response_rate: 8KiB }
maxima: { body: 2MiB, connections: 2000 }
admin: { listen: 127.0.0.1:@ADMIN@ }
shutdown: { delay: 0s }
log: { level: warn, access: { enabled: true, output: access.log } }
"""


# --- what happens meanwhile ---------------------------------------------------------------------------------------------

def configure(folder, ports, wide=100000):
    values = {"WIDE": wide, "HANDSHAKE": clients.HANDSHAKE_S, "WRITE": clients.WRITE_S, "TUNNEL": websocket.TUNNEL_S,
              **{name.upper(): port for name, port in ports.items()}}
    return re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), CONFIGURATION)


def replace(path, text):
    """Writes a file as an editor does: whole, or not at all."""
    draft = path.with_name("." + path.name)
    draft.write_text(text)
    draft.rename(path)


def key_file(keys, more):
    entry = lambda name, secret: f"  - {{ id: {name}, sha256: {hashlib.sha256(secret.encode()).hexdigest()} }}\n"
    named = [(f"key{number}", secret) for number, secret in enumerate(keys["good"])] + [("limited", keys["limited"])]
    named += [(f"more{number}", secrets.token_hex(16)) for number in range(more)]
    return "keys:\n" + "".join(entry(*each) for each in named)


async def reloads(run, gateway):
    """Every few seconds something else is loaded anew; every fifth time it cannot be used, and what was good stays."""
    turn = 0
    good_key = (run.folder / "key.pem").read_text(), (run.folder / "cert.pem").read_text()
    while run.on:
        await asyncio.sleep(3)
        turn += 1
        match turn % 5:
            case 0:
                replace(run.folder / "keys.yaml", "keys:\n  - id: broken\n")
                await asyncio.sleep(1.5)
                replace(run.folder / "keys.yaml", key_file(run.keys, 100))
            case 1:
                replace(run.folder / "keys.yaml", key_file(run.keys, random.randrange(2000)))
            case 2:
                replace(run.folder / "keygate.yaml", configure(run.folder, run.ports, 100000 + turn % 2))
            case 3:
                pair = certificate() if turn % 2 else good_key
                replace(run.folder / "key.pem", pair[0])
                replace(run.folder / "cert.pem", pair[1])
            case _:
                gateway.send_signal(signal.SIGHUP)
        run.counts["reloads"] += 1


class Upstream:
    """The upstream, a process of its own that can be killed and started anew."""

    def __init__(self, ports):
        self.ports, self.process = (ports["upstream"], ports["grpc"]), None

    async def start(self):
        self.process = subprocess.Popen([sys.executable, HERE, "--upstream", *map(str, self.ports)])
        for port in self.ports:
            await reachable(port)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


async def restarts(run, behind):
    """The upstream goes away and comes back, and is there when all has been said."""
    while run.on:
        await asyncio.sleep(random.uniform(8, 16))
        run.outages.append([time.monotonic(), float("inf")])
        behind.kill()
        await asyncio.sleep(OUTAGE_S)
        await behind.start()
        run.outages[-1][1] = time.monotonic()
        run.counts["restarts of the upstream"] += 1


async def reachable(port):
    for _ in range(300):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise Failure(f"nobody listens on port {port}")


def certificate():
    """A key and its certificate."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=folder, check=True, stderr=subprocess.DEVNULL)
        return tuple((pathlib.Path(folder) / name).read_text() for name in ("key.pem", "cert.pem"))


# --- what is left -------------------------------------------------------------------------------------------------------

def descriptors(pid):
    """What the open descriptors lead to, counted by kind."""
    kinds = collections.Counter()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            kinds[target.split(":")[0] if target.startswith(("socket:", "pipe:", "anon_inode:")) else "file"] += 1
    return kinds


def memory_mib(pid, what="Pss_Anon"):
    """Memory that is this process's own, in MiB; or `AnonHugePages`, how much of it is in huge pages."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{what}:\s+(\d+)", rollup, re.M)[1]) / 1024


def still_open(ports):
    """What the gateway counts as open, without the connection that asks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['admin']}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    sums = {name: sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", metrics, re.M)) for name in OPEN}
    return {name: int(value) for name, value in sums.items() if value}


async def settled(run, pid):
    """Waits until little was asked for a while, and then nobody is connected; the upstream is there all the time, so that what
    is left of a connection to it stays to be seen. Returns memory and what of it is in huge pages, the median of a few looks,
    descriptors, and what the gateway counts as open."""
    replace(run.folder / "keys.yaml", key_file(run.keys, 100))
    until = time.monotonic() + LIGHT_S
    while time.monotonic() < until:
        connection = await run.connect(random.random() < 0.5)
        await ask(connection, "GET", "/orders/1", [key(run.keys["good"][0])])
        await close(connection)
        await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLE_S)
    looks = []
    for _ in range(9):
        looks.append((memory_mib(pid), memory_mib(pid, "AnonHugePages")))
        await asyncio.sleep(0.5)
    return statistics.median_low(looks), descriptors(pid), await asyncio.to_thread(still_open, run.ports)


def traffic_of(run, gateway, behind):
    """All that goes on at once: names of kinds, with how many there are of each."""
    scenario = lambda kind, one, many, pause: (kind, many, lambda: run.live(kind, pause, one))
    kinds = [(kind, many, lambda kind=kind, more=more: clients.conversation(run, kind, *more))
             for kind, tls, many, *rest in clients.conversations(run) for more in [(tls, *rest)]]
    return [
        *kinds,
        *(scenario("WebSocket", one, many, pause) for one, many, pause in websocket.SCENARIOS),
        ("HTTP/2", 1, lambda: streams.bursts(run)),
        scenario("streams", streams.side_by_side, 2, 0.3),
        scenario("taken back", streams.take_back, 2, 0.3),
        scenario("disappear", streams.disappear, 1, 0.5),
        scenario("not read", streams.not_read, 2, 0.5),
        scenario("gRPC", streams.calls, 2, 0.3),
        scenario("HTTP/1.1 to HTTP/2", streams.pages_of_http2, 1, 0.3),
        scenario("rests", clients.rest, 8, 0.1),
        scenario("100-continue", clients.expect, 2, 0.2),
        scenario("events", clients.events, 4, 0.2),
        scenario("slow readers", clients.slow, 2, 1.0),
        scenario("half handshakes", clients.half_way, 3, 0.2),
        ("rude", 2, lambda: clients.rude(run)),
        ("sessions", 1, lambda: credentials.sessions(run)),
        scenario("tokens", credentials.tokens, 2, 0.7),
        scenario("deliveries", credentials.deliveries, 2, 0.2),
        ("reloads", 1, lambda: reloads(run, gateway)),
        ("restarts", 1, lambda: restarts(run, behind)),
    ]


async def lag(run):
    """How late this program itself is: what the gateway may take for a client that is slow."""
    while run.on:
        due = time.monotonic() + 0.1
        await asyncio.sleep(0.1)
        run.lag = max(run.lag, time.monotonic() - due)


async def later(task):
    """Begins within two seconds, so that not all come at once."""
    await asyncio.sleep(random.uniform(0, 2))
    await task()


async def traffic(run, seconds, gateway, behind):
    run.on = True
    stage = time.monotonic()
    running = [asyncio.create_task(later(task))
               for kind, many, task in traffic_of(run, gateway, behind) if run.wants(kind) for _ in range(many)]
    running.append(asyncio.create_task(lag(run)))
    peak, shown = 0, stage + 30
    while time.monotonic() - stage < seconds:
        await asyncio.sleep(1)
        now = memory_mib(gateway.pid)
        peak = max(peak, now)
        if time.monotonic() >= shown:
            shown += 30
            print(f"    {time.monotonic() - stage:5.0f} s  {now:6.1f} MiB  {sum(descriptors(gateway.pid).values()):4} descriptors  "
                  f"{sum(run.counts.values()):9,} answers  {run.counts['reloads']:4} reloads  {len(run.wrong)} wrong  "
                  f"{run.lag:.1f} s late", flush=True)
            run.lag = 0
        for task in running:
            if task.done() and task.exception():
                raise task.exception()
        if gateway.poll() is not None:
            raise Failure(f"keygate has ended with {gateway.returncode}")
    run.on = False
    await asyncio.wait_for(asyncio.gather(*running), 120)
    return peak


def complaints(folder):
    """Lines of the gateway's log that no injected fault explains."""
    lines = (folder / "log.txt").read_text().splitlines()
    injected = re.compile(r"keys\.yaml|stays in force|stay in force|key\.pem|cert\.pem")
    return [line for line in lines if re.search(r"ERROR|panic", line) and not injected.search(line)]


def prepare(folder, ports, binary):
    """Writes what the gateway reads. Returns the secrets of its keys."""
    keys = {"good": ["soak_" + secrets.token_hex(20) for _ in range(50)], "limited": "soak_" + secrets.token_hex(20)}
    (folder / "keygate.yaml").write_text(configure(folder, ports))
    (folder / "keys.yaml").write_text(key_file(keys, 100))
    (folder / "webhook-secrets.yaml").write_text(credentials.secrets_file())
    for name, text in zip(("key.pem", "cert.pem"), certificate()):
        (folder / name).write_text(text)

    def keygate(*arguments, said=""):
        made = subprocess.run([binary, *arguments, "--config", folder / "keygate.yaml"], input=said, capture_output=True,
                              text=True, cwd=folder)
        if made.returncode:
            raise Failure(made.stderr + made.stdout)
        return made.stdout

    keys["stored"] = json.loads(keygate("keys", "create", "--name", "soak", "--tenant", TENANT, "--json"))["secret"]
    for user in credentials.USERS:
        keygate("users", "create", "--login", user, "--password-stdin", said=credentials.PASSWORD + "\n")
    keygate("check")
    return keys


async def soak(options, folder, binary):
    ports = dict(zip(("plain", "tls", "admin", "upstream", "grpc"), free_ports(5)))
    run = Run(folder, ports, prepare(folder, ports, binary), options.only)
    log = open(folder / "log.txt", "w")
    start = lambda: subprocess.Popen([binary, "run", "--config", folder / "keygate.yaml"], stdout=log, stderr=log, cwd=folder)
    gateway, behind = start(), Upstream(ports)
    try:
        await reachable(ports["plain"])
        if run.wants("sessions") or run.wants("tokens"):
            await credentials.fill(run)
            gateway.terminate()
            gateway.wait(40)
            gateway = start()
            await reachable(ports["plain"])
        await behind.start()
        await asyncio.sleep(1)
        looks = [((memory_mib(gateway.pid), 0), descriptors(gateway.pid), {})]
        print(f"{looks[0][0][0]:.1f} MiB at the start\nwarming up for {options.warm_up} s", flush=True)
        await traffic(run, options.warm_up, gateway, behind)
        looks.append(await settled(run, gateway.pid))
        print(f"traffic for {options.seconds} s", flush=True)
        peak = await traffic(run, options.seconds, gateway, behind)
        looks.append(await settled(run, gateway.pid))
        gateway.terminate()
        ended = gateway.wait(40)
    finally:
        behind.kill()
        if gateway.poll() is None:
            gateway.kill()
            gateway.wait()
    return report(run, folder, looks, peak, ended)


def report(run, folder, looks, peak, ended):
    for what, count in sorted(run.counts.items()):
        print(f"{count:9,}  {what}")
    (_, at_start, _), ((warm, warm_huge), warm_descriptors, _), ((after, after_huge), after_descriptors, left) = looks
    said = complaints(folder)
    shown = lambda kinds: ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"\nmemory       {warm:.1f} MiB after warm-up, {peak:.1f} MiB at most, {after:.1f} MiB at the end: {after / warm - 1:+.1%}")
    if warm_huge or after_huge:
        print(f"             of it {warm_huge:.1f} and {after_huge:.1f} MiB in huge pages, which count whole if a byte of them is in use")
    print(f"descriptors  {sum(at_start.values())} at the start, {sum(warm_descriptors.values())} after warm-up, "
          f"{sum(after_descriptors.values())} at the end ({shown(after_descriptors)})")
    print(f"still open   {shown(left) or 'nothing'}, as the gateway counts it")
    print(f"answers      {sum(run.counts.values()):,}")
    print(f"errors       {len(run.wrong)} answers that nothing explains, {len(said)} such lines in the log")
    named = [name for name in run.names[:20] if name]
    with open(folder / "access.log") as log:
        logged = [line.strip() for line in log if any(name in line for name in named)] if named else []
    for line in [*collections.Counter(run.wrong).most_common(20), *logged, *said[:20]]:
        print(f"             {line}")
    failures = []
    if after > warm * (1 + GROWTH_MAX):
        failures.append(f"memory has grown by more than {GROWTH_MAX:.0%}")
    if sum(after_descriptors.values()) > sum(at_start.values()):
        failures.append(f"descriptors are left open: {shown(at_start)} at the start")
    if left:
        failures.append("the gateway counts something as open that is not")
    if run.wrong or said:
        failures.append("there were errors that were not injected")
    if ended != 0:
        failures.append(f"it ended with {ended}")
    return failures + [f"there was no `{kind}`" for kind in WANTED if not run.counts[kind] and not run.only]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="how long, after the warm-up (%(default)s)")
    parser.add_argument("--warm-up", type=int, default=WARM_UP_S, metavar="SECONDS", help="how long that is (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="only these kinds of traffic, to find what leaves something")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to run; built from the sources if not given")
    parser.add_argument("--folder", type=pathlib.Path, help="where its files are left, with the logs")
    parser.add_argument("--upstream", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # It warns of what is sent to an end that is gone, which is the point.
    if options.upstream:
        return asyncio.run(upstream.serve(*options.upstream))
    known = {kind for kind, _, _ in traffic_of(Run(None, {}, {"good": [""], "limited": ""}, None), None, None)}
    if unknown := set(options.only or ()) - known:
        raise Failure(f"there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    demand({"h2load": "nghttp2-client", "openssl": "openssl"})
    binary = options.binary.resolve() if options.binary else build()
    with tempfile.TemporaryDirectory(prefix="keygate-soak-") as folder:
        folder = options.folder or pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        failures = asyncio.run(soak(options, folder, binary))
    if failures:
        raise Failure("; ".join(failures))
    print("\nnothing is left, nothing went wrong")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"soak: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
