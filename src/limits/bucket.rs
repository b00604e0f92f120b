//! The state of one subject, whatever the algorithm.

use super::rolling_window::RollingWindow;
use super::token_bucket::TokenBucket;
use super::{Algorithm, Allowance, Exceeded, Quota};

/// The state of one subject of a limit. The algorithm is the limit's, and never changes.
#[derive(Clone)]
pub(super) enum Bucket {
    /// See [`Algorithm::TokenBucket`].
    Tokens(TokenBucket),
    /// See [`Algorithm::RollingWindow`].
    Window(RollingWindow),
}

impl Bucket {
    /// The state of a subject that nothing was taken from before `now_ns`.
    pub(super) fn new(algorithm: Algorithm, allowance: &Allowance, now_ns: u64) -> Self {
        match algorithm {
            Algorithm::TokenBucket => Self::Tokens(TokenBucket::new(allowance, now_ns)),
            Algorithm::RollingWindow => Self::Window(RollingWindow::new(allowance, now_ns)),
        }
    }

    /// Takes `cost`, which is not 0, or nothing.
    pub(super) fn take(&mut self, allowance: &Allowance, cost: u32, now_ns: u64) -> Result<Quota, Exceeded> {
        match self {
            Self::Tokens(bucket) => bucket.take(allowance, cost, now_ns),
            Self::Window(window) => window.take(allowance, cost, now_ns),
        }
    }

    /// Says whether anything is left, and takes nothing.
    pub(super) fn check(&mut self, allowance: &Allowance, now_ns: u64) -> Result<(), Exceeded> {
        if self.peek(allowance, now_ns).remaining > 0 {
            return Ok(());
        }
        // Nothing is left to be taken, so this says no more than how long to wait.
        self.take(allowance, 1, now_ns).map(drop)
    }

    /// Undoes the taking of `cost` at `taken_ns`.
    pub(super) fn give_back(&mut self, allowance: &Allowance, cost: u32, taken_ns: u64) {
        match self {
            Self::Tokens(bucket) => bucket.give_back(allowance, cost, taken_ns),
            Self::Window(window) => window.give_back(cost, taken_ns),
        }
    }

    /// Says what is left, and changes nothing.
    pub(super) fn peek(&self, allowance: &Allowance, now_ns: u64) -> Quota {
        match self {
            Self::Tokens(bucket) => bucket.peek(allowance, now_ns),
            Self::Window(window) => window.peek(allowance, now_ns),
        }
    }

    /// Whether it is whole at `now_ns` and was not used later: then it says nothing that a new one would not say.
    pub(super) fn is_whole(&self, now_ns: u64) -> bool {
        match self {
            Self::Tokens(bucket) => bucket.is_whole(now_ns),
            Self::Window(window) => window.is_whole(now_ns),
        }
    }

    /// The state, at `now_ns`, of a subject that may have taken all that was taken from this one.
    pub(super) fn heir(&self, now_ns: u64) -> Self {
        match self {
            Self::Tokens(bucket) => Self::Tokens(bucket.heir(now_ns)),
            Self::Window(window) => Self::Window(window.heir(now_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::allowance::tests::any_allowance;
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// What can happen to a bucket: so long after the last time (or before it, by a clock that steps back), this cost.
    type Step = (i64, u32);

    /// The token bucket as an inequality over its whole history, after which no bucket is needed at all: since any
    /// admission, no more than the burst and what was refilled since was admitted. All in units of 1 / window.
    #[derive(Default)]
    struct TokenModel {
        history: Vec<(u64, u32)>,
    }

    impl TokenModel {
        /// Units that are left at `now_ns`.
        fn left(&self, allowance: &Allowance, now_ns: u64) -> i128 {
            let window = i128::from(allowance.window_ns());
            let whole = i128::from(allowance.burst()) * window;
            let mut left = whole;
            let mut since = 0;
            for (at_ns, cost) in self.history.iter().rev() {
                since += i128::from(*cost) * window;
                left = left.min(whole + i128::from(allowance.requests()) * i128::from(now_ns - at_ns) - since);
            }
            left
        }
    }

    /// The rolling window as a list of all that ever was admitted.
    #[derive(Default)]
    struct WindowModel {
        history: Vec<(u64, u32)>,
    }

    impl WindowModel {
        fn used(&self, allowance: &Allowance, now_ns: u64) -> u64 {
            let counts = |(at_ns, _): &&(u64, u32)| now_ns - at_ns < allowance.window_ns();
            self.history.iter().filter(counts).map(|(_, cost)| u64::from(*cost)).sum()
        }
    }

    /// A moment later than any window used here, so that a clock can step back.
    const START_NS: u64 = 1 << 50;

    fn small_allowance(algorithm: Algorithm) -> impl Strategy<Value = Allowance> {
        // Odd lengths as well: nothing may depend on a window that a rate divides.
        (1..=12_u64, 1_000_000..=3 * SECOND_NS, 1..=15_u64).prop_map(move |(requests, window_ns, burst)| {
            let burst = (algorithm == Algorithm::TokenBucket).then_some(burst);
            Allowance::new(algorithm, requests, Duration::from_nanos(window_ns), burst).expect("small")
        })
    }

    fn any_small_allowance() -> impl Strategy<Value = Allowance> {
        prop_oneof![small_allowance(Algorithm::TokenBucket), small_allowance(Algorithm::RollingWindow)]
    }

    fn trace() -> impl Strategy<Value = Vec<Step>> {
        let pause = prop_oneof![
            3 => Just(0),
            4 => 1..=400_000_000_i64,
            2 => 1..=4_000_000_000_i64,
            1 => -500_000_000..=-1_i64,
        ];
        let cost = prop_oneof![5 => Just(1_u32), 2 => 1..=5_u32, 1 => 1..=20_u32];
        vec((pause, cost), 1..120)
    }

    fn new(allowance: &Allowance) -> Bucket {
        Bucket::new(allowance.algorithm(), allowance, START_NS)
    }

    proptest! {
        #[test]
        fn a_token_bucket_is_the_slow_model(allowance in small_allowance(Algorithm::TokenBucket), trace in trace()) {
            let (mut bucket, mut model) = (new(&allowance), TokenModel::default());
            let (mut now_ns, mut latest_ns) = (START_NS, START_NS);
            for (pause, cost) in trace {
                now_ns = now_ns.saturating_add_signed(pause);
                latest_ns = latest_ns.max(now_ns);

                let window = i128::from(allowance.window_ns());
                let admits = i128::from(cost) * window <= model.left(&allowance, latest_ns);
                let verdict = bucket.take(&allowance, cost, now_ns);
                prop_assert_eq!(verdict.is_ok(), admits);
                if admits {
                    model.history.push((latest_ns, cost));
                }
                let quota = verdict.unwrap_or_else(|exceeded| exceeded.quota);
                let left = model.left(&allowance, latest_ns);
                prop_assert_eq!(i128::from(quota.remaining), left / window);
                prop_assert_eq!(quota.limit, allowance.burst());

                // The reset is the very nanosecond, and not one before it.
                let resets_at_ns = now_ns + u64::try_from(quota.reset_after.as_nanos()).expect("small");
                let whole = i128::from(allowance.burst()) * window;
                prop_assert_eq!(model.left(&allowance, resets_at_ns.max(latest_ns)), whole);
                prop_assert!(left == whole || model.left(&allowance, resets_at_ns - 1) < whole);
            }
        }

        #[test]
        fn a_rolling_window_is_the_slow_model(allowance in small_allowance(Algorithm::RollingWindow), trace in trace()) {
            let (mut bucket, mut model) = (new(&allowance), WindowModel::default());
            let (mut now_ns, mut latest_ns) = (START_NS, START_NS);
            for (pause, cost) in trace {
                now_ns = now_ns.saturating_add_signed(pause);
                latest_ns = latest_ns.max(now_ns);

                let admits = model.used(&allowance, latest_ns) + u64::from(cost) <= allowance.requests();
                let verdict = bucket.take(&allowance, cost, now_ns);
                prop_assert_eq!(verdict.is_ok(), admits);
                if admits {
                    model.history.push((latest_ns, cost));
                }
                let quota = verdict.unwrap_or_else(|exceeded| exceeded.quota);
                let used = model.used(&allowance, latest_ns);
                prop_assert_eq!(quota.remaining, allowance.requests() - used);
                prop_assert_eq!(quota.limit, allowance.requests());

                let resets_at_ns = now_ns + u64::try_from(quota.reset_after.as_nanos()).expect("small");
                prop_assert_eq!(model.used(&allowance, resets_at_ns.max(latest_ns)), 0);
                prop_assert!(used == 0 || model.used(&allowance, resets_at_ns - 1) > 0);
            }
            // The promise itself, over every span that begins with an admission.
            for (index, (from_ns, _)) in model.history.iter().enumerate() {
                let span = model.history[index..].iter().take_while(|(at, _)| at - from_ns < allowance.window_ns());
                prop_assert!(span.map(|(_, cost)| u64::from(*cost)).sum::<u64>() <= allowance.requests());
            }
        }

        /// `Retry-After` is neither too short nor, by a second or more, too long.
        #[test]
        fn who_waits_as_told_is_admitted(allowance in any_small_allowance(), trace in trace()) {
            let (mut bucket, mut now_ns) = (new(&allowance), START_NS);
            for (pause, cost) in trace {
                now_ns = now_ns.saturating_add_signed(pause);
                let before = bucket.clone();
                let Err(exceeded) = bucket.take(&allowance, cost, now_ns) else { continue };
                let retry_at_ns = now_ns + exceeded.retry_after_seconds * SECOND_NS;
                let possible = u64::from(cost) <= allowance.burst();
                prop_assert!(exceeded.retry_after_seconds >= 1);
                prop_assert_eq!(bucket.clone().take(&allowance, cost, retry_at_ns).is_ok(), possible);
                prop_assert_eq!(before.clone().take(&allowance, cost, retry_at_ns).is_ok(), possible);
                if possible && exceeded.retry_after_seconds > 1 {
                    prop_assert!(before.clone().take(&allowance, cost, retry_at_ns - SECOND_NS).is_err());
                }
            }
        }

        #[test]
        fn what_remains_grows_by_no_more_than_was_refilled(allowance in any_small_allowance(), trace in trace()) {
            let (mut bucket, mut now_ns) = (new(&allowance), START_NS);
            let (mut remaining, mut latest_ns) = (allowance.burst(), START_NS);
            for (pause, cost) in trace {
                now_ns = now_ns.saturating_add_signed(pause);
                let elapsed_ns = now_ns.saturating_sub(latest_ns);
                latest_ns = latest_ns.max(now_ns);

                let seen = bucket.peek(&allowance, now_ns);
                prop_assert!(seen.remaining <= seen.limit);
                let grown = seen.remaining.saturating_sub(remaining);
                match allowance.algorithm() {
                    // Less than a token may have been there already, and not have been shown.
                    Algorithm::TokenBucket if elapsed_ns > 0 => {
                        let window = allowance.window_ns();
                        prop_assert!(grown <= (elapsed_ns * allowance.requests()).div_ceil(window));
                    }
                    Algorithm::TokenBucket | Algorithm::RollingWindow => prop_assert!(elapsed_ns > 0 || grown == 0),
                }
                let taken = bucket.take(&allowance, cost, now_ns);
                let expected = if taken.is_ok() { seen.remaining - u64::from(cost) } else { seen.remaining };
                remaining = taken.unwrap_or_else(|exceeded| exceeded.quota).remaining;
                prop_assert_eq!(remaining, expected);
            }
        }

        /// Debug builds check each operation for overflow, so to survive is to pass.
        #[test]
        fn nothing_overflows_at_the_end_of_time(
            allowances in vec(any_allowance(), 1..4),
            steps in vec((any_moment(), prop_oneof![Just(1), Just(u32::MAX), any::<u32>()], 0..4_usize), 1..40),
        ) {
            for algorithm in [Algorithm::TokenBucket, Algorithm::RollingWindow] {
                let mut bucket = Bucket::new(algorithm, &allowances[0], steps[0].0);
                for (now_ns, cost, which) in &steps {
                    let allowance = &allowances[which % allowances.len()];
                    let verdict = bucket.take(allowance, *cost, *now_ns);
                    if verdict.is_ok() && which % 2 == 0 {
                        bucket.give_back(allowance, *cost, *now_ns);
                    }
                    let quota = verdict.unwrap_or_else(|exceeded| exceeded.quota);
                    let seen = bucket.peek(allowance, *now_ns);
                    prop_assert!(quota.remaining <= quota.limit && quota.limit <= allowance.burst());
                    prop_assert!(seen.remaining <= seen.limit && seen.limit <= allowance.burst());
                    let heir = bucket.heir(*now_ns).peek(allowance, *now_ns);
                    prop_assert!(heir.remaining <= seen.remaining);
                    prop_assert_eq!(bucket.heir(u64::MAX).is_whole(u64::MAX), bucket.is_whole(u64::MAX));
                }
            }
        }

        /// Two requests are under way; one is undone. Afterwards the bucket is as if only the other had come: exactly,
        /// if the other came at the same moment. A token bucket may keep what was refilled between them; never more is
        /// there than without the undone one.
        #[test]
        fn giving_back_undoes_exactly(
            allowance in any_small_allowance(),
            trace in trace(),
            (undone, stays) in (1..=6_u32, 1..=6_u32),
            (pause_ns, later_ns) in (0..=SECOND_NS, 0..=2 * SECOND_NS),
        ) {
            let (mut bucket, mut now_ns) = (new(&allowance), START_NS);
            for (pause, cost) in trace {
                now_ns += pause.unsigned_abs();
                let _ = bucket.take(&allowance, cost, now_ns);
            }
            let mut expected = bucket.clone();
            // As much as is left; a bucket is never asked for nothing.
            let undone = undone.min(u32::try_from(bucket.peek(&allowance, now_ns).remaining).expect("small"));
            if undone == 0 {
                return Ok(());
            }
            bucket.take(&allowance, undone, now_ns).expect("that much is left");
            if bucket.take(&allowance, stays, now_ns + pause_ns).is_ok() {
                prop_assert!(expected.take(&allowance, stays, now_ns + pause_ns).is_ok());
            }
            bucket.give_back(&allowance, undone, now_ns);

            let seen_ns = now_ns + pause_ns + later_ns;
            let (got, expected) = (bucket.peek(&allowance, seen_ns), expected.peek(&allowance, seen_ns));
            let kept = match allowance.algorithm() {
                Algorithm::TokenBucket => (pause_ns * allowance.requests()).div_ceil(allowance.window_ns()),
                Algorithm::RollingWindow => 0,
            };
            prop_assert!(got.remaining <= expected.remaining);
            prop_assert!(got.remaining + kept >= expected.remaining);
            prop_assert!(got == expected || kept > 0);
        }

        /// However many requests are under way at once, and whenever some of them are undone: what was admitted for good
        /// never exceeds the allowance in any span of time.
        #[test]
        fn giving_back_never_lets_more_through(
            allowance in any_small_allowance(),
            steps in vec((prop_oneof![Just(0), 0..SECOND_NS / 2], 1..=6_u32, 0..4_u8), 1..120),
        ) {
            let (mut bucket, mut now_ns) = (new(&allowance), START_NS);
            let (mut kept, mut under_way) = (Vec::new(), Vec::new());
            for (pause_ns, cost, what) in steps {
                now_ns += pause_ns;
                if what == 0 && !under_way.is_empty() {
                    let (taken_ns, cost) = under_way.remove(cost as usize % under_way.len());
                    bucket.give_back(&allowance, cost, taken_ns);
                } else if bucket.take(&allowance, cost, now_ns).is_ok() {
                    let list = if what == 1 { &mut kept } else { &mut under_way };
                    list.push((now_ns, cost));
                }
            }
            kept.append(&mut under_way);
            kept.sort_unstable();
            for first in 0..kept.len() {
                let mut sum = 0;
                for (at_ns, cost) in &kept[first..] {
                    let span_ns = at_ns - kept[first].0;
                    sum += u64::from(*cost);
                    match allowance.algorithm() {
                        Algorithm::TokenBucket => prop_assert!(
                            (sum - allowance.burst().min(sum)) * allowance.window_ns() <= span_ns * allowance.requests()
                        ),
                        Algorithm::RollingWindow => {
                            prop_assert!(span_ns >= allowance.window_ns() || sum <= allowance.requests());
                        }
                    }
                }
            }
        }

        /// A reload, or a grant: never more than the new burst, and changing to and fro gains nothing.
        #[test]
        fn changing_the_allowance_grants_nothing(one in any_allowance(), other in any_allowance(), costs in vec(1..9_u32, 1..9)) {
            for algorithm in [Algorithm::TokenBucket, Algorithm::RollingWindow] {
                let mut bucket = Bucket::new(algorithm, &one, START_NS);
                for cost in &costs {
                    let _ = bucket.take(&one, *cost, START_NS);
                }
                let before = bucket.peek(&one, START_NS);
                let changed = bucket.peek(&other, START_NS);
                prop_assert!(changed.remaining <= other.burst());
                // A cost that can never be admitted takes nothing, but it makes the bucket adopt the allowance.
                for allowance in [&other, &one, &other, &one] {
                    let _ = bucket.take(allowance, u32::MAX, START_NS);
                }
                let after = bucket.peek(&one, START_NS);
                prop_assert!(after.remaining <= before.remaining);
                prop_assert!(after.reset_after >= before.reset_after);
                // Each of four changes rounds by less than two millionths of a token of whichever bucket has fewer.
                let rounding = (8 * one.burst()).div_ceil(1_000_000 * one.burst().min(other.burst()));
                prop_assert!(after.remaining + rounding >= before.remaining);
            }
        }

        /// Whole means whole: for every moment from then on, a new bucket says the same. And what is not whole is not.
        #[test]
        fn a_whole_bucket_says_what_a_new_one_says(allowance in any_small_allowance(), trace in trace(), pause: u32) {
            let (mut bucket, mut now_ns) = (new(&allowance), START_NS);
            for (step, cost) in trace {
                now_ns += step.unsigned_abs();
                let quota = bucket.take(&allowance, cost, now_ns).unwrap_or_else(|exceeded| exceeded.quota);
                let reset_ns = u64::try_from(quota.reset_after.as_nanos()).expect("small");
                let whole_ns = now_ns + reset_ns;
                prop_assert!(bucket.is_whole(whole_ns));
                prop_assert!(reset_ns == 0 || !bucket.is_whole(whole_ns - 1));
                let fresh = Bucket::new(allowance.algorithm(), &allowance, whole_ns);
                let seen_ns = whole_ns + u64::from(pause);
                prop_assert_eq!(bucket.peek(&allowance, seen_ns), fresh.peek(&allowance, seen_ns));
            }
        }
    }

    /// Moments of every size, the first and the last among them.
    fn any_moment() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]
    }

    #[test]
    fn the_spent_fraction_of_a_token_bucket_is_carried_over() {
        let check = |row: &str, spend: u32, requests: u64, window_s: u64, burst: u64, remaining: u64| {
            let before = Allowance::new(Algorithm::TokenBucket, 100, Duration::from_secs(60), None).expect(row);
            let window = Duration::from_secs(window_s);
            let after = Allowance::new(Algorithm::TokenBucket, requests, window, Some(burst)).expect(row);
            let mut bucket = new(&before);
            bucket.take(&before, spend, START_NS).expect(row);
            assert_eq!(bucket.peek(&after, START_NS).remaining, remaining, "{row}");
        };
        check("nothing spent stays nothing", 0, 1_000, 60, 1_000, 1_000);
        check("all spent stays all", 100, 1_000, 60, 1_000, 0);
        check("a quarter of ten times as much", 25, 1_000, 60, 1_000, 750);
        check("a quarter of a tenth, rounded down", 25, 10, 60, 10, 7);
        check("another window", 25, 100, 3_600, 100, 75);
        check("another burst", 25, 100, 60, 20, 15);
        check("a third does not come out even", 33, 9, 7, 9, 6);
    }

    #[test]
    fn what_a_rolling_window_admitted_counts_against_the_new_allowance() {
        let check = |row: &str, requests: u64, window_s: u64, later_s: u64, remaining: u64, retry_after: u64| {
            let before = Allowance::new(Algorithm::RollingWindow, 10, Duration::from_secs(60), None).expect(row);
            let window = Duration::from_secs(window_s);
            let after = Allowance::new(Algorithm::RollingWindow, requests, window, None).expect(row);
            let mut bucket = new(&before);
            for second in 0..8 {
                bucket.take(&before, 1, START_NS + second * SECOND_NS).expect(row);
            }
            let now_ns = START_NS + later_s * SECOND_NS;
            assert_eq!(bucket.peek(&after, now_ns).remaining, remaining, "{row}");
            let verdict = bucket.take(&after, 1, now_ns);
            assert_eq!(verdict.err().map_or(0, |exceeded| exceeded.retry_after_seconds), retry_after, "{row}");
        };
        check("granted more", 100, 60, 8, 92, 0);
        check("granted less than was used", 5, 60, 8, 0, 60 - 8 + 3);
        check("a shorter window", 10, 4, 8, 7, 0);
        check("a longer window", 8, 600, 8, 0, 592);
    }

    #[test]
    fn an_admission_counts_for_a_window_and_not_a_nanosecond_longer() {
        for algorithm in [Algorithm::TokenBucket, Algorithm::RollingWindow] {
            let allowance = Allowance::new(algorithm, 3, Duration::from_secs(60), None).expect("allowance");
            let mut bucket = new(&allowance);
            bucket.take(&allowance, 3, START_NS).expect("whole");
            let (last_ns, over_ns) = (START_NS + 60 * SECOND_NS - 1, START_NS + 60 * SECOND_NS);
            assert!(!bucket.is_whole(last_ns) && bucket.is_whole(over_ns), "{algorithm}");
            let refused = bucket.clone().take(&allowance, 3, last_ns).expect_err("a nanosecond too early");
            assert_eq!(refused.retry_after_seconds, 1, "{algorithm}");
            assert_eq!(refused.quota.reset_after, Duration::from_nanos(1), "{algorithm}");
            assert_eq!(bucket.take(&allowance, 3, over_ns).map(|quota| quota.remaining), Ok(0), "{algorithm}");
        }
    }

    #[test]
    fn a_cost_above_the_burst_is_sent_away_for_a_window() {
        for algorithm in [Algorithm::TokenBucket, Algorithm::RollingWindow] {
            let allowance = Allowance::new(algorithm, 10, Duration::from_secs(60), None).expect("allowance");
            let refused = new(&allowance).take(&allowance, 11, START_NS).expect_err("more than there ever is");
            assert_eq!(refused.retry_after_seconds, 60, "{algorithm}");
            assert_eq!(refused.quota, Quota::whole(&allowance), "{algorithm}: nothing was taken");
        }
    }

    #[test]
    fn an_unused_window_needs_no_memory_and_its_heir_next_to_none() {
        let allowance = Allowance::new(Algorithm::RollingWindow, 100_000, Duration::from_secs(60), None).expect("most");
        let mut window = RollingWindow::new(&allowance, START_NS);
        assert_eq!(window.memory(), 0);
        for step in 0..100_000 {
            window.take(&allowance, 1, START_NS + step).expect("within the allowance");
        }
        assert!((100_000..=2 * 100_000).contains(&window.memory()));
        assert!(window.heir(START_NS + 100_000).memory() <= 4);
        assert_eq!(window.heir(START_NS + 100_000).peek(&allowance, START_NS + 100_000).remaining, 0);
        assert!(window.heir(START_NS + 61 * SECOND_NS).is_whole(START_NS + 61 * SECOND_NS));
    }
}
