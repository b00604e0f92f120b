//! What is allowed: so many requests in so long a time.
//!
//! The bounds are checked here, once, so that the arithmetic of the buckets needs no check at all. The largest product
//! it makes is `u64::MAX` nanoseconds times [`Allowance::REQUESTS_MAX`], less than 2^94; a `u128` has room to spare.

use std::fmt;
use std::time::Duration;

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket that starts full and is refilled evenly: bursts up to its size, the rate in the long run. The same
    /// small memory for every allowance.
    TokenBucket,
    /// The exact moments of the admitted requests: in no span of the window's length are more admitted than allowed.
    /// Sixteen bytes of memory for each request admitted within the window.
    RollingWindow,
}

impl Algorithm {
    /// The name an operator writes: `token_bucket` or `rolling_window`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::RollingWindow => "rolling_window",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is allowed to one subject of a limit.
///
/// Only [`Allowance::new`] and [`Allowance::with_requests`] make one, and both keep the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Allowance {
    algorithm: Algorithm,
    requests: u64,
    window_ns: u64,
    burst: u64,
}

impl Allowance {
    /// The most requests a window may have, and the largest burst.
    pub const REQUESTS_MAX: u64 = 1_000_000_000;
    /// The most requests a rolling window may have: each is remembered, in 16 bytes.
    pub const ROLLING_REQUESTS_MAX: u64 = 100_000;
    /// The shortest window.
    pub const WINDOW_MIN: Duration = Duration::from_millis(1);
    /// The longest window: 366 days.
    pub const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);
    /// The longest time in which an empty bucket may become full: 100 years of 365 days. It bounds every wait.
    pub const REFILL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

    /// Allows `requests` in each `window`, and with a token bucket at most `burst` at once.
    ///
    /// The burst is as large as `requests` unless it is given. A rolling window has none.
    ///
    /// # Errors
    ///
    /// [`AllowanceError`] for a value out of the bounds above, for a burst with a rolling window, and for a burst that
    /// would take longer than [`Self::REFILL_MAX`] to refill.
    pub fn new(
        algorithm: Algorithm,
        requests: u64,
        window: Duration,
        burst: Option<u64>,
    ) -> Result<Self, AllowanceError> {
        if !(1..=Self::REQUESTS_MAX).contains(&requests) {
            return Err(AllowanceError::Requests { requests });
        }
        if !(Self::WINDOW_MIN..=Self::WINDOW_MAX).contains(&window) {
            return Err(AllowanceError::Window { window });
        }
        match (algorithm, burst) {
            (Algorithm::RollingWindow, Some(_)) => return Err(AllowanceError::BurstOfRollingWindow),
            (Algorithm::RollingWindow, None) if requests > Self::ROLLING_REQUESTS_MAX => {
                return Err(AllowanceError::RollingRequests { requests });
            }
            (Algorithm::RollingWindow | Algorithm::TokenBucket, _) => {}
        }
        let burst = burst.unwrap_or(requests);
        if !(1..=Self::REQUESTS_MAX).contains(&burst) {
            return Err(AllowanceError::Burst { burst });
        }
        if window.as_nanos() * u128::from(burst) > Self::REFILL_MAX.as_nanos() * u128::from(requests) {
            return Err(AllowanceError::Refill { requests, window, burst });
        }
        Ok(Self { algorithm, requests, window_ns: nanoseconds(window), burst })
    }

    /// The same allowance with other `requests` a window, for a key that was granted more (or less).
    ///
    /// The burst grows in the same proportion, rounded down. What would leave the bounds is moved to the nearest bound.
    #[must_use]
    pub fn with_requests(&self, requests: u64) -> Self {
        let requests_max = match self.algorithm {
            Algorithm::TokenBucket => Self::REQUESTS_MAX,
            Algorithm::RollingWindow => Self::ROLLING_REQUESTS_MAX,
        };
        let requests = requests.clamp(1, requests_max);
        // Both factors are at most 10^9: the product fits. A smaller burst in proportion never takes longer to refill,
        // and a burst of one takes a window at most, so the bound on refilling is kept as well.
        let burst = (self.burst * requests / self.requests).clamp(1, Self::REQUESTS_MAX);
        Self { requests, burst, ..*self }
    }

    /// How requests are counted.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Requests that are allowed in each window.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// The length of a window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.window_ns)
    }

    /// The most that can be admitted at once; of a rolling window, its requests. A cost above it is never admitted.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The length of a window in nanoseconds.
    pub(super) const fn window_ns(&self) -> u64 {
        self.window_ns
    }
}

/// A duration within [`Allowance::WINDOW_MAX`], in nanoseconds.
fn nanoseconds(window: Duration) -> u64 {
    u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)
}

/// Why an allowance was not accepted. The message is for the operator and says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowanceError {
    /// No requests, or too many.
    #[error("{requests} requests is not between 1 and {}", Allowance::REQUESTS_MAX)]
    Requests {
        /// What was asked for.
        requests: u64,
    },
    /// A rolling window that would need too much memory.
    #[error(
        "a rolling_window remembers each request, so it allows at most {} requests, not {requests}; token_bucket has no \
         such bound",
        Allowance::ROLLING_REQUESTS_MAX
    )]
    RollingRequests {
        /// What was asked for.
        requests: u64,
    },
    /// A window too short or too long.
    #[error("a window of {window:?} is not between 1ms and 366 days")]
    Window {
        /// What was asked for.
        window: Duration,
    },
    /// No burst, or too large a one.
    #[error("a burst of {burst} is not between 1 and {}", Allowance::REQUESTS_MAX)]
    Burst {
        /// What was asked for.
        burst: u64,
    },
    /// A burst where there is none.
    #[error(
        "a rolling_window has no burst: it never admits more than its requests; leave burst out, or use token_bucket"
    )]
    BurstOfRollingWindow,
    /// A burst that nobody will live to see again.
    #[error("a burst of {burst} would take more than 100 years to refill at {requests} requests in {window:?}")]
    Refill {
        /// Requests a window.
        requests: u64,
        /// The length of the window.
        window: Duration,
        /// The burst.
        burst: u64,
    },
}
