//! `Cookie`: crumbs of HTTP/2 become one line with every crumb in it, in order (RFC 9113, section 8.2.3); a line of
//! HTTP/1.1 stays as it is.

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body_util::Full;
use keygate::gateway::fields::fit_for_http1;

use super::fields_of;

pub const WORDS: &[&str] = &["cookie: ", "Cookie:", "a=b", "; ", ";", "=", "\n", "\"", "é", "host: a", "x: ", ","];

pub fn check(data: &[u8]) {
    let (fields, content) = fields_of(data);
    for version in [Version::HTTP_2, Version::HTTP_11] {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(content)));
        *request.version_mut() = version;
        *request.headers_mut() = fields.clone();
        fit_for_http1(&mut request, Some(HeaderValue::from_static("example.com")));
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(values(request.headers(), HOST), [b"example.com"]);
        let (before, after) = (values(&fields, COOKIE), values(request.headers(), COOKIE));
        if version == Version::HTTP_2 && !before.is_empty() {
            assert_eq!(after, [before.join(&b"; "[..])]);
        } else {
            assert_eq!(after, before);
        }
        for name in fields.keys().filter(|name| **name != COOKIE && **name != HOST) {
            assert_eq!(values(&fields, name), values(request.headers(), name), "{name} was changed");
        }
    }
}

fn values(fields: &HeaderMap, name: impl http::header::AsHeaderName) -> Vec<Vec<u8>> {
    fields.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
}
