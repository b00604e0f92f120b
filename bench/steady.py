"""Sends requests at a fixed rate, at moments that chance chooses (Poisson), and prints how long answers took:
steady.py plain|tls PORT KEY RATE CONNECTIONS SECONDS."""

import collections
import json
import random
import select
import socket
import ssl
import statistics
import sys
import time

WARM_UP_S = 0.3


def connect(door, port):
    stream = socket.create_connection(("127.0.0.1", port), 5)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if door == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream, server_hostname="localhost")
    stream.setblocking(False)
    return stream


def main():
    door, port, key, rate, connections, seconds = sys.argv[1:]
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode()
    free = collections.deque(connect(door, int(port)) for _ in range(int(connections)))
    sent_at, answers, times, answered, bad = {}, {}, [], 0, 0
    begin = time.perf_counter()
    due, end = begin, begin + WARM_UP_S + float(seconds)
    while due < end or sent_at:
        now = time.perf_counter()
        if now >= due and due < end:
            due += random.expovariate(float(rate))
            if free:
                stream = free.popleft()
                sent_at[stream] = time.perf_counter()
                stream.send(request)
            else:
                bad += 1
            continue
        readable, _, _ = select.select(list(sent_at), [], [], max(0, due - now) if due < end else 5)
        for stream in readable:
            try:
                answer = answers.pop(stream, b"") + stream.recv(4096)
            except ssl.SSLWantReadError:  # A ticket, and no answer yet.
                continue
            now = time.perf_counter()
            if not answer.endswith(b"x\n") and len(answer) < 4096:
                answers[stream] = answer
                continue
            answered += 1
            bad += not answer.startswith(b"HTTP/1.1 200 ")
            began = sent_at.pop(stream)
            if began > begin + WARM_UP_S:
                times.append(now - began)
            free.append(stream)
        if not readable and due >= end:
            break
    print(json.dumps({"answered": answered, "bad": bad, "p50_us": statistics.median(times) * 1e6,
                      "p99_us": statistics.quantiles(times, n=100)[98] * 1e6}))


main()
