//! The state of one subject, whatever the algorithm.

use super::rolling_window::RollingWindow;
use super::token_bucket::TokenBucket;
use super::{Algorithm, Allowance, Exceeded, Quota};

/// The state of one subject of a limit. The algorithm is the limit's, and never changes.
#[derive(Clone)]
pub(super) enum Bucket {
    /// See [`Algorithm::TokenBucket`].
    Tokens(TokenBucket),
    /// See [`Algorithm::RollingWindow`].
    Window(RollingWindow),
}

impl Bucket {
    /// The state of a subject that nothing was taken from before `now_ns`.
    pub(super) fn new(algorithm: Algorithm, allowance: &Allowance, now_ns: u64) -> Self {
        match algorithm {
            Algorithm::TokenBucket => Self::Tokens(TokenBucket::new(allowance, now_ns)),
            Algorithm::RollingWindow => Self::Window(RollingWindow::new(allowance, now_ns)),
        }
    }

    /// Takes `cost`, or nothing.
    pub(super) fn take(&mut self, allowance: &Allowance, cost: u32, now_ns: u64) -> Result<Quota, Exceeded> {
        match self {
            Self::Tokens(bucket) => bucket.take(allowance, cost, now_ns),
            Self::Window(window) => window.take(allowance, cost, now_ns),
        }
    }

    /// Undoes the taking of `cost` at `taken_ns`.
    pub(super) fn give_back(&mut self, allowance: &Allowance, cost: u32, taken_ns: u64) {
        match self {
            Self::Tokens(bucket) => bucket.give_back(allowance, cost, taken_ns),
            Self::Window(window) => window.give_back(cost, taken_ns),
        }
    }

    /// Says what is left, and changes nothing.
    pub(super) fn peek(&self, allowance: &Allowance, now_ns: u64) -> Quota {
        match self {
            Self::Tokens(bucket) => bucket.peek(allowance, now_ns),
            Self::Window(window) => window.peek(allowance, now_ns),
        }
    }

    /// Whether it is whole at `now_ns` and was not used later: then it says nothing that a new one would not say.
    pub(super) fn is_whole(&self, now_ns: u64) -> bool {
        match self {
            Self::Tokens(bucket) => bucket.is_whole(now_ns),
            Self::Window(window) => window.is_whole(now_ns),
        }
    }

    /// The state, at `now_ns`, of a subject that may have taken all that was taken from this one.
    pub(super) fn heir(&self, now_ns: u64) -> Self {
        match self {
            Self::Tokens(bucket) => Self::Tokens(bucket.heir(now_ns)),
            Self::Window(window) => Self::Window(window.heir(now_ns)),
        }
    }
}
