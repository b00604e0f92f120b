//! What the road needs of the store: all keys once, and then only what has changed.
//!
//! Every write that changes a key has a number, its revision, and each key and each removal carries the number of its last
//! change. A reader that has everything up to a revision asks for what is later.

use super::super::key::Key;
use super::error::DatabaseError;
use super::record::Revision;
use super::row::{self, SELECT};
use super::transaction::{Reader, signed, unsigned};
use crate::secret::Digest;

/// All keys at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Everything up to this write is in it.
    pub revision: Revision,
    /// The keys, whatever their state.
    pub keys: Vec<(Digest, Key)>,
    /// The ids of keys that cannot be understood or are not allowed, because somebody has written to the file by other
    /// means. They are left out: what cannot be understood opens nothing.
    pub unusable: Vec<String>,
}

/// What has changed after a revision.
#[derive(Debug)]
pub struct Changes {
    /// Everything up to this write is known when these changes are applied.
    pub revision: Revision,
    /// New and changed keys; first put them in, then take out the removals.
    pub upserts: Vec<(Digest, Key)>,
    /// Digests that open nothing any more. None of them is among the upserts.
    pub removals: Vec<Digest>,
    /// Too much was removed since then, or the revision is not of this store: `upserts` are all keys there are, and every
    /// other key of this store is gone.
    pub whole: bool,
    /// As [`Snapshot::unusable`]; their digests are among the removals.
    pub unusable: Vec<String>,
}

impl Reader {
    /// All keys.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, DatabaseError> {
        let (keys, unusable) = self.keys_after(Revision(0))?;
        let unusable = unusable.into_iter().map(|(_, id)| id).collect();
        Ok(Snapshot { revision: self.revision()?, keys, unusable })
    }

    /// What has changed after `since`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn changes_since(&self, since: Revision) -> Result<Changes, DatabaseError> {
        let revision = self.revision()?;
        let forgotten: i64 = self.one("SELECT forgotten FROM counter", [], |row| row.get(0))?;
        if since > revision || since < Revision(unsigned(forgotten)) {
            let Snapshot { revision, keys, unusable } = self.snapshot()?;
            return Ok(Changes { revision, upserts: keys, removals: Vec::new(), whole: true, unusable });
        }
        let (upserts, unusable) = self.keys_after(since)?;
        let mut removals = self.all("SELECT digest FROM removed WHERE revision > ?1", [signed(since.0)], |row| {
            Ok(Digest::from_bytes(row.get(0)?))
        })?;
        removals.extend(unusable.iter().map(|(digest, _)| *digest));
        let unusable = unusable.into_iter().map(|(_, id)| id).collect();
        Ok(Changes { revision, upserts, removals, whole: false, unusable })
    }

    /// The keys that were changed after `since`, and those of them that cannot be used.
    #[expect(clippy::type_complexity, reason = "two lists, each of pairs")]
    fn keys_after(&self, since: Revision) -> Result<(Vec<(Digest, Key)>, Vec<(Digest, String)>), DatabaseError> {
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        let readings = self.all(&format!("{SELECT} WHERE k.revision > ?1"), [signed(since.0)], row::read)?;
        for reading in readings {
            match reading.and_then(row::Stored::into_key) {
                Ok(key) => keys.push(key),
                Err(key) => unusable.push(key),
            }
        }
        Ok((keys, unusable))
    }
}
