//! Every way in which the management API says no: problem documents (RFC 9457), one row each.
//!
//! No other file of this part chooses the status of a refusal. `code` is the stable word to tell refusals apart by;
//! `detail` says what to do. Nothing that was sent is repeated.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::kind::{Wrong, escaped};
use crate::keys::Fault;
use crate::keys::database::DatabaseError;

/// Mistakes that are named. Whoever makes more of them gets no answer that is larger than the request.
const MISTAKES_MAX: usize = 32;

/// Seconds after which to try again.
const RETRY_AFTER_S: &str = "1";

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The content is not JSON that can be read in one way.
    NotJson,
    /// The content broke off.
    Unreadable,
    /// A parameter of the query, or a field, is not as the document says.
    BadParameter,
    /// There is no credential.
    MissingCredential,
    /// The credential is not the right one.
    WrongCredential,
    /// Nothing is at this path.
    NoPath,
    /// There is no key with this id.
    NoKey,
    /// There is no user with this id.
    NoUser,
    /// There is no login with this id, or it has ended.
    NoLogin,
    /// There is no session with this id, or it is revoked.
    NoSession,
    /// The path has other methods.
    MethodNotAllowed,
    /// Another key has this id.
    IdTaken,
    /// Another user has this id or login.
    LoginTaken,
    /// The key is revoked, which is final.
    KeyRevoked,
    /// The key is not good now.
    NotRotatable,
    /// The key has a successor.
    RotatedAlready,
    /// Dates contradict each other.
    DatesContradict,
    /// The idempotency key came with another request.
    AnotherRequest,
    /// The key that the first of these requests made is deleted.
    DeletedSince,
    /// The content is larger than any request needs.
    TooLarge,
    /// The content is something else than JSON.
    MediaType,
    /// The content is JSON, and not what the document says.
    Invalid,
    /// Wrong credentials came too often.
    TooManyFailures,
    /// The store cannot be used.
    StoreFailed,
    /// The store has too much to do.
    StoreBusy,
    /// Too many passwords are being hashed.
    PasswordsBusy,
}

impl Code {
    /// The table. No `_` arm: a new code does not compile until its row is written.
    const fn row(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotJson => (StatusCode::BAD_REQUEST, "The content is not JSON"),
            Self::Unreadable => (StatusCode::BAD_REQUEST, "The content broke off"),
            Self::BadParameter => (StatusCode::BAD_REQUEST, "A parameter is wrong"),
            Self::MissingCredential => (StatusCode::UNAUTHORIZED, "A credential is missing"),
            Self::WrongCredential => (StatusCode::UNAUTHORIZED, "The credential is wrong"),
            Self::NoPath => (StatusCode::NOT_FOUND, "Nothing is at this path"),
            Self::NoKey => (StatusCode::NOT_FOUND, "There is no such key"),
            Self::NoUser => (StatusCode::NOT_FOUND, "There is no such user"),
            Self::NoLogin => (StatusCode::NOT_FOUND, "There is no such login"),
            Self::NoSession => (StatusCode::NOT_FOUND, "There is no such session"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "This path has other methods"),
            Self::IdTaken => (StatusCode::CONFLICT, "The id is taken"),
            Self::LoginTaken => (StatusCode::CONFLICT, "The id or the login is taken"),
            Self::KeyRevoked => (StatusCode::CONFLICT, "The key is revoked"),
            Self::NotRotatable => (StatusCode::CONFLICT, "The key cannot be rotated"),
            Self::RotatedAlready => (StatusCode::CONFLICT, "The key was rotated already"),
            Self::DatesContradict => (StatusCode::CONFLICT, "The dates contradict each other"),
            Self::AnotherRequest => (StatusCode::CONFLICT, "The idempotency key was used already"),
            Self::DeletedSince => (StatusCode::CONFLICT, "The key was deleted since"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The content is too large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content is not JSON"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "The content is wrong"),
            Self::TooManyFailures => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong credentials"),
            Self::StoreFailed => (StatusCode::INTERNAL_SERVER_ERROR, "The store cannot be used"),
            Self::StoreBusy => (StatusCode::SERVICE_UNAVAILABLE, "The store is busy"),
            Self::PasswordsBusy => (StatusCode::SERVICE_UNAVAILABLE, "Too many passwords are being hashed"),
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Mistake {
    /// Where in the content: a JSON pointer (RFC 6901) as fragment, like `#/permissions/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// Which parameter of the query, or which field.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// What is right.
    detail: String,
}

/// A refusal (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: `code` says it.
    r#type: &'static str,
    /// What it is, for people.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What it is, for programs. Stable.
    code: Code,
    /// What to do.
    detail: Cow<'static, str>,
    /// Everything that is wrong, where single values are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Mistake>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let (status, title) = code.row();
        let errors = Vec::new();
        Self { r#type: "about:blank", title, status: status.as_u16(), code, detail: detail.into(), errors }
    }

    pub(super) const fn code(&self) -> Code {
        self.code
    }

    /// The content is wrong at these places.
    pub(super) fn of_content(wrongs: Vec<Wrong>) -> Self {
        let mistake = |wrong: Wrong| Mistake {
            pointer: Some(format!("#{}", wrong.place)),
            parameter: None,
            detail: wrong.message,
        };
        let errors = wrongs.into_iter().take(MISTAKES_MAX).map(mistake).collect();
        Self { errors, ..Self::new(Code::Invalid, "Put right what `errors` names. Nothing was changed.") }
    }

    /// The query is wrong in these parameters.
    pub(super) fn of_query(wrongs: Vec<Wrong>) -> Self {
        let mistake = |wrong: Wrong| Mistake {
            pointer: None,
            parameter: wrong.place.split('/').nth(1).map(str::to_owned),
            detail: wrong.message,
        };
        let errors = wrongs.into_iter().take(MISTAKES_MAX).map(mistake).collect();
        Self { errors, ..Self::new(Code::BadParameter, "Put right what `errors` names in the query.") }
    }

    /// A field of the head is wrong.
    pub(super) fn of_field(field: &'static str, detail: String) -> Self {
        let errors = vec![Mistake { pointer: None, parameter: Some(field.to_owned()), detail }];
        Self { errors, ..Self::new(Code::BadParameter, "Put right the field that `errors` names.") }
    }

    /// What the store says of values. Contradictions of dates depend on what is stored already.
    fn of_faults(faults: Vec<Fault>) -> Self {
        if faults.iter().any(|fault| fault.field == "expires") {
            let detail = "`expires` must be later than `not_before`, and must not be later than `retires`.";
            return Self::new(Code::DatesContradict, detail);
        }
        Self::of_content(faults.into_iter().map(wrong_of).collect())
    }
}

/// `permissions[2]` and `metadata.note` as JSON pointers.
fn wrong_of(fault: Fault) -> Wrong {
    let place = match (fault.field.split_once('['), fault.field.split_once('.')) {
        (Some((list, index)), _) => format!("/{list}/{}", index.trim_end_matches(']')),
        (None, Some((object, name))) => format!("/{object}/{}", escaped(name)),
        (None, None) => format!("/{}", fault.field),
    };
    Wrong { place, message: fault.message }
}

/// What the store says, as far as it is the business of whoever asked. What is not is logged here, once.
impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Invalid(faults) => Self::of_faults(faults),
            DatabaseError::NoKey => Self::new(Code::NoKey, "List the keys to find its id."),
            DatabaseError::NoUser => Self::new(Code::NoUser, "List the users to find the id."),
            DatabaseError::NoLogin => Self::new(Code::NoLogin, "List the logins to find its id."),
            DatabaseError::NoSession => Self::new(Code::NoSession, "List the sessions to find its id."),
            DatabaseError::IdTaken => Self::new(Code::IdTaken, "Choose another id, or leave `id` out."),
            DatabaseError::LoginTaken => Self::new(Code::LoginTaken, "Choose another id and login."),
            DatabaseError::Revoked => Self::new(Code::KeyRevoked, "This is final. Make a new key."),
            DatabaseError::NotRotatable(standing) => {
                Self::new(Code::NotRotatable, format!("Only a key that is good now can be; this one is {standing}."))
            }
            DatabaseError::RotatedAlready(successor) => {
                Self::new(Code::RotatedAlready, format!("Rotate its successor, {successor}."))
            }
            DatabaseError::AnotherRequest => {
                Self::new(Code::AnotherRequest, "Send the same request again, or another `Idempotency-Key`.")
            }
            DatabaseError::Busy | DatabaseError::Full => Self::new(Code::StoreBusy, "Try again."),
            DatabaseError::NoDirectory(_)
            | DatabaseError::NoStore(_)
            | DatabaseError::File { .. }
            | DatabaseError::Foreign(_)
            | DatabaseError::Newer { .. }
            | DatabaseError::Replaced(_)
            | DatabaseError::Closed
            | DatabaseError::Sqlite(_)
            | DatabaseError::Unreadable(_)
            | DatabaseError::SecretTaken
            | DatabaseError::UserDisabled
            | DatabaseError::PasswordChanged
            | DatabaseError::TooManySessions => {
                tracing::error!(%error, "The management API cannot use the store");
                Self::new(Code::StoreFailed, "Look into the log of keygate.")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Texts and numbers can always be written.
        let content = serde_json::to_string(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(content));
        let (status, _) = self.code.row();
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.code {
            Code::MissingCredential => drop(fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Code::WrongCredential => {
                drop(fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\"")));
            }
            Code::TooManyFailures | Code::StoreBusy | Code::PasswordsBusy => {
                drop(fields.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S)));
            }
            Code::NotJson
            | Code::Unreadable
            | Code::BadParameter
            | Code::NoPath
            | Code::NoKey
            | Code::NoUser
            | Code::NoLogin
            | Code::NoSession
            | Code::MethodNotAllowed
            | Code::IdTaken
            | Code::LoginTaken
            | Code::KeyRevoked
            | Code::NotRotatable
            | Code::RotatedAlready
            | Code::DatesContradict
            | Code::AnotherRequest
            | Code::DeletedSince
            | Code::TooLarge
            | Code::MediaType
            | Code::Invalid
            | Code::StoreFailed => {}
        }
        response
    }
}
