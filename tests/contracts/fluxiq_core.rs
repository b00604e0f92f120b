//! Contract F.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::contract::{Contract, PASSWORD};
use crate::gate::Gate;
use crate::upstream::{Then, Upstream, respond};

const LOGIN: &str = "/api/v1/auth/login";
const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";
const KEYS: &str = "/api/v1/merchants/merchant-1/api-keys";

/// The document of the user whom most tests make.
const OWNER: &str = "12345678901";

/// The tokens of a login.
struct Tokens {
    access: String,
    refresh: String,
}

fn started() -> Contract {
    Contract::start("fluxiq-core")
}

/// What the row says of every response, F10, is looked at in every test.
#[track_caller]
fn checked(response: Response) -> Response {
    let (limit, remaining) = (response.number("x-ratelimit-limit"), response.number("x-ratelimit-remaining"));
    assert!([10, 100, 1000].contains(&limit) && remaining <= limit, "{response:?}");
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let reset = response.number("x-ratelimit-reset");
    assert!((now - 5..=now + 61).contains(&reset), "{reset} at {now}: {response:?}");
    if response.status >= 400 && response.field("content-type") != Some("text/plain") {
        assert_eq!(response.field("content-type"), Some("application/json"), "{response:?}");
        assert_eq!(response.field("cache-control"), Some("no-store"), "{response:?}");
    }
    response
}

#[track_caller]
fn ask_at(gate: &Gate, method: &str, path: &str, bearer: Option<&str>) -> Response {
    let bearer = bearer.map(|bearer| format!("Bearer {bearer}"));
    let fields: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    checked(gate.client().request(method, path, &fields, b""))
}

#[track_caller]
fn ask(contract: &Contract, method: &str, path: &str, bearer: Option<&str>) -> Response {
    ask_at(&contract.gate, method, path, bearer)
}

#[track_caller]
fn status(contract: &Contract, bearer: &str) -> u16 {
    ask(contract, "GET", "/api/v1/anything", Some(bearer)).status
}

/// Sends JSON.
#[track_caller]
fn post(contract: &Contract, path: &str, bearer: Option<&str>, body: &Value) -> Response {
    let bearer = bearer.map(|bearer| format!("Bearer {bearer}"));
    let mut fields = vec![("Content-Type", "application/json")];
    fields.extend(bearer.iter().map(|bearer| ("Authorization", bearer.as_str())));
    checked(contract.gate.client().request("POST", path, &fields, body.to_string().as_bytes()))
}

#[track_caller]
fn post_login(contract: &Contract, document: &str, password: &str) -> Response {
    post(contract, LOGIN, None, &json!({ "document": document, "password": password }))
}

/// The tokens in an answer, which must have exactly the contract's form.
#[track_caller]
fn tokens(contract: &mut Contract, response: &Response) -> Tokens {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let body = response.json();
    let text = |name: &str| body["data"][name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    let tokens = Tokens { access: text("access_token"), refresh: text("refresh_token") };
    let expected = json!({ "data": {
        "access_token": tokens.access, "refresh_token": tokens.refresh, "token_type": "Bearer", "expires_in": 900,
    } });
    assert_eq!(body, expected);
    for token in [&tokens.access, &tokens.refresh] {
        contract.gate.watch_for_secret(token);
    }
    tokens
}

#[track_caller]
fn log_in(contract: &mut Contract, document: &str) -> Tokens {
    let response = post_login(contract, document, PASSWORD);
    tokens(contract, &response)
}

/// A user of merchant-1 with this role, logged in.
#[track_caller]
fn user_with(contract: &mut Contract, document: &str, role: &str) -> Tokens {
    contract.user(document, &["--role", role, "--tenant", "merchant-1"]);
    log_in(contract, document)
}

#[track_caller]
fn refresh(contract: &Contract, token: &str) -> Response {
    post(contract, REFRESH, None, &json!({ "refresh_token": token }))
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// How long a token is good, in seconds.
fn lifetime(token: &str) -> u64 {
    let claims = claims(token);
    claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap()
}

/// F11, and what goes with it. `offered` is whether `Authorization` bore something.
#[track_caller]
fn unauthorized(response: &Response, offered: bool) {
    assert_eq!(response.status, 401, "{response:?}");
    let body = json!({ "error": { "code": "UNAUTHORIZED", "message": "Invalid or expired authentication token" } });
    assert_eq!(response.json(), body);
    let challenge =
        if offered { "Bearer realm=\"keygate\", error=\"invalid_token\"" } else { "Bearer realm=\"keygate\"" };
    assert_eq!(response.field("www-authenticate"), Some(challenge));
}

/// F12.
#[track_caller]
fn forbidden(response: &Response, required: Option<&str>) {
    assert_eq!(response.status, 403, "{response:?}");
    let mut error = json!({ "code": "FORBIDDEN", "message": "Insufficient permissions for this operation" });
    if let Some(required) = required {
        error["required_permission"] = required.into();
    }
    assert_eq!(response.json(), json!({ "error": error }));
    assert_eq!(response.field("www-authenticate"), None);
}

/// F13.
#[track_caller]
fn limited(response: &Response) -> u64 {
    assert_eq!(response.status, 429, "{response:?}");
    let seconds = response.number("retry-after");
    let error = json!({
        "code": "RATE_LIMITED",
        "message": format!("Rate limit exceeded. Retry after {seconds} seconds"),
        "retry_after": seconds,
    });
    assert_eq!(response.json(), json!({ "error": error }));
    assert_eq!(response.number("x-ratelimit-remaining"), 0);
    seconds
}

#[test]
fn core_01_a_key_travels_as_a_bearer_has_no_end_and_can_be_revoked() {
    let mut contract = started();
    let key = contract.key("production", &[]);
    assert!(key.secret.starts_with("sk_live_"));
    assert_eq!(status(&contract, &key.secret), 200);
    assert!(!contract.upstream.last().mentions(&key.secret));
    assert_eq!(contract.keygate(&["keys", "list"])[0]["expires"], Value::Null);
    unauthorized(&checked(contract.gate.get("/api/v1/anything", &[("X-API-Key", &key.secret)])), false);
    contract.keygate(&["keys", "revoke", &key.id]);
    unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(&key.secret)), true);
}

#[test]
fn core_02_a_key_and_a_token_are_told_apart_by_their_form() {
    let mut contract = started();
    let tokens = user_with(&mut contract, OWNER, "owner");
    let key = contract.key("production", &["--permission", "accounts:read"]);
    for (bearer, yes, no) in
        [(&key.secret, "x-keygate-key-id", "x-keygate-user"), (&tokens.access, "x-keygate-user", "x-keygate-key-id")]
    {
        assert_eq!(ask(&contract, "GET", "/api/v1/accounts", Some(bearer)).status, 200);
        let received = contract.upstream.last();
        assert_eq!((received.values(yes).len(), received.values(no).len()), (1, 0), "{}", received.head);
        assert!(!received.mentions(bearer), "it ends at the gateway");
    }

    // What has the form of a token is judged as one alone, and what has not as a key.
    let received = contract.upstream.received().len();
    let [head, payload, signature] = tokens.access.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
    let promoted = URL_SAFE_NO_PAD.encode(claims(&tokens.access).to_string().replace("merchant-1", "merchant-2"));
    let of_token_form = [
        format!("{head}.{promoted}.{signature}"),
        format!("{head}.{payload}.{}", signature.chars().rev().collect::<String>()),
        format!("{unsigned}.{payload}.AA"),
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(),
        tokens.refresh,
    ];
    for token in &of_token_form {
        unauthorized(&ask(&contract, "GET", "/api/v1/accounts", Some(token)), true);
    }
    let rejections = |reasons: &[&str]| {
        let of = |reason: &&str| contract.gate.metric("keygate_rejections_total", &[&format!("reason=\"{reason}\"")]);
        reasons.iter().map(of).sum::<f64>()
    };
    assert_eq!((rejections(&["token_invalid"]), rejections(&["key_unknown", "credentials_malformed"])), (5.0, 0.0));
    for key in ["sk_live_wrong", "eyJ", &tokens.access[..40]] {
        unauthorized(&ask(&contract, "GET", "/api/v1/accounts", Some(key)), true);
    }
    assert_eq!((rejections(&["token_invalid"]), rejections(&["key_unknown", "credentials_malformed"])), (5.0, 3.0));
    assert_eq!(contract.upstream.received().len(), received);
}

#[test]
fn core_03_an_admin_makes_keys_that_are_shown_once() {
    let mut contract = started();
    let owner = user_with(&mut contract, OWNER, "owner").access;
    let permissions = json!(["accounts:read", "pix:write", "transfers:write"]);
    let before = jiff::Timestamp::now().as_second();
    let response =
        post(&contract, KEYS, Some(&owner), &json!({ "name": "Production Key", "permissions": permissions }));
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let body = response.json();
    let text = |name: &str| body["data"][name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    let (id, secret, created) = (text("id"), text("key"), text("created_at"));
    assert_eq!(
        body,
        json!({ "data": {
            "id": id, "name": "Production Key", "key": secret, "permissions": permissions, "created_at": created,
        } })
    );
    assert!(id.starts_with("key_") && secret.starts_with("sk_live_") && secret.len() >= 8 + 32, "{body}");
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    assert!((before..=before + 5).contains(&created.parse::<jiff::Timestamp>().unwrap().as_second()), "{created}");
    contract.gate.watch_for_secret(&secret);

    // It is good at once, for what it was given, and for its merchant.
    assert_eq!(ask(&contract, "POST", "/api/v1/transfers", Some(&secret)).status, 200);
    assert_eq!(contract.upstream.last().value("x-keygate-tenant"), "merchant-1");
    assert_eq!(contract.upstream.last().value("x-keygate-key-id"), id);
    forbidden(&ask(&contract, "GET", "/api/v1/transfers", Some(&secret)), Some("transfers:read"));
    let listed = contract.keygate(&["keys", "list"]);
    assert_eq!(listed[0]["id"], id);
    assert!(!listed.to_string().contains(&secret), "the whole key is shown once");

    // It is the merchant's: it outlives the admin who made it.
    contract.keygate(&["users", "disable", OWNER]);
    unauthorized(&post(&contract, KEYS, Some(&owner), &json!({ "name": "n", "permissions": [] })), true);
    assert_eq!(ask(&contract, "POST", "/api/v1/pix", Some(&secret)).status, 200);
}

#[test]
fn core_03_nobody_makes_keys_for_another_merchant_or_with_more_than_they_hold() {
    let mut contract = started();
    let owner = user_with(&mut contract, OWNER, "owner").access;
    let manager = user_with(&mut contract, "2", "manager").access;
    let operator = user_with(&mut contract, "3", "operator").access;
    contract.user("4", &["--role", "owner"]);
    let platform = log_in(&mut contract, "4").access;
    let several = ["api_keys:write", "accounts:*", "pix:read"].map(|permission| ["--permission", permission]).concat();
    contract.user("5", &[&several[..], &["--tenant", "merchant-1"]].concat());
    let clerk = log_in(&mut contract, "5").access;
    let make = |merchant: &str, bearer: Option<&str>, permissions: &[&str]| {
        let path = format!("/api/v1/merchants/{merchant}/api-keys");
        post(&contract, &path, bearer, &json!({ "name": "n", "permissions": permissions }))
    };
    let demanded = Some("api_keys:write");
    for merchant in ["merchant-2", "MERCHANT-1", "merchant-1%2E", "*"] {
        forbidden(&make(merchant, Some(&owner), &["pix:read"]), demanded);
    }
    assert_eq!(make("merchant%2D1", Some(&owner), &["pix:read"]).status, 201, "another spelling of the same");
    for merchant in ["merchant-1", "merchant-2"] {
        assert_eq!(make(merchant, Some(&platform), &["*"]).status, 201, "a platform administrator");
    }
    for (bearer, permissions) in [(&manager, &["pix:read"][..]), (&operator, &["pix:write"]), (&manager, &[])] {
        forbidden(&make("merchant-1", Some(bearer), permissions), demanded);
    }
    for (asked, lacking) in [
        (&["accounts:read", "pix:read", "accounts:*"][..], None),
        (&["pix:read", "pix:write"], Some("pix:write")),
        (&["pix:*"], Some("pix:*")),
        (&["*"], Some("*")),
        (&["users:read"], Some("users:read")),
    ] {
        let response = make("merchant-1", Some(&clerk), asked);
        match lacking {
            None => assert_eq!(response.status, 201, "{asked:?}"),
            Some(lacking) => forbidden(&response, Some(lacking)),
        }
    }

    let all = contract.key("production", &["--permission", "*", "--tenant", "merchant-1"]);
    let make = |bearer: Option<&str>| post(&contract, KEYS, bearer, &json!({ "name": "n", "permissions": [] }));
    for _ in 0..12 {
        forbidden(&make(Some(&all.secret)), demanded);
    }
    unauthorized(&make(None), false);
    unauthorized(&make(Some("sk_live_wrong")), true);
    let made = contract.keygate(&["keys", "list"]).as_array().unwrap().len();
    assert_eq!(made, 5, "four by their users and one on the command line");
}

#[test]
fn core_04_a_login_gives_tokens_for_fifteen_minutes_and_seven_days() {
    let mut contract = started();
    let id = contract.user(OWNER, &["--role", "owner", "--tenant", "merchant-1"]);
    let tokens = log_in(&mut contract, OWNER);
    assert_eq!((lifetime(&tokens.access), lifetime(&tokens.refresh)), (15 * 60, 7 * 24 * 3600));
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let issued = claims(&tokens.access)["iat"].as_u64().unwrap();
    assert!((now - 5..=now).contains(&issued), "{issued} at {now}");
    assert_eq!(claims(&tokens.access)["sub"], id);
    assert_eq!(status(&contract, &tokens.access), 200);
    assert_eq!(contract.upstream.last().value("x-keygate-user"), id);

    contract.user("2", &[]);
    contract.keygate(&["users", "disable", "2"]);
    for (row, document, password) in [
        ("a wrong password", OWNER, "cellos over the river"),
        ("an unknown user", "3", PASSWORD),
        ("one who is switched off", "2", PASSWORD),
    ] {
        println!("{row}");
        unauthorized(&post_login(&contract, document, password), false);
    }

    let jwks = checked(contract.gate.get("/.well-known/jwks.json", &[])).json();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
    assert!(jwks["keys"][0].get("d").is_none(), "only the public half: {jwks}");
}

#[test]
fn core_04_an_expired_token_is_refused() {
    let mut contract = Contract::start_with("fluxiq-core", &[("KEYGATE_ACCESS_TTL", "1s")]);
    contract.user(OWNER, &["--role", "owner"]);
    let response = post_login(&contract, OWNER, PASSWORD);
    assert_eq!(response.json()["data"]["expires_in"], 1);
    let access = response.json()["data"]["access_token"].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(1100));
    unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(&access)), true);
    unauthorized(&ask(&contract, "POST", LOGOUT, Some(&access)), true);
    let renewed = refresh(&contract, response.json()["data"]["refresh_token"].as_str().unwrap());
    assert_eq!(status(&contract, renewed.json()["data"]["access_token"].as_str().unwrap()), 200);
}

#[test]
fn core_05_a_refresh_token_works_once_and_a_second_use_ends_the_login() {
    let mut contract = started();
    contract.user(OWNER, &["--role", "owner"]);
    let (first, other) = (log_in(&mut contract, OWNER), log_in(&mut contract, OWNER));
    let response = refresh(&contract, &first.refresh);
    let second = tokens(&mut contract, &response);
    let distinct: BTreeSet<&str> =
        [&first, &second, &other].iter().flat_map(|tokens| [&*tokens.access, &*tokens.refresh]).collect();
    assert_eq!(distinct.len(), 6);
    assert_eq!((lifetime(&second.access), lifetime(&second.refresh)), (15 * 60, 7 * 24 * 3600));
    for good in [&first.access, &second.access, &other.access] {
        assert_eq!(status(&contract, good), 200);
    }
    // What is no refresh token ends nothing.
    for bad in [&second.access, "nonsense"] {
        unauthorized(&refresh(&contract, bad), false);
    }
    assert_eq!(status(&contract, &second.access), 200);

    unauthorized(&refresh(&contract, &first.refresh), false);
    for ended in [&first.access, &second.access] {
        unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(ended)), true);
    }
    unauthorized(&refresh(&contract, &second.refresh), false);
    assert_eq!(status(&contract, &other.access), 200, "another login of the same user");
    let response = refresh(&contract, &other.refresh);
    tokens(&mut contract, &response);
}

#[test]
fn core_06_a_logout_ends_the_login_at_once_and_everywhere() {
    let mut contract = started();
    let replica = contract.replica();
    contract.user(OWNER, &["--role", "owner"]);
    let (first, other) = (log_in(&mut contract, OWNER), log_in(&mut contract, OWNER));
    let response = refresh(&contract, &first.refresh);
    let second = tokens(&mut contract, &response);
    let there = |token: &str| ask_at(&replica, "GET", "/api/v1/anything", Some(token));
    for token in [&first.access, &second.access, &other.access] {
        assert_eq!(there(token).status, 200);
    }
    let left = ask(&contract, "POST", LOGOUT, Some(&second.access));
    assert_eq!((left.status, left.content.len()), (204, 0));
    assert_eq!(left.field("cache-control"), Some("no-store"));
    for ended in [&second.access, &first.access] {
        unauthorized(&there(ended), true);
        unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(ended)), true);
    }
    unauthorized(&refresh(&contract, &second.refresh), false);
    unauthorized(&ask(&contract, "POST", LOGOUT, Some(&second.access)), true);
    assert_eq!((status(&contract, &other.access), there(&other.access).status), (200, 200), "another login");
}

/// Whichever of the two is first, there is no token left that works.
#[test]
fn core_06_a_refresh_that_races_the_logout_ends_up_dead() {
    let mut contract = started();
    contract.user(OWNER, &["--role", "owner"]);
    for _ in 0..2 {
        let login = log_in(&mut contract, OWNER);
        let (renewed, left) = std::thread::scope(|scope| {
            let renewing = scope.spawn(|| refresh(&contract, &login.refresh));
            let leaving = scope.spawn(|| ask(&contract, "POST", LOGOUT, Some(&login.access)));
            (renewing.join().unwrap(), leaving.join().unwrap())
        });
        assert_eq!(left.status, 204);
        unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(&login.access)), true);
        if renewed.status == 200 {
            let renewed = tokens(&mut contract, &renewed);
            unauthorized(&ask(&contract, "GET", "/api/v1/anything", Some(&renewed.access)), true);
        }
    }
    assert_eq!(contract.keygate(&["logins", "list"]), json!([]));
}

#[test]
fn core_07_roles_are_named_sets_with_wildcards() {
    let mut contract = started();
    let rows = [
        ("owner", "DELETE", "/api/v1/users/7", None),
        ("owner", "POST", "/api/v1/pix", None),
        ("owner", "POST", "/api/v1/transactions", None),
        ("owner", "GET", "/api/v1/webhooks", None),
        ("manager", "POST", "/api/v1/accounts", None),
        ("manager", "GET", "/api/v1/accounts/1", None),
        ("manager", "GET", "/api/v1/transactions", None),
        ("manager", "POST", "/api/v1/transactions", Some("transactions:write")),
        ("manager", "GET", "/api/v1/pix/9", None),
        ("manager", "POST", "/api/v1/pix/9", None),
        ("manager", "GET", "/api/v1/users", Some("users:read")),
        ("manager", "POST", "/api/v1/transfers", Some("transfers:write")),
        ("operator", "GET", "/api/v1/accounts/1", None),
        ("operator", "PUT", "/api/v1/accounts/1", Some("accounts:write")),
        ("operator", "GET", "/api/v1/transactions/1", None),
        ("operator", "POST", "/api/v1/pix", None),
        ("operator", "GET", "/api/v1/pix", Some("pix:read")),
        ("operator", "GET", "/api/v1/transfers", Some("transfers:read")),
    ];
    for role in ["owner", "manager", "operator"] {
        let key = contract.key("production", &["--role", role]).secret;
        let token = user_with(&mut contract, role, role).access;
        for (_, method, path, missing) in rows.iter().filter(|row| row.0 == role) {
            for bearer in [&key, &token] {
                let response = ask(&contract, method, path, Some(bearer));
                match missing {
                    None => assert_eq!(response.status, 200, "{role} {method} {path}"),
                    Some(missing) => forbidden(&response, Some(missing)),
                }
            }
        }
    }

    // What a user may do is what is known now, not what was known at the login.
    let user = contract.user("4", &[]);
    let token = log_in(&mut contract, "4").access;
    assert_eq!(claims(&token)["sub"], user);
    forbidden(&ask(&contract, "GET", "/api/v1/accounts", Some(&token)), Some("accounts:read"));
    assert_eq!(status(&contract, &token), 200, "a path that demands nothing");
}

#[test]
fn core_08_each_scope_is_demanded_by_method_and_path() {
    let mut contract = started();
    let grants: Vec<String> = ["accounts", "pix", "transfers", "webhooks", "users"]
        .iter()
        .flat_map(|resource| ["--permission".to_owned(), format!("{resource}:write")])
        .collect();
    contract.user("writer", &grants.iter().map(String::as_str).collect::<Vec<_>>());
    let writer = log_in(&mut contract, "writer").access;
    for resource in ["accounts", "pix", "transfers", "webhooks", "users"] {
        let (reads, writes) = (format!("{resource}:read"), format!("{resource}:write"));
        let read = contract.key("production", &["--permission", &reads]);
        let write = contract.key("production", &["--permission", &writes]);
        for path in [format!("/api/v1/{resource}"), format!("/api/v1/{resource}/7/part")] {
            for (method, demanded) in
                [("GET", &reads), ("HEAD", &reads), ("POST", &writes), ("PATCH", &writes), ("DELETE", &writes)]
            {
                for (bearer, held) in [(&read.secret, &reads), (&write.secret, &writes), (&writer, &writes)] {
                    let response = ask(&contract, method, &path, Some(bearer));
                    if held == demanded {
                        assert_eq!(response.status, 200, "{method} {path}");
                    } else if method == "HEAD" {
                        assert_eq!(response.status, 403, "{method} {path}");
                    } else {
                        forbidden(&response, Some(demanded));
                    }
                }
            }
        }
        let disguised = format!("/api/v1/x/../%{:02x}{}", resource.as_bytes()[0], &resource[1..]);
        forbidden(&ask(&contract, "POST", &disguised, Some(&read.secret)), Some(&writes));
    }
}

#[test]
fn core_09_a_key_has_a_thousand_a_minute() {
    let mut contract = started();
    let (key, other) = (contract.key("production", &[]), contract.key("production", &[]));
    let bearer = format!("Bearer {}", key.secret);
    let mut client = contract.gate.client();
    let start = std::time::Instant::now();
    let mut passed = 0;
    let refused = loop {
        let response = checked(client.request("GET", "/x", &[("Authorization", &bearer)], b""));
        assert_eq!(response.number("x-ratelimit-limit"), 1000);
        if response.status != 200 {
            break response;
        }
        passed += 1;
        assert!(passed < 2000, "there is no end");
    };
    let refilled = start.elapsed().as_millis() * 1000 / 60_000;
    assert!((1000..=1001 + refilled).contains(&passed), "{passed} with {refilled}");
    assert_eq!(limited(&refused), 1, "a thousand a minute is one in 60 ms");
    assert_eq!(status(&contract, &other.secret), 200, "another key");
}

#[test]
fn core_09_all_tokens_of_a_user_share_a_hundred_a_minute() {
    let mut contract = started();
    contract.user(OWNER, &["--role", "owner"]);
    let (first, second) = (log_in(&mut contract, OWNER), log_in(&mut contract, OWNER));
    let other = user_with(&mut contract, "2", "owner");
    let response = refresh(&contract, &second.refresh);
    let third = tokens(&mut contract, &response);
    let bearers = [&first, &second, &third].map(|tokens| format!("Bearer {}", tokens.access));
    let mut client = contract.gate.client();
    let start = std::time::Instant::now();
    let mut passed = 0;
    for bearer in bearers.iter().cycle().take(300) {
        let response = checked(client.request("GET", "/x", &[("Authorization", bearer)], b""));
        assert_eq!(response.number("x-ratelimit-limit"), 100);
        if response.status == 429 {
            let seconds = limited(&response);
            assert_eq!(seconds, 1, "a hundred a minute is one in 600 ms");
            break;
        }
        passed += 1;
    }
    let refilled = start.elapsed().as_millis() / 600;
    assert!((100..=101 + refilled).contains(&passed), "{passed} with {refilled}");
    assert_eq!(status(&contract, &other.access), 200, "another user");
}

#[test]
fn core_09_strangers_have_ten_a_minute_and_those_who_are_known_pass() {
    let mut contract = started();
    let tokens = user_with(&mut contract, OWNER, "owner");
    let key = contract.key("production", &[]);
    let attempts: [(u16, &dyn Fn() -> Response); 6] = [
        (401, &|| ask(&contract, "GET", "/x", Some("sk_live_wrong"))),
        (401, &|| ask(&contract, "GET", "/x", None)),
        (401, &|| ask(&contract, "GET", "/x", Some("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"))),
        (401, &|| post_login(&contract, OWNER, "cellos over the river")),
        (200, &|| post_login(&contract, OWNER, PASSWORD)),
        (401, &|| refresh(&contract, "nonsense")),
    ];
    // The login was the first of ten.
    for ((expected, attempt), remaining) in attempts.iter().cycle().zip((0..9).rev()) {
        let response = attempt();
        assert_eq!((response.status, response.number("x-ratelimit-limit")), (*expected, 10));
        assert_eq!(response.number("x-ratelimit-remaining"), remaining);
    }
    for (_, attempt) in attempts {
        let seconds = limited(&attempt());
        assert!((1..=6).contains(&seconds), "ten a minute is one in six seconds: {seconds}");
    }
    limited(&refresh(&contract, &tokens.refresh));
    for bearer in [&key.secret, &tokens.access] {
        assert_eq!(status(&contract, bearer), 200, "a valid one passes");
    }
    assert_eq!(ask(&contract, "POST", LOGOUT, Some(&tokens.access)).status, 204);
}

/// Each request goes through `checked`, which looks at the fields.
#[test]
fn core_10_every_response_bears_the_fields() {
    let mut contract = Contract::start_changed(
        "fluxiq-core",
        Upstream::answering(|request, stream| match request.head.split(' ').nth(1) {
            Some("/own") => respond(stream, "200 OK", "x-ratelimit-limit: 5\r\nx-ratelimit-reset: 1\r\n", b"hello"),
            Some("/broken") => Then::Close,
            _ => respond(stream, "404 Not Found", "content-type: text/plain\r\n", b"hello"),
        }),
        &[],
    );
    let tokens = user_with(&mut contract, OWNER, "owner");
    let key = contract.key("production", &[]);
    let bearer = format!("Bearer {}", key.secret);
    let with_key = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let fields = [&[("Authorization", bearer.as_str())], fields].concat();
        checked(contract.gate.client().request(method, path, &fields, b""))
    };
    let rows = [
        (1000, 200, with_key("GET", "/own", &[])),
        (1000, 404, with_key("GET", "/x", &[])),
        (1000, 404, with_key("HEAD", "/x", &[])),
        (1000, 502, with_key("GET", "/broken", &[])),
        (1000, 413, with_key("POST", "/x", &[("Content-Length", "99999999999")])),
        (1000, 403, with_key("POST", "/api/v1/pix", &[])),
        (1000, 403, with_key("POST", KEYS, &[])),
        (10, 400, with_key("GET", "/x%00", &[])),
        (10, 400, with_key("GET", "/x", &[("Authorization", "Bearer sk_live_other")])),
        (10, 405, with_key("GET", LOGIN, &[])),
        (10, 415, checked(contract.gate.client().request("POST", LOGIN, &[], b"{}"))),
        (10, 422, post(&contract, REFRESH, None, &json!({}))),
        (10, 401, ask(&contract, "GET", "/x", None)),
        (100, 404, ask(&contract, "GET", "/x", Some(&tokens.access))),
        (100, 201, post(&contract, KEYS, Some(&tokens.access), &json!({ "name": "n", "permissions": [] }))),
        (100, 422, post(&contract, KEYS, Some(&tokens.access), &json!({}))),
        (100, 415, ask(&contract, "POST", KEYS, Some(&tokens.access))),
        (10, 200, checked(contract.gate.get("/.well-known/jwks.json", &[]))),
        (10, 200, refresh(&contract, &tokens.refresh)),
        (100, 204, ask(&contract, "POST", LOGOUT, Some(&tokens.access))),
    ];
    for (limit, status, response) in &rows {
        assert_eq!((response.number("x-ratelimit-limit"), response.status), (*limit, *status), "{response:?}");
    }
    let spent = (0..10).map(|_| ask(&contract, "GET", "/x", None)).find(|response| response.status == 429);
    assert_eq!(spent.map(|response| response.number("x-ratelimit-limit")), Some(10));
}

#[test]
fn core_11_whoever_is_not_known_is_told_the_same() {
    let mut contract = started();
    let revoked = contract.key("production", &[]);
    contract.keygate(&["keys", "revoke", &revoked.id]);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let expired = contract.key("production", &["--expires-at", &soon.to_string()]);
    let inactive = contract.key("production", &[]);
    contract.keygate(&["keys", "deactivate", &inactive.id]);
    std::thread::sleep(Duration::from_millis(1100));
    unauthorized(&ask(&contract, "GET", "/x", None), false);
    for bearer in
        [&revoked.secret, &expired.secret, &inactive.secret, "sk_live_wrong", "x y", "eyJhbGciOiJub25lIn0.e30.AA"]
    {
        unauthorized(&ask(&contract, "GET", "/api/v1/pix", Some(bearer)), true);
    }
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn core_12_a_missing_permission_is_named() {
    let mut contract = started();
    let key = contract.key("production", &["--permission", "pix:read"]);
    let operator = user_with(&mut contract, OWNER, "operator");
    forbidden(&ask(&contract, "POST", "/api/v1/pix", Some(&key.secret)), Some("pix:write"));
    forbidden(&ask(&contract, "DELETE", "/api/v1/accounts/1", Some(&operator.access)), Some("accounts:write"));
    // Only users have logins: there is no permission that a key could be given.
    forbidden(&ask(&contract, "POST", LOGOUT, Some(&key.secret)), None);
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn core_13_a_spent_limit_says_when_to_come_back() {
    let mut contract = started();
    for _ in 0..10 {
        unauthorized(&ask(&contract, "GET", "/x", None), false);
    }
    let seconds = limited(&ask(&contract, "GET", "/x", None));
    assert!((1..=6).contains(&seconds), "ten a minute is one in six seconds: {seconds}");
    let key = contract.key("production", &["--rate-limit", "1"]);
    let bearer = format!("Bearer {}", key.secret);
    let mut client = contract.gate.client();
    let mut again = || client.request("GET", "/x", &[("Authorization", &bearer)], b"");
    assert_eq!(again().status, 200);
    let seconds = limited(&again());
    assert!((55..=60).contains(&seconds), "one a minute: {seconds}");
}

/// Sends content as it is.
#[track_caller]
fn send(client: &mut Client, path: &str, fields: &[(&str, &str)], content: &[u8]) -> Response {
    checked(client.request("POST", path, fields, content))
}

/// The code of a refusal, which has no more than that and words.
#[track_caller]
fn code(response: &Response) -> (u16, String) {
    let body = response.json();
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert_eq!((body.as_object().unwrap().len(), body["error"].as_object().unwrap().len()), (1, 2), "{body}");
    (response.status, body["error"]["code"].as_str().unwrap().to_owned())
}

#[test]
fn core_settled_what_an_operation_is_told_is_refused_in_the_contracts_form() {
    let mut contract = started();
    let owner = format!("Bearer {}", user_with(&mut contract, OWNER, "owner").access);
    let mut client = contract.gate.client();
    let json = ("Content-Type", "application/json");
    let long = "x".repeat(257);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let long_name = format!(r#"{{"name":"{long}","permissions":[]}}"#);
    let tree = format!("{}{}", "[".repeat(9000), "]".repeat(9000));
    for (row, field, content, status, expected) in [
        ("no media type", ("X-None", "1"), "{}", 415, "CONTENT_UNSUPPORTED"),
        ("a form", form, "a=b", 415, "CONTENT_UNSUPPORTED"),
        ("nothing", json, "", 400, "CONTENT_MALFORMED"),
        ("no JSON", json, "{", 400, "CONTENT_MALFORMED"),
        ("doubled members", json, r#"{"name":"a","name":"b","permissions":[]}"#, 400, "CONTENT_MALFORMED"),
        ("something behind it", json, r#"{"name":"a","permissions":[]} x"#, 400, "CONTENT_MALFORMED"),
        ("no object", json, "[]", 422, "CONTENT_INVALID"),
        ("no name", json, r#"{"permissions":[]}"#, 422, "CONTENT_INVALID"),
        ("an empty name", json, r#"{"name":"","permissions":[]}"#, 422, "CONTENT_INVALID"),
        ("a long name", json, &long_name, 422, "CONTENT_INVALID"),
        ("a number for a name", json, r#"{"name":1,"permissions":[]}"#, 422, "CONTENT_INVALID"),
        ("a text for a list", json, r#"{"name":"a","permissions":"pix:read"}"#, 422, "CONTENT_INVALID"),
        ("no permission", json, r#"{"name":"a","permissions":["pix"]}"#, 422, "CONTENT_INVALID"),
        ("a tree", json, &tree, 400, "CONTENT_MALFORMED"),
    ] {
        let response = send(&mut client, KEYS, &[field, ("Authorization", &owner)], content.as_bytes());
        assert_eq!(code(&response), (status, expected.to_owned()), "{row}");
        assert_eq!(response.field("connection"), None, "{row}: all of it was read");
    }
    assert_eq!(contract.keygate(&["keys", "list"]), json!([]));

    let mut client = contract.gate.client();
    for (row, content, status, expected) in [
        ("no password", r#"{"document":"1"}"#.to_owned(), 422, "CONTENT_INVALID"),
        ("a number", r#"{"document":1,"password":"x"}"#.to_owned(), 422, "CONTENT_INVALID"),
        ("a long one", format!(r#"{{"document":"{long}","password":"x"}}"#), 422, "CONTENT_INVALID"),
        ("a longer one", format!(r#"{{"document":"1","password":"{}"}}"#, "x".repeat(1025)), 422, "CONTENT_INVALID"),
        ("too much", "x".repeat(64 * 1024 + 1), 413, "CONTENT_TOO_LARGE"),
    ] {
        let response = send(&mut client, LOGIN, &[json], content.as_bytes());
        assert_eq!(code(&response), (status, expected.to_owned()), "{row}");
    }
}

/// F's routes leave no path over, so that nothing is answered with 404.
#[test]
fn core_settled_refusals_of_the_road_have_the_contracts_form() {
    let slow = Upstream::answering(|request, stream| match request.head.split(' ').nth(1) {
        Some("/slow") => {
            std::thread::sleep(Duration::from_secs(2));
            respond(stream, "200 OK", "", b"hello")
        }
        Some("/broken") => Then::Close,
        _ => respond(stream, "200 OK", "", b"hello"),
    });
    let address = slow.to_string();
    let one = format!("upstream: {{ url: \"{address}\", connections_max: 1 }}\nworkers: 1");
    let listen = "listen: \"${KEYGATE_LISTEN:-127.0.0.1:8080}\"";
    let timeouts = format!("timeouts: {{ connect: 200ms, response_head: 200ms, request_body: 300ms }}\n{listen}");
    let changes =
        [("upstream: \"${KEYGATE_UPSTREAM:-http://127.0.0.1:9000}\"", one.as_str()), (listen, timeouts.as_str())];
    let mut contract = Contract::start_changed("fluxiq-core", slow, &changes);
    let key = contract.key("production", &[]);
    let bearer = format!("Bearer {}", key.secret);
    let get = |path: &str| ask(&contract, "GET", path, Some(&key.secret));

    let mut waiting = contract.gate.client();
    waiting.send("GET", "/slow", &[("Authorization", &bearer)], b"");
    contract.gate.eventually("the first is under way", |_| contract.upstream.received().len() == 1);
    let busy = get("/x");
    assert_eq!((code(&busy), busy.number("retry-after")), ((503, "UPSTREAM_OVERLOADED".to_owned()), 1));
    assert_eq!(code(&checked(waiting.response("GET"))), (504, "UPSTREAM_TIMEOUT".to_owned()));
    contract.gate.eventually("the place is free again", |_| get("/x").status == 200);
    assert_eq!(code(&get("/broken")), (502, "UPSTREAM_RESET".to_owned()));

    let large = [("Authorization", bearer.as_str()), ("Content-Length", "99999999999")];
    assert_eq!(
        code(&checked(contract.gate.client().request("POST", "/x", &large, b""))),
        (413, "CONTENT_TOO_LARGE".to_owned())
    );
    let stalled = [("Content-Type", "application/json"), ("Content-Length", "10")];
    let stalled = checked(contract.gate.client().request("POST", LOGIN, &stalled, b"{"));
    assert_eq!(code(&stalled), (408, "CONTENT_TIMEOUT".to_owned()));
    for path in ["/x%00", "/a%2fb", "/../x"] {
        assert_eq!(code(&get(path)), (400, "BAD_REQUEST".to_owned()), "{path}");
    }
    for (method, path, allow) in [
        ("GET", LOGIN, "POST"),
        ("DELETE", REFRESH, "POST"),
        ("GET", LOGOUT, "POST"),
        ("GET", KEYS, "POST"),
        ("POST", "/.well-known/jwks.json", "GET, HEAD"),
    ] {
        let response = ask(&contract, method, path, None);
        assert_eq!(code(&response), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method} {path}");
        assert_eq!(response.field("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn core_settled_an_upstream_that_is_not_there_is_told_in_the_contracts_form() {
    let mut contract = Contract::start_with("fluxiq-core", &[("KEYGATE_UPSTREAM", "http://127.0.0.1:1")]);
    let key = contract.key("production", &[]);
    let gone = ask(&contract, "GET", "/x", Some(&key.secret));
    assert_eq!(code(&gone), (502, "UPSTREAM_UNREACHABLE".to_owned()));
    assert_eq!(gone.number("x-ratelimit-limit"), 1000);
}

#[test]
fn core_settled_two_different_credentials_are_400_and_an_empty_one_is_missing() {
    let mut contract = started();
    let (key, other) = (contract.key("production", &[]), contract.key("production", &[]));
    let token = user_with(&mut contract, OWNER, "owner").access;
    let ask_with = |values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|value| ("Authorization", *value)).collect();
        checked(contract.gate.get("/x", &fields))
    };
    let [key, other, token] = [&key.secret, &other.secret, &token].map(|secret| format!("Bearer {secret}"));
    for two in [[&key, &other], [&key, &token], [&token, &key]] {
        let refused = ask_with(&two.map(String::as_str));
        assert_eq!(code(&refused), (400, "CREDENTIALS_CONFLICT".to_owned()));
    }
    for same in [&key, &token] {
        assert_eq!(ask_with(&[same, same]).status, 200, "the same one twice is one");
    }
    for empty in ["Bearer", "Bearer ", ""] {
        unauthorized(&ask_with(&[empty]), false);
    }
    unauthorized(&ask_with(&["Basic YTpi"]), false);
    unauthorized(&ask_with(&["Bearer sk_live_a b"]), true);
}

/// Who may not call an operation is told so before anything is read, and need not send it.
#[test]
fn core_settled_a_stranger_is_refused_before_the_content() {
    let contract = started();
    let fields = [("Content-Type", "application/json"), ("Content-Length", "60000"), ("Expect", "100-continue")];
    let mut client = contract.gate.client();
    client.send("POST", KEYS, &fields, b"");
    unauthorized(&checked(client.response("POST")), false);
    assert!(client.closes_within(Duration::from_secs(3)), "what was announced never comes");
}
