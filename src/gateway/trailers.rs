//! Fields behind the content: which of them go on.
//!
//! They are judged by nobody, because they come when everything is decided. So what a server could take for a field that
//! we have judged or written goes no further, and neither does what has no meaning behind content (RFC 9110, section
//! 6.5.1). What is left could have come as a field as well, and then it would have passed.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::fields::{is_written_here, strip_response};
use super::identity::RESERVED_PREFIX;

/// What frames, routes, steers or proves a message, or says how its content is to be read, in the order of the alphabet.
const MEANINGLESS: [&str; 34] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "vary",
    "via",
    "www-authenticate",
];

/// The names that only we may write, as [`super::fields::FieldRules`] has them. Cheap to clone: it goes with each upload.
#[derive(Clone, Debug)]
pub struct TrailerRules(pub(super) Arc<[String]>);

impl TrailerRules {
    /// Removes from the trailers of a request what must not arrive; says whether anything is left.
    pub fn strip(&self, trailers: &mut HeaderMap) -> bool {
        strip(trailers);
        remove(trailers, |name| {
            let dashed = name.as_str().replace('_', "-");
            dashed.starts_with(RESERVED_PREFIX)
                || self.0.contains(&dashed)
                || is_written_here(&dashed)
                || MEANINGLESS.binary_search(&dashed.as_str()).is_ok()
        });
        !trailers.is_empty()
    }
}

/// Removes from the trailers of a response, or of any message, what ends with its connection or has no meaning there.
pub fn strip(trailers: &mut HeaderMap) {
    strip_response(trailers);
    // A quote is in no name (RFC 9110, section 5.6.2), but the library that reads them lets it pass.
    remove(trailers, |name| name.as_str().contains('"') || MEANINGLESS.binary_search(&name.as_str()).is_ok());
}

fn remove(fields: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) {
    let ending: Vec<HeaderName> = fields.keys().filter(|name| condition(name)).cloned().collect();
    for name in &ending {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn left_of(names: &[&'static str], strip: impl Fn(&mut HeaderMap)) -> Vec<String> {
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.insert(HeaderName::from_lowercase(name.as_bytes()).unwrap(), HeaderValue::from_static("x"));
        }
        strip(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort();
        left
    }

    #[test]
    fn names_without_meaning_are_found() {
        assert!(MEANINGLESS.is_sorted());
        for name in MEANINGLESS {
            assert_eq!(left_of(&[name, "x-sum"], strip), ["x-sum"], "{name}");
        }
    }

    #[test]
    fn what_only_we_may_write_does_not_come_from_behind_in_any_spelling() {
        let rules = TrailerRules(["x-user".to_owned(), "x-api-key".to_owned()].into());
        let names = [
            "x\"y",
            "x-user",
            "x_user",
            "x-api_key",
            "x_keygate_tenant",
            "x-keygate-anything",
            "x_forwarded-for",
            "traceparent",
            "content_length",
            "proxy_authorization",
            "upgrade",
            "keep-alive",
            "grpc-status",
            "x-sum",
        ];
        let strip = |trailers: &mut HeaderMap| assert!(rules.strip(trailers));
        assert_eq!(left_of(&names, strip), ["grpc-status", "x-sum"]);
        assert!(!rules.strip(&mut HeaderMap::from_iter([(HeaderName::from_static("x-user"), 1.into())])));
    }
}
