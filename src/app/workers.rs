//! The data plane: one thread a worker, each with a single-threaded runtime, listening sockets, upstream connections
//! and counters of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::coalescing;
use crate::gateway::Gateway;
use crate::gateway::question::Asking;
use crate::gateway::unread::{self, UnreadHead};
use crate::listener::{
    self, ConnectionInfo, DrainWatch, HandshakeFailure, Listener, Observer, Refusal, ResetReason, Settings, TlsStore,
};
use crate::telemetry::metrics::{ConnectionKind, Shard};

/// One listening address, as every worker serves it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// What may change while it is open.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    /// Its certificates.
    pub(super) tls: Option<Arc<TlsStore>>,
    /// Who may ask there and how, if it is for the questions of other proxies.
    pub(super) asking: Option<Arc<ArcSwap<Asking>>>,
}

/// What one worker is given.
pub(super) struct Worker {
    /// Its number, counted from 0.
    pub(super) index: usize,
    /// Its sockets, and the door each belongs to.
    pub(super) doors: Vec<(TcpListener, Door)>,
    /// The road.
    pub(super) gateway: Arc<Gateway>,
    /// How it ends politely.
    pub(super) drain: DrainWatch,
    /// Turns true when nothing is left to wait for.
    pub(super) stop: watch::Receiver<bool>,
}

impl Worker {
    /// Starts the worker's thread.
    ///
    /// # Errors
    ///
    /// If the system has no thread or no event queue to give.
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("worker-{}", self.index)).spawn(move || runtime.block_on(self.serve()))
    }

    async fn serve(self) {
        let Self { index, doors, gateway, drain, mut stop } = self;
        tokio::spawn(coalescing::run_rounds());
        let mut serving = JoinSet::new();
        for (socket, door) in doors {
            let listener = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => Listener { socket, worker: index },
                Err(error) => {
                    tracing::error!(worker = index, "cannot listen: {error}");
                    continue;
                }
            };
            let asking = door.asking.clone();
            let observer = Counting { gateway: Arc::clone(&gateway), tls: door.tls.is_some(), asking: asking.clone() };
            let gateway = Arc::clone(&gateway);
            let service = move |request, connection: &Arc<ConnectionInfo>| {
                let asking = asking.as_ref().map(|asking| asking.load_full());
                Arc::clone(&gateway).answer(request, Arc::clone(connection), asking)
            };
            serving.spawn(listener::serve(listener, door.settings, door.tls, service, observer, drain.clone()));
        }
        // Connections run on as tasks of this runtime after their listener has closed.
        let _ = stop.wait_for(|stop| *stop).await;
        serving.abort_all();
        coalescing::end_round();
    }
}

/// Counts what happens to the connections of one listener.
struct Counting {
    gateway: Arc<Gateway>,
    tls: bool,
    asking: Option<Arc<ArcSwap<Asking>>>,
}

impl Counting {
    fn shard(&self) -> &Shard {
        &self.gateway.desk.shard
    }

    const fn kind(&self) -> ConnectionKind {
        if self.tls { ConnectionKind::Https } else { ConnectionKind::Http }
    }
}

impl Observer for Counting {
    fn connection_opened(&self) {
        self.shard().connections_add(self.kind(), 1);
    }

    fn connection_closed(&self) {
        self.shard().connections_add(self.kind(), -1);
    }

    fn refused(&self, refusal: Refusal) {
        self.shard().connection_refused(refusal as usize);
    }

    fn closed_when_idle(&self) {
        self.shard().connection_closed_when_idle();
    }

    fn accept_failed(&self) {
        self.shard().accept_failed();
    }

    fn stream_reset(&self, reason: ResetReason, connection: &ConnectionInfo) {
        tracing::debug!(client = %connection.client.ip(), reason = reason.word(), "a stream was reset");
        self.shard().stream_reset(reason.index());
    }

    fn handshake_failed(&self, failure: HandshakeFailure) {
        self.shard().handshake_failed(failure as usize);
    }

    fn head_refused(&self, status: StatusCode, reason: &'static str, connection: &ConnectionInfo) -> Bytes {
        let (client, policy) = (connection.client.ip(), self.gateway.policy.load());
        tracing::debug!(%client, status = status.as_u16(), reason, "a request head was refused");
        let asking = self.asking.as_ref().map(|asking| asking.load_full());
        unread::refuse(&self.gateway.desk, &policy, client, UnreadHead::of_status(status), asking.as_deref())
    }
}
