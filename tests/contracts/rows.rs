//! No row of a contract without a test: `rows.txt` has them all, and each names its tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The contracts, as the names of their tests begin.
const CONTRACTS: [&str; 4] = ["npc_", "core_", "certo_", "flex_"];

/// Rows of each contract and of what is settled.
const ROWS: usize = 9 + 13 + 9 + 8 + 15;

/// The beginnings of names that each row demands.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = include_str!("rows.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let (names, words) = line.split_once(" | ").unwrap_or_else(|| panic!("{line}: no bar"));
        assert!(words.ends_with('.'), "{line}: no sentence");
        let names: Vec<_> = names.split_whitespace().collect();
        assert!(!names.is_empty() && names.iter().all(|name| is_of_a_contract(name)), "{line}: no name");
        names
    };
    lines.map(row).collect()
}

fn is_of_a_contract(name: &str) -> bool {
    CONTRACTS.iter().any(|contract| name.starts_with(contract))
}

/// The names of all tests in the files below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let marked = text.split("#[test]\n").skip(1).filter_map(|rest| rest.strip_prefix("fn "));
            names.extend(marked.filter_map(|rest| rest.split('(').next()).map(str::to_owned));
        }
    }
}

/// The names of the tests that this program runs, without their modules.
fn tests_that_run() -> BTreeSet<String> {
    let list = |more: &[&str]| {
        let output = Command::new(std::env::current_exe().unwrap()).arg("--list").args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.strip_suffix(": test")?.rsplit("::").next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let left_out = list(&["--ignored"]);
    list(&[]).into_iter().filter(|name| !left_out.contains(name)).collect()
}

#[test]
fn every_row_of_every_contract_has_a_test() {
    let rows = rows();
    assert_eq!(rows.len(), ROWS, "a row has gone, or come");
    let mut written = BTreeSet::new();
    tests_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contracts")), &mut written);
    let without: Vec<_> =
        rows.iter().flatten().filter(|row| !written.iter().any(|test| test.starts_with(**row))).collect();
    assert!(without.is_empty(), "no test begins with {without:?}");
    let run = tests_that_run();
    let idle: Vec<_> = written.iter().filter(|test| !run.contains(*test)).collect();
    assert!(idle.is_empty(), "these are written and not run: {idle:?}");
}

#[test]
fn every_test_of_a_contract_belongs_to_a_row() {
    let rows: Vec<_> = rows().into_iter().flatten().collect();
    let run = tests_that_run();
    let tests: Vec<_> = run.iter().filter(|test| is_of_a_contract(test)).collect();
    assert!(tests.len() > 50, "read only {} tests", tests.len());
    let settled = |test: &str| CONTRACTS.iter().any(|contract| test.starts_with(&format!("{contract}settled_")));
    let stray: Vec<_> =
        tests.iter().filter(|test| !settled(test) && !rows.iter().any(|row| test.starts_with(*row))).collect();
    assert!(stray.is_empty(), "no row has {stray:?}");
}
