"""Three of Python's clients of HTTP: requests, httpx and aiohttp."""

import asyncio
import hashlib
import io
import socket
import ssl
import time

import aiohttp
import h2.connection
import h2.errors
import h2.events
import httpx
import requests

PATIENCE = 30
URL, CA, FILE = told["url"], told["ca"], told["file_bytes"]
KEY = {"X-API-Key": told["key"]}
BIG = bytes(range(256)) * 4096
SQUEEZED = b"squeezed" * 500


def digest(content):
    return hashlib.sha256(content).hexdigest()


def context():
    return ssl.create_default_context(cafile=CA)


def check_echo(said, method, content=b"", path="/echo"):
    assert (said["method"], said["path"], said["sha256"]) == (method, path, digest(content)), said
    assert told["key"] not in str(said), said
    assert ["x-keygate-key-id", "alice"] in [[name.lower(), value] for name, value in said["fields"]], said


def synchronous(client, get_stream, refused):
    """What requests and httpx have in common."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        check_echo(client.request(method, URL + "/echo?a=%20b&a=c", headers=KEY).json(), method, path="/echo?a=%20b&a=c")
    assert client.head(URL + "/echo", headers=KEY).content == b""
    check_echo(client.post(URL + "/echo", headers=KEY, content=BIG).json(), "POST", BIG)
    check_echo(client.post(URL + "/echo", headers=KEY, content=iter([b"part"] * 5000)).json(), "POST", b"part" * 5000)
    form = client.post(URL + "/echo", headers=KEY, files={"file": ("name", io.BytesIO(BIG))}).json()
    assert form["bytes"] > len(BIG), form
    assert len(client.get(URL + "/file", headers=KEY).content) == FILE
    assert client.get(URL + "/squeezed", headers=KEY).content == SQUEEZED
    assert client.get(URL + "/until-the-end", headers=KEY).content == b"all of it"
    assert client.get(URL + "/nothing", headers=KEY).status_code == 204
    assert list(get_stream(client)) == ["one", "two", "three"]
    check_echo(client.get(URL + "/moved", headers=KEY).json(), "GET")
    client.get(URL + "/cookies", headers=KEY)
    sent = client.get(URL + "/echo", headers=KEY).json()["fields"]
    assert any(name.lower() == "cookie" and "a=1" in value for name, value in sent), sent
    for headers in ({}, {"X-API-Key": "nobody"}):
        answer = client.get(URL + "/echo", headers=headers)
        assert answer.status_code == 401 and answer.json()["code"] in ("credentials_missing", "key_unknown"), answer.text
        assert answer.headers["WWW-Authenticate"].startswith("ApiKey"), answer.headers
    refused(client)
    check_echo(client.get(URL + "/echo", headers=KEY).json(), "GET")


def refused_or_cut(client):
    """Twenty megabytes are more than may be sent. Who sends all of it before it looks for an answer may be cut off."""
    for headers, expected in (({}, 401), (KEY, 413)):
        try:
            assert client.post(URL + "/echo", headers=headers, content=b"x" * (20 << 20)).status_code == expected
        except (requests.ConnectionError, httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            pass


def refused_after_all(client):
    """httpx sends all of it in any case, and waits for ever if the window stays shut: here it never is."""
    assert client.post(URL + "/echo", content=b"x" * (3 << 20)).status_code == 401


class Requests(requests.Session):
    """`requests`, asked as httpx is asked."""

    def request(self, method, url, content=None, data=None, **more):
        return super().request(method, url, data=data if content is None else content, timeout=PATIENCE, **more)


@case
def requests_gets_along():
    with Requests() as client:
        # Else a variable of whoever runs this has the last word about authorities.
        client.verify, client.trust_env = CA, False
        stream = lambda client: map(bytes.decode, client.get(URL + "/parts", headers=KEY, stream=True).iter_lines())

        synchronous(client, stream, refused_or_cut)


def with_httpx(http2):
    with httpx.Client(http1=not http2, http2=http2, verify=context(), timeout=PATIENCE, follow_redirects=True) as client:
        def stream(client):
            with client.stream("GET", URL + "/parts", headers=KEY) as answer:
                assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), answer.http_version
                yield from answer.iter_lines()

        synchronous(client, stream, refused_after_all if http2 else refused_or_cut)


@case
def httpx_gets_along_over_http_1():
    with_httpx(False)


@case
def httpx_gets_along_over_http_2():
    with_httpx(True)


@case
def httpx_asks_for_sixty_pages_at_once():
    async def ask():
        async with httpx.AsyncClient(http2=True, verify=context(), timeout=PATIENCE) as client:
            answers = await asyncio.gather(*(client.get(f"{URL}/file?{number}", headers=KEY) for number in range(60)))
            assert {(answer.status_code, len(answer.content)) for answer in answers} == {(200, FILE)}
            assert {answer.http_version for answer in answers} == {"HTTP/2"}

    asyncio.run(ask())


@case
def aiohttp_gets_along():
    async def ask():
        connector = aiohttp.TCPConnector(ssl=context(), limit=30)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(URL, connector=connector, headers=KEY, timeout=timeout) as client:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                async with client.request(method, "/echo") as answer:
                    check_echo(await answer.json(), method)
            async with client.head("/echo") as answer:
                assert answer.status == 200 and await answer.read() == b""
            async with client.post("/echo", data=BIG) as answer:
                check_echo(await answer.json(), "POST", BIG)
            async with client.post("/echo", data=BIG, expect100=True) as answer:
                check_echo(await answer.json(), "POST", BIG)

            async def parts():
                for _ in range(500):
                    yield b"part" * 100

            async with client.put("/echo", data=parts()) as answer:
                check_echo(await answer.json(), "PUT", b"part" * 50_000)
            async with client.get("/squeezed") as answer:
                assert await answer.read() == SQUEEZED
            async with client.get("/parts") as answer:
                assert [line async for line in answer.content] == [b"one\n", b"two\n", b"three\n"]
            async with client.get("/until-the-end") as answer:
                assert await answer.read() == b"all of it"
            async with client.get("/moved") as answer:
                check_echo(await answer.json(), "GET")
            async with client.post("/echo", data=BIG, expect100=True, headers={"X-API-Key": "nobody"}) as answer:
                assert answer.status == 401 and (await answer.json(content_type=None))["code"] == "key_unknown"

            async def page(number):
                async with client.get(f"/file?{number}") as answer:
                    return answer.status, len(await answer.read())

            assert set(await asyncio.gather(*(page(number) for number in range(60)))) == {(200, FILE)}

    asyncio.run(ask())


@case
def aiohttp_gives_up_and_goes_on():
    async def ask():
        connector = aiohttp.TCPConnector(ssl=context())
        async with aiohttp.ClientSession(URL, connector=connector, headers=KEY) as client:
            try:
                async with client.get("/slow", timeout=aiohttp.ClientTimeout(total=0.5)):
                    raise AssertionError("an answer")
            except asyncio.TimeoutError:
                pass
            async with client.get("/echo") as answer:
                check_echo(await answer.json(), "GET")

    asyncio.run(ask())


@case
def an_upload_that_nobody_wants_is_reset_after_its_answer():
    """The answer comes at once and whole; the client may go on for a moment, and is told to stop when it does not."""
    made = context()
    made.set_alpn_protocols(["h2"])
    host, port = URL.removeprefix("https://").split(":")
    with made.wrap_socket(socket.create_connection((host, int(port)), PATIENCE), server_hostname=host) as wire:
        client = h2.connection.H2Connection()
        client.initiate_connection()
        client.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", "/echo")])
        client.send_data(1, b"x" * 1000)
        wire.sendall(client.data_to_send())
        seen, begun = {}, time.monotonic()
        while h2.events.StreamReset not in seen:
            for event in client.receive_data(wire.recv(65536)):
                seen[type(event)] = (time.monotonic() - begun, event)
            wire.sendall(client.data_to_send())
    answered, ended = seen[h2.events.ResponseReceived][0], seen[h2.events.StreamEnded][0]
    reset, event = seen[h2.events.StreamReset]
    assert event.error_code == h2.errors.ErrorCodes.NO_ERROR, event
    assert answered <= ended < reset and 0.9 < reset < PATIENCE / 2, (answered, ended, reset)


run()
