//! What one client, or too many at once, cannot take away from the others: connections and places.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::client::Client;
use crate::gate::{Gate, PATIENCE, gate};
use crate::key::key;
use crate::raw_http2::{END_HEADERS, END_STREAM, HEADERS, Http2, SETTINGS, block, frame};
use crate::upstream::{Then, Upstream, respond};

/// A connection from another address of this machine.
pub(crate) fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{address}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the server closes.
fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

/// An upstream that answers when it is told to.
fn waiting() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let upstream = Upstream::answering(move |_, stream| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        Then::Keep
    });
    (upstream, go)
}

#[test]
fn one_address_cannot_take_the_connections_of_the_others() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { connections_per_address: 3 }").start();
    let mut kept: Vec<TcpStream> = (0..3).map(|_| connect_from("127.0.0.2", gate.address)).collect();
    gate.eventually("they are counted", |gate| gate.metric("keygate_connections", &["http\""]) >= 3.0);
    for _ in 0..5 {
        let answer = rest(connect_from("127.0.0.2", gate.address));
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n") && answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    }
    assert_eq!(gate.metric("keygate_connections_refused_total", &["address_connections_max"]), 5.0);
    // Whoever leaves makes room.
    drop(kept.pop());
    gate.eventually("there is room again", |gate| {
        let mut stream = connect_from("127.0.0.2", gate.address);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        rest(stream).starts_with("HTTP/1.1 401 ")
    });
}

#[test]
fn a_trusted_proxy_has_the_connections_of_many_clients() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("maxima: { connections_per_address: 1 }")
        .with("forwarding: { trusted_proxies: [127.0.0.3/32] }")
        .start();
    let streams: Vec<TcpStream> = (0..5).map(|_| connect_from("127.0.0.3", gate.address)).collect();
    gate.eventually("all are open", |gate| gate.metric("keygate_connections", &["http\""]) >= 5.0);
    assert_eq!(gate.metric("keygate_connections_refused_total", &["address_connections_max"]), 0.0);
    drop(streams);
}

#[test]
fn a_client_behind_a_load_balancer_is_counted_by_its_own_address() {
    let upstream = Upstream::hello();
    let gate = gate(&upstream)
        .listen("listen: { address: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.0/8] } }")
        .with("maxima: { connections_per_address: 1 }")
        .start();
    let from = |client: &str| {
        let mut stream = connect_from("127.0.0.1", gate.address);
        stream.write_all(format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n").as_bytes()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        stream
    };
    let mut first = from("203.0.113.1");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(rest(from("203.0.113.1")), "");
    let mut other = from("203.0.113.2");
    other.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(gate.metric("keygate_connections_refused_total", &["address_connections_max"]), 1.0);
}

#[test]
fn beyond_the_maximum_in_flight_requests_are_refused_at_once_and_in_the_shape_of_all_refusals() {
    let ((upstream, go), alice) = (waiting(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("maxima: { in_flight: 3, in_flight_per_address: 4 }\nworkers: 4")
        .with("refusals: { body: { error: \"{{code}}\", again: \"{{retry_after}}\" } }")
        .start();
    let mut waiting: Vec<Client> = (0..3).map(|_| gate.client()).collect();
    for client in &mut waiting {
        client.send("GET", "/", &[alice.field()], b"");
    }
    gate.eventually("they are in flight", |gate| gate.metric("keygate_requests_in_flight", &[]) >= 3.0);
    // Whoever asks, with a key or without, and on a connection that stays open.
    let mut client = gate.client();
    for fields in [&[alice.field()][..], &[], &[alice.field()]] {
        let response = client.request("GET", "/", fields, b"");
        assert_eq!((response.status, response.number("retry-after")), (503, 1), "{response:?}");
        assert_eq!(response.json(), serde_json::json!({ "error": "overloaded", "again": 1 }));
        assert!(response.field("x-request-id").is_some(), "{response:?}");
    }
    assert_eq!(gate.metric("keygate_rejections_total", &["\"overloaded"]), 3.0);
    assert_eq!(upstream.received().len(), 3);
    // Nobody says which of them the upstream heard first.
    (0..4).for_each(|_| go.send(()).unwrap());
    for client in &mut waiting {
        assert_eq!(client.response("GET").status, 200);
    }
    assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
}

#[test]
fn guesses_are_refused_before_anything_is_looked_up_and_cost_nobody_else_anything() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("limits: [{ name: guesses, per: address, count: failures, requests: 5, window: 1m, burst: 5 }]")
        .with("routes: [{ name: open, paths: [/open], access: public }, { name: all, paths: [\"/{*rest}\"], access: api_key }]")
        .start();
    let ask = |address: &str, path: &str, secret: &str| {
        let mut stream = connect_from(address, gate.address);
        let key_field = if secret.is_empty() { String::new() } else { format!("X-API-Key: {secret}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{key_field}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        rest(stream)
    };
    let status = |answer: &str| answer[9..12].parse::<u16>().unwrap();
    // What is no guess does not count: no key at all, or a good one.
    for _ in 0..10 {
        assert_eq!(status(&ask("127.0.0.2", "/", "")), 401);
        assert_eq!(status(&ask("127.0.0.2", "/", &alice.secret)), 200);
    }
    for number in 0..5 {
        assert_eq!(status(&ask("127.0.0.2", "/", &format!("{}{number}", "g".repeat(40)))), 401, "{number}");
    }
    for secret in ["g".repeat(41), alice.secret.clone(), String::new()] {
        let answer = ask("127.0.0.2", "/", &secret);
        assert_eq!(status(&answer), 429, "{answer}");
        assert!(answer.contains("\r\nretry-after: ") && answer.contains("\"rate_limited\""), "{answer}");
    }
    // Neither what asks for no key, nor anybody elsewhere, nor the owner of the key.
    assert_eq!(status(&ask("127.0.0.2", "/open", "")), 200);
    assert_eq!(status(&ask("127.0.0.3", "/", &alice.secret)), 200);
    assert_eq!(status(&ask("127.0.0.3", "/", &"g".repeat(40))), 401);
    assert_eq!(gate.metric("keygate_limit_buckets", &["guesses"]), 2.0);
}

#[test]
fn what_nobody_could_read_is_refused_in_the_shape_of_all_refusals_counted_and_logged() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("timeouts: { request_head: 1s }\nmaxima: { head: 100KiB, fields: 20 }")
        .with("refusals: { body: { error: \"{{code}}\", id: \"{{request_id}}\" } }")
        .start();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(21));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    for (sent, status, word) in [
        ("GET / HTTP/1.1\r\nbad name: x\r\n\r\n", 400, "head_malformed"),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "head_malformed"),
        (&many, 431, "head_too_large"),
        (&long, 414, "target_too_long"),
        ("GET / HTTP/1.1\r\nHo", 408, "head_timeout"),
    ] {
        let before = gate.metric("keygate_rejections_total", &[word]);
        let mut client = gate.client();
        client.write(sent.as_bytes());
        let response = client.response("GET");
        assert_eq!((response.status, &response.json()["error"]), (status, &word.into()), "{response:?}");
        let id = response.field("x-request-id").unwrap().to_owned();
        assert_eq!(response.json()["id"], id.as_str());
        assert_eq!(response.field("connection"), Some("close"), "{response:?}");
        assert!(response.field("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
        assert_eq!(client.rest(), b"", "{word}");
        assert_eq!(gate.metric("keygate_rejections_total", &[word]), before + 1.0, "{word}");
        gate.eventually("it is logged", |gate| {
            let log = gate.stdout();
            log.lines().any(|line| line.contains(&id) && line.contains(word) && line.contains(&status.to_string()))
        });
    }
    let counted = gate.metric("keygate_requests_total", &["\"OTHER\"", "\"none\"", "keygate"]);
    assert_eq!((counted, upstream.received().len()), (5.0, 0));
    // After a good request on the same connection, and in one piece with it.
    let mut client = gate.client();
    let good = format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret);
    client.write(good.as_bytes());
    assert_eq!(client.response("GET").status, 200);
    client.write(b"bad head\r\n\r\n");
    assert_eq!(client.response("GET").json()["error"], "head_malformed");
    let mut client = gate.client();
    client.write(format!("{good}bad head\r\n\r\n").as_bytes());
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(client.response("GET").json()["error"], "head_malformed");
}

#[test]
fn streams_that_are_reset_are_counted_with_what_the_client_was_told() {
    let ((upstream, go), alice) = (waiting(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("maxima: { streams: 2 }")
        .start();
    let key = ("x-api-key", alice.secret.as_str());
    let request =
        |fields: &[(&str, &str)], stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields, "/", "GET"));
    let reset = |gate: &Gate, code| gate.metric("keygate_http2_streams_reset_total", &[code]);

    let mut http2 = Http2::connect(gate.address);
    for (stream, field) in [(1, ("connection", "close")), (3, ("te", "gzip")), (5, ("content-length", "5"))] {
        http2.write(&request(&[key, field], stream)).unwrap();
    }
    gate.eventually("what is malformed is counted", |gate| reset(gate, "protocol_error") == 3.0);
    assert_eq!(reset(&gate, "refused_stream"), 0.0);
    for stream in [7, 9, 11, 13] {
        http2.write(&request(&[key], stream)).unwrap();
    }
    gate.eventually("what is one too many is counted", |gate| reset(gate, "refused_stream") == 2.0);
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    gate.eventually("the others are answered", |gate| gate.metric("keygate_requests_total", &["\"200\""]) == 2.0);
    assert_eq!((reset(&gate, "protocol_error"), upstream.received().len()), (3.0, 2));
}

#[test]
fn connections_that_are_closed_because_they_are_idle_are_counted() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("timeouts: { idle: 300ms }")
        .start();
    let mut http1 = gate.client();
    http1.write(format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret).as_bytes());
    assert_eq!(http1.response("GET").status, 200);
    assert_eq!(http1.rest(), b"");
    gate.eventually("it is counted", |gate| gate.metric("keygate_connections_idle_closed_total", &[]) == 1.0);
    assert_eq!(Http2::connect(gate.address).goaway(), Some(0));
    gate.eventually("HTTP/2, too", |gate| gate.metric("keygate_connections_idle_closed_total", &[]) == 2.0);
}

#[test]
fn a_shortage_of_descriptors_is_counted_and_passes() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).under("prlimit", &["--nofile=64:64"]).start();
    let held: Vec<TcpStream> = (0..64).map(|_| connect_from("127.0.0.2", gate.address)).collect();
    gate.eventually("it is logged", |gate| gate.stderr().contains("Cannot accept connections"));
    drop(held);
    gate.eventually("there is room again", |gate| gate.metric("keygate_accept_errors_total", &[]) >= 1.0);
    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
}

/// The streams of HTTP/2 wake nobody when they begin to wait; so this must not hang on when the requests have come.
#[test]
fn a_client_whose_windows_stay_shut_is_cut_in_time_whenever_it_has_asked() {
    let large = Upstream::answering(|_, stream| respond(stream, "200 OK", "", &[b'x'; 300_000]));
    let alice = key("alice");
    let gate = gate(&large)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("timeouts: { write: 1s }")
        .start();
    let ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-api-key", &alice.secret)], "/", "GET"));
    for (number, (row, window)) in [("none", 0_u16), ("the usual one", 65_535)].into_iter().enumerate() {
        let settings = frame(SETTINGS, 0, 0, &[&[0, 4, 0, 0][..], &window.to_be_bytes()].concat());
        let first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat();
        for later in [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(700)] {
            let mut stream = connect_from("127.0.0.1", gate.address);
            let begun = Instant::now();
            if later.is_zero() {
                stream.write_all(&[first.clone(), ask.clone()].concat()).unwrap();
            } else {
                stream.write_all(&first).unwrap();
                thread::sleep(later);
                stream.write_all(&ask).unwrap();
            }
            // It may be reset.
            let _ = stream.read_to_end(&mut Vec::new());
            let took = begun.elapsed();
            assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{row}, {later:?}: {took:?}");
        }
        let cut = 3.0 * (number + 1) as f64;
        gate.eventually("it is counted", |gate| {
            gate.metric("keygate_connections_refused_total", &["write_timeout"]) == cut
        });
    }
    gate.eventually("nothing is held", |gate| gate.metric("keygate_requests_in_flight", &[]) == 0.0);
}
