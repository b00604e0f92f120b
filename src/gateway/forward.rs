//! To the upstream and back: the last step of the road, open only to an [`Admission`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::response::Parts;
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::{RequestBody, ResponseBody};
use super::content::Content;
use super::fields::{self, FieldRules, Framing, Origin};
use super::hops::check_circle;
use super::identity::{Identity, IdentityFields};
use super::message::{MalformedMessage, Target};
use super::progress::{End, Patience};
use super::rate_limit::Admission;
use super::record::Record;
use super::rejection::Rejection;
use super::seen::Rare;
use super::tunnel::TunnelTimeouts;
use super::upgrade::Handshake;
use super::upstream::{HostRule, Protocol, Switched, Upstream, UpstreamError, UpstreamResponse};

/// What a policy says about forwarding.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// What happens to fields.
    pub fields: FieldRules,
    /// Where the upstream learns who asks.
    pub identity: IdentityFields,
    /// The field that names a request.
    pub request_id: http::HeaderName,
    /// Bytes of content that a request may have.
    pub content_bytes_max: u64,
    /// How long and how slowly the content of a request may come.
    pub request_body: Patience,
    /// Longest pause in the content of a response.
    pub response_body_timeout: Duration,
    /// How long a tunnel may stand still.
    pub tunnel_timeouts: TunnelTimeouts,
}

/// What came of a request that was forwarded.
pub enum Forwarded {
    /// A response, whose content is still to come.
    Response(Response<ResponseBody>),
    /// The head of a response behind which both sides leave HTTP.
    Switched(Response<()>, Switched),
}

/// Forwards an admitted request and returns the upstream's response as soon as its head is there.
///
/// # Errors
///
/// [`Rejection::ContentTooLarge`] before anything is sent if the request announces more than it may have;
/// [`Rejection::Upstream`] or one about the content if there is no response.
pub async fn forward(
    mut request: Request<Content>,
    origin: &Origin<'_>,
    admission: Admission<'_>,
    upstream: &Arc<Upstream>,
    forwarding: &Forwarding,
    record: &mut Record,
) -> Result<Forwarded, Rejection> {
    let bytes_max = forwarding.content_bytes_max;
    if announced_bytes(&request).is_some_and(|bytes| bytes > bytes_max) {
        return Err(Rejection::ContentTooLarge { bytes_max });
    }
    let permit = admission.permit();

    if origin.seen.has(Rare::Via) {
        check_circle(request.headers(), &forwarding.fields.via.pseudonym)?;
    }
    let wants_trailers = origin.seen.has(Rare::Te) && wants_trailers(request.headers());
    let environment = forwarding.identity.asked_environment(request.headers());
    forwarding.fields.strip_request(request.headers_mut());
    forwarding.fields.write_forwarding(request.headers_mut(), origin);
    let principal = permit.principal();
    forwarding.identity.write(request.headers_mut(), Identity::of(principal, environment.as_ref()));

    if let Some(handshake) = &origin.handshake {
        handshake.ask(request.headers_mut());
    }

    let (head, content) = request.into_parts();
    let body =
        RequestBody::new(content, origin.version, bytes_max, forwarding.request_body, || forwarding.fields.trailers());
    let upload = body.upload();
    let mut request = Request::from_parts(head, body);
    address(&mut request, origin.target, upstream, wants_trailers)?;

    record.forwarding(upload.clone(), upstream);
    let result = upstream.send(record.desk().worker, request).await;
    record.upstream_done();
    let answer = result.map_err(|error| Rejection::of_upstream(error, upload.as_deref(), bytes_max))?;
    let switches = answer.response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match &origin.handshake {
        Some(handshake) if switches => return Ok(switched(answer, handshake).await?),
        Some(handshake) => handshake.may_decline(answer.response.status())?,
        // We asked for no other protocol, so nobody may switch to one (RFC 9110, section 15.2.2).
        None if switches => return Err(UpstreamError::Ambiguous.into()),
        None => {}
    }

    let UpstreamResponse { response, lease } = answer;
    let (mut head, incoming) = response.into_parts();
    let end = End::of_response(head.version, upload.is_some());
    let framing = judge(&mut head).ok_or(UpstreamError::Ambiguous)?;
    fields::strip_response(&mut head.headers);
    if head.status.is_success()
        && let Some(delivery) = permit.principal().delivery()
    {
        delivery.keep();
    }
    head.version = Version::HTTP_11;
    let has_none = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if has_none && !incoming.is_end_stream() {
        // RFC 9110, section 6.4.1: what comes all the same, as it can over HTTP/2, ends here with its stream.
        ResponseBody::fixed(Bytes::new())
    } else {
        ResponseBody::forwarded(incoming, lease, framing, end, forwarding.response_body_timeout)
    };
    Ok(Forwarded::Response(Response::from_parts(head, body)))
}

/// Takes the connection out of HTTP if the upstream has agreed to what was asked.
async fn switched(answer: UpstreamResponse, handshake: &Handshake) -> Result<Forwarded, UpstreamError> {
    handshake.check(answer.response.headers())?;
    let (mut head, switched) = answer.switch().await?;
    fields::strip_response(&mut head.headers);
    handshake.agree(&mut head);
    head.version = Version::HTTP_11;
    Ok(Forwarded::Switched(Response::from_parts(head, ()), switched))
}

/// Says how far a response can be trusted that could be read; `None` if not at all.
fn judge(head: &mut Parts) -> Option<Framing> {
    // RFC 9110, section 15: above 599 there is no status.
    if head.status.as_u16() >= 600 {
        return None;
    }
    if head.version == Version::HTTP_2 && fields::flaw(&head.headers).is_some() {
        return None;
    }
    fields::settle_framing(head.status, &mut head.headers).ok()?;
    Some(if head.version < Version::HTTP_11 { Framing::Old } else { Framing::Clear })
}

/// Whether a client understands fields behind the content (RFC 9110, section 10.1.4).
fn wants_trailers(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The length that a request announces, in bytes. hyper has made sure that there is only one and that it is a number.
pub fn announced_bytes<B>(request: &Request<B>) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Writes target, `Host` and version as the upstream wants them. The path is the one that was decided on: where it cannot
/// be written, the request does not go on with the one that the client sent.
fn address(
    request: &mut Request<RequestBody>,
    target: &Target,
    upstream: &Upstream,
    wants_trailers: bool,
) -> Result<(), MalformedMessage> {
    let settings = upstream.settings();
    let host = match &settings.host {
        HostRule::Replace(host) => Some(host.clone()),
        HostRule::Preserve => target.host.as_ref().map(|host| host.value.clone()),
    };
    // An HTTP/1.0 client may name no host; the upstream is promised one (RFC 9112, section 3.2).
    let host = host.or_else(|| settings.endpoint.host());
    match settings.protocol {
        Protocol::Http1 => {
            *request.uri_mut() = Uri::from(target.path_and_query.clone());
            fields::fit_for_http1(request, host);
        }
        Protocol::Http2 => {
            let scheme = if settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
            let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
            let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target.path_and_query.clone());
            *request.uri_mut() = uri.build().map_err(|_| MalformedMessage("the target is malformed"))?;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
            if wants_trailers {
                // RFC 9113, section 8.2.2: the only TE that HTTP/2 knows, and what gRPC servers ask for.
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            }
        }
    }
    Ok(())
}
