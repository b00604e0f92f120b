//! What a browser needs in order to ask, and to read a refusal (Fetch standard, section 3.2).
//!
//! The upstream answers for its own cross-origin rules. Here are only the two things that it cannot do: a preflight
//! bears no credentials and would never reach it, and a refusal is not its response.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// The cross-origin rules of a policy.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Origins whose pages may read refusals; `None` for every origin, without credentials.
    pub origins: Option<Vec<HeaderValue>>,
    /// Whether pages may read refusals to requests that carried cookies.
    pub credentials: bool,
    /// Whether preflights go to the upstream without credentials.
    pub preflight: bool,
}

/// What of a refusal a page may read beside its body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Retry-After, WWW-Authenticate, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id",
);

impl Cors {
    /// The method that a preflight asks about, if the request is one and may pass without credentials. Its route is the
    /// one of the request that is to follow.
    #[must_use]
    pub fn preflight_for(&self, method: &Method, fields: &HeaderMap) -> Option<Method> {
        let preflight = self.preflight && *method == Method::OPTIONS && fields.contains_key(ORIGIN);
        let asked = fields.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| preflight)?;
        Method::from_bytes(asked.as_bytes()).ok()
    }

    /// Lets the page of `origin` read a refusal, if it may.
    pub fn open(&self, origin: &HeaderValue, fields: &mut HeaderMap) {
        match &self.origins {
            None => {
                fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Some(origins) if origins.contains(origin) => {
                fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                fields.append(VARY, HeaderValue::from_static("Origin"));
                if self.credentials {
                    fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
            Some(_) => return,
        }
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
