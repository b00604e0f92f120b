//! More connections than we want.

use super::*;

#[tokio::test]
async fn connections_above_the_maximum_are_answered_503() {
    let maxima = Maxima { connections: 2, ..settings().maxima };
    let server = Server::start(Settings { maxima, ..settings() });
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        send(&mut client, "/").await;
        receive(&mut client).await;
        kept.push(client);
    }

    let mut third = server.connect().await;
    send(&mut third, "/").await;
    let response = until_closed(&mut third).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert_eq!(server.heard.words(), ["connections_max"]);
    assert_eq!(server.heard.opened.load(Ordering::Relaxed), 2);

    drop(kept.pop());
    while server.drain.connections() == 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut next = server.connect().await;
    send(&mut next, "/").await;
    assert!(receive(&mut next).await.starts_with("HTTP/1.1 200 "));
    server.ends().await;
}

#[tokio::test]
async fn with_tls_they_are_closed() {
    let folder = certificates::Folder::new();
    let maxima = Maxima { connections: 0, ..settings().maxima };
    let server = Server::start_tls(Settings { maxima, ..settings() }, &folder.store(&["a.example"]));
    let mut client = server.connect().await;
    assert_eq!(until_closed(&mut client).await, "");
    assert_eq!(server.heard.words(), ["connections_max"]);
    server.ends().await;
}
