//! Names for a request by which it is found again: `X-Request-Id`, and the W3C trace context.
//!
//! What the client sent is passed on if it is well formed; otherwise both are made from one random number, so that the
//! log line of a request and its trace carry the same name.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::scrap::{Finished, Scrap};
use super::seen::{Rare, Seen};
use crate::telemetry::traces::SpanId;

/// `traceparent` (W3C Trace Context, section 3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` (W3C Trace Context, section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes a client's own request id may have.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// `00-` + trace id + `-` + parent id + `-` + flags (W3C Trace Context, section 3.2).
const TRACEPARENT_BYTES: usize = 55;

/// Where the trace id stands in it.
const TRACE_ID: Range<usize> = 3..35;

/// Makes names that do not repeat. They are no secret and need not be unguessable.
#[derive(Debug)]
pub struct Names(AtomicU64);

impl Names {
    /// Starts from a random place.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(getrandom::u64().unwrap_or_else(|_| crate::moment::Moment::now().unix_ns)))
    }

    /// The next number of the SplitMix64 sequence: every 64-bit number once before one comes again.
    fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A new request id, for a request that has no fields.
    pub fn request_id(&self) -> HeaderValue {
        self.traceparent().part(TRACE_ID)
    }

    /// A new span.
    pub fn span(&self) -> SpanId {
        // All zero is no id (W3C Trace Context, section 3.2.2.4).
        SpanId(self.next().max(1))
    }

    /// A new `traceparent`, not sampled. Its trace id is the request id.
    fn traceparent(&self) -> Finished {
        let mut text = Scrap::<TRACEPARENT_BYTES>::begin();
        text.push(b"00-");
        push_hex(&mut text, self.next());
        push_hex(&mut text, self.next());
        text.push(b"-");
        push_hex(&mut text, self.next());
        text.push(b"-00");
        text.finish()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

/// Appends 16 lower-case hexadecimal digits.
fn push_hex<const N: usize>(text: &mut Scrap<N>, number: u64) {
    text.push(&hex_digits((number >> 32) as u32));
    text.push(&hex_digits(number as u32));
}

/// The eight digits of a number, all at once: one to a byte, first as 0 to 15, then as characters.
fn hex_digits(number: u32) -> [u8; 8] {
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_FFFF_0000_FFFF;
    digits = (digits | digits << 8) & 0x00FF_00FF_00FF_00FF;
    digits = (digits | digits << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    // 1 in each byte that holds more than 9.
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// What a request is called from now on.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its `X-Request-Id`.
    pub request_id: HeaderValue,
    /// Whether its trace is the client's, and not one that was made here.
    pub has_parent: bool,
}

/// Names a request: leaves exactly one `X-Request-Id` and one `traceparent` in its fields.
pub fn name(fields: &mut HeaderMap, seen: Seen, request_id_field: &HeaderName, names: &Names) -> Named {
    let has_parent =
        seen.has(Rare::Trace) && single(fields, &TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes()));
    let given_id = single(fields, request_id_field).filter(|value| is_request_id(value.as_bytes())).cloned();
    let made = names.traceparent();
    let request_id = given_id.unwrap_or_else(|| made.part(TRACE_ID));
    fields.insert(request_id_field, request_id.clone());
    if !has_parent {
        if seen.has(Rare::Trace) {
            fields.remove(TRACESTATE);
        }
        fields.insert(TRACEPARENT, made.whole());
    }
    Named { request_id, has_parent }
}

/// The value of a field that stands exactly once.
fn single<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f HeaderValue> {
    let mut values = fields.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Letters, digits and a little punctuation: nothing that could break a log line or a shell.
fn is_request_id(id: &[u8]) -> bool {
    let fits = !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX;
    fits && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte))
}

/// Whether a field is good and its ids are not all zero. A version that is not known yet begins as version 00 does, and may
/// go on after a dash (W3C Trace Context, section 3.2.2).
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let some = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
    let Some((known, more)) = value.split_at_checked(TRACEPARENT_BYTES) else { return false };
    let (version, trace, parent, flags) = (&known[..2], &known[TRACE_ID], &known[36..52], &known[53..]);
    let ends = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => more.is_empty() || more[0] == b'-',
    };
    ends && [2, 35, 52].iter().all(|dash| known[*dash] == b'-')
        && [version, trace, parent, flags].into_iter().all(hex)
        && some(trace)
        && some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library() {
        for number in [0, 1, 0x9ABC_DEF0_1234_5678, 0x0A0B_0C0D_9F9F_F9F9, u64::MAX] {
            let mut text = Scrap::<16>::begin();
            push_hex(&mut text, number);
            assert_eq!(text.finish().whole(), format!("{number:016x}"));
        }
    }

    const ID: HeaderName = HeaderName::from_static("x-request-id");
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn good_names_are_passed_on_and_others_replaced() {
        check("nothing given", &[], false, false);
        check("both given", &[(ID, "abc-123"), (TRACEPARENT, TRACE)], true, true);
        check("an id with a space", &[(ID, "abc 123")], false, false);
        check("two ids", &[(ID, "a"), (ID, "b")], false, false);
        check(
            "a trace of zeros",
            &[(TRACEPARENT, "00-00000000000000000000000000000000-00f067aa0ba902b7-01")],
            false,
            false,
        );
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        check("a version to come", &[(TRACEPARENT, later)], false, true);
        let longer = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like";
        check("a version to come that says more", &[(TRACEPARENT, longer)], false, true);
        for (row, wrong) in [
            ("version 00 that says more", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"),
            ("more without a dash", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01what"),
            ("the version that is none", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("no dash", "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01"),
            ("too short", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"),
        ] {
            check(row, &[(TRACEPARENT, wrong)], false, false);
        }
        check(
            "upper case is not allowed",
            &[(TRACEPARENT, "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")],
            false,
            false,
        );
    }

    #[track_caller]
    fn check(row: &str, given: &[(HeaderName, &'static str)], id_kept: bool, trace_kept: bool) {
        let mut fields = HeaderMap::new();
        for (name, value) in given {
            fields.append(name, HeaderValue::from_static(value));
        }
        let before = fields.clone();
        let seen = Seen::of(&fields);
        let Named { request_id: id, has_parent } = name(&mut fields, seen, &ID, &Names::new());
        assert_eq!(has_parent, trace_kept, "{row}");
        assert_eq!(single(&fields, &ID), Some(&id), "{row}");
        assert_eq!(before.get(ID) == Some(&id), id_kept, "{row}");
        let trace = single(&fields, &TRACEPARENT).expect(row);
        assert!(is_traceparent(trace.as_bytes()), "{row}: {trace:?}");
        assert_eq!(before.get(TRACEPARENT) == Some(trace), trace_kept, "{row}");
        if !id_kept && !trace_kept {
            assert_eq!(&trace.as_bytes()[3..35], id.as_bytes(), "{row}: one name for both");
        }
    }
}
