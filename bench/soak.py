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
import os
import pathlib
import random
import re
import secrets
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from servers import Failure, build, free_ports

HERE = pathlib.Path(__file__).resolve()
WARM_UP_S = 120      # Four sweeps of the gateway; and the allocator has met most of what comes together by chance.
LIGHT_S = 35         # Little traffic, longer than a sweep: memory that is free goes back while something happens.
SIGN_INS = 8000      # Of a gateway that ran before, so that the store is larger than SQLite's page cache.
SETTLE_S = 6         # Longer than connections to the upstream are kept.
OUTAGE_S = 0.7
AFTER_OUTAGE_S = 1.0  # What a request may still notice of an outage that has ended.
GROWTH_MAX = 0.10
TENANT = "acme"

CONFIGURATION = """
listen:
  - 127.0.0.1:@PLAIN@
  - address: 127.0.0.1:@TLS@
    tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
upstream: { url: "http://127.0.0.1:@UPSTREAM@", idle_timeout: 3s }
keys: { file: keys.yaml, database: keygate.db }
credentials: { session: { fields: [X-Session-Token] } }
limits:
  - { name: small, per: key, requests: 5, window: 1s }
  - { name: wide, per: key, requests: @WIDE@, window: 1s }
  - { name: addresses, per: address, count: unauthenticated, requests: 100000, window: 1s }
routes:
  - { name: orders, paths: ["/orders/{*rest}"], access: api_key, limits: [wide] }
  - { name: limited, paths: [/limited], access: api_key, limits: [small] }
  - { name: portal, paths: ["/portal/{*rest}"], access: session, limits: [] }
  - name: sign-in
    paths: ["/customers/{customer}/session"]
    methods: [POST]
    access: api_key
    limits: []
    operation: { create_session: { customer: "{customer}", lifetime: 5s, response: { token: "{{token}}" } } }
timeouts: { connect: 2s, request_head: 2s, request_body: 3s, response_head: 2s, response_body: 2s, idle: 10s }
maxima: { body: 2MiB, connections: 2000 }
admin: { listen: 127.0.0.1:@ADMIN@ }
shutdown: { delay: 0s }
log: { level: warn, access: { enabled: true, output: access.log } }
"""


# --- the upstream, a process of its own ---------------------------------------------------------------------------------

async def upstream(port):
    """Answers with what it was sent; under `/orders/fault/` it breaks in the way that is asked for."""
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=512, reuse_address=True)
    async with server:
        await server.serve_forever()


async def answer(reader, writer):
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
        while await exchange(reader, writer):
            pass
    writer.close()


async def exchange(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b" ", 2)
    received = len(await content(reader, head))
    fault = path.rpartition(b"/fault/")[2].decode() if b"/fault/" in path else ""
    body = b"x" * 200 if method == b"GET" else str(received).encode()
    if fault == "close":
        return False
    if fault == "garbage":
        writer.write(b"NONSENSE\r\n\r\n")
    elif fault == "silent":
        await asyncio.sleep(30)
        return False
    elif fault == "short":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + body)
    elif fault == "chunks":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
    elif fault == "500":
        writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    elif path.endswith(b"/large"):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(32):
            writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    return fault in ("", "500")


async def content(reader, head):
    """The content of a message with this head."""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return await reader.readexactly(int(length[1]))
    body = b""
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return body


# --- the traffic --------------------------------------------------------------------------------------------------------

class Run:
    """What all kinds of traffic share: where to, with what, and what came of it."""

    def __init__(self, folder, ports, keys, only):
        self.folder, self.ports, self.keys, self.only = folder, ports, keys, only
        self.counts = collections.Counter()
        self.wrong = []
        self.names = []  # Of those answers, as the access log has them.
        self.outages = []
        self.on = True
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def wants(self, kind):
        """Whether there is to be such traffic."""
        return not self.only or kind in self.only

    def excused(self, began):
        """Whether the upstream was away while a request ran that began then."""
        return any(began <= end + AFTER_OUTAGE_S for _, end in self.outages[-3:])

    def expect(self, kind, got, right, began, name=b""):
        """Counts an answer. One that is neither right nor due to an outage is an error that nobody injected."""
        if got in right:
            self.counts[f"{kind} {got}"] += 1
        elif got in (502, 503, 504, "cut") and self.excused(began):
            self.counts[f"{kind} {got} in an outage"] += 1
        else:
            self.wrong.append(f"{kind}: {got} in place of {' or '.join(map(str, right))}")
            self.names.append(name.decode())

    async def connect(self, tls=False):
        port = self.ports["tls" if tls else "plain"]
        return await asyncio.open_connection("127.0.0.1", port, ssl=self.tls if tls else None)


async def ask(streams, method, path, fields=(), body=b"", chunked=False):
    """Sends a request and reads the answer: its status and content, or `cut`; whether the connection is over; its name."""
    reader, writer = streams
    lines = [f"{method} {path} HTTP/1.1", "Host: soak.test", *(f"{name}: {value}" for name, value in fields)]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if chunked:
            for at in range(0, len(body), 16384):
                piece = body[at:at + 16384]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(body)
        await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
        name = (re.search(rb"(?i)x-request-id: *(\S+)", head) or [b"", b""])[1]
        body = await asyncio.wait_for(content(reader, head), 15)
        return int(head.split(b" ")[1]), body, b"connection: close" in head.lower(), name
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError, ssl.SSLError):
        return "cut", b"", True, b""


async def close(streams):
    streams[1].close()
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
        await asyncio.wait_for(streams[1].wait_closed(), 2)


async def conversation(run, kind, tls, pause, requests, turns):
    """One client: opens a connection, sends some of `requests`, leaves, and comes again."""
    while run.on:
        began = time.monotonic()
        try:
            streams = await run.connect(tls)
        except (OSError, ssl.SSLError) as error:
            run.wrong.append(f"{kind}: no connection: {error}")
            await asyncio.sleep(1)
            continue
        for _ in range(turns):
            began = time.monotonic()
            request, right = requests()
            status, body, over, name = await ask(streams, **request)
            run.expect(kind, status, right, began, name)
            await asyncio.sleep(random.uniform(0, 2 * pause))
            if over or not run.on:
                break
        await close(streams)


def key(name):
    return ("X-API-Key", name)


def kinds(run):
    """The kinds of traffic: a name, whether over TLS, how many clients, and what each asks for."""
    good = lambda: key(random.choice(run.keys["good"]))
    get = lambda path, *fields: {"method": "GET", "path": path, "fields": fields}
    uploads = lambda: ({"method": "POST", "path": "/orders/upload", "fields": (good(),), "chunked": random.random() < 0.5,
                        "body": bytes(random.choice((1, 1000, 65536, 700_000)))}, (200,))
    large = lambda: ({"method": "POST", "path": "/orders/upload", "fields": (good(),), "body": bytes(3 << 20)}, (413, "cut"))
    refused = lambda: random.choice([
        (get("/orders/1"), (401,)),
        (get("/orders/1", key("kg_nobody_" + secrets.token_hex(8))), (401,)),
        (get("/nowhere", good()), (404,)),
        (get("/orders/..%2f/x", good()), (400,)),
        (get("/orders/1", good(), ("Host", "other.test")), (400,)),
        (get("/orders/1", good(), ("X-Big", "x" * 40_000)), (431,)),
        ({"method": "POST", "path": "/orders/1", "fields": (good(), ("Content-Length", "5")), "body": b"hello",
          "chunked": True}, (400,)),
        (get("/customers/c/session", good()), (405,)),
        (get("/portal/x", ("X-Session-Token", "nobody")), (401,)),
    ])
    faults = lambda: random.choice([
        (get("/orders/fault/close", good()), (502,)),
        (get("/orders/fault/garbage", good()), (502,)),
        (get("/orders/fault/short", good()), ("cut",)),
        (get("/orders/fault/chunks", good()), ("cut",)),
        (get("/orders/fault/500", good()), (500,)),
        (get("/orders/fault/silent", good()), (504,)),
    ])
    return [
        ("HTTP/1.1", False, 8, 0.06, lambda: (get("/orders/1?a=b", good()), (200,)), 200),
        ("churn", False, 2, 0.05, lambda: (get("/orders/1", good()), (200,)), 1),
        ("TLS", True, 4, 0.06, lambda: (get("/orders/1", good()), (200,)), 20),
        ("large answers", True, 1, 0.5, lambda: (get("/orders/large", good()), (200,)), 3),
        ("uploads", False, 2, 0.2, uploads, 10),
        ("too large", False, 1, 1.0, large, 1),
        ("refusals", False, 2, 0.05, refused, 10),
        ("limits", False, 1, 0.05, lambda: (get("/limited", key(run.keys["limited"])), (200, 429)), 100),
        ("faults", False, 2, 0.2, faults, 1),
    ]


async def sessions(run):
    """Customers who sign in, use their session, and let it end."""
    while run.on:
        streams = await run.connect()
        began = time.monotonic()
        path = f"/customers/c{random.randrange(1000)}/session"
        status, body, _, name = await ask(streams, "POST", path, [key(run.keys["stored"])])
        run.expect("sign in", status, (200,), began, name)
        if status == 200:
            field = ("X-Session-Token", json.loads(body)["token"])
            for _ in range(3):
                began = time.monotonic()
                status, _, over, name = await ask(streams, "GET", "/portal/home", [field])
                run.expect("session", status, (200,), began, name)
                if over:
                    break
        await close(streams)
        await asyncio.sleep(0.15)


async def fill(run):
    """Signs customers in until the store is larger than what SQLite keeps of it in memory. That is bounded, but would
    otherwise grow with the store during the whole soak, and pass for a leak."""
    left = [SIGN_INS]

    async def client():
        streams = await run.connect()
        while left[0] > 0:
            left[0] -= 1
            path = f"/customers/c{left[0] % 1000}/session"
            status, _, over, name = await ask(streams, "POST", path, [key(run.keys["stored"])])
            run.expect("sign in", status, (200,), time.monotonic(), name)
            if over:
                await close(streams)
                streams = await run.connect()
        await close(streams)

    await asyncio.gather(*(client() for _ in range(8)))


async def http2(run):
    """Bursts of HTTP/2, 4 connections with 8 streams each."""
    url = f"https://127.0.0.1:{run.ports['tls']}/orders/2"
    command = ["h2load", "-t1", "-c4", "-m8", "-n200", "-H", f"x-api-key: {run.keys['good'][0]}", url]
    while run.on:
        began = time.monotonic()
        h2load = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said = (await h2load.communicate())[0].decode()
        number = lambda pattern: int((re.search(pattern, said) or [0, 0])[1])
        good, failed, unavailable = number(r"(\d+) 2xx"), number(r"(\d+) failed"), number(r"(\d+) 5xx")
        run.counts["HTTP/2 200"] += good
        if good != 200:
            if failed == unavailable and good + unavailable == 200 and run.excused(began):
                run.counts["HTTP/2 5xx in an outage"] += unavailable
            else:
                run.wrong.append(f"HTTP/2: {good} of 200 were good: {' '.join(said.split())[-400:]}")
        await asyncio.sleep(2)


async def rude(run):
    """Clients that begin and do not go on, or leave in the middle. Nothing is expected but that nothing is left of them."""
    head = f"POST /orders/1 HTTP/1.1\r\nHost: soak.test\r\nX-API-Key: {run.keys['good'][0]}\r\nContent-Length: 100000\r\n\r\n"
    starts = [b"", b"GET / HT", head.encode(), head.encode() + bytes(5000), head.replace("POST", "GET").encode()[:60]]
    while run.on:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
            tls = random.random() < 0.3
            reader, writer = await run.connect(tls)
            writer.write(random.choice(starts))
            if random.random() < 0.5:
                await asyncio.wait_for(reader.read(), random.uniform(0.05, 5))
            writer.transport.abort()
            run.counts["rude clients"] += 1
        await asyncio.sleep(random.uniform(0, 0.3))


# --- what happens meanwhile ---------------------------------------------------------------------------------------------

def configure(folder, ports, wide=100000):
    values = {"WIDE": wide, **{name.upper(): port for name, port in ports.items()}}
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


async def restarts(run, start_upstream):
    """The upstream goes away, and comes back, until this is cancelled."""
    process = start_upstream()
    try:
        while True:
            await asyncio.sleep(random.uniform(8, 16))
            if not run.on or not run.wants("restarts"):
                await asyncio.Future()
            run.outages.append([time.monotonic(), float("inf")])
            process.kill()
            process.wait()
            await asyncio.sleep(OUTAGE_S)
            process = start_upstream()
            await reachable(run.ports["upstream"])
            run.outages[-1][1] = time.monotonic()
            run.counts["restarts of the upstream"] += 1
    finally:
        process.kill()
        process.wait()


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


async def settled(run, pid, start_upstream):
    """Waits until little was asked for a while, and then nobody is connected. Returns memory and what of it is in huge
    pages, the median of a few looks, and descriptors."""
    replace(run.folder / "keys.yaml", key_file(run.keys, 100))
    behind = start_upstream()
    await reachable(run.ports["upstream"])
    until = time.monotonic() + LIGHT_S
    while time.monotonic() < until:
        streams = await run.connect(random.random() < 0.5)
        await ask(streams, "GET", "/orders/1", [key(run.keys["good"][0])])
        await close(streams)
        await asyncio.sleep(0.05)
    behind.kill()
    behind.wait()
    await asyncio.sleep(SETTLE_S)
    looks = []
    for _ in range(9):
        looks.append((memory_mib(pid), memory_mib(pid, "AnonHugePages")))
        await asyncio.sleep(0.5)
    return statistics.median_low(looks), descriptors(pid)


async def traffic(run, seconds, gateway, start_upstream):
    run.on = True
    stage = time.monotonic()
    tasks = [conversation(run, kind, tls, pause, requests, turns)
             for kind, tls, clients, pause, requests, turns in kinds(run) if run.wants(kind) for _ in range(clients)]
    others = {"sessions": [sessions], "HTTP/2": [http2], "rude": [rude, rude], "reloads": [lambda run: reloads(run, gateway)]}
    tasks += [task(run) for kind, same in others.items() if run.wants(kind) for task in same]
    behind = asyncio.create_task(restarts(run, start_upstream))
    await reachable(run.ports["upstream"])
    running = [asyncio.create_task(task) for task in tasks]
    peak, shown = 0, stage + 30
    while time.monotonic() - stage < seconds:
        await asyncio.sleep(1)
        now = memory_mib(gateway.pid)
        peak = max(peak, now)
        if time.monotonic() >= shown:
            shown += 30
            print(f"    {time.monotonic() - stage:5.0f} s  {now:6.1f} MiB  {sum(descriptors(gateway.pid).values()):4} descriptors  "
                  f"{sum(run.counts.values()):9,} answers  {run.counts['reloads']:4} reloads  {len(run.wrong)} wrong", flush=True)
        for task in [*running, behind]:
            if task.done() and task.exception():
                raise task.exception()
        if gateway.poll() is not None:
            raise Failure(f"keygate has ended with {gateway.returncode}")
    run.on = False
    await asyncio.wait_for(asyncio.gather(*running), 60)
    behind.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await behind
    return peak


def complaints(folder):
    """Lines of the gateway's log that no injected fault explains."""
    lines = (folder / "log.txt").read_text().splitlines()
    injected = re.compile(r"keys\.yaml|stays in force|stay in force|key\.pem|cert\.pem")
    return [line for line in lines if re.search(r"ERROR|panic", line) and not injected.search(line)]


async def soak(options, folder, binary):
    ports = dict(zip(("plain", "tls", "admin", "upstream"), free_ports(4)))
    keys = {"good": ["soak_" + secrets.token_hex(20) for _ in range(50)], "limited": "soak_" + secrets.token_hex(20)}
    (folder / "keygate.yaml").write_text(configure(folder, ports))
    (folder / "keys.yaml").write_text(key_file(keys, 100))
    for name, text in zip(("key.pem", "cert.pem"), certificate()):
        (folder / name).write_text(text)
    made = subprocess.run([binary, "keys", "create", "--name", "soak", "--tenant", TENANT, "--json", "--config",
                           folder / "keygate.yaml"], capture_output=True, text=True, cwd=folder)
    if made.returncode:
        raise Failure(made.stderr)
    keys["stored"] = json.loads(made.stdout)["secret"]
    run = Run(folder, ports, keys, options.only)

    log = open(folder / "log.txt", "w")
    start_upstream = lambda: subprocess.Popen([sys.executable, HERE, "--upstream", str(ports["upstream"])])
    start = lambda: subprocess.Popen([binary, "run", "--config", folder / "keygate.yaml"], stdout=log, stderr=log, cwd=folder)
    gateway = start()
    try:
        if run.wants("sessions"):
            await reachable(ports["plain"])
            await fill(run)
            gateway.terminate()
            gateway.wait(40)
            gateway = start()
        await reachable(ports["plain"])
        await asyncio.sleep(1)
        at_start = descriptors(gateway.pid)
        print(f"{memory_mib(gateway.pid):.1f} MiB at the start", flush=True)
        print(f"warming up for {WARM_UP_S} s", flush=True)
        await traffic(run, WARM_UP_S, gateway, start_upstream)
        warm, warm_descriptors = await settled(run, gateway.pid, start_upstream)
        print(f"traffic for {options.seconds} s", flush=True)
        peak = await traffic(run, options.seconds, gateway, start_upstream)
        after, after_descriptors = await settled(run, gateway.pid, start_upstream)
        gateway.terminate()
        ended = gateway.wait(40)
    finally:
        if gateway.poll() is None:
            gateway.kill()
            gateway.wait()
    return report(run, folder, (at_start, warm_descriptors, after_descriptors), (warm, peak, after), ended)


def report(run, folder, descriptors_of, memory, ended):
    for what, count in sorted(run.counts.items()):
        print(f"{count:9,}  {what}")
    (at_start, warm_descriptors, after_descriptors), (warm, peak, after) = descriptors_of, memory
    said = complaints(folder)
    shown = lambda kinds: ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    (warm, warm_huge), (after, after_huge) = warm, after
    print(f"\nmemory       {warm:.1f} MiB after warm-up, {peak:.1f} MiB at most, {after:.1f} MiB at the end: {after / warm - 1:+.1%}")
    if warm_huge or after_huge:
        print(f"             of it {warm_huge:.1f} and {after_huge:.1f} MiB in huge pages, which count whole if a byte of them is in use")
    print(f"descriptors  {sum(at_start.values())} at the start, {sum(warm_descriptors.values())} after warm-up, "
          f"{sum(after_descriptors.values())} at the end ({shown(after_descriptors)})")
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
    if run.wrong or said:
        failures.append("there were errors that were not injected")
    if ended != 0:
        failures.append(f"it ended with {ended}")
    wanted = ("HTTP/1.1 200", "HTTP/2 200", "TLS 200", "uploads 200", "limits 429", "session 200", "refusals 401", "faults 502",
              "reloads", "restarts of the upstream", "rude clients")
    failures += [f"there was no `{kind}`" for kind in wanted if not run.counts[kind] and not run.only]
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="how long, after the warm-up (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="only these kinds of traffic, to find what leaves something")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to run; built from the sources if not given")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        return asyncio.run(upstream(options.upstream))
    binary = options.binary.resolve() if options.binary else build()
    with tempfile.TemporaryDirectory(prefix="keygate-soak-") as folder:
        failures = asyncio.run(soak(options, pathlib.Path(folder), binary))
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
