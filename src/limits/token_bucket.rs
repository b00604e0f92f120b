//! The token bucket of one subject.
//!
//! Credit is counted in units of one token × one nanosecond of the window, so that a nanosecond refills exactly
//! `requests` units and a token costs exactly `window_ns` of them. Every step is a whole number: nothing is rounded,
//! and so nothing drifts, however often a client asks.

use std::time::Duration;

use super::{Allowance, Exceeded, Quota};

/// The state of one subject. It starts whole.
#[derive(Clone, Copy)]
pub(super) struct TokenBucket {
    /// What it was last used with.
    allowance: Allowance,
    /// In token-nanoseconds; at most `whole(allowance)`.
    credit: u128,
    /// Up to when it was refilled, in monotonic nanoseconds. Never goes back.
    clock_ns: u64,
}

impl TokenBucket {
    /// A whole bucket, at `now_ns`.
    pub(super) fn new(allowance: &Allowance, now_ns: u64) -> Self {
        Self { allowance: *allowance, credit: whole(allowance), clock_ns: now_ns }
    }

    /// Takes `cost` tokens, or none.
    pub(super) fn take(&mut self, allowance: &Allowance, cost: u32, now_ns: u64) -> Result<Quota, Exceeded> {
        self.advance(now_ns);
        self.adopt(allowance);
        let need = price(allowance, cost);
        if need <= self.credit {
            self.credit -= need;
            return Ok(self.quota(now_ns));
        }
        let wait_ns =
            if need <= whole(allowance) { self.wait_ns(need - self.credit, now_ns) } else { allowance.window_ns() };
        Err(Exceeded::after(self.quota(now_ns), wait_ns))
    }

    /// Gives back the `cost` tokens that were taken at `taken_ns`, less what the bucket was refilled since then.
    ///
    /// If the tokens had not been taken, the bucket might have been whole in between, and that much of the refill would
    /// have been lost. To give it back would grant more than the allowance. Usually nobody was here in between, and
    /// nothing was refilled.
    pub(super) fn give_back(&mut self, allowance: &Allowance, cost: u32, taken_ns: u64) {
        self.adopt(allowance);
        let refilled = refill(allowance, self.clock_ns.saturating_sub(taken_ns));
        let back = price(allowance, cost).saturating_sub(refilled);
        self.credit = (self.credit + back).min(whole(allowance));
    }

    /// Says what is left, and changes nothing.
    pub(super) fn peek(&self, allowance: &Allowance, now_ns: u64) -> Quota {
        let mut copy = *self;
        copy.advance(now_ns);
        copy.adopt(allowance);
        copy.quota(now_ns)
    }

    /// Whether it is whole at `now_ns`, and was not used later than that.
    pub(super) fn is_whole(&self, now_ns: u64) -> bool {
        let mut copy = *self;
        copy.advance(now_ns);
        copy.clock_ns == now_ns && copy.credit == whole(&copy.allowance)
    }

    /// The bucket of somebody who may have taken all that was taken from this one.
    pub(super) fn heir(&self, now_ns: u64) -> Self {
        let mut heir = *self;
        heir.advance(now_ns);
        heir
    }

    /// Refills for the time since the last use. A clock that steps back refills nothing.
    fn advance(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.clock_ns);
        self.clock_ns += elapsed_ns;
        self.credit = (self.credit + refill(&self.allowance, elapsed_ns)).min(whole(&self.allowance));
    }

    /// Carries over the spent fraction when the allowance has changed, by a reload or because a key was granted more.
    ///
    /// What is spent is rounded up, by less than two millionths of a token: changing to and fro grants nothing.
    fn adopt(&mut self, new: &Allowance) {
        if self.allowance == *new {
            return;
        }
        let old = std::mem::replace(&mut self.allowance, *new);
        let spent = whole(&old) - self.credit;
        // Two steps, because the products of all factors do not fit: first the burst, then the window. The second step
        // divides into whole tokens and the rest of one.
        let spent = (spent * u128::from(new.burst())).div_ceil(u128::from(old.burst()));
        let (old_ns, new_ns) = (u128::from(old.window_ns()), u128::from(new.window_ns()));
        let spent = spent / old_ns * new_ns + (spent % old_ns * new_ns).div_ceil(old_ns);
        self.credit = whole(new).saturating_sub(spent);
    }

    /// What is left at `now_ns`.
    fn quota(&self, now_ns: u64) -> Quota {
        let missing = whole(&self.allowance) - self.credit;
        let reset_ns = if missing == 0 { 0 } else { self.wait_ns(missing, now_ns) };
        Quota {
            limit: self.allowance.burst(),
            remaining: tokens(self.credit, &self.allowance),
            reset_after: Duration::from_nanos(reset_ns),
        }
    }

    /// Nanoseconds from `now_ns` until `missing` units are refilled, rounded up. If the clock stands behind the
    /// bucket's, it has to catch up first.
    fn wait_ns(&self, missing: u128, now_ns: u64) -> u64 {
        let refill_ns = missing.div_ceil(u128::from(self.allowance.requests()));
        let refill_ns = u64::try_from(refill_ns).unwrap_or(u64::MAX);
        refill_ns.saturating_add(self.clock_ns.saturating_sub(now_ns))
    }
}

/// The credit of a whole bucket.
fn whole(allowance: &Allowance) -> u128 {
    u128::from(allowance.burst()) * u128::from(allowance.window_ns())
}

/// The credit that comes back in `elapsed_ns`.
fn refill(allowance: &Allowance, elapsed_ns: u64) -> u128 {
    u128::from(elapsed_ns) * u128::from(allowance.requests())
}

/// The credit that `cost` tokens take.
fn price(allowance: &Allowance, cost: u32) -> u128 {
    u128::from(cost) * u128::from(allowance.window_ns())
}

/// Whole tokens in `credit`, rounded down; never more than the burst.
fn tokens(credit: u128, allowance: &Allowance) -> u64 {
    u64::try_from(credit / u128::from(allowance.window_ns())).unwrap_or(u64::MAX)
}
