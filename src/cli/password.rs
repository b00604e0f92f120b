//! A password on standard input.

use std::io::Read;

use anyhow::{Context, bail, ensure};
use zeroize::Zeroizing;

use crate::identity::password::{self, PASSWORD_BYTES_MAX};
use crate::identity::{HashError, Unfit};

/// Reads a password that shall be set: all of standard input, without one line end behind it.
///
/// # Errors
///
/// If there is none, or one that is not allowed.
pub(super) fn read_password(input: &mut dyn Read) -> anyhow::Result<Zeroizing<String>> {
    // With its whole capacity from the start: a buffer that grows leaves copies of itself behind.
    let most = PASSWORD_BYTES_MAX + "\r\n".len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    input.take(u64::try_from(most + 1)?).read_to_end(&mut bytes).context("standard input cannot be read")?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    ensure!(!bytes.is_empty(), "there is no password on standard input");
    if bytes.len() > PASSWORD_BYTES_MAX {
        bail!(HashError::from(Unfit::Long));
    }
    let text = std::str::from_utf8(bytes).ok().context("the password on standard input is not UTF-8")?;
    password::check(text).map_err(HashError::from)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_all_there_is_without_one_line_end() {
        for (input, expected) in [
            ("correct horse", "correct horse"),
            ("correct horse\n", "correct horse"),
            ("correct horse\r\n", "correct horse"),
            (" with spaces \n", " with spaces "),
        ] {
            assert_eq!(*read_password(&mut input.as_bytes()).unwrap(), expected, "{input:?}");
        }
        let longest = "\u{1f43b}".repeat(256);
        assert_eq!(*read_password(&mut format!("{longest}\r\n").as_bytes()).unwrap(), longest);
    }

    #[test]
    fn what_is_no_password_is_refused_in_words() {
        let (long, longer) = ("x".repeat(257), "\u{1f43b}".repeat(5000));
        for (input, expected) in [
            (&b""[..], "there is no password on standard input"),
            (b"\n", "there is no password on standard input"),
            (b"\r\n", "there is no password on standard input"),
            (b"1234567\n", "the password must have at least 8 characters"),
            (long.as_bytes(), "the password must have at most 256 characters"),
            (longer.as_bytes(), "the password must have at most 256 characters"),
            (b"two lines\nof text\n", "the password must have no line ends or other control characters"),
            (b"not \xff UTF-8", "the password on standard input is not UTF-8"),
        ] {
            assert_eq!(read_password(&mut &*input).unwrap_err().to_string(), expected);
        }
    }
}
