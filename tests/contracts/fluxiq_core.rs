//! Contract F, as far as its rows speak of keys.

use serde_json::json;

use crate::client::Response;
use crate::contract::Contract;

fn ask(contract: &Contract, method: &str, path: &str, secret: Option<&str>) -> Response {
    let bearer = secret.map(|secret| format!("Bearer {secret}"));
    let fields: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    contract.gate.client().request(method, path, &fields, b"")
}

#[test]
fn core_01_a_key_travels_as_a_bearer_has_no_end_and_can_be_revoked() {
    let mut contract = Contract::start("fluxiq-core");
    let key = contract.key("production", &[]);
    assert!(key.secret.starts_with("sk_live_"));
    assert_eq!(ask(&contract, "GET", "/api/v1/anything", Some(&key.secret)).status, 200);
    assert!(!contract.upstream.last().mentions(&key.secret));
    let field = contract.gate.get("/api/v1/anything", &[("X-API-Key", &key.secret)]);
    assert_eq!(field.status, 401, "there is one place for a key");
    contract.keygate(&["keys", "revoke", &key.id]);
    let refused = ask(&contract, "GET", "/api/v1/anything", Some(&key.secret));
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.json(),
        json!({ "error": { "code": "UNAUTHORIZED", "message": "Invalid or expired authentication token" } })
    );
    assert!(refused.field("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let missing = ask(&contract, "GET", "/api/v1/anything", None);
    assert!(!missing.field("www-authenticate").unwrap().contains("error"), "no credential was sent");
    assert!(missing.field("www-authenticate").unwrap().starts_with("Bearer"));
}

#[test]
fn core_07_roles_are_named_sets_with_wildcards() {
    let mut contract = Contract::start("fluxiq-core");
    let rows = [
        ("owner", "DELETE", "/api/v1/users/7", 200),
        ("owner", "POST", "/api/v1/pix", 200),
        ("manager", "POST", "/api/v1/accounts", 200),
        ("manager", "GET", "/api/v1/pix/9", 200),
        ("manager", "GET", "/api/v1/users", 403),
        ("operator", "GET", "/api/v1/accounts/1", 200),
        ("operator", "PUT", "/api/v1/accounts/1", 403),
        ("operator", "POST", "/api/v1/pix", 200),
        ("operator", "GET", "/api/v1/pix", 403),
        ("operator", "GET", "/api/v1/transfers", 403),
    ];
    for (role, method, path, status) in rows {
        let key = contract.key("production", &["--role", role]);
        assert_eq!(ask(&contract, method, path, Some(&key.secret)).status, status, "{role} {method} {path}");
    }
}

#[test]
fn core_08_each_scope_is_demanded_by_method_and_path() {
    let mut contract = Contract::start("fluxiq-core");
    for resource in ["accounts", "pix", "transfers", "webhooks", "users"] {
        let read = contract.key("production", &["--permission", &format!("{resource}:read")]);
        let write = contract.key("production", &["--permission", &format!("{resource}:write")]);
        for path in [format!("/api/v1/{resource}"), format!("/api/v1/{resource}/7/part")] {
            for (method, reads, writes) in
                [("GET", 200, 403), ("HEAD", 200, 403), ("POST", 403, 200), ("DELETE", 403, 200)]
            {
                assert_eq!(ask(&contract, method, &path, Some(&read.secret)).status, reads, "{method} {path}");
                assert_eq!(ask(&contract, method, &path, Some(&write.secret)).status, writes, "{method} {path}");
            }
        }
        let disguised = format!("/api/v1/x/../%{:02x}{}", resource.as_bytes()[0], &resource[1..]);
        assert_eq!(ask(&contract, "POST", &disguised, Some(&read.secret)).status, 403, "{disguised}");
    }
}

#[test]
fn core_09_keys_have_a_thousand_a_minute_and_strangers_ten() {
    let mut contract = Contract::start("fluxiq-core");
    let key = contract.key("production", &[]);
    assert_eq!(ask(&contract, "GET", "/x", Some(&key.secret)).number("x-ratelimit-limit"), 1000);
    for remaining in (0..10).rev() {
        let refused = ask(&contract, "GET", "/x", Some("sk_live_wrong"));
        assert_eq!((refused.status, refused.number("x-ratelimit-limit")), (401, 10));
        assert_eq!(refused.number("x-ratelimit-remaining"), remaining);
    }
    assert_eq!(ask(&contract, "GET", "/x", Some("sk_live_wrong")).status, 429, "a wrong key");
    assert_eq!(ask(&contract, "GET", "/x", None).status, 429, "no key");
    assert_eq!(ask(&contract, "GET", "/x", Some(&key.secret)).status, 200, "a valid one passes");
}

#[test]
fn core_10_every_response_bears_the_fields() {
    let mut contract = Contract::start("fluxiq-core");
    let key = contract.key("production", &[]);
    let responses = [
        (200, ask(&contract, "GET", "/x", Some(&key.secret))),
        (401, ask(&contract, "GET", "/x", None)),
        (403, ask(&contract, "GET", "/api/v1/pix", Some(&key.secret))),
        (400, ask(&contract, "GET", "/x%00", Some(&key.secret))),
    ];
    for (status, response) in &responses {
        assert_eq!(response.status, *status);
        for name in ["x-ratelimit-limit", "x-ratelimit-remaining"] {
            response.number(name);
        }
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let reset = response.number("x-ratelimit-reset");
        assert!((now - 5..=now + 61).contains(&reset), "{status}: {reset} at {now}");
    }
}

#[test]
fn core_12_a_missing_permission_is_named() {
    let mut contract = Contract::start("fluxiq-core");
    let key = contract.key("production", &["--permission", "pix:read"]);
    let refused = ask(&contract, "POST", "/api/v1/pix", Some(&key.secret));
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json(),
        json!({ "error": {
            "code": "FORBIDDEN",
            "message": "Insufficient permissions for this operation",
            "required_permission": "pix:write",
        } })
    );
}

#[test]
fn core_13_a_spent_limit_says_when_to_come_back() {
    let contract = Contract::start("fluxiq-core");
    for _ in 0..10 {
        assert_eq!(ask(&contract, "GET", "/x", None).status, 401);
    }
    let refused = ask(&contract, "GET", "/x", None);
    assert_eq!(refused.status, 429);
    let seconds = refused.number("retry-after");
    assert_eq!(
        refused.json(),
        json!({ "error": {
            "code": "RATE_LIMITED",
            "message": format!("Rate limit exceeded. Retry after {seconds} seconds"),
            "retry_after": seconds,
        } })
    );
    assert!((1..=6).contains(&seconds), "ten a minute is one in six seconds: {seconds}");
}
