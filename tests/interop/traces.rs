//! Spans, sent to a collector that nobody here wrote the protocol of: it reads them by `opentelemetry-proto` for Python.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gate::{Gate, PATIENCE, Setup, gate, make_certificate};
use crate::key::key;
use crate::library::python;
use crate::upstream::{Received, Upstream, respond};

/// A trace that somebody else has begun, sampled and not.
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A collector that runs until it goes out of scope.
struct Collector {
    child: Child,
    port: u16,
    encrypted: bool,
}

impl Collector {
    #[track_caller]
    fn start() -> Self {
        Self::start_at(free_port(), None)
    }

    /// At this port, and with the certificate `NAME.crt`, `NAME.key` if there is to be TLS.
    #[track_caller]
    fn start_at(port: u16, certificate: Option<&str>) -> Self {
        let mut command = python(include_str!("collector.py"));
        command.args([&port.to_string(), certificate.unwrap_or_default()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let collector = Self { child, port, encrypted: certificate.is_some() };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the collector does not listen; run `make clients`");
            std::thread::sleep(Duration::from_millis(20));
        }
        collector
    }

    fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", if self.encrypted { "https" } else { "http" }, self.port)
    }

    /// What it has received so far.
    #[track_caller]
    fn received(&self) -> Value {
        let fixed = ["-sSk", "--noproxy", "*", "--max-time", "20"];
        let output = Command::new("curl").args(fixed).arg(self.url("/received")).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Its batches, once they hold at least so many spans.
    #[track_caller]
    fn batches(&self, spans: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let batches = self.received()["batches"].as_array().unwrap().clone();
            if of(&batches).len() >= spans {
                return batches;
            }
            assert!(begun.elapsed() < PATIENCE, "{} spans of {spans}: {batches:#?}", of(&batches).len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The spans of some batches.
fn of(batches: &[Value]) -> Vec<Value> {
    batches.iter().flat_map(|batch| batch["spans"].as_array().unwrap().clone()).collect()
}

/// The spans of a trace: that of the request, and that of asking the upstream.
#[track_caller]
fn pair(batches: &[Value], trace: &str) -> (Value, Option<Value>) {
    let mut spans = of(batches);
    spans.retain(|span| span["trace"] == trace);
    let of_kind = |kind: i64| spans.iter().find(|span| span["kind"] == kind).cloned();
    let (request, asking) = (of_kind(2).unwrap_or_else(|| panic!("no span of {trace}: {batches:#?}")), of_kind(3));
    assert_eq!(spans.len(), 1 + usize::from(asking.is_some()), "{spans:#?}");
    (request, asking)
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A gateway that samples all requests and tells of them quickly, but for what `more` says.
fn traced(upstream: &impl std::fmt::Display, endpoint: &str, more: &str) -> Setup {
    let fixed = [("ratio:", "1"), ("interval:", "100ms")].iter().filter(|(name, _)| !more.contains(name));
    let fixed: String = fixed.map(|(name, value)| format!(", {name} {value}")).collect();
    gate(upstream).with(&format!("traces: {{ endpoint: \"{endpoint}\"{fixed}{more} }}"))
}

/// An upstream that takes a while.
fn slow() -> Upstream {
    Upstream::answering(|_, stream| {
        std::thread::sleep(Duration::from_millis(60));
        respond(stream, "200 OK", "", b"done")
    })
}

fn attribute<'s>(span: &'s Value, name: &str) -> &'s Value {
    &span["attributes"][name]
}

fn duration_ms(span: &Value) -> u64 {
    (span["end"].as_u64().unwrap() - span["start"].as_u64().unwrap()) / 1_000_000
}

#[track_caller]
fn traceparent(received: &Received) -> (String, String, String) {
    let value = received.value("traceparent");
    (value[3..35].to_owned(), value[36..52].to_owned(), value[53..].to_owned())
}

#[test]
fn a_request_leaves_a_span_and_below_it_that_of_asking_the_upstream() {
    let (collector, upstream, alice) = (Collector::start(), slow(), key("alice"));
    let gate = traced(&upstream, &collector.url("/v1/traces"), "").key(&alice).start();
    let fields = [alice.field(), ("Host", "api.example:8443")];
    let begun = now_ns();
    let response = gate.get("/orders/7?card=4111", &fields);
    assert_eq!(response.status, 200);

    let (trace, told, flags) = traceparent(&upstream.last());
    assert_eq!((response.field("x-request-id"), flags.as_str()), (Some(trace.as_str()), "01"), "one name for both");
    let batches = collector.batches(2);
    let (request, asking) = pair(&batches, &trace);
    let asking = asking.unwrap();
    assert_eq!((&request["parent"], &asking["parent"]), (&json!(""), &request["id"]));
    assert_eq!(asking["id"], told.as_str(), "the upstream's spans stand below that of asking it");
    assert_eq!((&request["name"], &asking["name"]), (&json!("GET default"), &json!("GET")));
    assert_eq!((&request["status"], &asking["status"]), (&json!(0), &json!(0)));
    assert_eq!((&request["flags"], &asking["flags"]), (&json!(0x101), &json!(0x101)));

    let place = upstream.to_string();
    let (_, port) = place.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    assert_eq!(
        request["attributes"],
        json!({
            "http.request.method": "GET", "url.scheme": "http", "url.path": "/orders/7", "server.address": "api.example",
            "server.port": 8443, "client.address": "127.0.0.1", "network.protocol.version": "1.1",
            "http.response.status_code": 200, "keygate.route": "default", "keygate.request_id": trace,
            "keygate.source": "upstream",
        })
    );
    assert_eq!(
        asking["attributes"],
        json!({
            "http.request.method": "GET", "url.full": format!("{place}/orders/7"), "server.address": "127.0.0.1",
            "server.port": port, "network.protocol.version": "1.1", "http.response.status_code": 200,
        })
    );

    let time = |span: &Value, name: &str| span[name].as_u64().unwrap();
    assert!(time(&request, "start") >= begun && time(&request, "end") <= now_ns());
    assert!(time(&request, "start") <= time(&asking, "start") && time(&asking, "end") <= time(&request, "end"));
    assert!(duration_ms(&asking) >= 60, "{asking}");

    let [batch] = &batches[..] else { panic!("{batches:#?}") };
    assert_eq!(batch["fields"]["content-type"], "application/x-protobuf", "{}", batch["fields"]);
    assert_eq!(batch["same"], true, "nothing in it that the protocol does not know");
    assert_eq!(batch["scope"]["name"], "keygate");
    assert_eq!(batch["resource"]["service.name"], "keygate");
    assert!(batch["resource"]["service.instance.id"].as_str().unwrap().len() == 36);
}

#[test]
fn the_client_decides_what_is_sampled_and_its_trace_goes_on() {
    let (collector, upstream, alice) = (Collector::start(), Upstream::hello(), key("alice"));
    // Whoever begins a trace here is not sampled.
    let gate = traced(&upstream, &collector.url("/v1/traces"), ", ratio: 0").key(&alice).start();
    let ask = |trace: &str| {
        gate.get("/", &[alice.field(), ("traceparent", trace), ("tracestate", "other=1")]);
        upstream.last()
    };
    let unsampled = ask(UNSAMPLED);
    assert_eq!((unsampled.value("traceparent"), unsampled.value("tracestate")), (UNSAMPLED, "other=1"));
    gate.get("/", &[alice.field()]);
    assert_eq!(traceparent(&upstream.last()).2, "00");
    let sampled = ask(SAMPLED);
    let (trace, told, flags) = traceparent(&sampled);
    assert_eq!((trace.as_str(), flags.as_str(), sampled.value("tracestate")), (&SAMPLED[3..35], "01", "other=1"));

    let batches = collector.batches(2);
    let (request, asking) = pair(&batches, &trace);
    assert_eq!((&request["parent"], &request["flags"]), (&json!("00f067aa0ba902b7"), &json!(0x301)));
    assert_eq!(asking.unwrap()["id"], told.as_str());
    assert_eq!(of(&batches).len(), 2, "{batches:#?}");
}

/// About half of 400, and the same half that any other program with this ratio would choose.
#[test]
fn the_share_that_is_sampled_is_chosen_by_the_trace_id() {
    let (collector, upstream, alice) = (Collector::start(), Upstream::hello(), key("alice"));
    let gate = traced(&upstream, &collector.url("/v1/traces"), ", ratio: 0.5, parent: ignore").key(&alice).start();
    let mut client = gate.client();
    for _ in 0..400 {
        client.request("GET", "/", &[alice.field()], b"");
    }
    let random = |trace: &str| u64::from_str_radix(&trace[16..], 16).unwrap() >> 1;
    let traces: Vec<_> = upstream.received().iter().map(traceparent).collect();
    let chosen: Vec<_> = traces.iter().filter(|(trace, ..)| random(trace) < 1 << 62).collect();
    assert!((120..280).contains(&chosen.len()), "{}", chosen.len());
    assert!(traces.iter().all(|(trace, _, flags)| (flags == "01") == (random(trace) < 1 << 62)));
    let spans = of(&collector.batches(2 * chosen.len()));
    assert_eq!(spans.len(), 2 * chosen.len());
    gate.get("/", &[alice.field(), ("traceparent", UNSAMPLED)]);
    assert_eq!(traceparent(&upstream.last()).0, UNSAMPLED[3..35], "it goes on, whoever decides");
}

#[test]
fn a_refusal_and_a_failing_upstream_are_told_apart() {
    let (collector, alice) = (Collector::start(), key("alice"));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let gate = traced(&nobody, &collector.url("/v1/traces"), ", key_id: true").key(&alice).start();
    let refused = gate.get("/", &[("X-API-Key", "wrong")]);
    let failed = gate.client().request("BREW", "/", &[alice.field()], b"");
    assert_eq!((refused.status, failed.status), (401, 502));

    let batches = collector.batches(3);
    let (request, asking) = pair(&batches, refused.field("x-request-id").unwrap());
    assert!(asking.is_none(), "nobody was asked");
    assert_eq!((attribute(&request, "keygate.reason"), &request["status"]), (&json!("key_unknown"), &json!(0)));
    assert_eq!(attribute(&request, "http.response.status_code"), 401);

    let (request, asking) = pair(&batches, failed.field("x-request-id").unwrap());
    let asking = asking.unwrap();
    assert_eq!((&request["status"], &asking["status"]), (&json!(2), &json!(2)), "STATUS_CODE_ERROR");
    for span in [&request, &asking] {
        assert_eq!(attribute(span, "error.type"), "upstream_unreachable");
        assert_eq!(attribute(span, "http.request.method"), "_OTHER", "a client can invent any number of them");
    }
    assert_eq!((&request["name"], &asking["name"]), (&json!("HTTP default"), &json!("HTTP")));
    assert_eq!(attribute(&request, "keygate.key.id"), "alice");
    assert_eq!(attribute(&asking, "http.response.status_code"), &Value::Null, "nobody has answered");
}

#[test]
fn nothing_secret_is_in_what_is_sent() {
    let (collector, upstream, alice) = (Collector::start(), Upstream::hello(), key("alice"));
    let gate = traced(&upstream, &collector.url("/v1/traces"), "").key(&alice).start();
    let more =
        [("Authorization", "Bearer unknown-secret"), ("Cookie", "session=cookie-secret"), ("Baggage", "a=b-secret")];
    gate.get("/path?token=query-secret", &[&[alice.field()], &more[..]].concat());
    gate.get("/path?token=query-secret", &more);
    gate.client().request("POST", "/path?token=query-secret", &[alice.field()], b"content-secret");
    for batch in collector.batches(4) {
        let raw = batch["raw"].as_str().unwrap();
        assert!(raw.contains("/path") && raw.contains("default"), "{raw}");
        for secret in ["-secret", "alice", &alice.secret, &alice.digest(), "?token"] {
            assert!(!raw.contains(secret), "{secret} in {raw}");
        }
    }
}

/// Requests go on as if nobody listened, because nobody waits for it; and once somebody does, spans arrive.
#[test]
fn a_collector_that_is_gone_holds_up_nobody() {
    let (upstream, alice, port) = (Upstream::hello(), key("alice"), free_port());
    let gate = traced(&upstream, &format!("http://localhost:{port}/v1/traces"), "").key(&alice).start();
    let mut client = gate.client();
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Three attempts, one and two seconds apart.
    let dropped = |gate: &Gate| gate.metric("keygate_trace_spans_dropped_total", &["reason=\"export\""]);
    gate.eventually("they are counted", |gate| dropped(gate) >= 100.0);
    assert!(gate.stderr().contains("spans were not taken: no connection"), "{}", gate.stderr());

    let collector = Collector::start_at(port, None);
    gate.eventually("they are taken again", |gate| {
        client.request("GET", "/", &[alice.field()], b"");
        gate.metric("keygate_trace_spans_exported_total", &[]) >= 2.0
    });
    assert!(!of(&collector.batches(2)).is_empty());
}

#[test]
fn a_busy_collector_is_asked_again_and_what_one_rejects_is_counted() {
    let (collector, upstream, alice) = (Collector::start(), Upstream::hello(), key("alice"));
    let gate = traced(&upstream, &collector.url("/v1/traces/busy"), "").key(&alice).start();
    gate.get("/", &[alice.field()]);
    assert_eq!(of(&collector.batches(2)).len(), 2);
    assert_eq!(collector.received()["attempts"], 2);
    gate.eventually("taken", |gate| gate.metric("keygate_trace_spans_exported_total", &[]) == 2.0);

    let picky = traced(&upstream, &collector.url("/v1/traces/picky"), "").key(&alice).start();
    picky.get("/", &[alice.field()]);
    picky.eventually("rejected", |gate| {
        gate.metric("keygate_trace_spans_dropped_total", &["reason=\"rejected\""]) == 1.0
            && gate.metric("keygate_trace_spans_exported_total", &[]) == 1.0
    });
}

/// The fields are in a file, which may be replaced; and the collector is asked over TLS by who believes its certificate.
#[test]
fn the_collector_is_told_who_sends_and_shows_who_it_is() {
    let (folder, upstream, alice) = (tempfile::tempdir().unwrap(), Upstream::hello(), key("alice"));
    make_certificate(folder.path(), "collector", &["localhost"]);
    let certificate = folder.path().join("collector");
    let collector = Collector::start_at(free_port(), Some(certificate.to_str().unwrap()));
    let more = format!(", ca: {}.crt, headers_file: otlp.headers", certificate.display());
    let setup = traced(&upstream, &collector.url("/v1/traces/strict"), &more).key(&alice).secret("field-secret");
    std::fs::write(setup.directory().join("otlp.headers"), "X-Tenant: field-secret\n").unwrap();
    let gate = setup.start();
    gate.get("/", &[alice.field()]);
    gate.eventually("refused", |gate| gate.stderr().contains("spans were not taken: the answer has the status 401"));
    assert_eq!(gate.metric("keygate_trace_spans_dropped_total", &["reason=\"export\""]), 2.0, "it is of no use again");

    gate.replace("otlp.headers", "# new\nX-Tenant: acme\nAuthorization: Bearer field-secret\n");
    gate.get("/", &[alice.field()]);
    let batches = collector.batches(2);
    assert_eq!(batches[0]["fields"]["authorization"], "Bearer field-secret", "{}", batches[0]["fields"]);

    let stranger = traced(&upstream, &collector.url("/v1/traces"), "").key(&alice).start();
    stranger.get("/", &[alice.field()]);
    stranger
        .eventually("not believed", |gate| gate.stderr().contains("spans were not taken: no connection: invalid peer"));
}

#[test]
fn what_waits_is_sent_before_the_end() {
    let (collector, upstream, alice) = (Collector::start(), Upstream::hello(), key("alice"));
    let mut gate = traced(&upstream, &collector.url("/v1/traces"), ", interval: 60s").key(&alice).start();
    gate.get("/", &[alice.field()]);
    assert_eq!(collector.received()["batches"], json!([]));
    gate.signal("TERM");
    assert!(gate.wait().success());
    assert_eq!(of(&collector.batches(2)).len(), 2);
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
