//! Contract X: keys that are managed with keys.

use std::time::Duration;

use serde_json::{Value, json};

use super::{MAPPED, ask, check, error, map, now_s, post, seconds, send, text, written};
use crate::client::Response;
use crate::contract::{Contract, Made};

const KEYS: &str = "/v1/secrets/api/keys";

/// A key of the management that acts for this tenant.
fn key_of(contract: &mut Contract, tenant: &str) -> Made {
    contract.key("production", &["--tenant", tenant])
}

/// Makes a key with another one: what was answered.
#[track_caller]
fn create(contract: &mut Contract, secret: &str, name: &str) -> Value {
    create_with(contract, &[("X-API-Key", secret)], &json!({ "name": name, "type": "private_key" }))
}

#[track_caller]
fn create_with(contract: &mut Contract, fields: &[(&str, &str)], content: &Value) -> Value {
    let response = post(contract, KEYS, fields, content);
    assert_eq!(response.status, 201, "{response:?}");
    let made = response.json();
    contract.gate.watch_for_secret(&text(&made, "/api_key"));
    made
}

/// The keys that somebody sees, with this query.
#[track_caller]
fn list(contract: &Contract, secret: &str, query: &str) -> Value {
    let response = contract.gate.get(&format!("{KEYS}{query}"), &[("X-API-Key", secret)]);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// The names of the keys of a list, in its order.
fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| text(item, "/name")).collect()
}

fn delete(contract: &Contract, secret: &str, id: &str) -> Response {
    contract.gate.client().request("DELETE", &format!("{KEYS}/{id}"), &[("X-API-Key", secret)], b"")
}

#[test]
fn flex_03_a_key_makes_lists_and_deletes_another() {
    let mut contract = Contract::start("flexprice");
    let user = contract.keygate(&["users", "create", "--login", "ada@example.com", "--role", "member"]);
    let user = text(&user, "/id");
    let creator = contract.key("production", &["--tenant", "acme", "--user", &user]);
    let asked = json!({ "name": "Billing", "type": "publishable_key", "expires_at": "2099-01-31T00:00:00Z" });
    let before = now_s();
    let response = post(&contract, KEYS, &[("X-API-Key", &creator.secret)], &asked);
    assert_eq!((response.status, response.field("content-type")), (201, Some("application/json")));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let made = response.json();
    let (id, secret) = (text(&made, "/secret/id"), text(&made, "/api_key"));
    contract.gate.watch_for_secret(&secret);
    let created = text(&made, "/secret/created_at");
    assert!((before..=now_s()).contains(&seconds(&created)), "{created}");
    assert!(secret.len() == 64 && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{secret}");
    let mut shown = json!({
        "id": id,
        "name": "Billing",
        "type": "publishable_key",
        "provider": "flexprice",
        "display_id": &secret[..16],
        "roles": [],
        "user_id": user,
        "expires_at": "2099-01-31T00:00:00Z",
        "last_used_at": null,
        "status": "published",
        "created_at": created,
        "updated_at": created,
    });
    assert_eq!(made, json!({ "secret": shown, "api_key": secret }));

    // It is in force, for the tenant, the user and the environment of its creator.
    assert_eq!(ask(&contract, &secret).status, 200);
    let seen = contract.upstream.last();
    assert_eq!(
        ["X-Tenant-ID", "X-User-ID", "X-Environment-ID"].map(|name| seen.value(name).to_owned()),
        ["acme", &user, "production"]
    );

    // No list shows a secret, and when a key was used is known at once.
    let response = contract.gate.get(KEYS, &[("X-API-Key", &creator.secret)]);
    assert_eq!((response.status, response.field("content-type")), (200, Some("application/json")));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    for secret in [&secret, &creator.secret] {
        assert!(!response.text().contains(&secret[..17]), "more than the first 16 characters: {}", response.text());
    }
    let listed = response.json();
    assert_eq!(listed["pagination"], json!({ "total": 2, "limit": 50, "offset": 0 }));
    let used = text(&listed, "/items/1/last_used_at");
    assert!((before..=now_s()).contains(&seconds(&used)), "{used}");
    shown["last_used_at"] = json!(used);
    assert_eq!(listed["items"][1], shown);

    let response = delete(&contract, &creator.secret, &id);
    assert_eq!((response.status, response.content.as_slice()), (204, &b""[..]));
    check(&ask(&contract, &secret), 401, &error("key_unknown", "The API key is not known here", 401));
    check(&delete(&contract, &creator.secret, &id), 404, &error("not_found", "There is no such key", 404));
    assert_eq!(list(&contract, &creator.secret, "")["pagination"]["total"], 1);
}

#[test]
fn flex_03_a_key_of_the_map_makes_keys_for_its_tenant_and_user() {
    let (_folder, path) = written(&map());
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    let made = create(&mut contract, MAPPED[0].0, "Made by a mapped key");
    assert_eq!(made["secret"]["user_id"], "user-1");
    let secret = text(&made, "/api_key");
    let fields = [("X-API-Key", secret.as_str()), ("X-Environment-ID", "chosen")];
    assert_eq!(contract.gate.get("/v1/customers", &fields).status, 200);
    let seen = contract.upstream.last();
    assert_eq!((seen.value("X-Tenant-ID"), seen.value("X-User-ID")), ("tenant-1", "user-1"));
    assert_eq!(seen.value("X-Environment-ID"), "chosen", "its creator is bound to no environment, and so is it");

    // What was asked for is what the key is bound to.
    let chosen = [("X-API-Key", MAPPED[0].0), ("X-Environment-ID", "env-1")];
    let bound = create_with(&mut contract, &chosen, &json!({ "name": "Bound", "type": "private_key" }));
    let bound = text(&bound, "/api_key");
    let steered = [("X-API-Key", bound.as_str()), ("X-Environment-ID", "env-2")];
    assert_eq!(contract.gate.get("/v1/customers", &steered).status, 200);
    assert_eq!(contract.upstream.last().value("X-Environment-ID"), "env-1");
    assert_eq!(names(&list(&contract, &bound, "")), ["Bound"], "a bound key sees its environment alone");

    // The map is no part of the store: its keys are not listed, and cannot be deleted over the API.
    assert_eq!(names(&list(&contract, MAPPED[0].0, "")), ["Made by a mapped key", "Bound"]);
    let inactive = post(&contract, KEYS, &[("X-API-Key", MAPPED[1].0)], &json!({ "name": "n", "type": "private_key" }));
    assert_eq!(inactive.status, 403);
}

#[test]
fn flex_03_lists_have_pages() {
    let mut contract = Contract::start("flexprice");
    let creator = key_of(&mut contract, "acme");
    for number in 1..=4 {
        create(&mut contract, &creator.secret, &format!("Key {number}"));
    }
    for (query, expected, limit, offset) in [
        ("", &["A key", "Key 1", "Key 2", "Key 3", "Key 4"][..], 50, 0),
        ("?limit=2", &["A key", "Key 1"], 2, 0),
        ("?limit=2&offset=2", &["Key 2", "Key 3"], 2, 2),
        ("?limit=2&offset=4", &["Key 4"], 2, 4),
        ("?offset=5", &[], 50, 5),
        ("?limit=1000&offset=1&something=else", &["Key 1", "Key 2", "Key 3", "Key 4"], 1000, 1),
    ] {
        let listed = list(&contract, &creator.secret, query);
        assert_eq!(names(&listed), expected, "{query}");
        assert_eq!(listed["pagination"], json!({ "total": 5, "limit": limit, "offset": offset }), "{query}");
    }
    let refused = |query: &str| contract.gate.get(&format!("{KEYS}{query}"), &[("X-API-Key", &creator.secret)]);
    let limit = "`limit` must be a whole number from 1 to 1000";
    for (query, message) in [
        ("?limit=0", limit),
        ("?limit=1001", limit),
        ("?limit=ten", limit),
        ("?limit=", limit),
        ("?limit=-1", limit),
        ("?offset=-1", "`offset` must be a whole number from 0 to 1000000"),
        ("?limit=1&limit=2", "`limit` stands twice in the query"),
        ("?status=deleted", "there is no such state"),
    ] {
        check(&refused(query), 400, &error("validation_error", message, 400));
    }
    let head = contract.gate.client().request("HEAD", KEYS, &[("X-API-Key", &creator.secret)], b"");
    assert_eq!((head.status, head.content.len()), (200, 0));
}

/// What a key is called in a list and what a list is asked for are the same: a key that has expired is archived in both.
#[test]
fn flex_03_lists_can_be_asked_for_one_status() {
    let mut contract = Contract::start("flexprice");
    let creator = key_of(&mut contract, "acme");
    let mut ids = Vec::new();
    for name in ["Good", "Off", "Revoked"] {
        ids.push(text(&create(&mut contract, &creator.secret, name), "/secret/id"));
    }
    contract.keygate(&["keys", "deactivate", &ids[1]]);
    contract.keygate(&["keys", "revoke", &ids[2]]);
    let soon = jiff::Timestamp::from_second(now_s() + 3).unwrap().to_string();
    let asked = json!({ "name": "Short", "type": "private_key", "expires_at": soon });
    let short = create_with(&mut contract, &[("X-API-Key", &creator.secret)], &asked);
    assert_eq!(text(&short, "/secret/expires_at"), soon);
    let short = text(&short, "/api_key");
    let begun = std::time::Instant::now();
    while ask(&contract, &short).status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never expires");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(now_s() >= seconds(&soon), "not before its time");
    check(&ask(&contract, &short), 401, &error("key_expired", "The API key has expired", 401));
    for (status, expected) in
        [("published", &["A key", "Good"][..]), ("inactive", &["Off"]), ("archived", &["Revoked", "Short"])]
    {
        let listed = list(&contract, &creator.secret, &format!("?status={status}"));
        assert_eq!(names(&listed), expected, "{status}");
        assert_eq!(listed["pagination"]["total"], expected.len(), "{status}");
        assert!(listed["items"].as_array().unwrap().iter().all(|item| item["status"] == status), "{listed}");
    }
    assert_eq!(list(&contract, &creator.secret, "")["pagination"]["total"], 5);
}

#[test]
fn flex_03_keys_of_others_are_not_there() {
    let mut contract = Contract::start("flexprice");
    let (acme, other) = (key_of(&mut contract, "acme"), key_of(&mut contract, "other"));
    let (sandbox, nobody) = (contract.key("sandbox", &["--tenant", "acme"]), contract.key("production", &[]));
    let mine = text(&create(&mut contract, &acme.secret, "Mine"), "/secret/id");
    for (secret, expected) in [
        (&acme.secret, &["A key", "Mine"][..]),
        (&other.secret, &["A key"]),
        (&sandbox.secret, &["A key"]),
        (&nobody.secret, &["A key"]),
    ] {
        let listed = list(&contract, secret, "");
        assert_eq!(names(&listed), expected);
        assert_eq!(listed["pagination"]["total"], expected.len());
    }
    let unknown = delete(&contract, &other.secret, "key_that_never_was");
    for secret in [&other.secret, &sandbox.secret, &nobody.secret] {
        let refused = delete(&contract, secret, &mine);
        assert_eq!((refused.status, &refused.content), (404, &unknown.content), "as if it were not there");
    }
    assert_eq!(names(&list(&contract, &acme.secret, "")), ["A key", "Mine"]);
    // A key may delete itself, and that is the last thing it does.
    assert_eq!(delete(&contract, &acme.secret, &acme.id).status, 204);
    assert_eq!(delete(&contract, &acme.secret, &mine).status, 401);
}

#[test]
fn flex_03_nobody_gives_more_than_they_have() {
    let mut contract = Contract::start("flexprice");
    let creator = contract.key("production", &["--tenant", "acme", "--expires-at", "2090-01-01T00:00:00Z"]);
    for (asked, expected) in [
        (Value::Null, "2090-01-01T00:00:00Z"),
        (json!("2099-01-01T00:00:00Z"), "2090-01-01T00:00:00Z"),
        (json!("2080-01-01T02:00:00+02:00"), "2080-01-01T00:00:00Z"),
    ] {
        let content = json!({
            "name": "Heir", "type": "private_key", "expires_at": asked,
            // No part of what can be asked for.
            "tenant_id": "other", "environment_id": "other", "user_id": "other", "roles": ["member"], "permissions": ["*"],
        });
        let made = create_with(&mut contract, &[("X-API-Key", &creator.secret)], &content);
        assert_eq!(text(&made, "/secret/expires_at"), expected);
        assert_eq!((&made["secret"]["roles"], &made["secret"]["user_id"]), (&json!([]), &Value::Null));
        assert_eq!(ask(&contract, &text(&made, "/api_key")).status, 200);
        let seen = contract.upstream.last();
        assert_eq!((seen.value("X-Tenant-ID"), seen.value("X-Environment-ID")), ("acme", "production"));
        assert!(seen.values("X-User-ID").is_empty());
    }
}

#[test]
fn flex_03_what_is_not_asked_for_rightly_is_400_in_the_shape_of_the_contract() {
    let mut contract = Contract::start("flexprice");
    let creator = key_of(&mut contract, "acme");
    let long = "x".repeat(129);
    let long_name = json!({ "name": long, "type": "private_key" }).to_string();
    let name = "`name` must be a text of 1 to 128 characters";
    let kind = "`type` must be one of private_key, publishable_key";
    let time = "`expires_at` must be a time such as 2027-01-31T00:00:00Z (RFC 3339)";
    for (content, message) in [
        (r#"{"type":"private_key"}"#, "`name` is missing"),
        (r#"{"name":null,"type":"private_key"}"#, "`name` is missing"),
        (r#"{"name":7,"type":"private_key"}"#, name),
        (r#"{"name":["n"],"type":"private_key"}"#, name),
        (r#"{"name":"","type":"private_key"}"#, name),
        (&long_name, name),
        (r#"{"name":"a\u0000b","type":"private_key"}"#, "`name` must have no control characters"),
        (r#"{"name":"n"}"#, "`type` is missing"),
        (r#"{"name":"n","type":null}"#, "`type` is missing"),
        (r#"{"name":"n","type":"integration"}"#, kind),
        (r#"{"name":"n","type":"Private_Key"}"#, kind),
        (r#"{"name":"n","type":true}"#, "`type` must be a text of 1 to 256 characters"),
        (r#"{"name":"n","type":"private_key","expires_at":"tomorrow"}"#, time),
        (r#"{"name":"n","type":"private_key","expires_at":"2099-01-31T00:00:00"}"#, time),
        (r#"{"name":"n","type":"private_key","expires_at":4070908800}"#, time),
        (
            r#"{"name":"n","type":"private_key","expires_at":"2001-01-01T00:00:00Z"}"#,
            "the key would have expired already",
        ),
        ("[]", "the content must be an object"),
        ("\"text\"", "the content must be an object"),
    ] {
        let response = send(&contract, "POST", KEYS, &[("X-API-Key", &creator.secret)], content);
        check(&response, 400, &error("validation_error", message, 400));
    }
    // What is no JSON, or can be read in two ways, is told by a parser whose words are its own.
    for content in
        ["", "{", "{}{}", "{'name':'n'}", r#"{"name":"n","type":"private_key","name":"m"}"#, "{\"name\":\"\u{0}\"}"]
    {
        let response = send(&contract, "POST", KEYS, &[("X-API-Key", &creator.secret)], content);
        assert_eq!((response.status, response.code().as_str()), (400, "validation_error"), "{content}");
    }
    assert_eq!(names(&list(&contract, &creator.secret, "")), ["A key"], "nothing of all that was made");
    assert!(contract.upstream.received().is_empty());
}
