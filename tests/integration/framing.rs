//! How a request is framed: what two parsers could read in two ways is refused, and what was begun with the upstream is
//! cut off there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};

/// An upstream that writes down what it received, connection by connection, and answers a request that is complete.
struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Recorded>>>,
}

#[derive(Clone, Debug, Default)]
struct Recorded {
    bytes: Vec<u8>,
    /// The other side has closed it.
    closed: bool,
}

impl Recorder {
    fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let connections = Arc::clone(&recorder.connections);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let connections = Arc::clone(&connections);
                let number = {
                    let mut all = connections.lock().unwrap();
                    all.push(Recorded::default());
                    all.len() - 1
                };
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        let mut all = connections.lock().unwrap();
                        all[number].bytes.extend_from_slice(&buffer[..count]);
                        if is_complete(&all[number].bytes) {
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                        }
                    }
                    connections.lock().unwrap()[number].closed = true;
                });
            }
        });
        recorder
    }

    fn connections(&self) -> Vec<Recorded> {
        self.connections.lock().unwrap().clone()
    }

    fn bytes(&self) -> String {
        self.connections().iter().map(|one| String::from_utf8_lossy(&one.bytes).into_owned()).collect()
    }
}

/// Whether the last request of some bytes is complete: keygate frames in two ways only.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((_, last)) = text.rsplit_once(" HTTP/1.1\r\n") else { return false };
    let Some((head, content)) = last.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => content.len() >= length.parse().unwrap(),
        None if head.contains("transfer-encoding: chunked") => content.ends_with("0\r\n\r\n"),
        None => true,
    }
}

/// Sends bytes, in pieces if there are several, and returns the status and whether the connection was closed then.
fn send(gate: &Gate, pieces: &[&str]) -> (u16, String, bool) {
    let mut client = gate.client();
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        client.write(piece.as_bytes());
    }
    let response = client.response("POST");
    let said = response.field("connection") == Some("close");
    let code = if response.status == 200 { String::new() } else { response.code() };
    (response.status, code, said && client.closes_within(Duration::from_secs(10)))
}

fn head(alice: &TestKey, lines: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n{lines}\r\n", alice.secret)
}

#[test]
fn a_length_that_stands_beside_chunks_or_twice_is_refused_and_the_connection_is_closed() {
    let (recorder, alice) = (Recorder::open(), key("alice"));
    let gate = gate(format!("http://{}", recorder.address)).key(&alice).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let rows = [
        ("length, chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunks, length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("chunks, a length that is none", "Transfer-Encoding: chunked\r\nContent-Length: +5\r\n"),
        ("a length that is none, chunks", "Content-Length: 5, 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunks, no length at all", "Transfer-Encoding: chunked\r\nContent-Length:\r\n"),
        ("other spelling", "tRANSFER-eNCODING:chunked\ncONTENT-lENGTH:5\n"),
        ("no content", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("two lengths of nothing", "Content-Length: 0\r\nContent-Length: 0\r\n"),
        ("two lengths that differ", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("a list of lengths", "Content-Length: 5, 5\r\n"),
        ("a length with a sign", "Content-Length: +5\r\n"),
        ("a length in base 16", "Content-Length: 0x5\r\n"),
        ("a length with a gap", "Content-Length: 5 5\r\n"),
        ("another coding", "Transfer-Encoding: gzip, chunked\r\n"),
        ("chunks twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("chunks in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("a coding with a comma", "Transfer-Encoding: chunked,\r\n"),
        ("a coding in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n"),
        ("a coding that is none", "Transfer-Encoding: xchunked\r\n"),
        ("no coding", "Transfer-Encoding:\r\n"),
    ];
    let good = head(&alice, "Content-Length: 5\r\n") + "hello";
    for (row, lines) in rows {
        let all = head(&alice, lines) + chunks + smuggled;
        let in_pieces: Vec<&str> = all.split_inclusive("ength").collect();
        for pieces in [&[all.as_str()][..], &in_pieces] {
            let mut client = gate.client();
            for piece in pieces {
                client.write(piece.as_bytes());
            }
            // hyper says some of these by itself, without content.
            let text = String::from_utf8(client.rest()).unwrap();
            assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{row}: {text}");
            assert!(text.to_lowercase().contains("connection: close\r\n"), "{row}: {text}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{row}: {text}");
        }
        // The same behind a request that is in order: its answer comes, then the refusal, then nothing.
        let mut client = gate.client();
        client.write((good.clone() + &all).as_bytes());
        let text = String::from_utf8(client.rest()).unwrap();
        let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "400"], "{row}: {text}");
    }
    let received = recorder.bytes();
    assert_eq!(received.matches("POST /p HTTP/1.1\r\n").count(), rows.len(), "{received}");
    assert!(!received.contains("smuggled") && !received.contains("GET"), "{received}");
    println!("{} requests in doubt, {} of them arrived", rows.len() * 3, received.matches("smuggled").count());
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_a_400_and_end_both_connections() {
    let (recorder, alice) = (Recorder::open(), key("alice"));
    let gate = gate(format!("http://{}", recorder.address)).key(&alice).with("workers: 1").start();
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let long_trailer = format!("5\r\nhello\r\n0\r\nX: {}\n\r\n", "y".repeat(100));
    let rows = [
        ("a gap", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("a space behind", "5 \r\nhello\r\n0\r\n\r\n"),
        ("a space before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("base 16, said", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("too large for 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("too many zeros", "00000000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a comma", "5,5\r\nhello\r\n0\r\n\r\n"),
        ("LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("NUL in an extension", "5;a\0b\r\nhello\r\n0\r\n\r\n"),
        ("LF behind the last chunk", "5\r\nhello\r\n0\n\r\n"),
        ("LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("LF in a trailer", "5\r\nhello\r\n0\r\nX: y\n\r\n"),
        ("LF in a long trailer", &long_trailer),
        ("a trailer that is no field", "5\r\nhello\r\n0\r\nX y\r\n\r\n"),
        ("a space before the colon of a trailer", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
        ("more data than its size", "5\r\nhello!\r\n0\r\n\r\n"),
        ("less data than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind the data", "5\r\nhello0\r\n\r\n"),
        ("an endless extension", &long),
    ];
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = head(&alice, "Transfer-Encoding: chunked\r\n");
    for (row, chunks) in rows {
        // All at once, the head first, a good chunk before, and in halves.
        let all = format!("{head}{chunks}{smuggled}");
        let behind = format!("{chunks}{smuggled}");
        let (half, rest) = behind.split_at(chunks.len() / 2);
        for pieces in [&[all.as_str()][..], &[&head, &behind], &[&head, "3\r\nabc\r\n", &behind], &[&head, half, rest]]
        {
            let (status, code, closed) = send(&gate, pieces);
            assert!(["bad_request", "content_broken"].contains(&code.as_str()), "{row}: {code}");
            assert_eq!((status, closed), (400, true), "{row}, {} pieces", pieces.len());
        }
        let good = format!("{head}5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(send(&gate, &[&good]).0, 200, "{row}");
    }
    let connections = recorder.connections();
    for one in &connections {
        let text = String::from_utf8_lossy(&one.bytes).into_owned();
        assert!(!text.contains("smuggled"), "{text}");
        // Whatever was begun with a bad request was the last on its connection.
        let requests: Vec<&str> = text.split("POST /p HTTP/1.1\r\n").skip(1).collect();
        for earlier in requests.split_last().into_iter().flat_map(|(_last, earlier)| earlier) {
            assert!(is_complete(format!("POST /p HTTP/1.1\r\n{earlier}").as_bytes()), "{text}");
        }
    }
    gate.eventually("what was begun is cut off", |_| {
        recorder.connections().iter().all(|one| one.closed || is_complete(&one.bytes))
    });
    println!("{} connections to the upstream for {} bad requests", connections.len(), rows.len() * 4);
}
