//! Sizes in bytes as an operator writes them: `10MiB`, `64KiB`, or a plain number of bytes.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units, the largest first. Powers of 1024 have the `i`, powers of 1000 have not (IEC 80000-13).
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// What a size looks like, for schemas.
const PATTERN: &str = "^\\d+(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?$";

/// A text is not a size, or one of more than 2^63 - 1 bytes. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a size such as `64KiB`, `10MiB`, `1GiB` or a number of bytes")]
pub struct SizeError;

/// Reads a size: a whole number, directly followed by a unit or nothing.
///
/// # Errors
///
/// [`SizeError`], also for units that are often confused (`10M`, `10mb`).
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| SizeError)?;
    let unit_bytes = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError)?.1,
    };
    number.checked_mul(unit_bytes).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or(SizeError)
}

/// Writes `bytes` with the largest unit of 1024 that divides it.
#[must_use]
pub fn display(bytes: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.contains('i'));
    match binary.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// A number of bytes, written in a document as [`parse`] reads it, or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes. Zero is possible; who cannot use it must refuse it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&display(self.0))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size such as `10MiB`")
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        i64::try_from(bytes).map(|_| ByteSize(bytes)).map_err(|_| E::custom(SizeError))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
        parse(text).map(ByteSize).map_err(E::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"], "format": "byte-size", "minimum": 0, "pattern": PATTERN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let check = |text: &str, bytes: u64| assert_eq!(parse(text), Ok(bytes), "{text}");
        check("0", 0);
        check("512", 512);
        check("512B", 512);
        check("1kB", 1_000);
        check("64KiB", 65_536);
        check("10MiB", 10 << 20);
        check("2TB", 2_000_000_000_000);
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for text in
            ["", "B", "10M", "10mb", "10 MiB", "-1", "1.5MiB", "unlimited", "99999999999TiB", "9223372036854775808"]
        {
            assert_eq!(parse(text), Err(SizeError), "{text}");
        }
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["64KiB", "10MiB", "1GiB", "1TiB", "1000B", "0B"] {
            assert_eq!(display(parse(text).unwrap()), text);
        }
    }
}
