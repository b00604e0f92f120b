//! From counters to the series of a scrape: every family that keygate exports is written down here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Desc;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::histogram::{DURATIONS, Histogram, OVERHEADS};
use super::labels::{ConnectionKind, Names, OTHER, ROUTES_MAX, RouteLabel, Source, TunnelEnd, TunnelSide};
use super::series::Admitted;
use super::shard::{RouteCells, Shard, Totals};
use super::{Family, Kind, Words};

/// Rows that one reader can yield at one scrape.
pub const ROWS_MAX: usize = 1024;

/// What a reader yields: rows of label values and a value.
type Read = Box<dyn Fn() -> Vec<(Vec<String>, f64)> + Send + Sync>;

/// All shards, all names, all readers.
pub(super) struct Store {
    routes: Names,
    words: Words,
    shards: Vec<Arc<Shard>>,
    readers: RwLock<Vec<Arc<(Family, Read)>>>,
}

impl Store {
    /// Makes the shards of `workers` workers, at least one.
    pub(super) fn new(workers: usize, words: Words) -> Self {
        let admitted = Arc::new(Admitted::default());
        Self {
            routes: Names::new(&RouteLabel::FIRST, ROUTES_MAX, RouteLabel::OTHER.0),
            shards: (0..workers).map(|_| Arc::new(Shard::new(&words, Arc::clone(&admitted)))).collect(),
            words,
            readers: RwLock::default(),
        }
    }

    /// The shard of a worker.
    pub(super) fn shard(&self, worker: usize) -> Arc<Shard> {
        Arc::clone(&self.shards[worker % self.shards.len()])
    }

    /// The label of a route.
    pub(super) fn route(&self, name: &str) -> RouteLabel {
        RouteLabel(self.routes.number(name))
    }

    /// Adds a reader or replaces the one of the same name.
    pub(super) fn add_reader(&self, family: Family, read: Read) {
        let labels = family.labels.iter().copied().map(str::to_owned).collect();
        if let Err(error) = Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new()) {
            tracing::error!(metric = family.name, %error, "A metric cannot be exported");
            return;
        }
        if OWN.contains(&family.name) || family.name.starts_with("process_") {
            tracing::error!(metric = family.name, "A metric cannot be exported: the name is taken");
            return;
        }
        let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.0.name != family.name);
        readers.push(Arc::new((family, read)));
    }

    /// Every family that has at least one series.
    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut totals = Totals::new(&self.words);
        for shard in &self.shards {
            totals.absorb(shard);
        }

        let mut families = Vec::new();
        // The names after the numbers: a label that was counted has been interned before.
        self.routes(&totals, &mut families);
        self.scalars(&totals, &mut families);
        families.extend(self.read());
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    /// What is counted for each finished request.
    fn routes(&self, totals: &Totals, families: &mut Vec<MetricFamily>) {
        let names = self.routes.all();
        let routes: Vec<(&str, &RouteCells)> = (names.iter().zip(&totals.routes))
            .filter_map(|(name, cells)| cells.as_ref().map(|cells| (name.as_ref(), cells)))
            .collect();

        let mut requests = Vec::new();
        for (route, cells) in &routes {
            for (combination, count) in &cells.requests {
                let status = combination.status().to_string();
                let labels = labels(
                    &["route", "method", "status", "source"],
                    &[route, combination.method(), &status, combination.source()],
                );
                requests.push(counter(labels, *count as f64));
            }
        }
        for (source, count) in Source::ALL.iter().zip(totals.beyond_cap).filter(|(_, count)| *count > 0) {
            let labels = labels(&["route", "method", "status", "source"], &[OTHER, "OTHER", OTHER, source.as_str()]);
            requests.push(counter(labels, count as f64));
        }
        families.push(family(
            "keygate_requests_total",
            "Requests that were answered, by route, method, status, and who wrote the response.",
            MetricType::COUNTER,
            requests,
        ));

        families.push(family(
            "keygate_request_duration_seconds",
            "Time from the head of a request to the end of its response.",
            MetricType::HISTOGRAM,
            (routes.iter())
                .flat_map(|(route, cells)| {
                    (Source::ALL.iter().zip(&cells.durations))
                        .map(|(source, durations)| (labels(&["route", "source"], &[route, source.as_str()]), durations))
                })
                .filter_map(|(labels, durations)| histogram(labels, durations, &DURATIONS))
                .collect(),
        ));
        families.push(family(
            "keygate_upstream_duration_seconds",
            "Time that requests waited for the upstream.",
            MetricType::HISTOGRAM,
            by_route(&routes, |labels, cells| histogram(labels, &cells.upstream, &DURATIONS)),
        ));
        families.push(family(
            "keygate_overhead_duration_seconds",
            "Time that keygate itself took for a request.",
            MetricType::HISTOGRAM,
            by_route(&routes, |labels, cells| histogram(labels, &cells.overhead, &OVERHEADS)),
        ));
        families.push(family(
            "keygate_request_body_bytes_total",
            "Bytes of content that were read from clients.",
            MetricType::COUNTER,
            by_route(&routes, |labels, cells| Some(counter(labels, cells.request_bytes as f64))),
        ));
        families.push(family(
            "keygate_response_body_bytes_total",
            "Bytes of content that were sent to clients.",
            MetricType::COUNTER,
            by_route(&routes, |labels, cells| Some(counter(labels, cells.response_bytes as f64))),
        ));
    }

    /// What has one label from a closed list, or none. All series exist from the start.
    fn scalars(&self, totals: &Totals, families: &mut Vec<MetricFamily>) {
        families.push(family(
            "keygate_requests_in_flight",
            "Requests that have begun and not ended.",
            MetricType::GAUGE,
            // Two workers are not read at the same instant, so that the sum may be a little below zero for once.
            vec![gauge(Vec::new(), totals.in_flight.max(0) as f64)],
        ));
        families.push(family(
            "keygate_rejections_total",
            "Requests that keygate refused, by reason.",
            MetricType::COUNTER,
            closed("reason", self.words.rejections.iter().copied(), &totals.rejections),
        ));
        let schemes = || ConnectionKind::ALL.iter().map(|kind| kind.as_str());
        families.push(family(
            "keygate_connections",
            "Connections of clients that are open.",
            MetricType::GAUGE,
            (schemes().zip(&totals.connections_open))
                .map(|(scheme, open)| gauge(labels(&["scheme"], &[scheme]), (*open).max(0) as f64))
                .collect(),
        ));
        families.push(family(
            "keygate_connections_total",
            "Connections of clients that were accepted.",
            MetricType::COUNTER,
            closed("scheme", schemes(), &totals.connections_opened),
        ));
        families.push(family(
            "keygate_connections_refused_total",
            "Connections of clients that were turned away or cut, by reason.",
            MetricType::COUNTER,
            closed("reason", self.words.refusals.iter().copied(), &totals.connections_refused),
        ));
        families.push(family(
            "keygate_connections_idle_closed_total",
            "Connections of clients that were closed because they were idle.",
            MetricType::COUNTER,
            vec![counter(Vec::new(), totals.connections_idle as f64)],
        ));
        families.push(family(
            "keygate_accept_errors_total",
            "Times that connections could not be accepted for want of descriptors or memory.",
            MetricType::COUNTER,
            vec![counter(Vec::new(), totals.accepts_failed as f64)],
        ));
        families.push(family(
            "keygate_http2_streams_reset_total",
            "Streams of clients that keygate has reset, by the error code that the client was told.",
            MetricType::COUNTER,
            closed("code", self.words.resets.iter().copied(), &totals.streams_reset),
        ));
        families.push(family(
            "keygate_tls_handshake_failures_total",
            "TLS handshakes with clients that failed, by reason.",
            MetricType::COUNTER,
            closed("reason", self.words.handshake_failures.iter().copied(), &totals.handshakes_failed),
        ));
        tunnels(totals, families);
    }

    /// Asks all readers. No lock of ours is held meanwhile, so that a reader may do what it likes.
    fn read(&self) -> Vec<MetricFamily> {
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner).clone();
        readers.iter().map(|reader| rows_of(reader.0, (reader.1)())).collect()
    }
}

/// What has left HTTP.
fn tunnels(totals: &Totals, families: &mut Vec<MetricFamily>) {
    let ended: u64 = totals.tunnels_ended.iter().sum();
    families.push(family(
        "keygate_tunnels",
        "Tunnels that are open: requests that have gone on in WebSocket.",
        MetricType::GAUGE,
        vec![gauge(Vec::new(), totals.tunnels_opened.saturating_sub(ended) as f64)],
    ));
    families.push(family(
        "keygate_tunnels_total",
        "Tunnels that have begun.",
        MetricType::COUNTER,
        vec![counter(Vec::new(), totals.tunnels_opened as f64)],
    ));
    families.push(family(
        "keygate_tunnels_ended_total",
        "Tunnels that have ended, by reason.",
        MetricType::COUNTER,
        closed("reason", TunnelEnd::ALL.iter().map(|end| end.as_str()), &totals.tunnels_ended),
    ));
    families.push(family(
        "keygate_tunnel_bytes_total",
        "Bytes that went through tunnels, by the end that they came from.",
        MetricType::COUNTER,
        closed("from", TunnelSide::ALL.iter().map(|side| side.as_str()), &totals.tunnel_bytes),
    ));
}

/// The names that no reader can take.
const OWN: &[&str] = &[
    "keygate_requests_total",
    "keygate_request_duration_seconds",
    "keygate_upstream_duration_seconds",
    "keygate_overhead_duration_seconds",
    "keygate_request_body_bytes_total",
    "keygate_response_body_bytes_total",
    "keygate_requests_in_flight",
    "keygate_rejections_total",
    "keygate_connections",
    "keygate_connections_total",
    "keygate_connections_refused_total",
    "keygate_connections_idle_closed_total",
    "keygate_accept_errors_total",
    "keygate_http2_streams_reset_total",
    "keygate_tls_handshake_failures_total",
    "keygate_tunnels",
    "keygate_tunnels_total",
    "keygate_tunnels_ended_total",
    "keygate_tunnel_bytes_total",
];

/// The rows of a reader as a family: no series twice, never more than [`ROWS_MAX`] and one.
fn rows_of(of: Family, rows: Vec<(Vec<String>, f64)>) -> MetricFamily {
    let mut sums: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    for (values, value) in rows {
        if values.len() != of.labels.len() {
            continue;
        }
        if sums.len() < ROWS_MAX || sums.contains_key(&values) {
            *sums.entry(values).or_default() += value;
        } else if of.kind == Kind::Counter {
            *sums.entry(vec![OTHER.to_owned(); of.labels.len()]).or_default() += value;
        }
    }

    let (metric_type, metric): (_, fn(Vec<LabelPair>, f64) -> Metric) = match of.kind {
        Kind::Counter => (MetricType::COUNTER, counter),
        Kind::Gauge => (MetricType::GAUGE, gauge),
    };
    let metrics = sums.into_iter().map(|(values, value)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        metric(labels(of.labels, &values), value)
    });
    family(of.name, of.help, metric_type, metrics.collect())
}

/// One metric for each route, or none.
fn by_route(
    routes: &[(&str, &RouteCells)],
    metric: impl Fn(Vec<LabelPair>, &RouteCells) -> Option<Metric>,
) -> Vec<Metric> {
    routes.iter().filter_map(|(route, cells)| metric(labels(&["route"], &[route]), cells)).collect()
}

/// One counter for each value of a closed list.
fn closed<'a>(label: &str, values: impl Iterator<Item = &'a str>, counts: &[u64]) -> Vec<Metric> {
    values.zip(counts).map(|(value, count)| counter(labels(&[label], &[value]), *count as f64)).collect()
}

/// A family of series.
fn family(name: &str, help: &str, metric_type: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(metric_type);
    family.set_metric(metrics);
    family
}

/// Labels with their values.
fn labels(names: &[&str], values: &[&str]) -> Vec<LabelPair> {
    let pairs = names.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}

/// A counter.
fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// A gauge.
fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// A histogram, unless nothing was counted: a route that is never forwarded needs no twenty series of zeros.
fn histogram<const N: usize>(labels: Vec<LabelPair>, of: &Histogram<N>, bounds: &[u64; N]) -> Option<Metric> {
    if of.is_empty() {
        return None;
    }
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(of.to_proto(bounds));
    Some(metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::labels::MethodLabel;
    use crate::telemetry::metrics::shard::Sample;

    /// A family that is missing in [`OWN`] could be exported a second time by a reader.
    #[test]
    fn every_family_of_ours_is_protected_from_readers() {
        let store = Store::new(
            1,
            Words {
                rejections: &["reason"],
                refusals: &["reason"],
                resets: &["code"],
                handshake_failures: &["reason"],
            },
        );
        store.shard(0).record(&Sample {
            route: RouteLabel::NONE,
            method: MethodLabel::Get,
            status: 200,
            source: Source::Upstream,
            request_ns: 1,
            upstream_ns: Some(1),
            overhead_ns: 1,
            request_bytes: 1,
            response_bytes: 1,
        });
        let mut families: Vec<String> = store.collect().iter().map(|family| family.name().to_owned()).collect();
        families.sort();
        let mut own = OWN.to_vec();
        own.sort_unstable();
        assert_eq!(families, own);
    }
}
