//! `/users`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Management;
use super::answer::{Page, User, created};
use super::keys::no_randomness;
use super::refusal::Problem;
use super::request::{Content, Id, Query};
use super::told::{NewUser, UserChange, UserQuery, page_of};
use crate::keys::database::{self, UserFilter, UserPatch};
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

/// Makes a user, enabled and without a password.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses(
        (status = 201, description = "The user", body = User),
        (status = 409, description = "The id or the login is taken"),
    ))]
pub(super) async fn create_user(
    State(management): State<Management>,
    Content { told, .. }: Content<NewUser>,
) -> Result<Response, Problem> {
    let NewUser { id, login, name, tenant, permissions, roles, metadata } = told;
    let id = id.map_or_else(|| random_id_of("user"), Ok).map_err(|error| no_randomness(&error))?;
    let user = database::NewUser { id, login, name, tenant, permissions, roles, metadata };
    let user = User::from(management.write(Moment::now(), move |store| store.create_user(user)).await?);
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

/// Deletes a user, and revokes all keys of the user.
#[utoipa::path(delete, path = "/users/{id}", tag = "users",
    responses((status = 204, description = "The user is gone, and the keys are revoked")))]
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
#[utoipa::path(post, path = "/users/{id}/disable", tag = "users",
    responses((status = 200, description = "The user as it is now", body = User)))]
pub(super) async fn disable_user(State(management): State<Management>, Id(id): Id) -> Result<Json<User>, Problem> {
    Ok(Json(management.write(Moment::now(), move |store| store.disable_user(&id)).await?.into()))
}
