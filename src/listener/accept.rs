//! The loop of one listening socket.
//!
//! Never ends for an error: what `accept` reports is either about one connection, which is gone, or about a lack of
//! descriptors or memory, which passes.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::connection::{Arrival, converse};
use super::drain::{DrainWatch, Open};
use super::http::{Protocols, Respond};
use super::proxy_protocol::canonical;
use super::socket::Socket;
use super::{ConnectionInfo, Observer, Refusal, Settings, TakesOver, TlsStore, goodbye};
use crate::moment::monotonic_ns;

/// How long we wait when the machine has no more descriptors or memory for us.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// The least time between two log lines about accept errors, in nanoseconds.
const LOG_INTERVAL_NS: u64 = 1_000_000_000;

/// Connections above the maximum that one listener answers with 503 at the same time. The others are closed.
const TURNED_AWAY_MAX: usize = 128;

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Listener {
    /// One of the sockets made by [`bind`](super::bind()).
    pub socket: TcpListener,
    /// The worker's number, from 0; it stands in the [`ConnectionInfo`] of each request.
    pub worker: usize,
}

/// What all connections of a listener share.
pub(super) struct Door<S, O> {
    pub(super) service: S,
    pub(super) observer: O,
    pub(super) tls: Option<Arc<TlsStore>>,
    pub(super) worker: usize,
    pub(super) drain: DrainWatch,
    turned_away: AtomicUsize,
}

/// Serves one listening socket on the current runtime until the drain begins, and leaves its connections to run.
///
/// Each request is given to `service` together with what is known about its connection. `settings` may be exchanged at
/// any time; a connection keeps those it began with. With `tls` every connection must speak TLS, without it none may.
///
/// A panic of the service ends the connection it happened on, and nothing else.
pub async fn serve<S, F, B, O>(
    listener: Listener,
    settings: Arc<ArcSwap<Settings>>,
    tls: Option<Arc<TlsStore>>,
    service: S,
    observer: O,
    drain: DrainWatch,
) where
    S: Fn(Request<Incoming>, &Arc<ConnectionInfo>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + TakesOver + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    O: Observer,
{
    let accepting = drain.accepting();
    let Listener { socket, worker } = listener;
    let door = Arc::new(Door { service, observer, tls, worker, drain, turned_away: AtomicUsize::new(0) });
    let mut protocols = Arc::new(Protocols::new(settings.load_full()));
    let mut complaints = Complaints::default();

    let mut draining = std::pin::pin!(door.drain.draining());
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                renew(&mut protocols, &settings);
                welcome(&door, &protocols, stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                door.observer.accept_failed();
                complaints.log(&error, monotonic_ns());
                tokio::select! {
                    () = tokio::time::sleep(SHORTAGE_PAUSE) => {}
                    () = &mut draining => break,
                }
            }
        }
    }

    renew(&mut protocols, &settings);
    for (stream, peer) in waiting(socket) {
        welcome(&door, &protocols, stream, peer);
    }
    drop(accepting);
}

/// Makes the protocols anew if the settings have changed.
fn renew(protocols: &mut Arc<Protocols>, settings: &ArcSwap<Settings>) {
    let current = settings.load();
    if !Arc::ptr_eq(&protocols.settings, &current) {
        *protocols = Arc::new(Protocols::new(Arc::clone(&current)));
    }
}

/// Starts the task of a connection, or turns it away.
fn welcome<S: Respond, O: Observer>(
    door: &Arc<Door<S, O>>,
    protocols: &Arc<Protocols>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let peer = canonical(peer);
    // With the PROXY protocol it is not known yet whose connection it is.
    let member = match protocols.settings.proxy_protocol {
        None => match door.drain.crowds().join(peer.ip(), &protocols.settings) {
            None => return turn_away(door, Refusal::AddressConnectionsMax, stream),
            member => member,
        },
        Some(_) => None,
    };
    let Some(open) = door.drain.open(protocols.settings.maxima.connections) else {
        return turn_away(door, Refusal::ConnectionsMax, stream);
    };
    // Fails only on a connection that is gone already.
    let _nodelay = stream.set_nodelay(true);
    let arrival = Arrival { stream, peer, member, protocols: Arc::clone(protocols) };
    let counted = Counted::new(Arc::clone(door), open);
    tokio::spawn(async move {
        let _cut_short = counted.door.drain.until_aborted(converse(Arc::clone(&counted.door), arrival)).await;
        drop(counted);
    });
}

/// Answers 503 or 429 without TLS; closes with it, or when too many are being answered.
fn turn_away<S: Respond, O: Observer>(door: &Arc<Door<S, O>>, refusal: Refusal, stream: TcpStream) {
    door.observer.refused(refusal);
    if door.tls.is_some() || door.turned_away.load(Ordering::Relaxed) >= TURNED_AWAY_MAX {
        return;
    }
    door.turned_away.fetch_add(1, Ordering::Relaxed);
    let door = Arc::clone(door);
    tokio::spawn(async move {
        let mut socket = Socket::new(stream);
        let words = async {
            if refusal == Refusal::AddressConnectionsMax {
                goodbye::too_many_connections(&mut socket).await;
            } else {
                goodbye::service_unavailable(&mut socket).await;
            }
        };
        let _cut_short = door.drain.until_aborted(words).await;
        door.turned_away.fetch_sub(1, Ordering::Relaxed);
    });
}

/// A connection that is counted, here and by the observer, until it is dropped: also by a panic.
struct Counted<S, O: Observer> {
    door: Arc<Door<S, O>>,
    _open: Open,
}

impl<S, O: Observer> Counted<S, O> {
    fn new(door: Arc<Door<S, O>>, open: Open) -> Self {
        door.observer.connection_opened();
        Self { door, _open: open }
    }
}

impl<S, O: Observer> Drop for Counted<S, O> {
    fn drop(&mut self) {
        self.door.observer.connection_closed();
    }
}

/// What still waits in the accept queue. The kernel would reset it when the socket closes.
fn waiting(socket: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    // tokio hears of a connection only after a round of its event loop, so ask the kernel itself.
    let Ok(socket) = socket.into_std() else {
        return Vec::new();
    };
    let mut connections = Vec::new();
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    connections.push((stream, peer));
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => return connections,
        }
    }
}

/// Whether the connection that was to be accepted has failed, and not we.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Accept errors, logged at most once a second.
#[derive(Default)]
struct Complaints {
    last: Option<u64>,
    unlogged: u64,
}

impl Complaints {
    /// `now` is in monotonic nanoseconds.
    fn log(&mut self, error: &io::Error, now: u64) {
        if self.last.is_some_and(|last| now.saturating_sub(last) < LOG_INTERVAL_NS) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(%error, repeated = self.unlogged, "Cannot accept connections");
        self.last = Some(now);
        self.unlogged = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_logged_once_a_second() {
        let mut complaints = Complaints::default();
        let shortage = io::Error::from_raw_os_error(24);
        for now in [7, 8, LOG_INTERVAL_NS + 6] {
            complaints.log(&shortage, now);
        }
        assert_eq!(complaints.unlogged, 2);
        complaints.log(&shortage, LOG_INTERVAL_NS + 7);
        assert_eq!(complaints.unlogged, 0);
    }

    #[test]
    fn a_lost_connection_is_no_shortage() {
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted] {
            assert!(concerns_one_connection(&kind.into()), "{kind}");
        }
        // EMFILE, ENFILE, ENOMEM, ENOBUFS.
        for code in [24, 23, 12, 105] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
