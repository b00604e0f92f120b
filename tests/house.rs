//! The rules of the house. Each test reads the sources, so a rule that is broken fails like any other bug.
//!
//! A rule is a list of what breaks it, which must be empty. Beside it stands how much was read at least: a reader that
//! finds nothing to read must fail too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The parts of the program, lowest floor first. A part may use parts of lower floors only; parts of one floor are
/// strangers.
const FLOORS: &[&[&str]] = &[
    &["telemetry", "moment", "problem", "body", "template", "document"],
    &["listener", "keys", "limits", "identity"],
    &["gateway", "management", "portal", "probes"],
    &["config"],
    &["cli", "reload"],
    &["app"],
    &["main"],
];

/// The configuration is a door, not a bag: these alone may name it.
const CONFIG_USERS: &[&str] = &["main", "app", "cli", "reload"];

/// The files of `gateway` in the order of the road. A file may name those to its left.
const ROAD: &[&str] =
    &["message", "client_address", "route", "credentials", "authentication", "authorization", "rate_limit", "forward"];

/// What each step of the road leaves for the next.
const PROOFS: &[&str] = &["Credentials", "Principal", "Permit", "Admission"];

/// Lines of a file before its tests.
const LINES_MAX: usize = 400;

/// Names of modules that say nothing about what is in them.
const EMPTY_NAMES: &[&str] =
    &["utils", "util", "helpers", "helper", "common", "misc", "types", "constants", "traits", "prelude", "manager"];

/// Words for which the lexicon has a better one.
const FOREIGN_WORDS: &[&str] = &[
    "backend",
    "downstream",
    "consumer",
    "real_ip",
    "source_ip",
    "src_ip",
    "api_token",
    "hop_by_hop",
    "throttle",
    "mesh",
    "whitelist",
    "blacklist",
];

/// Words of the guarded APIs, which reach the program through its configuration only.
const CONTRACT_WORDS: &[&str] = &["fluxiq", "certopay", "flexprice", "pixconnect", "boleto", "merchant"];

/// Crates which must not come in, not even through another one: a second library for cryptography, or a YAML parser
/// that nobody keeps.
const FOREIGN_CRATES: &[&str] =
    &["ring", "openssl", "openssl-sys", "native-tls", "rsa", "serde_yml", "libyml", "unsafe-libyaml"];

#[test]
fn parts_use_lower_floors_only() {
    let uses = uses_between_parts();
    assert!(uses.len() > 20, "read only {} uses; is the reader broken?", uses.len());
    nothing(uses.iter().filter(|used| floor(&used.target) >= floor(&used.source)));
}

#[test]
fn every_part_has_a_floor() {
    let parts: BTreeSet<String> = sources("src").iter().filter_map(|source| source.module.first().cloned()).collect();
    assert!(parts.len() > 8, "{parts:?}");
    nothing(parts.iter().filter(|part| !FLOORS.iter().any(|floor| floor.contains(&part.as_str()))));
}

/// A name at the root would be a way around the floors: `crate::Key` does not say which part it belongs to.
#[test]
fn the_root_of_the_crate_declares_parts_and_nothing_else() {
    let root = source("src/lib.rs");
    let statements: Vec<_> = root.code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).collect();
    assert!(statements.len() > 8, "{statements:?}");
    nothing(statements.iter().filter(|statement| !statement.starts_with("pub mod ") && !statement.starts_with("mod ")));
}

#[test]
fn only_the_top_of_the_house_names_the_configuration() {
    let uses = uses_between_parts();
    assert!(uses.iter().any(|used| used.target == "config"), "nobody names the configuration");
    nothing(uses.iter().filter(|used| used.target == "config" && !CONFIG_USERS.contains(&used.source.as_str())));
}

#[test]
fn the_road_is_one_way() {
    let steps: Vec<_> = sources("src/gateway").into_iter().filter(|source| step_of(&source.module).is_some()).collect();
    assert!(ROAD.iter().all(|name| steps.iter().any(|step| step.module[1] == *name)), "a step has no file");
    let home = |name: &str| {
        let declared = |step: &&Source| {
            ["struct", "enum", "trait", "fn"]
                .iter()
                .any(|word| contains_words(&step.code, &format!("pub {word} {name}")))
        };
        steps.iter().find(declared).and_then(|step| step_of(&step.module))
    };
    let mut back = Vec::new();
    for step in &steps {
        for path in step.paths().iter().filter(|path| path.len() > 1 && path[0] == "gateway") {
            let target = step_of(path).or_else(|| home(&path[1]));
            if target > step_of(&step.module) {
                back.push(format!("{} names {}", step.path, path.join("::")));
            }
        }
    }
    nothing(&back);
}

/// Nobody can skip a step, because nobody else can make what it leaves.
#[test]
fn a_proof_is_made_in_one_file_alone() {
    for proof in PROOFS {
        let files = sources("src");
        let homes: Vec<_> =
            files.iter().filter(|file| contains_words(&file.code, &format!("struct {proof}"))).collect();
        let [home] = homes.as_slice() else { panic!("{proof} must be one struct, and is {}", homes.len()) };
        let after = home.code.split(&format!("struct {proof}")).nth(1).unwrap_or_default();
        let body = after.split(['}', ';']).next().unwrap_or_default();
        assert!(!contains_words(body, "pub"), "{}: a field of {proof} is public", home.path);
        let derives =
            home.code.split(&format!("struct {proof}")).next().and_then(|before| before.rsplit("derive").next());
        let copied = ["Clone", "Copy", "Default", "Deserialize"];
        nothing(copied.iter().filter(|word| derives.is_some_and(|derives| contains_words(derives, word))));
    }
}

#[test]
fn every_file_begins_with_its_story() {
    let files: Vec<_> = ["src", "tests"].into_iter().flat_map(sources).collect();
    assert!(files.len() > 30, "read only {} files", files.len());
    nothing(files.iter().filter(|file| !file.text.starts_with("//! ")).map(|file| &file.path));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = |file: &Source| {
        let lines = file.before_tests().lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines before its tests", file.path))
    };
    nothing(sources("src").iter().filter_map(long));
}

#[test]
fn no_module_has_an_empty_name() {
    let empty = |name: &str| EMPTY_NAMES.contains(&name) || name.ends_with("_main");
    let files = sources("src");
    nothing(files.iter().filter(|file| file.module.iter().any(|name| empty(name))).map(|file| &file.path));
}

#[test]
fn identifiers_use_the_words_of_the_lexicon() {
    let mut foreign = Vec::new();
    for file in ["src", "tests"].into_iter().flat_map(sources) {
        let identifiers: BTreeSet<_> = file.code.split(|letter| !is_word(letter)).collect();
        for identifier in identifiers {
            let snake = snake_case(identifier);
            let words = FOREIGN_WORDS.iter().filter(|word| format!("_{snake}_").contains(&format!("_{word}_")));
            foreign.extend(words.map(|word| format!("{}: {identifier} ({word})", file.path)));
        }
    }
    nothing(&foreign);
}

#[test]
fn the_program_knows_no_contract() {
    let mut known = Vec::new();
    for file in sources("src") {
        let text = file.text.to_lowercase();
        known.extend(CONTRACT_WORDS.iter().filter(|word| text.contains(*word)).map(|word| (file.path.clone(), *word)));
    }
    nothing(&known);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    nothing(
        repository().iter().filter(|(_, text)| marks.iter().any(|mark| contains_words(text, mark))).map(|file| &file.0),
    );
}

/// The repository must read the same wherever it lies: no path of the place in which it was written.
#[test]
fn nothing_names_the_place_of_its_making() {
    let places = [concat!("/wo", "rk/"), concat!("../sha", "red")];
    let names =
        |text: &str| places.iter().any(|place| text.match_indices(place).any(|(at, _)| !text[..at].ends_with(is_word)));
    let files = repository();
    assert!(files.len() > 40, "read only {} files", files.len());
    nothing(files.iter().filter(|(_, text)| names(text)).map(|file| &file.0));
}

#[test]
fn every_metric_is_documented() {
    let documents: Vec<_> =
        repository().into_iter().filter(|(path, _)| path == "README.md" || path.starts_with("docs/")).collect();
    let mut metrics = BTreeSet::new();
    for file in sources("src") {
        let strings = file.before_tests().split('"').map(str::to_owned).collect::<Vec<_>>();
        metrics.extend(strings.into_iter().filter(|name| name.starts_with("keygate_") && name.chars().all(is_word)));
    }
    assert!(metrics.len() > 10, "found only {metrics:?}");
    nothing(metrics.iter().filter(|name| !documents.iter().any(|(_, text)| contains_words(text, name))));
}

#[test]
fn no_foreign_crate_came_in() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let crates: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(crates.len() > 100, "read only {} crates", crates.len());
    nothing(crates.iter().filter(|name| FOREIGN_CRATES.contains(name)));
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

/// Fails with a list of what breaks the rule, unless there is none.
#[track_caller]
fn nothing<T: std::fmt::Debug>(broken: impl IntoIterator<Item = T>) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "these break the rule: {broken:#?}");
}

/// A file of Rust.
struct Source {
    /// Below the repository's root.
    path: String,
    text: String,
    /// The text, with blanks in place of comments and literals.
    code: String,
    /// Where it hangs in the crate: `src/keys/store.rs` is `["keys", "store"]`.
    module: Vec<String>,
}

/// One part names another.
#[derive(Debug)]
struct Use {
    source: String,
    target: String,
    #[expect(dead_code, reason = "it is printed with a broken rule")]
    file: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let name = path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("lib");
        let module = name.split('/').skip(1).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text), module }
    }

    fn before_tests(&self) -> &str {
        let is_all_tests = self.module.last().is_some_and(|name| name == "tests");
        if is_all_tests { "" } else { self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default() }
    }

    /// All paths from the crate's root that this file names: by `crate::`, by `super::`, and `keygate::` in the program.
    fn paths(&self) -> Vec<Vec<String>> {
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
    if rest.starts_with('"') {
        let mut escaped = false;
        let end = rest[1..].find(|letter| {
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

fn uses_between_parts() -> Vec<Use> {
    let mut uses = Vec::new();
    for file in sources("src") {
        let Some(part) = file.module.first() else { continue };
        let targets = file.paths().into_iter().filter_map(|path| path.into_iter().next());
        let others =
            targets.filter(|target| target != part && FLOORS.iter().any(|floor| floor.contains(&target.as_str())));
        uses.extend(others.map(|target| Use { source: part.clone(), target, file: file.path.clone() }));
    }
    uses
}

fn floor(part: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&part))
}

fn step_of(module: &[String]) -> Option<usize> {
    let name = module.get(1)?;
    ROAD.iter().position(|step| step == name)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether the words stand in the text, not as part of longer words.
fn contains_words(text: &str, words: &str) -> bool {
    let alone = |at: usize| !text[..at].ends_with(is_word) && !text[at + words.len()..].starts_with(is_word);
    text.match_indices(words).any(|(at, _)| alone(at))
}

fn snake_case(identifier: &str) -> String {
    let mut snake = String::new();
    for letter in identifier.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(path: &str) -> Source {
    Source::new(path, &fs::read_to_string(root().join(path)).expect(path))
}

/// All Rust files below a folder, sorted.
fn sources(folder: &str) -> Vec<Source> {
    let files =
        repository().into_iter().filter(|(path, _)| path.ends_with(".rs") && path.starts_with(&format!("{folder}/")));
    files.map(|(path, text)| Source::new(&path, &text)).collect()
}

/// Path and text of every file of the repository that is text, sorted. Leaves out what builds leave behind.
fn repository() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of the repository").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", "__pycache__"].contains(&name.as_str()) {
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
