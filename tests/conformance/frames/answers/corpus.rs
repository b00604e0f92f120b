//! The rows: RFC 9112, sections 2.2, 4 to 7 and 9, as an upstream may break them.

/// Stands where nobody may ever see it.
pub(crate) const MARK: &str = "smuggled";

/// What a client is to get.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// An answer with this content.
    Whole(&'static str),
    /// 502.
    Refused,
    /// 502, or an answer that can be seen to have been broken off.
    Cut,
    /// 502 with this code.
    RefusedAs(&'static str),
    /// This content over HTTP/1.1, of which all that was announced has come before the mistake; over HTTP/2, whose end is
    /// still to come, an answer that can be seen to have been broken off.
    Surplus(&'static str),
}

/// What an upstream answers, and what is to come of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) method: &'static str,
    /// Written one after the other, with a pause between.
    pub(super) parts: Vec<Vec<u8>>,
    /// The connection is closed behind it.
    pub(super) closes: bool,
    pub(super) then: Then,
}

/// An answer whose connection is kept.
fn kept(name: impl Into<String>, answer: impl AsRef<[u8]>, then: Then) -> Row {
    let parts = vec![answer.as_ref().to_vec()];
    Row { name: name.into(), method: "GET", parts, closes: false, then }
}

/// An answer whose connection is closed.
fn closed(name: impl Into<String>, answer: impl AsRef<[u8]>, then: Then) -> Row {
    Row { closes: true, ..kept(name, answer, then) }
}

impl Row {
    fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn then_late(mut self, part: &str) -> Self {
        self.parts.push(part.as_bytes().to_vec());
        self
    }
}

/// A whole answer of another message, which nobody asked for.
const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";

/// All of them.
pub(super) fn rows() -> Vec<Row> {
    [honest(), status_lines(), lengths(), codings(), fields(), chunks(), surplus(), empty(), interim(), broken_off()]
        .into_iter()
        .flatten()
        .collect()
}

fn honest() -> Vec<Row> {
    let ok = |name: &str, rest: &str, content| kept(name, format!("HTTP/1.1 200 OK\r\n{rest}"), Then::Whole(content));
    vec![
        ok("a length", "content-length: 5\r\n\r\nhello", "hello"),
        ok("no content", "content-length: 0\r\n\r\n", ""),
        ok("chunks", "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ok("chunks, in upper case", "Transfer-Encoding: Chunked\r\n\r\nA\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
        ok("chunks with extensions", "transfer-encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n", "hello"),
        ok("chunks with trailers", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", "hello"),
        ok("chunks with leading zeros", "transfer-encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n", "hello"),
        ok("no chunk but the last", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        ok("a length with zeros", "content-length: 005\r\n\r\nhello", "hello"),
        ok("tabs around values", "content-length:\t5\t\r\nx-a:\ta\tb \r\n\r\nhello", "hello"),
        ok("an empty value", "content-length: 5\r\nx-a:\r\n\r\nhello", "hello"),
        ok("90 fields", &format!("{}content-length: 5\r\n\r\nhello", "x-a: 1\r\n".repeat(90)), "hello"),
        ok("a value of 7000 bytes", &format!("x-a: {}\r\ncontent-length: 5\r\n\r\nhello", "a".repeat(7000)), "hello"),
        ok(
            "a connection that lists its length",
            "connection: content-length\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
        ok(
            "a connection that lists its chunks",
            "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        ok(
            "a connection that lists a field",
            "connection: x-a\r\nx-a: smuggled\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
        ok(
            "fields about the connection",
            "keep-alive: timeout=5\r\nproxy-connection: smuggled\r\nupgrade: smuggled\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
        kept("a reason above ASCII", b"HTTP/1.1 200 \xc3\xa9\r\ncontent-length: 5\r\n\r\nhello", Then::Whole("hello")),
        kept(
            "a value above ASCII",
            b"HTTP/1.1 200 OK\r\nx-a: \xe9\r\ncontent-length: 5\r\n\r\nhello",
            Then::Whole("hello"),
        ),
        kept("an empty reason", "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", Then::Whole("hello")),
        kept("no reason", "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", Then::Whole("hello")),
        kept("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", Then::Whole("hello")),
        kept(
            "HTTP/1.0 that keeps",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
            Then::Whole("hello"),
        ),
        closed("content that its end frames", "HTTP/1.1 200 OK\r\n\r\nhello", Then::Whole("hello")),
        closed("content that its end frames, HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", Then::Whole("hello")),
        closed("a length, then closed", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Then::Whole("hello")),
        closed(
            "chunks, then closed",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Then::Whole("hello"),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn status_lines() -> Vec<Row> {
    let rest = "content-length: 8\r\n\r\nsmuggled";
    let mut rows: Vec<Row> = [
        "HTTP/1.1 2OO OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 2 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 +200 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/1.1 999 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 OK",
        "HTTP/1.1200 OK",
        "HTTP/1.1 0x0c8 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200 OK",
        "HTTP/3 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/11 200 OK",
        "HTTP/1,1 200 OK",
        "HTTP/1. 1 200 OK",
        "HTTP /1.1 200 OK",
        "http/1.1 200 OK",
        "Http/1.1 200 OK",
        "HTTPS/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "\tHTTP/1.1 200 OK",
        "ICY 200 OK",
        "200 OK",
        "GET / HTTP/1.1",
        "XHTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\u{1}K",
        "HTTP/1.1 200 O\u{7f}K",
        "\0HTTP/1.1 200 OK",
        "\u{feff}HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\rx-a: 1",
        "\rHTTP/1.1 200 OK",
        "garbage\r\nHTTP/1.1 200 OK",
        "x-a: 1\r\nHTTP/1.1 200 OK",
        "smuggledHTTP/1.1 200 OK",
    ]
    .iter()
    .flat_map(|line| {
        let answer = format!("{line}\r\n{rest}");
        [closed(format!("{line:?}"), &answer, Then::Refused), kept(format!("{line:?}, kept"), &answer, Then::Refused)]
    })
    .collect();
    rows.extend([
        closed("HTTP/0.9", "<html>smuggled</html>\r\n", Then::Refused),
        closed("nothing", "", Then::Refused),
        closed("an empty line", "\r\n", Then::Refused),
        closed("empty lines", "\r\n\r\n\r\n\r\n", Then::Refused),
        closed("NUL", "\0\0\0\0", Then::Refused),
        closed(
            "frames of HTTP/2",
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00",
            Then::Refused,
        ),
        closed("an alert of TLS", b"\x15\x03\x01\x00\x02\x02\x46", Then::Refused),
        closed("1 MiB that is no HTTP", "smuggled ".repeat(1 << 17), Then::Refused),
        kept(
            "an empty line before the status line",
            "\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            Then::Whole("hello"),
        ),
        kept("bare LF", "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", Then::Whole("hello")),
        kept(
            "the status of a reason with another status line",
            format!("HTTP/1.1 200 HTTP/1.1 500 {MARK}ed\0\r\n{rest}"),
            Then::Refused,
        ),
    ]);
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "+8",
        "-8",
        "0x8",
        "8 8",
        "8,9",
        "8, 9",
        "8;a",
        "8a",
        "a",
        "",
        " ",
        "8.0",
        "8e0",
        "-1",
        "18446744073709551624",
        "99999999999999999999999",
        "8\u{b}",
        "\u{c}8",
        "\"8\"",
        "8,",
        ",8",
        "8\0",
    ]
    .iter()
    .flat_map(|length| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nsmuggled");
        [
            closed(format!("a length of {length:?}"), &answer, Then::Refused),
            kept(format!("a length of {length:?}, kept"), &answer, Then::Refused),
        ]
    })
    .collect();
    let two = |first: &str, second: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {first}\r\nx-a: 1\r\nContent-Length: {second}\r\n\r\nsmuggled")
    };
    rows.extend([
        kept("two lengths, the longer one last", two("4", "8"), Then::Refused),
        kept("two lengths, the longer one first", two("8", "4"), Then::Refused),
        kept("two lengths, one bad", two("8", "x"), Then::Refused),
        kept("two lengths, one empty", two("8", ""), Then::Refused),
        kept("two lengths, one of 0", two("8", "0"), Then::Refused),
        kept("a length twice", two("8", "8"), Then::Refused),
        kept("a list of one length", "HTTP/1.1 200 OK\r\ncontent-length: 8, 8\r\n\r\nsmuggled", Then::Refused),
        closed(
            "a length that nobody will ever send",
            "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nhello",
            Then::Cut,
        ),
        closed(
            "the greatest length",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nhello",
            Then::Cut,
        ),
    ]);
    rows
}

fn codings() -> Vec<Row> {
    let chunks = "8\r\nsmuggled\r\n0\r\n\r\n";
    let mut rows: Vec<Row> = [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked,",
        ",chunked",
        "chunked, gzip",
        "gzip",
        "chunke",
        "\u{b}chunked",
        "chunked;a=b",
        "\"chunked\"",
        "chunked chunked",
        "",
        "chunked, identity",
        "identity, chunked",
        "x, chunked",
        "chunked\0",
    ]
    .iter()
    .map(|coding| {
        closed(
            format!("coded as {coding:?}"),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n{chunks}"),
            Then::Refused,
        )
    })
    .collect();
    let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n";
    rows.extend([
        kept("coded twice", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), Then::Refused),
        kept("coded as two, one of them identity", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), Then::Refused),
        kept("a length and chunks", format!("HTTP/1.1 200 OK\r\n{both}"), Then::Refused),
        kept("chunks and a length", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n{chunks}"), Then::Refused),
        kept("a length and chunks, and a second answer", format!("HTTP/1.1 200 OK\r\n{both}{SECOND}"), Then::Refused),
        kept("a bad length and chunks", "HTTP/1.1 200 OK\r\ncontent-length: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Refused),
        kept("two lengths and chunks", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Refused),
        closed("chunks in HTTP/1.0", format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), Then::Refused),
        kept("chunks in HTTP/1.0 that keeps", format!("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), Then::Refused),
        kept("chunks and a length in HTTP/1.0", format!("HTTP/1.0 200 OK\r\n{both}"), Then::Refused),
        kept("a space before the colon of its coding", format!("HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n{chunks}"), Then::Refused),
        kept("a space before the colon of its length", "HTTP/1.1 200 OK\r\ncontent-length : 8\r\n\r\nsmuggled", Then::Refused),
        closed("an underscore in its coding", "HTTP/1.1 200 OK\r\ntransfer_encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Whole("5\r\nhello\r\n0\r\n\r\n")),
    ]);
    rows
}

fn fields() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("no colon", "x-smuggled"),
        ("no name", ": smuggled"),
        ("a space before the colon", "x-a : smuggled"),
        ("a tab before the colon", "x-a\t: smuggled"),
        ("a space in the name", "x a: smuggled"),
        ("a space before the name", " x-a: smuggled"),
        ("a tab before the name", "\tx-a: smuggled"),
        ("NUL in the name", "x\0a: smuggled"),
        ("a control character in the name", "x\u{1}a: smuggled"),
        ("a name above ASCII", "x-\u{e9}: smuggled"),
        ("a bracket in the name", "x(a): smuggled"),
        ("a quotation mark in the name", "x\"a: smuggled"),
        ("CR in the name", "x\ra: smuggled"),
        ("NUL in the value", "x-a: smug\0gled smuggled"),
        ("CR in the value", "x-a: a\rsmuggled: 1"),
        ("CR at the end of the value", "x-a: smuggled\r"),
        ("a control character in the value", "x-a: \u{1}smuggled"),
        ("DEL in the value", "x-a: smuggled\u{7f}"),
        ("a fold", "x-a: a\r\n smuggled"),
        ("a fold with a tab", "x-a: a\r\n\tsmuggled"),
        ("a fold of the length", "content-length:\r\n 8"),
        ("a second status line", "HTTP/1.1 200 smuggled"),
    ]
    .iter()
    .flat_map(|(name, line)| {
        let first = format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 8\r\n\r\nsmuggled");
        let later = format!("HTTP/1.1 200 OK\r\nx-b: 1\r\n{line}\r\nx-c: 1\r\ncontent-length: 8\r\n\r\nsmuggled");
        [kept(format!("{name}, first"), first, Then::Refused), kept(*name, later, Then::Refused)]
    })
    .collect();
    let many =
        |count: usize| format!("HTTP/1.1 200 OK\r\n{}content-length: 8\r\n\r\nsmuggled", "x-a: 1\r\n".repeat(count));
    let large =
        |bytes: usize| format!("HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 8\r\n\r\nsmuggled", "a".repeat(bytes));
    rows.extend([
        kept("300 fields", many(300), Then::Refused),
        kept("20000 fields", many(20_000), Then::Refused),
        kept("a field of 128 KiB", large(128 << 10), Then::Refused),
        kept("a field of 4 MiB", large(4 << 20), Then::Refused),
        closed(
            "a head of 4 MiB without an end",
            format!("HTTP/1.1 200 OK\r\n{}", "x-a: 1\r\n".repeat(1 << 19)),
            Then::Refused,
        ),
        closed(
            "a reason of 1 MiB",
            format!("HTTP/1.1 200 {}\r\ncontent-length: 8\r\n\r\nsmuggled", "a".repeat(1 << 20)),
            Then::Refused,
        ),
        closed("a head that ends in a name", "HTTP/1.1 200 OK\r\nx-smug", Then::Refused),
        closed("a head that ends in a value", "HTTP/1.1 200 OK\r\nx-a: smug", Then::Refused),
        closed("a head without its empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", Then::Refused),
        closed("a head that ends in its last CR", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r", Then::Refused),
    ]);
    rows
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn chunks() -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cut = |name: String, chunks: String| closed(name, format!("{head}{chunks}"), Then::Cut);
    let mut rows: Vec<Row> = [
        "",
        " ",
        "x",
        "-8",
        "+8",
        "0x8",
        "8h",
        "8 8",
        " 8",
        "8,",
        "8.0",
        "g",
        "8\t9",
        "\"8\"",
        "fffffffffffffffff8",
        "10000000000000008",
        "8\0",
        "8;a\n",
        "8\n",
        "8\r",
        "8;a\rb",
        "8\u{b}",
        "\n8",
        "8;\"\r\n\"",
    ]
    .iter()
    .flat_map(|size| {
        [
            cut(format!("a chunk of {size:?}"), format!("{size}\r\nsmuggled\r\n0\r\n\r\n")),
            cut(format!("a second chunk of {size:?}"), format!("5\r\nhello\r\n{size}\r\nsmuggled\r\n0\r\n\r\n")),
        ]
    })
    .collect();
    for (name, chunks) in [
        ("no end", "5\r\nhello\r\n"),
        ("an end in its size", "5\r\nhello\r\n1"),
        ("an end behind its size", "5\r\nhello\r\n10\r\n"),
        ("an end in a chunk", "5\r\nhello\r\n10\r\nhel"),
        ("an end before CR and LF", "5\r\nhello"),
        ("an end between CR and LF", "5\r\nhello\r"),
        ("an end behind 0", "5\r\nhello\r\n0"),
        ("an end behind the last chunk", "5\r\nhello\r\n0\r\n"),
        ("an end in the last CR and LF", "5\r\nhello\r\n0\r\n\r"),
        ("an end in a trailer", "5\r\nhello\r\n0\r\nx-a: 1"),
        ("an end behind a trailer", "5\r\nhello\r\n0\r\nx-a: 1\r\n"),
        ("an end before any chunk", ""),
        ("a chunk that is longer than it says", "5\r\nhello, world\r\n0\r\n\r\n"),
        ("a chunk that is shorter than it says", "8\r\nhello\r\n0\r\n\r\n"),
        ("no CR and LF behind a chunk", "5\r\nhello0\r\n\r\n"),
        ("LF alone behind a chunk", "5\r\nhello\n0\r\n\r\n"),
        ("CR alone behind a chunk", "5\r\nhello\r0\r\n\r\n"),
        ("LF alone behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("LF alone behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nx-smuggled\r\n\r\n"),
        ("a trailer with a space in its name", "5\r\nhello\r\n0\r\nx smuggled: 1\r\n\r\n"),
        ("a trailer with NUL", "5\r\nhello\r\n0\r\nx-a: \0smuggled\r\n\r\n"),
        ("a trailer with CR", "5\r\nhello\r\n0\r\nx-a: a\rsmuggled: 1\r\n\r\n"),
        ("a fold in the trailers", "5\r\nhello\r\n0\r\nx-a: a\r\n smuggled\r\n\r\n"),
        ("another answer in place of a chunk", SECOND),
        ("another answer behind a chunk", "5\r\nhello\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled"),
    ] {
        rows.push(cut(format!("chunks, {name}"), chunks.to_owned()));
    }
    rows.push(cut("an extension of 1 MiB".to_owned(), format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20))));
    rows.push(cut("100000 trailers".to_owned(), format!("5\r\nhello\r\n0\r\n{}\r\n", "x-a: 1\r\n".repeat(100_000))));
    rows.push(cut("a trailer of 1 MiB".to_owned(), format!("5\r\nhello\r\n0\r\nx-a: {}\r\n\r\n", "a".repeat(1 << 20))));
    // It is a size, and all of it that comes is content.
    rows.push(cut("the greatest chunk".to_owned(), "ffffffffffffffff\r\nhello".to_owned()));
    // What stands in an extension ends here; the chunk is written anew.
    rows.push(closed("NUL in an extension", format!("{head}5;a\0\r\nhello\r\n0\r\n\r\n"), Then::Whole("hello")));
    let zeros = format!("{head}{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(100_000));
    rows.push(closed("100000 zeros before a size", zeros, Then::Whole("hello")));
    let names =
        ["content-length: 8", "transfer-encoding: chunked", "connection: smuggled", "set-cookie: a=1", "host: a"];
    for name in names {
        let answer = format!("{head}5\r\nhello\r\n0\r\n{name}\r\n\r\n");
        rows.push(kept(format!("{name:?} as a trailer"), answer, Then::Whole("hello")));
    }
    rows
}

fn surplus() -> Vec<Row> {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut rows = Vec::new();
    for (framing, answer) in [("a length", length), ("chunks", chunked)] {
        for (what, surplus) in [
            ("text", "smuggled"),
            ("an empty line", "\r\n"),
            ("a byte", "x"),
            ("NUL", "\0"),
            ("a second answer", SECOND),
            (
                "a third answer",
                "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggledHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
            ),
            ("half an answer", "HTTP/1.1 200 OK\r\nx-a: smugg"),
            ("a bad answer", "HTTP/1.1 2OO smuggled\r\n\r\n"),
            ("a time-out", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 8\r\n\r\nsmuggled"),
            ("an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"),
            ("64 KiB", &MARK.repeat(8192)),
        ] {
            rows.push(kept(format!("{framing}, then {what}"), format!("{answer}{surplus}"), Then::Whole("hello")));
            rows.push(closed(
                format!("{framing}, then {what}, closed"),
                format!("{answer}{surplus}"),
                Then::Whole("hello"),
            ));
            rows.push(kept(format!("{framing}, then {what}, late"), answer, Then::Whole("hello")).then_late(surplus));
        }
    }
    rows
}

fn empty() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in ["204 No Content", "304 Not Modified"] {
        for (what, rest) in [
            ("no framing", "\r\n"),
            ("a length of 0", "content-length: 0\r\n\r\n"),
            ("a length", "content-length: 8\r\n\r\n"),
            ("a length and content", "content-length: 8\r\n\r\nsmuggled"),
            ("chunks", "transfer-encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n"),
            ("chunks that do not come", "transfer-encoding: chunked\r\n\r\n"),
            ("content without framing", "\r\nsmuggled"),
            ("a second answer", &format!("\r\n{SECOND}")),
        ] {
            rows.push(kept(format!("{status} with {what}"), format!("HTTP/1.1 {status}\r\n{rest}"), Then::Whole("")));
        }
    }
    for (what, rest) in [
        ("no framing", "\r\n"),
        ("a length", "content-length: 8\r\n\r\n"),
        ("a length and content", "content-length: 8\r\n\r\nsmuggled"),
        ("chunks", "transfer-encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n"),
        ("chunks that do not come", "transfer-encoding: chunked\r\n\r\n"),
        ("a second answer", &format!("content-length: 0\r\n\r\n{SECOND}")),
    ] {
        rows.push(kept(format!("HEAD with {what}"), format!("HTTP/1.1 200 OK\r\n{rest}"), Then::Whole("")).to("HEAD"));
    }
    for (what, rest) in [
        ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n\r\n"),
        ("a bad length", "content-length: x\r\n\r\n"),
    ] {
        let row = kept(format!("HEAD with {what}"), format!("HTTP/1.1 200 OK\r\n{rest}"), Then::Refused);
        // The content of the refusal is left out, too.
        rows.push(row.to("HEAD"));
    }
    rows
}

fn interim() -> Vec<Row> {
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let mut rows: Vec<Row> = ["100 Continue", "102 Processing", "103 Early Hints", "110 Odd", "199 Odd"]
        .iter()
        .map(|status| {
            kept(format!("{status}, then 200"), format!("HTTP/1.1 {status}\r\n\r\n{last}"), Then::Whole("hello"))
        })
        .collect();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n";
    rows.extend([
        kept("103 with fields", format!("{hints}{last}"), Then::Whole("hello")),
        kept("three interim answers", format!("{}{last}", hints.repeat(3)), Then::Whole("hello")),
        kept("an interim answer in two parts", "HTTP/1.1 100 Continue\r\n", Then::Whole("hello"))
            .then_late(&format!("\r\n{last}")),
        kept("1000 interim answers", format!("{}{last}", hints.repeat(1_000)), Then::Whole("hello")),
        kept("10000 interim answers", format!("{}{last}", hints.repeat(10_000)), Then::RefusedAs("upstream_malformed")),
        kept(
            "an interim answer with content",
            format!("HTTP/1.1 100 Continue\r\ncontent-length: 8\r\n\r\nsmuggled{last}"),
            Then::Refused,
        ),
        kept(
            "an interim answer with chunks",
            format!("HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n{last}"),
            Then::Refused,
        ),
        closed("an interim answer alone", "HTTP/1.1 100 Continue\r\n\r\n", Then::Refused),
        closed("hints alone", hints, Then::Refused),
        closed("half an interim answer", "HTTP/1.1 100 Cont", Then::Refused),
        kept(
            "an interim answer, then a bad one",
            format!("{hints}HTTP/1.1 2OO OK\r\ncontent-length: 8\r\n\r\nsmuggled"),
            Then::Refused,
        ),
        kept("a bad interim answer", format!("HTTP/1.1 1OO Continue\r\n\r\n{last}"), Then::Refused),
        kept(
            "an interim answer with a bad field",
            format!("HTTP/1.1 103 Early Hints\r\nx smuggled: 1\r\n\r\n{last}"),
            Then::Refused,
        ),
        kept("an interim answer with NUL", format!("HTTP/1.1 103 Early Hints\r\nx-a: \0\r\n\r\n{last}"), Then::Refused),
    ]);
    for (name, rest) in [
        ("alone", String::new()),
        ("to h2c", "connection: upgrade\r\nupgrade: h2c\r\n".to_owned()),
        ("to websocket", "connection: upgrade\r\nupgrade: websocket\r\n".to_owned()),
        ("with a length", "content-length: 8\r\n".to_owned()),
    ] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{rest}\r\n");
        rows.push(kept(format!("101 nobody asked for, {name}"), &answer, Then::Refused));
        rows.push(closed(format!("101 nobody asked for, {name}, closed"), &answer, Then::Refused));
        rows.push(kept(format!("101 nobody asked for, {name}, then more"), format!("{answer}{MARK}"), Then::Refused));
        rows.push(kept(format!("101 nobody asked for, {name}, then 200"), format!("{answer}{last}"), Then::Refused));
        rows.push(kept(format!("hints, then 101, {name}"), format!("{hints}{answer}{MARK}"), Then::Refused));
    }
    rows
}

fn broken_off() -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    vec![
        closed("a length and less", format!("{head}hello"), Then::Cut),
        closed("a length and nothing", head, Then::Cut),
        closed("a length and one byte less", format!("{head}{}", "a".repeat(99)), Then::Cut),
        closed("a length and less, in parts", head, Then::Cut).then_late("hello"),
        closed("a length and less, in HTTP/1.0", head.replace("1.1", "1.0"), Then::Cut),
        closed(
            "1 MiB and less",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n{}", "a".repeat(1 << 19)),
            Then::Cut,
        ),
        closed(
            "chunks in parts, no end",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Then::Cut,
        )
        .then_late("5\r\nhel"),
        closed("404, a length and less", head.replace("200 OK", "404 Not Found"), Then::Cut),
        closed("500, a length and less", head.replace("200 OK", "500 Oh"), Then::Cut),
    ]
}
