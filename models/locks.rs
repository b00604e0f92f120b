//! What `src/locks.rs` is in the program, with a model in the place of each lock.
//!
//! The map is one of two parts, each with a lock of its own: as in the real one, whoever goes through all of it holds one
//! part at a time, and whoever holds a value holds its part.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::marker::PhantomData;
use std::ops::Deref;

use shuttle::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub use shuttle::sync::{Mutex, MutexGuard};
pub use std::sync::PoisonError;

/// The model of `dashmap::DashMap`.
pub struct DashMap<K, V, S> {
    hasher: PhantomData<S>,
    parts: [RwLock<HashMap<K, V>>; 2],
}

/// A value, while its part is locked against writers.
pub struct Ref<'m, K, V> {
    part: RwLockReadGuard<'m, HashMap<K, V>>,
    key: K,
}

/// The place of a key, while its part is locked.
pub enum Entry<'m, K, V> {
    /// There is a value.
    Occupied(Place<'m, K, V>),
    /// There is none.
    Vacant(Place<'m, K, V>),
}

pub struct Place<'m, K, V> {
    part: RwLockWriteGuard<'m, HashMap<K, V>>,
    key: K,
}

impl<K: Clone + Eq + Hash, V, S> DashMap<K, V, S> {
    pub fn with_capacity_and_hasher_and_shard_amount(_: usize, _: S, _: usize) -> Self {
        Self { hasher: PhantomData, parts: [RwLock::new(HashMap::new()), RwLock::new(HashMap::new())] }
    }

    /// Never by the seed of the program's hasher: an order that was told must lead to the same end again.
    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        &self.parts[usize::from(hash & 1 == 1)]
    }

    pub fn get<Q: Eq + Hash>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let part = self.part(key).read().unwrap_or_else(PoisonError::into_inner);
        let key = part.get_key_value(key)?.0.clone();
        Some(Ref { part, key })
    }

    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.part(&key).write().unwrap_or_else(PoisonError::into_inner).insert(key, value)
    }

    pub fn remove_if<Q: Eq + Hash>(&self, key: &Q, condition: impl FnOnce(&K, &V) -> bool) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let mut part = self.part(key).write().unwrap_or_else(PoisonError::into_inner);
        let fits = part.get_key_value(key).is_some_and(|(key, value)| condition(key, value));
        if fits { part.remove_entry(key) } else { None }
    }

    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        let part = self.part(&key).write().unwrap_or_else(PoisonError::into_inner);
        let occupied = part.contains_key(&key);
        let place = Place { part, key };
        if occupied { Entry::Occupied(place) } else { Entry::Vacant(place) }
    }

    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for part in &self.parts {
            part.write().unwrap_or_else(PoisonError::into_inner).retain(|key, value| keep(key, value));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Ref<'_, K, V>> {
        let keys = |part: &RwLock<HashMap<K, V>>| -> Vec<K> {
            part.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
        };
        self.parts.iter().flat_map(keys).filter_map(|key| self.get(&key))
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub fn capacity(&self) -> usize {
        self.parts.iter().map(|part| part.read().unwrap_or_else(PoisonError::into_inner).capacity()).sum()
    }

    pub fn shrink_to_fit(&self) {
        for part in &self.parts {
            part.write().unwrap_or_else(PoisonError::into_inner).shrink_to_fit();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'m, K: Clone + Eq + Hash, V, S> IntoIterator for &'m DashMap<K, V, S> {
    type Item = Ref<'m, K, V>;
    type IntoIter = Box<dyn Iterator<Item = Ref<'m, K, V>> + 'm>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<K, V> Ref<'_, K, V> {
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash, V> Deref for Ref<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.part[&self.key]
    }
}

impl<K: Eq + Hash, V> Place<'_, K, V> {
    pub fn get(&self) -> &V {
        &self.part[&self.key]
    }

    pub fn insert(mut self, value: V) {
        self.part.insert(self.key, value);
    }

    /// Puts in the key, too, in the place of the one that is there.
    pub fn replace_entry(mut self, value: V) {
        self.part.remove(&self.key);
        self.part.insert(self.key, value);
    }
}
