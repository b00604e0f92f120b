//! What HTTP says about messages beyond their framing: interim responses, expectations, responses without content, fields
//! behind content, hops, versions, and answers that come early or in pieces.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gate::{PATIENCE, gate};
use crate::key::{TestKey, key};
use crate::programs::{free_port, run};
use crate::upstream::{Then, Upstream, respond};

/// An upstream whose connections the test serves by hand, each in a thread of its own. Returns its URL.
fn by_hand(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

/// Reads a head, with its empty line.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// An upstream that answers every request with the same bytes.
fn saying(answer: impl Into<String>) -> Upstream {
    let answer = answer.into();
    Upstream::answering(move |_, stream| {
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    })
}

fn asks(alice: &TestKey, lines: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n{lines}\r\n", alice.secret)
}

#[test]
fn who_may_not_send_content_is_told_before_being_asked_for_it() {
    let (upstream, alice, poor) = (Upstream::echo(), key("alice").with("permissions: [\"p:write\"]"), key("poor"));
    let gate = gate(&upstream)
        .key(&alice)
        .key(&poor)
        .with("routes: [{ name: all, paths: [\"/{*rest}\"], access: api_key, permission: \"p:write\", limits: [few] }]")
        .with("limits: [{ name: few, per: key, requests: 2, window: 1h }]")
        .start();
    let expecting = |line: &str, secret: &str| {
        let mut client = gate.client();
        let head = format!("POST /p HTTP/1.1\r\nHost: a\r\n{line}Content-Length: 5\r\nX-API-Key: {secret}\r\n\r\n");
        client.write(head.as_bytes());
        client
    };
    let first = |line: &str, secret: &str| {
        let mut client = expecting(line, secret);
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(text.contains("connection: close\r\n"), "{text}");
        text.split(' ').nth(1).unwrap().to_owned()
    };
    let expects = "Expect: 100-continue\r\n";
    // The answer is the first thing that comes, and the content was never sent.
    assert_eq!(first(expects, "guess"), "401");
    assert_eq!(first(expects, &poor.secret), "403");
    assert_eq!(upstream.received().len(), 0);

    // Who may is asked, once, and only then sends.
    for expects in [expects, "Expect: 100-Continue\r\n"] {
        let mut client = expecting(expects, &alice.secret);
        assert_eq!(client.take(25), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write(b"hello");
        let response = client.response("POST");
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        assert_eq!(upstream.last().values("Expect"), [""; 0]);
    }
    assert_eq!(first(expects, &alice.secret), "429");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn nobody_is_asked_for_content_that_nobody_takes() {
    let alice = key("alice");
    let gate = gate(format!("http://127.0.0.1:{}", free_port())).key(&alice).start();
    let mut client = gate.client();
    client.write(asks(&alice, "Expect: 100-continue\r\nContent-Length: 5\r\n").as_bytes());
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
}

#[test]
fn an_expectation_that_nobody_can_meet_is_417() {
    let (upstream, alice) = (Upstream::echo(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    for line in ["Expect: 200-ok", "Expect: 100-continue, x", "Expect:", "Expect: 100-continue\r\nExpect: y"] {
        let mut client = gate.client();
        client.write(asks(&alice, &format!("{line}\r\nContent-Length: 5\r\n")).as_bytes());
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(text.starts_with("HTTP/1.1 417 ") && text.contains("expectation_failed"), "{line}: {text}");
    }
    assert_eq!(upstream.received().len(), 0);
    // HTTP/1.0 knows none (RFC 9110, section 10.1.1).
    let mut client = gate.client();
    let head = asks(&alice, "Expect: 200-ok\r\nContent-Length: 5\r\n").replace("HTTP/1.1", "HTTP/1.0");
    client.write((head + "hello").as_bytes());
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
}

#[test]
fn responses_without_content_keep_their_fields_and_their_connections() {
    let alice = key("alice");
    let fields = "etag: \"1\"\r\nx-mine: 1\r\n";
    let upstream = Upstream::answering(move |request, stream| {
        let line = request.head.lines().next().unwrap();
        let answer = match line.split(' ').nth(1).unwrap() {
            "/length" => format!("200 OK\r\n{fields}content-length: 5\r\n\r\n"),
            "/chunks" => format!("200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n"),
            "/204" => format!("204 No Content\r\n{fields}\r\n"),
            "/204-length" => format!("204 No Content\r\n{fields}content-length: 0\r\n\r\n"),
            "/304" => format!("304 Not Modified\r\n{fields}\r\n"),
            "/304-length" => format!("304 Not Modified\r\n{fields}content-length: 5\r\n\r\n"),
            "/205" => format!("205 Reset Content\r\n{fields}content-length: 0\r\n\r\n"),
            _ => return respond(stream, "200 OK", "", b"hello"),
        };
        let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes());
        Then::Keep
    });
    let gate = gate(&upstream)
        .key(&alice)
        .with("workers: 1")
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .start();
    let mut client = gate.client();
    let rows = [
        ("HEAD", "/length", 200, Some("5")),
        ("HEAD", "/chunks", 200, None),
        ("GET", "/204", 204, None),
        ("GET", "/204-length", 204, None),
        ("HEAD", "/204", 204, None),
        ("GET", "/304", 304, None),
        // hyper leaves it out in HTTP/1.1, which is allowed (RFC 9110, section 8.6).
        ("GET", "/304-length", 304, None),
        ("HEAD", "/304-length", 304, Some("5")),
        ("GET", "/205", 205, Some("0")),
    ];
    for (method, path, status, length) in rows {
        let response = client.request(method, path, &[alice.field()], b"");
        assert_eq!((response.status, response.field("content-length")), (status, length), "{method} {path}");
        assert_eq!((response.field("etag"), response.field("x-mine")), (Some("\"1\""), Some("1")), "{method} {path}");
        assert_eq!(response.content, b"", "{method} {path}");
        // Both connections are where they should be.
        assert_eq!(client.request("GET", "/", &[alice.field()], b"").text(), "hello", "{method} {path}");

        let url = format!("http://{}{path}", gate.address);
        let field = format!("x-api-key: {}", alice.secret);
        let mut arguments = vec!["-si", "--http2-prior-knowledge", "-m", "20", "-H", &field, &url];
        if method == "HEAD" {
            arguments.push("-I");
        }
        let text = run("curl", &arguments).unwrap();
        assert!(text.starts_with(&format!("HTTP/2 {status}")) && text.contains("x-mine: 1"), "{method} {path}: {text}");
        assert!(text.ends_with("\r\n\r\n"), "{method} {path}: {text}");
        assert!(text.contains("content-length: 5") || length != Some("5"), "{method} {path}: {text}");
    }
    assert_eq!(upstream.connections(), 1);
}

/// hyper's own answer to a bad head is kept back and replaced by ours. Content is never taken for it.
#[test]
fn content_that_reads_like_a_refusal_arrives_whatever_comes_behind_its_request() {
    const CONTENT: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
    let alice = key("alice");
    let upstream = Upstream::answering(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CONTENT.len()).as_bytes());
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(CONTENT.as_bytes());
        Then::Keep
    });
    let gate = gate(&upstream).key(&alice).start();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret);
    for (behind, last) in [("", 200), ("GE", 200), ("G E T / HTTP/1.1\r\n\r\n", 400), ("bad", 400)] {
        let mut client = gate.client();
        client.write([&request, behind].concat().as_bytes());
        let response = client.response("GET");
        assert_eq!((response.status, response.text().as_str()), (200, CONTENT), "{behind:?}");
        // The rest of the next one: what is behind is the beginning of it, or of no request.
        let rest = request.strip_prefix(behind).unwrap_or("\r\n\r\n");
        client.write(if behind.ends_with('\n') { b"" } else { rest.as_bytes() });
        let response = client.response("GET");
        assert_eq!(response.status, last, "{behind:?}");
        if last == 200 {
            assert_eq!(response.text(), CONTENT, "{behind:?}");
        } else {
            assert_eq!(response.code(), "head_malformed", "{behind:?}");
        }
    }
}

/// Somebody could read `010` as eight.
#[test]
fn a_length_arrives_without_zeros_in_front() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    for (written, content) in
        [("010", "helloworld"), ("0000000000000000000000000000005", "hello"), ("00", ""), ("0", "")]
    {
        let mut client = gate.client();
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: {written}\r\n", alice.secret);
        client.write(format!("{head}\r\n{content}").as_bytes());
        assert_eq!(client.response("POST").status, 200, "{written}");
        assert_eq!(upstream.last().values("content-length"), [content.len().to_string()], "{written}");
        assert_eq!(upstream.last().content, content.as_bytes(), "{written}");
    }
}

#[test]
fn interim_responses_of_the_upstream_are_no_harm() {
    let alice = key("alice");
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nset-cookie: a=b\r\n\r\n";
    for (row, interim) in [
        ("103", early.to_owned()),
        ("103 twice", early.repeat(2)),
        ("102", "HTTP/1.1 102 Processing\r\n\r\n".to_owned()),
        ("100 that nobody asked for", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ("199", "HTTP/1.1 199 Whatever\r\ncontent-length: 5\r\n\r\n".to_owned()),
        ("all of them", format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{early}")),
    ] {
        let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-mine: 1\r\n\r\nhello");
        // In one piece, and in two.
        for pause in [Duration::ZERO, Duration::from_millis(20)] {
            let (interim, whole) = (interim.clone(), answer.clone());
            let upstream = Upstream::answering(move |_, stream| {
                let (begin, end) = whole.split_at(interim.len());
                let _ = stream.write_all(begin.as_bytes());
                std::thread::sleep(pause);
                let _ = stream.write_all(end.as_bytes());
                Then::Keep
            });
            let gate = gate(&upstream).key(&alice).with("workers: 1").start();
            let mut client = gate.client();
            for _ in 0..2 {
                let response = client.request("POST", "/", &[alice.field()], b"hello");
                assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{row}");
                assert_eq!(response.field("x-mine"), Some("1"), "{row}");
            }
            assert_eq!(upstream.connections(), 1, "{row}");
        }
    }
}

#[test]
fn fields_behind_the_content_of_a_request_arrive_where_they_do_no_harm() {
    let received = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&received);
    let url = by_hand(move |mut stream| {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if text.contains("\r\n0\r\n") && text.ends_with("\r\n\r\n") {
                *seen.lock().unwrap() = std::mem::take(&mut text);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        }
    });
    let alice = key("alice");
    let gate = gate(url).key(&alice).with("identity_fields: { user: X_User }").start();
    let send = |trailers: &[&str], announced: &str| {
        let mut client = gate.client();
        let head = asks(&alice, &format!("Transfer-Encoding: chunked\r\nTrailer: {announced}\r\n"));
        let lines: String = trailers.iter().map(|line| format!("{line}\r\n")).collect();
        client.write(format!("{head}5\r\nhello\r\n0\r\n{lines}\r\n").as_bytes());
        assert_eq!(client.response("POST").status, 200, "{trailers:?}");
        let text = received.lock().unwrap().clone();
        text.split_once("5\r\nhello\r\n0\r\n").unwrap().1.to_owned()
    };
    assert_eq!(send(&["X-Sum: 42", "Digest: a=b"], "x-sum, digest"), "x-sum: 42\r\ndigest: a=b\r\n\r\n");
    // What was not announced is left out (RFC 9110, section 6.5.1 lets us).
    assert_eq!(send(&["X-Sum: 42", "X-Other: 1"], "x-sum"), "x-sum: 42\r\n\r\n");
    for name in [
        "X-API-Key",
        "X_API_Key",
        "X-User",
        "X_User",
        "X-Keygate-Tenant",
        "X_Keygate_Tenant",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "Forwarded",
        "Via",
        "Host",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Type",
        "Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "If-Match",
        "Traceparent",
        "X-Request-Id",
    ] {
        let left = send(&[&format!("{name}: forged"), "X-Sum: 42"], &format!("{name}, x-sum"));
        assert_eq!(left, "x-sum: 42\r\n\r\n", "{name}");
    }
}

#[test]
fn max_forwards_counts_down_and_ends_here() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let ask =
        |method: &str, value: &str| gate.client().request(method, "/p", &[alice.field(), ("Max-Forwards", value)], b"");
    for (method, sent, arrives) in [("OPTIONS", "7", "6"), ("TRACE", "1", "0"), ("GET", "0", "0")] {
        assert_eq!(ask(method, sent).status, 200, "{method}");
        assert_eq!(upstream.last().value("Max-Forwards"), arrives, "{method}");
    }
    let before = upstream.received().len();
    let response = ask("OPTIONS", "0");
    assert_eq!(response.status, 204);
    assert_eq!(response.field("allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"));
    let response = ask("TRACE", "0");
    assert_eq!((response.status, response.code().as_str()), (405, "method_not_allowed"));
    assert!(!response.text().contains(&alice.secret));
    for value in ["-1", "x", "1.5"] {
        assert_eq!(ask("OPTIONS", value).code(), "bad_request", "{value}");
    }
    // Without a key nobody learns even that.
    assert_eq!(gate.client().request("OPTIONS", "/p", &[("Max-Forwards", "0")], b"").status, 401);
    assert_eq!(upstream.received().len(), before);
}

#[test]
fn a_request_that_goes_round_in_a_circle_is_stopped() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let via = |times: usize| vec!["1.1 keygate"; times].join(", ");
    assert_eq!(gate.get("/", &[alice.field(), ("Via", &via(8))]).status, 200);
    let response = gate.get("/", &[alice.field(), ("Via", &via(4)), ("Via", &via(5))]);
    assert_eq!((response.status, response.code().as_str()), (508, "loop_detected"));
    assert_eq!(gate.get("/", &[alice.field(), ("Via", "1.1 other, 1.1 keygate.example (keygate)")]).status, 200);
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn connection_cannot_list_away_what_decides_or_what_we_write() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("tenant: acme"));
    let gate = gate(&upstream).key(&alice).start();
    let listed = "X-API-Key, X-Keygate-Tenant, X_Keygate_Tenant, Content-Length, Host, X-Mine, HTTP2-Settings, close";
    let fields = [
        alice.field(),
        ("Connection", listed),
        ("X-Mine", "1"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
    ];
    let response = gate.client().request("POST", "/", &fields, b"hello");
    assert_eq!(response.status, 200);
    let seen = upstream.last();
    assert_eq!((seen.value("X-Keygate-Tenant"), seen.value("Host")), ("acme", "api.example"));
    assert_eq!((seen.content.as_slice(), seen.value("Content-Length")), (&b"hello"[..], "5"));
    // Not listed, it is no field for the upstream either.
    gate.get("/", &[alice.field(), ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"), ("Upgrade", "h2c")]);
    for seen in upstream.received() {
        for gone in ["X-Mine", "X-API-Key", "Connection", "Upgrade", "HTTP2-Settings"] {
            assert_eq!(seen.values(gone), [""; 0], "{gone}");
        }
    }
}

#[test]
fn date_and_server_are_the_upstreams_own() {
    let alice = key("alice");
    let upstream =
        saying("HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: mine/1\r\ncontent-length: 0\r\n\r\n");
    let gate_of_one = gate(&upstream).key(&alice).start();
    let response = gate_of_one.get("/", &[alice.field()]);
    assert_eq!(response.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(response.field("server"), Some("mine/1"));
    // RFC 9110, section 6.6.1: whoever has a clock says when it was. What software this is is nobody's business.
    let upstream = saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let gate_of_another = gate(&upstream).key(&alice).start();
    for fields in [&[alice.field()][..], &[]] {
        let response = gate_of_another.get("/", fields);
        assert!(response.field("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
        assert_eq!(response.field("server"), None);
    }
}

#[test]
fn http_1_0_is_spoken_with_those_who_know_no_more() {
    let alice = key("alice");
    let upstream = saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let gate_of_one = gate(&upstream).key(&alice).start();
    for (connection, closes) in [("", true), ("Connection: close\r\n", true), ("Connection: keep-alive\r\n", true)] {
        let mut client = gate_of_one.client();
        client.write(format!("GET / HTTP/1.0\r\nX-API-Key: {}\r\n{connection}\r\n", alice.secret).as_bytes());
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(closes && text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("\r\n\r\nhello"), "{text}");
        assert!(!text.contains("chunked"), "{text}");
    }
    // With a length the connection can be kept, if it is asked for.
    let upstream = Upstream::hello();
    let gate_of_another = gate(&upstream).key(&alice).start();
    let mut client = gate_of_another.client();
    for _ in 0..2 {
        let head = format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-API-Key: {}\r\n\r\n", alice.secret);
        client.write(head.as_bytes());
        let response = client.response("GET");
        assert_eq!((response.text().as_str(), response.field("connection")), ("hello", Some("keep-alive")));
    }
}

#[test]
fn an_upstream_of_http_1_0_is_read_to_its_end_and_asked_once_on_each_connection() {
    let alice = key("alice");
    let closing = Upstream::answering(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello");
        Then::Close
    });
    let keeping = saying("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello");
    for upstream in [closing, keeping] {
        let gate = gate(&upstream).key(&alice).with("workers: 1").start();
        let mut client = gate.client();
        for _ in 0..2 {
            client.send("POST", "/", &[alice.field(), ("Transfer-Encoding", "chunked")], b"");
            client.write(b"5\r\nworld\r\n0\r\n\r\n");
            assert_eq!(client.response("POST").text(), "hello");
            // Content of unknown length has come as chunks, and all of it.
            let seen = upstream.last();
            assert!(seen.head.starts_with("POST / HTTP/1.1\r\n"), "{}", seen.head);
            assert_eq!(seen.content, b"world");
        }
        assert_eq!(upstream.connections(), 2);
    }
}

#[test]
fn an_answer_that_comes_before_the_request_has_ended_reaches_the_client_at_once() {
    let alice = key("alice");
    for fate in ["keep-alive", "close"] {
        let url = by_hand(move |mut stream| {
            while let Some(head) = read_head(&mut stream) {
                let answer = if head.starts_with("POST") { "413 Payload Too Large" } else { "200 OK" };
                let _ = stream.write_all(
                    format!("HTTP/1.1 {answer}\r\nconnection: {fate}\r\ncontent-length: 5\r\n\r\nearly").as_bytes(),
                );
                if fate == "close" {
                    // The rest of the request is read, so that the answer is not lost to a reset.
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    return;
                }
                if head.starts_with("POST") {
                    let mut rest = vec![0; 1_000_000];
                    if stream.read_exact(&mut rest).is_err() {
                        return;
                    }
                }
            }
        });
        let gate = gate(url).key(&alice).with("workers: 1").start();
        let mut client = gate.client();
        client.write(asks(&alice, "Content-Length: 1000000\r\n").as_bytes());
        client.write(&[b'x'; 1000]);
        let begun = Instant::now();
        let response = client.response("POST");
        assert_eq!((response.status, response.text().as_str()), (413, "early"), "{fate}");
        println!("{fate}: the answer came after {:?}, with 1000 bytes of 1000000 sent", begun.elapsed());
        // The connection is good for the next request, or it is closed; the rest of the content is never taken for one.
        client.write(&[b'x'; 999_000]);
        client.write(format!("GET /next HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret).as_bytes());
        let next = client.answer("GET");
        assert!(next.is_none_or(|next| next.status == 200), "{fate}");
        assert_eq!(gate.get("/again", &[alice.field()]).status, 200, "{fate}");
    }
}

/// Server-sent events: one every time the test says so.
fn events() -> (String, mpsc::Sender<String>) {
    let (sender, receiver) = mpsc::channel::<String>();
    let receiver = Arc::new(Mutex::new(receiver));
    let url = by_hand(move |mut stream| {
        if read_head(&mut stream).is_none() {
            return;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let receiver = receiver.lock().unwrap();
        while let Ok(event) = receiver.recv() {
            let _ = stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    (url, sender)
}

#[test]
fn each_event_of_a_stream_arrives_before_the_next_is_sent() {
    let alice = key("alice");
    for (row, tls, version) in [
        ("HTTP/1.1", false, "--http1.1"),
        ("HTTP/2", false, "--http2-prior-knowledge"),
        ("HTTP/1.1 over TLS", true, "--http1.1"),
        ("HTTP/2 over TLS", true, "--http2"),
    ] {
        let (url, events) = events();
        let setup = gate(url).key(&alice);
        let setup =
            if tls { setup.tls() } else { setup.listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }") };
        let gate = setup.start();
        let scheme = if tls { "https" } else { "http" };
        let mut curl = Command::new("curl")
            .args(["-skN", version, "-m", "60", "-H", &format!("x-api-key: {}", alice.secret)])
            .arg(format!("{scheme}://{}/events", gate.address))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        let mut longest = Duration::ZERO;
        for number in 0..5 {
            let begun = Instant::now();
            events.send(format!("data: {number}\n\n")).unwrap();
            // The next event is not sent before this one was read: buffered, it would never come.
            assert_eq!(lines.next().unwrap().unwrap(), format!("data: {number}"), "{row}");
            assert_eq!(lines.next().unwrap().unwrap(), "", "{row}");
            longest = longest.max(begun.elapsed());
        }
        drop(events);
        assert!(lines.next().is_none(), "{row}");
        assert!(curl.wait().unwrap().success(), "{row}");
        assert!(longest < PATIENCE, "{row}: {longest:?}");
        println!("{row}: the slowest event took {longest:?}");
    }
}

#[test]
fn a_refusal_of_head_is_a_head_in_both_versions() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate =
        gate(&upstream).key(&alice).listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }").start();
    let whole = gate.get("/", &[]);
    let length = whole.content.len().to_string();
    let mut client = gate.client();
    let bare = client.request("HEAD", "/", &[], b"");
    assert_eq!((bare.status, bare.field("content-length")), (401, Some(&*length)));
    assert_eq!(client.request("GET", "/", &[alice.field()], b"").text(), "hello", "nothing stands between the answers");

    let text = run("nghttp", &["-nv", "-H", ":method: HEAD", &format!("http://{}/", gate.address)]).unwrap();
    assert!(text.contains(":status: 401") && text.contains(&format!("content-length: {length}")), "{text}");
    let from_us = text.split("recv HEADERS frame").nth(1).unwrap();
    assert!(from_us.lines().nth(1).unwrap().contains("END_STREAM") && !text.contains("recv DATA"), "{text}");
}

#[test]
fn a_connection_of_the_upstream_is_kept_behind_trailers() {
    let upstream = saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
    );
    let alice = key("alice");
    let gate = gate(&upstream)
        .key(&alice)
        .with("workers: 1")
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .start();
    let ask = |version: &str| {
        let (field, url) = (format!("x-api-key: {}", alice.secret), format!("http://{}/", gate.address));
        run("curl", &["-sS", version, "-H", &field, "-H", "TE: trailers", "-H", "Connection: TE", &url]).unwrap()
    };
    for _ in 0..3 {
        assert_eq!((ask("--http1.1"), ask("--http2-prior-knowledge")), ("hi".to_owned(), "hi".to_owned()));
    }
    assert_eq!(gate.metric("keygate_upstream_connections_total", &[]), 1.0);
}

#[test]
fn a_refusal_to_grpc_is_one_frame_of_fields_over_http2() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate =
        gate(&upstream).key(&alice).listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }").start();
    let url = format!("http://{}/shop.Orders/Get", gate.address);
    let ask = |fields: &[&str]| {
        let mut arguments =
            vec!["-nv", "-H", ":method: POST", "-H", "content-type: application/grpc", "-H", "te: trailers"];
        for field in fields {
            arguments.extend(["-H", field]);
        }
        arguments.push(&url);
        run("nghttp", &arguments).unwrap()
    };
    let text = ask(&[]);
    for line in
        [":status: 200", "content-type: application/grpc", "grpc-status: 16", "grpc-message: credentials_missing"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    // One HEADERS frame that ends the stream, and no DATA.
    let from_us = text.split("recv HEADERS frame").nth(1).unwrap();
    assert!(from_us.lines().nth(1).unwrap().contains("END_STREAM") && !text.contains("recv DATA"), "{text}");
    assert_eq!(upstream.received().len(), 0);
    drop(Client::connect(gate.address));
}
