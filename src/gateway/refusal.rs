//! How a refusal is written down: status, fields and body, each as the operator wants them.
//!
//! What is refused, and why, is the table in [`super::rejection`]. Here every reason has a [`Form`]; without a word in
//! the configuration it is a problem document (RFC 9457).

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::body::ResponseBody;
use super::question::Asking;
use super::rejection::{Reason, Rejection, Row};
use super::route::NoRoute;
use super::verdict;
use crate::template::{Template, TemplateError, Value};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a template may ask for, in the order of [`Occasion::value`].
pub const NAMES: &[&str] =
    &["code", "CODE", "status", "title", "detail", "retry_after", "required_permission", "request_id"];

/// What an operator wants of a refusal; what is left out is as it is without.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Another status.
    pub status: Option<StatusCode>,
    /// Another body.
    pub body: Option<Json>,
    /// More fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What an operator wants of all refusals.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The body of every reason that has none of its own.
    pub body: Option<Json>,
    /// The media type of bodies that the operator has shaped.
    pub content_type: HeaderValue,
    /// What is wanted for single reasons.
    pub each: HashMap<Reason, Wish>,
    /// The challenge of a 401 (RFC 9110, section 11.6.1).
    pub challenge: Challenge,
    /// The challenge of a 401 for a user's token: one that was sent, or where nothing else is accepted.
    pub token_challenge: Challenge,
}

/// The scheme of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A key in a field of its own.
    ApiKey,
    /// A key or a token in `Authorization` (RFC 6750).
    Bearer,
}

impl Challenge {
    /// The challenge itself. `again` if credentials were sent that are not good (RFC 6750, section 3.1).
    const fn value(self, again: bool) -> HeaderValue {
        match (self, again) {
            (Self::ApiKey, _) => HeaderValue::from_static("ApiKey realm=\"keygate\""),
            (Self::Bearer, false) => HeaderValue::from_static("Bearer realm=\"keygate\""),
            (Self::Bearer, true) => HeaderValue::from_static("Bearer realm=\"keygate\", error=\"invalid_token\""),
        }
    }
}

/// What of the request matters to how its refusal is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner<'r> {
    /// Its name.
    pub request_id: Option<&'r HeaderValue>,
    /// Written as gRPC clients read it: 200, and the status in fields.
    pub grpc: bool,
    /// It took a route that accepts tokens of users and nothing else.
    pub tokens_alone: bool,
    /// A proxy has asked, in this way, and it is told.
    pub asking: Option<&'r Asking>,
}

/// A template is wrong: for which reason (`None`: for all), where in its body, and how.
#[derive(Clone, Debug)]
pub struct BadTemplate {
    /// The reason whose body it is.
    pub reason: Option<Reason>,
    /// The path inside the body.
    pub path: String,
    /// What is wrong.
    pub error: TemplateError,
}

/// How every refusal looks.
#[derive(Clone, Debug)]
pub struct Refusals {
    forms: Vec<Form>,
    challenge: Challenge,
    token_challenge: Challenge,
}

/// How the refusals for one reason look.
#[derive(Clone, Debug)]
struct Form {
    status: Option<StatusCode>,
    body: Template,
    content_type: HeaderValue,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Refusals {
    /// Reads the templates.
    ///
    /// # Errors
    ///
    /// Every template that is wrong.
    pub fn new(wishes: &Wishes) -> Result<Self, Vec<BadTemplate>> {
        let mut bad = Vec::new();
        let mut forms = Vec::new();
        for reason in Reason::ALL.iter().copied() {
            let wish = wishes.each.get(&reason);
            let own = wish.and_then(|wish| wish.body.as_ref());
            let shape = own.or(wishes.body.as_ref());
            let content_type = if shape.is_some() { wishes.content_type.clone() } else { PROBLEM_JSON };
            let problem = problem(reason);
            match Template::read(shape.unwrap_or(&problem), NAMES) {
                Ok(body) => forms.push(Form {
                    status: wish.and_then(|wish| wish.status),
                    body,
                    content_type,
                    fields: wish.map(|wish| wish.fields.clone()).unwrap_or_default(),
                }),
                // A mistake in the body of all reasons is one mistake.
                Err((path, error)) if own.is_some() || bad.is_empty() => {
                    bad.push(BadTemplate { reason: own.map(|_| reason), path, error });
                }
                Err(_) => {}
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        Ok(Self { forms, challenge: wishes.challenge, token_challenge: wishes.token_challenge })
    }

    /// Writes a refusal.
    #[must_use]
    pub fn write(&self, rejection: &Rejection, manner: Manner<'_>) -> Response<ResponseBody> {
        let occasion = Occasion::of(rejection, manner.request_id);
        if manner.grpc {
            return occasion.for_grpc();
        }
        let Some(form) = self.forms.get(occasion.row.reason as usize) else {
            let status = occasion.row.status;
            return status_alone(manner.asking.map_or(status, |asking| verdict::told(asking, status)));
        };
        let status = form.status.unwrap_or(occasion.row.status);
        let status = manner.asking.map_or(status, |asking| verdict::status_in_content(asking, status));
        let content = form.body.fill(&|index| occasion.value(index, status));
        let mut response = Response::new(ResponseBody::fixed(Bytes::from(content)));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, form.content_type.clone());
        fields.insert(CACHE_CONTROL, NO_STORE);
        if status == StatusCode::UNAUTHORIZED {
            let of_token = manner.tokens_alone || rejection.is_of_bad_token();
            let challenge = if of_token { self.token_challenge } else { self.challenge };
            fields.insert(WWW_AUTHENTICATE, challenge.value(rejection.is_of_bad_credentials()));
        }
        occasion.write_fields(fields);
        for (name, value) in &form.fields {
            fields.insert(name, value.clone());
        }
        if let Some(asking) = manner.asking {
            verdict::fit(asking, &mut response);
        }
        response
    }
}

/// The body of a refusal that nobody has shaped: a problem document. Members that a reason never has are left out.
fn problem(reason: Reason) -> Json {
    let mut problem = json!({
        "type": "about:blank",
        "title": "{{title}}",
        "status": "{{status}}",
        "code": "{{code}}",
        "detail": "{{detail}}",
    });
    if let Some(members) = problem.as_object_mut() {
        let to_wait = [
            Reason::RateLimited,
            Reason::Overloaded,
            Reason::AddressOverloaded,
            Reason::UpstreamOverloaded,
            Reason::LoginOverloaded,
            Reason::DeliveryOverloaded,
        ];
        if to_wait.contains(&reason) {
            members.insert("retry_after".to_owned(), "{{retry_after}}".into());
        }
        if reason == Reason::PermissionMissing {
            members.insert("required_permission".to_owned(), "{{required_permission}}".into());
        }
    }
    problem
}

/// One refusal and what can be said about it.
struct Occasion<'r> {
    rejection: &'r Rejection,
    row: Row,
    request_id: Option<&'r str>,
}

impl<'r> Occasion<'r> {
    fn of(rejection: &'r Rejection, request_id: Option<&'r HeaderValue>) -> Self {
        Self { rejection, row: rejection.row(), request_id: request_id.and_then(|id| id.to_str().ok()) }
    }

    /// The value of a name, by its place in [`NAMES`].
    fn value(&self, index: usize, status: StatusCode) -> Value<'_> {
        match index {
            0 => self.row.reason.word().into(),
            1 => Value::Text(Cow::Owned(self.row.reason.word().to_ascii_uppercase())),
            2 => Value::Number(u64::from(status.as_u16())),
            3 => status.canonical_reason().unwrap_or_default().into(),
            4 => self.rejection.particulars().unwrap_or(self.row.detail).into(),
            5 => self.rejection.retry_after_seconds().map_or(Value::Absent, Value::Number),
            6 => self.rejection.missing_permission().map_or(Value::Absent, Value::from),
            _ => self.request_id.map_or(Value::Absent, Value::from),
        }
    }

    /// What the protocol demands beside the body, whatever its shape.
    fn write_fields(&self, fields: &mut HeaderMap) {
        if let Some(seconds) = self.rejection.retry_after_seconds() {
            fields.insert(RETRY_AFTER, seconds.into());
        }
        if let Rejection::Route(NoRoute::Method { allow }) = self.rejection
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            fields.insert(ALLOW, allow);
        }
    }

    /// The same as a gRPC response that consists of its trailers alone.
    fn for_grpc(&self) -> Response<ResponseBody> {
        let mut response = status_alone(StatusCode::OK);
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, GRPC);
        fields.insert(GRPC_STATUS, grpc_status(self.row.status).into());
        fields.insert(GRPC_MESSAGE, HeaderValue::from_static(self.row.reason.word()));
        self.write_fields(fields);
        response
    }
}

/// The gRPC status that says the same as an HTTP status.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        429 => 8,
        502..=504 => 14,
        404 | 405 | 421 => 12,
        400..=499 => 3,
        _ => 2,
    }
}

fn status_alone(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Says whether a request is one of gRPC, and its refusal to be written so.
#[must_use]
pub fn is_grpc(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.starts_with(b"application/grpc") && !value.starts_with(b"application/grpc-web")
    })
}
