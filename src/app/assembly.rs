//! From the configuration to what can be put in force: everything that it names is loaded and checked.
//!
//! `keygate check` ends here; starting and reloading go on with what this file makes.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use zeroize::Zeroizing;

use super::traces::Reach;
use super::trust::Trust;
use super::upstreams::{Upstreams, problem_with_tls};
use crate::config::{Config, DestinationSettings};
use crate::document::{Problem, Problems};
use crate::gateway::environment::{Environment, Environments};
use crate::gateway::policy::Policy;
use crate::gateway::question::Asking;
use crate::gateway::route::{Counts, Destination, Route, RouteLimit, Routes};
use crate::gateway::upstream::Upstream;
use crate::identity::{FileProblem, Tokens};
use crate::keys::database::Database;
use crate::keys::{Fingerprint, KeySet};
use crate::limits::Limits;
use crate::listener::{Settings, TlsProblem, TlsSettings, TlsStore};
use crate::secret::Digest;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::{self, Secrets};

/// Workers that are made where nobody says how many.
const WORKERS_AUTO_MAX: usize = 4;

/// Everything that a configuration leads to.
pub(super) struct Assembly {
    /// The configuration as it was read.
    pub(super) text: Vec<u8>,
    /// The same, understood.
    pub(super) config: Config,
    /// The listening addresses with their certificates.
    pub(super) doors: Vec<Planned>,
    /// The upstreams, each other settings once.
    pub(super) upstreams: Upstreams,
    /// The one that is asked on behalf of probes, with connections of its own.
    pub(super) probed: Arc<Upstream>,
    /// The keys that are there now.
    pub(super) keys: KeySet,
    /// What tells these from others.
    pub(super) fingerprint: Fingerprint,
    /// The secrets of webhooks that are there now, and what tells them from others.
    pub(super) webhook_secrets: Option<(Secrets, webhooks::Fingerprint)>,
    /// What the token of the management API is known by, if there is to be one.
    pub(super) credential: Option<Digest>,
    /// How the collector of traces is reached, if there is one.
    pub(super) reach: Option<Reach>,
    /// Number of workers.
    pub(super) workers: usize,
}

/// One listening address, before it is opened.
pub(super) struct Planned {
    pub(super) settings: Settings,
    pub(super) tls: Option<Tls>,
    /// Who may ask there and how, if it is for questions.
    pub(super) asking: Option<Asking>,
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
        Self::load_with(path, |_, _| Ok(()))
    }

    /// As [`Assembly::load`], with the keys of the store among the others. The store is read as it is: neither made nor
    /// changed.
    ///
    /// # Errors
    ///
    /// Every problem of every file, the store among them; and every key of the store that would open nothing.
    pub(super) fn check(path: &Path) -> Result<Self, Problems> {
        Self::load_with(path, add_stored_keys)
    }

    fn load_with(
        path: &Path,
        more: impl FnOnce(&Config, &mut KeySet) -> Result<(), Problems>,
    ) -> Result<Self, Problems> {
        // Before it is parsed: a change in between is then seen as one at the next look.
        let text = std::fs::read(path).unwrap_or_default();
        let config = Config::load(path, &|name| std::env::var(name).ok())?;
        let workers = config.workers.map_or_else(|| workers_of(available_parallelism().ok()), NonZeroUsize::get);

        let doors = doors(&config);
        let upstreams = Upstreams::of(&config, path, workers);
        let probed = Upstream::new(config.upstream.clone(), 1);
        let probed = probed.map_err(|error| Problems::from(problem_with_tls(&config, path, &error)));
        let mut keys = keys(&config);
        let mut none = KeySet::new();
        let more = more(&config, keys.as_mut().map_or(&mut none, |(keys, _)| keys));
        let credential = credential(&config);
        let webhook_secrets = webhook_secrets(&config);
        let tokens = check_tokens(&config);
        let reach = Reach::load(&config);
        match (doors, (upstreams, probed), keys, more, credential, webhook_secrets, tokens, reach) {
            (
                Ok(doors),
                (Ok(upstreams), Ok(probed)),
                Ok((keys, fingerprint)),
                Ok(()),
                Ok(credential),
                Ok(webhook_secrets),
                Ok(()),
                Ok(reach),
            ) => Ok(Self {
                text,
                config,
                doors,
                upstreams,
                probed,
                keys,
                fingerprint,
                webhook_secrets,
                credential,
                reach,
                workers,
            }),
            (doors, (upstreams, probed), keys, more, credential, webhook_secrets, tokens, reach) => {
                // The same files as before, and the same problems with them.
                let upstreams = upstreams.err().or(probed.err());
                let found = [
                    doors.err(),
                    upstreams,
                    keys.err(),
                    more.err(),
                    credential.err().map(Problems::from),
                    webhook_secrets.err(),
                    tokens.err(),
                    reach.err(),
                ];
                let mut problems: Problems = found.into_iter().flatten().flatten().collect();
                problems.sort();
                Err(problems)
            }
        }
    }

    /// The policy, with the state that outlives it: buckets, labels, and the upstream's connections.
    pub(super) fn policy(&self, upstreams: &Upstreams, limits: &Limits, metrics: &Metrics, trust: &Trust) -> Policy {
        let config = &self.config;
        let named = config.limits.iter();
        let all = named.map(|named| RouteLimit {
            limit: limits.limit(&named.name, named.allowance.algorithm(), named.buckets_max),
            allowance: named.allowance,
            counts: named.counts,
            cost: 1,
            ipv6_prefix_bits: config.ipv6_prefix_bits(),
        });
        let (guesses, applied): (Vec<RouteLimit>, Vec<RouteLimit>) =
            all.partition(|limit| limit.counts == Counts::FailuresOfAddress);
        Policy {
            head_maxima: config.head_maxima(),
            in_flight_max: config.in_flight_max,
            in_flight_per_address_max: config.in_flight_per_address_max,
            environments: self.environments(upstreams),
            routes: self.routes(upstreams, &applied, metrics),
            roles: config.roles.clone(),
            places: config.places.clone(),
            secret_format: config.secret_format.clone(),
            unauthenticated: applied,
            guesses,
            rate_limit_fields: config.rate_limit_fields,
            forwarding: config.forwarding.clone(),
            cors: config.cors.clone(),
            refusals: config.refusals.clone(),
            tokens: trust.tokens(),
            webhooks: trust.webhooks(),
            signed_bytes_max: config.webhooks.content_bytes_max as u64,
        }
    }

    fn environments(&self, upstreams: &Upstreams) -> Environments {
        let mut environments = Environments::default();
        for settings in &self.config.environments {
            let environment = Environment {
                name: settings.name.as_deref().map(Into::into),
                key_prefix: settings.key_prefix.clone(),
                upstream: upstreams.get(&settings.upstream),
            };
            if let Err(error) = environments.add(environment, &settings.hosts, &settings.listeners) {
                tracing::error!("an environment was left out: {error}");
            }
        }
        environments
    }

    fn routes(&self, upstreams: &Upstreams, limits: &[RouteLimit], metrics: &Metrics) -> Routes {
        let mut routes = Routes::default();
        for settings in &self.config.routes {
            let counts = |limit: &&RouteLimit| {
                settings.limits.as_ref().is_none_or(|names| names.iter().any(|name| name == limit.limit.name()))
            };
            let destination = match &settings.destination {
                DestinationSettings::Upstream(own) => {
                    Destination::Upstream(own.as_ref().map(|settings| upstreams.get(settings)))
                }
                DestinationSettings::Operation(operation) => Destination::Operation(Arc::clone(operation)),
            };
            let route = Route {
                name: settings.name.as_str().into(),
                label: metrics.route(&settings.name),
                access: settings.access.clone(),
                permission: settings.permission.clone(),
                limits: limits
                    .iter()
                    .filter(counts)
                    .map(|limit| RouteLimit { cost: settings.cost, ..limit.clone() })
                    .collect(),
                patterns: settings.patterns.clone(),
                destination,
                websocket: settings.websocket,
            };
            if let Err(error) = routes.add(route, &settings.hosts, &settings.methods) {
                tracing::error!(route = settings.name, "a route was left out: {error}");
            }
        }
        routes
    }

    /// The names of all limits.
    pub(super) fn limit_names(&self) -> Vec<&str> {
        self.config.limits.iter().map(|limit| limit.name.as_str()).collect()
    }
}

/// As many workers as processors, but no more than four: what this process may use of a machine's processors says nothing of
/// what it is meant to use, where a container has no quota.
fn workers_of(processors: Option<NonZeroUsize>) -> usize {
    processors.map_or(1, NonZeroUsize::get).min(WORKERS_AUTO_MAX)
}

/// Loads the certificates of every listening address.
fn doors(config: &Config) -> Result<Vec<Planned>, Problems> {
    let mut problems = Problems::new();
    let listeners = config.listeners.iter().map(|(settings, tls)| (settings, tls, None));
    let checks = config.checks.iter().map(|check| (&check.settings, &check.tls, Some(&check.asking)));
    let mut doors = Vec::with_capacity(config.listeners.len() + config.checks.len());
    for (settings, tls, asking) in listeners.chain(checks) {
        let store = tls.as_ref().map(TlsStore::load).transpose();
        match store {
            Ok(store) => {
                let tls = tls.clone().zip(store).map(|(settings, store)| Tls { settings, store });
                doors.push(Planned { settings: settings.clone(), tls, asking: asking.cloned() });
            }
            Err(found) => {
                let located = |problem: &TlsProblem| {
                    config.problem_with_file(&["listen", "check"], &problem.file, &problem.message)
                };
                problems.extend(found.iter().map(located));
            }
        }
    }
    problems.into_result()?;
    Ok(doors)
}

/// Characters that the admin token has at least: 128 bits in hexadecimal.
const TOKEN_CHARS_MIN: usize = 32;

/// Reads the admin token and keeps what it is known by.
fn credential(config: &Config) -> Result<Option<Digest>, Problem> {
    let Some(file) = config.admin.as_ref().and_then(|admin| admin.token_file.as_deref()) else { return Ok(None) };
    let refuse = |what: &str| config.problem_with_file(&["admin"], file, what);
    let token = Zeroizing::new(
        std::fs::read_to_string(file).map_err(|error| refuse(&format!("cannot be read: {}", error.kind())))?,
    );
    let token = token.trim();
    if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("holds no token of at least 32 characters; make one with `openssl rand -hex 32`"));
    }
    Ok(Some(Digest::of(token.as_bytes())))
}

/// Loads the keys. What is wrong with a file as a whole is a problem of the field that names it, too.
fn keys(config: &Config) -> Result<(KeySet, Fingerprint), Problems> {
    let contents = config.key_sources.load().map_err(|problems| -> Problems {
        let located = problems.into_iter().map(|problem| match problem.line {
            0 => config.problem_with_file(&["keys"], Path::new(&problem.file), &problem.message),
            _ => problem,
        });
        located.collect()
    })?;
    Ok((contents.parse()?, contents.fingerprint()))
}

/// Loads the secrets of webhooks, if there are any. What is wrong with the file as a whole is a problem of the field that
/// names it, too.
fn webhook_secrets(config: &Config) -> Result<Option<(Secrets, webhooks::Fingerprint)>, Problems> {
    let Some(file) = &config.webhooks.secrets else { return Ok(None) };
    let contents = file.load().map_err(|problems| -> Problems {
        let located = problems.into_iter().map(|problem| match problem.line {
            0 => config.problem_with_file(&["webhooks"], Path::new(&problem.file), &problem.message),
            _ => problem,
        });
        located.collect()
    })?;
    Ok(Some((contents.parse(&config.webhooks.schemes)?, contents.fingerprint())))
}

/// Looks whether tokens could be made and verified.
fn check_tokens(config: &Config) -> Result<(), Problems> {
    Tokens::check(config.tokens.as_ref(), &config.issuers).map_err(|problems| {
        let located =
            |problem: &FileProblem| config.problem_with_file(&["tokens", "issuers"], &problem.file, &problem.message);
        problems.iter().map(located).collect()
    })
}

/// Adds the keys of the store, if there is one.
fn add_stored_keys(config: &Config, keys: &mut KeySet) -> Result<(), Problems> {
    let Some(path) = config.database.as_deref() else { return Ok(()) };
    let refuse = |what: &str| config.problem_with_file(&["keys.database"], path, what);
    let snapshot = Database::inspect(path).map_err(|error| {
        let text = error.to_string();
        let after_path = text.strip_prefix(&format!("{}: ", path.display())).or(text.strip_prefix("the store "));
        refuse(after_path.unwrap_or(&format!("cannot be read: {text}")))
    })?;
    let Some(snapshot) = snapshot else { return Ok(()) };
    let mut problems = Problems::new();
    for id in snapshot.unusable {
        problems.push(refuse(&format!("holds a key that cannot be understood and opens nothing: {id}")));
    }
    let mut stored = KeySet::new();
    for key in snapshot.keys {
        // The store itself lets no id and no secret occur twice.
        let _ = stored.insert(key);
    }
    for clash in keys.extend(stored).err().into_iter().flatten() {
        problems.push(refuse(&format!("holds a key that opens nothing: {clash}")));
    }
    problems.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_many_processors_is_not_ours_alone() {
        for (processors, workers) in [(0, 1), (1, 1), (2, 2), (4, 4), (5, 4), (96, 4)] {
            assert_eq!(workers_of(NonZeroUsize::new(processors)), workers, "{processors}");
        }
    }
}
