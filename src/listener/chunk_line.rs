//! The line in front of a chunk's data: its size, and extensions that nobody needs (RFC 9112, section 7.1).
//!
//! hyper takes what stands behind the size for an extension, whatever it is. Parsers that differ about such a line count
//! other bytes as content, so it is read here by the letter of the grammar, byte by byte, and nothing of it is kept.

use super::framing::Doubt;

/// Digits of a chunk's size. More could only be zeros at the front.
const SIZE_DIGITS_MAX: u8 = 16;

const SIZE: Doubt = Doubt("the size of a chunk is malformed");
const EXTENSION: Doubt = Doubt("the extension of a chunk is malformed");
pub(super) const LINE_END: Doubt = Doubt("a line end in chunks is not CR LF");

/// What was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// So many digits of the size.
    Size(u8),
    SpaceBehindSize,
    Semicolon,
    Name,
    SpaceBehindName,
    Equals,
    Token,
    Quoted,
    Backslash,
    ClosingQuote,
    SpaceBehindValue,
    CarriageReturn,
}

/// As much of a chunk's line as was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkLine {
    last: Last,
    size: u64,
}

impl ChunkLine {
    /// A line of which nothing was read.
    pub(super) const fn new() -> Self {
        Self { last: Last::Size(0), size: 0 }
    }

    /// Reads on, as far as the line goes. Returns the size of the chunk once the line is complete.
    ///
    /// # Errors
    ///
    /// [`Doubt`] about a line that is none.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<u64>, Doubt> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.last == Last::CarriageReturn && byte == b'\n' {
                return Ok(Some(self.size));
            }
            self.last = self.next(byte)?;
        }
        Ok(None)
    }

    fn next(&mut self, byte: u8) -> Result<Last, Doubt> {
        let space = matches!(byte, b' ' | b'\t');
        Ok(match (self.last, byte) {
            (Last::Size(digits), _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size << 4 | u64::from(digit);
                Last::Size(digits + 1)
            }
            (Last::CarriageReturn, _) | (_, b'\n') => return Err(LINE_END),
            (Last::Size(1..) | Last::Name | Last::Token | Last::ClosingQuote, b'\r') => Last::CarriageReturn,
            (Last::Size(1..) | Last::SpaceBehindSize, _) if space => Last::SpaceBehindSize,
            (Last::Size(1..) | Last::SpaceBehindSize, b';') => Last::Semicolon,
            (Last::Size(_) | Last::SpaceBehindSize, _) => return Err(SIZE),

            (Last::Semicolon | Last::Equals, _) if space => self.last,
            (Last::Semicolon | Last::Name, _) if is_of_token(byte) => Last::Name,
            (Last::Name | Last::SpaceBehindName, _) if space => Last::SpaceBehindName,
            (Last::Name | Last::SpaceBehindName, b'=') => Last::Equals,
            (Last::Equals | Last::Token, _) if is_of_token(byte) => Last::Token,
            (Last::Equals, b'"') | (Last::Backslash, b'"' | b'\\') => Last::Quoted,
            (Last::Quoted, b'\\') => Last::Backslash,
            (Last::Quoted, b'"') => Last::ClosingQuote,
            (Last::Quoted | Last::Backslash, _) if is_of_text(byte) => Last::Quoted,
            (Last::Token | Last::ClosingQuote | Last::SpaceBehindValue, _) if space => Last::SpaceBehindValue,
            (Last::Name | Last::SpaceBehindName | Last::Token | Last::ClosingQuote | Last::SpaceBehindValue, b';') => {
                Last::Semicolon
            }
            _ => return Err(EXTENSION),
        })
    }
}

/// RFC 9110, section 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110, section 5.6.4; quotes and backslashes have been looked at.
const fn is_of_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
