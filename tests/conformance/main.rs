//! Hostile and odd requests, byte for byte, against the real binary: what is answered, and what goes upstream.
//!
//! The cases lie in `cases/`, as text that a reader can read; its README says how. Behind the gateway stands an upstream
//! that records every byte. Of each case both sides are judged: the answer, and that exactly the requests arrive which the
//! case names, with the fields and the content it names, well-formed, and at no path that demands more than the
//! client had, however a server might read it. A second request hidden in the first has nowhere to hide.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a test says what is wrong by panicking, and the harness is shared with other tests"
)]

mod book;
mod compare;
mod http1;
mod http2;
mod judge;
mod paths;
mod peer;
mod property;
mod recorder;
mod world;

#[path = "../integration/client.rs"]
mod client;
#[path = "frames/frame.rs"]
mod frame;
#[path = "../integration/gate.rs"]
mod gate;
#[path = "frames/hpack.rs"]
mod hpack;
#[path = "../integration/key.rs"]
mod key;
#[path = "frames/wire.rs"]
mod wire;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use book::Case;
use judge::judge;
use world::World;

/// How many cases there are. A reader that overlooks some must fail too.
const CASES: usize = 2_240;

/// Gateways that are asked at once, each with an upstream of its own.
const LANES: usize = 4;

#[test]
fn of_every_case_both_sides_are_as_they_must_be() {
    let cases = book::all();
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let world = World::open();
                // With one of somebody else behind each case.
                let mut arrivals = 0;
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seen = world.ask(case);
                    arrivals += seen.arrived.iter().filter(|arrived| arrived.complete).count() + 1;
                    if let Err(fault) = judge(case, &seen) {
                        failures.lock().unwrap().push(told(case, &fault, &seen));
                    }
                }
                assert_eq!(world.recorder.whole(), arrivals, "something arrived after its case was over");
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    // Not by a macro: whoever runs all tests shall read the number as well.
    let _ = writeln!(std::io::stderr(), "conformance: {} cases, {} failed", cases.len(), failures.len());
    assert!(failures.is_empty(), "{} cases failed:\n\n{}", failures.len(), failures.join("\n"));
    assert_eq!(cases.len(), CASES, "the number of cases has changed");
}

/// A failure as its reader needs it.
pub(crate) fn told(case: &Case, fault: &str, seen: &world::Seen) -> String {
    format!(
        "{}:{}: {} ({})\n    {fault}\n    sent: {}\n    {seen}\n",
        case.file,
        case.line,
        case.title,
        case.over,
        case.shown()
    )
}
