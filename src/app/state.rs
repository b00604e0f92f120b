//! What lives as long as the process, and how it takes on what was loaded anew.
//!
//! A reload has three independent parts: the configuration, the key files, the certificates. Each is loaded aside and
//! checked whole before anything of it is put in force; if that fails, what was good stays.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::assembly::{Assembly, Planned};
use super::exposure::Exposure;
use super::outcomes::Reloads;
use super::traces::Traces;
use super::trust::Trust;
use super::upstreams::Upstreams;
use super::vault::Vault;
use super::workers::Door;
use crate::config::{AdminDoor, Probe, Shutdown};
use crate::document::Problem;
use crate::gateway::policy::Policy;
use crate::gateway::rejection::Reason;
use crate::gateway::upstream::Upstream;
use crate::identity::FileProblem;
use crate::keys::{Clash, Fingerprint, KeyStore, Origin, SecretFormat, Sources};
use crate::limits::Limits;
use crate::listener::{HandshakeFailure, Refusal, ResetReason};
use crate::moment::Moment;
use crate::secret::Digest;
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::log::{self, LogControl};
use crate::telemetry::metrics::{Metrics, Words};
use crate::telemetry::readiness::{Condition, Readiness};
use crate::webhooks::SecretsFile;

/// Everything that outlives a reload.
pub(super) struct State {
    pub(super) path: PathBuf,
    pub(super) log: LogControl,
    /// Number of workers.
    pub(super) workers: usize,
    /// The listening addresses.
    pub(super) doors: Vec<Door>,
    /// Address of the admin door, if it is open.
    pub(super) admin: Option<AdminDoor>,
    /// What the token of the management API is known by, if there is one.
    pub(super) credential: Option<Digest>,
    /// How new secrets look.
    pub(super) format: Arc<ArcSwap<SecretFormat>>,
    /// The names of the environments; none if the configuration names none.
    pub(super) environments: Arc<ArcSwap<Vec<String>>>,
    /// The policy in force.
    pub(super) policy: Arc<ArcSwap<Policy>>,
    /// The keys in force.
    pub(super) keys: Arc<KeyStore>,
    /// The store, if there is one.
    pub(super) vault: Option<Arc<Vault>>,
    /// The limits with their buckets.
    pub(super) limits: Arc<Limits>,
    /// All numbers.
    pub(super) metrics: Arc<Metrics>,
    /// The access log, if there is one.
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// Who makes spans, and who will send them, if there are traces.
    pub(super) traces: Option<Traces>,
    /// Whether requests should be sent here.
    pub(super) readiness: Readiness,
    /// Met when the sockets are open.
    pub(super) listening: Condition,
    /// Set when the process is about to end.
    pub(super) draining: Arc<AtomicBool>,
    /// Whether upstreams can be reached around us.
    pub(super) exposure: Exposure,
    /// How reloads went.
    pub(super) reloads: Reloads,
    trust: Mutex<Trust>,
    current: Mutex<Current>,
}

/// What the present state was loaded from.
pub(super) struct Current {
    pub(super) text: Vec<u8>,
    pub(super) upstreams: Upstreams,
    /// What the upstream can be asked at the admin door, and the upstream that is asked.
    pub(super) probes: Vec<Probe>,
    pub(super) probed: Arc<Upstream>,
    pub(super) sources: Sources,
    pub(super) keys: Fingerprint,
    pub(super) shutdown: Shutdown,
    /// The last text that could not be put in force.
    pub(super) faulty: Option<Vec<u8>>,
    pub(super) access_log: Option<access_log::Options>,
    pub(super) log_format: log::Format,
}

/// Whether a reload has changed anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    /// Something new is in force.
    pub(super) changed: bool,
}

impl State {
    /// Takes over what was loaded at the start.
    pub(super) fn new(path: &Path, mut assembly: Assembly, log: LogControl) -> anyhow::Result<Arc<Self>> {
        warn_of(&assembly.config.warnings);
        let workers = assembly.workers;
        let metrics = Metrics::new(
            workers,
            Words {
                rejections: Reason::WORDS,
                refusals: &Refusal::WORDS,
                resets: &ResetReason::WORDS,
                handshake_failures: &HandshakeFailure::WORDS,
            },
        );
        let limits = Arc::new(Limits::new());
        let readiness = Readiness::new();
        let listening = readiness.condition("listening");
        let loaded = readiness.condition("keys");
        let access_log = open_access_log(&assembly, &metrics)?;
        let traces = Traces::open(&assembly.config, assembly.reach.take(), &metrics);
        let mut trust = Trust::none();
        trust.take_on(&mut assembly).map_err(|problems| unusable(&problems))?;
        let policy = assembly.policy(&assembly.upstreams, &limits, &metrics, &trust);
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let keys = Arc::new(KeyStore::new());
        let doors = assembly.doors.into_iter().map(open).collect();
        let environments = assembly.config.environment_names();
        let current = Current {
            text: assembly.text,
            upstreams: assembly.upstreams,
            probes: assembly.config.probes,
            probed: assembly.probed,
            sources: assembly.config.key_sources,
            keys: assembly.fingerprint,
            shutdown: assembly.config.shutdown,
            faulty: None,
            access_log: assembly.config.access_log,
            log_format: assembly.config.log_format,
        };
        keys.apply_from(Origin::File, assembly.keys).map_err(|clashes| clashing(&clashes))?;
        let vault = assembly.config.database.as_deref().map(|path| Vault::open(path, &keys)).transpose()?;
        loaded.met();
        Ok(Arc::new(Self {
            path: path.to_owned(),
            log,
            workers,
            doors,
            admin: assembly.config.admin,
            credential: assembly.credential,
            format: Arc::new(ArcSwap::from_pointee(assembly.config.secret_format)),
            environments: Arc::new(ArcSwap::from_pointee(environments)),
            policy,
            keys,
            vault,
            limits,
            metrics,
            access_log,
            traces,
            readiness,
            listening,
            draining: Arc::default(),
            exposure: Exposure::of(&|name| std::env::var(name).ok()),
            reloads: Reloads::begin(),
            trust: Mutex::new(trust),
            current: Mutex::new(current),
        }))
    }

    /// How the process ends.
    pub(super) fn shutdown(&self) -> Shutdown {
        self.current().shutdown
    }

    /// The upstreams in force.
    pub(super) fn upstreams(&self) -> Upstreams {
        self.current().upstreams.clone()
    }

    /// Every file and directory that decides about the state.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        files.extend(self.current().sources.watched_directories());
        files.extend(self.upstreams().iter().flat_map(|upstream| upstream.files()).map(Path::to_owned));
        files.extend(self.trust().secrets_file().map(SecretsFile::watched_directory));
        files.extend(self.doors.iter().filter_map(|door| door.tls.as_ref()).flat_map(|tls| tls.files()));
        files
    }

    /// Makes and deletes signing keys as time goes by, and forgets what is over. Blocks.
    pub(super) fn keep_house(&self) {
        let now = Moment::now();
        let buckets = self.limits.sweep(now);
        let tokens = self.policy.load().tokens.clone();
        let verified = tokens.as_ref().map_or(0, |tokens| tokens.sweep(now));
        match tokens.map(|tokens| tokens.tend(now)) {
            Some(Err(problem)) => self.reloads.signing_keys.failed("signing keys", &problem),
            Some(Ok(())) | None => self.reloads.signing_keys.nothing_new(),
        }
        let deliveries = self.trust().sweep(now);
        let logins = self.vault.as_ref().map_or(0, |vault| vault.directory.sweep(now));
        tracing::debug!(buckets, verified, deliveries, logins, "kept house");
    }

    /// As [`State::current`].
    pub(super) fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic while it was changed leaves either the old or the new value whole.
    pub(super) fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the access log, if one is to be written.
fn open_access_log(assembly: &Assembly, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<AccessLog>>> {
    let Some(options) = assembly.config.access_log.clone() else { return Ok(None) };
    let access_log = AccessLog::open(options, assembly.workers)
        .context("cannot open the access log; see `log.access` in the configuration")?;
    access_log.export(metrics);
    Ok(Some(access_log))
}

/// A door as the workers serve it.
pub(super) fn open(planned: Planned) -> Door {
    let Planned { settings, tls, asking } = planned;
    Door {
        settings: Arc::new(ArcSwap::from_pointee(settings)),
        tls: tls.map(|tls| Arc::new(tls.store)),
        asking: asking.map(|asking| Arc::new(ArcSwap::from_pointee(asking))),
    }
}

/// Files that tokens cannot do without.
pub(super) fn unusable(problems: &[FileProblem]) -> anyhow::Error {
    let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", each.join("; "))
}

/// Keys of files and of the store that are not to be told apart.
pub(super) fn clashing(clashes: &[Clash]) -> anyhow::Error {
    let each: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", each.join("; "))
}

/// Says what is allowed but worth a thought.
pub(super) fn warn_of(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
