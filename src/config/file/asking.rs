//! `check`: where other proxies ask whether a request may pass.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::listen::Tls;
use super::shapes;

/// An address at which another proxy asks whether a request may pass, and forwards it itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Check {
    /// The IP address and the port. Nothing else is answered there.
    #[schemars(schema_with = "shapes::socket_address")]
    pub(in crate::config) listen: SocketAddr,
    /// How the proxy says which request it asks about. What stands in the fields of another dialect comes from clients,
    /// and is not read.
    pub(in crate::config) dialect: Dialect,
    /// The networks of the proxies. Nobody else is answered, because whoever asks is believed.
    #[schemars(schema_with = "shapes::some_networks")]
    pub(in crate::config) from: Vec<IpNet>,
    /// The path of the questions; of the dialect `envoy`, what stands before the path of each request (`path_prefix`).
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 1024))]
    pub(in crate::config) path: String,
    /// The status that a spent limit is answered with. Absent: 429; for the dialect `nginx` 403, because nginx knows 401 and
    /// 403 and makes 500 of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 499))]
    pub(in crate::config) limit_status: Option<u16>,
    /// TLS. Without it, keys travel in the clear from the proxy to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<Tls>,
}

fn default_path() -> String {
    "/check".to_owned()
}

/// How a proxy says which request it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Dialect {
    /// nginx (`auth_request`), which has to be told to write `X-Original-Method`, `X-Original-URI`, `X-Original-Host` and
    /// `X-Real-IP`.
    Nginx,
    /// Caddy (`forward_auth`), Traefik (ForwardAuth) and others that write `X-Forwarded-Method`, `X-Forwarded-Uri`,
    /// `X-Forwarded-Host` and `X-Forwarded-For`.
    Forwarded,
    /// Envoy (`ext_authz` over HTTP), Istio and implementations of the Gateway API: the method, the path and the host of the
    /// request itself, and `X-Forwarded-For`.
    Envoy,
}

/// Takes one, or a list.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Check>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<Check>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Check>, A::Error> {
        Check::deserialize(MapAccessDeserializer::new(map)).map(|check| vec![check])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<Check>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items))
    }
}

/// What [`deserialize`] takes.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let check = generator.subschema_for::<Check>();
    json_schema!({
        "anyOf": [check, { "type": "array", "minItems": 1, "maxItems": 64, "items": check }]
    })
}
