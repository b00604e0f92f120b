//! The admin door and what is written down.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::gate::gate;
use crate::key::key;
use crate::upstream::Upstream;

#[test]
fn the_probes_answer_and_the_metrics_are_sound() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("environment: live"));
    let gate = gate(&upstream)
        .key(&alice)
        .tls()
        .with("limits: [{ name: per-key, per: key, requests: 10, window: 1m }]")
        .start();
    assert_eq!(gate.admin("/livez").status, 200);
    let verbose = gate.admin("/readyz?verbose");
    assert_eq!(verbose.status, 200);
    for condition in ["[+]keys ok", "[+]listening ok"] {
        assert!(verbose.text().contains(condition), "{}", verbose.text());
    }
    assert_eq!(gate.admin("/nothing").status, 404);

    let page = gate.admin("/metrics").text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let verdict = promtool.wait_with_output().unwrap();
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
}

#[test]
fn requests_are_counted_by_route_method_status_and_source() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate =
        gate(&upstream).key(&alice).with("limits: [{ name: per-key, per: key, requests: 3, window: 1h }]").start();
    for _ in 0..4 {
        gate.get("/", &[alice.field()]);
    }
    gate.get("/", &[]);
    let count = |labels: &[&str]| gate.metric("keygate_requests_total", labels);
    assert_eq!(count(&["method=\"GET\"", "status=\"200\"", "source=\"upstream\"", "route=\"default\""]), 3.0);
    assert_eq!(count(&["status=\"429\"", "source=\"keygate\""]), 1.0);
    assert_eq!(count(&["status=\"401\"", "source=\"keygate\""]), 1.0);
    assert_eq!(gate.metric("keygate_rejections_total", &["rate_limited"]), 1.0);
    assert_eq!(gate.metric("keygate_request_duration_seconds_count", &[]), 5.0);
    assert_eq!(gate.metric("keygate_upstream_duration_seconds_count", &[]), 3.0);
    assert_eq!(gate.metric("keygate_overhead_duration_seconds_count", &[]), 5.0);
    assert_eq!(gate.metric("keygate_limit_buckets", &["per-key"]), 1.0);
    assert_eq!(gate.metric("keygate_build_info", &[env!("CARGO_PKG_VERSION")]), 1.0);
}

#[test]
fn the_access_log_tells_of_every_request_and_of_no_secret() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).secret("sensitive-query").secret("sensitive-cookie").start();
    let fields = [alice.field(), ("Cookie", "session=sensitive-cookie"), ("X-Request-Id", "log-1")];
    gate.client().request("POST", "/orders/7?token=sensitive-query", &fields, b"four");
    gate.get("/orders/8", &[("X-Request-Id", "log-2"), ("X-API-Key", "wrong-secret-guess")]);
    gate.eventually("both lines", |gate| gate.stdout().lines().count() == 2);
    let lines: Vec<serde_json::Value> = gate.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |id: &str| lines.iter().find(|line| line["request_id"] == id).unwrap();

    let good = line("log-1");
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("path", "/orders/7"),
        ("route", "default"),
        ("source", "upstream"),
        ("key_id", "alice"),
        ("protocol", "HTTP/1.1"),
        ("host", "api.example"),
    ] {
        assert_eq!(good[name], value, "{name} in {good}");
    }
    assert_eq!((&good["status"], &good["request_bytes"], &good["response_bytes"]), (&200.into(), &4.into(), &5.into()));
    let bad = line("log-2");
    assert_eq!(
        (&bad["status"], &bad["reason"], &bad["source"]),
        (&401.into(), &"key_unknown".into(), &"keygate".into())
    );
    assert!(!gate.stdout().contains("wrong-secret-guess") && !gate.stderr().contains("wrong-secret-guess"));
}

#[test]
fn the_access_log_can_go_to_a_file_that_is_rotated() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .with("log: { level: info, format: json, access: { format: text, output: access.log } }")
        .start();
    let log = |name: &str| std::fs::read_to_string(gate.file(name)).unwrap_or_default();
    gate.get("/one", &[alice.field()]);
    gate.eventually("the first line", |_| log("access.log").contains("/one"));
    std::fs::rename(gate.file("access.log"), gate.file("access.log.1")).unwrap();
    gate.signal("HUP");
    gate.eventually("the new file", |gate| {
        gate.get("/two", &[alice.field()]);
        log("access.log").contains("/two")
    });
    assert!(!log("access.log").contains("/one"));
}
