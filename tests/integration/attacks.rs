//! Attacks on the protocol itself, one after the other against one running gateway.
//!
//! Each test states the bounds that held: how much the gateway's memory grew, how long the slowest answer to a well-behaved
//! client took meanwhile, and how the attack ended; and that it was counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gate::{Gate, PATIENCE, gate};
use crate::key::{TestKey, key};
use crate::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, literal,
};
use crate::upstream::{Then, Upstream, respond};

/// What the memory of the gateway may grow by in an attack.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// How long nine of ten answers to a well-behaved client may take meanwhile. What else the machine does may slow one.
const ANSWER_MAX: Duration = Duration::from_millis(1500);

/// The same on a machine that is busy with other things: so many times what they took right before. Whichever is longer.
const ANSWER_FACTOR_MAX: u32 = 20;

/// What HTTP/2 calls somebody who should calm down (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A megabyte for whoever asks for `/large`, and a few bytes for all others.
fn upstream() -> Upstream {
    Upstream::answering(|received, stream| {
        let large = received.head.starts_with("GET /large");
        let content = if large { vec![b'x'; 1 << 20] } else { b"hello".to_vec() };
        respond(stream, "200 OK", "", &content);
        Then::Keep
    })
}

fn attacked(with: &str) -> (Upstream, TestKey, Gate) {
    let (upstream, alice) = (upstream(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("log: { level: info, access: { enabled: false } }")
        .with(with)
        .start();
    (upstream, alice, gate)
}

/// Runs an attack while a well-behaved client asks, and prints and checks the bounds.
#[track_caller]
fn withstands<T>(name: &str, gate: &Gate, alice: &TestKey, attack: impl FnOnce() -> T) -> T {
    let (over, address, secret) = (Arc::new(AtomicBool::new(false)), gate.address, alice.secret.clone());
    let mut undisturbed: Vec<Duration> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(gate.get("/", &[alice.field()]).status, 200);
            begun.elapsed()
        })
        .collect();
    undisturbed.sort_unstable();
    let answer_max = ANSWER_MAX.max(undisturbed[17] * ANSWER_FACTOR_MAX);
    let (before, busy_before) = (gate.memory_bytes(), gate.processor_time());
    let honest = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let (mut kept, mut kept_since, mut times) = (Client::connect(address), Instant::now(), Vec::new());
            // An attack may be over before this begins.
            while times.is_empty() || !over.load(Ordering::SeqCst) {
                // Where the machine was busy for as long as a connection may be idle, it is closed, and rightly.
                if kept_since.elapsed() > Duration::from_millis(500) {
                    kept = Client::connect(address);
                }
                // By turns on a connection that is there and on a new one.
                let mut ask = |client: &mut Client| {
                    let begun = Instant::now();
                    assert_eq!(client.request("GET", "/", &[("X-API-Key", &secret)], b"").status, 200);
                    times.push(begun.elapsed());
                };
                ask(&mut kept);
                kept_since = Instant::now();
                ask(&mut Client::connect(address));
                thread::sleep(Duration::from_millis(5));
            }
            times.sort_unstable();
            times
        }
    });
    let begun = Instant::now();
    let (done, peak) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = before;
            while !over.load(Ordering::SeqCst) {
                peak = peak.max(gate.memory_bytes());
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let done = attack();
        over.store(true, Ordering::SeqCst);
        (done, watching.join().unwrap())
    });
    let times = honest.join().unwrap();
    let (most, slowest) = (times[times.len() * 9 / 10], times[times.len() - 1]);
    let grown = peak.saturating_sub(before);
    println!(
        "{name}: {} KiB more memory, {:?} of processor time, 9 of 10 of {} answers within {most:?} (undisturbed {:?}), all \
         within {slowest:?}, in {:?}",
        grown >> 10,
        gate.processor_time() - busy_before,
        times.len(),
        undisturbed[17],
        begun.elapsed()
    );
    assert!(grown < MEMORY_BYTES_MAX, "{name}: {} MiB more memory", grown >> 20);
    assert!(most < answer_max, "{name}: answers took {most:?}");
    done
}

/// How often connections were refused for a reason.
fn refused(gate: &Gate, reason: &str) -> f64 {
    gate.metric("keygate_connections_refused_total", &[&format!("\"{reason}\"")])
}

/// Sends the same bytes until the gateway ends the connection, at most so often; says with which code it did.
#[track_caller]
fn flood(gate: &Gate, prelude: &[u8], bytes: &[u8], times_max: usize) -> Option<u32> {
    let mut http2 = Http2::connect(gate.address);
    let _ = http2.write(prelude);
    let many = (256 * 1024 / bytes.len()).clamp(1, 4096);
    let batch = bytes.repeat(many);
    for _ in 0..times_max.div_ceil(many) {
        if http2.write(&batch).is_err() {
            break;
        }
    }
    http2.goaway()
}

#[test]
fn frames_that_ask_for_nothing_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let request = frame(HEADERS, END_HEADERS, 1, &block(&[], "/", "POST"));
    let rows = [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 9])),
        ("an unknown type", frame(0xbb, 0, 0, &[0; 20])),
    ];
    for (number, (name, bytes)) in rows.iter().enumerate() {
        // More than a hundred times the allowance: it must not last.
        let code = withstands(name, &gate, &alice, || flood(&gate, &[], bytes, 1_000_000));
        // Whoever does not read meanwhile may find a reset in place of the reason.
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
        gate.eventually("it is counted", |gate| refused(gate, "http2_flood") == (number + 1) as f64);
    }
    // The same beside a request that is never finished.
    withstands("PING beside a request", &gate, &alice, || flood(&gate, &request, &rows[0].1, 1_000_000));
    gate.eventually("it is counted", |gate| refused(gate, "http2_flood") == (rows.len() + 1) as f64);
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let secret = [("x-api-key", alice.secret.as_str())];
    for (name, fields) in [("rapid reset without a key", &[][..]), ("rapid reset with a key", &secret[..])] {
        withstands(name, &gate, &alice, || {
            let mut http2 = Http2::connect(gate.address);
            'attack: for round in 0..2_000_u32 {
                let pairs: Vec<u8> = (0..50_u32)
                    .flat_map(|number| {
                        let stream = (round * 50 + number) * 2 + 1;
                        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields, "/", "GET"));
                        [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
                    })
                    .collect();
                if http2.write(&pairs).is_err() {
                    break 'attack;
                }
            }
            let code = http2.goaway();
            assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
        });
    }
    gate.eventually("they are counted", |gate| refused(gate, "http2_resets") + refused(gate, "http2_flood") == 2.0);
}

/// The frames of a mistake on the stream of this number.
type Mistake = fn(u32) -> Vec<u8>;

#[test]
fn mistakes_that_make_the_gateway_reset_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    // A window that overflows, a window of nothing, and content beyond the announced length.
    let mistakes: [(&str, Mistake); 3] = [
        ("made to reset by WINDOW_UPDATE of 0", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("made to reset by an overflow", |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])),
        ("made to reset by a priority on itself", |stream| {
            frame(PRIORITY, 0, stream, &[stream.to_be_bytes().to_vec(), vec![1]].concat())
        }),
    ];
    for (name, mistake) in mistakes {
        withstands(name, &gate, &alice, || {
            let mut http2 = Http2::connect(gate.address);
            for number in 0..40_000_u32 {
                let stream = number * 2 + 1;
                let head = frame(HEADERS, END_HEADERS, stream, &block(&[], "/", "POST"));
                if http2.write(&[head, mistake(stream)].concat()).is_err() {
                    break;
                }
            }
            let code = http2.goaway();
            assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == 1), "{name}: {code:?}");
        });
    }
    gate.eventually("they are counted", |gate| {
        let reasons = ["http2_mistakes", "http2_resets", "http2_flood", "http2_malformed"];
        reasons.iter().map(|reason| refused(gate, reason)).sum::<f64>() >= 3.0
    });
}

#[test]
fn a_head_without_end_ends_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let begin = frame(HEADERS, 0, 1, &block(&[], "/", "GET"));
    for (name, bytes) in [
        ("CONTINUATION", frame(CONTINUATION, 0, 1, &literal("x-more", &"a".repeat(1000)))),
        ("CONTINUATION without content", frame(CONTINUATION, 0, 1, &[])),
    ] {
        let code = withstands(name, &gate, &alice, || flood(&gate, &begin, &bytes, 200_000));
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
    }
    gate.eventually("both are counted", |gate| {
        refused(gate, "http2_continuations") + refused(gate, "http2_flood") == 2.0
    });
}

#[test]
fn frames_without_content_in_a_request_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let begin = frame(HEADERS, END_HEADERS, 1, &block(&[("x-api-key", &alice.secret)], "/", "POST"));
    withstands("empty DATA", &gate, &alice, || flood(&gate, &begin, &frame(DATA, 0, 1, &[]), 1_000_000));
    gate.eventually("it is counted", |gate| refused(gate, "http2_small_frames") + refused(gate, "http2_flood") == 1.0);
    withstands("empty HEADERS", &gate, &alice, || {
        let mut http2 = Http2::connect(gate.address);
        for number in 0..40_000_u32 {
            if http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &[])).is_err() {
                break;
            }
        }
        http2.goaway();
    });
    gate.eventually("it is counted", |gate| {
        ["http2_mistakes", "http2_resets", "http2_malformed"].iter().any(|reason| refused(gate, reason) >= 1.0)
    });
}

#[test]
fn a_small_head_that_unpacks_to_a_large_one_takes_no_memory() {
    let (_upstream, alice, gate) = attacked("");
    withstands("HPACK bomb", &gate, &alice, || {
        let mut connections = Vec::new();
        for _ in 0..10 {
            let mut http2 = Http2::connect(gate.address);
            // One field of 4000 bytes into the table, and then its one byte of index 10000 times in each request.
            let name = [&[0x40, 1, b'x', 0x7f][..], &[0xa1, 0x1e], &[b'a'; 4000]].concat();
            let first = [block(&[], "/", "GET"), name].concat();
            let _ = http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first));
            let bomb = [block(&[], "/", "GET"), vec![0xbe; 10_000]].concat();
            for number in 1..200_u32 {
                if http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &bomb)).is_err() {
                    break;
                }
            }
            connections.push(http2);
        }
        let reasons: Vec<_> = connections.iter_mut().map(Http2::goaway).collect();
        assert_eq!(reasons, [Some(ENHANCE_YOUR_CALM); 10]);
    });
    assert_eq!(gate.metric("keygate_connections_refused_total", &["http2_head"]), 10.0);
}

#[test]
fn windows_of_nothing_and_of_one_byte_hold_little_memory() {
    let (_upstream, alice, gate) = attacked("timeouts: { write: 2s }");
    let large = block(&[("x-api-key", &alice.secret)], "/large", "GET");
    for (name, window) in [("windows of nothing", 0_u8), ("windows of one byte", 1)] {
        withstands(name, &gate, &alice, || {
            let mut http2 = Http2::connect_with(gate.address, &[0, 4, 0, 0, 0, window]);
            for number in 0..80_u32 {
                http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &large)).unwrap();
            }
            let begun = Instant::now();
            // A byte more for each stream, again and again.
            let updates: Vec<u8> =
                (0..80_u32).flat_map(|number| frame(WINDOW_UPDATE, 0, number * 2 + 1, &[0, 0, 0, 1])).collect();
            while begun.elapsed() < PATIENCE {
                if window > 0 && http2.write(&updates).is_err() || http2.has_ended() {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            assert!(begun.elapsed() < PATIENCE, "{name}: the connection was not ended");
        });
    }
    gate.eventually("they are counted", |gate| refused(gate, "write_timeout") + refused(gate, "http2_flood") == 2.0);
}

/// A thousand connections from many addresses, each of which does this first.
fn thousand(gate: &Gate, first: &[u8]) -> Vec<TcpStream> {
    (0..1000)
        .map(|_| {
            let mut stream = TcpStream::connect_timeout(&gate.address, PATIENCE).unwrap();
            let _ = stream.write_all(first);
            stream
        })
        .collect()
}

#[test]
fn a_thousand_connections_that_dawdle_are_closed_in_time() {
    let short = "timeouts: { request_head: 2s, idle: 2s, request_body: 2s }";
    let (_upstream, alice, gate) = attacked(short);
    let idle = format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret);
    let body = format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 9\r\n\r\nx", alice.secret);
    for (name, first) in [
        ("1000 that say nothing", ""),
        ("1000 slow heads", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        ("1000 that are idle after a request", &idle),
        ("1000 slow bodies", &body),
    ] {
        withstands(name, &gate, &alice, || {
            let streams = thousand(&gate, first.as_bytes());
            gate.eventually("all are there", |gate| gate.metric("keygate_connections_total", &["http\""]) >= 1000.0);
            gate.eventually("all are closed", |gate| gate.metric("keygate_connections", &["http\""]) <= 2.0);
            drop(streams);
        });
    }
    assert!(refused(&gate, "silent") >= 1000.0 && refused(&gate, "head_timeout") >= 1000.0);
    assert_eq!(gate.metric("keygate_rejections_total", &["head_timeout"]), 1000.0);
    assert!(gate.metric("keygate_rejections_total", &["content_timeout"]) >= 900.0);
}

#[test]
fn clients_that_read_slowly_hold_little_memory_and_are_cut() {
    let (_upstream, alice, gate) = attacked("timeouts: { write: 2s }");
    let request = format!("GET /large HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret).repeat(20);
    withstands("100 that do not read", &gate, &alice, || {
        let streams: Vec<TcpStream> = (0..100)
            .map(|_| {
                let mut stream = TcpStream::connect_timeout(&gate.address, PATIENCE).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream
            })
            .collect();
        gate.eventually("all are cut", |gate| refused(gate, "write_timeout") >= 100.0);
        drop(streams);
    });
}

#[test]
fn handshakes_that_never_end_are_cut_in_time() {
    let (upstream, alice) = (upstream(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen(
            "listen:\n  - 127.0.0.1:0\n  - { address: 127.0.0.2:0, tls: { certificates: [{ certificate: tls.crt, key: tls.key }] } }",
        )
        .certificate("tls")
        .with("timeouts: { tls_handshake: 2s }")
        .with("log: { level: info, format: json, access: { enabled: false } }")
        .start();
    let tls = gate.second_address();
    withstands("1000 half-open handshakes", &gate, &alice, || {
        // The beginning of a ClientHello that is announced to be long.
        let streams: Vec<TcpStream> = (0..1000)
            .map(|_| {
                let mut stream = TcpStream::connect_timeout(&tls, PATIENCE).unwrap();
                let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
                stream
            })
            .collect();
        gate.eventually("all are cut", |gate| {
            gate.metric("keygate_tls_handshake_failures_total", &["\"timeout\""]) >= 1000.0
        });
        drop(streams);
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (_upstream, alice, gate) = attacked("");
    withstands("connection churn", &gate, &alice, || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..1500 {
                        let mut stream = TcpStream::connect_timeout(&gate.address, PATIENCE).unwrap();
                        match number % 3 {
                            0 => {}
                            1 => drop(stream.write_all(b"GET / HTTP/1.1\r\n")),
                            _ => {
                                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                                let _ = stream.read_to_end(&mut Vec::new());
                            }
                        }
                    }
                });
            }
        });
        gate.eventually("all are gone", |gate| gate.metric("keygate_connections", &["http\""]) <= 2.0);
    });
    assert!(gate.metric("keygate_connections_total", &["http\""]) >= 6000.0);
    // A descriptor too many would be one for each of thousands.
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", gate.pid())).unwrap().count();
    assert!(descriptors < 200, "{descriptors} descriptors");
}

/// Streams of one connection to an HTTP/2 upstream share its window (RFC 9113, section 5.2). A gateway is the upstream.
#[test]
fn responses_that_nobody_reads_hold_up_no_other_on_the_same_connection_to_the_upstream() {
    let (upstream, alice) = (upstream(), key("alice"));
    let behind = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("routes: [{ name: all, paths: [\"/{*rest}\"], access: public }]")
        .with("forwarding: { via: behind }")
        .start();
    let gate = gate("")
        .key(&alice)
        .upstream(&format!("upstream: {{ url: \"http://{}\", protocol: http2 }}", behind.address))
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("workers: 1")
        .start();
    let large = block(&[("x-api-key", &alice.secret)], "/large", "GET");
    withstands("responses nobody reads", &gate, &alice, || {
        let mut http2 = Http2::connect_with(gate.address, &[0, 4, 0, 0, 0, 0]);
        for number in 0..80_u32 {
            http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &large)).unwrap();
        }
        // Until as much waits as may, which is more than the window of the connection would hold otherwise.
        gate.eventually("all are answered", |gate| gate.metric("keygate_requests_in_flight", &[]) >= 80.0);
        thread::sleep(Duration::from_millis(1500));
        assert!(!http2.has_ended());
    });
    assert_eq!(gate.metric("keygate_upstream_connections_total", &[]), 1.0);
}

/// Without a length it may be a conversation, and those are as slow as they like.
#[test]
fn an_announced_body_that_comes_too_slowly_is_refused_and_a_stream_is_not() {
    let (_upstream, alice, gate) = attacked("timeouts: { request_body: 2s }\nminima: { request_rate: 1GiB }");
    let send = |framing: &str, part: &[u8], parts: usize, end: &[u8]| {
        let mut stream = TcpStream::connect_timeout(&gate.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let secret = &alice.secret;
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nConnection: close\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0];
        for _ in 0..parts {
            stream.write_all(part).unwrap();
            // Waits a little, and for no longer than until there is an answer.
            if stream.peek(&mut answer).is_ok() {
                break;
            }
        }
        let _ = stream.write_all(end);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let slow = send("Content-Length: 1000", b"x", 200, b"");
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
    assert_eq!(gate.metric("keygate_rejections_total", &["content_timeout"]), 1.0);
    let conversation = send("Transfer-Encoding: chunked", b"1\r\nx\r\n", 40, b"0\r\n\r\n");
    assert!(conversation.starts_with("HTTP/1.1 200 "), "{conversation}");
    // What is over within a time in which even a pause would be allowed is never too slow.
    let short = send("Content-Length: 3", b"x", 3, b"");
    assert!(short.starts_with("HTTP/1.1 200 "), "{short}");
}
