//! Taking on what was loaded anew, while requests are served: configuration, key files, certificates, secrets of webhooks.
//!
//! Each part is independent of the others, is loaded aside and checked whole before anything of it is put in force, and
//! stays as it was if that fails.

use std::sync::Arc;

use super::assembly::{Assembly, Planned};
use super::state::{Applied, Current, State, clashing, unusable, warn_of};
use crate::keys::Origin;
use crate::listener::TlsStore;

impl State {
    /// Reads everything that may have changed; `forced` reads the configuration even if its text is the same.
    pub(super) fn reload(&self, forced: bool) -> Applied {
        let configuration = self.reload_configuration(forced);
        let keys = self.reload_keys();
        let certificates = self.doors.iter().filter_map(|door| door.tls.as_deref()).map(|tls| self.reload_tls(tls));
        // Every store is asked, whatever the first says.
        let certificates = certificates.filter(|changed| *changed).count() > 0;
        let webhooks = self.trust().reload(&self.reloads.webhooks);
        if forced && let Some(access_log) = &self.access_log {
            access_log.reopen();
        }
        Applied { changed: configuration || keys || certificates || webhooks }
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
        let mut trust = self.trust();
        if let Err(problems) = trust.take_on(&mut assembly) {
            tracing::error!("tokens and webhooks stay as they were: {}", unusable(&problems));
        }
        let policy = assembly.policy(&assembly.upstreams, &self.limits, &self.metrics, &trust);
        self.policy.store(Arc::new(policy));
        drop(trust);
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
        if assembly.config.traces.as_ref() != self.traces.as_ref().map(|traces| &traces.settings) {
            tracing::warn!("`traces` takes effect at the next start");
        }
        *current = Current {
            text: assembly.text,
            faulty: None,
            upstreams: assembly.upstreams,
            probes: assembly.config.probes,
            probed: assembly.probed,
            sources: assembly.config.key_sources,
            keys: assembly.fingerprint,
            shutdown: assembly.config.shutdown,
            access_log: current.access_log.clone(),
            log_format: current.log_format,
        };
    }

    /// Gives the open doors their new settings; says what has to wait for the next start.
    fn replace_doors(&self, planned: &[Planned]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unopened = planned.len();
        for door in &self.doors {
            let address = door.settings.load().address;
            let same = |planned: &&Planned| {
                planned.settings.address == address && planned.asking.is_some() == door.asking.is_some()
            };
            let Some(planned) = planned.iter().find(same) else {
                problems.push(format!("{address} stays open until the next start"));
                continue;
            };
            unopened -= 1;
            door.settings.store(Arc::new(planned.settings.clone()));
            if let (Some(asking), Some(planned)) = (&door.asking, &planned.asking) {
                asking.store(Arc::new(planned.clone()));
            }
            match (&door.tls, &planned.tls) {
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
}
