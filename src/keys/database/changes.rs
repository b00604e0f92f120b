//! What the road needs of the store: everything once, and then only what has changed.
//!
//! Every write that changes something has a number, its revision, and each key, user, login and session and each removal
//! carries the number of its last change. A reader that has everything up to a revision asks for what is later.

use super::super::key::Key;
use super::super::sharing::Sharing;
use super::error::DatabaseError;
use super::logins::LoginRecord;
use super::record::{Revision, UserRecord};
use super::row::{self, SELECT};
use super::sessions::SessionRecord;
use super::transaction::{Reader, Writer, signed, unsigned};
use crate::secret::Digest;

/// Removals of each sort that are remembered. A reader that has missed more takes everything anew.
pub(super) const REMOVED_MAX: i64 = 10_000;

/// All keys at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Everything up to this write is in it.
    pub revision: Revision,
    /// The keys, whatever their state.
    pub keys: Vec<Key>,
    /// The ids of keys that cannot be understood or are not allowed, because somebody has written to the file by other
    /// means. They are left out: what cannot be understood opens nothing.
    pub unusable: Vec<String>,
}

/// What has changed after a revision.
#[derive(Debug)]
pub struct Changes {
    /// Everything up to this write is known when these changes are applied.
    pub revision: Revision,
    /// Too much was removed since then, or the revision is not of this store: the upserts are all there is, and everything
    /// else of this store is gone.
    pub whole: bool,
    /// Keys, and the digests that open nothing any more.
    pub keys: Delta<Key, Digest>,
    /// Users, and the ids of those who are gone.
    pub users: Delta<UserRecord, String>,
    /// Logins, and the ids of those that have ended. One that is over is not among them.
    pub logins: Delta<LoginRecord, String>,
    /// Sessions, and the digests of those that were revoked. One that is over is not among them.
    pub sessions: Delta<(Digest, SessionRecord), Digest>,
    /// What cannot be understood, as in [`Snapshot::unusable`]; it is among the removals.
    pub unusable: Vec<Unusable>,
}

/// What has changed of one sort: first put in the upserts, then take out the removals.
#[derive(Debug)]
pub struct Delta<T, Name> {
    /// What is new or changed.
    pub upserts: Vec<T>,
    /// What is gone, by name. Nothing of it is among the upserts.
    pub removals: Vec<Name>,
}

/// Something that cannot be understood, or is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// `key`, `user`, `login` or `session`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

/// What can be gone before its time, keys aside: users and logins by id, sessions by digest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    User,
    Login,
    Session,
}

impl Gone {
    const ALL: [Self; 3] = [Self::User, Self::Login, Self::Session];

    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Login => "login",
            Self::Session => "session",
        }
    }
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
        let whole = since > revision || since < Revision(unsigned(forgotten));
        let since = if whole { Revision(0) } else { since };
        let (keys, unusable_keys) = self.keys_after(since)?;
        let (users, unusable_users) = self.users_after(since)?;
        let (logins, unusable_logins) = self.logins_after(since)?;
        let (sessions, unusable_sessions) = self.sessions_after(since)?;
        let mut changes = Changes {
            revision,
            whole,
            keys: Delta { upserts: keys, removals: Vec::new() },
            users: Delta { upserts: users, removals: Vec::new() },
            logins: Delta { upserts: logins, removals: Vec::new() },
            sessions: Delta { upserts: sessions, removals: Vec::new() },
            unusable: Vec::new(),
        };
        if !whole {
            self.add_removals(since, &mut changes)?;
            changes.keys.removals.extend(unusable_keys.iter().map(|(digest, _)| *digest));
            changes.users.removals.extend(unusable_users.iter().cloned());
            changes.logins.removals.extend(unusable_logins.iter().cloned());
            changes.sessions.removals.extend(unusable_sessions.iter().map(|(digest, _)| *digest));
        }
        let of = |kind| move |id| Unusable { kind, id };
        changes.unusable.extend(unusable_keys.into_iter().map(|(_, id)| id).map(of("key")));
        changes.unusable.extend(unusable_users.into_iter().map(of("user")));
        changes.unusable.extend(unusable_logins.into_iter().map(of("login")));
        changes.unusable.extend(unusable_sessions.into_iter().map(|(_, id)| id).map(of("session")));
        Ok(changes)
    }

    fn add_removals(&self, since: Revision, changes: &mut Changes) -> Result<(), DatabaseError> {
        let since = signed(since.0);
        let digests = "SELECT digest FROM removed WHERE revision > ?1";
        changes.keys.removals = self.all(digests, [since], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
        let gone: Vec<(String, Vec<u8>)> =
            self.all("SELECT kind, name FROM gone WHERE revision > ?1", [since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (kind, name) in gone {
            match Gone::ALL.into_iter().find(|gone| gone.name() == kind) {
                // A name that is none of ours is of nothing that was ever taken for one.
                Some(Gone::User) => changes.users.removals.extend(String::from_utf8(name).ok()),
                Some(Gone::Login) => changes.logins.removals.extend(String::from_utf8(name).ok()),
                Some(Gone::Session) => {
                    changes.sessions.removals.extend(name.try_into().ok().map(Digest::from_bytes));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The keys that were changed after `since`, and those of them that cannot be used.
    #[expect(clippy::type_complexity, reason = "two lists, one of pairs")]
    fn keys_after(&self, since: Revision) -> Result<(Vec<Key>, Vec<(Digest, String)>), DatabaseError> {
        let (mut keys, mut unusable, mut sharing) = (Vec::new(), Vec::new(), Sharing::default());
        // Where all is asked for, the table itself is gone through; by its index, each row would be looked up.
        let revision = if since == Revision(0) { "+k.revision" } else { "k.revision" };
        self.all(&format!("{SELECT} WHERE {revision} > ?1"), [signed(since.0)], |row| {
            match row::read(row)?.and_then(|stored| stored.into_key(&mut sharing)) {
                Ok(key) => keys.push(key),
                Err(key) => unusable.push(key),
            }
            Ok(())
        })?;
        Ok((keys, unusable))
    }
}

impl Writer<'_> {
    /// Notes that something is gone, for readers that have it still.
    pub(super) fn went(&self, kind: Gone, name: &[u8]) -> Result<(), DatabaseError> {
        let revision = signed(self.next_revision()?.0);
        self.run(
            "INSERT OR REPLACE INTO gone (kind, name, revision) VALUES (?1, ?2, ?3)",
            (kind.name(), name, revision),
        )?;
        self.forget_removals(REMOVED_MAX)
    }

    /// Notes that something of this name is there, which may have been gone.
    pub(super) fn came(&self, kind: Gone, name: &[u8]) -> Result<(), DatabaseError> {
        self.run("DELETE FROM gone WHERE kind = ?1 AND name = ?2", (kind.name(), name)).map(drop)
    }

    /// Keeps the youngest `keep` removals of keys and of all else, and notes up to which revision they are no longer
    /// known.
    pub(super) fn forget_removals(&self, keep: i64) -> Result<(), DatabaseError> {
        for table in ["removed", "gone"] {
            let last = format!("SELECT revision FROM {table} ORDER BY revision DESC LIMIT 1 OFFSET ?1");
            let last: Option<i64> = self.first(&last, [keep], |row| row.get(0))?;
            if let Some(last) = last {
                self.run(&format!("DELETE FROM {table} WHERE revision <= ?1"), [last])?;
                self.run("UPDATE counter SET forgotten = max(forgotten, ?1)", [last])?;
            }
        }
        Ok(())
    }
}
