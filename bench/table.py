"""What was measured, as text."""

import statistics

from loads import LOADS
from peers import PEERS

BASE = "nginx"


def median(rows, what):
    return statistics.median(row[what] for row in rows)


def ratio(rows, base):
    """The median of the ratios of each round: the speed of a virtual core changes, and takes both with it."""
    return statistics.median(mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(rows, base))


def details(results):
    """A line for each load and gateway: with the spread, and with all that can be wrong."""
    print(f"\n{'load':10}  {'gateway':9}  {'CPU µs per request':32}  {'÷ ' + BASE:>8}  {'requests/s':>10}  {'core':>5}  {'p50 µs':>7}  {'bad':>5}")
    for load, by_name in results.items():
        for name, rows in by_name.items():
            cpu = [row["cpu_us"] for row in rows]
            spread = f"{statistics.median(cpu):9.2f} ({min(cpu):.2f} - {max(cpu):.2f})"
            against = f"{ratio(rows, by_name[BASE]):8.2f}" if BASE in by_name else f"{'-':>8}"
            p50 = f"{median(rows, 'p50_us'):7.0f}" if rows[0]["p50_us"] else f"{'':7}"
            print(f"{load:10}  {name:9}  {spread:32}  {against}  {median(rows, 'per_second'):10,.0f}  {median(rows, 'core'):5.2f}  {p50}"
                  f"  {sum(row['bad'] for row in rows):5}")


def ratios(results, names):
    """The table: a row for each load, a column for each gateway."""
    print("\nCPU µs per request, and its ratio to nginx in the same round:\n")
    header("load", names)
    for load, by_name in results.items():
        if LOADS[load].tool == "steady":
            continue
        cells = []
        for name in names:
            rows = by_name.get(name)
            against = f" ({ratio(rows, by_name[BASE]):.2f})" if rows and BASE in by_name else ""
            cells.append(f"{figure(median(rows, 'cpu_us'))}{against}" if rows else "none")
        row(load, cells)
    steady = {load: by_name for load, by_name in results.items() if LOADS[load].tool == "steady"}
    if "direct" in steady.get("steady", {}):
        direct = median(steady["steady"]["direct"], "p50_us")
        print(f"\nMedian time of an answer at a fixed rate, in µs more than the {direct:.0f} µs of the service asked directly:\n")
        header("load", names)
        for load, by_name in steady.items():
            row(load, [f"{median(by_name[name], 'p50_us') - direct:.0f}" if name in by_name else "none" for name in names])
    print("\n" + "\n".join(f"- `{load}`: {LOADS[load].what}" for load in results))
    print("\nWhat each does not do, of what keygate does:\n")
    print("\n".join(f"- {name}: {PEERS[name].lacks}" for name in names if PEERS[name].lacks != "-"))


def memory(held, connections):
    if not held:
        return
    print(f"\nMemory (Pss); connections: {connections} that have had an answer and are idle:\n")
    header("memory", held)
    row("just started, MiB", [f"{each['idle']:.1f}" for each in held.values()])
    row("after a little traffic, MiB", [f"{each['warm']:.1f}" for each in held.values()])
    row("per connection, KiB", [f"{each['plain']:.1f}" for each in held.values()])
    row("per connection over TLS, KiB", [f"{each['tls']:.1f}" for each in held.values()])


def figure(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def header(what, names):
    row(what, names)
    print("|---|" + "--:|" * len(list(names)))


def row(what, cells):
    print(f"| {what} | {' | '.join(cells)} |")
