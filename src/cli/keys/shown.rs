//! How keys are shown: a secret once, and everything else as often as anybody likes.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::table::or_dash;
use crate::keys::Key;
use crate::keys::database::KeyRecord;
use crate::moment::Moment;
use crate::secret::Secret;

/// The heads of the columns of a list.
pub(super) const COLUMNS: [&str; 7] = ["ID", "NAME", "PREFIX", "STATE", "ENVIRONMENT", "TENANT", "EXPIRES"];

/// A secret that was just made, and the key it belongs to.
pub(super) struct Secrets<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a Secret,
}

impl Secrets<'_> {
    /// One line: an object with `id`, `secret` and `more`.
    pub(super) fn write_json(&self, out: &mut dyn Write, more: &[(&str, Value)]) -> io::Result<()> {
        // Not by way of a `Value`: the secret would be left behind in memory.
        write!(out, "{{\"id\":{},\"secret\":\"{}\"", Value::from(self.id), self.secret.expose())?;
        for (name, value) in more {
            write!(out, ",{}:{value}", Value::from(*name))?;
        }
        writeln!(out, "}}")
    }

    /// The secret for people.
    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "The secret of key {}. It is shown this once; keygate keeps only its SHA-256.\n", self.id)?;
        writeln!(out, "    {}\n", self.secret.expose())
    }
}

/// What is shown of a key from a file; `state` is what the operator decided, `standing` what comes of it at `now`.
pub(super) fn key_as_json(key: &Key, now: Moment) -> Value {
    json!({
        "id": key.id(),
        "name": key.name(),
        "prefix": key.prefix(),
        "state": key.state.name(),
        "standing": key.standing(now).name(),
        "environment": key.environment().map(AsRef::as_ref),
        "tenant": key.tenant(),
        "user": key.user(),
        "permissions": words(key.permissions()),
        "roles": words(key.roles()),
        "created": key.created(),
        "expires": key.expires(),
        "not_before": key.not_before(),
        "lineage": key.lineage(),
        "rate_limit": key.rate_limit(),
    })
}

fn words(words: &[Arc<str>]) -> Vec<&str> {
    words.iter().map(AsRef::as_ref).collect()
}

/// A line of a list, for a key from a file.
pub(super) fn key_as_row(key: &Key, now: Moment) -> [String; 7] {
    [
        key.id().to_owned(),
        key.name().to_owned(),
        or_dash(key.prefix()),
        key.standing(now).name().to_owned(),
        or_dash(key.environment().map(AsRef::as_ref)),
        or_dash(key.tenant()),
        key.expires().map_or_else(|| "-".to_owned(), |expires| expires.to_string()),
    ]
}

/// What is shown of a key from the store: all there is, and its `standing` at `now`.
pub(super) fn record_as_json(record: &KeyRecord, now: Moment) -> Value {
    let mut value = json!(record);
    value["standing"] = record.standing(now).name().into();
    value
}

/// A line of a list, for a key from the store.
pub(super) fn record_as_row(record: &KeyRecord, now: Moment) -> [String; 7] {
    [
        record.id.clone(),
        record.name.clone().unwrap_or_else(|| record.id.clone()),
        or_dash(record.prefix.as_deref()),
        record.standing(now).name().to_owned(),
        or_dash(record.environment.as_deref()),
        or_dash(record.tenant.as_deref()),
        record.expires.map_or_else(|| "-".to_owned(), |expires| expires.to_string()),
    ]
}
