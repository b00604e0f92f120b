//! What the gateway does itself: logins and their tokens, keys in their owners' hands, sessions of customers.
//!
//! An operation is a destination of a route like an upstream. It walks the same road, so it is authenticated, authorised,
//! limited and logged by the same lines, and what it is told and answers has the shape that the operator has written.
//! What an operation changes is durable and in force before it answers.

pub mod answer;
pub mod error;
pub mod shape;

pub mod keys;
pub mod login;
pub mod session;

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::Value as Json;

use super::authentication::Principal;
use super::body::ResponseBody;
use super::content::Content;
use super::identity::Identity;
use super::message::Target;
use super::policy::Policy;
use super::rate_limit::Admission;
use super::rejection::Rejection;
use crate::identity::{Directory, Passwords, Tokens};
use crate::keys::KeyStore;
use crate::keys::database::{By, DatabaseError, Live, Writer};
use crate::moment::Moment;
use error::OperationError;
use shape::{Shape, Told};

/// Bytes of content that an operation reads.
pub const CONTENT_BYTES_MAX: u64 = 64 * 1024;

/// Something that the gateway does itself.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Lets a user in who has the password.
    Login(login::Login),
    /// Gives new tokens for a refresh token.
    Refresh(login::Refresh),
    /// Ends the login of the token.
    Logout,
    /// Shows the public keys of our tokens.
    Jwks,
    /// Makes a key.
    CreateKey(keys::CreateKey),
    /// Lists the keys of the caller's tenant.
    ListKeys(keys::ListKeys),
    /// Shows the key of the caller.
    GetOwnKey(keys::OwnKey),
    /// Makes a successor of the key of the caller, and ends all that came before it.
    RegenerateOwnKey(keys::OwnKey),
    /// Deletes a key of the caller's tenant.
    DeleteKey(keys::DeleteKey),
    /// Lets a customer see what is the customer's.
    CreateSession(session::CreateSession),
}

/// What operations work with.
#[derive(Clone, Debug)]
pub struct Services {
    /// The store.
    pub store: Live,
    /// Where passwords are checked.
    pub passwords: Arc<Passwords>,
    /// The users, logins and sessions in force.
    pub directory: Arc<Directory>,
    /// The keys in force.
    pub keys: Arc<KeyStore>,
}

/// One call of an operation.
pub struct Call<'c> {
    /// That it may be done, for whom and where.
    pub admission: Admission<'c>,
    /// What is asked for.
    pub target: &'c Target,
    /// The request, with all of its content.
    pub request: &'c Request<Content>,
    /// What is in force.
    pub policy: &'c Policy,
    /// What operations work with.
    pub services: &'c Services,
    /// When it arrived.
    pub now: Moment,
}

/// For whom something is done.
struct Caller<'c> {
    principal: &'c Principal,
    tenant: Option<String>,
    user: Option<String>,
    environment: Option<String>,
}

impl Operation {
    /// Whether its content holds a secret that is looked up: a password or a refresh token.
    #[must_use]
    pub const fn asks_for_secrets(&self) -> bool {
        matches!(self, Self::Login(_) | Self::Refresh(_))
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; nothing was changed then.
    pub async fn perform(&self, call: Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        match self {
            Self::Login(login) => login.perform(&call).await,
            Self::Refresh(refresh) => refresh.perform(&call).await,
            Self::Logout => login::logout(&call).await,
            Self::Jwks => Ok(jwks(call.tokens()?)),
            Self::CreateKey(create) => create.perform(&call).await,
            Self::ListKeys(list) => list.perform(&call).await,
            Self::GetOwnKey(own) => own.show(&call).await,
            Self::RegenerateOwnKey(own) => own.regenerate(&call).await,
            Self::DeleteKey(delete) => delete.perform(&call).await,
            Self::CreateSession(create) => create.perform(&call).await,
        }
    }
}

impl Call<'_> {
    /// Reads the content by its shape.
    fn told(&self, shape: &Shape) -> Result<Told, OperationError> {
        if !is_json(self.request.headers()) {
            return Err(OperationError::MediaType);
        }
        let content = match self.request.body() {
            Content::Whole(held) => held.bytes().as_ref(),
            Content::Coming(_) => &[],
        };
        let document: Json = shape::read_json(content).map_err(OperationError::Malformed)?;
        shape.take(&document).map_err(OperationError::Invalid)
    }

    fn tokens(&self) -> Result<&Tokens, OperationError> {
        // The configuration does not let these operations be without.
        let none = || OperationError::Unavailable("no tokens are configured".to_owned());
        self.policy.tokens.as_deref().ok_or_else(none)
    }

    fn path(&self) -> &str {
        self.target.path_and_query.path()
    }

    fn principal(&self) -> &Principal {
        self.admission.permit().principal()
    }

    fn caller(&self) -> Caller<'_> {
        let permit = self.admission.permit();
        let asked = self.policy.forwarding.identity.asked_environment(self.request.headers());
        let identity = Identity::of(permit.principal(), asked.as_ref());
        let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let of_gateway = permit.environment().name.as_deref().map(str::to_owned);
        Caller {
            principal: permit.principal(),
            tenant: text(identity.tenant),
            user: text(identity.user),
            environment: text(identity.environment).or(of_gateway),
        }
    }

    /// Changes the store, durably and in force when it returns.
    async fn write<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, OperationError> {
        let actor = match (self.principal().key(), self.principal().user()) {
            (Some(key), _) => By::gateway(key.id()),
            (None, Some(user)) => By::gateway(&user.id),
            (None, None) => By::gateway("anonymous"),
        };
        Ok(self.services.store.write(actor, self.now, what).await?)
    }
}

/// Says whether the content is JSON by its media type, and as it is.
fn is_json(fields: &HeaderMap) -> bool {
    let media_type = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.len() > 17 && essence.starts_with("application/") && essence.ends_with("+json"));
    // What gRPC calls so has a length in front.
    let json = json && !essence.starts_with("application/grpc");
    let encoded =
        fields.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    json && !encoded && fields.get_all(CONTENT_TYPE).iter().count() == 1
}

/// The public keys, which change seldom and are asked for often.
fn jwks(tokens: &Tokens) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(tokens.jwks()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        let fields = |pairs: &[(http::HeaderName, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        for (media_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("application/+json", false),
            ("text/json", false),
            ("application/jsonp", false),
            ("application/grpc+json", false),
            ("Application/gRPC-Web+json", false),
            ("", false),
        ] {
            assert_eq!(is_json(&fields(&[(CONTENT_TYPE, media_type)])), expected, "{media_type}");
        }
        assert!(!is_json(&fields(&[])));
        assert!(!is_json(&fields(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")])));
    }
}
