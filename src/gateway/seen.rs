//! Which of the fields that few requests have a request has: looked up once instead of by each step for itself.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, EXPECT, FORWARDED, TE, TRANSFER_ENCODING, VIA};

use super::correlation::{TRACEPARENT, TRACESTATE};

/// The fields that a request came with, of those that are looked for here. What is not among them need not be read.
///
/// Fields are taken away on the road, and those that we write are written at its end: what was not there at the beginning
/// is not there when a step asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u8);

/// A field that few requests have.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Rare {
    /// `Content-Type`.
    ContentType = 1,
    /// `Expect`.
    Expect = 1 << 1,
    /// `Forwarded`.
    Forwarded = 1 << 2,
    /// `TE`.
    Te = 1 << 3,
    /// `Transfer-Encoding`.
    TransferEncoding = 1 << 4,
    /// `Via`.
    Via = 1 << 5,
    /// `traceparent` or `tracestate`.
    Trace = 1 << 6,
}

impl Seen {
    /// Looks at the names of all fields.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        fields.keys().fold(Self::default(), |seen, name| {
            // Most names have another length, and comparing numbers is quick.
            let rare = match name.as_str().len() {
                2 if *name == TE => Rare::Te,
                3 if *name == VIA => Rare::Via,
                6 if *name == EXPECT => Rare::Expect,
                9 if *name == FORWARDED => Rare::Forwarded,
                10 if *name == TRACESTATE => Rare::Trace,
                11 if *name == TRACEPARENT => Rare::Trace,
                12 if *name == CONTENT_TYPE => Rare::ContentType,
                17 if *name == TRANSFER_ENCODING => Rare::TransferEncoding,
                _ => return seen,
            };
            Self(seen.0 | rare as u8)
        })
    }

    /// Whether the request came with this field.
    #[must_use]
    pub const fn has(self, field: Rare) -> bool {
        self.0 & field as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn exactly_the_fields_that_are_there_are_seen() {
        let rows = [
            (CONTENT_TYPE, Rare::ContentType),
            (EXPECT, Rare::Expect),
            (FORWARDED, Rare::Forwarded),
            (TE, Rare::Te),
            (TRANSFER_ENCODING, Rare::TransferEncoding),
            (VIA, Rare::Via),
            (TRACEPARENT, Rare::Trace),
            (TRACESTATE, Rare::Trace),
        ];
        for (name, rare) in &rows {
            let mut fields = HeaderMap::new();
            // Of the same lengths, and others.
            for other in ["ab", "abc", "expec7", "forwarde7", "tracestat7", "traceparen7", "content-typ7", "host"] {
                fields.insert(HeaderName::from_static(other), HeaderValue::from_static("x"));
            }
            assert_eq!(Seen::of(&fields), Seen::default());
            fields.insert(name, HeaderValue::from_static("x"));
            let seen = Seen::of(&fields);
            for (_, other) in &rows {
                assert_eq!(seen.has(*other), *other as u8 == *rare as u8, "{name}: {other:?}");
            }
        }
    }
}
