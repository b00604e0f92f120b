//! The rolling window of one subject: the exact moments of what was admitted.
//!
//! An admission counts from its moment until a window later, that moment itself not included. So in no span of a
//! window's length, wherever it begins, is more admitted than the allowance says.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Allowance, Exceeded, Quota};

/// The state of one subject. It starts whole, and without memory of its own: the ring grows with what is admitted.
#[derive(Clone)]
pub(super) struct RollingWindow {
    /// What was admitted and still counts, oldest first. No two at the same moment.
    admitted: VecDeque<Admitted>,
    /// The sum of all costs in `admitted`.
    used: u64,
    /// The length of the window it was last used with.
    window_ns: u64,
    /// The latest moment it was used at, in monotonic nanoseconds. Never goes back.
    clock_ns: u64,
}

/// What was admitted at one moment.
#[derive(Clone, Copy)]
struct Admitted {
    at_ns: u64,
    /// At most [`Allowance::ROLLING_REQUESTS_MAX`], and never 0.
    cost: u32,
}

impl RollingWindow {
    /// A window in which nothing was admitted yet, at `now_ns`.
    pub(super) const fn new(allowance: &Allowance, now_ns: u64) -> Self {
        Self { admitted: VecDeque::new(), used: 0, window_ns: allowance.window_ns(), clock_ns: now_ns }
    }

    /// Admits `cost`, or nothing.
    ///
    /// When the allowance has changed, what was admitted keeps its moments and its cost, and is judged by the new
    /// allowance. Only what a shorter window has already forgotten is not counted by a longer one.
    pub(super) fn take(&mut self, allowance: &Allowance, cost: u32, now_ns: u64) -> Result<Quota, Exceeded> {
        self.window_ns = allowance.window_ns();
        self.advance(now_ns);
        let requests = requests(allowance);
        let wanted = self.used + u64::from(cost);
        if wanted <= requests {
            self.admit(cost);
            return Ok(self.quota(requests, now_ns));
        }
        let wait_ns = if u64::from(cost) <= requests {
            self.wait_ns(self.frees_at_ns(wanted - requests), now_ns)
        } else {
            self.window_ns
        };
        Err(Exceeded::after(self.quota(requests, now_ns), wait_ns))
    }

    /// Forgets what was admitted at `taken_ns`, up to `cost`.
    ///
    /// Forgets nothing if it does not count any more. If `taken_ns` was behind the bucket's clock, something older may be
    /// forgotten instead, which is the stricter of the two; something newer never.
    pub(super) fn give_back(&mut self, cost: u32, taken_ns: u64) {
        if self.clock_ns.saturating_sub(taken_ns) >= self.window_ns {
            return;
        }
        let mut left = cost;
        let index = self.admitted.partition_point(|admitted| admitted.at_ns < taken_ns);
        while left > 0
            && let Some(admitted) = self.admitted.get_mut(index)
        {
            let part = left.min(admitted.cost);
            admitted.cost -= part;
            left -= part;
            self.used -= u64::from(part);
            if admitted.cost == 0 {
                self.admitted.remove(index);
            }
        }
    }

    /// Says what is left, and changes nothing.
    pub(super) fn peek(&self, allowance: &Allowance, now_ns: u64) -> Quota {
        let clock_ns = self.clock_ns.max(now_ns);
        let counts = |admitted: &&Admitted| clock_ns - admitted.at_ns >= allowance.window_ns();
        let forgotten: u64 = self.admitted.iter().take_while(counts).map(|admitted| u64::from(admitted.cost)).sum();
        let used = self.used - forgotten;
        let resets_at_ns = self.admitted.back().filter(|_| used > 0).map(|newest| newest.at_ns);
        quota(requests(allowance), used, resets_at_ns.map_or(0, |at_ns| wait_ns(at_ns, allowance.window_ns(), now_ns)))
    }

    /// Whether nothing counts at `now_ns`, and it was not used later than that.
    pub(super) fn is_whole(&self, now_ns: u64) -> bool {
        let newest = self.admitted.back();
        self.clock_ns <= now_ns && newest.is_none_or(|newest| now_ns - newest.at_ns >= self.window_ns)
    }

    /// The window of somebody who may have been admitted all that was admitted here.
    ///
    /// It remembers one admission of the whole cost at the newest moment: stricter, and in 16 bytes. A copy would let
    /// each newcomer take the memory of a full ring.
    pub(super) fn heir(&self, now_ns: u64) -> Self {
        if self.is_whole(now_ns) {
            return Self { admitted: VecDeque::new(), used: 0, clock_ns: now_ns, ..*self };
        }
        let cost = u32::try_from(self.used).unwrap_or(u32::MAX);
        let admitted = self.admitted.back().map(|newest| Admitted { at_ns: newest.at_ns, cost }).into_iter().collect();
        Self { admitted, clock_ns: self.clock_ns.max(now_ns), ..*self }
    }

    /// Admissions for which there is memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.admitted.capacity()
    }

    /// Moves the clock on, never back, and forgets what does not count any more.
    fn advance(&mut self, now_ns: u64) {
        self.clock_ns = self.clock_ns.max(now_ns);
        while let Some(oldest) = self.admitted.front()
            && self.clock_ns - oldest.at_ns >= self.window_ns
        {
            self.used -= u64::from(oldest.cost);
            self.admitted.pop_front();
        }
    }

    /// Remembers an admission at the bucket's clock.
    fn admit(&mut self, cost: u32) {
        self.used += u64::from(cost);
        match self.admitted.back_mut() {
            Some(newest) if newest.at_ns == self.clock_ns => newest.cost += cost,
            Some(_) | None => self.admitted.push_back(Admitted { at_ns: self.clock_ns, cost }),
        }
    }

    /// The moment of the admission with which, counted from the oldest, at least `cost` will be forgotten.
    fn frees_at_ns(&self, cost: u64) -> u64 {
        let mut freed = 0;
        let frees = self.admitted.iter().find(|admitted| {
            freed += u64::from(admitted.cost);
            freed >= cost
        });
        frees.map_or(self.clock_ns, |admitted| admitted.at_ns)
    }

    /// What is left at `now_ns`.
    fn quota(&self, requests: u64, now_ns: u64) -> Quota {
        quota(requests, self.used, self.admitted.back().map_or(0, |newest| self.wait_ns(newest.at_ns, now_ns)))
    }

    /// Nanoseconds from `now_ns` until what was admitted at `at_ns` is forgotten.
    fn wait_ns(&self, at_ns: u64, now_ns: u64) -> u64 {
        wait_ns(at_ns, self.window_ns, now_ns)
    }
}

/// What is left of `requests` when `used` are. After a change of the allowance more can be used than is allowed.
const fn quota(requests: u64, used: u64, reset_ns: u64) -> Quota {
    Quota { limit: requests, remaining: requests.saturating_sub(used), reset_after: Duration::from_nanos(reset_ns) }
}

/// Nanoseconds from `now_ns` until a window after `at_ns`; `now_ns` may stand before `at_ns` if a clock stepped back.
const fn wait_ns(at_ns: u64, window_ns: u64, now_ns: u64) -> u64 {
    match at_ns.checked_sub(now_ns) {
        Some(behind_ns) => window_ns.saturating_add(behind_ns),
        None => window_ns.saturating_sub(now_ns - at_ns),
    }
}

/// The requests that a ring may have to remember, also if the allowance was made for a token bucket.
const fn requests(allowance: &Allowance) -> u64 {
    if allowance.burst() < Allowance::ROLLING_REQUESTS_MAX {
        allowance.burst()
    } else {
        Allowance::ROLLING_REQUESTS_MAX
    }
}
