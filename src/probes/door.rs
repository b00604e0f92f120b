//! An HTTP/1.1 server for a few operators and probes: everything it does has a limit.
//!
//! `axum::serve` has none of these limits. It is not the data plane's listener either: no TLS, no HTTP/2, and a client
//! that misbehaves at the public door can take nothing from this one.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections that are open at the same time; more wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 256;

/// How long a head may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Bytes of a head; more are answered with 431.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head; more are answered with 431.
const FIELDS_MAX: usize = 64;

/// Bytes of a request's content; a handler that reads more gets an error, which is answered with 413.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long an answer may take, reading the content included.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long a connection takes new requests.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// How long an exchange that has begun may still take when its connection or the door is closed.
const GRACE_TIME: Duration = Duration::from_secs(5);

/// How long nothing is accepted after the system has refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` is done; then accepts nothing more and returns when the exchanges that
/// have begun have ended, after five seconds at most.
///
/// To be called inside a runtime with time and network. Dropping the future closes all connections at once.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, place) = accept(&listener, &places) => {
                let (router, closed) = (router.clone(), closed.clone());
                connections.spawn(async move {
                    serve_connection(stream, router, closed).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    drop(closing);
    // A connection that takes longer is cut off when the set is dropped.
    drop(timeout(GRACE_TIME, async { while connections.join_next().await.is_some() {} }).await);
}

/// Waits for a place and for a connection to fill it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a place.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "The admin door cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends, grows old, or the door closes.
async fn serve_connection(stream: TcpStream, router: Router, mut closed: watch::Receiver<()>) {
    // Without it a small answer waits for the acknowledgement of the one before; with an error it is merely slower.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);

    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = closed.changed() => None,
        () = sleep(CONNECTION_TIME) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection to the admin door has failed");
    }
}

/// Answers one request, in time.
async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let request = request.map(|content| Body::new(Limited::new(content, BODY_BYTES_MAX)));
    match timeout(ANSWER_TIME, TowerToHyperService::new(router).call(request)).await {
        Ok(answered) => answered,
        Err(_) => {
            let mut response = Response::new(Body::from("the answer took too long\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(response)
        }
    }
}
