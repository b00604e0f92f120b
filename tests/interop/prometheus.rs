//! A real Prometheus, with the configuration and the alerts that are shipped, scrapes gateways to which happens what the
//! alerts are for; and answers every query of the dashboard.
//!
//! What takes minutes is made to take seconds, by rule and not by hand: see [`shortened`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alerts::{alerts, queries, shipped};
use crate::client::Client;
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::upstream::Upstream;

/// How long all alerts together may take to fire. About 30 s are enough where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The alerts with every minute a second and every hour a minute: behind `for:`, in the brackets of a window, and behind
/// `offset`. With a scrape each second instead of every fifteen, a window holds as many samples as it is shipped for, or
/// a quarter of them. Ages of keys and certificates are not touched: the test has old keys.
fn shortened(rules: &str) -> String {
    let mut text = String::new();
    let mut rest = rules;
    let marks = ["for: ", "[", "offset "];
    while let Some((at, mark)) = marks.iter().filter_map(|mark| Some((rest.find(mark)? + mark.len(), mark))).min() {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let smaller = match rest.as_bytes().get(digits) {
            _ if digits == 0 => continue,
            Some(b'h') => "m",
            Some(b'm') => "s",
            _ => panic!("{mark}{} cannot be shortened", &rest[..10]),
        };
        text.push_str(&rest[..digits]);
        text.push_str(smaller);
        rest = &rest[digits + 1..];
    }
    text + rest
}

#[test]
fn minutes_become_seconds_where_prometheus_waits() {
    let rule = "expr: rate(a[5m]) > 90 * 86400 and b{c=\"5m\"} <= rate(a[1h] offset 5m)\nfor: 10m # for a while";
    let short = "expr: rate(a[5s]) > 90 * 86400 and b{c=\"5m\"} <= rate(a[1m] offset 5s)\nfor: 10s # for a while";
    assert_eq!(shortened(rule), short);
}

/// A Prometheus that runs until it goes out of scope.
struct Prometheus {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it with what is shipped; `jobs` are scraped each second.
    #[track_caller]
    fn start(jobs: &[(&str, &[&Gate])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("keygate.rules.yaml"),
            shortened(&shipped("deploy/prometheus/keygate.rules.yaml")),
        )
        .unwrap();
        std::fs::write(folder.path().join("prometheus.yaml"), configuration(jobs)).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yaml")
            .args(["--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; run `make packages`"));
        let mut prometheus = Self { child, port, folder };
        let begun = Instant::now();
        while prometheus.get("-/ready", &[]).is_none() {
            let ended = prometheus.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "it is not ready: {}", prometheus.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What is at this place, unless it says that something is wrong.
    fn get(&self, path: &str, more: &[&str]) -> Option<Vec<u8>> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--noproxy", "*", "--max-time", "20"]).args(more).arg(&url);
        let output = curl.stderr(Stdio::null()).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// What a query finds: the labels and the value of each series.
    #[track_caller]
    fn ask(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let content = self.get("api/v1/query", &["-G", "--data-urlencode", &format!("query={query}")]);
        let answer: Value = serde_json::from_slice(&content.unwrap_or_default()).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{query}: {answer}\n{}", self.log());
        let series = answer["data"]["result"].as_array().unwrap().iter();
        let labels = |series: &Value| serde_json::from_value(series["metric"].clone()).unwrap();
        series.map(|series| (labels(series), series["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    /// The alerts that have fired at some time.
    fn fired(&self) -> Vec<BTreeMap<String, String>> {
        self.ask("last_over_time(ALERTS{alertstate=\"firing\"}[10m])").into_iter().map(|(labels, _)| labels).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The configuration that is shipped, each second, with these jobs instead of its own.
fn configuration(jobs: &[(&str, &[&Gate])]) -> String {
    let shipped = shipped("deploy/prometheus/prometheus.yaml");
    let (all, job) = shipped.split_once("  - job_name: keygate\n").expect("the job");
    assert_eq!(all.matches("interval: 15s").count(), 2, "{all}");
    let jobs = jobs.iter().map(|(name, gates)| {
        let targets: Vec<String> = gates.iter().map(|gate| format!("\"{}\"", gate.admin)).collect();
        let job = job.replace("\"127.0.0.1:9901\"", &targets.join(", "));
        assert_ne!(job, *shipped, "the targets");
        format!("  - job_name: {name}\n{job}")
    });
    all.replace("interval: 15s", "interval: 1s") + &jobs.collect::<String>()
}

/// Its API is gone, the files it has loaded are old or broken, and nobody takes what it tells.
fn forsaken(alice: &TestKey) -> Gate {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let setup = gate(format!("http://{nobody}"))
        .key(alice)
        .key(&key("old").with("created: 2025-01-01T00:00:00Z"))
        .key(&key("ends-soon").with(&format!("expires: {}", in_hours(50))))
        .listen(
            "listen:\n- 127.0.0.1:0\n- address: 127.0.0.1:0\n  tls: { certificates: [{ certificate: tls.crt, key: tls.key }] }",
        )
        .with("log: { format: json, access: { output: /dev/full } }")
        .with(&format!("traces: {{ endpoint: \"http://{nobody}/v1/traces\", ratio: 1, interval: 1s }}"));
    let mut params = rcgen::CertificateParams::new(vec!["ends-soon.example".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_before = (now - Duration::from_secs(99 * 3600)).into();
    params.not_after = (now + Duration::from_secs(3600)).into();
    let own = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&own).unwrap();
    std::fs::write(setup.directory().join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(setup.directory().join("tls.key"), own.serialize_pem()).unwrap();
    setup.start()
}

fn in_hours(hours: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string()
}

/// Its limit is small in every way, and it has a store.
fn besieged(upstream: &Upstream, keys: &[TestKey]) -> Gate {
    keys.iter()
        .fold(gate(upstream), crate::gate::Setup::key)
        .with("keys: { file: keys.yaml, database: keygate.db }")
        .with("limits: [{ name: small, per: key, requests: 5, window: 1h, buckets_max: 2 }]")
        .start()
}

/// Asks again and again, some twenty times a second, until it is over.
fn ask(over: &AtomicBool, address: SocketAddr, keys: &[&str]) {
    let mut clients = BTreeMap::new();
    let mut keys = keys.iter().cycle();
    while !over.load(Ordering::Relaxed) {
        let key = keys.next().unwrap();
        let client = clients.entry(key).or_insert_with(|| Client::connect(address));
        client.request("GET", "/", &[("X-API-Key", key)], b"");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Takes every connection there is, and asks for more.
fn crowd(over: &AtomicBool, address: SocketAddr) {
    let mut crowd = Vec::new();
    while !over.load(Ordering::Relaxed) {
        crowd.extend(TcpStream::connect(address));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends what goes on, also when the test fails.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until every alert has fired at some time, and says where.
#[track_caller]
fn all_fire(prometheus: &Prometheus, begun: Instant) -> Vec<BTreeMap<String, String>> {
    let expected: BTreeSet<String> = alerts().iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect();
    loop {
        let fired = prometheus.fired();
        let names: BTreeSet<String> = fired.iter().map(|alert| alert["alertname"].clone()).collect();
        let missing: Vec<_> = expected.difference(&names).collect();
        if missing.is_empty() {
            return fired;
        }
        assert!(begun.elapsed() < PATIENCE, "these do not fire: {missing:?}\n{}", prometheus.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Takes a table out of the store, as somebody might who has mistaken it for another.
fn break_store(gate: &Gate) {
    let program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('ALTER TABLE keys RENAME TO elsewhere')";
    let status = Command::new("python3").args(["-c", program]).arg(gate.file("keygate.db")).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_real_prometheus_sees_each_alert_fire_on_its_cause_and_fills_the_dashboard() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let keys: Vec<TestKey> = ["one", "two", "three", "four"].map(key).to_vec();
    let (forsaken, besieged) = (forsaken(&alice), besieged(&upstream, &keys));
    // An API that listens on every address answers at that of the pod as well, which for the time being is this one.
    let everywhere = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let crowded = gate(format!("http://127.0.0.1:{}", everywhere.local_addr().unwrap().port()))
        .key(&alice)
        .variable("POD_IP", "127.0.0.2")
        .with("maxima: { connections: 4 }\nforwarding: { trusted_proxies: [127.0.0.1/32] }")
        .start();
    let mut gone = gate(&upstream).key(&alice).start();
    let well = gate(&upstream).key(&alice).start();
    let begun = Instant::now();
    let prometheus =
        Prometheus::start(&[("keygate", &[&forsaken, &besieged, &crowded, &gone]), ("well/keygate", &[&well])]);

    let over = AtomicBool::new(false);
    let good: Vec<&str> = keys.iter().map(|key| &*key.secret).collect();
    let fired = std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| ask(&over, well.address, &[&alice.secret]));
        while prometheus.ask("count_over_time(keygate_build_info[1m]) > 2").len() < 5 {
            assert!(begun.elapsed() < PATIENCE, "it does not scrape: {}", prometheus.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        // A burst is one only after a time without.
        scope.spawn(|| ask(&over, forsaken.address, &[&alice.secret]));
        scope.spawn(|| ask(&over, besieged.address, &["nobody"]));
        scope.spawn(|| ask(&over, besieged.address, &good));
        scope.spawn(|| crowd(&over, crowded.address));
        forsaken.replace("keygate.yaml", "limitz: []\n");
        break_store(&besieged);
        gone.signal("TERM");
        gone.wait();
        all_fire(&prometheus, begun)
    });
    println!("{} alerts have fired after {:?}", fired.len(), begun.elapsed());
    let of_the_well: Vec<_> = fired.iter().filter(|alert| alert["job"] == "well/keygate").collect();
    assert!(of_the_well.is_empty(), "nothing was wrong with it: {of_the_well:?}");

    for (panel, query) in queries("10s") {
        let found = prometheus.ask(&query);
        assert!(found.iter().any(|(_, value)| value.is_finite()), "{panel}: {query} finds {found:?}");
    }
}
