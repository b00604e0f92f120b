//! Contract X: users' tokens beside keys.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{PATH, check, error, now_s, post, send, text, token, user};
use crate::client::Response;
use crate::contract::{Contract, PASSWORD};

const LOGIN: &str = "/v1/auth/login";
const KEYS: &str = "/v1/secrets/api/keys";

fn login(contract: &Contract, content: &Value) -> Response {
    post(contract, LOGIN, &[], content)
}

/// Asks with a token, and with more fields.
fn ask(contract: &Contract, token: &str, more: &[(&str, &str)]) -> Response {
    let bearer = format!("Bearer {token}");
    contract.gate.get(PATH, &[&[("Authorization", bearer.as_str())], more].concat())
}

/// What a token says of itself.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn flex_settled_08_a_login_answers_with_a_token_the_user_and_the_tenant() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    user(&mut contract, "root", &[]);
    for (id, tenant) in [("ada", json!("acme")), ("root", Value::Null)] {
        let before = now_s();
        let response = login(&contract, &json!({ "email": format!("{id}@example.com"), "password": PASSWORD }));
        assert_eq!((response.status, response.field("content-type")), (200, Some("application/json")));
        assert_eq!(response.field("cache-control"), Some("no-store"));
        let answer = response.json();
        let token = text(&answer, "/token");
        contract.gate.watch_for_secret(&token);
        assert_eq!(answer, json!({ "token": token, "user_id": id, "tenant_id": tenant }));
        let expires = claims(&token)["exp"].as_i64().unwrap();
        assert!((before + 900..=now_s() + 900).contains(&expires), "15 minutes: {expires}");
        assert_eq!(ask(&contract, &token, &[]).status, 200);
    }
    // Logins have no case; what is beside them is left alone.
    let content = json!({ "email": "ADA@Example.com", "password": PASSWORD, "remember": true });
    assert_eq!(login(&contract, &content).status, 200);
    assert_eq!(contract.upstream.received().len(), 2, "keygate answers logins itself");
}

#[test]
fn flex_settled_08_a_login_that_fails_says_nothing_of_why() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    user(&mut contract, "off", &["--tenant", "acme"]);
    contract.keygate(&["users", "disable", "off"]);
    contract.keygate(&["users", "create", "--login", "none@example.com", "--role", "member"]);
    let failed = error("login_failed", "Login or password are not right", 401);
    for (email, password) in [
        ("ada@example.com", "violins under the tunnel"),
        ("ada@example.com", "VIOLINS UNDER THE BRIDGE"),
        ("nobody@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("none@example.com", PASSWORD),
    ] {
        let response = login(&contract, &json!({ "email": email, "password": password }));
        check(&response, 401, &failed);
        assert!(response.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("ApiKey")));
    }
    for (content, message) in [
        (json!({ "email": "ada@example.com" }), "`password` is missing"),
        (json!({ "password": PASSWORD }), "`email` is missing"),
        (json!({ "email": 7, "password": PASSWORD }), "`email` must be a text of 1 to 256 characters"),
        (json!({ "email": "ada@example.com", "password": [] }), "`password` must be a text of 1 to 1024 characters"),
    ] {
        check(&login(&contract, &content), 400, &error("validation_error", message, 400));
    }
    let form = contract.gate.client().request(
        "POST",
        LOGIN,
        &[("Content-Type", "application/x-www-form-urlencoded")],
        b"email=ada%40example.com&password=x",
    );
    check(&form, 415, &error("content_unsupported", "Send JSON, as `application/json`", 415));
    assert_eq!(send(&contract, "POST", LOGIN, &[], "{").status, 400);
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn flex_08_other_routes_take_a_token_beside_a_key() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let token = token(&mut contract, "ada");
    let forged = [
        ("X-Tenant-ID", "evil"),
        ("X-User-ID", "evil"),
        ("x_user_id", "evil"),
        ("X-Customer-ID", "evil"),
        ("Connection", "X-User-ID"),
    ];
    let response = ask(&contract, &token, &forged);
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let seen = contract.upstream.last();
    assert_eq!((seen.value("X-Tenant-ID"), seen.value("X-User-ID")), ("acme", "ada"));
    assert!(seen.values("X-Environment-ID").is_empty() && seen.values("Authorization").is_empty(), "{}", seen.head);
    assert!(!seen.mentions("evil") && !seen.mentions(&token), "{}", seen.head);

    // It carries no environment, so the client chooses one; a key that is bound to one does not let it.
    for (asked, expected) in [
        (&[("X-Environment-ID", "env-1")][..], &["env-1"][..]),
        (&[("X-Environment-ID", "env-1"), ("X-Environment-ID", "env-2")], &[]),
        (&[("X-Environment-ID", "two words")], &[]),
        (&[("x_environment_id", "env-1")], &[]),
        (&[("X-Environment-ID", "")], &[]),
    ] {
        assert_eq!(ask(&contract, &token, asked).status, 200);
        assert_eq!(contract.upstream.last().values("X-Environment-ID"), expected, "{asked:?}");
    }
    let key = contract.key("production", &["--tenant", "acme"]);
    let steered = [("X-API-Key", key.secret.as_str()), ("X-Environment-ID", "env-1")];
    assert_eq!(contract.gate.get(PATH, &steered).status, 200);
    assert_eq!(contract.upstream.last().values("X-Environment-ID"), ["production"]);

    // One of the two, not both: nobody could say whose request it is.
    let before = contract.upstream.received().len();
    let both = ask(&contract, &token, &[("X-API-Key", &key.secret)]);
    check(&both, 400, &error("credentials_conflict", "Send one credential, once", 400));
    assert_eq!(contract.upstream.received().len(), before);
}

#[test]
fn flex_08_whoever_has_a_token_manages_keys() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let bearer = format!("Bearer {}", token(&mut contract, "ada"));
    let fields = [("Authorization", bearer.as_str()), ("X-Environment-ID", "env-1")];
    let made = post(&contract, KEYS, &fields, &json!({ "name": "Hers", "type": "private_key" }));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let (id, secret) = (text(&made, "/secret/id"), text(&made, "/api_key"));
    contract.gate.watch_for_secret(&secret);
    assert_eq!(made["secret"]["user_id"], "ada");
    assert_eq!(contract.gate.get(PATH, &[("X-API-Key", &secret), ("X-Environment-ID", "env-2")]).status, 200);
    let seen = contract.upstream.last();
    let told = ["X-Tenant-ID", "X-User-ID", "X-Environment-ID"].map(|name| seen.value(name).to_owned());
    assert_eq!(told, ["acme", "ada", "env-1"]);

    let total = |environment: &str| {
        let fields = [("Authorization", bearer.as_str()), ("X-Environment-ID", environment)];
        contract.gate.get(KEYS, &fields).json()["pagination"]["total"].clone()
    };
    assert_eq!((total("env-1"), total("env-2"), total("")), (json!(1), json!(0), json!(1)));
    let delete = |environment: &str| {
        let fields = [("Authorization", bearer.as_str()), ("X-Environment-ID", environment)];
        contract.gate.client().request("DELETE", &format!("{KEYS}/{id}"), &fields, b"").status
    };
    assert_eq!((delete("env-2"), delete("env-1"), delete("env-1")), (404, 204, 404));

    // A key of a user who is switched off is switched off, too, and so is the token.
    let another = post(&contract, KEYS, &fields, &json!({ "name": "Hers", "type": "private_key" })).json();
    let another = text(&another, "/api_key");
    contract.gate.watch_for_secret(&another);
    contract.keygate(&["users", "disable", "ada"]);
    let inactive = error("permission_denied", "The API key is not active", 403);
    check(&contract.gate.get(PATH, &[("X-API-Key", &another)]), 403, &inactive);
    let ended = error("login_ended", "The login of the token has ended", 401);
    check(&contract.gate.get(PATH, &[("Authorization", &bearer)]), 401, &ended);
}

#[test]
fn flex_08_a_token_that_is_not_good_is_401() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let token = token(&mut contract, "ada");
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut promoted = claims(&token);
    promoted["tenant"] = json!("other");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let invalid = error("token_invalid", "The token is not valid", 401);
    for (row, bad) in [
        ("another tenant", format!("{head}.{}.{signature}", encoded(&promoted))),
        ("another signature", format!("{head}.{payload}.{flipped}{}", &signature[1..])),
        ("no signature", format!("{head}.{payload}.")),
        (
            "the algorithm none",
            format!("{}.{payload}.{signature}", encoded(&json!({ "alg": "none", "typ": "at+jwt" }))),
        ),
        ("a key", "0".repeat(64)),
        ("a word", "token".to_owned()),
    ] {
        let response = ask(&contract, &bad, &[]);
        assert_eq!((response.status, response.json()), (401, invalid.clone()), "{row}");
        assert!(response.field("www-authenticate").is_some(), "{row}");
    }
    let two = [("Authorization", format!("Bearer {token}")), ("Authorization", format!("Bearer {token}x"))];
    let two: Vec<_> = two.iter().map(|(name, value)| (*name, value.as_str())).collect();
    check(&contract.gate.get(PATH, &two), 400, &error("credentials_conflict", "Send one credential, once", 400));
    assert!(contract.upstream.received().is_empty());
    assert_eq!(ask(&contract, &token, &[]).status, 200);
}

#[test]
fn flex_08_a_token_is_good_until_it_says_and_no_longer() {
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_ACCESS_TTL", "2s")]);
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let token = token(&mut contract, "ada");
    let expires = claims(&token)["exp"].as_i64().unwrap();
    let begun = Instant::now();
    let refused = loop {
        let before = now_s();
        let response = ask(&contract, &token, &[]);
        if response.status != 200 {
            break response;
        }
        assert!(before < expires, "it is good for longer than it says");
        assert!(begun.elapsed() < Duration::from_secs(20), "it is good for ever");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(now_s() >= expires, "it was not good for as long as it says");
    check(&refused, 401, &error("token_expired", "The token has expired", 401));
}
