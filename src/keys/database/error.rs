//! What can go wrong with the store, in words for whoever asked.
//!
//! No message repeats a value: what was given as the id of a key may have been a secret.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::super::entry::Fault;

/// Why the store did not do what it was asked to. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file shall be made where there is no directory.
    #[error("{0}: its directory does not exist; make it first")]
    NoDirectory(PathBuf),
    /// There is no file, and none shall be made.
    #[error("there is no store at {0}")]
    NoStore(PathBuf),
    /// The operating system said no.
    #[error("{path}: {what}: {source}")]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The file belongs to another program.
    #[error("{0}: is a database of another program, not a store of keys")]
    Foreign(PathBuf),
    /// The file was written by a newer version of this program.
    #[error(
        "{path}: was written by a newer keygate (its schema is {found}, this one knows {known}); use the newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version of the schema that is known here.
        known: i64,
    },
    /// The file that is open is no longer the one that the path leads to: what is written would be lost.
    #[error("{0}: was removed or replaced while it was open; start keygate anew")]
    Replaced(PathBuf),
    /// Another process holds the lock.
    #[error("another process has been writing to the store for too long; try again")]
    Busy,
    /// More is asked of the store than it can do.
    #[error("too many requests are waiting for the store; try again")]
    Full,
    /// The thread of the store has ended, or what it was doing broke off.
    #[error("the store does not answer")]
    Closed,
    /// SQLite said no.
    #[error("the store cannot be used: {0}")]
    Sqlite(rusqlite::Error),
    /// A row cannot be understood: somebody has written to the file by other means.
    #[error("the store holds something that cannot be understood, in the row of {0}")]
    Unreadable(String),
    /// The values are not allowed.
    #[error("{}", listed(.0))]
    Invalid(Vec<Fault>),
    /// No key has this id.
    #[error("there is no key with this id")]
    NoKey,
    /// No user has this id.
    #[error("there is no such user")]
    NoUser,
    /// The user is switched off.
    #[error("the user is switched off")]
    UserDisabled,
    /// The user has another password than the one that was found right.
    #[error("the password of the user was changed in the meantime")]
    PasswordChanged,
    /// No login has this id.
    #[error("there is no login with this id")]
    NoLogin,
    /// No session has this id.
    #[error("there is no session with this id")]
    NoSession,
    /// There are as many sessions as there may be.
    #[error("there are too many sessions; revoke some, or wait until they are over")]
    TooManySessions,
    /// Another key has this id.
    #[error("another key has the same id")]
    IdTaken,
    /// Another key, or another session, has this secret.
    #[error("another key has the same secret")]
    SecretTaken,
    /// Another user has this id or this login.
    #[error("another user has the same id or login")]
    LoginTaken,
    /// The key is dead for good.
    #[error("the key is revoked, which is final")]
    Revoked,
    /// The key opens nothing now, so nothing can succeed it.
    #[error("only a key that is good now can be rotated; this one is {0}")]
    NotRotatable(&'static str),
    /// The key was rotated before.
    #[error("the key was rotated already; rotate its successor, {0}")]
    RotatedAlready(String),
    /// The same idempotency key came with another request.
    #[error("the idempotency key was used for another request")]
    AnotherRequest,
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            Some(_) | None => Self::Sqlite(error),
        }
    }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().enumerate().fold(String::new(), |mut text, (index, fault)| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{fault}", if index == 0 { "" } else { "; " });
        text
    })
}
