//! The keys that sources hold, before they are put in force; and what is said of two that cannot be told apart.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::key::{Key, Origin};
use crate::secret::{Digest, DigestState};

/// The keys that all sources hold together, at one moment. No id and no digest occurs twice.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<(Digest, Key)>,
    ids: HashMap<Arc<str>, usize>,
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

impl KeySet {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one key.
    ///
    /// # Errors
    ///
    /// [`Duplicate`] if its id or its secret is there already. Nothing is added then: which of the two the operator
    /// meant is not ours to guess.
    pub fn insert(&mut self, digest: Digest, key: Key) -> Result<(), Duplicate> {
        if let Some(index) = self.ids.get(&key.id) {
            return Err(Duplicate::Id(*index));
        }
        if let Some(index) = self.digests.get(&digest) {
            return Err(Duplicate::Digest(*index));
        }
        self.ids.insert(Arc::clone(&key.id), self.keys.len());
        self.digests.insert(digest, self.keys.len());
        self.keys.push((digest, key));
        Ok(())
    }

    /// Adds the keys of another kind of source.
    ///
    /// # Errors
    ///
    /// Every key of `others` whose id or secret is there already. What does not clash is added.
    pub fn extend(&mut self, others: Self) -> Result<(), Vec<Clash>> {
        let mut clashes = Vec::new();
        for (digest, key) in others.keys {
            let (id, origin) = (Arc::clone(&key.id), key.origin);
            if let Err(duplicate) = self.insert(digest, key) {
                let (what, holder) = match duplicate {
                    Duplicate::Id(holder) => (Same::Id, holder),
                    Duplicate::Digest(holder) => (Same::Secret, holder),
                };
                clashes.push(Clash { what, id, origin, holder: Arc::clone(&self.keys[holder].1.id) });
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
        self.keys.iter().map(|(_, key)| key)
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
        let digest = |secret: &str| Digest::of(secret.as_bytes());
        let key = |id: &str| Key::new(Entry::new(id, digest("unused"))).unwrap();
        set.insert(digest("a"), key("1")).unwrap();
        set.insert(digest("b"), key("2")).unwrap();
        assert_eq!(set.insert(digest("c"), key("2")), Err(Duplicate::Id(1)));
        assert_eq!(set.insert(digest("a"), key("3")), Err(Duplicate::Digest(0)));
        assert_eq!(set.len(), 2);
    }
}
