//! A bound on interim responses, of which an upstream may send any number before its answer (RFC 9110, section 15.2).
//!
//! hyper reads over them, one after the other, for as long as they come. So what is read of a connection between a request
//! and the head of its answer is counted here, below hyper: bytes in HTTP/1.1, heads in HTTP/2. A connection with more
//! than any upstream in its senses sends is broken off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use crate::frames::{Frames, HEADERS};

/// Bytes in front of an answer, from which on no more are read. The head of an answer and what hyper reads along with it
/// are less.
const BYTES_MAX: usize = 256 * 1024;

/// Heads that an HTTP/2 connection may send beside those of answers and their trailers, at most.
const HEADS_BESIDE_MAX: i64 = 1024;

/// Heads that each request entitles it to: that of the answer, trailers, and interim ones.
const HEADS_PER_REQUEST: i64 = 32;

/// What has been read of an HTTP/1.1 connection since a request was sent, in bytes; the largest number while none waits for
/// its answer.
#[derive(Clone, Debug)]
pub(super) struct Awaited(Arc<AtomicUsize>);

impl Awaited {
    /// Of a connection that has sent nothing yet.
    pub(super) fn nothing() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }

    /// A request is sent.
    pub(super) fn begin(&self) {
        self.0.store(0, Relaxed);
    }

    /// The head of its answer is there, or will never be. Says whether too much came instead.
    pub(super) fn over(&self) -> bool {
        let bytes = self.0.load(Relaxed);
        self.0.store(usize::MAX, Relaxed);
        is_too_much(bytes)
    }
}

/// Says so of the bytes of an answer that was awaited.
const fn is_too_much(bytes: usize) -> bool {
    bytes >= BYTES_MAX && bytes < usize::MAX
}

/// Heads that an HTTP/2 connection may still send.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    left: Arc<AtomicI64>,
    /// So many that all its streams can be answered at once, with trailers.
    max: i64,
}

impl Heads {
    /// Of a connection that has sent nothing yet, and will have at most so many requests at once.
    pub(super) fn of_streams(streams_max: usize) -> Self {
        let owed = i64::try_from(streams_max).unwrap_or(i64::MAX).saturating_mul(2);
        let max = HEADS_BESIDE_MAX.saturating_add(owed);
        Self { left: Arc::new(AtomicI64::new(max)), max }
    }

    /// A request is sent. Whoever has sent too many once is not trusted again.
    pub(super) fn earn(&self) {
        if let left @ 0.. = self.left.load(Relaxed) {
            self.left.store(left.saturating_add(HEADS_PER_REQUEST).min(self.max), Relaxed);
        }
    }

    /// Whether it has sent more.
    pub(super) fn are_spent(&self) -> bool {
        self.left.load(Relaxed) < 0
    }
}

/// Counts what is read of a connection.
#[derive(Debug)]
pub(super) enum Bound {
    Http1(Awaited),
    Http2(Frames, Heads),
}

impl Bound {
    pub(super) const fn http2(heads: Heads) -> Self {
        Self::Http2(Frames::behind(0), heads)
    }

    /// Looks whether more may be read.
    ///
    /// # Errors
    ///
    /// If not. The connection cannot be used any more.
    pub(super) fn check(&self) -> io::Result<()> {
        let is_too_much = match self {
            Self::Http1(Awaited(bytes)) => is_too_much(bytes.load(Relaxed)),
            Self::Http2(_, heads) => heads.are_spent(),
        };
        if is_too_much { Err(io::Error::other("interim responses without end")) } else { Ok(()) }
    }

    /// Counts what was read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Http1(Awaited(counted)) => match counted.load(Relaxed) {
                usize::MAX => {}
                before => counted.store(before + bytes.len(), Relaxed),
            },
            Self::Http2(frames, Heads { left, .. }) => {
                while let Some(frame) = frames.next(&mut bytes) {
                    if frame.kind == HEADERS {
                        left.store(left.load(Relaxed).saturating_sub(1), Relaxed);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::frame;

    #[test]
    fn bytes_count_only_while_an_answer_is_awaited() {
        let awaited = Awaited::nothing();
        let mut bound = Bound::Http1(awaited.clone());
        let piece = [0; 64 * 1024];
        for _ in 0..3 {
            for _ in 0..9 {
                bound.read(&piece);
                bound.check().unwrap();
            }
            awaited.begin();
            for _ in 0..BYTES_MAX / piece.len() {
                bound.check().unwrap();
                bound.read(&piece);
            }
            bound.check().unwrap_err();
            assert!(awaited.over());
            bound.check().unwrap();
            awaited.begin();
            assert!(!awaited.over());
        }
    }

    #[test]
    fn each_request_pays_for_heads_and_nothing_else_takes_any() {
        let heads = Heads::of_streams(1);
        let mut bound = Bound::http2(heads.clone());
        for _ in 0..5 * HEADS_BESIDE_MAX {
            heads.earn();
            for kind in [4, HEADERS, 0, 6, HEADERS, 8] {
                bound.read(&frame(kind, 0, 20));
            }
            bound.check().unwrap();
        }
        heads.earn();
        for _ in 0..HEADS_BESIDE_MAX + 2 {
            bound.read(&frame(HEADERS, 0, 1));
            bound.check().unwrap();
        }
        bound.read(&frame(HEADERS, 0, 1));
        heads.earn();
        bound.check().unwrap_err();
        assert!(heads.are_spent());
    }

    #[test]
    fn all_streams_of_a_connection_are_answered_at_once_with_trailers() {
        for streams in [1, 100, 8_191] {
            let heads = Heads::of_streams(streams);
            let mut bound = Bound::http2(heads.clone());
            for _ in 0..3 {
                (0..streams).for_each(|_| heads.earn());
                (0..2 * streams).for_each(|_| bound.read(&frame(HEADERS, 0, 1)));
                bound.check().unwrap();
            }
        }
    }
}
