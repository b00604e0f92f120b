//! Contract C.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::Response;
use crate::contract::{Contract, Made, PASSWORD};
use crate::gate::Gate;
use crate::upstream::{Then, Upstream, respond};

const PATH: &str = "/api/payment-gateway/process";
const ME: &str = "/api/api-keys/me";
const REGENERATE: &str = "/api/api-keys/me/regenerate";
const LOGIN: &str = "/api/auth/login";

/// The user whom most tests make.
const SELLER: &str = "seller@example.com";

fn started() -> Contract {
    Contract::start("certopay")
}

#[track_caller]
fn ask_at(gate: &Gate, method: &str, path: &str, field: (&str, &str)) -> Response {
    gate.client().request(method, path, &[field], b"")
}

/// With a key.
#[track_caller]
fn ask(contract: &Contract, key: &Made) -> Response {
    ask_at(&contract.gate, "GET", PATH, ("X-Api-Key", &key.secret))
}

/// With a token.
#[track_caller]
fn manage(contract: &Contract, method: &str, path: &str, token: &str) -> Response {
    ask_at(&contract.gate, method, path, ("Authorization", &format!("Bearer {token}")))
}

#[track_caller]
fn check(response: &Response, status: u16, body: &Value) {
    assert_eq!((response.status, &response.json()), (status, body));
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
}

/// A refusal in the flat form, with its challenge if it is a 401.
#[track_caller]
fn refused(response: &Response, status: u16, code: &str) {
    let body = response.json();
    let message = body["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{body}");
    check(response, status, &json!({ "error": code, "message": message }));
    assert_eq!(response.field("www-authenticate").is_some(), status == 401);
}

#[track_caller]
fn post_login(contract: &Contract, email: &str, password: &str) -> Response {
    let content = json!({ "email": email, "password": password }).to_string();
    contract.gate.client().request("POST", LOGIN, &[("Content-Type", "application/json")], content.as_bytes())
}

#[track_caller]
fn log_in(contract: &mut Contract, email: &str) -> String {
    let response = post_login(contract, email, PASSWORD);
    let token = response.json()["accessToken"].as_str().unwrap_or_else(|| panic!("{response:?}")).to_owned();
    check(&response, 200, &json!({ "accessToken": token }));
    contract.gate.watch_for_secret(&token);
    token
}

/// A seller with a key, logged in.
#[track_caller]
fn seller(contract: &mut Contract, more: &[&str]) -> (Made, String) {
    contract.user(SELLER, &["--role", "seller"]);
    let key = contract.key("production", &[&["--user", SELLER], more].concat());
    (key, log_in(contract, SELLER))
}

/// The new key, and what was answered, which must have exactly the contract's form.
#[track_caller]
fn regenerate(contract: &mut Contract, token: &str) -> (Made, Value) {
    let response = manage(contract, "POST", REGENERATE, token);
    let body = response.json();
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    let made = Made { id: text("id"), secret: text("fullKey") };
    check(
        &response,
        200,
        &json!({
            "id": made.id, "label": "A key", "fullKey": made.secret, "active": true, "createdAt": text("createdAt"),
        }),
    );
    just_now(&body["createdAt"]);
    contract.gate.watch_for_secret(&made.secret);
    (made, body)
}

/// A UUID as RFC 9562 writes it.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A time in ISO 8601, UTC, whole seconds, at most a few seconds ago.
#[track_caller]
fn just_now(time: &Value) {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
    let now = jiff::Timestamp::now().as_second();
    let at = text.parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((now - 10..=now).contains(&at), "{text}");
}

#[test]
fn certo_01_every_call_takes_a_key_and_management_a_token() {
    let mut contract = started();
    let (key, token) = seller(&mut contract, &[]);
    for path in [PATH, "/api/orders", "/api/orders/7", "/api/customers", "/api/anything", "/"] {
        assert_eq!(ask_at(&contract.gate, "POST", path, ("x-api-key", &key.secret)).status, 200, "{path}");
        let received = contract.upstream.last();
        assert_eq!(received.value("x-keygate-key-id"), key.id);
        assert!(!received.mentions(&key.secret) && received.head.contains(path), "{}", received.head);
    }
    for (method, path) in [("GET", ME), ("HEAD", ME), ("GET", "/api/api-keys"), ("POST", "/api/api-keys/7/label")] {
        assert_eq!(manage(&contract, method, path, &token).status, 200, "{method} {path}");
    }
    assert!(!contract.upstream.last().mentions(&token), "it ends at the gateway");
    let jwks = contract.gate.get("/.well-known/jwks.json", &[]);
    assert_eq!((jwks.status, jwks.json()["keys"].as_array().map(Vec::len)), (200, Some(1)));
}

#[test]
fn certo_02_the_own_key_is_shown_without_its_secret() {
    let mut contract = started();
    let (key, token) = seller(&mut contract, &[]);
    let prefix = &key.secret[..16];
    assert!(is_uuid(&key.id) && prefix.starts_with("sk_live_"), "{}", key.id);
    let shown = |contract: &Contract| {
        let response = manage(contract, "GET", ME, &token);
        let body = response.json();
        let expected = json!({
            "id": key.id, "label": "A key", "keyPrefix": format!("{prefix}..."),
            "maskedKey": format!("{prefix}...••••••••••"), "active": true, "rateLimit": 100,
            "lastUsedAt": body["lastUsedAt"], "createdAt": body["createdAt"],
        });
        check(&response, 200, &expected);
        just_now(&body["createdAt"]);
        assert!(!response.text().contains(&key.secret));
        body["lastUsedAt"].clone()
    };
    assert_eq!(shown(&contract), Value::Null, "before its first use");
    assert_eq!(ask(&contract, &key).status, 200);
    just_now(&shown(&contract));
    contract.keygate(&["keys", "deactivate", &key.id]);
    assert_eq!(manage(&contract, "GET", ME, &token).json()["active"], false);

    contract.user("large@example.com", &["--role", "seller"]);
    contract.key("production", &["--user", "large@example.com", "--rate-limit", "500"]);
    let large = log_in(&mut contract, "large@example.com");
    assert_eq!(manage(&contract, "GET", ME, &large).json()["rateLimit"], 500);
}

#[test]
fn certo_02_a_key_is_no_credential_for_management() {
    let mut contract = started();
    let (key, token) = seller(&mut contract, &[]);
    for (method, path) in [("GET", ME), ("POST", REGENERATE), ("GET", "/api/api-keys"), ("DELETE", "/api/api-keys/7")] {
        let response = ask_at(&contract.gate, method, path, ("X-Api-Key", &key.secret));
        refused(&response, 403, "insufficient_permissions");
        refused(&ask_at(&contract.gate, method, path, ("X-Api-Key", "sk_live_wrong")), 401, "invalid_api_key");
    }
    let both = [("X-Api-Key", key.secret.as_str()), ("Authorization", &format!("Bearer {token}"))];
    assert_eq!(contract.gate.get(ME, &both).status, 200, "the token is what is asked for");
    assert!(contract.upstream.received().is_empty());
    assert_eq!(ask(&contract, &key).status, 200, "nothing was regenerated");
}

#[test]
fn certo_03_a_regenerated_key_is_dead_at_once_and_everywhere() {
    let mut contract = started();
    let replica = contract.replica();
    let (mut old, token) = seller(&mut contract, &[]);
    let status_at = |gate: &Gate, key: &Made| ask_at(gate, "GET", PATH, ("X-Api-Key", &key.secret)).status;
    for _ in 0..3 {
        assert_eq!((ask(&contract, &old).status, status_at(&replica, &old)), (200, 200));
        let (new, _) = regenerate(&mut contract, &token);
        assert!(is_uuid(&new.id) && new.secret.starts_with("sk_live_") && new.secret != old.secret);
        refused(&ask_at(&replica, "GET", PATH, ("X-Api-Key", &old.secret)), 401, "invalid_api_key");
        refused(&ask(&contract, &old), 401, "invalid_api_key");
        assert_eq!((status_at(&replica, &new), ask(&contract, &new).status), (200, 200));
        let shown = manage(&contract, "GET", ME, &token).json();
        assert_eq!((&shown["id"], &shown["keyPrefix"]), (&json!(new.id), &json!(format!("{}...", &new.secret[..16]))));
        old = new;
    }
    // Through the other one, too.
    let through = ask_at(&replica, "POST", REGENERATE, ("Authorization", &format!("Bearer {token}")));
    assert_eq!(through.status, 200);
    contract.gate.watch_for_secret(through.json()["fullKey"].as_str().unwrap());
    refused(&ask(&contract, &old), 401, "invalid_api_key");
}

#[test]
fn certo_03_a_regeneration_grants_no_fresh_limit() {
    let mut contract = started();
    let (old, token) = seller(&mut contract, &["--rate-limit", "3"]);
    for remaining in [2, 1] {
        assert_eq!(ask(&contract, &old).number("x-ratelimit-remaining"), remaining);
    }
    let (new, _) = regenerate(&mut contract, &token);
    let last = ask(&contract, &new);
    assert_eq!((last.status, last.number("x-ratelimit-limit"), last.number("x-ratelimit-remaining")), (200, 3, 0));
    assert_eq!(ask(&contract, &new).status, 429);
    let (newer, _) = regenerate(&mut contract, &token);
    assert_eq!(ask(&contract, &newer).status, 429);
    let shown = manage(&contract, "GET", ME, &token).json();
    assert_eq!((&shown["rateLimit"], &shown["active"]), (&json!(3), &json!(true)));
}

#[test]
fn certo_04_a_login_gives_a_token_that_says_when_it_ends() {
    let mut contract = started();
    let id = contract.user(SELLER, &["--role", "seller"]);
    let token = log_in(&mut contract, SELLER);
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let expires = claims["exp"].as_i64().unwrap();
    assert!((now + 895..=now + 900).contains(&expires), "a short time: {claims} at {now}");
    assert_eq!(claims["sub"], id);
    for (email, password) in [(SELLER, "cellos over the river"), ("nobody@example.com", PASSWORD)] {
        refused(&post_login(&contract, email, password), 401, "invalid_credentials");
    }
}

#[test]
fn certo_05_a_token_is_not_accepted_where_payments_are_made() {
    let mut contract = started();
    let (_, token) = seller(&mut contract, &[]);
    for path in [PATH, "/api/orders", "/api/customers"] {
        for path in [path.to_owned(), format!("{path}/"), format!("{path}/7"), format!("{path}/7/items")] {
            for method in ["GET", "POST"] {
                let response = manage(&contract, method, &path, &token);
                refused(&response, 401, "invalid_api_key");
                assert_eq!(response.field("www-authenticate"), Some("ApiKey realm=\"keygate\""), "{path}");
            }
        }
    }
    refused(&manage(&contract, "GET", "/api/api-keys/../orders", &token), 401, "invalid_api_key");
    let as_key = ask_at(&contract.gate, "GET", "/api/orders", ("X-Api-Key", &token));
    refused(&as_key, 401, "invalid_api_key");
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn certo_06_a_hundred_in_any_sixty_seconds_and_more_for_whom_it_was_granted() {
    let mut contract = started();
    let (usual, large) = (contract.key("production", &[]), contract.key("production", &["--rate-limit", "150"]));
    let keys = [(&usual, 100), (&large, 150)];
    for (key, granted) in keys {
        let mut client = contract.gate.client();
        let mut ask = || client.request("GET", PATH, &[("X-Api-Key", &key.secret)], b"");
        for used in 1..=granted {
            let response = ask();
            assert_eq!((response.status, response.number("x-ratelimit-limit")), (200, granted), "request {used}");
            assert_eq!(response.number("x-ratelimit-remaining"), granted - used);
        }
        assert_eq!(ask().status, 429);
    }
    // A bucket would have let one more pass by then.
    std::thread::sleep(Duration::from_millis(700));
    for (key, _) in keys {
        assert_eq!(ask(&contract, key).status, 429, "the window rolls: nothing is refilled before its time");
    }
    assert_eq!(contract.upstream.received().len(), 250);
}

#[test]
fn certo_07_over_the_limit_is_told_flat() {
    let mut contract = started();
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
    let mut contract = started();
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
fn certo_08_an_expired_token_is_told_and_a_tampered_one_never_so() {
    let mut contract = Contract::start_with("certopay", &[("KEYGATE_ACCESS_TTL", "1s")]);
    let (_, token) = seller(&mut contract, &[]);
    std::thread::sleep(Duration::from_millis(1100));
    let expired = json!({ "error": "expired_token", "message": "Token has expired; authenticate again" });
    for (method, path) in [("GET", ME), ("POST", REGENERATE), ("GET", "/api/api-keys")] {
        check(&manage(&contract, method, path, &token), 401, &expired);
    }
    refused(&manage(&contract, "GET", "/api/orders", &token), 401, "invalid_api_key");

    let [head, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let mut longer: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    longer["exp"] = json!(4_000_000_000_u64);
    let longer = URL_SAFE_NO_PAD.encode(longer.to_string());
    let mut flipped = signature.as_bytes().to_vec();
    flipped[3] = if flipped[3] == b'A' { b'B' } else { b'A' };
    let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
    for tampered in [
        format!("{head}.{longer}.{signature}"),
        format!("{head}.{payload}.{}", String::from_utf8(flipped).unwrap()),
        format!("{unsigned}.{payload}."),
        format!("{unsigned}.{payload}.AA"),
        format!("{head}.{payload}"),
    ] {
        refused(&manage(&contract, "GET", ME, &tampered), 401, "invalid_api_key");
    }
}

#[test]
fn certo_08_a_key_that_may_not_is_told_so() {
    let mut contract = started();
    let key = contract.key("production", &[]);
    let expected = json!({
        "error": "insufficient_permissions",
        "message": "Key exists but lacks permission for this operation",
    });
    check(&ask_at(&contract.gate, "GET", ME, ("X-Api-Key", &key.secret)), 403, &expected);
}

#[test]
fn certo_09_the_secret_is_nowhere_to_be_found() {
    let mut contract = started();
    let (first, token) = seller(&mut contract, &[]);
    assert_eq!(ask(&contract, &first).status, 200);
    let (second, _) = regenerate(&mut contract, &token);
    assert_eq!(ask(&contract, &second).status, 200);
    let shown = [
        contract.keygate(&["keys", "list"]).to_string(),
        contract.keygate(&["users", "list"]).to_string(),
        manage(&contract, "GET", ME, &token).text(),
    ];
    let files: Vec<_> = std::fs::read_dir(contract.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("keygate.db")), "{files:?}");
    for secret in [&first.secret, &second.secret, &token, PASSWORD] {
        assert!(shown.iter().all(|text| !text.contains(secret)));
        // What is behind the prefix is nowhere either.
        let behind = &secret[secret.len().min(16)..];
        for file in files.iter().filter(|file| file.is_file()) {
            let content = std::fs::read(file).unwrap();
            let found = content.windows(behind.len()).any(|window| window == behind.as_bytes());
            assert!(!found, "a secret is in {}", file.display());
        }
    }
}

/// Of refusals that speak of nobody's credentials.
#[test]
fn certo_settled_every_refusal_has_the_flat_form() {
    let upstream = Upstream::answering(|request, stream| match request.head.split(' ').nth(1) {
        Some("/slow") => {
            std::thread::sleep(Duration::from_secs(2));
            respond(stream, "200 OK", "", b"hello")
        }
        Some("/broken") => Then::Close,
        _ => respond(stream, "200 OK", "", b"hello"),
    });
    let one = format!("upstream: {{ url: \"{upstream}\", connections_max: 1 }}\nworkers: 1");
    let listen = "listen: \"${KEYGATE_LISTEN:-127.0.0.1:8080}\"";
    let timeouts = format!("timeouts: {{ connect: 200ms, response_head: 200ms, request_body: 300ms }}\n{listen}");
    let changes =
        [("upstream: \"${KEYGATE_UPSTREAM:-http://127.0.0.1:9000}\"", one.as_str()), (listen, timeouts.as_str())];
    let mut contract = Contract::start_changed("certopay", upstream, &changes);
    let (key, token) = seller(&mut contract, &[]);
    let get = |path: &str| ask_at(&contract.gate, "GET", path, ("X-Api-Key", &key.secret));

    let mut waiting = contract.gate.client();
    waiting.send("GET", "/slow", &[("X-Api-Key", &key.secret)], b"");
    contract.gate.eventually("the first is under way", |_| contract.upstream.received().len() == 1);
    let busy = get("/x");
    refused(&busy, 503, "upstream_overloaded");
    assert_eq!(busy.number("retry-after"), 1);
    refused(&waiting.response("GET"), 504, "upstream_timeout");
    contract.gate.eventually("the place is free again", |_| get("/x").status == 200);
    refused(&get("/broken"), 502, "upstream_reset");

    refused(&get("/x%00"), 400, "bad_request");
    for (method, path, allow) in [
        ("GET", LOGIN, "POST"),
        ("DELETE", ME, "GET, HEAD"),
        ("GET", REGENERATE, "POST"),
        ("POST", "/.well-known/jwks.json", "GET, HEAD"),
    ] {
        let response = manage(&contract, method, path, &token);
        refused(&response, 405, "method_not_allowed");
        assert_eq!(response.field("allow"), Some(allow), "{method} {path}");
    }
    let post = |fields: &[(&str, &str)], content: &[u8]| contract.gate.client().request("POST", LOGIN, fields, content);
    let json = ("Content-Type", "application/json");
    let long = format!("{{\"email\":\"{}\",\"password\":\"x\"}}", "x".repeat(257));
    for (content, status, code) in [
        ("", 400, "content_malformed"),
        ("{", 400, "content_malformed"),
        (r#"{"email":"a","email":"b","password":"x"}"#, 400, "content_malformed"),
        ("[]", 422, "content_invalid"),
        (r#"{"email":"a"}"#, 422, "content_invalid"),
        (r#"{"email":1,"password":"x"}"#, 422, "content_invalid"),
        (&long, 422, "content_invalid"),
    ] {
        refused(&post(&[json], content.as_bytes()), status, code);
    }
    refused(&post(&[], b"{}"), 415, "content_unsupported");
    refused(&post(&[json], &[b'x'; 64 * 1024 + 1]), 413, "content_too_large");
    refused(&post(&[json, ("Content-Length", "10")], b"{"), 408, "content_timeout");
    let large = [("X-Api-Key", key.secret.as_str()), ("Content-Length", "99999999999")];
    refused(&contract.gate.client().request("POST", PATH, &large, b""), 413, "content_too_large");
}

#[test]
fn certo_settled_an_upstream_that_is_not_there_is_told_flat() {
    let mut contract = Contract::start_with("certopay", &[("KEYGATE_UPSTREAM", "http://127.0.0.1:1")]);
    let key = contract.key("production", &[]);
    refused(&ask(&contract, &key), 502, "upstream_unreachable");
}

#[test]
fn certo_settled_who_has_no_key_is_answered_with_404() {
    let mut contract = started();
    contract.user(SELLER, &["--role", "seller"]);
    contract.key("production", &[]);
    let token = log_in(&mut contract, SELLER);
    for (method, path) in [("GET", ME), ("POST", REGENERATE)] {
        refused(&manage(&contract, method, path, &token), 404, "key_not_found");
    }
    let revoked = contract.key("production", &["--user", SELLER]);
    assert_eq!(manage(&contract, "GET", ME, &token).status, 200);
    contract.keygate(&["keys", "revoke", &revoked.id]);
    for (method, path) in [("GET", ME), ("POST", REGENERATE)] {
        refused(&manage(&contract, method, path, &token), 404, "key_not_found");
    }
}

#[test]
fn certo_settled_a_challenge_names_what_the_path_takes() {
    let mut contract = started();
    let (_, token) = seller(&mut contract, &[]);
    let challenge = |path: &str, fields: &[(&str, &str)]| {
        let response = contract.gate.get(path, fields);
        refused(&response, 401, "invalid_api_key");
        response.field("www-authenticate").unwrap().to_owned()
    };
    let tampered = format!("Bearer {token}x");
    for fields in [&[][..], &[("X-Api-Key", "sk_live_wrong")], &[("Authorization", &tampered)]] {
        assert_eq!(challenge(PATH, fields), "ApiKey realm=\"keygate\"");
    }
    assert_eq!(challenge(ME, &[]), "Bearer realm=\"keygate\"");
    assert_eq!(challenge(ME, &[("Authorization", &tampered)]), "Bearer realm=\"keygate\", error=\"invalid_token\"");
}

#[test]
fn certo_settled_two_different_credentials_are_400_and_an_empty_one_is_missing() {
    let mut contract = started();
    let (key, token) = seller(&mut contract, &[]);
    let other = log_in(&mut contract, SELLER);
    let two = [("X-Api-Key", key.secret.as_str()), ("X-Api-Key", "sk_live_other")];
    refused(&contract.gate.get(PATH, &two), 400, "credentials_conflict");
    assert_eq!(contract.gate.get(PATH, &[two[0], two[0]]).status, 200, "the same one twice is one");
    let [first, second] = [&token, &other].map(|token| format!("Bearer {token}"));
    let two = [("Authorization", first.as_str()), ("Authorization", second.as_str())];
    refused(&contract.gate.get(ME, &two), 400, "credentials_conflict");
    assert_eq!(contract.gate.get(ME, &[two[0], two[0]]).status, 200);
    for (path, field) in [(PATH, ("X-Api-Key", "")), (ME, ("Authorization", "Bearer ")), (ME, ("X-Api-Key", ""))] {
        let empty = contract.gate.get(path, &[field]);
        refused(&empty, 401, "invalid_api_key");
        assert!(!empty.field("www-authenticate").unwrap().contains("error"), "nothing was sent");
    }
}
