//! HTTP: hyper, told how much it may take, and the service behind it.
//!
//! `hyper::server::conn` is used directly. hyper-util's `auto` builder would guess the version of the protocol for as
//! long as a client likes; here it is known before hyper sees a byte.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;

use super::accept::Door;
use super::activity::{Activity, InFlight};
use super::framing::Framing;
use super::socket::Wire;
use super::spoken::LastWords;
use super::takeover::{GivenOver, Takeover, TakesOver};
use super::watchdog::Conversation;
use super::watched::Watched;
use super::{ConnectionInfo, Observer, Refusal, Settings};

/// Receive window of a stream: what a client may send of one body before we have read it (RFC 9113, section 5.2).
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Receive window of a connection. h2 grants small DATA frames a budget of half of it, and ends connections that use it
/// up; honest gRPC streams need this much.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// What we hold back for one stream that does not read. Times the streams of a connection it is what a client can make
/// us hold.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that were reset before we looked at them (CVE-2023-44487), at most.
const PENDING_RESETS_MAX: usize = 20;

/// Streams that we had to reset for the client's mistakes (CVE-2025-8671), at most.
const OWN_RESETS_MAX: usize = 256;

/// How many times the bytes of a head h2 reads, so that a head that is too large comes as far as the service, which
/// answers, counts and logs it. h2 itself answers a larger one with 431 and nothing else. Its fields are pieces of what
/// was read, so repeating one by HPACK takes no memory.
const READ_BEYOND_HEAD: u32 = 4;

/// The number of fields for which hyper needs no allocation.
const FIELDS_WITHOUT_ALLOCATION: usize = 100;

/// The least read buffer hyper accepts.
const READ_BUFFER_BYTES_MIN: usize = 8192;

/// The read buffer we give at least, so that bodies come in good pieces even where heads must be small.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The settings of a listener, and both protocols made ready with them. Made once for each change of the settings.
pub(super) struct Protocols {
    pub(super) settings: Arc<Settings>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let head_bytes = settings.maxima.head_bytes as usize;

        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(false)
            .keep_alive(true)
            .max_header_size(head_bytes)
            .max_buf_size(head_bytes.max(READ_BUFFER_BYTES).max(READ_BUFFER_BYTES_MIN));
        if settings.maxima.fields != FIELDS_WITHOUT_ALLOCATION {
            http1.max_headers(settings.maxima.fields);
        }

        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(settings.maxima.streams)
            .max_header_list_size(settings.maxima.head_bytes.saturating_mul(READ_BEYOND_HEAD))
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(OWN_RESETS_MAX);
        if settings.extended_connect {
            http2.enable_connect_protocol();
        }

        Self { settings, http1, http2 }
    }

    /// Speaks HTTP/1.1 on `wire`, from the first request on or from one that is to come.
    pub(super) fn http1<T: Wire, S: Respond, O: Observer>(&self, wire: T, requests: Requests<S, O>) -> Http1<T, S, O> {
        let framing = Framing::after(requests.activity.requests());
        let watched = Watched::new(wire, Arc::clone(&requests.activity), framing);
        self.http1.serve_connection(TokioIo::new(watched), requests)
    }

    /// Speaks HTTP/2 on `wire`.
    pub(super) fn http2<T: Wire, S: Respond, O: Observer>(&self, wire: T, requests: Requests<S, O>) -> Http2<T, S, O> {
        let (door, info) = (Arc::clone(&requests.door), Arc::clone(&requests.info));
        let tell = Box::new(move |reason| door.observer.stream_reset(reason, &info));
        let watched = Watched::of_http2(wire, Arc::clone(&requests.activity), tell);
        self.http2.serve_connection(TokioIo::new(watched), requests)
    }
}

type Http1<T, S, O> = http1::Connection<TokioIo<Watched<T>>, Requests<S, O>>;
type Http2<T, S, O> = http2::Connection<TokioIo<Watched<T>>, Requests<S, O>, TokioExecutor>;

/// Takes the stream back from an HTTP/1.1 conversation that has ended, with what was read of it and not used.
pub(super) fn take_back<T: Wire, S: Respond, O: Observer>(conversation: Http1<T, S, O>) -> (T, Bytes) {
    let parts = conversation.into_parts();
    (parts.io.into_inner().into_inner(), parts.read_buf)
}

impl<T: Wire, S: Respond, O: Observer> Conversation for Http1<T, S, O> {
    const MULTIPLEXED: bool = false;

    fn leave(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<T: Wire, S: Respond, O: Observer> Conversation for Http2<T, S, O> {
    const MULTIPLEXED: bool = true;

    fn leave(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

/// What answers requests: the rest of the program.
///
/// Every fitting function is one. The trait only gives names to its future and its body.
pub(super) trait Respond: Send + Sync + 'static {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + TakesOver + Send + 'static;
    /// The answer, on its way.
    type Future: Future<Output = Response<Self::Body>> + Send + 'static;

    /// Begins to answer `request`.
    fn respond(&self, request: Request<Incoming>, connection: &Arc<ConnectionInfo>) -> Self::Future;
}

impl<S, F, B> Respond for S
where
    S: Fn(Request<Incoming>, &Arc<ConnectionInfo>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + TakesOver + Send + 'static,
{
    type Body = B;
    type Future = F;

    fn respond(&self, request: Request<Incoming>, connection: &Arc<ConnectionInfo>) -> F {
        self(request, connection)
    }
}

/// The service of one connection, as hyper wants it.
pub(super) struct Requests<S, O> {
    pub(super) door: Arc<Door<S, O>>,
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) activity: Arc<Activity>,
}

impl<S: Respond, O: Observer> Service<Request<Incoming>> for Requests<S, O> {
    type Response = Response<Tracked<S::Body>>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::begin(&self.activity, request.version(), !request.body().is_end_stream());
        if let Some(doubt) = self.activity.doubt() {
            request.extensions_mut().insert(doubt);
        }
        // An HTTP/1.1 connection is taken back as a whole; a stream has to be asked for (RFC 8441, section 4).
        let connect = request.method() == Method::CONNECT && request.version() == Version::HTTP_2;
        let stream = connect.then(|| hyper::upgrade::on(&mut request));
        Answer { future: self.door.service.respond(request, &self.info), in_flight: Some(in_flight), stream }
    }
}

pin_project! {
    /// The answer to one request, on its way.
    pub(super) struct Answer<F> {
        #[pin]
        future: F,
        in_flight: Option<InFlight>,
        // The stream of an extended CONNECT, in case that it is granted.
        stream: Option<OnUpgrade>,
    }
}

impl<F, B: TakesOver> Future for Answer<F>
where
    F: Future<Output = Response<B>>,
{
    type Output = Result<Response<Tracked<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(context));
        let mut in_flight = this.in_flight.take();
        if let Some(takeover) = response.body_mut().take_over() {
            give_over(takeover, this.stream.take(), &mut in_flight);
        } else if in_flight.as_ref().is_some_and(InFlight::is_last) {
            // RFC 9112, section 9.6. HTTP/2 says GOAWAY by itself.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| Tracked { body, in_flight })))
    }
}

/// Leaves a connection that will have left HTTP for whoever drives it, or a stream of one to a task of its own. That
/// ends with its connection, because then there is nothing left to read.
fn give_over(takeover: Takeover, stream: Option<OnUpgrade>, in_flight: &mut Option<InFlight>) {
    let Some(stream) = stream else {
        if let Some(in_flight) = in_flight {
            in_flight.give_over(takeover);
        }
        return;
    };
    // It is there: an answer comes once.
    let Some(in_flight) = in_flight.take().map(InFlight::of_tunnel) else { return };
    tokio::spawn(async move {
        // Fails if the client has gone before it was answered.
        if let Ok(stream) = stream.await {
            let stream = Box::new(in_flight.earns_by(TokioIo::new(stream)));
            takeover.go_on(GivenOver { stream, early: Bytes::new() }).await;
        }
        drop(in_flight);
    });
}

pin_project! {
    /// A response body that keeps its request in flight.
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlight>,
    }
}

impl<B: Body> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if let Some(in_flight) = this.in_flight {
            in_flight.asked_for_frame();
        }
        let frame = this.body.poll_frame(context);
        if let (Some(in_flight), Poll::Ready(Some(Ok(_)))) = (this.in_flight, &frame) {
            in_flight.gave_frame();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer hyper has given by itself, if this error says so, and a stable word for its reason.
///
/// hyper tells no more than a text about which part was wrong. An unknown text only makes the word less precise.
pub(super) fn answered_by_hyper(error: &hyper::Error) -> Option<(StatusCode, &'static str)> {
    if !error.is_parse() || error.is_parse_version_h2() || error.is_parse_status() {
        return None;
    }
    let text = error.to_string();
    Some(match text.as_str() {
        "message head is too large" => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"),
        "URI too long" => (StatusCode::URI_TOO_LONG, "uri_too_long"),
        "invalid URI" => (StatusCode::BAD_REQUEST, "uri"),
        "invalid HTTP method parsed" => (StatusCode::BAD_REQUEST, "method"),
        "invalid HTTP version parsed" => (StatusCode::BAD_REQUEST, "version"),
        "invalid content-length parsed" => (StatusCode::BAD_REQUEST, "content_length"),
        "invalid transfer-encoding parsed" | "unexpected transfer-encoding parsed" => {
            (StatusCode::BAD_REQUEST, "transfer_encoding")
        }
        "invalid HTTP header parsed" => (StatusCode::BAD_REQUEST, "field"),
        _ => (StatusCode::BAD_REQUEST, "head"),
    })
}

/// Why h2 has ended a connection by itself, if this error says that it has.
///
/// hyper tells no more than a text, which says that it was enough but not of what; that stood in the last words to the
/// client. Unknown texts only make our word less precise.
pub(super) fn ended_by_us(error: &hyper::Error, activity: &Activity) -> Option<Refusal> {
    let text = error.source()?.to_string();
    let detected = text.strip_prefix("connection error detected: ")?;
    if detected != "detected excessive load generating behavior" {
        return Some(Refusal::Http2Malformed);
    }
    Some(match activity.last_words() {
        Some(LastWords::Resets) => Refusal::Http2Resets,
        Some(LastWords::Mistakes) => Refusal::Http2Mistakes,
        Some(LastWords::Continuations) => Refusal::Http2Continuations,
        Some(LastWords::SmallFrames) => Refusal::Http2SmallFrames,
        Some(LastWords::Head) => Refusal::Http2Head,
        None => Refusal::Http2Flood,
    })
}
