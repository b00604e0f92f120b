//! Who may do what, and what everybody else is told: routes, permissions, environments, refusals, browsers.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use crate::client::Response;
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::upstream::{Upstream, respond};

/// An upstream that answers with its name.
fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |_, stream| respond(stream, "200 OK", "", name.as_bytes()))
}

/// A request of this method to a path of this host.
#[track_caller]
fn ask(gate: &Gate, method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Response {
    let fields: Vec<_> = [("Host", host)].into_iter().chain(fields.iter().copied()).collect();
    gate.client().request(method, path, &fields, b"")
}

/// The path that reached the upstream last, with its query.
#[track_caller]
fn forwarded(upstream: &Upstream) -> String {
    upstream.last().head.split(' ').nth(1).unwrap().to_owned()
}

/// Status and word of a refusal.
#[track_caller]
fn refused(response: &Response) -> (u16, String) {
    (response.status, response.code())
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn the_most_specific_route_is_taken_whatever_the_order() {
    let names = ["rest", "below", "any", "text", "post", "host", "host-rest"];
    let upstreams = names.map(|name| (name, named(name)));
    let at = |name: &str| &upstreams.iter().find(|(known, _)| *known == name).unwrap().1;
    let alice = key("alice");
    let gate = gate(at("rest"))
        .key(&alice)
        .with(&format!(
            r#"
routes:
  - {{ name: rest, paths: ["/{{*rest}}"], access: api_key }}
  - {{ name: below, paths: ["/v1/{{*rest}}"], access: api_key, upstream: {} }}
  - {{ name: any, paths: ["/v1/orders/{{id}}"], access: api_key, upstream: {} }}
  - {{ name: post, paths: ["/v1/orders/{{id}}"], methods: [POST], access: api_key, upstream: {} }}
  - {{ name: text, paths: ["/v1/orders/new"], methods: [GET], access: api_key, upstream: {} }}
  - {{ name: host, paths: ["/v1/orders/{{id}}"], hosts: [B.example], methods: [GET], access: api_key, upstream: {} }}
  - {{ name: host-rest, paths: ["/v2/{{*rest}}"], hosts: [B.example], access: api_key, upstream: {} }}
"#,
            at("below"),
            at("any"),
            at("post"),
            at("text"),
            at("host"),
            at("host-rest"),
        ))
        .start();
    for (method, host, path, route) in [
        ("GET", "a.example", "/", "rest"),
        ("GET", "a.example", "/v2/x", "rest"),
        ("GET", "a.example", "/v1", "rest"),
        ("GET", "a.example", "/v1/", "below"),
        ("GET", "a.example", "/v1/orders", "below"),
        ("GET", "a.example", "/v1/orders/7/items", "below"),
        ("GET", "a.example", "/v1/orders/7", "any"),
        ("GET", "a.example", "/v1/orders/7?a=/v1/orders/new", "any"),
        ("POST", "a.example", "/v1/orders/7", "post"),
        ("GET", "a.example", "/v1/orders/new", "text"),
        // The text has no POST; the parameter has one.
        ("POST", "a.example", "/v1/orders/new", "post"),
        ("DELETE", "a.example", "/v1/orders/new", "any"),
        // The host goes before the path, with any port and in any case.
        ("GET", "b.example", "/v1/orders/new", "host"),
        ("GET", "B.EXAMPLE:8080", "/v1/orders/new", "host"),
        ("GET", "b.example.", "/v1/orders/new", "host"),
        ("POST", "b.example", "/v1/orders/7", "post"),
        ("GET", "b.example", "/v2/x", "host-rest"),
        ("GET", "b.example", "/v3", "rest"),
        ("GET", "c.b.example", "/v2/x", "rest"),
    ] {
        let response = ask(&gate, method, host, path, &[alice.field()]);
        assert_eq!(response.text(), route, "{method} {host}{path}");
    }
    gate.eventually("the log names the route", |gate| gate.stdout().contains("\"route\":\"host-rest\""));
    assert_eq!(gate.metric("keygate_requests_total", &["route=\"post\""]), 3.0);
}

#[test]
fn what_is_not_configured_is_refused_before_anybody_is_asked_for_a_key() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
routes:
  - { name: read, paths: [/v1/orders, "/v1/orders/{id}"], methods: [GET, HEAD], access: api_key }
  - { name: write, paths: [/v1/orders], methods: [POST], access: api_key }
"#,
        )
        .start();
    for fields in [&[][..], &[alice.field()][..]] {
        for path in ["/", "/v1", "/v1/orders/", "/v1/orders/7/items", "/V1/orders", "/v1/ordersx"] {
            assert_eq!(refused(&gate.get(path, fields)), no(404, "no_route"), "{path}");
        }
        for (method, path, allow) in [
            ("DELETE", "/v1/orders", "GET, HEAD, POST"),
            ("POST", "/v1/orders/7", "GET, HEAD"),
            ("OPTIONS", "/v1/orders/7", "GET, HEAD"),
            ("BREW", "/v1/orders/7", "GET, HEAD"),
        ] {
            let response = gate.client().request(method, path, fields, b"");
            assert_eq!(refused(&response), no(405, "method_not_allowed"), "{method} {path}");
            assert_eq!(response.field("allow"), Some(allow), "{method} {path}");
        }
    }
    assert!(upstream.received().is_empty());
    assert_eq!(gate.get("/v1/orders/7", &[alice.field()]).status, 200);
    assert_eq!(gate.get("/v1/orders/7", &[]).status, 401);
    gate.eventually("they are counted without a route", |gate| {
        gate.metric("keygate_rejections_total", &["no_route"]) == 12.0
            && gate.metric("keygate_requests_total", &["route=\"none\""]) == 20.0
    });
}

#[test]
fn a_public_route_asks_for_no_key_and_tells_of_none() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("tenant: acme"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
limits:
  - { name: per-key, per: key, requests: 1, window: 1h }
  - { name: per-address, per: address, requests: 4, window: 1h }
routes:
  - { name: status, paths: [/status], access: public, limits: [per-key, per-address] }
  - { name: free, paths: [/free], access: public, limits: [] }
  - { name: rest, paths: ["/{*rest}"], access: api_key, limits: [per-key] }
"#,
        )
        .start();
    let forged = [("X-Keygate-Tenant", "evil"), ("X-Keygate-Key-Id", "evil")];
    let first = gate.get("/status", &forged);
    assert_eq!((first.status, first.number("x-ratelimit-remaining")), (200, 3));
    assert!(!upstream.last().mentions("evil"));
    assert_eq!(upstream.last().values("X-Keygate-Key-Id"), [""; 0]);

    // A key that comes along is taken out, and is nobody here: it is neither named nor counted.
    assert_eq!(gate.get("/status", &[alice.field()]).number("x-ratelimit-remaining"), 2);
    assert!(!upstream.last().mentions(&alice.secret) && !upstream.last().mentions("acme"));
    assert_eq!(gate.get("/status", &[("X-API-Key", "nobodys")]).number("x-ratelimit-remaining"), 1);
    assert_eq!(gate.get("/status", &[]).number("x-ratelimit-remaining"), 0);
    let spent = gate.get("/status", &[]);
    assert_eq!(refused(&spent), no(429, "rate_limited"));
    assert_eq!(spent.number("x-ratelimit-limit"), 4);

    let free = gate.get("/free", &[]);
    assert_eq!((free.status, free.field("x-ratelimit-limit")), (200, None), "no limit is named, none counts");
    assert_eq!(gate.get("/private", &[alice.field()]).status, 200, "the key has its allowance whole");
    assert_eq!(gate.get("/status/below", &[alice.field()]).status, 429, "public is this path and none below");
}

#[test]
fn a_permission_is_held_by_the_key_or_by_one_of_its_roles() {
    let upstream = Upstream::hello();
    let rows = [
        (key("plain"), [403, 403]),
        (key("own").with("permissions: [orders:write]"), [200, 403]),
        (key("reader").with("permissions: [orders:read, 'invoices:*']"), [403, 403]),
        (key("action").with("permissions: ['orders:*']"), [200, 403]),
        (key("everything").with("permissions: ['*']"), [200, 200]),
        (key("clerk").with("roles: [nobody, clerk]"), [200, 403]),
        (key("chief").with("roles: [chief]"), [200, 200]),
        (key("unknown-role").with("roles: [admin]"), [403, 403]),
    ];
    let gate = rows
        .iter()
        .fold(gate(&upstream), |setup, (key, _)| setup.key(key))
        .with(
            r#"
roles:
  - { name: clerk, permissions: ["orders:read", "orders:write"] }
  - { name: chief, permissions: ["*"] }
  - { name: nobody, permissions: [] }
limits: [{ name: per-key, per: key, requests: 10, window: 1h }]
routes:
  - { name: write, paths: [/orders], access: api_key, permission: "orders:write" }
  - { name: all, paths: [/all], access: api_key, permission: "*" }
  - { name: any, paths: [/any], access: api_key }
"#,
        )
        .start();
    for (key, expected) in &rows {
        for (path, permission, status) in [("/orders", "orders:write", expected[0]), ("/all", "*", expected[1])] {
            let response = gate.get(path, &[key.field()]);
            assert_eq!(response.status, status, "{} {path}", key.id);
            if status == 403 {
                assert_eq!(response.code(), "permission_missing");
                assert_eq!(response.json()["required_permission"], permission);
                assert_eq!(response.field("www-authenticate"), None);
            }
        }
        assert_eq!(gate.get("/any", &[key.field()]).status, 200, "{}", key.id);
    }
    let (plain, _) = &rows[0];
    let response = gate.get("/orders", &[plain.field()]);
    assert_eq!(response.number("x-ratelimit-remaining"), 9, "a refusal shows what is left, and takes nothing");
    assert_eq!(gate.get("/orders", &[]).status, 401, "who asks comes before what for");
}

/// A key of an environment, with a secret that begins so.
fn key_of(id: &str, prefix: &str, environment: &str) -> TestKey {
    let mut key = key(id);
    key.secret.insert_str(0, prefix);
    if environment.is_empty() { key } else { key.with(&format!("environment: {environment}")) }
}

/// A refusal without what differs between any two.
fn comparable(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut fields = response.fields.clone();
    fields.retain(|(name, _)| name != "x-request-id" && name != "date");
    (response.status, fields, response.text())
}

#[test]
fn environments_are_told_apart_by_host_and_each_has_its_keys_and_its_upstream() {
    let (base, sandbox) = (named("live"), named("sandbox"));
    let live_key = key_of("live", "kg_live_", "live");
    let test_key = key_of("test", "kg_test_", "sandbox");
    let both = key_of("both", "kg_test_", "");
    let wrong_prefix = key_of("wrong-prefix", "kg_test_", "live");
    let gate = [&live_key, &test_key, &both, &wrong_prefix]
        .into_iter()
        .fold(gate(&base), super::gate::Setup::key)
        .with(&format!(
            r#"
environments:
  - {{ name: live, hosts: [api.example.com, "*.live.example.com"], key_prefix: kg_live_ }}
  - {{ name: sandbox, hosts: [sandbox.example.com, special.live.example.com], upstream: {sandbox} }}
routes:
  - {{ name: health, paths: [/health], access: public }}
  - {{ name: rest, paths: ["/{{*rest}}"], access: api_key }}
"#
        ))
        .start();
    let get = |host: &str, key: &TestKey| ask(&gate, "GET", host, "/x", &[key.field()]);

    for host in
        ["api.example.com", "API.example.com:8443", "api.example.com.", "a.live.example.com", "a.b.live.example.com"]
    {
        assert_eq!(get(host, &live_key).text(), "live", "{host}");
    }
    assert_eq!(base.last().value("X-Keygate-Environment"), "live");
    assert_eq!(base.last().value("Host"), "a.b.live.example.com");
    for host in ["sandbox.example.com", "special.live.example.com"] {
        assert_eq!(get(host, &test_key).text(), "sandbox", "{host}");
        assert_eq!(get(host, &both).text(), "sandbox", "a key without environment, at {host}");
        assert_eq!(ask(&gate, "GET", host, "/health", &[]).text(), "sandbox", "a public path has an environment too");
    }
    let reached = (base.received().len(), sandbox.received().len());

    let unknown = comparable(&ask(&gate, "GET", "api.example.com", "/x", &[("X-API-Key", "kg_live_of_nobody")]));
    assert_eq!(unknown.0, 401);
    assert_eq!(
        unknown.2,
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"key_unknown","detail":"The API key is not known here"}"#
    );
    for key in [&test_key, &both, &wrong_prefix] {
        assert_eq!(comparable(&get("api.example.com", key)), unknown, "{} must be unknown in live", key.id);
    }
    assert_eq!(comparable(&get("sandbox.example.com", &live_key)), unknown, "live must be unknown in sandbox");

    for host in ["example.com", "live.example.com", "xlive.example.com", "127.0.0.1", "evil.example"] {
        assert_eq!(refused(&get(host, &live_key)), no(421, "misdirected"), "{host}");
        assert_eq!(ask(&gate, "GET", host, "/health", &[]).status, 421, "{host}, public");
    }
    assert_eq!((base.received().len(), sandbox.received().len()), reached);
}

#[test]
fn an_environment_that_is_alone_or_everywhere_answers_under_every_host() {
    let (upstream, other) = (named("rest"), named("sandbox"));
    let (mine, foreign) = (key_of("mine", "", "live"), key_of("foreign", "", "sandbox"));
    let alone = gate(&upstream).key(&mine).key(&foreign).start();
    for host in ["a.example", "b.example:81", "127.0.0.1", "[::1]:80"] {
        for key in [&mine, &foreign] {
            assert_eq!(ask(&alone, "GET", host, "/", &[key.field()]).status, 200, "without environments, {host}");
        }
    }

    let gate = gate(&upstream)
        .key(&mine)
        .key(&foreign)
        .with(&format!(
            "environments:\n  - {{ name: live }}\n  - {{ name: sandbox, hosts: [sandbox.example], upstream: {other} }}"
        ))
        .start();
    assert_eq!(ask(&gate, "GET", "whatever.example", "/", &[mine.field()]).text(), "rest");
    assert_eq!(ask(&gate, "GET", "sandbox.example", "/", &[foreign.field()]).text(), "sandbox");
    assert_eq!(refused(&ask(&gate, "GET", "whatever.example", "/", &[foreign.field()])), no(401, "key_unknown"));
}

#[test]
fn a_route_chooses_which_limits_count_it_and_what_it_costs() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
limits:
  - { name: all, per: key, requests: 100, window: 1h }
  - { name: exports, per: key, requests: 10, window: 1h }
routes:
  - { name: export, paths: [/export], access: api_key, limits: [exports], cost: 4 }
  - { name: heavy, paths: [/heavy], access: api_key, limits: [all], cost: 30 }
  - { name: ping, paths: [/ping], access: api_key, limits: [] }
  - { name: rest, paths: ["/{*rest}"], access: api_key, limits: [all] }
"#,
        )
        .start();
    let left = |path: &str| {
        let response = gate.get(path, &[alice.field()]);
        (response.status, response.field("x-ratelimit-remaining").map(|left| left.parse::<u64>().unwrap()))
    };
    assert_eq!(left("/export"), (200, Some(6)));
    assert_eq!(left("/export"), (200, Some(2)));
    assert_eq!(left("/export"), (429, Some(2)), "two are left, four are asked for");
    assert_eq!(left("/x"), (200, Some(99)), "another limit");
    assert_eq!(left("/heavy"), (200, Some(69)));
    assert_eq!(left("/heavy"), (200, Some(39)));
    assert_eq!(left("/heavy"), (200, Some(9)));
    assert_eq!(left("/heavy"), (429, Some(9)));
    assert_eq!(left("/x"), (200, Some(8)), "what costs less still passes");
    assert_eq!(left("/ping"), (200, None));
}

#[test]
fn the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
routes:
  - { name: public, paths: ["/public/{*rest}"], access: public }
  - { name: admin, paths: ["/admin/{*rest}"], access: api_key }
"#,
        )
        .start();
    for (sent, seen, public) in [
        ("/public/x", "/public/x", true),
        ("/admin/../public/x", "/public/x", true),
        ("/admin/%2e%2E/public/x", "/public/x", true),
        ("/public/../admin/x", "/admin/x", false),
        ("/public/%2e%2e/admin/x", "/admin/x", false),
        ("/public/.%2e/./admin/x", "/admin/x", false),
        ("/%61dmin/x", "/admin/x", false),
        ("//admin//x", "/admin/x", false),
        ("/public//../admin/x/", "/admin/x/", false),
        ("/admin/x/..", "/admin/", false),
        ("/admin/a%20b%c3%a9?q=%2e%2e//%61;x", "/admin/a%20b%C3%A9?q=%2e%2e//%61;x", false),
        ("/public/100%25;v=1", "/public/100%25;v=1", true),
    ] {
        let without = gate.get(sent, &[]);
        assert_eq!(without.status, if public { 200 } else { 401 }, "{sent} without a key");
        assert_eq!(gate.get(sent, &[alice.field()]).status, 200, "{sent}");
        assert_eq!(forwarded(&upstream), seen, "{sent}");
    }
    assert_eq!(gate.get("/public/../x", &[alice.field()]).status, 404);

    let count = upstream.received().len();
    for path in [
        "/public/..%2fadmin/x",
        "/public/..%2Fadmin/x",
        "/public/%2e%2e%2fadmin/x",
        "/public/..%5cadmin/x",
        "/public/..;/admin/x",
        "/public/..;a=b/admin/x",
        "/public/%252e%252e/admin/x",
        "/public/%252fadmin",
        "/public/%00",
        "/public/%0d%0aX-Evil:1",
        "/public/%",
        "/public/%zz",
        "/public/%ff",
        "/public/%c0%ae%c0%ae/admin/x",
        "/public/../../admin/x",
        "/../admin/x",
        "/public//../../admin/x",
        "/public/..\\admin\\x",
    ] {
        for fields in [&[][..], &[alice.field()][..]] {
            assert_eq!(gate.get(path, fields).status, 400, "{path}");
        }
    }
    assert_eq!(upstream.received().len(), count, "something ambiguous came through");
}

/// Waits until a reload of the configuration was taken on.
#[track_caller]
fn wait_for_reloads(gate: &Gate, count: f64) {
    gate.eventually("it is in force", |gate| gate.metric("keygate_reloads_total", &["configuration", "ok"]) >= count);
}

#[test]
fn routes_change_under_load_without_a_failed_request() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let before = "routes:\n  - { name: stable, paths: [/stable], access: api_key }\n";
    let after = format!("{before}  - {{ name: new, paths: [/new], access: public }}\n");
    let gate = gate(&upstream).key(&alice).with(before).start();
    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gate.client();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.request("GET", "/stable", &[alice.field()], b"").status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut client = gate.client();
        for round in 1..=10 {
            let new = round % 2 == 1;
            gate.replace("keygate.yaml", &if new { text.replace(before, &after) } else { text.clone() });
            wait_for_reloads(&gate, f64::from(round));
            let expected = if new { 200 } else { 404 };
            assert_eq!(client.request("GET", "/new", &[], b"").status, expected, "round {round}, an open connection");
            assert_eq!(gate.get("/new", &[]).status, expected, "round {round}");
        }
        // Two routes for the same requests: nothing changes.
        let broken =
            text.replace(before, &format!("{before}  - {{ name: again, paths: [/stable], access: public }}\n"));
        gate.replace("keygate.yaml", &broken);
        gate.eventually("it is reported", |gate| gate.metric("keygate_reload_failing", &["configuration"]) == 1.0);
        assert_eq!(gate.get("/stable", &[]).status, 401);
        done.store(true, Ordering::Relaxed);
    });
    assert!(asked.load(Ordering::Relaxed) > 100, "there was no load");
}

#[test]
fn refusals_look_as_the_operator_wants_them() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
limits: [{ name: per-key, per: key, requests: 1, window: 1m }]
routes:
  - { name: write, paths: [/write], access: api_key, permission: "orders:write" }
  - { name: root, paths: [/], methods: [GET], access: api_key }
refusals:
  content_type: application/vnd.error+json
  body:
    error: { code: "{{CODE}}", http: "{{status}}", text: "{{detail}} [{{request_id}}]" }
    success: false
    wait: "{{retry_after}}"
  each:
    - reasons: [rate_limited]
      body: { was: "{{code}}", code: SLOW_DOWN, text: "wait {{ retry_after }} s", retry_after: "{{retry_after}}" }
      fields: [{ name: X-Docs, value: "https://docs.example/limits" }]
    - reasons: [key_unknown, credentials_malformed]
      status: 404
    - reasons: [no_route]
      status: 401
    - reasons: [permission_missing]
      body: { need: "{{required_permission}}", title: "{{title}}", wait: "in {{retry_after}}!" }
"#,
        )
        .start();

    let missing = gate.get("/", &[("X-Request-Id", "mine")]);
    assert_eq!(missing.status, 401);
    assert_eq!(missing.field("content-type"), Some("application/vnd.error+json"));
    assert_eq!(missing.field("cache-control"), Some("no-store"));
    let expected = json!({
        "error": { "code": "CREDENTIALS_MISSING", "http": 401, "text": "Send credentials with the request [mine]" },
        "success": false,
        "wait": Json::Null,
    });
    assert_eq!(missing.json(), expected);

    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    let limited = gate.get("/", &[alice.field()]);
    let wait = limited.number("retry-after");
    let text = format!("wait {wait} s");
    let expected = json!({ "code": "SLOW_DOWN", "retry_after": wait, "text": text, "was": "rate_limited" });
    assert_eq!((limited.status, limited.json()), (429, expected));
    let text = format!(r#"{{"was":"rate_limited","code":"SLOW_DOWN","text":"wait {wait} s","retry_after":{wait}}}"#);
    assert_eq!(limited.text(), text, "in the order of the configuration");
    assert_eq!(limited.field("x-docs"), Some("https://docs.example/limits"));

    let unknown = gate.get("/", &[("X-API-Key", "of_nobody")]);
    assert_eq!((unknown.status, unknown.field("www-authenticate")), (404, None), "no challenge without 401");
    assert_eq!(
        unknown.json()["error"],
        json!({
            "code": "KEY_UNKNOWN",
            "http": 404,
            "text": format!("The API key is not known here [{}]", unknown.field("x-request-id").unwrap()),
        })
    );
    let nowhere = gate.get("/nowhere", &[]);
    assert_eq!((nowhere.status, nowhere.field("www-authenticate").is_some()), (401, true), "no 401 without challenge");

    let forbidden = gate.get("/write", &[alice.field()]);
    let expected = json!({ "need": "orders:write", "title": "Forbidden", "wait": "in !" });
    assert_eq!((forbidden.status, forbidden.json()), (403, expected));
    let method = gate.client().request("PUT", "/", &[], b"");
    assert_eq!((method.status, method.field("allow")), (405, Some("GET")), "the protocol's own fields stay");

    gate.eventually("log and metrics keep the word and learn the status", |gate| {
        gate.metric("keygate_rejections_total", &["\"key_unknown\""]) == 1.0
            && gate.stdout().lines().any(|line| line.contains("\"key_unknown\"") && line.contains("\"status\":404"))
    });
}

#[test]
fn the_challenge_says_what_was_wrong_only_to_who_sent_something() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let expired = key("expired").with("expires: 2020-01-01T00:00:00Z");
    let bearer = "credentials: { api_key: { fields: [], bearer: true } }";
    for yaml in
        [bearer.to_owned(), "refusals: { challenge: Bearer }\ncredentials: { api_key: { bearer: true } }".into()]
    {
        let gate = gate(&upstream).key(&alice).key(&expired).with(&yaml).start();
        let challenge = |value: Option<&str>| {
            let fields: Vec<_> = value.map(|value| ("Authorization", value)).into_iter().collect();
            let response = gate.get("/", &fields);
            assert_eq!(response.status, 401);
            response.field("www-authenticate").unwrap().to_owned()
        };
        assert_eq!(challenge(None), "Bearer realm=\"keygate\"");
        assert_eq!(challenge(Some("Basic YTpi")), "Bearer realm=\"keygate\"", "not a credential of ours");
        let again = "Bearer realm=\"keygate\", error=\"invalid_token\"";
        assert_eq!(challenge(Some("Bearer of_nobody")), again);
        assert_eq!(challenge(Some("Bearer with blanks")), again);
        assert_eq!(challenge(Some(&format!("Bearer {}", expired.secret))), again);
        assert_eq!(gate.get("/", &[("Authorization", &format!("bearer {}", alice.secret))]).status, 200);
    }
    let gate = gate(&upstream).key(&alice).start();
    assert_eq!(gate.get("/", &[]).field("www-authenticate"), Some("ApiKey realm=\"keygate\""));
}

#[test]
fn a_grpc_client_is_refused_in_its_own_way() {
    let alice = key("alice").with("rate_limit: 1");
    let gate = gate("http://127.0.0.1:1")
        .key(&alice)
        .with(
            r#"
limits: [{ name: per-key, per: key, requests: 10, window: 1m }]
refusals: { body: { code: "{{code}}" } }
routes:
  - { name: shop, paths: ["/shop.Orders/{method}"], access: api_key }
  - { name: admin, paths: ["/shop.Admin/{method}"], access: api_key, permission: "shop:admin" }
"#,
        )
        .start();
    let call = |path: &str, fields: &[(&str, &str)]| {
        let fields: Vec<_> = fields.iter().copied().chain([("Content-Type", "application/grpc+proto")]).collect();
        let response = gate.client().request("POST", path, &fields, b"\0\0\0\0\0");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.field("content-type"), Some("application/grpc"));
        assert!(response.content.is_empty());
        (response.number("grpc-status"), response.field("grpc-message").unwrap().to_owned())
    };
    assert_eq!(call("/shop.Orders/Get", &[]), (16, "credentials_missing".to_owned()));
    assert_eq!(call("/shop.Orders/Get", &[("X-API-Key", "nobodys")]), (16, "key_unknown".to_owned()));
    assert_eq!(call("/shop.Admin/Drop", &[alice.field()]), (7, "permission_missing".to_owned()));
    assert_eq!(call("/shop.Nothing/Get", &[alice.field()]), (12, "no_route".to_owned()));
    assert_eq!(call("/shop.Orders/Get", &[alice.field()]), (14, "upstream_unreachable".to_owned()));
    assert_eq!(call("/shop.Orders/Get", &[alice.field()]), (8, "rate_limited".to_owned()));

    let web = gate.client().request("POST", "/shop.Orders/Get", &[("Content-Type", "application/grpc-web")], b"");
    assert_eq!(
        (web.status, web.json()),
        (401, json!({ "code": "credentials_missing" })),
        "gRPC-Web is another protocol"
    );
}

const APP: &str = "https://app.example.com";

#[test]
fn preflights_pass_without_a_key_only_where_that_is_wanted() {
    let upstream =
        Upstream::answering(|_, stream| respond(stream, "200 OK", "access-control-allow-origin: *\r\n", b""));
    let alice = key("alice");
    let start = |preflight: bool| {
        gate(&upstream)
            .key(&alice)
            .with(&format!("cors: {{ origins: ['{APP}'], preflight: {preflight} }}"))
            .with(
                r#"
routes:
  - { name: order, paths: ["/orders/{id}"], methods: [PUT], access: api_key, permission: "orders:write" }
  - { name: rest, paths: [/rest], access: api_key }
"#,
            )
            .start()
    };
    let preflight = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];

    let gate = start(true);
    for path in ["/orders/7", "/rest"] {
        let forged: Vec<_> = preflight.into_iter().chain([("X-Keygate-Tenant", "evil")]).collect();
        let response = gate.client().request("OPTIONS", path, &forged, b"");
        assert_eq!((response.status, response.field("access-control-allow-origin")), (200, Some("*")), "{path}");
        let seen = upstream.last();
        assert!(seen.head.starts_with(&format!("OPTIONS {path} ")) && !seen.mentions("X-Keygate-"), "{}", seen.head);
    }
    let count = upstream.received().len();
    let ask = |method: &str, path: &str, fields: &[(&str, &str)]| gate.client().request(method, path, fields, b"");
    assert_eq!(ask("OPTIONS", "/rest", &[]).status, 401, "a plain OPTIONS is none");
    assert_eq!(ask("OPTIONS", "/rest", &preflight[..1]).status, 401, "it asks for no method");
    assert_eq!(ask("OPTIONS", "/rest", &preflight[1..]).status, 401, "it comes from no page");
    assert_eq!(ask("GET", "/rest", &preflight).status, 401, "only OPTIONS");
    assert_eq!(ask("PUT", "/orders/7", &preflight).status, 401, "only OPTIONS");
    assert_eq!(ask("OPTIONS", "/nowhere", &preflight).status, 404);
    let other = [("Origin", APP), ("Access-Control-Request-Method", "DELETE")];
    assert_eq!(ask("OPTIONS", "/orders/7", &other).status, 405, "the request that would follow has no route");

    let gate = start(false);
    assert_eq!(refused(&gate.client().request("OPTIONS", "/rest", &preflight, b"")), no(401, "credentials_missing"));
    assert_eq!(upstream.received().len(), count);
}

#[test]
fn pages_of_allowed_origins_may_read_refusals_and_no_others() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let start = |cors: &str| gate(&upstream).key(&alice).with(cors).start();
    let get = |gate: &Gate, origin: &str| gate.get("/", &[("Origin", origin)]);
    let allowed = |response: &Response| {
        assert_eq!(response.status, 401);
        let open = response.field("access-control-allow-origin").map(str::to_owned);
        assert_eq!(response.field("access-control-expose-headers").is_some(), open.is_some());
        open
    };

    let gate = start(&format!("cors: {{ origins: ['{APP}', 'http://localhost:3000'], credentials: true }}"));
    for origin in [APP, "http://localhost:3000"] {
        let response = get(&gate, origin);
        assert_eq!(allowed(&response).as_deref(), Some(origin));
        assert_eq!(response.field("access-control-allow-credentials"), Some("true"));
        assert_eq!(response.field("vary"), Some("Origin"));
    }
    for origin in ["http://app.example.com", "https://app.example.com.evil.example", "null", "http://localhost:3001"] {
        let response = get(&gate, origin);
        assert_eq!(allowed(&response), None, "{origin}");
        assert_eq!(response.field("access-control-allow-credentials"), None);
    }
    assert_eq!(allowed(&gate.get("/", &[])), None, "nobody asked");
    let passed = gate.get("/", &[alice.field(), ("Origin", APP)]);
    assert_eq!(
        (passed.status, passed.field("access-control-allow-origin")),
        (200, None),
        "the upstream says for itself"
    );

    let response = get(&start("cors: { origins: any }"), "https://whoever.example");
    assert_eq!(allowed(&response).as_deref(), Some("*"));
    assert_eq!(response.field("access-control-allow-credentials"), None);
    assert_eq!(allowed(&get(&start(""), APP)), None, "without `cors` nothing is said");
}

#[test]
fn whatever_is_refused_says_what_the_address_has_left() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with(
            r#"
limits: [{ name: per-address, per: address, requests: 8, window: 1h }]
routes:
  - { name: write, paths: [/write], methods: [POST], access: api_key, permission: "orders:write" }
  - { name: root, paths: [/], access: api_key }
"#,
        )
        .start();
    let left = |response: Response| (response.status, response.number("x-ratelimit-remaining"));
    assert_eq!(left(gate.get("/", &[alice.field()])), (200, 7));
    assert_eq!(left(gate.get("/nowhere", &[])), (404, 6));
    assert_eq!(left(gate.get("/%2e%2e/", &[])), (400, 5));
    assert_eq!(left(gate.get("/write", &[])), (405, 4));
    assert_eq!(left(gate.get("/", &[])), (401, 3));
    assert_eq!(left(gate.get("/", &[("X-API-Key", "nobodys")])), (401, 2));
    let forbidden = gate.client().request("POST", "/write", &[alice.field()], b"");
    assert_eq!(left(forbidden), (403, 2), "who is known pays for what passes");
    assert_eq!(left(gate.get("/", &[alice.field()])), (200, 1));
    assert_eq!(left(gate.get("/nowhere", &[])), (404, 0));
    for (path, fields) in [("/", &[alice.field()][..]), ("/", &[]), ("/nowhere", &[]), ("/%2e%2e/", &[])] {
        assert_eq!(left(gate.get(path, fields)), (429, 0), "{path}: all of it counts together");
    }
}
