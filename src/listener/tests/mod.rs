//! The listener through real sockets.
//!
//! A [`Server`] runs on the runtime of the test. What its clients see, and what its observer hears, is all a test may
//! look at. Limits that a test is not about are ten seconds long; those it is about are short, and are checked from
//! below exactly and from above generously.

pub(in crate::listener) mod certificates;

mod draining;
mod encryption;
mod http1;
mod http2;
mod load_balancers;
mod resting;
mod shortage;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::http::{Request, Response, StatusCode};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::takeover::{Takeover, TakesOver};
use super::watchdog::REST_AFTER;
use super::{
    ConnectionInfo, Drain, HandshakeFailure, Listener, Maxima, Observer, Refusal, ResetReason, Settings, Timeouts,
    TlsStore, bind, serve,
};

/// A limit that a test is not about.
const LONG: Duration = Duration::from_secs(10);

/// A limit that a test is about.
const SHORT: Duration = Duration::from_millis(150);

/// A limit that a test stays within, on a busy machine as well.
const MEDIUM: Duration = Duration::from_millis(900);

/// Bytes of the answer to `/large`. More than all buffers on the way hold together.
const LARGE_BYTES: usize = 64 * 1024 * 1024;

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

pub(in crate::listener) fn settings() -> Settings {
    Settings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        proxy_protocol: None,
        http2: true,
        prior_knowledge: false,
        extended_connect: false,
        timeouts: Timeouts { tls_handshake: LONG, request_head: LONG, idle: LONG, write: LONG },
        maxima: Maxima {
            head_bytes: 16 * 1024,
            fields: 100,
            connections: 100,
            connections_per_address: 100,
            ipv6_prefix_bits: 64,
            streams: 10,
        },
        response_rate_min: 0,
        proxies: Vec::new(),
    }
}

/// A listener with one worker, number 7.
struct Server {
    address: SocketAddr,
    settings: Arc<ArcSwap<Settings>>,
    drain: Drain,
    heard: Arc<Heard>,
    /// Lets go what waits at `/wait`.
    gate: Arc<Notify>,
}

impl Server {
    fn start(settings: Settings) -> Self {
        Self::start_with(settings, None)
    }

    fn start_tls(settings: Settings, store: &Arc<TlsStore>) -> Self {
        Self::start_with(settings, Some(Arc::clone(store)))
    }

    fn start_with(settings: Settings, tls: Option<Arc<TlsStore>>) -> Self {
        let socket = bind(settings.address, 1).unwrap().remove(0);
        let server = Self {
            address: socket.local_addr().unwrap(),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            drain: Drain::new(),
            heard: Arc::new(Heard::default()),
            gate: Arc::new(Notify::new()),
        };
        let listener = Listener { socket: tokio::net::TcpListener::from_std(socket).unwrap(), worker: 7 };
        let (heard, gate) = (Arc::clone(&server.heard), Arc::clone(&server.gate));
        let service = move |request: Request<Incoming>, info: &Arc<ConnectionInfo>| {
            answer(request, Arc::clone(info), Arc::clone(&gate))
        };
        tokio::spawn(serve(listener, Arc::clone(&server.settings), tls, service, heard, server.drain.watch()));
        server
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until the observer has heard this, but not for ever.
    #[track_caller]
    fn hears(&self, word: &'static str) -> impl Future<Output = ()> {
        let heard = Arc::clone(&self.heard);
        let caller = std::panic::Location::caller();
        async move {
            let begin = Instant::now();
            while !heard.words().iter().any(|heard| heard == word) {
                assert!(begin.elapsed() < LONG, "{caller}: heard only {:?}", heard.words());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Ends the server, and checks that every connection was counted out again.
    async fn ends(self) {
        self.drain.begin();
        self.drain.abort();
        assert!(self.drain.wait_idle(LONG).await, "connections are left");
        let (opened, closed) = (self.heard.opened.load(Ordering::Relaxed), self.heard.closed.load(Ordering::Relaxed));
        assert_eq!(opened, closed, "opened and closed");
    }
}

async fn answer(request: Request<Incoming>, info: Arc<ConnectionInfo>, gate: Arc<Notify>) -> Response<TestBody> {
    let text = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::builder();
    let body = match request.uri().path() {
        "/wait" => {
            gate.notified().await;
            text("waited".to_owned())
        }
        "/slow" => {
            tokio::time::sleep(3 * SHORT).await;
            text("slept".to_owned())
        }
        "/upload" => {
            let body = request.into_body().collect().await;
            text(body.map_or_else(|error| format!("failed: {error}"), |body| body.to_bytes().len().to_string()))
        }
        "/hold" => {
            tokio::spawn(async move {
                tokio::time::sleep(REST_AFTER + 2 * SHORT).await;
                if request.into_body().collect().await.is_ok_and(|body| body.to_bytes() == "one, two, three") {
                    gate.notify_one();
                }
            });
            text("held".to_owned())
        }
        "/early" => {
            response = response.status(StatusCode::UNAUTHORIZED);
            text("not you".to_owned())
        }
        "/large" => Large { left: LARGE_BYTES, pause: None }.boxed_unsync(),
        "/later" => Large { left: LARGE_BYTES, pause: Some(Box::pin(tokio::time::sleep(SHORT))) }.boxed_unsync(),
        "/empty" => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        "/cut" => Cut { failure: None }.boxed_unsync(),
        "/panic" => panic!("as asked"),
        _ => text(format!("{info:?}")),
    };
    response.body(body).unwrap()
}

impl TakesOver for TestBody {
    fn take_over(&mut self) -> Option<Takeover> {
        None
    }
}

/// A body of [`LARGE_BYTES`], which may pause before it begins.
struct Large {
    left: usize,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Large {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= CHUNK.len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

/// A body that fails in the middle, when the first half is on its way, as one does whose upstream has died.
struct Cut {
    failure: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(failure) = &mut self.failure {
            return failure.as_mut().poll(context).map(|()| Some(Err(io::Error::other("cut"))));
        }
        self.failure = Some(Box::pin(tokio::time::sleep(SHORT / 3)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half")))))
    }
}

/// What the observer has heard, as words.
#[derive(Default)]
struct Heard {
    words: Mutex<Vec<String>>,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

impl Heard {
    fn words(&self) -> Vec<String> {
        self.words.lock().unwrap().clone()
    }
}

impl Observer for Arc<Heard> {
    fn connection_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn connection_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self, refusal: Refusal) {
        self.words.lock().unwrap().push(refusal.word().to_owned());
    }

    fn closed_when_idle(&self) {
        self.words.lock().unwrap().push("idle".to_owned());
    }

    fn accept_failed(&self) {
        self.words.lock().unwrap().push("not accepted".to_owned());
    }

    fn stream_reset(&self, reason: ResetReason, _: &ConnectionInfo) {
        self.words.lock().unwrap().push(format!("reset {}", reason.word()));
    }

    fn handshake_failed(&self, failure: HandshakeFailure) {
        self.words.lock().unwrap().push(format!("handshake {}", failure.word()));
    }

    fn head_refused(&self, status: StatusCode, reason: &'static str, _: &ConnectionInfo) -> Bytes {
        if status != StatusCode::REQUEST_TIMEOUT {
            self.words.lock().unwrap().push(format!("{} {reason}", status.as_u16()));
        }
        Bytes::from(format!("HTTP/1.1 {} No\r\ncontent-length: 4\r\n\r\nours", status.as_u16()))
    }
}

/// Sends a request head without a body.
async fn send(stream: &mut (impl AsyncWriteExt + Unpin), path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads one HTTP/1.1 response with a `content-length`, head and content in one text.
#[track_caller]
fn receive(stream: &mut (impl AsyncRead + Unpin)) -> impl Future<Output = String> {
    let caller = std::panic::Location::caller();
    async move {
        let mut text = String::new();
        let read = async {
            loop {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap() == 0 {
                    panic!("{caller}: the connection ended after {text:?}");
                }
                text.push(byte[0].into());
                if let Some((head, content)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if content.len() == length.unwrap_or("0").parse::<usize>().unwrap() {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(LONG, read).await.unwrap_or_else(|_| panic!("{caller}: nothing more comes"));
        text
    }
}

/// Reads until the server closes, and says what came. A reset counts as a close.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes));
    let _reset = read.await.expect("the server does not close");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks that the server closes without a word, not before `limit`.
#[track_caller]
fn closes_after(limit: Duration, stream: &mut (impl AsyncRead + Unpin)) -> impl Future<Output = ()> {
    let begin = Instant::now();
    let caller = std::panic::Location::caller();
    async move {
        let said = until_closed(stream).await;
        assert_eq!(said, "", "{caller}");
        assert!(begin.elapsed() >= limit * 9 / 10, "{caller}: closed after {:?}", begin.elapsed());
        assert!(begin.elapsed() < LONG, "{caller}: closed after {:?}", begin.elapsed());
    }
}
