//! What the program runs on: every default filled in, every path resolved, every rule held.
//!
//! It is made of the parts' own settings, so that a value has one type and one rule on its whole way. What is declared
//! here belongs to no part. Nothing here is secret: secrets are in files, and only their paths are here.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;

use crate::address::IPV6_PREFIX_BITS;
use crate::document::Problem;
use crate::gateway::cors::Cors;
use crate::gateway::credentials::Places;
use crate::gateway::forward::Forwarding;
use crate::gateway::message::HeadMaxima;
use crate::gateway::operation::Operation;
use crate::gateway::pattern::Pattern;
use crate::gateway::permission::{Permission, Roles};
use crate::gateway::question::Asking;
use crate::gateway::rate_limit::RateLimitFields;
use crate::gateway::refusal::Refusals;
use crate::gateway::route::{Access, Counts};
use crate::gateway::upstream;
use crate::identity::{IssuerSettings, TokenSettings};
use crate::keys::{SecretFormat, Sources};
use crate::limits::Allowance;
use crate::listener::{self, TlsSettings};
use crate::otlp;
use crate::telemetry::{access_log, log};
use crate::webhooks::{Schemes, SecretsFile};

/// A configuration that was found good.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses where clients connect, and TLS where it is spoken; none twice, and at least one where nobody asks. All
    /// have the same timeouts and maxima.
    pub listeners: Vec<(listener::Settings, Option<TlsSettings>)>,
    /// The addresses where other proxies ask.
    pub checks: Vec<CheckSettings>,
    /// The API that is guarded.
    pub upstream: upstream::Settings,
    /// Where keys come from; at least one file or directory, no file twice.
    pub key_sources: Sources,
    /// The store of keys and users, if there is one.
    pub database: Option<PathBuf>,
    /// How new secrets look.
    pub secret_format: SecretFormat,
    /// Where credentials travel; none of the fields is one that anything else uses.
    pub places: Places,
    /// The tokens that are made, if any are.
    pub tokens: Option<TokenSettings>,
    /// The issuers whose tokens are believed; no name twice, and not ours.
    pub issuers: Vec<IssuerSettings>,
    /// How many requests may be in flight, in the whole process; not zero.
    pub in_flight_max: usize,
    /// How many of them may be of one client address; not zero.
    pub in_flight_per_address_max: usize,
    /// The environments; at least one.
    pub environments: Vec<EnvironmentSettings>,
    /// The routes, in the order of the file; at least one.
    pub routes: Vec<RouteSettings>,
    /// What roles may do.
    pub roles: Roles,
    /// What browsers may do.
    pub cors: Option<Cors>,
    /// How refusals look.
    pub refusals: Refusals,
    /// How deliveries of webhooks prove whom they come from.
    pub webhooks: WebhookSettings,
    /// The limits, in the order of the file; their names are unique.
    pub limits: Vec<NamedLimit>,
    /// What clients are told about limits.
    pub rate_limit_fields: RateLimitFields,
    /// How requests are passed on. All field names in it differ.
    pub forwarding: Forwarding,
    /// Where operators connect; none if their door is closed.
    pub admin: Option<AdminDoor>,
    /// What the upstream can be asked through that door; their names are unique.
    pub probes: Vec<Probe>,
    /// Threads that serve requests, at most 256; none is one for each processor, and four at most.
    pub workers: Option<NonZeroUsize>,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// How much is logged.
    pub log_level: log::Level,
    /// How the log looks.
    pub log_format: log::Format,
    /// What the access log is to be; none if it is not written.
    pub access_log: Option<access_log::Options>,
    /// What traces are made and sent by; none if none are.
    pub traces: Option<otlp::Settings>,
    /// What is allowed but should make an operator think; to be logged at every start and reload.
    pub warnings: Vec<Problem>,
    /// Where the configuration names files and directories.
    pub(super) named_files: NamedFiles,
}

/// An address where another proxy asks.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// The address, with the timeouts and maxima of the others.
    pub settings: listener::Settings,
    /// TLS, if it is spoken.
    pub tls: Option<TlsSettings>,
    /// Who may ask, and how.
    pub asking: Asking,
}

/// One environment.
#[derive(Clone, Debug)]
pub struct EnvironmentSettings {
    /// Its name; none for the only one of a configuration that names none.
    pub name: Option<String>,
    /// The hosts it answers under.
    pub hosts: Vec<String>,
    /// The listening addresses it answers at.
    pub listeners: Vec<SocketAddr>,
    /// How the secrets of its keys begin.
    pub key_prefix: Option<String>,
    /// Where its requests lead.
    pub upstream: upstream::Settings,
}

/// One route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Its name, unique.
    pub name: String,
    /// The hosts it is for; none is all.
    pub hosts: Vec<String>,
    /// The methods it is for; none is all.
    pub methods: Vec<Method>,
    /// The paths it is for; at least one.
    pub patterns: Vec<Pattern>,
    /// What it asks for.
    pub access: Access,
    /// What its principal must be allowed to do.
    pub permission: Option<Permission>,
    /// The limits that count it; none is all.
    pub limits: Option<Vec<String>>,
    /// What one request costs.
    pub cost: u32,
    /// Where it leads.
    pub destination: DestinationSettings,
    /// Whether its clients may go on in WebSocket; then every upstream it can lead to speaks HTTP/1.1.
    pub websocket: bool,
}

/// Where a route leads.
#[derive(Clone, Debug)]
pub enum DestinationSettings {
    /// To this upstream, or to that of its environment.
    Upstream(Option<Box<upstream::Settings>>),
    /// To something that the gateway does itself.
    Operation(Arc<Operation>),
}

impl RouteSettings {
    /// Its own upstream, if it has one.
    #[must_use]
    pub fn upstream(&self) -> Option<&upstream::Settings> {
        match &self.destination {
            DestinationSettings::Upstream(own) => own.as_deref(),
            DestinationSettings::Operation(_) => None,
        }
    }
}

/// How deliveries of webhooks prove whom they come from.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where the secrets are; without, no delivery is believed.
    pub secrets: Option<SecretsFile>,
    /// How each provider signs; their names are unique.
    pub schemes: Schemes,
    /// How far the time of a delivery may be from ours, in both directions; 1 s to 1 day.
    pub tolerance: Duration,
    /// Bytes that a delivery may have; not zero.
    pub content_bytes_max: usize,
}

/// One limit.
#[derive(Clone, Debug)]
pub struct NamedLimit {
    /// Its name: lower case letters, digits, `-` and `_`.
    pub name: String,
    /// What it counts.
    pub counts: Counts,
    /// How much it allows to those who were granted nothing else.
    pub allowance: Allowance,
    /// Buckets that are kept at once; not zero.
    pub buckets_max: usize,
}

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminDoor {
    /// Where the door is.
    pub address: SocketAddr,
    /// The file with the token of the management API, if there is to be one.
    pub token_file: Option<PathBuf>,
}

/// A question to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name: lower case letters, digits, `-` and `_`.
    pub name: String,
    /// What is asked for.
    pub path: PathAndQuery,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long new connections are still accepted; may be zero.
    pub delay: Duration,
    /// How long requests may then take; not zero.
    pub timeout: Duration,
}

impl Config {
    /// The names of the environments; none if the configuration names none, and then any will do.
    #[must_use]
    pub fn environment_names(&self) -> Vec<String> {
        self.environments.iter().filter_map(|environment| environment.name.clone()).collect()
    }

    /// The settings of the first address of all.
    fn first_door(&self) -> Option<&listener::Settings> {
        let listeners = self.listeners.iter().map(|(settings, _)| settings);
        listeners.chain(self.checks.iter().map(|check| &check.settings)).next()
    }

    /// How large the head of a request may be; the same at every listening address.
    #[must_use]
    pub fn head_maxima(&self) -> HeadMaxima {
        let maxima = self.first_door().map(|settings| settings.maxima);
        maxima.map_or(HeadMaxima { bytes: 0, fields: 0 }, |maxima| HeadMaxima {
            bytes: usize::try_from(maxima.head_bytes).unwrap_or(usize::MAX),
            fields: maxima.fields,
        })
    }

    /// Bits of an IPv6 address that count as one client address; the same at every listening address.
    #[must_use]
    pub fn ipv6_prefix_bits(&self) -> u8 {
        self.first_door().map_or(IPV6_PREFIX_BITS, |settings| settings.maxima.ipv6_prefix_bits)
    }

    /// A problem with a file or directory that the configuration names somewhere in `sections` (`listen`, `keys`, ...),
    /// at the field that does. `what` is wrong with it, and goes on after its path.
    ///
    /// What several fields of a section name, the first of them answers for. A problem with what no field names is one of
    /// that file.
    #[must_use]
    pub fn problem_with_file(&self, sections: &[&str], path: &Path, what: &str) -> Problem {
        let mut named = self.named_files.0.iter();
        let within = |field: &Problem| sections.iter().any(|section| field.field.starts_with(section));
        match named.find(|(named, field)| named == path && within(field)) {
            Some((_, field)) => Problem { message: format!("{} {what}", path.display()), ..field.clone() },
            None => Problem::of_file(&path.display().to_string(), what),
        }
    }
}

/// Files and directories with the fields that name them, in the order in which the parts read them. A field is kept as
/// a problem that still has no message.
#[derive(Clone, Default)]
pub(super) struct NamedFiles(pub(super) Vec<(PathBuf, Problem)>);

/// Two configurations that say the same should look the same, wherever in the file they say it.
impl fmt::Debug for NamedFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(path, _)| path)).finish()
    }
}
