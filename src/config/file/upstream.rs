//! `upstream`: the API that is guarded.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::shapes::{self, FromText, TextOrMap};
use crate::document::duration::HumanDuration;

/// The API that is guarded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// Where it is: `http://host:port`, `https://host:port` or `unix:/path/of.sock`. Without path, query and user: paths
    /// are forwarded as they come.
    #[schemars(schema_with = "shapes::url")]
    pub(in crate::config) url: String,
    /// The protocol that is spoken to it.
    #[serde(default)]
    pub(in crate::config) protocol: Protocol,
    /// Which `Host` it sees.
    #[serde(default)]
    pub(in crate::config) host: HostField,
    /// TLS to it; only with `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<UpstreamTls>,
    /// Connections to it that each worker may have open at once.
    #[serde(default = "connections_max")]
    #[schemars(range(min = 1, max = 65_535))]
    pub(in crate::config) connections_max: u32,
    /// How long a connection is kept for the next request. Must be shorter than the time after which the upstream itself
    /// closes an idle connection.
    #[serde(default = "idle_timeout")]
    pub(in crate::config) idle_timeout: HumanDuration,
}

const fn connections_max() -> u32 {
    1024
}

const fn idle_timeout() -> HumanDuration {
    HumanDuration::from_secs(30)
}

/// The protocol that is spoken to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum HostField {
    /// The one that the client sent.
    #[default]
    Preserve,
    /// The host and port of the upstream's URL.
    Upstream,
}

/// TLS to the upstream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct UpstreamTls {
    /// The file with the certificates (PEM) of the authorities to trust. Absent: those of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) ca: Option<PathBuf>,
    /// The name that its certificate must have. Absent: the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) server_name: Option<String>,
    /// The file with a certificate (PEM) to show to it; needs `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) certificate: Option<PathBuf>,
    /// The file with the private key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) key: Option<PathBuf>,
    /// Whether its certificate is verified. `false` lets anybody on the way read and change everything.
    pub(in crate::config) verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, certificate: None, key: None, verify: true }
    }
}

impl FromText for Upstream {
    const EXPECTED: &'static str = "a URL such as `http://127.0.0.1:9000`, or a mapping";

    fn from_text(text: &str) -> Option<Self> {
        Some(Self { url: text.to_owned(), ..Self::default() })
    }
}

impl Default for Upstream {
    /// No URL at all: stands in for one whose problem has been told.
    fn default() -> Self {
        Self {
            url: String::new(),
            protocol: Protocol::default(),
            host: HostField::default(),
            tls: None,
            connections_max: connections_max(),
            idle_timeout: idle_timeout(),
        }
    }
}

/// Takes a URL or a mapping.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Upstream, D::Error> {
    deserializer.deserialize_any(TextOrMap::<Upstream, Upstream>::new())
}

/// The same, for a field that may be left out.
pub(super) fn deserialize_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Upstream>, D::Error> {
    deserialize(deserializer).map(Some)
}

/// What [`deserialize`] takes.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let url = shapes::url(generator);
    let mapping = generator.subschema_for::<Upstream>();
    json_schema!({ "anyOf": [url, mapping] })
}
