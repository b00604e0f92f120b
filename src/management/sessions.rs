//! `/sessions`: which customers have a session. Sessions are made at the gateway, and revoked here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Management;
use super::answer::{Page, Session};
use super::refusal::Problem;
use super::request::{Id, Query};
use super::told::{SessionQuery, page_of};
use crate::keys::database::SessionFilter;
use crate::moment::Moment;

/// Lists the sessions that are neither revoked nor over, oldest first.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionQuery),
    responses((status = 200, description = "A page of sessions", body = Page<Session>)))]
pub(super) async fn list_sessions(
    State(management): State<Management>,
    Query(query): Query<SessionQuery>,
) -> Result<Json<Page<Session>>, Problem> {
    let SessionQuery { tenant, environment, customer, limit, cursor } = query;
    let page = page_of(limit, cursor);
    let filter = SessionFilter { tenant, environment, customer, live_at: Some(Moment::now()) };
    let (records, next) = management.read(move |store| store.sessions(&filter, page)).await?;
    Ok(Json(Page::new(records.into_iter().map(Session::from).collect(), next)))
}

/// Revokes a session: its token opens nothing any more.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions",
    responses((status = 204, description = "The session is revoked")))]
pub(super) async fn revoke_session(State(management): State<Management>, Id(id): Id) -> Result<StatusCode, Problem> {
    management.write(Moment::now(), move |store| store.revoke_session(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
