//! Write coalescing: what the connections of a worker write in one round leaves together at its end.
//!
//! A worker polls all tasks that are ready, one after the other, and then waits for its sockets. A task that writes at
//! once wakes the peer at once: on the same machine that costs the writer an interrupt to another core for nearly every
//! write, and the peer a sleep and a wake-up. So a [`CoalescedStream`] holds small writes back, and the task made by
//! [`run_rounds`], which is woken by the first of them and therefore runs behind all tasks that are ready already, makes
//! them. By then the peer is awake and finds several things to do.
//!
//! Held back are at most [`HELD_BYTES_MAX`] of a connection, and only until the round ends. What is larger, what a peer
//! does not take, and what is written on a thread without [`run_rounds`] goes to the socket at once, with the
//! backpressure of any socket. A write that was held back and failed is told by the next write or flush.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that one connection holds back at most.
const HELD_BYTES_MAX: usize = 16 * 1024;

/// Empty buffers that a worker keeps for the next round.
const SPARE_BUFFERS_MAX: usize = 64;

/// Larger buffers are given up.
const SPARE_BYTES_MAX: usize = 4 * 1024;

thread_local! {
    static ROUND: Round = const { Round::new() };
}

/// What the connections of this thread have written since the last round.
struct Round {
    /// Whether [`run_rounds`] runs here.
    running: Cell<bool>,
    /// Wakes it.
    waker: RefCell<Option<Waker>>,
    written: RefCell<Vec<Arc<Mutex<Outgoing>>>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Round {
    const fn new() -> Self {
        Self {
            running: Cell::new(false),
            waker: RefCell::new(None),
            written: RefCell::new(Vec::new()),
            spare: RefCell::new(Vec::new()),
        }
    }

    fn add(&self, outgoing: &Arc<Mutex<Outgoing>>) {
        let mut written = self.written.borrow_mut();
        written.push(Arc::clone(outgoing));
        if written.len() == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Makes all writes that were held back.
    fn end(&self) {
        let mut written = self.written.take();
        for outgoing in written.drain(..) {
            lock(&outgoing).end_round(self);
        }
        // The list is worth keeping, and nothing was added meanwhile.
        self.written.replace(written);
    }

    fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn keep(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX && (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Ends each round of this thread's runtime, until it is dropped. Makes what is still held back then.
///
/// To be spawned once on a runtime of one thread.
pub async fn run_rounds() {
    let _running = Running::begin();
    poll_fn(|context| {
        ROUND.with(|round| {
            let mut waker = round.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            drop(waker);
            round.end();
        });
        Poll::<()>::Pending
    })
    .await;
}

/// Makes at once what the connections of this thread hold back.
pub fn end_round() {
    ROUND.with(Round::end);
}

struct Running;

impl Running {
    fn begin() -> Self {
        ROUND.with(|round| round.running.set(true));
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        ROUND.with(|round| {
            round.running.set(false);
            round.waker.take();
            round.end();
        });
    }
}

/// The sending side of a connection.
#[derive(Debug)]
struct Outgoing {
    /// `None` only while it is dropped.
    half: Option<OwnedWriteHalf>,
    held: Vec<u8>,
    /// Bytes of `held` that the peer has taken already.
    sent: usize,
    /// It stands in the list of the round.
    listed: bool,
    /// The peer does not take more. What is held waits for the owner, who was woken.
    blocked: bool,
    failed: Option<io::Error>,
    owner: Option<Waker>,
}

/// A panic cannot leave it half-changed in a way that harms: at worst a connection sends nothing more.
fn lock(outgoing: &Mutex<Outgoing>) -> MutexGuard<'_, Outgoing> {
    outgoing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outgoing {
    fn half(&mut self) -> io::Result<&mut OwnedWriteHalf> {
        self.half.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn is_empty(&self) -> bool {
        self.sent == self.held.len()
    }

    /// Writes what the socket takes, at the end of a round.
    fn end_round(&mut self, round: &Round) {
        self.listed = false;
        while !self.is_empty() && !self.blocked {
            let written = match &self.half {
                Some(half) => half.try_write(&self.held[self.sent..]),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            // A socket that takes nothing and says nothing would keep the worker here for ever.
            match written.and_then(|bytes| if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(bytes) }) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.blocked = true;
                    } else {
                        self.failed = Some(error);
                        self.sent = self.held.len();
                    }
                    if let Some(owner) = self.owner.take() {
                        owner.wake();
                    }
                }
            }
        }
        if self.is_empty() {
            self.sent = 0;
            round.keep(std::mem::take(&mut self.held));
        }
    }

    /// Writes all that is held, at the pace of the peer.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while !self.is_empty() {
            self.blocked = true;
            let Self { half: Some(half), held, sent, .. } = self else { break };
            match ready!(Pin::new(half).poll_write(context, &held[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => *sent += bytes,
            }
        }
        self.blocked = false;
        self.sent = 0;
        self.held = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Whether `bytes` more may be held back.
    fn has_room(&self, bytes: usize) -> bool {
        !self.blocked
            && self.failed.is_none()
            && self.held.len() + bytes <= HELD_BYTES_MAX
            && ROUND.with(|round| round.running.get())
    }

    /// Holds `parts` back.
    fn hold(&mut self, context: &Context<'_>, parts: &[IoSlice<'_>]) {
        if self.held.capacity() == 0 {
            self.held = ROUND.with(Round::buffer);
        }
        for part in parts {
            self.held.extend_from_slice(part);
        }
        if !self.owner.as_ref().is_some_and(|owner| owner.will_wake(context.waker())) {
            self.owner = Some(context.waker().clone());
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Its own drop would say that nothing more comes, also where a connection is to be cut.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

/// A TCP stream whose small writes wait for the end of the round.
#[derive(Debug)]
pub struct CoalescedStream {
    incoming: OwnedReadHalf,
    outgoing: Arc<Mutex<Outgoing>>,
}

impl CoalescedStream {
    /// Takes over a stream.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let (incoming, half) = stream.into_split();
        let outgoing = Outgoing {
            half: Some(half),
            held: Vec::new(),
            sent: 0,
            listed: false,
            blocked: false,
            failed: None,
            owner: None,
        };
        Self { incoming, outgoing: Arc::new(Mutex::new(outgoing)) }
    }

    /// The stream below, to ask and to set options. What is written to it overtakes what is held back.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.incoming.as_ref()
    }

    fn poll_write_parts(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut outgoing = lock(&self.outgoing);
        if outgoing.has_room(bytes) {
            outgoing.hold(context, parts);
            if !outgoing.listed {
                outgoing.listed = true;
                drop(outgoing);
                ROUND.with(|round| round.add(&self.outgoing));
            }
            return Poll::Ready(Ok(bytes));
        }
        ready!(outgoing.poll_drain(context))?;
        Pin::new(outgoing.half()?).poll_write_vectored(context, parts)
    }
}

impl AsyncRead for CoalescedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(context, buffer)
    }
}

impl AsyncWrite for CoalescedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_parts(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is held back counts as flushed: it leaves when the round ends, whatever its owner does.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.blocked || outgoing.failed.is_some() { outgoing.poll_drain(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = lock(&self.outgoing);
        ready!(outgoing.poll_drain(context))?;
        Pin::new(outgoing.half()?).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (CoalescedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (CoalescedStream::new(listener.accept().await.unwrap().0), client)
    }

    fn received(client: &TcpStream) -> Option<usize> {
        match client.try_read(&mut [0; 64]) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Longer than a round, which is over when all ready tasks have run.
    async fn several_rounds() {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn writes_of_one_round_leave_together_at_its_end() {
        let rounds = tokio::spawn(run_rounds());
        let (mut ours, mut theirs) = pair().await;
        several_rounds().await;
        ours.write_all(b"one ").await.unwrap();
        ours.write_all(b"two").await.unwrap();
        ours.flush().await.unwrap();
        assert_eq!(lock(&ours.outgoing).held, b"one two", "nothing has left yet");
        several_rounds().await;
        assert!(lock(&ours.outgoing).held.is_empty());
        let mut text = [0; 7];
        theirs.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"one two");
        rounds.abort();
    }

    #[tokio::test]
    async fn without_rounds_every_write_leaves_at_once() {
        let (mut ours, mut theirs) = pair().await;
        ours.write_all(b"now").await.unwrap();
        assert!(lock(&ours.outgoing).held.is_empty());
        assert_eq!(theirs.read(&mut [0; 64]).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_is_held_back_leaves_when_the_stream_is_dropped_or_the_rounds_end() {
        let rounds = tokio::spawn(run_rounds());
        several_rounds().await;
        let (mut dropped, mut first) = pair().await;
        let (mut kept, second) = pair().await;
        dropped.write_all(b"last words").await.unwrap();
        kept.write_all(b"and these").await.unwrap();
        drop(dropped);
        rounds.abort();
        assert!(rounds.await.is_err());
        let mut text = String::new();
        first.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
        second.readable().await.unwrap();
        assert_eq!(received(&second), Some(9));
    }

    #[tokio::test]
    async fn shutdown_comes_behind_what_is_held_back() {
        let _rounds = tokio::spawn(run_rounds());
        several_rounds().await;
        let (mut ours, mut theirs) = pair().await;
        ours.write_all(b"bye").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "bye");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer_within_bounds_and_loses_nothing() {
        let _rounds = tokio::spawn(run_rounds());
        several_rounds().await;
        let (mut ours, mut theirs) = pair().await;
        let (mut written, part) = (0_usize, [7; 1000]);
        loop {
            let writing = async {
                ours.write_all(&part).await?;
                ours.flush().await
            };
            match tokio::time::timeout(std::time::Duration::from_millis(100), writing).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            written += part.len();
            assert!(written < 64 << 20, "it never stops");
            several_rounds().await;
        }
        assert!(lock(&ours.outgoing).held.len() <= HELD_BYTES_MAX);
        let reading = async {
            let mut buffer = vec![0; 1 << 16];
            let mut read = 0;
            while read < written {
                read += theirs.read(&mut buffer).await.unwrap();
            }
            read
        };
        let (read, flushed) = tokio::join!(reading, ours.flush());
        flushed.unwrap();
        assert!(read >= written);
    }

    #[tokio::test]
    async fn a_failed_write_is_told_by_the_next() {
        let _rounds = tokio::spawn(run_rounds());
        several_rounds().await;
        let (mut ours, theirs) = pair().await;
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        let mut failed = false;
        for _ in 0..20 {
            failed |= ours.write_all(b"to nobody").await.is_err();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(failed);
    }
}
