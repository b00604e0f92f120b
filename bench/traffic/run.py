"""What all kinds of traffic share: where to, with what, how an answer is judged, and what came of all."""

import asyncio
import collections
import contextlib
import random
import re
import ssl
import time

AFTER_OUTAGE_S = 1.0  # What a request may still notice of an outage that has ended.
PATIENCE_S = 15       # Longer than anything is to be waited for.

# How it looks when the upstream is away.
OUTAGE = (502, 503, 504, "cut", "reset")

# What is raised when the other end is gone.
GONE = (OSError, asyncio.IncompleteReadError, ssl.SSLError)


class Unexpected(Exception):
    """An answer that is not the right one: a status, `cut`, or what else is wrong with it."""

    def __init__(self, got, *right, name=b""):
        super().__init__(f"{got} in place of {' or '.join(map(str, right))}" if right else got)
        self.got, self.name = got, name


class Run:
    """A soak, as its traffic sees it."""

    def __init__(self, folder, ports, keys, only):
        self.folder, self.ports, self.keys, self.only = folder, ports, keys, only
        self.counts = collections.Counter()
        self.wrong = []
        self.names = []  # Of those answers, as the access log has them.
        self.outages = []
        self.on, self.lag = True, 0
        self.tls, self.tls_http2 = context(), context("h2")

    def wants(self, kind):
        """Whether there is to be such traffic."""
        return not self.only or kind in self.only

    def secret(self):
        """A key that is good."""
        return random.choice(self.keys["good"])

    def excused(self, began):
        """Whether the upstream was away while a request ran that began then."""
        return any(began <= end + AFTER_OUTAGE_S for _, end in self.outages[-3:])

    def expect(self, kind, got, right, began, name=b""):
        """Counts an answer. One that is neither right nor due to an outage is an error that nobody injected."""
        if got in right:
            self.counts[f"{kind} {got}"] += 1
        else:
            self.blame(kind, Unexpected(got, *right, name=name), began)

    def blame(self, kind, unexpected, began):
        """Counts an answer that is not right: the outage's fault, or nobody's."""
        if unexpected.got in OUTAGE and self.excused(began):
            self.counts[f"{kind} {unexpected.got} in an outage"] += 1
        else:
            self.wrong.append(f"{kind}: {unexpected}")
            self.names.append(unexpected.name.decode())

    async def connect(self, tls=False, limit=1 << 16):
        """A connection for HTTP/1.1. `limit` bounds what is read before it is asked for."""
        port = self.ports["tls" if tls else "plain"]
        return await asyncio.open_connection("127.0.0.1", port, ssl=self.tls if tls else None, limit=limit)

    async def live(self, kind, pause, scenario):
        """Goes through a scenario again and again. It returns what it has come to, or raises what is wrong."""
        while self.on:
            began = time.monotonic()
            try:
                came_to = await asyncio.wait_for(scenario(self), 4 * PATIENCE_S)
                self.counts[f"{kind} {came_to}"] += 1
            except Unexpected as unexpected:
                self.blame(f"{kind} {scenario.__name__}", unexpected, began)
            except GONE as error:
                self.blame(f"{kind} {scenario.__name__}", Unexpected("cut", repr(error)), began)
            except asyncio.TimeoutError:
                self.blame(f"{kind} {scenario.__name__}", Unexpected("no end"), began)
            await asyncio.sleep(random.uniform(0, 2 * pause))


def context(*protocols):
    """How a client speaks TLS that believes any certificate."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(protocols)
    return made


def demand(got, *right, name=b""):
    """Insists on one of these answers, and returns it."""
    if got not in right:
        raise Unexpected(got, *right, name=name)
    return got


async def soon(waiting, seconds=PATIENCE_S, what="nothing came"):
    """What is waited for, if it comes in time."""
    try:
        return await asyncio.wait_for(waiting, seconds)
    except asyncio.TimeoutError:
        raise Unexpected(f"{what} for {seconds} s") from None


async def content(reader, head):
    """The content of a message of HTTP/1.1 with this head."""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return await reader.readexactly(int(length[1]))
    body = b""
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\n") != b"\r\n":
            pass
    return body


def head_of(method, path, fields):
    """The head of a request, but for its last line."""
    return [f"{method} {path} HTTP/1.1", "Host: soak.test", *(f"{name}: {value}" for name, value in fields)]


async def ask(streams, method, path, fields=(), body=b"", chunked=False, patience=PATIENCE_S):
    """Sends a request and reads the answer: its status and content, or `cut`; whether the connection is over; its name."""
    reader, writer = streams
    lines = head_of(method, path, fields)
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if chunked:
            for at in range(0, len(body), 16384):
                piece = body[at:at + 16384]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(body)
        await writer.drain()
        return await answer(reader, patience)
    except (*GONE, asyncio.TimeoutError, ValueError):
        return "cut", b"", True, b""


async def answer(reader, patience=PATIENCE_S):
    """Reads an answer: its status and content; whether the connection is over; its name."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience)
    name = (re.search(rb"(?i)x-request-id: *(\S+)", head) or [b"", b""])[1]
    body = await asyncio.wait_for(content(reader, head), patience)
    return int(head.split(b" ")[1]), body, b"connection: close" in head.lower(), name


async def close(streams):
    """Leaves as one should."""
    streams[1].close()
    with contextlib.suppress(*GONE, asyncio.TimeoutError):
        await asyncio.wait_for(streams[1].wait_closed(), 2)


def abort(streams):
    """Leaves as one who was never there: with a reset."""
    streams[1].transport.abort()


def key(name):
    return ("X-API-Key", name)
