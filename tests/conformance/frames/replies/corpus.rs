//! The rows: RFC 9113, sections 4 to 6 and 8, as an upstream may break them.

use crate::answers::{MARK, Then};
use crate::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame,
};

/// What an upstream sends, and what is to come of it.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) method: &'static str,
    /// The bytes it sends when it is asked on this stream.
    pub(super) frames: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    /// The connection is closed behind them.
    pub(super) closes: bool,
    /// They end the connection, or may: that is waited for.
    pub(super) late: bool,
    pub(super) then: Then,
}

fn row(name: impl Into<String>, then: Then, frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Row {
    Row { name: name.into(), method: "GET", frames: Box::new(frames), closes: false, late: false, then }
}

impl Row {
    fn closed(mut self) -> Self {
        self.closes = true;
        self
    }

    fn late(mut self) -> Self {
        self.late = true;
        self
    }

    fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }
}

/// A head that does not end the stream.
fn head(stream: u32, lines: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(lines))
}

/// A head, or trailers, with which the stream ends.
fn last(stream: u32, lines: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(lines))
}

fn part(stream: u32, text: &str) -> Vec<u8> {
    frame(DATA, 0, stream, text.as_bytes())
}

fn end(stream: u32, text: &str) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, text.as_bytes())
}

fn ok(stream: u32) -> Vec<u8> {
    head(stream, &[(":status", "200")])
}

fn whole(stream: u32) -> Vec<u8> {
    [ok(stream), end(stream, "hello")].concat()
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn go_away(last_stream: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), code.to_be_bytes()].concat())
}

/// All of them.
pub(super) fn rows() -> Vec<Row> {
    [honest(), heads(), lengths(), order(), ends(), connections(), interim()].into_iter().flatten().collect()
}

fn honest() -> Vec<Row> {
    let hello = Then::Whole("hello");
    vec![
        row("head and content", hello, whole),
        row("a head alone", Then::Whole(""), |s| last(s, &[(":status", "200")])),
        row("content in three frames", hello, |s| [ok(s), part(s, "he"), part(s, ""), end(s, "llo")].concat()),
        row("an empty frame at the end", hello, |s| [ok(s), part(s, "hello"), end(s, "")].concat()),
        row("trailers", hello, |s| [ok(s), part(s, "hello"), last(s, &[("x-sum", "1")])].concat()),
        row("padding", hello, |s| {
            [ok(s), frame(DATA, END_STREAM | PADDED, s, &[&[9][..], b"hello", &[0; 9]].concat())].concat()
        }),
        row("a head in three frames", hello, |s| {
            let block = block(&[(":status", "200"), ("x-a", "1")]);
            let (first, rest) = block.split_at(3);
            let (second, third) = rest.split_at(2);
            let frames = [
                frame(HEADERS, 0, s, first),
                frame(CONTINUATION, 0, s, second),
                frame(CONTINUATION, END_HEADERS, s, third),
                end(s, "hello"),
            ];
            frames.concat()
        }),
        row("a length and as much", hello, |s| {
            [head(s, &[(":status", "200"), ("content-length", "5")]), end(s, "hello")].concat()
        }),
        row("a reset behind the end", hello, |s| [whole(s), reset(s, 0)].concat()),
        row("a frame of a kind that nobody knows", hello, |s| {
            [frame(0xfa, 0xff, s, MARK.as_bytes()), whole(s)].concat()
        }),
        row("a flag that nobody knows", hello, |s| {
            [frame(HEADERS, END_HEADERS | 0xc2, s, &block(&[(":status", "200")])), end(s, "hello")].concat()
        }),
        row("a ping", hello, |s| [frame(PING, 0, 0, &[7; 8]), whole(s)].concat()),
        row("a setting that nobody knows", hello, |s| {
            [frame(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]), whole(s)].concat()
        }),
        row("a priority", hello, |s| [frame(PRIORITY, 0, s, &[0, 0, 0, 0, 9]), whole(s)].concat()),
        row("204", Then::Whole(""), |s| last(s, &[(":status", "204")])),
        row("304 with a length", Then::Whole(""), |s| last(s, &[(":status", "304"), ("content-length", "5")])),
        row("HEAD with a length", Then::Whole(""), |s| last(s, &[(":status", "200"), ("content-length", "5")]))
            .to("HEAD"),
        row("it goes away behind the end", hello, |s| [whole(s), go_away(s, 0)].concat()).late(),
        row("it goes away before the end", hello, |s| [ok(s), go_away(s, 0), end(s, "hello")].concat()).late(),
    ]
}

fn heads() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in [
        "", "2", "20", "2000", "abc", "+200", "2 0", "200 OK", "0x0c8", "000", "099", "600", "999", "-200", "2OO",
        "200\r\n", "200\0",
    ] {
        rows.push(row(format!(":status {status:?}"), Then::Refused, move |s| {
            [head(s, &[(":status", status)]), end(s, MARK)].concat()
        }));
    }
    let lines: [(&str, &[(&str, &str)]); 34] = [
        ("no :status", &[("x-a", "1")]),
        ("nothing", &[]),
        (":status twice", &[(":status", "200"), (":status", "200")]),
        (":status twice, differing", &[(":status", "200"), (":status", "404")]),
        (":status behind fields", &[("x-a", "1"), (":status", "200")]),
        (":status again behind fields", &[(":status", "200"), ("x-a", "1"), (":status", "200")]),
        (":foo", &[(":status", "200"), (":foo", "1")]),
        ("a name in upper case", &[(":status", "200"), ("X-Smuggled", "1")]),
        ("a space in a name", &[(":status", "200"), ("x smuggled", "1")]),
        ("a space behind a name", &[(":status", "200"), ("x-smuggled ", "1")]),
        ("a colon in a name", &[(":status", "200"), ("x:smuggled", "1")]),
        ("a quotation mark in a name", &[(":status", "200"), ("x\"smuggled", "1")]),
        ("a bracket in a name", &[(":status", "200"), ("x(smuggled)", "1")]),
        ("CR and LF in a name", &[(":status", "200"), ("x-a: 1\r\nx-smuggled", "1")]),
        ("NUL in a name", &[(":status", "200"), ("x-smuggled\0", "1")]),
        ("a name above ASCII", &[(":status", "200"), ("x-smuggled\u{e9}", "1")]),
        ("an empty name", &[(":status", "200"), ("", "smuggled")]),
        ("CR and LF in a value", &[(":status", "200"), ("x-a", "1\r\nx-smuggled: 1")]),
        (
            "a second answer in a value",
            &[(":status", "200"), ("x-a", "1\r\n\r\nHTTP/1.1 200 OK\r\nx-smuggled: 1\r\n\r\n")],
        ),
        ("LF in a value", &[(":status", "200"), ("x-a", "1\nx-smuggled: 1")]),
        ("CR in a value", &[(":status", "200"), ("x-a", "1\rx-smuggled: 1")]),
        ("NUL in a value", &[(":status", "200"), ("x-a", "smuggled\0")]),
        ("CR and LF in a cookie", &[(":status", "200"), ("set-cookie", "a=1\r\nx-smuggled: 1")]),
        ("CR and LF in a location", &[(":status", "302"), ("location", "/\r\nx-smuggled: 1")]),
        ("a control character in a value", &[(":status", "200"), ("x-a", "smuggled\u{1}")]),
        ("connection", &[(":status", "200"), ("connection", "smuggled")]),
        ("connection: close", &[(":status", "200"), ("connection", "close")]),
        ("keep-alive", &[(":status", "200"), ("keep-alive", "timeout=5")]),
        ("proxy-connection", &[(":status", "200"), ("proxy-connection", "smuggled")]),
        ("transfer-encoding", &[(":status", "200"), ("transfer-encoding", "chunked")]),
        ("transfer-encoding: identity", &[(":status", "200"), ("transfer-encoding", "identity")]),
        ("upgrade", &[(":status", "200"), ("upgrade", "websocket")]),
        ("te", &[(":status", "200"), ("te", "gzip")]),
        ("a space at the edge of a value", &[(":status", "200"), ("x-a", " smuggled")]),
    ];
    for (name, lines) in lines {
        rows.push(row(format!("a head with {name}"), Then::Refused, move |s| [head(s, lines), end(s, MARK)].concat()));
        rows.push(row(format!("a head with {name}, alone"), Then::Refused, move |s| last(s, lines)));
    }
    // h2 leaves these out without a word; they go nowhere.
    for name in [":method", ":path", ":scheme", ":authority"] {
        rows.push(row(format!("{name} beside :status"), Then::Whole("hello"), move |s| {
            [head(s, &[(":status", "200"), (name, MARK)]), end(s, "hello")].concat()
        }));
    }
    rows.push(row("a head of 128 KiB", Then::Refused, |s| {
        let value = "a".repeat(16_000);
        let mut frames = frame(HEADERS, 0, s, &block(&[(":status", "200")]));
        for _ in 0..7 {
            frames.extend(frame(CONTINUATION, 0, s, &block(&[("x-a", &value)])));
        }
        frames.extend(frame(CONTINUATION, END_HEADERS, s, &block(&[("x-a", &value)])));
        [frames, end(s, MARK)].concat()
    }));
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for length in ["", "+8", "-8", "0x8", "8 8", "8,8", "8, 9", "a", "8.0", "18446744073709551624", "8\0", " 8"] {
        rows.push(row(format!("a length of {length:?}"), Then::Refused, move |s| {
            [head(s, &[(":status", "200"), ("content-length", length)]), end(s, MARK)].concat()
        }));
    }
    let five = |s: u32| head(s, &[(":status", "200"), ("content-length", "5")]);
    rows.extend([
        row("two lengths", Then::Refused, |s| {
            [head(s, &[(":status", "200"), ("content-length", "8"), ("content-length", "9")]), end(s, MARK)].concat()
        }),
        row("a length twice", Then::Refused, |s| {
            [head(s, &[(":status", "200"), ("content-length", "8"), ("content-length", "8")]), end(s, MARK)].concat()
        }),
        row("a length and less", Then::Cut, move |s| [five(s), end(s, "hell")].concat()),
        row("a length and nothing", Then::Cut, move |s| [five(s), end(s, "")].concat()),
        row("a length and a head alone", Then::Cut, |s| last(s, &[(":status", "200"), ("content-length", "5")])),
        row("a length and less, then trailers", Then::Cut, move |s| {
            [five(s), part(s, "hell"), last(s, &[("x-a", "1")])].concat()
        }),
        row("a length and more", Then::Cut, move |s| [five(s), end(s, "hello!")].concat()),
        row("a length and more in a second frame", Then::Surplus("hello"), move |s| {
            [five(s), part(s, "hello"), end(s, MARK)].concat()
        }),
        row("a length of 0 and content", Then::Surplus(""), |s| {
            [head(s, &[(":status", "200"), ("content-length", "0")]), end(s, MARK)].concat()
        }),
        row("204 with content", Then::Whole(""), |s| [head(s, &[(":status", "204")]), end(s, MARK)].concat()),
        row("304 with content", Then::Whole(""), |s| [head(s, &[(":status", "304")]), end(s, MARK)].concat()),
        row("HEAD with content", Then::Surplus(""), |s| [ok(s), end(s, MARK)].concat()).to("HEAD"),
    ]);
    rows
}

fn order() -> Vec<Row> {
    vec![
        row("content before a head", Then::Refused, |s| [part(s, MARK), whole(s)].concat()).late(),
        row("content alone", Then::Refused, |s| end(s, MARK)).late(),
        row("two heads", Then::Cut, |s| [ok(s), ok(s), end(s, MARK)].concat()),
        row("trailers that do not end the stream", Then::Cut, |s| {
            [ok(s), part(s, "hello"), head(s, &[("x-a", "1")])].concat()
        }),
        row("a pseudo-field in trailers", Then::Whole("hello"), |s| {
            [ok(s), part(s, "hello"), last(s, &[(":status", "200")])].concat()
        }),
        row("a name in upper case in trailers", Then::Cut, |s| {
            [ok(s), part(s, "hello"), last(s, &[("X-Smuggled", "1")])].concat()
        }),
        row("CR and LF in trailers", Then::Cut, |s| {
            [ok(s), part(s, "hello"), last(s, &[("x-a", "1\r\nx-smuggled: 1")])].concat()
        }),
        row("a quotation mark in trailers", Then::Whole("hello"), |s| {
            [ok(s), part(s, "hello"), last(s, &[("x\"smuggled", "1")])].concat()
        }),
        row("connection in trailers", Then::Cut, |s| {
            [ok(s), part(s, "hello"), last(s, &[("connection", MARK)])].concat()
        }),
        row("a head in the middle of another", Then::Refused, |s| {
            [frame(HEADERS, 0, s, &block(&[(":status", "200")])), whole(s)].concat()
        })
        .late(),
        row("content in the middle of a head", Then::Refused, |s| {
            [frame(HEADERS, 0, s, &block(&[(":status", "200")])), end(s, MARK)].concat()
        })
        .late(),
        row("the rest of a head on another stream", Then::Refused, |s| {
            [frame(HEADERS, 0, s, &block(&[(":status", "200")])), frame(CONTINUATION, END_HEADERS, s + 2, &[])].concat()
        })
        .late(),
        row("the rest of a head that was whole", Then::Cut, |s| {
            [ok(s), frame(CONTINUATION, END_HEADERS, s, &[])].concat()
        })
        .late(),
        row("content behind the end", Then::Whole("hello"), |s| [whole(s), end(s, MARK)].concat()).late(),
        row("a head behind the end", Then::Whole("hello"), |s| [whole(s), whole(s)].concat()).late(),
        row("content behind a reset", Then::Cut, |s| [ok(s), reset(s, 2), end(s, MARK)].concat()).late(),
        row("an answer to a request that nobody has sent", Then::Whole("hello"), |s| {
            [whole(s), head(s + 2, &[(":status", "200")]), end(s + 2, MARK)].concat()
        })
        .late(),
        row("an answer to a request of its own", Then::Whole("hello"), |s| {
            [whole(s), head(2, &[(":status", "200")]), end(2, MARK)].concat()
        })
        .late(),
        row("an answer on no stream", Then::Refused, |_| whole(0)).late(),
        row("a push", Then::Refused, |s| {
            let block = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/after/0/0")]);
            let promise = frame(PUSH_PROMISE, END_HEADERS, s, &[&2u32.to_be_bytes()[..], &block].concat());
            [promise, head(2, &[(":status", "200")]), end(2, MARK), whole(s)].concat()
        })
        .late(),
    ]
}

fn ends() -> Vec<Row> {
    let mut rows: Vec<Row> = (0..=14)
        .flat_map(|code| {
            [
                row(format!("a reset with code {code}"), Then::Refused, move |s| reset(s, code)),
                row(format!("a reset with code {code} behind the head"), Then::Cut, move |s| {
                    [ok(s), reset(s, code)].concat()
                }),
                row(format!("a reset with code {code} in the content"), Then::Cut, move |s| {
                    [ok(s), part(s, "hello"), reset(s, code)].concat()
                }),
            ]
        })
        .collect();
    for code in [0, 1, 2, 11] {
        rows.push(
            row(format!("it goes away with code {code}"), Then::Refused, move |_| go_away(0, code)).closed().late(),
        );
        rows.push(
            row(format!("it goes away with code {code} in the content"), Then::Cut, move |s| {
                [ok(s), part(s, "hello"), go_away(s, code)].concat()
            })
            .closed()
            .late(),
        );
    }
    rows.extend([
        row("it closes", Then::Refused, |_| Vec::new()).closed().late(),
        row("it closes behind the head", Then::Cut, ok).closed().late(),
        row("it closes in the content", Then::Cut, |s| [ok(s), part(s, "hello")].concat()).closed().late(),
        row("it closes in a frame", Then::Cut, |s| [ok(s), part(s, "hello")[..11].to_vec()].concat()).closed().late(),
        row("it closes in a head", Then::Refused, |s| frame(HEADERS, 0, s, &block(&[(":status", "200")])))
            .closed()
            .late(),
        row("it closes behind a length and less", Then::Cut, |s| {
            [head(s, &[(":status", "200"), ("content-length", "9")]), part(s, "hello")].concat()
        })
        .closed()
        .late(),
    ]);
    rows
}

fn connections() -> Vec<Row> {
    let mut rows = Vec::new();
    type Frames = fn(u32) -> Vec<u8>;
    let broken: [(&str, Frames); 23] = [
        ("settings of 5 bytes", |_| frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", |s| frame(SETTINGS, 0, s, &[])),
        ("an acknowledgement with settings", |_| frame(SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1])),
        ("a window that is too large", |_| frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("frames that are too small", |_| frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("a ping of 7 bytes", |_| frame(PING, 0, 0, &[0; 7])),
        ("a ping on a stream", |s| frame(PING, 0, s, &[0; 8])),
        ("a window that grows by nothing", |_| frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that grows too far", |_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a window update of 3 bytes", |_| frame(WINDOW_UPDATE, 0, 0, &[1; 3])),
        ("a reset of 3 bytes", |s| frame(RST_STREAM, 0, s, &[0; 3])),
        ("a reset on no stream", |_| reset(0, 1)),
        ("a reset of a stream that is not open", |s| reset(s + 100, 1)),
        ("content on no stream", |_| end(0, MARK)),
        ("a goodbye on a stream", |s| frame(GOAWAY, 0, s, &[0; 8])),
        ("a goodbye of 7 bytes", |_| frame(GOAWAY, 0, 0, &[0; 7])),
        ("a head of a field that is in no table", |s| frame(HEADERS, END_HEADERS, s, &[0xff, 0xff, 0x7f])),
        ("a head of a field number 0", |s| frame(HEADERS, END_HEADERS, s, &[0x80])),
        ("a head with a table that is too large", |s| frame(HEADERS, END_HEADERS, s, &[0x3f, 0xe1, 0xff, 0x7f, 0x88])),
        ("a head that ends in a text", |s| frame(HEADERS, END_HEADERS, s, &[0, 9, b'x'])),
        ("a head with more padding than it has", |s| frame(HEADERS, END_HEADERS | PADDED, s, &[200, 0x88])),
        ("an answer in HTTP/1.1", |_| b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled".to_vec()),
        ("bytes that are no frames", |_| vec![0xff; 64]),
    ];
    for (name, frames) in broken {
        rows.push(row(name, Then::Refused, move |s| [frames(s), whole(s).repeat(1)].concat()).late());
        rows.push(row(format!("{name}, closed"), Then::Refused, frames).closed().late());
    }
    rows.push(
        row("a window of the stream that grows by nothing", Then::Cut, |s| {
            [frame(WINDOW_UPDATE, 0, s, &[0; 4]), whole(s)].concat()
        })
        .late(),
    );
    rows.push(
        row("a frame that is too large", Then::Cut, |s| [ok(s), frame(DATA, END_STREAM, s, &[b'a'; 1 << 17])].concat())
            .late(),
    );
    rows.push(
        row("more padding than content", Then::Cut, |s| {
            [ok(s), frame(DATA, END_STREAM | PADDED, s, b"\xc8hello")].concat()
        })
        .late(),
    );
    // RFC 9113, section 6.5.2, calls it an error; h2 takes no pushes and does not mind.
    rows.push(
        row("push switched on", Then::Whole("hello"), |s| {
            [frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]), whole(s)].concat()
        })
        .late(),
    );
    rows.push(
        row("a priority of 4 bytes", Then::Refused, |s| [frame(PRIORITY, 0, s, &[0; 4]), whole(s)].concat()).late(),
    );
    rows.push(
        row("a stream that waits for itself", Then::Refused, |s| {
            [frame(PRIORITY, 0, s, &[&s.to_be_bytes()[..], &[1]].concat()), whole(s)].concat()
        })
        .late(),
    );
    rows
}

fn interim() -> Vec<Row> {
    let hints = |s: u32| head(s, &[(":status", "103"), ("link", "</a>")]);
    vec![
        row("103", Then::Whole("hello"), move |s| [hints(s), whole(s)].concat()),
        row("100", Then::Whole("hello"), |s| [head(s, &[(":status", "100")]), whole(s)].concat()),
        row("1000 interim answers", Then::Whole("hello"), move |s| [hints(s).repeat(1000), whole(s)].concat()),
        row("5000 interim answers", Then::RefusedAs("upstream_malformed"), move |s| {
            [hints(s).repeat(5000), whole(s)].concat()
        }),
        row("101", Then::Refused, |s| [head(s, &[(":status", "101")]), end(s, MARK)].concat()),
        // RFC 9113, section 8.6, knows no 101; h2 passes over it as over any interim answer.
        row("101, then 200", Then::Whole("hello"), |s| [head(s, &[(":status", "101")]), whole(s)].concat()),
        row("103 that ends the stream", Then::Refused, |s| last(s, &[(":status", "103")])),
        row("103, then content", Then::Refused, move |s| [hints(s), end(s, MARK)].concat()).late(),
        row("103, then a reset", Then::Refused, move |s| [hints(s), reset(s, 2)].concat()),
        row("103 behind the head", Then::Cut, move |s| [ok(s), hints(s), end(s, MARK)].concat()),
        row("103 with CR and LF", Then::Refused, |s| {
            [head(s, &[(":status", "103"), ("x-a", "1\r\nx-smuggled: 1")]), whole(s)].concat()
        }),
    ]
}
