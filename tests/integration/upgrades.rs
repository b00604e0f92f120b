//! What goes on after HTTP: WebSocket, over HTTP/1.1 and over HTTP/2.
//!
//! Frames are nobody's business here but the two ends': the tests send bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Client, Response};
use crate::gate::{Gate, PATIENCE, Setup, gate, key_file};
use crate::key::{TestKey, key};
use crate::upstream::{Upstream, respond};

/// The route on which the tests ask for WebSocket, and one that does not permit it.
const ROUTES: &str = "routes:\n  - { name: live, paths: [\"/live/{*rest}\"], access: api_key, upgrade: [websocket] }\n  \
                      - { name: rest, paths: [\"/{*rest}\"], access: api_key }";

const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const ASKING: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", SAMPLE_KEY),
];

/// An upstream that does with a connection what the test says, once it has read one head from it.
struct Sockets {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

/// The head of a request, what came behind it, and the socket.
struct Asked {
    head: String,
    early: Vec<u8>,
    stream: TcpStream,
}

impl Sockets {
    fn answering(answer: impl Fn(Asked) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, open, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let (log, count) = (Arc::clone(&heads), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, count, answer) = (Arc::clone(&log), Arc::clone(&count), Arc::clone(&answer));
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    if let Some(asked) = read_head(stream) {
                        log.lock().unwrap().push(asked.head.clone());
                        answer(asked);
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, heads, open }
    }

    /// Agrees, and sends back what it is sent, until there is no more; then says `bye`.
    fn echo() -> Self {
        Self::answering(|mut asked| {
            asked.stream.write_all(agreed(&asked.head).as_bytes()).unwrap();
            asked.stream.write_all(&asked.early).unwrap();
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = asked.stream.read(&mut buffer) {
                if asked.stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            let _ = asked.stream.write_all(b"bye");
        })
    }

    /// Answers these bytes.
    fn saying(answer: &'static str) -> Self {
        Self::answering(move |mut asked| {
            let _ = asked.stream.write_all(answer.as_bytes());
            while let Ok(1..) = asked.stream.read(&mut [0; 1024]) {}
        })
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl std::fmt::Display for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

fn read_head(mut stream: TcpStream) -> Option<Asked> {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let early = read.split_off(end + 4);
            return Some(Asked { head: String::from_utf8(read).unwrap(), early, stream });
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => read.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => return None,
        }
    }
}

/// The values of a field in a head.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// The 101 that a handshake wants (RFC 6455, section 4.2.2).
fn agreed(head: &str) -> String {
    let key = values(head, "sec-websocket-key").first().copied().unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn live(upstream: &Sockets, key: &TestKey) -> Setup {
    gate(upstream).key(key).with(ROUTES)
}

/// Asks for WebSocket.
#[track_caller]
fn ask(client: &mut Client, path: &str, key: &TestKey) -> Response {
    let fields = [&ASKING[..], &[key.field()]].concat();
    client.request("GET", path, &fields, b"")
}

/// A client for which a tunnel is open.
#[track_caller]
fn opened(gate: &Gate, key: &TestKey) -> Client {
    let mut client = gate.client();
    let response = ask(&mut client, "/live/x", key);
    assert_eq!(response.status, 101, "{response:?}");
    client
}

#[track_caller]
fn echoes(client: &mut Client, word: &[u8]) {
    client.write(word);
    assert_eq!(client.take(word.len()), word);
}

#[test]
fn a_websocket_is_let_in_like_every_request() {
    let (upstream, alice) = (Sockets::echo(), key("alice").with("permissions: [\"live:read\"]"));
    let (stranger, bob) = (key("stranger"), key("bob"));
    let routes = "routes:\n  - { name: live, paths: [\"/live/{*rest}\"], access: api_key, permission: \"live:read\", upgrade: \
                  [websocket] }\nlimits:\n  - { name: few, per: key, requests: 2, window: 1h }";
    let gate = gate(&upstream).key(&alice).key(&bob).with(routes).start();
    assert_eq!(gate.client().request("GET", "/live/x", &ASKING, b"").code(), "credentials_missing");
    assert_eq!(ask(&mut gate.client(), "/live/x", &stranger).code(), "key_unknown");
    assert_eq!(ask(&mut gate.client(), "/live/x", &bob).code(), "permission_missing");
    assert_eq!(ask(&mut gate.client(), "/elsewhere", &alice).code(), "no_route");
    assert!(upstream.heads().is_empty());

    let mut client = gate.client();
    let response = ask(&mut client, "/live/../live/x?a=b", &alice);
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")));
    assert_eq!(response.field("connection"), Some("Upgrade"));
    assert_eq!(response.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((response.field("x-ratelimit-remaining"), response.field("content-length")), (Some("1"), None));
    echoes(&mut client, b"a word");
    let head = upstream.heads().pop().unwrap();
    assert!(head.starts_with("GET /live/x?a=b HTTP/1.1\r\n") && !head.contains(&alice.secret), "{head}");
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", SAMPLE_KEY)] {
        assert_eq!(values(&head, name), [value], "{head}");
    }
    assert_eq!(values(&head, "x-keygate-key-id"), ["alice"]);

    opened(&gate, &alice);
    assert_eq!(ask(&mut gate.client(), "/live/x", &alice).code(), "rate_limited");
}

/// Both ends may be quick: their first bytes are in the same packet as the head.
#[test]
fn what_comes_with_the_handshake_is_delivered_in_both_directions() {
    let upstream = Sockets::answering(|mut asked| {
        let early = String::from_utf8(asked.early).unwrap();
        let both = format!("{}you said {early}", agreed(&asked.head));
        asked.stream.write_all(both.as_bytes()).unwrap();
        while let Ok(count @ 1..) = asked.stream.read(&mut [0; 1024]) {
            asked.stream.write_all(&vec![b'+'; count]).unwrap();
        }
    });
    let alice = key("alice");
    let gate = live(&upstream, &alice).start();
    for early in ["", "x", &"frame".repeat(5000)] {
        let mut client = gate.client();
        assert_eq!(client.request("GET", "/none", &[], b"").status, 401, "a request before it on the connection");
        let fields: String =
            ASKING.iter().chain(&[alice.field()]).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.write(format!("GET /live/x HTTP/1.1\r\nHost: api.example\r\n{fields}\r\n{early}").as_bytes());
        assert_eq!(client.response("GET").status, 101);
        client.sends_no_more();
        let heard = client.rest();
        let (told, more) = heard.split_at(9);
        let echoed = more.iter().filter(|byte| **byte == b'+').count();
        assert_eq!(
            (told, more.len()),
            (&b"you said "[..], early.len()),
            "{} bytes, {echoed} of them later",
            early.len()
        );
    }
}

#[test]
fn what_the_upstream_answers_instead_is_an_ordinary_response() {
    let alice = key("alice");
    for (answer, status, content) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403, "no"),
        (
            "HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          content-length: 0\r\n\r\n",
            426,
            "",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nx",
            404,
            "x",
        ),
    ] {
        let upstream = Sockets::saying(answer);
        let gate = live(&upstream, &alice).start();
        let mut client = gate.client();
        let response = ask(&mut client, "/live/x", &alice);
        assert_eq!((response.status, response.text().as_str()), (status, content));
        assert_eq!(client.request("GET", "/", &[], b"").status, 401, "the connection still speaks HTTP");
        assert_eq!(gate.metric("keygate_tunnels_total", &[]), 0.0);
    }
}

#[test]
fn an_upgrade_that_is_not_permitted_goes_no_further() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with(ROUTES).start();
    let [connection, websocket, version, token] = ASKING;
    let key = alice.field();
    let h2c = ("Upgrade", "h2c");
    let settings = ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA");
    let listed = ("Connection", "Upgrade, HTTP2-Settings");
    for (row, method, path, fields) in [
        ("a route without it", "GET", "/plain", &[connection, websocket, version, token, key][..]),
        ("h2c", "GET", "/live/x", &[listed, h2c, settings, key]),
        ("h2c elsewhere", "GET", "/plain", &[listed, h2c, settings, key]),
        ("another protocol", "GET", "/live/x", &[connection, ("Upgrade", "foo/2"), key]),
        ("not listed in Connection", "GET", "/live/x", &[websocket, version, token, key]),
        ("another method", "POST", "/live/x", &[connection, websocket, version, token, key]),
        ("HEAD", "HEAD", "/live/x", &[connection, websocket, version, token, key]),
    ] {
        let response = gate.client().request(method, path, fields, b"");
        assert_eq!(response.status, 200, "{row}: {response:?}");
        let head = upstream.last().head.to_ascii_lowercase();
        for gone in ["\nupgrade:", "\nconnection:", "\nhttp2-settings:", "h2c"] {
            assert!(!head.contains(gone), "{row}: {head}");
        }
    }

    let both = [connection, ("Upgrade", "h2c, WebSocket"), version, token, key];
    assert_eq!(gate.client().request("GET", "/live/x", &both, b"").status, 200);
    assert_eq!(upstream.last().value("upgrade"), "websocket", "of several, the one that is permitted");

    let before = upstream.received().len();
    for (row, fields, content) in [
        ("no key", &[connection, websocket, version, key][..], &b""[..]),
        ("two keys", &[connection, websocket, version, token, token, key], b""),
        ("content", &[connection, websocket, version, token, key], b"content"),
    ] {
        assert_eq!(gate.client().request("GET", "/live/x", fields, content).code(), "bad_request", "{row}");
    }
    let mut client = gate.client();
    client.write(b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(client.response("GET").code(), "bad_request");
    assert_eq!(upstream.received().len(), before);
}

/// HTTP/1.0 knows no 101: it is not asked for, and not passed on if it comes all the same.
#[test]
fn http_1_0_is_never_upgraded() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).start();
    let mut client = gate.client();
    let fields: String =
        ASKING.iter().chain(&[alice.field()]).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.write(format!("GET /live/x HTTP/1.0\r\nHost: api.example\r\n{fields}\r\n").as_bytes());
    assert_eq!(client.response("GET").code(), "upstream_malformed");
    let head = upstream.heads().pop().unwrap();
    assert!(values(&head, "upgrade").is_empty() && values(&head, "connection").is_empty(), "{head}");
}

#[test]
fn only_the_101_that_was_asked_for_opens_a_tunnel() {
    let alice = key("alice");
    for (row, path, answer) in [
        ("not asked", "/plain", "101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade"),
        ("another protocol", "/live/x", "101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade"),
        ("two protocols", "/live/x", "101 Switching Protocols\r\nupgrade: h2c, websocket\r\nconnection: upgrade"),
        ("no protocol", "/live/x", "101 Switching Protocols\r\nconnection: upgrade"),
        ("no Connection", "/live/x", "101 Switching Protocols\r\nupgrade: websocket"),
    ] {
        let answer: &'static str =
            Box::leak(format!("HTTP/1.1 {answer}\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsmuggled").into());
        let upstream = Sockets::saying(answer);
        let gate = live(&upstream, &alice).start();
        let mut client = gate.client();
        for times in 1..=2 {
            let response = ask(&mut client, path, &alice);
            assert_eq!((response.status, response.code().as_str()), (502, "upstream_malformed"), "{row}");
            gate.eventually("the upstream's connection is closed", |_| upstream.open() == 0);
            assert_eq!(upstream.heads().len(), times, "{row}: each on a connection of its own");
        }
        assert_eq!(gate.metric("keygate_tunnels_total", &[]), 0.0, "{row}");
    }
}

#[test]
fn large_and_many_small_pieces_pass_unchanged() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).start();
    let mut client = opened(&gate, &alice);
    for size in 1..600_usize {
        echoes(&mut client, &vec![u8::try_from(size % 251).unwrap(); size % 97 + 1]);
    }
    // More than all buffers on the way: the echo would stop if one direction waited for the other.
    let sent: Vec<u8> = (0..16_000_000_u32).map(|number| (number / 3 % 253) as u8).collect();
    let copy = sent.clone();
    let mut writer = opened(&gate, &alice);
    let mut reader = writer.twin();
    let writing = std::thread::spawn(move || {
        writer.write(&copy);
        writer.sends_no_more();
    });
    let heard = reader.rest();
    writing.join().unwrap();
    assert_eq!(heard.len(), sent.len() + 3);
    assert!(heard[..sent.len()] == sent[..] && heard.ends_with(b"bye"), "changed on the way");
    drop(client);
    gate.eventually("both have ended", |gate| gate.metric("keygate_tunnels_ended_total", &["closed"]) == 2.0);
    assert!(gate.metric("keygate_tunnel_bytes_total", &["client"]) > 16e6);
}

/// Whoever says its last may still listen, at either end.
#[test]
fn one_direction_can_end_before_the_other() {
    let alice = key("alice");
    let upstream = Sockets::answering(|mut asked| {
        asked.stream.write_all(format!("{}my last", agreed(&asked.head)).as_bytes()).unwrap();
        asked.stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        asked.stream.read_to_end(&mut heard).unwrap();
        HEARD.lock().unwrap().extend(heard);
    });
    static HEARD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let gate = live(&upstream, &alice).start();
    let mut client = opened(&gate, &alice);
    assert_eq!(client.rest(), b"my last");
    client.write(b"and mine");
    client.sends_no_more();
    gate.eventually("the upstream has heard it", |_| *HEARD.lock().unwrap() == b"and mine");
    gate.eventually("it has ended", |gate| gate.metric("keygate_tunnels", &[]) == 0.0);

    let upstream = Sockets::echo();
    let gate = live(&upstream, &alice).start();
    let mut client = opened(&gate, &alice);
    client.write(b"question");
    client.sends_no_more();
    assert_eq!(client.rest(), b"questionbye");
}

#[test]
fn the_last_word_of_an_upstream_that_goes_is_delivered() {
    let alice = key("alice");
    let upstream = Sockets::answering(|mut asked| {
        asked.stream.write_all(format!("{}{}", agreed(&asked.head), "word ".repeat(20_000)).as_bytes()).unwrap();
        // Closed while the client still speaks.
    });
    let gate = live(&upstream, &alice).start();
    let mut client = opened(&gate, &alice);
    let mut speaking = client.twin();
    let speaker = std::thread::spawn(move || {
        for _ in 0..50 {
            speaking.write(b"still here");
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert_eq!(client.rest().len(), 100_000);
    speaker.join().unwrap();
}

/// The bound on what waits: what the kernel's buffers take, and 16 KiB of ours in each direction.
#[test]
fn an_end_that_does_not_read_stops_the_other() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let upstream = Sockets::answering(|mut asked| {
        asked.stream.write_all(agreed(&asked.head).as_bytes()).unwrap();
        let flood = vec![b'f'; 64 * 1024];
        while let Ok(count @ 1..) = asked.stream.write(&flood) {
            WRITTEN.fetch_add(count, Ordering::SeqCst);
        }
    });
    let alice = key("alice");
    let gate = live(&upstream, &alice).start();
    // What the first one needs is needed once.
    opened(&gate, &alice).take(4 << 20);
    let before = gate.memory_bytes();
    WRITTEN.store(0, Ordering::SeqCst);
    let mut clients: Vec<_> = (0..8).map(|_| opened(&gate, &alice)).collect();
    // Still once nothing has moved for a second.
    let mut last = (WRITTEN.load(Ordering::SeqCst), Instant::now());
    while last.1.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(20));
        let now = WRITTEN.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    let (waiting, grown) = (last.0 >> 20, gate.memory_bytes().saturating_sub(before) >> 10);
    println!("8 clients do not read: {waiting} MiB wait in the kernel, keygate has grown by {grown} KiB");
    assert!(waiting < 8 * 24, "{waiting} MiB wait");
    assert!(grown < 8 << 10, "{grown} KiB");
    for client in &mut clients[..2] {
        client.take(30 << 20);
    }
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_and_one_in_which_something_does_stays() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).with("timeouts: { tunnel: 1s, idle: 300ms, response_body: 300ms }").start();
    let begun = Instant::now();
    let (mut silent, mut busy) = (opened(&gate, &alice), opened(&gate, &alice));
    while begun.elapsed() < Duration::from_secs(3) {
        echoes(&mut busy, b"ping");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(silent.rest().is_empty());
    gate.eventually("it is counted", |gate| gate.metric("keygate_tunnels_ended_total", &["idle"]) == 1.0);
    let mut late = opened(&gate, &alice);
    let begun = Instant::now();
    assert!(late.rest().is_empty());
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "after {:?}: only the limit of tunnels counts",
        begun.elapsed()
    );
    gate.eventually("the upstream has heard of the first and the last", |_| upstream.open() <= 1);
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let upstream = Sockets::answering(|mut asked| {
        asked.stream.write_all(agreed(&asked.head).as_bytes()).unwrap();
        while asked.stream.write_all(&[b'f'; 64 * 1024]).is_ok() {}
    });
    let alice = key("alice");
    let gate = live(&upstream, &alice).with("timeouts: { write: 1s }").start();
    let mut client = opened(&gate, &alice);
    // What it sends itself is no excuse.
    let begun = Instant::now();
    while gate.metric("keygate_tunnels_ended_total", &["stalled"]) == 0.0 {
        assert!(begun.elapsed() < PATIENCE, "it is never cut off");
        client.write(b"more!");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() > Duration::from_secs(1));
    gate.eventually("the upstream has heard of it", |_| upstream.open() == 0);
}

/// Whoever takes a key back expects its holder to be gone, not only unable to come again.
#[test]
fn a_tunnel_ends_within_seconds_when_its_key_is_revoked_or_its_route_changes() {
    let (upstream, alice, bob) = (Sockets::echo(), key("alice"), key("bob"));
    let gate = live(&upstream, &alice).key(&bob).start();
    let (mut hers, mut his) = (opened(&gate, &alice), opened(&gate, &bob));
    let revoked = alice.clone().with("state: revoked");
    gate.replace("keys.yaml", &key_file(&[revoked, bob.clone()]));
    gate.eventually("the key is revoked", |gate| gate.get("/live/x", &[alice.field()]).status == 401);
    let since = Instant::now();
    assert!(hers.rest().is_empty());
    let outlived = since.elapsed();
    println!("the tunnel outlived its key by {outlived:?}");
    assert!(outlived < Duration::from_secs(8), "{outlived:?}");
    gate.eventually("it is counted", |gate| gate.metric("keygate_tunnels_ended_total", &["forbidden"]) == 1.0);
    echoes(&mut his, b"not mine");

    let text = std::fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("upgrade: [websocket]", "upgrade: []"));
    assert!(his.rest().is_empty());
    gate.eventually("it is counted", |gate| gate.metric("keygate_tunnels_ended_total", &["forbidden"]) == 2.0);
    gate.eventually("the upstream has heard of both", |_| upstream.open() == 0);
}

#[test]
fn a_tunnel_is_in_flight_until_it_ends_and_recorded_then() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let setup = live(&upstream, &alice).with("workers: 1");
    let gate = setup.upstream(&format!("upstream: {{ url: \"{upstream}\", connections_max: 1 }}")).start();
    let mut client = opened(&gate, &alice);
    echoes(&mut client, b"12345678");
    for name in ["keygate_tunnels", "keygate_requests_in_flight", "keygate_connections"] {
        assert_eq!(gate.metric(name, &[]), 1.0, "{name}");
    }
    assert_eq!(ask(&mut gate.client(), "/live/x", &alice).code(), "upstream_overloaded", "it holds its connection");
    assert!(!gate.stdout().contains("\"status\":101"), "it has not ended");
    client.sends_no_more();
    assert_eq!(client.rest(), b"bye");
    gate.eventually("it is written down", |gate| gate.stdout().contains("\"status\":101"));
    let log = gate.stdout();
    let line = log.lines().find(|line| line.contains("\"status\":101")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&8.into(), &11.into()), "{line}");
    assert_eq!((&line["key_id"], &line["path"]), (&"alice".into(), &"/live/x".into()), "{line}");
    for name in ["keygate_tunnels", "keygate_requests_in_flight"] {
        gate.eventually(name, |gate| gate.metric(name, &[]) == 0.0);
    }
    opened(&gate, &alice);
}

#[test]
fn a_drain_gives_tunnels_their_time_and_then_ends_them() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let mut gate = live(&upstream, &alice).with("shutdown: { delay: 0s, timeout: 2s }").start();
    let mut client = opened(&gate, &alice);
    let mut leaving = opened(&gate, &alice);
    let begun = Instant::now();
    gate.signal("TERM");
    std::thread::sleep(Duration::from_millis(700));
    echoes(&mut client, b"still here");
    leaving.sends_no_more();
    assert_eq!(leaving.rest(), b"bye");
    assert!(client.rest().is_empty());
    assert!(gate.wait().success());
    let took = begun.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(gate.stdout().matches("\"status\":101").count() == 2, "both are written down");
}

/// Room for as many as there are, and a machine does not pay for those that say nothing.
#[test]
fn many_tunnels_that_say_nothing_hold_little_memory() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).start();
    drop(opened(&gate, &alice));
    let before = gate.memory_bytes();
    let mut clients: Vec<_> = (0..200).map(|_| opened(&gate, &alice)).collect();
    let each = gate.memory_bytes().saturating_sub(before) / 200;
    println!("each of 200 silent tunnels holds {each} bytes");
    assert!(each < 64 << 10, "{each} bytes");
    for client in &mut clients {
        echoes(client, b"there");
    }
}

/// A client that speaks HTTP/2, on a runtime of its own.
fn over_http2<F: Future<Output = ()>>(gate: &Gate, test: impl FnOnce(http2::SendRequest<Empty<Bytes>>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
        let (mut sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        // What the server permits comes with its settings; an answer comes after them.
        let request = Request::get("http://api.example/none").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
        tokio::time::timeout(3 * PATIENCE, test(sender)).await.unwrap();
    });
}

const PRIOR_KNOWLEDGE: &str = "listen: { address: \"127.0.0.1:0\", prior_knowledge: true }";

/// An extended CONNECT (RFC 8441, section 4).
fn connect(path: &str, key: &TestKey) -> Request<Empty<Bytes>> {
    let (name, secret) = key.field();
    let uri = format!("http://api.example{path}");
    let request = Request::builder().method(Method::CONNECT).uri(uri).extension(Protocol::from_static("websocket"));
    request.header(name, secret).header("sec-websocket-version", "13").body(Empty::new()).unwrap()
}

#[test]
fn over_http2_a_stream_becomes_a_websocket() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).listen(PRIOR_KNOWLEDGE).start();
    over_http2(&gate, async |mut sender| {
        let mut streams = Vec::new();
        for _ in 0..3 {
            let response = sender.send_request(connect("/live/x?y=z", &alice)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            for gone in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
                assert!(!response.headers().contains_key(gone), "{gone}");
            }
            streams.push(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
        }
        assert_eq!((gate.metric("keygate_tunnels", &[]), gate.metric("keygate_connections", &[])), (3.0, 1.0));
        for stream in &mut streams {
            stream.write_all(b"a word").await.unwrap();
            let mut heard = [0; 6];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"a word");
        }
        // More than the windows of the stream and of the connection.
        let last = streams.pop().unwrap();
        let (mut reader, mut writer) = tokio::io::split(last);
        let sent: Vec<u8> = (0..8_000_000_u32).map(|number| (number / 3 % 253) as u8).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&copy).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.unwrap();
        writing.await.unwrap();
        assert!(heard[..sent.len()] == sent[..] && heard.ends_with(b"bye"), "changed on the way");
        gate.eventually("only that one has ended", |gate| gate.metric("keygate_tunnels", &[]) == 2.0);
        drop(streams);
    });
    gate.eventually("all have ended", |gate| gate.metric("keygate_tunnels", &[]) == 0.0);
    gate.eventually("and those to the upstream", |_| upstream.open() == 0);
    let keys: Vec<String> = upstream.heads().iter().map(|head| values(head, "sec-websocket-key").concat()).collect();
    assert!(keys.len() == 3 && keys[0] != keys[1] && keys.iter().all(|key| key.len() == 24), "{keys:?}");
    let head = upstream.heads().pop().unwrap();
    assert!(head.starts_with("GET /live/x?y=z HTTP/1.1\r\n") && !head.contains(&alice.secret), "{head}");
    assert_eq!((values(&head, "connection"), values(&head, "upgrade")), (vec!["Upgrade"], vec!["websocket"]));
}

#[test]
fn over_http2_the_same_is_refused_as_over_http1() {
    let (alice, stranger) = (key("alice"), key("stranger"));
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    let unproven = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (row, answer, path, key, status, word) in [
        ("an unknown key", ok, "/live/x", &stranger, 401, "key_unknown"),
        ("a route without it", ok, "/plain", &alice, 501, "upgrade_unsupported"),
        ("a route without it and an unknown key", ok, "/plain", &stranger, 401, "key_unknown"),
        ("a success that is no switch", ok, "/live/x", &alice, 502, "upstream_malformed"),
        ("a switch that proves nothing", unproven, "/live/x", &alice, 502, "upstream_malformed"),
        ("a refusal of the upstream's own", forbidden, "/live/x", &alice, 403, "no"),
    ] {
        let upstream = Sockets::saying(answer);
        let gate = live(&upstream, &alice).listen(PRIOR_KNOWLEDGE).start();
        over_http2(&gate, async |mut sender| {
            let response = sender.send_request(connect(path, key)).await.unwrap();
            assert_eq!(response.status(), status, "{row}");
            let content = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&content).contains(word), "{row}: {content:?}");
        });
        assert_eq!(gate.metric("keygate_tunnels_total", &[]), 0.0, "{row}");
        assert_eq!(upstream.heads().len(), usize::from(status == 502 || status == 403), "{row}");
    }

    let upstream = Sockets::echo();
    let gate = live(&upstream, &alice).listen(PRIOR_KNOWLEDGE).start();
    over_http2(&gate, async |mut sender| {
        let mut old = connect("/live/x", &alice);
        old.headers_mut().insert("sec-websocket-version", "8".parse().unwrap());
        assert_eq!(sender.send_request(old).await.unwrap().status(), StatusCode::BAD_REQUEST);
        let mut other = connect("/live/x", &alice);
        other.extensions_mut().insert(Protocol::from_static("connect-udp"));
        assert_eq!(sender.send_request(other).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
        let mut plain = Request::new(Empty::new());
        *plain.method_mut() = Method::CONNECT;
        *plain.uri_mut() = "api.example:443".parse().unwrap();
        assert_eq!(sender.send_request(plain).await.unwrap().status(), StatusCode::BAD_REQUEST);
    });
    assert!(upstream.heads().is_empty());
}

#[test]
fn over_http2_a_tunnel_ends_with_its_key_its_time_and_its_connection() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    let gate = live(&upstream, &alice).listen(PRIOR_KNOWLEDGE).with("timeouts: { idle: 300ms, tunnel: 4s }").start();
    over_http2(&gate, async |mut sender| {
        let response = sender.send_request(connect("/live/x", &alice)).await.unwrap();
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        // The connection is not idle while a stream of it is a tunnel.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(b"there").await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"there");
    });
    gate.eventually("it is counted", |gate| gate.metric("keygate_tunnels_ended_total", &["idle"]) == 1.0);
    over_http2(&gate, async |mut sender| {
        let response = sender.send_request(connect("/live/x", &alice)).await.unwrap();
        drop(sender);
        let stream = hyper::upgrade::on(response).await.unwrap();
        assert_eq!(gate.metric("keygate_tunnels", &[]), 1.0);
        drop(stream);
    });
    gate.eventually("it ended with its connection", |gate| gate.metric("keygate_tunnels", &[]) == 0.0);
    over_http2(&gate, async |mut sender| {
        let response = sender.send_request(connect("/live/x", &alice)).await.unwrap();
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        gate.replace("keys.yaml", &key_file(&[]));
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && stream.write_all(b"x").await.is_ok() {
            let mut heard = [0; 1];
            if !matches!(stream.read(&mut heard).await, Ok(1)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("over HTTP/2 the tunnel ended {:?} after its key was taken away", begun.elapsed());
        assert!(begun.elapsed() < PATIENCE, "it outlives its key");
    });
    gate.eventually("it is counted", |gate| gate.metric("keygate_tunnels_ended_total", &["forbidden"]) == 1.0);
    gate.eventually("the upstream has heard of all", |_| upstream.open() == 0);
}

/// RFC 8441, section 3: who is told that a protocol can be had must be able to have it.
#[test]
fn http2_clients_are_told_of_extended_connect_only_where_a_route_permits_it() {
    let (upstream, alice) = (Sockets::echo(), key("alice"));
    for (routes, told) in [(ROUTES.to_owned(), true), (ROUTES.replace("[websocket]", "[]"), false)] {
        let gate = gate(&upstream).key(&alice).with(&routes).listen(PRIOR_KNOWLEDGE).start();
        let mut stream = TcpStream::connect(gate.address).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[3], 4, "SETTINGS come first");
        let mut settings = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut settings).unwrap();
        assert_eq!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), told, "{settings:?}");
    }
}

/// A handshake on a connection that waits in the pool leaves nothing behind for the next request.
#[test]
fn requests_and_tunnels_share_an_upstream_and_never_a_connection() {
    let alice = key("alice");
    let upstream = Upstream::answering(|request, stream| {
        if request.values("upgrade").is_empty() {
            return respond(stream, "200 OK", "", b"hello");
        }
        stream.write_all(agreed(&format!("{}\r\n", request.head)).as_bytes()).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        crate::upstream::Then::Close
    });
    let gate = gate(&upstream).key(&alice).with(ROUTES).with("workers: 1").start();
    let mut requests = gate.client();
    let mut connections = Vec::new();
    for _ in 0..5 {
        assert_eq!(requests.request("GET", "/", &[alice.field()], b"").text(), "hello");
        let _tunnel = opened(&gate, &alice);
        connections.push(upstream.last().connection);
    }
    connections.dedup();
    assert_eq!(connections.len(), 5, "{connections:?}");
}
