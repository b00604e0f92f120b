//! How often.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::Response;
use crate::gate::gate;
use crate::key::key;
use crate::upstream::Upstream;

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[track_caller]
fn check_fields(response: &Response, limit: u64, remaining: u64, within: u64) {
    assert_eq!(response.number("x-ratelimit-limit"), limit);
    assert_eq!(response.number("x-ratelimit-remaining"), remaining);
    let reset = response.number("x-ratelimit-reset");
    assert!((unix_seconds()..=unix_seconds() + within + 1).contains(&reset), "reset {reset}");
}

#[test]
fn a_spent_limit_answers_429_and_says_when_to_come_back() {
    let (upstream, alice, bob) = (Upstream::hello(), key("alice"), key("bob"));
    let gate = gate(&upstream)
        .key(&alice)
        .key(&bob)
        .with("limits: [{ name: per-key, per: key, requests: 3, window: 1m }]")
        .start();
    for remaining in [2, 1, 0] {
        let response = gate.get("/", &[alice.field()]);
        assert_eq!(response.status, 200);
        check_fields(&response, 3, remaining, 60);
    }
    let refused = gate.get("/", &[alice.field()]);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    check_fields(&refused, 3, 0, 60);
    let wait = refused.number("retry-after");
    assert!((1..=20).contains(&wait), "one of three a minute comes back within 20 s: {wait}");
    assert_eq!(refused.json()["retry_after"], wait);
    assert_eq!(gate.get("/", &[bob.field()]).status, 200, "another key has its own allowance");
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn whoever_waits_as_long_as_told_is_let_in() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    for algorithm in ["token_bucket", "rolling_window"] {
        let gate = gate(&upstream)
            .key(&alice)
            .with(&format!("limits: [{{ name: per-key, per: key, requests: 2, window: 2s, algorithm: {algorithm} }}]"))
            .start();
        let ask = || gate.get("/", &[alice.field()]);
        assert_eq!((ask().status, ask().status), (200, 200), "{algorithm}");
        let refused = ask();
        assert_eq!(refused.status, 429, "{algorithm}");
        std::thread::sleep(Duration::from_secs(refused.number("retry-after")));
        assert_eq!(ask().status, 200, "{algorithm}");
    }
}

#[test]
fn however_many_ask_at_once_no_more_than_the_limit_pass() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("workers: 2\nlimits: [{ name: per-key, per: key, requests: 50, window: 1h }]")
        .start();
    let passed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gate.client();
                for _ in 0..10 {
                    if client.request("GET", "/", &[alice.field()], b"").status == 200 {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 50);
    assert_eq!(upstream.received().len(), 50);
}

#[test]
fn what_a_key_was_granted_counts_and_its_successors_share_it() {
    let upstream = Upstream::hello();
    let granted = key("granted").with("rate_limit: 5");
    let old = key("old").with("lineage: chain");
    let new = key("new").with("lineage: chain");
    let gate = gate(&upstream)
        .key(&granted)
        .key(&old)
        .key(&new)
        .with("limits: [{ name: per-key, per: key, requests: 2, window: 1h }]")
        .start();
    check_fields(&gate.get("/", &[granted.field()]), 5, 4, 3600);
    assert_eq!(gate.get("/", &[old.field()]).status, 200);
    assert_eq!(gate.get("/", &[new.field()]).status, 200);
    assert_eq!(gate.get("/", &[new.field()]).status, 429, "a rotation grants no fresh allowance");
}

#[test]
fn the_most_constrained_of_several_limits_shows_and_all_count() {
    let upstream = Upstream::hello();
    let (first, second) = (key("first").with("user: ann"), key("second").with("user: ann"));
    let gate = gate(&upstream)
        .key(&first)
        .key(&second)
        .with(
            "limits:\n  - { name: per-key, per: key, requests: 10, window: 1h }\n  - { name: per-user, per: user, \
             requests: 3, window: 1h }",
        )
        .start();
    check_fields(&gate.get("/", &[first.field()]), 3, 2, 3600);
    check_fields(&gate.get("/", &[second.field()]), 3, 1, 3600);
    assert_eq!(gate.get("/", &[first.field()]).status, 200);
    assert_eq!(gate.get("/", &[second.field()]).status, 429);
}

#[test]
fn guessing_keys_spends_the_allowance_of_the_address_and_good_keys_pass_all_the_same() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("limits: [{ name: guesses, per: address, count: unauthenticated, requests: 3, window: 1h }]")
        .start();
    for remaining in [2, 1, 0] {
        let response = gate.get("/", &[("X-API-Key", "guess")]);
        assert_eq!(response.status, 401);
        check_fields(&response, 3, remaining, 3600);
    }
    assert_eq!(gate.get("/", &[("X-API-Key", "guess")]).status, 429);
    assert_eq!(gate.get("/", &[]).status, 429);
    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
}

#[test]
fn the_fields_can_count_down_and_follow_the_draft() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("limits: [{ name: per-key, per: key, requests: 10, window: 10s }]\nrate_limit_fields: { reset: delta, ietf: true }")
        .start();
    let response = gate.get("/", &[alice.field()]);
    assert_eq!(response.number("x-ratelimit-reset"), 1);
    assert_eq!(response.field("ratelimit"), Some("\"default\";r=9;t=1"));
    assert_eq!(response.field("ratelimit-policy"), Some("\"default\";q=10"));
}
