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

mod hpack;
mod tap;
mod wire;

mod requests;
