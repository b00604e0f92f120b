//! All limits, by name. What is spent stays spent over a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Algorithm, Limit};
use crate::locks::{Mutex, MutexGuard, PoisonError};
use crate::moment::Moment;

/// The limits of the gateway, by name. Lives as long as the process; each policy holds the limits it uses by `Arc`.
#[derive(Default)]
pub struct Limits {
    limits: Mutex<BTreeMap<Box<str>, Arc<Limit>>>,
}

impl Limits {
    /// No limits yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds the limit of this name and algorithm with all its state, or makes a new one. Never on the road.
    ///
    /// `buckets_max` bounds the subjects that are counted separately, now also for a limit that existed. A limit of the
    /// same name and another algorithm is replaced; so ask only when the configuration is known to be accepted.
    pub fn limit(&self, name: &str, algorithm: Algorithm, buckets_max: usize) -> Arc<Limit> {
        let mut limits = self.lock();
        if let Some(limit) = limits.get(name).filter(|limit| limit.algorithm() == algorithm) {
            limit.set_buckets_max(buckets_max);
            return Arc::clone(limit);
        }
        let limit = Arc::new(Limit::new(name, algorithm, buckets_max));
        limits.insert(name.into(), Arc::clone(&limit));
        limit
    }

    /// Forgets the limits that are not named. Requests that still use one finish with it.
    pub fn retain<N: AsRef<str>>(&self, names: &[N]) {
        self.lock().retain(|name, _| names.iter().any(|kept| kept.as_ref() == &**name));
    }

    /// Drops the buckets that are whole at `now`, of all limits, and says how many.
    pub fn sweep(&self, now: Moment) -> usize {
        self.all().iter().map(|limit| limit.sweep(now)).sum()
    }

    /// Calls `f` with each limit, in the order of their names.
    pub fn for_each(&self, mut f: impl FnMut(&Limit)) {
        self.all().iter().for_each(|limit| f(limit));
    }

    /// The limits as they are now, so that nobody works while the registry is locked.
    fn all(&self) -> Vec<Arc<Limit>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<Limit>>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Allowance, Subject};
    use super::*;

    const SOMEONE: Subject = Subject::from_hash(1);

    fn at(seconds: u64) -> Moment {
        Moment { unix_ns: 0, monotonic_ns: seconds * 1_000_000_000 }
    }

    fn remaining(limit: &Limit) -> u64 {
        limit.peek(SOMEONE, &allowance(limit), at(1)).remaining
    }

    fn allowance(limit: &Limit) -> Allowance {
        Allowance::new(limit.algorithm(), 10, Duration::from_secs(60), None).expect("allowance")
    }

    fn spend(limit: &Limit) {
        limit.take(SOMEONE, &allowance(limit), 4, at(1)).expect("enough");
    }

    #[test]
    fn what_is_spent_stays_spent_over_a_reload() {
        let limits = Limits::new();
        spend(&limits.limit("per_key", Algorithm::TokenBucket, 100));

        let reloaded = limits.limit("per_key", Algorithm::TokenBucket, 7);
        assert_eq!(remaining(&reloaded), 6);
        assert_eq!(reloaded.buckets_max(), 7);
        limits.retain(&["per_key", "per_address"]);
        assert_eq!(remaining(&limits.limit("per_key", Algorithm::TokenBucket, 7)), 6);

        let rolling = limits.limit("per_key", Algorithm::RollingWindow, 7);
        assert_eq!(remaining(&rolling), 10, "another algorithm has nothing to carry over");
        assert_eq!(remaining(&limits.limit("per_address", Algorithm::TokenBucket, 7)), 10);
    }

    #[test]
    fn a_limit_that_is_not_named_any_more_is_forgotten_but_not_pulled_away() {
        let limits = Limits::new();
        let held = limits.limit("old", Algorithm::RollingWindow, 100);
        spend(&held);
        limits.retain::<String>(&[]);
        spend(&held);
        assert_eq!(remaining(&held), 2);
        assert_eq!(remaining(&limits.limit("old", Algorithm::RollingWindow, 100)), 10);
    }

    #[test]
    fn all_limits_are_shown_and_swept() {
        let limits = Limits::new();
        for (name, algorithm) in [("b", Algorithm::TokenBucket), ("a", Algorithm::RollingWindow)] {
            spend(&limits.limit(name, algorithm, 100));
        }
        let seen = || {
            let mut seen = Vec::new();
            limits.for_each(|limit| seen.push(format!("{} {} {}", limit.name(), limit.algorithm(), limit.buckets())));
            seen
        };
        assert_eq!(seen(), ["a rolling_window 1", "b token_bucket 1"]);
        assert_eq!(limits.sweep(at(60)), 1, "four tokens are back after 24 seconds");
        assert_eq!(limits.sweep(at(61)), 1);
        assert_eq!(seen(), ["a rolling_window 0", "b token_bucket 0"]);
    }
}
