//! The end of a listener: no request is lost that we could have known of.

use super::certificates::Folder;
use super::http2::{get, handshake};
use super::load_balancers::trusting;
use super::*;

#[tokio::test]
async fn a_request_in_flight_is_finished_and_the_connection_closed() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    send(&mut client, "/wait").await;
    tokio::time::sleep(SHORT / 3).await;

    server.drain.begin();
    assert!(!server.drain.wait_idle(2 * SHORT).await);
    server.gate.notify_one();
    let response = until_closed(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("waited"), "{response}");
    assert_eq!(response.matches("connection: close\r\n").count(), 1, "{response}");
    drop(client);
    assert!(server.drain.wait_idle(LONG).await);
    server.ends().await;
}

/// A client that uses its connection all the time is told by a response, and never by a reset.
#[tokio::test]
async fn a_busy_client_is_told_before_its_connection_is_closed() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;

    server.drain.begin();
    // Long enough for the server to do all it wants to do at once.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    send(&mut client, "/").await;
    let response = until_closed(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    server.ends().await;
}

#[tokio::test]
async fn idle_and_silent_connections_are_closed_soon() {
    let server = Server::start(settings());
    let (mut idle, mut silent) = (server.connect().await, server.connect().await);
    send(&mut idle, "/").await;
    receive(&mut idle).await;

    let begin = Instant::now();
    server.drain.begin();
    assert_eq!(until_closed(&mut idle).await, "");
    assert_eq!(until_closed(&mut silent).await, "");
    assert!(server.drain.wait_idle(LONG).await);
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    server.ends().await;
}

/// Whoever has not asked for anything when the end begins has a short grace to ask, and does not hold the end up:
/// neither to the end of its timeout for a head nor to that for a handshake.
#[tokio::test]
async fn peers_that_have_not_asked_yet_do_not_hold_up_the_end() {
    let folder = Folder::new();
    let tls = || Server::start_tls(settings(), &folder.store(&["a.example"]));
    let knowing = || Server::start(Settings { prior_knowledge: true, ..settings() });
    let rows = [
        ("silent over TLS", tls(), "", false),
        ("part of a handshake", tls(), "\x16\x03\x01", false),
        ("silent where HTTP/2 may come", knowing(), "", false),
        ("part of a preface", knowing(), "PRI * HT", true),
        ("a preface without settings", knowing(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        ("part of a head where HTTP/2 may come", knowing(), "GET /p HTT", true),
        ("part of a head", Server::start(settings()), "GET /p HTT", true),
        ("part of a PROXY header", Server::start(trusting("127.0.0.0/8")), "PROXY TC", false),
    ];
    for (row, server, said, is_told) in rows {
        let mut client = server.connect().await;
        client.write_all(said.as_bytes()).await.unwrap();
        tokio::time::sleep(SHORT / 3).await;
        let begin = Instant::now();
        server.drain.begin();
        // The client neither reads nor closes meanwhile.
        assert!(server.drain.wait_idle(LONG / 4).await, "{row}");
        assert!(begin.elapsed() >= SHORT, "{row}: no grace at all");
        let answer = until_closed(&mut client).await;
        assert_eq!(answer.starts_with("HTTP/1.1 408 "), is_told, "{row}: {answer}");
        server.ends().await;
    }
}

/// A second head is no different from the first.
#[tokio::test]
async fn part_of_a_later_head_does_not_hold_up_the_end() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;
    client.write_all(b"GET /p HTT").await.unwrap();
    tokio::time::sleep(SHORT / 3).await;
    server.drain.begin();
    assert!(server.drain.wait_idle(LONG / 4).await);
    assert!(until_closed(&mut client).await.starts_with("HTTP/1.1 408 "));
    server.ends().await;
}

/// The grace is there to be used.
#[tokio::test]
async fn a_head_that_is_completed_within_the_grace_is_answered() {
    for settings in [settings(), Settings { prior_knowledge: true, ..settings() }] {
        let server = Server::start(settings);
        let (mut partial, mut silent) = (server.connect().await, server.connect().await);
        partial.write_all(b"GET / HTT").await.unwrap();
        tokio::time::sleep(SHORT / 3).await;
        server.drain.begin();
        tokio::time::sleep(SHORT / 3).await;
        partial.write_all(b"P/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        send(&mut silent, "/").await;
        for client in [&mut partial, &mut silent] {
            let response = until_closed(client).await;
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
            assert!(response.contains("connection: close\r\n"), "{response}");
        }
        assert!(server.drain.wait_idle(LONG).await);
        server.ends().await;
    }
}

/// Sending clients elsewhere closes nothing that a client may be about to use, and takes whoever still comes.
#[tokio::test]
async fn a_client_that_is_sent_elsewhere_loses_no_request() {
    let server = Server::start(settings());
    let (mut idle, mut silent) = (server.connect().await, server.connect().await);
    send(&mut idle, "/").await;
    receive(&mut idle).await;

    server.drain.part();
    tokio::time::sleep(4 * SHORT).await;
    let mut newcomer = server.connect().await;
    for client in [&mut idle, &mut silent, &mut newcomer] {
        send(client, "/").await;
        let response = until_closed(client).await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert_eq!(response.matches("connection: close\r\n").count(), 1, "{response}");
    }
    server.drain.begin();
    assert!(server.drain.wait_idle(LONG).await);
    server.ends().await;
}

/// A client that is told to go before it has asked for anything would come back at once and hear the same again.
#[tokio::test]
async fn an_http2_client_that_is_sent_elsewhere_has_one_request_answered_first() {
    let server = Server::start(Settings { prior_knowledge: true, ..settings() });
    let (mut sender, connection) = handshake(server.connect().await).await;
    get(&mut sender, "/").await;

    server.drain.part();
    tokio::time::timeout(LONG, connection).await.expect("an idle connection is told to go").unwrap().unwrap();
    let (mut sender, mut connection) = handshake(server.connect().await).await;
    assert!(tokio::time::timeout(4 * SHORT, &mut connection).await.is_err(), "it has asked for nothing yet");
    get(&mut sender, "/").await;
    tokio::time::timeout(LONG, connection).await.expect("it has had its answer").unwrap().unwrap();
    server.drain.begin();
    assert!(server.drain.wait_idle(LONG).await);
    server.ends().await;
}

/// They have been told that they are connected; only we know that nobody has looked yet.
#[tokio::test]
async fn connections_in_the_accept_queue_are_served() {
    let server = Server::start(settings());
    tokio::task::yield_now().await;
    // Nothing of the server runs until this test waits for something.
    let clients: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(server.address).unwrap()).collect();
    server.drain.begin();

    for client in clients {
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client).unwrap();
        send(&mut client, "/").await;
        assert!(receive(&mut client).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(server.drain.wait_idle(LONG).await);
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is still open");
    server.ends().await;
}

#[tokio::test]
async fn abort_drops_everything_at_once() {
    let server = Server::start(settings());
    let mut clients = Vec::new();
    for path in ["/wait", "/", "/large"] {
        let mut client = server.connect().await;
        send(&mut client, path).await;
        clients.push(client);
    }
    clients.push(server.connect().await);
    tokio::time::sleep(SHORT).await;

    let begin = Instant::now();
    server.drain.abort();
    assert!(server.drain.wait_idle(LONG).await);
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    for mut client in clients {
        until_closed(&mut client).await;
    }
    server.ends().await;
}
