"""Python's TLS (OpenSSL), and records written by hand, against the gateway's TLS."""

import os
import socket
import ssl
import struct
import subprocess
import time

PATIENCE = 20
PORT = told["port"]
# What an alert is called (RFC 8446, section 6).
HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70


def context(**more):
    made = ssl.create_default_context(cafile=more.pop("ca", told["ca"]))
    for name, value in more.items():
        setattr(made, name, value)
    return made


def connect(made=None, name="localhost", port=PORT, session=None):
    made = made or context()
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        return made.wrap_socket(stream, server_hostname=name, session=session)
    except BaseException:
        stream.close()
        raise


def ask(wire, key=told["key"]):
    """The status line of an answer over HTTP/1.1, read to the end of the connection."""
    wire.sendall(f"GET /echo HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while part := wire.recv(65536):
        answer += part
    return answer.split(b"\r\n")[0].decode()


def raw(port=PORT):
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    stream.settimeout(PATIENCE)
    return stream


def drained(stream):
    """What comes until the gateway closes; it must close."""
    got = b""
    try:
        while part := stream.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def hello(made=None, name="localhost", pad=0):
    """A ClientHello as OpenSSL writes it, without its record header."""
    made = made or context()
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = made.wrap_bio(into, out, server_hostname=name)
    try:
        wrapped.do_handshake()
    except ssl.SSLWantReadError:
        pass
    message = out.read()[5:]
    if pad:
        # An extension of which nobody knows anything, at the end; who does not know one passes it over.
        at = 4 + 2 + 32
        at += 1 + message[at]
        at += 2 + struct.unpack(">H", message[at:at + 2])[0]
        at += 1 + message[at]
        extensions = message[at + 2:] + struct.pack(">HH", 0xFF42, pad) + bytes(pad)
        body = message[4:at] + struct.pack(">H", len(extensions)) + extensions
        message = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return message


def records(message, size):
    return b"".join(
        b"\x16\x03\x01" + struct.pack(">H", len(message[at:at + size])) + message[at:at + size]
        for at in range(0, len(message), size)
    )


def alert(answer):
    """The number of the fatal alert that is all the gateway has said."""
    assert answer[:1] == b"\x15" and len(answer) == 7 and answer[5] == 2, answer
    return answer[6]


def answered_by_hello(answer):
    assert answer[:1] == b"\x16" and answer[5:6] == b"\x02", answer[:20]


def s_client(*more, port=PORT):
    """OpenSSL's own program: what it says of the connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-CAfile", told["ca"], *more]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=PATIENCE)
    return (done.stdout + done.stderr).decode(errors="replace")


@case
def tls_1_3_is_spoken():
    with connect() as wire:
        assert wire.version() == "TLSv1.3" and ask(wire) == "HTTP/1.1 200 OK"


@case
def tls_1_2_is_spoken_with_forward_secrecy_and_aead():
    with connect(context(maximum_version=ssl.TLSVersion.TLSv1_2)) as wire:
        assert wire.version() == "TLSv1.2" and wire.cipher()[0].startswith("ECDHE-"), wire.cipher()
        assert "GCM" in wire.cipher()[0] or "CHACHA20" in wire.cipher()[0], wire.cipher()
        assert ask(wire) == "HTTP/1.1 200 OK"


@case
def older_versions_are_refused_with_an_alert():
    for version in (0x0301, 0x0302):
        old = struct.pack(">H", version) + os.urandom(32) + b"\x00" + b"\x00\x04\xc0\x13\x00\x2f" + b"\x01\x00"
        with raw() as stream:
            stream.sendall(records(b"\x01" + struct.pack(">I", len(old))[1:] + old, 1 << 14))
            assert alert(drained(stream)) in (PROTOCOL_VERSION, HANDSHAKE_FAILURE)


@case
def ssl_2_and_ssl_3_are_refused():
    for first in (b"\x80\x2e\x01\x00\x02" + bytes(43), b"\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + bytes(38)):
        with raw() as stream:
            stream.sendall(first)
            answer = drained(stream)
            assert answer == b"" or answer[:1] == b"\x15", answer


@case
def weak_suites_are_refused_with_an_alert():
    for suites in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"):
        said = s_client("-tls1_2", "-cipher", suites)
        assert "alert handshake failure" in said and "Cipher is (NONE)" in said, (suites, said)


@case
def the_gateway_chooses_the_suite():
    made = context(maximum_version=ssl.TLSVersion.TLSv1_2)
    strongest = "ECDHE-ECDSA-AES256-GCM-SHA384"
    for first in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        made.set_ciphers(f"{first}:{strongest}")
        with connect(made) as wire:
            assert wire.cipher()[0] == strongest, (first, wire.cipher())


@case
def http2_is_chosen_where_both_are_offered():
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0")):
        made = context()
        made.set_alpn_protocols(offered)
        with connect(made) as wire:
            assert wire.selected_alpn_protocol() == chosen, (offered, wire.selected_alpn_protocol())


@case
def a_protocol_that_is_not_known_is_refused_with_its_alert():
    """RFC 7301, section 3.2."""
    for offered in (["http/3"], ["spdy/3.1", "grpc-exp"], ["h2c"]):
        for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            made = context(maximum_version=maximum)
            made.set_alpn_protocols(offered)
            said = str(raised(ssl.SSLError, lambda: connect(made)))
            assert "no application protocol" in said.lower().replace("_", " "), (offered, maximum, said)


@case
def without_a_protocol_http_1_1_is_spoken():
    with connect() as wire:
        assert wire.selected_alpn_protocol() is None and ask(wire) == "HTTP/1.1 200 OK"


@case
def an_unknown_name_gets_the_first_certificate():
    for name in ("elsewhere.example", None):
        made = context(check_hostname=False)
        with connect(made, name) as wire:
            assert ("DNS", "localhost") in wire.getpeercert()["subjectAltName"], wire.getpeercert()
            assert ask(wire) == "HTTP/1.1 200 OK"


@case
def each_name_gets_its_certificate():
    for name, expected in (("localhost", "localhost"), ("second.example", "second.example"), ("SECOND.example", "second.example")):
        with connect(context(check_hostname=False), name) as wire:
            assert ("DNS", expected) in wire.getpeercert()["subjectAltName"], (name, wire.getpeercert())


@case
def a_session_is_resumed_in_both_versions():
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        made = context(maximum_version=maximum)
        with connect(made) as first:
            assert ask(first) == "HTTP/1.1 200 OK"
            session = first.session
        with connect(made, session=session) as again:
            assert again.session_reused and ask(again) == "HTTP/1.1 200 OK", maximum


@case
def a_ticket_of_another_gateway_is_no_ticket():
    """The handshake goes on in full; nothing is resumed, and nothing breaks."""
    path = told["folder"] + "/session.pem"
    for port, kind in ((PORT, "New"), (PORT, "Reused"), (told["mutual"]["port"], "New")):
        there = ["-sess_in", path] if kind == "Reused" or port != PORT else []
        said = s_client("-tls1_2", "-sess_out", path, *there, port=port)
        assert f"{kind}, TLSv1.2" in said, (port, kind, said)


@case
def early_data_is_not_offered():
    said = s_client("-tls1_3", "-ign_eof")
    assert "Max Early Data: 0" in said or "Max Early Data" not in said, said
    assert "Early data was not sent" in said, said


@case
def renegotiation_is_refused():
    """`R` asks for it; in TLS 1.2 the gateway says no, and the handshake that has been stays the only one."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{PORT}", "-servername", "localhost", "-tls1_2", "-CAfile", told["ca"]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    process.stdin.write(b"R\n")
    process.stdin.flush()
    time.sleep(0.5)
    said = process.communicate(b"", timeout=PATIENCE)[0].decode(errors="replace")
    assert "Secure Renegotiation IS supported" in said and "RENEGOTIATING" in said, said
    assert "no renegotiation" in said or "unexpected message" in said or "error" in said, said


@case
def compression_is_not_spoken():
    said = s_client("-tls1_2", "-comp")
    assert "Compression: NONE" in said, said


@case
def a_fallback_is_refused():
    """TLS_FALLBACK_SCSV (RFC 7507)."""
    said = s_client("-fallback_scsv", "-no_tls1_3")
    assert "inappropriate fallback" in said, said


@case
def plain_http_is_answered_in_plain_words_or_with_an_alert():
    for first in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n"):
        with raw() as stream:
            stream.sendall(first)
            answer = drained(stream)
            assert answer.startswith(b"HTTP/1.1 400 ") or answer[:1] == b"\x15", answer


@case
def what_is_no_protocol_at_all_is_ended_with_an_alert():
    for first in (b"\x00" * 64, b"\xff" * 64, b"SSH-2.0-client\r\n" + b"x" * 50):
        begun = time.monotonic()
        with raw() as stream:
            stream.sendall(first)
            answer = drained(stream)
            assert answer == b"" or answer[:1] == b"\x15", answer
        assert time.monotonic() - begun < told["handshake"] + PATIENCE


@case
def a_hello_in_records_of_one_byte_is_read():
    with raw() as stream:
        stream.sendall(records(hello(), 1))
        answered_by_hello(stream.recv(65536))


@case
def a_hello_that_comes_byte_by_byte_is_read():
    with raw() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in records(hello(), 1 << 14):
            stream.send(bytes([byte]))
        answered_by_hello(stream.recv(65536))


@case
def a_hello_of_fifteen_kilobytes_is_read():
    with raw() as stream:
        stream.sendall(records(hello(pad=15_000), 1 << 14))
        answered_by_hello(stream.recv(65536))


@case
def a_hello_in_several_large_records_is_read():
    with raw() as stream:
        stream.sendall(records(hello(pad=40_000), 10_000))
        answer = stream.recv(65536)
        assert answer[:1] in (b"\x16", b"\x15"), answer[:20]


@case
def a_record_that_is_too_long_is_refused():
    with raw() as stream:
        stream.sendall(b"\x16\x03\x01\xff\xff" + b"\x01" + bytes(70_000))
        answer = drained(stream)
        assert answer == b"" or alert(answer), answer


@case
def empty_records_do_not_keep_a_handshake_alive():
    with raw() as stream:
        try:
            for _ in range(1000):
                stream.sendall(b"\x16\x03\x01\x00\x00")
        except OSError:
            pass
        answer = drained(stream)
        assert answer == b"" or alert(answer), answer


@case
def a_silent_handshake_is_ended_in_its_time():
    for first in (b"", b"\x16", records(hello(), 1 << 14)[:100]):
        begun = time.monotonic()
        with raw() as stream:
            stream.sendall(first)
            drained(stream)
        assert told["handshake"] * 0.8 < time.monotonic() - begun < told["handshake"] + PATIENCE


@case
def the_end_is_said_with_close_notify():
    """`recv` would raise an SSLEOFError where an end comes without (suppress_ragged_eofs is off)."""
    made = context()
    stream = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    with made.wrap_socket(stream, server_hostname="localhost", suppress_ragged_eofs=False) as wire:
        assert ask(wire) == "HTTP/1.1 200 OK"


@case
def the_clients_close_notify_ends_the_connection():
    wire = connect()
    wire.sendall(f"GET /echo HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {told['key']}\r\n\r\n".encode())
    assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
    wire.unwrap().close()


@case
def a_client_that_hangs_up_in_the_middle_disturbs_nobody():
    for _ in range(50):
        with raw() as stream:
            stream.sendall(records(hello(), 1 << 14))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connect() as wire:
        assert ask(wire) == "HTTP/1.1 200 OK"


@case
def a_client_certificate_is_demanded_where_it_is_required():
    port, ca, key = told["mutual"]["port"], told["mutual"]["ca"], told["mutual"]["key"]
    made = context(ca=ca)
    made.load_cert_chain(told["client"], told["client_key"])
    with connect(made, port=port) as wire:
        assert ask(wire, key) == "HTTP/1.1 200 OK"
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        def without():
            with connect(context(ca=ca, maximum_version=maximum), port=port) as wire:
                ask(wire)

        assert "alert" in str(raised(ssl.SSLError, without)).lower(), maximum

        def with_a_strangers():
            own = context(ca=ca, maximum_version=maximum)
            own.load_cert_chain(told["stranger"], told["stranger_key"])
            with connect(own, port=port) as wire:
                ask(wire)

        assert "alert" in str(raised(ssl.SSLError, with_a_strangers)).lower(), maximum


@case
def where_only_tls_1_3_is_spoken_1_2_is_refused():
    port, ca = told["modern"]["port"], told["modern"]["ca"]
    with connect(context(ca=ca), port=port) as wire:
        assert wire.version() == "TLSv1.3"
    old = lambda: connect(context(ca=ca, maximum_version=ssl.TLSVersion.TLSv1_2), port=port)
    assert "protocol version" in str(raised(ssl.SSLError, old)).lower().replace("_", " ")


run()
