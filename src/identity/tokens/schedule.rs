//! When which key signs: arithmetic over the ages of keys, the same for every process that sees the same keys.
//!
//! A key signs for one period. Some time before its successor signs, it is published, so that whoever verifies our
//! tokens has heard of it by then. A key whose successor signs verifies until everything that it has signed has expired.
//!
//! ```text
//! first key    made, signs ───────────────┬─ verifies ─────┬ deleted
//! second key           made, published ─── signs ──────────┴───────┬─ verifies ──┬ deleted
//! ```

use std::time::Duration;

use super::settings::TokenSettings;

/// How far the clocks of processes that share a directory may be apart, on top of everything else.
const SLACK_S: u64 = 600;

/// How long a successor is published before it signs, at most.
const LEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// When keys follow one another, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    period_s: u64,
    /// How long a successor is published before it signs: a day, or a tenth of the period if that is shorter.
    lead_s: u64,
    /// How long after its last signature a key may still be needed.
    remains_s: u64,
}

/// What there is to know of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// When it was made, in seconds since the Unix epoch.
    pub(super) made_s: u64,
    /// Whether it is of the algorithm that is wanted. Others verify, and never sign.
    pub(super) wanted: bool,
}

impl Schedule {
    /// The schedule that `settings` ask for.
    pub(super) fn new(settings: &TokenSettings) -> Self {
        let lives = settings.access_lifetime.max(settings.refresh_lifetime) + settings.leeway;
        Self {
            period_s: settings.rotate_every.as_secs(),
            lead_s: LEAD_MAX.min(settings.rotate_every / 10).as_secs(),
            remains_s: lives.as_secs() + SLACK_S,
        }
    }

    /// Which of the keys signs: the youngest that has been published for long enough; if there is none, the oldest, which
    /// has no predecessor that could sign in its place. `ages` from the oldest to the youngest.
    pub(super) fn signs(&self, ages: &[Age], now_s: u64) -> Option<usize> {
        let mut wanted = ages.iter().enumerate().filter(|(_, age)| age.wanted);
        let first = wanted.next()?;
        let ripe = |(_, age): &(usize, &Age)| self.ripe_s(**age) <= now_s;
        Some(wanted.rfind(ripe).unwrap_or(first).0)
    }

    /// Whether it is time to make another key: there is none of the wanted algorithm, or the youngest is a period old. A
    /// key from the future, which a clock that stood wrong has left behind, is not waited for.
    pub(super) fn successor_is_due(&self, ages: &[Age], now_s: u64) -> bool {
        let known = ages.iter().filter(|age| age.wanted && age.made_s <= now_s.saturating_add(self.lead_s));
        known.map(|age| age.made_s).max().is_none_or(|made_s| made_s.saturating_add(self.period_s) <= now_s)
    }

    /// Whether everything that the key at `index` has signed has expired. `ages` from the oldest to the youngest.
    pub(super) fn is_over(&self, ages: &[Age], index: usize, now_s: u64) -> bool {
        let Some(own) = ages.get(index) else { return false };
        let follows = |(other, age): &(usize, &Age)| {
            // Of two of the same second the order decides; but nobody waits for a key that does not sign at all.
            age.wanted && (*other > index || !own.wanted && age.made_s == own.made_s)
        };
        let successor = ages.iter().enumerate().find(follows);
        successor.is_some_and(|(_, age)| self.ripe_s(*age).saturating_add(self.remains_s) <= now_s)
    }

    /// When a key has been published for long enough to sign.
    const fn ripe_s(&self, age: Age) -> u64 {
        age.made_s.saturating_add(self.lead_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn schedule(rotate_every_s: u64) -> Schedule {
        Schedule::new(&TokenSettings {
            issuer: "keygate".to_owned(),
            audience: "keygate".to_owned(),
            algorithm: super::super::Algorithm::EdDsa,
            keys: "keys".into(),
            rotate_every: Duration::from_secs(rotate_every_s),
            access_lifetime: Duration::from_secs(900),
            refresh_lifetime: Duration::from_secs(7 * DAY),
            leeway: Duration::from_secs(5),
        })
    }

    fn ages(made: &[u64]) -> Vec<Age> {
        made.iter().map(|made_s| Age { made_s: *made_s, wanted: true }).collect()
    }

    #[test]
    fn a_successor_is_published_a_day_or_a_tenth_of_the_period_before_it_signs() {
        for (period, lead) in [(90 * DAY, DAY), (10 * DAY, DAY), (DAY, DAY / 10), (3600, 360)] {
            let schedule = schedule(period);
            let keys = ages(&[1000, 1000 + period]);
            assert!(!schedule.successor_is_due(&keys[..1], 999 + period), "{period}");
            assert!(schedule.successor_is_due(&keys[..1], 1000 + period), "{period}");
            assert_eq!(schedule.signs(&keys, 999 + period + lead), Some(0), "{period}");
            assert_eq!(schedule.signs(&keys, 1000 + period + lead), Some(1), "{period}");
        }
    }

    #[test]
    fn a_key_is_needed_until_its_last_token_has_expired() {
        let schedule = schedule(90 * DAY);
        let keys = ages(&[0, 90 * DAY]);
        let over = 91 * DAY + 7 * DAY + 5 + SLACK_S;
        assert!(!schedule.is_over(&keys, 0, over - 1));
        assert!(schedule.is_over(&keys, 0, over));
        assert!(!schedule.is_over(&keys, 1, u64::MAX), "nobody follows the youngest");
    }

    /// A refresh token that lives longer than a period: three keys at once, and the oldest goes when its own successor's
    /// turn is long enough ago, not when the youngest's is.
    #[test]
    fn keys_overlap_as_long_as_their_tokens_do() {
        let schedule = schedule(3 * DAY);
        let keys = ages(&[0, 3 * DAY, 6 * DAY]);
        let first_over = 3 * DAY + 25920 + 7 * DAY + 5 + SLACK_S;
        assert_eq!(schedule.signs(&keys, 6 * DAY + 25919), Some(1));
        assert!(!schedule.is_over(&keys, 0, first_over - 1) && schedule.is_over(&keys, 0, first_over));
        assert!(!schedule.is_over(&keys, 1, first_over));
    }

    #[test]
    fn the_first_key_signs_at_once_and_a_race_for_it_is_decided_alike_by_all() {
        let schedule = schedule(90 * DAY);
        assert_eq!(schedule.signs(&[], 5), None);
        assert!(schedule.successor_is_due(&[], 5));
        assert_eq!(schedule.signs(&ages(&[1000]), 1000), Some(0));
        assert_eq!(schedule.signs(&ages(&[1000, 1000, 1001]), 1001), Some(0));
        assert_eq!(schedule.signs(&ages(&[1000, 1000, 1001]), 1001 + DAY), Some(2));
    }

    #[test]
    fn a_key_of_another_algorithm_never_signs_and_goes_when_a_wanted_one_has_followed() {
        let schedule = schedule(90 * DAY);
        let mut keys = ages(&[0, 1000]);
        keys[0].wanted = false;
        assert_eq!(schedule.signs(&keys, 1000), Some(1));
        assert_eq!(schedule.signs(&keys[..1], 1000), None);
        assert!(schedule.successor_is_due(&keys[..1], 1000));
        assert!(schedule.is_over(&keys, 0, 9 * DAY) && !schedule.is_over(&keys[..1], 0, u64::MAX));
        keys[0].made_s = 1000;
        keys.swap(0, 1);
        assert!(schedule.is_over(&keys, 1, 9 * DAY), "of the same second, in whatever order");
        keys[1].made_s = 1001;
        assert_eq!(schedule.signs(&keys, 50 * DAY), Some(0));
        assert!(!schedule.is_over(&keys, 0, 500 * DAY), "what never signs replaces nobody");
    }

    #[test]
    fn a_key_from_the_future_neither_signs_nor_stops_the_rotation() {
        let schedule = schedule(90 * DAY);
        let keys = ages(&[0, 9_000 * DAY]);
        assert_eq!(schedule.signs(&keys, 89 * DAY), Some(0));
        assert!(!schedule.successor_is_due(&keys, 89 * DAY));
        assert!(schedule.successor_is_due(&keys, 90 * DAY));
        assert!(!schedule.is_over(&keys, 0, 500 * DAY));
    }
}
