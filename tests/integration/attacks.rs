//! Attacks on the protocol itself, one after the other against one running gateway.
//!
//! Each test states the bounds that held: how much the gateway's memory grew, how much processor time it took, how long answers
//! to a well-behaved client took meanwhile ([`Siege`]), and how the attack ended; and that it was counted, for the one reason
//! that it is known by.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::block as fields;
use crate::gate::{Gate, PATIENCE, gate};
use crate::key::{TestKey, key};
use crate::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame,
};
use crate::siege::{CROWD, CROWD_BYTES_MAX, Siege, crowd, room_for_a_crowd};
use crate::upstream::{Then, Upstream, respond};

/// What an attack may cost in processor time, where nothing else is said. Here and below it is with what the test itself asks
/// for some three to four times what was measured in a debug build on two busy processors.
const PROCESSOR_MAX: Duration = Duration::from_millis(1500);

/// How often and for how long, at least, an attack is tried again that ends its connection within milliseconds: so that others have
/// the time to be disturbed.
const ROUNDS_MIN: usize = 10;
const ROUNDS_LAST: Duration = Duration::from_millis(300);

/// What HTTP/2 calls somebody who should calm down (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// What it calls somebody who speaks something else.
const PROTOCOL_ERROR: u32 = 0x1;

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
    Siege::of(gate, alice).withstands(name, |_| PROCESSOR_MAX, attack)
}

/// How often connections were refused for a reason.
fn refused(gate: &Gate, reason: &str) -> f64 {
    gate.metric("keygate_connections_refused_total", &[&format!("\"{reason}")])
}

/// Tries an attack again and again, each time on a connection that the gateway must end with this code, and must have counted
/// with this reason and no other.
#[track_caller]
fn ends_with(name: &str, (gate, alice): (&Gate, &TestKey), (code, reason): (u32, &str), attack: impl Fn() -> Http2) {
    let (before, all_before) = (refused(gate, reason), refused(gate, ""));
    let codes = withstands(name, gate, alice, || {
        let (begun, mut codes) = (Instant::now(), Vec::new());
        while codes.len() < ROUNDS_MIN || begun.elapsed() < ROUNDS_LAST {
            codes.push(attack().goaway());
        }
        codes
    });
    assert!(codes.iter().all(|got| *got == Some(code)), "{name}: {codes:?}");
    let rounds = codes.len() as f64;
    gate.eventually(name, |gate| refused(gate, reason) - before == rounds);
    assert_eq!(refused(gate, "") - all_before, rounds, "{name}: counted with another reason as well");
}

/// A connection that has begun with these frames.
fn begun(gate: &Gate, frames: &[u8]) -> Http2 {
    let mut http2 = Http2::connect(gate.address);
    http2.write(frames).unwrap();
    http2
}

#[test]
fn frames_that_ask_for_nothing_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let request = frame(HEADERS, END_HEADERS, 1, &block(&[], "/", "POST"));
    for (name, begin, bytes) in [
        ("PING", &[][..], frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", &[], frame(SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE", &[], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", &[], frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 9])),
        ("an unknown type", &[], frame(0xbb, 0, 0, &[0; 20])),
        // Beside a request that is never finished.
        ("PING beside a request", &request, frame(PING, 0, 0, &[0; 8])),
    ] {
        // More than a hundred times the allowance: it must not last.
        let attack = || begun(&gate, begin).flood(&bytes, 1_000_000);
        ends_with(name, (&gate, &alice), (ENHANCE_YOUR_CALM, "http2_flood"), attack);
    }
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let secret = [("x-api-key", alice.secret.as_str())];
    for (name, fields) in [("rapid reset without a key", &[][..]), ("rapid reset with a key", &secret[..])] {
        // So many at once that they are gone before anybody has looked at them.
        ends_with(name, (&gate, &alice), (ENHANCE_YOUR_CALM, "http2_resets"), || {
            let mut http2 = Http2::connect(gate.address);
            for round in 0..2_000_u32 {
                let pairs = (0..50).flat_map(|number| {
                    let stream = (round * 50 + number) * 2 + 1;
                    [request(fields, stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
                });
                if http2.write(&pairs.collect::<Vec<u8>>()).is_err() {
                    break;
                }
            }
            http2
        });
    }
}

/// A request without content on a stream.
fn request(fields: &[(&str, &str)], stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields, "/", "GET"))
}

#[test]
fn requests_that_are_taken_back_once_they_are_worked_on_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let secret = [("x-api-key", alice.secret.as_str())];
    let processor_max = |_: &()| Duration::from_secs(4);
    Siege::of(&gate, &alice).withstands("reset behind a ping", processor_max, || {
        let mut http2 = Http2::connect(gate.address);
        let mut resets = Vec::new();
        for number in 0..10_000_u32 {
            let streams = (0..10).map(|one| (number * 10 + one) * 2 + 1);
            let requests: Vec<u8> = streams.clone().flat_map(|stream| request(&secret, stream)).collect();
            if !http2.is_heard(&[resets, requests].concat()) {
                break;
            }
            resets = streams.flat_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).collect();
        }
        assert_eq!(http2.goaway(), Some(ENHANCE_YOUR_CALM));
    });
    gate.eventually("it is counted", |gate| refused(gate, "http2_flood") == 1.0);
    assert_eq!(refused(&gate, ""), 1.0);
}

/// The frames of a mistake on the stream of this number.
type Mistake = fn(u32) -> Vec<u8>;

#[test]
fn mistakes_that_make_the_gateway_reset_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let mistakes: [(&str, u32, &str, Mistake); 5] = [
        ("WINDOW_UPDATE of 0", PROTOCOL_ERROR, "http2_malformed", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("made to reset by an overflow", ENHANCE_YOUR_CALM, "http2_mistakes", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
        }),
        ("made to reset by more content than there should be", ENHANCE_YOUR_CALM, "http2_mistakes", |stream| {
            frame(DATA, 0, stream, b"more")
        }),
        ("made to reset by a priority on itself", ENHANCE_YOUR_CALM, "http2_mistakes", |stream| {
            frame(PRIORITY, 0, stream, &[stream.to_be_bytes().to_vec(), vec![1]].concat())
        }),
        ("a head that ends in the middle of a field", PROTOCOL_ERROR, "http2_malformed", |stream| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream + 2, &[0, 9, b'x'])
        }),
    ];
    for (name, code, reason, mistake) in mistakes {
        ends_with(name, (&gate, &alice), (code, reason), || {
            let mut http2 = Http2::connect(gate.address);
            let length = [("content-length", "3")];
            let frames =
                |stream| [frame(HEADERS, END_HEADERS, stream, &block(&length, "/", "POST")), mistake(stream)].concat();
            for number in 0..2_000_u32 {
                if !http2.is_heard(&(0..20).flat_map(|one| frames((number * 20 + one) * 4 + 1)).collect::<Vec<_>>()) {
                    break;
                }
            }
            http2
        });
    }
}

#[test]
fn a_head_without_end_ends_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let begin = frame(HEADERS, 0, 1, &block(&[], "/", "GET"));
    for (name, bytes) in [
        ("CONTINUATION", frame(CONTINUATION, 0, 1, &fields(&[("x-more", "a".repeat(1000))]))),
        ("CONTINUATION without content", frame(CONTINUATION, 0, 1, &[])),
    ] {
        ends_with(name, (&gate, &alice), (ENHANCE_YOUR_CALM, "http2_continuations"), || {
            let mut http2 = begun(&gate, &begin);
            // Nothing else may stand between them, and there is no answer.
            while http2.write(&bytes.repeat(8)).is_ok() {}
            http2
        });
    }
}

#[test]
fn frames_without_content_in_a_request_end_the_connection() {
    let (_upstream, alice, gate) = attacked("");
    let begin = frame(HEADERS, END_HEADERS, 1, &block(&[("x-api-key", &alice.secret)], "/", "POST"));
    ends_with("empty DATA", (&gate, &alice), (ENHANCE_YOUR_CALM, "http2_small_frames"), || {
        begun(&gate, &begin).flood(&frame(DATA, 0, 1, &[]), 1_000_000)
    });
    ends_with("empty HEADERS", (&gate, &alice), (ENHANCE_YOUR_CALM, "http2_mistakes"), || {
        let mut http2 = Http2::connect(gate.address);
        let empty = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[]);
        for number in 0..2_000_u32 {
            if !http2.is_heard(&(0..20).flat_map(|one| empty((number * 20 + one) * 2 + 1)).collect::<Vec<_>>()) {
                break;
            }
        }
        http2
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
    for (name, window, pause, reason) in [
        ("windows of nothing", 0_u8, Duration::ZERO, "write_timeout"),
        ("windows of one byte, as fast as may be", 1, Duration::from_millis(2), "http2_flood"),
        // 160 bytes a second in all, which is less than `minima.response_rate`.
        ("windows of one byte, now and then", 1, Duration::from_millis(500), "write_timeout"),
    ] {
        let (before, all_before) = (refused(&gate, reason), refused(&gate, ""));
        withstands(name, &gate, &alice, || {
            let mut http2 = Http2::connect_with(gate.address, &[0, 4, 0, 0, 0, window]);
            for number in 0..80_u32 {
                http2.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &large)).unwrap();
            }
            // A byte more for each stream, again and again.
            let updates: Vec<u8> =
                (0..80_u32).flat_map(|number| frame(WINDOW_UPDATE, 0, number * 2 + 1, &[0, 0, 0, 1])).collect();
            let (begun, mut updated) = (Instant::now(), Instant::now());
            while !http2.has_ended() {
                assert!(begun.elapsed() < PATIENCE, "{name}: the connection was not ended");
                if window > 0 && updated.elapsed() >= pause {
                    updated = Instant::now();
                    let _ = http2.write(&updates);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        gate.eventually("it is counted", |gate| refused(gate, reason) - before == 1.0);
        assert_eq!(refused(&gate, "") - all_before, 1.0, "{name}: counted with another reason as well");
    }
}

#[test]
fn thousands_of_connections_that_dawdle_are_closed_in_time() {
    room_for_a_crowd();
    let (upstream, alice) = (upstream(), key("alice"));
    let gate = gate("")
        .key(&alice)
        .upstream(&format!("upstream: {{ url: \"{upstream}\", connections_max: {CROWD} }}"))
        .with("timeouts: { request_head: 2s, idle: 2s, request_body: 2s }")
        .with("log: { level: info, access: { enabled: false } }")
        .start();
    let idle = format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret);
    let body = format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 9\r\n\r\nx", alice.secret);
    let crowded = f64::from(CROWD);
    let processor_max = |_: &()| Duration::from_secs(5);
    for (name, first, metric, label) in [
        ("2000 that say nothing", "", "keygate_connections_refused_total", "\"silent\""),
        ("2000 slow heads", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "keygate_rejections_total", "\"head_timeout\""),
        ("2000 that are idle after a request", &idle, "keygate_requests_total", "\"200\""),
        ("2000 slow bodies", &body, "keygate_rejections_total", "\"content_timeout\""),
    ] {
        let before = [gate.metric(metric, &[label]), gate.metric("keygate_connections_total", &["http\""])];
        Siege::of(&gate, &alice).growing(CROWD_BYTES_MAX).withstands(name, processor_max, || {
            let mut streams = Vec::new();
            for mut stream in crowd(gate.address) {
                let _ = stream.write_all(first.as_bytes());
                streams.push(stream);
            }
            gate.eventually("all are there", |gate| {
                gate.metric("keygate_connections_total", &["http\""]) - before[1] >= crowded
            });
            gate.eventually("all are closed", |gate| gate.metric("keygate_connections", &["http\""]) <= 2.0);
            drop(streams);
        });
        let counted = gate.metric(metric, &[label]) - before[0];
        // Of the good answers some are the well-behaved client's.
        let all = if label == "\"200\"" { counted >= crowded } else { counted == crowded };
        assert!(all, "{name}: {counted} are counted");
    }
    assert_eq!(refused(&gate, "silent"), crowded);
    assert_eq!(refused(&gate, "head_timeout"), crowded);
    assert_eq!(refused(&gate, ""), 2.0 * crowded);
}

#[test]
fn clients_that_read_slowly_hold_little_memory_and_are_cut() {
    let (_upstream, alice, gate) = attacked("timeouts: { write: 2s }");
    let request = format!("GET /large HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", alice.secret).repeat(20);
    let processor_max = |_: &()| Duration::from_secs(4);
    Siege::of(&gate, &alice).withstands("100 that do not read", processor_max, || {
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
fn connections_that_come_and_go_leave_nothing_behind() {
    let (_upstream, alice, gate) = attacked("");
    let processor_max = |_: &()| Duration::from_secs(5);
    Siege::of(&gate, &alice).withstands("6000 connections that come and go", processor_max, || {
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
