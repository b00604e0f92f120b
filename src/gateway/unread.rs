//! Requests that were refused before anybody could read them: their heads were broken, too large, or too slow.
//!
//! The listener notices, and no road begins. What is said, counted and logged is what every other refusal is, as far as
//! anything is known: the reason, the shape that the operator wants, a request id.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::desk::Desk;
use super::policy::Policy;
use super::question::Asking;
use super::refusal::Manner;
use super::rejection::Rejection;
use crate::moment::Moment;
use crate::telemetry::access_log::AccessLine;
use crate::telemetry::metrics::{MethodLabel, RouteLabel, Sample, Source};

/// Why the head of a request was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadHead {
    /// It is not HTTP.
    #[error("the head is malformed")]
    Malformed,
    /// It has more bytes or fields than it may.
    #[error("the head is too large")]
    TooLarge,
    /// Its target is longer than any may be.
    #[error("the target is too long")]
    TargetTooLong,
    /// It did not come in time.
    #[error("the head came too slowly")]
    Late,
}

impl UnreadHead {
    /// What the status means that a listener would answer with.
    #[must_use]
    pub const fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_TIMEOUT => Self::Late,
            StatusCode::URI_TOO_LONG => Self::TargetTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::TooLarge,
            _ => Self::Malformed,
        }
    }
}

/// Counts and logs such a request, or question at a door where others ask. Returns what the client is to be told: a whole
/// HTTP/1.1 response, after which the connection ends.
#[must_use]
pub fn refuse(desk: &Desk, policy: &Policy, client: IpAddr, head: UnreadHead, asking: Option<&Asking>) -> Bytes {
    let (now, rejection) = (Moment::now(), Rejection::Unread(head));
    let source = if asking.is_some() { Source::Check } else { Source::Keygate };
    let request_id = desk.names.request_id();
    let manner = Manner { request_id: Some(&request_id), asking, ..Manner::default() };
    let mut response = policy.refusals.write(&rejection, manner);
    let content = response.body().content();

    let (reason, status) = (rejection.row().reason, response.status().as_u16());
    desk.shard.rejected(reason as usize);
    desk.shard.record(&Sample {
        route: RouteLabel::NONE,
        method: MethodLabel::Other,
        status,
        source,
        request_ns: 0,
        upstream_ns: None,
        overhead_ns: 0,
        request_bytes: 0,
        response_bytes: content.len() as u64,
    });
    if let Some(access_log) = &desk.access_log {
        let line = AccessLine {
            unix_ns: now.unix_ns,
            request_id: request_id.to_str().unwrap_or_default(),
            client,
            method: "",
            host: None,
            path: "",
            protocol: "HTTP/1.1",
            route: super::record::NO_ROUTE,
            status,
            source: source.as_str(),
            reason: Some(reason.word()),
            user: None,
            key_id: None,
            duration_ns: 0,
            upstream_ns: None,
            overhead_ns: 0,
            request_bytes: 0,
            response_bytes: content.len() as u64,
        };
        access_log.write(desk.worker, &line);
    }

    let fields = response.headers_mut();
    fields.insert(&policy.forwarding.request_id, request_id);
    fields.insert(CONTENT_LENGTH, content.len().into());
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(date) = date(now) {
        fields.insert(DATE, date);
    }
    written(&response, &content)
}

/// A response as it goes over the wire (RFC 9112, section 4).
fn written(response: &Response<ResponseBody>, content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(512 + content.len());
    let status = response.status();
    bytes.put_slice(b"HTTP/1.1 ");
    bytes.put_slice(status.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    bytes.put_slice(b"\r\n");
    for (name, value) in response.headers() {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    bytes.put_slice(b"\r\n");
    bytes.put_slice(content);
    bytes.freeze()
}

/// The moment as the field `Date` has it (RFC 9110, section 5.6.7).
fn date(now: Moment) -> Option<HeaderValue> {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(now.unix_ns)).ok()?;
    HeaderValue::try_from(moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_wants_it() {
        let now = Moment { unix_ns: 784_111_777_999_999_999, monotonic_ns: 0 };
        assert_eq!(date(now).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
