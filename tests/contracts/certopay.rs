//! Contract C, as far as its rows speak of keys.

use serde_json::{Value, json};

use crate::client::Response;
use crate::contract::{Contract, Made};

const PATH: &str = "/api/payment-gateway/process";

fn ask(contract: &Contract, key: &Made) -> Response {
    contract.gate.get(PATH, &[("X-Api-Key", &key.secret)])
}

#[track_caller]
fn check(response: &Response, status: u16, body: &Value) {
    assert_eq!((response.status, &response.json()), (status, body));
}

#[test]
fn certo_06_a_hundred_in_any_sixty_seconds_and_more_for_whom_it_was_granted() {
    let mut contract = Contract::start("certopay");
    let (usual, large) = (contract.key("production", &[]), contract.key("production", &["--rate-limit", "150"]));
    for (key, granted) in [(&usual, 100), (&large, 150)] {
        let mut client = contract.gate.client();
        let mut ask = || client.request("GET", PATH, &[("X-Api-Key", &key.secret)], b"");
        for used in 1..=granted {
            let response = ask();
            assert_eq!((response.status, response.number("x-ratelimit-limit")), (200, granted), "request {used}");
            assert_eq!(response.number("x-ratelimit-remaining"), granted - used);
        }
        assert_eq!(ask().status, 429);
        // A bucket would have let one more pass by now.
        std::thread::sleep(std::time::Duration::from_millis(1300));
        assert_eq!(ask().status, 429, "the window rolls: nothing is refilled before its time");
    }
    assert_eq!(contract.upstream.received().len(), 250);
}

#[test]
fn certo_07_over_the_limit_is_told_flat() {
    let mut contract = Contract::start("certopay");
    let key = contract.key("production", &["--rate-limit", "1"]);
    assert_eq!(ask(&contract, &key).status, 200);
    let refused = ask(&contract, &key);
    let seconds = refused.number("retry-after");
    assert!((55..=60).contains(&seconds), "{seconds}");
    let body = json!({
        "error": "rate_limit_exceeded",
        "message": "Too many requests. Please wait before retrying.",
        "retryAfter": seconds,
    });
    check(&refused, 429, &body);
}

#[test]
fn certo_08_bad_keys_have_one_code() {
    let mut contract = Contract::start("certopay");
    let invalid = json!({ "error": "invalid_api_key", "message": "Key is missing, malformed, or has been revoked" });
    let (revoked, inactive) = (contract.key("production", &[]), contract.key("production", &[]));
    contract.keygate(&["keys", "revoke", &revoked.id]);
    contract.keygate(&["keys", "deactivate", &inactive.id]);
    check(&contract.gate.get(PATH, &[]), 401, &invalid);
    for secret in ["", "nonsense", "sk_live_abc", &revoked.secret, &inactive.secret] {
        check(&contract.gate.get(PATH, &[("X-Api-Key", secret)]), 401, &invalid);
    }
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn certo_09_the_secret_is_nowhere_to_be_found() {
    let mut contract = Contract::start("certopay");
    let key = contract.key("production", &[]);
    assert_eq!(ask(&contract, &key).status, 200);
    for entry in std::fs::read_dir(contract.gate.file("")).unwrap().flatten() {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        let found = content.windows(key.secret.len()).any(|window| window == key.secret.as_bytes());
        assert!(!found, "the secret is in {}", entry.path().display());
    }
}
