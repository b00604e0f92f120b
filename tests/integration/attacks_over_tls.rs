//! Attacks where TLS is spoken: on the handshake, which costs more than anything else before a key is looked at, and on HTTP/2
//! behind it. The well-behaved client speaks TLS as well, on a connection that it has and on new ones.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::encrypted::Tls;
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::raw_http2::{END_HEADERS, END_STREAM, HEADERS, Http2, PING, RST_STREAM, block, frame};
use crate::siege::{CROWD, CROWD_BYTES_MAX, Siege, crowd, room_for_a_crowd};
use crate::upstream::Upstream;

/// How long handshakes are made, one after the other.
const CHURN: Duration = Duration::from_secs(3);

/// What a whole handshake may cost in processor time. With what the test itself asks it is some three to four times what was
/// measured in a debug build on two busy processors.
const HANDSHAKE_PROCESSOR_MAX: Duration = Duration::from_millis(3);

fn attacked(with: &str) -> (Upstream, TestKey, Gate) {
    room_for_a_crowd();
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let log = "log: { level: info, format: json, access: { enabled: false } }";
    let gate = gate(&upstream).key(&alice).tls().with(log).with(with).start();
    (upstream, alice, gate)
}

#[test]
fn handshakes_that_never_end_are_cut_in_time() {
    let (_upstream, alice, gate) = attacked("timeouts: { tls_handshake: 2s }");
    let cut = |gate: &Gate| gate.metric("keygate_tls_handshake_failures_total", &["\"timeout\""]);
    let processor_max = |_: &()| Duration::from_secs(5);
    Siege::of_tls(&gate, &alice).growing(CROWD_BYTES_MAX).withstands(
        "2000 half-open handshakes",
        processor_max,
        || {
            let mut streams = Vec::new();
            for mut stream in crowd(gate.address) {
                // The beginning of a ClientHello that is announced to be long.
                let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
                streams.push(stream);
            }
            gate.eventually("all are cut", |gate| cut(gate) >= f64::from(CROWD));
            drop(streams);
        },
    );
    assert_eq!(cut(&gate), f64::from(CROWD));
}

#[test]
fn handshakes_that_are_made_for_nothing_take_only_their_own_time() {
    let (_upstream, alice, gate) = attacked("");
    let tls = Tls::to(&gate, "http/1.1");
    let processor_max = |handshakes: &u32| HANDSHAKE_PROCESSOR_MAX * *handshakes;
    let handshakes = Siege::of_tls(&gate, &alice).withstands("handshakes for nothing", processor_max, || {
        let begun = Instant::now();
        let shake = || {
            let mut handshakes = 0;
            while begun.elapsed() < CHURN {
                drop(tls.connect());
                handshakes += 1;
            }
            handshakes
        };
        thread::scope(|scope| [scope.spawn(shake), scope.spawn(shake)].map(|thread| thread.join().unwrap()))
            .iter()
            .sum()
    });
    println!("    {handshakes} handshakes in {CHURN:?}");
    gate.eventually("all are gone", |gate| gate.metric("keygate_connections", &[]) <= 2.0);
    let failures = gate.metric("keygate_tls_handshake_failures_total", &[]);
    assert_eq!(failures, 0.0, "every handshake came to its end");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", gate.pid())).unwrap().count();
    assert!(descriptors < 200, "{descriptors} descriptors");
}

#[test]
fn floods_over_tls_end_their_connections() {
    const ROUNDS: usize = 10;
    /// What HTTP/2 calls somebody who should calm down (RFC 9113, section 7).
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let (_upstream, alice, gate) = attacked("");
    let tls = Tls::to(&gate, "h2");
    let refused = |gate: &Gate, reason: &str| gate.metric("keygate_connections_refused_total", &[reason]);
    let rows: [(&str, &str, &dyn Fn(u32) -> Vec<u8>); 2] = [
        ("PING over TLS", "\"http2_flood\"", &|_| frame(PING, 0, 0, &[0; 8])),
        ("rapid reset over TLS", "\"http2_resets\"", &|number| {
            let stream = number * 2 + 1;
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[], "/", "GET"));
            [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        }),
    ];
    for (name, reason, frames) in rows {
        let processor_max = |_: &Vec<_>| Duration::from_secs(2);
        let codes = Siege::of_tls(&gate, &alice).withstands(name, processor_max, || {
            let attack = |_| {
                let mut http2 = Http2::over(Box::new(tls.connect()), &[]);
                for round in 0..10_000 {
                    if !http2.is_heard(&(0..50).flat_map(|number| frames(round * 50 + number)).collect::<Vec<_>>()) {
                        break;
                    }
                }
                http2.goaway()
            };
            (0..ROUNDS).map(attack).collect()
        });
        assert_eq!(codes, [Some(ENHANCE_YOUR_CALM); ROUNDS], "{name}");
        gate.eventually("they are counted", |gate| refused(gate, reason) == ROUNDS as f64);
    }
    assert_eq!(gate.metric("keygate_connections_refused_total", &[]), 2.0 * ROUNDS as f64);
}
