//! Adds a key to a key file, so that nothing in it is ever lost.
//!
//! The file is somebody's work, with comments and an order: the entry is added as text at its end, and everything
//! else stays as it is, byte for byte. The new text is then read as a key file, and must hold exactly the keys from before
//! and the new one; otherwise nothing is written.
//!
//! Writing is a new file beside the old one, brought to disk and renamed over it: whoever reads at any moment, and
//! whatever is left after a power cut, is either the old file or the new one. Two processes that add at once wait for
//! one another by a lock on the directory (`flock`), which leaves nothing behind and dies with its holder.
//!
//! A symbolic link is followed, and the file it leads to is replaced; the link stays. Only a mounted Kubernetes
//! volume is refused: the kubelet would throw the change away. Mode and owner are kept; access control lists and
//! extended attributes are not.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::file::{entries, entry_as_yaml};
use super::key::Entry;
use super::sources::FILE_BYTES_MAX;
use crate::document::Problems;

/// How long to wait for somebody else who adds a key in the same directory.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What a new key file begins with.
const NEW_FILE: &str = "# Keys for keygate. Only the SHA-256 of a key stands here, never a key itself.\nkeys: []\n";

/// Why a key was not added. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The file is not a key file that keygate would accept.
    #[error("the file has problems; correct them first, nothing was changed:\n{0}")]
    Problems(Problems),
    /// The key itself cannot be written.
    #[error("the key cannot be added: {0}")]
    Entry(String),
    /// The list is not written with one `- ` a key.
    #[error("{0}: `keys` is not a list in block style (`keys:`, and below it `- id: ...`); paste the entry by hand")]
    Style(PathBuf),
    /// The text with the entry would not mean what it should.
    #[error("{0}: the entry cannot be added at the end without changing the meaning of the file; paste it by hand")]
    Meaning(PathBuf),
    /// The path leads to something else than a file.
    #[error("{0}: is not a regular file")]
    NoFile(PathBuf),
    /// The path leads to nothing.
    #[error("{0}: is a symbolic link to a file that does not exist")]
    DanglingLink(PathBuf),
    /// The path leads into a mounted volume.
    #[error(
        "{0}: is part of a mounted Kubernetes volume, where changes are lost; change the Secret or ConfigMap instead"
    )]
    Mounted(PathBuf),
    /// Somebody else holds the lock.
    #[error("{0}: another process has been adding a key in this directory for 10 s; try again")]
    Locked(PathBuf),
    /// The operating system said no.
    #[error("{path}: {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Adds `entry` at the end of the key file `path`, and returns the file that was changed, with all links followed.
///
/// A file that does not exist is made, readable by its owner alone (mode 0600). Blocks: it waits for the disk, and up to
/// 10 s for another process.
///
/// # Errors
///
/// [`AppendError`]; nothing is changed then. Should the very last step fail, the bringing to disk of the directory,
/// the entry is there and the error says so.
pub fn append(path: &Path, entry: &Entry) -> Result<PathBuf, AppendError> {
    let target = target_of(path)?;
    let directory = match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let lock = lock(&directory)?;

    let old = existing(&target)?;
    let text = match &old {
        Some((_, text)) => text.clone(),
        None => NEW_FILE.to_owned(),
    };
    let new = with_entry(&target, &text, entry)?;
    replace(&target, old.map(|(metadata, _)| metadata).as_ref(), &new)?;

    lock.sync_all().map_err(io("the key is added, but the directory cannot be brought to disk", &directory))?;
    Ok(target)
}

/// The YAML text of one entry of a key file, with this many spaces in front.
///
/// # Errors
///
/// [`AppendError::Entry`] if the entry has faults.
pub fn yaml_of(entry: &Entry, spaces: usize) -> Result<String, AppendError> {
    let faults = entry.faults();
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Err(AppendError::Entry(faults.join("; ")));
    }
    let yaml = entry_as_yaml(entry).map_err(|error| AppendError::Entry(error.to_string()))?;
    let indent = " ".repeat(spaces);
    Ok(yaml.lines().flat_map(|line| [indent.as_str(), line, "\n"]).collect())
}

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AppendError + 'a {
    move |source| AppendError::Io { what, path: path.to_owned(), source }
}

/// The file to change, or to make: `path` with all links followed.
fn target_of(path: &Path) -> Result<PathBuf, AppendError> {
    match fs::canonicalize(path) {
        Ok(target) => {
            let mounted = target.components().any(|part| match part {
                Component::Normal(name) => name.as_encoded_bytes().starts_with(b".."),
                Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
            });
            if mounted {
                return Err(AppendError::Mounted(path.to_owned()));
            }
            let metadata = fs::metadata(&target).map_err(io("cannot be looked at", &target))?;
            if metadata.is_file() { Ok(target) } else { Err(AppendError::NoFile(path.to_owned())) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(AppendError::DanglingLink(path.to_owned()));
            }
            if path.file_name().is_none() {
                return Err(AppendError::NoFile(path.to_owned()));
            }
            Ok(path.to_owned())
        }
        Err(error) => Err(io("cannot be looked at", path)(error)),
    }
}

/// Takes the lock of a directory, for as long as the returned file is open.
fn lock(directory: &Path) -> Result<File, AppendError> {
    let file = File::open(directory).map_err(io("cannot open the directory", directory))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() >= LOCK_WAIT => {
                return Err(AppendError::Locked(directory.to_owned()));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => return Err(io("cannot lock the directory", directory)(error)),
        }
    }
}

/// What is there: `None` if nothing is. Read under the lock, so nobody of us changes it before we do.
fn existing(target: &Path) -> Result<Option<(fs::Metadata, String)>, AppendError> {
    let mut file = match File::open(target) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("cannot be opened", target)(error)),
    };
    let metadata = file.metadata().map_err(io("cannot be looked at", target))?;
    let mut text = String::new();
    io::Read::read_to_string(&mut file, &mut text).map_err(io("cannot be read", target))?;
    Ok(Some((metadata, text)))
}

/// `text` with `entry` at its end, and the proof that it means what it should.
fn with_entry(target: &Path, text: &str, entry: &Entry) -> Result<String, AppendError> {
    let name = target.display().to_string();
    let mut wanted = entries(&name, text).map_err(AppendError::Problems)?;
    if wanted.iter().any(|other| other.id == entry.id) {
        return Err(AppendError::Entry("another key of the file has the same id".to_owned()));
    }
    if wanted.iter().any(|other| other.digest == entry.digest) {
        return Err(AppendError::Entry("another key of the file has the same secret".to_owned()));
    }
    let (mut new, spaces) = open_list(text).ok_or_else(|| AppendError::Style(target.to_owned()))?;

    let line_end = if new.contains("\r\n") { "\r\n" } else { "\n" };
    if !new.ends_with('\n') {
        new.push_str(line_end);
    }
    new.push_str(&yaml_of(entry, spaces)?.replace('\n', line_end));

    if new.len() as u64 > FILE_BYTES_MAX {
        return Err(AppendError::Entry("the file would become larger than keygate reads; use another file".to_owned()));
    }
    wanted.push(entry.clone());
    match entries(&name, &new) {
        Ok(found) if found == wanted => Ok(new),
        Ok(_) | Err(_) => Err(AppendError::Meaning(target.to_owned())),
    }
}

/// The text, ready for one more item of the list `keys` at its end, and how far items of the list are indented.
///
/// `keys: []` becomes `keys:`. `None` if the list is written in any other way than one item a line.
fn open_list(text: &str) -> Option<(String, usize)> {
    let start = if text.starts_with("keys:") { 0 } else { text.find("\nkeys:")? + 1 };
    let value = start + "keys:".len();
    let line_end = text[value..].find('\n').map_or(text.len(), |length| value + length);
    let (line, rest) = (&text[value..line_end], &text[line_end..]);

    let (written, comment) = line.split_once('#').map_or((line, None), |(written, comment)| (written, Some(comment)));
    let list: String = written.split_whitespace().collect();
    match list.as_str() {
        "" => {
            let item = rest.lines().find(|line| line.trim_start().starts_with('-'))?;
            Some((text.to_owned(), item.len() - item.trim_start().len()))
        }
        "[]" => {
            let comment = comment.map(|comment| format!(" #{}", comment.trim_end())).unwrap_or_default();
            let carriage_return = if line.ends_with('\r') { "\r" } else { "" };
            Some((format!("{}{comment}{carriage_return}{rest}", &text[..value]), 2))
        }
        _ => None,
    }
}

/// Puts a file with `text` in the place of `target`, with the mode and owner of the `old` one.
fn replace(target: &Path, old: Option<&fs::Metadata>, text: &str) -> Result<(), AppendError> {
    let name = target.file_name().ok_or_else(|| AppendError::NoFile(target.to_owned()))?;
    // With a dot in front, so that nobody takes it for a key file. Always the same name: what a crash has left is
    // found and cleared away here, under the lock, instead of piling up.
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(".keygate-new");
    let unfinished = target.with_file_name(unfinished);
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("cannot clear away what an earlier run has left", &unfinished)(error)),
    }
    let written = write_new(&unfinished, old, text).and_then(|()| {
        let what = "cannot be replaced (if it is mounted as a single file, add the key where the file really is)";
        fs::rename(&unfinished, target).map_err(io(what, target))
    });
    if written.is_err() {
        // Best effort: the next run clears it away, too.
        drop(fs::remove_file(&unfinished));
    }
    written
}

/// Writes a file that was not there, down to the disk.
fn write_new(path: &Path, old: Option<&fs::Metadata>, text: &str) -> Result<(), AppendError> {
    // `create_new` never follows a link that somebody has put here.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io("cannot be made", path))?;
    if let Some(old) = old {
        let made = file.metadata().map_err(io("cannot be looked at", path))?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            let what = "cannot be given the owner of the key file; run this as its owner, or as root";
            fchown(&file, Some(old.uid()), Some(old.gid())).map_err(io(what, path))?;
        }
        file.set_permissions(old.permissions()).map_err(io("cannot be given the mode of the key file", path))?;
    }
    file.write_all(text.as_bytes()).map_err(io("cannot be written", path))?;
    file.sync_all().map_err(io("cannot be brought to disk", path))
}
