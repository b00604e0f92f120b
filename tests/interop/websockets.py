"""A server and clients of WebSocket, by the library `websockets`: messages of all sizes, there and back."""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

told = json.load(sys.stdin)
said = {}


async def echo(connection):
    async for message in connection:
        await connection.send(message)
        if message == "bye":
            await connection.close(4000, "as asked")


def chosen(_connection, offered):
    return "chat" if "chat" in offered else None


def tls():
    if told["ca"] is None:
        return None
    return ssl.create_default_context(cafile=told["ca"])


def client(path, **options):
    url = f"{'wss' if told['ca'] else 'ws'}://localhost:{told['port']}{path}"
    fields = {"X-API-Key": told["key"]} | options.pop("fields", {})
    return connect(url, ssl=tls(), additional_headers=fields, max_size=None, proxy=None, **options)


async def refused(path, **options):
    try:
        async with client(path, **options):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def sizes(compression):
    """Bytes that came back as they were sent, of messages from nothing to some MiB, texts and bytes."""
    passed = 0
    async with client("/live/sizes", compression=compression) as connection:
        for size in [0, 1, 125, 126, 127, 4095, 16384, 65535, 65536, 65537, 1_000_003, 5_000_011]:
            for message in ["ä" * (size // 2), bytes(index % 251 for index in range(min(size, 65536))) * (size // 65536 + 1)]:
                await connection.send(message)
                assert await connection.recv() == message, size
                passed += 1
    return passed


async def burst(count):
    """Messages that came back in order, though nobody waits for one before the next is sent."""
    async with client("/live/burst", compression=None) as connection:

        async def speak():
            for number in range(count):
                await connection.send(f"{number} " + "x" * (number % 300))

        speaking = asyncio.create_task(speak())
        for number in range(count):
            assert (await connection.recv()).split()[0] == str(number)
        await speaking
    return count


async def many(count):
    """Connections that are open at once, each with its own answer."""
    connections = await asyncio.gather(*(client(f"/live/{number}") for number in range(count)))
    for number, connection in enumerate(connections):
        await connection.send(f"I am {number}")
    answers = await asyncio.gather(*(connection.recv() for connection in connections))
    await asyncio.gather(*(connection.close() for connection in connections))
    return sum(answer == f"I am {number}" for number, answer in enumerate(answers))


async def closing():
    """How each end hears that the other one closes, and that it is there meanwhile."""
    async with client("/live/closing", ping_interval=0.1) as connection:
        latency = await (await connection.ping())
        assert latency >= 0
        await asyncio.sleep(0.5)
        await connection.send("bye")
        assert await connection.recv() == "bye"
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            return [closed.rcvd.code, closed.rcvd.reason]


def served_over():
    if told["ca"] is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(told["ca"], told["private"])
    return context


async def main():
    async with serve(echo, "127.0.0.1", told["upstream"], ssl=served_over(), max_size=None, select_subprotocol=chosen):
        said["sizes"] = await sizes("deflate") + await sizes(None)
        said["burst"] = await burst(5000)
        said["many"] = await many(50)
        said["closing"] = await closing()
        async with client("/live/chat", subprotocols=["other", "chat"]) as connection:
            said["subprotocol"] = connection.subprotocol
        said["no_key"] = await refused("/live/x", fields={"X-API-Key": ""})
        said["elsewhere"] = await refused("/plain")


asyncio.run(asyncio.wait_for(main(), 60))
json.dump(said, sys.stdout)
