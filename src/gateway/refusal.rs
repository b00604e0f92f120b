//! How a refusal is written down: status, fields, and a problem document (RFC 9457).
//!
//! What is refused and with which status is the table in [`super::rejection`].

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::rejection::{Rejection, Row};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What every refusal of a policy needs.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// The challenge of a 401 (RFC 9110, section 11.6.1).
    pub challenge: HeaderValue,
}

impl Refusals {
    /// Writes a refusal.
    #[must_use]
    pub fn write(&self, rejection: &Rejection) -> Response<ResponseBody> {
        let row = rejection.row();
        let retry_after_seconds = rejection.retry_after_seconds();
        let mut response = Response::new(ResponseBody::fixed(problem(&row, retry_after_seconds)));
        *response.status_mut() = row.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, PROBLEM_JSON);
        fields.insert(CACHE_CONTROL, NO_STORE);
        if row.status == StatusCode::UNAUTHORIZED {
            fields.insert(WWW_AUTHENTICATE, self.challenge.clone());
        }
        if let Some(seconds) = retry_after_seconds {
            fields.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The problem document. All of its text is ours and needs no escaping.
fn problem(row: &Row, retry_after_seconds: Option<u64>) -> Bytes {
    let mut text = String::with_capacity(192);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"{{"type":"about:blank","title":"{}","status":{},"code":"{}","detail":"{}""#,
        row.status.canonical_reason().unwrap_or_default(),
        row.status.as_u16(),
        row.reason.word(),
        row.detail,
    );
    if let Some(seconds) = retry_after_seconds {
        let _ = write!(text, r#","retry_after":{seconds}"#);
    }
    text.push_str("}\n");
    text.into()
}
