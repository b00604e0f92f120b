//! How far a request may still go: `Max-Forwards`, and requests that go round in circles.

use http::header::{MAX_FORWARDS, VIA};
use http::{HeaderMap, HeaderValue, Method, Request};

use super::message::MalformedMessage;

/// How often a request may have been here before. One gateway behind another of the same name is no circle.
const TIMES_MAX: usize = 8;

/// The request has been here too often: the upstream sends it back to us.
#[derive(Debug, thiserror::Error)]
#[error("the request goes round in a circle")]
pub struct Circle;

/// Looks how often `pseudonym`, our name in `Via` (RFC 9110, section 7.6.3), has received the request.
///
/// # Errors
///
/// [`Circle`] if that is too often for a chain of gateways of the same name.
pub fn check_circle(fields: &HeaderMap, pseudonym: &str) -> Result<(), Circle> {
    let elements = fields.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let here = elements.filter(|element| {
        let mut words = element.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name == pseudonym.as_bytes())
    });
    if here.count() > TIMES_MAX { Err(Circle) } else { Ok(()) }
}

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// It does.
    Further,
    /// We are the last that it was meant for.
    Last,
}

/// Counts down `Max-Forwards`, which has a meaning for OPTIONS and TRACE only (RFC 9110, section 7.6.2).
///
/// # Errors
///
/// [`MalformedMessage`] if it is not one number.
pub fn count_down<B>(request: &mut Request<B>) -> Result<Hop, MalformedMessage> {
    if !matches!(*request.method(), Method::OPTIONS | Method::TRACE) {
        return Ok(Hop::Further);
    }
    let fields = request.headers_mut();
    let mut values = fields.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else { return Ok(Hop::Further) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let left: Option<u64> = digits.and_then(|digits| digits.parse().ok()).filter(|_| values.next().is_none());
    match left {
        None => Err(MalformedMessage("Max-Forwards is not one number")),
        Some(0) => Ok(Hop::Last),
        Some(left) => {
            fields.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(Hop::Further)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_gateways_of_one_name_is_no_circle_and_a_long_one_is() {
        let mut fields = HeaderMap::new();
        fields.append(VIA, HeaderValue::from_static("1.1 other, 1.0 keygate-2 (keygate)"));
        for _ in 0..TIMES_MAX / 2 {
            fields.append(VIA, HeaderValue::from_static("1.1 keygate, 2.0  keygate (a comment)"));
        }
        assert!(check_circle(&fields, "keygate").is_ok());
        fields.append(VIA, HeaderValue::from_static("HTTP/1.1 keygate"));
        assert!(check_circle(&fields, "keygate").is_err());
        assert!(check_circle(&fields, "gate").is_ok());
    }

    #[test]
    fn max_forwards_counts_down_to_nobody() {
        let count = |method: Method, values: &[&'static str]| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            for value in values {
                request.headers_mut().append(MAX_FORWARDS, HeaderValue::from_static(value));
            }
            let hop = count_down(&mut request).ok();
            (hop, request.headers().get(MAX_FORWARDS).and_then(|value| value.to_str().ok()).map(str::to_owned))
        };
        let further = |left: &str| (Some(Hop::Further), Some(left.to_owned()));
        assert_eq!(count(Method::OPTIONS, &["7"]), further("6"));
        assert_eq!(count(Method::TRACE, &["1"]), further("0"));
        assert_eq!(count(Method::GET, &["0"]), further("0"));
        assert_eq!(count(Method::OPTIONS, &[]), (Some(Hop::Further), None));
        assert_eq!(count(Method::OPTIONS, &["0"]).0, Some(Hop::Last));
        for wrong in [&["-1"][..], &["+1"], &["1.5"], &[""], &["1", "1"], &["99999999999999999999"]] {
            assert_eq!(count(Method::TRACE, wrong).0, None, "{wrong:?}");
        }
    }
}
