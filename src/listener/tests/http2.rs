//! HTTP/2 without TLS, by prior knowledge.

use ::http::Version;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A SETTINGS frame that sets SETTINGS_INITIAL_WINDOW_SIZE to 0.
const NO_WINDOW: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";

/// An empty SETTINGS frame.
const NO_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// HEADERS of `GET /large` on stream 1: static table entries 2 and 6, and 4 and 1 with literal values (RFC 7541).
const GET_LARGE: &[u8] = b"\0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x04\x06/large\x41\x01a";

/// The same of `/later`.
const GET_LATER: &[u8] = b"\0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x04\x06/later\x41\x01a";

type Sender = http2::SendRequest<Empty<Bytes>>;

fn knowing(timeouts: Timeouts) -> Settings {
    Settings { prior_knowledge: true, timeouts, ..settings() }
}

pub(super) async fn handshake<T>(wire: T) -> (Sender, JoinHandle<hyper::Result<()>>)
where
    T: AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(wire)).await.unwrap();
    (sender, tokio::spawn(connection))
}

pub(super) async fn get(sender: &mut Sender, path: &str) -> String {
    let request = Request::get(format!("http://a.example{path}")).body(Empty::new()).unwrap();
    let response = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    let content = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(content.to_vec()).unwrap()
}

#[tokio::test]
async fn both_versions_are_spoken_at_one_address() {
    let server = Server::start(knowing(settings().timeouts));
    let (mut sender, _connection) = handshake(server.connect().await).await;
    assert!(get(&mut sender, "/").await.contains("worker: 7"));

    for first in ["G", "PUT /", "PRI"] {
        let mut client = server.connect().await;
        client.write_all(first.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let rest = if first == "PRI" { "NT / HTTP/1.1\r\n\r\n" } else { "ET / HTTP/1.1\r\n\r\n" };
        let rest = if first == "PUT /" { " HTTP/1.1\r\n\r\n" } else { rest };
        client.write_all(rest.as_bytes()).await.unwrap();
        assert!(receive(&mut client).await.starts_with("HTTP/1.1 200 "), "{first}");
    }
    server.ends().await;
}

#[tokio::test]
async fn a_preface_may_come_in_pieces() {
    let server = Server::start(knowing(settings().timeouts));
    let mut client = server.connect().await;
    client.set_nodelay(true).unwrap();
    for piece in [PREFACE, NO_SETTINGS].concat().chunks(5) {
        client.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut head = [0; 9];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame comes first");
    server.ends().await;
}

#[tokio::test]
async fn an_unfinished_preface_is_cut_in_time() {
    let timeouts = Timeouts { request_head: SHORT, ..settings().timeouts };
    let server = Server::start(knowing(timeouts));

    let mut silent = server.connect().await;
    closes_after(SHORT, &mut silent).await;

    let mut half = server.connect().await;
    half.write_all(&PREFACE[..12]).await.unwrap();
    assert!(until_closed(&mut half).await.starts_with("HTTP/1.1 408 "));

    let mut no_settings = server.connect().await;
    no_settings.write_all(PREFACE).await.unwrap();
    until_closed(&mut no_settings).await;
    assert_eq!(server.heard.words(), ["silent", "head_timeout", "head_timeout"]);
    server.ends().await;
}

/// Such connections are opened in advance by browsers and gRPC clients.
#[tokio::test]
async fn a_connection_without_streams_is_idle_and_not_late() {
    let timeouts = Timeouts { request_head: SHORT / 3, idle: MEDIUM, ..settings().timeouts };
    let server = Server::start(knowing(timeouts));
    let begin = Instant::now();
    let (mut sender, connection) = handshake(server.connect().await).await;
    tokio::time::sleep(SHORT).await;
    get(&mut sender, "/").await;

    tokio::time::timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    assert!(begin.elapsed() >= MEDIUM + SHORT * 9 / 10, "{:?}", begin.elapsed());
    assert!(server.heard.words().is_empty(), "{:?}", server.heard.words());
    server.ends().await;
}

#[tokio::test]
async fn a_slow_stream_keeps_its_connection() {
    let timeouts = Timeouts { tls_handshake: SHORT, request_head: SHORT, idle: SHORT, write: SHORT };
    let server = Server::start(knowing(timeouts));
    let (mut sender, _connection) = handshake(server.connect().await).await;
    assert_eq!(get(&mut sender, "/slow").await, "slept");
    server.ends().await;
}

/// The socket would take all we send; only the windows of the streams are shut (RFC 9113, section 10.5). What is sent may
/// be there at once, or when the connection has nothing more to do and only a stream is awake.
#[tokio::test]
async fn a_client_without_a_window_is_cut() {
    for request in [GET_LARGE, GET_LATER] {
        let server = Server::start(knowing(Timeouts { write: SHORT, ..settings().timeouts }));
        let mut client = server.connect().await;
        let begin = Instant::now();
        client.write_all(&[PREFACE, NO_WINDOW, request].concat()).await.unwrap();
        server.hears("write_timeout").await;
        assert!(begin.elapsed() >= SHORT * 9 / 10, "{:?}", begin.elapsed());
        until_closed(&mut client).await;
        server.ends().await;
    }
}

#[tokio::test]
async fn a_large_body_passes_through_the_windows() {
    let server = Server::start(knowing(Timeouts { write: MEDIUM, ..settings().timeouts }));
    let (mut sender, _connection) = handshake(server.connect().await).await;
    assert_eq!(get(&mut sender, "/large").await.len(), LARGE_BYTES);
    assert!(server.heard.words().is_empty(), "{:?}", server.heard.words());
    server.ends().await;
}

#[tokio::test]
async fn a_panic_ends_its_own_stream_only() {
    let server = Server::start(knowing(settings().timeouts));
    let (mut sender, _connection) = handshake(server.connect().await).await;
    let request = Request::get("http://a.example/panic").body(Empty::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
    assert!(get(&mut sender, "/").await.contains("worker: 7"));
    server.ends().await;
}

#[tokio::test]
async fn a_cut_response_is_an_error_of_its_stream() {
    let server = Server::start(knowing(settings().timeouts));
    let (mut sender, _connection) = handshake(server.connect().await).await;
    let request = Request::get("http://a.example/cut").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert!(get(&mut sender, "/").await.contains("worker: 7"));
    server.ends().await;
}

#[tokio::test]
async fn a_drain_says_goaway_and_finishes_the_streams() {
    let server = Server::start(knowing(settings().timeouts));
    let (mut sender, connection) = handshake(server.connect().await).await;
    let mut other = sender.clone();
    let waiting = tokio::spawn(async move { get(&mut other, "/wait").await });
    get(&mut sender, "/").await;

    server.drain.begin();
    assert!(!server.drain.wait_idle(SHORT).await);
    server.gate.notify_one();
    assert_eq!(waiting.await.unwrap(), "waited");
    tokio::time::timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    assert!(server.drain.wait_idle(LONG).await);
    server.ends().await;
}
