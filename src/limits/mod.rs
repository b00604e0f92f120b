//! Rate limits: buckets and windows, and who is counted.
//!
//! An [`Allowance`] says what is allowed, a [`Subject`] says who is counted, a [`Limit`] keeps the state of all its
//! subjects, and [`Limits`] keeps the limits over a reload. The road calls [`Limit::take`]; what comes back is a
//! [`Quota`] for the rate-limit fields of the response, or [`Exceeded`] for a 429.
//!
//! Promises, each held by a test:
//!
//! - However many threads take at once, no more is admitted than the allowance says.
//! - A client that waits as long as `Retry-After` says, and is alone, is admitted.
//! - All arithmetic is exact, in integers: nothing drifts, and nothing overflows for any accepted allowance.
//! - Memory is bounded. Who finds no room shares one bucket with all others who find none, so a crowd of invented
//!   subjects buys nobody a single request.
//!
//! Never in this folder: which subject a request belongs to, what it costs, and what a client is told. Floating point
//! numbers. A clock: time is an argument, and only its monotonic half is read here.

mod allowance;
mod bucket;
mod limit;
mod quota;
mod registry;
mod rolling_window;
mod subject;
mod token_bucket;

pub use allowance::{Algorithm, Allowance, AllowanceError};
pub use limit::Limit;
pub use quota::{Exceeded, Quota};
pub use registry::Limits;
pub use subject::Subject;
