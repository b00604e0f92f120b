//! What lives as long as the process, and how it takes on what was loaded anew.
//!
//! A reload has three independent parts: the configuration, the key files, the certificates. Each is loaded aside and
//! checked whole before anything of it is put in force; if that fails, what was good stays.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::assembly::{Assembly, Tls, Upstreams};
use super::outcomes::Reloads;
use super::vault::Vault;
use super::workers::Door;
use crate::config::{AdminDoor, Shutdown};
use crate::document::Problem;
use crate::gateway::policy::Policy;
use crate::gateway::rejection::Reason;
use crate::keys::{Clash, Fingerprint, KeyStore, Origin, SecretFormat, Sources};
use crate::limits::Limits;
use crate::listener::{HandshakeFailure, Refusal, Settings, TlsStore};
use crate::moment::Moment;
use crate::secret::Digest;
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::log::{self, LogControl};
use crate::telemetry::metrics::{Metrics, Words};
use crate::telemetry::readiness::{Condition, Readiness};

/// Everything that outlives a reload.
pub(super) struct State {
    path: PathBuf,
    log: LogControl,
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
    /// Whether requests should be sent here.
    pub(super) readiness: Readiness,
    /// Met when the sockets are open.
    pub(super) listening: Condition,
    /// Set when the process is about to end.
    pub(super) draining: Arc<AtomicBool>,
    /// How reloads went.
    pub(super) reloads: Reloads,
    current: Mutex<Current>,
}

/// What the present state was loaded from.
struct Current {
    text: Vec<u8>,
    upstreams: Upstreams,
    sources: Sources,
    keys: Fingerprint,
    shutdown: Shutdown,
    /// The last text that could not be put in force.
    faulty: Option<Vec<u8>>,
    access_log: Option<access_log::Options>,
    log_format: log::Format,
}

/// Whether a reload has changed anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    /// Something new is in force.
    pub(super) changed: bool,
}

impl State {
    /// Takes over what was loaded at the start.
    pub(super) fn new(path: &Path, assembly: Assembly, log: LogControl) -> anyhow::Result<Arc<Self>> {
        warn_of(&assembly.config.warnings);
        let workers = assembly.workers;
        let metrics = Metrics::new(
            workers,
            Words {
                rejections: Reason::WORDS,
                refusals: &Refusal::WORDS,
                handshake_failures: &HandshakeFailure::WORDS,
            },
        );
        let limits = Arc::new(Limits::new());
        let readiness = Readiness::new();
        let listening = readiness.condition("listening");
        let loaded = readiness.condition("keys");
        let access_log = assembly
            .config
            .access_log
            .clone()
            .map(|options| AccessLog::open(options, workers))
            .transpose()
            .context("cannot open the access log; see `log.access` in the configuration")?;
        if let Some(access_log) = &access_log {
            access_log.export(&metrics);
        }
        let policy = Arc::new(ArcSwap::from_pointee(assembly.policy(&assembly.upstreams, &limits, &metrics)));
        let keys = Arc::new(KeyStore::new());
        let doors = assembly.doors.into_iter().map(open).collect();
        let environments = assembly.config.environment_names();
        let current = Current {
            text: assembly.text,
            upstreams: assembly.upstreams,
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
        let reloads = Reloads::default();
        for outcomes in reloads.all() {
            outcomes.last_success_s.store(Moment::now().unix_seconds(), Ordering::Relaxed);
        }
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
            readiness,
            listening,
            draining: Arc::default(),
            reloads,
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
        files.extend(self.doors.iter().filter_map(|door| door.tls.as_ref()).flat_map(|tls| tls.files()));
        files
    }

    /// Reads everything that may have changed; `forced` reads the configuration even if its text is the same.
    pub(super) fn reload(&self, forced: bool) -> Applied {
        let configuration = self.reload_configuration(forced);
        let keys = self.reload_keys();
        let certificates = self.doors.iter().filter_map(|door| door.tls.as_deref()).map(|tls| self.reload_tls(tls));
        // Every store is asked, whatever the first says.
        let certificates = certificates.filter(|changed| *changed).count() > 0;
        if forced && let Some(access_log) = &self.access_log {
            access_log.reopen();
        }
        Applied { changed: configuration || keys || certificates }
    }

    fn reload_configuration(&self, forced: bool) -> bool {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let outdated = self.upstreams().iter().any(|upstream| upstream.is_outdated());
        if !forced && !outdated && text == self.current().text {
            // The good text is there again; what else it names may still be faulty.
            if self.current().faulty.as_ref().is_some_and(|faulty| *faulty != text) {
                self.reloads.configuration.nothing_new();
            }
            return false;
        }
        match Assembly::load(&self.path) {
            Ok(assembly) => {
                self.put_in_force(assembly);
                self.reloads.configuration.succeeded();
                tracing::info!(file = %self.path.display(), "the configuration was reloaded");
                true
            }
            Err(problems) => {
                self.reloads.configuration.failed("configuration", &problems);
                self.current().faulty = Some(text);
                false
            }
        }
    }

    /// Puts a configuration in force that was loaded and checked whole.
    fn put_in_force(&self, mut assembly: Assembly) {
        let mut current = self.current();
        assembly.upstreams.succeed(&current.upstreams);
        self.policy.store(Arc::new(assembly.policy(&assembly.upstreams, &self.limits, &self.metrics)));
        self.limits.retain(&assembly.limit_names());
        self.log.set_level(assembly.config.log_level);
        if let Err(clashes) = self.keys.apply_from(Origin::File, assembly.keys) {
            tracing::error!("the key files stay as they were: {}", clashing(&clashes));
        }
        warn_of(&assembly.config.warnings);
        for problem in self.replace_doors(&assembly.doors) {
            tracing::warn!("{problem}");
        }
        self.format.store(Arc::new(assembly.config.secret_format.clone()));
        self.environments.store(Arc::new(assembly.config.environment_names()));
        if assembly.workers != self.workers
            || assembly.config.admin != self.admin
            || assembly.credential != self.credential
        {
            tracing::warn!("`workers` and `admin` take effect at the next start");
        }
        if assembly.config.database.as_deref() != self.vault.as_ref().map(|vault| vault.path()) {
            tracing::warn!("`keys.database` takes effect at the next start; commands already work on the new one");
        }
        if assembly.config.access_log != current.access_log || assembly.config.log_format != current.log_format {
            tracing::warn!("`log.access` and `log.format` take effect at the next start");
        }
        *current = Current {
            text: assembly.text,
            faulty: None,
            upstreams: assembly.upstreams,
            sources: assembly.config.key_sources,
            keys: assembly.fingerprint,
            shutdown: assembly.config.shutdown,
            access_log: current.access_log.clone(),
            log_format: current.log_format,
        };
    }

    /// Gives the open doors their new settings; says what has to wait for the next start.
    fn replace_doors(&self, planned: &[(Settings, Option<Tls>)]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unopened = planned.len();
        for door in &self.doors {
            let address = door.settings.load().address;
            let Some((settings, tls)) = planned.iter().find(|(settings, _)| settings.address == address) else {
                problems.push(format!("{address} stays open until the next start"));
                continue;
            };
            unopened -= 1;
            door.settings.store(Arc::new(settings.clone()));
            match (&door.tls, tls) {
                (Some(store), Some(tls)) => {
                    if let Err(failed) = store.apply(&tls.settings) {
                        problems.extend(failed.iter().map(ToString::to_string));
                    }
                }
                (None, None) => {}
                _ => problems.push(format!("{address}: TLS is switched at the next start")),
            }
        }
        if unopened > 0 {
            problems.push(format!("{unopened} new listening addresses are opened at the next start"));
        }
        problems
    }

    fn reload_keys(&self) -> bool {
        // Not held while files are read and parsed: the metrics ask for it too.
        let (sources, in_force) = {
            let current = self.current();
            (current.sources.clone(), current.keys)
        };
        let contents = match sources.load() {
            Ok(contents) if contents.fingerprint() == in_force => {
                self.reloads.keys.nothing_new();
                return false;
            }
            Ok(contents) => contents,
            Err(problems) => {
                self.reloads.keys.failed("keys", &problems);
                return false;
            }
        };
        match contents.parse() {
            Ok(keys) => {
                let difference = match self.keys.apply_from(Origin::File, keys) {
                    Ok(difference) => difference,
                    Err(clashes) => {
                        self.reloads.keys.failed("keys", &clashing(&clashes));
                        return false;
                    }
                };
                self.current().keys = contents.fingerprint();
                self.reloads.keys.succeeded();
                tracing::info!(
                    added = difference.added,
                    changed = difference.changed,
                    removed = difference.removed,
                    "the keys were reloaded"
                );
                true
            }
            Err(problems) => {
                self.reloads.keys.failed("keys", &problems);
                false
            }
        }
    }

    fn reload_tls(&self, tls: &TlsStore) -> bool {
        match tls.reload() {
            Ok(false) => {
                self.reloads.certificates.nothing_new();
                false
            }
            Ok(true) => {
                self.reloads.certificates.succeeded();
                tracing::info!("the certificates were reloaded");
                true
            }
            Err(problems) => {
                let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
                self.reloads.certificates.failed("certificates", &text.join("; "));
                false
            }
        }
    }

    /// A panic while it was changed leaves either the old or the new value whole.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A door as the workers serve it.
fn open((settings, tls): (Settings, Option<Tls>)) -> Door {
    Door { settings: Arc::new(ArcSwap::from_pointee(settings)), tls: tls.map(|tls| Arc::new(tls.store)) }
}

/// Keys of files and of the store that are not to be told apart.
fn clashing(clashes: &[Clash]) -> anyhow::Error {
    let each: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", each.join("; "))
}

/// Says what is allowed but worth a thought.
fn warn_of(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
