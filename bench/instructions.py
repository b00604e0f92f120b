#!/usr/bin/env python3
"""Counts the instructions and the heap allocations that a request costs keygate, and holds them against stored figures.

Counts, unlike times, are the same on a busy machine. bench/README.md says how to read them.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from servers import BENCH, ROOT, Failure, demand, free_ports, said, stop

STORED = BENCH / "instructions.json"
WORK = ROOT / "target" / "instructions"
PACKAGES = {"valgrind": "valgrind"}
TOLERANCE = 0.03

WARM_UP_REQUESTS = 60
REQUESTS = 300
START_S = 120

KNOWN, LIMITED, UNKNOWN = ("bench_" + pair * 20 for pair in ("a1", "b2", "c3"))
ROADS = {"200": KNOWN, "401": UNKNOWN, "429": LIMITED}

# Where memory comes from, whichever allocator is linked: `malloc`, `mi_zalloc_aligned`, `_rjem_rallocx` and the like.
ALLOCATOR = re.compile(r"^(_?mi_|_rjem_|je_|__libc_)")
ALLOCATES = re.compile(r"^(mi_|_rjem_|)(malloc|zalloc|calloc|realloc|mallocx|rallocx|memalign|aligned_alloc|posix_memalign)(_aligned)?$")

ANSWER = b"HTTP/1.1 200 OK\r\nserver: service\r\ndate: Sun, 22 Nov 2026 08:00:00 GMT\r\ncontent-type: text/plain\r\n" \
         b"content-length: 200\r\nconnection: keep-alive\r\n\r\n" + b"x" * 200


def main():
    options = arguments()
    demand(PACKAGES)
    binary = options.binary or build("keygate", ROOT, ROOT / "target")
    plain = options.plain or build("plain_proxy", BENCH / "plain_proxy", WORK / "build")
    WORK.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as service:
        threading.Thread(target=serve, args=(service,), daemon=True).start()
        upstream = service.getsockname()[1]
        ours = count("keygate", keygate(binary, upstream), ROADS)
        plain = count("plain_proxy", plain_proxy(plain, upstream), {"200": KNOWN})
    if options.callers:
        show_callers(ours)
    now = {"instructions": {road: counted.instructions for road, counted in ours.items()},
           "allocations": {road: counted.allocations for road, counted in ours.items()},
           "allocations_beyond_hyper": ours["200"].allocations - plain["200"].allocations}
    print(f"plain proxy of hyper alone, 200: {plain['200'].instructions:,} instructions, {plain['200'].allocations} allocations")
    if options.update:
        STORED.write_text(json.dumps({**now, "rustc": said("rustc", "--version"), "tolerance": TOLERANCE}, indent=2) + "\n")
        print(f"wrote {STORED.relative_to(ROOT)}")
        return
    compare(now, json.loads(STORED.read_text()))


def build(name, package, target):
    """Builds a release by itself, as it is shipped: what is built with it in one command would change it. Returns its file."""
    print(f"building {name} (release)", flush=True)
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", name, "--target-dir", str(target)], cwd=package, check=True)
    return target / "release" / name


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help=f"store what is counted now in {STORED.relative_to(ROOT)}")
    parser.add_argument("--callers", action="store_true", help="show which functions allocate")
    parser.add_argument("--binary", type=lambda path: pathlib.Path(path).resolve(), help="a keygate; built if not given")
    parser.add_argument("--plain", type=lambda path: pathlib.Path(path).resolve(), help="a plain_proxy; built if not given")
    return parser.parse_args()


def serve(listener):
    """The service: answers every request at once, each connection in a thread."""

    def answer(stream):
        unread = b""
        while part := stream.recv(65536):
            unread += part
            while b"\r\n\r\n" in unread:
                unread = unread.split(b"\r\n\r\n", 1)[1]
                stream.sendall(ANSWER)

    while True:
        with contextlib.suppress(OSError):
            stream, _ = listener.accept()
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(stream,), daemon=True).start()
        if listener.fileno() < 0:
            return


def keygate(binary, upstream):
    """One worker, no access log, the rest as it comes. The command that starts it, and its port."""
    port, admin = free_ports(2)
    sha256 = lambda key: hashlib.sha256(key.encode()).hexdigest()
    (WORK / "keys.yaml").write_text(
        f"keys:\n  - {{ id: known, sha256: {sha256(KNOWN)} }}\n  - {{ id: limited, sha256: {sha256(LIMITED)}, rate_limit: 1 }}\n")
    (WORK / "keygate.yaml").write_text(
        f"listen: 127.0.0.1:{port}\nupstream: http://127.0.0.1:{upstream}\nkeys: {{ file: keys.yaml }}\n"
        "limits: [{ name: per-key, per: key, requests: 1000000, window: 1h }]\nworkers: 1\n"
        f"admin: {{ listen: 127.0.0.1:{admin} }}\nlog: {{ level: warn, access: {{ enabled: false }} }}\n")
    return [str(binary), "run", "--config", str(WORK / "keygate.yaml")], port


def plain_proxy(binary, upstream):
    port = free_ports(1)[0]
    return [str(binary), f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"], port


class Counted:
    """What one request costs the thread that serves it."""

    def __init__(self, profile):
        self.instructions = round(profile.instructions / REQUESTS)
        self.callers = {caller: calls / REQUESTS for caller, calls in profile.allocations.items()}
        self.allocations = round(sum(self.callers.values()))


def count(name, started, roads):
    """Runs a gateway under valgrind and counts each road on one kept connection."""
    command, port = started
    out = WORK / f"{name}.callgrind"
    for old in WORK.glob(f"{out.name}*"):
        old.unlink()
    with open(WORK / f"{name}.log", "w") as log:
        # Else what glibc chooses by the processor, such as its memcpy, would be part of the figures (some 0.5 %).
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-ERMS,-FSRM"}
        server = subprocess.Popen(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--separate-threads=yes", *command],
                                  cwd=WORK, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    found = {}
    try:
        stream = connect(server, port, WORK / f"{name}.log")
        for number, (road, key) in enumerate(roads.items(), 1):
            ask(stream, key, WARM_UP_REQUESTS)
            control("--zero", server)
            answers = ask(stream, key, REQUESTS)
            control("--dump", server)
            if answers != {road: REQUESTS}:
                raise Failure(f"{name} answers {answers} where {REQUESTS} x {road} are right; see {WORK}")
            found[road] = Counted(busiest(out, number))
    finally:
        stop(server)
    return found


def control(what, server):
    subprocess.run(["callgrind_control", what, str(server.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def connect(server, port, log):
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            stream = socket.create_connection(("127.0.0.1", port), 30)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return stream
        time.sleep(0.2)
    raise Failure(f"it does not answer under valgrind; it said:\n{log.read_text()[-2000:]}")


def ask(stream, key, requests):
    """Sends so many requests, one after the other. Returns how often each status was answered."""
    answers = {}
    for _ in range(requests):
        stream.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += part_of(stream)
        head, content = answer.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
        while len(content) < length:
            content += part_of(stream)
        status = head[9:12].decode()
        answers[status] = answers.get(status, 0) + 1
    return answers


def part_of(stream):
    part = stream.recv(65536)
    if not part:
        raise Failure("the connection was closed in the middle of an answer")
    return part


class Profile:
    """What callgrind wrote of one thread: all its instructions, and who called for memory how often."""

    def __init__(self, text):
        self.instructions, self.allocations = 0, {}
        names, within, called = {}, None, None
        for line in text.splitlines():
            if line.startswith(("summary:", "totals:")):
                self.instructions = int(line.split()[1])
            elif (found := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line)):
                name = names.setdefault(found[1], found[2])
                within, called = (within, name) if line.startswith("c") else (name, None)
            elif line.startswith("calls=") and ALLOCATES.match(plainly(called)) and not ALLOCATOR.match(plainly(within)):
                self.allocations[within] = self.allocations.get(within, 0) + int(line[6:].split()[0])


def plainly(name):
    """A function's name without what callgrind adds for recursion."""
    return (name or "").split("'")[0]


def busiest(out, number):
    """The profile of the thread that did most: the one worker. Other threads have their own clocks to look at."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        profiles = [Profile(file.read_text()) for file in sorted(out.parent.glob(f"{out.name}.{number}-*"))]
        if profiles and max(profile.instructions for profile in profiles):
            return max(profiles, key=lambda profile: profile.instructions)
        time.sleep(0.2)
    raise Failure(f"callgrind wrote nothing to {out}.{number}-*")


def show_callers(ours):
    for road, counted in ours.items():
        print(f"\n{road}: {counted.allocations} allocations a request, by the function that asks (with what is inlined into it)")
        for caller, times in sorted(counted.callers.items(), key=lambda pair: -pair[1]):
            if times > 0.01:
                print(f"  {times:6.2f}  {caller}")
    print()


def compare(now, stored):
    """Prints both, and fails if a request costs more than it did."""
    worse, better = [], []
    for road, instructions in now["instructions"].items():
        was = stored["instructions"][road]
        change = instructions / was - 1
        print(f"{road}: {instructions:7,} instructions, stored {was:7,} ({change:+.1%}); {now['allocations'][road]} allocations, "
              f"stored {stored['allocations'][road]}")
        if change > TOLERANCE:
            worse.append(f"a {road} costs {instructions:,} instructions, {change:+.1%}; {TOLERANCE:.0%} more than {was:,} is allowed")
        elif change < -TOLERANCE:
            better.append(road)
        if now["allocations"][road] > stored["allocations"][road]:
            worse.append(f"a {road} asks for memory {now['allocations'][road]} times, and did so {stored['allocations'][road]} times")
    beyond, was_beyond = now["allocations_beyond_hyper"], stored["allocations_beyond_hyper"]
    print(f"allocations of a 200 beyond those of hyper alone: {beyond}, stored {was_beyond}")
    if beyond > was_beyond:
        worse.append(f"a 200 asks for memory {beyond} times more than a plain proxy, and did so {was_beyond} times")
    if better:
        print(f"{', '.join(better)}: cheaper than what is stored. `make instructions ARGS=--update` keeps it so.")
    compiler = said("rustc", "--version")
    if worse and not comparable():
        print("This processor has no AVX2, or is no x86-64: its counts are others, and are not held against those stored.")
    elif worse:
        other = "" if compiler == stored["rustc"] else f"\nThe compiler is another one, which may be the reason: {compiler}, not {stored['rustc']}."
        raise Failure("the road has become more expensive:\n  " + "\n  ".join(worse) + other +
                      "\n`bench/instructions.py --callers` shows who allocates, `callgrind_annotate target/instructions/"
                      "keygate.callgrind.1-*` where instructions go.\nIf it has to be: `make instructions ARGS=--update`, and "
                      "say in the commit why.")


def comparable():
    """Whether this processor has what the libraries' fast paths were counted with."""
    return os.uname().machine == "x86_64" and re.search(r"^flags\s*:.*\bavx2\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        sys.exit(f"instructions: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
