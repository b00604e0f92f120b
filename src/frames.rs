//! HTTP/2 frames, found in the bytes of one direction of a connection (RFC 9113, section 4.1).
//!
//! Read are the nine bytes in front of each frame, and the reason of an `RST_STREAM`; what else is in a frame is skipped.

/// Bytes in front of each frame.
const HEAD_BYTES: usize = 9;

/// The same, and all of an `RST_STREAM` behind them.
const RESET_BYTES: usize = HEAD_BYTES + 4;

/// Types of frames (RFC 9113, section 6): content of a message.
pub const DATA: u8 = 0x0;
/// Its head, or its trailers.
pub const HEADERS: u8 = 0x1;
/// The end of a stream.
pub const RST_STREAM: u8 = 0x3;

/// The flag of the last frame of a stream (RFC 9113, section 6.1).
pub const END_STREAM: u8 = 0x1;

/// What is in front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the frame behind its head.
    pub length: usize,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Why the stream is reset, if this does it (RFC 9113, section 6.4).
    pub reset: Option<u32>,
}

/// Follows the frames of one direction.
#[derive(Debug)]
pub struct Frames {
    /// Bytes that are not looked at.
    skip: usize,
    bytes: [u8; RESET_BYTES],
    /// How many of them are there.
    filled: usize,
}

impl Frames {
    /// Frames behind so many bytes of something else.
    #[must_use]
    pub const fn behind(skip: usize) -> Self {
        Self { skip, bytes: [0; RESET_BYTES], filled: 0 }
    }

    /// The next frame of which enough is in `bytes`, which then begin behind what was read.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            *bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return None;
            }
            let wanted = if self.filled < HEAD_BYTES { HEAD_BYTES } else { RESET_BYTES };
            let copied = (wanted - self.filled).min(bytes.len());
            self.bytes[self.filled..self.filled + copied].copy_from_slice(&bytes[..copied]);
            self.filled += copied;
            *bytes = &bytes[copied..];
            if self.filled < wanted {
                return None;
            }
            let [high, middle, low, kind, flags, _, _, _, _, reason @ ..] = self.bytes;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let is_reset = kind == RST_STREAM && HEAD_BYTES + length == RESET_BYTES;
            if is_reset && self.filled == HEAD_BYTES {
                continue;
            }
            self.skip = HEAD_BYTES + length - self.filled;
            self.filled = 0;
            return Some(Frame { length, kind, flags, reset: is_reset.then_some(u32::from_be_bytes(reason)) });
        }
    }

    /// Whether all frames were read to their end.
    #[cfg(test)]
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }
}

/// A frame of these bytes, all zero, on stream 1.
#[cfg(test)]
pub(crate) fn frame(kind: u8, flags: u8, bytes: usize) -> Vec<u8> {
    let mut frame = u32::try_from(bytes).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 1]);
    frame.extend(vec![0; bytes]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let reset = [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 7, 0, 0, 1, 2];
        // None: its length is wrong (RFC 9113, section 6.4), and what follows is found all the same.
        let odd = frame(RST_STREAM, 0, 5);
        let (settings, content) = (frame(4, 0, 36), frame(DATA, END_STREAM, 3));
        let bytes = [b"before".as_slice(), &settings, &reset, &content, &odd, &frame(6, 0, 8), &reset].concat();
        let found = |length, kind, flags, reset| Frame { length, kind, flags, reset };
        let all = [
            found(36, 4, 0, None),
            found(4, RST_STREAM, 0, Some(0x102)),
            found(3, DATA, END_STREAM, None),
            found(5, RST_STREAM, 0, None),
            found(8, 6, 0, None),
            found(4, RST_STREAM, 0, Some(0x102)),
        ];
        for size in 1..=bytes.len() {
            let (mut frames, mut seen) = (Frames::behind(6), Vec::new());
            for mut piece in bytes.chunks(size) {
                while let Some(frame) = frames.next(&mut piece) {
                    seen.push(frame);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(seen, all, "{size}");
            assert!(frames.is_between_frames(), "{size}");
        }
    }
}
