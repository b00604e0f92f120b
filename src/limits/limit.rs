//! One limit, with its state for all subjects.
//!
//! A subject that is known costs one hash, one shared lock on a sixty-fourth of the map, one lock of its own, and no
//! allocation. Only a subject that is not known yet locks that part of the map against others.
//!
//! Nobody gains by being forgotten. A bucket is dropped only when it is whole, and then a new one says the same. When
//! there is no room, all unknown subjects share one overflow bucket; whoever gets a bucket of its own afterwards starts
//! it with what was taken from the overflow bucket, because it may have been the one who took it.

use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::{DashMap, Entry};

use super::bucket::Bucket;
use super::{Algorithm, Allowance, Exceeded, Quota, Subject};
use crate::moment::Moment;

/// Parts of the map that are locked separately. More than the processors of a usual machine, and few enough that an
/// empty limit stays small.
const SHARDS: usize = 64;

/// The shortest time between two sweeps that a request pays for. A sweep looks at all buckets.
const CROWDED_SWEEP_INTERVAL_NS: u64 = 1_000_000_000;

/// One limit, with its state for all subjects. Shared by `Arc`, and survives a reload (see [`super::Limits`]).
///
/// The allowance is an argument of each call, because a subject can be granted another one, by a reload or by the
/// operator of a key. A token bucket then carries over the fraction that is spent, a rolling window what was admitted;
/// neither ever grants more at once than the new allowance. One subject should have one allowance at a time. By turns
/// with several, a token bucket is refilled as fast as the one used last says; for those that
/// [`Allowance::with_requests`] made from one another that is the same.
///
/// The algorithm is the limit's. That of the allowance should be the same, and is not looked at here.
pub struct Limit {
    name: Box<str>,
    algorithm: Algorithm,
    buckets_max: AtomicUsize,
    /// Randomly seeded: addresses are chosen by clients, and must not all land in one place.
    buckets: DashMap<Subject, Mutex<Bucket>, RandomState>,
    /// Buckets in the map, or about to be. `DashMap::len` would lock every shard.
    reserved: AtomicUsize,
    /// Shared by all who found no room. None before the first of them.
    overflow: Mutex<Option<Bucket>>,
    overflowed: AtomicU64,
    /// The latest moment of which it is possible that a bucket was dropped because it was whole then.
    swept_at_ns: AtomicU64,
}

impl Limit {
    /// A limit without any bucket.
    pub(super) fn new(name: &str, algorithm: Algorithm, buckets_max: usize) -> Self {
        Self {
            name: name.into(),
            algorithm,
            buckets_max: AtomicUsize::new(buckets_max),
            buckets: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), SHARDS),
            reserved: AtomicUsize::new(0),
            overflow: Mutex::new(None),
            overflowed: AtomicU64::new(0),
            swept_at_ns: AtomicU64::new(0),
        }
    }

    /// Takes `cost` from what `subject` is allowed, or nothing at all.
    ///
    /// A cost of 0 is always admitted and takes nothing. Time is the monotonic half of `now`; a clock that steps back
    /// refills nothing.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] if less than `cost` is left. A cost above [`Allowance::burst`] is never admitted.
    pub fn take(&self, subject: Subject, allowance: &Allowance, cost: u32, now: Moment) -> Result<Quota, Exceeded> {
        if cost == 0 {
            return Ok(self.peek(subject, allowance, now));
        }
        match self.buckets.get(&subject) {
            Some(bucket) => lock(&bucket).take(allowance, cost, now.monotonic_ns),
            None => self.take_first(subject, allowance, cost, now),
        }
    }

    /// Undoes a [`Limit::take`] of the same arguments, and of the same `now`, because another limit refused.
    ///
    /// Exact, unless the bucket has been whole in between, or had to be shared and another was swept in between: then
    /// nothing is given back. Never more is given than was taken.
    pub fn give_back(&self, subject: Subject, allowance: &Allowance, cost: u32, now: Moment) {
        let taken_ns = now.monotonic_ns;
        if let Some(bucket) = self.buckets.get(&subject) {
            lock(&bucket).give_back(allowance, cost, taken_ns);
            return;
        }
        // The subject has no bucket. Either it had one, which was whole later and was swept: nothing is to be given
        // back. Or it took from the overflow bucket. Only if nothing was swept since, it is certainly the latter.
        if self.swept_at_ns.load(Ordering::Relaxed) <= taken_ns
            && let Some(overflow) = lock(&self.overflow).as_mut()
        {
            overflow.give_back(allowance, cost, taken_ns);
        }
    }

    /// Says what `subject` has left. Changes nothing and makes no bucket.
    pub fn peek(&self, subject: Subject, allowance: &Allowance, now: Moment) -> Quota {
        if let Some(bucket) = self.buckets.get(&subject) {
            return lock(&bucket).peek(allowance, now.monotonic_ns);
        }
        match lock(&self.overflow).as_ref() {
            Some(overflow) => overflow.peek(allowance, now.monotonic_ns),
            None => Quota::whole(allowance),
        }
    }

    /// Drops the buckets that are whole at `now`, and says how many. Locks one part of the map after the other.
    pub fn sweep(&self, now: Moment) -> usize {
        let now_ns = now.monotonic_ns;
        // Before anything is dropped: whoever misses a bucket must be able to see that this may be why.
        self.swept_at_ns.fetch_max(now_ns, Ordering::Relaxed);
        let mut swept = 0;
        self.buckets.retain(|_, bucket| {
            let whole = bucket.get_mut().unwrap_or_else(PoisonError::into_inner).is_whole(now_ns);
            swept += usize::from(whole);
            !whole
        });
        self.reserved.fetch_sub(swept, Ordering::Relaxed);
        swept
    }

    /// Buckets in memory now.
    pub fn buckets(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Most buckets that may be in memory.
    pub fn buckets_max(&self) -> usize {
        self.buckets_max.load(Ordering::Relaxed)
    }

    /// How often, since the start, somebody had to take from the overflow bucket because there was no room.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// The name the operator gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it counts.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Changes how many buckets may be in memory. What is there stays until it is whole.
    pub(super) fn set_buckets_max(&self, buckets_max: usize) {
        self.buckets_max.store(buckets_max, Ordering::Relaxed);
    }

    /// Takes for a subject that had no bucket a moment ago.
    ///
    /// Also the taking from the overflow bucket happens while the subject's part of the map is locked. So a subject
    /// that gets a bucket of its own inherits everything it ever took from the overflow bucket.
    fn take_first(&self, subject: Subject, allowance: &Allowance, cost: u32, now: Moment) -> Result<Quota, Exceeded> {
        self.sweep_if_crowded(now);
        let now_ns = now.monotonic_ns;
        match self.buckets.entry(subject) {
            Entry::Occupied(known) => lock(known.get()).take(allowance, cost, now_ns),
            Entry::Vacant(place) if self.reserve() => {
                let mut bucket = self.newcomer(allowance, now_ns);
                let verdict = bucket.take(allowance, cost, now_ns);
                place.insert(Mutex::new(bucket));
                verdict
            }
            Entry::Vacant(_) => {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
                let mut overflow = lock(&self.overflow);
                let overflow = overflow.get_or_insert_with(|| self.whole(allowance, now_ns));
                overflow.take(allowance, cost, now_ns)
            }
        }
    }

    /// The first bucket of a subject. It must not yet be in the map.
    fn newcomer(&self, allowance: &Allowance, now_ns: u64) -> Bucket {
        match lock(&self.overflow).as_ref() {
            Some(overflow) => overflow.heir(self.not_before_sweep(now_ns)),
            None => self.whole(allowance, now_ns),
        }
    }

    /// A bucket that nothing was taken from.
    fn whole(&self, allowance: &Allowance, now_ns: u64) -> Bucket {
        Bucket::new(self.algorithm, allowance, self.not_before_sweep(now_ns))
    }

    /// Where the clock of a new bucket begins. Its predecessor may have been dropped because it was whole at the time of
    /// the last sweep; a thread that read its clock before that must not have the time until then refilled twice.
    fn not_before_sweep(&self, now_ns: u64) -> u64 {
        now_ns.max(self.swept_at_ns.load(Ordering::Relaxed))
    }

    /// Reserves room for one bucket, or says that there is none.
    fn reserve(&self) -> bool {
        let buckets_max = self.buckets_max();
        let reserve = |reserved| (reserved < buckets_max).then_some(reserved + 1);
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    /// Sweeps if there is no room, unless somebody did so a short time ago. No part of the map may be locked.
    fn sweep_if_crowded(&self, now: Moment) {
        if self.buckets() < self.buckets_max() {
            return;
        }
        let (swept_at, now_ns) = (self.swept_at_ns.load(Ordering::Relaxed), now.monotonic_ns);
        let due = now_ns.saturating_sub(swept_at) >= CROWDED_SWEEP_INTERVAL_NS;
        if due && self.swept_at_ns.compare_exchange(swept_at, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.sweep(now);
        }
    }
}

/// Locks, also when somebody panicked with the lock: every state a bucket can have is a valid one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
