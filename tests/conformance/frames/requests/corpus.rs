//! The rows: what RFC 9113 calls malformed (sections 8.1.1, 8.2, 8.3), what would be another request in HTTP/1.1, and
//! what is honest and looks odd.

use super::{Row, Then};
use crate::tap::Seen;

/// Stands in whatever would be smuggled, and never arrives.
const MARK: &str = "smuggled";

/// A request line with a field behind it, as somebody would like to write it into another field.
const SECOND: &str = " HTTP/1.1\r\nhost: api.example\r\n\r\nGET /smuggled";

/// A row that begins as an honest request.
fn row(name: impl Into<String>, secret: &str) -> Row {
    let lines = [(":method", "GET"), (":scheme", "http"), (":authority", "api.example"), (":path", "/p")];
    let mut row =
        Row { name: name.into(), lines: Vec::new(), data: None, padded: false, trailers: None, then: Then::Refused };
    for (name, value) in lines {
        row = row.line(name, value);
    }
    row.line("x-api-key", secret)
}

impl Row {
    fn line(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.lines.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Before all others.
    fn first(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.insert(0, (name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.lines.retain(|(line, _)| line != name.as_bytes());
        self
    }

    /// With another value for a line that is there.
    fn but(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for (line, old) in &mut self.lines {
            if line == name.as_bytes() {
                *old = value.as_ref().to_vec();
            }
        }
        self
    }

    fn data(mut self, parts: &[&str]) -> Self {
        self.data = Some(parts.iter().map(|part| part.as_bytes().to_vec()).collect());
        self.but(":method", "POST")
    }

    fn trailers(mut self, lines: &[(&str, &str)]) -> Self {
        let lines = lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self.trailers = Some((lines.collect(), true));
        self
    }

    fn arrives(mut self, holds: fn(&Seen) -> bool) -> Self {
        self.then = Then::Arrives(holds);
        self
    }
}

/// Nothing of what was to be smuggled is in it, and it is for `/p`.
fn plain(seen: &Seen) -> bool {
    (seen.target() == "/p" || seen.target().starts_with("/p?")) && !mentions(seen, MARK)
}

fn mentions(seen: &Seen, text: &str) -> bool {
    seen.line.contains(text)
        || seen.fields.iter().any(|(name, value)| name.contains(text) || String::from_utf8_lossy(value).contains(text))
}

/// All of them.
pub(super) fn rows(secret: &str) -> Vec<Row> {
    [
        pseudo(secret),
        methods(secret),
        paths(secret),
        authorities(secret),
        connection(secret),
        names(secret),
        values(secret),
        content(secret),
        trailers(secret),
        keys(secret),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn pseudo(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = vec![
        row("honest").arrives(plain),
        row(":method twice").first(":method", "GET"),
        row(":method twice, differing").first(":method", "POST"),
        row(":scheme twice").first(":scheme", "http"),
        row(":scheme twice, differing").first(":scheme", "https"),
        row(":authority twice").first(":authority", "api.example"),
        row(":authority twice, differing").first(":authority", "smuggled.example"),
        row(":path twice").first(":path", "/p"),
        row(":path twice, differing").first(":path", "/smuggled"),
        row("no :method").without(":method"),
        row("no :scheme").without(":scheme"),
        row("no :path").without(":path"),
        row("no pseudo-field at all").without(":method").without(":scheme").without(":path").without(":authority"),
        row("nothing at all")
            .without(":method")
            .without(":scheme")
            .without(":path")
            .without(":authority")
            .without("x-api-key"),
        row("no :authority and no host").without(":authority"),
        row("host in place of :authority").without(":authority").line("host", "api.example").arrives(plain),
        row(":status in a request").first(":status", "200"),
        row(":protocol without CONNECT").first(":protocol", "websocket"),
        row(":foo").first(":foo", "bar"),
        row(": alone").first(":", "bar"),
        row("::path").first("::path", "/smuggled"),
        row(":Path").first(":Path", "/smuggled"),
        row(":path with a space behind").first(":path ", "/smuggled"),
        row(":method with a space behind").first(":method ", "POST"),
    ];
    for (name, value) in
        [(":method", "POST"), (":scheme", "https"), (":authority", "smuggled.example"), (":path", "/smuggled")]
    {
        rows.push(row(&format!("{name} again behind fields")).line(name, value));
        rows.push(row(&format!("{name} only behind fields")).without(name).line(name, value));
    }
    for scheme in [
        "",
        "ftp",
        "ws",
        "file",
        "javascript",
        "http:",
        "http://",
        "http://smuggled.example/",
        "ht tp",
        " http",
        "http ",
        "http\r\nx: smuggled",
        "http\n",
        "http\0",
        "http,https",
        "http/1.1",
        "https://smuggled.example/?x=",
        "1http",
    ] {
        rows.push(row(&format!(":scheme {scheme:?}")).but(":scheme", scheme));
    }
    rows.push(row(":scheme https in the clear").but(":scheme", "https").arrives(plain));
    rows.push(row(":scheme HTTP").but(":scheme", "HTTP"));
    rows
}

fn methods(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for method in [
        "",
        " ",
        " GET",
        "GET ",
        "G ET",
        "GET /smuggled",
        "GET\t",
        "GET\0",
        "GET\r",
        "GET\n",
        "GET\r\n",
        "GET:",
        "G(ET",
        "\"GET\"",
        "G\u{c9}T",
        "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\nGET",
        "GET\r\nx: smuggled",
        "PRI *",
    ] {
        rows.push(row(&format!(":method {method:?}")).but(":method", method));
    }
    rows.push(row("CONNECT").but(":method", "CONNECT").without(":path").without(":scheme"));
    rows.push(row("CONNECT with a path").but(":method", "CONNECT"));
    rows.push(row("CONNECT for h2c").first(":protocol", "h2c").but(":method", "CONNECT"));
    rows.push(row("CONNECT for a protocol with CR").first(":protocol", "a\r\nx: smuggled").but(":method", "CONNECT"));
    rows.push(row("a method of its own").but(":method", "BREW").arrives(|seen| seen.line == "BREW /p HTTP/1.1"));
    rows.push(row("a method in lower case").but(":method", "get").arrives(|seen| seen.line == "get /p HTTP/1.1"));
    rows.push(row("HEAD").but(":method", "HEAD").arrives(plain));
    rows.push(row("DELETE").but(":method", "DELETE").arrives(plain));
    rows
}

fn paths(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for path in [
        "",
        " ",
        "p",
        "p/smuggled",
        "*",
        "?smuggled",
        "http://smuggled.example/p",
        "https:/smuggled",
        " /p",
        "/p ",
        "/p smuggled",
        "/p\tsmuggled",
        "/p\0",
        "/p\r",
        "/p\n",
        "/p\r\n",
        "/p\u{7f}",
        "/p\u{1}",
        "\\p",
        "/p\\smuggled",
        "/p%00smuggled",
        "/p%0d%0asmuggled",
        "/p%2fsmuggled",
        "/p/%2e%2e%2fsmuggled",
        "/../smuggled",
        "/p HTTP/1.1",
        "/p?q= smuggled",
        "/p?q=\r\nx: smuggled",
        "/p?q=\0",
        "/p?q=\t",
        "@smuggled.example/",
        ":80/smuggled",
    ] {
        rows.push(row(&format!(":path {path:?}")).but(":path", path));
    }
    rows.push(row(":path with a second request").but(":path", format!("/p{SECOND}")));
    rows.push(row(":path with a second request in the query").but(":path", format!("/p?q={SECOND}")));
    rows.push(row(":path * for OPTIONS").but(":path", "*").but(":method", "OPTIONS"));
    rows.push(row(":path of bytes that are no text").but(":path", b"/p\xff\xfe"));
    rows.push(row(":path of overlong UTF-8").but(":path", b"/p\xc0\xae\xc0\xae/"));
    rows.push(row(":path with a fragment").but(":path", "/p#smuggled").arrives(plain));
    // The library that reads the head cuts fragments off; what was decided on is what goes on.
    rows.push(row(":path of a fragment alone").but(":path", "#smuggled").arrives(|seen| seen.target() == "/"));
    rows.push(row(":path with a query").but(":path", "/p?a=1&b=%0d%0a").arrives(plain));
    rows.push(row(":path of two slashes").but(":path", "//p").arrives(plain));
    rows.push(row(":path with dots").but(":path", "/a/../p").arrives(plain));
    rows.push(row(":path as UTF-8").but(":path", "/é").arrives(|seen| seen.target() == "/%C3%A9"));
    rows
}

fn authorities(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for authority in [
        "",
        " ",
        "smuggled@api.example",
        "@api.example",
        "api.example:80:80",
        "api.example:99999",
        "api.example:+80",
        "api.example:x",
        "api.example/smuggled",
        "api.example?smuggled",
        "api.example#smuggled",
        "api.example\\smuggled",
        "api example",
        "api.example ",
        " api.example",
        "api.example\t",
        "api.example\0",
        "api.example\r",
        "api.example\n",
        "api.example\r\nx: smuggled",
        "api.example, smuggled.example",
        "[::1",
        "::1",
        "[smuggled]",
        "http://smuggled.example",
        "%61pi.example",
        "api.example;a",
        ":80",
        "api.example\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a",
    ] {
        rows.push(row(&format!(":authority {authority:?}")).but(":authority", authority));
        if !authority.is_empty() {
            rows.push(row(&format!("host {authority:?}")).without(":authority").line("host", authority));
        }
    }
    let host = |name: &str, host: &str| row(name).line("host", host);
    let as_written = |seen: &Seen| plain(seen) && seen.values("host") == ["api.example"];
    rows.extend([
        host("host as :authority", "api.example").arrives(as_written),
        host("host as :authority, in upper case", "API.example").arrives(as_written),
        host("host differs from :authority", "smuggled.example"),
        host("host differs by a port", "api.example:81"),
        host("host is empty beside :authority", ""),
        host("host is a list that begins with :authority", "api.example, smuggled.example"),
        host("host with user information", "smuggled@api.example"),
        host("host with CR and LF", "api.example\r\nx: smuggled"),
        host("host twice", "api.example").line("host", "api.example"),
        host("host twice, differing", "api.example").line("host", "smuggled.example"),
        host("host twice, without :authority", "a.example").line("host", "smuggled.example").without(":authority"),
        row("an empty host, without :authority").line("host", "").without(":authority"),
        row(":authority with a port")
            .but(":authority", "api.example:8080")
            .arrives(|seen| seen.values("host") == ["api.example:8080"]),
        row(":authority of IPv6").but(":authority", "[::1]:80").arrives(|seen| seen.values("host") == ["[::1]:80"]),
        row("x-forwarded-host is not believed").line("x-forwarded-host", "smuggled.example").arrives(plain),
    ]);
    rows
}

fn connection(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("connection", "x-smuggled"),
        ("connection", "upgrade"),
        ("connection", ""),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", "gzip, chunked"),
        ("transfer-encoding", ""),
        ("transfer-encoding", "xchunked"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "chunked"),
        ("te", "trailers, gzip"),
        ("te", "trailers, chunked;q=0.5"),
        ("te", "gzip, trailers"),
        ("te", "trailers;q=1"),
        ("te", ""),
        ("te", "deflate"),
    ] {
        rows.push(row(&format!("{name}: {value:?}")).line(name, value));
    }
    rows.push(row("te twice").line("te", "trailers").line("te", "gzip"));
    rows.push(row("te: trailers").line("te", "trailers").arrives(plain));
    // h2 compares it as it is written, and is stricter by that than RFC 9110, section 10.1.4.
    rows.push(row("te: Trailers").line("te", "Trailers"));
    rows.push(
        row("transfer-encoding with chunks in DATA")
            .line("transfer-encoding", "chunked")
            .data(&["0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"]),
    );
    rows.push(
        row("transfer-encoding and content-length")
            .line("transfer-encoding", "chunked")
            .line("content-length", "5")
            .data(&["hello"]),
    );
    for name in ["transfer_encoding", "content_length", "x_forwarded_for"] {
        let odd = row(&format!("{name} with an underscore")).line(name, MARK);
        rows.push(odd.arrives(plain));
    }
    // Nobody takes it for `connection`.
    rows.push(
        row("connection_ with an underscore")
            .line("connection_", "1")
            .arrives(|seen| seen.values("connection_") == ["1"]),
    );
    rows.push(row("http2-settings").line("http2-settings", MARK).arrives(plain));
    rows.push(
        row("expect")
            .line("expect", "100-continue")
            .data(&["hello"])
            .arrives(|seen| seen.values("expect").is_empty() && seen.content == b"hello"),
    );
    rows
}

fn names(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for name in [
        "X-Smuggled",
        "x-smuggleD",
        "Content-Length",
        "x smuggled",
        " x-smuggled",
        "x-smuggled ",
        "x-smuggled\t",
        "transfer-encoding ",
        "content-length\t",
        "x:smuggled",
        "x-a: 1\r\nx-smuggled",
        "x-a\r\nx-smuggled",
        "x-a\r",
        "x-a\n",
        "x-a\0",
        "",
        "x(smuggled",
        "x/smuggled",
        "x\"smuggled\"",
        "x[smuggled]",
        "x{smuggled}",
        "x,smuggled",
        "x;smuggled",
        "x@smuggled",
        "x=smuggled",
        "x\\smuggled",
        "x-a\u{7f}",
        "x-a\u{1}",
        "x-\u{e9}",
        "x-a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost",
    ] {
        rows.push(row(&format!("a field {name:?}")).line(name, "1"));
    }
    rows.push(row("a name of a byte above ASCII").line(b"x-\xff", "1"));
    rows.push(row("a name of odd token bytes").line("!#$%&'*+-.^_`|~", "1").arrives(plain));
    rows.push(row("a name of a digit").line("1", "1").arrives(plain));
    rows
}

fn values(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let mut rows = Vec::new();
    for (what, value) in [
        ("CR and LF", "a\r\nx-smuggled: 1"),
        ("LF", "a\nx-smuggled: 1"),
        ("CR", "a\rx-smuggled: 1"),
        ("a second request", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("CR at the end", "a\r"),
        ("LF at the end", "a\n"),
        ("CR and LF at the end", "a\r\n"),
        ("CR and LF at the beginning", "\r\nx-smuggled: 1"),
        ("NUL", "a\0smuggled"),
        ("NUL alone", "\0"),
        ("a fold", "a\r\n smuggled"),
    ] {
        for name in ["x-a", "cookie", "user-agent", "content-type", "referer", "te", "accept", "x-request-id", "via"] {
            rows.push(row(&format!("{name} with {what}")).line(name, value));
        }
        rows.push(
            row(&format!("a key with {what}")).without("x-api-key").line("x-api-key", format!("{secret}{value}")),
        );
    }
    for (what, value) in [
        ("a space at the beginning", " a"),
        ("a space at the end", "a "),
        ("a tab at the beginning", "\ta"),
        ("a tab at the end", "a\t"),
        ("a space alone", " "),
        ("DEL", "a\u{7f}"),
        ("a control character", "a\u{1}"),
        ("an escape", "a\u{1b}[2J"),
    ] {
        rows.push(row(&format!("a value with {what}")).line("x-a", value));
    }
    let is = |name: &str| row(name);
    rows.extend([
        is("a value with a tab inside").line("x-a", "a\tb").arrives(|seen| seen.values("x-a") == ["a\tb"]),
        is("an empty value").line("x-a", "").arrives(|seen| seen.values("x-a") == [""]),
        is("a value above ASCII")
            .line("x-a", b"\xe9\xff")
            .arrives(|seen| seen.fields.iter().any(|(name, value)| name == "x-a" && value == b"\xe9\xff")),
        is("a value with a colon").line("x-a", "x-b: 1").arrives(|seen| seen.values("x-b").is_empty()),
        is("a value of 7000 bytes").line("x-a", "a".repeat(7000)).arrives(|seen| seen.values("x-a")[0].len() == 7000),
        is("crumbs of a cookie")
            .line("cookie", "a=1")
            .line("x-a", "1")
            .line("cookie", "b=2")
            .line("cookie", "c=3")
            .arrives(|seen| seen.values("cookie") == ["a=1; b=2; c=3"]),
        is("one cookie").line("cookie", "a=1; b=2").arrives(|seen| seen.values("cookie") == ["a=1; b=2"]),
        is("a crumb with CR").line("cookie", "a=1").line("cookie", "b=2\rsmuggled"),
    ]);
    rows
}

fn content(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let five = |name: &str| row(name).line("content-length", "5");
    let hello = |seen: &Seen| plain(seen) && seen.content == b"hello";
    let mut rows = vec![
        five("a length and as much").data(&["hello"]).arrives(hello),
        five("a length and as much in two frames").data(&["hel", "lo"]).arrives(hello),
        five("a length and as much, then an empty frame").data(&["hello", ""]).arrives(hello),
        five("an empty frame, then as much").data(&["", "hello"]).arrives(hello),
        five("a length and less").data(&["hell"]),
        five("a length and less in two frames").data(&["he", "ll"]),
        five("a length and more").data(&["hello!"]),
        five("a length and more in a second frame").data(&["hello", "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"]),
        five("a length and an empty frame").data(&[""]),
        five("a length and no content"),
        five("a length and no content, POST").but(":method", "POST"),
        row("no length").data(&["hel", "lo"]).arrives(hello),
        row("no length and no content").data(&[""]).arrives(|seen| seen.content.is_empty()),
        row("a length of 0 and content").line("content-length", "0").data(&["GET /smuggled HTTP/1.1\r\n\r\n"]),
        row("a length of 0 and none").line("content-length", "0").arrives(|seen| seen.content.is_empty()),
        row("a length of 0 and an empty frame").line("content-length", "0").data(&[""]).arrives(plain),
        row("a second request in DATA")
            .data(&["\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"])
            .arrives(|seen| seen.content.starts_with(b"\r\nGET")),
        row("the end of chunks in DATA")
            .data(&["0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"])
            .arrives(|seen| seen.content.starts_with(b"0\r\n")),
        row("content with GET")
            .data(&["GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"])
            .but(":method", "GET")
            .arrives(|seen| seen.content.starts_with(b"GET /smuggled")),
        five("content with GET and a length").data(&["hello"]).but(":method", "GET").arrives(hello),
        five("content with DELETE").data(&["hello"]).but(":method", "DELETE").arrives(hello),
        row("content with HEAD").data(&["hello"]).but(":method", "HEAD").arrives(hello),
    ];
    let mut padded = five("padding is no content").data(&["hello"]).arrives(hello);
    padded.padded = true;
    rows.push(padded);
    for length in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        "5 ",
        " 5",
        "5,5",
        "5, 5",
        "5, 6",
        "5.0",
        "5e0",
        "five",
        "99999999999999999999",
        "18446744073709551621",
        "5\r\nx: smuggled",
        "5\0",
        "5;a",
    ] {
        rows.push(row(&format!("a length of {length:?}")).line("content-length", length).data(&["hello"]));
        rows.push(row(&format!("a length of {length:?}, and none")).line("content-length", length));
    }
    rows.push(row("a length of \"05\"").line("content-length", "05").data(&["hello"]).arrives(hello));
    rows.push(five("a length twice").line("content-length", "5").data(&["hello"]));
    rows.push(five("a length twice, differing").line("content-length", "6").data(&["hello"]));
    rows.push(five("a length twice, differing, the longer one true").line("content-length", "6").data(&["hello!"]));
    rows
}

fn trailers(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let hello = |name: &str| row(name).data(&["hello"]);
    let arrived = |seen: &Seen| plain(seen) && seen.content == b"hello";
    let mut rows = vec![
        hello("an honest trailer").trailers(&[("x-sum", "1")]).arrives(arrived),
        hello("trailers behind a length").line("content-length", "5").trailers(&[("x-sum", "1")]).arrives(arrived),
        hello("trailers behind less than a length").line("content-length", "6").trailers(&[("x-sum", "1")]),
        hello("trailers behind more than a length").line("content-length", "4").trailers(&[("x-sum", "1")]),
        hello("pseudo-fields as trailers").trailers(&[(":method", "GET"), (":path", "/smuggled")]),
        hello(":path as a trailer").trailers(&[(":path", "/smuggled")]),
        hello(":status as a trailer").trailers(&[(":status", "200")]),
        hello("a trailer in upper case").trailers(&[("X-Smuggled", "1")]),
        hello("a trailer with CR and LF").trailers(&[("x-a", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")]),
        hello("a trailer with NUL").trailers(&[("x-a", "1\0")]),
        hello("a trailer with CR in its name").trailers(&[("x-a\r\nx-smuggled", "1")]),
        hello("a trailer with a space in its name").trailers(&[("x smuggled", "1")]),
    ];
    let mut open = hello("trailers that do not end the stream").trailers(&[("x-sum", "1")]);
    if let Some((_, ends)) = &mut open.trailers {
        *ends = false;
    }
    rows.push(open);
    for name in ["connection", "transfer-encoding", "upgrade", "te", "keep-alive", "proxy-connection"] {
        rows.push(hello(&format!("{name} as a trailer")).trailers(&[(name, MARK)]));
    }
    for name in
        ["host", "content-length", "x-api-key", "authorization", "x-keygate-tenant", "x-forwarded-for", "cookie"]
    {
        rows.push(hello(&format!("{name} as a trailer")).trailers(&[(name, MARK)]).arrives(arrived));
    }
    // h2 leaves the pseudo-field out without a word; it goes nowhere.
    rows.push(
        hello(":path as a trailer beside a field").trailers(&[(":path", "/smuggled"), ("x-sum", "1")]).arrives(arrived),
    );
    rows.push(hello("the key as a trailer alone").without("x-api-key").trailers(&[("x-api-key", secret)]));
    rows
}

fn keys(secret: &str) -> Vec<Row> {
    let row = |name: &str| row(name, secret);
    let none = |name: &str| row(name).without("x-api-key");
    let mut rows = vec![
        none("no key"),
        none("a key in a list").line("x-api-key", format!("wrong, {secret}")),
        none("a key in a list, first").line("x-api-key", format!("{secret}, wrong")),
        none("two keys").line("x-api-key", "wrong").line("x-api-key", secret),
        none("two keys, the good one first").line("x-api-key", secret).line("x-api-key", "wrong"),
        none("a key with a space behind").line("x-api-key", format!("{secret} ")),
        none("a key under another spelling").line("x_api_key", secret),
        none("a key in upper case").line("x-api-key", secret.to_uppercase()),
        none("a key as the value of a cookie").line("cookie", format!("x-api-key={secret}")),
        none("a key behind CR and LF").line("x-a", format!("1\r\nx-api-key: {secret}")),
        none("a key in :path").but(":path", format!("/p HTTP/1.1\r\nx-api-key: {secret}\r\n")),
    ];
    for name in ["x-keygate-tenant", "x-keygate-key-id", "x_keygate_tenant", "x-keygate_user"] {
        rows.push(row(&format!("{name} is not believed")).line(name, MARK).arrives(plain));
    }
    rows
}
