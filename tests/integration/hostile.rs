//! What somebody sends who means harm, and what an upstream answers that does not mean well either.
//!
//! Each row of these tests once passed, or could have. What reaches the upstream is looked at as bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gate::gate;
use crate::key::key;
use crate::programs::run;
use crate::upstream::{Then, Upstream};

/// A text that the client wrote and that must not arrive.
const FORGED: &str = "forged";

/// An upstream that writes down every byte of a chunked request, and then answers.
struct Tap {
    address: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let tap = Self { address: listener.local_addr().unwrap(), bytes: Arc::default() };
        let bytes = Arc::clone(&tap.bytes);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                bytes.lock().unwrap().clear();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let mut bytes = bytes.lock().unwrap();
                    bytes.extend_from_slice(&buffer[..count]);
                    // Also after trailers, if there are any.
                    if String::from_utf8_lossy(&bytes).contains("\r\n0\r\n") && bytes.ends_with(b"\r\n\r\n") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        break;
                    }
                }
            }
        });
        tap
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

/// An upstream that answers everything with the same bytes.
fn saying(answer: &'static str) -> Upstream {
    Upstream::answering(move |_, stream| {
        let _ = stream.write_all(answer.as_bytes());
        Then::Keep
    })
}

#[test]
fn identity_under_names_with_underscores_cannot_be_forged_in_any_spelling() {
    let upstream = Upstream::hello();
    let (alice, plain) = (key("alice").with("user: u-1"), key("plain"));
    let gate = gate(&upstream)
        .key(&alice)
        .key(&plain)
        .with("identity_fields: { user: X_User, tenant: x-Tenant_name }")
        .with("credentials: { api_key: { fields: [X-API-Key, X_Other_Key] } }")
        .start();
    for name in [
        "X-User",
        "X_User",
        "x_uSER",
        "X-Tenant-Name",
        "X_Tenant_Name",
        "X_Tenant-Name",
        "X-Tenant_Name",
        "X-Other-Key",
        "X_Other-Key",
        "X_API_Key",
        "X-API_Key",
    ] {
        for (asks, user) in [(&alice, Some("u-1")), (&plain, None)] {
            let response = gate.get("/", &[asks.field(), (name, FORGED)]);
            assert_eq!(response.status, 200, "{name}");
            let seen = upstream.last();
            assert!(!seen.mentions(FORGED), "{name}: {}", seen.head);
            assert_eq!(seen.values("X_User"), Vec::from_iter(user), "{name}");
        }
    }
    // In the field itself it is a key, and a different one.
    let before = upstream.received().len();
    assert_eq!(gate.get("/", &[alice.field(), ("X_Other_Key", FORGED)]).code(), "credentials_conflict");
    assert_eq!(gate.get("/", &[("X_Other_Key", &alice.secret)]).status, 200);
    assert_eq!(upstream.received().len(), before + 1);
    assert!(!upstream.last().mentions(&alice.secret));
    // What is about the connection ends here, and comes back in no disguise.
    for name in ["Keep_Alive", "Proxy_Connection", "PROXY_AUTHORIZATION", "HTTP2_Settings", "Content_Length"] {
        assert_eq!(gate.get("/", &[alice.field(), (name, FORGED)]).status, 200, "{name}");
        assert!(!upstream.last().mentions(FORGED), "{name}");
    }
}

#[test]
fn fields_behind_the_content_do_not_arrive() {
    let (tap, alice) = (Tap::open(), key("alice"));
    let upstream = format!("http://{}", tap.address);
    let gate = gate(upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("forwarding: { forwarded: true }")
        .start();
    let names = ["X-Keygate-Tenant", "X-Forwarded-For", "Forwarded", "X-API-Key", "Authorization", "X-Request-Id"];
    for name in names {
        let mut client = gate.client();
        let fields = [alice.field(), ("Transfer-Encoding", "chunked"), ("TE", "trailers"), ("Trailer", name)];
        client.send("POST", "/", &fields, b"");
        client.write(format!("5\r\nhello\r\n0\r\n{name}: {FORGED}\r\n\r\n").as_bytes());
        assert_eq!(client.response("POST").status, 200, "{name}");
        let text = tap.text();
        assert!(text.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n") && !text.contains(FORGED), "{name}: {text}");
    }

    // The same in HTTP/2.
    std::fs::write(gate.file("content"), "hello").unwrap();
    let (content, url) = (gate.file("content"), format!("http://{}/", gate.address));
    for name in names {
        let (field, trailer) = (format!("x-api-key: {}", alice.secret), format!("{}: {FORGED}", name.to_lowercase()));
        let arguments = ["--no-content-length", "-d", content.to_str().unwrap(), "-H", &field, "--trailer", &trailer];
        run("nghttp", &[&arguments[..], &["-nv", &url]].concat()).unwrap();
        let text = tap.text();
        assert!(text.ends_with("hello\r\n0\r\n\r\n") && !text.contains(FORGED), "{name}: {text}");
    }
}

#[test]
fn fields_behind_the_content_of_a_response_arrive_unless_they_are_about_the_connection() {
    let upstream = saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, keep-alive, x-hop, upgrade\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 42\r\nkeep-alive: timeout=5\r\nconnection: x-hop\r\nx-hop: 1\r\nupgrade: h2c\r\n\r\n",
    );
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).start();
    let mut client = gate.client();
    client.send("GET", "/", &[alice.field(), ("TE", "trailers"), ("Connection", "TE, close")], b"");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"), "{text}");
}

#[test]
fn the_framing_of_a_response_is_passed_on_without_doubt_or_not_at_all() {
    let rows = [
        ("plain", "200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, true),
        (
            "length and chunks",
            "200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            502,
            false,
        ),
        ("gzip and chunks", "200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 502, false),
        (
            "gzip and chunks in two lines",
            "200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            502,
            false,
        ),
        ("chunks twice", "200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 502, false),
        ("identity", "200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello", 502, false),
        ("gzip alone", "200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello", 502, false),
        ("a list of lengths", "200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", 502, false),
        ("two lengths", "200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", 502, false),
        ("a length with a sign", "200 OK\r\ncontent-length: +5\r\n\r\nhello", 502, false),
        ("a length that is none", "200 OK\r\ncontent-length: five\r\n\r\nhello", 502, false),
        ("another protocol", "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 502, false),
    ];
    let alice = key("alice");
    for (row, answer, status, reused) in rows {
        let upstream = saying(Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str()));
        // One worker has one pool.
        let gate = gate(&upstream).key(&alice).with("workers: 1").start();
        for _ in 0..2 {
            let response = gate.get("/", &[alice.field()]);
            assert_eq!(response.status, status, "{row}");
            if status == 200 {
                assert_eq!(response.text(), "hello", "{row}");
                let framing = [response.field("content-length"), response.field("transfer-encoding")];
                assert_eq!(framing.iter().flatten().count(), 1, "{row}: {response:?}");
            } else {
                assert_eq!(response.code(), "upstream_malformed", "{row}");
            }
        }
        assert_eq!(upstream.connections(), if reused { 1 } else { 2 }, "{row}");
    }
}

#[test]
fn a_target_or_a_host_that_is_none_goes_nowhere() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let targets = [
        "foo",
        "foo/bar",
        "*",
        "ftp://x/y",
        "ws://x/",
        "http:///y",
        "http://",
        "x:80",
        "http://u@x/",
        "http://a:+80/",
        "http://[xyz]/",
        "http://a,b/",
        "http://a,b#f",
    ];
    let hosts = [
        "a:+80", "[xyz]", "[::1", "::1", "[::1]x", "[::1]:+1", "a,b", "a, b", "a b", "a/b", "a?b", "a#b", "a\\b",
        "u@a", "@a", "a:b", "a:65536", "a:1:2", ":80", "a%2Fb", "a;b", "a'b", "\"a\"", "http://a", "", ",",
    ];
    let targets = targets.iter().map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n"));
    let hosts = hosts.iter().map(|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n"));
    let others = [
        "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n".to_owned(),
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n".to_owned(),
        "GET / HTTP/1.0\r\nHost: a,b\r\n".to_owned(),
        "GET http://a/ HTTP/1.1\r\nHost: a,b\r\n".to_owned(),
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned(),
        "OPTIONS a HTTP/1.1\r\nHost: a\r\n".to_owned(),
    ];
    let mut passed = Vec::new();
    for head in targets.chain(hosts).chain(others) {
        let mut client = gate.client();
        let before = upstream.received().len();
        client.write(format!("{head}X-API-Key: {}\r\n\r\n", alice.secret).as_bytes());
        let status = client.response("GET").status;
        if status != 400 || upstream.received().len() > before {
            passed.push((status, head));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

/// A fragment is cut off by the library that reads the head, so nobody can be told. What was decided on is what goes on.
#[test]
fn what_a_target_has_too_much_does_not_go_on() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("routes: [{ name: open, paths: [/open], access: public }, { name: all, paths: [\"/{*rest}\"], access: api_key }]")
        .start();
    for (target, line, host) in [
        ("http://x#f", "GET / HTTP/1.1", "x"),
        ("http://x", "GET / HTTP/1.1", "x"),
        ("http://x?q#f", "GET /?q HTTP/1.1", "x"),
        ("/p#f", "GET /p HTTP/1.1", "a"),
        ("/p?q=1#/open", "GET /p?q=1 HTTP/1.1", "a"),
        ("//x@y/p", "GET /x@y/p HTTP/1.1", "a"),
    ] {
        let ask = |key_field: &str| {
            let mut client = gate.client();
            client.write(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{key_field}\r\n").as_bytes());
            client.response("GET").status
        };
        assert_eq!(ask(""), 401, "{target}");
        assert_eq!(ask(&format!("X-API-Key: {}\r\n", alice.secret)), 200, "{target}");
        let seen = upstream.last();
        assert_eq!((seen.head.lines().next(), seen.value("Host")), (Some(line), host), "{target}");
    }
}

#[test]
fn an_http_1_0_client_without_host_is_forwarded_with_one() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let mut client = gate.client();
    client.write(format!("GET /old HTTP/1.0\r\nX-API-Key: {}\r\n\r\n", alice.secret).as_bytes());
    assert_eq!(client.response("GET").text(), "hello");
    let seen = upstream.last();
    assert!(seen.head.starts_with("GET /old HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(format!("http://{}", seen.value("Host")), upstream.to_string());
    assert_eq!(seen.value("Via"), "1.0 keygate");
    assert_eq!(seen.values("X-Forwarded-Host"), [""; 0]);
}

#[test]
fn no_client_can_take_the_names_of_a_request_away() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("tenant: acme"));
    for (field, configured) in [
        ("X-Request-Id", ""),
        ("X-Keygate-Rid", "forwarding: { request_id_field: X-Keygate-Rid }"),
        ("X_Rid", "forwarding: { request_id_field: X_Rid }"),
    ] {
        let gate = gate(&upstream).key(&alice).with(configured).start();
        let listed = format!("{field}, traceparent, tracestate, X-Keygate-Tenant, X-Forwarded-For, Via, Host");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let sent = [("traceparent", trace), ("tracestate", "a=1"), (field, "mine-1"), ("Connection", &listed)];
        for fields in [&sent[..], &sent[3..]] {
            let response = gate.get("/", &[fields, &[alice.field()]].concat());
            assert_eq!(response.status, 200);
            let seen = upstream.last();
            assert_eq!(response.field(&field.to_lowercase()), Some(seen.value(field)), "{field}");
            assert_eq!(seen.value("traceparent").len(), trace.len());
            assert_eq!(seen.value("X-Keygate-Tenant"), "acme");
            assert_eq!(seen.value("X-Forwarded-For"), "127.0.0.1");
            assert_eq!((seen.value("Host"), seen.value("Via")), ("api.example", "1.1 keygate"));
            if fields.len() > 1 {
                assert_eq!((seen.value(field), seen.value("traceparent")), ("mine-1", trace));
                assert_eq!(seen.value("tracestate"), "a=1");
            }
        }
        // Nor give the request a second one under a name that a server could take for it.
        for disguise in [field.replace('-', "_"), field.replace('_', "-")] {
            if disguise != field {
                gate.get("/", &[alice.field(), (&disguise, FORGED)]);
                assert!(!upstream.last().mentions(FORGED), "{disguise}");
            }
        }
    }
}

#[test]
fn a_refusal_to_content_that_was_not_read_ends_the_connection() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { body: 100B }").start();
    let good = |fields: &[(&'static str, &'static str)]| {
        let mut all: Vec<(&str, &str)> = fields.to_vec();
        all.push(alice.field());
        let mut client = gate.client();
        client.send("POST", "/", &all, b"");
        client
    };
    let bad = |fields: &[(&'static str, &'static str)]| {
        let mut client = gate.client();
        client.send("POST", "/", fields, b"");
        client
    };
    let rows: [(&str, Client, u16); 5] = [
        ("401, a length", bad(&[("Content-Length", "1000")]), 401),
        ("401, chunks", bad(&[("Transfer-Encoding", "chunked")]), 401),
        ("401, asks first", bad(&[("Content-Length", "1000"), ("Expect", "100-continue")]), 401),
        ("413, a length", good(&[("Content-Length", "1000")]), 413),
        ("413, asks first", good(&[("Content-Length", "1000"), ("Expect", "100-continue")]), 413),
    ];
    for (row, mut client, status) in rows {
        let response = client.response("POST");
        assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{row}");
        assert!(client.closes_within(Duration::from_secs(5)), "{row}");
    }
    let mut client = good(&[("Transfer-Encoding", "chunked")]);
    client.write(format!("96\r\n{}\r\n", "x".repeat(150)).as_bytes());
    let response = client.response("POST");
    assert_eq!((response.status, response.field("connection")), (413, Some("close")), "413, chunks");

    // Without content there is no reason to.
    let mut client = gate.client();
    for _ in 0..2 {
        let response = client.request("GET", "/", &[], b"");
        assert_eq!((response.status, response.field("connection")), (401, None));
    }
}

#[test]
fn a_second_key_in_authorization_is_never_passed_on() {
    let (upstream, alice, other) = (Upstream::hello(), key("alice"), key("other"));
    let gate = gate(&upstream)
        .key(&alice)
        .key(&other)
        .with("credentials: { api_key: { fields: [X-API-Key], bearer: true } }")
        .start();
    for scheme in ["Bearer ", "Bearer\t", "bearer \t ", "BEARER\t\t"] {
        let before = upstream.received().len();
        let different = format!("{scheme}{}", other.secret);
        let response = gate.get("/", &[alice.field(), ("Authorization", &different)]);
        assert_eq!((response.status, response.code().as_str()), (400, "credentials_conflict"), "{scheme:?}");
        assert_eq!(upstream.received().len(), before, "{scheme:?}");

        let same = format!("{scheme}{}", alice.secret);
        for fields in [&[alice.field(), ("Authorization", &same)][..], &[("Authorization", &same)]] {
            assert_eq!(gate.get("/", fields).status, 200, "{scheme:?}");
            assert!(!upstream.last().mentions(&alice.secret), "{scheme:?}");
            assert_eq!(upstream.last().values("Authorization"), [""; 0], "{scheme:?}");
        }
    }
    let before = upstream.received().len();
    for authorization in ["Bearer\t", "Bearer"] {
        assert_eq!(gate.get("/", &[alice.field(), ("Authorization", authorization)]).status, 200);
        assert_eq!(upstream.last().values("Authorization"), [""; 0], "{authorization:?}");
    }
    assert_eq!(upstream.received().len(), before + 2);
    // Two lines of it.
    let (first, second) = (format!("Bearer {}", alice.secret), format!("Bearer\t{}", other.secret));
    let response = gate.get("/", &[("Authorization", &first), ("Authorization", &second)]);
    assert_eq!(response.code(), "credentials_conflict");
    // Another scheme is the upstream's own.
    assert_eq!(gate.get("/", &[alice.field(), ("Authorization", "Basic YTpi")]).status, 200);
    assert_eq!(upstream.last().value("Authorization"), "Basic YTpi");
}

#[test]
fn a_limit_on_addresses_counts_requests_with_bad_keys_as_well() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    for (row, target, fields, status) in [
        ("a good key", "/", vec![alice.field()], 200),
        ("a bad key", "/", vec![("X-API-Key", "guess")], 401),
        ("no key", "/", vec![], 401),
        ("no request", "*", vec![], 400),
    ] {
        let gate = gate(&upstream)
            .key(&alice)
            .with("limits: [{ name: everybody, per: address, count: all, requests: 3, window: 1h }]")
            .start();
        for _ in 0..3 {
            assert_eq!(gate.get(target, &fields).status, status, "{row}");
        }
        assert_eq!(gate.get(target, &fields).status, 429, "{row}");
        let before = upstream.received().len();
        assert_eq!(gate.get("/", &[alice.field()]).status, 429, "{row}");
        assert_eq!(upstream.received().len(), before, "{row}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused_and_counted_in_http2_too() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("maxima: { head: 8KiB, fields: 20 }")
        .start();
    let url = format!("http://{}/", gate.address);
    let many: Vec<String> = (0..30).map(|number| format!("x-many-{number}: x")).collect();
    let long = |bytes: usize| vec![format!("x-long: {}", "x".repeat(bytes))];
    let ask = |fields: &[String]| {
        let fields = fields.iter().flat_map(|field| ["-H", field]);
        let arguments = ["-s", "-w", " %{http_version} %{http_code}", "--http2-prior-knowledge", &url];
        run("curl", &arguments.into_iter().chain(fields).collect::<Vec<_>>()).unwrap()
    };
    for (refused, fields) in (1..).zip([many, long(8 * 1024 + 1), long(30 * 1024)]) {
        let answer = ask(&fields);
        assert!(answer.contains("\"head_too_large\"") && answer.ends_with(" 2 431"), "{answer}");
        assert_eq!(gate.metric("keygate_rejections_total", &["head_too_large"]), f64::from(refused));
    }
    gate.eventually("they are logged", |gate| gate.stdout().matches("\"head_too_large\"").count() == 3);
    // This one never comes as far as the counter: HTTP/2 itself refuses it.
    assert_eq!(ask(&long(33 * 1024)), " 2 431");
    assert!(ask(&[format!("x-api-key: {}", alice.secret)]).ends_with(" 2 200"));
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn what_proxies_wrote_is_continued_in_one_line() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("forwarding: { trusted_proxies: [127.0.0.0/8, 192.0.2.0/24], forwarded: true }")
        .start();
    let response = gate.get(
        "/",
        &[
            alice.field(),
            ("X-Forwarded-For", "198.51.100.1"),
            ("X_Forwarded_For", FORGED),
            ("X-Forwarded-For", "203.0.113.9, 192.0.2.7"),
            ("Forwarded", "for=203.0.113.9"),
            ("Forwarded", "for=192.0.2.7"),
        ],
    );
    assert_eq!(response.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.value("X-Forwarded-For"), "198.51.100.1, 203.0.113.9, 192.0.2.7, 127.0.0.1");
    assert!(seen.value("Forwarded").starts_with("for=203.0.113.9, for=192.0.2.7, for=127.0.0.1;"), "{}", seen.head);
    assert!(!seen.mentions(FORGED), "{}", seen.head);
}

#[test]
fn peers_that_ask_for_nothing_do_not_hold_up_the_end() {
    let upstream = Upstream::hello();
    let shutdown = "shutdown: { delay: 0s, timeout: 20s }";
    let plain = "listen: { address: \"127.0.0.1:0\", prior_knowledge: true }";
    for (row, setup, said) in [
        ("silent over TLS", gate(&upstream).tls(), ""),
        ("part of a handshake", gate(&upstream).tls(), "\x16\x03"),
        ("silent", gate(&upstream), ""),
        ("part of a head", gate(&upstream), "GET /p HTT"),
        ("silent where HTTP/2 may come", gate(&upstream).listen(plain), ""),
        ("part of a preface", gate(&upstream).listen(plain), "PRI * HT"),
        ("part of a head where HTTP/2 may come", gate(&upstream).listen(plain), "GET /p HTT"),
    ] {
        let mut gate = setup.with(shutdown).start();
        let mut peers: Vec<_> = (0..3).map(|_| gate.client()).collect();
        let mut operator = Client::connect(gate.admin);
        for peer in peers.iter_mut().chain([&mut operator]) {
            peer.write(said.as_bytes());
        }
        gate.eventually("they are accepted", |gate| gate.metric("keygate_connections", &[]) >= 3.0);
        let begun = Instant::now();
        gate.signal("TERM");
        assert!(gate.wait().success(), "{row}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{row}: {:?}", begun.elapsed());
    }
}
