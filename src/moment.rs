//! When something happened, on both clocks at once.
//!
//! Time is an argument here: the road reads the clock once for a request and hands the [`Moment`] to every step, so
//! that two steps never disagree about what time it is and no test has to sleep.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A reading of the wall clock and of the monotonic clock, taken together.
///
/// The wall clock decides about dates (expiry, `Reset` fields); it can jump. The monotonic clock decides about
/// distances (limits, durations); it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, by the wall clock. Zero if the clock stands before 1970.
    pub unix_ns: u64,
    /// Nanoseconds since this process first asked, by the monotonic clock.
    pub monotonic_ns: u64,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self { unix_ns: read(ClockId::Realtime), monotonic_ns: monotonic_ns() }
    }

    /// The same moment `later` afterwards, on both clocks; stops at the end of time instead of overflowing.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        let ns = nanoseconds(later);
        Self { unix_ns: self.unix_ns.saturating_add(ns), monotonic_ns: self.monotonic_ns.saturating_add(ns) }
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_ns / 1_000_000_000
    }

    /// Nanoseconds that have passed since this moment, by the monotonic clock.
    #[must_use]
    pub fn elapsed_ns(self) -> u64 {
        monotonic_ns().saturating_sub(self.monotonic_ns)
    }
}

/// Reads the monotonic clock alone: nanoseconds since this process first asked.
#[must_use]
pub fn monotonic_ns() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    let now = read(ClockId::Monotonic);
    now.saturating_sub(*START.get_or_init(|| now))
}

/// Reads a clock as plain nanoseconds. A request reads several; going through [`std::time::Instant`] costs twice as much.
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// A duration in whole nanoseconds; 584 years is as long as it gets.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
