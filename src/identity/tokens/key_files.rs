//! The directory of signing keys: one file a key, and the name of a file tells when its key was made.
//!
//! ```text
//! 20261122T051900Z-eddsa-x7Yk2QpL.pem       made by keygate: PKCS #8 in PEM, mode 0600
//! 20261122T051900Z-hs256-0aB3dE9f.secret    made by keygate: a secret for HS256, mode 0600
//! of-the-operator.pem                       made by somebody else: as old as its last modification
//! ```
//!
//! Several processes may share the directory. A file comes whole, by a rename; who makes or deletes one holds a lock on the
//! directory (`flock`), which dies with its holder. Names that begin with a dot are nobody's keys.
//!
//! All files are read or none: a broken one is a problem that is told, and never one key less.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::error::FileProblem;
use super::signing_key::{self, Form, SigningKey};
use crate::secret::random_base62;

/// Files of keys in the directory at most.
const FILES_MAX: usize = 128;

/// Bytes of a file at most; an RSA key of 8192 bits has 6400.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// How long to wait for another process that makes or deletes a key.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How the date in the name of a file is written: ISO 8601 in its basic form, UTC.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// What is being written. Always the same name: what a crash has left is found under the lock, and cleared away.
const UNFINISHED: &str = ".keygate-new";

/// A key with its file.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    /// When it was made, in seconds since the Unix epoch.
    pub(super) made_s: u64,
    /// Whether keygate has made it. What others have made is never deleted.
    pub(super) ours: bool,
    pub(super) key: SigningKey,
}

/// Makes the directory with mode 0700 if it is not there. The one above it must be.
///
/// # Errors
///
/// If it cannot be made.
pub(super) fn prepare(directory: &Path) -> Result<(), FileProblem> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(FileProblem::new(directory, format!("cannot be made: {error}"))),
    }
}

/// Reads all keys, from the oldest to the youngest; those of the same second in the order of their ids. Nothing if the
/// directory is not there.
///
/// # Errors
///
/// The first file that cannot be used.
pub(super) fn read(directory: &Path) -> Result<Vec<KeyFile>, FileProblem> {
    let unreadable = |error: std::io::Error| FileProblem::new(directory, format!("cannot be read: {error}"));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let Some((stem, form)) = named_as_a_key(&path) else { continue };
        let made_s = date_of(stem);
        if let Some(file) = read_one(&path, form, made_s)? {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(FileProblem::new(directory, format!("holds more than {FILES_MAX} keys")));
        }
    }
    files.sort_by(|one, other| (one.made_s, one.key.id()).cmp(&(other.made_s, other.key.id())));
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.key.id().to_owned()));
    Ok(files)
}

/// The stem of a name and the form of the key, if the name is one of a key.
fn named_as_a_key(path: &Path) -> Option<(&str, Form)> {
    let name = path.file_name()?.to_str().filter(|name| !name.starts_with('.'))?;
    let pem = name.strip_suffix(".pem").map(|stem| (stem, Form::Pem));
    pem.or_else(|| name.strip_suffix(".secret").map(|stem| (stem, Form::Secret)))
}

/// When a key was made, in seconds since the Unix epoch, if its name tells: if it is one that keygate gives.
fn date_of(stem: &str) -> Option<u64> {
    let (stamp, rest) = stem.split_once('-')?;
    let (algorithm, _) = rest.split_once('-')?;
    Algorithm::ALL.iter().find(|known| known.name().eq_ignore_ascii_case(algorithm))?;
    let date = DateTime::strptime(STAMP, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

/// Reads one key; nothing if its file has just been deleted.
fn read_one(path: &Path, form: Form, made_s: Option<u64>) -> Result<Option<KeyFile>, FileProblem> {
    let unreadable = |error: std::io::Error| FileProblem::new(path, format!("cannot be read: {error}"));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileProblem::new(path, "is not a regular file"));
    }
    // The whole room at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(FileProblem::new(path, "is larger than 16 KiB, and so no key"));
    }
    let key = SigningKey::read(&content, form).map_err(|error| FileProblem::new(path, error.to_string()))?;
    let modified = metadata.modified().ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    Ok(Some(KeyFile {
        path: path.to_owned(),
        made_s: made_s.unwrap_or_else(|| modified.unwrap_or_default().as_secs()),
        ours: made_s.is_some(),
        key,
    }))
}

/// The right to make and delete keys, until it is dropped. Other processes wait for it.
#[derive(Debug)]
pub(super) struct Lock {
    directory: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of the directory.
    ///
    /// # Errors
    ///
    /// If another process has held it for [`LOCK_WAIT`], or the file system has no locks.
    pub(super) fn take(directory: &Path) -> Result<Self, FileProblem> {
        let refused = |error: std::io::Error| FileProblem::new(directory, format!("cannot be locked: {error}"));
        let file = File::open(directory).map_err(refused)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { directory: directory.to_owned(), file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(FileProblem::new(directory, "has been locked by another process for 10 s"));
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
        }
    }

    /// Makes a key and brings it to disk. `now_s` is when, in seconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written; nothing is left behind then that could be taken for a key.
    pub(super) fn make(&self, algorithm: Algorithm, now_s: u64) -> Result<(), FileProblem> {
        let refused = |what: &str| FileProblem::new(&self.directory, what);
        let (form, content) =
            signing_key::make(algorithm).map_err(|error| refused(&format!("holds no key: {error}")))?;
        let stamp = i64::try_from(now_s).ok().and_then(|now_s| Timestamp::from_second(now_s).ok());
        let stamp = stamp.ok_or_else(|| refused("holds no key: the clock stands beyond the year 9999"))?;
        let random = random_base62("", 8).map_err(|error| refused(&format!("holds no key: {error}")))?;
        let ending = match form {
            Form::Pem => "pem",
            Form::Secret => "secret",
        };
        let name = algorithm.name().to_lowercase();
        let path = self.directory.join(format!("{}-{name}-{}.{ending}", stamp.strftime(STAMP), random.expose()));
        let written = self.write(&path, content.as_bytes());
        written.map_err(|error| refused(&format!("takes no new key: {error}")))?;
        tracing::info!(file = %path.display(), %algorithm, "a key to sign tokens was made");
        Ok(())
    }

    fn write(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        let unfinished = self.directory.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // `create_new` never follows a link that somebody has put here.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| fs::rename(&unfinished, path));
        if renamed.is_err() {
            // Best effort: the next one clears it away, too.
            drop(fs::remove_file(&unfinished));
        }
        renamed.and_then(|()| self.file.sync_all())
    }

    /// Deletes a key.
    ///
    /// # Errors
    ///
    /// If it is still there.
    pub(super) fn delete(&self, file: &KeyFile) -> Result<(), FileProblem> {
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(FileProblem::new(&file.path, format!("cannot be deleted: {error}")))
            }
            Ok(()) | Err(_) => {
                tracing::info!(file = %file.path.display(), "a key whose tokens have all expired was deleted");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// 2026-11-22, 05:19:00 UTC.
    const NOW_S: u64 = 1_795_324_740;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_is_its_owners_alone_and_its_name_tells_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("keys");
        prepare(&directory).unwrap();
        prepare(&directory).unwrap();
        let lock = Lock::take(&directory).unwrap();
        lock.make(Algorithm::Es256, NOW_S).unwrap();
        lock.make(Algorithm::Hs256, NOW_S + 1).unwrap();
        drop(lock);

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        let names = names(&directory);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("20261122T051900Z-es256-") && names[0].ends_with(".pem"), "{names:?}");
        assert!(names[1].starts_with("20261122T051901Z-hs256-") && names[1].ends_with(".secret"), "{names:?}");
        assert!(names.iter().all(|name| mode(&directory.join(name)) == 0o600));

        let files = read(&directory).unwrap();
        let found: Vec<_> = files.iter().map(|file| (file.made_s, file.ours, file.key.algorithm())).collect();
        assert_eq!(found, [(NOW_S, true, Algorithm::Es256), (NOW_S + 1, true, Algorithm::Hs256)]);
    }

    /// An operator's own key is as old as its file; what is not named as a key is none; a copy is the same key.
    #[test]
    fn a_key_of_somebody_else_is_read_too_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let (_, pem) = signing_key::make(Algorithm::EdDsa).unwrap();
        fs::write(directory.join("mine.pem"), &*pem).unwrap();
        let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().append(true).open(directory.join("mine.pem")).unwrap().set_modified(old).unwrap();
        fs::write(directory.join("20261122T051900Z-eddsa-copy.pem"), &*pem).unwrap();
        for other in ["README", "mine.pem.bak", ".hidden.pem", UNFINISHED, "keys.yaml"] {
            fs::write(directory.join(other), "not a key").unwrap();
        }
        let files = read(directory).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].made_s, files[0].ours), (1_000_000_000, false));
        assert_eq!(read(&directory.join("nowhere")).unwrap().len(), 0);
    }

    #[test]
    fn one_broken_file_is_told_and_no_key_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        Lock::take(directory).unwrap().make(Algorithm::EdDsa, NOW_S).unwrap();
        for (name, content, said) in [
            ("a.pem", "hunter2".to_owned(), "a.pem: holds no unencrypted private key in PEM"),
            ("a.secret", "hunter2".to_owned(), "a.secret: holds a secret of fewer than 32 characters"),
            ("a.secret", "hunter2".repeat(10_000), "a.secret: is larger than 16 KiB"),
        ] {
            fs::write(directory.join(name), content).unwrap();
            let problem = read(directory).unwrap_err().to_string();
            assert!(problem.contains(said) && !problem.contains("hunter2"), "{problem}");
            fs::remove_file(directory.join(name)).unwrap();
        }
        fs::create_dir(directory.join("a.pem")).unwrap();
        assert!(read(directory).unwrap_err().message.contains("is not a regular file"));
    }

    /// What a crash has left is cleared away and was never a key.
    #[test]
    fn what_was_left_unfinished_is_no_key_and_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(UNFINISHED), "-----BEGIN").unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        Lock::take(folder.path()).unwrap().make(Algorithm::EdDsa, NOW_S).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn only_names_that_keygate_gives_tell_an_age() {
        assert_eq!(date_of("20261122T051900Z-eddsa-x7Yk2QpL"), Some(NOW_S));
        for other in ["", "mine", "20261122T051900Z", "20261122T051900Z-eddsa", "20261322T051900Z-eddsa-a", "x-eddsa-a"]
        {
            assert_eq!(date_of(other), None, "{other}");
        }
        assert_eq!(date_of("20261122T051900Z-rsa-a"), None);
    }
}
