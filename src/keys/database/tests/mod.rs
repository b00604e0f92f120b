//! What the store promises, seen from outside.

mod durability;
mod following;
mod history;
mod keys;
mod live;
mod logins;
mod rotation;
mod sessions;
mod users;

use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::{By, Database, DatabaseError, KeyRecord, Reader, Writer};
use crate::keys::entry::Entry;
use crate::moment::Moment;
use crate::secret::Digest;

/// 2026-11-22T00:00:00Z
const NOW_S: u64 = 1_795_305_600;

/// A number of seconds after a midnight in 2026.
fn at(seconds: u64) -> Moment {
    Moment { unix_ns: (NOW_S + seconds) * 1_000_000_000, monotonic_ns: 0 }
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(NOW_S + seconds).unwrap()).unwrap()
}

/// A key whose secret is its id.
fn entry(id: &str) -> Entry {
    Entry::new(id, digest(id))
}

fn digest(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

/// A store of its own.
struct Fixture {
    directory: TempDir,
    database: Database,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("k.db")).unwrap();
        Self { directory, database }
    }

    fn path(&self) -> &Path {
        self.database.path()
    }

    fn try_write<T: Send + 'static>(
        &self,
        seconds: u64,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.database.write_blocking(By::api("alice"), at(seconds), what)
    }

    #[track_caller]
    fn write<T: Send + 'static>(
        &self,
        seconds: u64,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> T {
        self.try_write(seconds, what).unwrap()
    }

    /// The error, in words.
    #[track_caller]
    fn refused<T: Send + 'static>(
        &self,
        seconds: u64,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> String {
        self.try_write(seconds, what).map(|_| ()).unwrap_err().to_string()
    }

    #[track_caller]
    fn create(&self, entry: Entry) -> KeyRecord {
        self.write(0, |store| store.create_key(entry))
    }

    #[track_caller]
    fn key(&self, id: &str) -> KeyRecord {
        let id = id.to_owned();
        self.database.read_blocking(move |store| store.key(&id)).unwrap()
    }
}
