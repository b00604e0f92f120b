//! What one worker counts.
//!
//! Whatever belongs to a finished request is behind one lock, which only this worker and, for a moment at each scrape, the
//! reader take: without contention a lock costs less than ten atomic additions. What is counted at other times is atomic.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Words;
use super::histogram::{DURATIONS, Histogram, OVERHEADS};
use super::labels::{ConnectionKind, MethodLabel, ROUTES_MAX, RouteLabel, Source, TunnelEnd, TunnelSide};
use super::series::{Admitted, Combination};

/// A finished request, as the metrics see it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The route; [`RouteLabel::NONE`] if none was found.
    pub route: RouteLabel,
    /// The method.
    pub method: MethodLabel,
    /// The status that the client was sent.
    pub status: u16,
    /// Who wrote the response.
    pub source: Source,
    /// Nanoseconds from the head of the request to the end of the response.
    pub request_ns: u64,
    /// Nanoseconds that were spent waiting for the upstream; `None` if it was not asked.
    pub upstream_ns: Option<u64>,
    /// Nanoseconds that keygate itself took.
    pub overhead_ns: u64,
    /// Bytes of the request's content that were read from the client.
    pub request_bytes: u64,
    /// Bytes of the response's content that were sent to the client.
    pub response_bytes: u64,
}

/// The numbers of one worker.
///
/// May be used from any thread; it is fast as long as one thread does.
// Two cache lines of its own: neighbours in memory would otherwise slow each other down.
#[repr(align(128))]
pub struct Shard {
    requests: Mutex<Requests>,
    admitted: Arc<Admitted>,
    in_flight: AtomicI64,
    rejections: Box<[AtomicU64]>,
    connections: [Connections; ConnectionKind::ALL.len()],
    connections_refused: Box<[AtomicU64]>,
    connections_idle: AtomicU64,
    accepts_failed: AtomicU64,
    streams_reset: Box<[AtomicU64]>,
    handshakes_failed: Box<[AtomicU64]>,
    tunnels: Tunnels,
}

/// What has left HTTP.
#[derive(Default)]
struct Tunnels {
    opened: AtomicU64,
    /// In the order of [`TunnelEnd::ALL`].
    ended: [AtomicU64; TunnelEnd::ALL.len()],
    /// By where they came from.
    bytes: [AtomicU64; TunnelSide::ALL.len()],
}

/// Connections of one kind.
#[derive(Default)]
struct Connections {
    open: AtomicI64,
    opened: AtomicU64,
}

/// Everything that is counted when a request is finished.
#[derive(Default)]
struct Requests {
    /// By route label. A box, because most numbers of a long list are never used.
    routes: Vec<Option<Box<RouteCells>>>,
    /// Requests beyond the cap on combinations, by source.
    beyond_cap: [u64; Source::ALL.len()],
}

/// The numbers of one route.
#[derive(Clone)]
pub(super) struct RouteCells {
    /// Sorted; few, since one route sees few methods and statuses.
    pub(super) requests: Vec<(Combination, u64)>,
    /// By source.
    pub(super) durations: [Histogram<{ DURATIONS.len() }>; Source::ALL.len()],
    pub(super) upstream: Histogram<{ DURATIONS.len() }>,
    pub(super) overhead: Histogram<{ OVERHEADS.len() }>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl Shard {
    /// An empty shard with a counter for each of the words.
    pub(super) fn new(words: &Words, admitted: Arc<Admitted>) -> Self {
        Self {
            requests: Mutex::default(),
            admitted,
            in_flight: AtomicI64::new(0),
            rejections: zeros(words.rejections),
            connections: Default::default(),
            connections_refused: zeros(words.refusals),
            connections_idle: AtomicU64::new(0),
            accepts_failed: AtomicU64::new(0),
            streams_reset: zeros(words.resets),
            handshakes_failed: zeros(words.handshake_failures),
            tunnels: Tunnels::default(),
        }
    }

    /// Counts a finished request. Allocates only when it meets something for the first time.
    pub fn record(&self, sample: &Sample) {
        let combination = Combination::new(sample.method, sample.status, sample.source);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = &mut *requests;

        let cells = requests.cells(sample.route);
        match cells.requests.binary_search_by_key(&combination, |(seen, _)| *seen) {
            Ok(place) => cells.requests[place].1 += 1,
            Err(place) if self.admitted.admit(sample.route, combination) => {
                cells.requests.insert(place, (combination, 1));
            }
            Err(_) => requests.beyond_cap[sample.source.index()] += 1,
        }

        let cells = requests.cells(sample.route);
        cells.durations[sample.source.index()].observe(&DURATIONS, sample.request_ns);
        if let Some(upstream_ns) = sample.upstream_ns {
            cells.upstream.observe(&DURATIONS, upstream_ns);
        }
        cells.overhead.observe(&OVERHEADS, sample.overhead_ns);
        cells.request_bytes += sample.request_bytes;
        cells.response_bytes += sample.response_bytes;
    }

    /// Counts a refusal for the reason with this index in [`Words::rejections`]. An index beyond it is not counted.
    pub fn rejected(&self, reason: usize) {
        count(&self.rejections, reason);
    }

    /// Changes the number of requests in flight: 1 when one begins, -1 when it ends in whatever way.
    pub fn in_flight_add(&self, change: i64) {
        self.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    /// Changes the number of open client connections: 1 when one is accepted, -1 when it is gone. What is positive is
    /// also counted as opened.
    pub fn connections_add(&self, kind: ConnectionKind, change: i64) {
        let connections = &self.connections[kind.index()];
        connections.open.fetch_add(change, Ordering::Relaxed);
        if let Ok(opened @ 1..) = u64::try_from(change) {
            connections.opened.fetch_add(opened, Ordering::Relaxed);
        }
    }

    /// Counts a client connection that was turned away or cut, for the reason with this index in [`Words::refusals`].
    pub fn connection_refused(&self, reason: usize) {
        count(&self.connections_refused, reason);
    }

    /// Counts a client connection that was closed because it was idle.
    pub fn connection_closed_when_idle(&self) {
        self.connections_idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a client connection that could not be accepted now.
    pub fn accept_failed(&self) {
        self.accepts_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an HTTP/2 stream that was reset from here, for the reason with this index in [`Words::resets`].
    pub fn stream_reset(&self, reason: usize) {
        count(&self.streams_reset, reason);
    }

    /// Counts a tunnel that begins.
    pub fn tunnel_opened(&self) {
        self.tunnels.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that went through a tunnel and have been taken at its other side.
    pub fn tunnel_moved(&self, from: TunnelSide, bytes: u64) {
        self.tunnels.bytes[from.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts the end of a tunnel.
    pub fn tunnel_ended(&self, end: TunnelEnd) {
        self.tunnels.ended[end.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake with a client that failed, for the reason with this index in
    /// [`Words::handshake_failures`].
    pub fn handshake_failed(&self, reason: usize) {
        count(&self.handshakes_failed, reason);
    }
}

/// Adds one to the counter with this index.
fn count(counters: &[AtomicU64], index: usize) {
    debug_assert!(index < counters.len(), "{index} is not in the list");
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// As many counters as there are words.
fn zeros(words: &[&str]) -> Box<[AtomicU64]> {
    words.iter().map(|_| AtomicU64::new(0)).collect()
}

impl Requests {
    /// The cells of a route, made when it is met for the first time.
    fn cells(&mut self, route: RouteLabel) -> &mut RouteCells {
        let index = if (route.0 as usize) < ROUTES_MAX { route.0 as usize } else { RouteLabel::OTHER.0 as usize };
        if index >= self.routes.len() {
            self.routes.resize_with(index + 1, || None);
        }
        self.routes[index].get_or_insert_with(|| Box::new(RouteCells::new()))
    }
}

impl RouteCells {
    /// Nothing counted yet.
    pub(super) const fn new() -> Self {
        Self {
            requests: Vec::new(),
            durations: [Histogram::new(), Histogram::new(), Histogram::new()],
            upstream: Histogram::new(),
            overhead: Histogram::new(),
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// Adds what another shard has counted for the same route.
    fn absorb(&mut self, other: &Self) {
        for (combination, count) in &other.requests {
            match self.requests.binary_search_by_key(combination, |(seen, _)| *seen) {
                Ok(place) => self.requests[place].1 += count,
                Err(place) => self.requests.insert(place, (*combination, *count)),
            }
        }
        for (mine, theirs) in self.durations.iter_mut().zip(&other.durations) {
            mine.absorb(theirs);
        }
        self.upstream.absorb(&other.upstream);
        self.overhead.absorb(&other.overhead);
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
    }
}

/// The sum of all shards at the time of a scrape. Lists are in the order of the label lists they count.
pub(super) struct Totals {
    /// By route label.
    pub(super) routes: Vec<Option<RouteCells>>,
    pub(super) beyond_cap: [u64; Source::ALL.len()],
    pub(super) in_flight: i64,
    pub(super) rejections: Vec<u64>,
    pub(super) connections_open: Vec<i64>,
    pub(super) connections_opened: Vec<u64>,
    pub(super) connections_refused: Vec<u64>,
    pub(super) connections_idle: u64,
    pub(super) accepts_failed: u64,
    pub(super) streams_reset: Vec<u64>,
    pub(super) handshakes_failed: Vec<u64>,
    pub(super) tunnels_opened: u64,
    pub(super) tunnels_ended: Vec<u64>,
    pub(super) tunnel_bytes: Vec<u64>,
}

impl Totals {
    /// Nothing counted yet.
    pub(super) fn new(words: &Words) -> Self {
        Self {
            routes: Vec::new(),
            beyond_cap: [0; Source::ALL.len()],
            in_flight: 0,
            rejections: vec![0; words.rejections.len()],
            connections_open: vec![0; ConnectionKind::ALL.len()],
            connections_opened: vec![0; ConnectionKind::ALL.len()],
            connections_refused: vec![0; words.refusals.len()],
            connections_idle: 0,
            accepts_failed: 0,
            streams_reset: vec![0; words.resets.len()],
            handshakes_failed: vec![0; words.handshake_failures.len()],
            tunnels_opened: 0,
            tunnels_ended: vec![0; TunnelEnd::ALL.len()],
            tunnel_bytes: vec![0; TunnelSide::ALL.len()],
        }
    }

    /// Adds a shard.
    ///
    /// The lock is held for one route at a time, so that a request never waits for the copy of a long list. A request
    /// that ends between two routes is in the next scrape.
    pub(super) fn absorb(&mut self, shard: &Shard) {
        let mut index = 0;
        loop {
            let requests = shard.requests.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(cells) = requests.routes.get(index) else {
                for (mine, theirs) in self.beyond_cap.iter_mut().zip(requests.beyond_cap) {
                    *mine += theirs;
                }
                break;
            };
            let cells = cells.clone();
            drop(requests);
            if self.routes.len() <= index {
                self.routes.push(None);
            }
            if let Some(cells) = cells {
                self.routes[index].get_or_insert_with(RouteCells::new).absorb(&cells);
            }
            index += 1;
        }

        self.in_flight += shard.in_flight.load(Ordering::Relaxed);
        add(&mut self.rejections, &shard.rejections);
        add(&mut self.connections_refused, &shard.connections_refused);
        self.connections_idle += shard.connections_idle.load(Ordering::Relaxed);
        self.accepts_failed += shard.accepts_failed.load(Ordering::Relaxed);
        add(&mut self.streams_reset, &shard.streams_reset);
        add(&mut self.handshakes_failed, &shard.handshakes_failed);
        // Ends before beginnings, so that there are never more of them.
        add(&mut self.tunnels_ended, &shard.tunnels.ended);
        self.tunnels_opened += shard.tunnels.opened.load(Ordering::Relaxed);
        add(&mut self.tunnel_bytes, &shard.tunnels.bytes);
        for (kind, connections) in shard.connections.iter().enumerate() {
            self.connections_open[kind] += connections.open.load(Ordering::Relaxed);
            self.connections_opened[kind] += connections.opened.load(Ordering::Relaxed);
        }
    }
}

/// Adds counters one by one.
fn add(totals: &mut [u64], counters: &[AtomicU64]) {
    for (total, counter) in totals.iter_mut().zip(counters) {
        *total += counter.load(Ordering::Relaxed);
    }
}
