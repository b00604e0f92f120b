//! `/users`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Management;
use super::answer::{Page, User, created};
use super::keys::no_randomness;
use super::refusal::{Code, Problem};
use super::request::{Content, Id, Query};
use super::told::{NewPassword, NewUser, Password, UserChange, UserQuery, page_of};
use crate::identity::HashError;
use crate::keys::database::{self, DatabaseError, UserFilter, UserPatch, UserRecord, Writer};
use crate::moment::Moment;
use crate::secret::random_id_of;

/// Lists users, oldest first.
#[utoipa::path(get, path = "/users", tag = "users", params(UserQuery),
    responses((status = 200, description = "A page of users", body = Page<User>)))]
pub(super) async fn list_users(
    State(management): State<Management>,
    Query(query): Query<UserQuery>,
) -> Result<Json<Page<User>>, Problem> {
    let page = page_of(query.limit, query.cursor);
    let UserQuery { enabled, tenant, text, .. } = query;
    let filter = UserFilter { enabled, tenant, text };
    let (records, next) = management.read(move |store| store.users(&filter, page)).await?;
    Ok(Json(Page::new(records.into_iter().map(User::from).collect(), next)))
}

/// Makes a user, who is enabled.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses(
        (status = 201, description = "The user", body = User),
        (status = 409, description = "The id or the login is taken"),
    ))]
pub(super) async fn create_user(
    State(management): State<Management>,
    Content { told, .. }: Content<NewUser>,
) -> Result<Response, Problem> {
    let NewUser { id, login, password, name, tenant, permissions, roles, metadata } = told;
    let hash = match password {
        Some(password) => Some(hashed(&management, password).await?),
        None => None,
    };
    let id = id.map_or_else(|| random_id_of("user"), Ok).map_err(|error| no_randomness(&error))?;
    let user = database::NewUser { id, login, name, tenant, permissions, roles, metadata };
    let made = management.write(Moment::now(), move |store| {
        let user = store.create_user(user)?;
        match hash {
            Some(hash) => with_password(store, &user.id, &hash),
            None => Ok(user),
        }
    });
    let user = User::from(made.await?);
    let location = user.location();
    Ok(created(&location, user))
}

/// Shows a user.
#[utoipa::path(get, path = "/users/{id}", tag = "users",
    responses((status = 200, description = "The user", body = User)))]
pub(super) async fn get_user(State(management): State<Management>, Id(id): Id) -> Result<Json<User>, Problem> {
    Ok(Json(management.read(move |store| store.user(&id)).await?.into()))
}

/// Changes a user. What is left out stays as it is, and null takes it away.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", request_body = UserChange,
    responses(
        (status = 200, description = "The user as it is now", body = User),
        (status = 409, description = "The login is taken"),
    ))]
pub(super) async fn update_user(
    State(management): State<Management>,
    Id(id): Id,
    Content { told, .. }: Content<UserChange>,
) -> Result<Json<User>, Problem> {
    let UserChange { login, name, tenant, permissions, roles, metadata } = told;
    let patch = UserPatch { login, name, tenant, permissions, roles, metadata };
    Ok(Json(management.write(Moment::now(), move |store| store.update_user(&id, patch)).await?.into()))
}

/// Sets the password of a user, and ends all logins of the user.
#[utoipa::path(put, path = "/users/{id}/password", tag = "users", request_body = NewPassword,
    responses((status = 200, description = "The user as it is now", body = User)))]
pub(super) async fn set_password(
    State(management): State<Management>,
    Id(id): Id,
    Content { told, .. }: Content<NewPassword>,
) -> Result<Json<User>, Problem> {
    let hash = hashed(&management, told.password).await?;
    Ok(Json(management.write(Moment::now(), move |store| with_password(store, &id, &hash)).await?.into()))
}

/// Deletes a user, revokes all keys of the user and ends all logins.
#[utoipa::path(delete, path = "/users/{id}", tag = "users",
    responses((status = 204, description = "The user is gone, the keys are revoked, and the logins have ended")))]
pub(super) async fn delete_user(State(management): State<Management>, Id(id): Id) -> Result<StatusCode, Problem> {
    management.write(Moment::now(), move |store| store.delete_user(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a user on, and with the user all keys that were switched off by that.
#[utoipa::path(post, path = "/users/{id}/enable", tag = "users",
    responses((status = 200, description = "The user as it is now", body = User)))]
pub(super) async fn enable_user(State(management): State<Management>, Id(id): Id) -> Result<Json<User>, Problem> {
    Ok(Json(management.write(Moment::now(), move |store| store.enable_user(&id)).await?.into()))
}

/// Switches a user off, and all keys of the user as long as that lasts.
///
/// Logins of the user end for good.
#[utoipa::path(post, path = "/users/{id}/disable", tag = "users",
    responses((status = 200, description = "The user as it is now", body = User)))]
pub(super) async fn disable_user(State(management): State<Management>, Id(id): Id) -> Result<Json<User>, Problem> {
    Ok(Json(management.write(Moment::now(), move |store| store.disable_user(&id)).await?.into()))
}

/// The hash of a password that is allowed to be one.
async fn hashed(management: &Management, Password(password): Password) -> Result<String, Problem> {
    management.passwords.hash(password).await.map_err(|error| match error {
        HashError::Busy(_) => Problem::new(Code::PasswordsBusy, "Try again."),
        HashError::NoRandomness(error) => no_randomness(&error),
        HashError::Unfit(_) | HashError::Failed => {
            tracing::error!(%error, "The management API cannot hash a password");
            Problem::new(Code::StoreFailed, "Look into the log of keygate.")
        }
    })
}

/// Sets the password of a user, and returns what the user is then.
fn with_password(store: &Writer<'_>, id: &str, hash: &str) -> Result<UserRecord, DatabaseError> {
    store.set_password_hash(id, Some(hash))?;
    store.user(id)
}
