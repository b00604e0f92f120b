//! Hexadecimal digits and base64, read strictly: one way to write the same bytes, apart from the case of digits.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

/// Base64 of an operator, who may have lost the `=` at the end. The alphabet is the standard one (RFC 4648, section 4).
const OF_OPERATORS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits of either case.
    Hex,
    /// Base64 with its padding (RFC 4648, section 4).
    Base64,
}

impl Encoding {
    /// The bytes of a signature that is `bytes` long. Anything else is `None`.
    pub(super) fn decode(self, text: &str, bytes: usize) -> Option<Vec<u8>> {
        let longest = match self {
            Self::Hex => 2 * bytes,
            Self::Base64 => bytes.div_ceil(3) * 4,
        };
        if text.len() != longest {
            return None;
        }
        let decoded = match self {
            Self::Hex => from_hex(text)?,
            Self::Base64 => STANDARD.decode(text).ok()?,
        };
        (decoded.len() == bytes).then_some(decoded)
    }
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The secret is the text itself.
    Text,
    /// Hexadecimal digits.
    Hex,
    /// Base64; the padding may be missing.
    Base64,
}

impl Written {
    /// The bytes of a secret.
    pub(super) fn decode(self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = match self {
            Self::Text => text.as_bytes().to_vec(),
            Self::Hex => from_hex(text)?,
            Self::Base64 => OF_OPERATORS.decode(text).ok()?,
        };
        Some(Zeroizing::new(bytes))
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Hex => "hexadecimal digits",
            Self::Base64 => "base64",
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_in_one_way_only() {
        let check = |encoding: Encoding, text: &str, expected: Option<&[u8]>| {
            assert_eq!(encoding.decode(text, 4).as_deref(), expected, "{encoding:?} {text:?}");
        };
        check(Encoding::Hex, "00ff10Ab", Some(&[0, 255, 16, 0xab]));
        for wrong in
            ["", "00ff10a", "00ff10abc", "00ff10ab00", "0x00ff10", "00ff10ag", " 0ff10ab", "00ff10a\u{e9}", "+0ff10ab"]
        {
            check(Encoding::Hex, wrong, None);
        }
        check(Encoding::Base64, "AP8Qqw==", Some(&[0, 255, 16, 0xab]));
        // Without padding, with half of it, with other bits behind the last byte, of the other alphabet, of other lengths.
        for wrong in
            ["AP8Qqw", "AP8Qqw=", "AP8Qqx==", "AP8Q-_==", "AP8Qq===", "AP8QqwA=", "AP8QqwAA", "AP8Q\nw==", "", "===="]
        {
            check(Encoding::Base64, wrong, None);
        }
    }

    #[test]
    fn a_secret_is_read_as_it_is_written() {
        let check = |written: Written, text: &str, expected: Option<&[u8]>| {
            assert_eq!(written.decode(text).as_deref().map(Vec::as_slice), expected, "{written:?} {text:?}");
        };
        check(Written::Text, "AP8Qqw==", Some(b"AP8Qqw=="));
        check(Written::Base64, "AP8Qqw==", Some(&[0, 255, 16, 0xab]));
        check(Written::Base64, "AP8Qqw", Some(&[0, 255, 16, 0xab]));
        check(Written::Hex, "00ff10AB", Some(&[0, 255, 16, 0xab]));
        check(Written::Hex, "00ff1", None);
        check(Written::Base64, "AP8Qqx==", None);
        check(Written::Base64, "AP8Q-_==", None);
    }
}
