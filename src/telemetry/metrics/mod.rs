//! Numbers for Prometheus.
//!
//! Every worker of the data plane counts in a [`Shard`] of its own, so that recording a request never waits for another
//! core. A scrape reads all shards, adds them up and writes the text format. What changes rarely, such as keys by state
//! or the expiry of certificates, is not counted at all but read at the scrape by a closure: see [`Metrics::reader`].
//!
//! The `prometheus` crate is the registry and the encoder only. Its `MetricVec` finds a series by a hash of the label
//! values written one after the other without a separator, so that (`ab`, `c`) and (`a`, `bc`) are one series to it.
//! Names of routes are chosen by people, hence our series are kept in `exposition.rs` instead.
//!
//! The number of series does not grow with traffic. Names of routes are interned and capped, methods and
//! reasons come from closed lists, and `series.rs` caps the combinations which requests add. What is beyond a cap is
//! counted as `other`, so that sums stay right.

mod exposition;
mod histogram;
mod labels;
mod series;
mod shard;

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Registry, TextEncoder};

pub use exposition::ROWS_MAX;
use exposition::Store;
pub use labels::{ConnectionKind, MethodLabel, ROUTES_MAX, RouteLabel, Source, TunnelEnd, TunnelSide};
pub use shard::{Sample, Shard};

/// The media type of [`Metrics::render`]: the text exposition format of Prometheus, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a series measures, for a value that is read at the scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// The description of the series that one reader yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name with prefix and base unit, for example `keygate_certificate_expiry_timestamp_seconds`.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The names of the labels, in the order in which the reader gives their values.
    pub labels: &'static [&'static str],
}

/// The closed lists of words that stand in labels `reason`. Each word has its counter from the start; an index into a list
/// is how the road and the listeners name one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words {
    /// Why requests are refused.
    pub rejections: &'static [&'static str],
    /// Why connections of clients are turned away or cut.
    pub refusals: &'static [&'static str],
    /// Why streams of clients are reset.
    pub resets: &'static [&'static str],
    /// Why TLS handshakes with clients fail.
    pub handshake_failures: &'static [&'static str],
}

/// All numbers of this process.
///
/// One for a process, made at the start and shared by everybody.
pub struct Metrics {
    store: Arc<Store>,
    registry: Registry,
}

impl Metrics {
    /// Makes the shards of `workers` workers (at least one) and, with the value zero, a counter for each of `words`.
    #[must_use]
    pub fn new(workers: usize, words: Words) -> Arc<Self> {
        let store = Arc::new(Store::new(workers.max(1), words));
        let registry = Registry::new();
        register(&registry, Box::new(Adapter(Arc::clone(&store))));
        #[cfg(target_os = "linux")]
        register(&registry, Box::new(prometheus::process_collector::ProcessCollector::for_self()));

        let metrics = Arc::new(Self { store, registry });
        metrics.reader(BUILD_INFO, || {
            let labels = [env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH];
            vec![(labels.map(str::to_owned).to_vec(), 1.0)]
        });
        metrics
    }

    /// The shard of `worker`, counted from zero. A number beyond the last worker shares a shard with another, which
    /// costs time and loses nothing.
    #[must_use]
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        self.store.shard(worker)
    }

    /// The label of the route called `name`: the same for the same name, for as long as the process lives.
    ///
    /// Takes a lock: to be called once for each route at a reload, not on the road. After [`ROUTES_MAX`]
    /// different names, new ones are counted as `other`.
    #[must_use]
    pub fn route(&self, name: &str) -> RouteLabel {
        self.store.route(name)
    }

    /// Adds values that `read` yields at every scrape: one row for a series, with its label values in the order of
    /// `family.labels`.
    ///
    /// A second reader of the same name replaces the first. Rows with equal labels are added up; a row with another
    /// number of labels is left out; beyond [`ROWS_MAX`] rows counters are added up as `other` and gauges
    /// are left out. A family that the text format cannot carry, or that has the name of one of our own, is not added;
    /// the log says so.
    ///
    /// `read` runs on the thread of the scrape, may take locks, and must be done within milliseconds.
    pub fn reader(&self, family: Family, read: impl Fn() -> Vec<(Vec<String>, f64)> + Send + Sync + 'static) {
        self.store.add_reader(family, Box::new(read));
    }

    /// All series as [`CONTENT_TYPE`].
    ///
    /// Costs about a microsecond for a series. Each shard is locked for as long as it takes to copy the numbers of one
    /// route out of it.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "The metrics cannot be written as text");
        }
        text
    }
}

/// What runs here.
const BUILD_INFO: Family = Family {
    name: "keygate_build_info",
    help: "Constant 1; the labels say which build this is.",
    kind: Kind::Gauge,
    labels: &["version", "os", "arch"],
};

/// Registers a collector. It cannot fail, since the two we register describe different series; should a new version of
/// the crate think otherwise, the process lives on without those numbers.
fn register(registry: &Registry, collector: Box<dyn Collector>) {
    if let Err(error) = registry.register(collector) {
        tracing::error!(%error, "Some metrics are missing");
    }
}

/// The store, as the registry sees it.
struct Adapter(Arc<Store>);

impl Collector for Adapter {
    /// Describes nothing: readers come and go, and the store itself sees to it that every name occurs once.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    const WORDS: Words = Words {
        rejections: &["no_route", "rate_limited"],
        refusals: &["connections_max"],
        resets: &["protocol_error"],
        handshake_failures: &["timeout"],
    };

    fn sample(route: RouteLabel) -> Sample {
        Sample {
            route,
            method: MethodLabel::Get,
            status: 200,
            source: Source::Upstream,
            request_ns: 3_000_000,
            upstream_ns: Some(2_900_000),
            overhead_ns: 40_000,
            request_bytes: 10,
            response_bytes: 1000,
        }
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).expect("UTF-8")
    }

    #[track_caller]
    fn assert_line(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }

    /// The value of the only series that begins so.
    #[track_caller]
    fn value(text: &str, start: &str) -> f64 {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(start)).collect();
        assert_eq!(lines.len(), 1, "{start} in:\n{text}");
        lines[0].rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Everything at once: each family has at least one series.
    fn full() -> Arc<Metrics> {
        let metrics = Metrics::new(2, WORDS);
        let shard = metrics.shard(0);
        shard.record(&sample(metrics.route("orders")));
        shard.record(&Sample { source: Source::Keygate, status: 404, upstream_ns: None, ..sample(RouteLabel::NONE) });
        shard.rejected(0);
        shard.in_flight_add(1);
        shard.connections_add(ConnectionKind::Https, 2);
        shard.connections_add(ConnectionKind::Https, -1);
        shard.connection_refused(0);
        shard.connection_closed_when_idle();
        shard.accept_failed();
        shard.stream_reset(0);
        shard.handshake_failed(0);
        let keys = Family { name: "keygate_keys", help: "Keys by state.", kind: Kind::Gauge, labels: &["state"] };
        metrics.reader(keys, || vec![(vec!["active".into()], 3.0), (vec!["revoked".into()], 1.0)]);
        metrics
    }

    #[test]
    fn every_family_is_exported_with_its_labels() {
        let text = text(&full());
        for line in [
            r#"keygate_requests_total{route="orders",method="GET",status="200",source="upstream"} 1"#,
            r#"keygate_requests_total{route="none",method="GET",status="404",source="keygate"} 1"#,
            r#"keygate_rejections_total{reason="no_route"} 1"#,
            r#"keygate_request_duration_seconds_bucket{route="orders",source="upstream",le="0.0025"} 0"#,
            r#"keygate_request_duration_seconds_bucket{route="orders",source="upstream",le="0.005"} 1"#,
            r#"keygate_request_duration_seconds_sum{route="orders",source="upstream"} 0.003"#,
            r#"keygate_upstream_duration_seconds_count{route="orders"} 1"#,
            r#"keygate_overhead_duration_seconds_bucket{route="orders",le="0.00005"} 1"#,
            r#"keygate_overhead_duration_seconds_bucket{route="orders",le="+Inf"} 1"#,
            r#"keygate_request_body_bytes_total{route="orders"} 10"#,
            r#"keygate_response_body_bytes_total{route="orders"} 1000"#,
            r#"keygate_requests_in_flight 1"#,
            r#"keygate_connections{scheme="https"} 1"#,
            r#"keygate_connections_total{scheme="https"} 2"#,
            r#"keygate_connections_refused_total{reason="connections_max"} 1"#,
            "keygate_connections_idle_closed_total 1",
            "keygate_accept_errors_total 1",
            r#"keygate_http2_streams_reset_total{code="protocol_error"} 1"#,
            r#"keygate_tls_handshake_failures_total{reason="timeout"} 1"#,
            r#"keygate_keys{state="revoked"} 1"#,
        ] {
            assert_line(&text, line);
        }
        assert!(text.contains(&format!("keygate_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"))));
        #[cfg(target_os = "linux")]
        assert!(value(&text, "process_resident_memory_bytes") > 0.0);
        assert!(!text.contains(r#"keygate_upstream_duration_seconds_count{route="none"}"#), "no upstream was asked");
    }

    /// The judge is Prometheus' own tool: syntax, names, units and help texts.
    #[test]
    fn promtool_finds_nothing_to_say() {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is needed here: it is in Debian's package `prometheus`");
        promtool.stdin.take().expect("piped").write_all(&full().render()).expect("writes");
        let said = promtool.wait_with_output().expect("ends");
        let words = [said.stdout, said.stderr].concat();
        assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
    }

    #[test]
    fn closed_lists_are_exported_from_the_start_with_zero() {
        let text = text(&Metrics::new(1, WORDS));
        assert_line(&text, r#"keygate_rejections_total{reason="rate_limited"} 0"#);
        assert_line(&text, r#"keygate_connections_total{scheme="http"} 0"#);
        assert_line(&text, r#"keygate_connections_refused_total{reason="connections_max"} 0"#);
        assert_line(&text, r#"keygate_tls_handshake_failures_total{reason="timeout"} 0"#);
        assert_line(&text, "keygate_requests_in_flight 0");
    }

    /// To `prometheus::CounterVec` the rows of each pair are one series, with the sum of both.
    #[test]
    fn label_values_that_read_the_same_when_joined_stay_apart() {
        let metrics = Metrics::new(1, WORDS);
        let pair = Family { name: "keygate_pairs", help: "Pairs.", kind: Kind::Gauge, labels: &["a", "b"] };
        metrics.reader(pair, || vec![(vec!["ab".into(), "c".into()], 1.0), (vec!["a".into(), "bc".into()], 2.0)]);
        let shard = metrics.shard(0);
        for (route, method) in
            [("orders", MethodLabel::Get), ("ordersG", MethodLabel::Other), ("orders", MethodLabel::Put)]
        {
            shard.record(&Sample { method, ..sample(metrics.route(route)) });
        }

        let text = text(&metrics);
        assert_line(&text, r#"keygate_pairs{a="ab",b="c"} 1"#);
        assert_line(&text, r#"keygate_pairs{a="a",b="bc"} 2"#);
        for (route, method) in [("orders", "GET"), ("ordersG", "OTHER"), ("orders", "PUT")] {
            assert_line(
                &text,
                &format!(
                    r#"keygate_requests_total{{route="{route}",method="{method}",status="200",source="upstream"}} 1"#
                ),
            );
        }
    }

    #[test]
    fn the_sum_over_all_workers_is_exact_while_others_scrape() {
        const EACH: u64 = 20_000;
        let metrics = Metrics::new(3, WORDS);
        let route = metrics.route("orders");
        thread::scope(|scope| {
            // Two threads share a shard: that is slow, and right.
            for worker in 0..4 {
                let shard = metrics.shard(worker);
                scope.spawn(move || {
                    for n in 0..EACH {
                        shard.in_flight_add(1);
                        shard.rejected(1);
                        shard.record(&Sample { status: if n % 2 == 0 { 200 } else { 201 }, ..sample(route) });
                        shard.in_flight_add(-1);
                    }
                });
            }
            scope.spawn(|| (0..50).for_each(|_| assert!(!metrics.render().is_empty())));
        });

        let text = text(&metrics);
        let all = (4 * EACH) as f64;
        let equal = |start: &str, expected: f64| {
            let found = value(&text, start);
            assert!((found - expected).abs() < 1e-6, "{start}: {found}, not {expected}");
        };
        equal(r#"keygate_requests_total{route="orders",method="GET",status="200""#, all / 2.0);
        equal(r#"keygate_requests_total{route="orders",method="GET",status="201""#, all / 2.0);
        equal(r#"keygate_rejections_total{reason="rate_limited"}"#, all);
        equal(r#"keygate_request_duration_seconds_count{route="orders",source="upstream"}"#, all);
        equal(r#"keygate_request_duration_seconds_sum{route="orders",source="upstream"}"#, all * 0.003);
        equal(r#"keygate_response_body_bytes_total{route="orders"}"#, all * 1000.0);
        equal("keygate_requests_in_flight", 0.0);
    }

    /// A worker may see a request begin that ends on another.
    #[test]
    fn a_gauge_is_the_sum_of_its_shards_and_never_negative() {
        let metrics = Metrics::new(2, WORDS);
        metrics.shard(0).in_flight_add(3);
        metrics.shard(1).in_flight_add(-1);
        metrics.shard(1).connections_add(ConnectionKind::Http, -1);
        let text = text(&metrics);
        assert_line(&text, "keygate_requests_in_flight 2");
        assert_line(&text, r#"keygate_connections{scheme="http"} 0"#);
        assert_line(&text, r#"keygate_connections_total{scheme="http"} 0"#);
    }

    /// An upstream that answers with every status on every route must not fill the memory of Prometheus.
    #[test]
    fn series_are_capped_and_no_request_is_lost() {
        let metrics = Metrics::new(2, WORDS);
        let mut recorded = 0;
        for name in 0..600 {
            let route = metrics.route(&format!("route {name}"));
            for status in 0..20 {
                metrics.shard(status % 2).record(&Sample { status: 200 + status as u16, ..sample(route) });
                recorded += 1;
            }
        }
        let text = text(&metrics);
        let counts: Vec<f64> = (text.lines())
            .filter(|line| line.starts_with("keygate_requests_total{"))
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"))
            .collect();
        assert!(counts.len() <= series::SERIES_MAX + 2, "{}", counts.len());
        assert!((counts.iter().sum::<f64>() - f64::from(recorded)).abs() < 0.5);
        assert!(value(&text, r#"keygate_requests_total{route="other",method="OTHER",status="other""#) > 0.0);
        let routes = text.lines().filter(|line| line.starts_with("keygate_request_body_bytes_total{")).count();
        assert!(routes <= ROUTES_MAX, "{routes}");
    }

    #[test]
    fn rows_of_a_reader_are_capped() {
        let metrics = Metrics::new(1, WORDS);
        let rows = || (0..2 * ROWS_MAX).map(|n| (vec![n.to_string()], 1.0)).collect();
        let many = |name, kind| Family { name, help: "Many.", kind, labels: &["n"] };
        metrics.reader(many("keygate_many_total", Kind::Counter), rows);
        metrics.reader(many("keygate_many", Kind::Gauge), rows);
        let text = text(&metrics);
        assert_line(&text, &format!("keygate_many_total{{n=\"other\"}} {ROWS_MAX}"));
        assert_eq!(text.lines().filter(|line| line.starts_with("keygate_many{")).count(), ROWS_MAX);
    }

    #[test]
    fn a_reader_can_neither_double_a_series_nor_break_the_format() {
        let metrics = Metrics::new(1, WORDS);
        let family = |name| Family { name, help: "Odd.", kind: Kind::Gauge, labels: &["a"] };
        let rows =
            |value: f64| move || vec![(vec!["x".to_owned()], value), (vec!["x".to_owned()], 1.0), (Vec::new(), 9.0)];
        metrics.reader(family("keygate_odd"), rows(100.0));
        metrics.reader(family("keygate_odd"), rows(2.0));
        metrics.reader(family("keygate_connections"), rows(7.0));
        metrics.reader(family("not a name"), rows(7.0));
        let text = text(&metrics);
        assert_line(&text, r#"keygate_odd{a="x"} 3"#);
        assert_eq!(text.lines().filter(|line| line.starts_with("keygate_odd")).count(), 1);
        assert!(!text.contains("not a name") && !text.contains(r#"a="x"} 7"#) && !text.contains(r#"a="x"} 8"#));
    }

    #[test]
    fn a_reader_may_use_the_metrics_it_belongs_to() {
        let metrics = Metrics::new(1, WORDS);
        let again = Arc::downgrade(&metrics);
        let family = Family { name: "keygate_inner", help: "Inner.", kind: Kind::Gauge, labels: &[] };
        metrics.reader(family, move || {
            let route = again.upgrade().map(|metrics| metrics.route("late"));
            vec![(Vec::new(), f64::from(u8::from(route.is_some())))]
        });
        assert_line(&text(&metrics), "keygate_inner 1");
    }
}
