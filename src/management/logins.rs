//! `/logins`: who is logged in. Logins are begun at the gateway, and ended here, too.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Management;
use super::answer::{Login, Page};
use super::refusal::Problem;
use super::request::{Id, Query};
use super::told::{LoginQuery, page_of};
use crate::keys::database::LoginFilter;
use crate::moment::Moment;

/// Lists the logins that are neither ended nor over, oldest first.
#[utoipa::path(get, path = "/logins", tag = "logins", params(LoginQuery),
    responses((status = 200, description = "A page of logins", body = Page<Login>)))]
pub(super) async fn list_logins(
    State(management): State<Management>,
    Query(query): Query<LoginQuery>,
) -> Result<Json<Page<Login>>, Problem> {
    let page = page_of(query.limit, query.cursor);
    let filter = LoginFilter { user: query.user, live_at: Some(Moment::now()) };
    let (records, next) = management.read(move |store| store.logins(&filter, page)).await?;
    Ok(Json(Page::new(records.into_iter().map(Login::from).collect(), next)))
}

/// Ends a login: its tokens open nothing any more.
#[utoipa::path(delete, path = "/logins/{id}", tag = "logins",
    responses((status = 204, description = "The login has ended")))]
pub(super) async fn end_login(State(management): State<Management>, Id(id): Id) -> Result<StatusCode, Problem> {
    management.write(Moment::now(), move |store| store.end_login(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
