//! One limit, with its state for all subjects.
//!
//! A subject that is known costs one hash, one shared lock on a sixty-fourth of the map, one lock of its own, and no
//! allocation. Only a subject that is not known yet locks that part of the map against others.
//!
//! Nobody gains by being forgotten. A bucket is dropped only when it is whole, and then a new one says the same. When
//! there is no room, all unknown subjects share one overflow bucket; whoever gets a bucket of its own afterwards starts
//! it with what was taken from the overflow bucket, because it may have been the one who took it.

use std::hash::RandomState;

use super::bucket::Bucket;
use super::{Algorithm, Allowance, Exceeded, Quota, Subject};
use crate::capacity::is_excessive;
use crate::locks::{AtomicU64, AtomicUsize, DashMap, Entry, Mutex, MutexGuard, Ordering, PoisonError};
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
    refused: AtomicU64,
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
            refused: AtomicU64::new(0),
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
        let verdict = match self.buckets.get(&subject) {
            Some(bucket) => lock(&bucket).take(allowance, cost, now.monotonic_ns),
            None => self.take_first(subject, allowance, cost, now),
        };
        verdict.inspect_err(|_| self.count_refusal())
    }

    /// Says whether a bucket that `subject` has of its own is spent. Takes nothing, and makes no bucket.
    ///
    /// The overflow bucket is not asked: whoever has no bucket has done nothing yet, and must not be refused for what
    /// those do who have filled the memory. Without any bucket it costs one load.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] if nothing is left.
    pub fn check(&self, subject: Subject, allowance: &Allowance, now: Moment) -> Result<(), Exceeded> {
        if self.buckets() == 0 {
            return Ok(());
        }
        let Some(bucket) = self.buckets.get(&subject) else { return Ok(()) };
        lock(&bucket).check(allowance, now.monotonic_ns).inspect_err(|_| self.count_refusal())
    }

    /// Undoes a [`Limit::take`] of the same arguments, and of the same `now`, because another limit refused.
    ///
    /// Exact, as long as nobody took from the same subject at a later moment. Otherwise a token bucket keeps what it was
    /// refilled since `now`; and what was taken from the overflow bucket is kept if a sweep came in between. So never
    /// more is given back than is safe.
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
        let (before, mut swept) = (self.buckets(), 0);
        self.buckets.retain(|_, bucket| {
            let whole = bucket.get_mut().unwrap_or_else(PoisonError::into_inner).is_whole(now_ns);
            swept += usize::from(whole);
            !whole
        });
        self.reserved.fetch_sub(swept, Ordering::Relaxed);
        if is_excessive(self.buckets.capacity(), before) {
            self.buckets.shrink_to_fit();
        }
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

    /// How often, since the start, it let a request not pass.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const BOTH: [Algorithm; 2] = [Algorithm::TokenBucket, Algorithm::RollingWindow];

    fn at(monotonic_ns: u64) -> Moment {
        Moment { unix_ns: 0, monotonic_ns }
    }

    /// Late enough that a sweep is due.
    fn start() -> Moment {
        at(10 * SECOND_NS)
    }

    fn seconds_later(seconds: u64) -> Moment {
        start().plus(Duration::from_secs(seconds))
    }

    fn allowance(algorithm: Algorithm, requests: u64, window_s: u64) -> Allowance {
        Allowance::new(algorithm, requests, Duration::from_secs(window_s), None).expect("allowance")
    }

    fn someone(number: u128) -> Subject {
        Subject::from_hash(number)
    }

    /// Takes one request at a time until refused, and says how many were admitted.
    fn drain(limit: &Limit, subject: Subject, allowance: &Allowance, now: Moment) -> u64 {
        (0..).take_while(|_| limit.take(subject, allowance, 1, now).is_ok()).count() as u64
    }

    #[test]
    fn many_threads_are_admitted_exactly_what_is_allowed() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100), allowance(algorithm, 1_000, 60));
            let together = Barrier::new(8);
            let admitted: u64 = thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            together.wait();
                            drain(&limit, someone(1), &allowed, start())
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("thread")).sum()
            });
            assert_eq!(admitted, 1_000, "{algorithm}");
        }
    }

    /// Eight threads, each with a clock of its own that runs ahead of or behind the others, while the state is swept.
    #[test]
    fn many_threads_over_a_time_are_admitted_no_more_than_is_allowed() {
        const ROUNDS: u64 = 2_000;
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100), allowance(algorithm, 50, 10));
            let clock_ns = AtomicU64::new(start().monotonic_ns);
            let admitted = AtomicU64::new(0);
            thread::scope(|scope| {
                for thread in 0..8 {
                    let (limit, clock_ns, admitted) = (&limit, &clock_ns, &admitted);
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let now = at(clock_ns.fetch_add(SECOND_NS / 400, Ordering::Relaxed));
                            if round % 3 == thread % 3 {
                                thread::yield_now();
                            }
                            if limit.take(someone(1), &allowed, 1, now).is_ok() {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                            if round % 64 == thread {
                                limit.sweep(now);
                            }
                        }
                    });
                }
            });
            // 16,000 requests in 40 seconds: the burst, and what was refilled; or five windows, begun or whole.
            let elapsed_s = 8 * ROUNDS / 400;
            assert!(admitted.load(Ordering::Relaxed) <= 50 + 50 * elapsed_s / 10, "{algorithm}");
            assert!(admitted.load(Ordering::Relaxed) >= 50 * elapsed_s / 10, "{algorithm}: and not much less");
        }
    }

    #[test]
    fn a_check_takes_nothing_and_asks_nobodys_bucket_but_the_subjects() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 2), allowance(algorithm, 3, 60));
            for _ in 0..10 {
                assert!(limit.check(someone(1), &allowed, start()).is_ok(), "{algorithm}");
            }
            assert_eq!(limit.buckets(), 0, "{algorithm}");
            assert_eq!(drain(&limit, someone(1), &allowed, start()), 3, "{algorithm}");
            let exceeded = limit.check(someone(1), &allowed, start()).unwrap_err();
            assert!(exceeded.retry_after_seconds >= 1, "{algorithm}");
            let later = start().plus(Duration::from_secs(exceeded.retry_after_seconds));
            for _ in 0..10 {
                assert!(limit.check(someone(1), &allowed, later).is_ok(), "{algorithm}");
            }
            // The memory is full and what all newcomers share is spent: that is no fault of who has done nothing.
            drain(&limit, someone(2), &allowed, start());
            drain(&limit, someone(3), &allowed, start());
            assert!(limit.overflowed() > 0 && limit.check(someone(4), &allowed, start()).is_ok(), "{algorithm}");
        }
    }

    /// The hardest case: more subjects than room, while requests are given back and buckets are swept, so that the
    /// same subject is now in its own bucket and now in the shared one. Nobody keeps more than is allowed.
    #[test]
    fn no_subject_gains_by_moving_between_its_own_and_the_overflow_bucket() {
        const SUBJECTS: usize = 12;
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 4), allowance(algorithm, 300, 3_600));
            let kept: Vec<AtomicU64> = (0..SUBJECTS).map(|_| AtomicU64::new(0)).collect();
            thread::scope(|scope| {
                for thread in 0..8_usize {
                    let (limit, kept) = (&limit, &kept);
                    scope.spawn(move || {
                        for round in 0..4_000_usize {
                            let index = (round * 7 + thread * 5 + round / 13) % SUBJECTS;
                            let subject = someone(index as u128);
                            if limit.take(subject, &allowed, 1, start()).is_ok() {
                                if (round + thread) % 8 == 0 {
                                    kept[index].fetch_add(1, Ordering::Relaxed);
                                } else {
                                    limit.give_back(subject, &allowed, 1, start());
                                }
                            }
                            if round % 16 == 0 {
                                limit.sweep(start());
                            }
                        }
                    });
                }
            });
            assert!(limit.overflowed() > 0, "{algorithm}: the overflow bucket was used");
            assert!(limit.buckets() <= 4, "{algorithm}");
            for kept in kept {
                let kept = kept.into_inner();
                assert!((1..=300).contains(&kept), "{algorithm}: kept {kept}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_also_when_all_threads_bring_new_subjects() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 50), allowance(algorithm, 10, 60));
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let watcher = scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!(limit.buckets() <= 50 && limit.buckets.len() <= 50);
                    }
                });
                let threads: Vec<_> = (0..8_u128)
                    .map(|thread| {
                        let (limit, allowed) = (&limit, &allowed);
                        scope.spawn(move || {
                            for number in 0..500 {
                                let _ = limit.take(someone(thread << 64 | number), allowed, 1, start());
                            }
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().expect("thread"));
                done.store(true, Ordering::Relaxed);
                watcher.join().expect("watcher");
            });
            assert_eq!((limit.buckets(), limit.buckets.len()), (50, 50), "{algorithm}");
            assert_eq!(limit.overflowed(), 8 * 500 - 50, "{algorithm}");
        }
    }

    #[test]
    fn who_finds_no_room_shares_one_bucket() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 2), allowance(algorithm, 10, 60));
            for known in [1, 2] {
                limit.take(someone(known), &allowed, 1, start()).expect("room");
            }
            assert_eq!(drain(&limit, someone(3), &allowed, start()), 10, "{algorithm}: the whole overflow bucket");
            assert_eq!(drain(&limit, someone(4), &allowed, start()), 0, "{algorithm}: nothing left for another");
            assert_eq!(limit.peek(someone(5), &allowed, start()).remaining, 0, "{algorithm}: and it is said so");
            assert_eq!(drain(&limit, someone(1), &allowed, start()), 9, "{algorithm}: who was there is not touched");
            assert_eq!((limit.buckets(), limit.overflowed()), (2, 12), "{algorithm}");

            // A minute later all is whole; the next newcomer sweeps, and has a bucket of its own.
            assert_eq!(drain(&limit, someone(3), &allowed, seconds_later(60)), 10, "{algorithm}");
            assert_eq!(drain(&limit, someone(4), &allowed, seconds_later(60)), 10, "{algorithm}");
            assert_eq!((limit.buckets(), limit.overflowed()), (2, 12), "{algorithm}");
        }
    }

    #[test]
    fn a_newcomer_inherits_what_it_may_have_taken_from_the_overflow_bucket() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 0), allowance(algorithm, 10, 60));
            limit.take(someone(1), &allowed, 7, start()).expect("overflow");
            limit.set_buckets_max(10);
            assert_eq!(drain(&limit, someone(1), &allowed, start()), 3, "{algorithm}");
            assert_eq!(drain(&limit, someone(2), &allowed, start()), 3, "{algorithm}: it may have been this one");
            assert_eq!(drain(&limit, someone(3), &allowed, seconds_later(60)), 10, "{algorithm}: nobody for ever");
        }
    }

    #[test]
    fn a_sweep_drops_whole_buckets_only() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100), allowance(algorithm, 60, 60));
            limit.take(someone(1), &allowed, 1, start()).expect("room");
            limit.take(someone(2), &allowed, 60, start()).expect("room");
            limit.take(someone(3), &allowed, 1, seconds_later(59)).expect("room");

            let look = || [1, 2, 3].map(|number| limit.peek(someone(number), &allowed, seconds_later(59)));
            let before = look();
            let (at_59, at_60) = match algorithm {
                Algorithm::TokenBucket => (1, 2), // A token is back after a second, sixty after sixty.
                Algorithm::RollingWindow => (0, 2),
            };
            assert_eq!(limit.sweep(seconds_later(59)), at_59, "{algorithm}");
            assert_eq!(look(), before, "{algorithm}: a sweep changes nothing that can be seen");
            assert_eq!(limit.sweep(seconds_later(60)), at_60, "{algorithm}");
            assert_eq!(limit.buckets(), 3 - at_59 - at_60, "{algorithm}");
            assert_eq!(limit.sweep(start()), 0, "{algorithm}: a clock that steps back sweeps nothing");
        }
    }

    #[test]
    fn the_room_of_a_flood_is_given_back_and_that_of_every_minute_is_not() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100_000), allowance(algorithm, 1, 60));
            for round in 0..3 {
                for number in 0..20_000 {
                    limit.take(someone(number), &allowed, 1, seconds_later(60 * round)).expect("room");
                }
                assert_eq!(limit.sweep(seconds_later(60 * round + 60)), 20_000, "{algorithm}");
                assert!(limit.buckets.capacity() >= 20_000, "{algorithm}: {}", limit.buckets.capacity());
            }
            limit.take(someone(1), &allowed, 1, seconds_later(180)).expect("room");
            assert_eq!(limit.sweep(seconds_later(180)), 0, "{algorithm}");
            assert!(limit.buckets.capacity() < 100, "{algorithm}: {}", limit.buckets.capacity());
            assert_eq!(limit.peek(someone(1), &allowed, seconds_later(180)).remaining, 0, "{algorithm}");
        }
    }

    /// The bucket was full at second 60 and was dropped. A thread that still believes in second 0 must not be given a
    /// full bucket that has the sixty seconds before it once more.
    #[test]
    fn a_thread_that_is_late_does_not_refill_what_was_swept() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100), allowance(algorithm, 60, 60));
            limit.take(someone(1), &allowed, 60, start()).expect("room");
            assert_eq!(limit.sweep(seconds_later(60)), 1, "{algorithm}");
            assert_eq!(drain(&limit, someone(1), &allowed, start()), 60, "{algorithm}");
            assert_eq!(drain(&limit, someone(1), &allowed, seconds_later(60)), 0, "{algorithm}");
        }
    }

    #[test]
    fn a_crowd_of_newcomers_sweeps_once_a_second_at_most() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 1), allowance(algorithm, 10, 1));
            let taken = |number, now| {
                limit.take(someone(number), &allowed, 1, now).expect("not refused");
                limit.overflowed()
            };
            assert_eq!(taken(1, start()), 0, "{algorithm}: room");
            assert_eq!(taken(2, seconds_later(0)), 1, "{algorithm}: swept, but nothing was whole");
            let soon = start().plus(Duration::from_millis(999));
            assert_eq!(taken(3, soon), 2, "{algorithm}: a token bucket would be whole, but was not looked at");
            assert_eq!(taken(4, seconds_later(1)), 2, "{algorithm}: swept");
            assert_eq!(limit.buckets(), 1, "{algorithm}");
        }
    }

    #[test]
    fn giving_back_finds_the_bucket_that_was_taken_from() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 1), allowance(algorithm, 10, 60));
            let left = |number, now| limit.peek(someone(number), &allowed, now).remaining;

            limit.take(someone(1), &allowed, 4, start()).expect("room");
            limit.give_back(someone(1), &allowed, 3, start());
            assert_eq!(left(1, start()), 9, "{algorithm}: its own");

            limit.take(someone(2), &allowed, 4, seconds_later(1)).expect("overflow");
            limit.give_back(someone(2), &allowed, 4, seconds_later(1));
            assert_eq!(left(2, seconds_later(1)), 10, "{algorithm}: the overflow bucket");

            limit.take(someone(3), &allowed, 4, seconds_later(2)).expect("overflow");
            assert_eq!(limit.sweep(seconds_later(70)), 1, "{algorithm}");
            limit.give_back(someone(1), &allowed, 1, start());
            assert_eq!(limit.buckets(), 0, "{algorithm}: a swept bucket does not come back");
            assert_eq!(left(1, seconds_later(70)), 10, "{algorithm}");
        }
    }

    /// A thread whose clock is behind must not drop what was refilled up to a later moment: nobody would know.
    #[test]
    fn a_sweep_leaves_what_was_used_later() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 100), allowance(algorithm, 60, 60));
            limit.take(someone(1), &allowed, 60, start()).expect("room");
            limit.take(someone(1), &allowed, 61, seconds_later(60)).expect_err("more than there ever is");
            assert_eq!(limit.sweep(seconds_later(30)), 0, "{algorithm}");
            assert_eq!(limit.sweep(seconds_later(60)), 1, "{algorithm}");
        }
    }

    /// What one subject took from its own bucket, which was swept since, is not given back to the overflow bucket.
    #[test]
    fn giving_back_late_gives_nothing_to_others() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 1), allowance(algorithm, 10, 60));
            limit.take(someone(1), &allowed, 1, start()).expect("room");
            limit.take(someone(2), &allowed, 10, start()).expect("overflow");
            assert_eq!(limit.sweep(seconds_later(60)), 1, "{algorithm}");
            limit.give_back(someone(1), &allowed, 1, start());
            assert_eq!(limit.peek(someone(2), &allowed, start()).remaining, 0, "{algorithm}");
        }
    }

    #[test]
    fn looking_and_costing_nothing_make_no_bucket() {
        for algorithm in BOTH {
            let (limit, allowed) = (Limit::new("all", algorithm, 1), allowance(algorithm, 10, 60));
            assert_eq!(limit.peek(someone(1), &allowed, start()), Quota::whole(&allowed), "{algorithm}");
            assert_eq!(limit.take(someone(1), &allowed, 0, start()), Ok(Quota::whole(&allowed)), "{algorithm}");
            assert_eq!((limit.buckets(), limit.overflowed()), (0, 0), "{algorithm}");

            limit.take(someone(1), &allowed, 10, start()).expect("room");
            let spent = limit.take(someone(1), &allowed, 0, start()).expect("free of cost");
            assert_eq!((spent.remaining, spent.reset_after), (0, Duration::from_secs(60)), "{algorithm}");
        }
    }
}
