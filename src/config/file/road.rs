//! What happens to a request: credentials, limits, fields, times and sizes.

use std::borrow::Cow;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shapes::{self, FromText};
use crate::address::IPV6_PREFIX_BITS;
use crate::document::duration::HumanDuration;
use crate::document::size::{self, ByteSize};
use crate::limits::Allowance;

/// Where in a request a credential travels. It is taken out there: the upstream never sees it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Credentials {
    /// API keys.
    pub(in crate::config) api_key: ApiKey,
    /// Sessions of customers.
    pub(in crate::config) session: Session,
}

/// Where in a request the token of a session travels. Users' tokens always travel in `Authorization: Bearer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Session {
    /// The request fields that may hold it.
    #[schemars(schema_with = "shapes::field_names")]
    pub(in crate::config) fields: Vec<String>,
}

/// Where in a request an API key travels. Two different keys in one request are refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ApiKey {
    /// The request fields that may hold it.
    #[schemars(schema_with = "shapes::field_names")]
    pub(in crate::config) fields: Vec<String>,
    /// Whether `Authorization: Bearer` may hold it too.
    pub(in crate::config) bearer: bool,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self { fields: vec!["X-API-Key".to_owned()], bearer: false }
    }
}

/// How many requests are allowed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Limit {
    /// Its name in logs and metrics: lower case letters, digits, `-` and `_`.
    #[schemars(length(min = 1, max = 64))]
    pub(in crate::config) name: String,
    /// Who has a count of their own.
    pub(in crate::config) per: Per,
    /// Which requests count.
    #[serde(default)]
    pub(in crate::config) count: Count,
    /// Requests that are allowed in a window.
    #[schemars(range(min = 1, max = Allowance::REQUESTS_MAX))]
    pub(in crate::config) requests: u64,
    /// The length of a window, at most 366 days.
    pub(in crate::config) window: HumanDuration,
    /// How requests are counted.
    #[serde(default)]
    pub(in crate::config) algorithm: Algorithm,
    /// Requests that a token bucket allows at once. Absent: as many as `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = Allowance::REQUESTS_MAX))]
    pub(in crate::config) burst: Option<u64>,
    /// Counts that are kept at once; bounds the memory.
    #[serde(default = "buckets_max")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(in crate::config) buckets_max: u64,
}

const fn buckets_max() -> u64 {
    1_000_000
}

/// Who has a count of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Per {
    /// Each key, together with those it was rotated from.
    Key,
    /// Each user, over all of the user's keys and tokens.
    User,
    /// Each client address (IPv6: each /64).
    Address,
}

/// Which requests count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Count {
    /// All of them.
    #[default]
    All,
    /// Those without a valid credential; only with `per: address`.
    Unauthenticated,
    /// Attempts to authenticate that failed and could be guesses; only with `per: address`. Once they are spent, every
    /// attempt from there is refused before anything is looked up, a good one too.
    Failures,
    /// Those with a user's token; only with `per: user`.
    Tokens,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Algorithm {
    /// A bucket that is refilled evenly: bursts are possible, the rate holds in the long run.
    #[default]
    TokenBucket,
    /// In no span as long as the window are more requests admitted; at most 100,000 of them.
    RollingWindow,
}

/// The fields that tell clients how much of a limit is left.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RateLimitFields {
    /// What `X-RateLimit-Reset` says.
    pub(in crate::config) reset: Reset,
    /// Adds the `RateLimit` and `RateLimit-Policy` fields of the IETF draft.
    pub(in crate::config) ietf: bool,
}

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Reset {
    /// When: in seconds since 1970 (Unix time).
    #[default]
    Epoch,
    /// How long it takes: in seconds.
    Delta,
}

/// The fields that tell the upstream who is asking.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct IdentityFields {
    /// The public name of the key.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) key_id: String,
    /// The tenant.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) tenant: String,
    /// The user.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) user: String,
    /// The environment.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) environment: String,
    /// The permissions of the key or the user, separated by spaces.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) permissions: String,
    /// The customer whose session it is.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) customer: String,
    /// Whether a client whose credentials carry no environment may name one, in the very field `environment`. For
    /// anybody else, and without this, what a client writes there is removed.
    pub(in crate::config) environment_by_client: bool,
}

impl Default for IdentityFields {
    fn default() -> Self {
        Self {
            key_id: "X-Keygate-Key-Id".to_owned(),
            tenant: "X-Keygate-Tenant".to_owned(),
            user: "X-Keygate-User".to_owned(),
            environment: "X-Keygate-Environment".to_owned(),
            permissions: "X-Keygate-Permissions".to_owned(),
            customer: "X-Keygate-Customer".to_owned(),
            environment_by_client: false,
        }
    }
}

/// What is passed on about the way of a request. `X-Forwarded-For`, `-Proto` and `-Host` always are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Forwarding {
    /// The networks of proxies in front of keygate whose `X-Forwarded-For` is believed. None: nobody's is.
    #[schemars(schema_with = "shapes::networks")]
    pub(in crate::config) trusted_proxies: Vec<IpNet>,
    /// Adds `Forwarded` (RFC 7239).
    pub(in crate::config) forwarded: bool,
    /// The name of this gateway in `Via`.
    #[schemars(length(min = 1, max = 64))]
    pub(in crate::config) via: String,
    /// The field with the identifier of a request. Made if the client sends none.
    #[schemars(schema_with = "shapes::field_name")]
    pub(in crate::config) request_id_field: String,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            forwarded: false,
            via: "keygate".to_owned(),
            request_id_field: "X-Request-Id".to_owned(),
        }
    }
}

/// How long anybody may take. None of them can be switched off.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Timeouts {
    /// Until a connection to the upstream stands, its TLS included.
    pub(in crate::config) connect: HumanDuration,
    /// From the beginning of a client's connection to the end of its TLS handshake.
    pub(in crate::config) tls_handshake: HumanDuration,
    /// For the head of a request, from its first byte; for the first one, from the beginning of the connection.
    pub(in crate::config) request_head: HumanDuration,
    /// Between two parts of a request's body.
    pub(in crate::config) request_body: HumanDuration,
    /// From the end of a request to the head of the upstream's response.
    pub(in crate::config) response_head: HumanDuration,
    /// Between two parts of a response's body.
    pub(in crate::config) response_body: HumanDuration,
    /// Between two requests on a client's connection.
    pub(in crate::config) idle: HumanDuration,
    /// Without the client taking a byte of what it is sent.
    pub(in crate::config) write: HumanDuration,
    /// Without a byte in either direction of a WebSocket.
    pub(in crate::config) tunnel: HumanDuration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: HumanDuration::from_secs(5),
            tls_handshake: HumanDuration::from_secs(10),
            request_head: HumanDuration::from_secs(10),
            request_body: HumanDuration::from_secs(60),
            response_head: HumanDuration::from_secs(60),
            response_body: HumanDuration::from_secs(60),
            idle: HumanDuration::from_secs(60),
            write: HumanDuration::from_secs(60),
            tunnel: HumanDuration::from_secs(600),
        }
    }
}

/// How much anybody may send or have open.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Maxima {
    /// The head of a request, from `8KiB` to `1MiB`. More is answered with 431.
    pub(in crate::config) head: ByteSize,
    /// Field lines of a request. More is answered with 431.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) fields: u32,
    /// The body of a request; more is answered with 413. `unlimited` switches the bound off.
    pub(in crate::config) body: BodyMaximum,
    /// Connections of clients at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections: u32,
    /// Connections at once of one client address. Absent: half of `connections`. `forwarding.trusted_proxies` may have
    /// all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections_per_address: Option<u32>,
    /// Bits of an IPv6 address that are one client's network, which counts as one address here and in `limits`.
    #[schemars(range(min = 32, max = 128))]
    pub(in crate::config) ipv6_prefix: u8,
    /// Requests that are being answered at once. More are answered with 503.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) in_flight: u32,
    /// The same of one client address, on all of its connections together. Absent: half of `in_flight`.
    /// `forwarding.trusted_proxies` may have all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) in_flight_per_address: Option<u32>,
    /// Requests at once on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) streams: u32,
}

impl Default for Maxima {
    fn default() -> Self {
        Self {
            head: ByteSize::from_bytes(32 * 1024),
            fields: 100,
            body: BodyMaximum::Bytes(ByteSize::from_bytes(100 * 1024 * 1024)),
            connections: 10_000,
            connections_per_address: None,
            ipv6_prefix: IPV6_PREFIX_BITS,
            in_flight: 10_000,
            in_flight_per_address: None,
            streams: 128,
        }
    }
}

/// How fast clients must be, in bytes a second of the time in which nothing but they is waited for. `0` asks for nothing.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Minima {
    /// Sending the body of a request whose length was announced, averaged over `timeouts.request_body`. Slower ones are
    /// answered with 408.
    pub(in crate::config) request_rate: ByteSize,
    /// Taking what waits for them, averaged over `timeouts.write`. Slower ones are cut.
    pub(in crate::config) response_rate: ByteSize,
}

impl Default for Minima {
    fn default() -> Self {
        Self { request_rate: ByteSize::from_bytes(240), response_rate: ByteSize::from_bytes(240) }
    }
}

/// The largest body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum BodyMaximum {
    Unlimited,
    Bytes(ByteSize),
}

impl FromText for BodyMaximum {
    const EXPECTED: &'static str = "a size such as `10MiB`, or `unlimited`";

    fn from_text(text: &str) -> Option<Self> {
        if text == "unlimited" {
            return Some(Self::Unlimited);
        }
        size::parse(text).ok().map(ByteSize::from_bytes).map(Self::Bytes)
    }
}

impl From<u64> for BodyMaximum {
    fn from(bytes: u64) -> Self {
        Self::Bytes(ByteSize::from_bytes(bytes))
    }
}

impl<'de> Deserialize<'de> for BodyMaximum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shapes::number_or_text(deserializer)
    }
}

impl Serialize for BodyMaximum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_str("unlimited"),
            Self::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl JsonSchema for BodyMaximum {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BodyMaximum".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let size = generator.subschema_for::<ByteSize>();
        json_schema!({ "anyOf": [size, { "const": "unlimited" }] })
    }
}
