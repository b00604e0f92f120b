//! Where the road finds keys.
//!
//! A concurrent map from digest to key. Only the control plane writes, by [`KeyStore::apply`] and its like, and only the
//! difference between what is there and what shall be: new and changed keys are put in first, then what is gone is taken
//! out. At no instant is a key missing that was there before and shall be there afterwards. Clear and fill would answer
//! 401 to everybody for as long as filling takes.
//!
//! Keys come from files and from a database. Each kind of source changes its own keys only, and an id or a secret that
//! the other has already is refused: which of the two is meant is the operator's decision.
//!
//! Never in this file: where keys come from ([`super::sources`]), and whether a found key is good ([`Key::standing`]).

#![expect(clippy::mutable_key_type, reason = "what a key did changes, and neither its id nor its digest are of that")]

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::database::{Delta, KeyUsage};
use super::key::{Key, Origin};
use super::set::{ByDigest, ById, Clash, KeySet, Same};
use super::standing::Standing;
use crate::capacity::is_excessive;
use crate::locks::{DashMap, Entry, Mutex, MutexGuard, PoisonError};
use crate::moment::Moment;
use crate::secret::{Digest, DigestState};

/// Parts of the map, each with a lock of its own. Writers hold one at a time, for one insertion; 128 keeps the chance
/// that a reader meets them small, and the pause when a part grows short.
const SHARDS: usize = 128;

/// All keys that a process knows.
///
/// Each is there once, and both ways to it are one pointer a key: what is looked for is in the key itself, which whoever
/// finds it reads in any case.
pub struct KeyStore {
    by_digest: DashMap<ByDigest, (), DigestState>,
    /// The same keys by id, for those who write alone: its lock also makes sure that two of them do not mix.
    by_id: Mutex<Ids>,
}

type Ids = HashSet<ById>;

/// What an [`KeyStore::apply`] has done, in keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Ids that were not there before.
    pub added: usize,
    /// Ids that were there and differ in anything, the secret included.
    pub changed: usize,
    /// Ids that are no longer there.
    pub removed: usize,
}

impl Difference {
    /// Says whether nothing was done.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.added == 0 && self.changed == 0 && self.removed == 0
    }
}

/// Keys of one moment, in the number of each standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandingCounts {
    /// Keys that open the gate.
    pub good: usize,
    /// Keys that are switched off.
    pub inactive: usize,
    /// Keys that are dead for good.
    pub revoked: usize,
    /// Active keys whose end has passed.
    pub expired: usize,
    /// Active keys whose time has not come.
    pub not_yet_valid: usize,
}

impl StandingCounts {
    /// How many keys have this standing.
    #[must_use]
    pub const fn of(self, standing: Standing) -> usize {
        match standing {
            Standing::Good => self.good,
            Standing::Inactive => self.inactive,
            Standing::Revoked => self.revoked,
            Standing::Expired => self.expired,
            Standing::NotYetValid => self.not_yet_valid,
        }
    }
}

impl KeyStore {
    /// An empty store: no credentials open anything.
    #[must_use]
    pub fn new() -> Self {
        let by_digest = DashMap::with_capacity_and_hasher_and_shard_amount(0, DigestState::default(), SHARDS);
        Self { by_digest, by_id: Mutex::new(Ids::new()) }
    }

    /// Finds the key whose secret has this digest, whatever its standing.
    #[must_use]
    pub fn find(&self, digest: &Digest) -> Option<Arc<Key>> {
        self.by_digest.get(digest).map(|found| Arc::clone(&found.key().0))
    }

    /// Finds the key with this id, whatever its standing and wherever it is from.
    ///
    /// For the control plane alone, which makes and shows keys: it waits for whoever changes keys just now, and the road
    /// waits for nobody.
    #[must_use]
    pub fn find_by_id(&self, id: &str) -> Option<Arc<Key>> {
        self.by_id().get(id.as_bytes()).map(|found| Arc::clone(&found.0))
    }

    /// Makes the store hold exactly `next`.
    ///
    /// First puts in what is new or changed, then takes out what is gone. A key that has not changed stays the same
    /// `Arc`. A key is the same key as long as it has the same id: its time of last use stays with it, also when its
    /// secret is another one. When this returns, no digest outside `next` is found any more.
    pub fn apply(&self, next: KeySet) -> Difference {
        let mut by_id = self.by_id();
        self.exchange(&mut by_id, next, |_| true)
    }

    /// Makes the store hold exactly `next`, which are from `origin`, of the keys from there, as [`KeyStore::apply`] does; the
    /// other keys stay.
    ///
    /// # Errors
    ///
    /// Every key of `next` whose id or secret a key from elsewhere has. Nothing is changed then.
    pub fn apply_from(&self, origin: Origin, next: KeySet) -> Result<Difference, Vec<Clash>> {
        let mut by_id = self.by_id();
        let others = by_id.iter().any(|ById(key)| key.origin != origin);
        let clash = |key: &Key| clash(&by_id, key, self.find(key.digest()).as_deref());
        let clashes: Vec<Clash> = next.iter().filter(|_| others).filter_map(clash).collect();
        if clashes.is_empty() { Ok(self.exchange(&mut by_id, next, |key| key.origin == origin)) } else { Err(clashes) }
    }

    /// Puts in one key that is new or changed. When this returns, its former secret is not found any more.
    ///
    /// # Errors
    ///
    /// [`Clash`] if a key from elsewhere has its id or its secret; nothing is changed then. A key from the same source
    /// that has its secret gives way.
    pub fn put(&self, key: Key) -> Result<Difference, Clash> {
        let (difference, clashes) = self.change_some(vec![key], &[], false);
        clashes.into_iter().next().map_or(Ok(difference), Err)
    }

    /// Takes out the key with this digest, from wherever it is. When this returns, it is not found any more.
    pub fn remove(&self, digest: &Digest) -> Difference {
        let mut by_id = self.by_id();
        let removed = usize::from(self.take_out(&mut by_id, digest, |_| true));
        Difference { removed, ..Difference::default() }
    }

    /// Takes on what has changed in the database; `whole` if `keys` are all it has. Keys that clash with a key from a file are left out, and returned; all
    /// the rest is done, so that no revocation waits for somebody's mistake.
    pub fn change(&self, keys: Delta<Key, Digest>, whole: bool) -> (Difference, Vec<Clash>) {
        self.change_some(keys.upserts, &keys.removals, whole)
    }

    /// Takes what every key did since this was last called: those keys that did anything, and of each the time of its
    /// last use. What a key did that was removed in the meantime goes with it.
    #[must_use]
    pub fn drain_usage(&self) -> Vec<KeyUsage> {
        let used = self.by_digest.iter().filter_map(|each| {
            let key = &each.key().0;
            let requests = key.usage.take_requests();
            let usage = || KeyUsage { key: key.id().into(), last_used_s: key.usage.last_used_s(), requests };
            (requests > 0).then(usage)
        });
        used.collect()
    }

    /// Notes when keys were last used, by id, as far as that was recorded before this process began.
    pub fn recall_last_used(&self, last_used: &[(String, u64)]) {
        let by_id = self.by_id();
        for (id, seconds) in last_used {
            if let Some(ById(key)) = by_id.get(id.as_bytes()) {
                key.usage.recorded(*seconds);
            }
        }
    }

    /// How many keys there are, of whatever standing.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Says whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Counts the keys by their standing at `now`. Walks over all keys: for metrics, not for the road.
    #[must_use]
    pub fn count_by_state(&self, now: Moment) -> StandingCounts {
        let mut counts = StandingCounts::default();
        for each in &self.by_digest {
            match each.key().0.standing(now) {
                Standing::Good => counts.good += 1,
                Standing::Inactive => counts.inactive += 1,
                Standing::Revoked => counts.revoked += 1,
                Standing::Expired => counts.expired += 1,
                Standing::NotYetValid => counts.not_yet_valid += 1,
            }
        }
        counts
    }

    /// The age of the oldest good key of each environment at `now`, in whole seconds rounded down.
    ///
    /// `None` stands for the keys without an environment. Keys that do not say when they were made are left out, and
    /// so is an environment that has only such keys. Walks over all keys: for metrics, not for the road.
    #[must_use]
    pub fn oldest_active_by_environment(&self, now: Moment) -> BTreeMap<Option<Arc<str>>, u64> {
        let mut oldest: BTreeMap<Option<Arc<str>>, u64> = BTreeMap::new();
        let now_s = i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX);
        for each in &self.by_digest {
            let key = &each.key().0;
            let Some(created) = key.created().filter(|_| key.standing(now) == Standing::Good) else { continue };
            let age_s = u64::try_from(now_s.saturating_sub(created.as_second())).unwrap_or(0);
            let eldest = oldest.entry(key.environment().cloned()).or_insert(age_s);
            *eldest = age_s.max(*eldest);
        }
        oldest
    }

    /// When the first active key of each environment that expires does, in seconds since the Unix epoch. A key that was
    /// rotated is left out: its end is meant, and its successor goes on. So are environments without such a key.
    #[must_use]
    pub fn next_expiry_by_environment(&self, now: Moment) -> BTreeMap<Option<Arc<str>>, i64> {
        let mut next: BTreeMap<Option<Arc<str>>, i64> = BTreeMap::new();
        for each in &self.by_digest {
            let key = &each.key().0;
            let stays = key.retires().is_none() && key.standing(now) == Standing::Good;
            let Some(expires) = key.expires().filter(|_| stays) else { continue };
            let first = next.entry(key.environment().cloned()).or_insert(expires.as_second());
            *first = expires.as_second().min(*first);
        }
        next
    }

    fn by_id(&self) -> MutexGuard<'_, Ids> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `next` in the place of all keys that are `ours`.
    fn exchange(&self, by_id: &mut Ids, next: KeySet, ours: impl Fn(&Key) -> bool) -> Difference {
        let mut difference = Difference::default();
        // Becomes what is in force: for the first time, and if all is new, it is that already.
        let KeySet { keys, ids: mut placed, .. } = next;
        for key in keys {
            match by_id.take(key.id_bytes()) {
                None => drop(self.place(&mut difference, None, key)),
                Some(same) if same.0 == key => drop(placed.replace(same)),
                before => {
                    placed.remove(key.id_bytes());
                    placed.insert(ById(self.place(&mut difference, before.as_ref(), key)));
                }
            }
        }
        for ById(left) in by_id.drain() {
            if ours(&left) {
                difference.removed += 1;
            } else {
                placed.insert(ById(left));
            }
        }
        *by_id = placed;
        if difference.changed + difference.removed > 0 {
            let current = |key: &Arc<Key>| by_id.get(key.id_bytes()).is_some_and(|ById(now)| Arc::ptr_eq(now, key));
            self.by_digest.retain(|ByDigest(key), ()| current(key));
            if is_excessive(self.by_digest.capacity(), by_id.len()) {
                self.by_digest.shrink_to_fit();
            }
        }
        difference
    }

    /// Puts in the keys first, then takes out the removals and all secrets that keys had before.
    fn change_some(&self, upserts: Vec<Key>, removals: &[Digest], whole: bool) -> (Difference, Vec<Clash>) {
        let mut by_id = self.by_id();
        let (mut difference, mut clashes) = (Difference::default(), Vec::new());
        let mut stale = Vec::new();
        // Keys whose secret went to another one; they may get one themselves further on.
        let mut displaced = Ids::new();
        // At the first time nothing can be left that nobody names.
        let whole = whole && by_id.iter().any(|ById(key)| key.origin == Origin::Database);
        let mut named = Ids::with_capacity(if whole { upserts.len() } else { 0 });
        if by_id.is_empty() {
            by_id.reserve(upserts.len());
        }
        for key in upserts {
            let key = Arc::new(key);
            if whole {
                named.insert(ById(Arc::clone(&key)));
            }
            let holder = self.find(key.digest());
            if let Some(clash) = clash(&by_id, &key, holder.as_deref()) {
                clashes.push(clash);
                continue;
            }
            if let Some(holder) = holder.filter(|holder| holder.id_bytes() != key.id_bytes())
                && by_id.get(holder.id_bytes()).is_some_and(|ById(loser)| loser.digest() == key.digest())
            {
                displaced.extend(by_id.take(holder.id_bytes()));
            }
            let before = by_id.take(key.id_bytes()).or_else(|| displaced.take(key.id_bytes()));
            let digest = *key.digest();
            let key = self.place(&mut difference, before.as_ref(), key);
            stale.extend(before.map(|ById(before)| *before.digest()).filter(|before| *before != digest));
            by_id.insert(ById(key));
        }
        difference.removed += displaced.len();
        if whole {
            let unnamed = |each: &&ById| each.0.origin == Origin::Database && !named.contains(*each);
            let gone: Vec<Digest> = by_id.iter().filter(unnamed).map(|ById(key)| *key.digest()).collect();
            difference.removed += gone.iter().filter(|digest| self.take_out(&mut by_id, digest, |_| true)).count();
        }
        for digest in removals {
            let of_database = |key: &Key| key.origin == Origin::Database;
            difference.removed += usize::from(self.take_out(&mut by_id, digest, of_database));
        }
        for digest in stale {
            let is_stale = |ByDigest(key): &ByDigest| {
                by_id.get(key.id_bytes()).is_none_or(|ById(current)| *current.digest() != digest)
            };
            self.by_digest.remove_if(&digest, |key, ()| is_stale(key));
        }
        (difference, clashes)
    }

    /// Takes out the key that has this digest if it is `ours`; says whether there was one.
    fn take_out(&self, by_id: &mut Ids, digest: &Digest, ours: impl Fn(&Key) -> bool) -> bool {
        let Some((ByDigest(key), ())) = self.by_digest.remove_if(digest, |ByDigest(key), ()| ours(key)) else {
            return false;
        };
        let current = by_id.get(key.id_bytes()).is_some_and(|ById(current)| current.digest() == digest);
        if current {
            by_id.remove(key.id_bytes());
        }
        current
    }

    /// Puts in a key in the place of what was there `before` under its id. One that has not changed stays the same `Arc`;
    /// one that has goes on with the usage of the old one, so that no request is lost that still holds that.
    fn place(&self, difference: &mut Difference, before: Option<&ById>, mut key: Arc<Key>) -> Arc<Key> {
        match before {
            Some(ById(before)) if *before == key => return Arc::clone(before),
            Some(ById(before)) => {
                difference.changed += 1;
                before.usage.recorded(key.usage.last_used_s());
                Arc::make_mut(&mut key).usage = Arc::clone(&before.usage);
            }
            None => difference.added += 1,
        }
        match self.by_digest.entry(ByDigest(Arc::clone(&key))) {
            // Not its value but the key of the map is what has changed.
            Entry::Occupied(place) => {
                place.replace_entry(());
            }
            Entry::Vacant(place) => {
                place.insert(());
            }
        }
        key
    }
}

/// What `key` has in common with a key from elsewhere: with the one that has its id, or with the `holder` of its secret.
fn clash(by_id: &Ids, key: &Key, holder: Option<&Key>) -> Option<Clash> {
    let elsewhere = |other: &&Key| other.origin != key.origin;
    let same_id = by_id.get(key.id_bytes()).map(|ById(other)| &**other).filter(elsewhere);
    let same_id = same_id.map(|other| Clash::of(key, other, Same::Id));
    same_id.or_else(|| holder.filter(elsewhere).map(|holder| Clash::of(key, holder, Same::Secret)))
}

impl Default for KeyStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use jiff::Timestamp;

    use super::super::entry::{Entry, State};
    use super::*;

    fn digest(secret: &str) -> Digest {
        Digest::of(secret.as_bytes())
    }

    /// Keys as (id, secret, name).
    fn set<const N: usize>(keys: [(&str, &str, &str); N]) -> KeySet {
        let mut set = KeySet::new();
        for (id, secret, name) in keys {
            let entry = Entry { name: Some(name.into()), ..Entry::new(id, digest(secret)) };
            set.insert(Key::new(entry).unwrap()).unwrap();
        }
        set
    }

    fn difference(added: usize, changed: usize, removed: usize) -> Difference {
        Difference { added, changed, removed }
    }

    #[test]
    fn an_empty_store_finds_nothing() {
        let store = KeyStore::new();
        assert!(store.find(&digest("a")).is_none());
        assert!(store.is_empty());
    }

    #[test]
    fn applying_tells_what_was_added_changed_and_removed() {
        let store = KeyStore::new();
        assert_eq!(store.apply(set([("1", "a", "x"), ("2", "b", "x"), ("3", "c", "x")])), difference(3, 0, 0));
        assert_eq!(store.apply(set([("1", "a", "x"), ("2", "b", "x"), ("3", "c", "x")])), difference(0, 0, 0));
        assert_eq!(store.apply(set([("1", "a", "x"), ("2", "b", "new"), ("4", "d", "x")])), difference(1, 1, 1));
        assert_eq!(store.len(), 3);
        assert_eq!(store.find(&digest("b")).unwrap().name(), "new");
        assert!(store.find(&digest("c")).is_none());
        assert_eq!(store.apply(KeySet::new()), difference(0, 0, 3));
        assert!(store.is_empty());
    }

    #[test]
    fn the_room_of_keys_that_are_gone_is_given_back() {
        let store = KeyStore::new();
        let mut many = set([("1", "a", "x")]);
        for number in 0..10_000 {
            let entry = Entry::new(&format!("many-{number}"), digest(&number.to_string()));
            many.insert(Key::new(entry).unwrap()).unwrap();
        }
        store.apply(many);
        assert_eq!(store.apply(set([("1", "a", "x")])), difference(0, 0, 10_000));
        assert!(store.by_digest.capacity() < 100, "{}", store.by_digest.capacity());
        assert!(store.find(&digest("a")).is_some());
    }

    #[test]
    fn an_unchanged_key_stays_the_same_allocation() {
        let store = KeyStore::new();
        store.apply(set([("1", "a", "x"), ("2", "b", "x")]));
        let before = store.find(&digest("a")).unwrap();
        store.apply(set([("2", "b", "changed"), ("1", "a", "x")]));
        assert!(Arc::ptr_eq(&before, &store.find(&digest("a")).unwrap()));
    }

    #[test]
    fn the_time_of_last_use_survives_a_change_and_a_new_secret() {
        let store = KeyStore::new();
        let now = Moment { unix_ns: 77_000_000_000, monotonic_ns: 0 };
        store.apply(set([("1", "a", "x")]));
        store.find(&digest("a")).unwrap().used(now);

        store.apply(set([("1", "a", "renamed")]));
        assert_eq!(store.find(&digest("a")).unwrap().usage.last_used_s(), 77);

        assert_eq!(store.apply(set([("1", "b", "renamed")])), difference(0, 1, 0));
        assert_eq!(store.find(&digest("b")).unwrap().usage.last_used_s(), 77);
        assert!(store.find(&digest("a")).is_none(), "the old secret is dead");
    }

    #[test]
    fn two_keys_can_exchange_their_secrets() {
        let store = KeyStore::new();
        store.apply(set([("1", "a", "x"), ("2", "b", "x")]));
        store.find(&digest("a")).unwrap().used(Moment { unix_ns: 5_000_000_000, monotonic_ns: 0 });
        assert_eq!(store.apply(set([("1", "b", "x"), ("2", "a", "x")])), difference(0, 2, 0));
        assert_eq!(store.find(&digest("a")).unwrap().id(), "2");
        assert_eq!(store.find(&digest("b")).unwrap().id(), "1");
        assert_eq!(store.find(&digest("b")).unwrap().usage.last_used_s(), 5, "last use goes with the id");
        assert_eq!(store.apply(KeySet::new()), difference(0, 0, 2));
        assert!(store.is_empty());
    }

    #[test]
    fn a_key_is_found_by_its_id_as_it_is_now() {
        let store = KeyStore::new();
        store.apply(set([("1", "a", "x"), ("2", "b", "x")]));
        store.apply(set([("1", "c", "new")]));
        let found = store.find_by_id("1").unwrap();
        assert!(Arc::ptr_eq(&found, &store.find(&digest("c")).unwrap()));
        assert_eq!(found.name(), "new");
        assert!(store.find_by_id("2").is_none() && store.find_by_id("").is_none());
        store.remove(&digest("c"));
        assert!(store.find_by_id("1").is_none());
    }

    #[test]
    fn an_id_that_passes_to_another_key_with_the_old_secret_is_kept_apart() {
        let store = KeyStore::new();
        store.apply(set([("1", "a", "x")]));
        assert_eq!(store.apply(set([("2", "a", "x")])), difference(1, 0, 1));
        assert_eq!(store.find(&digest("a")).unwrap().id(), "2");
    }

    #[test]
    fn a_removed_key_is_dead_when_apply_returns() {
        let store = KeyStore::new();
        for round in 0..50 {
            let secret = format!("s{round}");
            store.apply(set([("1", &secret, "x"), ("2", "b", "x")]));
            assert!(store.find(&digest(&secret)).is_some());
            store.apply(set([("2", "b", "x")]));
            assert!(store.find(&digest(&secret)).is_none());
        }
    }

    /// The promise of a reload under load: readers ask without pause for keys that stay, or that change in everything
    /// but their secret, while everything around them comes and goes.
    #[test]
    fn no_reader_ever_misses_a_key_that_stays() {
        let store = KeyStore::new();
        let many = |round: usize| {
            let mut set = set([("stays", "stays", "x"), ("changes", "changes", &format!("round {round}"))]);
            for index in 0..300 {
                let entry = Entry::new(&format!("{round}-{index}"), digest(&format!("{round}-{index}")));
                set.insert(Key::new(entry).unwrap()).unwrap();
            }
            set
        };
        store.apply(many(0));
        let first = store.find(&digest("stays")).unwrap();
        let done = AtomicBool::new(false);
        let (stays, changes) = (digest("stays"), digest("changes"));

        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut reads = 0_u64;
                        while !done.load(Ordering::Relaxed) {
                            assert!(store.find(&stays).is_some_and(|key| Arc::ptr_eq(&key, &first)));
                            assert!(store.find(&changes).is_some());
                            reads += 1;
                        }
                        reads
                    })
                })
                .collect();
            for round in 1..60 {
                let difference = store.apply(many(round));
                assert_eq!(difference, Difference { added: 300, changed: 1, removed: 300 });
            }
            done.store(true, Ordering::Relaxed);
            let reads: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert!(reads > 100, "the readers hardly ran: {reads}");
        });
    }

    #[test]
    fn concurrent_applies_do_not_mix() {
        let store = KeyStore::new();
        thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..50 {
                        let ids: Vec<String> = (0..20).map(|index| format!("{writer}-{round}-{index}")).collect();
                        let mut set = KeySet::new();
                        for id in &ids {
                            set.insert(Key::new(Entry::new(id, digest(id))).unwrap()).unwrap();
                        }
                        store.apply(set);
                    }
                });
            }
        });
        assert_eq!(store.len(), 20);
        let writers: HashSet<String> =
            store.by_digest.iter().map(|each| each.key().0.id().rsplit_once('-').unwrap().0.to_owned()).collect();
        assert_eq!(writers.len(), 1, "the store holds one set, not parts of several: {writers:?}");
        assert_eq!(store.apply(KeySet::new()), difference(0, 0, 20));
        assert!(store.is_empty());
    }

    #[test]
    fn keys_are_counted_by_standing_and_the_oldest_good_one_is_known() {
        let now = Moment { unix_ns: 1_000_000_000_000, monotonic_ns: 0 };
        let second = |second| Some(Timestamp::from_second(second).unwrap());
        let mut set = KeySet::new();
        for (id, environment, state, created, expires, not_before) in [
            ("1", Some("live"), State::Active, second(900), None, None),
            ("2", Some("live"), State::Active, second(400), None, None),
            ("3", Some("live"), State::Revoked, second(1), None, None),
            ("4", Some("live"), State::Inactive, second(1), None, None),
            ("5", Some("live"), State::Active, second(1), second(1000), None),
            ("6", Some("test"), State::Active, second(1), None, second(1001)),
            ("7", Some("test"), State::Active, None, None, None),
            ("8", None, State::Active, second(2000), None, None),
            ("9", None, State::Active, second(2000), second(5000), None),
            ("10", None, State::Active, second(2000), second(4000), None),
            ("11", None, State::Revoked, second(2000), second(3000), None),
            ("rotated", None, State::Active, second(2000), second(3000), None),
        ] {
            let entry = Entry {
                environment: environment.map(Into::into),
                state,
                created,
                expires,
                not_before,
                ..Entry::new(id, digest(id))
            };
            let retires = expires.filter(|_| id == "rotated");
            set.insert(Key::new(entry).unwrap().retiring(retires)).unwrap();
        }
        let store = KeyStore::new();
        store.apply(set);

        let counts = store.count_by_state(now);
        let expected = StandingCounts { good: 7, inactive: 1, revoked: 2, expired: 1, not_yet_valid: 1 };
        assert_eq!(counts, expected);
        assert_eq!(Standing::ALL.map(|standing| counts.of(standing)).iter().sum::<usize>(), store.len());
        let oldest = store.oldest_active_by_environment(now);
        assert_eq!(oldest, BTreeMap::from([(None, 0), (Some("live".into()), 600)]), "made in the future: age 0");
        assert_eq!(
            store.next_expiry_by_environment(now),
            BTreeMap::from([(None, 4000)]),
            "not what is over or replaced"
        );
    }

    /// Keys of the database, as (id, secret, name).
    fn of_database<const N: usize>(keys: [(&str, &str, &str); N]) -> Vec<Key> {
        let of_database = |key: &Key| {
            let mut key = key.clone();
            key.origin = Origin::Database;
            key
        };
        set(keys).iter().map(of_database).collect()
    }

    fn set_of_database<const N: usize>(keys: [(&str, &str, &str); N]) -> KeySet {
        let mut set = KeySet::new();
        of_database(keys).into_iter().for_each(|key| set.insert(key).unwrap());
        set
    }

    fn changes<const N: usize, const M: usize>(
        upserts: [(&str, &str, &str); N],
        removals: [&str; M],
    ) -> Delta<Key, Digest> {
        Delta { upserts: of_database(upserts), removals: removals.map(digest).to_vec() }
    }

    /// Files with 1 and 2, a database with 3 and 4.
    fn two_sources() -> KeyStore {
        let store = KeyStore::new();
        assert_eq!(store.apply_from(Origin::File, set([("1", "a", "x"), ("2", "b", "x")])), Ok(difference(2, 0, 0)));
        assert_eq!(
            store.apply_from(Origin::Database, set_of_database([("3", "c", "x"), ("4", "d", "x")])),
            Ok(difference(2, 0, 0))
        );
        store
    }

    fn id_of(store: &KeyStore, secret: &str) -> Option<String> {
        store.find(&digest(secret)).map(|key| key.id().to_owned())
    }

    #[test]
    fn each_source_changes_its_own_keys_only() {
        let store = two_sources();
        let kept = store.find(&digest("d")).unwrap();
        assert_eq!(store.apply_from(Origin::File, set([("2", "b", "new"), ("5", "e", "x")])), Ok(difference(1, 1, 1)));
        assert!(Arc::ptr_eq(&kept, &store.find(&digest("d")).unwrap()));
        assert_eq!(store.apply_from(Origin::Database, KeySet::new()), Ok(difference(0, 0, 2)));
        assert_eq!((id_of(&store, "a"), id_of(&store, "b"), id_of(&store, "d")), (None, Some("2".into()), None));
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_clash_between_sources_changes_nothing_and_names_both() {
        let store = two_sources();
        let clashes =
            store.apply_from(Origin::File, set([("3", "e", "x"), ("6", "d", "x"), ("7", "f", "x")])).unwrap_err();
        let clash =
            |what, id: &str, holder: &str| Clash { what, id: id.into(), origin: Origin::File, holder: holder.into() };
        assert_eq!(clashes, [clash(Same::Id, "3", "3"), clash(Same::Secret, "6", "4")]);
        assert_eq!((store.len(), id_of(&store, "a"), id_of(&store, "f")), (4, Some("1".into()), None));
        assert_eq!(
            clashes[1].to_string(),
            "the keys 6 and 4, one in a key file and one in the database, have the same secret"
        );

        let mut files = set([("1", "a", "x"), ("2", "b", "x")]);
        let others = set_of_database([("1", "e", "x"), ("5", "b", "x"), ("6", "f", "x")]);
        let clash = |what, id: &str, holder: &str| Clash {
            what,
            id: id.into(),
            origin: Origin::Database,
            holder: holder.into(),
        };
        assert_eq!(files.extend(others), Err(vec![clash(Same::Id, "1", "1"), clash(Same::Secret, "5", "2")]));
    }

    #[test]
    fn a_single_key_is_put_in_and_taken_out() {
        let store = two_sources();
        let put = |id: &str, secret: &str, name: &str| store.put(of_database([(id, secret, name)]).remove(0));
        assert_eq!(put("5", "e", "x"), Ok(difference(1, 0, 0)));
        assert_eq!(put("5", "e", "x"), Ok(difference(0, 0, 0)));
        assert_eq!(put("5", "f", "x"), Ok(difference(0, 1, 0)));
        assert_eq!((id_of(&store, "e"), id_of(&store, "f")), (None, Some("5".into())), "the old secret is dead");
        assert_eq!(put("1", "g", "x").unwrap_err().what, Same::Id);
        assert_eq!(put("6", "a", "x").unwrap_err().what, Same::Secret);
        assert_eq!((id_of(&store, "a"), id_of(&store, "g")), (Some("1".into()), None));
        assert_eq!(store.remove(&digest("f")), difference(0, 0, 1));
        assert_eq!(store.remove(&digest("f")), difference(0, 0, 0));
        assert_eq!(store.len(), 4);
        assert_eq!(store.apply(KeySet::new()), difference(0, 0, 4));
    }

    #[test]
    fn changes_of_the_database_are_taken_on_and_files_are_left_alone() {
        let store = two_sources();
        let (done, clashes) =
            store.change(changes([("3", "c", "new"), ("5", "e", "x"), ("2", "f", "x")], ["d", "a", "none"]), false);
        assert_eq!(done, difference(1, 1, 1));
        assert_eq!(clashes.len(), 1, "the id of a key in a file: left out, and everything else is done");
        assert_eq!(store.find(&digest("c")).unwrap().name(), "new");
        assert_eq!((id_of(&store, "a"), id_of(&store, "d"), id_of(&store, "f")), (Some("1".into()), None, None));

        let all = changes([("5", "e", "x"), ("7", "g", "x")], []);
        assert_eq!(store.change(all, true).0, difference(1, 0, 1));
        assert_eq!((store.len(), id_of(&store, "c"), id_of(&store, "b")), (4, None, Some("2".into())));
    }

    #[test]
    fn keys_of_the_database_can_exchange_their_secrets() {
        let store = two_sources();
        store.find(&digest("c")).unwrap().used(Moment { unix_ns: 5_000_000_000, monotonic_ns: 0 });
        assert_eq!(store.change(changes([("3", "d", "x"), ("4", "c", "x")], []), false).0, difference(0, 2, 0));
        assert_eq!((id_of(&store, "c"), id_of(&store, "d")), (Some("4".into()), Some("3".into())));
        assert_eq!(store.find(&digest("d")).unwrap().usage.last_used_s(), 5, "usage goes with the id");
        assert_eq!(store.change(changes([("5", "d", "x")], []), false).0, difference(1, 0, 1));
        assert_eq!((id_of(&store, "d"), store.len()), (Some("5".into()), 4));
        assert_eq!(store.apply(KeySet::new()), difference(0, 0, 4));
        assert!(store.is_empty());
    }

    #[test]
    fn usage_is_handed_out_once_and_none_is_lost_to_a_change() {
        let store = two_sources();
        let now = Moment { unix_ns: 9_000_000_000, monotonic_ns: 0 };
        let held = store.find(&digest("c")).unwrap();
        held.used(now);
        store.change(changes([("3", "c", "new")], []), false);
        // A request that found the key before it was changed.
        held.used(now);
        store.find(&digest("c")).unwrap().used(now);
        store.find(&digest("a")).unwrap().used(Moment { unix_ns: 3_000_000_000, monotonic_ns: 0 });
        let mut usage = store.drain_usage();
        usage.sort_by(|a, b| a.key.cmp(&b.key));
        let of = |key: &str, last_used_s, requests| KeyUsage { key: key.into(), last_used_s, requests };
        assert_eq!(usage, [of("1", 3, 1), of("3", 9, 3)]);
        assert_eq!(store.drain_usage(), []);

        store.recall_last_used(&[("2".into(), 7), ("3".into(), 1), ("none".into(), 1)]);
        assert_eq!(store.find(&digest("b")).unwrap().usage.last_used_s(), 7);
        assert_eq!(store.find(&digest("c")).unwrap().usage.last_used_s(), 9, "it never goes back");
        assert_eq!(store.drain_usage(), [], "that was no request");
    }

    #[test]
    fn usage_is_counted_exactly_whatever_happens_to_the_key() {
        let store = KeyStore::new();
        store.change(changes([("1", "a", "0")], []), false);
        let total: u64 = thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        store.find(&digest("a")).unwrap().used(Moment { unix_ns: 1, monotonic_ns: 0 });
                    }
                });
            }
            (0..300)
                .map(|round| {
                    store.change(changes([("1", "a", &round.to_string())], []), false);
                    store.drain_usage().iter().map(|usage| usage.requests).sum::<u64>()
                })
                .sum()
        });
        let rest: u64 = store.drain_usage().iter().map(|usage| usage.requests).sum();
        assert_eq!(total + rest, 60_000);
    }

    #[test]
    fn a_store_prints_no_key_and_no_digest() {
        let store = KeyStore::new();
        let set = set([("1", "a", "x")]);
        assert_eq!(format!("{set:?}"), "KeySet { keys: 1, .. }");
        store.apply(set);
        assert_eq!(format!("{store:?}"), "KeyStore { keys: 1, .. }");
    }
}
