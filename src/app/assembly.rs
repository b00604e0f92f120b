//! From the configuration to what can be put in force: everything that it names is loaded and checked.
//!
//! `keygate check` ends here; starting and reloading go on with what this file makes.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use http::HeaderValue;

use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::gateway::credentials::ApiKeyFields;
use crate::gateway::policy::Policy;
use crate::gateway::refusal::Refusals;
use crate::gateway::route::{Access, Route, RouteLimit, Routes};
use crate::gateway::upstream::{TlsError, Upstream};
use crate::keys::{Fingerprint, KeySet};
use crate::limits::Limits;
use crate::listener::{Settings, TlsProblem, TlsSettings, TlsStore};
use crate::telemetry::metrics::Metrics;

/// The only route there is: everything, for whoever has a good key.
const ROUTE: &str = "default";

/// Everything that a configuration leads to.
pub(super) struct Assembly {
    /// The configuration as it was read.
    pub(super) text: Vec<u8>,
    /// The same, understood.
    pub(super) config: Config,
    /// The listening addresses with their certificates.
    pub(super) doors: Vec<(Settings, Option<Tls>)>,
    /// The upstream.
    pub(super) upstream: Arc<Upstream>,
    /// The keys that are there now.
    pub(super) keys: KeySet,
    /// What tells these from others.
    pub(super) fingerprint: Fingerprint,
    /// Number of workers.
    pub(super) workers: usize,
}

/// Certificates that were loaded, and what from.
pub(super) struct Tls {
    pub(super) settings: TlsSettings,
    pub(super) store: TlsStore,
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
        let config = Config::load(path, &|name| std::env::var(name).ok())?;
        let workers = config.workers.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);

        let doors = doors(&config);
        let upstream = upstream(&config, path, workers);
        let keys = keys(&config);
        match (doors, upstream, keys) {
            (Ok(doors), Ok(upstream), Ok((keys, fingerprint))) => {
                Ok(Self { text, config, doors, upstream, keys, fingerprint, workers })
            }
            (doors, upstream, keys) => {
                let found = [doors.err(), upstream.err().map(Problems::from), keys.err()];
                let mut problems: Problems = found.into_iter().flatten().flatten().collect();
                problems.sort();
                Err(problems)
            }
        }
    }

    /// The policy, with the state that outlives it: buckets, labels, and the upstream's connections.
    pub(super) fn policy(&self, upstream: &Arc<Upstream>, limits: &Limits, metrics: &Metrics) -> Policy {
        let config = &self.config;
        let named = config.limits.iter();
        let applied: Vec<RouteLimit> = named
            .map(|named| RouteLimit {
                limit: limits.limit(&named.name, named.allowance.algorithm(), named.buckets_max),
                allowance: named.allowance,
                counts: named.counts,
                cost: 1,
            })
            .collect();
        Policy {
            head_maxima: config.head_maxima(),
            environments: self.environments(upstream),
            routes: self.routes(&applied, metrics),
            roles: config.roles.clone(),
            api_key_fields: config.api_key_fields.clone(),
            secret_format: config.secret_format.clone(),
            unauthenticated: applied,
            rate_limit_fields: config.rate_limit_fields,
            forwarding: config.forwarding.clone(),
            cors: config.cors.clone(),
            refusals: config.refusals.clone(),
        }
    }

    /// The names of all limits.
    pub(super) fn limit_names(&self) -> Vec<&str> {
        self.config.limits.iter().map(|limit| limit.name.as_str()).collect()
    }
}

/// Loads the certificates of every listening address.
fn doors(config: &Config) -> Result<Vec<(Settings, Option<Tls>)>, Problems> {
    let mut problems = Problems::new();
    let mut doors = Vec::with_capacity(config.listeners.len());
    for (settings, tls) in &config.listeners {
        let store = tls.as_ref().map(TlsStore::load).transpose();
        match store {
            Ok(store) => {
                let tls = tls.clone().zip(store).map(|(settings, store)| Tls { settings, store });
                doors.push((settings.clone(), tls));
            }
            Err(found) => {
                let located =
                    |problem: &TlsProblem| config.problem_with_file("listen", &problem.file, &problem.message);
                problems.extend(found.iter().map(located));
            }
        }
    }
    problems.into_result()?;
    Ok(doors)
}

/// Prepares the upstream of the configuration at `path`.
fn upstream(config: &Config, path: &Path, workers: usize) -> Result<Arc<Upstream>, Problem> {
    Upstream::new(config.upstream.clone(), workers).map_err(|error| match error {
        TlsError::File { path, reason } => {
            config.problem_with_file("upstream", &path, &format!("cannot be used: {reason}"))
        }
        TlsError::ServerName(_) | TlsError::Rustls(_) => {
            let problem = Problem::of_file(&path.display().to_string(), error.to_string());
            Problem { field: "upstream.tls".to_owned(), ..problem }
        }
    })
}

/// Loads the keys. What is wrong with a file as a whole is a problem of the field that names it, too.
fn keys(config: &Config) -> Result<(KeySet, Fingerprint), Problems> {
    let contents = config.key_sources.load().map_err(|problems| -> Problems {
        let located = problems.into_iter().map(|problem| match problem.line {
            0 => config.problem_with_file("keys", Path::new(&problem.file), &problem.message),
            _ => problem,
        });
        located.collect()
    })?;
    Ok((contents.parse()?, contents.fingerprint()))
}

/// The challenge of a 401: `Bearer` only where that is the one place for a key.
fn challenge(places: &ApiKeyFields) -> HeaderValue {
    if places.fields.is_empty() {
        HeaderValue::from_static("Bearer realm=\"keygate\"")
    } else {
        HeaderValue::from_static("ApiKey realm=\"keygate\"")
    }
}
