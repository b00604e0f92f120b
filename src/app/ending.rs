//! How the process ends: nobody is turned away who could not know better, and nothing is cut that can be finished.
//!
//! ```text
//! serving ── keygate drain ──▶ parting ── SIGTERM ──▶ parting ──▶ finishing ──▶ the end, with 0
//!    └────── SIGTERM ────────────────────────────────▶   │            │
//!    └────── SIGINT ─────────────────────────────────────┼──────────▶ │
//!                                                 shutdown.delay  shutdown.timeout
//! ```
//!
//! *Parting*, `/readyz` says no, new connections are still taken, and every response says that there will be no more on
//! its connection: load balancers learn of the end from either, or from somebody else, and need some time for it.
//! The delay is counted from the beginning of parting, whatever it began with; only a signal ends it, so a process that was
//! told by `keygate drain` serves on for as long as nobody sends one. *Finishing*, nothing new is taken. Another signal cuts what is
//! left.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::state::State;
use crate::listener::Drain;

/// How long connections that were cut may take to write their records.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// Sends clients elsewhere, from the first time on that it is asked to.
pub(super) struct Parting {
    state: Arc<State>,
    drain: Drain,
    since: OnceLock<Instant>,
}

impl Parting {
    pub(super) fn new(state: &Arc<State>, drain: &Drain) -> Self {
        Self { state: Arc::clone(state), drain: drain.clone(), since: OnceLock::new() }
    }

    /// Begins, unless it has begun. Says when that was.
    pub(super) fn begin(&self, because: &'static str) -> Instant {
        *self.since.get_or_init(|| {
            self.state.readiness.draining();
            self.state.draining.store(true, Ordering::Relaxed);
            self.drain.part();
            tracing::info!(because, connections = self.drain.connections(), "draining");
            Instant::now()
        })
    }

    /// Ends politely, from the signal on; see above.
    pub(super) async fn finish(&self, signals: &mut Signals, told: Told) {
        let shutdown = self.state.shutdown();
        let (because, delay) = match told {
            Told::Terminate => ("SIGTERM", shutdown.delay),
            // A person waits for it.
            Told::Interrupt => ("SIGINT", Duration::ZERO),
        };
        let since = self.begin(because);
        let drain = &self.drain;
        let politely = async {
            sleep_until(since + delay).await;
            drain.begin();
            drain.wait_idle(shutdown.timeout).await
        };
        tokio::select! {
            idle = politely => {
                if !idle {
                    tracing::warn!(connections = drain.connections(), "the drain timeout has passed; closing what is left");
                }
            }
            _ = signals.end() => {
                tracing::warn!(connections = drain.connections(), "told again to end; closing at once");
            }
        }
        drain.abort();
        drain.wait_idle(LAST_RECORDS).await;
    }
}

/// Which signal asked for the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

/// The signals that the process listens to. From the beginning on they do what they are for, and nothing else: the first
/// process of a container has no other way to hear them, and any other would be ended by a SIGHUP.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// To be called inside a runtime.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to end; hands every SIGHUP on as a wish to reload.
    pub(super) async fn end_or(&mut self, reload: &Notify) -> Told {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Told::Terminate,
                _ = self.interrupt.recv() => return Told::Interrupt,
                _ = self.hang_up.recv() => reload.notify_one(),
            }
        }
    }

    /// Waits for a signal to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
