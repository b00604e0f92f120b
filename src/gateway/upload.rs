//! How far the content of a request has come, and why it ended early.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::monotonic_ns;

/// How far the client's content has come; shared with the request's record, because the body itself is handed to the
/// upstream's connection.
#[derive(Debug, Default)]
pub struct Upload {
    bytes: AtomicU64,
    moved_ns: AtomicU64,
    /// Whether more is wanted and the client has not sent it.
    waits: AtomicBool,
    client_time_max: Duration,
    failure: AtomicU8,
}

/// Why an upload ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFailure {
    /// More than the route takes.
    TooLarge = 1,
    /// The client stopped sending, or sends too slowly.
    Stalled = 2,
    /// The client went away or broke the framing.
    Broken = 3,
}

impl Upload {
    /// Begins at `now_ns`, by the monotonic clock. The client has `client_time_max` for the next part at most.
    pub(super) fn begun(now_ns: u64, client_time_max: Duration) -> Self {
        Self { moved_ns: AtomicU64::new(now_ns), client_time_max, ..Self::default() }
    }

    /// A part has come.
    pub(super) fn moved(&self, bytes: u64, now_ns: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.moved_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Whether the client is waited for now.
    pub(super) fn waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Bytes of content read from the client so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why it ended early, if it did.
    pub fn failure(&self) -> Option<UploadFailure> {
        match self.failure.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(UploadFailure::TooLarge),
            2 => Some(UploadFailure::Stalled),
            _ => Some(UploadFailure::Broken),
        }
    }

    /// Notes why it ends before its end.
    pub(super) fn fail(&self, failure: UploadFailure) {
        self.failure.store(failure as u8, Ordering::Relaxed);
    }

    /// What is left of `patience` with the upstream since the last part went up, at most all of it; `None` if it is used up.
    /// While the client is waited for it is not: that has a time of its own, and ends within `client_time_max`.
    pub fn patience_left(&self, patience: Duration) -> Option<Duration> {
        let waits = self.waits.load(Ordering::Relaxed);
        let longest = if waits { patience.saturating_add(self.client_time_max) } else { patience };
        let moved_ns = self.moved_ns.load(Ordering::Relaxed);
        let passed = Duration::from_nanos(monotonic_ns().saturating_sub(moved_ns));
        longest.checked_sub(passed).filter(|left| !left.is_zero()).map(|left| left.min(patience))
    }
}
