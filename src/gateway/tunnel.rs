//! What goes on after HTTP: bytes both ways, until one of the ends has had enough.
//!
//! Nothing of it is looked at. Each direction holds one piece at most, and only while the other end does not take it:
//! a tunnel in which nothing moves holds no buffer, and an end that does not read stops the other one from sending.
//! When one end has said its last, the other is told and may still speak.
//!
//! A tunnel ends when both have said their last or one is gone; when nothing has moved for too long; when the client
//! does not take what is sent to it; and when the request that it began with would not be let through any more.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::claim::Claim;
use super::record::Record;
use super::upstream::Switched;
use crate::listener::GivenOver;
use crate::moment::Moment;
use crate::telemetry::metrics::{Shard, TunnelEnd, TunnelSide};

/// Bytes that are read at once: what fits into one record of TLS (RFC 8446, section 5.1). It is also what a direction
/// holds at most.
const PIECE_BYTES: usize = 16 * 1024;

/// How often a tunnel is held against what is in force: so long may it outlive its key.
const CLAIM_EVERY: Duration = Duration::from_secs(2);

/// How long nothing may move once one end has said its last, if the operator allows more in general.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);

/// How long an end may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a tunnel may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelTimeouts {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Without the client taking a byte of what it is sent.
    pub write: Duration,
}

/// A tunnel whose client has still to be told of it.
pub struct Tunnel {
    upstream: Switched,
    claim: Claim,
    timeouts: TunnelTimeouts,
    record: Option<Box<Record>>,
}

impl Tunnel {
    /// Leads to `upstream` for as long as `claim` holds.
    #[must_use]
    pub const fn new(upstream: Switched, claim: Claim, timeouts: TunnelTimeouts) -> Self {
        Self { upstream, claim, timeouts, record: None }
    }

    /// Hands over the record, to be written when the tunnel ends.
    pub fn carry(&mut self, mut record: Box<Record>) {
        record.tunnels();
        self.record = Some(record);
    }

    /// Carries bytes between the client and the upstream, to the end of the tunnel.
    pub async fn run(self, client: GivenOver) {
        let Self { upstream, claim, timeouts, record } = self;
        // Only a response is asked to take over, and it carries its record by then.
        let Some(record) = record else { return };
        let mut counted = Counted::new(record);
        let GivenOver { stream: mut client, early } = client;
        let Switched { stream: mut upstream, early: answered } = upstream;

        let mut pump = Pump::new(early, answered, timeouts, &claim);
        let mut alarm = pin!(sleep(pump.next_look()));
        let end = poll_fn(|cx| pump.poll(cx, &mut client, &mut upstream, alarm.as_mut(), &mut counted)).await;
        counted.end = end;
        // Who hears of the end finds it counted.
        drop(counted);
        if matches!(end, TunnelEnd::Idle | TunnelEnd::Stalled | TunnelEnd::Forbidden) {
            // Both hear an end, not a failure. Whoever does not take it is cut off.
            let farewell = async { tokio::join!(client.shutdown(), upstream.shutdown()) };
            let _ended = timeout(FAREWELL, farewell).await;
        }
    }
}

/// Counts a tunnel from its beginning to its end, however it ends.
struct Counted {
    shard: Arc<Shard>,
    record: Box<Record>,
    end: TunnelEnd,
}

impl Counted {
    fn new(record: Box<Record>) -> Self {
        let shard = Arc::clone(&record.desk().shard);
        shard.tunnel_opened();
        Self { shard, record, end: TunnelEnd::Cut }
    }

    fn moved(&mut self, side: TunnelSide, bytes: usize) {
        let bytes = bytes as u64;
        self.shard.tunnel_moved(side, bytes);
        self.record.moved(side, bytes);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shard.tunnel_ended(self.end);
    }
}

/// Both directions, and what they must not do.
struct Pump<'c> {
    up: Direction,
    down: Direction,
    timeouts: TunnelTimeouts,
    claim: &'c Claim,
    moved_at: Instant,
    claim_due: Instant,
    /// Since when the client has not taken what there is for it.
    stuck_since: Option<Instant>,
}

impl<'c> Pump<'c> {
    fn new(early: Bytes, answered: Bytes, timeouts: TunnelTimeouts, claim: &'c Claim) -> Self {
        let now = Instant::now();
        Self {
            up: Direction::new(early, TunnelSide::Client),
            down: Direction::new(answered, TunnelSide::Upstream),
            timeouts,
            claim,
            moved_at: now,
            claim_due: now + CLAIM_EVERY,
            stuck_since: None,
        }
    }

    fn poll<C, U>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        upstream: &mut U,
        mut alarm: Pin<&mut Sleep>,
        counted: &mut Counted,
    ) -> Poll<TunnelEnd>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let before = (self.up.moves, self.down.moves);
        self.up.poll(cx, client, upstream, counted);
        self.down.poll(cx, upstream, client, counted);
        if let Some(end) = self.ended() {
            return Poll::Ready(end);
        }
        if before != (self.up.moves, self.down.moves) {
            self.moved_at = Instant::now();
        }
        if before.1 != self.down.moves || !self.down.is_stuck() {
            self.stuck_since = None;
        }
        if self.down.is_stuck() && self.stuck_since.is_none() {
            self.stuck_since = Some(Instant::now());
            let due = Instant::now() + self.next_look();
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if let Some(end) = self.overdue(Instant::now()) {
                return Poll::Ready(end);
            }
            // An end that was reset is only noticed by who writes to it.
            if matches!(Pin::new(&mut *client).poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(TunnelEnd::Broken);
            }
            let wait = self.next_look();
            alarm.as_mut().reset(Instant::now() + wait);
        }
        Poll::Pending
    }

    /// How the tunnel has ended, if it has. Where one direction has failed, what the other one has on its way is still
    /// delivered: an end that says its last word and goes makes the other's next word fail.
    fn ended(&self) -> Option<TunnelEnd> {
        match (self.up.stage, self.down.stage) {
            (Stage::Over, Stage::Over) => Some(TunnelEnd::Closed),
            (Stage::Failed, Stage::Over | Stage::Failed) | (Stage::Over, Stage::Failed) => Some(TunnelEnd::Broken),
            (Stage::Failed, Stage::Open | Stage::Last) => (!self.down.is_stuck()).then_some(TunnelEnd::Broken),
            (Stage::Open | Stage::Last, Stage::Failed) => (!self.up.is_stuck()).then_some(TunnelEnd::Broken),
            (Stage::Open | Stage::Last | Stage::Over, _) => None,
        }
    }

    /// How long nothing may move now.
    fn idle_max(&self) -> Duration {
        match (self.up.stage, self.down.stage) {
            (Stage::Open, Stage::Open) => self.timeouts.idle,
            (Stage::Failed, _) | (_, Stage::Failed) => FAREWELL,
            (Stage::Last | Stage::Over, _) | (_, Stage::Last | Stage::Over) => self.timeouts.idle.min(HALF_CLOSED_MAX),
        }
    }

    /// Why the tunnel has to end now, if it has to.
    fn overdue(&mut self, now: Instant) -> Option<TunnelEnd> {
        if now.duration_since(self.moved_at) >= self.idle_max() {
            let failed = [self.up.stage, self.down.stage].contains(&Stage::Failed);
            return Some(if failed { TunnelEnd::Broken } else { TunnelEnd::Idle });
        }
        if self.stuck_since.is_some_and(|since| now.duration_since(since) >= self.timeouts.write) {
            return Some(TunnelEnd::Stalled);
        }
        if now >= self.claim_due {
            self.claim_due = now + CLAIM_EVERY;
            if let Err(rejection) = self.claim.check(Moment::now()) {
                tracing::debug!(reason = rejection.row().reason.word(), "a tunnel is not permitted any more");
                return Some(TunnelEnd::Forbidden);
            }
        }
        None
    }

    /// Until something may be due.
    fn next_look(&self) -> Duration {
        let now = Instant::now();
        let idle = (self.moved_at + self.idle_max()).duration_since(now);
        let stuck = self.stuck_since.map(|since| (since + self.timeouts.write).duration_since(now));
        idle.min(self.claim_due.duration_since(now)).min(stuck.unwrap_or(Duration::MAX))
    }
}

/// One direction.
struct Direction {
    from: TunnelSide,
    /// What was read and not taken yet.
    held: Bytes,
    /// Pieces that were read or taken.
    moves: u64,
    unflushed: bool,
    stage: Stage,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There may be more.
    Open,
    /// Whoever it comes from has said its last; whoever it goes to has not been told yet.
    Last,
    /// Both know.
    Over,
    /// Nothing can move here any more.
    Failed,
}

impl Direction {
    const fn new(held: Bytes, from: TunnelSide) -> Self {
        Self { from, held, moves: 0, unflushed: false, stage: Stage::Open }
    }

    /// Whether something waits to be taken.
    fn is_stuck(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Last) && (!self.held.is_empty() || self.unflushed)
    }

    /// Moves what can be moved.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W, counted: &mut Counted)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if matches!(self.stage, Stage::Open | Stage::Last)
            && let Poll::Ready(result) = self.carry(cx, reader, writer, counted)
        {
            self.moves += 1;
            self.stage = if result.is_ok() { Stage::Over } else { Stage::Failed };
        }
    }

    /// Ready when there will be nothing more.
    fn carry<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        counted: &mut Counted,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.held.is_empty() {
                let taken = ready!(Pin::new(&mut *writer).poll_write(cx, &self.held))?;
                self.took(taken, counted)?;
                self.held.advance(taken);
            }
            if self.stage == Stage::Last {
                return Pin::new(&mut *writer).poll_shutdown(cx);
            }
            let mut space = [const { MaybeUninit::uninit() }; PIECE_BYTES];
            let mut piece = ReadBuf::uninit(&mut space);
            if Pin::new(&mut *reader).poll_read(cx, &mut piece)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            self.moves += 1;
            let mut piece = piece.filled();
            if piece.is_empty() {
                self.stage = Stage::Last;
            }
            while !piece.is_empty() {
                match Pin::new(&mut *writer).poll_write(cx, piece)? {
                    Poll::Ready(taken) => {
                        self.took(taken, counted)?;
                        piece = &piece[taken..];
                    }
                    Poll::Pending => {
                        self.held = Bytes::copy_from_slice(piece);
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn took(&mut self, taken: usize, counted: &mut Counted) -> io::Result<()> {
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.moves += 1;
        self.unflushed = true;
        counted.moved(self.from, taken);
        Ok(())
    }
}
