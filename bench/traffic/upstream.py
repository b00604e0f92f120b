"""The upstream of a soak, in HTTP/1.1 and HTTP/2: it answers with what it was sent, and breaks where it is asked to."""

import asyncio
import contextlib

from traffic import http2, websocket
from traffic.run import GONE, content

EVENTS = 30
EVENT_S = 0.05
LARGE_BYTES, HUGE_BYTES = 1 << 20, 24 << 20   # A huge one is more than all buffers on its way hold.
MESSAGE = b"\0\0\0\0\x64" + b"m" * 100         # As gRPC frames them: not compressed, and its length.


async def serve(port, port_http2):
    """Serves until it is killed."""
    http1 = await asyncio.start_server(answers, "127.0.0.1", port, backlog=512, reuse_address=True)
    grpc = await asyncio.start_server(
        lambda *streams: http2.Server(streams).serve(call), "127.0.0.1", port_http2, backlog=512, reuse_address=True)
    async with http1, grpc:
        await asyncio.gather(http1.serve_forever(), grpc.serve_forever())


# --- HTTP/1.1 -----------------------------------------------------------------------------------------------------------

async def answers(reader, writer):
    with contextlib.suppress(*GONE, ValueError):
        while await exchange(reader, writer):
            pass
    writer.close()


async def exchange(reader, writer):
    """Answers a request; whether the connection goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b" ", 2)
    if path == b"/live/echo":
        await websocket.echo(reader, writer, head)
        return False
    received = len(await content(reader, head))
    if b"/fault/" in path:
        return await fault(writer, path.rpartition(b"/fault/")[2].decode())
    if path.endswith((b"/large", b"/huge")):
        await pieces(writer, b"x" * 0x8000, (HUGE_BYTES if path.endswith(b"huge") else LARGE_BYTES) // 0x8000, 0)
    elif path.endswith(b"/events"):
        await pieces(writer, b"data: something has happened\n\n", EVENTS, EVENT_S)
    else:
        if path.endswith(b"/slow"):
            await asyncio.sleep(1)
        status = b"426 Upgrade Required" if path == b"/live/no" else b"200 OK"
        body = b"x" * 200 if method == b"GET" else str(received).encode()
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
    await writer.drain()
    return True


async def pieces(writer, piece, count, pause):
    """An answer of unknown length."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")


async def fault(writer, kind):
    """Breaks in the way that is asked for."""
    if kind == "silent":
        await asyncio.sleep(30)
    writer.write({
        "garbage": b"NONSENSE\r\n\r\n",
        "short": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nnot so much",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "500": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    }.get(kind, b""))
    await writer.drain()
    return kind == "500"


# --- HTTP/2, in the manner of gRPC --------------------------------------------------------------------------------------

async def call(stream):
    """Answers a call; what is in the path says how."""
    path = (await stream.fields())[":path"]
    say = lambda fields, end=False: stream.owner.h2.send_headers(stream.number, fields, end_stream=end)
    if path.endswith("/refuse"):
        return await stream.reset()
    if path.endswith("/page"):
        await stream.whole()
        say([(":status", "200")])
        return await stream.send(b"x" * 200, end=True)
    if path.endswith("/error"):
        await stream.whole()
        say([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")], end=True)
        return await stream.owner.flush()
    say([(":status", "200"), ("content-type", "application/grpc")])
    await stream.owner.flush()
    async for data in stream.content():
        if path.endswith("/echo"):
            await stream.send(data)
        elif path.endswith("/break"):
            await stream.send(MESSAGE)
            return await stream.reset()
    if path.endswith("/count"):
        for _ in range(EVENTS):
            await stream.send(MESSAGE)
            await asyncio.sleep(EVENT_S)
    await stream.send(b"", trailers=[("grpc-status", "0"), ("grpc-message", "well done")])
