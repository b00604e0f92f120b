//! One batch, sent once: a POST over a connection that is kept, everything bounded.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use url::{Position, Url};

use super::message::ExportTraceServiceResponse;
use super::settings::Headers;
use crate::outbound::Connector;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the head of an answer, or little more.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("no answer within {0:?}")]
    Time(Duration),
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer that is HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has the status {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the answer is cut off, or larger than 64 KiB")]
    Content,
    #[error("the endpoint cannot be asked")]
    Endpoint,
}

impl PostError {
    /// How long to wait before the same batch is sent again, where it is of use (OTLP/HTTP, "Retryable Response Codes");
    /// `Some(None)` where nobody has said.
    pub(super) fn retry(&self) -> Option<Option<Duration>> {
        match self {
            Self::Time(_) | Self::Connection(_) | Self::Http(_) | Self::Content => Some(None),
            Self::Status { status, retry_after } => {
                matches!(status.as_u16(), 429 | 502 | 503 | 504).then_some(*retry_after)
            }
            Self::Endpoint => None,
        }
    }
}

/// Sends batches to one endpoint.
#[derive(Debug)]
pub(super) struct Poster {
    connector: Connector,
    endpoint: Url,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Poster {
    pub(super) fn new(connector: Connector, endpoint: Url, timeout: Duration) -> Self {
        Self { connector, endpoint, timeout, connection: None }
    }

    /// Sends a batch; how many of its spans were rejected.
    ///
    /// # Errors
    ///
    /// [`PostError`]. The connection is then given up.
    pub(super) async fn post(&mut self, headers: &Headers, content: Bytes) -> Result<u64, PostError> {
        let sent = tokio::time::timeout(self.timeout, self.post_at_leisure(headers, content)).await;
        sent.map_err(|_| PostError::Time(self.timeout))?
    }

    async fn post_at_leisure(&mut self, headers: &Headers, content: Bytes) -> Result<u64, PostError> {
        let mut kept = self.connection.take();
        let is_open = match &mut kept {
            Some(kept) => kept.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept.filter(|_| is_open) {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let request = self.request(headers, content)?;
        let response = connection.send_request(request).await?;
        let (head, content) = response.into_parts();
        let content = Limited::new(content, ANSWER_BYTES_MAX).collect().await.map_err(|_| PostError::Content)?;
        if head.status != StatusCode::OK {
            return Err(PostError::Status { status: head.status, retry_after: retry_after(&head.headers) });
        }
        self.connection = Some(connection);
        // What is no message of OTLP has rejected nothing: some collectors answer in JSON, or not at all.
        let answer = ExportTraceServiceResponse::decode(content.to_bytes()).unwrap_or_default();
        Ok(answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0)))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let stream = self.connector.connect(&self.endpoint).await?;
        let (sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
        // It ends with the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, headers: &Headers, content: Bytes) -> Result<Request<Full<Bytes>>, PostError> {
        let request = Request::post(&self.endpoint[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &self.endpoint[Position::BeforeHost..Position::AfterPort])
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("keygate/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(content));
        let mut request = request.map_err(|_| PostError::Endpoint)?;
        request.headers_mut().extend(headers.0.clone());
        Ok(request)
    }
}

/// What `Retry-After` says in seconds; a date is not heeded.
fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    fields.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
