//! HTTP/1.1 without TLS: requests, and every limit in time.

use super::*;

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    for _ in 0..3 {
        send(&mut client, "/").await;
        let response = receive(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("worker: 7"), "{response}");
        assert!(response.contains(&format!("peer: {}", client.local_addr().unwrap())), "{response}");
        assert!(response.contains(&format!("local: {}", server.address)), "{response}");
    }
    assert_eq!(server.drain.connections(), 1);
    server.ends().await;
}

#[tokio::test]
async fn a_slow_first_head_is_answered_408() {
    let server =
        Server::start(Settings { timeouts: Timeouts { request_head: SHORT, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    let begin = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.ex").await.unwrap();

    let response = until_closed(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.ends_with("ours"), "{response}");
    assert!(begin.elapsed() >= SHORT * 9 / 10, "{:?}", begin.elapsed());
    assert_eq!(server.heard.words(), ["head_timeout"]);
    drop(client);
    server.ends().await;
}

/// A head that trickles in makes progress all the time, and is late all the same.
#[tokio::test]
async fn a_trickling_head_is_answered_408() {
    let server =
        Server::start(Settings { timeouts: Timeouts { request_head: SHORT, ..settings().timeouts }, ..settings() });
    let (mut reading, mut writing) = server.connect().await.into_split();
    let trickle = tokio::spawn(async move {
        writing.write_all(b"GET / HTTP/1.1\r\na: ").await.unwrap();
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let response = until_closed(&mut reading).await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    trickle.abort();
    server.ends().await;
}

/// The time of a later head is counted from its first byte, and not from the end of the request before it.
#[tokio::test]
async fn a_long_pause_does_not_make_the_next_head_late() {
    let server =
        Server::start(Settings { timeouts: Timeouts { request_head: MEDIUM, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;

    tokio::time::sleep(MEDIUM * 5 / 4).await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(SHORT).await;
    client.write_all(b"host: a.example\r\n\r\n").await.unwrap();
    assert!(receive(&mut client).await.starts_with("HTTP/1.1 200 "));

    tokio::time::sleep(MEDIUM * 5 / 4).await;
    let begin = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(until_closed(&mut client).await.starts_with("HTTP/1.1 408 "));
    assert!(begin.elapsed() >= MEDIUM * 9 / 10, "{:?}", begin.elapsed());
    server.ends().await;
}

#[tokio::test]
async fn a_silent_client_is_closed_without_a_word() {
    let server =
        Server::start(Settings { timeouts: Timeouts { request_head: SHORT, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    closes_after(SHORT, &mut client).await;
    assert_eq!(server.heard.words(), ["silent"]);
    server.ends().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_last_request() {
    let server = Server::start(Settings { timeouts: Timeouts { idle: MEDIUM, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    for _ in 0..4 {
        send(&mut client, "/").await;
        receive(&mut client).await;
        tokio::time::sleep(MEDIUM / 3).await;
    }
    send(&mut client, "/").await;
    receive(&mut client).await;
    closes_after(MEDIUM, &mut client).await;
    let heard = Arc::clone(&server.heard);
    server.ends().await;
    assert_eq!(heard.words(), ["idle"]);
}

/// RFC 9112, section 2.2: they are ignored.
#[tokio::test]
async fn empty_lines_behind_a_response_begin_no_head() {
    let timeouts = Timeouts { request_head: SHORT, idle: MEDIUM, ..settings().timeouts };
    let server = Server::start(Settings { timeouts, ..settings() });
    let mut client = server.connect().await;
    send(&mut client, "/").await;
    receive(&mut client).await;
    for byte in b"\r\n\r\n" {
        client.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    closes_after(MEDIUM, &mut client).await;
    let heard = Arc::clone(&server.heard);
    server.ends().await;
    assert_eq!(heard.words(), ["idle"]);
}

#[tokio::test]
async fn a_head_that_begins_behind_a_request_in_flight_is_due_when_this_has_ended() {
    let server =
        Server::start(Settings { timeouts: Timeouts { request_head: SHORT, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: a.example\r\n\r\nGET /half HT").await.unwrap();
    assert!(receive(&mut client).await.ends_with("slept"));
    server.hears("head_timeout").await;
    let last = until_closed(&mut client).await;
    assert!(last.starts_with("HTTP/1.1 408 "), "{last}");
    server.ends().await;
}

/// None of the limits is about what happens between a head and the end of its response.
#[tokio::test]
async fn a_slow_request_is_nobodys_fault() {
    let timeouts = Timeouts { tls_handshake: SHORT, request_head: SHORT, idle: SHORT, write: SHORT };
    let server = Server::start(Settings { timeouts, ..settings() });
    let mut client = server.connect().await;
    send(&mut client, "/slow").await;
    assert!(receive(&mut client).await.ends_with("slept"));

    client.write_all(b"POST /upload HTTP/1.1\r\nhost: a.example\r\ncontent-length: 6\r\n\r\n").await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        client.write_all(b"x").await.unwrap();
    }
    assert!(receive(&mut client).await.ends_with("\r\n\r\n6"));
    closes_after(SHORT, &mut client).await;
    server.ends().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = Server::start(Settings { timeouts: Timeouts { write: SHORT, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    let begin = Instant::now();
    send(&mut client, "/large").await;
    server.hears("write_timeout").await;
    assert!(begin.elapsed() >= SHORT * 9 / 10, "{:?}", begin.elapsed());
    let response = until_closed(&mut client).await;
    assert!(response.len() < LARGE_BYTES, "{}", response.len());
    server.ends().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let server = Server::start(Settings { timeouts: Timeouts { write: MEDIUM, ..settings().timeouts }, ..settings() });
    let mut client = server.connect().await;
    send(&mut client, "/large").await;
    let (mut total, mut pieces) = (0, vec![0; LARGE_BYTES / 8]);
    for _ in 0..7 {
        total += client.read_exact(&mut pieces).await.unwrap();
        tokio::time::sleep(MEDIUM / 4).await;
    }
    assert_eq!(total, LARGE_BYTES / 8 * 7);
    assert!(server.heard.words().is_empty(), "{:?}", server.heard.words());
    server.ends().await;
}

/// A rate that nobody reaches, and one that everybody does: no machine is too fast or too slow for this.
#[tokio::test]
async fn a_client_that_reads_without_a_pause_but_too_slowly_is_cut() {
    for (response_rate_min, is_cut) in [(1 << 50, true), (1, false)] {
        let timeouts = Timeouts { write: MEDIUM, ..settings().timeouts };
        let server = Server::start(Settings { timeouts, response_rate_min, ..settings() });
        let mut client = server.connect().await;
        send(&mut client, "/large").await;
        let (mut total, mut piece) = (0, vec![0; LARGE_BYTES / 64]);
        while total < LARGE_BYTES {
            match client.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => total += bytes,
            }
            tokio::time::sleep(MEDIUM / 40).await;
        }
        assert_eq!(total < LARGE_BYTES, is_cut, "{total} bytes at {response_rate_min}");
        assert_eq!(server.heard.words(), if is_cut { vec!["write_timeout"] } else { vec![] });
        server.ends().await;
    }
}

/// What hyper answers by itself never reaches the service, so only the observer can tell.
#[tokio::test]
async fn what_hyper_refuses_is_told() {
    let server = Server::start(settings());
    let long_path = "a".repeat(70_000);
    let long_field = "a".repeat(60_000);
    let rows = [
        ("GET / HTTP/1.1\r\nbad name: x\r\n\r\n", "400 field"),
        ("GE(T / HTTP/1.1\r\n\r\n", "400 method"),
        ("GET / HTTP/1.7\r\n\r\n", "400 version"),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400 content_length"),
        ("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", "400 transfer_encoding"),
        (&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long_field}\r\n\r\n"), "431 head_too_large"),
        (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), "431 head_too_large"),
        (&format!("GET /{long_path} HTTP/1.1\r\n\r\n"), "431 head_too_large"),
    ];
    for (sent, heard) in rows {
        let mut client = server.connect().await;
        client.write_all(sent.as_bytes()).await.unwrap();
        let response = until_closed(&mut client).await;
        let row = &sent[..sent.len().min(60)];
        assert!(response.starts_with(&format!("HTTP/1.1 {} ", &heard[..3])), "{row}: {response}");
        assert!(response.ends_with("ours") && response.matches("HTTP/1.1").count() == 1, "{row}: {response}");
        assert_eq!(server.heard.words().last().map(String::as_str), Some(heard), "{row}");
    }
    server.ends().await;
}

#[tokio::test]
async fn a_target_that_is_too_long_is_answered_414() {
    let maxima = Maxima { head_bytes: 128 * 1024, ..settings().maxima };
    let server = Server::start(Settings { maxima, ..settings() });
    let mut client = server.connect().await;
    client.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).as_bytes()).await.unwrap();
    assert!(until_closed(&mut client).await.starts_with("HTTP/1.1 414 "));
    assert_eq!(server.heard.words(), ["414 uri_too_long"]);
    server.ends().await;
}

#[tokio::test]
async fn more_fields_may_be_allowed() {
    let maxima = Maxima { fields: 150, ..settings().maxima };
    let server = Server::start(Settings { maxima, ..settings() });
    let mut client = server.connect().await;
    client.write_all(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(150)).as_bytes()).await.unwrap();
    assert!(receive(&mut client).await.starts_with("HTTP/1.1 200 "));
    client.write_all(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(151)).as_bytes()).await.unwrap();
    assert!(receive(&mut client).await.starts_with("HTTP/1.1 431 "));
    server.ends().await;
}

/// The answer comes while the client is still sending. If the socket were closed at once, the reset would overtake it.
#[tokio::test]
async fn an_early_answer_is_not_lost_in_a_reset() {
    let server = Server::start(settings());
    for _ in 0..5 {
        let (mut reading, mut writing) = server.connect().await.into_split();
        let upload = tokio::spawn(async move {
            writing.write_all(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n").await.unwrap();
            for _ in 0..20 {
                writing.write_all(&[b'x'; 16 * 1024]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let response = until_closed(&mut reading).await;
        assert!(response.starts_with("HTTP/1.1 401 ") && response.ends_with("not you"), "{response}");
        upload.await.unwrap();
    }
    server.ends().await;
}

#[tokio::test]
async fn an_http2_preface_is_refused_where_it_is_not_expected() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(until_closed(&mut client).await, "");
    assert_eq!(server.heard.words(), ["unexpected_http2"]);
    server.ends().await;
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let server = Server::start(settings());
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    send(&mut second, "/").await;
    receive(&mut second).await;
    send(&mut first, "/panic").await;
    assert_eq!(until_closed(&mut first).await, "");
    send(&mut second, "/").await;
    assert!(receive(&mut second).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.drain.connections(), 1);
    server.ends().await;
}

#[tokio::test]
async fn new_settings_hold_for_new_connections() {
    let server = Server::start(settings());
    let mut old = server.connect().await;
    send(&mut old, "/").await;
    receive(&mut old).await;

    let timeouts = Timeouts { request_head: SHORT, idle: SHORT, ..settings().timeouts };
    server.settings.store(Arc::new(Settings { timeouts, ..settings() }));
    let mut new = server.connect().await;
    closes_after(SHORT, &mut new).await;

    tokio::time::sleep(2 * SHORT).await;
    send(&mut old, "/").await;
    assert!(receive(&mut old).await.starts_with("HTTP/1.1 200 "));
    server.ends().await;
}

#[tokio::test]
async fn an_http10_client_is_answered_and_closed() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    client.write_all(b"GET /empty HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut client).await.starts_with("HTTP/1.0 200 OK\r\n"));
    server.ends().await;
}

/// The end of the connection is the end of a chunked body only if the last chunk has come (RFC 9112, section 8), and
/// the end of an HTTP/1.0 body in any case. So that one must not end in order.
#[tokio::test]
async fn a_cut_response_does_not_look_complete() {
    let server = Server::start(settings());
    let mut client = server.connect().await;
    send(&mut client, "/cut").await;
    let response = until_closed(&mut client).await;
    assert!(response.ends_with("\r\n\r\n4\r\nhalf\r\n"), "{response}");

    let mut client = server.connect().await;
    client.write_all(b"GET /cut HTTP/1.0\r\n\r\n").await.unwrap();
    let mut response = Vec::new();
    let error = client.read_to_end(&mut response).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(response.ends_with(b"\r\n\r\nhalf"), "{}", String::from_utf8_lossy(&response));
    server.ends().await;
}
