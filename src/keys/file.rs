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

use super::digest::Digest;
use super::key::{Entry, Fault, PLAIN_KEY, RATE_LIMIT_MAX, State};
use super::plain::plain_keys_in;
use crate::document::{Document, Path, Problem, Problems, schema_of};

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
pub(super) fn entries(name: &str, text: &str) -> Result<Vec<Entry>, Problems> {
    if says_nothing(text) {
        let message = "holds no keys at all, as if it was cut off; if that is what you want, write `keys: []`";
        return Err(Problem::of_file(name, message).into());
    }
    let plain = plain_key_problems(name, text);
    let mut document = Document::parse(name, text.to_owned()).map_err(|problems| merged(problems, plain.clone()))?;
    if plain.is_empty()
        && let Ok(file) = document.decode::<KeyFile>()
        && let Ok(entries) = checked(file)
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

/// All entries, or nothing if any of them has any fault, or an id or a secret occurs twice.
fn checked(file: KeyFile) -> Result<Vec<Entry>, ()> {
    let mut entries = Vec::with_capacity(file.keys.len());
    for key in file.keys {
        let entry = key.into_entry().map_err(drop)?;
        if !entry.faults().is_empty() {
            return Err(());
        }
        entries.push(entry);
    }
    let ids: HashSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let digests: HashSet<Digest> = entries.iter().map(|entry| entry.digest).collect();
    if ids.len() == entries.len() && digests.len() == entries.len() { Ok(entries) } else { Err(()) }
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

const NO_DIGEST: &str = "must be a SHA-256: 64 hexadecimal digits. If a plain key stands here, put its SHA-256 in its \
                         place (`keygate keys hash`), and replace the key: it was written down";
const NO_TIME: &str = "must be a time with its distance from UTC, such as `2027-01-31T00:00:00Z` (RFC 3339)";
const NO_NETWORK: &str = "must be a network, such as `192.0.2.0/24` or `192.0.2.7/32`";
const NO_LIST: &str = "holds nothing, as if the file was cut off; if there shall be no keys, write `keys: []`";

fn fault(field: &str, message: &str) -> Fault {
    Fault { field: field.to_owned(), message: message.to_owned() }
}

/// Says whether the text has neither values nor anything that could be one: blank lines, comments, document marks.
fn says_nothing(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "\u{feff}")
}

/// A problem for each thing in the whole text, comments too, that looks like a plain key.
fn plain_key_problems(name: &str, text: &str) -> Problems {
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
fn merged(known: Problems, plain: Problems) -> Problems {
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
fn add_unless_known(problems: &mut Problems, more: Problems) {
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
    use super::*;
}
