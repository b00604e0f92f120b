//! Spans: how long a request took, and where, for whoever follows requests through several programs (OpenTelemetry).
//!
//! The road makes spans only of requests that are sampled, and leaves them in a queue of fixed length without waiting. What
//! finds no place is counted. Somebody else empties the queue: see [`Spans`].
//!
//! Never in this part: a credential, a query, a field of a request, or who collects the spans.

mod context;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc};

pub use context::{SpanId, TraceContext, TraceId};
pub use span::{Kind, Span, Value};

use crate::telemetry::metrics::{Family, Kind as MetricKind, Metrics};

/// Requests whose spans may wait for being exported.
pub const QUEUE_MAX: usize = 4096;

/// Which requests are sampled, and what is told of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of requests that are sampled where nobody has decided before, 0 to 1.
    pub ratio: f64,
    /// Whether the client decides if it says so (its `traceparent`, bit `sampled`).
    pub follows_parent: bool,
    /// Whether spans bear the id of the key.
    pub shows_key_ids: bool,
}

/// Takes spans from the road.
#[derive(Debug)]
pub struct Tracer {
    sampling: Sampling,
    queue: mpsc::Sender<Vec<Span>>,
    crowded: Arc<Notify>,
    counts: Arc<Counts>,
}

/// The other end of the queue.
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Receiver<Vec<Span>>,
    crowded: Arc<Notify>,
    /// What becomes of them.
    pub counts: Arc<Counts>,
}

/// What has become of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// They were taken by who collects them.
    pub exported: AtomicU64,
    /// They found the queue full.
    pub dropped_by_queue: AtomicU64,
    /// They could not be exported.
    pub dropped_by_export: AtomicU64,
    /// Who collects them did not want them.
    pub rejected: AtomicU64,
}

impl Tracer {
    /// A tracer with its queue.
    #[must_use]
    pub fn new(sampling: Sampling) -> (Arc<Self>, Spans) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (crowded, counts) = (Arc::new(Notify::new()), Arc::new(Counts::default()));
        let tracer = Self { sampling, queue: sender, crowded: Arc::clone(&crowded), counts: Arc::clone(&counts) };
        (Arc::new(tracer), Spans { queue, crowded, counts })
    }

    /// Whether spans bear the id of the key.
    #[must_use]
    pub const fn shows_key_ids(&self) -> bool {
        self.sampling.shows_key_ids
    }

    /// Whether the request of this trace is sampled; `parent` is what the client has decided.
    ///
    /// By the trace id, so that all programs with the same ratio choose the same traces (the rule of OpenTelemetry's
    /// `TraceIdRatioBased`: the last 63 bits are random, and below the ratio).
    #[must_use]
    pub fn samples(&self, trace: TraceId, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.sampling.follows_parent) {
            Some(sampled) => sampled,
            None => trace.random_part() < (self.sampling.ratio * (1_u64 << 63) as f64) as u64,
        }
    }

    /// Takes the spans of one request, or counts them as dropped. Waits for nothing.
    pub fn take(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped_by_queue.fetch_add(count, Ordering::Relaxed);
        }
        // The other end sleeps, so that a span does not cost it a wake-up, unless there is little room left.
        if self.queue.capacity() < QUEUE_MAX / 2 {
            self.crowded.notify_one();
        }
    }

    /// Exports how many spans were exported and dropped.
    pub fn export(&self, metrics: &Metrics) {
        let exported = Arc::clone(&self.counts);
        metrics.reader(
            Family {
                name: "keygate_trace_spans_exported_total",
                help: "Spans that were taken by the collector.",
                kind: MetricKind::Counter,
                labels: &[],
            },
            move || vec![(Vec::new(), exported.exported.load(Ordering::Relaxed) as f64)],
        );
        let counts = Arc::clone(&self.counts);
        metrics.reader(
            Family {
                name: "keygate_trace_spans_dropped_total",
                help: "Spans that did not reach the collector, by reason.",
                kind: MetricKind::Counter,
                labels: &["reason"],
            },
            move || {
                let each = [
                    ("queue", &counts.dropped_by_queue),
                    ("export", &counts.dropped_by_export),
                    ("rejected", &counts.rejected),
                ];
                each.map(|(reason, count)| (vec![reason.to_owned()], count.load(Ordering::Relaxed) as f64)).to_vec()
            },
        );
    }
}

impl Spans {
    /// Waits until there is little room left in the queue.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Takes the spans that wait: at least `max` if there are so many, and few more.
    pub fn take(&mut self, max: usize) -> Vec<Span> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Ok(spans) = self.queue.try_recv()
        {
            taken.extend(spans);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(ratio: f64, follows_parent: bool) -> (Arc<Tracer>, Spans) {
        Tracer::new(Sampling { ratio, follows_parent, shows_key_ids: false })
    }

    fn trace(random: u64) -> TraceId {
        TraceId(u128::from(random))
    }

    #[test]
    fn the_parent_decides_and_else_the_ratio_does() {
        let (half, _spans) = tracer(0.5, true);
        assert!(half.samples(trace(u64::MAX), Some(true)) && !half.samples(trace(0), Some(false)));
        assert!(half.samples(trace(0), None) && !half.samples(trace(u64::MAX), None));
        let (never, _spans) = tracer(0.0, false);
        assert!(!never.samples(trace(0), Some(true)));
        let (always, _spans) = tracer(1.0, false);
        assert!(always.samples(trace(u64::MAX), Some(false)));
    }

    #[test]
    fn what_finds_no_place_is_dropped_and_counted() {
        let (tracer, mut spans) = tracer(1.0, true);
        let span = || Span::new(TraceId(1), SpanId(1), Kind::Server, String::new());
        for _ in 0..QUEUE_MAX + 3 {
            tracer.take(vec![span(), span()]);
        }
        assert_eq!(spans.counts.dropped_by_queue.load(Ordering::Relaxed), 6);
        assert_eq!(spans.take(5).len(), 6);
        assert_eq!(spans.take(usize::MAX).len(), 2 * QUEUE_MAX - 6);
    }
}
