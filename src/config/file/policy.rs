//! Who may do what, and what everybody else is told: environments, routes, roles, refusals, browsers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::operations::{Access, Operation, SignedBy};
use super::shapes::{self, FromText};
use super::upstream::{self, Upstream};

/// One of several worlds behind this gateway, such as production and sandbox, with keys of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Environment {
    /// Its name; keys bear it as their `environment`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) name: String,
    /// The hosts it answers under: `api.example.com`, or `*.example.com` for all below. Without `hosts` and `listeners` it
    /// answers wherever no other does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::hosts")]
    pub(in crate::config) hosts: Vec<String>,
    /// The listening addresses it answers at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::socket_addresses")]
    pub(in crate::config) listeners: Vec<std::net::SocketAddr>,
    /// How the secrets of its keys begin, such as `pk_live_`. A secret that begins otherwise is unknown here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) key_prefix: Option<String>,
    /// Its own upstream. Absent: the one of the whole gateway.
    #[serde(default, deserialize_with = "upstream::deserialize_some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "upstream::schema")]
    pub(in crate::config) upstream: Option<Upstream>,
}

/// A way that requests may take. The most specific one is taken: by host, then by path from the left (text before
/// `{parameter}` before `{*rest}`), then by method. What has no route is answered with 404.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// Its name in logs and metrics.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) name: String,
    /// The paths it is for: `/v1/orders/{id}`, `/v1/{*rest}`. `/{*rest}` is every path.
    #[schemars(schema_with = "shapes::patterns")]
    pub(in crate::config) paths: Vec<String>,
    /// The methods it is for. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::methods")]
    pub(in crate::config) methods: Vec<String>,
    /// The hosts it is for. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::hosts")]
    pub(in crate::config) hosts: Vec<String>,
    /// What it asks for: `api_key`, `token` or `session`, or a list of them of which one will do; `webhook`, a signature
    /// of the content; or `public`, nothing. There is no default: a route that needs no credentials says so.
    pub(in crate::config) access: Access,
    /// How the content of `access: webhook` is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) webhook: Option<SignedBy>,
    /// The permission it demands, such as `orders:write`. Absent: any good credentials will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) permission: Option<String>,
    /// The names of the limits that count its requests. Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::texts")]
    pub(in crate::config) limits: Option<Vec<String>>,
    /// What one request costs of each limit.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) cost: u32,
    /// Its own upstream. Absent: that of the environment.
    #[serde(default, deserialize_with = "upstream::deserialize_some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "upstream::schema")]
    pub(in crate::config) upstream: Option<Upstream>,
    /// The protocols in which its clients may go on on the same connection, if the upstream agrees: `websocket`. Absent:
    /// none, and the upstream is not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub(in crate::config) upgrade: Vec<Upgrade>,
    /// What the gateway does itself, instead of asking an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) operation: Option<Operation>,
}

/// A protocol to which a connection may switch (RFC 9110, section 7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Upgrade {
    /// RFC 6455; on HTTP/2 by RFC 8441.
    Websocket,
}

const fn one() -> u32 {
    1
}

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Role {
    /// Its name; keys bear it among their `roles`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) name: String,
    /// What it may do: `resource:action`, `resource:*`, or `*` for everything.
    #[schemars(schema_with = "shapes::texts")]
    pub(in crate::config) permissions: Vec<String>,
}

/// How refusals look. Without a word they are problem documents (RFC 9457).
///
/// In a body, `{{code}}` (`CODE` in capitals), `{{status}}`, `{{title}}`, `{{detail}}`, `{{retry_after}}`,
/// `{{required_permission}}` and `{{request_id}}` are filled in; a string that is exactly one of them becomes a number where
/// it is one, and a member that is exactly `{{retry_after?}}` is left out where there is nothing to say.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Refusals {
    /// The media type of bodies that are shaped here.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) content_type: String,
    /// The scheme of the challenge of a 401. Absent: `Bearer` for a user's token, and for a key if that is its only place;
    /// else `ApiKey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) challenge: Option<Challenge>,
    /// The body of every refusal that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) body: Option<serde_json::Value>,
    /// What single reasons look like.
    #[schemars(length(max = 100))]
    pub(in crate::config) each: Vec<Refusal>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { content_type: "application/json".to_owned(), challenge: None, body: None, each: Vec::new() }
    }
}

/// The scheme of a challenge (RFC 9110, section 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum Challenge {
    /// A key in a field of its own.
    ApiKey,
    /// RFC 6750.
    Bearer,
}

/// How the refusals for some reasons look.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Refusal {
    /// The reasons, as they stand in logs and metrics.
    #[schemars(schema_with = "shapes::reasons")]
    pub(in crate::config) reasons: Vec<String>,
    /// Another status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub(in crate::config) status: Option<u16>,
    /// Another body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::anything")]
    pub(in crate::config) body: Option<serde_json::Value>,
    /// More fields of the response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub(in crate::config) fields: Vec<Field>,
}

/// A field of a response.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Field {
    /// Its name.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) name: String,
    /// Its value.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) value: String,
}

/// What browsers may do that only the gateway can allow. Absent: nothing.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Cors {
    /// The origins whose pages may read refusals, or `any`.
    pub(in crate::config) origins: Origins,
    /// Whether they may read refusals to requests with cookies; not with `any`.
    #[serde(default)]
    pub(in crate::config) credentials: bool,
    /// Lets preflights through to the upstream without credentials.
    #[serde(default)]
    pub(in crate::config) preflight: bool,
}

/// Origins of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Origins {
    Any,
    These(Vec<String>),
}

impl FromText for Origins {
    const EXPECTED: &'static str = "a list of origins such as `https://app.example.com`, or `any`";

    fn from_text(text: &str) -> Option<Self> {
        (text == "any").then_some(Self::Any)
    }
}

impl<'de> Deserialize<'de> for Origins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shapes::list_or_text(deserializer)
    }
}

impl From<Vec<String>> for Origins {
    fn from(list: Vec<String>) -> Self {
        Self::These(list)
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::These(list) => list.serialize(serializer),
        }
    }
}

impl JsonSchema for Origins {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Origins".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "const": "any" },
            { "type": "array", "minItems": 1, "maxItems": 256, "items": { "type": "string", "minLength": 1 } }
        ] })
    }
}
