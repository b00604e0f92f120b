//! HTTP/2 frame by frame, and upstreams that answer what they must not: corpora as data, each row through the real binary.
//!
//! What a request made of frames becomes behind the gateway is recorded byte by byte. Each row is followed by an honest
//! request, which must get its own answer: nothing that a row has left behind may reach it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a test says what is wrong by panicking, and the harness is shared with other tests"
)]

#[path = "../../integration/client.rs"]
mod client;
#[path = "../../integration/gate.rs"]
mod gate;
#[path = "../../integration/key.rs"]
mod key;

mod frame;
mod hpack;
mod plain;
mod tap;
mod wire;

mod answers;
mod replies;
mod requests;

/// Holds a line of the table in `docs/conformance.md`, so that its figures are those of this run: a corpus that has grown, or a
/// reader that overlooks some of it, must fail.
#[track_caller]
fn stands_in_the_table(line: &str) {
    let page = include_str!("../../../docs/conformance.md");
    assert!(page.lines().any(|of_page| of_page == line), "docs/conformance.md has no line\n{line}");
}
