//! Whether requests should be sent here: named conditions, each kept by the part that knows.
//!
//! A part asks for its [`Condition`] once and says `met` or `unmet` as things change. The process is ready when every
//! condition is met and it is not draining. All conditions should be asked for before the first is met, or the process is
//! ready for a moment too early.
//!
//! Never in this file: liveness. A process that is not ready is not to be restarted for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The readiness of this process. Clones are the same.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

/// What is known.
#[derive(Default)]
struct State {
    conditions: Vec<Report>,
    draining: bool,
}

/// What the process says about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the condition, for example `keys`.
    pub name: &'static str,
    /// Why it is not met; `None` if it is.
    pub unmet: Option<String>,
}

/// One condition, in the hands of the part that keeps it. Clones are the same.
///
/// Dropping it changes nothing: what was said last stays true.
#[derive(Clone)]
pub struct Condition {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Not ready: nobody has said anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The condition called `name`. It is unmet until somebody says otherwise; asked for a second time it is the same
    /// condition, as it stands.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut state = self.state();
        if !state.conditions.iter().any(|condition| condition.name == name) {
            state.conditions.push(Report { name, unmet: Some("not yet".to_owned()) });
        }
        drop(state);
        Condition { readiness: self.clone(), name }
    }

    /// Says that the process is stopping: from now on it is never ready again, whatever the conditions say.
    pub fn draining(&self) {
        self.state().draining = true;
    }

    /// Whether requests should be sent here: there are conditions, all are met, and the process is not draining.
    #[must_use]
    pub fn ready(&self) -> bool {
        let state = self.state();
        !state.draining
            && !state.conditions.is_empty()
            && state.conditions.iter().all(|condition| condition.unmet.is_none())
    }

    /// Every condition in the order in which they were asked for, whether or not the process is draining.
    #[must_use]
    pub fn conditions(&self) -> Vec<Report> {
        self.state().conditions.clone()
    }

    /// Every condition in the order in which they were asked for, and `draining` when the process is.
    #[must_use]
    pub fn report(&self) -> Vec<Report> {
        let state = self.state();
        let mut report = state.conditions.clone();
        if state.draining {
            report.push(Report { name: "draining", unmet: Some("the process is stopping".to_owned()) });
        }
        report
    }

    /// The state; no panic can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// Says that the condition is met.
    pub fn met(&self) {
        self.set(None);
    }

    /// Says why the condition is not met, in a few words for the operator: no secret, no line break.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Writes down what was said.
    fn set(&self, unmet: Option<String>) {
        let mut state = self.readiness.state();
        if let Some(condition) = state.conditions.iter_mut().find(|condition| condition.name == self.name) {
            condition.unmet = unmet;
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.report()).finish()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_every_condition_is_met() {
        let readiness = Readiness::new();
        assert!(!readiness.ready(), "nobody has said anything");
        let (keys, listening) = (readiness.condition("keys"), readiness.condition("listening"));
        keys.met();
        assert!(!readiness.ready());
        listening.met();
        assert!(readiness.ready());
        keys.unmet("the key file is gone");
        assert!(!readiness.ready());
        assert_eq!(
            readiness.report(),
            [
                Report { name: "keys", unmet: Some("the key file is gone".into()) },
                Report { name: "listening", unmet: None }
            ]
        );
    }

    #[test]
    fn a_draining_process_is_never_ready_again() {
        let readiness = Readiness::new();
        let keys = readiness.condition("keys");
        keys.met();
        readiness.draining();
        keys.met();
        assert!(!readiness.ready());
        assert_eq!(readiness.report().last().map(|report| report.name), Some("draining"));
    }

    #[test]
    fn a_condition_asked_for_twice_is_one_condition() {
        let readiness = Readiness::new();
        readiness.condition("keys").met();
        let again = readiness.condition("keys");
        assert!(readiness.ready(), "asking does not take back what was said");
        again.unmet("gone");
        assert_eq!(readiness.report().len(), 1);
        assert!(!readiness.ready());
    }
}
