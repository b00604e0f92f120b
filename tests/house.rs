//! The rules of the house. Each test reads the sources, so a rule that is broken fails like any other bug.
//!
//! A rule is a list of what breaks it, which must be empty. Beside it stands how much was read at least: a reader that
//! finds nothing to read must fail too.

#![expect(clippy::expect_used, reason = "a test that cannot read must fail")]

#[path = "house/licences.rs"]
mod licences;
#[path = "house/reader.rs"]
mod reader;

use std::collections::BTreeSet;
use std::process::Command;

use reader::{Source, contains_words, is_word, repository, root, snake_case, source, sources};

/// The parts of the program, lowest floor first. A part may use parts of lower floors only; parts of one floor are
/// strangers.
const FLOORS: &[&[&str]] = &[
    &[
        "telemetry",
        "moment",
        "mount",
        "problem",
        "body",
        "template",
        "document",
        "secret",
        "json",
        "locks",
        "capacity",
        "priority",
        "address",
        "coalescing",
        "frames",
        "ticks",
        "outbound",
    ],
    &["listener", "keys", "limits", "identity", "webhooks", "otlp"],
    &["gateway", "management", "portal", "probes"],
    &["config"],
    &["cli", "reload"],
    &["app"],
    &["main"],
];

/// The configuration is a door, not a bag: these alone may name it.
const CONFIG_USERS: &[&str] = &["main", "app", "cli", "reload"];

/// The files of `gateway` in the order of the road. A file may name those to its left.
const ROAD: &[&str] = &[
    "message",
    "client_address",
    "environment",
    "route",
    "credentials",
    "authentication",
    "authorization",
    "rate_limit",
    "forward",
];

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

/// Crates that must not be built, not even for another one: a second library for cryptography, or a YAML parser that
/// nobody keeps.
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

/// Nobody can skip a step, because nobody else can make what it leaves: its fields are private, and the last two cannot
/// be copied either.
#[test]
fn a_proof_is_made_in_one_file_alone() {
    for proof in PROOFS {
        let home = home_of(proof);
        let (before, after) = home.code.split_once(&format!("struct {proof}")).expect("the home of a proof");
        let fields = after.split(['}', ';']).next().unwrap_or_default();
        assert!(!contains_words(fields, "pub"), "{}: a field of {proof} is public", home.path);
        let attributes = before.rsplit(['}', ';']).next().unwrap_or_default();
        let made =
            ["Default", "Deserialize", "Clone", "Copy"].into_iter().filter(|word| contains_words(attributes, word));
        nothing(made.filter(|word| *proof == "Permit" || *proof == "Admission" || !["Clone", "Copy"].contains(word)));
    }
}

#[test]
fn a_proof_is_made_of_the_one_before() {
    for step in PROOFS.windows(2) {
        let (before, proof) = (step[0], step[1]);
        let home = home_of(proof);
        let mut makers = 0;
        for (at, _) in home.code.match_indices("fn ") {
            let signature = home.code[at..].split('{').next().unwrap_or_default();
            let within_proof = home.code[..at].rsplit("\nimpl").next().is_some_and(|implementation| {
                at > implementation.len() && contains_words(implementation.split('{').next().unwrap_or_default(), proof)
            });
            let (taken, left) = signature.split_once("->").unwrap_or_default();
            let owned = left.replace(&format!("&{proof}"), "").replace("&Self", "");
            if contains_words(&owned, proof) || (within_proof && contains_words(&owned, "Self")) {
                assert!(
                    contains_words(taken, before),
                    "{}: `{}` makes a {proof} of nothing",
                    home.path,
                    signature.trim()
                );
                makers += 1;
            }
        }
        assert!(makers > 0, "{}: nothing makes a {proof}; is the reader broken?", home.path);
    }
}

/// The one file of the road that declares this struct.
fn home_of(proof: &str) -> Source {
    let mut homes = sources("src/gateway");
    homes.retain(|file| contains_words(&file.code, &format!("struct {proof}")));
    assert_eq!(homes.len(), 1, "{proof} must be a struct of one file");
    homes.remove(0)
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

/// A file that comes, goes or moves is seen on the map, which newcomers read first.
#[test]
fn the_map_names_every_file() {
    let (_, text) = repository().into_iter().find(|(path, _)| path == "ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let map = text.split("\n## ").find(|section| section.starts_with("Map\n")).expect("its map");
    let named: Vec<_> = map.split_whitespace().filter(|word| word.starts_with("src/")).map(str::to_owned).collect();
    let there: BTreeSet<_> = sources("src").into_iter().map(|file| file.path).collect();
    assert!(there.len() > 30, "read only {} files", there.len());
    nothing(there.iter().filter(|path| named.iter().filter(|name| name == path).count() != 1));
    nothing(named.iter().filter(|name| !there.contains(*name)));
}

/// Asks cargo, because the lock file also lists what nothing switches on.
#[test]
fn no_foreign_crate_is_built() {
    let arguments = ["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo tree");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("names of crates");
    let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.len() > 100, "read only {} crates", crates.len());
    nothing(crates.iter().filter(|name| FOREIGN_CRATES.contains(name)));
}

/// One part names another.
#[derive(Debug)]
struct Use {
    source: String,
    target: String,
    #[expect(dead_code, reason = "it is printed with a broken rule")]
    file: String,
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

/// Fails with a list of what breaks the rule, unless there is none.
#[track_caller]
fn nothing<T: std::fmt::Debug>(broken: impl IntoIterator<Item = T>) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "these break the rule: {broken:#?}");
}
