"""WebSockets: frames, an end that sends back what it gets, and clients that use, leave or forget their tunnels."""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import re
import struct
import time

from traffic import http2
from traffic.run import GONE, Unexpected, abort, close, demand, head_of, key, soon

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
TUNNEL_S = 4          # `timeouts.tunnel` of the soak.
SIZES = (0, 1, 125, 126, 5000, 70_000)
DIE = b"leave without a word"


# --- frames (RFC 6455, section 5) ---------------------------------------------------------------------------------------

def masked(payload, mask):
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def frame(opcode, payload, by_client):
    """A frame that is a whole message."""
    length, bit = len(payload), 128 if by_client else 0
    if length < 126:
        head = struct.pack("!BB", 128 | opcode, bit | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 128 | opcode, bit | 126, length)
    else:
        head = struct.pack("!BBQ", 128 | opcode, bit | 127, length)
    if not by_client:
        return head + payload
    mask = os.urandom(4)
    return head + mask + masked(payload, mask)


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    length = second & 127
    if length == 126:
        length, = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        length, = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if second & 128 else None
    payload = await reader.readexactly(length)
    return first & 15, masked(payload, mask) if mask else payload


def accepted(nonce):
    """What answers a handshake with this key."""
    return base64.b64encode(hashlib.sha1(nonce + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


# --- the upstream's end -------------------------------------------------------------------------------------------------

async def echo(reader, writer, head):
    """Agrees, and sends back what comes, until the other end has had enough."""
    nonce = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1]
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accepted(nonce) + b"\r\n\r\n")
    while True:
        opcode, payload = await read_frame(reader)
        if payload == DIE:
            return writer.transport.abort()
        writer.write(frame(PONG if opcode == PING else opcode, payload, by_client=False))
        await writer.drain()
        if opcode == CLOSE:
            return


# --- the client's end ---------------------------------------------------------------------------------------------------

class Tunnel:
    """A WebSocket of HTTP/1.1, or of a stream of HTTP/2 (RFC 8441)."""

    def __init__(self, reader, send, leave, finish):
        self.reader, self.send, self.leave, self.finish = reader, send, leave, finish

    async def exchange(self, opcode, payload):
        """Sends a message and demands that it comes back."""
        await self.send(frame(opcode, payload, by_client=True))
        got = await soon(read_frame(self.reader), what="no echo")
        if got != (PONG if opcode == PING else opcode, payload):
            raise Unexpected(f"a frame of {len(payload)} bytes came back as {got[0]} with {len(got[1])} bytes")

    async def end(self, seconds):
        """Waits for the end, which the other side makes. Whether it is polite or not is not looked at."""
        with contextlib.suppress(*GONE):
            if rest := await soon(self.reader.read(1 << 20), seconds, "the tunnel was still open"):
                raise Unexpected(f"{len(rest)} bytes that nobody asked for")


async def over_http1(run, tls, path, fields):
    """Asks for a tunnel. Returns it, or the status of a refusal."""
    streams = reader, writer = await run.connect(tls)
    nonce = base64.b64encode(os.urandom(16))
    handshake = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
                 ("Sec-WebSocket-Key", nonce.decode())]
    writer.write("\r\n".join([*head_of("GET", path, [*fields, *handshake]), "", ""]).encode())
    head = await soon(reader.readuntil(b"\r\n\r\n"))
    status = int(head.split(b" ")[1])
    if status != 101:
        await close(streams)
        return status
    if accepted(nonce) not in head:
        raise Unexpected("a handshake with another key")

    async def send(data):
        writer.write(data)
        await writer.drain()

    return Tunnel(reader, send, lambda: abort(streams), lambda: close(streams))


async def over_http2(run, tls, path, fields):
    """The same, as the only stream of a connection."""
    connection = await http2.Client.connect(run, tls)
    await soon(connection.settled.wait(), what="no SETTINGS")
    stream = await connection.request("CONNECT", path, [*fields, ("Sec-WebSocket-Version", "13")], end=False,
                                      pseudo=[(":protocol", "websocket")])
    status = await stream.status()
    if status != 200:
        await connection.close()
        return status
    reader = asyncio.StreamReader()

    async def copy():
        with contextlib.suppress(http2.Reset, *GONE):
            async for data in stream.content():
                reader.feed_data(data)
        reader.feed_eof()

    copying = asyncio.create_task(copy())

    async def finish():
        with contextlib.suppress(*GONE, http2.Reset):
            await stream.send(b"", end=True)
        await connection.close()
        await copying

    return Tunnel(reader, stream.send, connection.abort, finish)


async def opened(run, path="/live/echo", fields=None):
    way = random.choice((over_http1, over_http1, over_http2))
    return await way(run, random.random() < 0.4, path, [key(run.secret())] if fields is None else fields)


async def tunnel(run):
    got = await opened(run)
    if not isinstance(got, Tunnel):
        raise Unexpected(got, "a tunnel")
    return got


async def talk(run):
    """Uses a tunnel, sometimes slowly, and closes it as one should."""
    open_ = await tunnel(run)
    try:
        pause = random.choice((0, 0, 0.05, 1.5))
        for _ in range(random.randrange(2, 6) if pause > 1 else random.randrange(1, 30)):
            await open_.exchange(random.choice((TEXT, BINARY)), random.choice("abc").encode() * random.choice(SIZES))
            await asyncio.sleep(pause)
        await open_.exchange(PING, b"there?")
        await open_.exchange(CLOSE, struct.pack("!H", 1000))
        await open_.end(5)
    finally:
        await open_.finish()
    return "echoed and closed"


async def forget(run):
    """Leaves a tunnel idle until the gateway has had enough of it, and not before."""
    open_ = await tunnel(run)
    try:
        await open_.exchange(TEXT, b"once")
        began = time.monotonic()
        await open_.end(TUNNEL_S + 10)
        if time.monotonic() - began < TUNNEL_S - 0.5:
            raise Unexpected("cut", "a tunnel that may rest")
    finally:
        await open_.finish()
    return "ended for being idle"


async def leave(run):
    """Goes away in the middle of a frame."""
    open_ = await tunnel(run)
    try:
        await open_.exchange(BINARY, b"x" * 5000)
        await open_.send(frame(BINARY, bytes(100_000), by_client=True)[:random.randrange(1, 60_000)])
        await asyncio.sleep(random.uniform(0, 0.3))
    finally:
        open_.leave()
    return "left by the client"


async def stuff(run):
    """Sends and does not read, until nothing more is taken; and goes away."""
    open_ = await tunnel(run)
    message = frame(BINARY, bytes(60_000), by_client=True)
    try:
        with contextlib.suppress(asyncio.TimeoutError):
            for _ in range(100):
                await asyncio.wait_for(open_.send(message), 0.5)
    finally:
        open_.leave()
    return "left full"


async def be_left(run):
    """Has the upstream go away in the middle."""
    open_ = await tunnel(run)
    try:
        await open_.exchange(TEXT, b"still here")
        await open_.send(frame(TEXT, DIE, by_client=True))
        await open_.end(5)
    finally:
        await open_.finish()
    return "left by the upstream"


async def refused(run):
    """Asks for tunnels that there are not: without a key, of an upstream that says no, over too many."""
    path, fields, right = random.choice([("/live/echo", [], 401), ("/live/no", None, 426)])
    return demand(await opened(run, path, fields), right)


SCENARIOS = [(talk, 3, 0.2), (forget, 2, 0.5), (leave, 1, 0.3), (stuff, 1, 0.7), (be_left, 1, 0.3), (refused, 1, 0.3)]
