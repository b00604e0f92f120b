"""What idle connections cost a gateway in memory."""

import contextlib
import socket
import ssl
import time

from servers import Failure, pss_mib

WARM_UP_REQUESTS = 1000
SETTLE_S = 3


def memory(gateway, connections, key):
    """Starts the gateway twice, and holds idle connections to it: plain ones, then such over TLS.

    `idle` and `warm` in MiB: just started, and after a thousand requests, when pools have filled. `plain` and `tls` in KiB:
    what a connection adds that has had one answer.
    """
    found = {}
    for door in ("plain", "tls"):
        with contextlib.ExitStack() as started:
            gateway.start(started)
            time.sleep(SETTLE_S)
            server = gateway.server(door)
            found["idle"] = pss_mib(server)
            with contextlib.closing(connect(door, gateway.ports[door])) as stream:
                for _ in range(WARM_UP_REQUESTS):
                    ask(stream, key)
            time.sleep(SETTLE_S)
            found["warm"] = pss_mib(server)
            for _ in range(connections):
                ask(started.enter_context(contextlib.closing(connect(door, gateway.ports[door]))), key)
            time.sleep(SETTLE_S)
            found[door] = (pss_mib(server) - found["warm"]) * 1024 / connections
    print(f"memory    {gateway.name:9} {found['idle']:6.1f} MiB, {found['plain']:5.1f} and {found['tls']:5.1f} KiB for an idle connection",
          flush=True)
    return found


def connect(door, port):
    stream = socket.create_connection(("127.0.0.1", port), 10)
    if door == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream, server_hostname="localhost")
    return stream


def ask(stream, key):
    stream.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"x\n"):
        part = stream.recv(4096)
        if not part:
            raise Failure(f"an idle connection was closed: {answer!r}")
        answer += part
