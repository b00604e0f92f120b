//! How listeners end: first by word, then politely, then at once.
//!
//! One [`Drain`] belongs to the whole process. Each accept loop and each connection hold a [`DrainWatch`]; the number of
//! open connections is counted here as well, which is why the maximum of connections is a maximum of the process.
//!
//! Watching costs a connection one load of a shared byte each time it is polled. It is woken through a `Notify`, with
//! which it registers once for each phase and not once for each request.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::crowd::Crowds;

/// How long a connection that has not asked for anything stays open once a drain has begun. A client that is about to
/// use it is then told by the response that there will be no more, which loses no request; closing at once would.
pub(super) const DRAIN_GRACE: Duration = Duration::from_millis(250);

const SERVING: u8 = 0;
const PARTING: u8 = 1;
const DRAINING: u8 = 2;
const ABORTED: u8 = 3;

/// The control: tells all listeners to end.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    shared: Arc<Shared>,
}

/// What a listener holds of a [`Drain`].
#[derive(Clone, Debug)]
pub struct DrainWatch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    changed: Arc<Notify>,
    accepting: AtomicUsize,
    connections: AtomicUsize,
    crowds: Arc<Crowds>,
    emptied: Notify,
}

impl Drain {
    /// Makes a control that lets everything run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A watch for one more listener.
    #[must_use]
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { shared: Arc::clone(&self.shared) }
    }

    /// Sends clients elsewhere, and serves whoever still comes: each connection tells its client that there will be no
    /// more after the requests that it has (`Connection: close`, GOAWAY). One that has asked for nothing is left alone
    /// until it does: to close it might lose the request that is on its way.
    pub fn part(&self) {
        self.shared.phase.fetch_max(PARTING, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Ends politely: listeners take what already waits in their accept queues and close; each connection finishes its
    /// requests and tells its client that there will be no more (`Connection: close`, GOAWAY).
    pub fn begin(&self) {
        self.shared.phase.fetch_max(DRAINING, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Ends at once: every connection is dropped where it stands.
    pub fn abort(&self) {
        self.shared.phase.fetch_max(ABORTED, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Waits until every listener has closed and every connection is gone, but no longer than `timeout`.
    ///
    /// Says whether that is so. Before [`Drain::begin`] it is never so while a listener runs.
    pub async fn wait_idle(&self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.emptied()).await.is_ok()
    }

    /// Connections that are open now, in the whole process.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    async fn emptied(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            // A closing listener counts its last connections before it stops counting itself: ask in that order.
            if self.shared.accepting.load(Ordering::SeqCst) == 0 && self.shared.connections.load(Ordering::SeqCst) == 0
            {
                return;
            }
            emptied.await;
        }
    }
}

impl DrainWatch {
    /// Whether clients are sent elsewhere.
    pub(super) fn is_parting(&self) -> bool {
        self.shared.phase.load(Ordering::Relaxed) >= PARTING
    }

    /// Whether the end has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.shared.phase.load(Ordering::Relaxed) >= DRAINING
    }

    /// Waits until the end has begun.
    pub(super) async fn draining(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.is_draining() {
                return;
            }
            changed.await;
        }
    }

    /// Runs `future` to its end, but no longer than to `deadline`, and no longer than [`DRAIN_GRACE`] into a drain.
    ///
    /// For what a peer does before it has asked for anything: it must not hold up the end of the process.
    pub(super) async fn in_time<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = sleep_until(deadline) => return None,
            () = self.draining() => {}
        }
        timeout_at(deadline.min(Instant::now() + DRAIN_GRACE), future).await.ok()
    }

    /// Runs `future` to its end, or drops it on abort. A begin wakes it as well, so that it can look at
    /// [`DrainWatch::is_draining`] itself.
    ///
    /// To be awaited by a task directly: it registers the task's waker once, not on every poll.
    pub(super) fn until_aborted<F: Future>(&self, future: F) -> UntilAborted<F> {
        UntilAborted {
            future,
            changed: Arc::clone(&self.shared.changed).notified_owned(),
            registered: false,
            watch: self.clone(),
        }
    }

    /// Counts an accept loop, until the guard is dropped.
    pub(super) fn accepting(&self) -> Accepting {
        self.shared.accepting.fetch_add(1, Ordering::SeqCst);
        Accepting { shared: Arc::clone(&self.shared) }
    }

    /// The connections of each client, in the whole process.
    pub(super) fn crowds(&self) -> &Arc<Crowds> {
        &self.shared.crowds
    }

    /// Counts a connection, until the guard is dropped; nothing if there are `max` already.
    pub(super) fn open(&self, max: usize) -> Option<Open> {
        let before = self.shared.connections.fetch_add(1, Ordering::SeqCst);
        let open = Open { shared: Arc::clone(&self.shared) };
        (before < max).then_some(open)
    }
}

/// An accept loop that runs.
#[derive(Debug)]
pub(super) struct Accepting {
    shared: Arc<Shared>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.shared.accepting.fetch_sub(1, Ordering::SeqCst);
        self.shared.emptied.notify_waiters();
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open {
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let before = self.shared.connections.fetch_sub(1, Ordering::SeqCst);
        if before == 1 {
            self.shared.emptied.notify_waiters();
        }
    }
}

pin_project! {
    /// A future that abort cuts short. See [`DrainWatch::until_aborted`].
    pub(super) struct UntilAborted<F> {
        #[pin]
        future: F,
        #[pin]
        changed: OwnedNotified,
        registered: bool,
        watch: DrainWatch,
    }
}

impl<F: Future> Future for UntilAborted<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &this.watch.shared;
        loop {
            let phase = shared.phase.load(Ordering::SeqCst);
            if phase == ABORTED {
                return Poll::Ready(None);
            }
            // While all is well, one registration lasts. Later the notification of the begin may still be on its way
            // when that of the abort is wanted, so look each time.
            if *this.registered && phase == SERVING {
                break;
            }
            match this.changed.as_mut().poll(context) {
                Poll::Pending if *this.registered => break,
                // Once more: the phase may have changed before we were registered.
                Poll::Pending => *this.registered = true,
                Poll::Ready(()) => {
                    this.changed.set(Arc::clone(&shared.changed).notified_owned());
                    *this.registered = false;
                }
            }
        }
        this.future.poll(context).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn idle_means_no_listener_and_no_connection() {
        let drain = Drain::new();
        let accepting = drain.watch().accepting();
        let open = drain.watch().open(1).unwrap();

        assert!(!drain.wait_idle(SHORT).await);
        drop(accepting);
        assert!(!drain.wait_idle(SHORT).await);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.wait_idle(LONG).await }
        });
        tokio::task::yield_now().await;
        drop(open);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn connections_above_the_maximum_are_not_counted() {
        let drain = Drain::new();
        let watch = drain.watch();
        let first = watch.open(1).unwrap();
        assert!(watch.open(1).is_none());
        assert_eq!(drain.connections(), 1);
        drop(first);
        assert!(watch.open(1).is_some());
    }

    #[tokio::test]
    async fn abort_drops_what_waits_also_after_a_begin() {
        let drain = Drain::new();
        let watch = drain.watch();
        let task = tokio::spawn(async move { watch.until_aborted(std::future::pending::<()>()).await });

        tokio::task::yield_now().await;
        drain.begin();
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        drain.abort();
        assert_eq!(tokio::time::timeout(LONG, task).await.unwrap().unwrap(), None);
    }

    #[tokio::test]
    async fn begin_wakes_what_waits() {
        let drain = Drain::new();
        let watch = drain.watch();
        let task = tokio::spawn(async move {
            let seen = watch.clone();
            let until_draining = std::future::poll_fn(move |_| match seen.is_draining() {
                true => Poll::Ready("draining"),
                false => Poll::Pending,
            });
            watch.until_aborted(until_draining).await
        });

        tokio::task::yield_now().await;
        drain.begin();
        assert_eq!(tokio::time::timeout(LONG, task).await.unwrap().unwrap(), Some("draining"));
    }

    #[tokio::test]
    async fn an_abort_before_the_first_poll_is_seen() {
        let drain = Drain::new();
        let waiting = drain.watch().until_aborted(std::future::pending::<()>());
        drain.abort();
        assert_eq!(tokio::time::timeout(LONG, waiting).await.unwrap(), None);
    }
}
