//! Sending one request: over which connection, for how long, and when a second time.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version, response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::Upstream;
use super::pool::{Checkout, Lease};
use super::stream::Connection;
use crate::gateway::body::RequestBody;
use crate::ticks::within;

/// Waiting connections that may turn out dead for one request, before it gets a fresh one.
const STALE_MAX: usize = 3;

/// Why the upstream gave no response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody listens there, the name does not resolve, or TLS was not agreed on.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// Connecting took longer than allowed.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// As many connections are open as may be.
    #[error("as many connections are open as may be")]
    Overloaded,
    /// The head of the response did not come in time.
    #[error("the response took too long")]
    ResponseTimeout,
    /// The connection broke before the head of the response was there.
    #[error("the connection broke: {0}")]
    Reset(#[source] hyper::Error),
    /// What came back is not HTTP.
    #[error("the response is malformed: {0}")]
    Malformed(#[source] hyper::Error),
    /// What came back can be read in two ways, was not asked for, or has a status that is none.
    #[error("the response is ambiguous")]
    Ambiguous,
    /// The request's own content broke off or was refused; the cause lies with the client.
    #[error("the request's content broke off: {0}")]
    Content(#[source] hyper::Error),
}

/// A response whose head has come.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// Head, and content still to be read.
    pub response: Response<Incoming>,
    /// The connection it comes over.
    pub lease: Lease,
}

impl UpstreamResponse {
    /// Takes the connection of a response of 101 out of HTTP, with what had come behind its head. It is never used for a
    /// request again.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Reset`] if the connection broke meanwhile.
    pub async fn switch(self) -> Result<(response::Parts, Switched), UpstreamError> {
        let Self { mut response, lease } = self;
        let stream = hyper::upgrade::on(&mut response).await.map_err(UpstreamError::Reset)?;
        drop(lease);
        // There is no other kind of connection in a pool of HTTP/1.1.
        let parts = stream.downcast::<TokioIo<Connection>>().map_err(|_| UpstreamError::Ambiguous)?;
        let (head, _none) = response.into_parts();
        Ok((head, Switched { stream: parts.io.into_inner(), early: parts.read_buf }))
    }
}

/// A connection that has left HTTP.
#[derive(Debug)]
pub struct Switched {
    /// Where its bytes come from and go to.
    pub stream: Connection,
    /// What the upstream had sent behind the head of its response. It comes first.
    pub early: Bytes,
}

/// What is needed to send a request without content once more.
struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    /// As a list, which costs half of what a copy of the map does, and which the next request of a connection can use.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Again {
    /// Keeps a copy if sending twice cannot do harm (RFC 9110, section 9.2.2) and nothing of the content is lost.
    fn keep(request: &Request<RequestBody>, lease: &mut Lease) -> Option<Self> {
        (request.method().is_idempotent() && request.body().is_end_stream()).then(|| {
            let mut fields = lease.room().map(std::mem::take).unwrap_or_default();
            fields.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
            Self { method: request.method().clone(), uri: request.uri().clone(), version: request.version(), fields }
        })
    }

    /// The copy is not needed: what is left of it is room for the next one.
    fn give_up(mut self, lease: &mut Lease) {
        if let Some(room) = lease.room() {
            self.fields.clear();
            *room = self.fields;
        }
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        for (name, value) in self.fields {
            request.headers_mut().append(name, value);
        }
        request
    }
}

impl Upstream {
    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]. The connect timeout and the response-head timeout together bound all attempts; the latter is
    /// counted from the last part of the request that was sent.
    pub async fn send(
        self: &Arc<Self>,
        worker: usize,
        request: Request<RequestBody>,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let patience = self.settings.response_head_timeout;
        let upload = request.body().upload();
        let mut attempt = pin!(self.attempt(worker, request));
        let mut wait = self.settings.connect_timeout + patience;
        loop {
            match within(wait, attempt.as_mut()).await {
                Some(result) => return result,
                // An upload that goes on is not a slow response: the clock starts anew with each part of it.
                None => match upload.as_ref().and_then(|upload| upload.patience_left(patience)) {
                    Some(left) => wait = left,
                    None => return Err(UpstreamError::ResponseTimeout),
                },
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        worker: usize,
        mut request: Request<RequestBody>,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let mut stale = 0;
        loop {
            let Checkout { mut lease, reused } = self.checkout(worker, stale >= STALE_MAX).await?;
            let again = if reused { Again::keep(&request, &mut lease) } else { None };
            let Failed { error, unsent, flooded } = match try_send(&mut lease, request).await {
                Ok(response) => {
                    if let Some(again) = again {
                        again.give_up(&mut lease);
                    }
                    return Ok(UpstreamResponse { response, lease });
                }
                Err(failed) => failed,
            };
            stale += 1;
            request = match (unsent, again) {
                (Some(unsent), _) if reused && stale <= STALE_MAX => unsent,
                _ if flooded => return Err(UpstreamError::Malformed(error)),
                (_, Some(again)) if died_before_answering(&error) && stale <= STALE_MAX => again.into_request(),
                _ => return Err(classify(error)),
            };
        }
    }
}

/// A failed attempt; the request comes back if nothing of it was written.
struct Failed {
    error: hyper::Error,
    unsent: Option<Request<RequestBody>>,
    /// Interim responses came without end in place of an answer.
    flooded: bool,
}

async fn try_send(lease: &mut Lease, request: Request<RequestBody>) -> Result<Response<Incoming>, Failed> {
    let (result, flooded) = match lease {
        Lease::Alone { connection, .. } => {
            connection.awaited.begin();
            let result = connection.sender.try_send_request(request).await;
            (result, connection.awaited.over())
        }
        Lease::Stream(stream) => (stream.sender.try_send_request(request).await, stream.heads.are_spent()),
    };
    result.map_err(|mut failed| {
        let unsent = failed.take_message();
        Failed { error: failed.into_error(), unsent, flooded }
    })
}

/// Says whether the connection ended without a byte of response, as a connection does that the upstream closed while
/// it waited.
fn died_before_answering(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_io(error)
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

/// Says whose fault a failed attempt was.
fn classify(error: hyper::Error) -> UpstreamError {
    if error.is_user() || error.is_body_write_aborted() {
        UpstreamError::Content(error)
    } else if error.is_parse() {
        UpstreamError::Malformed(error)
    } else {
        UpstreamError::Reset(error)
    }
}
