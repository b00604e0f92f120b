//! The admin door: is the process alive, should it get requests, and what has it counted.
//!
//! [`router`] has the answers, [`upstream_router`] those of the upstream, [`serve`] opens the door for them and for whatever
//! else is merged into it, and [`probe()`] is the other side, for images that have no `curl`.
//!
//! [`SideDoor`] is no part of it: a Unix socket by which [`drain()`] tells the process to send its clients elsewhere.
//!
//! Never at the admin door: anything that changes the state of the process. That needs a credential, and has none here.

mod door;
mod probe;
mod side_door;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use tokio::time::timeout;

pub use door::serve;
pub use probe::{Question, probe, wait};
pub use side_door::{SideDoor, drain};

use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::readiness::{Readiness, Report};

/// How long the upstream may take for a probe.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// `GET` and `HEAD` of `/livez`, `/startupz`, `/readyz` and `/metrics`.
///
/// - `/livez` is 200 whenever it is answered at all: a process that is busy, draining or without keys is alive.
/// - `/startupz` is 200 once every condition was met, and stays so while the process ends. It never asks the upstream, which
///   in a pod may be waiting for this very answer.
/// - `/readyz` is 200 or 503; with `?verbose` it names every condition, as Kubernetes does, and with `?upstream` the
///   upstream must be there, too: `reach` says why it is not.
/// - `/metrics` is the text exposition format of Prometheus.
pub fn router<R>(
    metrics: Arc<Metrics>,
    readiness: Readiness,
    reach: impl Fn() -> R + Clone + Send + Sync + 'static,
) -> Router
where
    R: Future<Output = Result<(), String>> + Send,
{
    let started = readiness.clone();
    let readyz = move |RawQuery(query): RawQuery| async move {
        let asked = |word| asks_for(query.as_deref(), word);
        let mut report = readiness.report();
        if asked("upstream") {
            report.push(Report { name: "upstream", unmet: reach().await.err() });
        }
        said("readyz", &report, asked("verbose"))
    };
    let startupz = move |RawQuery(query): RawQuery| async move {
        said("startupz", &started.conditions(), asks_for(query.as_deref(), "verbose"))
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()) }))
        .layer(middleware::map_response(for_now_only))
}

/// `GET` and `HEAD` of `/probe/NAME`, for probes of an upstream that nobody else can reach. `ask` says how the upstream has
/// answered: a status, or a sentence; nothing if there is no probe of this name. Nothing else of the answer is passed on, and
/// nothing of the request: neither the path nor a field nor the query can be chosen.
pub fn upstream_router<A>(ask: impl Fn(String) -> A + Clone + Send + Sync + 'static) -> Router
where
    A: Future<Output = Option<Result<StatusCode, String>>> + Send,
{
    let answer = move |Path(name): Path<String>| async move {
        match timeout(ANSWER_TIME_MAX, ask(name)).await {
            Ok(Some(Ok(status))) if status.is_informational() => told(StatusCode::BAD_GATEWAY, status.as_str()),
            Ok(Some(Ok(status))) => told(status, status.as_str()),
            Ok(Some(Err(error))) => told(StatusCode::BAD_GATEWAY, &error),
            Ok(None) => (StatusCode::NOT_FOUND, "no probe has this name\n".to_owned()),
            Err(_) => told(StatusCode::GATEWAY_TIMEOUT, "not in time"),
        }
    };
    Router::new().route("/probe/{name}", get(answer)).layer(middleware::map_response(for_now_only))
}

/// How the upstream has answered.
fn told(status: StatusCode, answer: &str) -> (StatusCode, String) {
    (status, format!("the upstream answered: {answer}\n"))
}

/// Whether a word stands in a query.
fn asks_for(query: Option<&str>, word: &str) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some(word)))
}

/// Says whether all conditions are met, and with `verbose` each of them.
fn said(check: &str, report: &[Report], verbose: bool) -> (StatusCode, String) {
    let good = !report.is_empty() && report.iter().all(|condition| condition.unmet.is_none());
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !verbose {
        return (status, if good { "ok\n" } else { "not ready\n" }.to_owned());
    }

    let mut text = String::new();
    for condition in report {
        match &condition.unmet {
            None => text.extend(["[+]", condition.name, " ok\n"]),
            Some(reason) => text.extend(["[-]", condition.name, ": ", reason, "\n"]),
        }
    }
    text.extend([check, if good { " check passed\n" } else { " check failed\n" }]);
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
    use std::future::ready;

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
        let router = router(Arc::clone(&metrics), readiness.clone(), || ready(Err("refused".to_owned())));
        let door = Door::open(router, GENEROUS).await;
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

    /// In a pod the upstream may be waiting until this process has started.
    #[tokio::test]
    async fn only_who_asks_for_the_upstream_depends_on_it() {
        let (door, readiness, keys, _metrics) = door().await;
        assert_eq!(door.get("/startupz").await.0, 503);
        keys.met();
        for (path, status) in
            [("/startupz", 200), ("/startupz?upstream", 200), ("/readyz", 200), ("/readyz?upstream", 503)]
        {
            assert_eq!(door.get(path).await.0, status, "{path}");
        }
        let text = "[+]keys ok\n[-]upstream: refused\nreadyz check failed\n";
        assert_eq!(door.get("/readyz?verbose&upstream").await, (503, text.to_owned()));
        readiness.draining();
        assert_eq!(door.get("/startupz?verbose").await, (200, "[+]keys ok\nstartupz check passed\n".to_owned()));
    }

    #[tokio::test]
    async fn a_probe_passes_on_the_status_of_the_upstream() {
        let ask = |name: String| {
            ready(match name.as_str() {
                "gone" => Some(Err("refused".to_owned())),
                name => name.parse::<u16>().ok().map(|code| Ok(StatusCode::from_u16(code).expect("a status"))),
            })
        };
        let door = Door::open(upstream_router(ask), GENEROUS).await;
        for status in [200, 204, 302, 404, 503] {
            assert_eq!(door.get(&format!("/probe/{status}")).await.0, status);
        }
        assert_eq!(door.get("/probe/101").await.0, 502);
        assert_eq!(door.get("/probe/gone").await, (502, "the upstream answered: refused\n".to_owned()));
        assert_eq!(door.get("/probe/other").await.0, 404);
        assert_eq!(door.get("/probe/200/more").await.0, 404);
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
        for path in ["/livez", "/startupz", "/readyz", "/metrics"] {
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
        let router = router(metrics, readiness, || ready(Ok(())));
        let door = Door::open(router.merge(other), GENEROUS).await;
        let answer = door.send("POST /keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(door.get("/livez").await.0, 200);
    }

    #[tokio::test]
    async fn the_health_check_and_the_door_understand_each_other() {
        let (door, _readiness, keys, _metrics) = door().await;
        let address = door.address;
        let check = move || {
            tokio::task::spawn_blocking(move || probe(&Question::to_door(address, "/readyz")?, Duration::from_secs(10)))
        };
        let error = check().await.expect("runs").expect_err("not ready");
        assert!(error.ends_with("answers /readyz with 503"), "{error}");
        keys.met();
        assert_eq!(check().await.expect("runs"), Ok(()));
    }
}
