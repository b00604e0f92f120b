//! The keys that sources hold, before they are put in force; and what is said of two that cannot be told apart.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::key::{Key, Origin};
use crate::secret::{Digest, DigestState};

/// A key in a set of keys that differ in their ids.
#[derive(Clone)]
pub(super) struct ById(pub(super) Arc<Key>);

/// A key in a map of keys that differ in their digests.
#[derive(Clone)]
pub(super) struct ByDigest(pub(super) Arc<Key>);

/// The keys that all sources hold together, at one moment. No id and no digest occurs twice.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<Arc<Key>>,
    /// The same keys, to find them.
    pub(super) ids: HashSet<ById>,
    /// At which index each digest is.
    digests: HashMap<Digest, usize, DigestState>,
}

/// A key that cannot be told from one that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Duplicate {
    /// Another key has this id: the one at this index, in order of insertion.
    #[error("another key has the same id")]
    Id(usize),
    /// Another key has this secret: the one at this index, in order of insertion.
    #[error("another key has the same secret")]
    Digest(usize),
}

impl Duplicate {
    /// The index of the key that was there.
    pub(super) const fn earlier(self) -> usize {
        match self {
            Self::Id(earlier) | Self::Digest(earlier) => earlier,
        }
    }
}

impl KeySet {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for so many more keys.
    pub(super) fn reserve(&mut self, keys: usize) {
        self.keys.reserve(keys);
        self.ids.reserve(keys);
        self.digests.reserve(keys);
    }

    /// Adds one key.
    ///
    /// # Errors
    ///
    /// [`Duplicate`] if its id or its secret is there already. Nothing is added then: which of the two the operator
    /// meant is not ours to guess.
    pub fn insert(&mut self, key: Key) -> Result<(), Duplicate> {
        self.insert_shared(Arc::new(key))
    }

    fn insert_shared(&mut self, key: Arc<Key>) -> Result<(), Duplicate> {
        // What is there already is not replaced by this.
        if !self.ids.insert(ById(Arc::clone(&key))) {
            let earlier = self.ids.get(key.id_bytes()).and_then(|ById(earlier)| self.digests.get(earlier.digest()));
            return Err(Duplicate::Id(earlier.copied().unwrap_or_default()));
        }
        match self.digests.entry(*key.digest()) {
            Entry::Occupied(earlier) => {
                self.ids.remove(key.id_bytes());
                Err(Duplicate::Digest(*earlier.get()))
            }
            Entry::Vacant(place) => {
                place.insert(self.keys.len());
                self.keys.push(key);
                Ok(())
            }
        }
    }

    /// Adds the keys of another kind of source.
    ///
    /// # Errors
    ///
    /// Every key of `others` whose id or secret is there already. What does not clash is added.
    pub fn extend(&mut self, others: Self) -> Result<(), Vec<Clash>> {
        let mut clashes = Vec::new();
        for key in others.keys {
            if let Err(duplicate) = self.insert_shared(Arc::clone(&key)) {
                let (what, holder) = match duplicate {
                    Duplicate::Id(holder) => (Same::Id, holder),
                    Duplicate::Digest(holder) => (Same::Secret, holder),
                };
                clashes.push(Clash::of(&key, &self.keys[holder], what));
            }
        }
        if clashes.is_empty() { Ok(()) } else { Err(clashes) }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Says whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id_bytes() == other.0.id_bytes()
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id_bytes().hash(state);
    }
}

impl Borrow<[u8]> for ById {
    fn borrow(&self) -> &[u8] {
        self.0.id_bytes()
    }
}

impl PartialEq for ByDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

impl Eq for ByDigest {}

impl Hash for ByDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest().hash(state);
    }
}

impl Borrow<Digest> for ByDigest {
    fn borrow(&self) -> &Digest {
        self.0.digest()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.len()).finish_non_exhaustive()
    }
}

/// Two keys from different kinds of source that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys {id} and {holder}, one in a key file and one in the database, have the same {}", .what.name())]
pub struct Clash {
    /// What they have in common.
    pub what: Same,
    /// The id of the key that was not taken.
    pub id: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// The id of the key that was there, from elsewhere.
    pub holder: Arc<str>,
}

impl Clash {
    /// Of a key that is not taken, and the one that was there.
    pub(super) fn of(key: &Key, holder: &Key, what: Same) -> Self {
        Self { what, id: key.id().into(), origin: key.origin, holder: holder.id().into() }
    }
}

/// What two keys have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// The id.
    Id,
    /// The secret.
    Secret,
}

impl Same {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Secret => "secret",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::*;

    #[test]
    fn an_id_or_a_secret_occurs_once_in_a_set() {
        let mut set = KeySet::new();
        let key = |id: &str, secret: &str| Key::new(Entry::new(id, Digest::of(secret.as_bytes()))).unwrap();
        set.insert(key("1", "a")).unwrap();
        set.insert(key("2", "b")).unwrap();
        assert_eq!(set.insert(key("2", "c")), Err(Duplicate::Id(1)));
        assert_eq!(set.insert(key("3", "a")), Err(Duplicate::Digest(0)));
        assert_eq!(set.len(), 2);
        set.insert(key("3", "c")).unwrap();
        assert_eq!(set.insert(key("3", "a")), Err(Duplicate::Id(2)), "what was refused has left nothing behind");
    }
}
