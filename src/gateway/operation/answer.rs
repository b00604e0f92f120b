//! What an operation answers: the operator's template, filled in.
//!
//! The names that a template may ask for are a list for each kind of answer; what is said of a key also has
//! `metadata.NAME`, for the notes that were kept with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::gateway::body::ResponseBody;
use crate::keys::Standing;
use crate::keys::database::KeyRecord;
use crate::moment::Moment;
use crate::template::{Template, TemplateError, Value, names_in};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What begins with this is a note that was kept with a key.
const METADATA: &str = "metadata.";

/// Names of what is said of a key. `secret` is there only where it was just made.
pub const KEY_NAMES: &[&str] = &[
    "id",
    "name",
    "secret",
    "prefix",
    "tenant",
    "user",
    "environment",
    "permissions",
    "roles",
    "state",
    "active",
    "rate_limit",
    "lineage",
    "created_at",
    "updated_at",
    "expires_at",
    "last_used_at",
];

/// A template of what is said of a key, with the notes that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    template: Template,
    notes: Vec<String>,
    /// Other words for states.
    states: BTreeMap<String, String>,
}

/// A key, and what is known of it beside its record.
#[derive(Clone, Copy)]
pub struct KeyShown<'k> {
    /// The record.
    pub record: &'k KeyRecord,
    /// Its secret, where it was just made.
    pub secret: Option<&'k str>,
    /// When it was last used, in whole seconds since the Unix epoch; 0 is never.
    pub last_used_s: u64,
    /// Requests per window where nothing else was granted to it.
    pub rate_limit: Option<u64>,
}

impl KeyTemplate {
    /// Reads a template. `states` are other words for the states of a key.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], with the path inside the shape.
    pub fn read(shape: &Json, states: &BTreeMap<String, String>) -> Result<Self, (String, TemplateError)> {
        let notes: Vec<String> =
            names_in(shape).into_iter().filter_map(|name| Some(name.strip_prefix(METADATA)?.to_owned())).collect();
        let prefixed: Vec<String> = notes.iter().map(|note| format!("{METADATA}{note}")).collect();
        let names: Vec<&str> = KEY_NAMES.iter().copied().chain(prefixed.iter().map(String::as_str)).collect();
        Ok(Self { template: Template::read(shape, &names)?, notes, states: states.clone() })
    }

    /// Fills the template in.
    #[must_use]
    pub fn fill(&self, key: KeyShown<'_>, now: Moment) -> String {
        self.template.fill(&|index| self.value(index, key, now))
    }

    /// What goes by this word.
    #[must_use]
    pub fn standings_of(&self, word: &str) -> Vec<Standing> {
        Standing::ALL.into_iter().filter(|standing| self.state_word(standing.name()) == word).collect()
    }

    fn state_word<'s>(&'s self, state: &'s str) -> &'s str {
        self.states.get(state).map_or(state, String::as_str)
    }

    fn value<'v>(&'v self, index: usize, key: KeyShown<'v>, now: Moment) -> Value<'v> {
        let KeyShown { record, secret, last_used_s, rate_limit } = key;
        let text = |text: &'v Option<String>| text.as_deref().map_or(Value::Absent, Value::from);
        let words = |words: &'v [String]| Value::Words(words.iter().map(|word| Cow::Borrowed(word.as_str())).collect());
        let standing = record.standing(now);
        let Some(name) = KEY_NAMES.get(index) else {
            let note = self.notes.get(index - KEY_NAMES.len()).and_then(|note| record.metadata.get(note));
            return note.map_or(Value::Absent, |note| Value::from(note.as_str()));
        };
        match *name {
            "id" => Value::from(record.id.as_str()),
            "name" => text(&record.name),
            "secret" => secret.map_or(Value::Absent, Value::from),
            "prefix" => text(&record.prefix),
            "tenant" => text(&record.tenant),
            "user" => text(&record.user),
            "environment" => text(&record.environment),
            "permissions" => words(&record.permissions),
            "roles" => words(&record.roles),
            "state" => Value::from(self.state_word(standing.name())),
            "active" => Value::Bool(standing == Standing::Good),
            "rate_limit" => record.rate_limit.or(rate_limit).map_or(Value::Absent, Value::Number),
            "lineage" => Value::from(record.lineage.as_str()),
            "created_at" => time(Some(record.created)),
            "updated_at" => time(Some(record.updated)),
            "expires_at" => time(record.expires),
            "last_used_at" => {
                let seconds = i64::try_from(last_used_s).ok().filter(|seconds| *seconds > 0);
                let recent = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
                time(recent.max(record.last_used))
            }
            _ => Value::Absent,
        }
    }
}

/// A time as RFC 3339 has it, in UTC and whole seconds.
#[must_use]
pub fn time(at: Option<Timestamp>) -> Value<'static> {
    let whole = at.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    whole.map_or(Value::Absent, |at| Value::Text(Cow::Owned(at.to_string())))
}

/// A response with JSON in it, for this moment and this client only.
#[must_use]
pub fn with_json(status: StatusCode, content: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(Bytes::from(content)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// A response that only says that it is done.
#[must_use]
pub fn done() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
