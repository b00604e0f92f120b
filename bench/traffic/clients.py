"""Clients of HTTP/1.1: those who ask and are answered, those who rest, those who leave, and those who are too slow."""

import asyncio
import contextlib
import random
import secrets
import socket
import ssl
import time

from traffic.run import GONE, Unexpected, abort, answer, ask, close, context, demand, head_of, key, soon
from traffic.upstream import EVENTS, HUGE_BYTES

HANDSHAKE_S, WRITE_S = 2, 3   # `timeouts.tls_handshake` and `timeouts.write` of the soak.


# --- who ask and are answered -------------------------------------------------------------------------------------------

async def conversation(run, kind, tls, pause, requests, turns):
    """One client: opens a connection, sends some of `requests`, leaves, and comes again."""
    while run.on:
        began = time.monotonic()
        try:
            streams = await run.connect(tls)
        except GONE as error:
            run.wrong.append(f"{kind}: no connection: {error}")
            await asyncio.sleep(1)
            continue
        for _ in range(turns):
            began = time.monotonic()
            request, right = requests()
            status, body, over, name = await ask(streams, **request)
            run.expect(kind, status, right, began, name)
            await asyncio.sleep(random.uniform(0, 2 * pause))
            if over or not run.on:
                break
        await close(streams)


def conversations(run):
    """Kinds of them: a name, whether over TLS, how many clients, the pause between requests, what each asks for, and how
    often on one connection."""
    good = lambda: key(run.secret())
    get = lambda path, *fields: {"method": "GET", "path": path, "fields": fields}
    uploads = lambda: ({"method": "POST", "path": "/orders/upload", "fields": (good(),), "chunked": random.random() < 0.5,
                        "body": bytes(random.choice((1, 1000, 65536, 700_000)))}, (200,))
    large = lambda: ({"method": "POST", "path": "/orders/upload", "fields": (good(),), "body": bytes(3 << 20)}, (413, "cut"))
    refused = lambda: random.choice([
        (get("/orders/1"), (401,)),
        (get("/orders/1", key("kg_nobody_" + secrets.token_hex(8))), (401,)),
        (get("/nowhere", good()), (404,)),
        (get("/orders/..%2f/x", good()), (400,)),
        (get("/orders/1", good(), ("Host", "other.test")), (400,)),
        (get("/orders/1", good(), ("X-Big", "x" * 40_000)), (431,)),
        ({"method": "POST", "path": "/orders/1", "fields": (good(), ("Content-Length", "5")), "body": b"hello",
          "chunked": True}, (400,)),
        (get("/customers/c/session", good()), (405,)),
        (get("/portal/x", ("X-Session-Token", "nobody")), (401,)),
    ])
    faults = lambda: random.choice([
        (get("/orders/fault/close", good()), (502,)),
        (get("/orders/fault/garbage", good()), (502,)),
        (get("/orders/fault/short", good()), ("cut",)),
        (get("/orders/fault/chunks", good()), ("cut",)),
        (get("/orders/fault/500", good()), (500,)),
        (get("/orders/fault/silent", good()), (504,)),
    ])
    page = lambda: (get("/orders/1?a=b", good()), (200,))
    return [
        ("HTTP/1.1", False, 8, 0.06, page, 200),
        ("churn", False, 2, 0.05, page, 1),
        ("TLS", True, 4, 0.06, page, 20),
        ("large answers", True, 1, 0.5, lambda: (get("/orders/large", good()), (200,)), 3),
        ("uploads", False, 2, 0.2, uploads, 10),
        ("too large", False, 1, 1.0, large, 1),
        ("refusals", False, 2, 0.05, refused, 10),
        ("limits", False, 1, 0.05, lambda: (get("/limited", key(run.keys["limited"])), (200, 429)), 100),
        ("faults", False, 2, 0.2, faults, 1),
    ]


# --- who rest -----------------------------------------------------------------------------------------------------------

async def rest(run):
    """Says nothing for so long that hyper lets go of the connection, and goes on; at times it leaves or is sent away instead."""
    streams = await run.connect(random.random() < 0.5)
    try:
        for _ in range(random.randrange(1, 4)):
            status, _, _, name = await ask(streams, "GET", "/orders/1", [key(run.secret())])
            demand(status, 200, name=name)
            run.counts["rests 200"] += 1
            await asyncio.sleep(random.uniform(1.6, 4))
        if random.random() < 0.2:
            demand(await soon(streams[0].read(1)), b"")
            return "sent away"
        if random.random() < 0.3:
            abort(streams)
            return "left"
    finally:
        await close(streams)
    return "ended"


# --- who ask before they send -------------------------------------------------------------------------------------------

async def expect(run):
    """`Expect: 100-continue`: the gateway says whether to go on. If not, nothing is sent; at times nothing is sent either way."""
    reader, writer = streams = await run.connect(random.random() < 0.3)
    size = random.choice((1, 5000, 200_000))
    path, fields, right = random.choice([
        *[("/orders/upload", [key(run.secret())], 100)] * 3,
        ("/orders/upload", [], 401),
        ("/nowhere", [key(run.secret())], 404),
        ("/orders/upload", [key(run.secret()), ("Content-Length", "3000000")], 413),
        ("/orders/upload", [key(run.secret()), ("Expect", "tea")], 417),
    ])
    length = [] if right == 413 else [("Content-Length", str(size))]
    asked = [] if right == 417 else [("Expect", "100-continue")]
    try:
        writer.write("\r\n".join([*head_of("POST", path, [*fields, *length, *asked]), "", ""]).encode())
        status, _, _, name = await soon(answer(reader))
        demand(status, right, name=name)
        if status != 100:
            return f"refused with {status}"
        if random.random() < 0.2:
            abort(streams)
            return "left without a word"
        writer.write(bytes(size))
        status, body, _, name = await soon(answer(reader))
        demand(status, 200, name=name)
        demand(body, str(size).encode())
        return "200"
    finally:
        await close(streams)


# --- streams of events --------------------------------------------------------------------------------------------------

async def events(run):
    """Server-sent events, to the end or until the client leaves in the middle, as one does or with a reset."""
    reader, writer = streams = await run.connect(random.random() < 0.5)
    try:
        writer.write("\r\n".join([*head_of("GET", "/orders/events", [key(run.secret())]), "", ""]).encode())
        if random.random() < 0.4:
            status, body, _, name = await soon(answer(reader))
            demand(status, 200, name=name)
            demand(body.count(b"\n\n"), EVENTS)
            return "whole"
        demand(int((await soon(reader.readuntil(b"\r\n\r\n"))).split(b" ")[1]), 200)
        for _ in range(random.randrange(EVENTS - 5)):
            await soon(reader.readuntil(b"\n\n"))
        if random.random() < 0.5:
            abort(streams)
        return "left"
    finally:
        await close(streams)


# --- who are slow or gone -----------------------------------------------------------------------------------------------

async def slow(run):
    """Takes nothing, or a little now and then, of an answer that is more than all buffers hold, and is cut. It sees so when it
    reads what is left: what was under way comes still."""
    little = random.random() < 0.5
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, ("127.0.0.1", run.ports["plain"]))
        ask_for = "\r\n".join([*head_of("GET", "/orders/huge", [key(run.secret())]), "", ""]).encode()
        await loop.sock_sendall(plain, ask_for)
        demand(int((await soon(loop.sock_recv(plain, 200))).split(b" ")[1]), 200)
        received = 0
        with contextlib.suppress(OSError):
            for _ in range(3 * WRITE_S):
                await asyncio.sleep(1)
                if little:
                    received += len(await soon(loop.sock_recv(plain, 500)))
            while got := len(await soon(loop.sock_recv(plain, 1 << 20))):
                received += got
    if received >= HUGE_BYTES:
        raise Unexpected(f"a client that took {'a little' if little else 'nothing'} was not cut")
    return "cut"


async def rude(run):
    """Begins and does not go on, or leaves in the middle. Nothing is expected but that nothing is left of it."""
    head = f"POST /orders/1 HTTP/1.1\r\nHost: soak.test\r\nX-API-Key: {run.keys['good'][0]}\r\nContent-Length: 100000\r\n\r\n"
    starts = [b"", b"GET / HT", head.encode(), head.encode() + bytes(5000), head.replace("POST", "GET").encode()[:60]]
    while run.on:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
            tls = random.random() < 0.3
            reader, writer = await run.connect(tls)
            writer.write(random.choice(starts))
            if random.random() < 0.5:
                await asyncio.wait_for(reader.read(), random.uniform(0.05, 5))
            writer.transport.abort()
            run.counts["rude clients"] += 1
        await asyncio.sleep(random.uniform(0, 0.3))


async def half_way(run):
    """A TLS handshake that stops somewhere: in the first message, behind it, or in what is no message at all. The client leaves
    then, or waits until the gateway does, and that in time."""
    reader, writer = streams = await asyncio.open_connection("127.0.0.1", run.ports["tls"])
    try:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context().wrap_bio(incoming, outgoing, server_hostname="soak.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello = outgoing.read()
        stops = random.choice(("nowhere", "within", "behind", "answered", "garbage"))
        writer.write({"nowhere": b"", "within": hello[:random.randrange(1, len(hello))], "garbage": b"\x16\x03\x01\x00\x05hello"}
                     .get(stops, hello))
        if stops == "answered":
            incoming.write(await soon(reader.read(5000)))
            with contextlib.suppress(ssl.SSLError):
                client.do_handshake()
            writer.write(outgoing.read()[:20])
        if random.random() < 0.5:
            await asyncio.sleep(random.uniform(0, 0.2))
            abort(streams)
            return "left"
        with contextlib.suppress(*GONE):
            while await soon(reader.read(5000), HANDSHAKE_S + 8, f"a handshake that stops {stops} was not ended"):
                pass
        return "ended by the gateway"
    finally:
        await close(streams)
