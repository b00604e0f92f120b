//! How reloads went, part by part: what the metrics show, and what is said once in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::moment::Moment;

/// How the reloads of each part went.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// The configuration.
    pub(super) configuration: Outcomes,
    /// The key files.
    pub(super) keys: Outcomes,
    /// The certificates.
    pub(super) certificates: Outcomes,
    /// The secrets of webhooks.
    pub(super) webhooks: Outcomes,
    /// The keys that tokens are signed with.
    pub(super) signing_keys: Outcomes,
}

/// How one kind of reload went.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// How often something new was put in force.
    pub(super) succeeded: AtomicU64,
    /// How often it was not good.
    pub(super) failed: AtomicU64,
    /// When something was last put in force, or first loaded: seconds since the Unix epoch.
    pub(super) last_success_s: AtomicU64,
    /// What is wrong now, so that it is said once and not every time it is looked at.
    problem: Mutex<Option<String>>,
}

impl Reloads {
    /// All parts were just loaded.
    pub(super) fn begin() -> Self {
        let reloads = Self::default();
        for (_, outcomes) in reloads.named() {
            outcomes.last_success_s.store(Moment::now().unix_seconds(), Ordering::Relaxed);
        }
        reloads
    }

    /// All parts with their names in the metrics.
    pub(super) const fn named(&self) -> [(&'static str, &Outcomes); 5] {
        [
            ("configuration", &self.configuration),
            ("keys", &self.keys),
            ("certificates", &self.certificates),
            ("webhooks", &self.webhooks),
            ("signing_keys", &self.signing_keys),
        ]
    }
}

impl Outcomes {
    /// Whether the files are in a state that cannot be loaded.
    pub(super) fn is_failing(&self) -> bool {
        self.problem().is_some()
    }

    /// Something new is in force.
    pub(super) fn succeeded(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        self.last_success_s.store(Moment::now().unix_seconds(), Ordering::Relaxed);
        *self.problem() = None;
    }

    /// The files hold what is in force: a problem that was there is mended.
    pub(super) fn nothing_new(&self) {
        *self.problem() = None;
    }

    /// It is not good. The log says so once, and not each time it is looked at.
    pub(super) fn failed(&self, what: &'static str, problems: &dyn std::fmt::Display) {
        let text = problems.to_string();
        let mut problem = self.problem();
        if problem.as_ref() == Some(&text) {
            return;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::error!(what, "a reload failed; what was good stays in force: {}", text.trim_end().replace('\n', "; "));
        *problem = Some(text);
    }

    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
