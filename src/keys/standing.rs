//! Whether a key is good, by what was decided about it and by its dates.

use jiff::Timestamp;

use super::entry::State;
use crate::moment::Moment;

/// Whether a key is good at a moment, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// Active, and within its dates.
    Good,
    /// Switched off by the operator.
    Inactive,
    /// Dead for good.
    Revoked,
    /// `expires` is now or in the past.
    Expired,
    /// `not_before` is in the future.
    NotYetValid,
}

impl Standing {
    /// What comes of the operator's decision and the dates at `now`, by the wall clock.
    ///
    /// The decision goes first: a key that is revoked and expired is revoked. A key is good at its `not_before` and no
    /// longer good at its `expires`.
    #[must_use]
    pub fn of(state: State, not_before: Option<Timestamp>, expires: Option<Timestamp>, now: Moment) -> Self {
        match state {
            State::Revoked => return Self::Revoked,
            State::Inactive => return Self::Inactive,
            State::Active => {}
        }
        let now_ns = i128::from(now.unix_ns);
        if expires.is_some_and(|expires| expires.as_nanosecond() <= now_ns) {
            return Self::Expired;
        }
        if not_before.is_some_and(|not_before| not_before.as_nanosecond() > now_ns) {
            return Self::NotYetValid;
        }
        Self::Good
    }

    /// Every standing, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Good, Self::Inactive, Self::Revoked, Self::Expired, Self::NotYetValid];

    /// The word that stands for it in tables and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "active",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}
