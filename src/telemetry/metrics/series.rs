//! The cap on the series of `keygate_requests_total`, which has four labels and could otherwise have millions.
//!
//! The upstream chooses the status and the client the method, so the combinations are not ours. A worker asks here when
//! it meets a combination for the first time; from then on it counts without asking.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::labels::{MethodLabel, RouteLabel, Source};

/// Combinations of route, method, status and source that are told apart while the process lives.
pub(super) const SERIES_MAX: usize = 8192;

/// Method, status and source in one number, so that finding a counter compares numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Combination(u32);

impl Combination {
    /// Packs the three.
    pub(super) fn new(method: MethodLabel, status: u16, source: Source) -> Self {
        Self(u32::from(status) << 16 | (method.index() as u32) << 8 | source.index() as u32)
    }

    /// The status, as sent.
    pub(super) const fn status(self) -> u32 {
        self.0 >> 16
    }

    /// The value of the label `method`.
    pub(super) fn method(self) -> &'static str {
        MethodLabel::ALL.get((self.0 >> 8 & 0xff) as usize).map_or("OTHER", |method| method.as_str())
    }

    /// The value of the label `source`.
    pub(super) fn source(self) -> &'static str {
        Source::ALL.get((self.0 & 0xff) as usize).map_or("keygate", |source| source.as_str())
    }
}

/// The combinations that have a series of their own, whichever worker met them first.
#[derive(Default)]
pub(super) struct Admitted(RwLock<HashSet<(RouteLabel, Combination)>>);

impl Admitted {
    /// Whether this combination has a series of its own: gives it one if there is room. The answer never changes while
    /// the process lives.
    pub(super) fn admit(&self, route: RouteLabel, combination: Combination) -> bool {
        let seen = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&(route, combination)) {
            return true;
        }
        if seen.len() >= SERIES_MAX {
            return false;
        }
        drop(seen);

        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have taken the last place between the two locks.
        seen.contains(&(route, combination)) || (seen.len() < SERIES_MAX && seen.insert((route, combination)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combination_is_unpacked_as_it_was_packed() {
        for method in MethodLabel::ALL {
            for source in Source::ALL {
                for status in [100, 200, 599, 999] {
                    let packed = Combination::new(*method, status, *source);
                    assert_eq!(
                        (packed.method(), packed.status(), packed.source()),
                        (method.as_str(), u32::from(status), source.as_str())
                    );
                }
            }
        }
    }

    #[test]
    fn an_admitted_combination_stays_admitted_when_the_table_is_full() {
        let admitted = Admitted::default();
        let combination = |n: usize| (RouteLabel(n as u32), Combination::new(MethodLabel::Get, 200, Source::Upstream));
        for n in 0..SERIES_MAX {
            let (route, combination) = combination(n);
            assert!(admitted.admit(route, combination));
        }
        let (route, one) = combination(SERIES_MAX);
        assert!(!admitted.admit(route, one));
        let (route, one) = combination(7);
        assert!(admitted.admit(route, one));
    }
}
