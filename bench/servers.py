"""Servers that a benchmark starts, what they cost, and how they end. Ends only the processes that it started."""

import contextlib
import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
WORK = ROOT / "target" / "bench"

BODY = "x" * 199 + "\n"

# What the service and the loads need: commands and files, with the Debian packages that have them.
PACKAGES = {"nginx": "nginx-light", "/usr/lib/nginx/modules/ngx_http_lua_module.so": "libnginx-mod-http-lua", "wrk": "wrk",
            "h2load": "nghttp2-client", "openssl": "openssl"}


class Failure(Exception):
    """What ends the benchmark, in words for its user."""


def demand(packages):
    """Refuses to go on without these commands and files, given with the Debian packages that have them."""
    missing = [package for what, package in packages.items()
               if not (pathlib.Path(what).exists() if what.startswith("/") else shutil.which(what))]
    if missing:
        raise Failure(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")


def build():
    print("building keygate (release)", flush=True)
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "keygate"


def written(template, values):
    """Fills in a configuration's template from bench/conf. Returns where it lies."""
    text = re.sub(r"@([A-Z0-9]+)@", lambda found: str(values[found[1]]), (BENCH / "conf" / template).read_text())
    (WORK / template).write_text(text)
    return WORK / template


def nginx(template, values):
    return ["nginx", "-p", str(WORK), "-e", "stderr", "-c", str(written(template, values))]


def service(port):
    """The service behind the gateways."""
    return nginx("upstream.conf", {"UPSTREAM": port, "BODY": BODY.replace("\n", "\\n")})


def free_ports(count):
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


def raise_descriptors():
    """Lets this process, and those that it starts, open as many files as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start(started, command, cores, port, log, session=True, pause_s=0.05):
    """Starts a server on these cores, in a session of its own, and waits for its port. It ends with `started`.

    A session is a group to the scheduler (autogroup), as the control group of a service is: what priorities say holds
    within it alone.
    """

    def before():
        os.sched_setaffinity(0, cores)
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: ends with this script, however that ends.

    server = subprocess.Popen(command, cwd=WORK, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=before,
                              start_new_session=session, env={**os.environ, "HOME": str(WORK)})
    started.callback(stop, server)
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server
        time.sleep(pause_s)
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


def cpu_us(server):
    """CPU time of all threads of all processes so far, as the scheduler counts it, in microseconds."""
    total_ns = 0
    for process in tree(server.pid):
        for schedstat in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
            total_ns += int(schedstat.read_text().split()[0])
    return total_ns / 1000


def pss_mib(server):
    """Memory in MiB, with what several processes share counted once."""
    rollups = [pathlib.Path(f"/proc/{process}/smaps_rollup").read_text() for process in tree(server.pid)]
    return sum(int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) for rollup in rollups) / 1024


def said(*command):
    """What a command says, on both its outputs."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.strip()


def machine():
    model = re.search(r"^model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return f"{model[1] if model else os.uname().machine}, {os.cpu_count()} processors; Linux {os.uname().release}"
