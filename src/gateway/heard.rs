//! What of a request decides how we answer it ourselves, when it is gone already.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use super::body::ResponseBody;
use super::content::Content;
use super::cors::{self, Cors};
use super::policy::Policy;
use super::question::Asking;
use super::record::Record;
use super::refusal::{Manner, is_grpc};
use super::rejection::Rejection;
use super::route::NoRoute;

/// What of a request decides how a refusal is written: it is gone by then.
pub struct Heard {
    /// The version it came in.
    pub version: Version,
    grpc: bool,
    origin: Option<HeaderValue>,
    /// There is content.
    content: bool,
    /// The answer has none, and hyper does not see to that.
    pub head_alone: bool,
}

impl Heard {
    /// Reads it.
    #[must_use]
    pub fn of(request: &Request<Incoming>, policy: &Policy) -> Self {
        let fields = request.headers();
        let origin = policy.cors.as_ref().and_then(|_| fields.get(ORIGIN).cloned());
        let content = !request.body().is_end_stream();
        let version = request.version();
        let head_alone = version == Version::HTTP_2 && *request.method() == Method::HEAD;
        Self { version, grpc: is_grpc(fields), origin, content, head_alone }
    }

    /// Lets the page that asked read what we say, if it may.
    pub fn open(&self, policy: &Policy, response: &mut Response<ResponseBody>) {
        if let (Some(cors), Some(origin)) = (&policy.cors, &self.origin) {
            cors.open(origin, response.headers_mut());
        }
    }

    /// Writes a refusal of it, or of what it asks about.
    #[must_use]
    pub fn refuse(
        &self,
        rejection: &Rejection,
        policy: &Policy,
        record: &Record,
        asking: Option<&Asking>,
    ) -> Response<ResponseBody> {
        let (request_id, tokens_alone) = (record.request_id(), record.asked_for_tokens_alone());
        // No operation speaks gRPC: to whoever asks one, the 200 of a refusal in gRPC would say that it was done.
        // A proxy would take it for a yes.
        let grpc = self.grpc && asking.is_none() && !record.is_of_operation();
        let mut response = policy.refusals.write(rejection, Manner { request_id, grpc, tokens_alone, asking });
        self.open(policy, &mut response);
        let unread = self.content && !record.has_read_content();
        if (unread || matches!(rejection, Rejection::Message(_))) && self.version != Version::HTTP_2 {
            // RFC 9112, section 9.6: what is left of the content, which nobody will read, ends with the connection. So
            // does what follows a request that can be read in two ways.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Leaves out what we have to say, but for its length: HEAD asks for a head (RFC 9110, section 9.3.2). hyper does so in
/// HTTP/1.1 only. What an upstream sends all the same is not taken by the library that reads it.
pub fn leave_content_out(response: &mut Response<ResponseBody>) {
    let content = response.body().content();
    if !content.is_empty() {
        response.headers_mut().insert(CONTENT_LENGTH, content.len().into());
        *response.body_mut() = ResponseBody::fixed(Bytes::new());
    }
}

/// Answers a request that was meant to go no further than to us (RFC 9110, section 7.6.2): OPTIONS asks what could be
/// asked here. TRACE asks for its own fields, and they are not for every page to see.
///
/// # Errors
///
/// [`NoRoute::Method`] for TRACE.
pub fn answer_as_last(request: &Request<Content>, allow: String) -> Result<Response<ResponseBody>, Rejection> {
    if *request.method() != Method::OPTIONS {
        return Err(NoRoute::Method { allow: allow.replace(", TRACE", "") }.into());
    }
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    Ok(response)
}

/// Answers the preflight of a request that goes to no upstream.
#[must_use]
pub fn preflight_of(request: &Request<Content>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = Cors::answer_preflight(&cors::Asked::of(request.headers()));
    response
}
