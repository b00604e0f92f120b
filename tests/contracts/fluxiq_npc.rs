//! Contract N.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::client::Response;
use crate::contract::Contract;
use crate::gate::Gate;
use crate::upstream::Upstream;

const PRODUCTION: &str = "api.pixconnect.com.br";
const SANDBOX: &str = "sandbox.pixconnect.com.br";
const PATH: &str = "/api/v1/central/boletos";

fn error(code: &str, message: &str, details: &str) -> Value {
    json!({ "error": { "code": code, "message": message, "details": details } })
}

fn invalid() -> Value {
    error("INVALID_API_KEY", "Invalid or expired API Key", "Verify that the key is correct and active in the portal")
}

#[track_caller]
fn check(response: &Response, status: u16, body: &Value) {
    assert_eq!((response.status, &response.json()), (status, body));
    assert_eq!(response.field("content-type"), Some("application/json"));
}

#[test]
fn npc_01_every_endpoint_needs_the_key_in_its_field() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    for path in [PATH, "/api/v1/central/health", "/", "/anything/else?x=1"] {
        assert_eq!(contract.get(PRODUCTION, path, Some(&key.secret)).status, 200, "{path}");
        assert_eq!(contract.get(PRODUCTION, path, None).status, 401, "{path}");
    }
    for name in ["x-api-key", "X-API-KEY", "X-Api-Key"] {
        assert_eq!(contract.gate.get(PATH, &[("Host", PRODUCTION), (name, &key.secret)]).status, 200, "{name}");
    }
    let query = format!("{PATH}?api_key={0}&X-API-Key={0}", key.secret);
    assert_eq!(contract.gate.get(&query, &[("Host", PRODUCTION), ("X-Request-Id", "no-secret-here")]).status, 401);
}

#[test]
fn npc_02_the_prefix_tells_the_environment() {
    let mut contract = Contract::start("fluxiq-npc");
    let (live, test) = (contract.key("production", &[]), contract.key("sandbox", &[]));
    assert!(live.secret.starts_with("pk_live_") && test.secret.starts_with("pk_test_"));
    assert_eq!(contract.get(PRODUCTION, PATH, Some(&live.secret)).status, 200);
    assert_eq!(contract.upstream.last().value("X-Keygate-Environment"), "production");
    assert_eq!(contract.get(SANDBOX, PATH, Some(&test.secret)).status, 200);
    assert_eq!(contract.sandbox.last().value("X-Keygate-Environment"), "sandbox");
}

/// A key of an environment that is none would open nothing.
#[test]
fn npc_02_a_key_is_made_for_one_of_the_environments() {
    let contract = Contract::start("fluxiq-npc");
    for arguments in [&["keys", "create", "--environment", "prod"][..], &["keys", "create"]] {
        assert_eq!(contract.refused(arguments), "keygate: `--environment` must be one of production, sandbox\n");
    }
    assert_eq!(contract.keygate(&["keys", "list"]), json!([]));
}

#[test]
fn npc_03_a_key_of_the_other_environment_is_invalid_and_an_unknown_host_refused() {
    let mut contract = Contract::start("fluxiq-npc");
    let (live, test) = (contract.key("production", &[]), contract.key("sandbox", &[]));
    check(&contract.get(PRODUCTION, PATH, Some(&test.secret)), 401, &invalid());
    check(&contract.get(SANDBOX, PATH, Some(&live.secret)), 401, &invalid());
    let unknown = contract.get(PRODUCTION, PATH, Some("pk_live_abc123def456"));
    check(&unknown, 401, &invalid());
    let elsewhere = contract.get("api.example.com", PATH, Some(&live.secret));
    assert_eq!((elsewhere.status, &elsewhere.json()["error"]["code"]), (421, &json!("MISDIRECTED")));
    assert!(contract.upstream.received().is_empty() && contract.sandbox.received().is_empty());
    assert_eq!(
        contract.get(&format!("{PRODUCTION}:443"), PATH, Some(&live.secret)).status,
        200,
        "a port changes nothing"
    );
}

/// What the shipped file says that a deployment of one environment leaves out.
#[test]
fn npc_03_a_deployment_of_one_environment_answers_under_every_host() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/contracts/fluxiq-npc.yaml");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let (before, sandbox) = shipped.split_once("  - name: sandbox\n").unwrap();
    let (_, after) = sandbox.split_once("\n\n").unwrap();
    let one = format!("{}\n{after}", before.replace("    hosts: [api.pixconnect.com.br]\n", ""));
    let (upstream, directory) = (Upstream::hello(), tempfile::tempdir().unwrap());
    let file = directory.path().join("one.yaml");
    std::fs::write(&file, one).unwrap();
    let folder = directory.path().display().to_string();
    let variables = [
        ("KEYGATE_LISTEN", "127.0.0.1:0".to_owned()),
        ("KEYGATE_ADMIN", "127.0.0.1:0".to_owned()),
        ("KEYGATE_UPSTREAM", upstream.to_string()),
        ("KEYGATE_DATA", folder),
    ];
    let gate = Gate::run(directory, &file, &variables);
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["keys", "create", "--environment", "production", "--json", "--config"])
        .arg(&file)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    for host in [PRODUCTION, SANDBOX, "localhost"] {
        let key = ("X-API-Key", made["secret"].as_str().unwrap());
        assert_eq!(gate.get(PATH, &[("Host", host), key]).status, 200, "{host}");
        check(&gate.get(PATH, &[("Host", host), ("X-API-Key", "pk_test_abc123def456")]), 401, &invalid());
    }
}

#[test]
fn npc_settled_03_an_unknown_host_is_refused_and_a_path_that_nobody_routed_is_not() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    for host in ["api.example.com", "pixconnect.com.br", "evil.api.pixconnect.com.br", "api.pixconnect.com.br.evil.com"]
    {
        for secret in [Some(key.secret.as_str()), None] {
            let refused = contract.get(host, PATH, secret);
            assert_eq!((refused.status, &refused.json()["error"]["code"]), (421, &json!("MISDIRECTED")), "{host}");
        }
    }
    for path in ["/", "/not/in/any/document", "/api/v9"] {
        assert_eq!(contract.get("API.PixConnect.com.br", path, Some(&key.secret)).status, 200, "{path}");
        assert!(contract.upstream.last().head.starts_with(&format!("GET {path} ")), "{path}");
        assert_eq!(contract.get(PRODUCTION, path, None).status, 401, "{path}");
    }
    // The prefix is no proof: a host decides, and the key is looked up.
    check(&contract.get(PRODUCTION, PATH, Some(&key.secret.replace("pk_live_", "pk_test_"))), 401, &invalid());
}

#[test]
fn npc_settled_errors_every_refusal_has_the_shape_of_the_contract() {
    let mut contract = Contract::start_with("fluxiq-npc", &[("KEYGATE_UPSTREAM", "http://127.0.0.1:1")]);
    let key = contract.key("production", &[]);
    let (host, key) = (("Host", PRODUCTION), ("X-API-Key", key.secret.as_str()));
    for (path, fields, status, code) in [
        (PATH, &[("Host", "api.example.com"), key][..], 421, "MISDIRECTED"),
        ("/a%2fb", &[host, key], 400, "BAD_REQUEST"),
        (PATH, &[host, key, ("X-API-Key", "another")], 400, "CREDENTIALS_CONFLICT"),
        (PATH, &[host, key, ("Content-Length", "999999999999")], 413, "CONTENT_TOO_LARGE"),
        (PATH, &[host, key], 502, "UPSTREAM_UNREACHABLE"),
    ] {
        let response = contract.gate.get(path, fields);
        let body = response.json();
        let texts = ["message", "details"].map(|name| body["error"][name].as_str().unwrap_or_default().to_owned());
        assert!(texts.iter().all(|text| !text.is_empty()), "{body}");
        check(&response, status, &error(code, &texts[0], &texts[1]));
        assert_eq!(response.field("cache-control"), Some("no-store"), "{code}");
    }
}

#[test]
fn npc_settled_401_bears_a_challenge() {
    let contract = Contract::start("fluxiq-npc");
    for secret in [None, Some("unknown"), Some("pk_live_abc123def456")] {
        let refused = contract.get(PRODUCTION, PATH, secret);
        let challenge = (refused.status, refused.field("www-authenticate"), refused.field("cache-control"));
        assert_eq!(challenge, (401, Some("ApiKey realm=\"keygate\""), Some("no-store")));
    }
}

#[test]
fn npc_settled_credentials_that_are_empty_or_doubled() {
    let mut contract = Contract::start("fluxiq-npc");
    let (key, other) = (contract.key("production", &[]), contract.key("production", &[]));
    let ask = |secrets: &[&str]| {
        let fields: Vec<_> = secrets.iter().map(|secret| ("X-API-Key", *secret)).collect();
        let response = contract.gate.get(PATH, &[&[("Host", PRODUCTION)], &fields[..]].concat());
        (response.status, response.text())
    };
    assert!(matches!(ask(&[""]), (401, body) if body.contains("MISSING_API_KEY")));
    assert!(matches!(ask(&[&key.secret, &other.secret]), (400, body) if body.contains("CREDENTIALS_CONFLICT")));
    assert_eq!((ask(&[&key.secret, &key.secret]).0, ask(&["", &key.secret]).0), (200, 200));
}

#[test]
fn npc_settled_limits_there_are_none() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    let mut client = contract.gate.client();
    for number in 0..300 {
        let (secret, status) = if number % 2 == 0 { ("pk_live_abc123def456", 401) } else { (key.secret.as_str(), 200) };
        let response = client.request("GET", PATH, &[("Host", PRODUCTION), ("X-API-Key", secret)], b"");
        assert_eq!(response.status, status, "request {number}");
        assert!(response.fields.iter().all(|(name, _)| !name.contains("ratelimit")), "{response:?}");
    }
}

#[test]
fn npc_04_a_missing_key_is_told() {
    let contract = Contract::start("fluxiq-npc");
    let body = error(
        "MISSING_API_KEY",
        "The X-API-Key header is required",
        "Include your API Key in the X-API-Key header of the request",
    );
    check(&contract.get(PRODUCTION, PATH, None), 401, &body);
    check(&contract.get(PRODUCTION, PATH, Some("")), 401, &body);
    let challenge = contract.get(PRODUCTION, PATH, None);
    assert!(challenge.field("www-authenticate").unwrap().starts_with("ApiKey"));
}

#[test]
fn npc_05_unknown_malformed_inactive_and_expired_keys_are_invalid() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    let mut typo = key.secret.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'x' { 'y' } else { 'x' });
    for secret in ["pk_live_xyz789abc123def456", "nonsense", &typo, &key.secret.to_uppercase()] {
        check(&contract.get(PRODUCTION, PATH, Some(secret)), 401, &invalid());
    }
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1500)).to_string();
    let short = contract.key("production", &["--expires-at", &soon]);
    assert_eq!(contract.get(PRODUCTION, PATH, Some(&short.secret)).status, 200);
    contract.gate.eventually("it has expired", |_| contract.get(PRODUCTION, PATH, Some(&short.secret)).status == 401);
    check(&contract.get(PRODUCTION, PATH, Some(&short.secret)), 401, &invalid());
    contract.keygate(&["keys", "deactivate", &key.id]);
    check(&contract.get(PRODUCTION, PATH, Some(&key.secret)), 401, &invalid());
    contract.keygate(&["keys", "activate", &key.id]);
    assert_eq!(contract.get(PRODUCTION, PATH, Some(&key.secret)).status, 200);
    contract.keygate(&["keys", "delete", &key.id]);
    check(&contract.get(PRODUCTION, PATH, Some(&key.secret)), 401, &invalid());
}

#[test]
fn npc_06_a_revoked_key_is_told_on_the_next_request_of_a_kept_connection() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    let fields = [("Host", PRODUCTION), ("X-API-Key", key.secret.as_str())];
    let mut client = contract.gate.client();
    assert_eq!(client.request("GET", PATH, &fields, b"").status, 200);
    contract.keygate(&["keys", "revoke", &key.id]);
    let body = error(
        "REVOKED_API_KEY",
        "This API Key has been revoked",
        "Generate a new key in the portal or contact support",
    );
    check(&client.request("GET", PATH, &fields, b""), 401, &body);
}

#[test]
fn npc_07_rotation_fails_no_request() {
    let mut contract = Contract::start("fluxiq-npc");
    let old = contract.key("production", &[]);
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut new = None;
    let new_secret = std::sync::OnceLock::<String>::new();
    std::thread::scope(|scope| {
        let gate = &contract.gate;
        let (address, done, asked, new_secret, old_secret) = (gate.address, &done, &asked, &new_secret, &old.secret);
        for _ in 0..4 {
            scope.spawn(move || {
                let mut client = crate::client::Client::connect(address);
                while !done.load(Ordering::Relaxed) {
                    // Each client changes over when it hears of the new key, as a deployment does.
                    let secret = new_secret.get().unwrap_or(old_secret);
                    let fields = [("Host", PRODUCTION), ("X-API-Key", secret.as_str())];
                    assert_eq!(client.request("GET", PATH, &fields, b"").status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        let answer = contract.keygate(&["keys", "rotate", &old.id]);
        let secret = answer["secret"].as_str().unwrap().to_owned();
        assert_eq!(contract.get(PRODUCTION, PATH, Some(&old.secret)).status, 200, "both are valid side by side");
        assert_eq!(contract.get(PRODUCTION, PATH, Some(&secret)).status, 200);
        new_secret.set(secret).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        done.store(true, Ordering::Relaxed);
        new = Some(answer);
    });
    assert!(asked.load(Ordering::Relaxed) > 20);
    let answer = new.unwrap();
    contract.made(&answer);
    let listed = contract.keygate(&["keys", "list"]);
    let items = listed.as_array().or_else(|| listed["items"].as_array()).unwrap();
    let before = items.iter().find(|key| key["id"] == old.id.as_str()).unwrap();
    let ends: jiff::Timestamp = before["retires"].as_str().or(before["expires"].as_str()).unwrap().parse().unwrap();
    let hours = (ends - jiff::Timestamp::now()).total(jiff::Unit::Hour).unwrap();
    assert!((23.9..=24.0).contains(&hours), "the overlap is a day: {hours}");
    contract.keygate(&["keys", "revoke", &old.id]);
    assert_eq!(contract.get(PRODUCTION, PATH, Some(&old.secret)).json()["error"]["code"], "REVOKED_API_KEY");
}

/// When a key ends that was made and rotated with these words, in hours from now.
#[track_caller]
fn hours_left(contract: &mut Contract, create: &[&str], rotate: &[&str]) -> f64 {
    let old = contract.key("production", create);
    let rotated = contract.keygate(&[&["keys", "rotate", &old.id], rotate].concat());
    contract.made(&rotated);
    let listed = contract.keygate(&["keys", "list"]);
    let before = listed.as_array().unwrap().iter().find(|key| key["id"] == old.id.as_str()).unwrap();
    let ends: jiff::Timestamp = before["retires"].as_str().unwrap().parse().unwrap();
    (ends - jiff::Timestamp::now()).total(jiff::Unit::Hour).unwrap()
}

#[test]
fn npc_settled_07_two_keys_overlap_for_a_day_unless_the_operator_says_otherwise() {
    let mut contract = Contract::start("fluxiq-npc");
    let usual = hours_left(&mut contract, &[], &[]);
    assert!((23.9..=24.0).contains(&usual), "{usual}");
    let longer = hours_left(&mut contract, &[], &["--overlap", "72h"]);
    assert!((71.9..=72.0).contains(&longer), "{longer}");
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2)).to_string();
    let short = hours_left(&mut contract, &["--expires-at", &soon], &[]);
    assert!((1.9..=2.0).contains(&short), "never past the end that it had: {short}");
}

#[test]
fn npc_09_a_key_is_shown_once_and_written_nowhere() {
    let mut contract = Contract::start("fluxiq-npc");
    let key = contract.key("production", &[]);
    assert_eq!(contract.get(PRODUCTION, PATH, Some(&key.secret)).status, 200);
    assert!(!contract.upstream.last().mentions(&key.secret));
    assert!(!contract.keygate(&["keys", "list"]).to_string().contains(&key.secret));
    for entry in std::fs::read_dir(contract.gate.file("")).unwrap().flatten() {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        let found = content.windows(key.secret.len()).any(|window| window == key.secret.as_bytes());
        assert!(!found, "the secret is in {}", entry.path().display());
    }
}

#[test]
fn npc_10_the_age_of_the_oldest_key_shows_by_environment() {
    let mut contract = Contract::start("fluxiq-npc");
    contract.key("production", &[]);
    contract.key("sandbox", &[]);
    let page = contract.gate.admin("/metrics").text();
    for environment in ["production", "sandbox"] {
        let series = format!("keygate_oldest_key_age_seconds{{environment=\"{environment}\"}} ");
        let line = page.lines().find(|line| line.starts_with(&series)).unwrap_or_else(|| panic!("{page}"));
        let age: f64 = line[series.len()..].parse().unwrap();
        assert!(age < 60.0, "{line}");
    }
}

/// The rule that ships, judged by Prometheus' own tool.
#[test]
fn npc_settled_10_an_alert_tells_of_keys_that_are_older_than_90_days() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/keygate.rules.test.yaml");
    let output = std::process::Command::new("promtool").args(["test", "rules", rules]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
}
