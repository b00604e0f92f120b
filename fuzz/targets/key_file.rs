//! Key files: what is accepted is whole, each key once, and is the same when it is written and read again; what is refused
//! says why at a place that exists, and repeats no value.

use std::collections::HashSet;

use keygate::keys::{Key, KeySet, file, yaml_of};

pub const WORDS: &[&str] = &[
    "- ",
    "id: ",
    "sha256: ",
    "name: ",
    "expires: ",
    "2027-01-31T00:00:00Z",
    "permissions: [a:b]",
    "state: revoked",
    "keys:",
    "[]",
    "\n",
    "\n    ",
    "rate_limit: 5",
    "allowed_networks: [192.0.2.0/24]",
    "&a ",
    "*a",
    "!!str ",
    "|",
    "\"",
    "'",
    "#",
    "{",
    "}",
    "---",
    "metadata: { a: b }",
    "null",
    "~",
    "key: ",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// A value that no problem may repeat.
const PLANTED: &str = "planted-value-7f3a";

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match file::entries("keys.yaml", text) {
        Ok(entries) => {
            let ids: HashSet<_> = entries.iter().map(|entry| &entry.id).collect();
            let digests: HashSet<_> = entries.iter().map(|entry| entry.digest).collect();
            assert_eq!((ids.len(), digests.len()), (entries.len(), entries.len()), "each key once");
            let mut set = KeySet::new();
            let mut written = String::from("keys:\n");
            for entry in &entries {
                assert!(entry.faults().is_empty(), "{}", entry.id);
                let key = Key::new(entry.clone()).expect("a key without faults is a key");
                set.insert(key).expect("each once");
                written += &yaml_of(entry, 2).expect("what was read can be written");
            }
            if !entries.is_empty() {
                let again = file::entries("keys.yaml", &written).expect("what was written can be read");
                assert_eq!(again, entries);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            let lines = text.split('\n').count();
            let is_value = text.match_indices(PLANTED).all(|(at, _)| text[..at].ends_with(": "));
            for problem in &problems {
                assert!(problem.line <= lines + 1, "line {} of {lines}", problem.line);
                assert!(!problem.message.is_empty());
                let shown = problem.to_string();
                let repeats = shown.contains(PLANTED) && is_value;
                assert!(!repeats, "a value is repeated: {shown}");
            }
        }
    }
}
