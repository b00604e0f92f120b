//! The writable store of keys, users, logins and sessions: an SQLite file beside the key files.
//!
//! ```text
//! command line, management API -> Database::write(by, now, |store| store.create_key(...))    durable when it returns
//! gateway                      -> Live::write(by, now, |store| store.create_login(...))      durable, and in force
//! gateway                      -> Database::read(|store| store.changes_since(revision))      -> KeyStore, Directory
//! command line                 -> announce: "sync 17" -> the gateway takes the changes       -> in force at once
//! ```
//!
//! What a function that is handed to [`Database::write`] does is one transaction, with its lines in the audit trail. The
//! file holds the SHA-256 of secrets and nothing that opens anything; it may be lost to a thief, but not to a disk.
//!
//! Several processes may have the file open on one machine. Not on a network file system: its locks do not hold.
//!
//! The modules below are declared in the order in which they are best read.

pub mod connection;
pub mod record;
pub mod transaction;

mod row;
mod schema;

pub mod audit;
pub mod changes;
pub mod idempotency;
mod keys;
pub mod rotation;
pub mod usage;
mod users;
pub mod logins;
pub mod sessions;
pub mod purge;

pub mod live;
pub mod notify;

pub mod error;

#[cfg(test)]
mod tests;

pub use audit::{AuditFilter, AuditRecord};
pub use changes::{Changes, Delta, Snapshot, Unusable};
pub use connection::Database;
pub use error::DatabaseError;
pub use idempotency::Created;
pub use live::{Changed, Live};
pub use logins::{LOGINS_PER_USER_MAX, LoginFilter, LoginRecord, NewLogin, Refreshed};
pub use notify::{AnnounceError, Announced, Announcements, announce, announce_to_others};
pub use purge::PURGE_MAX;
pub use record::{Cursor, KeyFilter, KeyPatch, KeyRecord, NewUser, Page, Revision, UserFilter, UserPatch, UserRecord};
pub use rotation::Rotation;
pub use sessions::{NewSession, SESSIONS_MAX, SessionFilter, SessionRecord};
pub use transaction::{By, Channel, Reader, Writer};
pub use usage::{DayUsage, KeyUsage};
