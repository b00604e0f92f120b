//! All limits, by name. What is spent stays spent over a reload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Algorithm, Limit};
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
