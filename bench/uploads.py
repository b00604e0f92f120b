"""Uploads 64 MiB again and again, and counts: uploads.py plain|tls PORT KEY CLIENTS UPLOADS.

Each client is a process with one connection and so many uploads: nothing is left half done when it ends.
"""

import json
import multiprocessing
import socket
import ssl
import sys

BYTES = 64 << 20
PART = bytes(256 << 10)


def client(door, port, key, uploads, results):
    stream = socket.create_connection(("127.0.0.1", port), 30)
    if door == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream, server_hostname="localhost")
    head = f"POST /sink HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Length: {BYTES}\r\n\r\n".encode()
    good = 0
    for _ in range(uploads):
        stream.sendall(head)
        for _ in range(BYTES // len(PART)):
            stream.sendall(PART)
        answer = b""
        while not answer.endswith(b"x\n"):
            part = stream.recv(4096)
            if not part:
                break
            answer += part
        good += answer.startswith(b"HTTP/1.1 200 ")
    results.put(good)


def main():
    door, port, key, clients, uploads = sys.argv[1:]
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=client, args=(door, int(port), key, int(uploads), results)) for _ in range(int(clients))]
    for process in processes:
        process.start()
    good = sum(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    print(json.dumps({"answered": good, "bad": int(clients) * int(uploads) - good}))


main()
