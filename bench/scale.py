#!/usr/bin/env python3
"""Measures how keygate's cost grows: with keys, routes, connections and workers, with its access log, while keys are reloaded.

bench/README.md says what is measured and how to read it. Ends only the processes that it started.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import types
import urllib.request

import idle
import loads
from servers import BENCH, PACKAGES, WORK, Failure, build, cpu_us, demand, free_ports, machine, pss_mib, raise_descriptors, said, service, start

MILLION = 1_000_000
# Keys that the load sends; a file of fewer keys has fewer.
SENT = 1000
# Keys in one file; a file may have 64 MiB.
FILE_KEYS = 250_000
READY_S = 60

CONFIGURATION = """
listen: 127.0.0.1:@PLAIN@
upstream: http://127.0.0.1:@UPSTREAM@
keys: { directory: @KEYS@ }
@ROUTES@
limits: [{ name: per-key, per: key, requests: 1000000, window: 1s }]
maxima: { connections: 20000, connections_per_address: 20000 }
timeouts: { idle: 10m }
workers: @WORKERS@
admin: { listen: 127.0.0.1:@ADMIN@ }
log: { level: warn, access: { enabled: @LOG@, output: access.log } }
"""


def main():
    options = arguments()
    demand(PACKAGES)
    cores = sorted(os.sched_getaffinity(0))
    binary = options.binary.resolve() if options.binary else build()
    descriptors = raise_descriptors()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    print(f"{time.strftime('%Y-%m-%d %H:%M')}; {said(str(binary), '--version')}; {machine()}; load average {os.getloadavg()[0]:.1f}\n")
    with contextlib.ExitStack() as started:
        log = started.enter_context(open(WORK / "log.txt", "w"))
        upstream = free_ports(1)[0]
        start(started, service(upstream), {cores[-1]}, upstream, log)
        run = types.SimpleNamespace(options=options, binary=binary, upstream=upstream, cores=cores, log=log, descriptors=descriptors)
        for part in options.parts:
            PARTS[part](run)
            print(flush=True)


def arguments():
    listed = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=1, help="length of one measurement (%(default)s)")
    parser.add_argument("--parts", type=listed, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to measure; built from the sources if not given")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    return options


def secret(number):
    return f"bench_{number:040x}"


def key_files(count, generation=0):
    """A folder with so many keys. Keys of another generation are others, but for those that the load sends."""
    folder = WORK / f"keys-{count}-{generation}"
    if not folder.exists():
        folder.mkdir()
        for first in range(0, count, FILE_KEYS):
            with open(folder / f"{first}.yaml", "w") as file:
                file.write("keys:\n")
                for number in range(first, min(first + FILE_KEYS, count)):
                    known = secret(number if number < SENT else number + generation * 10 * MILLION)
                    file.write(f"  - {{ id: key{number}, sha256: {hashlib.sha256(known.encode()).hexdigest()} }}\n")
    return folder


def point(link, folder):
    """Makes a link point to a folder, at once: as Kubernetes changes the files of a Secret."""
    fresh = link.with_suffix(".fresh")
    fresh.symlink_to(folder)
    os.replace(fresh, link)


class Running:
    """A keygate with its own configuration."""

    def __init__(self, run, started, name, keys=SENT, routes=0, workers=1, access_log=False, everywhere=False):
        self.plain, self.admin = free_ports(2)
        self.keys = WORK / f"{name}.keys"
        point(self.keys, key_files(keys))
        listed = "".join(f'  - {{ name: r{number}, paths: ["/route{number}/{{id}}/part"], access: api_key }}\n' for number in range(routes - 1))
        whole = '  - { name: rest, paths: ["/{*rest}"], access: api_key }\n'
        values = {"PLAIN": self.plain, "ADMIN": self.admin, "UPSTREAM": run.upstream, "KEYS": self.keys.name, "WORKERS": workers,
                  "LOG": str(access_log).lower(), "ROUTES": f"routes:\n{listed}{whole}" if routes else ""}
        configuration = WORK / f"{name}.yaml"
        configuration.write_text(re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), CONFIGURATION))
        cores = set(run.cores) if everywhere else {run.cores[0]}
        began = time.monotonic()
        self.server = start(started, [str(run.binary), "run", "--config", str(configuration)], cores, self.admin, run.log, pause_s=0.002)
        while not self.ready():
            if time.monotonic() - began > READY_S:
                raise Failure(f"{name} is not ready after {READY_S} s; see {WORK / 'log.txt'}")
            time.sleep(0.002)
        self.start_s = time.monotonic() - began

    def ready(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5).status == 200
        return False

    def reloads(self):
        """How many reloads of keys have been done."""
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10).read().decode()
        return sum(float(value) for value in re.findall(r'^keygate_reloads_total\{[^}]*keys[^}]*\} (\S+)', metrics, re.M))


def start_and_memory(run):
    found = {}
    for keys in (1000, MILLION):
        key_files(keys)
        times, sizes = [], []
        for _ in range(run.options.rounds):
            with contextlib.ExitStack() as started:
                running = Running(run, started, f"start-{keys}", keys, everywhere=True)
                times.append(running.start_s)
                time.sleep(1)
                sizes.append(pss_mib(running.server))
        found[keys] = statistics.median(sizes)
        print(f"start to ready, {keys:9,} keys: {statistics.median(times) * 1000:8.0f} ms ({min(times) * 1000:.0f} - {max(times) * 1000:.0f}); "
              f"memory {found[keys]:.1f} MiB (Pss)", flush=True)
    print(f"memory for each key: {(found[MILLION] - found[1000]) * 1048576 / (MILLION - 1000):.0f} bytes")


def reload(run):
    """Times of answers at a fixed rate, while a million keys are reloaded again and again, and while they are not."""
    ratios = []
    with contextlib.ExitStack() as started:
        running = Running(run, started, "reload", MILLION, everywhere=True)
        seconds = 2
        steady = [sys.executable, str(BENCH / "steady.py"), "plain", str(running.plain), secret(1), "500", "16", str(seconds)]
        for number in range(run.options.rounds):
            asked_steadily = lambda: json.loads(subprocess.run(steady, capture_output=True, check=True, text=True).stdout)
            fresh = key_files(MILLION, number % 2 + 1)
            without, before = asked_steadily(), running.reloads()
            point(running.keys, fresh)
            began, windows = time.monotonic(), []
            while running.reloads() == before:
                if time.monotonic() - began > READY_S:
                    raise Failure(f"the keys are not in force after {READY_S} s")
                windows.append(asked_steadily())
            took = time.monotonic() - began
            # The worst of all windows: putting the keys in force is a short part of it.
            during = max(windows, key=lambda window: window["p99_us"])
            ratios.append(during["p99_us"] / without["p99_us"])
            print(f"reload of 1,000,000 keys, round {number + 1}: p50 {without['p50_us']:.0f} -> {during['p50_us']:.0f} µs, "
                  f"p99 {without['p99_us']:.0f} -> {during['p99_us']:.0f} µs ({ratios[-1]:.2f}), bad {during['bad']}; "
                  f"in force within {took:.1f} s", flush=True)
            time.sleep(2)
    print(f"p99 while reloading ÷ without: median {statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})")


def against(run, what, variants, connections=lambda name: 64, held=lambda name: 0):
    """CPU time per request of several keygates that take turns; ratios to the first. `held`: connections that idle beside."""
    load = loads.Load("wrk", "plain", "keys", "")
    with contextlib.ExitStack() as started:
        running = {name: Running(run, started, f"variant-{number}", **settings) for number, (name, settings) in enumerate(variants.items())}
        results = {name: [] for name in variants}
        for name, each in running.items():
            for _ in range(held(name)):
                stream = started.enter_context(contextlib.closing(idle.connect("plain", each.plain)))
                idle.ask(stream, secret(1))
        for _ in range(run.options.rounds):
            for number, name in random.sample(list(enumerate(variants)), len(variants)):
                known = [secret(each) for each in range(min(variants[name].get("keys", SENT), SENT))]
                loads.write_script(f"scale-{number}", load, {"keys": known})
                options = types.SimpleNamespace(seconds=run.options.seconds, connections=connections(name))
                results[name].append(loads.measure(options, f"scale-{number}", load, running[name].server, running[name].plain, {"keys": known}))
    base = results[next(iter(variants))]
    for name, rows in results.items():
        cpu = [row["cpu_us"] for row in rows]
        ratio = statistics.median(mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(rows, base))
        print(f"{what}, {name:>14}: {statistics.median(cpu):7.2f} µs ({min(cpu):.2f} - {max(cpu):.2f}), ÷ first {ratio:5.2f}, "
              f"bad {sum(row['bad'] for row in rows)}", flush=True)


PARTS = {
    "start": start_and_memory,
    "reload": reload,
    "log": lambda run: against(run, "access log", {"off": {}, "JSON to a file": {"access_log": True}}),
    "workers": lambda run: against(run, "workers", {"1": {"everywhere": True}, "2": {"everywhere": True, "workers": 2}}),
    "keys": lambda run: against(run, "keys", {f"{keys:,}": {"keys": keys} for keys in (10, 1000, 100_000, MILLION)}),
    # What is asked for is what no other route takes.
    "routes": lambda run: against(run, "routes", {f"{routes:,}": {"routes": routes} for routes in (1, 100, 10_000)}),
    # 64 that ask, and so many that had an answer and are idle.
    "connections": lambda run: against(run, "idle connections", {f"{count:,}": {} for count in (0, 1000, run.descriptors // 2 - 1000)},
                                       held=lambda name: int(name.replace(",", ""))),
    "clients": lambda run: against(run, "connections that ask", {f"{count:,}": {} for count in (64, 1, 8, 512)},
                                   connections=lambda name: int(name.replace(",", ""))),
}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        sys.exit(f"scale: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
