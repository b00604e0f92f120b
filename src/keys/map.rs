//! A key map: whose each secret is, by its SHA-256, as configurations of other programs have it.
//!
//! ```yaml
//! ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad:
//!   tenant_id: tenant-1
//!   user_id: user-1
//!   name: Backend
//!   is_active: true
//! ```
//!
//! Its keys have no ids of their own; theirs is made of the digest in such a way that it tells nothing of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Fault, State};
use super::file::{NO_DIGEST, add_unless_known, merged, plain_key_problems, says_nothing};
use crate::document::{Document, Path, Problem, Problems, schema_of};
use crate::secret::Digest;

/// A whole map. The names of its fields are digests.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
struct KeyMap(BTreeMap<String, MappedKey>);

/// Whose a secret is.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MappedKey {
    /// The tenant the key acts in.
    tenant_id: String,
    /// The user the key stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The environment the key is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment_id: Option<String>,
    /// The name of the key for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether the key opens the gate.
    is_active: bool,
}

/// Reads the entries of a key map, in the order of their digests. `name` is what problems call it.
///
/// # Errors
///
/// Everything that is wrong with the map, at once.
pub(super) fn entries(name: &str, text: &str) -> Result<Vec<Entry>, Problems> {
    if says_nothing(text) {
        let message = "holds no keys at all, as if it was cut off; if that is what you want, write `{}`";
        return Err(Problem::of_file(name, message).into());
    }
    let plain = plain_key_problems(name, text);
    let mut document = Document::parse(name, text.to_owned()).map_err(|problems| merged(problems, plain.clone()))?;
    let mut problems = document.check(&schema_of::<KeyMap>());
    let mut entries = Vec::new();
    for (digest, key) in document.decode::<KeyMap>().map(|map| map.0).unwrap_or_default() {
        match key.into_entry(&digest) {
            Ok(entry) => {
                let faults = entry.faults();
                let placed =
                    faults.iter().map(|fault| document.problem(&path_of(&digest, &fault.field), &*fault.message));
                add_unless_known(&mut problems, placed.collect());
                entries.push(entry);
            }
            Err(fault) => problems.push(document.problem_with_name(&Path::root().field(&digest), fault.message)),
        }
    }
    let problems = merged(problems, plain);
    problems.into_result()?;
    Ok(entries)
}

/// A problem with one field of the key at `index` of a map that was read before.
pub(super) fn problem_at(name: &str, text: &str, index: usize, field: &str, message: &str) -> Problem {
    let document = Document::parse(name, text.to_owned()).ok();
    let place = document.and_then(|document| {
        let KeyMap(map) = document.decode().ok()?;
        let digest = map.keys().nth(index)?;
        Some(document.problem(&path_of(digest, field), message))
    });
    place.unwrap_or_else(|| Problem::of_file(name, message))
}

impl MappedKey {
    fn into_entry(self, digest: &str) -> Result<Entry, Fault> {
        let fault = || Fault { field: "sha256".to_owned(), message: NO_DIGEST.to_owned() };
        let digest = Digest::from_hex(digest).ok_or_else(fault)?;
        let id = Digest::of(digest.bytes()).to_hex();
        Ok(Entry {
            name: self.name,
            tenant: Some(self.tenant_id),
            user: self.user_id,
            environment: self.environment_id,
            state: if self.is_active { State::Active } else { State::Inactive },
            ..Entry::new(&format!("key_{}", id.get(..20).unwrap_or(&id)), digest)
        })
    }
}

/// The path of a field of a [`Fault`] in the document.
fn path_of(digest: &str, field: &str) -> Path {
    let key = Path::root().field(digest);
    match field {
        "tenant" => key.field("tenant_id"),
        "user" => key.field("user_id"),
        "environment" => key.field("environment_id"),
        "name" => key.field("name"),
        // The id and the secret are the name of the whole.
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_map_says_whose_a_secret_is() {
        let text = format!("{ABC}: {{ tenant_id: t, user_id: u, name: Shop, is_active: false }}\n");
        let entries = entries("map.yaml", &text).unwrap();
        let id = &Digest::of(Digest::of(b"abc").bytes()).to_hex()[..20];
        let expected = Entry {
            name: Some("Shop".to_owned()),
            tenant: Some("t".to_owned()),
            user: Some("u".to_owned()),
            state: State::Inactive,
            ..Entry::new(&format!("key_{id}"), Digest::of(b"abc"))
        };
        assert_eq!(entries, [expected]);
        assert_eq!(super::entries("map.yaml", "{}").unwrap(), []);
        assert_eq!(problem_at("map.yaml", &text, 0, "tenant", "no").line, 1);
    }

    /// What is wrong is said with its line, and the digest never.
    #[test]
    fn a_malformed_map_is_refused() {
        let rows: [(&str, &str); 9] = [
            ("", "map.yaml: holds no keys at all, as if it was cut off; if that is what you want, write `{}`"),
            ("[]", "map.yaml:1:1: expected a mapping, found a list"),
            ("ABC: 3", "map.yaml:1:67: (64 characters): expected a mapping, found a whole number"),
            ("ABC: { is_active: true }", "map.yaml:1:1: (64 characters).tenant_id: is missing"),
            ("ABC: { tenant_id: t }", "map.yaml:1:1: (64 characters).is_active: is missing"),
            (
                "ABC: { tenant_id: t, is_active: 1 }",
                "map.yaml:1:94: (64 characters).is_active: expected `true` or `false`",
            ),
            ("ABC: { tenant_id: \"a\\nb\", is_active: true }", "map.yaml:1:80: (64 characters).tenant_id: must be"),
            ("ABC: { tenant_id: t, is_active: true, sha: 1 }", "map.yaml:1:100: (64 characters).sha: unknown field"),
            ("abc: { tenant_id: t, is_active: true }", "map.yaml:1:1: abc: must be a SHA-256"),
        ];
        for (text, expected) in rows {
            let problems = entries("map.yaml", &text.replace("ABC", ABC)).expect_err(text).to_string();
            assert!(problems.contains(expected) && !problems.contains(&ABC[..8]), "{text}:\n{problems}\n{expected}");
        }
        let twice = format!("{ABC}: {{ tenant_id: t, is_active: true }}\n{ABC}: {{ tenant_id: t, is_active: true }}\n");
        assert!(entries("map.yaml", &twice).unwrap_err().to_string().starts_with("map.yaml:2:1: (64 characters): "));
    }
}
