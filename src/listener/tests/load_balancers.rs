//! Load balancers in front of us: the PROXY protocol, with and without TLS behind it.

use super::*;
use crate::listener::ProxyProtocol;
use crate::listener::proxy_protocol::header_v2;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";

pub(super) fn trusting(network: &str) -> Settings {
    let proxy_protocol = ProxyProtocol { v1: true, v2: true, from: vec![network.parse().unwrap()] };
    Settings { proxy_protocol: Some(proxy_protocol), ..settings() }
}

fn client() -> SocketAddr {
    "203.0.113.9:4711".parse().unwrap()
}

#[tokio::test]
async fn the_header_says_who_the_client_is() {
    let server = Server::start(trusting("127.0.0.0/8"));
    let v1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n".to_vec();
    for (row, header) in [("version 1", v1), ("version 2", header_v2(client(), server.address))] {
        let mut stream = server.connect().await;
        let peer = stream.local_addr().unwrap();
        stream.write_all(&[&header, REQUEST].concat()).await.unwrap();
        let response = receive(&mut stream).await;
        assert!(response.contains(&format!("peer: {peer}, client: 203.0.113.9:4711")), "{row}: {response}");

        // What comes on the connection later comes from the same client.
        stream.write_all(REQUEST).await.unwrap();
        assert!(receive(&mut stream).await.contains("client: 203.0.113.9:4711"), "{row}");
    }
    server.ends().await;
}

/// A balancer sends the header along with the first bytes of its client, and who looks for HTTP/2 reads a few of them.
#[tokio::test]
async fn nothing_behind_the_header_is_lost_where_http2_may_begin_as_well() {
    let server = Server::start(Settings { prior_knowledge: true, ..trusting("127.0.0.0/8") });
    for (row, header) in [
        ("version 1", b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n".to_vec()),
        ("version 2", header_v2(client(), server.address)),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(&[&header, REQUEST, REQUEST].concat()).await.unwrap();
        for _ in 0..2 {
            assert!(receive(&mut stream).await.contains("client: 203.0.113.9:4711"), "{row}");
        }

        let mut stream = server.connect().await;
        // SETTINGS and a PING, whose answer shows that all was read.
        let frames = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0pingpong";
        stream.write_all(&[&header[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frames].concat()).await.unwrap();
        let mut read = Vec::new();
        while !read.windows(8).any(|bytes| bytes == b"pingpong") {
            let reading = tokio::time::timeout(LONG, stream.read_buf(&mut read)).await;
            assert!(reading.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0)), "{row}: {}", read.escape_ascii());
        }
    }
    server.ends().await;
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_alone() {
    let server = Server::start(trusting("127.0.0.0/8"));
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for piece in header_v2(client(), server.address).chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(REQUEST).await.unwrap();
    assert!(receive(&mut stream).await.contains("client: 203.0.113.9:4711"));
    server.ends().await;
}

/// Load balancers check our health with connections of their own.
#[tokio::test]
async fn who_speaks_for_nobody_is_the_client() {
    let server = Server::start(trusting("127.0.0.0/8"));
    for (row, header) in [("UNKNOWN", b"PROXY UNKNOWN\r\n".as_slice()), ("LOCAL", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")] {
        let mut stream = server.connect().await;
        stream.write_all(&[header, REQUEST].concat()).await.unwrap();
        let peer = stream.local_addr().unwrap();
        assert!(receive(&mut stream).await.contains(&format!("client: {peer}")), "{row}");
    }
    server.ends().await;
}

#[tokio::test]
async fn nobody_else_may_connect_with_or_without_a_header() {
    let server = Server::start(trusting("192.0.2.0/24"));
    for header in [header_v2(client(), server.address), Vec::new()] {
        let mut stream = server.connect().await;
        let _refused = stream.write_all(&[&header, REQUEST].concat()).await;
        assert_eq!(until_closed(&mut stream).await, "");
    }
    assert_eq!(server.heard.words(), ["proxy_untrusted", "proxy_untrusted"]);
    server.ends().await;
}

#[tokio::test]
async fn a_balancer_without_a_header_is_refused() {
    let server = Server::start(trusting("127.0.0.0/8"));
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, "");
    assert_eq!(server.heard.words(), ["proxy_malformed"]);
    server.ends().await;
}

#[tokio::test]
async fn a_header_without_end_is_refused() {
    let server = Server::start(trusting("127.0.0.0/8"));
    let mut stream = server.connect().await;
    stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").await.unwrap();
    let _refused = stream.write_all(&[0; 8192]).await;
    assert_eq!(until_closed(&mut stream).await, "");
    assert_eq!(server.heard.words(), ["proxy_malformed"]);
    server.ends().await;
}

#[tokio::test]
async fn a_late_header_is_refused() {
    let timeouts = Timeouts { tls_handshake: SHORT, ..settings().timeouts };
    let server = Server::start(Settings { timeouts, ..trusting("127.0.0.0/8") });
    let mut stream = server.connect().await;
    stream.write_all(b"PROXY TCP4 203").await.unwrap();
    closes_after(SHORT, &mut stream).await;
    assert_eq!(server.heard.words(), ["proxy_timeout"]);
    server.ends().await;
}

#[tokio::test]
async fn tls_begins_after_the_header() {
    let folder = certificates::Folder::new();
    let server = Server::start_tls(trusting("127.0.0.0/8"), &folder.store(&["a.example"]));
    let mut stream = server.connect().await;
    stream.write_all(&header_v2(client(), server.address)).await.unwrap();
    let mut stream = encryption::Client::trusting(&folder).over(stream, "a.example").await.unwrap();
    send(&mut stream, "/").await;
    let response = receive(&mut stream).await;
    assert!(response.contains("client: 203.0.113.9:4711"), "{response}");
    assert!(response.contains(r#"sni: Some("a.example")"#), "{response}");
    server.ends().await;
}
