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

/// What the door allows.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections that are open at the same time; more wait to be accepted.
    pub(super) connections_max: usize,
    /// How long a head may take, and how long a connection may be idle.
    pub(super) head_time: Duration,
    /// How long an answer may take, reading the content included.
    pub(super) answer_time: Duration,
    /// How long a connection takes new requests.
    pub(super) connection_time: Duration,
    /// How long an exchange that has begun may still take when its connection or the door is closed.
    pub(super) grace_time: Duration,
}

/// What an admin door allows. Three probes and a scrape need four connections.
pub(super) const LIMITS: Limits = Limits {
    connections_max: 256,
    head_time: Duration::from_secs(5),
    answer_time: Duration::from_secs(30),
    connection_time: Duration::from_secs(60),
    grace_time: Duration::from_secs(5),
};

/// Bytes of a head; more are answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head; more are answered with 431.
const FIELDS_MAX: usize = 64;

/// Bytes of a request's content; a handler that reads more gets an error, which axum answers with 413.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long nothing is accepted after the system has refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` is done; then accepts nothing more and returns when the exchanges that
/// have begun have ended, after five seconds at most.
///
/// To be called inside a runtime with time and network. Dropping the future closes all connections at once.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    serve_within(LIMITS, listener, router, shutdown).await;
}

/// The same with other limits.
pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, place) = accept(&listener, &places) => {
                let (router, closed) = (router.clone(), closed.clone());
                connections.spawn(async move {
                    serve_connection(limits, stream, router, closed).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    drop(closing);
    // A connection that takes longer is cut off when the set is dropped.
    drop(timeout(limits.grace_time, async { while connections.join_next().await.is_some() {} }).await);
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
async fn serve_connection(limits: Limits, stream: TcpStream, router: Router, mut closed: watch::Receiver<()>) {
    // Without it a small answer waits for the acknowledgement of the one before; with an error it is merely slower.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(limits, router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);

    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = closed.changed() => None,
        () = sleep(limits.connection_time) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.grace_time, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection to the admin door has failed");
    }
}

/// Answers one request, in time.
async fn answer(limits: Limits, router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let request = request.map(|content| Body::new(Limited::new(content, BODY_BYTES_MAX)));
    match timeout(limits.answer_time, TowerToHyperService::new(router).call(request)).await {
        Ok(answered) => answered,
        Err(_) => {
            let mut response = Response::new(Body::from("the answer took too long\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(response)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::future::pending;
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;

    use super::*;

    /// Limits that no test reaches unless it means to.
    pub(in crate::probes) const GENEROUS: Limits = Limits {
        connections_max: 16,
        head_time: Duration::from_secs(60),
        answer_time: Duration::from_secs(60),
        connection_time: Duration::from_secs(60),
        grace_time: Duration::from_secs(60),
    };

    /// Time that is short for a person and long for a test.
    const SHORT: Duration = Duration::from_millis(150);

    /// An open door.
    pub(in crate::probes) struct Door {
        pub(in crate::probes) address: SocketAddr,
        served: JoinHandle<()>,
        close: oneshot::Sender<()>,
    }

    impl Door {
        pub(in crate::probes) async fn open(router: Router, limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            let address = listener.local_addr().expect("bound");
            let (close, closed) = oneshot::channel();
            let served = tokio::spawn(async move {
                serve_within(limits, listener, router, async { drop(closed.await) }).await;
            });
            Self { address, served, close }
        }

        pub(in crate::probes) async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("connects")
        }

        /// Sends bytes and reads until the door closes the connection.
        pub(in crate::probes) async fn send(&self, bytes: &str) -> String {
            let mut stream = self.connect().await;
            stream.write_all(bytes.as_bytes()).await.expect("writes");
            rest(&mut stream).await
        }

        /// The status and the content of an answer.
        pub(in crate::probes) async fn get(&self, path: &str) -> (u16, String) {
            let answer = self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
            let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
            (head[9..12].parse().expect("a status"), content.to_owned())
        }
    }

    /// What is read until the end or an error.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "the connection stays open after {:?}", String::from_utf8_lossy(&bytes));
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn router() -> Router {
        Router::new()
            .route("/ok", get(|| async { "ok" }))
            .route("/never", get(pending::<&str>))
            .route("/length", post(|content: Bytes| async move { content.len().to_string() }))
    }

    /// `/slow` and `/never`, and what is told when one of them has been asked.
    fn telling_router() -> (Router, mpsc::UnboundedReceiver<()>) {
        let (tell, told) = mpsc::unbounded_channel();
        let tell_too = tell.clone();
        let slow = get(move || async move {
            tell.send(()).ok();
            sleep(SHORT).await;
            "slow"
        });
        let never = get(move || async move {
            tell_too.send(()).ok();
            pending::<&str>().await
        });
        (Router::new().route("/ok", get(|| async { "ok" })).route("/slow", slow).route("/never", never), told)
    }

    #[tokio::test]
    async fn a_connection_carries_several_requests() {
        let door = Door::open(router(), GENEROUS).await;
        let two = "GET /ok HTTP/1.1\r\nHost: a\r\n\r\nGET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(door.send(two).await.matches("HTTP/1.1 200 ").count(), 2);
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        let door = Door::open(router(), Limits { head_time: 4 * SHORT, ..GENEROUS }).await;
        for bytes in ["", "GET /ok HTTP/1.1\r\nHost: a\r\n"] {
            assert!(!door.send(bytes).await.contains(" 200 "));
        }
        let idle = door.send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(idle.matches("HTTP/1.1 200 ").count(), 1, "an idle connection ends as well");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let door = Door::open(router(), GENEROUS).await;
        let long = "x".repeat(HEAD_BYTES_MAX);
        let many = "X-A: b\r\n".repeat(FIELDS_MAX + 1);
        for fields in [format!("X-A: {long}\r\n"), many] {
            let answer = door.send(&format!("GET /ok HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn content_that_is_too_large_is_refused() {
        let door = Door::open(router(), GENEROUS).await;
        let post = |size: usize| {
            let content = "x".repeat(size);
            format!("POST /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{content}")
        };
        assert!(door.send(&post(BODY_BYTES_MAX)).await.ends_with("\r\n\r\n1048576"));

        // A byte too many, and no end: the door need not wait for one.
        let head = "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut chunked = door.connect().await;
        chunked.write_all(format!("{head}100001\r\n{}", "x".repeat(0x0010_0001)).as_bytes()).await.expect("writes");
        let mut status = [0; 12];
        chunked.read_exact(&mut status).await.expect("reads");
        assert_eq!(&status, b"HTTP/1.1 413");
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_503() {
        let door = Door::open(router(), Limits { answer_time: SHORT, ..GENEROUS }).await;
        assert_eq!(door.get("/never").await, (503, "the answer took too long\n".to_owned()));
    }

    #[tokio::test]
    async fn a_connection_does_not_live_for_ever() {
        let limits = Limits { connection_time: SHORT, grace_time: SHORT, ..GENEROUS };
        let door = Door::open(router(), limits).await;
        assert_eq!(door.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_a_place() {
        let door = Door::open(router(), Limits { connections_max: 1, ..GENEROUS }).await;
        let mut first = door.connect().await;
        first.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("writes");
        let mut byte = [0];
        first.read_exact(&mut byte).await.expect("an answer");

        let mut second = door.connect().await;
        second.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("writes");
        assert!(timeout(SHORT, second.read_exact(&mut byte)).await.is_err(), "there is no place");
        drop(first);
        assert!(rest(&mut second).await.contains(" 200 "));
    }

    #[tokio::test]
    async fn closing_lets_exchanges_end_and_idle_connections_go() {
        let (router, mut told) = telling_router();
        let door = Door::open(router, GENEROUS).await;
        let mut idle = door.connect().await;
        idle.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("writes");
        let mut byte = [0];
        idle.read_exact(&mut byte).await.expect("an answer");
        let mut busy = door.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("writes");
        told.recv().await.expect("asked");

        door.close.send(()).expect("open");
        assert!(rest(&mut busy).await.ends_with("\r\n\r\nslow"));
        assert!(rest(&mut idle).await.ends_with("ok"));
        timeout(Duration::from_secs(20), door.served).await.expect("ends").expect("without a panic");
        assert!(TcpStream::connect(door.address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn closing_waits_for_nobody_for_ever() {
        let (router, mut told) = telling_router();
        let door = Door::open(router, Limits { grace_time: SHORT, ..GENEROUS }).await;
        let mut stuck = door.connect().await;
        stuck.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("writes");
        told.recv().await.expect("asked");
        door.close.send(()).expect("open");
        timeout(Duration::from_secs(20), door.served).await.expect("ends").expect("without a panic");
        assert_eq!(rest(&mut stuck).await, "");
    }

    #[test]
    fn the_limits_of_the_admin_door_are_the_documented_ones() {
        assert_eq!((LIMITS.connections_max, LIMITS.head_time), (256, Duration::from_secs(5)));
    }
}
