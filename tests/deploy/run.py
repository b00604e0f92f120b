#!/usr/bin/env python3
"""Runs keygate's image as it is shipped: as a container of a pod, from the manifest, under podman.

    tests/deploy/run.py IMAGE

It is run by `make test-deploy`, as root. Everything happens in a network of its own, which is gone when this ends: no port
and no rule of this machine's firewall is touched. Every line says what has been seen; the first that is not seen ends it.
"""

import gzip
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

from pod import Pod, podman, run
from traffic import Traffic, ask, get, status

ROOT = Path(__file__).resolve().parents[2]
KEEP_UP = 0.02
# So much an image may have, unpacked.
SIZE_MAX = 21e6


def say(text):
    print(f"  {text}", flush=True)


def key_file(**keys):
    lines = ["keys:"]
    for name, secret in keys.items():
        lines += [f"  - id: {name}", f"    sha256: {hashlib.sha256(secret.encode()).hexdigest()}", "    tenant: test"]
    return "\n".join(lines) + "\n"


def until(seconds, what, question):
    """Asks again and again; how long it took until the answer was yes."""
    start = time.monotonic()
    while not question():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(KEEP_UP)
    return time.monotonic() - start


def the_image(name):
    """One program, a number for a user, nothing to run beside it."""
    (image,) = json.loads(podman("image", "inspect", name))
    config = image["Config"]
    assert config["User"] == "65532:65532", config["User"]
    assert set(config["ExposedPorts"]) == {"8443/tcp", "9901/tcp"}, config["ExposedPorts"]
    for label in ("title", "description", "licenses", "version", "revision", "created"):
        assert config["Labels"].get(f"org.opencontainers.image.{label}"), f"no label {label}"
    mounted = Path(podman("image", "mount", name).strip())
    try:
        programs = sorted(
            str(file.relative_to(mounted))
            for file in mounted.rglob("*")
            if file.is_file() and not file.is_symlink() and file.stat().st_mode & 0o111
        )
        assert programs == ["usr/local/bin/keygate"], f"the image has programs: {programs}"
        program = mounted / programs[0]
        linked = run("ldd", str(program), fails=True)
        assert "statically linked" in linked or "not a dynamic" in linked, linked
        dependencies = parts_list(program)
        packed = len(gzip.compress(program.read_bytes(), 6))
    finally:
        podman("image", "unmount", name)
    assert image["Size"] < SIZE_MAX, f"the image has {image['Size']} bytes"
    say(f"{image['Size'] / 1e6:.1f} MB, of which a registry sends {packed / 1e6:.1f}; its list of parts names {dependencies} packages")


def parts_list(program):
    """The list that `cargo auditable` has written into the program (section .dep-v0, zlib)."""
    with tempfile.NamedTemporaryFile() as section:
        run("objcopy", "--dump-section", f".dep-v0={section.name}", str(program), "/dev/null")
        packages = json.loads(zlib.decompress(Path(section.name).read_bytes()))["packages"]
    names = {package["name"] for package in packages}
    assert {"keygate", "hyper", "rustls", "tokio"} <= names, names
    return len(packages)


def traffic_goes_through(pod):
    assert ask(pod, None) == 401, "a request without a key"
    assert ask(pod, "nobody") == 401, "a request with an unknown key"
    assert get(pod, "/hello", "first") == (200, b"/hello\n"), "a request with a good key"
    http2 = run("curl", "-sS", "--noproxy", "*", "--http2", "--cacert", pod.authority, "-o", "/dev/null", "-w",
                "%{http_version} %{http_code}", "-H", "X-API-Key: first", *pod.resolve(), pod.url("/"))
    assert http2 == "2 200", http2
    assert not reachable(pod.address, 8080), "the API is reached around keygate"
    say("401 without a key, 200 with one, over HTTP/1.1 and HTTP/2; the API is not reached around keygate")


def reachable(address, port):
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def promtool_is_content(pod):
    for _ in range(300):
        ask(pod, "first")
    metrics = pod.admin("/metrics")[1]
    said = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True)
    assert said.returncode == 0, (said.stdout + said.stderr).decode()
    assert b"keygate_requests_total{" in metrics and b"keygate_build_info{" in metrics
    say(f"promtool finds nothing wrong with {len(metrics.splitlines())} lines of metrics")


def confined(pod, user):
    """What the kernel says of the process."""
    process = Path("/proc", str(pod.inspect("keygate")["State"]["Pid"]))
    said = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert said["Uid"].split() == [str(user)] * 4, said["Uid"]
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(said[capabilities], 16) == 0, f"{capabilities}: {said[capabilities]}"
    assert said["NoNewPrivs"] == "1" and said["Seccomp"] == "2", said
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    (root,) = [mount for mount in mounts if mount[4] == "/"]
    assert "ro" in root[5].split(","), root
    own = [mount for mount in mounts if mount[4].startswith("/etc/keygate/")]
    assert len(own) == 3 and all("ro" in mount[5].split(",") for mount in own), own
    resident = int(said["VmRSS"].split()[0]) / 1024
    say(f"user {user}, no capability, no new privileges, seccomp, everything read-only; {resident:.1f} MiB resident")


def secrets_are_rotated(pod):
    def works(*secrets):
        return lambda: [ask(pod, secret) for secret in ("first", "second", "third")] == [
            200 if secret in secrets else 401 for secret in ("first", "second", "third")
        ]

    pod.keys.swap({"keys.yaml": key_file(a="first", b="second")})
    took = until(60, "a new key is good", works("first", "second"))
    pod.keys.swap({"keys.yaml": key_file(b="second")})
    again = until(60, "the old key is not", works("second"))
    say(f"a swapped Secret is in force after {took:.1f} s, the next one after {again:.1f} s")

    pod.keys.swap({"keys.yaml": "keys: [{ id: broken\n"})
    until(60, "a broken Secret is noticed", lambda: b'keygate_reload_failing{part="keys"} 1' in pod.admin("/metrics")[1])
    assert works("second")(), "the last good keys are not in force"
    assert pod.admin("/readyz")[0] == 200, "a broken Secret has made the pod unready"
    pod.keys.swap({"keys.yaml": key_file(a="first", b="second")})
    until(60, "a good Secret after a broken one", works("first", "second"))
    say("a broken one leaves the last good keys in force, and the pod ready")

    before = certificate(pod)
    pod.tls.swap(pod.certificate())
    took = until(60, "a renewed certificate is shown", lambda: certificate(pod) != before)
    say(f"a renewed certificate is shown after {took:.1f} s")


def certificate(pod):
    return hashlib.sha256(ssl.get_server_certificate((pod.address, 8443)).encode()).hexdigest()


def stopped_under_load(pod, drained):
    """A load balancer that looks at /readyz sends traffic; the pod is told to end; nothing of it may fail."""
    traffic = Traffic(pod, "first", threads=6)
    traffic.start()
    time.sleep(2)
    # It began before the end and ends after it.
    slow = []
    late = threading.Thread(target=lambda: slow.append(get(pod, "/slow", "first")))
    late.start()
    time.sleep(0.5)
    start = time.monotonic()
    if drained:
        # What Kubernetes does with `preStop`, and podman does not.
        pod.pre_stop()
        until(5, "a pod that drains is not ready", lambda: pod.admin("/readyz")[0] == 503)
        assert ask(pod, "first") == 200, "a pod that drains does not serve"
    pod.stop(40)
    took = time.monotonic() - start
    late.join()
    traffic.stop()
    assert slow == [(200, b"/slow\n")], slow
    assert not traffic.failed, f"{len(traffic.failed)} of {traffic.done} failed: {traffic.failed[:5]}"
    assert traffic.done > 100 and traffic.done_unready > 3, (traffic.done, traffic.done_unready)
    code = pod.inspect("keygate")["State"]["ExitCode"]
    assert code == 0, f"keygate ended with {code}"
    assert took < 40, f"it took {took:.1f} s"
    say(f"{'drained and ' if drained else ''}told to end, it ended with 0 after {took:.1f} s of 40; {traffic.done} requests, {traffic.done_unready} of "
        "them after /readyz first said no, none failed")


def the_api():
    """Makes the image of the API beside keygate."""
    with tempfile.TemporaryDirectory() as folder:
        run("rustc", "--edition", "2024", "-O", "-C", "target-feature=+crt-static", "--target",
            f"{platform.machine()}-unknown-linux-gnu", "-o", f"{folder}/api", str(ROOT / "tests/deploy/api.rs"))
        run("tar", "-C", folder, "-cf", f"{folder}/api.tar", "api")
        podman("import", "--quiet", "--change", 'ENTRYPOINT ["/api"]', f"{folder}/api.tar", "localhost/keygate-test/api:latest")


def main(image):
    the_api()
    print("image:")
    the_image(image)
    for user, group, drained in ((65532, 65532, True), (random.randrange(10**9, 2 * 10**9), 0, False)):
        print(f"pod, as user {user}:")
        with Pod(ROOT, image, user, group) as pod:
            pod.keys.swap({"keys.yaml": key_file(a="first")})
            pod.tls.swap(pod.certificate())
            pod.play()
            until(60, "the pod is ready", lambda: status(pod.admin, "/readyz") == 200)
            say(f"ready {pod.ready_after():.2f} s after the container's start")
            traffic_goes_through(pod)
            confined(pod, user)
            promtool_is_content(pod)
            secrets_are_rotated(pod)
            confined(pod, user)
            stopped_under_load(pod, drained)


if __name__ == "__main__":
    os.environ.setdefault("CONTAINERS_CONF", str(ROOT / ".ci/containers.conf"))
    if os.environ.get("KEYGATE_OWN_NETWORK") != "yes":
        os.environ["KEYGATE_OWN_NETWORK"] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
    assert os.geteuid() == 0, "podman is to run as root here"
    for tool in ("podman", "kubectl", "promtool", "openssl", "curl", "objcopy"):
        assert shutil.which(tool), f"{tool} is missing; run `make test-deploy`"
    run("ip", "link", "set", "lo", "up")
    main(sys.argv[1])
