//! The shape of a key file, and what is said of one that is wrong.
//!
//! ```yaml
//! keys:
//!   - id: key_1
//!     sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
//!     name: orders, live
//!     permissions: [orders:read]
//! ```
//!
//! A file that is right is decoded once and that is all: 100,000 keys are a normal case. Only a file that is wrong
//! is gone through a second time, to say everything that is wrong with it, each with its place.
//!
//! No problem repeats a value: it may be a secret in the wrong place.
//!
//! Never in this file: reading from disk, and problems between files.

use std::collections::{BTreeMap, HashSet};

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Entry, Fault, PLAIN_KEY, RATE_LIMIT_MAX, State};
use super::plain::plain_keys_in;
use crate::document::{Document, Path, Problem, Problems, schema_of};
use crate::secret::{Digest, DigestState};

/// Problems of a file that are listed. Nobody reads more, and each costs memory.
const PROBLEMS_MAX: usize = 100;

/// Fields in which people put a plain key. They are unknown fields, but deserve other words.
const SECRET_FIELDS: &[&str] = &[
    "key",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "apiKey",
    "secret_key",
    "token",
    "password",
    "plain",
    "plaintext",
    "value",
];

/// A key file.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    /// The keys. A file without keys says so: `keys: []`.
    pub(super) keys: Vec<WrittenKey>,
}

/// One key, as it is written.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenKey {
    /// The public name of the key for machines; unique among all keys of all files.
    id: String,
    /// SHA-256 of the secret, in hexadecimal digits. `keygate keys hash` makes it.
    #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
    sha256: String,
    /// The name of the key for people. The id, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The first characters of the secret, at most 16, by which its owner recognises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// The tenant the key acts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// The user the key stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The environment the key is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// What the key may do, such as `orders:read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
    /// Named sets of permissions the key has beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    /// Whether the key opens the gate.
    #[serde(default, skip_serializing_if = "is_active")]
    state: State,
    /// When the key was made (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    created: Option<String>,
    /// The first instant at which the key is no longer good (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires: Option<String>,
    /// The first instant at which the key is good (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    not_before: Option<String>,
    /// The id of the first key of the chain of rotations this one belongs to. Limits count a chain as one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
    /// Requests per window of the per-key limit that are granted to this key, instead of the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = RATE_LIMIT_MAX))]
    rate_limit: Option<u64>,
    /// Networks from which the key may be used, such as `192.0.2.0/24`. From everywhere, if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = { "type": "string", "format": "network" }))]
    allowed_networks: Vec<String>,
    /// Notes. Keygate does nothing with them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
const fn is_active(state: &State) -> bool {
    matches!(state, State::Active)
}

/// The JSON Schema of a key file.
#[must_use]
pub fn schema() -> Value {
    schema_of::<KeyFile>()
}

/// Reads the entries of a key file. `name` is what problems call it.
///
/// Every entry has been checked (see [`Entry::faults`]), and no two of them have the same id or secret.
///
/// # Errors
///
/// Everything that is wrong with the file, at once.
pub fn entries(name: &str, text: &str) -> Result<Vec<Entry>, Problems> {
    read(name, text, differ)
}

/// Like [`entries`], if they are `good` together, too: [`differ`], or whatever the caller finds out by other means.
pub(super) fn read(name: &str, text: &str, good: fn(&[Entry]) -> bool) -> Result<Vec<Entry>, Problems> {
    if says_nothing(text) {
        let message = "holds no keys at all, as if it was cut off; if that is what you want, write `keys: []`";
        return Err(Problem::of_file(name, message).into());
    }
    let plain = plain_key_problems(name, text);
    let mut document = Document::parse(name, text.to_owned()).map_err(|found| merged(found, plain.clone()))?;
    if plain.is_empty()
        && let Ok(file) = document.decode::<KeyFile>()
        && let Some(entries) = checked(file)
        && good(&entries)
    {
        return Ok(entries);
    }
    let problems = merged(explain(&mut document), plain);
    if problems.is_empty() {
        // Nothing of the kind is known; but a file that could not be used must never look like one that could.
        return Err(Problem::of_file(name, "cannot be used, and keygate cannot say why; please report this").into());
    }
    Err(problems)
}

/// A problem with one field of the key at `index` of a file that was read before.
pub(super) fn problem_at(name: &str, text: &str, index: usize, field: &str, message: &str) -> Problem {
    match Document::parse(name, text.to_owned()) {
        Ok(document) => document.problem(&path_of(index, field), message),
        Err(_) => Problem::of_file(name, message),
    }
}

/// One entry of a list of keys, in YAML, each line ended by a line feed.
pub(super) fn entry_as_yaml(entry: &Entry) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&[WrittenKey::from(entry)])
}

/// One entry as JSON, with the same fields as in YAML.
pub(super) fn entry_as_json(entry: &Entry) -> Result<Value, serde_json::Error> {
    serde_json::to_value(WrittenKey::from(entry))
}

/// All entries, or nothing if any of them has any fault.
fn checked(file: KeyFile) -> Option<Vec<Entry>> {
    let without_fault = |key: WrittenKey| key.into_entry().ok().filter(|entry| entry.faults().is_empty());
    file.keys.into_iter().map(without_fault).collect()
}

/// Whether no id and no secret occurs twice.
pub(super) fn differ(entries: &[Entry]) -> bool {
    let ids: HashSet<&str> = entries.iter().map(|entry| &*entry.id).collect();
    let digests: HashSet<Digest, DigestState> = entries.iter().map(|entry| entry.digest).collect();
    ids.len() == entries.len() && digests.len() == entries.len()
}

impl WrittenKey {
    fn into_entry(self) -> Result<Entry, Vec<Fault>> {
        let mut faults = Vec::new();
        let digest = Digest::from_hex(&self.sha256);
        if digest.is_none() {
            faults.push(fault("sha256", NO_DIGEST));
        }
        let mut time = |field: &str, text: &Option<String>| -> Option<Timestamp> {
            let text = text.as_ref()?;
            let time = text.parse().ok();
            if time.is_none() {
                faults.push(fault(field, NO_TIME));
            }
            time
        };
        let created = time("created", &self.created);
        let expires = time("expires", &self.expires);
        let not_before = time("not_before", &self.not_before);
        let mut allowed_networks = Vec::with_capacity(self.allowed_networks.len());
        for (index, text) in self.allowed_networks.iter().enumerate() {
            match text.parse::<IpNet>() {
                // Bits behind the prefix length are a slip, and nobody can say of which kind.
                Ok(network) if network == network.trunc() => allowed_networks.push(network),
                Ok(_) | Err(_) => faults.push(fault(&format!("allowed_networks[{index}]"), NO_NETWORK)),
            }
        }
        let entry = Entry {
            id: self.id,
            // Never used when it is not there: that is a fault.
            digest: digest.unwrap_or_else(|| Digest::of(b"")),
            name: self.name,
            prefix: self.prefix,
            tenant: self.tenant,
            user: self.user,
            environment: self.environment,
            permissions: self.permissions,
            roles: self.roles,
            state: self.state,
            created,
            expires,
            not_before,
            lineage: self.lineage,
            rate_limit: self.rate_limit,
            allowed_networks,
            metadata: self.metadata,
        };
        if faults.is_empty() {
            return Ok(entry);
        }
        faults.extend(entry.faults());
        Err(faults)
    }
}

impl From<&Entry> for WrittenKey {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            sha256: entry.digest.to_hex(),
            name: entry.name.clone(),
            prefix: entry.prefix.clone(),
            tenant: entry.tenant.clone(),
            user: entry.user.clone(),
            environment: entry.environment.clone(),
            permissions: entry.permissions.clone(),
            roles: entry.roles.clone(),
            state: entry.state,
            created: entry.created.as_ref().map(ToString::to_string),
            expires: entry.expires.as_ref().map(ToString::to_string),
            not_before: entry.not_before.as_ref().map(ToString::to_string),
            lineage: entry.lineage.clone(),
            rate_limit: entry.rate_limit,
            allowed_networks: entry.allowed_networks.iter().map(ToString::to_string).collect(),
            metadata: entry.metadata.clone(),
        }
    }
}

pub(super) const NO_DIGEST: &str = "must be a SHA-256: 64 hexadecimal digits. If a plain key stands here, put its SHA-256 in its \
                         place (`keygate keys hash`), and replace the key: it was written down";
const NO_TIME: &str = "must be a time with its distance from UTC, such as `2027-01-31T00:00:00Z` (RFC 3339)";
const NO_NETWORK: &str = "must be a network, such as `192.0.2.0/24` or `192.0.2.7/32`";
const NO_LIST: &str = "holds nothing, as if the file was cut off; if there shall be no keys, write `keys: []`";

fn fault(field: &str, message: &str) -> Fault {
    Fault { field: field.to_owned(), message: message.to_owned() }
}

/// Says whether the text has neither values nor anything that could be one: blank lines, comments, document marks.
pub(super) fn says_nothing(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "\u{feff}")
}

/// A problem for each thing in the whole text, comments too, that looks like a plain key.
pub(super) fn plain_key_problems(name: &str, text: &str) -> Problems {
    plain_keys_in(text)
        .take(PROBLEMS_MAX)
        .map(|start| {
            let before = &text[..start];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = format!("what stands here {PLAIN_KEY}");
            Problem { file: name.to_owned(), line, column, field: String::new(), message }
        })
        .collect()
}

/// `known` problems, and those of the plain keys that are not on a line with a known problem.
pub(super) fn merged(known: Problems, plain: Problems) -> Problems {
    let lines: HashSet<usize> = known.iter().map(|problem| problem.line).collect();
    let mut all = known;
    all.extend(plain.into_iter().filter(|problem| !lines.contains(&problem.line)));
    all.sort();
    all
}

/// Everything that is wrong with the document: structure first, then values of fields that the structure is right for.
fn explain(document: &mut Document) -> Problems {
    let mut problems = Problems::new();
    let value: Value = document.decode().unwrap_or_default();
    let keys = value.get("keys");
    if keys.is_some_and(Value::is_null) {
        problems.push(document.problem(&Path::root().field("keys"), NO_LIST));
    }
    let keys: &[Value] = keys.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    for (index, key) in keys.iter().enumerate() {
        let fields = key.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        for field in fields.filter(|field| SECRET_FIELDS.contains(field)) {
            let message = "a key file holds no secrets; write `sha256` with the SHA-256 of the key (`keygate keys hash`), \
                           and replace a key that was written down";
            problems.push(document.problem_with_name(&path_of(index, field), message));
        }
    }
    add_unless_known(&mut problems, document.check(&schema()));
    let mut values = Problems::new();
    let mut seen = Seen::default();
    for (index, key) in keys.iter().enumerate() {
        let faults = match serde_json::from_value::<WrittenKey>(key.clone()).map(WrittenKey::into_entry) {
            Ok(Ok(entry)) => entry.faults().into_iter().chain(seen.duplicates(document, index, &entry)).collect(),
            Ok(Err(faults)) => faults,
            // Its structure is wrong, which was said above.
            Err(_) => Vec::new(),
        };
        values
            .extend(faults.iter().map(|fault| document.problem(&path_of(index, &fault.field), fault.message.as_str())));
        if values.len() >= PROBLEMS_MAX {
            break;
        }
    }
    add_unless_known(&mut problems, values);
    problems
}

/// Ids and digests of a file, with the index of the key that has them.
#[derive(Default)]
struct Seen {
    ids: BTreeMap<String, usize>,
    digests: BTreeMap<Digest, usize>,
}

impl Seen {
    /// The faults of `entry` that come from earlier keys of the same file.
    fn duplicates(&mut self, document: &Document, index: usize, entry: &Entry) -> Vec<Fault> {
        let line = |earlier: usize, field: &str| document.problem(&path_of(earlier, field), "").line;
        let mut faults = Vec::new();
        let earlier = *self.ids.entry(entry.id.clone()).or_insert(index);
        if earlier != index {
            faults.push(fault("id", &format!("another key has the same id, at line {}", line(earlier, "id"))));
        }
        let earlier = *self.digests.entry(entry.digest).or_insert(index);
        if earlier != index {
            faults.push(fault(
                "sha256",
                &format!("another key has the same secret, at line {}", line(earlier, "sha256")),
            ));
        }
        faults
    }
}

/// Adds `more`, without what is said of a field that has a problem already.
pub(super) fn add_unless_known(problems: &mut Problems, more: Problems) {
    let known: HashSet<String> = problems.iter().map(|problem| problem.field.clone()).collect();
    problems.extend(more.into_iter().filter(|problem| problem.field.is_empty() || !known.contains(&problem.field)));
}

/// The path of a field of a [`Fault`] in the document.
fn path_of(index: usize, field: &str) -> Path {
    let key = Path::root().field("keys").index(index);
    if let Some(name) = field.strip_prefix("metadata.") {
        return key.field("metadata").field(name);
    }
    match field.strip_suffix(']').and_then(|field| field.split_once('[')) {
        Some((list, item)) => item.parse().map_or_else(|_| key.field(list), |item| key.field(list).index(item)),
        None => key.field(field),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::format::SecretFormat;
    use super::*;

    /// The SHA-256 of "abc" and of nothing: two digests that are easy to recognise.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// A secret in the shape of another maker, and nobody's.
    const PLAIN: &str = "xy_live_4eC39HqLyjWDarjtT1zdp7dc";

    /// Fills in `ABC`, `NOTHING` and `PLAIN`.
    fn filled(text: &str) -> String {
        text.replace("ABC", ABC).replace("NOTHING", NOTHING).replace("PLAIN", PLAIN)
    }

    #[track_caller]
    fn accepted(text: &str) -> Vec<Entry> {
        entries("k.yaml", &filled(text)).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    /// Checks all problems, and that none of them shows a digest or what might be a secret.
    #[track_caller]
    fn refused(row: &str, text: &str, expected: &[&str]) {
        let text = filled(text);
        let problems = entries("k.yaml", &text).expect_err(row);
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{row}");
        for secret in [&ABC[..8], &NOTHING[..8], "4eC39"] {
            assert!(!format!("{problems:?}").contains(secret), "{row}: shows a value");
        }
    }

    #[test]
    fn a_key_needs_an_id_and_a_digest_and_nothing_else() {
        let entries = accepted("keys:\n  - id: a\n    sha256: ABC\n");
        assert_eq!(entries, [Entry::new("a", Digest::of(b"abc"))]);
        assert_eq!(accepted("keys: []\n"), []);
        assert_eq!(accepted("{\"keys\": [{\"id\": \"a\", \"sha256\": \"ABC\"}]}").len(), 1, "JSON is YAML");
    }

    #[test]
    fn every_field_is_read() {
        let entries = accepted(
            "keys:
  - id: key_2
    sha256: ABC
    name: Orders, live
    prefix: kg_live_0123abcd
    tenant: acme
    user: alice@example.com
    environment: live
    permissions: [orders:read, 'orders:*']
    roles: [auditor]
    state: inactive
    created: 2026-01-31T00:00:00Z
    expires: 2027-01-31T01:00:00+01:00
    not_before: '2026-02-01T00:00:00Z'
    lineage: key_1
    rate_limit: 600
    allowed_networks: [192.0.2.0/24, '2001:db8::/32']
    metadata: {team: billing, ticket: OPS-7}
",
        );
        let time = |text: &str| Some(text.parse().unwrap());
        let expected = Entry {
            name: Some("Orders, live".into()),
            prefix: Some("kg_live_0123abcd".into()),
            tenant: Some("acme".into()),
            user: Some("alice@example.com".into()),
            environment: Some("live".into()),
            permissions: vec!["orders:read".into(), "orders:*".into()],
            roles: vec!["auditor".into()],
            state: State::Inactive,
            created: time("2026-01-31T00:00:00Z"),
            expires: time("2027-01-31T00:00:00Z"),
            not_before: time("2026-02-01T00:00:00Z"),
            lineage: Some("key_1".into()),
            rate_limit: Some(600),
            allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            metadata: BTreeMap::from([("team".into(), "billing".into()), ("ticket".into(), "OPS-7".into())]),
            ..Entry::new("key_2", Digest::of(b"abc"))
        };
        assert_eq!(entries, [expected]);
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let odd = [
            "yes",
            "0x1F",
            "1e5",
            "null",
            "~",
            "a: b",
            "# c",
            "- d",
            "\u{e9}\u{1f511}",
            "'\"\\",
            " x ",
            "2026-01-01",
            "&a *b",
        ];
        for name in odd {
            let entry = Entry {
                name: Some(name.into()),
                metadata: BTreeMap::from([(name.into(), name.into())]),
                created: Some("2026-01-31T10:11:12Z".parse().unwrap()),
                state: State::Revoked,
                rate_limit: Some(1),
                permissions: vec!["*".into(), "1".into()],
                allowed_networks: vec!["::/0".parse().unwrap()],
                ..Entry::new("1e5", Digest::of(name.as_bytes()))
            };
            let text = format!("keys:\n{}", entry_as_yaml(&entry).unwrap());
            assert_eq!(entries("k.yaml", &text).unwrap(), [entry], "{text}");
        }
    }

    #[test]
    fn a_file_that_holds_nothing_is_not_a_file_without_keys() {
        let nothing = "k.yaml: holds no keys at all, as if it was cut off; if that is what you want, write `keys: []`";
        for text in ["", "\n\n", "# keys:\n#  - id: a\n", "---\n", "\u{feff}"] {
            refused("nothing", text, &[nothing]);
        }
        refused(
            "a list without items",
            "keys:\n# - id: a\n",
            &[
                "k.yaml:1:1: keys: holds nothing, as if the file was cut off; if there shall be no keys, write `keys: []`",
            ],
        );
        refused("no list", "{}\n", &["k.yaml:1:1: keys: is missing, and has no default"]);
    }

    #[test]
    fn a_file_that_was_cut_off_inside_a_key_is_refused() {
        let whole = filled("keys:\n  - id: a\n    sha256: ABC\n  - id: b\n    sha256: NOTHING\n");
        let second = whole.find("  - id: b").unwrap();
        assert_eq!(accepted(&whole).len(), 2);
        for length in (0..second - ABC.len()).chain(second + 4..whole.len() - 1) {
            assert!(entries("k.yaml", &whole[..length]).is_err(), "cut off after {length} bytes");
        }
    }

    #[test]
    fn a_wrong_structure_is_refused_with_its_place() {
        let unknown = "unknown field; did you mean `tenant`?";
        refused(
            "a misspelt field",
            "keys:\n  - id: a\n    sha256: ABC\n    tennant: x\n",
            &[&format!("k.yaml:4:5: keys[0].tennant: {unknown}")],
        );
        refused(
            "a misspelt top",
            "kyes: []\n",
            &[
                "k.yaml:1:1: kyes: unknown field; did you mean `keys`?",
                "k.yaml:1:1: keys: is missing, and has no default",
            ],
        );
        refused("a bare list", "- id: a\n  sha256: ABC\n", &["k.yaml:1:3: expected a mapping, found a list"]);
        refused(
            "a number",
            "keys:\n  - id: 7\n    sha256: ABC\n",
            &["k.yaml:2:9: keys[0].id: expected text, found a whole number; put it into quotes"],
        );
        refused(
            "no id, no digest",
            "keys:\n  - name: x\n  - id: b\n    sha256:\n",
            &[
                "k.yaml:2:5: keys[0].id: is missing, and has no default",
                "k.yaml:2:5: keys[0].sha256: is missing, and has no default",
                "k.yaml:4:5: keys[1].sha256: has no value; write one",
            ],
        );
        let no_digest = format!("k.yaml:3:13: keys[0].sha256: {NO_DIGEST}");
        refused(
            "a digest that is none before a key without one",
            "keys:\n  - id: a\n    sha256: plain\n  - id: b\n    sha65: x\n",
            &[
                &no_digest,
                "k.yaml:4:5: keys[1].sha256: is missing, and has no default",
                "k.yaml:5:5: keys[1].sha65: unknown field; did you mean `sha256`?",
            ],
        );
        refused(
            "a digest that is none before a key without anything",
            "keys:\n  - id: a\n    sha256: plain\n  - name: b\n",
            &[
                &no_digest,
                "k.yaml:4:5: keys[1].id: is missing, and has no default",
                "k.yaml:4:5: keys[1].sha256: is missing, and has no default",
            ],
        );
        refused(
            "a word that is none",
            "keys:\n  - {id: a, sha256: ABC, state: disabled}\n",
            &["k.yaml:2:94: keys[0].state: must be `active`, `inactive` or `revoked`"],
        );
        refused(
            "a field twice",
            "keys:\n  - id: a\n    sha256: ABC\n    id: b\n",
            &["k.yaml:4:5: keys[0].id: occurs twice; the first is at line 2"],
        );
        refused(
            "a note twice",
            "keys:\n  - id: a\n    sha256: ABC\n    metadata:\n      x: a\n      x: b\n",
            &["k.yaml:6:7: keys[0].metadata.x: occurs twice; the first is at line 5"],
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_place() {
        let row = |field: &str, message: &str| {
            let text = format!("keys:\n  - id: a\n    sha256: ABC\n    {field}\n");
            refused(field, &text, &[&format!("k.yaml:4:{message}")]);
        };
        row("name: ''", "11: keys[0].name: must be 1 to 1024 characters on one line");
        row("name: \"a\\nb\"", "11: keys[0].name: must be 1 to 1024 characters on one line");
        row("tenant: a b", "13: keys[0].tenant: must be 1 to 128 visible ASCII characters without spaces");
        row(
            "prefix: kg_live_0123abcde",
            "13: keys[0].prefix: must have at most 16 characters: it is shown, the secret is not",
        );
        row(
            "permissions: [a, '']",
            "22: keys[0].permissions[1]: must be 1 to 128 visible ASCII characters without spaces",
        );
        row("permissions: orders:read", "18: keys[0].permissions: expected a list, found text");
        row("rate_limit: 0", "17: keys[0].rate_limit: must be at least 1");
        row("rate_limit: -1", "17: keys[0].rate_limit: must be at least 1");
        row("rate_limit: 1000000001", "17: keys[0].rate_limit: must be at most 1000000000");
        row(
            "expires: 2027-01-31",
            "14: keys[0].expires: must be a time with its distance from UTC, such as `2027-01-31T00:00:00Z` (RFC 3339)",
        );
        row(
            "created: tomorrow",
            "14: keys[0].created: must be a time with its distance from UTC, such as `2027-01-31T00:00:00Z` (RFC 3339)",
        );
        row(
            "allowed_networks: [10.0.0.0/8, 10.0.0.1]",
            "36: keys[0].allowed_networks[1]: is an address without a prefix length; write for example `10.0.0.0/8`, `192.0.2.7/32` or `fd00::/8`",
        );
        row(
            "allowed_networks: [10.0.0.1/8]",
            "24: keys[0].allowed_networks[0]: has bits set behind its prefix length; did you mean `10.0.0.0/8`?",
        );
        row(
            "metadata: {seats: 5}",
            "23: keys[0].metadata.seats: expected text, found a whole number; put it into quotes",
        );
        refused(
            "never good",
            "keys:\n  - id: a\n    sha256: ABC\n    expires: 2027-01-01T00:00:00Z\n    not_before: 2027-01-01T00:00:00Z\n",
            &["k.yaml:4:14: keys[0].expires: must be later than `not_before`"],
        );
    }

    #[test]
    fn what_looks_like_a_plain_key_is_refused_with_its_line_and_never_shown() {
        let looks = "looks like a plain key; keep only the SHA-256 of a key (`keygate keys hash`), and replace a key that was written down";
        let holds = "a key file holds no secrets; write `sha256` with the SHA-256 of the key (`keygate keys hash`), and replace a key that was written down";
        let no_digest = format!("keys[0].sha256: {NO_DIGEST}");
        refused(
            "in place of the digest",
            "keys:\n  - id: a\n    sha256: PLAIN\n",
            &[&format!("k.yaml:3:13: {no_digest}")],
        );
        refused(
            "a digest cut off",
            &format!("keys:\n  - id: a\n    sha256: {}\n", &ABC[1..]),
            &[&format!("k.yaml:3:13: {no_digest}")],
        );
        refused("an empty digest", "keys:\n  - id: a\n    sha256: ''\n", &[&format!("k.yaml:3:13: {no_digest}")]);
        for field in SECRET_FIELDS {
            let path = format!("keys[0].{field}");
            let text = format!("keys:\n  - id: a\n    sha256: ABC\n    {field}: hunter2\n");
            refused("a field for secrets", &text, &[&format!("k.yaml:4:5: {path}: {holds}")]);
        }
        refused(
            "such a field with a key",
            "keys:\n  - id: a\n    sha256: ABC\n    key: PLAIN\n",
            &[&format!("k.yaml:4:5: keys[0].key: {holds}")],
        );
        refused(
            "in a value",
            "keys:\n  - id: a\n    sha256: ABC\n    name: was PLAIN\n",
            &[&format!("k.yaml:4:11: keys[0].name: {looks}")],
        );
        refused("as an id", "keys:\n  - id: PLAIN\n    sha256: ABC\n", &[&format!("k.yaml:2:9: keys[0].id: {looks}")]);
        refused(
            "in metadata",
            "keys:\n  - id: a\n    sha256: ABC\n    metadata:\n      note: PLAIN\n",
            &[&format!("k.yaml:5:13: keys[0].metadata.note: {looks}")],
        );
        refused(
            "a digest as id",
            "keys:\n  - id: NOTHING\n    sha256: ABC\n",
            &[&format!("k.yaml:2:9: keys[0].id: {looks}")],
        );
        refused(
            "in a comment",
            "keys:\n  # PLAIN\n  - id: a\n    sha256: ABC\n",
            &[&format!("k.yaml:2:5: what stands here {looks}")],
        );
        refused(
            "escaped",
            "keys:\n  - id: a\n    sha256: ABC\n    name: \"\\x78y_live_4eC39HqLyjWDarjtT1zdp7dc\"\n",
            &[&format!("k.yaml:4:11: keys[0].name: {looks}")],
        );
        refused(
            "the name of a field",
            "keys:\n  - id: a\n    sha256: ABC\n    PLAIN: x\n",
            &[
                "k.yaml:4:5: keys[0].(32 characters): unknown field; there are `id`, `sha256`, `name`, `prefix`, `tenant`, \
               `user`, `environment`, `permissions`, `roles`, `state`, `created`, `expires`, `not_before`, `lineage`, \
               `rate_limit`, `allowed_networks` and `metadata`",
            ],
        );
        refused(
            "in what is not YAML",
            "keys: [PLAIN\n",
            &[
                &format!("k.yaml:1:8: what stands here {looks}"),
                "k.yaml:2:1: is not YAML: did not find expected ',' or ']', while parsing a list in brackets at line 1 column 7",
            ],
        );
    }

    #[test]
    fn a_secret_of_ours_is_refused_anywhere_whatever_its_brand() {
        let secret = SecretFormat::base62("acme").unwrap().generate(Some("eu")).unwrap();
        let text = filled(&format!("keys:\n  - id: a\n    sha256: ABC\n# {}\n", secret.expose()));
        let problems = entries("k.yaml", &text).unwrap_err().to_string();
        assert!(problems.starts_with("k.yaml:4:3: what stands here looks like a plain key"), "wrong place or words");
        assert!(!problems.contains(&secret.expose()[8..]));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        refused(
            "two values of one key",
            "keys:\n  - {id: ok, sha256: ABC}\n  - id: a b\n    sha256: NOTHING\n    expires: never\n",
            &[
                "k.yaml:3:9: keys[1].id: must be 1 to 128 visible ASCII characters without spaces",
                &format!("k.yaml:5:14: keys[1].expires: {NO_TIME}"),
            ],
        );
        // A key with a wrong structure cannot be decoded, so its values are not judged; those of the next one are.
        refused(
            "structure and values",
            "keys:\n  - id: a b\n    tenat: x\n  - id: c d\n    sha256: NOTHING\n    expires: never\n",
            &[
                "k.yaml:2:5: keys[0].sha256: is missing, and has no default",
                "k.yaml:3:5: keys[0].tenat: unknown field; did you mean `tenant`?",
                "k.yaml:4:9: keys[1].id: must be 1 to 128 visible ASCII characters without spaces",
                &format!("k.yaml:6:14: keys[1].expires: {NO_TIME}"),
            ],
        );
    }

    #[test]
    fn an_id_or_a_secret_that_occurs_twice_is_refused_with_both_places() {
        refused(
            "both",
            "keys:\n  - id: a\n    sha256: ABC\n  - id: b\n    sha256: ABC\n  - id: a\n    sha256: NOTHING\n",
            &[
                "k.yaml:5:13: keys[1].sha256: another key has the same secret, at line 3",
                "k.yaml:6:9: keys[2].id: another key has the same id, at line 2",
            ],
        );
    }

    #[test]
    fn a_file_that_is_wrong_all_over_has_a_bounded_list_of_problems() {
        let mut text = String::from("keys:\n");
        for index in 0..5_000 {
            let _ = write!(text, "  - id: k {index}\n    sha256: {}\n", Digest::of(&[1]).to_hex());
        }
        let problems = entries("k.yaml", &text).unwrap_err();
        assert!((PROBLEMS_MAX..2 * PROBLEMS_MAX + 2).contains(&problems.len()), "{}", problems.len());
    }

    #[test]
    fn many_keys_are_read() {
        let mut text = String::from("keys:\n");
        for index in 0..10_000_u32 {
            let entry = Entry {
                name: Some(format!("key number {index}")),
                tenant: Some("acme".into()),
                permissions: vec!["orders:read".into(), "orders:write".into()],
                ..Entry::new(&format!("key_{index}"), Digest::of(&index.to_be_bytes()))
            };
            text.push_str(&entry_as_yaml(&entry).unwrap());
        }
        assert_eq!(entries("k.yaml", &text).unwrap().len(), 10_000);
    }

    #[test]
    fn the_schema_demands_what_is_demanded() {
        let schema = schema();
        let key = &schema["$defs"]["WrittenKey"];
        assert_eq!(key["required"], serde_json::json!(["id", "sha256"]));
        assert_eq!(key["additionalProperties"], false);
        assert_eq!(key["properties"].as_object().unwrap().len(), 17);
    }
}
