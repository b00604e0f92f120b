//! How long a connection may take: polls hyper, and ends what hyper would leave open for ever.
//!
//! hyper has one time limit for HTTP/1.1, which counts a slow request head and an idle connection alike, and none for
//! HTTP/2. So its own is off, and each time hyper has nothing more to do, the [`Watchdog`] reads the
//! [`Activity`](super::activity) of the connection and finds out what it waits for:
//!
//! ```text
//! the client does not take our bytes              write          cut; so is one that takes them too slowly (`pace`)
//! a request is in flight                          no limit here: the road has its own
//! no request yet                                  request_head   408 on HTTP/1.1 if a head has begun, cut otherwise
//! part of a later head has come                   request_head   408 on HTTP/1.1, counted from the first byte
//! nothing: the connection is idle                 idle           closed politely
//! ```
//!
//! An idle HTTP/1.1 connection is taken from hyper after [`REST_AFTER`], because hyper keeps its buffers as long as it has
//! a connection ([`rest`](super::rest)).
//!
//! Where clients are sent elsewhere, responses say so, and an HTTP/2 connection ends after the requests that it has, of
//! which there is one at least. Once a drain has begun, a head and an idle connection have no more than [`DRAIN_GRACE`]
//! left.
//!
//! There is one timer for a connection. It is only ever moved *forward* to an earlier moment when that is necessary; when
//! it fires too early, because something has happened in the meantime, it is set again. A request on a busy
//! connection therefore touches no timer and, apart from its end, no clock. On HTTP/2, whose streams wake nobody when they
//! begin to wait for the client, it fires [`LOOKS`] times in the time of `write` while there are requests.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::drain::{DRAIN_GRACE, DrainWatch};
use super::pace::Pace;
use super::{Settings, Timeouts};
use crate::moment::monotonic_ns;

/// How long a connection that was asked to end politely may take for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a connection is idle before it rests. To go on costs what hyper asks for a connection that is new: a client that
/// asks once a second should not pay for it each time.
pub(super) const REST_AFTER: Duration = Duration::from_millis(1500);

/// The least time between two looks at a connection with a request in flight, in nanoseconds.
const RECHECK_NS: u64 = 1_000_000;

/// How many times an HTTP/2 connection with requests in flight is looked at within the time that a client may take
/// nothing: its streams are tasks of their own, and wake nobody when they begin to wait.
const LOOKS: u64 = 4;

/// What hyper makes of a connection. Both of its protocols are one.
pub(super) trait Conversation: Future<Output = hyper::Result<()>> + Unpin {
    /// HTTP/2 takes new requests while old ones run, and needs no byte from us to know that we are leaving.
    const MULTIPLEXED: bool;

    /// Finishes what is in flight and takes nothing more.
    fn leave(&mut self);
}

/// How a conversation ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// hyper is done.
    Finished {
        /// What hyper says about it.
        result: hyper::Result<()>,
        /// We had asked for it, because the connection was idle.
        idle: bool,
    },
    /// It goes on later: the connection is between two requests, and has been for a while.
    Rests,
    /// The first head was due and no byte of it has come.
    Silent,
    /// A head was due and is not complete.
    HeadTimeout,
    /// The client does not take our bytes, or too slowly.
    WriteTimeout,
    /// The connection was asked to end and does not.
    Overdue,
}

/// What is to be done at the moment that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Rest,
    Leave,
    Silent,
    HeadTimeout,
    WriteTimeout,
    Overdue,
}

/// Watches one connection.
pub(super) struct Watchdog<'c> {
    activity: &'c Activity,
    drain: &'c DrainWatch,
    limits: Limits,
    multiplexed: bool,
    /// When the connection was ready for its first request. All moments are monotonic nanoseconds.
    opened: u64,
    /// When the first byte of an incomplete later head was noticed; 0 without one.
    head_since: u64,
    /// Since when the client takes nothing, and the count of writes or frames at that time.
    stuck: Option<(u64, u64)>,
    /// How fast the client takes what it is sent, and how much it had taken at the last look.
    pace: (Pace, u64),
    /// The timer fires while there is a request in flight.
    looks_often: bool,
    /// It was too slow, and more waits for it.
    is_too_slow: bool,
    /// The client is told that there will be no more.
    is_parting: bool,
    /// When the drain was noticed; 0 before.
    draining_since: u64,
    /// When we asked hyper to end an idle connection; 0 before.
    leaving_since: u64,
    /// When the timer fires; `u64::MAX` if it is not set.
    alarm_at: u64,
    /// Whether the timer knows whom to wake.
    alarm_registered: bool,
}

/// [`Timeouts`] in nanoseconds.
struct Limits {
    request_head: u64,
    idle: u64,
    write: u64,
}

impl<'c> Watchdog<'c> {
    /// A watchdog for a connection that was ready at `opened`, in monotonic nanoseconds.
    pub(super) fn new(activity: &'c Activity, drain: &'c DrainWatch, settings: &Settings, opened: u64) -> Self {
        let timeouts: &Timeouts = &settings.timeouts;
        Self {
            activity,
            drain,
            limits: Limits {
                request_head: nanoseconds(timeouts.request_head),
                idle: nanoseconds(timeouts.idle),
                write: nanoseconds(timeouts.write),
            },
            multiplexed: false,
            opened,
            head_since: 0,
            stuck: None,
            pace: (Pace::new(settings.response_rate_min, timeouts.write), activity.written()),
            looks_often: false,
            is_too_slow: false,
            is_parting: false,
            draining_since: 0,
            leaving_since: 0,
            alarm_at: u64::MAX,
            alarm_registered: false,
        }
    }

    /// Polls `conversation` until it ends, or until it has to be ended.
    ///
    /// To be awaited by a task directly: the timer is registered with the waker of the first poll.
    pub(super) async fn watch<C: Conversation>(mut self, conversation: &mut C) -> Ending {
        self.multiplexed = C::MULTIPLEXED;
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(Instant::now()));
        std::future::poll_fn(|context| self.poll(context, conversation, alarm.as_mut())).await
    }

    fn poll<C: Conversation>(
        &mut self,
        context: &mut Context<'_>,
        conversation: &mut C,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<Ending> {
        loop {
            if !self.is_parting && self.drain.is_parting() {
                self.activity.leave();
                // Who has connected only to be sent away would come back at once, and learn nothing of it.
                self.is_parting = !self.multiplexed || self.activity.requests() > 0;
                if self.is_parting && self.multiplexed {
                    conversation.leave();
                }
            }
            if self.draining_since == 0 && self.drain.is_draining() {
                self.draining_since = monotonic_ns();
                if self.multiplexed || self.activity.is_busy() {
                    conversation.leave();
                }
            }
            if let Poll::Ready(result) = Pin::new(&mut *conversation).poll(context) {
                return Poll::Ready(Ending::Finished { result, idle: self.leaving_since != 0 });
            }
            let (due_at, due) = self.due();
            if due_at < self.alarm_at {
                self.set_alarm(due_at, alarm.as_mut());
            } else if self.multiplexed && due == Due::Nothing && !self.looks_often {
                self.looks_often = true;
                self.set_alarm(self.look_again(monotonic_ns()), alarm.as_mut());
            }
            if !self.has_fired(context, alarm.as_mut()) {
                return Poll::Pending;
            }
            let now = monotonic_ns();
            if now < due_at {
                // Nothing is due after all. With a request in flight look again later, so that nothing depends on
                // being polled when it ends.
                self.looks_often &= due == Due::Nothing;
                self.set_alarm(due_at.min(self.look_again(now)), alarm.as_mut());
                continue;
            }
            match due {
                Due::Rest if now < self.idle_until() => return Poll::Ready(Ending::Rests),
                Due::Rest | Due::Leave => {
                    self.leaving_since = now;
                    self.alarm_at = u64::MAX;
                    conversation.leave();
                }
                Due::Silent => return Poll::Ready(Ending::Silent),
                Due::HeadTimeout => return Poll::Ready(Ending::HeadTimeout),
                Due::WriteTimeout => return Poll::Ready(Ending::WriteTimeout),
                Due::Overdue => return Poll::Ready(Ending::Overdue),
                Due::Nothing => return Poll::Pending,
            }
        }
    }

    /// When to look again at a connection of which nothing is known to be due.
    fn look_again(&self, now: u64) -> u64 {
        let interval =
            if self.looks_often { self.limits.idle.min(self.limits.write / LOOKS) } else { self.limits.idle };
        now.saturating_add(interval.max(RECHECK_NS))
    }

    /// Whether the timer has fired. Polls it only when it must, which is once for each time it is set.
    fn has_fired(&mut self, context: &mut Context<'_>, alarm: Pin<&mut Sleep>) -> bool {
        if self.alarm_at == u64::MAX || (self.alarm_registered && !alarm.is_elapsed()) {
            return false;
        }
        // A task that has used up its turn is not registered, but polled again at once.
        self.alarm_registered = has_budget_remaining();
        alarm.poll(context).is_ready()
    }

    fn set_alarm(&mut self, at: u64, alarm: Pin<&mut Sleep>) {
        self.alarm_at = at;
        self.alarm_registered = false;
        let wait = Duration::from_nanos(at.saturating_sub(monotonic_ns()));
        alarm.reset(Instant::now() + wait);
    }

    /// What happens next if the connection stays as it is, and when.
    fn due(&mut self) -> (u64, Due) {
        if self.leaving_since != 0 {
            return (self.leaving_since.saturating_add(nanoseconds(FAREWELL)), Due::Overdue);
        }
        if let Some(since) = self.stuck_since() {
            if self.is_too_slow {
                return (0, Due::WriteTimeout);
            }
            return (since.saturating_add(self.limits.write), Due::WriteTimeout);
        }
        if self.activity.is_busy() {
            self.head_since = 0;
            return (u64::MAX, Due::Nothing);
        }
        let idle = self.idle_until();
        if self.activity.requests() == 0 {
            let head = self.head_until(self.opened);
            return match (self.multiplexed && self.activity.preface_is_complete(), self.activity.has_spoken()) {
                (true, _) => (idle, Due::Leave),
                (false, true) => (head, Due::HeadTimeout),
                (false, false) if self.draining_since != 0 => (idle.min(head), Due::Leave),
                (false, false) => (head, Due::Silent),
            };
        }
        if !self.multiplexed && self.activity.has_head_bytes() {
            if self.head_since == 0 {
                self.head_since = monotonic_ns();
            }
            return (self.head_until(self.head_since), Due::HeadTimeout);
        }
        self.head_since = 0;
        let rest = self.activity.idle_since().saturating_add(nanoseconds(REST_AFTER));
        if !self.multiplexed && self.draining_since == 0 && rest < idle && self.activity.is_between_requests() {
            return (rest, Due::Rest);
        }
        (idle, Due::Leave)
    }

    /// When an idle connection is closed.
    fn idle_until(&self) -> u64 {
        self.until(self.activity.idle_since(), self.limits.idle)
    }

    /// When a head must be complete for which we have waited since `since`.
    fn head_until(&self, since: u64) -> u64 {
        self.until(since, self.limits.request_head)
    }

    /// The end of `limit` from `since` on; in a drain sooner.
    fn until(&self, since: u64, limit: u64) -> u64 {
        let until = since.saturating_add(limit);
        if self.draining_since == 0 {
            return until;
        }
        until.min(since.max(self.draining_since).saturating_add(nanoseconds(DRAIN_GRACE)))
    }

    /// Since when the client has taken nothing of what we want to send, if that is so.
    fn stuck_since(&mut self) -> Option<u64> {
        let mut progress = self.activity.blocked_after_writes();
        if progress.is_none() && self.multiplexed {
            // The socket takes bytes, but no stream has a window for them (RFC 9113, section 5.2).
            progress = self.activity.stalled_after_frames();
        }
        match (progress, self.stuck) {
            (None, None) => return None,
            (Some(now), Some((since, then))) if now == then => return Some(since),
            (Some(_), _) | (None, Some(_)) => {}
        }
        let now = monotonic_ns();
        self.stuck = progress.map(|progress| (now, progress));
        self.keep_pace(now);
        self.stuck.map(|(since, _)| since)
    }

    /// Notes that the client has taken something, or that something waits for it. Who has taken everything is not too slow.
    fn keep_pace(&mut self, now: u64) {
        let (pace, counted) = &mut self.pace;
        let written = self.activity.written();
        let is_fast_enough = pace.moved(written.wrapping_sub(*counted), now);
        *counted = written;
        self.is_too_slow = self.stuck.is_some() && (self.is_too_slow || !is_fast_enough);
        if self.stuck.is_some() {
            pace.waits(now);
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
