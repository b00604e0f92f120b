//! What a request says: its path, its query and its content, each read whole or refused.
//!
//! The bounds stand here: content of at most [`BODY_BYTES_MAX`], of one media type, in one encoding.

use axum::body::{self, Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::kind::Kind;
use super::refusal::{Code, Problem};
use super::shape::{self, Shaped};
use crate::json::{self, NotJson};

/// Bytes of content.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The field by which whoever asks twice gets one key.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id in the path, as it was sent. What could never be an id names nothing.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) if Kind::Word.admits(&id) => Ok(Self(id)),
            Ok(_) | Err(_) => Err(Problem::new(Code::NoPath, "No id looks like the one in this path.")),
        }
    }
}

/// What the query says.
pub(super) struct Query<T>(pub(super) T);

impl<T: Shaped, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        shape::read_query(parts.uri.query().unwrap_or_default()).map(Self).map_err(Problem::of_query)
    }
}

/// What the content says, and the content as it was understood.
pub(super) struct Content<T> {
    pub(super) told: T,
    /// The same content is the same text, however it was written.
    pub(super) canonical: String,
}

impl<T: Shaped, S: Send + Sync> FromRequest<S> for Content<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let content = whole(&parts.headers, body).await?;
        understood(&parts.headers, &content)
    }
}

/// What the content says, if there is any.
pub(super) struct Optional<T>(pub(super) T);

impl<T: Shaped + Default, S: Send + Sync> FromRequest<S> for Optional<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let content = whole(&parts.headers, body).await?;
        if content.is_empty() {
            return Ok(Self(T::default()));
        }
        understood(&parts.headers, &content).map(|Content { told, .. }| Self(told))
    }
}

/// The idempotency key, if there is one.
pub(super) fn idempotency_key(fields: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = fields.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(text) if values.next().is_none() && Kind::Word.admits(text) => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => {
            let detail = "must be there once, with 1 to 128 visible ASCII characters without spaces".to_owned();
            Err(Problem::of_field("Idempotency-Key", detail))
        }
    }
}

/// Reads content to its end, or to the bound.
async fn whole(fields: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, "Send at most 64 KiB.");
    let length = fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(one) = cause {
            if one.is::<LengthLimitError>() {
                return too_large();
            }
            cause = one.source();
        }
        Problem::new(Code::Unreadable, "Send the whole content.")
    })
}

fn understood<T: Shaped>(fields: &HeaderMap, content: &[u8]) -> Result<Content<T>, Problem> {
    if !is_json(fields) {
        return Err(Problem::new(Code::MediaType, "Send `Content-Type: application/json`, and no `Content-Encoding`."));
    }
    let mut value: Value =
        json::read(content).map_err(|error: NotJson| Problem::new(Code::NotJson, format!("{error}.")))?;
    shape::check::<T>(&mut value).map_err(Problem::of_content)?;
    value.sort_all_objects();
    let canonical = value.to_string();
    let told = shape::read(value).map_err(Problem::of_content)?;
    Ok(Content { told, canonical })
}

/// `application/json`, once, with no parameter but that it is UTF-8; not compressed.
fn is_json(fields: &HeaderMap) -> bool {
    let mut values = fields.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (values.next().map(|value| value.to_str()), values.next()) else { return false };
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameters = parameters.trim();
    let charset = parameters.is_empty()
        || ["charset=utf-8", "charset=\"utf-8\""].iter().any(|utf_8| parameters.eq_ignore_ascii_case(utf_8));
    charset && essence.trim().eq_ignore_ascii_case("application/json") && !fields.contains_key(CONTENT_ENCODING)
}
