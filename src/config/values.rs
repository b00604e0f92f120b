//! What the program runs on: every default filled in, every path resolved, every rule held.
//!
//! Grouped by the part that takes it. Nothing here is secret: secrets are in files, and only their paths are here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::Authority;
use ipnet::IpNet;

use crate::document::Problem;

/// A configuration that was found good.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses where clients connect; at least one, none twice.
    pub listeners: Vec<ListenerValues>,
    /// The API that is guarded.
    pub upstream: UpstreamValues,
    /// Where the keys are.
    pub keys: KeysValues,
    /// The limits, in the order of the file; their names are unique.
    pub limits: Vec<LimitValues>,
    /// What happens to a request on its way.
    pub road: RoadValues,
    /// The door for operators; none if it is closed.
    pub admin: Option<AdminValues>,
    /// Threads that serve requests, at most 256; none is one for each processor.
    pub workers: Option<NonZeroUsize>,
    /// How the process ends.
    pub shutdown: ShutdownValues,
    /// What is written down.
    pub log: LogValues,
    /// What is allowed but should make an operator think; to be logged at every start and reload.
    pub warnings: Vec<Problem>,
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerValues {
    /// Where it listens; port 0 lets the operating system choose.
    pub address: SocketAddr,
    /// TLS, if it is spoken.
    pub tls: Option<TlsValues>,
    /// Whether HTTP/2 is offered by ALPN.
    pub http2: bool,
    /// Whether HTTP/2 is spoken without TLS; never together with TLS.
    pub prior_knowledge: bool,
    /// Who begins connections with the PROXY protocol, if anybody does.
    pub proxy_protocol: Option<ProxyProtocolValues>,
    /// How long a client may take; the same for all addresses.
    pub timeouts: ListenerTimeouts,
    /// How much a client may send or have open; the same for all addresses.
    pub maxima: ListenerMaxima,
}

/// TLS of a listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsValues {
    /// At least one; the first is the default.
    pub certificates: Vec<CertificatePaths>,
    /// Certificates of clients, if they are asked for.
    pub client_certificates: Option<ClientCertificateValues>,
    /// Whether TLS 1.2 is refused.
    pub tls13_only: bool,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// The certificate and its intermediates (PEM).
    pub certificate: PathBuf,
    /// The private key (PEM).
    pub key: PathBuf,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificateValues {
    /// The authorities that sign them (PEM).
    pub ca: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// The PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocolValues {
    /// Whether version 1 is understood; at least one of both is.
    pub v1: bool,
    /// Whether version 2 is understood.
    pub v2: bool,
    /// Who may connect; at least one network, none of them everybody.
    pub from: Vec<IpNet>,
}

/// How long a client may take; none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// To the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// For a request head.
    pub request_head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking a byte.
    pub write: Duration,
}

/// How much a client may send or have open; none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerMaxima {
    /// Bytes of a request head, from 8 KiB to 1 MiB.
    pub head_bytes: u32,
    /// Field lines of a request head, at most 1000.
    pub fields: usize,
    /// Connections of the process, at most 1,000,000.
    pub connections: usize,
    /// Streams of an HTTP/2 connection, at most 10,000.
    pub streams: u32,
}

/// The API that is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamValues {
    /// Where it is.
    pub address: UpstreamAddress,
    /// The host and port of its URL; `localhost` for a Unix socket.
    pub authority: Authority,
    /// TLS to it; with `https://` always there.
    pub tls: Option<UpstreamTlsValues>,
    /// Whether HTTP/2 is spoken to it.
    pub http2: bool,
    /// Whether it sees the `Host` of the client instead of its own.
    pub preserve_host: bool,
    /// Connections that each worker may have open.
    pub connections_max: NonZeroU32,
    /// How long an unused connection is kept; not zero.
    pub idle_timeout: Duration,
    /// How long connecting may take, TLS included; not zero.
    pub connect_timeout: Duration,
    /// How long it may take to the head of its response; not zero.
    pub response_head_timeout: Duration,
    /// How long between two parts of its response; not zero.
    pub response_body_timeout: Duration,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A host and a port.
    Tcp {
        /// A name, or an IP address without brackets.
        host: String,
        /// Not zero.
        port: u16,
    },
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

/// TLS to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsValues {
    /// The authorities to trust (PEM); those of the machine if none.
    pub ca: Option<PathBuf>,
    /// The name its certificate must have.
    pub server_name: rustls_pki_types::ServerName<'static>,
    /// The certificate to show to it.
    pub certificate: Option<CertificatePaths>,
    /// Whether its certificate is verified.
    pub verify: bool,
}

/// Where keys are, and how new ones look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysValues {
    /// Key files, none twice. With `directory`, at least one source.
    pub files: Vec<PathBuf>,
    /// A folder of key files.
    pub directory: Option<PathBuf>,
    /// The first word of new secrets: 1 to 32 letters and digits.
    pub brand: String,
    /// Whole prefixes by environment: 2 to 32 letters, digits and `_`, with `_` at the end.
    pub prefixes: BTreeMap<String, String>,
    /// What stands behind the prefix.
    pub shape: KeyShapeValue,
}

/// What stands behind the prefix of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShapeValue {
    /// 32 letters and digits and 6 that check them.
    Base62,
    /// 64 hexadecimal digits without a prefix.
    Hex64,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitValues {
    /// Its name, unique: lower case letters, digits, `-` and `_`.
    pub name: String,
    /// Who has a count of their own.
    pub per: LimitSubject,
    /// Which requests count.
    pub count: CountedRequests,
    /// Requests in a window, 1 to 10^9; of a rolling window at most 100,000.
    pub requests: u64,
    /// The length of the window, 1 ms to 366 days.
    pub window: Duration,
    /// How requests are counted.
    pub algorithm: AlgorithmValue,
    /// Requests at once, 1 to 10^9; none with a rolling window, else as many as `requests` unless it was given.
    pub burst: Option<u64>,
    /// Counts that are kept at once; not zero.
    pub buckets_max: usize,
}

/// Who has a count of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSubject {
    /// Each lineage of keys.
    Key,
    /// Each user.
    User,
    /// Each client address.
    Address,
}

/// Which requests a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedRequests {
    /// All.
    All,
    /// Those without a valid credential; only by address.
    Unauthenticated,
}

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmValue {
    /// A bucket that is refilled evenly.
    TokenBucket,
    /// The exact moments of the window.
    RollingWindow,
}

/// What happens to a request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoadValues {
    /// Where API keys travel.
    pub api_key: ApiKeyValues,
    /// What the upstream is told about the key.
    pub identity_fields: IdentityFieldValues,
    /// What is passed on about the way of the request.
    pub forwarding: ForwardingValues,
    /// What clients are told about limits.
    pub rate_limit_fields: RateLimitFieldValues,
    /// Bytes of a request body, not zero; none if there is no bound.
    pub body_bytes_max: Option<u64>,
    /// How long between two parts of a request body; not zero.
    pub request_body_timeout: Duration,
}

/// Where API keys travel; at least one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyValues {
    /// Request fields, none twice, none that anything else uses.
    pub fields: Vec<HeaderName>,
    /// Whether `Authorization: Bearer` is one too.
    pub bearer: bool,
}

/// What the upstream is told about the key; all names differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFieldValues {
    /// The public name of the key.
    pub key_id: HeaderName,
    /// Its tenant.
    pub tenant: HeaderName,
    /// Its user.
    pub user: HeaderName,
    /// Its environment.
    pub environment: HeaderName,
    /// Its permissions.
    pub permissions: HeaderName,
}

impl IdentityFieldValues {
    /// What all our own names begin with, in lower case; a client's fields that begin so are removed.
    pub const RESERVED_PREFIX: &'static str = "x-keygate-";

    /// All of them.
    #[must_use]
    pub const fn all(&self) -> [&HeaderName; 5] {
        [&self.key_id, &self.tenant, &self.user, &self.environment, &self.permissions]
    }
}

/// What is passed on about the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingValues {
    /// The proxies whose `X-Forwarded-For` is believed; none of the networks is everybody.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `Forwarded` is added.
    pub forwarded: bool,
    /// Our name in `Via`; a token.
    pub via: String,
    /// The field of the request's identifier.
    pub request_id_field: HeaderName,
}

/// What clients are told about limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitFieldValues {
    /// Whether `X-RateLimit-Reset` is a distance instead of a date.
    pub reset_delta: bool,
    /// Whether the fields of the IETF draft are added.
    pub ietf: bool,
}

/// The door for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminValues {
    /// Where it listens.
    pub address: SocketAddr,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownValues {
    /// How long new connections are still accepted; may be zero.
    pub delay: Duration,
    /// How long requests may then take; not zero.
    pub timeout: Duration,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogValues {
    /// How much is said.
    pub level: LevelValue,
    /// How it looks.
    pub format: FormatValue,
    /// Where and how the access log is written; none if it is not.
    pub access: Option<(AccessOutput, FormatValue)>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelValue {
    /// Nothing.
    Off,
    /// What does not work.
    Error,
    /// What was got round.
    Warn,
    /// What was done.
    Info,
    /// Details.
    Debug,
    /// Everything.
    Trace,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatValue {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessOutput {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}
