//! A short text that is made for one request, and values of fields out of it.
//!
//! Memory is asked for once for the whole of it, however many values are made of its parts and however often they are
//! copied.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// A text of at most `N` bytes, while it is written.
#[derive(Debug)]
pub struct Scrap<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Scrap<N> {
    /// Nothing.
    #[must_use]
    pub const fn begin() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// Bytes that were written.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Appends a text. What there is no room for is left out.
    pub fn push(&mut self, text: &[u8]) {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text[..length]);
        self.length += length;
    }

    /// Ends the text.
    #[must_use]
    pub fn finish(self) -> Finished {
        Finished(Bytes::from_owner(self))
    }
}

impl<const N: usize> AsRef<[u8]> for Scrap<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A text of which values are made.
#[derive(Debug)]
pub struct Finished(Bytes);

impl Finished {
    /// All of it. To be made of visible ASCII.
    #[must_use]
    pub fn whole(self) -> HeaderValue {
        value(self.0)
    }

    /// A part of it. To be made of visible ASCII, and to lie within the text.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> HeaderValue {
        value(self.0.slice(range))
    }
}

/// Visible ASCII is always a good value.
fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parts_of_what_was_written() {
        let mut scrap = Scrap::<8>::begin();
        scrap.push(b"ab");
        scrap.push(b"cde");
        assert_eq!(scrap.length(), 5);
        let text = scrap.finish();
        assert_eq!(text.part(1..4), "bcd");
        assert_eq!(text.part(5..5), "");
        assert_eq!(text.whole(), "abcde");
    }

    #[test]
    fn there_is_never_more_than_fits() {
        let mut scrap = Scrap::<4>::begin();
        scrap.push(b"abc");
        scrap.push(b"def");
        scrap.push(b"g");
        assert_eq!(scrap.finish().whole(), "abcd");
    }
}
