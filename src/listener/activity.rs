//! What happens on a connection, noted down where it happens.
//!
//! hyper hides its state, so we watch it from three sides: the bytes below it ([`watched`](super::watched)), the calls of
//! the service above it, and the end of each response body. The notes are a few numbers that the
//! [`watchdog`](super::watchdog) reads when hyper has nothing more to do. Taking them costs plain loads and stores; the clock is read once for a request,
//! when the connection becomes idle.
//!
//! The numbers are atomic because HTTP/2 streams are tasks of their own. All tasks of a connection run on one thread,
//! so no ordering between the numbers is asked for.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

use http::Version;

use super::framing::Doubt;
use super::meter::Allowance;
use super::spoken::{LastWords, is_bare_refusal};
use super::takeover::{Earning, Takeover};
use crate::moment::monotonic_ns;

/// Bytes of an HTTP/2 preface and of the smallest SETTINGS frame that must follow it (RFC 9113, section 3.4).
const PREFACE_BYTES: u64 = 24 + 9;

/// The notes about one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests that were begun, from 0 on.
    requests: AtomicU64,
    /// Requests whose response body still exists.
    in_flight: AtomicU32,
    /// Response bodies that have given a frame and were not asked for the next one.
    waiting_for_client: AtomicU32,
    /// Frames that response bodies have given.
    frames: AtomicU64,
    /// When the last request ended, or the connection began. Monotonic nanoseconds.
    idle_since: AtomicU64,
    /// Bytes were read, and no request is in flight that they belong to: of a head, or of content behind an early answer.
    head_bytes: AtomicBool,
    /// The bytes that were read last end in the middle of a head.
    pub(super) in_head: AtomicBool,
    /// Heads that were read to their end.
    pub(super) heads: AtomicU64,
    /// A request has ended, and what of its response waits to be written has not been flushed since.
    unflushed: AtomicBool,
    /// hyper has asked for more than a whole request, and nothing of another was there.
    pub(super) waits_for_head: AtomicBool,
    /// The last request announced a body.
    last_had_body: AtomicBool,
    /// The last request was of a version that knows no framing but the end of the connection.
    last_was_http10: AtomicBool,
    /// The connection takes no further HTTP/1.1 request after the ones in flight.
    leaving: AtomicBool,
    /// Bytes read so far; not counted beyond the length of an HTTP/2 preface.
    first_bytes: AtomicU64,
    /// Writes that made progress.
    writes: AtomicU64,
    /// Bytes that they have written.
    written: AtomicU64,
    /// The last write made none.
    pub(super) write_blocked: AtomicBool,
    /// The peer has closed its side, or the network has failed.
    pub(super) ended: AtomicBool,
    /// What HTTP/2 frames without content may still be read.
    pub(super) allowance: Allowance,
    /// There were more of them.
    pub(super) flooded: AtomicBool,
    /// The place in [`LastWords::ALL`] of what h2 has said it has had enough of; beyond it without.
    last_words: AtomicU8,
    /// hyper has refused a head, and its answer was kept back, because ours says more.
    speechless: AtomicBool,
    /// The number of the request, from 1 on, whose framing is doubtful, and why.
    pub(super) doubt: OnceLock<(u64, Doubt)>,
    /// Streams that have left HTTP. They are in flight, and never wait for the client as a response does.
    tunnels: AtomicU32,
    /// What goes on with an HTTP/1.1 connection that has left HTTP.
    takeover: Mutex<Option<Takeover>>,
}

impl Activity {
    /// Notes about a connection that began at `opened`, in monotonic nanoseconds.
    pub(super) fn new(opened: u64) -> Self {
        Self {
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            waiting_for_client: AtomicU32::new(0),
            frames: AtomicU64::new(0),
            idle_since: AtomicU64::new(opened),
            head_bytes: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            heads: AtomicU64::new(0),
            unflushed: AtomicBool::new(false),
            waits_for_head: AtomicBool::new(false),
            last_had_body: AtomicBool::new(false),
            last_was_http10: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            first_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            allowance: Allowance::new(opened),
            flooded: AtomicBool::new(false),
            last_words: AtomicU8::new(u8::MAX),
            speechless: AtomicBool::new(false),
            doubt: OnceLock::new(),
            tunnels: AtomicU32::new(0),
            takeover: Mutex::new(None),
        }
    }

    /// What goes on with this HTTP/1.1 connection, if it has left HTTP.
    pub(super) fn takeover(&self) -> Option<Takeover> {
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    pub(super) fn idle_since(&self) -> u64 {
        self.idle_since.load(Relaxed)
    }

    pub(super) fn has_head_bytes(&self) -> bool {
        self.head_bytes.load(Relaxed)
    }

    /// Whether an HTTP/1.1 connection that is not busy has had requests, and hyper has all of them behind it: none of their
    /// content waits for somebody to take it.
    pub(super) fn is_between_requests(&self) -> bool {
        self.requests() > 0 && self.waits_for_head.load(Relaxed) && !self.has_head_bytes()
    }

    /// Whether bytes read since the last request can only belong to a new head. After a request with a body they may
    /// be the rest of it, if the response came early.
    pub(super) fn head_is_certain(&self) -> bool {
        self.has_head_bytes() && !self.last_had_body.load(Relaxed)
    }

    /// Whether only a reset can tell the client that a response was cut (RFC 9112, section 8).
    pub(super) fn cut_needs_reset(&self) -> bool {
        self.last_was_http10.load(Relaxed)
    }

    /// From now on each HTTP/1.1 response says that it is the last.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(super) fn preface_is_complete(&self) -> bool {
        self.first_bytes.load(Relaxed) >= PREFACE_BYTES
    }

    /// Whether anything at all was read.
    pub(super) fn has_spoken(&self) -> bool {
        self.first_bytes.load(Relaxed) > 0
    }

    /// If the peer does not take our bytes: how many writes made progress before that.
    pub(super) fn blocked_after_writes(&self) -> Option<u64> {
        self.write_blocked.load(Relaxed).then(|| self.writes.load(Relaxed))
    }

    /// Bytes that were written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// If all responses wait for the client to take a frame: how many frames were given before that.
    pub(super) fn stalled_after_frames(&self) -> Option<u64> {
        let waiting = self.waiting_for_client.load(Relaxed);
        let responses = self.in_flight.load(Relaxed).wrapping_sub(self.tunnels.load(Relaxed));
        (waiting > 0 && waiting == responses).then(|| self.frames.load(Relaxed))
    }

    /// A response has given a frame, or the client has made room for a piece of what goes through a tunnel.
    pub(super) fn gave_part(&self) {
        self.frames.fetch_add(1, Relaxed);
        self.allowance.part();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Whether bytes were kept from hyper.
    pub(super) fn has_doubt(&self) -> bool {
        self.doubt.get().is_some()
    }

    /// Whether it was ended because the client sent too much that asks for nothing.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    /// What h2 has said it has had enough of, if it has.
    pub(super) fn last_words(&self) -> Option<LastWords> {
        LastWords::ALL.get(usize::from(self.last_words.load(Relaxed))).copied()
    }

    /// Notes what h2 says in the GOAWAY that these bytes may end with.
    pub(super) fn listen_for_last_words(&self, bytes: &[u8]) {
        if matches!(bytes.last(), Some(b's' | b'e'))
            && let Some(words) = LastWords::at_the_end_of(bytes)
        {
            self.last_words.store(words as u8, Relaxed);
        }
    }

    /// Whether hyper has refused a head and the client has heard nothing of it.
    pub(super) fn is_speechless(&self) -> bool {
        self.speechless.load(Relaxed)
    }

    /// Keeps back what hyper says by itself of a head that it has refused. Says whether these bytes are that, and surely
    /// not the rest of a response: a part of a head has come, and all responses have been flushed.
    pub(super) fn keeps_back(&self, bytes: &[u8]) -> bool {
        let all_is_written = !self.write_blocked.load(Relaxed) && !self.unflushed.load(Relaxed);
        let kept_back = !self.is_busy() && self.has_head_bytes() && all_is_written && is_bare_refusal(bytes);
        if kept_back {
            self.speechless.store(true, Relaxed);
        }
        kept_back
    }

    /// What is doubtful about the framing of the request that was begun last.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.doubt.get().filter(|(request, _)| *request == self.requests()).map(|(_, doubt)| *doubt)
    }

    /// Bytes were read; `is_empty` says that they are empty lines and nothing else.
    pub(super) fn add_read(&self, bytes: usize, is_empty: bool) {
        let before = self.first_bytes.load(Relaxed);
        if before < PREFACE_BYTES {
            self.first_bytes.store(before.saturating_add(bytes as u64), Relaxed);
        }
        if !self.is_busy() && !is_empty {
            self.head_bytes.store(true, Relaxed);
        }
    }

    pub(super) fn add_write(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.written.store(self.written.load(Relaxed).wrapping_add(*bytes as u64), Relaxed);
                self.writes.store(self.writes.load(Relaxed).wrapping_add(1), Relaxed);
                self.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => self.ended.store(true, Relaxed),
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }

    pub(super) fn add_flush(&self, result: &Poll<io::Result<()>>) {
        match result {
            Poll::Ready(Ok(())) => {
                self.write_blocked.store(false, Relaxed);
                self.unflushed.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => self.ended.store(true, Relaxed),
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }
}

/// A request that is being answered, from the call of the service to the end of the response body.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    is_http1: bool,
    waits_for_client: bool,
    is_tunnel: bool,
}

impl InFlight {
    pub(super) fn begin(activity: &Arc<Activity>, version: Version, has_body: bool) -> Self {
        activity.requests.store(activity.requests.load(Relaxed).wrapping_add(1), Relaxed);
        activity.in_flight.fetch_add(1, Relaxed);
        activity.allowance.request();
        activity.head_bytes.store(false, Relaxed);
        activity.last_had_body.store(has_body, Relaxed);
        activity.last_was_http10.store(version < Version::HTTP_11, Relaxed);
        Self {
            activity: Arc::clone(activity),
            is_http1: version < Version::HTTP_2,
            waits_for_client: false,
            is_tunnel: false,
        }
    }

    /// Leaves the connection to `takeover` once HTTP is done with it.
    pub(super) fn give_over(&self, takeover: Takeover) {
        *self.activity.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    /// From now on it is a stream that has left HTTP.
    pub(super) fn of_tunnel(mut self) -> Self {
        self.asked_for_frame();
        self.activity.tunnels.fetch_add(1, Relaxed);
        self.is_tunnel = true;
        self
    }

    /// The same stream, with what is sent on it earning what parts of a response do.
    pub(super) fn earns_by<T>(&self, stream: T) -> Earning<T> {
        Earning::new(stream, Arc::clone(&self.activity))
    }

    /// Whether its response must say that no other will follow on this connection.
    pub(super) fn is_last(&self) -> bool {
        self.is_http1 && (self.activity.leaving.load(Relaxed) || self.activity.doubt().is_some())
    }

    /// The response body is asked for a frame: the client has taken what was there.
    pub(super) fn asked_for_frame(&mut self) {
        if self.waits_for_client {
            self.waits_for_client = false;
            self.activity.waiting_for_client.fetch_sub(1, Relaxed);
        }
    }

    /// The response body has given a frame. Now the client must take it.
    pub(super) fn gave_frame(&mut self) {
        self.activity.gave_part();
        if !self.waits_for_client {
            self.waits_for_client = true;
            self.activity.waiting_for_client.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.asked_for_frame();
        if self.is_tunnel {
            self.activity.tunnels.fetch_sub(1, Relaxed);
        }
        if self.activity.in_flight.fetch_sub(1, Relaxed) == 1 {
            // A head may have come while the request was in flight, or a part of one.
            let activity = &self.activity;
            let waits = activity.in_head.load(Relaxed) || activity.heads.load(Relaxed) > activity.requests();
            activity.head_bytes.store(waits, Relaxed);
            activity.unflushed.store(true, Relaxed);
            self.activity.idle_since.store(monotonic_ns(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::framing::Framing;
    use crate::listener::watched::Watched;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let activity = Arc::new(Activity::new(7));
        assert_eq!((activity.is_busy(), activity.idle_since()), (false, 7));
        let first = InFlight::begin(&activity, Version::HTTP_11, false);
        let second = InFlight::begin(&activity, Version::HTTP_11, true);
        drop(first);
        assert_eq!((activity.is_busy(), activity.idle_since(), activity.requests()), (true, 7, 2));
        drop(second);
        assert!(!activity.is_busy());
        assert!(activity.idle_since() > 7);
    }

    #[tokio::test]
    async fn a_connection_is_stalled_when_every_response_waits_for_the_client() {
        let activity = Arc::new(Activity::new(0));
        let mut first = InFlight::begin(&activity, Version::HTTP_11, false);
        let mut second = InFlight::begin(&activity, Version::HTTP_11, false);
        first.gave_frame();
        assert_eq!(activity.stalled_after_frames(), None);
        second.gave_frame();
        assert_eq!(activity.stalled_after_frames(), Some(2));
        second.asked_for_frame();
        assert_eq!(activity.stalled_after_frames(), None);
        drop(second);
        assert_eq!(activity.stalled_after_frames(), Some(2));
        // What a tunnel beside it sends counts as progress.
        let tunnel = InFlight::begin(&activity, Version::HTTP_2, false).of_tunnel();
        tunnel.earns_by(tokio::io::sink()).write_all(b"message").await.unwrap();
        assert_eq!(activity.stalled_after_frames(), Some(3));
        drop(first);
        assert_eq!(activity.stalled_after_frames(), None);
    }

    #[tokio::test]
    async fn reads_between_requests_are_a_head_and_reads_within_are_not() {
        let activity = Arc::new(Activity::new(0));
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Watched::new(server, Arc::clone(&activity), Framing::new());

        client.write_all(b"GET").await.unwrap();
        server.read_exact(&mut [0; 3]).await.unwrap();
        assert!(activity.has_head_bytes() && activity.head_is_certain());

        let request = InFlight::begin(&activity, Version::HTTP_11, true);
        assert!(!activity.has_head_bytes());
        client.write_all(b"body").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        assert!(!activity.has_head_bytes());
        drop(request);

        client.write_all(b"more").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        assert!(activity.has_head_bytes() && !activity.head_is_certain());

        assert!(!activity.has_ended());
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(activity.has_ended());
    }

    #[tokio::test]
    async fn a_full_peer_blocks_and_a_reading_one_does_not() {
        let activity = Arc::new(Activity::new(0));
        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Watched::new(server, Arc::clone(&activity), Framing::new());

        server.write_all(&[0; 8]).await.unwrap();
        assert_eq!(activity.blocked_after_writes(), None);
        let blocked = tokio::time::timeout(std::time::Duration::from_millis(1), server.write_all(&[0; 1]));
        assert!(blocked.await.is_err());
        assert_eq!(activity.blocked_after_writes(), Some(1));
        client.read_exact(&mut [0; 8]).await.unwrap();
        server.write_all(&[0; 1]).await.unwrap();
        assert_eq!(activity.blocked_after_writes(), None);
    }
}
