//! Connections that rest: hyper has let go of them, and nobody can tell.

use super::certificates::Folder;
use super::encryption::Client;
use super::*;

/// Time enough for a connection to rest.
const A_WHILE: Duration = REST_AFTER.saturating_add(SHORT);

/// A client whose connection rests after its first request.
async fn resting(server: &Server) -> TcpStream {
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;
    tokio::time::sleep(A_WHILE).await;
    client
}

/// Sends more requests on a connection, each after a rest.
async fn goes_on(client: &mut (impl AsyncRead + AsyncWriteExt + Unpin)) {
    // Behind its content an old client sends an empty line that belongs to nothing.
    let upload = b"POST /upload HTTP/1.1\r\nhost: a.example\r\ncontent-length: 6\r\n\r\n123456\r\n";
    for _ in 0..2 {
        client.write_all(upload).await.unwrap();
        assert!(receive(client).await.ends_with("\r\n\r\n6"));
        tokio::time::sleep(A_WHILE).await;
        send(client, "/").await;
        assert!(receive(client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        tokio::time::sleep(A_WHILE).await;
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_each_rest() {
    let server = Server::start(settings());
    goes_on(&mut server.connect().await).await;
    assert!(server.heard.words().is_empty(), "{:?}", server.heard.words());
    server.ends().await;
}

#[tokio::test]
async fn a_tls_connection_goes_on_after_each_rest() {
    let folder = Folder::new();
    let server = Server::start_tls(settings(), &folder.store(&["a.example"]));
    let mut client = Client::trusting(&folder).over(server.connect().await, "a.example").await.unwrap();
    goes_on(&mut client).await;
    assert!(server.heard.words().is_empty(), "{:?}", server.heard.words());
    server.ends().await;
}

#[tokio::test]
async fn a_rest_does_not_make_an_idle_connection_last_longer() {
    let idle = A_WHILE + SHORT;
    let server = Server::start(Settings { timeouts: Timeouts { idle, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;
    closes_after(idle, &mut client).await;
    server.ends().await;
}

#[tokio::test]
async fn what_begins_after_a_rest_has_the_time_of_any_head() {
    let timeouts = Timeouts { request_head: SHORT, ..settings().timeouts };
    let server = Server::start(Settings { timeouts, ..settings() });
    let mut client = resting(&server).await;
    client.write_all(b"GET / HT").await.unwrap();
    assert!(until_closed(&mut client).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(server.heard.words(), ["head_timeout"]);
    server.ends().await;
}

#[tokio::test]
async fn framing_is_looked_at_after_a_rest_as_before() {
    let server = Server::start(settings());
    let mut client = resting(&server).await;
    let doubtful = "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    client.write_all(format!("POST / HTTP/1.1\r\nhost: a.example\r\n{doubtful}").as_bytes()).await.unwrap();
    let said = until_closed(&mut client).await;
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    server.ends().await;
}

#[tokio::test]
async fn a_drain_wakes_whoever_rests() {
    let server = Server::start(settings());
    let (mut quiet, mut asking) = tokio::join!(resting(&server), resting(&server));
    let begin = Instant::now();
    server.drain.begin();
    send(&mut asking, "/").await;
    let said = until_closed(&mut asking).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("connection: close\r\n"), "{said}");
    assert_eq!(until_closed(&mut quiet).await, "");
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    server.ends().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_rests_is_counted_out() {
    let server = Server::start(settings());
    drop(resting(&server).await);
    while server.heard.closed.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.ends().await;
}

/// The answer is there, and somebody will still want the rest of what was asked: it waits in hyper.
#[tokio::test]
async fn content_that_nobody_has_taken_yet_is_not_given_up_for_a_rest() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    let chunks = "5\r\none, \r\n5\r\ntwo, \r\n5\r\nthree\r\n0\r\n\r\n";
    let head = "POST /hold HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}{chunks}").as_bytes()).await.unwrap();
    assert!(receive(&mut client).await.ends_with("held"));
    let mut other = server.connect().await;
    send(&mut other, "/wait").await;
    assert!(receive(&mut other).await.ends_with("waited"));
    goes_on(&mut client).await;
    server.ends().await;
}
