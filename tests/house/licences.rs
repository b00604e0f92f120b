//! What `deny.toml` says of licences, sources and bans, as far as it can be held without the database of advisories.
//!
//! `cargo deny check` holds all of it, and takes minutes to install; what a new dependency is most likely to break is held here.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::FOREIGN_CRATES;
use crate::reader::root;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The texts of a list in `deny.toml`.
fn list(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let (_, rest) = text.split_once(&format!("\n{name} = [\n")).expect("the list");
    let (inside, _) = rest.split_once("\n]").expect("its end");
    inside.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a licence expression (SPDX, annex D) is satisfied by licences that are allowed.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = either(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression} is not understood");
    result
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        // Both sides are read, whatever the first says.
        result |= both(words, at, allowed);
    }
    result
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = *words.get(*at).expect("a licence");
    *at += 1;
    if word == "(" {
        let result = either(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"), "a bracket is open");
        *at += 1;
        return result;
    }
    if words.get(*at) == Some(&"WITH") {
        let with = format!("{word} WITH {}", words.get(*at + 1).expect("an exception"));
        *at += 2;
        return allowed.contains(&with);
    }
    allowed.contains(word)
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR ISC) AND MIT", "Apache-2.0 WITH LLVM-exception"] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR BSL-1.0)", "Apache-2.0", "Apache-2.0 WITH other"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}

#[test]
fn every_dependency_may_be_given_away_and_comes_from_the_registry() {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO")).args(arguments).args(platform).current_dir(root()).output();
    let output = output.expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "read only {} packages", packages.len());
    let allowed = list("allow");
    let wrong: Vec<_> = packages
        .iter()
        .filter(|package| {
            let ours = package["name"] == "keygate" && package["source"].is_null();
            let registered = package["source"] == CRATES_IO;
            let licence = package["license"].as_str().unwrap_or("none");
            !(ours || registered) || !satisfied(licence, &allowed)
        })
        .map(|package| format!("{} ({}, {})", package["name"], package["license"], package["source"]))
        .collect();
    assert!(wrong.is_empty(), "deny.toml does not allow {wrong:#?}");
}

#[test]
fn deny_toml_bans_what_the_house_bans() {
    assert_eq!(list("deny"), FOREIGN_CRATES.iter().map(|name| (*name).to_owned()).collect());
}
