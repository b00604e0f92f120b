//! A key as a source holds it: what an operator wrote, and what may be written.
//!
//! The bounds here keep every later step simple: ids, tenants and permissions travel in fields and stand in logs, so
//! they are visible ASCII without spaces; texts for people are on one line; and nothing that looks like a secret gets in,
//! because everything else about a key is shown.
//!
//! Never in this file: what a key means, see [`super::key`].

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plain::carries_a_plain_key;
use crate::secret::Digest;
use crate::secret::PREFIX_CHARS_MAX;

/// Bytes an id, a tenant, a user, an environment, a role or a permission may have.
pub const NAME_BYTES_MAX: usize = 128;

/// Characters the name of a key, or a value of its metadata, may have.
pub const TEXT_CHARS_MAX: usize = 1024;

/// Bytes all permissions of a key may have together, with a space between any two: they travel in one field.
pub const PERMISSIONS_BYTES_MAX: usize = 4096;

/// Entries the metadata of a key may have.
pub const METADATA_MAX: usize = 64;

/// Networks a key may be bound to. They are compared one after the other at each request.
pub const NETWORKS_MAX: usize = 64;

/// The largest limit that can be granted to a key, in requests per window.
pub const RATE_LIMIT_MAX: u64 = 1_000_000_000;

/// What is said of a value that should not be there at all. Continues a sentence which names the field.
pub(super) const PLAIN_KEY: &str = "looks like a plain key; keep only the SHA-256 of a key (`keygate keys hash`), and replace a key that was written down";

/// What the operator has decided about a key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The key opens the gate, within its dates.
    #[default]
    Active,
    /// The key is switched off and may come back.
    Inactive,
    /// The key is dead for good.
    Revoked,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Revoked];

    /// The word that stands for it in files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
        }
    }
}

/// A key as a source holds it: not checked, nothing worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// See [`super::key::Key::id()`].
    pub id: String,
    /// The SHA-256 of its secret.
    pub digest: Digest,
    /// See [`super::key::Key::name()`].
    pub name: Option<String>,
    /// See [`super::key::Key::prefix()`].
    pub prefix: Option<String>,
    /// See [`super::key::Key::tenant()`].
    pub tenant: Option<String>,
    /// See [`super::key::Key::user()`].
    pub user: Option<String>,
    /// See [`super::key::Key::environment()`].
    pub environment: Option<String>,
    /// See [`super::key::Key::permissions()`].
    pub permissions: Vec<String>,
    /// See [`super::key::Key::roles()`].
    pub roles: Vec<String>,
    /// See [`super::key::Key::state`].
    pub state: State,
    /// See [`super::key::Key::created()`].
    pub created: Option<Timestamp>,
    /// See [`super::key::Key::expires()`].
    pub expires: Option<Timestamp>,
    /// See [`super::key::Key::not_before()`].
    pub not_before: Option<Timestamp>,
    /// See [`super::key::Key::lineage()`].
    pub lineage: Option<String>,
    /// See [`super::key::Key::rate_limit()`].
    pub rate_limit: Option<u64>,
    /// See [`super::key::Key::allowed_networks()`].
    pub allowed_networks: Vec<IpNet>,
    /// What the operator notes about it. Keygate does nothing with it.
    pub metadata: BTreeMap<String, String>,
}

impl Entry {
    /// An active key without any rights: fill in the rest.
    #[must_use]
    pub fn new(id: &str, digest: Digest) -> Self {
        Self {
            id: id.to_owned(),
            digest,
            name: None,
            prefix: None,
            tenant: None,
            user: None,
            environment: None,
            permissions: Vec::new(),
            roles: Vec::new(),
            state: State::Active,
            created: None,
            expires: None,
            not_before: None,
            lineage: None,
            rate_limit: None,
            allowed_networks: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// Everything that is wrong with the entry, in the order of its fields.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        faults_of(self)
    }
}

/// What is wrong with one field of an [`Entry`]. The message never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Fault {
    /// The path of the field within the entry, like `permissions[2]`.
    pub field: String,
    /// What is wrong, and what is right.
    pub message: String,
}

/// Everything that is wrong with `entry`, in the order of its fields.
fn faults_of(entry: &Entry) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    faults.word("id", &entry.id);
    for (field, text) in [("name", &entry.name), ("prefix", &entry.prefix)] {
        if let Some(text) = text {
            faults.text(field, text);
        }
    }
    if entry.prefix.as_ref().is_some_and(|prefix| prefix.chars().count() > PREFIX_CHARS_MAX) {
        faults
            .add("prefix", format!("must have at most {PREFIX_CHARS_MAX} characters: it is shown, the secret is not"));
    }
    for (field, text) in [("tenant", &entry.tenant), ("user", &entry.user), ("environment", &entry.environment)] {
        if let Some(text) = text {
            faults.word(field, text);
        }
    }
    faults.words("permissions", &entry.permissions);
    faults.words("roles", &entry.roles);
    let permissions_bytes: usize = entry.permissions.iter().map(|permission| permission.len() + 1).sum();
    if permissions_bytes > PERMISSIONS_BYTES_MAX + 1 {
        faults.add(
            "permissions",
            format!("have more than {PERMISSIONS_BYTES_MAX} bytes together; use a wildcard or roles"),
        );
    }
    if let (Some(not_before), Some(expires)) = (entry.not_before, entry.expires)
        && expires <= not_before
    {
        faults.add("expires", "must be later than `not_before`".to_owned());
    }
    if let Some(lineage) = &entry.lineage {
        faults.word("lineage", lineage);
    }
    if entry.rate_limit.is_some_and(|limit| !(1..=RATE_LIMIT_MAX).contains(&limit)) {
        faults.add("rate_limit", format!("must be from 1 to {RATE_LIMIT_MAX} requests per window"));
    }
    if entry.allowed_networks.len() > NETWORKS_MAX {
        faults.add("allowed_networks", format!("must be at most {NETWORKS_MAX} networks"));
    }
    faults.metadata(&entry.metadata);
    faults.0
}

/// Faults while they are collected.
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: &str, message: String) {
        self.0.push(Fault { field: field.to_owned(), message });
    }

    /// What looks like a secret is refused wherever it stands: it would be shown in tables and logs.
    fn no_plain_key(&mut self, field: &str, text: &str) -> bool {
        let plain = carries_a_plain_key(text);
        if plain {
            self.add(field, PLAIN_KEY.to_owned());
        }
        plain
    }

    /// A name for machines.
    fn word(&mut self, field: &str, text: &str) {
        if let Some(message) = fault_of_word(text) {
            self.add(field, message);
        }
    }

    fn words(&mut self, field: &str, texts: &[String]) {
        for (index, text) in texts.iter().enumerate() {
            if let Some(message) = fault_of_word(text) {
                self.add(&format!("{field}[{index}]"), message);
            }
        }
    }

    /// A text for people, on one line.
    fn text(&mut self, field: &str, text: &str) {
        if self.no_plain_key(field, text) {
            return;
        }
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
            self.add(field, format!("must be 1 to {TEXT_CHARS_MAX} characters on one line"));
        }
    }

    fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        if metadata.len() > METADATA_MAX {
            self.add("metadata", format!("must have at most {METADATA_MAX} entries"));
        }
        for (name, value) in metadata {
            if carries_a_plain_key(name) {
                self.add("metadata", format!("has a name that {PLAIN_KEY}"));
                continue;
            }
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                self.add("metadata", format!("has a name that is not 1 to {NAME_BYTES_MAX} bytes on one line"));
                continue;
            }
            let field = format!("metadata.{name}");
            if !self.no_plain_key(&field, value) && value.chars().count() > TEXT_CHARS_MAX {
                self.add(&field, format!("must have at most {TEXT_CHARS_MAX} characters"));
            }
        }
    }
}

/// What is wrong with a name for machines. It travels in fields and stands in logs: visible ASCII (RFC 9110, section
/// 5.5), no spaces.
fn fault_of_word(text: &str) -> Option<String> {
    if carries_a_plain_key(text) {
        return Some(PLAIN_KEY.to_owned());
    }
    let good = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    (!good).then(|| format!("must be 1 to {NAME_BYTES_MAX} visible ASCII characters without spaces"))
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    fn second(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn a_wrong_entry_says_everything_that_is_wrong() {
        let faults = Key::new(Entry {
            name: Some(String::new()),
            prefix: Some("x".repeat(17)),
            tenant: Some("a b".into()),
            user: Some("zo\u{eb}".into()),
            environment: Some("e\r\nx: y".into()),
            permissions: vec!["orders:read".into(), String::new()],
            roles: vec!["x".repeat(129)],
            not_before: second(5),
            expires: second(5),
            lineage: Some(String::new()),
            rate_limit: Some(0),
            metadata: BTreeMap::from([("note".into(), "x".repeat(1025)), (String::new(), String::new())]),
            ..Entry::new("", Digest::of(b""))
        })
        .unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "id",
                "name",
                "prefix",
                "tenant",
                "user",
                "environment",
                "permissions[1]",
                "roles[0]",
                "expires",
                "lineage",
                "rate_limit",
                "metadata",
                "metadata.note"
            ]
        );
    }

    #[test]
    fn every_bound_has_a_last_good_value() {
        let good = Entry {
            prefix: Some("x".repeat(16)),
            name: Some("\u{e9}".repeat(TEXT_CHARS_MAX)),
            permissions: vec!["p".repeat(127); 32],
            rate_limit: Some(RATE_LIMIT_MAX),
            allowed_networks: vec!["10.0.0.0/8".parse().unwrap(); NETWORKS_MAX],
            ..Entry::new(&"i".repeat(NAME_BYTES_MAX), Digest::of(b""))
        };
        assert!(Key::new(good.clone()).is_ok());
        for (field, bad) in [
            ("id", Entry { id: "i".repeat(NAME_BYTES_MAX + 1), ..good.clone() }),
            ("name", Entry { name: Some("x".repeat(TEXT_CHARS_MAX + 1)), ..good.clone() }),
            ("permissions", Entry { permissions: vec!["p".repeat(127); 33], ..good.clone() }),
            ("rate_limit", Entry { rate_limit: Some(RATE_LIMIT_MAX + 1), ..good.clone() }),
            (
                "allowed_networks",
                Entry { allowed_networks: vec!["10.0.0.0/8".parse().unwrap(); NETWORKS_MAX + 1], ..good.clone() },
            ),
        ] {
            let faults = Key::new(bad).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), [field]);
        }
    }

    #[test]
    fn a_plain_key_is_refused_in_every_field_and_never_repeated() {
        let secret = "xy_live_4eC39HqLyjWDarjtT1zdp7dc";
        let text = || Some(format!("was {secret}"));
        let word = || Some(secret.to_owned());
        let metadata = BTreeMap::from([
            ("note".into(), secret.into()),
            (secret.into(), "x".into()),
            ("d".into(), "a1".repeat(32)),
        ]);
        let faults = Key::new(Entry {
            name: text(),
            prefix: text(),
            tenant: word(),
            user: word(),
            environment: word(),
            permissions: vec![secret.into()],
            roles: vec![secret.into()],
            lineage: word(),
            metadata,
            ..Entry::new(secret, Digest::of(b""))
        })
        .unwrap_err();
        let plain: Vec<&str> = faults
            .iter()
            .filter(|fault| fault.message.contains("plain key"))
            .map(|fault| fault.field.as_str())
            .collect();
        let all = ["id", "name", "prefix", "tenant", "user", "environment", "permissions[0]", "roles[0]", "lineage"];
        assert_eq!(plain, [all.as_slice(), &["metadata.d", "metadata.note", "metadata"]].concat());
        assert!(!format!("{faults:?}").contains("4eC39"));
    }
}
