//! Keys made and ended over the management API, while clients ask.

use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::gate::{Gate, Setup, gate};
use crate::upstream::Upstream;

const TOKEN: &str = "a-token-of-the-admin-with-forty-characters";

/// A gateway with a store and the management API.
pub(crate) fn managed(upstream: &Upstream) -> Setup {
    let setup = gate(upstream)
        .with("keys: { database: keygate.db }\nadmin: { listen: \"127.0.0.1:0\", token_file: admin.token }")
        .secret(TOKEN);
    std::fs::write(setup.directory().join("admin.token"), format!("{TOKEN}\n")).unwrap();
    setup
}

#[track_caller]
pub(crate) fn ask(gate: &Gate, method: &str, path: &str, body: Option<&Value>) -> Response {
    let bearer = format!("Bearer {TOKEN}");
    let content = body.map(ToString::to_string).unwrap_or_default();
    let mut fields = vec![("Authorization", bearer.as_str())];
    if body.is_some() {
        fields.push(("Content-Type", "application/json"));
    }
    Client::connect(gate.admin).request(method, path, &fields, content.as_bytes())
}

/// Makes a key: its id and its secret.
#[track_caller]
fn create(gate: &Gate, body: &Value) -> (String, String) {
    let made = ask(gate, "POST", "/api/v1/keys", Some(body));
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |name: &str| made.json()[name].as_str().unwrap_or_else(|| panic!("{}", made.text())).to_owned();
    (text("id"), text("secret"))
}

#[test]
fn a_key_is_in_force_and_out_of_force_on_the_next_request() {
    let upstream = Upstream::hello();
    let mut gate = managed(&upstream).start();
    let (id, secret) = create(&gate, &json!({ "name": "First", "tenant": "acme" }));
    gate.watch_for_secret(&secret);
    let mut client = gate.client();
    let mut status = || client.request("GET", "/", &[("X-API-Key", &secret)], b"").status;
    assert_eq!(status(), 200);
    assert_eq!(upstream.last().value("X-Keygate-Tenant"), "acme");
    for (operation, expected) in [("deactivate", 401), ("activate", 200), ("revoke", 401)] {
        let answer = ask(&gate, "POST", &format!("/api/v1/keys/{id}/{operation}"), None);
        assert!((200..300).contains(&answer.status), "{operation}: {}", answer.text());
        assert_eq!(status(), expected, "{operation}");
    }
    let listed = ask(&gate, "GET", "/api/v1/keys", None);
    assert!(listed.text().contains(&id) && !listed.text().contains(&secret));
    let trail = ask(&gate, "GET", "/api/v1/audit", None).text();
    assert!(trail.contains("revoke") && trail.contains(&id), "{trail}");
}

#[test]
fn nobody_manages_without_the_token_and_the_probes_need_none() {
    let upstream = Upstream::hello();
    let gate = managed(&upstream).start();
    for fields in [vec![], vec![("Authorization", "Bearer wrong-token-of-forty-characters-and-more")]] {
        let refused = Client::connect(gate.admin).request("GET", "/api/v1/keys", &fields, b"");
        assert_eq!(refused.status, 401);
    }
    assert_eq!(gate.admin("/livez").status, 200);
    assert_eq!(gate.admin("/api/v1/openapi.json").json()["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let on_the_public_door = gate.get("/api/v1/keys", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert_eq!(on_the_public_door.status, 401, "the management API is at the admin door alone");
    assert!(upstream.received().is_empty());
}

/// What was answered is on the disk: a kill straight after the answer loses nothing.
#[test]
fn a_kill_after_the_answer_loses_nothing() {
    let upstream = Upstream::hello();
    let rounds = std::env::var("KEYGATE_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let mut known: Vec<(String, &str)> = Vec::new();
    let home = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        let setup = gate(&upstream).secret(TOKEN).with(&format!(
            "keys: {{ database: {0}/keygate.db }}\nadmin: {{ listen: \"127.0.0.1:0\", token_file: {0}/admin.token }}",
            home.path().display()
        ));
        std::fs::write(home.path().join("admin.token"), TOKEN).unwrap();
        let mut gate = setup.start();
        for (secret, standing) in &known {
            let status = gate.get("/", &[("X-API-Key", secret)]).status;
            assert_eq!(status, if *standing == "good" { 200 } else { 401 }, "round {round}: {standing}");
        }
        let (id, secret) = create(&gate, &json!({ "name": format!("Key {round}") }));
        if round % 2 == 1 {
            assert_eq!(ask(&gate, "POST", &format!("/api/v1/keys/{id}/revoke"), None).status, 200);
            known.push((secret, "revoked"));
        } else {
            known.push((secret, "good"));
        }
        assert!(Command::new("kill").args(["-KILL", &gate.pid().to_string()]).status().unwrap().success());
        assert!(!gate.wait().success());
    }
}

/// Which environments there are says the configuration, also after a reload.
#[test]
fn a_key_is_made_for_an_environment_that_is_there() {
    let upstream = Upstream::hello();
    let gate = managed(&upstream).with("environments: [{ name: live }]").start();
    let status = |gate: &Gate, environment: &str| {
        let body = json!({ "environment": environment });
        ask(gate, "POST", "/api/v1/keys", Some(&body)).status
    };
    assert_eq!((status(&gate, "live"), status(&gate, "test")), (201, 422));
    assert_eq!(ask(&gate, "GET", "/api/v1/keys?environment=test", None).status, 400);
    let text = std::fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("name: live", "name: test"));
    gate.eventually("it is reloaded", |gate| status(gate, "test") == 201);
    assert_eq!(status(&gate, "live"), 422);
}

/// The store is written to once a minute, and the answer does not wait for that.
#[test]
fn when_a_key_was_last_used_is_answered_at_once() {
    let upstream = Upstream::hello();
    let mut gate = managed(&upstream).start();
    let (id, secret) = create(&gate, &json!({}));
    gate.watch_for_secret(&secret);
    let last_used = |gate: &Gate| ask(gate, "GET", &format!("/api/v1/keys/{id}"), None).json()["last_used"].clone();
    assert_eq!(last_used(&gate), Value::Null);
    assert_eq!(gate.get("/", &[("X-API-Key", &secret)]).status, 200);
    assert!(last_used(&gate).is_string(), "{}", last_used(&gate));
}
