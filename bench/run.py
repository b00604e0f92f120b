#!/usr/bin/env python3
"""Measures the CPU time that a request costs keygate, beside other gateways on the same machine at the same time.

bench/README.md says what is measured and how to read it. Ends only the processes that it started.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import table
from idle import memory
from loads import LOADS, measure, write_script
from peers import PEERS, Gateway, prepare
from servers import PACKAGES, WORK, Failure, build, demand, free_ports, machine, raise_descriptors, service, start


def main():
    options = arguments()
    demand({**PACKAGES, **dict(PEERS[name].package for name in options.peers if PEERS[name].package)})
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failure("two cores are needed: one for the gateway, one for load and upstream")
    binary = options.binary.resolve() if options.binary else build()

    raise_descriptors()
    secrets_of = prepare()
    for name in options.loads:
        write_script(name, LOADS[name], secrets_of)
    os.sched_setaffinity(0, {cores[1]})
    upstream = free_ports(1)[0]
    with contextlib.ExitStack() as started:
        log = started.enter_context(open(WORK / "log.txt", "w"))
        behind = start(started, service(upstream), {cores[1]}, upstream, log)
        gateways = {name: Gateway(name, binary, upstream, cores[0], log) for name in options.peers}
        with contextlib.ExitStack() as all_at_once:
            for gateway in gateways.values():
                gateway.start(all_at_once)
            print(f"{options.rounds} rounds of {len(options.loads)} loads of {options.seconds} s for each of {', '.join(gateways)}: "
                  f"about {options.rounds * len(options.loads) * len(gateways) * (options.seconds + 0.3) / 60:.0f} min\n", flush=True)
            began, others = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
            results = rounds(options, gateways, (behind, upstream), secrets_of)
        (WORK / "results.json").write_text(json.dumps(results))
        table.details(results)
        table.ratios(results, list(gateways))
        held = {name: memory(gateway, options.idle, secrets_of["keys"][0]) for name, gateway in gateways.items()} if options.idle else {}
    versions = [PEERS[name].version(str(binary)) for name in options.peers]
    table.memory(held, options.idle)
    print(f"\n{began}; {machine()}; {options.rounds} rounds; load average at the beginning {others:.1f}\n{'; '.join(versions)}")


def arguments():
    listed = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="times that each load is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="of wrk; h2load has a quarter (%(default)s)")
    parser.add_argument("--rate", type=int, default=2000, help="requests a second of the loads at a fixed rate (%(default)s)")
    parser.add_argument("--idle", type=int, default=4000, help="idle connections whose memory is measured; 0 leaves memory out (%(default)s)")
    parser.add_argument("--loads", type=listed, default=list(LOADS), help=f"some of {','.join(LOADS)}")
    parser.add_argument("--peers", type=listed, default=list(PEERS), help=f"some of {','.join(PEERS)}")
    parser.add_argument("--binary", type=pathlib.Path, help="a keygate to measure; built from the sources if not given")
    options = parser.parse_args()
    for kind, given, known in (("load", options.loads, LOADS), ("peer", options.peers, PEERS)):
        if unknown := set(given) - set(known):
            parser.error(f"no such {kind}: {', '.join(unknown)}")
    if min(options.rounds, options.seconds, options.connections, options.rate) < 1:
        parser.error("rounds, seconds, connections and rate are at least 1")
    return options


def rounds(options, gateways, direct, secrets_of):
    """All rounds; loads and gateways take turns in an order that is shuffled each time.

    At a fixed rate the service is asked directly, too: what a gateway adds is the difference.
    """
    results = {load: {} for load in options.loads}
    for number in range(options.rounds):
        for load in random.sample(options.loads, len(options.loads)):
            doing = [name for name in gateways if load not in PEERS[name].skips] + (["direct"] if load == "steady" else [])
            for name in random.sample(doing, len(doing)):
                door = LOADS[load].door
                server, port = direct if name == "direct" else (gateways[name].server(door), gateways[name].ports[door])
                result = measure(options, load, LOADS[load], server, port, secrets_of)
                results[load].setdefault(name, []).append(result)
                print(f"round {number + 1}  {load:10} {name:9} {result['cpu_us']:10.2f} µs  {result['per_second']:9,.0f}/s", flush=True)
    return results


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
