//! What a proxy is told that asked whether a request may pass.
//!
//! Yes is exactly 200: there are proxies that take every 2xx for it, and others that send any but 200 to the client. No is
//! a refusal like every other, in a form in which each of them gets it to the client: nginx knows 401 and 403 and makes
//! 500 of all else, and Envoy can be told to let pass what is answered with 5xx.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::body::ResponseBody;
use super::credentials::Places;
use super::identity::{Identity, IdentityFields};
use super::policy::Policy;
use super::question::{Asking, Dialect};
use super::rate_limit::Admission;

/// Bytes of a refusal that fit beside its other fields where a proxy reads no content.
const BODY_BYTES_MAX: usize = 1024;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
const STATUS: HeaderName = HeaderName::from_static("x-keygate-status");
const BODY: HeaderName = HeaderName::from_static("x-keygate-body");

/// Says that a request may pass, and whose it is, for an [`Admission`] only.
///
/// Envoy is told besides what it has to take out of the request: credentials, and identity that was not handed over.
/// Others are set up to do so.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "who was admitted once is told so once")]
pub fn pass<B>(
    asking: &Asking,
    admission: Admission<'_>,
    request: &Request<B>,
    policy: &Policy,
) -> Response<ResponseBody> {
    let identity = &policy.forwarding.identity;
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    let fields = response.headers_mut();
    let environment = identity.asked_environment(request.headers());
    identity.write(fields, Identity::of(admission.permit().principal(), environment.as_ref()));
    if asking.dialect == Dialect::Envoy {
        let names = to_remove(fields, identity, &policy.places, request.headers());
        if let Ok(names) = HeaderValue::try_from(names) {
            fields.insert(TO_REMOVE, names);
        }
    }
    fields.insert(CACHE_CONTROL, NO_STORE);
    fields.insert(CONTENT_LENGTH, 0.into());
    response
}

/// The names of what must not reach the API beside what is handed over. Credentials of ours were taken out of `left`.
fn to_remove(handed_over: &HeaderMap, identity: &IdentityFields, places: &Places, left: &HeaderMap) -> String {
    let bearer = (places.token || places.api_key.bearer) && !left.contains_key(AUTHORIZATION);
    let credentials = places.api_key.fields.iter().chain(&places.session).chain(bearer.then_some(&AUTHORIZATION));
    let unsaid = identity.names().into_iter().filter(|name| !handed_over.contains_key(*name));
    credentials.chain(unsaid).map(HeaderName::as_str).collect::<Vec<_>>().join(",")
}

/// The status that stands in the content of a refusal: nginx is told which one to send, all others send the one they get.
#[must_use]
pub fn status_in_content(asking: &Asking, status: StatusCode) -> StatusCode {
    if asking.dialect == Dialect::Nginx { status } else { told(asking, status) }
}

/// Brings a refusal into the form that the proxy can pass on. nginx reads no content, and gets it in a field, as it gets the
/// status, to be sent by its configuration.
pub fn fit(asking: &Asking, response: &mut Response<ResponseBody>) {
    let status = response.status();
    let told = told(asking, status);
    if asking.dialect == Dialect::Nginx {
        let content = std::mem::replace(response.body_mut(), ResponseBody::fixed(Bytes::new())).content();
        let body = HeaderValue::from_bytes(&content).ok().filter(|_| (1..=BODY_BYTES_MAX).contains(&content.len()));
        let fields = response.headers_mut();
        fields.remove(CONTENT_TYPE);
        fields.insert(STATUS, status.as_u16().into());
        if let Some(body) = body {
            fields.insert(BODY, body);
        }
    }
    *response.status_mut() = told;
}

/// The status that a refusal has for the proxy. Never one that could be taken for a yes.
#[must_use]
pub fn told(asking: &Asking, status: StatusCode) -> StatusCode {
    if status == StatusCode::TOO_MANY_REQUESTS
        && let Some(wished) = asking.limit_status
    {
        return wished;
    }
    let passed_on = match asking.dialect {
        Dialect::Nginx => status == StatusCode::UNAUTHORIZED,
        Dialect::Forwarded => status.is_client_error() || status.is_server_error(),
        Dialect::Envoy => status.is_client_error(),
    };
    if passed_on { status } else { StatusCode::FORBIDDEN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_can_be_taken_for_a_yes() {
        for dialect in [Dialect::Nginx, Dialect::Forwarded, Dialect::Envoy] {
            let asking = Asking { dialect, path: String::new(), from: Vec::new(), limit_status: None };
            for status in (100..=999).map(|status| StatusCode::from_u16(status).unwrap()) {
                let told = told(&asking, status).as_u16();
                let passed_on = match dialect {
                    Dialect::Nginx => told == 401 || told == 403,
                    Dialect::Forwarded => (400..600).contains(&told),
                    Dialect::Envoy => (400..500).contains(&told),
                };
                assert!(passed_on, "{dialect:?}: {status} is told as {told}");
            }
        }
    }

    #[test]
    fn the_status_of_a_spent_limit_is_the_operators() {
        let asking = |dialect, wished: Option<u16>| {
            let limit_status = wished.map(|status| StatusCode::from_u16(status).unwrap());
            told(
                &Asking { dialect, path: String::new(), from: Vec::new(), limit_status },
                StatusCode::TOO_MANY_REQUESTS,
            )
        };
        assert_eq!(asking(Dialect::Nginx, None), 403);
        assert_eq!(asking(Dialect::Nginx, Some(429)), 429);
        assert_eq!(asking(Dialect::Envoy, None), 429);
        assert_eq!(asking(Dialect::Envoy, Some(403)), 403);
    }
}
