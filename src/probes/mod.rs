//! The admin door: is the process alive, should it get requests, and what has it counted.
//!
//! [`router`] has the three answers, [`serve`] opens the door for them and for whatever else is merged into it, and
//! [`healthcheck()`] is the other side, for images that have no `curl`.
//!
//! [`SideDoor`] is no part of it: a Unix socket by which [`drain()`] tells the process to send its clients elsewhere.
//!
//! Never at the admin door: anything that changes the state of the process. That needs a credential, and has none here.

mod door;
mod healthcheck;
mod side_door;

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
pub use side_door::{SideDoor, drain};

use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::readiness::Readiness;

/// `GET` and `HEAD` of `/livez`, `/readyz` and `/metrics`.
///
/// - `/livez` is 200 whenever it is answered at all: a process that is busy, draining or without keys is alive.
/// - `/readyz` is 200 or 503; with `?verbose` it names every condition, as Kubernetes does.
/// - `/metrics` is the text exposition format of Prometheus.
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
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::post;

    use super::door::tests::{Door, GENEROUS};
    use super::*;
    use crate::telemetry::metrics::Words;
    use crate::telemetry::readiness::Condition;

    /// A door with the three answers and one condition.
    async fn door() -> (Door, Readiness, Condition, Arc<Metrics>) {
        let (metrics, readiness) =
            (Metrics::new(1, Words { rejections: &["no_route"], ..Words::default() }), Readiness::new());
        let keys = readiness.condition("keys");
        let door = Door::open(router(Arc::clone(&metrics), readiness.clone()), GENEROUS).await;
        (door, readiness, keys, metrics)
    }

    #[tokio::test]
    async fn a_process_without_keys_is_alive_and_not_ready() {
        let (door, _readiness, keys, _metrics) = door().await;
        assert_eq!(door.get("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(door.get("/readyz").await, (503, "not ready\n".to_owned()));
        keys.met();
        assert_eq!(door.get("/readyz").await, (200, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn verbose_names_every_condition() {
        let (door, readiness, keys, _metrics) = door().await;
        keys.unmet("/etc/keys.yaml cannot be read");
        let text = "[-]keys: /etc/keys.yaml cannot be read\nreadyz check failed\n";
        assert_eq!(door.get("/readyz?verbose").await, (503, text.to_owned()));
        keys.met();
        for path in ["/readyz?verbose", "/readyz?x=y&verbose=1"] {
            assert_eq!(door.get(path).await, (200, "[+]keys ok\nreadyz check passed\n".to_owned()));
        }
        assert_eq!(door.get("/readyz?verboseness").await.1, "ok\n");
        readiness.draining();
        let text = "[+]keys ok\n[-]draining: the process is stopping\nreadyz check failed\n";
        assert_eq!(door.get("/readyz?verbose").await, (503, text.to_owned()));
        assert_eq!(door.get("/livez").await.0, 200, "a draining process is alive");
    }

    #[tokio::test]
    async fn metrics_are_what_was_counted_a_moment_ago() {
        let (door, _readiness, _keys, metrics) = door().await;
        metrics.shard(0).rejected(0);
        let answer = door.send("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\nkeygate_rejections_total{reason=\"no_route\"} 1\n"), "{answer}");
    }

    #[tokio::test]
    async fn only_get_and_head_are_allowed() {
        let (door, _readiness, _keys, _metrics) = door().await;
        for path in ["/livez", "/readyz", "/metrics"] {
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let answer = door.send(&request).await;
                assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nallow: GET,HEAD\r\n"), "{answer}");
            }
        }
        assert_eq!(door.get("/").await.0, 404);
        assert_eq!(door.get("/livez/").await.0, 404);
    }

    #[tokio::test]
    async fn head_is_get_without_content() {
        let (door, _readiness, keys, _metrics) = door().await;
        keys.met();
        let answer = door.send("HEAD /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\ncontent-length: 3\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn no_answer_is_kept_by_anybody() {
        let (door, _readiness, _keys, _metrics) = door().await;
        for request in ["GET /livez", "GET /readyz", "GET /metrics", "GET /nothing", "POST /livez", "HEAD /readyz"] {
            let answer = door.send(&format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
            assert!(answer.contains("\r\ncache-control: no-store\r\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn another_router_can_be_merged_in() {
        let (metrics, readiness) = (Metrics::new(1, Words::default()), Readiness::new());
        let other = Router::new().route("/keys", post(|| async { StatusCode::CREATED }));
        let door = Door::open(router(metrics, readiness).merge(other), GENEROUS).await;
        let answer = door.send("POST /keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(door.get("/livez").await.0, 200);
    }

    #[tokio::test]
    async fn the_health_check_and_the_door_understand_each_other() {
        let (door, _readiness, keys, _metrics) = door().await;
        let address = door.address;
        let check =
            move || tokio::task::spawn_blocking(move || healthcheck(address, "/readyz", Duration::from_secs(10)));
        let error = check().await.expect("runs").expect_err("not ready");
        assert!(error.ends_with("answers /readyz with 503"), "{error}");
        keys.met();
        assert_eq!(check().await.expect("runs"), Ok(()));
    }
}
