//! `listen`: where clients connect.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::shapes::{self, FromText, TextOrMap};

/// One listening address.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// The IP address and the port. `[::]:8443` is every address of this machine, IPv4 and IPv6.
    #[schemars(schema_with = "shapes::socket_address")]
    pub(in crate::config) address: SocketAddr,
    /// TLS. Without it, requests and keys travel in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<Tls>,
    /// Offers HTTP/2 on TLS (by ALPN).
    #[serde(default = "yes")]
    pub(in crate::config) http2: bool,
    /// Accepts HTTP/2 without TLS from clients that begin with it ("prior knowledge").
    #[serde(default)]
    pub(in crate::config) prior_knowledge: bool,
    /// Expects every connection to begin with the PROXY protocol. Absent: nobody speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) proxy_protocol: Option<ProxyProtocol>,
}

const fn yes() -> bool {
    true
}

/// TLS of a listening address. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tls {
    /// The certificates. The name that a client asks for (SNI) chooses among them; if none fits, the first is used.
    #[schemars(length(min = 1, max = 256))]
    pub(in crate::config) certificates: Vec<CertificateFiles>,
    /// Asks clients for a certificate of their own. Absent: they are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_certificates: Option<ClientCertificates>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub(in crate::config) minimum_version: MinimumVersion,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CertificateFiles {
    /// The file with the certificate, followed by its intermediates.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) certificate: PathBuf,
    /// The file with the private key.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) key: PathBuf,
}

/// Certificates of clients (mutual TLS).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientCertificates {
    /// The file with the certificates (PEM) of the authorities that sign clients' certificates.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) ca: PathBuf,
    /// Whether a client may have none.
    #[serde(default)]
    pub(in crate::config) mode: ClientCertificatesMode,
}

/// Whether a client may have no certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientCertificatesMode {
    /// Without a valid certificate there is no connection.
    #[default]
    Required,
    /// A certificate that is sent must be valid, but none need be sent.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum MinimumVersion {
    /// TLS 1.2 and TLS 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// The PROXY protocol, by which a load balancer says who the client is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProxyProtocol {
    /// The versions that are understood.
    #[serde(default = "both_versions")]
    #[schemars(length(min = 1, max = 2))]
    pub(in crate::config) versions: Vec<ProxyVersion>,
    /// The networks of the load balancers. Nobody else can connect.
    #[schemars(schema_with = "shapes::some_networks")]
    pub(in crate::config) from: Vec<IpNet>,
}

fn both_versions() -> Vec<ProxyVersion> {
    vec![ProxyVersion::V1, ProxyVersion::V2]
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ProxyVersion {
    /// The text form.
    V1,
    /// The binary form.
    V2,
}

impl FromText for Listener {
    const EXPECTED: &'static str = "an address such as `127.0.0.1:8080`, or a mapping";

    fn from_text(text: &str) -> Option<Self> {
        let address = text.parse().ok()?;
        Some(Self { address, tls: None, http2: true, prior_knowledge: false, proxy_protocol: None })
    }
}

/// Takes one listener or a list of them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listener>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<Listener>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an address such as `127.0.0.1:8080`, a mapping or a list")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Listener>, E> {
        TextOrMap::<Listener, Listener>::new().visit_str(text).map(|listener| vec![listener])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Listener>, A::Error> {
        Listener::deserialize(MapAccessDeserializer::new(map)).map(|listener| vec![listener])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Listener>, A::Error> {
        let mut listeners = Vec::new();
        while let Some(listener) = items.next_element_seed(One)? {
            listeners.push(listener);
        }
        Ok(listeners)
    }
}

struct One;

impl<'de> DeserializeSeed<'de> for One {
    type Value = Listener;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listener, D::Error> {
        deserializer.deserialize_any(TextOrMap::<Listener, Listener>::new())
    }
}

/// What [`deserialize`] takes.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let address = shapes::socket_address(generator);
    let listener = generator.subschema_for::<Listener>();
    json_schema!({
        "anyOf": [
            address,
            listener,
            { "type": "array", "minItems": 1, "maxItems": 64, "items": { "anyOf": [address, listener] } }
        ]
    })
}
