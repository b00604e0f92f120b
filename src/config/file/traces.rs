//! `traces`: spans for OpenTelemetry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::document::duration::HumanDuration;

/// Spans of requests, sent to a collector of OpenTelemetry (OTLP over HTTP, in protobuf). Never in them: credentials,
/// queries, fields of requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Traces {
    /// The whole URL of the collector, such as `http://127.0.0.1:4318/v1/traces`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) endpoint: String,
    /// A file of fields that are sent along, a line `name: value` each, such as `Authorization: Bearer ...`. It is read
    /// again for each batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) headers_file: Option<PathBuf>,
    /// The PEM file of the authorities that may vouch for the collector. Absent: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) ca: Option<PathBuf>,
    /// The share of requests that are sampled, 0 to 1, where the client has not decided.
    #[serde(default = "ratio")]
    #[schemars(schema_with = "share")]
    pub(in crate::config) ratio: f64,
    /// Whether a client that sends `traceparent` decides by its `sampled` flag: `follow`, or `ignore`, after which the
    /// trace goes on all the same.
    #[serde(default)]
    pub(in crate::config) parent: Parent,
    /// Whether spans bear the id of the key.
    #[serde(default)]
    pub(in crate::config) key_id: bool,
    /// What the collector calls this gateway: `service.name`.
    #[serde(default = "service_name")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) service_name: String,
    /// More about it, such as `k8s.pod.name`.
    #[serde(default)]
    #[schemars(schema_with = "attributes")]
    pub(in crate::config) resource: BTreeMap<String, String>,
    /// How long a span waits at most before it is sent.
    #[serde(default = "interval")]
    pub(in crate::config) interval: HumanDuration,
    /// How long one attempt may take. There are three; then the spans are dropped and counted.
    #[serde(default = "timeout")]
    pub(in crate::config) timeout: HumanDuration,
}

/// Whether the client decides what is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Parent {
    /// If it says so.
    #[default]
    Follow,
    /// Never.
    Ignore,
}

const fn ratio() -> f64 {
    0.1
}

fn service_name() -> String {
    "keygate".to_owned()
}

const fn interval() -> HumanDuration {
    HumanDuration::from_secs(5)
}

const fn timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn share(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
}

fn attributes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 1024 }
    })
}
