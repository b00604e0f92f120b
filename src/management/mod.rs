//! The management API: keys, users, logins and sessions made, listed, changed and ended over HTTP, at the admin door.
//!
//! ```text
//! request -> Gate (credential) -> path, query, content: checked against their shapes
//!         -> Live::write, durable and in force -> response
//! ```
//!
//! [`router`] is merged into the router of the admin door. Everything but the document itself
//! (`/api/v1/openapi.json`) needs the admin token. What is refused changes nothing, and says why as a problem document
//! (RFC 9457).
//!
//! A write is done to its end, also if whoever asked does not wait: it is durable and in force before the answer begins.
//!
//! The modules below are declared in the order in which they are best read.

mod credential;
mod request;

mod keys;
mod users;
mod logins;
mod sessions;
mod audit;
mod told;
mod answer;

mod document;

mod shape;
mod kind;

mod refusal;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::identity::Passwords;
use crate::keys::database::{By, DatabaseError, Live, Reader, Writer};
use crate::keys::{KeyStore, SecretFormat};
use crate::moment::{Moment, monotonic_ns};
use crate::secret::Digest;
use credential::Gate;
use refusal::{Code, Problem};

/// Where the API stands.
const ROOT: &str = "/api/v1";

/// Whoever has the admin token, in the audit trail.
const ACTOR: &str = "admin";

/// What the management API works with.
#[derive(Clone)]
pub struct Management {
    /// The store that is read and written; every write is awaited before it is answered.
    pub live: Live,
    /// What the road reads; asked whether a new key is in force, and when a key was last used.
    pub keys: Arc<KeyStore>,
    /// How new secrets look; may be exchanged at a reload.
    pub format: Arc<ArcSwap<SecretFormat>>,
    /// The names of the environments there are; may be exchanged at a reload. Empty: any.
    pub environments: Arc<ArcSwap<Vec<String>>>,
    /// The SHA-256 of the admin token.
    pub credential: Digest,
    /// Hashes the passwords of users.
    pub passwords: Arc<Passwords>,
}

impl Management {
    /// Has `what` read the store.
    async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Reader) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.live.read(what).await?)
    }

    /// Has `what` change the store, and puts the change in force.
    async fn write<T: Send + 'static>(
        &self,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.live.write(By::api(ACTOR), now, what).await?)
    }
}

/// `/api/v1`: keys, users, logins, sessions, the audit trail, and the document that describes them.
pub fn router(management: Management) -> Router {
    let gate = Arc::new(Gate::new(management.credential));
    let (routes, mut described) = OpenApiRouter::with_openapi(document::opening())
        .nest(ROOT, operations())
        .with_state(management)
        .split_for_parts();
    document::complete(&mut described);
    // A document of texts and numbers can always be written.
    let document = Bytes::from(serde_json::to_vec(&described).unwrap_or_default());
    // Nesting has a fallback for all that goes on behind the root and its slash, and not for the slash itself.
    let guarded = routes.route(&format!("{ROOT}/"), any(no_path)).layer(middleware::from_fn_with_state(gate, guard));
    let open = Router::new()
        .route(&format!("{ROOT}/openapi.json"), get(move || async move { ([(CONTENT_TYPE, JSON)], document) }))
        .method_not_allowed_fallback(method_not_allowed);
    guarded.merge(open).layer(middleware::map_response(for_now_only))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn operations() -> OpenApiRouter<Management> {
    let mut operations = OpenApiRouter::new()
        .routes(routes!(keys::list_keys, keys::create_key))
        .routes(routes!(keys::get_key, keys::update_key, keys::delete_key))
        .routes(routes!(keys::rotate_key))
        .routes(routes!(keys::revoke_key))
        .routes(routes!(keys::activate_key))
        .routes(routes!(keys::deactivate_key))
        .routes(routes!(keys::get_key_usage))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::get_user, users::update_user, users::delete_user))
        .routes(routes!(users::set_password))
        .routes(routes!(users::enable_user))
        .routes(routes!(users::disable_user))
        .routes(routes!(logins::list_logins))
        .routes(routes!(logins::end_login))
        .routes(routes!(sessions::list_sessions))
        .routes(routes!(sessions::revoke_session))
        .routes(routes!(audit::list_audit))
        .fallback(no_path);
    let described = operations.to_openapi();
    let routes: Router<Management> = operations.into();
    let mut operations = OpenApiRouter::from(routes.method_not_allowed_fallback(method_not_allowed));
    *operations.get_openapi_mut() = described;
    operations
}

/// Lets through who may manage.
async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.check(request.headers(), monotonic_ns()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Marks a response as true for this moment only, and as what it says it is.
async fn for_now_only(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, HeaderValue); 2] = [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    response.headers_mut().extend(FIELDS);
    response
}

async fn no_path() -> Problem {
    Problem::new(Code::NoPath, "The paths are in /api/v1/openapi.json.")
}

/// axum adds `Allow`.
async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "Use one of the methods in the field `Allow`.")
}

#[cfg(test)]
mod tests;
