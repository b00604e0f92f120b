//! `/audit`: who did what, and when. It can be read only.

use axum::Json;
use axum::extract::State;

use super::Management;
use super::answer::{AuditLine, Page};
use super::refusal::Problem;
use super::request::Query;
use super::told::{AuditQuery, page_of};
use crate::keys::database::AuditFilter;

/// Lists the audit trail, oldest line first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, description = "A page of the audit trail", body = Page<AuditLine>)))]
pub(super) async fn list_audit(
    State(management): State<Management>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditLine>>, Problem> {
    let page = page_of(query.limit, query.cursor);
    let AuditQuery { actor, action, kind, subject, since, until, .. } = query;
    let filter = AuditFilter { actor, action, kind, subject, since, until };
    let (records, next) = management.read(move |store| store.audit(&filter, page)).await?;
    Ok(Json(Page::new(records.into_iter().map(AuditLine::from).collect(), next)))
}
