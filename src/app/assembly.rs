//! From the configuration to the values that the parts take: everything loaded and checked, nothing in force yet.
//!
//! `keygate check` ends here; starting and reloading go on with what this file makes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use http::HeaderValue;

use crate::config::{
    AccessOutput, AlgorithmValue, Config, CountedRequests, FormatValue, KeyShapeValue, KeysValues, LevelValue,
    LimitSubject, LimitValues, ListenerValues, LogValues, RoadValues, TlsValues, UpstreamAddress, UpstreamValues,
};
use crate::document::{Problem, Problems};
use crate::gateway::client_address::TrustedProxies;
use crate::gateway::credentials::ApiKeyFields;
use crate::gateway::fields::FieldRules;
use crate::gateway::forward::Forwarding;
use crate::gateway::identity::IdentityFields;
use crate::gateway::policy::Policy;
use crate::gateway::rate_limit::{RateLimitFields, Reset};
use crate::gateway::refusal::Refusals;
use crate::gateway::route::{Access, Counts, Route, RouteLimit, Routes};
use crate::gateway::upstream::{Endpoint, HostRule, Protocol, Settings as UpstreamSettings, Upstream, UpstreamTls};
use crate::keys::{Fingerprint, KeySet, SecretFormat, Sources};
use crate::limits::{Algorithm, Allowance, Limits};
use crate::listener::{
    CertificateFiles, ClientCertificates, Maxima, ProxyProtocol, Settings as ListenerSettings, Timeouts, TlsSettings,
    TlsStore, TlsVersion,
};
use crate::telemetry::access_log;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

/// Streams on one HTTP/2 connection to the upstream before another is opened.
const UPSTREAM_STREAMS_MAX: usize = 100;

/// The only route there is: everything, for whoever has a good key.
const ROUTE: &str = "default";

/// Everything that a configuration leads to.
pub(super) struct Assembly {
    /// The configuration as it was read.
    pub(super) text: Vec<u8>,
    /// The listening addresses with their certificates.
    pub(super) doors: Vec<(ListenerSettings, Option<Tls>)>,
    /// The upstream.
    pub(super) upstream: Arc<Upstream>,
    /// Where keys come from.
    pub(super) sources: Sources,
    /// The keys that are there now.
    pub(super) keys: KeySet,
    /// What tells these from others.
    pub(super) fingerprint: Fingerprint,
    /// Number of workers.
    pub(super) workers: usize,
    /// Address of the admin door, if it is open.
    pub(super) admin: Option<SocketAddr>,
    /// How the process ends.
    pub(super) shutdown: Shutdown,
    /// How much is logged.
    pub(super) log_level: log::Level,
    /// How the log looks.
    pub(super) log_format: log::Format,
    /// What is allowed but worth a thought.
    pub(super) warnings: Vec<Problem>,
    log: LogValues,
    format: SecretFormat,
    limits: Vec<PlannedLimit>,
    api_key_fields: ApiKeyFields,
    rate_limit_fields: RateLimitFields,
    forwarding: Forwarding,
    challenge: HeaderValue,
}

/// Certificates that were loaded, and what from.
pub(super) struct Tls {
    pub(super) settings: TlsSettings,
    pub(super) store: TlsStore,
}

/// How the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shutdown {
    /// How long it goes on serving after it was told.
    pub(super) delay: Duration,
    /// How long the last requests may take.
    pub(super) timeout: Duration,
}

struct PlannedLimit {
    name: String,
    algorithm: Algorithm,
    allowance: Allowance,
    counts: Counts,
    buckets_max: usize,
}

impl Assembly {
    /// Loads the configuration at `path` and everything that it names.
    ///
    /// # Errors
    ///
    /// Every problem of every file.
    pub(super) fn load(path: &Path) -> Result<Self, Problems> {
        // Before it is parsed: a change in between is then seen as one at the next look.
        let text = std::fs::read(path).unwrap_or_default();
        Self::of(Config::load(path, &|name| std::env::var(name).ok())?, text)
    }

    fn of(config: Config, text: Vec<u8>) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let workers = config.workers.map_or_else(workers_by_processors, std::num::NonZeroUsize::get);
        let doors = config.listeners.iter().filter_map(|values| door(values, &mut problems)).collect();
        let upstream = upstream(&config.upstream, workers, &mut problems);
        let limits = config.limits.iter().filter_map(|values| limit(values, &mut problems)).collect();
        let sources = Sources::new(config.keys.files.clone(), config.keys.directory.iter().cloned().collect());
        let keys = load_keys(&sources).map_err(|more| problems.extend(more)).ok();
        let format = format(&config.keys).map_err(|problem| problems.push(problem)).ok();
        let forwarding = forwarding(&config.road, config.upstream.response_body_timeout)
            .map_err(|problem| problems.push(problem))
            .ok();
        let api_key_fields =
            ApiKeyFields { fields: config.road.api_key.fields.clone(), bearer: config.road.api_key.bearer };
        match (problems.into_result(), upstream, keys, format, forwarding) {
            (Ok(()), Some(upstream), Some((keys, fingerprint)), Some(format), Some(forwarding)) => Ok(Self {
                text,
                doors,
                upstream,
                sources,
                keys,
                fingerprint,
                workers,
                admin: config.admin.as_ref().map(|admin| admin.address),
                shutdown: Shutdown { delay: config.shutdown.delay, timeout: config.shutdown.timeout },
                log_level: level(config.log.level),
                log_format: log_format(config.log.format),
                warnings: config.warnings,
                log: config.log,
                format,
                limits,
                challenge: challenge(&api_key_fields),
                api_key_fields,
                rate_limit_fields: rate_limit_fields(&config.road),
                forwarding,
            }),
            (Err(problems), ..) => Err(problems),
            _ => Err(Problems::new()),
        }
    }

    /// The policy, with the state that outlives it: buckets, labels, and the upstream's connections.
    pub(super) fn policy(&self, upstream: &Arc<Upstream>, limits: &Limits, metrics: &Metrics) -> Policy {
        let applied: Vec<RouteLimit> = self
            .limits
            .iter()
            .map(|planned| RouteLimit {
                limit: limits.limit(&planned.name, planned.algorithm, planned.buckets_max),
                allowance: planned.allowance,
                counts: planned.counts,
                cost: 1,
            })
            .collect();
        let route = Route {
            name: ROUTE.into(),
            label: metrics.route(ROUTE),
            access: Access::ApiKey,
            limits: applied.clone(),
            upstream: Arc::clone(upstream),
        };
        Policy {
            routes: Routes::everything(route),
            api_key_fields: self.api_key_fields.clone(),
            secret_format: self.format.clone(),
            unauthenticated: applied,
            rate_limit_fields: self.rate_limit_fields,
            forwarding: self.forwarding.clone(),
            refusals: Refusals { challenge: self.challenge.clone() },
        }
    }

    /// The names of all limits.
    pub(super) fn limit_names(&self) -> Vec<&str> {
        self.limits.iter().map(|limit| limit.name.as_str()).collect()
    }

    /// What the access log is to be, if there is to be one.
    pub(super) fn access_log(&self, workers: usize) -> Option<access_log::Options> {
        let (output, format) = self.log.access.as_ref()?;
        let destination = match output {
            AccessOutput::Stdout => access_log::Destination::Stdout,
            AccessOutput::File(path) => access_log::Destination::File(path.clone()),
        };
        let format = match format {
            FormatValue::Text => access_log::Format::Text,
            FormatValue::Json => access_log::Format::Json,
        };
        Some(access_log::Options { format, destination, workers })
    }
}

/// One worker for each processor that this process may use.
fn workers_by_processors() -> usize {
    available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn load_keys(sources: &Sources) -> Result<(KeySet, Fingerprint), Problems> {
    let contents = sources.load()?;
    Ok((contents.parse()?, contents.fingerprint()))
}

fn door(values: &ListenerValues, problems: &mut Problems) -> Option<(ListenerSettings, Option<Tls>)> {
    let settings = ListenerSettings {
        address: values.address,
        proxy_protocol: values.proxy_protocol.as_ref().map(|proxy| ProxyProtocol {
            v1: proxy.v1,
            v2: proxy.v2,
            from: proxy.from.clone(),
        }),
        http2: values.http2,
        prior_knowledge: values.prior_knowledge,
        timeouts: Timeouts {
            tls_handshake: values.timeouts.tls_handshake,
            request_head: values.timeouts.request_head,
            idle: values.timeouts.idle,
            write: values.timeouts.write,
        },
        maxima: Maxima {
            head_bytes: values.maxima.head_bytes,
            fields: values.maxima.fields,
            connections: values.maxima.connections,
            streams: values.maxima.streams,
        },
    };
    let Some(tls) = &values.tls else { return Some((settings, None)) };
    let tls_settings = tls_settings(tls);
    match TlsStore::load(&tls_settings) {
        Ok(store) => Some((settings, Some(Tls { settings: tls_settings, store }))),
        Err(found) => {
            for problem in found {
                problems.push(of_file(&problem.file, problem.message));
            }
            None
        }
    }
}

fn tls_settings(values: &TlsValues) -> TlsSettings {
    let files = values.certificates.iter();
    TlsSettings {
        certificates: files
            .map(|files| CertificateFiles { certificate: files.certificate.clone(), key: files.key.clone() })
            .collect(),
        clients: values
            .client_certificates
            .as_ref()
            .map(|clients| ClientCertificates { authorities: clients.ca.clone(), required: clients.required }),
        minimum_version: if values.tls13_only { TlsVersion::V1_3 } else { TlsVersion::V1_2 },
    }
}

fn upstream(values: &UpstreamValues, workers: usize, problems: &mut Problems) -> Option<Arc<Upstream>> {
    let endpoint = match &values.address {
        UpstreamAddress::Tcp { host, port } => Endpoint::Tcp { host: host.clone(), port: *port },
        UpstreamAddress::Unix(path) => Endpoint::Unix(path.clone()),
    };
    let authority = HeaderValue::from_str(values.authority.as_str());
    let host = match authority {
        Ok(authority) if !values.preserve_host => HostRule::Replace(authority),
        Ok(_) | Err(_) => HostRule::Preserve,
    };
    let settings = UpstreamSettings {
        endpoint,
        protocol: if values.http2 { Protocol::Http2 } else { Protocol::Http1 },
        host,
        tls: values.tls.as_ref().map(|tls| UpstreamTls {
            server_name: tls.server_name.to_str().into_owned(),
            authorities: tls.ca.clone(),
            certificate: tls.certificate.as_ref().map(|files| (files.certificate.clone(), files.key.clone())),
            verify: tls.verify,
        }),
        connections_max: usize::try_from(values.connections_max.get()).unwrap_or(usize::MAX),
        streams_max: UPSTREAM_STREAMS_MAX,
        idle_timeout: values.idle_timeout,
        connect_timeout: values.connect_timeout,
        response_head_timeout: values.response_head_timeout,
    };
    Upstream::new(settings, workers)
        .map_err(|error| problems.push(of_file(Path::new("upstream.tls"), error.to_string())))
        .ok()
}

fn limit(values: &LimitValues, problems: &mut Problems) -> Option<PlannedLimit> {
    let algorithm = match values.algorithm {
        AlgorithmValue::TokenBucket => Algorithm::TokenBucket,
        AlgorithmValue::RollingWindow => Algorithm::RollingWindow,
    };
    let counts = match (values.per, values.count) {
        (LimitSubject::Key, _) => Counts::Key,
        (LimitSubject::User, _) => Counts::User,
        (LimitSubject::Address, CountedRequests::All) => Counts::Address,
        (LimitSubject::Address, CountedRequests::Unauthenticated) => Counts::UnauthenticatedAddress,
    };
    match Allowance::new(algorithm, values.requests, values.window, values.burst) {
        Ok(allowance) => Some(PlannedLimit {
            name: values.name.clone(),
            algorithm,
            allowance,
            counts,
            buckets_max: values.buckets_max,
        }),
        Err(error) => {
            problems.push(of_file(&PathBuf::from(format!("limit {}", values.name)), error.to_string()));
            None
        }
    }
}

fn format(values: &KeysValues) -> Result<SecretFormat, Problem> {
    let bad = |error: crate::keys::FormatError| of_file(Path::new("keys.format"), error.to_string());
    let base = match values.shape {
        KeyShapeValue::Base62 => SecretFormat::base62(&values.brand).map_err(bad)?,
        KeyShapeValue::Hex64 => SecretFormat::hex64(),
    };
    values
        .prefixes
        .iter()
        .try_fold(base, |format, (environment, prefix)| format.with_prefix(environment, prefix).map_err(bad))
}

fn forwarding(road: &RoadValues, response_body_timeout: Duration) -> Result<Forwarding, Problem> {
    let names = &road.identity_fields;
    let identity = IdentityFields {
        key_id: names.key_id.clone(),
        tenant: names.tenant.clone(),
        user: names.user.clone(),
        environment: names.environment.clone(),
        permissions: names.permissions.clone(),
    };
    let values = &road.forwarding;
    let trusted_proxies = TrustedProxies::new(values.trusted_proxies.clone());
    let fields = FieldRules::new(&identity, &road.api_key.fields, values.forwarded, &values.via, trusted_proxies)
        .map_err(|error| of_file(Path::new("forwarding.via"), error.to_string()))?;
    Ok(Forwarding {
        fields,
        identity,
        request_id: values.request_id_field.clone(),
        content_bytes_max: road.body_bytes_max.unwrap_or(u64::MAX),
        request_body_timeout: road.request_body_timeout,
        response_body_timeout,
    })
}

const fn rate_limit_fields(road: &RoadValues) -> RateLimitFields {
    let reset = if road.rate_limit_fields.reset_delta { Reset::Delta } else { Reset::Epoch };
    RateLimitFields { reset, ietf: road.rate_limit_fields.ietf }
}

/// The challenge of a 401: `Bearer` only where that is the one place for a key.
fn challenge(places: &ApiKeyFields) -> HeaderValue {
    if places.fields.is_empty() {
        HeaderValue::from_static("Bearer realm=\"keygate\"")
    } else {
        HeaderValue::from_static("ApiKey realm=\"keygate\"")
    }
}

/// How much is logged, as the log knows it.
const fn level(value: LevelValue) -> log::Level {
    match value {
        LevelValue::Off => log::Level::Off,
        LevelValue::Error => log::Level::Error,
        LevelValue::Warn => log::Level::Warn,
        LevelValue::Info => log::Level::Info,
        LevelValue::Debug => log::Level::Debug,
        LevelValue::Trace => log::Level::Trace,
    }
}

/// How the log looks, as the log knows it.
const fn log_format(value: FormatValue) -> log::Format {
    match value {
        FormatValue::Text => log::Format::Text,
        FormatValue::Json => log::Format::Json,
    }
}

fn of_file(path: &Path, message: String) -> Problem {
    Problem::of_file(&path.display().to_string(), message)
}
