//! Clients and libraries of others, which know nothing of keygate, and proxies that ask it: they must get along with it.
//!
//! `make clients` installs them, in the versions that stand in `tests/interop/packages`.

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
#[path = "../contracts/contract.rs"]
mod contract;
#[path = "../integration/gate.rs"]
mod gate;
#[path = "../integration/key.rs"]
mod key;
#[path = "../integration/upstream.rs"]
mod upstream;

mod alerts;
mod authz;
mod certificates;
mod clients;
mod commands;
mod encryption;
mod grpc;
mod http;
mod library;
mod manifests;
mod prometheus;
mod sockets;
mod site;
mod tokens;
mod traces;
