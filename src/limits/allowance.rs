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
    /// An [`AllowanceError`] for each value out of the bounds above, for a burst with a rolling window, and for a burst
    /// that would take longer than [`Self::REFILL_MAX`] to refill.
    pub fn new(
        algorithm: Algorithm,
        requests: u64,
        window: Duration,
        burst: Option<u64>,
    ) -> Result<Self, Vec<AllowanceError>> {
        let mut errors = Vec::new();
        let mut demand = |holds: bool, otherwise: AllowanceError| {
            if !holds {
                errors.push(otherwise);
            }
        };
        demand((1..=Self::REQUESTS_MAX).contains(&requests), AllowanceError::Requests);
        demand((Self::WINDOW_MIN..=Self::WINDOW_MAX).contains(&window), AllowanceError::Window);
        match algorithm {
            Algorithm::RollingWindow => {
                demand(requests <= Self::ROLLING_REQUESTS_MAX, AllowanceError::RollingRequests);
                demand(burst.is_none(), AllowanceError::BurstOfRollingWindow);
            }
            Algorithm::TokenBucket => {
                demand(burst.is_none_or(|burst| (1..=Self::REQUESTS_MAX).contains(&burst)), AllowanceError::Burst);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let burst = burst.unwrap_or(requests);
        if window.as_nanos() * u128::from(burst) > Self::REFILL_MAX.as_nanos() * u128::from(requests) {
            return Err(vec![AllowanceError::Refill]);
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

/// Why an allowance was not accepted. The message is for the operator: it goes on after the name of
/// [`AllowanceError::field`], and says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowanceError {
    /// No requests, or too many.
    #[error("must be from 1 to {}", Allowance::REQUESTS_MAX)]
    Requests,
    /// A rolling window that would need too much memory.
    #[error(
        "must be at most {} for a rolling window, which remembers each; write `algorithm: token_bucket` for more",
        Allowance::ROLLING_REQUESTS_MAX
    )]
    RollingRequests,
    /// A window too short or too long.
    #[error("must be from 1 millisecond (`1ms`) to 366 days (`366d`)")]
    Window,
    /// No burst, or too large a one.
    #[error("must be from 1 to {}", Allowance::REQUESTS_MAX)]
    Burst,
    /// A burst where there is none.
    #[error(
        "has no meaning for a rolling window, which never admits more than `requests`; leave it out, or write \
         `algorithm: token_bucket`"
    )]
    BurstOfRollingWindow,
    /// A burst that nobody will live to see again.
    #[error("would take longer than 100 years to fill again; make it smaller")]
    Refill,
}

impl AllowanceError {
    /// Which of the values must change: `requests`, `window` or `burst`.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Requests | Self::RollingRequests => "requests",
            Self::Window => "window",
            Self::Burst | Self::BurstOfRollingWindow | Self::Refill => "burst",
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NS: Duration = Duration::from_nanos(1);

    #[test]
    fn what_is_out_of_bounds_is_refused_with_every_reason() {
        use Algorithm::{RollingWindow, TokenBucket};
        use AllowanceError::{Burst, BurstOfRollingWindow, Refill, Requests, RollingRequests, Window};
        const MOST: u64 = Allowance::REQUESTS_MAX;
        refused("no requests", TokenBucket, 0, MINUTE, None, &[Requests]);
        refused("too many", TokenBucket, MOST + 1, MINUTE, None, &[Requests]);
        refused("no window", TokenBucket, 1, Duration::ZERO, None, &[Window]);
        refused("too long", TokenBucket, 1, Allowance::WINDOW_MAX + NS, None, &[Window]);
        refused("too short", RollingWindow, 1, Allowance::WINDOW_MIN - NS, None, &[Window]);
        refused("no burst", TokenBucket, 1, MINUTE, Some(0), &[Burst]);
        refused("too large a burst", TokenBucket, 1, MINUTE, Some(MOST + 1), &[Burst]);
        refused("a burst for no lifetime", TokenBucket, 1, Allowance::WINDOW_MAX, Some(100), &[Refill]);
        refused("rolling: too many", RollingWindow, 100_001, MINUTE, None, &[RollingRequests]);
        refused("rolling: a burst", RollingWindow, 9, MINUTE, Some(9), &[BurstOfRollingWindow]);
        refused("all of them", TokenBucket, 0, Duration::MAX, Some(0), &[Requests, Window, Burst]);
    }

    #[track_caller]
    fn refused(
        row: &str,
        algorithm: Algorithm,
        requests: u64,
        window: Duration,
        burst: Option<u64>,
        expected: &[AllowanceError],
    ) {
        assert_eq!(Allowance::new(algorithm, requests, window, burst).expect_err(row), expected, "{row}");
    }

    #[test]
    fn the_message_names_the_bounds_of_the_field() {
        let shown = |error: AllowanceError| format!("{} {error}", error.field());
        assert_eq!(shown(AllowanceError::Requests), "requests must be from 1 to 1000000000");
        assert_eq!(shown(AllowanceError::Window), "window must be from 1 millisecond (`1ms`) to 366 days (`366d`)");
        assert_eq!(
            shown(AllowanceError::Refill),
            "burst would take longer than 100 years to fill again; make it smaller"
        );
        assert_eq!((Allowance::WINDOW_MIN.as_millis(), Allowance::WINDOW_MAX.as_secs()), (1, 366 * 86_400));
        assert_eq!(Allowance::REFILL_MAX.as_secs(), 100 * 365 * 86_400);
    }

    #[test]
    fn the_bounds_themselves_are_accepted() {
        use Algorithm::{RollingWindow, TokenBucket};
        accepted("least", TokenBucket, 1, Allowance::WINDOW_MIN, Some(1), 1);
        accepted("most", TokenBucket, Allowance::REQUESTS_MAX, Allowance::WINDOW_MAX, None, Allowance::REQUESTS_MAX);
        accepted("burst by itself", TokenBucket, 60, MINUTE, None, 60);
        accepted("slowest refill", TokenBucket, 1, Allowance::WINDOW_MAX, Some(99), 99);
        accepted("rolling", RollingWindow, 100_000, Allowance::WINDOW_MAX, None, 100_000);
    }

    #[track_caller]
    fn accepted(row: &str, algorithm: Algorithm, requests: u64, window: Duration, burst: Option<u64>, expected: u64) {
        let allowance = Allowance::new(algorithm, requests, window, burst).expect(row);
        assert_eq!(allowance.algorithm(), algorithm, "{row}");
        assert_eq!(allowance.requests(), requests, "{row}");
        assert_eq!(allowance.window(), window, "{row}");
        assert_eq!(allowance.burst(), expected, "{row}");
    }

    #[test]
    fn a_grant_keeps_the_window_and_the_proportion_of_the_burst() {
        let check = |row: &str, burst: u64, requests: u64, expected: (u64, u64)| {
            let default = Allowance::new(Algorithm::TokenBucket, 100, MINUTE, Some(burst)).expect(row);
            let granted = default.with_requests(requests);
            assert_eq!((granted.requests(), granted.burst()), expected, "{row}");
            assert_eq!(granted.window(), MINUTE, "{row}");
        };
        check("ten times as much", 100, 1_000, (1_000, 1_000));
        check("a small burst stays small", 20, 1_000, (1_000, 200));
        check("less, rounded down", 20, 33, (33, 6));
        check("never none", 20, 1, (1, 1));
        check("no requests is one", 100, 0, (1, 1));
        check("beyond the bound is the bound", 200, u64::MAX, (1_000_000_000, 1_000_000_000));

        let rolling = Allowance::new(Algorithm::RollingWindow, 100, MINUTE, None).expect("rolling");
        let granted = rolling.with_requests(u64::MAX);
        assert_eq!((granted.requests(), granted.burst()), (100_000, 100_000), "a rolling window has its own bound");
    }

    proptest! {
        /// The buckets rely on it: whatever is granted keeps the bounds.
        #[test]
        fn every_grant_would_be_accepted_as_an_allowance(allowance in any_allowance(), requests: u64) {
            let granted = allowance.with_requests(requests);
            let burst = (granted.algorithm() == Algorithm::TokenBucket).then_some(granted.burst());
            let again = Allowance::new(granted.algorithm(), granted.requests(), granted.window(), burst);
            prop_assert_eq!(again, Ok(granted));
            prop_assert_eq!(allowance.with_requests(allowance.requests()), allowance);
        }
    }

    /// Allowances of every size, the bounds often among them.
    pub(in super::super) fn any_allowance() -> impl Strategy<Value = Allowance> {
        let algorithm = prop_oneof![Just(Algorithm::TokenBucket), Just(Algorithm::RollingWindow)];
        let requests =
            prop_oneof![2 => 1..=50_u64, 1 => 1..=Allowance::REQUESTS_MAX, 1 => Just(Allowance::REQUESTS_MAX)];
        let longest = nanoseconds(Allowance::WINDOW_MAX);
        let window = prop_oneof![2 => 1_000_000..=5_000_000_000_u64, 1 => 1_000_000..=longest, 1 => Just(longest)];
        let burst = proptest::option::of(1..=Allowance::REQUESTS_MAX);
        (algorithm, requests, window, burst).prop_map(|(algorithm, requests, window_ns, burst)| {
            let window = Duration::from_nanos(window_ns);
            Allowance::new(algorithm, requests, window, burst)
                .or_else(|_| Allowance::new(algorithm, requests.min(Allowance::ROLLING_REQUESTS_MAX), window, None))
                .expect("without a burst, and with few requests, all is accepted")
        })
    }
}
