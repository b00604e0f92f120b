"""Clients of HTTP/2: streams side by side, uploads, calls of gRPC, streams that are taken back, and readers that do not read."""

import asyncio
import contextlib
import random
import re
import subprocess
import time

from traffic import http2
from traffic.run import GONE, Unexpected, ask, close, demand, key
from traffic.upstream import EVENTS, LARGE_BYTES, MESSAGE

GRPC = [("Content-Type", "application/grpc"), ("TE", "trailers")]


async def bursts(run):
    """Bursts of h2load, 4 connections with 8 streams each."""
    url = f"https://127.0.0.1:{run.ports['tls']}/orders/2"
    command = ["h2load", "-t1", "-c4", "-m8", "-n200", "-H", f"x-api-key: {run.keys['good'][0]}", url]
    while run.on:
        began = time.monotonic()
        h2load = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said = (await h2load.communicate())[0].decode()
        number = lambda pattern: int((re.search(pattern, said) or [0, 0])[1])
        good, failed, unavailable = number(r"(\d+) 2xx"), number(r"(\d+) failed"), number(r"(\d+) 5xx")
        run.counts["HTTP/2 200"] += good
        if good != 200:
            if failed == unavailable and good + unavailable == 200 and run.excused(began):
                run.counts["HTTP/2 5xx in an outage"] += unavailable
            else:
                run.wrong.append(f"HTTP/2: {good} of 200 were good: {' '.join(said.split())[-400:]}")
        await asyncio.sleep(2)


# --- streams side by side -----------------------------------------------------------------------------------------------

@contextlib.asynccontextmanager
async def connected(run, **more):
    client = await http2.Client.connect(run, random.random() < 0.5, **more)
    try:
        yield client
    finally:
        await client.close()


async def page(run, client):
    stream = await client.request("GET", "/orders/1", [key(run.secret())])
    demand(await stream.status(), 200)
    demand(len(await stream.whole()), 200)
    return "pages"


async def upload(run, client):
    """Content of any size, in pieces; at times with trailers behind it, at times with its length before it."""
    size = random.choice((0, 1, 1000, 65_536, 300_000))
    length = [("Content-Length", str(size))] if random.random() < 0.5 else []
    stream = await client.request("POST", "/orders/upload", [key(run.secret()), *length], end=False)
    for at in range(0, size, 50_000):
        await stream.send(bytes(min(50_000, size - at)))
        await asyncio.sleep(random.choice((0, 0.01)))
    await stream.send(b"", end=True, trailers=[("checksum", "none")] if random.random() < 0.3 else ())
    demand(await stream.status(), 200)
    demand(await stream.whole(), str(size).encode())
    return "uploads"


async def too_large(run, client):
    """More than `maxima.body`, which is said at once, or noticed."""
    stream = await client.request("POST", "/orders/upload", [key(run.secret())], end=False)
    with contextlib.suppress(http2.Reset):
        await stream.send(bytes(3 << 20), end=True)
    return f"uploads {demand(await stream.status(), 413)}"


async def refusal(run, client):
    fields, path, right = random.choice([
        ([], "/orders/1", 401),
        ([key("kg_nobody")], "/orders/1", 401),
        ([key(run.secret())], "/nowhere", 404),
        ([key(run.secret())], "/orders/..%2f/x", 400),
    ])
    stream = await client.request("GET", path, fields)
    status = demand(await stream.status(), right)
    await stream.whole()
    return f"refusals {status}"


async def large(run, client):
    stream = await client.request("GET", "/orders/large", [key(run.secret())])
    demand(await stream.status(), 200)
    demand(len(await stream.whole()), LARGE_BYTES)
    return "large answers"


async def judged(run, kind, one, client):
    """One of many streams, which is right or wrong for itself."""
    began = time.monotonic()
    try:
        run.counts[f"{kind} {await one(run, client)}"] += 1
    except GONE as error:
        run.blame(f"{kind} {one.__name__}", Unexpected("cut", repr(error)), began)
    except Unexpected as unexpected:
        run.blame(f"{kind} {one.__name__}", unexpected, began)


async def side_by_side(run):
    """Some rounds of streams that run at once on one connection; between them, it rests."""
    async with connected(run) as client:
        for _ in range(random.randrange(1, 4)):
            ones = random.choices([page, upload, refusal, large, too_large], [8, 4, 3, 1, 1], k=random.randrange(1, 16))
            await asyncio.gather(*(judged(run, "streams", one, client) for one in ones))
            await asyncio.sleep(random.choice((0, 0.2, 2)))
    return "connections"


async def take_back(run):
    """Resets requests at any moment, with content on the way in both directions; others on the connection go on."""
    async with connected(run) as client:
        for _ in range(random.randrange(1, 6)):
            path = random.choice(["slow", "large", "events", "upload"])
            uploads = path == "upload"
            stream = await client.request("POST" if uploads else "GET", f"/orders/{path}", [key(run.secret())], end=not uploads)
            if uploads:
                await stream.send(bytes(random.randrange(100_000)))
            await asyncio.sleep(random.choice((0.02, 0.1, 0.3)))
            await stream.reset()
            run.counts["streams taken back"] += 1
            await page(run, client)
    return "connections"


async def disappear(run):
    """Leaves with streams open."""
    client = await http2.Client.connect(run, random.random() < 0.5)
    for path in random.choices(["slow", "large", "events", "1"], k=4):
        await client.request("GET", f"/orders/{path}", [key(run.secret())])
    stream = await client.request("POST", "/orders/upload", [key(run.secret())], end=False)
    await stream.send(bytes(10_000))
    await asyncio.sleep(random.uniform(0, 0.3))
    client.abort()
    return "left open"


async def not_read(run):
    """Asks for much and makes no room for it, or a little now and then; until it is cut."""
    async with connected(run, window=1000) as client:
        stream = await client.request("GET", "/orders/large", [key(run.secret())])
        demand(await stream.status(), 200)
        little = random.random() < 0.5
        deadline = time.monotonic() + 30
        while not (stream.broken or client.pumping.done()):
            if time.monotonic() > deadline:
                raise Unexpected(f"a reader that takes {'a little' if little else 'nothing'} was not cut")
            if little:
                with contextlib.suppress(*GONE, http2.exceptions.ProtocolError):
                    client.h2.increment_flow_control_window(50, stream.number)
                    await client.flush()
            await asyncio.sleep(0.2)
    return "cut for reading too slowly"


# --- calls of gRPC, which go to an upstream of HTTP/2 -------------------------------------------------------------------

async def begun(run, client, method):
    return await client.request("POST", f"/grpc/{method}", [key(run.secret()), *GRPC], end=False)


async def succeeds(stream):
    """The head of a call. What keygate refuses has the status 200, too, and says the rest in fields."""
    fields = await stream.fields()
    demand(fields[":status"], "200")
    if "grpc-status" in fields:
        raise Unexpected(503, f"a call, not {fields}")


async def ends(stream):
    if stream.trailers.get("grpc-status") != "0" or stream.trailers.get("grpc-message") != "well done":
        raise Unexpected(f"the trailers {stream.trailers}")


async def unary(run, client):
    stream = await begun(run, client, "echo")
    message = MESSAGE * random.choice((1, 10, 3000))
    sending = asyncio.create_task(stream.send(message, end=True))
    try:
        await succeeds(stream)
        if await stream.whole() != message:
            raise Unexpected("another message than was sent")
        await ends(stream)
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return "calls"


async def turns(run, client):
    """Both sides take turns; the answer has begun long before the request ends."""
    stream = await begun(run, client, "echo")
    await stream.send(MESSAGE)
    await succeeds(stream)
    for number in range(random.randrange(1, 20)):
        if number:
            await stream.send(MESSAGE)
        got = b""
        while len(got) < len(MESSAGE):
            got += await stream.event() or b""
            if stream.ended:
                raise Unexpected("an early end")
        demand(got, MESSAGE)
        await asyncio.sleep(random.choice((0, 0.02, 0.1)))
    await stream.send(b"", end=True)
    await stream.whole()
    await ends(stream)
    return "conversations"


async def counted(run, client):
    """A stream of messages, whole or left in the middle."""
    stream = await begun(run, client, "count")
    await stream.send(MESSAGE, end=True)
    await succeeds(stream)
    if random.random() < 0.5:
        for _ in range(5):
            await stream.event()
        await stream.reset()
        return "taken back"
    demand(len(await stream.whole()), EVENTS * len(MESSAGE))
    await ends(stream)
    return "streams of messages"


async def error(run, client):
    stream = await begun(run, client, "error")
    await stream.send(MESSAGE, end=True)
    fields = await stream.fields()
    if fields.get("grpc-status") != "5":
        raise Unexpected(503 if fields.get("grpc-status") == "14" else str(fields), "an error of the upstream's")
    return "errors of the upstream"


async def broken(run, client):
    stream = await begun(run, client, "break")
    await stream.send(MESSAGE)
    try:
        await succeeds(stream)
        await stream.whole()
    except http2.Reset as reset:
        demand(reset.got, "reset")
        return "broken by the upstream"
    raise Unexpected("a broken answer that ended well")


CALLS = [unary, turns, counted, error, broken]


async def calls(run):
    """Calls side by side on one connection."""
    async with connected(run) as client:
        for _ in range(random.randrange(1, 4)):
            await asyncio.gather(*(judged(run, "gRPC", random.choice(CALLS), client) for _ in range(random.randrange(1, 8))))
    return "connections"


async def pages_of_http2(run):
    """The same upstream, asked over HTTP/1.1."""
    streams = await run.connect(random.random() < 0.5)
    try:
        for _ in range(5):
            path, right = random.choice([("page", 200), ("page", 200), ("refuse", 502)])
            status, body, over, name = await ask(streams, "POST", f"/grpc/{path}", [key(run.secret())], bytes(5000))
            demand(status, right, name=name)
            run.counts[f"HTTP/1.1 to HTTP/2 {status}"] += 1
            if over:
                break
    finally:
        await close(streams)
    return "connections"
