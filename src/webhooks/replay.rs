//! Remembers deliveries, so that the same one does not come twice.
//!
//! Each process remembers for itself, and a restart forgets: this keeps out who has overheard a delivery, and a sender
//! that repeats itself; it does not make an upstream's own bookkeeping superfluous.
//!
//! A delivery is remembered from the moment in which its signature was found good, so of two at the same time one passes.
//! What it leaves is a [`Claim`]: kept, the delivery stays remembered until it would be too old; dropped, it is
//! forgotten, and its sender may try again.
//!
//! Memory is bounded, in all and for each tenant. When it is full, nothing is forgotten: the newcomer is refused.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use super::error::SignatureError;
use crate::capacity::is_excessive;
use crate::moment::Moment;
use crate::secret::{Digest, DigestState};

/// Deliveries that are remembered at once: some 400 a second with a tolerance of five minutes. About 150 bytes each.
pub const ENTRIES_MAX: usize = 1 << 18;

/// Deliveries of one tenant, environment and scheme among them, so that no tenant's sender can crowd out the others.
pub const ENTRIES_OF_ONE_MAX: usize = ENTRIES_MAX / 4;

/// How far the wall clock may be set back without a remembered delivery becoming good again.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(60);

/// Parts of the memory, each with a lock of its own.
const SHARDS: usize = 64;

/// The deliveries that are remembered. Survives reloads.
pub struct Replays {
    shards: Vec<Mutex<Shard>>,
    entries: AtomicUsize,
    /// How many there are of each owner.
    owners: DashMap<Digest, usize, DigestState>,
}

#[derive(Default)]
struct Shard {
    /// What is remembered, and whose it is.
    owners: HashMap<Digest, Digest, DigestState>,
    /// What was kept, in that order, and until when, in monotonic nanoseconds. What is still being forwarded is not here,
    /// so it cannot be forgotten by the clock.
    kept: VecDeque<(u64, Digest)>,
}

impl Default for Replays {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Replays {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Replays").field("entries", &self.len()).finish_non_exhaustive()
    }
}

impl Replays {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, entries: AtomicUsize::new(0), owners: DashMap::with_hasher(DigestState::default()) }
    }

    /// How many deliveries are remembered; some of them may be due to be forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what is due at `now`; says how much that was. Happens by itself where a delivery comes: this is for the
    /// memory of those who sent once and never again.
    pub fn sweep(&self, now: Moment) -> usize {
        self.shards.iter().map(|shard| self.sweep_shard(&mut lock(shard), now)).sum()
    }

    fn sweep_shard(&self, shard: &mut Shard, now: Moment) -> usize {
        let before = shard.owners.len();
        let forgotten = self.forget_due(shard, now);
        if is_excessive(shard.owners.capacity(), before) {
            shard.owners.shrink_to_fit();
            shard.kept.shrink_to_fit();
        }
        forgotten
    }

    /// Remembers a delivery of `owner` that must not come again within twice the tolerance.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Replayed`] if it is remembered already, [`SignatureError::Crowded`] if there is no room.
    pub(super) fn claim(
        self: &Arc<Self>,
        owner: Digest,
        delivery: Digest,
        tolerance: Duration,
        now: Moment,
    ) -> Result<Claim, SignatureError> {
        match self.remember(owner, delivery, now) {
            Err(SignatureError::Crowded) => {
                self.sweep(now);
                self.remember(owner, delivery, now)?;
            }
            other => other?,
        }
        // The furthest in the future that was accepted becomes too old twice the tolerance later.
        let until = now.plus(tolerance.saturating_mul(2)).plus(CLOCK_STEP_MAX).monotonic_ns;
        Ok(Claim { replays: Arc::clone(self), delivery, until, kept: false })
    }

    fn remember(&self, owner: Digest, delivery: Digest, now: Moment) -> Result<(), SignatureError> {
        let mut shard = lock(self.shard(&delivery));
        self.forget_due(&mut shard, now);
        if shard.owners.contains_key(&delivery) {
            return Err(SignatureError::Replayed);
        }
        let room = |entries: usize| (entries < ENTRIES_MAX).then_some(entries + 1);
        if self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Err(SignatureError::Crowded);
        }
        let mut of_owner = self.owners.entry(owner).or_default();
        if *of_owner >= ENTRIES_OF_ONE_MAX {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            return Err(SignatureError::Crowded);
        }
        *of_owner += 1;
        shard.owners.insert(delivery, owner);
        Ok(())
    }

    fn forget_due(&self, shard: &mut Shard, now: Moment) -> usize {
        let mut forgotten = 0;
        while let Some((_, delivery)) = shard.kept.pop_front_if(|(until, _)| *until <= now.monotonic_ns) {
            self.forget(shard, &delivery);
            forgotten += 1;
        }
        forgotten
    }

    fn forget(&self, shard: &mut Shard, delivery: &Digest) {
        let Some(owner) = shard.owners.remove(delivery) else { return };
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.owners.remove_if_mut(&owner, |_, entries| {
            *entries -= 1;
            *entries == 0
        });
    }

    fn shard(&self, delivery: &Digest) -> &Mutex<Shard> {
        &self.shards[usize::from(delivery.bytes()[Digest::BYTES - 1]) % SHARDS]
    }
}

/// A panic while it was changed leaves at worst an entry that counts, or does not count, once too often.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A delivery that is remembered for as long as this lives, and longer if it is kept.
#[must_use]
pub(super) struct Claim {
    replays: Arc<Replays>,
    delivery: Digest,
    until: u64,
    kept: bool,
}

impl Claim {
    /// Keeps it remembered.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut shard = lock(self.replays.shard(&self.delivery));
        if self.kept {
            shard.kept.push_back((self.until, self.delivery));
        } else {
            self.replays.forget(&mut shard, &self.delivery);
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Claim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(300);
    /// How long a delivery is remembered.
    const REMEMBERED: Duration = Duration::from_secs(660);

    const START: Moment = Moment { unix_ns: 1_767_225_600_000_000_000, monotonic_ns: 5_000_000_000 };

    /// A digest that costs nothing: the tests need half a million.
    fn digest(owner: u8, number: usize) -> Digest {
        let mut bytes = [owner; Digest::BYTES];
        bytes[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[Digest::BYTES - 1] = bytes[0];
        Digest::from_bytes(bytes)
    }

    /// Claims the delivery of this number for an owner.
    fn claim(replays: &Arc<Replays>, owner: u8, number: usize, now: Moment) -> Result<Claim, SignatureError> {
        replays.claim(digest(owner, usize::MAX), digest(owner, number), TOLERANCE, now)
    }

    /// Remembers so many deliveries of an owner.
    fn fill(replays: &Arc<Replays>, owner: u8, amount: usize, now: Moment) {
        for number in 0..amount {
            claim(replays, owner, number, now).unwrap().keep();
        }
    }

    /// They stand in config.example.yaml too.
    #[test]
    fn the_bounds_are_those_that_operators_read() {
        assert_eq!((ENTRIES_MAX, ENTRIES_OF_ONE_MAX), (262_144, 65_536));
    }

    #[test]
    fn what_was_kept_is_remembered_until_it_would_be_too_old() {
        let replays = Arc::new(Replays::new());
        claim(&replays, b'a', 1, START).unwrap().keep();
        // Sent as far in the future as was allowed, it is good for twice the tolerance.
        for later in [0, 1, 600, 659] {
            let now = START.plus(Duration::from_secs(later));
            assert_eq!(claim(&replays, b'a', 1, now).unwrap_err(), SignatureError::Replayed, "{later}");
        }
        assert_eq!(replays.len(), 1);
        claim(&replays, b'a', 1, START.plus(REMEMBERED)).unwrap().keep();
        assert_eq!((replays.len(), replays.sweep(START.plus(REMEMBERED))), (1, 0));
        assert_eq!(replays.sweep(START.plus(REMEMBERED * 2)), 1);
        assert!(replays.is_empty() && replays.owners.is_empty());
    }

    #[test]
    fn the_room_of_many_deliveries_is_given_back_at_the_second_sweep() {
        let replays = Arc::new(Replays::new());
        fill(&replays, b'a', 20_000, START);
        let room = || -> usize {
            replays.shards.iter().map(lock).map(|shard| shard.owners.capacity() + shard.kept.capacity()).sum()
        };
        assert_eq!(replays.sweep(START.plus(REMEMBERED)), 20_000);
        assert!(room() >= 40_000);
        assert_eq!((replays.sweep(START.plus(REMEMBERED)), room()), (0, 0));
    }

    #[test]
    fn what_was_dropped_is_forgotten_at_once() {
        let replays = Arc::new(Replays::new());
        for _ in 0..3 {
            let first = claim(&replays, b'a', 1, START).unwrap();
            assert_eq!(claim(&replays, b'a', 1, START).unwrap_err(), SignatureError::Replayed);
            drop(first);
        }
        assert!(replays.is_empty() && replays.owners.is_empty());
    }

    /// However slow the upstream is: while a delivery is on its way, the same one does not pass.
    #[test]
    fn what_is_on_its_way_is_not_forgotten_by_the_clock() {
        let replays = Arc::new(Replays::new());
        let slow = claim(&replays, b'a', 1, START).unwrap();
        let much_later = START.plus(REMEMBERED * 10);
        assert_eq!(replays.sweep(much_later), 0);
        assert_eq!(claim(&replays, b'a', 1, much_later).unwrap_err(), SignatureError::Replayed);
        slow.keep();
        assert!(claim(&replays, b'a', 1, much_later).is_ok(), "too old by now");
    }

    #[test]
    fn a_memory_that_is_full_refuses_and_forgets_nothing() {
        let replays = Arc::new(Replays::new());
        fill(&replays, b'a', ENTRIES_OF_ONE_MAX, START);
        assert_eq!(claim(&replays, b'a', ENTRIES_OF_ONE_MAX, START).unwrap_err(), SignatureError::Crowded);
        for number in [0, ENTRIES_OF_ONE_MAX / 2, ENTRIES_OF_ONE_MAX - 1] {
            let again = claim(&replays, b'a', number, START).unwrap_err();
            assert_eq!(again, SignatureError::Replayed, "{number}");
        }
        // Others have room, until all of it is taken.
        let later = START.plus(Duration::from_secs(60));
        for owner in [b'b', b'c', b'd'] {
            fill(&replays, owner, ENTRIES_OF_ONE_MAX, later);
        }
        assert_eq!(replays.len(), ENTRIES_MAX);
        assert_eq!(claim(&replays, b'e', 1, later).unwrap_err(), SignatureError::Crowded);
        assert_eq!(claim(&replays, b'b', 0, later).unwrap_err(), SignatureError::Replayed);
        // What is due makes room without anybody sweeping.
        fill(&replays, b'e', ENTRIES_OF_ONE_MAX, START.plus(REMEMBERED));
        assert_eq!((replays.len(), replays.owners.len()), (ENTRIES_MAX, 4));
    }

    #[test]
    fn claims_from_many_threads_are_counted_right() {
        let replays = Arc::new(Replays::new());
        let passed: usize = std::thread::scope(|scope| {
            let race = |thread: usize| {
                let replays = Arc::clone(&replays);
                move || {
                    let mut passed = 0;
                    for round in 0..2000 {
                        if let Ok(claim) = claim(&replays, [1, 2, 3][round % 3], round, START) {
                            // Every thread keeps what others drop.
                            if round % 4 == thread {
                                claim.keep();
                                passed += 1;
                            }
                        }
                    }
                    passed
                }
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(race(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(passed > 0 && passed <= 2000);
        assert_eq!(replays.len(), passed);
        assert_eq!(replays.owners.iter().map(|entry| *entry.value()).sum::<usize>(), passed);
        assert_eq!(replays.sweep(START.plus(REMEMBERED)), passed);
        assert!(replays.is_empty() && replays.owners.is_empty());
    }
}
