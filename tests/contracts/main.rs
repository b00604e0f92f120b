//! The contracts in `deploy/contracts/`, row by row, kept by the real binary over TCP.
//!
//! The number of a row is the name of its test. What is compared is what a client sees: status, fields, and the exact
//! JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a test says what is wrong by panicking, and the harness is shared with other tests"
)]

#[path = "../integration/client.rs"]
mod client;
#[path = "../integration/gate.rs"]
mod gate;
#[path = "../integration/key.rs"]
mod key;
#[path = "../integration/upstream.rs"]
mod upstream;

mod certopay;
mod contract;
mod flexprice;
mod fluxiq_core;
mod fluxiq_npc;
mod rows;
