//! The file: how it is made, opened, and brought to the newest schema.
//!
//! The version of the schema stands in the file itself (`user_version`). Each step leads from one version to the next and
//! never back; all steps that a file needs are one transaction. A file of a newer version is refused, never touched.
//!
//! A step that was shipped is never edited: there are files that it has made. A new version is one more step.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::DatabaseError;

/// How long to wait for another process that writes.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How much of the store SQLite keeps in memory, in KiB. Requests are answered from maps of our own, and the system keeps
/// the file's pages anyway: SQLite's default, 2 MiB, would be a good part of a small gateway.
const CACHE_KIB: i64 = 256;

/// `kgat`: says in the head of the file whose it is.
const APPLICATION_ID: i64 = 0x6b67_6174;

/// The steps. The first makes version 1 of an empty file.
const STEPS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Which file on which device: tells whether a path still leads to the file that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

/// Opens the store at `path`, makes it if it is not there, and brings it to the newest schema.
pub(super) fn open(path: &Path) -> Result<(Connection, Inode), DatabaseError> {
    open_with(path, &STEPS)
}

/// As [`open`], but makes no file.
pub(super) fn open_existing(path: &Path) -> Result<(Connection, Inode), DatabaseError> {
    is_there(path)?;
    connect(path, &STEPS)
}

/// Opens the store at `path` for reading, as it is; nothing if it is not there or empty. The tables of keys are the same in
/// every version so far, so that keys can be read of an older one, too.
pub(super) fn open_unchanged(path: &Path) -> Result<Option<Connection>, DatabaseError> {
    match is_there(path) {
        Ok(()) => {}
        Err(DatabaseError::NoStore(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri_of(path), flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let found = check_at_once(&connection, path, STEPS.len())?;
    Ok((found > 0).then_some(connection))
}

/// The name by which SQLite reads the file at `path`. Where no write-ahead log is beside it, nobody has it open, and it is
/// called immutable: SQLite would make a log for reading, too.
fn uri_of(path: &Path) -> String {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut log = real.as_os_str().to_owned();
    log.push("-wal");
    let mut uri = "file:".to_owned();
    for byte in real.as_os_str().as_bytes() {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => write!(uri, "{}", char::from(*byte)),
            _ => write!(uri, "%{byte:02x}"),
        };
    }
    uri + if Path::new(&log).exists() { "" } else { "?immutable=1" }
}

/// The file that `path` leads to now, if any.
pub(super) fn inode_of(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|metadata| Inode(metadata.dev(), metadata.ino()))
}

fn open_with(path: &Path, steps: &[&str]) -> Result<(Connection, Inode), DatabaseError> {
    make(path)?;
    connect(path, steps)
}

fn connect(path: &Path, steps: &[&str]) -> Result<(Connection, Inode), DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    let found = check_at_once(&connection, path, steps.len())?;
    write_ahead(&connection)?;
    // FULL: a commit is on the disk when it returns, whatever happens to the machine afterwards.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // So that `INSERT OR REPLACE` runs the triggers of what it deletes, too.
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Only if there is something to do: it would wait for others who write.
    if usize::try_from(found) != Ok(steps.len()) {
        migrate(&mut connection, path, steps)?;
    }
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
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => is_there(path),
        Err(error) => Err(failed("cannot be made")(error)),
    }
}

/// Says whether there is a regular file.
fn is_there(path: &Path) -> Result<(), DatabaseError> {
    let failed = |source| DatabaseError::File { what: "cannot be opened", path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(failed(io::Error::other("is not a regular file"))),
        // A link that leads nowhere is there, and is no place to make a store in.
        Err(_) if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => {
            Err(DatabaseError::NoStore(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// As [`check`], all of it at one moment: a file that another process is just making is either empty or ours.
fn check_at_once(connection: &Connection, path: &Path, known: usize) -> Result<i64, DatabaseError> {
    check(&*connection.unchecked_transaction()?, path, known)
}

/// Looks at whose file it is, and of which version, before anything is written to it. To be called in a transaction.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::secret::Digest;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        (directory, path)
    }

    #[track_caller]
    fn refused(path: &Path) -> String {
        let error = open(path).map(|_| ()).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "k.db")
    }

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_new_store_is_readable_by_its_owner_alone_with_all_its_files() {
        let (directory, path) = place();
        let (connection, _) = open(&path).unwrap();
        assert_eq!(version(&connection), i64::try_from(STEPS.len()).unwrap());
        let mut names = Vec::new();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o7777, 0o600, "{:?}", entry.file_name());
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["k.db", "k.db-shm", "k.db-wal"]);
    }

    /// What makes a write durable when it returns, and the file safe with several processes.
    #[test]
    fn a_commit_waits_for_the_disk() {
        let (_directory, path) = place();
        let (connection, _) = open(&path).unwrap();
        let word = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, String>(0)).unwrap();
        let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(word("journal_mode"), "wal");
        assert_eq!(number("synchronous"), 2, "FULL");
        assert_eq!(number("foreign_keys"), 1);
        assert_eq!(number("busy_timeout"), 5000);
    }

    #[test]
    fn what_cannot_be_a_store_is_refused_and_left_as_it_is() {
        let (directory, path) = place();
        let missing = directory.path().join("none/k.db");
        assert_eq!(refused(&missing), "k.db: its directory does not exist; make it first");
        fs::create_dir(&path).unwrap();
        assert_eq!(refused(&path), "k.db: cannot be opened: is not a regular file");
        fs::remove_dir(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        assert!(refused(&path).starts_with("k.db: cannot be opened"));
        fs::remove_file(&path).unwrap();

        fs::write(&path, "keys: []\n".repeat(100)).unwrap();
        assert!(refused(&path).starts_with("the store cannot be used: file is not a database"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys: []\n".repeat(100));
        fs::remove_file(&path).unwrap();

        Connection::open(&path).unwrap().execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
        assert_eq!(refused(&path), "k.db: is a database of another program, not a store of keys");
    }

    #[test]
    fn a_newer_store_is_refused_with_both_versions() {
        let (_directory, path) = place();
        open_with(&path, &[STEPS[0], STEPS[1], "CREATE TABLE later (x INTEGER)"]).unwrap();
        assert_eq!(
            refused(&path),
            "k.db: was written by a newer keygate (its schema is 3, this one knows 2); use the newer one"
        );
    }

    #[test]
    fn a_store_is_brought_forward_once_and_keeps_what_it_has() {
        let (_directory, path) = place();
        let (connection, _) = open(&path).unwrap();
        connection.execute_batch("UPDATE counter SET revision = 7").unwrap();
        drop(connection);
        let more = [STEPS[0], STEPS[1], "ALTER TABLE users ADD COLUMN a TEXT", "ALTER TABLE users ADD COLUMN b TEXT"];
        for _ in 0..2 {
            let (connection, _) = open_with(&path, &more).unwrap();
            assert_eq!(version(&connection), 4);
            connection.prepare("SELECT a, b FROM users").unwrap();
            let revision: i64 = connection.query_row("SELECT revision FROM counter", [], |row| row.get(0)).unwrap();
            assert_eq!(revision, 7);
        }
    }

    /// As a keygate wrote it that knew version 1 only.
    #[test]
    fn users_of_version_1_are_changed_no_later_than_anything_else() {
        let (_directory, path) = place();
        let (connection, _) = open_with(&path, &STEPS[..1]).unwrap();
        assert_eq!(version(&connection), 1);
        connection
            .execute_batch(
                "INSERT INTO users VALUES (1, 'u1', 'alice', NULL, NULL, '[]', '[]', '{}', 1, '$argon2id$', 5, 5), \
                 (2, 'u2', 'bob', 'Bob', 'acme', '[\"a:b\"]', '[\"admin\"]', '{}', 0, NULL, 6, 7); \
                 UPDATE counter SET revision = 9, forgotten = 3;",
            )
            .unwrap();
        drop(connection);
        let (connection, _) = open(&path).unwrap();
        assert_eq!(version(&connection), 2);
        let row = |row: &rusqlite::Row<'_>| {
            let (id, hash): (String, Option<String>) = (row.get("id")?, row.get("password_hash")?);
            Ok((id, hash, row.get::<_, i64>("updated_us")?, row.get::<_, i64>("revision")?))
        };
        let mut statement = connection.prepare("SELECT * FROM users ORDER BY id").unwrap();
        let users: Vec<_> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
        assert_eq!(users, [("u1".into(), Some("$argon2id$".into()), 5, 9), ("u2".into(), None, 7, 9)]);
        let counter = connection.query_row("SELECT revision, forgotten FROM counter", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(counter.unwrap(), (9, 3));
    }

    #[test]
    fn keys_are_read_of_a_file_of_version_1_without_a_change_to_it() {
        let (_directory, path) = place();
        drop(open_with(&path, &STEPS[..1]).unwrap());
        let connection = open_unchanged(&path).unwrap().unwrap();
        connection.prepare(&format!("{} WHERE k.id = ?1", super::super::row::SELECT)).unwrap();
        assert_eq!(version(&connection), 1);
    }

    #[test]
    fn steps_are_taken_all_or_none() {
        let (_directory, path) = place();
        drop(open_with(&path, &STEPS[..1]).unwrap());
        let broken = [STEPS[0], "ALTER TABLE users ADD COLUMN a TEXT", "ALTER TABLE nothing ADD COLUMN b TEXT"];
        assert!(open_with(&path, &broken).is_err());
        let (connection, _) = open_with(&path, &STEPS[..1]).unwrap();
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT a FROM users").is_err());
    }

    /// There are files that this step has made. Never change it: add another one.
    #[test]
    fn a_step_that_was_shipped_is_never_edited() {
        let digests = STEPS.map(|step| Digest::of(step.as_bytes()).to_hex());
        let shipped = [
            "9c99347fbfc0a0983b38b6321115b1722f07a91efd126cc96b3446689792e7ae",
            "87c88551c765d0e046c0d9b0989bff49147b5feda75799c7c7501506e959d2da",
        ];
        assert_eq!(digests, shipped);
    }

    #[test]
    fn many_may_make_the_same_store_at_once() {
        for _ in 0..5 {
            let (_directory, path) = place();
            thread::scope(|scope| {
                let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| open(&path).map(|_| ()))).collect();
                for opener in openers {
                    opener.join().unwrap().unwrap();
                }
            });
            assert_eq!(version(&open(&path).unwrap().0), i64::try_from(STEPS.len()).unwrap());
        }
    }
}
