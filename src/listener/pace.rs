//! How fast a client must be while it is waited for.
//!
//! A pause has its own limits; this is against those who never pause for long and never get anywhere. Only the time counts
//! in which nothing can go on without the client, so whoever waits for the upstream, or has nothing to send, is never too
//! slow. Time is an argument.

use std::time::Duration;

/// How much a client moves for the time it is waited for.
#[derive(Debug)]
pub struct Pace {
    /// Bytes in each second; 0 asks for nothing.
    rate_min: u64,
    /// The time over which it is averaged, in nanoseconds.
    window_ns: u64,
    /// Since when the client is waited for, in monotonic nanoseconds; `None` if it is not.
    since_ns: Option<u64>,
    /// How long it was waited for since the last look.
    waited_ns: u64,
    /// What has moved since then.
    bytes: u64,
}

impl Pace {
    /// A client that must move `rate_min` bytes in each second that it is waited for, averaged over `window`. A rate of 0
    /// asks for nothing.
    #[must_use]
    pub fn new(rate_min: u64, window: Duration) -> Self {
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self { rate_min, window_ns, since_ns: None, waited_ns: 0, bytes: 0 }
    }

    /// Whether the client is waited for.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.since_ns.is_some()
    }

    /// From now on, in monotonic nanoseconds, nothing goes on without the client.
    pub fn waits(&mut self, now_ns: u64) {
        self.since_ns.get_or_insert(now_ns);
    }

    /// The client has moved so many bytes. Says whether that is fast enough, which is looked at once for each window.
    #[must_use]
    pub fn moved(&mut self, bytes: u64, now_ns: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let Some(since_ns) = self.since_ns.take() else { return true };
        self.waited_ns = self.waited_ns.saturating_add(now_ns.saturating_sub(since_ns));
        if self.waited_ns < self.window_ns {
            return true;
        }
        let (bytes, waited_ns) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited_ns));
        u128::from(bytes) * 1_000_000_000 >= u128::from(self.rate_min) * u128::from(waited_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Whether a client is fast enough that is waited for `waited` seconds each time, and then moves so many bytes.
    fn lasts(rate_min: u64, times: u64, waited: u64, bytes: u64) -> bool {
        let (mut pace, mut now) = (Pace::new(rate_min, Duration::from_secs(60)), 7);
        (0..times).all(|_| {
            pace.waits(now);
            now += waited * SECOND;
            pace.moved(bytes, now)
        })
    }

    #[test]
    fn a_byte_now_and_then_is_too_slow_and_the_least_rate_is_enough() {
        assert!(!lasts(240, 2, 59, 1));
        assert!(!lasts(240, 60, 1, 239));
        assert!(lasts(240, 10_000, 1, 240));
        assert!(lasts(240, 1000, 59, 59 * 240));
        assert!(lasts(0, 10_000, 59, 0));
    }

    #[test]
    fn nothing_is_said_before_a_window_is_over() {
        assert!(lasts(u64::MAX, 59, 1, 1));
        assert!(!lasts(u64::MAX, 60, 1, 1));
    }

    #[test]
    fn what_was_moved_quickly_once_does_not_pay_for_ever() {
        let mut pace = Pace::new(240, Duration::from_secs(60));
        assert!(pace.moved(1 << 40, 0));
        pace.waits(0);
        assert!(pace.moved(1, 60 * SECOND));
        pace.waits(60 * SECOND);
        assert!(!pace.moved(1, 120 * SECOND));
    }

    #[test]
    fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let (mut pace, mut now) = (Pace::new(240, Duration::from_secs(60)), 0);
        for _ in 0..1000 {
            pace.waits(now);
            pace.waits(now + SECOND / 2);
            now += SECOND;
            assert!(pace.is_waiting() && pace.moved(240, now) && !pace.is_waiting());
            now += 3600 * SECOND;
            assert!(pace.moved(0, now));
        }
    }
}
