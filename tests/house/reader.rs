//! How the rules of the house read the sources: without comments, without literals, path by path.
//!
//! Not a parser of Rust. It knows as much as the rules need, and its own test names what that is.

use std::fs;
use std::path::Path;

/// A file of Rust.
pub(crate) struct Source {
    /// Below the repository's root.
    pub(crate) path: String,
    /// As it stands in the file.
    pub(crate) text: String,
    /// The text, with blanks in place of comments and literals.
    pub(crate) code: String,
    /// Where it hangs in the crate: `src/keys/store.rs` is `["keys", "store"]`.
    pub(crate) module: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let name = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = name.split('/').skip(1).filter(|_| name != "src/lib").map(str::to_owned).collect();
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text), module }
    }

    /// The text down to the file's module of tests. Nothing of a file that holds tests alone.
    pub(crate) fn before_tests(&self) -> &str {
        let opens_module = |line: &str| line.starts_with("mod ") || line.starts_with("pub(super) mod ");
        let tests =
            self.text.match_indices("#[cfg(test)]\n").find(|(at, mark)| opens_module(&self.text[at + mark.len()..]));
        let holds_tests_alone = self.module.last().is_some_and(|name| name == "tests");
        if holds_tests_alone { "" } else { &self.text[..tests.map_or(self.text.len(), |(at, _)| at)] }
    }

    /// All paths from the crate's root that this file names: by `crate::`, by `super::`, and `keygate::` in the program.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for start in ["crate::", "keygate::"] {
            for (at, _) in self.code.match_indices(start).filter(|(at, _)| !self.code[..*at].ends_with(is_word)) {
                read_paths(&self.code[at + start.len()..], &[], &mut paths);
            }
        }
        for (at, _) in self.code.match_indices("super::").filter(|(at, _)| !self.code[..*at].ends_with("super::")) {
            let rest = self.code[at..].trim_start_matches("super::");
            let levels = (self.code.len() - at - rest.len()) / "super::".len();
            read_paths(rest, &self.module[..self.module.len().saturating_sub(levels)], &mut paths);
        }
        paths
    }
}

/// Reads one path, or a tree of them as in `use`, and returns what stands behind it.
fn read_paths<'a>(text: &'a str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(tree) = rest.strip_prefix('{') {
        rest = tree;
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = read_paths(rest, prefix, paths);
            rest = rest.trim_start_matches(|letter| !matches!(letter, ',' | '}')).trim_start_matches(',').trim_start();
        }
        return rest.get(1..).unwrap_or_default();
    }
    let (name, behind) = rest.split_at(rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()));
    let path = if name.is_empty() { prefix.to_vec() } else { [prefix, &[name.to_owned()]].concat() };
    match behind.strip_prefix("::") {
        Some(deeper) if !name.is_empty() => read_paths(deeper, &path, paths),
        Some(_) | None => {
            paths.push(path);
            behind
        }
    }
}

/// Blanks out comments and literals. Ends of lines stay.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let blank = comment_or_literal(rest);
        let taken = if blank == 0 { letter.len_utf8() } else { blank };
        let kept = rest[..taken].chars().map(|letter| if blank == 0 || letter == '\n' { letter } else { ' ' });
        code.extend(kept);
        rest = &rest[taken..];
    }
    code
}

/// How many bytes the comment or literal has that starts here; 0 where none does.
fn comment_or_literal(rest: &str) -> usize {
    let until = |start: usize, end: &str| rest[start..].find(end).map_or(rest.len(), |at| start + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        return end.map_or(rest.len(), |at| at + 2);
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let quoted = raw[hashes..].starts_with('"');
        return if quoted { until(hashes + 2, &format!("\"{}", "#".repeat(hashes))) } else { 0 };
    }
    match rest.strip_prefix('\'').and_then(|behind| behind.chars().next()) {
        Some('\\') => until(3, "'"),
        Some(letter) if rest[1 + letter.len_utf8()..].starts_with('\'') => letter.len_utf8() + 2,
        // A lifetime, or no quote at all.
        Some(_) | None => 0,
    }
}

/// Whether the letter can stand in a name.
pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether the words stand in the text, not as part of longer words.
pub(crate) fn contains_words(text: &str, words: &str) -> bool {
    let alone = |at: usize| !text[..at].ends_with(is_word) && !text[at + words.len()..].starts_with(is_word);
    text.match_indices(words).any(|(at, _)| alone(at))
}

/// `OneName` and `one_name` are both `one_name`.
pub(crate) fn snake_case(identifier: &str) -> String {
    let mut snake = String::new();
    for letter in identifier.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Where the repository lies.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file. Path and what is returned are below the repository's root.
pub(crate) fn source(path: &str) -> Source {
    Source::new(path, &fs::read_to_string(root().join(path)).expect(path))
}

/// All Rust files below a folder, sorted.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let files =
        repository().into_iter().filter(|(path, _)| path.ends_with(".rs") && path.starts_with(&format!("{folder}/")));
    files.map(|(path, text)| Source::new(&path, &text)).collect()
}

/// Path and text of every file of the repository that is text, sorted. Leaves out what builds leave behind.
pub(crate) fn repository() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let entry = entry.expect("an entry of the repository");
            let path = entry.path();
            if ["target", ".git", "__pycache__"].iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let below = path.strip_prefix(root()).expect("a path below the root");
                files.push((below.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_reader_finds_every_form_of_a_path() {
    let text = r##"
        use crate::{limits::{self, Limit}, keys as k, moment::Moment};
        // crate::comment
        const QUOTED: &str = "crate::text"; const RAW: &str = r#"crate::"raw""#; const QUOTE: char = '"';
        fn f<'a>(x: &'a super::route::Route) -> crate::body::Body<'a> { super::super::probes::g::<u8>('\'') }
        pub(crate) mod m;
    "##;
    let source = Source::new("src/gateway/forward.rs", text);
    let paths: Vec<_> = source.paths().iter().map(|path| path.join("::")).collect();
    let expected =
        ["limits::self", "limits::Limit", "keys", "moment::Moment", "body::Body", "gateway::route::Route", "probes::g"];
    assert_eq!(paths, expected);
}
