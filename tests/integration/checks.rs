//! What other proxies are told that ask whether a request may pass.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde::Deserialize as _;

use crate::client::{Client, Response};
use crate::gate::{Gate, Setup, gate};
use crate::key::{TestKey, key};
use crate::upstream::Upstream;

/// Answers questions in all three dialects: nginx, forwarded, envoy.
fn asked(setup: Setup, from: &str) -> Gate {
    let check = |dialect: &str| format!("  - {{ listen: '127.0.0.1:0', dialect: {dialect}, from: [{from}] }}\n");
    setup.with(&format!("check:\n{}", ["nginx", "forwarded", "envoy"].map(check).concat())).start()
}

const NGINX: usize = 0;
const FORWARDED: usize = 1;
const ENVOY: usize = 2;

/// Asks in a dialect about a request of a client at 203.0.113.9.
fn ask(gate: &Gate, dialect: usize, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    ask_at(gate.check_address(dialect), dialect, method, target, fields)
}

fn ask_at(at: SocketAddr, dialect: usize, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let said: &[(&str, &str)] = match dialect {
        NGINX => &[
            ("X-Original-Method", method),
            ("X-Original-URI", target),
            ("X-Original-Host", "api.example"),
            ("X-Real-IP", "203.0.113.9"),
        ],
        FORWARDED => &[
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Uri", target),
            ("X-Forwarded-Host", "api.example"),
            ("X-Forwarded-For", "203.0.113.9"),
        ],
        _ => &[("X-Forwarded-For", "203.0.113.9"), ("Content-Length", "0")],
    };
    let fields: Vec<_> = said.iter().chain(fields).copied().collect();
    let mut client = Client::connect(at);
    match dialect {
        ENVOY => client.request(method, &format!("/check{target}"), &fields, b""),
        _ => client.request("GET", "/check", &fields, b""),
    }
}

/// The reason of a refusal in any dialect; its status is told beside the content, which nginx does not read.
fn reason(response: &Response) -> String {
    let body = response.field("x-keygate-body").map_or_else(|| response.text(), str::to_owned);
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

const ROUTES: &str = "routes:
  - { name: all, paths: ['/{*rest}'], access: api_key }
  - { name: open, paths: ['/open'], access: public }
  - { name: writes, paths: ['/orders'], methods: [POST], access: api_key, permission: 'orders:write' }
  - { name: socket, paths: ['/socket'], access: api_key, upgrade: [websocket] }
limits: [{ name: per-key, per: key, requests: 5, window: 1h }]";

#[test]
fn a_good_request_may_pass_with_exactly_200_and_the_proxy_learns_whose_it_is() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("tenant: acme\n    user: u-1"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "127.0.0.0/8");
    for dialect in [NGINX, FORWARDED, ENVOY] {
        let told = ask(&gate, dialect, "GET", "/orders?id=7", &[alice.field(), ("X-Keygate-Tenant", "evil")]);
        assert_eq!((told.status, told.content.len()), (200, 0), "{told:?}");
        assert_eq!(told.field("x-keygate-key-id"), Some("alice"));
        assert_eq!(told.field("x-keygate-tenant"), Some("acme"));
        assert_eq!(told.field("x-keygate-user"), Some("u-1"));
        assert_eq!(told.field("x-keygate-environment"), None);
        assert_eq!(told.number("x-ratelimit-remaining"), 4 - dialect as u64, "one road, and one count");
        assert_eq!(told.field("cache-control"), Some("no-store"));
        assert!(told.field("x-request-id").is_some());
        let removed = told.field("x-envoy-auth-headers-to-remove");
        let all = "x-api-key,x-keygate-environment,x-keygate-permissions,x-keygate-customer";
        assert_eq!(removed, (dialect == ENVOY).then_some(all));
    }
    assert!(upstream.received().is_empty(), "nothing is forwarded");
    gate.eventually("the log lines", |gate| gate.stdout().lines().count() == 3);
    for line in gate.stdout().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for (name, value) in [
            ("source", "check"),
            ("client", "203.0.113.9"),
            ("method", "GET"),
            ("host", "api.example"),
            ("path", "/orders"),
            ("route", "all"),
            ("key_id", "alice"),
        ] {
            assert_eq!(line[name], value, "{line}");
        }
    }
    assert!(gate.metric("keygate_requests_total", &["source=\"check\"", "status=\"200\""]) == 3.0);
}

#[test]
fn refusals_have_their_status_where_the_proxy_passes_it_on_and_401_or_403_for_nginx() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("tenant: acme"));
    let limits = "routes:
  - { name: all, paths: ['/{*rest}'], methods: [GET], access: api_key }
  - { name: writes, paths: ['/orders'], methods: [POST], access: api_key, permission: 'orders:write' }
  - { name: once, paths: ['/once/{n}'], methods: [GET], access: api_key, limits: [once] }
limits: [{ name: once, per: key, requests: 1, window: 1h }, { name: per-key, per: key, requests: 1000, window: 1h }]";
    let gate = asked(gate(&upstream).key(&alice).with(limits), "127.0.0.0/8");
    assert_eq!(ask(&gate, ENVOY, "GET", "/once/1", &[alice.field()]).status, 200);
    let good: &[(&str, &str)] = &[alice.field()];
    for (what, method, path, fields, status, nginx, code) in [
        ("no key", "GET", "/a", &[][..], 401, 401, "credentials_missing"),
        ("a wrong key", "GET", "/a", &[("X-API-Key", "kg_wrong_key")], 401, 401, "key_unknown"),
        ("no permission", "POST", "/orders", good, 403, 403, "permission_missing"),
        ("too often", "GET", "/once/2", good, 429, 403, "rate_limited"),
        ("no such method", "PUT", "/a", good, 405, 403, "method_not_allowed"),
        ("a gRPC client", "GET", "/a", &[("Content-Type", "application/grpc")], 401, 401, "credentials_missing"),
    ] {
        for dialect in [NGINX, FORWARDED, ENVOY] {
            let told = ask(&gate, dialect, method, path, fields);
            let expected = if dialect == NGINX { nginx } else { status };
            assert_eq!((told.status, reason(&told).as_str()), (expected, code), "{what} {dialect}: {told:?}");
            if dialect == NGINX {
                assert_eq!(told.number("x-keygate-status"), u64::from(status), "{what}");
                assert!(told.content.is_empty());
            }
            assert_eq!(told.field("www-authenticate").is_some(), status == 401, "{what}");
            assert_eq!(told.field("retry-after").is_some(), status == 429, "{what}");
        }
    }
}

/// nginx would make 500 of the status that a head is refused with before anybody has read it.
#[test]
fn a_question_that_cannot_be_read_is_refused_in_its_dialect_too() {
    let upstream = Upstream::hello();
    let gate = asked(gate(&upstream).with(ROUTES), "127.0.0.0/8");
    let long = format!("X-Long: {}\r\n", "x".repeat(80 * 1024));
    for (fields, status, code) in [("Bad Name: x\r\n", 400, "head_malformed"), (&long, 431, "head_too_large")] {
        for dialect in [NGINX, FORWARDED, ENVOY] {
            let mut client = Client::connect(gate.check_address(dialect));
            client.write(format!("GET /check/a HTTP/1.1\r\nHost: api.example\r\n{fields}\r\n").as_bytes());
            let told = client.response("GET");
            let expected = if dialect == NGINX { 403 } else { status };
            assert_eq!((told.status, reason(&told).as_str()), (expected, code), "{dialect}: {told:?}");
            assert_eq!(told.field("x-keygate-status").is_some(), dialect == NGINX, "{told:?}");
        }
    }
    gate.eventually("they are counted as questions", |gate| {
        gate.metric("keygate_requests_total", &["source=\"check\"", "status=\"403\""]) == 2.0
    });
}

#[test]
fn what_stands_in_the_fields_of_another_dialect_is_not_read() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("allowed_networks: [203.0.113.0/24]"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "127.0.0.0/8");
    let forged = [
        [
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/open"),
            ("X-Original-Host", "evil"),
            ("X-Real-IP", "6.6.6.6"),
        ],
        [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/open"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Proto", "https"),
        ],
    ];
    for dialect in [NGINX, FORWARDED, ENVOY] {
        for (of, fields) in forged.iter().enumerate().filter(|(of, _)| *of != dialect) {
            let told = ask(&gate, dialect, "GET", "/closed", fields);
            assert_eq!((told.status, reason(&told).as_str()), (401, "credentials_missing"), "{of} to {dialect}");
            let with_key: Vec<_> = fields.iter().copied().chain([alice.field()]).collect();
            assert_eq!(ask(&gate, dialect, "POST", "/orders", &with_key).status, 403, "{of} to {dialect}");
        }
        // The address of the client is what the proxy says, and not what the client has said before it.
        let told = ask(&gate, dialect, "GET", "/open", &[("Forwarded", "for=6.6.6.6")]);
        assert_eq!(told.status, 200, "{told:?}");
    }
    assert!(!gate.stdout().contains("6.6.6.6") && !gate.stdout().contains("evil"), "{}", gate.stdout());
}

/// Every field of a dialect is one that nginx has to be told to write, or the client's own would come through.
#[test]
fn a_question_that_does_not_say_all_of_it_once_is_refused() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "127.0.0.0/8");
    let said = [
        [
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/open"),
            ("X-Original-Host", "api.example"),
            ("X-Real-IP", "203.0.113.9"),
        ],
        [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/open"),
            ("X-Forwarded-Host", "api.example"),
            ("X-Forwarded-For", "203.0.113.9"),
        ],
    ];
    for (dialect, said) in said.iter().enumerate() {
        let ask = |fields: &[(&str, &str)]| {
            Client::connect(gate.check_address(dialect)).request("GET", "/check", fields, b"")
        };
        assert_eq!(ask(said).status, 200);
        for (left_out, name) in said.iter().map(|(name, _)| *name).enumerate() {
            let mut fields = said.to_vec();
            fields.remove(left_out);
            assert_eq!(reason(&ask(&fields)), "check_malformed", "without {name}");
            fields.push((name, ""));
            let code = reason(&ask(&fields));
            assert!(code == "check_malformed" || code == "client_address", "{name} is empty: {code}");
            if left_out < 3 {
                let twice: Vec<_> = said.iter().copied().chain([said[left_out]]).collect();
                assert_eq!(reason(&ask(&twice)), "check_malformed", "{name} twice");
            }
        }
        let mut elsewhere = Client::connect(gate.check_address(dialect));
        assert_eq!(reason(&elsewhere.request("GET", "/open", said, b"")), "check_malformed");
    }
    let without = Client::connect(gate.check_address(ENVOY)).request("GET", "/check/open", &[], b"");
    assert_eq!(reason(&without), "check_malformed", "whose request it is does not stand there");
    for path in ["/open", "/checkopen", "/"] {
        let told =
            Client::connect(gate.check_address(ENVOY)).request("GET", path, &[("X-Forwarded-For", "203.0.113.9")], b"");
        assert_eq!(reason(&told), "check_malformed", "{path}");
    }
}

#[test]
fn nobody_is_told_who_may_not_ask() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "192.0.2.0/24");
    for dialect in [NGINX, FORWARDED, ENVOY] {
        for target in ["/open", "/closed"] {
            let told = ask(&gate, dialect, "GET", target, &[alice.field()]);
            assert_eq!((told.status, reason(&told).as_str()), (403, "check_not_allowed"));
            assert_eq!(told.field("x-keygate-key-id"), None);
        }
    }
    // Nor is anybody who may not ask believed at the door for requests.
    assert_eq!(gate.get("/closed", &[("X-Forwarded-Uri", "/open"), ("X-Original-URI", "/open")]).status, 401);
}

/// The proxy forwards the path as the client wrote it, so that a spelling that we would have mended is none to decide on.
#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let routes = "routes:
  - { name: open, paths: ['/open/{*rest}'], access: public }
  - { name: closed, paths: ['/{*rest}'], access: api_key }";
    let gate = asked(gate(&upstream).key(&alice).with(routes), "127.0.0.0/8");
    for dialect in [NGINX, FORWARDED, ENVOY] {
        for path in ["/open/a", "/open/a.b", "/open/%7Ea", "/open/%c3%a9", "/open/a?b=/../c&d=//e"] {
            assert_eq!(ask(&gate, dialect, "GET", path, &[]).status, 200, "{dialect} {path}");
        }
        for path in [
            "/closed/../open/a",
            "/closed/%2e%2e/open/a",
            "/open//a",
            "//open/a",
            "/open/./a",
            "/open/..%2fclosed",
            "/open/..;/closed",
            "/open/\\..\\closed",
            "/open/%00",
            "/open/%252e%252e/closed",
        ] {
            let told = ask(&gate, dialect, "GET", path, &[]);
            assert_eq!(reason(&told), "bad_request", "{dialect} {path}: {told:?}");
            assert!(matches!(told.status, 400 | 403));
        }
    }
    for dialect in [NGINX, FORWARDED] {
        for target in ["*", "http://api.example/open/a", "open/a", "/open/a#/closed"] {
            assert_eq!(reason(&ask(&gate, dialect, "GET", target, &[])), "bad_request", "{target}");
        }
        assert_eq!(reason(&ask(&gate, dialect, "CONNECT", "/open/a", &[])), "bad_request");
    }
}

#[test]
fn what_cannot_be_decided_without_content_or_done_by_another_is_refused() {
    let upstream = Upstream::hello();
    let routes = "routes:
  - { name: hook, paths: ['/hook'], access: webhook, webhook: { scheme: s, tenant: t, environment: e } }
  - { name: jwks, paths: ['/jwks'], methods: [POST], access: public, operation: { jwks: {} } }
  - { name: all, paths: ['/{*rest}'], access: public }
tokens: { issuer: keygate, keys: signing-keys }
webhooks: { schemes: [{ name: s, signature: { field: X-Signature } }] }
keys: { file: keys.yaml, database: keygate.db }";
    let setup = gate(&upstream).with(routes);
    let gate = asked(setup, "127.0.0.0/8");
    for (dialect, status) in [(NGINX, 403), (FORWARDED, 501), (ENVOY, 403)] {
        for path in ["/hook", "/jwks"] {
            let told = ask(&gate, dialect, "POST", path, &[]);
            assert_eq!((told.status, reason(&told).as_str()), (status, "check_impossible"), "{dialect} {path}");
        }
    }
}

#[test]
fn a_request_to_leave_http_passes_where_the_route_permits_it_and_to_websocket_alone() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "127.0.0.0/8");
    let socket = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let upgrade = |to: &'static str| [("Connection", "upgrade"), ("Upgrade", to)];
    for (path, fields, code) in [
        ("/socket", vec![socket], None),
        ("/socket", [&upgrade("websocket")[..], &[socket]].concat(), None),
        ("/socket", upgrade("h2c").to_vec(), Some("upgrade_unsupported")),
        ("/other", vec![socket], Some("upgrade_unsupported")),
        ("/other", [&upgrade("websocket")[..], &[socket]].concat(), Some("upgrade_unsupported")),
        ("/other", upgrade("h2c").to_vec(), Some("upgrade_unsupported")),
    ] {
        // The last may be refused for its limit; two keys would be one too many for this test.
        let fields: Vec<_> = fields.into_iter().chain([alice.field()]).collect();
        let told = ask(&gate, FORWARDED, "GET", path, &fields);
        match code {
            None => assert_eq!(told.status, 200, "{path} {told:?}"),
            Some(code) => assert!([code, "rate_limited"].contains(&reason(&told).as_str()), "{path} {told:?}"),
        }
    }
}

#[test]
fn a_key_that_is_taken_back_and_a_proxy_that_is_struck_off_are_refused_at_once() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let check = "check: { listen: '127.0.0.1:0', dialect: envoy, from: [127.0.0.0/8] }";
    let gate = gate(&upstream).key(&alice).with(ROUTES).with(check).start();
    let ask = |path: &str| ask_at(gate.check_address(0), ENVOY, "GET", path, &[alice.field()]);
    assert_eq!(ask("/a").status, 200);
    gate.replace("keys.yaml", "keys: []\n");
    gate.eventually("the key is gone", |_| ask("/a").status == 401);
    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("from: [127.0.0.0/8]", "from: [192.0.2.0/24]"));
    gate.eventually("nobody may ask", |_| reason(&ask("/open")) == "check_not_allowed");
}

/// Where the hosts say nothing, the address of the question tells the environment, and its keys are good nowhere else.
#[test]
fn an_address_of_questions_can_belong_to_an_environment() {
    let upstream = Upstream::hello();
    let (live, test) = (key("live").with("environment: live"), key("test").with("environment: test"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = gate(&upstream)
        .key(&live)
        .key(&test)
        .with(&format!("environments: [{{ name: live }}, {{ name: test, listeners: ['{port}'] }}]"))
        .with(&format!("check: {{ listen: '{port}', dialect: envoy, from: [127.0.0.0/8] }}"))
        .start();
    let ask = |key: &TestKey| ask_at(port, ENVOY, "GET", "/", &[key.field()]);
    assert_eq!(ask(&test).status, 200);
    assert_eq!(reason(&ask(&live)), "key_unknown");
    assert_eq!(gate.get("/", &[live.field()]).status, 200);
    assert_eq!(gate.get("/", &[test.field()]).code(), "key_unknown");
}

#[test]
fn questions_are_taken_over_tls_and_http2_too() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let tls = "tls: { certificates: [{ certificate: tls.crt, key: tls.key }] }";
    let check = format!("check:\n  - {{ listen: '127.0.0.1:0', dialect: envoy, from: [127.0.0.0/8], {tls} }}\n")
        + "  - { listen: '127.0.0.1:0', dialect: envoy, from: [127.0.0.0/8] }";
    let gate = gate(&upstream).key(&alice).certificate("tls").with(&check).start();
    let header = format!("X-API-Key: {}", alice.secret);
    for (url, version) in [
        (format!("https://localhost:{}/check/a", gate.check_address(0).port()), "--http1.1"),
        (format!("https://localhost:{}/check/a", gate.check_address(0).port()), "--http2"),
        (format!("http://localhost:{}/check/a", gate.check_address(1).port()), "--http2-prior-knowledge"),
    ] {
        for (more, status) in [(header.as_str(), "200"), ("X-API-Key: wrong", "401")] {
            let words = [
                "-sS",
                "--noproxy",
                "*",
                "-4",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                version,
                "--cacert",
                "tls.crt",
            ];
            let fields = ["-H", "X-Forwarded-For: 203.0.113.9", "-H", more];
            let mut curl = Command::new("curl");
            let said = curl.args(words).args(fields).arg(&url).current_dir(gate.file(".")).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), status, "{version} {url}: {said:?}");
        }
    }
}

/// A client that is answered is not made to wait for content that nobody reads, nor is what follows it taken for a question.
#[test]
fn content_that_comes_with_a_question_is_not_read() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = asked(gate(&upstream).key(&alice).with(ROUTES), "127.0.0.0/8");
    let fields = [("X-Forwarded-For", "203.0.113.9"), ("Content-Length", "1000000"), alice.field()];
    let mut client = Client::connect(gate.check_address(ENVOY));
    client.send("POST", "/check/a", &fields, b"");
    assert_eq!(client.response("POST").status, 200);
}

/// Whoever only asks need not open a way past the proxy that asks.
#[test]
fn nobody_need_be_listened_to_but_those_who_ask() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let check = "check: { listen: '127.0.0.1:0', dialect: envoy, from: [127.0.0.0/8] }";
    let gate = gate(&upstream).key(&alice).listen("").with(check).start();
    let long = "x".repeat(8000);
    let told = ask_at(gate.check_address(0), ENVOY, "GET", "/a", &[alice.field(), ("X-Long", &long)]);
    assert_eq!(told.status, 200, "{told:?}");
    assert!(!gate.stderr().contains("\"gateway\""));
}

/// The proxies that run in `tests/interop` show whether their files are good; of the others that is seen here which has to
/// stand in every one of them.
#[test]
fn every_configuration_of_another_proxy_names_what_it_has_to() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/authz");
    let identity = ["key-id", "tenant", "user", "environment", "permissions", "customer"];
    for (name, port) in [
        ("nginx.conf", "9911"),
        ("Caddyfile", "9912"),
        ("traefik.yaml", "9912"),
        ("envoy.yaml", "9913"),
        ("kubernetes.yaml", "9913"),
    ] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        // What is left away by `#` is none of it.
        let said = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
        if name.ends_with(".yaml") {
            let documents: Vec<_> = serde_yaml::Deserializer::from_str(&text).collect();
            for document in documents {
                serde_yaml::Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
        let said = said.to_lowercase();
        let all = ["prefix: x-keygate-", "^x-keygate-"].iter().any(|prefix| said.contains(prefix));
        for field in identity {
            assert!(all || said.contains(&format!("x-keygate-{field}")), "{name} does not hand over {field}");
        }
        assert!(said.contains("x-api-key"), "{name} says nothing of the key");
        assert!(
            said.contains(port) && fs::read_to_string(folder.join("keygate.yaml")).unwrap().contains(port),
            "{name}"
        );
    }
}
