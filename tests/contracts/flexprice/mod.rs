//! Contract X: keys of 64 hexadecimal characters, users' tokens, sessions of customers, signed webhooks.
//!
//! Here: what a key is, where keys come from, and what the API learns of whoever asks. Each other subject has a file of its
//! own.

mod keys;
mod sessions;
mod settled;
mod tokens;
mod webhooks;

use serde_json::{Value, json};

use crate::client::Response;
use crate::contract::{Contract, PASSWORD};

const PATH: &str = "/v1/customers";

/// The keys of the documentation.
const DEVELOPMENT: [&str; 2] =
    ["sk_local_flexprice_test_key", "0cc505d7b917e0b1f25ccbea029dd43f4002edfea46b7f941f281911246768fe"];

/// Two keys that a map has, and the SHA-256 of each, as `printf %s KEY | sha256sum` says.
const MAPPED: [(&str, &str); 2] = [
    (
        "1f0e4d5c6b7a8998a7b6c5d4e3f201102f3e4d5c6b7a8998a7b6c5d4e3f20110",
        "805052659d5689b3142bb92a6b6050a4ddbf722f048d1f3b8c1ba15b25d4a282",
    ),
    (
        "2f0e4d5c6b7a8998a7b6c5d4e3f201102f3e4d5c6b7a8998a7b6c5d4e3f20110",
        "2343ea6f333f10723413ba2876221eb2a971850d794e77de08ed740d27ad68d3",
    ),
];

fn error(code: &str, message: &str, status: u16) -> Value {
    json!({ "code": code, "message": message, "http_status_code": status })
}

/// What `keygate keys hash` makes of a secret.
fn sha256(secret: &str) -> String {
    keygate::secret::Digest::of(secret.as_bytes()).to_hex()
}

#[track_caller]
fn check(response: &Response, status: u16, body: &Value) {
    assert_eq!((response.status, &response.json()), (status, body));
    assert_eq!(response.field("content-type"), Some("application/json"));
}

fn ask(contract: &Contract, secret: &str) -> Response {
    contract.gate.get(PATH, &[("X-API-Key", secret)])
}

/// Sends JSON.
fn post(contract: &Contract, path: &str, fields: &[(&str, &str)], content: &Value) -> Response {
    send(contract, "POST", path, fields, &content.to_string())
}

/// Sends a text that claims to be JSON.
fn send(contract: &Contract, method: &str, path: &str, fields: &[(&str, &str)], content: &str) -> Response {
    let fields = [&[("Content-Type", "application/json")], fields].concat();
    contract.gate.client().request(method, path, &fields, content.as_bytes())
}

/// Makes a user with a password, who is called by the id.
#[track_caller]
fn user(contract: &mut Contract, id: &str, more: &[&str]) {
    let made = contract.user(&format!("{id}@example.com"), &[&["--id", id, "--role", "member"], more].concat());
    assert_eq!(made, id);
}

/// Logs a user in: the token.
#[track_caller]
fn token(contract: &mut Contract, id: &str) -> String {
    let content = json!({ "email": format!("{id}@example.com"), "password": PASSWORD });
    let response = post(contract, "/v1/auth/login", &[], &content);
    assert_eq!(response.status, 200, "{response:?}");
    let token = text(&response.json(), "/token");
    contract.gate.watch_for_secret(&token);
    token
}

/// What stands under a name, which must be a text.
#[track_caller]
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}

/// Now, in whole seconds, as answers write it.
fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time that an answer names, in whole seconds; it must be in UTC.
#[track_caller]
fn seconds(written: &str) -> i64 {
    assert!(written.ends_with('Z'), "{written}");
    written.parse::<jiff::Timestamp>().unwrap().as_second()
}

/// A map with a key that is active and one that is not.
fn map() -> String {
    let keys = MAPPED.iter().zip([true, false]).map(|((_, hash), active)| {
        format!("{hash}:\n  tenant_id: tenant-1\n  user_id: user-1\n  name: Backend\n  is_active: {active}\n")
    });
    keys.collect()
}

/// A file of this content that outlives the gateway's start.
fn written(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.yaml");
    std::fs::write(&path, content).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn flex_01_a_key_is_64_hexadecimal_characters_and_kept_as_its_sha_256_alone() {
    let mut contract = Contract::start("flexprice");
    let (key, other) = (contract.key("production", &[]), contract.key("production", &[]));
    for secret in [&key.secret, &other.secret] {
        assert_eq!(secret.len(), 64);
        assert!(secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{secret}");
        assert_eq!(ask(&contract, secret).status, 200);
    }
    assert_ne!(key.secret, other.secret);
    // Whoever has the store has no key.
    for entry in std::fs::read_dir(contract.folder()).unwrap().flatten() {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        assert!(!content.windows(64).any(|window| window == key.secret.as_bytes()), "{}", entry.path().display());
    }
    // The hash is not the key.
    let hash = sha256(&key.secret);
    assert_eq!(ask(&contract, &hash).status, 401);
}

#[test]
fn flex_02_keys_come_from_a_map_of_hashes() {
    let (_folder, path) = written(&map());
    let contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    assert_eq!(ask(&contract, MAPPED[0].0).status, 200);
    let seen = contract.upstream.last();
    assert_eq!((seen.value("X-Tenant-ID"), seen.value("X-User-ID")), ("tenant-1", "user-1"));
    // A change of the file is in force without a restart.
    std::fs::write(&path, "{}").unwrap();
    let start = std::time::Instant::now();
    while ask(&contract, MAPPED[0].0).status != 401 {
        assert!(start.elapsed().as_secs() < 5, "a key that the map no longer has still opens the gate");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn flex_02_a_malformed_map_fails_the_check_and_says_where() {
    let hash = MAPPED[0].1;
    let rows = [
        ("", "holds no keys at all"),
        ("keys: []", "keys: "),
        (&format!("{hash}: true"), "expected a mapping"),
        (&format!("{hash}: {{ user_id: u, is_active: true }}"), "tenant_id: is missing"),
        (&format!("{hash}: {{ tenant_id: t, is_active: perhaps }}"), "is_active: "),
        (&format!("{hash}: {{ tenant_id: t, is_active: true }}\n{hash}: {{ tenant_id: t, is_active: true }}"), ":2:1"),
        ("not-a-hash: { tenant_id: t, is_active: true }", "SHA-256"),
        ("{ broken", "map.yaml:"),
    ];
    let contract = Contract::start("flexprice");
    for (content, expected) in rows {
        let (_folder, path) = written(content);
        let said = contract.fails_to_check(&[("KEYGATE_KEY_MAP", &path)]);
        assert!(said.contains(expected) && said.contains("map.yaml"), "{content}: {said}");
        assert!(!said.contains(&hash[..12]), "{said}");
    }
    let said = contract.fails_to_check(&[("KEYGATE_KEY_MAP", "/nowhere/map.yaml")]);
    assert!(said.contains("/nowhere/map.yaml"), "{said}");
}

#[test]
fn flex_02_the_development_keys_open_the_development_setup_alone() {
    let contract = Contract::start_with("flexprice", &[("KEYGATE_DEVELOPMENT", "true")]);
    for secret in DEVELOPMENT {
        assert_eq!(ask(&contract, secret).status, 200);
        assert_eq!(contract.upstream.last().value("X-Tenant-ID"), "00000000-0000-0000-0000-000000000000");
    }
    let unknown = error("key_unknown", "The API key is not known here", 401);
    let hashes = DEVELOPMENT.map(sha256);
    let content: String = hashes.iter().map(|hash| format!("{hash}: {{ tenant_id: t, is_active: true }}\n")).collect();
    let (_folder, path) = written(&content);
    for more in [&[][..], &[("KEYGATE_KEY_MAP", path.as_str())]] {
        let contract = Contract::start_with("flexprice", more);
        for secret in DEVELOPMENT {
            check(&ask(&contract, secret), 401, &unknown);
        }
        assert!(contract.upstream.received().is_empty());
    }
}

#[test]
fn flex_04_the_api_learns_who_asks_and_no_client_can_forge_it() {
    let (_folder, path) = written(&map());
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    let bound = contract.key("production", &["--tenant", "acme"]);
    let forged = [
        ("X-Tenant-ID", "evil"),
        ("X-User-ID", "evil"),
        ("X-Environment-ID", "env-of-the-client"),
        ("X_Tenant_ID", "evil"),
        ("x_environment_id", "evil"),
        ("X-Keygate-Tenant", "evil"),
        ("Connection", "X-Tenant-ID, X-Environment-ID"),
    ];
    for (secret, tenant, user, environment) in [
        (bound.secret.as_str(), "acme", None, Some("production")),
        (MAPPED[0].0, "tenant-1", Some("user-1"), Some("env-of-the-client")),
    ] {
        let fields: Vec<_> = forged.iter().copied().chain([("X-API-Key", secret)]).collect();
        assert_eq!(contract.gate.get(PATH, &fields).status, 200);
        let seen = contract.upstream.last();
        let values = |name: &str| seen.values(name);
        assert_eq!(values("x-tenant-id"), [tenant]);
        assert_eq!(values("x-user-id"), user.into_iter().collect::<Vec<_>>());
        assert_eq!(values("x-environment-id"), environment.into_iter().collect::<Vec<_>>());
        assert!(!seen.mentions("evil") && !seen.mentions(secret), "{}", seen.head);
    }
    // Two environments are none.
    let fields = [("X-API-Key", MAPPED[0].0), ("X-Environment-ID", "one"), ("X-Environment-ID", "two")];
    assert_eq!(contract.gate.get(PATH, &fields).status, 200);
    assert_eq!(contract.upstream.last().values("x-environment-id"), Vec::<&str>::new());
}

#[test]
fn flex_05_no_key_and_an_unknown_one_are_401_and_an_inactive_one_is_403() {
    let (_folder, path) = written(&map());
    let mut contract = Contract::start_with("flexprice", &[("KEYGATE_KEY_MAP", &path)]);
    let missing = error("credentials_missing", "Send credentials with the request", 401);
    let unknown = error("key_unknown", "The API key is not known here", 401);
    let inactive = error("permission_denied", "The API key is not active", 403);
    for fields in [&[][..], &[("X-API-Key", "")]] {
        let refused = contract.gate.get(PATH, fields);
        check(&refused, 401, &missing);
        assert!(refused.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("ApiKey")));
    }
    check(&ask(&contract, &"0".repeat(64)), 401, &unknown);
    check(&ask(&contract, MAPPED[1].0), 403, &inactive);
    let key = contract.key("production", &[]);
    contract.keygate(&["keys", "deactivate", &key.id]);
    check(&ask(&contract, &key.secret), 403, &inactive);
    contract.keygate(&["keys", "activate", &key.id]);
    assert_eq!(ask(&contract, &key.secret).status, 200);
    contract.keygate(&["keys", "delete", &key.id]);
    check(&ask(&contract, &key.secret), 401, &unknown);
}
