//! Where keys come from: files, directories of files, and key maps.
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

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::entry::Entry;
use super::file;
use super::key::{Key, Origin};
use super::set::{Clash, Duplicate, KeySet, Same};
use super::sharing::Sharing;
use super::text::{Shape, Text};
use crate::document::{Problem, Problems, size};
use crate::mount;
use crate::secret::Digest;

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
    maps: Vec<PathBuf>,
    development: Development,
}

/// Keys that everybody knows: they stand in documents, so that a newcomer has one at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Development {
    /// Whether they open the gate. If not, nothing with their secrets does, wherever it comes from.
    pub admit: bool,
    /// The keys.
    pub keys: Vec<Entry>,
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
    development: Development,
    fingerprint: Fingerprint,
}

impl Sources {
    /// Keys of `files`, and of every `*.yaml` and `*.yml` in `directories` whose name does not begin with a dot.
    ///
    /// Files with a dot in front are left alone: Kubernetes keeps its `..data` so, editors their drafts, and
    /// [`super::append()`] what it has not finished. Directories inside directories are not looked into.
    #[must_use]
    pub fn new(files: Vec<PathBuf>, directories: Vec<PathBuf>) -> Self {
        Self { files, directories, ..Self::default() }
    }

    /// Adds files that are key maps: the digest of each secret, and whose it is.
    #[must_use]
    pub fn with_maps(self, maps: Vec<PathBuf>) -> Self {
        Self { maps, ..self }
    }

    /// Adds keys that everybody knows, or keeps them out.
    #[must_use]
    pub fn with_development(self, development: Development) -> Self {
        Self { development, ..self }
    }

    /// The directories in which something happens when a key file changes: those of the files, and the directories.
    /// Each once.
    #[must_use]
    pub fn watched_directories(&self) -> Vec<PathBuf> {
        let parents = self.files.iter().chain(&self.maps).map(|file| mount::folder_of(file).to_owned());
        let all: BTreeSet<PathBuf> = parents.chain(self.directories.iter().cloned()).collect();
        all.into_iter().collect()
    }

    /// Whether a file of this path in one of the directories would be read for keys. `resolve` makes paths comparable.
    pub fn would_list(&self, path: &Path, resolve: impl Fn(&Path) -> PathBuf) -> bool {
        is_key_file_name(path)
            && path.parent().is_some_and(|parent| self.directories.iter().any(|directory| resolve(directory) == parent))
    }

    /// Fetches and parses everything: [`Sources::load`], then [`Contents::parse`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in all files.
    pub fn read(&self) -> Result<KeySet, Problems> {
        self.load()?.parse()
    }

    /// Fetches the texts of all key files, as they were at one moment, in the order in which they are named; a directory's
    /// in the order of their names.
    ///
    /// # Errors
    ///
    /// A problem for every file that is missing, unreadable, no file, or larger than [`FILE_BYTES_MAX`], and for every
    /// directory that is missing or holds no key file; or one if all together are larger than [`ALL_BYTES_MAX`] or more
    /// than [`FILES_MAX`].
    pub fn load(&self) -> Result<Contents, Problems> {
        let folders = self.watched_directories();
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        mount::at_one_moment(&folders, || self.fetch_all())
    }

    fn fetch_all(&self) -> Result<Contents, Problems> {
        let mut problems = Problems::new();
        let mut texts = Vec::new();
        let mut bytes_left = ALL_BYTES_MAX;
        let lists = self.paths(&mut problems).into_iter().map(|path| (path, Shape::List));
        for (path, shape) in lists.chain(self.maps.iter().map(|path| (path.clone(), Shape::Map))) {
            match fetch(&path, bytes_left.min(FILE_BYTES_MAX)) {
                Ok(text) => {
                    bytes_left = bytes_left.saturating_sub(text.len() as u64);
                    texts.push(Text { name: path.display().to_string(), text, shape });
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.into_result()?;
        let fingerprint = fingerprint_of(&texts);
        Ok(Contents { texts, development: self.development.clone(), fingerprint })
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
        let (mut problems, mut set, mut sharing) = (Problems::new(), KeySet::new(), Sharing::default());
        // Of each key in the set: its file, and its index there.
        let mut origins: Vec<(usize, usize)> = Vec::new();
        for (file, text) in self.texts.iter().enumerate() {
            let entries = match text.entries(|_| true) {
                Ok(entries) => entries,
                Err(more) => {
                    problems.extend(more);
                    continue;
                }
            };
            set.reserve(entries.len());
            // The set finds out what occurs twice, if it gets all of it.
            let gets_all = !entries.iter().any(|entry| self.development.keeps_out(&entry.digest));
            if text.is_list() && !gets_all && !file::differ(&entries) {
                problems.extend(text.repetitions());
                continue;
            }
            for (index, entry) in entries.into_iter().enumerate() {
                if self.development.keeps_out(&entry.digest) {
                    tracing::warn!(file = text.name, key = entry.id, "a key for development is not admitted here");
                    continue;
                }
                let key = match Key::of_checked(entry, &mut sharing) {
                    Ok(key) => key,
                    Err(faults) => {
                        let faults = faults.iter().map(|fault| self.problem(file, index, &fault.field, &fault.message));
                        problems.extend(faults);
                        continue;
                    }
                };
                match set.insert(key) {
                    Ok(()) => origins.push((file, index)),
                    Err(duplicate) if text.is_list() && origins[duplicate.earlier()].0 == file => {
                        problems.extend(text.repetitions());
                        break;
                    }
                    Err(duplicate) => problems.push(self.duplicate((file, index), duplicate, &origins)),
                }
            }
        }
        problems.into_result()?;
        for entry in self.development.keys.iter().filter(|_| self.development.admit) {
            // An operator who names the same secret in a file has said more about it.
            if let Ok(key) = Key::new(entry.clone()) {
                let _ = set.insert(key);
            }
        }
        Ok(set)
    }

    /// The problems of keys that clash with keys of `database`, each at its line and with both places. Reads everything
    /// anew: for what has gone wrong only.
    #[must_use]
    pub fn problems_of(&self, clashes: &[Clash], database: &Path) -> Problems {
        let places = self.texts.iter().enumerate().flat_map(|(file, text)| {
            let entries = text.entries(file::differ).unwrap_or_default();
            entries.into_iter().enumerate().map(move |(index, entry)| (entry.id, (file, index)))
        });
        let places: HashMap<String, (usize, usize)> = places.collect();
        let problems = clashes.iter().map(|clash| {
            let (in_file, in_database) = match clash.origin {
                Origin::File => (&clash.id, &clash.holder),
                Origin::Database => (&clash.holder, &clash.id),
            };
            let (field, what) = match clash.what {
                Same::Id => ("id", "id"),
                Same::Secret => ("sha256", "secret"),
            };
            let message = format!("another key has the same {what}: {in_database}, in {}", database.display());
            match places.get(&**in_file) {
                Some((file, index)) => self.problem(*file, *index, field, &message),
                None => Problem::of_file(&database.display().to_string(), clash.to_string()),
            }
        });
        problems.collect()
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
        self.texts[file].problem(index, field, message)
    }
}

impl Development {
    fn keeps_out(&self, digest: &Digest) -> bool {
        !self.admit && self.keys.iter().any(|key| key.digest == *digest)
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
fn fetch(path: &Path, bytes_max: u64) -> Result<String, Problem> {
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
        Ok(text) => Ok(text),
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
    for Text { name, text, .. } in texts {
        for part in [name, text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Fingerprint(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::secret::Digest;

    /// A key file with one key for each word, whose secret is the word.
    fn keys(words: &[&str]) -> String {
        let keys =
            words.iter().map(|word| format!("  - id: {word}\n    sha256: {}\n", Digest::of(word.as_bytes()).to_hex()));
        if words.is_empty() { "keys: []\n".to_owned() } else { format!("keys:\n{}", keys.collect::<String>()) }
    }

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn of_directory(directory: &TempDir) -> Sources {
        Sources::new(Vec::new(), vec![directory.path().to_owned()])
    }

    fn ids(sources: &Sources) -> Vec<String> {
        sources.read().unwrap().iter().map(|key| key.id().to_owned()).collect()
    }

    /// The problems, with the directory's own name taken out.
    fn problems(directory: &TempDir, sources: &Sources) -> Vec<String> {
        let base = format!("{}", directory.path().display());
        let problems = sources.read().map(|_| ()).unwrap_err();
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&format!("{base}/"), "").replace(&base, "."))
            .collect()
    }

    #[test]
    fn files_and_directories_are_one_set() {
        let directory =
            directory(&[("b.yaml", &keys(&["b1", "b2"])), ("a.yml", &keys(&["a"])), ("none.yaml", &keys(&[]))]);
        let other = self::directory(&[("x.conf", &keys(&["x"]))]);
        let sources = Sources::new(vec![other.path().join("x.conf")], vec![directory.path().to_owned()]);
        assert_eq!(ids(&sources), ["x", "a", "b1", "b2"], "files first, then directories in the order of names");
        assert_eq!(ids(&Sources::new(Vec::new(), Vec::new())), Vec::<String>::new());
    }

    #[test]
    fn what_occurs_twice_in_a_file_is_refused_also_beside_a_key_for_development() {
        let development = Development { admit: false, keys: vec![Entry::new("known", Digest::of(b"known"))] };
        let key =
            |id: &str, secret: &str| format!("  - id: {id}\n    sha256: {}\n", Digest::of(secret.as_bytes()).to_hex());
        for (first, second) in [(key("a", "known"), key("a", "other")), (key("a", "known"), key("b", "known"))] {
            let directory = directory(&[("keys.yaml", &format!("keys:\n{first}{second}"))]);
            let sources = of_directory(&directory).with_development(development.clone());
            let problems = problems(&directory, &sources);
            assert!(problems.len() == 1 && problems[0].starts_with("keys.yaml:"), "{problems:?}");
        }
        let directory = directory(&[("keys.yaml", &format!("keys:\n{}{}", key("a", "known"), key("b", "other")))]);
        assert_eq!(ids(&of_directory(&directory).with_development(development)), ["b"]);
    }

    #[test]
    fn a_digest_in_two_spellings_in_a_map_is_refused_with_both_places() {
        let digest = Digest::of(b"a").to_hex();
        let text = format!(
            "\"{digest}\": {{ tenant_id: t, is_active: true }}\n\"{}\": {{ tenant_id: t, is_active: true }}\n",
            digest.to_uppercase()
        );
        let directory = directory(&[("keys.map", &text)]);
        let sources = Sources::default().with_maps(vec![directory.path().join("keys.map")]);
        let problems = problems(&directory, &sources);
        assert!(problems.len() == 1 && problems[0].contains("keys.map:1"), "{problems:?}");
    }

    #[test]
    fn in_a_directory_only_visible_yaml_files_count() {
        let directory = directory(&[
            ("a.yaml", &keys(&["a"])),
            (".b.yaml", "not YAML: ["),
            (".a.yaml.keygate-new", "half a fi"),
            ("c.yaml~", "not YAML: ["),
            ("d.json", "not YAML: ["),
            ("README.md", "not YAML: ["),
        ]);
        fs::create_dir(directory.path().join("inner.yaml")).unwrap();
        assert_eq!(ids(&of_directory(&directory)), ["a"]);
    }

    #[test]
    fn a_kubernetes_volume_is_read_through_its_links_and_a_swap_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);
        for (version, word) in [("..2026_01", "old"), ("..2026_02", "new")] {
            fs::create_dir(inside(version)).unwrap();
            fs::write(inside(version).join("keys.yaml"), keys(&[word])).unwrap();
        }
        symlink("..2026_01", inside("..data")).unwrap();
        symlink("..data/keys.yaml", inside("keys.yaml")).unwrap();
        let sources = of_directory(&directory);
        let before = sources.load().unwrap().fingerprint();
        assert_eq!(ids(&sources), ["old"]);

        symlink("..2026_02", inside("..data_tmp")).unwrap();
        fs::rename(inside("..data_tmp"), inside("..data")).unwrap();
        assert_eq!(ids(&sources), ["new"]);
        assert!(before != sources.load().unwrap().fingerprint());
    }

    #[test]
    fn a_file_that_is_reached_twice_is_read_once() {
        let directory = directory(&[("a.yaml", &keys(&["a"]))]);
        symlink("a.yaml", directory.path().join("link.yaml")).unwrap();
        let file = directory.path().join("a.yaml");
        assert_eq!(ids(&Sources::new(vec![file.clone(), file], vec![directory.path().to_owned()])), ["a"]);
    }

    #[test]
    fn nothing_is_lost_by_what_is_missing() {
        let directory = directory(&[("a.yaml", &keys(&["a"])), ("empty.yaml", "")]);
        let inside = |name: &str| directory.path().join(name);
        fs::create_dir(inside("void")).unwrap();
        let sources = Sources::new(
            vec![inside("gone.yaml"), inside("void"), "/dev/null".into()],
            vec![inside("void"), inside("nowhere"), directory.path().to_owned()],
        );
        let message = problems(&directory, &sources);
        assert_eq!(
            message,
            [
                "void: holds no key file (`*.yaml` or `*.yml`); if there shall be no keys, write a file with `keys: []`",
                "nowhere: cannot be read as a directory: No such file or directory (os error 2)",
                "gone.yaml: cannot be opened: No such file or directory (os error 2)",
                "void: is a directory; name it under `directory`",
                "/dev/null: is not a regular file",
            ]
        );
        fs::remove_dir(inside("void")).unwrap();
        assert_eq!(
            problems(&directory, &of_directory(&directory)),
            ["empty.yaml: holds no keys at all, as if it was cut off; if that is what you want, write `keys: []`"]
        );
    }

    #[test]
    fn one_broken_file_breaks_the_whole_set_and_all_are_named() {
        let directory = directory(&[("a.yaml", &keys(&["a"])), ("b.yaml", "keys: [\n"), ("c.yaml", "kyes: []\n")]);
        let problems = problems(&directory, &of_directory(&directory));
        assert_eq!(
            problems.iter().map(|problem| &problem[..8]).collect::<Vec<_>>(),
            ["b.yaml:2", "c.yaml:1", "c.yaml:1"]
        );
    }

    #[test]
    fn an_id_or_a_secret_in_two_files_is_refused_with_both_places() {
        let same_secret = keys(&["x", "a"]).replace("id: a", "id: other");
        let directory =
            directory(&[("1.yaml", &keys(&["a", "b"])), ("2.yaml", &keys(&["c", "b"])), ("3.yaml", &same_secret)]);
        let shown = problems(&directory, &of_directory(&directory)).join("\n");
        let base = directory.path().display();
        let shown = shown.replace(&format!("{base}/"), "");
        assert_eq!(
            shown,
            "2.yaml:4:9: keys[1].id: another key has the same id, at 1.yaml:4\n\
             3.yaml:5:13: keys[1].sha256: another key has the same secret, at 1.yaml:3"
        );
        assert!(!shown.contains(&Digest::of(b"a").to_hex()[..8]));
    }

    /// The places within one file are said as they are where it is read alone, and other files are still looked at.
    #[test]
    fn a_file_that_repeats_itself_is_refused_with_both_places() {
        let directory = directory(&[("1.yaml", &keys(&["a", "b", "a"])), ("2.yaml", &keys(&["b"]))]);
        assert_eq!(
            problems(&directory, &of_directory(&directory)),
            [
                "1.yaml:6:9: keys[2].id: another key has the same id, at line 2",
                "1.yaml:7:13: keys[2].sha256: another key has the same secret, at line 3",
                "2.yaml:2:9: keys[0].id: another key has the same id, at 1.yaml:4",
            ]
        );
    }

    #[test]
    fn what_clashes_with_the_database_is_told_with_both_places() {
        let directory = directory(&[("a.yaml", &keys(&["a", "b"])), ("c.yaml", &keys(&["c"]))]);
        let contents = of_directory(&directory).load().unwrap();
        let clash = |what, origin, id: &str, holder: &str| Clash { what, origin, id: id.into(), holder: holder.into() };
        let clashes = [
            clash(Same::Id, Origin::Database, "b", "b"),
            clash(Same::Secret, Origin::File, "c", "key_1"),
            clash(Same::Secret, Origin::Database, "key_2", "gone"),
        ];
        let shown: Vec<String> = contents
            .problems_of(&clashes, Path::new("k.db"))
            .iter()
            .map(|problem| problem.to_string().replace(&format!("{}/", directory.path().display()), ""))
            .collect();
        assert_eq!(
            shown,
            [
                "a.yaml:4:9: keys[1].id: another key has the same id: b, in k.db",
                "c.yaml:3:13: keys[0].sha256: another key has the same secret: key_1, in k.db",
                "k.db: the keys key_2 and gone, one in a key file and one in the database, have the same secret",
            ]
        );
    }

    #[test]
    fn too_much_is_refused_before_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let big = File::create(directory.path().join("big.yaml")).unwrap();
        big.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(
            problems(&directory, &of_directory(&directory)),
            ["big.yaml: is larger than 64MiB, the most that is read; use several files"]
        );
        let shown = fetch(&directory.path().join("big.yaml"), 5).map(|_| ()).unwrap_err().to_string();
        assert!(shown.ends_with("makes all key files larger than 256MiB, the most that is read"), "{shown}");
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), b"keys:\n- id: \xff\n").unwrap();
        assert_eq!(problems(&directory, &of_directory(&directory)), ["a.yaml:2:1: is not UTF-8 text"]);
    }

    #[test]
    fn the_fingerprint_changes_with_contents_and_names_and_nothing_else() {
        let directory = directory(&[("a.yaml", &keys(&["a"])), ("b.yaml", &keys(&["b"]))]);
        let sources = of_directory(&directory);
        let fingerprint = || sources.load().unwrap().fingerprint();
        let first = fingerprint();
        fs::write(directory.path().join("a.yaml"), keys(&["a"])).unwrap();
        fs::write(directory.path().join("c.txt"), "x").unwrap();
        assert!(fingerprint() == first, "written again, and a file that is none of ours");
        fs::write(directory.path().join("a.yaml"), keys(&["a"]) + "\n").unwrap();
        let second = fingerprint();
        assert!(second != first);
        fs::rename(directory.path().join("b.yaml"), directory.path().join("c.yaml")).unwrap();
        assert!(fingerprint() != second);
    }

    #[test]
    fn what_is_parsed_is_what_was_loaded() {
        let directory = directory(&[("a.yaml", &keys(&["a"]))]);
        let contents = of_directory(&directory).load().unwrap();
        fs::write(directory.path().join("a.yaml"), "").unwrap();
        assert_eq!(contents.parse().unwrap().len(), 1);
        assert_eq!(format!("{contents:?} {:?}", contents.fingerprint()), "Contents { files: 1, .. } Fingerprint");
    }

    #[test]
    fn the_directories_of_files_are_watched_not_the_files() {
        let sources = Sources::new(vec!["/etc/k/a.yaml".into(), "b.yaml".into()], vec!["/etc/k".into(), "/srv".into()]);
        let watched: Vec<PathBuf> = ["/etc/k", "/srv", "."].into_iter().map(PathBuf::from).collect();
        assert_eq!(sources.watched_directories(), watched);
    }
}
