//! However many take, give back and sweep at once, nobody is admitted more often than the allowance says.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::limits::{Algorithm, Allowance, Limit, Limits, Subject};
use crate::moment::Moment;

pub const MODELS: &[(&str, fn())] = &[
    ("takers at once get no more than there is", takers),
    ("a sweep in the middle grants nothing", sweep),
    ("a clock that was read before a sweep refills nothing twice", late),
    ("who has no bucket of its own and then gets one, gets no more by it", newcomer),
    ("what is given back can be taken once", give_back),
    ("no more buckets are kept than there is room for", room),
];

const ADA: Subject = Subject::from_hash(1);
const BOB: Subject = Subject::from_hash(1 << 100);

fn at(seconds: u64) -> Moment {
    Moment { unix_ns: 0, monotonic_ns: (1_000_000 + seconds) * 1_000_000_000 }
}

fn limit(buckets_max: usize) -> Arc<Limit> {
    Limits::new().limit("model", Algorithm::TokenBucket, buckets_max)
}

/// So many in ten seconds.
fn allowance(requests: u64) -> Allowance {
    Allowance::new(Algorithm::TokenBucket, requests, Duration::from_secs(10), None).expect("small")
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

fn takers() {
    let (limit, two) = (limit(10), allowance(2));
    let all = admitted([taker(&limit, ADA, two, 0), taker(&limit, ADA, two, 0), taker(&limit, ADA, two, 0)]);
    assert_eq!(all, 2);
    assert_eq!(limit.peek(ADA, &two, at(0)).remaining, 0);
}

fn sweep() {
    let (limit, one) = (limit(10), allowance(1));
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

fn late() {
    let (limit, one) = (limit(10), allowance(1));
    assert!(limit.take(ADA, &one, 1, at(0)).is_ok());
    // Whole at ten, and swept then; whoever comes next has the one that there is until twenty, whatever his clock says.
    assert_eq!(admitted([sweeper(&limit, 10), taker(&limit, ADA, one, 5), taker(&limit, ADA, one, 15)]), 1);
}

fn newcomer() {
    let (limit, one) = (limit(1), allowance(1));
    assert!(limit.take(BOB, &one, 1, at(0)).is_ok());
    // Bob has the only bucket until it is swept: ada takes with all others, or for herself.
    let takers =
        [sweeper(&limit, 10), taker(&limit, ADA, one, 10), taker(&limit, ADA, one, 10), taker(&limit, ADA, one, 10)];
    assert_eq!(admitted(takers), 1);
}

fn give_back() {
    let (limit, one) = (limit(10), allowance(1));
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

fn room() {
    let (limit, two) = (limit(1), allowance(2));
    admitted([taker(&limit, ADA, two, 0), taker(&limit, BOB, two, 0), sweeper(&limit, 20)]);
    assert!(limit.buckets() <= 1, "{}", limit.buckets());
    limit.sweep(at(100));
    assert_eq!(limit.buckets(), 0);
}
