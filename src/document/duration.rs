//! Durations as an operator writes them: `30s`, `1m30s`, `24h`, `500ms`, `90d`.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units, the largest first, in milliseconds. A day is 24 hours.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Nothing here lasts longer: 100 years of 365 days. Any sum of two still counts in 64 bits of nanoseconds.
const MILLISECONDS_MAX: u64 = 100 * 365 * 86_400_000;

/// What a duration looks like, for schemas.
const PATTERN: &str = "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$";

/// Why a text is not a duration. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number with a unit, an unknown unit, a sign, a fraction, or units that do not go from large to small.
    #[error("is not a duration such as `500ms`, `30s`, `1m30s`, `24h` or `90d`")]
    Unreadable,
    /// More than 100 years.
    #[error("is longer than 100 years (36500d)")]
    TooLong,
}

/// Reads a duration: whole numbers with the units `d`, `h`, `m`, `s` and `ms`, each at most once and the largest first.
///
/// # Errors
///
/// [`DurationError`], also for a number without a unit: `30` could be seconds or milliseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut units = UNITS.as_slice();
    let mut total_ms = 0_u64;
    if rest.is_empty() {
        return Err(DurationError::Unreadable);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(DurationError::Unreadable);
        }

        let position = units.iter().position(|(name, _)| *name == unit).ok_or(DurationError::Unreadable)?;
        let unit_ms = units[position].1;
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        total_ms = number.checked_mul(unit_ms).and_then(|ms| ms.checked_add(total_ms)).ok_or(DurationError::TooLong)?;
        units = &units[position + 1..];
        rest = after;
    }
    if total_ms > MILLISECONDS_MAX { Err(DurationError::TooLong) } else { Ok(Duration::from_millis(total_ms)) }
}

/// A duration, written in a document as [`parse`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration itself. Zero is possible; who cannot use it must refuse it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for HumanDuration {
    /// Writes what [`parse`] reads; less than a millisecond is cut off.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left_ms == 0 {
            return formatter.write_str("0s");
        }
        for (unit, unit_ms) in UNITS {
            let number = left_ms / unit_ms;
            if number > 0 {
                write!(formatter, "{number}{unit}")?;
            }
            left_ms %= unit_ms;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = HumanDuration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration such as `30s`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HumanDuration, E> {
        parse(text).map(HumanDuration).map_err(E::custom)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "human-duration", "minLength": 2, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let check = |text: &str, ms: u64| assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        check("500ms", 500);
        check("30s", 30_000);
        check("1m30s", 90_000);
        check("24h", 86_400_000);
        check("90d", 90 * 86_400_000);
        check("1d1h1m1s1ms", 90_061_001);
        check("0s", 0);
        check(" 5s ", 5_000);
        check("36500d", MILLISECONDS_MAX);
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        let check = |text: &str, why| assert_eq!(parse(text), Err(why), "{text}");
        for text in ["", " ", "30", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "5s5s", "5s1m", "1h 5m", "1w", "off", "5µs"]
        {
            check(text, DurationError::Unreadable);
        }
        for text in ["36501d", "99999999999999999999s", "18446744073709551615h"] {
            check(text, DurationError::TooLong);
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["500ms", "30s", "1m30s", "1d", "90d", "1d1h1m1s1ms", "0s"] {
            assert_eq!(HumanDuration(parse(text).unwrap()).to_string(), text);
        }
    }
}
