//! `webhooks`: how providers sign what they deliver.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::document::duration::HumanDuration;
use crate::document::size::ByteSize;
use crate::webhooks::KINDS_MAX;

/// The word for no file of secrets.
pub(in crate::config) const WEBHOOK_SECRETS_OFF: &str = "off";

/// Deliveries of webhooks, which prove by signatures whom they come from.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Webhooks {
    /// The file with the secrets of providers, tenants and environments, or `off`: without secrets every delivery is
    /// refused.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) secrets: String,
    /// How far the time in a delivery may be from ours, in both directions: 1 s to 1 day. Deliveries are remembered for
    /// twice as long, up to 65,536 of one scheme, tenant and environment; what cannot be remembered any more is refused.
    pub(in crate::config) tolerance: HumanDuration,
    /// The largest delivery, up to 64MiB: each is held in memory whole, because its signature is over all of it.
    pub(in crate::config) content_bytes_max: ByteSize,
    /// How each provider signs.
    #[schemars(length(max = 64))]
    pub(in crate::config) schemes: Vec<WebhookScheme>,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            secrets: WEBHOOK_SECRETS_OFF.to_owned(),
            tolerance: HumanDuration::from_secs(300),
            content_bytes_max: ByteSize::from_bytes(1024 * 1024),
            schemes: Vec::new(),
        }
    }
}

/// How one provider signs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WebhookScheme {
    /// Its name, in paths and in the file of secrets: lower case letters, digits, `-` and `_`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) name: String,
    /// Where the signatures stand, and of which kinds they are.
    pub(in crate::config) signature: WebhookSignature,
    /// Where the time stands at which a delivery was sent, in seconds since 1970. Absent: it bears none, and is never too
    /// old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timestamp: Option<WebhookPlace>,
    /// Where the id of a delivery stands. Absent: it bears none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) id: Option<WebhookPlace>,
    /// What is signed: text with `{id}`, `{timestamp}` and `{body}` in it.
    #[serde(default = "body")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) signed: String,
    /// By what a delivery is recognised that was here before, and refused. Absent: by its id if it bears one, else by its
    /// content if it bears a time, else by nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) replay: Option<WebhookReplay>,
}

fn body() -> String {
    "{body}".to_owned()
}

/// Where the signatures stand, and of which kinds they are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WebhookSignature {
    /// The field of the request.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) field: String,
    /// What stands between the members of that field. Absent: it has but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) separator: Option<WebhookSeparator>,
    /// What stands between the label of a member and its value.
    #[serde(default)]
    pub(in crate::config) label_end: WebhookLabelEnd,
    /// The kinds of signatures that are believed; one good signature is enough, and others are not looked at.
    #[serde(default = "plain")]
    #[schemars(length(min = 1, max = KINDS_MAX))]
    pub(in crate::config) kinds: Vec<WebhookKind>,
}

fn plain() -> Vec<WebhookKind> {
    vec![WebhookKind::default()]
}

/// One kind of signatures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct WebhookKind {
    /// What its members are labelled with. Absent: members have no labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) label: Option<String>,
    /// How it is computed.
    pub(in crate::config) algorithm: WebhookAlgorithm,
    /// How it is written.
    pub(in crate::config) encoding: WebhookEncoding,
    /// How its secrets are written in the file of secrets; with `ed25519`, its public keys.
    pub(in crate::config) secrets: WebhookSecrets,
    /// What its secrets begin with; taken off before the rest is read. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) secret_prefix: Option<String>,
}

/// What stands between the members of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookSeparator {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A space.
    Space,
}

/// What stands between a label and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookLabelEnd {
    /// `=`
    #[default]
    Equals,
    /// `,`
    Comma,
    /// `:`
    Colon,
}

/// How a signature is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519: checked with a public key.
    Ed25519,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookEncoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64 with its padding.
    Base64,
}

/// How secrets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookSecrets {
    /// The secret is the text itself.
    #[default]
    Text,
    /// Hexadecimal digits.
    Hex,
    /// Base64.
    Base64,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookPlace {
    /// In this field of the request.
    #[schemars(schema_with = "shapes::field_name")]
    Field(String),
    /// In the field of the signatures, under this label.
    #[schemars(schema_with = "shapes::text")]
    Member(String),
}

/// By what a delivery is recognised that was here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookReplay {
    /// By its id.
    Id,
    /// By its time and its body.
    Content,
    /// By nothing.
    Off,
}
