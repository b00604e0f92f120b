//! Where keys come from: files, and directories of files.
//!
//! Reading has two steps, so that a poll costs no parsing: [`Sources::load`] fetches the texts and knows their
//! fingerprint; [`Contents::parse`] makes keys of them. What is parsed is what was fingerprinted, also when a file
//! changes in between.
//!
//! All sources together are one set of keys, and it is all or nothing: one broken file, and the caller keeps what it has.
//! Removing keys is a decision, so it must be written: a missing file, an empty file and a directory without key
//! files are problems, while `keys: []` is not.
//!
//! Never in this file: when to read. That is the business of whoever watches.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::file::{entries, problem_at};
use super::key::Key;
use super::store::{Duplicate, KeySet};
use crate::document::{Problem, Problems, size};

/// Bytes a key file may have: some 400,000 keys.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes all key files may have together.
pub const ALL_BYTES_MAX: u64 = 256 << 20;

/// Key files there may be.
pub const FILES_MAX: usize = 4096;

/// Where the keys of an installation are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

/// The SHA-256 of all key files, with their names. Equal fingerprints: nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// It is the digest of a file full of digests, so it tells nothing; but 64 more digits in a log help nobody.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// The texts of all key files at one moment.
pub struct Contents {
    texts: Vec<Text>,
    fingerprint: Fingerprint,
}

/// A key file that was fetched.
struct Text {
    name: String,
    text: String,
}

impl Sources {
    /// Keys of `files`, and of every `*.yaml` and `*.yml` in `directories` whose name does not begin with a dot.
    ///
    /// Files with a dot in front are left alone: Kubernetes keeps its `..data` so, editors their drafts, and
    /// [`super::append`] what it has not finished. Directories inside directories are not looked into.
    #[must_use]
    pub const fn new(files: Vec<PathBuf>, directories: Vec<PathBuf>) -> Self {
        Self { files, directories }
    }

    /// The directories in which something happens when a key file changes: those of the files, and the directories.
    /// Each once, in order.
    #[must_use]
    pub fn watched_directories(&self) -> Vec<PathBuf> {
        let parents = self.files.iter().map(|file| match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        });
        let all: BTreeSet<PathBuf> = parents.chain(self.directories.iter().cloned()).collect();
        all.into_iter().collect()
    }

    /// Fetches and parses everything: [`Sources::load`], then [`Contents::parse`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in all files.
    pub fn read(&self) -> Result<KeySet, Problems> {
        self.load()?.parse()
    }

    /// Fetches the texts of all key files, in the order in which they are named; a directory's in the order of their names.
    ///
    /// # Errors
    ///
    /// A problem for every file that is missing, unreadable, no file, or larger than [`FILE_BYTES_MAX`], and for every
    /// directory that is missing or holds no key file; or one if all together are larger than [`ALL_BYTES_MAX`] or more
    /// than [`FILES_MAX`].
    pub fn load(&self) -> Result<Contents, Problems> {
        let mut problems = Problems::new();
        let mut texts = Vec::new();
        let mut bytes_left = ALL_BYTES_MAX;
        for path in self.paths(&mut problems) {
            match fetch(&path, bytes_left.min(FILE_BYTES_MAX)) {
                Ok(text) => {
                    bytes_left = bytes_left.saturating_sub(text.text.len() as u64);
                    texts.push(text);
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.into_result()?;
        let fingerprint = fingerprint_of(&texts);
        Ok(Contents { texts, fingerprint })
    }

    /// The paths of all key files. A file that is reached in two ways is read once.
    fn paths(&self, problems: &mut Problems) -> Vec<PathBuf> {
        let mut paths = self.files.clone();
        for directory in &self.directories {
            match key_files_in(directory) {
                Ok(files) => paths.extend(files),
                Err(problem) => problems.push(problem),
            }
        }
        let mut known = BTreeSet::new();
        // A path that leads nowhere is kept: reading it says why.
        paths.retain(|path| fs::canonicalize(path).map_or(true, |path| known.insert(path)));
        if paths.len() > FILES_MAX {
            let message = format!("and others are {} key files, more than the {FILES_MAX} that are read", paths.len());
            problems.push(Problem::of_file(&paths[FILES_MAX].display().to_string(), message));
            paths.truncate(FILES_MAX);
        }
        paths
    }
}

impl Contents {
    /// What tells these contents from others.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Makes keys of the texts. Takes seconds for 100,000 keys: not for a thread that serves requests.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in all files, each problem with its line: what is no key file, what looks like a plain
    /// key, and every id and secret that occurs twice, also across files, with both places.
    pub fn parse(&self) -> Result<KeySet, Problems> {
        let mut problems = Problems::new();
        let mut set = KeySet::new();
        // Of each key in the set: its file, and its index there.
        let mut origins: Vec<(usize, usize)> = Vec::new();
        for (file, text) in self.texts.iter().enumerate() {
            let entries = match entries(&text.name, &text.text) {
                Ok(entries) => entries,
                Err(more) => {
                    problems.extend(more);
                    continue;
                }
            };
            for (index, entry) in entries.into_iter().enumerate() {
                let digest = entry.digest;
                let key = match Key::of_checked(entry) {
                    Ok(key) => key,
                    Err(faults) => {
                        let faults = faults.iter().map(|fault| self.problem(file, index, &fault.field, &fault.message));
                        problems.extend(faults);
                        continue;
                    }
                };
                match set.insert(digest, key) {
                    Ok(()) => origins.push((file, index)),
                    Err(duplicate) => problems.push(self.duplicate((file, index), duplicate, &origins)),
                }
            }
        }
        problems.into_result()?;
        Ok(set)
    }

    /// The problem with a key that is in another file already.
    fn duplicate(&self, (file, index): (usize, usize), duplicate: Duplicate, origins: &[(usize, usize)]) -> Problem {
        let (field, what, earlier) = match duplicate {
            Duplicate::Id(earlier) => ("id", "id", earlier),
            Duplicate::Digest(earlier) => ("sha256", "secret", earlier),
        };
        let (first_file, first_index) = origins[earlier];
        let first = self.problem(first_file, first_index, field, "");
        let message = format!("another key has the same {what}, at {}:{}", first.file, first.line);
        self.problem(file, index, field, &message)
    }

    fn problem(&self, file: usize, index: usize, field: &str, message: &str) -> Problem {
        let Text { name, text } = &self.texts[file];
        problem_at(name, text, index, field, message)
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("files", &self.texts.len()).finish_non_exhaustive()
    }
}

/// The key files directly in `directory`, in the order of their names.
fn key_files_in(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |message: String| Problem::of_file(&directory.display().to_string(), message);
    let unreadable = |error: std::io::Error| problem(format!("cannot be read as a directory: {error}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_key_file_name(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message =
            "holds no key file (`*.yaml` or `*.yml`); if there shall be no keys, write a file with `keys: []`";
        return Err(problem(message.to_owned()));
    }
    files.sort();
    Ok(files)
}

fn is_key_file_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && matches!(path.extension().and_then(OsStr::to_str), Some("yaml" | "yml"))
}

/// Fetches one file of at most `bytes_max` bytes.
fn fetch(path: &Path, bytes_max: u64) -> Result<Text, Problem> {
    let name = path.display().to_string();
    let problem = |message: String| Problem::of_file(&name, message);
    // Before it is opened: opening a named pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(|error| problem(format!("cannot be opened: {error}")))?;
    if !metadata.is_file() {
        let message =
            if metadata.is_dir() { "is a directory; name it under `directory`" } else { "is not a regular file" };
        return Err(problem(message.to_owned()));
    }
    let file = File::open(path).map_err(|error| problem(format!("cannot be opened: {error}")))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file which grows while it is read is noticed too.
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        let message = if bytes_max < FILE_BYTES_MAX {
            format!("makes all key files larger than {}, the most that is read", size::display(ALL_BYTES_MAX))
        } else {
            format!("is larger than {}, the most that is read; use several files", size::display(FILE_BYTES_MAX))
        };
        return Err(problem(message));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { name, text }),
        Err(error) => {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Problem { line, column: 1, ..problem("is not UTF-8 text".to_owned()) })
        }
    }
}

/// With the lengths, so that no two lists of files look alike.
fn fingerprint_of(texts: &[Text]) -> Fingerprint {
    let mut hash = Sha256::new();
    for Text { name, text } in texts {
        for part in [name, text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Fingerprint(hash.finalize().into())
}
