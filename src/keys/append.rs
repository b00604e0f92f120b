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

use super::entry::Entry;
use super::file::{entries, entry_as_json, entry_as_yaml};
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
    #[error("the key is not valid: {0}")]
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
    /// Somebody who takes no lock, an editor for example, has written the file in the meantime.
    #[error("{0}: was changed by another program just now; try again")]
    Changed(PathBuf),
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
    check(entry)?;
    let yaml = entry_as_yaml(entry).map_err(|error| AppendError::Entry(error.to_string()))?;
    let indent = " ".repeat(spaces);
    Ok(yaml.lines().flat_map(|line| [indent.as_str(), line, "\n"]).collect())
}

/// The same as JSON, for programs.
///
/// # Errors
///
/// [`AppendError::Entry`] if the entry has faults.
pub fn json_of(entry: &Entry) -> Result<serde_json::Value, AppendError> {
    check(entry)?;
    entry_as_json(entry).map_err(|error| AppendError::Entry(error.to_string()))
}

fn check(entry: &Entry) -> Result<(), AppendError> {
    let faults: Vec<String> = entry.faults().iter().map(ToString::to_string).collect();
    if faults.is_empty() { Ok(()) } else { Err(AppendError::Entry(faults.join("; "))) }
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
    if metadata.len() > FILE_BYTES_MAX {
        return Err(AppendError::Entry("the file is larger than keygate reads; use another file".to_owned()));
    }
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
        if state_of(fs::metadata(target).ok().as_ref()) != state_of(old) {
            return Err(AppendError::Changed(target.to_owned()));
        }
        let what = "cannot be replaced (if it is mounted as a single file, add the key where the file really is)";
        fs::rename(&unfinished, target).map_err(io(what, target))
    });
    if written.is_err() {
        // Best effort: the next run clears it away, too.
        drop(fs::remove_file(&unfinished));
    }
    written
}

/// What changes when somebody writes a file: which file it is, its length, its time.
fn state_of(metadata: Option<&fs::Metadata>) -> Option<(u64, u64, i64, i64)> {
    metadata.map(|metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::super::sources::Sources;
    use super::*;
    use crate::secret::Digest;

    fn entry(id: &str) -> Entry {
        Entry::new(id, Digest::of(id.as_bytes()))
    }

    /// The lines of an entry, with this indent.
    fn lines(id: &str, indent: &str) -> String {
        format!("{indent}- id: {id}\n{indent}  sha256: {}\n", Digest::of(id.as_bytes()).to_hex())
    }

    fn file(text: &str) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.yaml");
        fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn ids(path: &Path) -> Vec<String> {
        let set = Sources::new(vec![path.to_owned()], Vec::new()).read().unwrap();
        set.iter().map(|key| key.id().to_owned()).collect()
    }

    /// The names in the directory of the key file.
    fn names(directory: &TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn everything_that_was_there_stays_byte_for_byte() {
        let check = |row: &str, before: &str, added: &str| {
            let (directory, path) = file(before);
            append(&path, &entry("new")).expect(row);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}{added}"), "{row}");
            assert_eq!(names(&directory), ["keys.yaml"], "{row}: nothing else is left behind");
        };
        let (a, b) = (lines("a", "  "), lines("b", "  "));
        check("an indented list", &format!("keys:\n{a}"), &lines("new", "  "));
        check("a list without indent", &format!("keys:\n{}", lines("a", "")), &lines("new", ""));
        check("a deep indent", &format!("keys:\n{}", lines("a", "      ")), &lines("new", "      "));
        check(
            "comments and blank lines",
            &format!("# Ours.\nkeys: # all\n\n  # Alice\n{a}\n{b}  # end\n"),
            &lines("new", "  "),
        );
        check("a document mark", &format!("---\nkeys:\n{a}"), &lines("new", "  "));
        check("no line end at the end", format!("keys:\n{a}").trim_end(), &format!("\n{}", lines("new", "  ")));
        let (before, added) = (format!("keys:\n{a}").replace('\n', "\r\n"), lines("new", "  ").replace('\n', "\r\n"));
        check("lines that end as on Windows", &before, &added);
    }

    #[test]
    fn the_first_key_of_a_file_without_keys_opens_the_list() {
        let check = |before: &str, after: &str| {
            let (_directory, path) = file(before);
            append(&path, &entry("new")).expect(before);
            append(&path, &entry("next")).expect(before);
            let (new, next) = (lines("new", "  "), lines("next", "  "));
            assert_eq!(fs::read_to_string(&path).unwrap().replace("\r\n", "\n"), format!("{after}{new}{next}"));
        };
        check("keys: []\n", "keys:\n");
        check("keys: []", "keys:\n");
        check("keys: [ ] # none yet\n# end\n", "keys: # none yet\n# end\n");
        check("# top\r\nkeys: []\r\n", "# top\nkeys:\n");
    }

    #[test]
    fn a_new_file_is_readable_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.yaml");
        assert_eq!(append(&path, &entry("a")).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(ids(&path), ["a"]);
        assert_eq!(names(&directory), ["new.yaml"]);
    }

    #[test]
    fn mode_and_owner_are_kept() {
        let (_directory, path) = file(&format!("keys:\n{}", lines("a", "  ")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give files away; for everybody else the owner is trivially the same.
        let given_away = std::os::unix::fs::chown(&path, Some(4321), Some(1234)).is_ok();
        append(&path, &entry("b")).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        if given_away {
            assert_eq!((metadata.uid(), metadata.gid()), (4321, 1234));
        }
    }

    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let (directory, path) = file(&format!("keys:\n{}", lines("a", "  ")));
        let link = directory.path().join("link.yaml");
        symlink("keys.yaml", &link).unwrap();
        assert_eq!(append(&link, &entry("b")).unwrap(), fs::canonicalize(&path).unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(ids(&path), ["a", "b"]);
    }

    /// The file is as it was, and nothing is left beside it.
    #[track_caller]
    fn refused(before: &str, entry: &Entry, expected: &str) {
        let (directory, path) = file(before);
        let error = append(&path, entry).expect_err(before).to_string();
        assert_eq!(error.replace(&directory.path().display().to_string(), ""), expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(names(&directory), ["keys.yaml"]);
        assert!(!error.contains(&entry.digest.to_hex()[..8]));
    }

    #[test]
    fn what_cannot_be_done_safely_is_refused_and_says_what_to_do() {
        let a = lines("a", "  ");
        let digest = Digest::of(b"a").to_hex();
        let by_hand = "/keys.yaml: `keys` is not a list in block style (`keys:`, and below it `- id: ...`); paste the entry by hand";
        for flow in [
            format!("keys: [{{id: a, sha256: {digest}}}]\n"),
            format!("keys:\n  [{{id: a, sha256: {digest}}}]\n"),
            format!("{{\"keys\": [{{\"id\": \"a\", \"sha256\": \"{digest}\"}}]}}\n"),
            format!("keys: &all\n{a}"),
            format!("\"keys\":\n{a}"),
        ] {
            refused(&flow, &entry("new"), by_hand);
        }
        let meaning = "/keys.yaml: the entry cannot be added at the end without changing the meaning of the file; paste it by hand";
        refused(&format!("keys:\n{a}...\n"), &entry("new"), meaning);
        let unended_note =
            format!("keys:\n{a}    metadata:\n      x: |\n        a line end here would be part of the note");
        refused(&unended_note, &entry("new"), meaning);
        refused(
            &format!("keys:\n{a}"),
            &entry("ne w"),
            "the key is not valid: id: must be 1 to 128 visible ASCII characters without spaces",
        );
        refused(&format!("keys:\n{a}"), &entry("a"), "the key is not valid: another key of the file has the same id");
        let same_secret = Entry { id: "b".into(), ..entry("a") };
        refused(
            &format!("keys:\n{a}"),
            &same_secret,
            "the key is not valid: another key of the file has the same secret",
        );
        refused(
            "keys:\n",
            &entry("new"),
            "the file has problems; correct them first, nothing was changed:\n/keys.yaml:1:1: keys: holds nothing, as if the file was cut off; if there shall be no keys, write `keys: []`",
        );
        refused(
            "",
            &entry("new"),
            "the file has problems; correct them first, nothing was changed:\n/keys.yaml: holds no keys at all, as if it was cut off; if that is what you want, write `keys: []`",
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_good_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);
        symlink("nowhere", inside("dangling.yaml")).unwrap();
        fs::create_dir(inside("..2026_01")).unwrap();
        fs::write(inside("..2026_01").join("keys.yaml"), "keys: []\n").unwrap();
        symlink("..2026_01/keys.yaml", inside("keys.yaml")).unwrap();
        assert!(matches!(append(&inside("dangling.yaml"), &entry("a")), Err(AppendError::DanglingLink(_))));
        assert!(matches!(append(&inside("keys.yaml"), &entry("a")), Err(AppendError::Mounted(_))));
        assert!(matches!(append(directory.path(), &entry("a")), Err(AppendError::NoFile(_))));
        assert!(matches!(append(Path::new("/dev/null"), &entry("a")), Err(AppendError::NoFile(_))));
        assert!(matches!(append(&inside("no/such/directory.yaml"), &entry("a")), Err(AppendError::Io { .. })));
        assert_eq!(fs::read_to_string(inside("keys.yaml")).unwrap(), "keys: []\n");
    }

    /// A crash between making the new file and renaming it leaves half a file with a dot in front. Nobody reads it, and
    /// the next run clears it away.
    #[test]
    fn what_a_crash_has_left_hurts_nobody() {
        let (directory, path) = file(&format!("keys:\n{}", lines("a", "  ")));
        let left_over = directory.path().join(".keys.yaml.keygate-new");
        fs::write(&left_over, "keys:\n  - id: hal").unwrap();
        let all = Sources::new(Vec::new(), vec![directory.path().to_owned()]);
        assert_eq!(all.read().unwrap().len(), 1);
        append(&path, &entry("b")).unwrap();
        assert_eq!(names(&directory), ["keys.yaml"]);
        assert_eq!(ids(&path), ["a", "b"]);
    }

    #[test]
    fn a_link_in_the_place_of_the_unfinished_file_is_not_followed() {
        let (directory, path) = file("keys: []\n");
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink("victim", directory.path().join(".keys.yaml.keygate-new")).unwrap();
        append(&path, &entry("a")).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(names(&directory), ["keys.yaml", "victim"]);
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let (directory, path) = file("keys: []\n");
        fs::create_dir(directory.path().join(".keys.yaml.keygate-new")).unwrap();
        let error = append(&path, &entry("a")).unwrap_err();
        assert!(
            matches!(error, AppendError::Io { what: "cannot clear away what an earlier run has left", .. }),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys: []\n");
    }

    #[test]
    fn a_change_by_somebody_who_takes_no_lock_is_not_overwritten() {
        let (directory, path) = file("keys: []\n");
        let (old, _) = existing(&path).unwrap().unwrap();
        fs::write(&path, "keys: [] # by hand\n").unwrap();
        assert!(matches!(replace(&path, Some(&old), "keys: []\n"), Err(AppendError::Changed(_))));
        assert!(matches!(replace(&path, None, "keys: []\n"), Err(AppendError::Changed(_))), "made in the meantime");
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys: [] # by hand\n");
        assert_eq!(names(&directory), ["keys.yaml"]);
    }

    #[test]
    fn concurrent_appends_lose_nothing_and_readers_always_see_a_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.yaml");
        append(&path, &entry("first")).unwrap();
        thread::scope(|scope| {
            let path = &path;
            let write = |writer: usize| {
                move || (0..5).for_each(|round| drop(append(path, &entry(&format!("{writer}-{round}"))).unwrap()))
            };
            let writers = [0, 1, 2, 3].map(|writer| scope.spawn(write(writer)));
            let mut most = 1;
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let now = ids(path).len();
                assert!(now >= most, "{now} keys after {most}");
                most = now;
            }
        });
        let mut found = ids(&path);
        assert_eq!(found.remove(0), "first");
        found.sort();
        let all: Vec<String> = (0..4).flat_map(|writer| (0..5).map(move |round| format!("{writer}-{round}"))).collect();
        assert_eq!(found, all);
        assert_eq!(names(&directory), ["keys.yaml"]);
    }
}
