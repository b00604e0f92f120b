//! The targets of `fuzz/`, with the kept corpus and with mutations of it that are the same every time.
//!
//! What libFuzzer has found once is in the corpus and found here from then on. `KEYGATE_FUZZ_RUNS=1000000 cargo test
//! --test fuzz` looks longer, without libFuzzer and without its eyes; `make fuzz` is better at that.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a target says what is wrong by panicking"
)]

#[allow(unreachable_pub, reason = "in `fuzz` they are a library")]
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use targets::TARGETS;

/// Bytes of an input at most.
const BYTES_MAX: usize = 4096;

/// Numbers that look random and are always the same (xorshift64*).
struct Dice(u64);

impl Dice {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }
}

/// Changes an input in one place.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let end = at + dice.below((input.len() - at).min(24) + 1);
    match dice.below(8) {
        0 => drop(input.splice(at..end, [])),
        1 => {
            let piece = input[at..end].to_vec();
            let to = dice.below(input.len() + 1);
            drop(input.splice(to..to, piece));
        }
        2 if at < input.len() => input[at] ^= 1 << dice.below(8),
        3 => input.insert(at, u8::try_from(dice.below(256)).expect("a byte")),
        4 => {
            let other = &corpus[dice.below(corpus.len())];
            let from = dice.below(other.len() + 1);
            let to = from + dice.below(other.len() - from + 1);
            drop(input.splice(at..end, other[from..to].iter().copied()));
        }
        5 => drop(input.splice(at..end, words[dice.below(words.len())].bytes())),
        _ => drop(input.splice(at..at, words[dice.below(words.len())].bytes())),
    }
    input.truncate(BYTES_MAX);
}

/// The kept inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let corpus: Vec<_> = files.iter().map(|file| std::fs::read(file).expect("an input")).collect();
    assert!(corpus.len() >= 5, "{name} has only {} inputs", corpus.len());
    corpus
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = corpus(name);
    let check = |input: &[u8]| {
        let verdict = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
        assert!(verdict.is_ok(), "{name}: keep this in fuzz/corpus/{name}: b\"{}\"", input.escape_ascii());
    };
    corpus.iter().for_each(|input| check(input));
    let runs = std::env::var("KEYGATE_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(target.runs);
    let mut dice = Dice(0x6B65_7967_6174_6531);
    for _ in 0..runs {
        let mut input = corpus[dice.below(corpus.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut input, &corpus, target.words, &mut dice);
        }
        check(&input);
    }
    if name == "head" {
        assert!(targets::head::arrived() > runs / 10, "only {} requests have arrived", targets::head::arrived());
    }
    println!("{name}: {} kept inputs and {runs} mutations", corpus.len());
}

/// A test for each target, by its name, and none without.
macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        #[test]
        fn every_target_is_run_here_and_by_libfuzzer() {
            let here = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|target| target.name).eq(here));
            for name in here {
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                let text = std::fs::read_to_string(&program).expect(name);
                assert!(text.contains(&format!("targets::{name}::check")), "{}", program.display());
            }
        }
    };
}

targets!(path, forwarded, credentials, key_file, template, proxy_protocol, cookie, webhook, question, head);
