//! The promises of keygate, kept by the real binary over real sockets.
//!
//! One program, one module a topic. Each test starts a gateway of its own on ports of its own; when it stops, everything
//! that the gateway wrote is searched for every secret that the test used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what is wrong by panicking"
)]

mod client;
mod encrypted;
#[allow(dead_code, reason = "shared with the tests of conformance, which need more of it")]
#[path = "../conformance/frames/frame.rs"]
mod frame;
mod gate;
mod key;
mod raw_http2;
mod shipped;
mod siege;
mod upstream;

mod access;
mod admin;
mod attacks;
mod attacks_over_tls;
mod checks;
mod command_line;
mod crowds;
mod drain;
mod failures;
mod fields;
mod flood;
mod forging;
mod framing;
mod guards;
mod hostile;
mod kills;
mod limits;
mod management;
mod messages;
mod mounts;
mod operations;
mod pod;
mod policy;
mod programs;
mod races;
mod reload;
mod rolling;
mod transport;
mod upgrades;
mod users;
mod wrong_input;
