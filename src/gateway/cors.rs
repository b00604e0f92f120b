//! What a browser needs in order to ask, and to read a refusal (Fetch standard, section 3.2).
//!
//! The upstream answers for its own cross-origin rules. Here are only the two things that it cannot do: a preflight
//! bears no credentials and would never reach it, and a refusal is not its response.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
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

    /// Answers the preflight of a request that goes to no upstream: its method and its fields are known to be good, since
    /// there is a route for it.
    #[must_use]
    pub fn answer_preflight(asked: &Asked) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let methods = [(ACCESS_CONTROL_ALLOW_METHODS, &asked.method), (ACCESS_CONTROL_ALLOW_HEADERS, &asked.fields)];
        for (name, value) in methods {
            if let Some(value) = value {
                fields.insert(name, value.clone());
            }
        }
        fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        fields
    }
}

/// What a preflight asks for.
#[derive(Debug)]
pub struct Asked {
    method: Option<HeaderValue>,
    fields: Option<HeaderValue>,
}

impl Asked {
    /// Reads it.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let get = |name| fields.get(name).cloned();
        Self { method: get(ACCESS_CONTROL_REQUEST_METHOD), fields: get(ACCESS_CONTROL_REQUEST_HEADERS) }
    }
}
