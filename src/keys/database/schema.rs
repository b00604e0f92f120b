//! The file: how it is made, opened, and brought to the newest schema.
//!
//! The version of the schema stands in the file itself (`user_version`). Each step leads from one version to the next and
//! never back; all steps that a file needs are one transaction. A file of a newer version is refused, never touched.
//!
//! A step that was shipped is never edited: there are files that it has made. A new version is one more step.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::DatabaseError;

/// How long to wait for another process that writes.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// `kgat`: says in the head of the file whose it is.
const APPLICATION_ID: i64 = 0x6b67_6174;

/// The steps. The first makes version 1 of an empty file.
const STEPS: &[&str] = &[include_str!("schema_1.sql")];

/// Which file on which device: tells whether a path still leads to the file that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

/// Opens the store at `path`, makes it if it is not there, and brings it to the newest schema.
pub(super) fn open(path: &Path) -> Result<(Connection, Inode), DatabaseError> {
    open_with(path, STEPS)
}

/// The file that `path` leads to now, if any.
pub(super) fn inode_of(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|metadata| Inode(metadata.dev(), metadata.ino()))
}

fn open_with(path: &Path, steps: &[&str]) -> Result<(Connection, Inode), DatabaseError> {
    make(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    check(&connection, path, steps.len())?;
    write_ahead(&connection)?;
    // FULL: a commit is on the disk when it returns, whatever happens to the machine afterwards.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // So that `INSERT OR REPLACE` runs the triggers of what it deletes, too.
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    migrate(&mut connection, path, steps)?;
    let inode = inode_of(path).ok_or_else(|| DatabaseError::Replaced(path.to_owned()))?;
    Ok((connection, inode))
}

/// Makes an empty file that its owner alone can read. SQLite gives its other files (`-wal`, `-shm`) the same mode.
fn make(path: &Path) -> Result<(), DatabaseError> {
    let failed =
        |what: &'static str| move |source: io::Error| DatabaseError::File { what, path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    if !directory.is_dir() {
        return Err(DatabaseError::NoDirectory(path.to_owned()));
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // The name has to be on the disk, too, before anything in the file is called durable.
        Ok(_) => File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed("cannot be made")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(failed("cannot be opened")(io::Error::other("is not a regular file"))),
            Err(error) => Err(failed("cannot be opened")(error)),
        },
        Err(error) => Err(failed("cannot be made")(error)),
    }
}

/// Looks at whose file it is, and of which version, before anything is written to it.
fn check(connection: &Connection, path: &Path, known: usize) -> Result<i64, DatabaseError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (owner, found) = (number("application_id")?, number("user_version")?);
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = owner == 0 && found == 0 && objects == 0;
    if owner != APPLICATION_ID && !empty {
        return Err(DatabaseError::Foreign(path.to_owned()));
    }
    let known = i64::try_from(known).unwrap_or(i64::MAX);
    if found > known {
        return Err(DatabaseError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Switches to the write-ahead log. Two processes that make a file at once get in each other's way here, and SQLite does
/// not wait by itself.
fn write_ahead(connection: &Connection) -> Result<(), DatabaseError> {
    let start = Instant::now();
    loop {
        let switched = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match switched.map_err(DatabaseError::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) | Err(DatabaseError::Busy) if start.elapsed() < BUSY_WAIT => {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(_) => return Err(DatabaseError::Busy),
            Err(error) => return Err(error),
        }
    }
}

/// Takes the steps that the file has not taken yet, all of them or none.
fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), DatabaseError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Once more, now that nobody else writes: another process may have taken the steps in the meantime.
    let found = check(&transaction, path, steps.len())?;
    let missing = steps.get(usize::try_from(found).unwrap_or(0)..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    Ok(())
}
