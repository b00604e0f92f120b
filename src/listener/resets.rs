//! HTTP/2 streams that are reset from here, seen in what is written.
//!
//! h2 resets a stream whose request is malformed (RFC 9113, section 8.1.1), or is one too many, and tells nobody but the
//! client: no service ever sees such a request.

use std::fmt;

use crate::frames::Frames;

/// Why a stream was reset: a place in [`ResetReason::WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetReason(usize);

impl ResetReason {
    /// The stable words for all of them, for metrics and logs: the codes of RFC 9113, section 7, in their order, and one word
    /// for what is none of them.
    pub const WORDS: [&'static str; 15] = [
        "no_error",
        "protocol_error",
        "internal_error",
        "flow_control_error",
        "settings_timeout",
        "stream_closed",
        "frame_size_error",
        "refused_stream",
        "cancel",
        "compression_error",
        "connect_error",
        "enhance_your_calm",
        "inadequate_security",
        "http_1_1_required",
        "other",
    ];

    /// The reason with this code.
    #[must_use]
    pub const fn of_code(code: u32) -> Self {
        let (code, other) = (code as usize, Self::WORDS.len() - 1);
        Self(if code < other { code } else { other })
    }

    /// Its place in [`Self::WORDS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }

    /// The stable word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self.0]
    }
}

/// Whom the resets of a connection are told.
pub(super) type Tell = Box<dyn Fn(ResetReason) + Send + Sync>;

/// Reads along what is sent over HTTP/2.
pub(super) struct Resets {
    frames: Frames,
    tell: Tell,
}

impl Resets {
    pub(super) const fn new(tell: Tell) -> Self {
        Self { frames: Frames::behind(0), tell }
    }

    /// Tells of the resets in `bytes`, which were written.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.frames.next(&mut bytes) {
            if let Some(code) = frame.reset {
                (self.tell)(ResetReason::of_code(code));
            }
        }
    }
}

impl fmt::Debug for Resets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resets").field("frames", &self.frames).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn each_reset_is_told_with_its_reason() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let mut resets = Resets::new(Box::new(move |reason| heard.lock().unwrap().push(reason.word())));
        for code in [1_u32, 7, 13, 14, u32::MAX] {
            resets.wrote(&[[0, 0, 4, 3, 0, 0, 0, 0, 1].as_slice(), &code.to_be_bytes()].concat());
        }
        let words = ["protocol_error", "refused_stream", "http_1_1_required", "other", "other"];
        assert_eq!(*told.lock().unwrap(), words);
    }
}
