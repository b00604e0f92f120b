//! Contract X: sessions of customers.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{MAPPED, check, error, map, now_s, seconds, text, token, user, written};
use crate::client::Response;
use crate::contract::Contract;

const INVOICES: &str = "/v1/customer/portal/invoices?page=2";

/// Asks for a session of a customer.
fn session(contract: &Contract, customer: &str, fields: &[(&str, &str)]) -> Response {
    contract.gate.get(&format!("/v1/customers/portal/{customer}"), fields)
}

/// The token of a session that is made with this key.
#[track_caller]
fn session_token(contract: &mut Contract, customer: &str, secret: &str) -> String {
    let response = session(contract, customer, &[("X-API-Key", secret)]);
    assert_eq!(response.status, 200, "{response:?}");
    let token = text(&response.json(), "/token");
    contract.gate.watch_for_secret(&token);
    token
}

fn visit(contract: &Contract, token: &str) -> Response {
    contract.gate.get(INVOICES, &[("X-Session-Token", token)])
}

#[test]
fn flex_06_a_key_gets_a_session_for_one_customer() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    let before = now_s();
    let response = session(&contract, "cust-1", &[("X-API-Key", &key.secret)]);
    assert_eq!((response.status, response.field("content-type")), (200, Some("application/json")));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let made = response.json();
    let (session_token, expires) = (text(&made, "/token"), text(&made, "/expires_at"));
    contract.gate.watch_for_secret(&session_token);
    let url = format!("https://portal.flexprice.io/?token={session_token}");
    assert_eq!(made, json!({ "url": url, "token": session_token, "expires_at": expires }));
    assert!((before + 3600..=now_s() + 3600).contains(&seconds(&expires)), "{expires}");
    assert!(session_token.len() > 40 && session_token.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()));
    assert!(contract.upstream.received().is_empty(), "keygate answers itself");

    let forged = [
        ("X-Session-Token", session_token.as_str()),
        ("X-Tenant-ID", "evil"),
        ("X-Environment-ID", "evil"),
        ("X-Customer-ID", "evil"),
        ("x_customer_id", "evil"),
        ("X-User-ID", "evil"),
        ("X-Keygate-Customer", "evil"),
        ("Connection", "X-Customer-ID"),
    ];
    assert_eq!(contract.gate.get(INVOICES, &forged).text(), "hello");
    let seen = contract.upstream.last();
    assert!(seen.head.starts_with(&format!("GET {INVOICES} HTTP/1.1\r\n")), "{}", seen.head);
    let told = ["X-Tenant-ID", "X-Environment-ID", "X-Customer-ID"].map(|name| seen.value(name).to_owned());
    assert_eq!(told, ["acme", "production", "cust-1"]);
    assert!(!seen.mentions("evil") && !seen.mentions(&session_token), "{}", seen.head);
    assert!(seen.values("X-User-ID").is_empty() && seen.values("X-Session-Token").is_empty());

    let listed = contract.keygate(&["sessions", "list"]);
    assert_eq!((listed[0]["customer"].as_str(), listed[0]["tenant"].as_str()), (Some("cust-1"), Some("acme")));
    assert!(!listed.to_string().contains(&session_token), "{listed}");
    for entry in std::fs::read_dir(contract.folder()).unwrap().flatten() {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        let found = content.windows(session_token.len()).any(|window| window == session_token.as_bytes());
        assert!(!found, "the token is in {}", entry.path().display());
    }
}

#[test]
fn flex_06_the_portal_takes_sessions_and_nothing_else() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let bearer = format!("Bearer {}", token(&mut contract, "ada"));
    let good = session_token(&mut contract, "cust-1", &key.secret);
    let as_bearer = format!("Bearer {good}");
    let refused = |code: &str, message: &str| error(code, message, 401);
    let missing = refused("credentials_missing", "Send credentials with the request");
    let rows = [
        (&[][..], &missing),
        (&[("X-Session-Token", "")], &missing),
        (&[("X-API-Key", &key.secret)], &refused("key_not_accepted", "API keys are not accepted here")),
        (&[("X-API-Key", &"0".repeat(64))], &refused("key_unknown", "The API key is not known here")),
        (&[("Authorization", &bearer)], &refused("token_not_accepted", "Tokens are not accepted here")),
        (&[("Authorization", &as_bearer)], &refused("token_not_accepted", "Tokens are not accepted here")),
        (&[("X-Session-Token", &key.secret)], &refused("session_ended", "The session has ended")),
        (&[("X-Session-Token", "st_nobody")], &refused("session_ended", "The session has ended")),
        (
            &[("X-Session-Token", "two words")],
            &refused("credentials_malformed", "What was sent cannot be good credentials"),
        ),
    ];
    // However the path is written: what the API would take for the portal is the portal.
    let paths = [
        "/v1/customer/portal",
        "/v1/customer/portal/",
        "/v1/customer/portal/invoices/7?x=y",
        "/v1/customer/%70ortal/invoices",
    ];
    for path in paths {
        for (fields, body) in &rows {
            let response = contract.gate.get(path, fields);
            check(&response, 401, body);
            assert!(response.field("www-authenticate").unwrap().starts_with("ApiKey"), "{path}");
        }
    }
    for path in ["/v1//customer/portal", "/v1/customer/./portal", "/v1/customer/x/../portal", "/v1/customer%2fportal"] {
        let response = contract.gate.get(path, &[("X-API-Key", &key.secret)]);
        let portal = contract.upstream.received().iter().any(|seen| seen.head.contains("portal"));
        assert!(!portal || response.status != 200, "{path} leads to the portal without a session");
    }
    let two = [("X-Session-Token", good.as_str()), ("X-Session-Token", "st_another")];
    let conflict = error("credentials_conflict", "Send one credential, once", 400);
    check(&contract.gate.get(INVOICES, &two), 400, &conflict);
    assert!(contract.upstream.received().is_empty());

    // A session is good for its customer alone, whatever else a request bears; nothing of that goes on.
    let all = [("X-Session-Token", good.as_str()), ("X-API-Key", &key.secret), ("Authorization", &bearer)];
    assert_eq!(contract.gate.get(INVOICES, &all).status, 200);
    let seen = contract.upstream.last();
    assert_eq!((seen.value("X-Customer-ID"), seen.values("X-User-ID")), ("cust-1", vec![]));
    assert!(seen.values("X-API-Key").is_empty() && seen.values("Authorization").is_empty(), "{}", seen.head);
}

#[test]
fn flex_06_a_session_opens_nothing_but_the_portal() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    let good = session_token(&mut contract, "cust-1", &key.secret);
    let bearer = format!("Bearer {good}");
    let missing = error("credentials_missing", "Send credentials with the request", 401);
    let unknown = error("key_unknown", "The API key is not known here", 401);
    for (method, path) in [
        ("GET", "/v1/customers"),
        ("GET", "/v1/customers/portal/cust-2"),
        ("GET", "/v1/secrets/api/keys"),
        ("DELETE", "/v1/secrets/api/keys/key_1"),
        ("GET", "/v1/customer/portals"),
        ("GET", "/v1/customer/portal.json"),
    ] {
        let ask = |fields: &[(&str, &str)]| contract.gate.client().request(method, path, fields, b"");
        check(&ask(&[("X-Session-Token", &good)]), 401, &missing);
        check(&ask(&[("X-API-Key", &good)]), 401, &unknown);
        assert_eq!(ask(&[("Authorization", &bearer)]).status, 401, "{path}");
    }
    assert!(contract.upstream.received().is_empty());
    assert_eq!(visit(&contract, &good).status, 200);
}

#[test]
fn flex_06_a_session_is_made_with_an_api_key_alone() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let bearer = format!("Bearer {}", token(&mut contract, "ada"));
    let refused = error("token_not_accepted", "Tokens are not accepted here", 401);
    check(&session(&contract, "cust-1", &[("Authorization", &bearer)]), 401, &refused);
    assert_eq!(session(&contract, "cust-1", &[]).status, 401);
    let key = contract.key("production", &["--tenant", "acme"]);
    for customer in ["a%20b", "%C3%A9", &"x".repeat(129), "a%0d%0ax"] {
        let response = session(&contract, customer, &[("X-API-Key", &key.secret)]);
        assert_eq!(response.status, 400, "{customer}: {response:?}");
    }
    let message = "the customer must be 1 to 128 visible ASCII characters";
    let response = session(&contract, "a%20b", &[("X-API-Key", &key.secret)]);
    check(&response, 400, &error("validation_error", message, 400));
    for (customer, expected) in [("user%40example.com", "user@example.com"), ("a.b_c~d", "a.b_c~d")] {
        let made = session_token(&mut contract, customer, &key.secret);
        assert_eq!(visit(&contract, &made).status, 200);
        assert_eq!(contract.upstream.last().value("X-Customer-ID"), expected);
    }
}

#[test]
fn flex_06_a_session_stays_in_the_environment_for_which_it_was_made() {
    let (_folder, path) = written(&map());
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    for (asked, expected) in [(&[("X-Environment-ID", "env-1")][..], &["env-1"][..]), (&[], &[])] {
        let fields = [&[("X-API-Key", MAPPED[0].0)], asked].concat();
        let made = text(&session(&contract, "cust-1", &fields).json(), "/token");
        contract.gate.watch_for_secret(&made);
        let steered = [("X-Session-Token", made.as_str()), ("X-Environment-ID", "env-2")];
        assert_eq!(contract.gate.get(INVOICES, &steered).status, 200);
        let seen = contract.upstream.last();
        assert_eq!((seen.value("X-Tenant-ID"), seen.values("X-Environment-ID")), ("tenant-1", expected.to_vec()));
    }
}

#[test]
fn flex_06_a_session_that_is_over_or_revoked_is_refused_on_the_next_request() {
    let more = [("KEYGATE_SESSION_TTL", "2s"), ("KEYGATE_PORTAL", "https://billing.example/portal")];
    let mut contract = Contract::start_with("flexprice", &more);
    let key = contract.key("production", &["--tenant", "acme"]);
    let ended = error("session_ended", "The session has ended", 401);
    let response = session(&contract, "cust-1", &[("X-API-Key", &key.secret)]).json();
    let (short, expires) = (text(&response, "/token"), seconds(&text(&response, "/expires_at")));
    contract.gate.watch_for_secret(&short);
    assert_eq!(text(&response, "/url"), format!("https://billing.example/portal/?token={short}"));
    let begun = Instant::now();
    while visit(&contract, &short).status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never ends");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(now_s() >= expires, "it ended before its time");
    check(&visit(&contract, &short), 401, &ended);

    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    let first = session_token(&mut contract, "cust-1", &key.secret);
    let second = session_token(&mut contract, "cust-1", &key.secret);
    assert_ne!(first, second);
    assert_eq!((visit(&contract, &first).status, visit(&contract, &second).status), (200, 200));
    let id = text(&contract.keygate(&["sessions", "list", "--customer", "cust-1"]), "/0/id");
    contract.keygate(&["sessions", "revoke", &id]);
    check(&visit(&contract, &first), 401, &ended);
    assert_eq!(visit(&contract, &second).status, 200, "the other one lives on");
}
