//! HTTP/2 frames that ask for nothing, counted against what a connection achieves.
//!
//! A frame that bears no content costs its sender a dozen bytes and us a look at it and often an answer: PING, SETTINGS,
//! WINDOW_UPDATE, PRIORITY, RST_STREAM, frames without content, frames of unknown types. RFC 9113, section 10.5, leaves it
//! to us how many are too many. h2 bounds the resets and the small DATA frames, and nothing else.
//!
//! So each connection has an allowance. Every frame without content takes one out of it; a request, and content that moves
//! in either direction, puts in more than honest clients need for them. What is left is refilled slowly. When nothing is
//! left, the connection is ended with ENHANCE_YOUR_CALM.
//!
//! Content in crumbs is let through, as some streams are made of it, but not as fast as it may come: h2 holds a hundred times
//! the memory of one byte for its frame until somebody takes it, and never gives it back while the connection lasts.
//!
//! The meter sees the [`Frames`] on their way to h2. It decides about nothing but the end of the connection: whatever it
//! might misunderstand, h2 still reads every byte.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::connection::PREFACE;
use crate::frames::{DATA, END_STREAM, Frames, HEADERS, RST_STREAM};
use crate::moment::monotonic_ns;

/// What a connection may spend at once: more than any client sends to begin with.
const ALLOWANCE: i64 = 8192;

/// What is refilled in a second, up to the allowance. A frame costs about a microsecond, so this is a thousandth of a
/// processor.
const REFILLED_PER_SECOND: i64 = 1024;

/// What a request earns: its own frame, and windows, priorities and a ping besides.
const EARNED_BY_REQUEST: i64 = 5;

/// What it costs to take a request back: as much as it has earned, and something for the work that was in vain. So a
/// connection can take back some two thousand requests at once, and 256 in a second.
const COST_OF_RESET: i64 = EARNED_BY_REQUEST + 4;

/// What a part of a response earns, beside its bytes.
const EARNED_BY_PART: i64 = 3;

/// Bytes we send that earn one: some clients open both windows again after each few KiB. Less than these, answers to
/// PING for example, earn nothing.
const BYTES_EARNING_ONE: usize = 1024;

/// Content in a frame with less than this costs h2 more memory for the frame than for the content.
const CRUMB_BYTES: usize = 256;

/// How many of these are read at once without a pause, in which whoever asked for the content can take it.
const CRUMBS_AT_ONCE: u32 = 64;

/// The pause for each of them: where they come by themselves, no more than a hundred thousand are read in a second.
const PAUSE_FOR_CRUMB: Duration = Duration::from_micros(10);

/// What is left of a connection's allowance. Several tasks of one thread use it, so no ordering is asked for.
#[derive(Debug)]
pub(super) struct Allowance {
    left: AtomicI64,
    /// When it was last refilled, in monotonic nanoseconds.
    refilled: AtomicU64,
}

impl Allowance {
    /// The whole allowance, of a connection that began at `opened`, in monotonic nanoseconds.
    pub(super) const fn new(opened: u64) -> Self {
        Self { left: AtomicI64::new(ALLOWANCE), refilled: AtomicU64::new(opened) }
    }

    /// A request has begun.
    pub(super) fn request(&self) {
        self.earn(EARNED_BY_REQUEST);
    }

    /// A response has given a part.
    pub(super) fn part(&self) {
        self.earn(EARNED_BY_PART);
    }

    /// So many bytes were sent at once.
    pub(super) fn wrote(&self, bytes: usize) {
        if bytes >= BYTES_EARNING_ONE {
            self.earn(i64::try_from(bytes / BYTES_EARNING_ONE).unwrap_or(ALLOWANCE));
        }
    }

    fn earn(&self, earned: i64) {
        self.left.store(self.left.load(Relaxed).saturating_add(earned).min(ALLOWANCE), Relaxed);
    }

    /// Takes `cost` out, and says whether there was as much. Reads the clock only when there was not.
    fn spend(&self, cost: i64) -> bool {
        let left = self.left.load(Relaxed).saturating_sub(cost).min(ALLOWANCE);
        self.left.store(left, Relaxed);
        left >= 0 || self.refill(monotonic_ns())
    }

    /// Adds what the time since the last refill has brought. Says whether anything is left then.
    fn refill(&self, now: u64) -> bool {
        let passed = now.saturating_sub(self.refilled.load(Relaxed));
        let refilled = u128::from(passed) * u128::from(REFILLED_PER_SECOND.unsigned_abs()) / 1_000_000_000;
        let refilled = i64::try_from(refilled).unwrap_or(ALLOWANCE).min(ALLOWANCE);
        if refilled > 0 {
            self.refilled.store(now, Relaxed);
            self.earn(refilled);
        }
        self.left.load(Relaxed) >= 0
    }
}

/// Reads along what a client sends over HTTP/2.
#[derive(Debug)]
pub(super) struct Meter(Frames);

/// What a meter says of the bytes that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// More may come.
    Good,
    /// There are so many small pieces of content in them that they should be taken before more come, for which there is so
    /// much time.
    Crumbs(Duration),
    /// The allowance is spent.
    Flood,
}

impl Meter {
    pub(super) const fn new() -> Self {
        Self(Frames::behind(PREFACE.len()))
    }

    /// Counts the frames that begin in `bytes`.
    pub(super) fn read(&mut self, mut bytes: &[u8], allowance: &Allowance) -> Measure {
        let mut crumbs = 0;
        while let Some(frame) = self.0.next(&mut bytes) {
            let cost = match frame.kind {
                // Parts of a request's content pay for themselves, and for a ping with each.
                DATA if frame.length > 0 => {
                    crumbs += u32::from(frame.length < CRUMB_BYTES);
                    -1
                }
                DATA if frame.flags & END_STREAM != 0 => 0,
                HEADERS => 1,
                RST_STREAM => COST_OF_RESET,
                _ => 1,
            };
            if !allowance.spend(cost) {
                return Measure::Flood;
            }
        }
        if crumbs > CRUMBS_AT_ONCE { Measure::Crumbs(PAUSE_FOR_CRUMB * crumbs) } else { Measure::Good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::frame;

    fn started() -> (Meter, Allowance) {
        let (mut meter, allowance) = (Meter::new(), Allowance::new(monotonic_ns()));
        assert_eq!(meter.read(PREFACE, &allowance), Measure::Good);
        (meter, allowance)
    }

    /// How many of these frames are read before it is enough.
    fn read_until_enough(bytes: &[u8]) -> usize {
        let (mut meter, allowance) = started();
        (0..20 * ALLOWANCE as usize).take_while(|_| meter.read(bytes, &allowance) != Measure::Flood).count()
    }

    #[test]
    fn frames_that_ask_for_nothing_are_too_many_one_day() {
        for (row, kind, flags, bytes, at_once) in [
            ("PRIORITY", 2, 0, 5, ALLOWANCE),
            ("SETTINGS", 4, 0, 0, ALLOWANCE),
            ("PING", 6, 0, 8, ALLOWANCE),
            ("WINDOW_UPDATE", 8, 0, 4, ALLOWANCE),
            ("CONTINUATION", 9, 0, 0, ALLOWANCE),
            ("an unknown type", 0xbb, 0, 100, ALLOWANCE),
            ("empty DATA", 0, 0, 0, ALLOWANCE),
            ("RST_STREAM", 3, 0, 4, ALLOWANCE / COST_OF_RESET),
        ] {
            let read = read_until_enough(&frame(kind, flags, bytes)) as i64;
            // A busy machine takes its time, and refills.
            assert!(read >= at_once && read < at_once + 8 * REFILLED_PER_SECOND, "{row}: {read}");
        }
    }

    #[test]
    fn content_is_never_too_much() {
        assert_eq!(read_until_enough(&frame(DATA, 0, 1)), 20 * ALLOWANCE as usize);
        assert_eq!(read_until_enough(&[frame(DATA, 0, 100), frame(6, 0, 8)].concat()), 20 * ALLOWANCE as usize);
    }

    #[test]
    fn requests_and_responses_pay_for_the_frames_that_come_with_them() {
        let (mut meter, allowance) = started();
        let with_request = [frame(HEADERS, END_STREAM, 50), frame(8, 0, 4), frame(8, 0, 4), frame(6, 0, 8)].concat();
        let with_part = [frame(8, 0, 4), frame(8, 0, 4), frame(6, 0, 8)].concat();
        for _ in 0..4 * ALLOWANCE {
            allowance.request();
            assert_eq!(meter.read(&with_request, &allowance), Measure::Good);
            allowance.part();
            assert_eq!(meter.read(&with_part, &allowance), Measure::Good);
        }
    }

    #[test]
    fn many_small_pieces_at_once_are_to_be_taken_first() {
        let (mut meter, allowance) = started();
        let pause = Measure::Crumbs(Duration::from_micros(650));
        for (measure, number, bytes) in
            [(Measure::Good, 64, 1), (pause, 65, 1), (pause, 65, 255), (Measure::Good, 500, 256)]
        {
            let pieces = frame(DATA, 0, bytes).repeat(number);
            assert_eq!(meter.read(&pieces, &allowance), measure, "{number} of {bytes} bytes");
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let bytes: Vec<u8> =
            [PREFACE.to_vec(), frame(4, 0, 36), frame(DATA, 0, 3), frame(6, 0, 8), frame(8, 0, 4)].concat();
        for size in 1..=bytes.len() {
            let (mut meter, allowance) = (Meter::new(), Allowance::new(0));
            assert!(bytes.chunks(size).all(|chunk| meter.read(chunk, &allowance) == Measure::Good));
            assert_eq!(allowance.left.load(Relaxed), ALLOWANCE - 2, "{size}");
            assert!(meter.0.is_between_frames(), "{size}");
        }
    }

    #[test]
    fn what_was_spent_is_refilled_in_time_and_never_beyond_the_whole() {
        let allowance = Allowance::new(0);
        allowance.left.store(-1, Relaxed);
        assert!(!allowance.refill(1));
        assert!(allowance.refill(1_000_000_000));
        assert_eq!(allowance.left.load(Relaxed), REFILLED_PER_SECOND - 1);
        assert!(allowance.refill(u64::MAX));
        assert_eq!(allowance.left.load(Relaxed), ALLOWANCE);
    }
}
