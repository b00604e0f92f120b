//! What a route accepts, and what the gateway does itself at its end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::shapes::{self, FromText};
use crate::document::duration::HumanDuration;

/// What a route asks for: one kind of credentials, or a list of kinds of which one will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Access(pub(in crate::config) Vec<AccessKind>);

/// One thing that a route may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum AccessKind {
    /// A key that is good.
    ApiKey,
    /// A user's token.
    Token,
    /// A customer's session.
    Session,
    /// Content that is signed.
    Webhook,
    /// Nothing.
    Public,
    /// A word that is none of these.
    Unknown,
}

const ACCESS_WORDS: [(&str, AccessKind); 5] = [
    ("api_key", AccessKind::ApiKey),
    ("token", AccessKind::Token),
    ("session", AccessKind::Session),
    ("webhook", AccessKind::Webhook),
    ("public", AccessKind::Public),
];

impl AccessKind {
    fn of(word: &str) -> Self {
        let known = ACCESS_WORDS.iter().find(|(known, _)| *known == word);
        known.map_or(Self::Unknown, |(_, kind)| *kind)
    }

    fn word(self) -> &'static str {
        ACCESS_WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

impl FromText for Access {
    const EXPECTED: &'static str =
        "`api_key`, `token`, `session`, `webhook` or `public`, or a list of kinds of credentials";

    fn from_text(text: &str) -> Option<Self> {
        let kind = AccessKind::of(text);
        (kind != AccessKind::Unknown).then(|| Self(vec![kind]))
    }
}

impl From<Vec<String>> for Access {
    fn from(words: Vec<String>) -> Self {
        Self(words.iter().map(|word| AccessKind::of(word)).collect())
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shapes::list_or_text(deserializer)
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one.word()),
            several => serializer.collect_seq(several.iter().map(|kind| kind.word())),
        }
    }
}

impl JsonSchema for Access {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = ACCESS_WORDS.iter().map(|(word, _)| *word).collect();
        let several = ["api_key", "token", "session"];
        json_schema!({ "anyOf": [
            { "enum": words },
            { "type": "array", "minItems": 1, "maxItems": 3, "items": { "enum": several } }
        ] })
    }
}

/// By which scheme of `webhooks.schemes` content is signed, and with whose secrets. Each is a word, or a parameter of the
/// path such as `{tenant}`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SignedBy {
    /// The scheme.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) scheme: String,
    /// The tenant; the upstream learns it.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) tenant: String,
    /// The environment; the upstream learns it.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) environment: String,
}

/// What the gateway does itself at the end of a route.
///
/// What an operation is told has the shape of `request` (`query`), in which `{{login}}` stands where the login is; what it
/// answers has that of `response`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum Operation {
    /// Lets a user in: `{{login}}` and `{{password}}` for `{{access_token}}`, `{{refresh_token}}`, `{{expires_in}}`,
    /// `{{refresh_expires_in}}`, `{{user}}` and `{{tenant}}`.
    Login(Tokens),
    /// Gives new tokens, as `login` does, for a `{{refresh_token}}`, which is good once.
    Refresh(Tokens),
    /// Ends the login of the token.
    Logout(Nothing),
    /// Shows the public keys of our tokens (RFC 7517).
    Jwks(Nothing),
    /// Makes a key.
    CreateKey(CreateKey),
    /// Lists the keys of the caller's tenant and environment.
    ListKeys(ListKeys),
    /// Shows the key of the user of the token.
    GetOwnKey(OwnKey),
    /// Gives the user of the token another key, and ends those before it at once.
    RegenerateOwnKey(OwnKey),
    /// Deletes a key of the caller's tenant and environment.
    DeleteKey(DeleteKey),
    /// Makes a session for one customer.
    CreateSession(CreateSession),
}

/// An operation that need not be told anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Nothing {}

/// An operation that answers with tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tokens {
    /// The shape of what it is told.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) request: Value,
    /// The shape of what it answers.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) response: Value,
    /// The status of the answer.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 299))]
    pub(in crate::config) status: u16,
}

/// Makes a key. Its creator can give it no permission that the creator lacks, and no longer life than its own key's.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CreateKey {
    /// The shape of what it is told: `{{name}}`, `{{permissions}}`, `{{expires_at}}`, and `{{metadata.NAME}}` for notes that
    /// are kept with the key (`{{metadata.NAME?}}` if it may be left out).
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) request: Value,
    /// The shape of what it answers; of a key: `{{id}}`, `{{name}}`, `{{secret}}` (this once), `{{prefix}}`, `{{tenant}}`,
    /// `{{user}}`, `{{environment}}`, `{{permissions}}`, `{{roles}}`, `{{state}}`, `{{active}}`, `{{rate_limit}}`,
    /// `{{lineage}}`, `{{created_at}}`, `{{updated_at}}`, `{{expires_at}}`, `{{last_used_at}}`, `{{metadata.NAME}}`.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) response: Value,
    /// The status of the answer.
    #[serde(default = "made")]
    #[schemars(range(min = 200, max = 299))]
    pub(in crate::config) status: u16,
    /// The tenant it is for: a word, or a parameter of the path such as `{tenant}`. A caller who is bound to a tenant acts
    /// in that alone; a user who is bound to none acts in all. Absent: the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) tenant: Option<String>,
    /// The environment it is for. Absent: that of the caller's credentials, else that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) environment: Option<String>,
    /// Whether it is the caller's own: it carries the user, and is switched off with the user.
    #[serde(default = "yes")]
    pub(in crate::config) owned: bool,
    /// The values that notes may have, where not all do.
    #[serde(default)]
    pub(in crate::config) notes: BTreeMap<String, Vec<String>>,
    /// Keys that a tenant may have.
    #[serde(default = "keys_max")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) keys_max: u64,
    /// Other words for `active`, `inactive`, `revoked`, `expired` and `not_yet_valid`.
    #[serde(default)]
    pub(in crate::config) states: BTreeMap<String, String>,
}

/// Lists the keys of the caller's tenant and environment.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListKeys {
    /// The parameters of the query: `{{limit}}` (1 to 1000), `{{offset}}`, `{{state}}`.
    #[serde(default = "nothing")]
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) query: Value,
    /// The shape of each key, as in `create_key`.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) item: Value,
    /// The shape of what it answers: `{{items}}`, `{{total}}`, `{{limit}}`, `{{offset}}`.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) response: Value,
    /// The status of the answer.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 299))]
    pub(in crate::config) status: u16,
    /// Other words for states, as in `create_key`.
    #[serde(default)]
    pub(in crate::config) states: BTreeMap<String, String>,
}

/// About the key of the user of the token.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OwnKey {
    /// The shape of what it answers, as in `create_key`.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) response: Value,
    /// The status of the answer.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 299))]
    pub(in crate::config) status: u16,
    /// Other words for states, as in `create_key`.
    #[serde(default)]
    pub(in crate::config) states: BTreeMap<String, String>,
}

/// Deletes a key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DeleteKey {
    /// Its id: a parameter of the path, such as `{id}`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) id: String,
}

/// Makes a session for one customer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CreateSession {
    /// The customer: a parameter of the path, such as `{customer}`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) customer: String,
    /// How long it is good, at most 30 days.
    #[serde(default = "hour")]
    pub(in crate::config) lifetime: HumanDuration,
    /// The shape of what it answers: `{{token}}`, `{{id}}`, `{{expires_at}}`, `{{expires_in}}`, `{{customer}}`.
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) response: Value,
    /// The status of the answer.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 299))]
    pub(in crate::config) status: u16,
}

const fn ok() -> u16 {
    200
}

const fn made() -> u16 {
    201
}

const fn yes() -> bool {
    true
}

const fn keys_max() -> u64 {
    1000
}

const fn hour() -> HumanDuration {
    HumanDuration::from_secs(3600)
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}
