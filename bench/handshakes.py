"""Opens connections over TLS 1.3, sends one request on each, and counts: handshakes.py full|resumed PORT KEY CLIENTS SECONDS.

Each client is a process, and does one connection after the other. A resumed session is used once, as RFC 8446 (section
C.4) wants it: the next connection takes the ticket that came with this one.
"""

import json
import multiprocessing
import socket
import ssl
import sys
import time


def client(number, resumed, port, key, deadline, results):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode()
    answered = bad = 0
    session = None
    while time.monotonic() < deadline:
        try:
            # An address of its own for each client, and there are ports enough.
            stream = socket.create_connection(("127.0.0.1", port), 5, (f"127.0.1.{number + 1}", 0))
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(stream, server_hostname="localhost", session=session) as tls:
                as_wanted = tls.session_reused == (session is not None)
                tls.sendall(request)
                head = tls.recv(4096)
                while b"\r\n\r\n" not in head:
                    head += tls.recv(4096) or b"\r\n\r\n"
                bad += not (as_wanted and head.startswith(b"HTTP/1.1 200 "))
                session = tls.session if resumed else None
            answered += 1
        except OSError:
            bad, session = bad + 1, None
    results.put((answered, bad))


def main():
    kind, port, key, clients, seconds = sys.argv[1:]
    results, deadline = multiprocessing.Queue(), time.monotonic() + float(seconds)
    arguments = (kind == "resumed", int(port), key, deadline, results)
    processes = [multiprocessing.Process(target=client, args=(number, *arguments)) for number in range(int(clients))]
    for process in processes:
        process.start()
    counts = [results.get() for _ in processes]
    for process in processes:
        process.join()
    print(json.dumps({"answered": sum(answered for answered, _ in counts), "bad": sum(bad for _, bad in counts)}))


main()
