//! Contract X: what is settled where its document is silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::{MAPPED, PATH, ask, check, error, map, now_s, post, send, text, token, user, written};
use crate::client::Response;
use crate::contract::{Contract, PASSWORD};

const KEYS: &str = "/v1/secrets/api/keys";

/// A refusal of keygate itself, with any words.
#[track_caller]
fn shaped(row: &str, response: &Response, status: u16, code: &str) {
    let body = response.json();
    let message = body["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{row}: {response:?}");
    assert_eq!((response.status, &body), (status, &error(code, message, status)), "{row}");
    assert_eq!(response.field("content-type"), Some("application/json"), "{row}");
    assert_eq!(response.field("cache-control"), Some("no-store"), "{row}");
    assert_eq!(response.field("www-authenticate").is_some(), status == 401, "{row}");
}

#[test]
fn flex_settled_errors_every_refusal_has_the_shape_of_the_contract() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    let secret = key.secret.as_str();
    let key = ("X-API-Key", secret);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let large = "x".repeat(70_000);
    let as_json = ("Content-Type", "application/json");
    let rows = [
        ("a path that can be read in two ways", "GET", "/v1/a%2fb", vec![key], "", 400, "bad_request"),
        ("a path with NUL", "GET", "/v1/%00", vec![key], "", 400, "bad_request"),
        ("no media type", "POST", KEYS, vec![key], "{}", 415, "content_unsupported"),
        ("another media type", "POST", KEYS, vec![key, form], "name=n", 415, "content_unsupported"),
        (
            "encoded content",
            "POST",
            KEYS,
            vec![key, as_json, ("Content-Encoding", "gzip")],
            "x",
            415,
            "content_unsupported",
        ),
        ("too much content", "POST", KEYS, vec![key, as_json], &large, 413, "content_too_large"),
        ("no JSON", "POST", KEYS, vec![key, as_json], "{", 400, "validation_error"),
        ("another provider", "POST", "/v1/webhooks/nobody/t/e", vec![], "", 404, "not_found"),
        ("no key of this id", "DELETE", "/v1/secrets/api/keys/nobody", vec![key], "", 404, "not_found"),
        ("no credentials", "GET", PATH, vec![], "", 401, "credentials_missing"),
        ("no credentials for an operation", "POST", KEYS, vec![as_json], "{}", 401, "credentials_missing"),
    ];
    for (row, method, path, fields, content, status, code) in &rows {
        let response = contract.gate.client().request(method, path, fields, content.as_bytes());
        shaped(row, &response, *status, code);
    }
    for (method, path, allow) in [
        ("GET", "/v1/auth/login", "POST"),
        ("PATCH", KEYS, "GET, HEAD, POST"),
        ("PUT", "/v1/secrets/api/keys/key_1", "DELETE"),
        ("POST", "/v1/customers/portal/cust-1", "GET"),
    ] {
        let response = contract.gate.client().request(method, path, &[key], b"");
        shaped(path, &response, 405, "method_not_allowed");
        assert_eq!(response.field("allow"), Some(allow), "{method} {path}");
    }
    assert!(contract.upstream.received().is_empty());

    // The store is gone from under the gateway.
    std::fs::remove_file(contract.folder().join("keygate.db")).unwrap();
    let made = send(&contract, "POST", KEYS, &[key], r#"{"name":"n","type":"private_key"}"#);
    shaped("no store", &made, 503, "service_unavailable");
}

#[test]
fn flex_settled_errors_of_the_upstream_have_the_shape_of_the_contract() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    // Its queue is full, and nobody takes anything out of it: a connection is never made and never refused.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let deaf = full.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _in_progress = socket.connect(&deaf.into());
            socket
        })
        .collect();
    for (address, status, patience) in [(nobody, 502, 5), (deaf, 504, 15)] {
        let mut contract = Contract::start_with("flexprice", &[("KEYGATE_UPSTREAM", &format!("http://{address}"))]);
        let key = contract.key("production", &[]);
        let begun = Instant::now();
        shaped("an upstream that is away", &ask(&contract, &key.secret), status, "service_unavailable");
        assert!(begun.elapsed() < Duration::from_secs(patience));
    }
    drop(waiting);
}

#[test]
fn flex_settled_401_bears_a_challenge_and_what_holds_a_secret_is_not_stored() {
    let (_folder, path) = written(&map());
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let key = contract.key("production", &["--tenant", "acme"]);
    for (row, path, fields) in [
        ("no key", PATH, &[][..]),
        ("an unknown key", PATH, &[("X-API-Key", "unknown")]),
        ("no session", "/v1/customer/portal", &[]),
        ("an unknown session", "/v1/customer/portal", &[("X-Session-Token", "unknown")]),
        ("a key in place of a session", "/v1/customer/portal", &[("X-API-Key", &key.secret)]),
    ] {
        let refused = contract.gate.get(path, fields);
        assert_eq!(
            (refused.status, refused.field("www-authenticate")),
            (401, Some("ApiKey realm=\"keygate\"")),
            "{row}"
        );
        assert_eq!(refused.field("cache-control"), Some("no-store"), "{row}");
    }
    let bearer = contract.gate.get(PATH, &[("Authorization", "Bearer eyJ.a.b")]);
    assert_eq!(bearer.status, 401);
    assert!(bearer.field("www-authenticate").is_some() && bearer.field("cache-control") == Some("no-store"));
    // Known, but not active: nothing that other credentials would be asked for with.
    let inactive = ask(&contract, MAPPED[1].0);
    assert_eq!((inactive.status, inactive.field("www-authenticate")), (403, None));

    let api_key = [("X-API-Key", key.secret.as_str())];
    let login = json!({ "email": "ada@example.com", "password": PASSWORD });
    for (row, response, pointer) in [
        ("a login", post(&contract, "/v1/auth/login", &[], &login), "/token"),
        ("a key", post(&contract, KEYS, &api_key, &json!({ "name": "n", "type": "private_key" })), "/api_key"),
        ("a session", contract.gate.get("/v1/customers/portal/cust-1", &api_key), "/token"),
    ] {
        let secret = text(&response.json(), pointer);
        contract.gate.watch_for_secret(&secret);
        assert_eq!(response.field("cache-control"), Some("no-store"), "{row}");
    }
}

#[test]
fn flex_settled_credentials_that_are_empty_malformed_or_doubled() {
    let mut contract = Contract::start("flexprice");
    let (key, other) = (contract.key("production", &[]), contract.key("production", &[]));
    user(&mut contract, "ada", &["--tenant", "acme"]);
    let bearer = format!("Bearer {}", token(&mut contract, "ada"));
    let (first, second) = (("X-API-Key", key.secret.as_str()), ("X-API-Key", other.secret.as_str()));
    let missing = error("credentials_missing", "Send credentials with the request", 401);
    let malformed = error("credentials_malformed", "What was sent cannot be good credentials", 401);
    let conflict = error("credentials_conflict", "Send one credential, once", 400);
    let (list, long) = (format!("{}, {}", key.secret, other.secret), "a".repeat(513));
    let quoted = format!("\"{}\"", key.secret);
    for (row, fields, status, body) in [
        ("empty", &[("X-API-Key", "")][..], 401, Some(&missing)),
        ("blank", &[("X-API-Key", "  \t")], 401, Some(&missing)),
        ("an empty bearer", &[("Authorization", "Bearer ")], 401, Some(&missing)),
        ("another scheme", &[("Authorization", "Basic YTpi")], 401, Some(&missing)),
        ("a list", &[("X-API-Key", &list)], 401, Some(&malformed)),
        ("too long", &[("X-API-Key", &long)], 401, Some(&malformed)),
        ("no ASCII", &[("X-API-Key", "cl\u{e9}")], 401, Some(&malformed)),
        ("two keys", &[first, second], 400, Some(&conflict)),
        ("two keys, one of them of nobody", &[("X-API-Key", "nobody"), first], 400, Some(&conflict)),
        ("a key and a token", &[first, ("Authorization", &bearer)], 400, Some(&conflict)),
        ("the same key twice", &[first, first], 200, None),
        ("a key and an empty one", &[("X-API-Key", ""), first], 200, None),
        ("a key with blanks around", &[("X-API-Key", &format!(" {} ", key.secret))], 200, None),
        ("the field in other letters", &[("x-aPI-kEY", &key.secret)], 200, None),
        ("quoted", &[("X-API-Key", &quoted)], 401, None),
    ] {
        let response = contract.gate.get(PATH, fields);
        assert_eq!(response.status, status, "{row}: {response:?}");
        if let Some(body) = body {
            check(&response, status, body);
        }
    }
    assert!(contract.upstream.received().iter().all(|seen| !seen.mentions(&key.secret)));
}

#[test]
fn flex_settled_limits_there_are_none_and_no_proxy_is_trusted() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &[]);
    let mut client = contract.gate.client();
    for number in 0..300 {
        let wrong = format!("{number:064x}");
        let fields = [("X-API-Key", if number % 2 == 0 { wrong.as_str() } else { &key.secret })];
        let response = client.request("GET", PATH, &fields, b"");
        assert_eq!(response.status, if number % 2 == 0 { 401 } else { 200 }, "request {number}");
        assert!(response.fields.iter().all(|(name, _)| !name.contains("ratelimit")), "{response:?}");
    }
    let forwarded = [("X-API-Key", key.secret.as_str()), ("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=evil")];
    assert_eq!(contract.gate.get(PATH, &forwarded).status, 200);
    let seen = contract.upstream.last();
    assert!(!seen.mentions("203.0.113.9") && !seen.mentions("evil"), "{}", seen.head);
}

#[test]
fn flex_settled_03_05_a_deleted_key_is_unknown_and_only_an_inactive_one_is_403() {
    let mut contract = Contract::start("flexprice");
    user(&mut contract, "off", &["--tenant", "acme"]);
    let manager = contract.key("production", &["--tenant", "acme"]);
    let soon = jiff::Timestamp::from_second(now_s() + 3).unwrap().to_string();
    let create = |contract: &mut Contract, name: &str, more: &[&str]| {
        contract.key("production", &[&["--tenant", "acme", "--id", name], more].concat())
    };
    let keys = [
        (create(&mut contract, "good", &[]), 200, "", "published"),
        (create(&mut contract, "inactive", &[]), 403, "permission_denied", "inactive"),
        (create(&mut contract, "of-user", &["--user", "off"]), 403, "permission_denied", "inactive"),
        (create(&mut contract, "revoked", &[]), 401, "key_revoked", "archived"),
        (create(&mut contract, "expired", &["--expires-at", &soon]), 401, "key_expired", "archived"),
        (create(&mut contract, "deleted", &[]), 401, "key_unknown", ""),
    ];
    contract.keygate(&["keys", "deactivate", "inactive"]);
    contract.keygate(&["users", "disable", "off"]);
    contract.keygate(&["keys", "revoke", "revoked"]);
    contract.keygate(&["keys", "delete", "deleted"]);
    while now_s() < soon.parse::<jiff::Timestamp>().unwrap().as_second() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let listed = contract.gate.get(KEYS, &[("X-API-Key", &manager.secret)]).json();
    let items = listed["items"].as_array().unwrap();
    for (key, status, code, word) in &keys {
        let response = ask(&contract, &key.secret);
        assert_eq!(response.status, *status, "{}", key.id);
        if *status != 200 {
            shaped(&key.id, &response, *status, code);
        }
        let shown: Vec<&Value> = items.iter().filter(|item| item["id"] == key.id.as_str()).collect();
        let words: Vec<&str> = shown.iter().filter_map(|item| item["status"].as_str()).collect();
        assert_eq!(words.join(" "), *word, "{}", key.id);
    }
}
