//! What an operator sees: metrics, the access log, the program's own log, readiness.
//!
//! Everything here is told what happened and tells it on; nothing here decides anything. This part stands on the lowest
//! floor and knows no other, so every other part may use it.
//!
//! - [`metrics`]: numbers for Prometheus, counted in one shard a worker.
//! - [`access_log`]: one line a request, written by one thread that the road never waits for.
//! - [`log`]: what the program says about itself, on standard error.
//! - [`traces`]: spans of requests that are sampled, in a queue.
//! - [`readiness`]: whether requests should be sent here.
//!
//! Never in this part: a credential, a digest, a query string, or a label that a client chooses.

pub mod access_log;
mod escape;
pub mod log;
pub mod metrics;
pub mod readiness;
pub mod traces;
