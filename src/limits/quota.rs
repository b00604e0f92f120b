//! What is left: the answer of a limit, as the rate-limit fields of a response need it.

use std::time::Duration;

use super::Allowance;

/// How much of its allowance a subject has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The whole allowance: the most that can be remaining. The burst of a token bucket (as large as its requests,
    /// unless the operator chose otherwise), the requests of a rolling window.
    pub limit: u64,
    /// What could be taken at this moment, rounded down; never more than `limit`.
    pub remaining: u64,
    /// How long until the whole allowance is there again, if nothing more is sent. Zero when it is.
    pub reset_after: Duration,
}

impl Quota {
    /// What a subject has left that nothing was ever taken from.
    pub(super) const fn whole(allowance: &Allowance) -> Self {
        Self { limit: allowance.burst(), remaining: allowance.burst(), reset_after: Duration::ZERO }
    }
}

/// The refusal of a limit. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is exceeded; retry after {retry_after_seconds} s")]
pub struct Exceeded {
    /// What is left all the same: with a cost above one it need not be zero.
    pub quota: Quota,
    /// Whole seconds after which the same request is admitted, if nobody else takes from the same subject meanwhile.
    ///
    /// Rounded up and at least 1: `Retry-After` knows only whole seconds (RFC 9110, section 10.2.3), and a client sent
    /// back too early would be refused a second time. For a cost above [`Allowance::burst`], which no wait can help,
    /// it is the length of a window.
    pub retry_after_seconds: u64,
}

impl Exceeded {
    /// Refuses until `wait_ns` from now.
    pub(super) fn after(quota: Quota, wait_ns: u64) -> Self {
        Self { quota, retry_after_seconds: wait_ns.div_ceil(1_000_000_000).max(1) }
    }
}
