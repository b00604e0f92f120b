//! The admin door: is the process alive, should it get requests, and what has it counted.
//!
//! [`router`] has the three answers, [`serve`] opens the door for them and for whatever else is merged into it, and
//! [`healthcheck`] is the other side, for images that have no `curl`.
//!
//! Never in this part: anything that changes the state of the process. That needs a credential, and has none here.

mod door;
mod healthcheck;

use std::sync::Arc;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

pub use door::serve;
pub use healthcheck::healthcheck;

use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::readiness::Readiness;

/// `GET` and `HEAD` of `/livez`, `/readyz` and `/metrics`.
///
/// - `/livez` is 200 whenever it is answered at all: a process that is busy, draining or without keys is alive.
/// - `/readyz` is 200 or 503; with `?verbose` it names every condition, as Kubernetes does.
/// - `/metrics` is the text exposition format of Prometheus.
#[must_use]
pub fn router(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move |RawQuery(query)| async move { readyz(&readiness, query.as_deref()) }))
        .route("/metrics", get(move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()) }))
        .layer(middleware::map_response(for_now_only))
}

/// Answers `/readyz`.
fn readyz(readiness: &Readiness, query: Option<&str>) -> (StatusCode, String) {
    let ready = readiness.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose =
        query.is_some_and(|query| query.split('&').any(|pair| matches!(pair.split('=').next(), Some("verbose"))));
    if !verbose {
        return (status, if ready { "ok\n" } else { "not ready\n" }.to_owned());
    }

    let mut text = String::new();
    for condition in readiness.report() {
        match condition.unmet {
            None => text.extend(["[+]", condition.name, " ok\n"]),
            Some(reason) => text.extend(["[-]", condition.name, ": ", &reason, "\n"]),
        }
    }
    text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    (status, text)
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
