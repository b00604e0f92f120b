//! The content of a request as it comes from the client, heard out for a moment if nobody wants it.
//!
//! Who answers a request of HTTP/2 before its content has ended may ask the client to stop with RST_STREAM and NO_ERROR
//! (RFC 9113, section 8.1). There are clients that take this for a failure if it comes along with the answer while they
//! still send, and never look at the answer: curl before 8.1 does. So content that nobody wants is thrown away for a
//! moment, in which they see the answer and stop, and only then is the stream reset. In HTTP/1.1 the listener's goodbye
//! does the same for the connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a client may go on after its answer.
const HEARD_OUT: Duration = Duration::from_secs(1);

/// Bytes of it that are thrown away. After that the stream's window stays shut.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Content that is still coming.
#[derive(Debug)]
pub struct Arriving {
    /// There until it is dropped.
    incoming: Option<Incoming>,
    /// Whether it is one stream of several, and so can be given up alone.
    is_stream: bool,
}

impl Arriving {
    /// The same request, with content that is heard out.
    #[must_use]
    pub fn of(request: Request<Incoming>) -> Request<Self> {
        let is_stream = request.version() == Version::HTTP_2;
        request.map(|incoming| Self { incoming: Some(incoming), is_stream })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let unwanted = self.incoming.take().filter(|incoming| self.is_stream && !incoming.is_end_stream());
        // Without a runtime the worker has ended, and the connection with it.
        if let (Some(incoming), Ok(runtime)) = (unwanted, Handle::try_current()) {
            drop(runtime.spawn(timeout(HEARD_OUT, hear_out(incoming))));
        }
    }
}

/// Throws away what comes, until the client has ended or reset the stream.
async fn hear_out(mut incoming: Incoming) {
    let mut discarded_bytes = 0;
    while discarded_bytes < DISCARDED_BYTES_MAX {
        match incoming.frame().await {
            Some(Ok(frame)) => discarded_bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
    std::future::pending::<()>().await;
}
