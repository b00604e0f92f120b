//! However many take, give back and sweep at once, nobody is admitted more often than the allowance says, and nothing that
//! was admitted is forgotten. Buckets of both algorithms.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::limits::{Algorithm, Allowance, Limit, Limits, Subject};
use crate::moment::Moment;

/// What holds for token buckets and rolling windows alike.
pub const MODELS_OF_BOTH: &[(&str, fn(Algorithm))] = &[
    ("takers at once get all that there is, and no more", takers),
    ("a sweep in the middle grants nothing", sweep),
    ("a clock that was read before a sweep refills nothing twice", late),
    ("who has no bucket of its own and then gets one, gets no more by it", newcomer),
    ("what is given back can be taken once", give_back),
    ("no more buckets are kept than there is room for", room),
];

/// What holds for rolling windows alone.
pub const MODELS_OF_WINDOWS: &[(&str, fn())] = &[
    ("as a window rolls on, what it forgets is admitted once, whoever's clock is late", rolling),
    ("what is given back is what was taken, and what others took counts for its whole window", give_back_later),
];

const ADA: Subject = Subject::from_hash(1);
const BOB: Subject = Subject::from_hash(1 << 100);

fn at(seconds: u64) -> Moment {
    Moment { unix_ns: 0, monotonic_ns: (1_000_000 + seconds) * 1_000_000_000 }
}

fn limit(algorithm: Algorithm, buckets_max: usize) -> Arc<Limit> {
    Limits::new().limit("model", algorithm, buckets_max)
}

/// So many in ten seconds.
fn allowance(algorithm: Algorithm, requests: u64) -> Allowance {
    Allowance::new(algorithm, requests, Duration::from_secs(10), None).expect("small")
}

/// Runs these at once; how many said yes.
fn admitted<const N: usize>(takers: [Box<dyn FnOnce() -> bool + Send>; N]) -> usize {
    let threads: Vec<_> = takers.into_iter().map(|taker| thread::spawn(move || usize::from(taker()))).collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

fn taker(limit: &Arc<Limit>, who: Subject, allowance: Allowance, seconds: u64) -> Box<dyn FnOnce() -> bool + Send> {
    let limit = Arc::clone(limit);
    Box::new(move || limit.take(who, &allowance, 1, at(seconds)).is_ok())
}

fn sweeper(limit: &Arc<Limit>, seconds: u64) -> Box<dyn FnOnce() -> bool + Send> {
    let limit = Arc::clone(limit);
    Box::new(move || {
        limit.sweep(at(seconds));
        false
    })
}

fn takers(algorithm: Algorithm) {
    let (limit, two) = (limit(algorithm, 10), allowance(algorithm, 2));
    let all = admitted([taker(&limit, ADA, two, 0), taker(&limit, ADA, two, 0), taker(&limit, ADA, two, 0)]);
    assert_eq!(all, 2);
    assert_eq!(limit.peek(ADA, &two, at(0)).remaining, 0);
}

fn sweep(algorithm: Algorithm) {
    let (limit, one) = (limit(algorithm, 10), allowance(algorithm, 1));
    assert!(limit.take(ADA, &one, 1, at(0)).is_ok());
    // Ten seconds later there is one more, for whoever comes first, with whichever clock; and one after twenty.
    let later = admitted([
        sweeper(&limit, 10),
        taker(&limit, ADA, one, 9),
        taker(&limit, ADA, one, 10),
        taker(&limit, ADA, one, 10),
    ]);
    assert_eq!(later, 1);
    assert!(limit.take(ADA, &one, 1, at(20)).is_ok());
}

fn late(algorithm: Algorithm) {
    let (limit, one) = (limit(algorithm, 10), allowance(algorithm, 1));
    assert!(limit.take(ADA, &one, 1, at(0)).is_ok());
    // Whole at ten, and swept then; whoever comes next has the one that there is until twenty, whatever his clock says.
    assert_eq!(admitted([sweeper(&limit, 10), taker(&limit, ADA, one, 5), taker(&limit, ADA, one, 15)]), 1);
}

fn newcomer(algorithm: Algorithm) {
    let (limit, one) = (limit(algorithm, 1), allowance(algorithm, 1));
    assert!(limit.take(BOB, &one, 1, at(0)).is_ok());
    // Bob has the only bucket until it is swept: ada takes with all others, or for herself.
    let takers =
        [sweeper(&limit, 10), taker(&limit, ADA, one, 10), taker(&limit, ADA, one, 10), taker(&limit, ADA, one, 10)];
    assert_eq!(admitted(takers), 1);
}

fn give_back(algorithm: Algorithm) {
    let (limit, one) = (limit(algorithm, 10), allowance(algorithm, 1));
    let giver = {
        let limit = Arc::clone(&limit);
        Box::new(move || {
            if limit.take(ADA, &one, 1, at(0)).is_ok() {
                limit.give_back(ADA, &one, 1, at(0));
            }
            false
        })
    };
    let kept = admitted([giver, taker(&limit, ADA, one, 0), taker(&limit, ADA, one, 0)]);
    assert!(kept <= 1, "{kept}");
    assert_eq!(limit.peek(ADA, &one, at(0)).remaining, 1 - kept as u64);
}

fn room(algorithm: Algorithm) {
    let (limit, two) = (limit(algorithm, 1), allowance(algorithm, 2));
    admitted([taker(&limit, ADA, two, 0), taker(&limit, BOB, two, 0), sweeper(&limit, 20)]);
    assert!(limit.buckets() <= 1, "{}", limit.buckets());
    limit.sweep(at(100));
    assert_eq!(limit.buckets(), 0);
}

fn rolling() {
    let (limit, two) = (limit(Algorithm::RollingWindow, 10), allowance(Algorithm::RollingWindow, 2));
    assert!(limit.take(ADA, &two, 1, at(0)).is_ok() && limit.take(ADA, &two, 1, at(4)).is_ok());
    // One is free again from ten on, and the other from fourteen on: for two takers, in whatever order they come.
    let [late, ten, ten_too, fourteen] = [9, 10, 10, 14].map(|seconds| taker(&limit, ADA, two, seconds));
    assert_eq!(admitted([late, ten, ten_too, fourteen, sweeper(&limit, 14)]), 2);
    // Both came at ten at the earliest and at fourteen at the latest.
    assert_eq!(limit.peek(ADA, &two, at(19)).remaining, 0, "one that was admitted is lost");
    assert_eq!(limit.peek(ADA, &two, at(24)).remaining, 2, "one that was admitted counts for too long");
}

fn give_back_later() {
    let (limit, two) = (limit(Algorithm::RollingWindow, 10), allowance(Algorithm::RollingWindow, 2));
    let giver = {
        let limit = Arc::clone(&limit);
        Box::new(move || {
            let taken = limit.take(ADA, &two, 1, at(0)).is_ok();
            limit.give_back(ADA, &two, 1, at(0));
            taken
        })
    };
    assert_eq!(admitted([giver, taker(&limit, ADA, two, 5), sweeper(&limit, 5)]), 2);
    assert_eq!(limit.peek(ADA, &two, at(5)).remaining, 1);
    assert_eq!(limit.peek(ADA, &two, at(14)).remaining, 1, "what the other took is lost");
    assert_eq!(limit.peek(ADA, &two, at(15)).remaining, 2, "what was given back still counts");
}
