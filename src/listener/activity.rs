//! What happens on a connection, noted down where it happens.
//!
//! hyper hides its state, so we watch it from three sides: the bytes below it ([`Watched`]), the calls of the service
//! above it, and the end of each response body. The notes are a few numbers that the [`watchdog`](super::watchdog) reads
//! when hyper has nothing more to do. Taking them costs plain loads and stores; the clock is read once for a request,
//! when the connection becomes idle.
//!
//! The numbers are atomic because HTTP/2 streams are tasks of their own. All tasks of a connection run on one thread,
//! so no ordering between the numbers is asked for.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Closed, Doubt, Framing};
use super::takeover::Takeover;
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
    /// Bytes were read while no request was in flight.
    head_bytes: AtomicBool,
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
    /// The last write made none.
    write_blocked: AtomicBool,
    /// The peer has closed its side, or the network has failed.
    ended: AtomicBool,
    /// Streams that have left HTTP. They are in flight, and never wait for the client as a response does.
    tunnels: AtomicU32,
    /// What goes on with an HTTP/1.1 connection that has left HTTP.
    takeover: Mutex<Option<Takeover>>,
    /// The number of the request, from 1 on, whose framing is doubtful, and why.
    doubt: OnceLock<(u64, Doubt)>,
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
            last_had_body: AtomicBool::new(false),
            last_was_http10: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            first_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            tunnels: AtomicU32::new(0),
            takeover: Mutex::new(None),
            doubt: OnceLock::new(),
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

    /// If all responses wait for the client to take a frame: how many frames were given before that.
    pub(super) fn stalled_after_frames(&self) -> Option<u64> {
        let waiting = self.waiting_for_client.load(Relaxed);
        let responses = self.in_flight.load(Relaxed).wrapping_sub(self.tunnels.load(Relaxed));
        (waiting > 0 && waiting == responses).then(|| self.frames.load(Relaxed))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Whether bytes were kept from hyper.
    pub(super) fn has_doubt(&self) -> bool {
        self.doubt.get().is_some()
    }

    /// What is doubtful about the framing of the request that was begun last.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.doubt.get().filter(|(request, _)| *request == self.requests()).map(|(_, doubt)| *doubt)
    }

    fn add_read(&self, bytes: usize) {
        let before = self.first_bytes.load(Relaxed);
        if before < PREFACE_BYTES {
            self.first_bytes.store(before.saturating_add(bytes as u64), Relaxed);
        }
        if !self.is_busy() {
            self.head_bytes.store(true, Relaxed);
        }
    }

    fn add_write(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(_)) => {
                self.writes.store(self.writes.load(Relaxed).wrapping_add(1), Relaxed);
                self.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => self.ended.store(true, Relaxed),
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }

    fn add_flush(&self, result: &Poll<io::Result<()>>) {
        match result {
            Poll::Ready(Ok(())) => self.write_blocked.store(false, Relaxed),
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
        self.activity.frames.fetch_add(1, Relaxed);
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
            self.activity.head_bytes.store(false, Relaxed);
            self.activity.idle_since.store(monotonic_ns(), Relaxed);
        }
    }
}

/// A stream whose reads and writes are noted.
#[derive(Debug)]
pub(super) struct Watched<T> {
    wire: T,
    activity: Arc<Activity>,
    framing: Framing,
}

impl<T> Watched<T> {
    pub(super) const fn new(wire: T, activity: Arc<Activity>, framing: Framing) -> Self {
        Self { wire, activity, framing }
    }

    /// Looks at what was read. Behind a doubt there is nothing for hyper.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some((doubt, good)) = self.framing.look(&buffer.filled()[before..]) else { return Ok(()) };
        let _ = self.activity.doubt.set((self.framing.request(), doubt));
        buffer.set_filled(before + good);
        // Nothing read would say that the client has ended.
        if good == 0 { Err(broken()) } else { Ok(()) }
    }

    pub(super) fn into_inner(self) -> T {
        self.wire
    }
}

/// What hyper reads where the framing of content is doubtful.
fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.framing.closed() {
            None => {}
            // The refusal ends the connection; nobody has to be woken for more.
            Some(Closed::Silent) => return Poll::Pending,
            Some(Closed::Broken) => return Poll::Ready(Err(broken())),
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.wire).poll_read(context, buffer);
        match &result {
            Poll::Ready(Ok(())) => match buffer.filled().len() - before {
                0 if buffer.remaining() > 0 => self.activity.ended.store(true, Relaxed),
                0 => {}
                bytes => {
                    self.activity.add_read(bytes);
                    return Poll::Ready(self.look(buffer, before));
                }
            },
            Poll::Ready(Err(_)) => self.activity.ended.store(true, Relaxed),
            Poll::Pending => {}
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.wire).poll_write(context, bytes);
        self.activity.add_write(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.wire).poll_write_vectored(context, slices);
        self.activity.add_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.wire).poll_flush(context);
        self.activity.add_flush(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.wire).poll_shutdown(context);
        self.activity.add_flush(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_connection_is_stalled_when_every_response_waits_for_the_client() {
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
