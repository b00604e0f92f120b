//! What one client, or too many at once, cannot take away from the others: connections and places.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use socket2::{Domain, Socket, Type};

use crate::client::Client;
use crate::gate::{PATIENCE, gate};
use crate::key::key;
use crate::upstream::{Then, Upstream};

/// A connection from another address of this machine.
fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
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
        .with("maxima: { in_flight: 3 }\nworkers: 4")
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
    for client in &mut waiting {
        go.send(()).unwrap();
        assert_eq!(client.response("GET").status, 200);
    }
    go.send(()).unwrap();
    assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
}
