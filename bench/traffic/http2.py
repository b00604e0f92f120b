"""One end of an HTTP/2 connection, with the library h2 of .ci/clients below it: enough for a client and for an upstream."""

import asyncio
import contextlib
import pathlib
import sys

from servers import ROOT, Failure
from traffic.run import GONE, Unexpected, soon

sys.path += map(str, pathlib.Path(ROOT).glob("target/interop/python/lib/python3*/site-packages"))
try:
    from h2 import config, connection, events, exceptions, settings
except ImportError as error:
    raise Failure(f"{error}; `make clients` installs it") from error

CANCEL = 8


class Reset(Unexpected):
    """The other end has cut a stream (`reset`), or the connection (`cut`)."""


class Stream:
    """A request and its answer."""

    def __init__(self, owner, number):
        self.owner, self.number = owner, number
        self.events = asyncio.Queue()
        self.head, self.trailers, self.broken, self.ended = None, {}, None, False

    async def fields(self):
        """The head, when it has come."""
        while self.head is None:
            await self.event()
        return self.head

    async def status(self):
        return int((await self.fields())[":status"])

    async def content(self):
        """What comes, piece by piece, until it ends well. Makes room for more as it is taken."""
        while (data := await self.event()) is not None or not self.ended:
            if data:
                yield data

    async def whole(self):
        return b"".join([data async for data in self.content()])

    async def event(self):
        """The next piece of content, or None for anything else, which is kept here."""
        if self.ended:
            return None
        event = await soon(self.events.get(), what=f"nothing came on stream {self.number}")
        match event:
            case Reset():
                raise event
            case events.RequestReceived() | events.ResponseReceived():
                self.head = dict(event.headers)
            case events.TrailersReceived():
                self.trailers = dict(event.headers)
            case events.StreamEnded():
                self.ended = True
            case events.DataReceived():
                self.owner.taken(event)
                return event.data
        return None

    async def send(self, data, end=False, trailers=()):
        """Sends content as fast as the other end has room for it."""
        sender = self.owner.h2
        while True:
            if self.broken:
                raise self.broken
            try:
                room = min(sender.local_flow_control_window(self.number), sender.max_outbound_frame_size)
                if not data:
                    break
                if room > 0:
                    sender.send_data(self.number, data[:room])
                    data = data[room:]
            except exceptions.ProtocolError:
                raise Reset("reset") from None
            if room > 0:
                await self.owner.flush()
            else:
                self.owner.room.clear()
                await soon(self.owner.room.wait(), what="no room to send")
        with self.owner.alive():
            if trailers:
                sender.send_headers(self.number, trailers, end_stream=True)
            elif end:
                sender.end_stream(self.number)
        await self.owner.flush()

    async def reset(self, code=CANCEL):
        """Takes the request back, or refuses to go on."""
        with contextlib.suppress(exceptions.ProtocolError):
            self.owner.h2.reset_stream(self.number, code)
        while not self.events.empty():
            if isinstance(event := self.events.get_nowait(), events.DataReceived):
                self.owner.taken(event)
        self.owner.streams.pop(self.number, None)
        await self.owner.flush()


class Connection:
    """What both ends have in common."""

    def __init__(self, streams, is_client, window=None):
        self.reader, self.writer = streams
        self.h2 = connection.H2Connection(config.H2Configuration(client_side=is_client, header_encoding="utf-8"))
        if window is not None:
            self.h2.local_settings = settings.Settings(
                client=is_client, initial_values={settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.streams, self.opened, self.farewell = {}, asyncio.Queue(), "no GOAWAY"
        self.room, self.settled = asyncio.Event(), asyncio.Event()
        self.h2.initiate_connection()
        self.pumping = asyncio.create_task(self.pump())

    async def pump(self):
        """Reads until the connection ends, and hands out what comes."""
        try:
            await self.flush()
            while data := await self.reader.read(1 << 16):
                for event in self.h2.receive_data(data):
                    self.dispatch(event)
                await self.flush()
        except (*GONE, exceptions.ProtocolError):
            pass
        finally:
            for stream in self.streams.values():
                stream.broken = stream.broken or Reset("cut", self.farewell)
                stream.events.put_nowait(stream.broken)
            self.opened.put_nowait(None)
            self.room.set()
            self.settled.set()

    def dispatch(self, event):
        match event:
            case events.RemoteSettingsChanged():
                self.settled.set()
                self.room.set()
            case events.WindowUpdated():
                self.room.set()
            case events.ConnectionTerminated():
                self.farewell = f"GOAWAY {event.error_code}"
            case events.RequestReceived():
                stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
                stream.events.put_nowait(event)
                self.opened.put_nowait(stream)
            case events.StreamReset() if event.stream_id in self.streams:
                stream = self.streams.pop(event.stream_id)
                stream.broken = Reset("reset")
                stream.events.put_nowait(stream.broken)
                self.room.set()
            case events.DataReceived() if event.stream_id not in self.streams:
                self.taken(event)
            case events.ResponseReceived() | events.DataReceived() | events.TrailersReceived() | events.StreamEnded():
                if event.stream_id in self.streams:
                    self.streams[event.stream_id].events.put_nowait(event)

    def taken(self, data):
        """Gives back the room that this content took."""
        with contextlib.suppress(exceptions.ProtocolError):
            self.h2.acknowledge_received_data(data.flow_controlled_length, data.stream_id)
            if more := self.h2.data_to_send():
                self.writer.write(more)

    @contextlib.contextmanager
    def alive(self):
        try:
            yield
        except exceptions.ProtocolError:
            raise Reset("cut", self.farewell) from None

    async def flush(self):
        if data := self.h2.data_to_send():
            self.writer.write(data)
        await self.writer.drain()

    async def close(self):
        """Says goodbye, and leaves."""
        with contextlib.suppress(*GONE, exceptions.ProtocolError, asyncio.TimeoutError):
            self.h2.close_connection()
            await asyncio.wait_for(self.flush(), 2)
        self.pumping.cancel()
        self.writer.close()
        with contextlib.suppress(*GONE, asyncio.TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 2)

    def abort(self):
        """Is gone."""
        self.pumping.cancel()
        self.writer.transport.abort()


class Client(Connection):

    @classmethod
    async def connect(cls, run, tls, window=None):
        """Over TLS, or in the clear with prior knowledge."""
        port = run.ports["tls" if tls else "plain"]
        streams = await asyncio.open_connection("127.0.0.1", port, ssl=run.tls_http2 if tls else None)
        return cls(streams, True, window)

    async def request(self, method, path, fields=(), end=True, pseudo=()):
        """Begins a request; `end` tells whether it has no content."""
        with self.alive():
            number = self.h2.get_next_available_stream_id()
            stream = self.streams[number] = Stream(self, number)
            self.h2.send_headers(number, [
                (":method", method), *pseudo, (":scheme", "https"), (":authority", "soak.test"), (":path", path),
                *((name.lower(), value) for name, value in fields)], end_stream=end)
        await self.flush()
        return stream


class Server(Connection):

    def __init__(self, streams):
        super().__init__(streams, False)

    async def serve(self, handler):
        """Hands each request to `handler`, until the client leaves."""
        tasks = set()
        while stream := await self.opened.get():
            task = asyncio.create_task(self.one(handler, stream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()
        self.writer.close()

    async def one(self, handler, stream):
        with contextlib.suppress(Unexpected, *GONE, exceptions.ProtocolError):
            await handler(stream)
        self.streams.pop(stream.number, None)
