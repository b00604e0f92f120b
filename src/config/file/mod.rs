//! The YAML shape: exactly what an operator may write, with its defaults.
//!
//! The doc comments of this folder are the descriptions in the JSON Schema, so they speak to the operator. Every field
//! that is not required has a safe default, and no empty or zero value stands for "off": what can be switched off is
//! switched off by a word.
//!
//! Never in this folder: what goes together with what. That is [`super::check`].

mod asking;
mod doors;
mod keys;
mod listen;
pub(super) mod operations;
mod policy;
mod road;
pub(super) mod shapes;
mod tokens;
mod traces;
mod upstream;
mod webhooks;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::asking::Dialect;
pub(super) use self::doors::{Admin, Log, LogFormat, LogLevel, Shutdown, Workers};
pub(super) use self::keys::{Development, KeyFormat, KeyIds, KeyShape, Keys};
pub(super) use self::listen::{ClientCertificatesMode, Listener, MinimumVersion, ProxyVersion, Tls};
pub(super) use self::operations::AccessKind;
pub(super) use self::policy::{Challenge, Cors, Environment, Origins, Refusal, Refusals, Role, Route, Upgrade};
pub(super) use self::road::{
    Algorithm, BodyMaximum, Count, Credentials, Forwarding, IdentityFields, Limit, Maxima, Minima, Per,
    RateLimitFields, Reset, Timeouts,
};
pub(super) use self::tokens::{Claims, Issuer, SignatureAlgorithm, Tokens, leeway};
pub(super) use self::traces::{Parent, Traces};
pub(super) use self::upstream::{HostField, Protocol, Upstream};
pub(super) use self::webhooks::{
    WEBHOOK_SECRETS_OFF, WebhookAlgorithm, WebhookEncoding, WebhookKind, WebhookLabelEnd, WebhookPlace, WebhookReplay,
    WebhookScheme, WebhookSecrets, WebhookSeparator, Webhooks,
};

/// The fields that an operator must write. They have defaults all the same, so that a file in which one of them is
/// faulty can still be decoded and checked; the schema does not know of these.
pub(super) const REQUIRED: [&str; 3] = [LISTEN, "upstream", "keys"];

/// What is required only where there is no [`INSTEAD_OF_LISTEN`].
pub(super) const LISTEN: &str = "listen";

/// Where other proxies ask, nobody else need be listened to.
pub(super) const INSTEAD_OF_LISTEN: &str = "check";

/// The configuration of keygate. Three fields are enough: `listen` (or `check`), `upstream` and `keys`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where clients connect: an address such as `0.0.0.0:8080`, a mapping, or a list of both. May be absent where there is
    /// `check`: then nothing is forwarded.
    #[serde(default, deserialize_with = "listen::deserialize")]
    #[schemars(schema_with = "listen::schema")]
    pub(super) listen: Vec<Listener>,
    /// Where other proxies (nginx, Caddy, Traefik, Envoy) ask whether a request may pass that they forward themselves: a
    /// mapping or a list. Absent: nowhere.
    #[serde(default, deserialize_with = "asking::deserialize", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "asking::schema")]
    pub(super) check: Vec<asking::Check>,
    /// The API that is guarded: a URL such as `http://127.0.0.1:9000` or `unix:/run/api.sock`, or a mapping.
    #[serde(default, deserialize_with = "upstream::deserialize")]
    #[schemars(schema_with = "upstream::schema")]
    pub(super) upstream: Upstream,
    /// Where the keys are; at least one of `file`, `files`, `directory`, `map` and `database`.
    #[serde(default)]
    pub(super) keys: Keys,
    /// Where in a request a credential travels. It is taken out there: the upstream never sees it.
    #[serde(default)]
    pub(super) credentials: Credentials,
    /// The tokens that users get when they sign in. Absent: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Tokens>,
    /// Others whose access tokens are believed.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) issuers: Vec<Issuer>,
    /// The worlds behind this gateway, each with its own keys. Absent: there is one, for every host and every key. With
    /// environments, a host that belongs to none is answered with 421.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) environments: Vec<Environment>,
    /// The ways that requests may take. Absent: one called `default`, for everything, for whoever has a good key.
    #[serde(default)]
    #[schemars(length(max = 100_000))]
    pub(super) routes: Vec<Route>,
    /// Named sets of permissions.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub(super) roles: Vec<Role>,
    /// How refusals look.
    #[serde(default)]
    pub(super) refusals: Refusals,
    /// What browsers may do that only the gateway can allow. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cors: Option<Cors>,
    /// Deliveries of webhooks, which prove by signatures whom they come from.
    #[serde(default)]
    pub(super) webhooks: Webhooks,
    /// How many requests are allowed. All limits that fit a request count it. Without any, nothing is limited.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) limits: Vec<Limit>,
    /// The fields that tell clients how much of a limit is left.
    #[serde(default)]
    pub(super) rate_limit_fields: RateLimitFields,
    /// The fields that tell the upstream who is asking. Whatever a client sends under these names, or under any other
    /// name that begins with `X-Keygate-`, is removed.
    #[serde(default)]
    pub(super) identity_fields: IdentityFields,
    /// What is passed on about the way of a request.
    #[serde(default)]
    pub(super) forwarding: Forwarding,
    /// How long anybody may take.
    #[serde(default)]
    pub(super) timeouts: Timeouts,
    /// How much anybody may send or have open.
    #[serde(default)]
    pub(super) maxima: Maxima,
    /// How fast clients must be.
    #[serde(default)]
    pub(super) minima: Minima,
    /// The door for operators: `/livez`, `/readyz`, `/metrics`. `off` closes it.
    #[serde(default)]
    pub(super) admin: Admin,
    /// Threads that serve requests: `auto` is one for each processor this process may use, and 4 at most.
    #[serde(default)]
    pub(super) workers: Workers,
    /// How the process ends when it is told to (SIGTERM).
    #[serde(default)]
    pub(super) shutdown: Shutdown,
    /// What is written down.
    #[serde(default)]
    pub(super) log: Log,
    /// Spans for OpenTelemetry. Absent: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) traces: Option<Traces>,
}
