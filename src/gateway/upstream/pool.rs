//! The connections of one worker to one upstream: those in waiting, and a way to get one.
//!
//! HTTP/1.1 connections wait on a stack: the one used last is used next, so that surplus ones grow old and are closed.
//! HTTP/2 connections are shared by many requests. Every connection is driven by a task of its own on the worker's
//! runtime; what is kept here is only the handle to send requests with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::interim::{Awaited, Bound, Heads};
use super::send::UpstreamError;
use super::stream::Connection;
use super::{Protocol, Upstream};
use crate::gateway::body::RequestBody;
use crate::moment::monotonic_ns;

/// How long a connection may take to finish what it was doing before it is worth keeping.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the head of one response, and of its trailers. Far more than browsers and other gateways take.
const RESPONSE_HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of a response that are read in one piece. A client that does not read makes us hold a few
/// such pieces; without a bound they grow to 400 KiB each.
const RESPONSE_BUFFER_BYTES: usize = 128 * 1024;

/// What an HTTP/2 upstream may send of one response before the client has taken it (RFC 9113, section 5.2). Times the
/// streams of a connection it is what clients that do not read can make us hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// The least window of a connection to an HTTP/2 upstream. Smaller ones make h2 take honest streams of small frames for an
/// attack.
const CONNECTION_WINDOW_BYTES_MIN: u32 = 16 << 20;

/// The largest window that there is (RFC 9113, section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// The window of a connection with at most so many streams. All of them fit into it with all they may send: responses that
/// nobody reads hold up no other.
fn connection_window_bytes(streams_max: usize) -> u32 {
    let streams_max = u32::try_from(streams_max).unwrap_or(u32::MAX);
    STREAM_WINDOW_BYTES.saturating_mul(streams_max).clamp(CONNECTION_WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}

/// The connections of one worker to one upstream.
#[derive(Debug, Default)]
pub(super) struct Pool {
    waiting: Mutex<VecDeque<Waiting>>,
    shared: Mutex<Vec<Shared>>,
    /// Held while an HTTP/2 connection is being opened, so that a burst of requests opens one and not one each.
    opening: tokio::sync::Mutex<()>,
    open: Arc<AtomicUsize>,
    opened: AtomicU64,
    reaping: AtomicBool,
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub struct Alone {
    /// The handle.
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// What comes before the answer to what is sent.
    pub(super) awaited: Awaited,
    /// Room for a copy of the fields that are sent. Empty but for the time in which they may have to be sent again.
    pub(super) room: Vec<(HeaderName, HeaderValue)>,
}

/// An HTTP/1.1 connection that nobody uses.
#[derive(Debug)]
struct Waiting {
    connection: Alone,
    since_ns: u64,
}

/// An HTTP/2 connection and how many requests are on it.
#[derive(Debug, Clone)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
    idle_since_ns: Arc<AtomicU64>,
    heads: Heads,
}

/// A connection in use. Dropping it without [`Lease::give_back`] closes an HTTP/1.1 connection.
#[derive(Debug)]
pub enum Lease {
    /// An HTTP/1.1 connection, ours alone.
    Alone {
        /// The connection, to be put back.
        connection: Alone,
        /// Whose pool it goes back to.
        upstream: Arc<Upstream>,
        /// Which of its pools.
        worker: usize,
    },
    /// One stream of an HTTP/2 connection.
    Stream(StreamLease),
}

/// Counts one stream of a shared connection; ends with its drop.
#[derive(Debug)]
pub struct StreamLease {
    pub(super) sender: http2::SendRequest<RequestBody>,
    /// What comes before the answer to what is sent.
    pub(super) heads: Heads,
    streams: Arc<AtomicUsize>,
    idle_since_ns: Arc<AtomicU64>,
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle_since_ns.store(monotonic_ns(), Ordering::Relaxed);
        }
    }
}

impl Lease {
    /// Room for a copy of the fields that are sent; an HTTP/2 connection has none.
    pub(super) const fn room(&mut self) -> Option<&mut Vec<(HeaderName, HeaderValue)>> {
        match self {
            Self::Alone { connection, .. } => Some(&mut connection.room),
            Self::Stream(_) => None,
        }
    }

    /// Gives the connection back after the response was read to its end.
    pub fn give_back(self) {
        match self {
            Self::Alone { connection, upstream, worker } => {
                if connection.sender.is_ready() {
                    keep(&upstream, worker, connection);
                } else if !connection.sender.is_closed() {
                    tokio::spawn(settle(connection, upstream, worker));
                }
            }
            Self::Stream(stream) => drop(stream),
        }
    }
}

/// Waits until a connection has finished (the upload that goes on behind an early answer, say), then keeps it.
async fn settle(mut connection: Alone, upstream: Arc<Upstream>, worker: usize) {
    if let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIMEOUT, connection.sender.ready()).await {
        keep(&upstream, worker, connection);
    }
}

/// Puts a ready connection on the stack, and sees to it that it does not wait for ever.
fn keep(upstream: &Arc<Upstream>, worker: usize, connection: Alone) {
    let pool = upstream.pool(worker);
    pool.waiting().push_back(Waiting { connection, since_ns: monotonic_ns() });
    ensure_reaper(upstream, worker);
}

/// Starts the task that closes what has waited too long, unless it runs. It ends when nothing waits any more.
fn ensure_reaper(upstream: &Arc<Upstream>, worker: usize) {
    let pool = upstream.pool(worker);
    if pool.reaping.swap(true, Ordering::Relaxed) {
        return;
    }
    let idle_timeout = upstream.settings.idle_timeout;
    let upstream = Arc::downgrade(upstream);
    tokio::spawn(async move {
        let pause = (idle_timeout / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let Some(upstream) = upstream.upgrade() else { return };
            let pool = upstream.pool(worker);
            if pool.reap(idle_timeout) {
                pool.reaping.store(false, Ordering::Relaxed);
                return;
            }
        }
    });
}

impl Pool {
    /// Connections open now, used or not.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections opened since the start.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A panic cannot leave the stack half-changed: every change of it is one call.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection that was used last; closed ones on the way are dropped.
    fn take_waiting(&self) -> Option<Alone> {
        let mut waiting = self.waiting();
        while let Some(Waiting { connection, .. }) = waiting.pop_back() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a stream on a shared connection that has room.
    fn take_stream(&self, streams_max: usize) -> Option<StreamLease> {
        let mut shared = self.shared();
        shared.retain(|connection| !connection.sender.is_closed());
        let connection = shared.iter().find(|connection| connection.streams.load(Ordering::Relaxed) < streams_max)?;
        Some(connection.lease())
    }

    /// Drops what has waited longer than `idle_timeout`; says whether nothing is left to watch.
    fn reap(&self, idle_timeout: Duration) -> bool {
        let limit_ns = u64::try_from(idle_timeout.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = monotonic_ns();
        let mut waiting = self.waiting();
        waiting.retain(|w| !w.connection.sender.is_closed() && now_ns.saturating_sub(w.since_ns) < limit_ns);
        let mut shared = self.shared();
        shared.retain(|connection| {
            let unused = connection.streams.load(Ordering::Relaxed) == 0;
            let since_ns = connection.idle_since_ns.load(Ordering::Relaxed);
            let too_long = unused && now_ns.saturating_sub(since_ns) >= limit_ns;
            !too_long && !connection.sender.is_closed()
        });
        waiting.is_empty() && shared.is_empty()
    }
}

impl Shared {
    fn lease(&self) -> StreamLease {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.heads.earn();
        StreamLease {
            sender: self.sender.clone(),
            heads: self.heads.clone(),
            streams: Arc::clone(&self.streams),
            idle_since_ns: Arc::clone(&self.idle_since_ns),
        }
    }
}

/// A connection to send with, and whether it was used before (and so may have died while it waited).
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) lease: Lease,
    pub(super) reused: bool,
}

impl Upstream {
    /// Takes a waiting connection, or opens one. With `fresh` it always opens one.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`] if none may be opened or none can be.
    pub(super) async fn checkout(self: &Arc<Self>, worker: usize, fresh: bool) -> Result<Checkout, UpstreamError> {
        match self.settings.protocol {
            Protocol::Http1 => {
                if !fresh && let Some(connection) = self.pool(worker).take_waiting() {
                    return Ok(Checkout { lease: self.alone(connection, worker), reused: true });
                }
                let connection = self.open_http1(worker).await?;
                Ok(Checkout { lease: self.alone(connection, worker), reused: false })
            }
            Protocol::Http2 => self.checkout_stream(worker).await,
        }
    }

    fn alone(self: &Arc<Self>, connection: Alone, worker: usize) -> Lease {
        Lease::Alone { connection, upstream: Arc::clone(self), worker }
    }

    async fn checkout_stream(self: &Arc<Self>, worker: usize) -> Result<Checkout, UpstreamError> {
        let pool = self.pool(worker);
        let streams_max = self.settings.streams_max;
        if let Some(lease) = pool.take_stream(streams_max) {
            return Ok(Checkout { lease: Lease::Stream(lease), reused: true });
        }
        let _alone = pool.opening.lock().await;
        if let Some(lease) = pool.take_stream(streams_max) {
            return Ok(Checkout { lease: Lease::Stream(lease), reused: true });
        }
        let shared = self.open_http2(worker).await?;
        let lease = shared.lease();
        pool.shared().push(shared);
        ensure_reaper(self, worker);
        Ok(Checkout { lease: Lease::Stream(lease), reused: false })
    }

    async fn open_http1(&self, worker: usize) -> Result<Alone, UpstreamError> {
        let counted = self.count_connection(worker)?;
        let awaited = Awaited::nothing();
        let opening = async {
            let stream = self.connector.connect().await.map_err(UpstreamError::Connect)?;
            let mut builder = http1::Builder::new();
            // At most 100 fields, which is hyper's default and that of others: only so it needs no memory for each head.
            builder.max_header_size(RESPONSE_HEAD_BYTES_MAX as usize).max_buf_size(RESPONSE_BUFFER_BYTES);
            let connection = Connection::new(stream, Bound::Http1(awaited.clone()), counted);
            builder.handshake(TokioIo::new(connection)).await.map_err(UpstreamError::Reset)
        };
        let (sender, connection) = self.in_time(opening).await?;
        tokio::spawn(async move {
            // How a connection ends is told to the request that was on it; an idle one has nobody to tell. One that
            // switches protocols goes to the request that asked for it, and is closed if none did.
            let _ = connection.with_upgrades().await;
        });
        Ok(Alone { sender, awaited, room: Vec::new() })
    }

    async fn open_http2(&self, worker: usize) -> Result<Shared, UpstreamError> {
        let counted = self.count_connection(worker)?;
        let heads = Heads::of_streams(self.settings.streams_max);
        let opening = async {
            let stream = self.connector.connect().await.map_err(UpstreamError::Connect)?;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(RESPONSE_HEAD_BYTES_MAX)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(connection_window_bytes(self.settings.streams_max));
            let connection = Connection::new(stream, Bound::http2(heads.clone()), counted);
            builder.handshake(TokioIo::new(connection)).await.map_err(UpstreamError::Reset)
        };
        let (sender, connection) = self.in_time(opening).await?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let idle_since_ns = Arc::new(AtomicU64::new(monotonic_ns()));
        Ok(Shared { sender, streams: Arc::default(), idle_since_ns, heads })
    }

    /// Takes a place among the connections that may be open.
    fn count_connection(&self, worker: usize) -> Result<Counted, UpstreamError> {
        let pool = self.pool(worker);
        if pool.open.fetch_add(1, Ordering::Relaxed) >= self.settings.connections_max {
            pool.open.fetch_sub(1, Ordering::Relaxed);
            return Err(UpstreamError::Overloaded);
        }
        pool.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Counted(Arc::clone(&pool.open)))
    }

    async fn in_time<T>(&self, opening: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
        tokio::time::timeout(self.settings.connect_timeout, opening).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }
}

/// One place among the open connections; given up when the connection is closed.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_of_a_connection_fit_into_its_window() {
        for streams_max in [1, 100, 8191] {
            let needed = streams_max as u64 * u64::from(STREAM_WINDOW_BYTES);
            assert!(u64::from(connection_window_bytes(streams_max)) >= needed, "{streams_max}");
        }
        assert_eq!(connection_window_bytes(1), CONNECTION_WINDOW_BYTES_MIN);
        assert_eq!(connection_window_bytes(usize::MAX), WINDOW_BYTES_MAX);
    }
}
