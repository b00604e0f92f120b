"""gRPC's own client, and its own server as the upstream, with keygate between them."""

import asyncio
import queue
import threading
import time
from concurrent import futures

import grpc

MIB = 1024 * 1024
BIG = [
    ("grpc.max_send_message_length", 64 * MIB),
    ("grpc.max_receive_message_length", 64 * MIB),
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
]
KEY = ("x-api-key", told["key"])
PATIENCE = 20

seen = {}
cancelled = threading.Event()


def metadata(context):
    return {name: value for name, value in context.invocation_metadata()}


def echo(request, context):
    seen["echo"] = metadata(context)
    context.send_initial_metadata((("initial", "one"), ("initial-bin", b"\x00\xff")))
    context.set_trailing_metadata((("trailing", "two"), ("trailing-bin", b"\xff\x00\x01")))
    return request


def late(request, context):
    seen["remaining"] = context.time_remaining()
    context.add_callback(cancelled.set)
    for _ in range(1000):
        if not context.is_active():
            break
        time.sleep(0.02)
    return b""


def fail(request, context):
    context.set_trailing_metadata((("why", "because"),))
    context.abort(list(grpc.StatusCode)[int(request)], "grüße: 100 % of\tit")


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def forever(request, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        yield b"x" * 1000
        time.sleep(0.005)


def some_then_fail(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "lost")


def add(requests, context):
    return str(sum(int(number) for number in requests)).encode()


def impatient(requests, context):
    next(requests)
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")


def repeat(requests, context):
    for request in requests:
        yield request + b"!"


def headless(requests, context):
    return iter(())


UNARY = {"Echo": echo, "Late": late, "Fail": fail}
SERVER = {"Count": count, "Forever": forever, "SomeThenFail": some_then_fail}
CLIENT = {"Add": add, "Impatient": impatient}
BOTH = {"Repeat": repeat, "Headless": headless}


def serve():
    handlers = {}
    for methods, make in (
        (UNARY, grpc.unary_unary_rpc_method_handler),
        (SERVER, grpc.unary_stream_rpc_method_handler),
        (CLIENT, grpc.stream_unary_rpc_method_handler),
        (BOTH, grpc.stream_stream_rpc_method_handler),
    ):
        handlers.update({name: make(function) for name, function in methods.items()})
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=BIG)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("interop.Test", handlers),))
    server.add_insecure_port(told["upstream"])
    server.start()
    return server


def open_channel(kind=grpc, options=()):
    given = {name for name, _ in options}
    own = [*BIG, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    options = [*(option for option in own if option[0] not in given), *options]
    if told["ca"] is None:
        return kind.insecure_channel(told["gate"], options=options)
    with open(told["ca"], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return kind.secure_channel(told["gate"], credentials, options=options)


def call(name, argument, fields=(KEY,), through=None, **more):
    """Calls a method in the way that it has."""
    channel = through or CHANNEL
    path = f"/interop.Test/{name}"
    kind = (
        channel.unary_stream if name in SERVER
        else channel.stream_unary if name in CLIENT
        else channel.stream_stream if name in BOTH
        else channel.unary_unary
    )
    return kind(path)(argument, metadata=fields, timeout=more.pop("timeout", PATIENCE), **more)


def refusal(function):
    """Status and text of the error that must come."""
    error = raised(grpc.RpcError, function)
    return error.code().name, error.details()


@case
def a_unary_call_is_answered():
    assert call("Echo", b"hello") == b"hello"


@case
def an_empty_message_is_a_message():
    assert call("Echo", b"") == b""


@case
def metadata_goes_up_and_the_key_does_not():
    call("Echo", b"", (KEY, ("plain", "text"), ("several", "a"), ("data-bin", bytes(range(256)))))
    at = seen["echo"]
    assert at["plain"] == "text" and at["data-bin"] == bytes(range(256)), at
    assert at["x-keygate-key-id"] == "alice" and at["user-agent"].startswith("grpc-python"), at
    assert "x-api-key" not in at and told["key"] not in str(at), at


@case
def metadata_of_twenty_kilobytes_goes_up():
    call("Echo", b"", (KEY, *((f"f{number}", "v" * 1000) for number in range(20))))
    assert seen["echo"]["f19"] == "v" * 1000


@case
def initial_and_trailing_metadata_come_down():
    answer, of = CHANNEL.unary_unary("/interop.Test/Echo").with_call(b"x", metadata=(KEY,), timeout=PATIENCE)
    initial, trailing = dict(of.initial_metadata()), dict(of.trailing_metadata())
    assert initial["initial"] == "one" and initial["initial-bin"] == b"\x00\xff", initial
    assert trailing["trailing"] == "two" and trailing["trailing-bin"] == b"\xff\x00\x01", trailing


@case
def sixteen_megabytes_go_up_and_come_down():
    big = bytes(range(256)) * (16 * MIB // 256)
    assert call("Echo", big) == big


@case
def a_message_that_is_too_large_for_the_client_is_its_own_refusal():
    small = open_channel(options=[("grpc.max_receive_message_length", 1000)])
    with small:
        assert refusal(lambda: call("Echo", b"x" * 2000, through=small))[0] == "RESOURCE_EXHAUSTED"


@case
def compressed_messages_go_both_ways():
    text = b"keygate " * 100_000
    assert call("Echo", text, compression=grpc.Compression.Gzip) == text


@case
def a_stream_of_answers_comes_whole_and_in_order():
    assert list(call("Count", b"5000")) == [str(number).encode() for number in range(5000)]


@case
def a_stream_of_no_answers_ends_well():
    assert list(call("Count", b"0")) == []


@case
def a_stream_of_requests_goes_up_whole():
    assert call("Add", (str(number).encode() for number in range(5000))) == str(sum(range(5000))).encode()


@case
def a_stream_of_no_requests_is_answered():
    assert call("Add", iter(())) == b"0"


@case
def both_sides_take_turns():
    """Each answer comes before the next request is sent: nothing is held back on the way."""
    box = queue.SimpleQueue()
    answers = call("Repeat", iter(box.get, None))
    for number in range(200):
        box.put(str(number).encode())
        assert next(answers) == f"{number}!".encode()
    box.put(None)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK


@case
def both_sides_send_at_once():
    messages = [bytes([number % 256]) * 10_000 for number in range(500)]
    assert list(call("Repeat", iter(messages))) == [message + b"!" for message in messages]


@case
def an_answer_without_messages_is_whole():
    answers = call("Headless", iter([b"a", b"b"]))
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK


@case
def every_status_arrives_with_its_text_and_its_metadata():
    for number, code in enumerate(grpc.StatusCode):
        if code is grpc.StatusCode.OK:
            continue
        error = raised(grpc.RpcError, lambda: call("Fail", str(number).encode()))
        assert (error.code(), error.details()) == (code, "grüße: 100 % of\tit"), error
        assert dict(error.trailing_metadata())["why"] == "because", error


@case
def an_error_after_two_messages_comes_after_two_messages():
    answers = call("SomeThenFail", b"")
    assert [next(answers), next(answers)] == [b"one", b"two"]
    assert refusal(lambda: next(answers)) == ("DATA_LOSS", "lost")


@case
def an_answer_may_come_before_the_request_has_ended():
    stop = threading.Event()

    def requests():
        yield b"1"
        stop.wait(PATIENCE)

    begun = time.monotonic()
    assert refusal(lambda: call("Impatient", requests())) == ("FAILED_PRECONDITION", "enough")
    stop.set()
    assert time.monotonic() - begun < PATIENCE / 2


@case
def a_deadline_is_known_above_and_kept_below():
    cancelled.clear()
    begun = time.monotonic()
    assert refusal(lambda: call("Late", b"", timeout=1))[0] == "DEADLINE_EXCEEDED"
    assert 0.9 < time.monotonic() - begun < PATIENCE / 2
    assert 0 < seen["remaining"] < 1.5, seen["remaining"]
    assert cancelled.wait(PATIENCE / 2), "the server was not told"


@case
def a_cancelled_call_is_cancelled_above():
    cancelled.clear()
    pending = CHANNEL.unary_unary("/interop.Test/Late").future(b"", metadata=(KEY,), timeout=PATIENCE)
    time.sleep(0.3)
    pending.cancel()
    assert cancelled.wait(PATIENCE / 2), "the server was not told"
    assert raised(grpc.FutureCancelledError, pending.result)


@case
def a_cancelled_stream_is_cancelled_above():
    cancelled.clear()
    answers = call("Forever", b"")
    assert len([next(answers) for _ in range(20)]) == 20
    answers.cancel()
    assert cancelled.wait(PATIENCE / 2), "the server was not told"
    assert refusal(lambda: [answer for answer in answers])[0] == "CANCELLED"


@case
def a_slow_reader_holds_the_server_back_and_gets_everything():
    answers = call("Count", b"20000")
    first = next(answers)
    time.sleep(0.5)
    assert [first, *answers] == [str(number).encode() for number in range(20000)]


@case
def three_hundred_calls_at_once_are_answered():
    """More than one connection may carry at once, so that some wait their turn."""
    pending = [
        CHANNEL.unary_unary("/interop.Test/Echo").future(str(number).encode(), metadata=(KEY,), timeout=PATIENCE)
        for number in range(300)
    ]
    assert [each.result() for each in pending] == [str(number).encode() for number in range(300)]


@case
def a_method_that_the_server_does_not_have_is_unimplemented():
    assert refusal(lambda: call("Nothing", b"")) == ("UNIMPLEMENTED", "Method not found!")


@case
def a_missing_key_is_unauthenticated():
    assert refusal(lambda: call("Echo", b"", ())) == ("UNAUTHENTICATED", "credentials_missing")


@case
def an_unknown_key_is_unauthenticated():
    assert refusal(lambda: call("Echo", b"", (("x-api-key", "nobody"),))) == ("UNAUTHENTICATED", "key_unknown")


@case
def a_refused_stream_ends_without_a_message():
    assert refusal(lambda: next(call("Count", b"3", ()))) == ("UNAUTHENTICATED", "credentials_missing")
    assert refusal(lambda: next(call("Repeat", iter([b"a"] * 100), ()))) == ("UNAUTHENTICATED", "credentials_missing")


@case
def a_refused_upload_does_not_break_the_connection():
    big = [b"x" * 100_000] * 50
    assert refusal(lambda: call("Add", iter(big), ())) == ("UNAUTHENTICATED", "credentials_missing")
    assert call("Echo", b"after") == b"after"


@case
def a_missing_permission_is_permission_denied():
    assert refusal(lambda: CHANNEL.unary_unary("/interop.Secret/Echo")(b"", metadata=(KEY,), timeout=PATIENCE)) == (
        "PERMISSION_DENIED",
        "permission_missing",
    )


@case
def a_path_without_a_route_is_unimplemented():
    assert refusal(lambda: CHANNEL.unary_unary("/other.Service/Echo")(b"", metadata=(KEY,), timeout=PATIENCE)) == (
        "UNIMPLEMENTED",
        "no_route",
    )


@case
def a_spent_limit_is_resource_exhausted():
    codes = []
    for _ in range(4):
        try:
            CHANNEL.unary_unary("/interop.Limited/Echo")(b"", metadata=(KEY,), timeout=PATIENCE)
        except grpc.RpcError as error:
            codes.append((error.code().name, error.details()))
    assert codes == [("UNIMPLEMENTED", "Method not found!")] * 2 + [("RESOURCE_EXHAUSTED", "rate_limited")] * 2, codes


@case
def an_upstream_that_is_not_there_is_unavailable():
    assert refusal(lambda: CHANNEL.unary_unary("/interop.Away/Echo")(b"", metadata=(KEY,), timeout=PATIENCE)) == (
        "UNAVAILABLE",
        "upstream_unreachable",
    )


@case
def call_credentials_carry_the_key():
    """They are only sent over TLS, by gRPC's own rules."""
    if told["ca"] is None:
        return

    class Key(grpc.AuthMetadataPlugin):
        def __call__(self, context, callback):
            callback((KEY,), None)

    assert call("Echo", b"by plugin", (), credentials=grpc.metadata_call_credentials(Key())) == b"by plugin"


@case
def keepalive_pings_are_no_offence():
    often = open_channel(options=[
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ])
    with often:
        answers = call("Forever", b"", through=often)
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            next(answers)
        answers.cancel()
        time.sleep(0.5)
        assert call("Echo", b"still", through=often) == b"still"


@case
def channels_come_and_go():
    for number in range(30):
        with open_channel() as channel:
            assert call("Echo", str(number).encode(), through=channel) == str(number).encode()


@case
def the_asynchronous_client_gets_along_too():
    async def all_four():
        async with open_channel(grpc.aio) as channel:
            path = "/interop.Test/"
            more = {"metadata": (KEY,), "timeout": PATIENCE}
            assert await channel.unary_unary(path + "Echo")(b"a", **more) == b"a"
            assert [each async for each in channel.unary_stream(path + "Count")(b"3", **more)] == [b"0", b"1", b"2"]
            assert await channel.stream_unary(path + "Add")(iter([b"1", b"2"]), **more) == b"3"
            turns = channel.stream_stream(path + "Repeat")(**more)
            for number in range(50):
                await turns.write(str(number).encode())
                assert await turns.read() == f"{number}!".encode()
            await turns.done_writing()
            assert await turns.read() is grpc.aio.EOF and await turns.code() == grpc.StatusCode.OK
            try:
                await channel.unary_unary(path + "Echo")(b"a", timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.UNAUTHENTICATED
            else:
                raise AssertionError("let in without a key")

    asyncio.run(all_four())


@case
def a_server_that_restarts_is_found_again():
    """What was going on is lost with a status of its own; the next calls reach the new one, on the same channel."""
    global RUNNING
    answers = call("Forever", b"")
    next(answers)
    RUNNING.stop(0).wait()
    assert refusal(lambda: [answer for answer in answers])[0] in ("UNAVAILABLE", "CANCELLED")
    assert refusal(lambda: call("Echo", b"away"))[0] == "UNAVAILABLE"
    RUNNING = serve()
    assert call("Echo", b"back") == b"back"


RUNNING = serve()
CHANNEL = open_channel()
run()
CHANNEL.close()
RUNNING.stop(0).wait()
