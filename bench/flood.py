#!/usr/bin/env python3
"""Measures what requests with API keys notice of a flood of logins.

bench/README.md says what is measured and how to read it. Ends only the processes that it started.
"""

import argparse
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
import types

from servers import PACKAGES, WORK, Failure, build, cpu_us, demand, free_ports, machine, said, service, start, written

USERS = 8
PASSWORD = "violins under the bridge"

# Wrong passwords and unknown users take turns. `done` runs in another state than `response`, so counts are globals.
LUA = """
local threads, at = {}, 0
function setup(thread) table.insert(threads, thread) end
function init() refused, crowded, others, without_wait = 0, 0, 0, 0 end
function request()
    at = at + 1
    local who = (at % 2 == 0 and "user" or "nobody") .. at % @USERS@
    local body = '{"login":"' .. who .. '","password":"guess number ' .. at .. '"}'
    return wrk.format("POST", "/login", { ["Content-Type"] = "application/json", ["Host"] = "localhost" }, body)
end
function response(status, fields)
    if status == 401 then refused = refused + 1
    elseif status == 503 then
        crowded = crowded + 1
        if not fields["retry-after"] then without_wait = without_wait + 1 end
    else others = others + 1 end
end
function done()
    local sum = { refused = 0, crowded = 0, others = 0, without_wait = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(sum) do sum[name] = sum[name] + thread:get(name) end
    end
    for name, count in pairs(sum) do io.write("counted ", name, " ", count, "\\n") end
end
"""


def main():
    options = arguments()
    demand(PACKAGES)
    binary = options.binary.resolve() if options.binary else build()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    (WORK / "flood.lua").write_text(LUA.replace("@USERS@", str(USERS)))
    upstream, plain, admin = free_ports(3)
    configuration = written("flood.yaml", {"UPSTREAM": upstream, "PLAIN": plain, "ADMIN": admin})
    key = populate(binary, configuration)
    everywhere = os.sched_getaffinity(0)
    load = [f"{value:.2f}" for value in os.getloadavg()]
    print(f"load of the machine before: {' '.join(load)} on {len(everywhere)} cores", flush=True)
    with contextlib.ExitStack() as started:
        log = started.enter_context(open(WORK / "log.txt", "w"))
        own = not options.one_group
        start(started, service(upstream), everywhere, upstream, log, own)
        gateway = [str(binary), "run", "--config", str(configuration)]
        start(started, gateway, everywhere, plain, log, own)
        for connections in options.connections:
            rounds = [measure(options, plain, key, connections, number) for number in range(options.rounds)]
            ratios = [with_flood[0] / without[0] for without, with_flood in rounds]
            print(f"{connections} connections: p50 with the flood ÷ without: median {statistics.median(ratios):.2f}, "
                  f"worst {max(ratios):.2f}\n", flush=True)
    print(f"{said(str(binary), '--version')}; {said('nginx', '-v')}; {machine()}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that it is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="length of one measurement (%(default)s)")
    parser.add_argument("--rate", type=int, default=200, help="requests a second with a key, over 4 connections (%(default)s)")
    parser.add_argument("--connections", type=lambda text: [int(one) for one in text.split(",")], default=[32, 256],
                        help="connections that log in, one after the other (32,256)")
    parser.add_argument("--one-group", action="store_true", help="gateway, service and load are one group to the scheduler")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to measure; built from the sources if not given")
    return parser.parse_args()


def populate(binary, configuration):
    """Makes users and a key. Returns the key's secret."""
    def keygate(*words):
        ran = subprocess.run([str(binary), *words, "--config", str(configuration), "--json"], input=PASSWORD, text=True,
                             capture_output=True, cwd=WORK)
        if ran.returncode != 0:
            raise Failure(ran.stderr)
        return ran.stdout
    for number in range(USERS):
        keygate("users", "create", "--login", f"user{number}", "--password-stdin")
    return re.search(r'"secret":\s*"([^"]+)"', keygate("keys", "create", "--name", "bench"))[1]


def measure(options, port, key, connections, number):
    """One round: p50 and p99 in microseconds, and the cores that others used, without and with the flood."""
    without = ask(options, port, key)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{options.seconds + 2}s", "--timeout", "10s", "-s",
               str(WORK / "flood.lua"), f"http://127.0.0.1:{port}/"]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        with_flood = ask(options, port, key)
        said = flood.communicate(timeout=30)[0]
    finally:
        if flood.poll() is None:
            flood.kill()
    counts = {name: int(count) for name, count in re.findall(r"counted (\w+) (\d+)", said)}
    print(f"{connections:4} connections, round {number + 1}: p50 {without[0]:5.0f} µs, p99 {without[1]:6.0f} µs "
          f"(others {without[2]:.2f} cores); in the flood p50 {with_flood[0]:5.0f} µs, p99 {with_flood[1]:6.0f} µs "
          f"(others {with_flood[2]:.2f} cores): ÷ {with_flood[0] / without[0]:.2f}; "
          f"the flood: {counts['refused']} x 401, {counts['crowded']} x 503 ({counts['without_wait']} without Retry-After), "
          f"{counts['others']} others", flush=True)
    return without, with_flood


def ask(options, port, key):
    """Sends requests with the key at a fixed rate. Returns median and 99th percentile in microseconds, and the cores that
    programs used which are not part of this."""
    log = WORK / "requests.tsv"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", "-c4", "-m1", f"--rps={options.rate / 4:g}", f"-D{options.seconds}",
               f"--log-file={log}", "-H", f"x-api-key: {key}", f"http://127.0.0.1:{port}/"]
    before = used_us()
    ran = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 30)
    ours, everybody = (now - then for now, then in zip(used_us(), before))
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    if ran.returncode != 0 or not rows or any(row[1] != "200" for row in rows):
        raise Failure(f"a request with a key was not answered with 200: {ran.stderr or ran.stdout}")
    if len(rows) < options.rate * options.seconds * 0.9:
        raise Failure(f"only {len(rows)} requests were sent: the machine is too busy")
    times = sorted(int(row[2]) for row in rows)
    return times[len(times) // 2], times[len(times) * 99 // 100], max(0, everybody - ours) / options.seconds / 1e6


def used_us():
    """CPU time that we and our programs have used so far, and that everybody has, in microseconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = cpu_us(types.SimpleNamespace(pid=os.getpid())) + (ended.ru_utime + ended.ru_stime) * 1e6
    ticks = [int(number) for number in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]  # idle, iowait
    return ours, busy / os.sysconf("SC_CLK_TCK") * 1e6


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
