//! Content on its way: whether it still moves, and whether what seems to be its end is one.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep};

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent more than it may.
    #[error("the content is larger than allowed")]
    TooLarge,
    /// Nothing moved for longer than allowed, or too little.
    #[error("the content stopped arriving")]
    Stalled,
    /// The connection it came over broke, or its framing did.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It ended with trailers of which the library that reads them has left nothing.
    #[error("pseudo-fields stand behind the content")]
    EmptyTrailers,
    /// It stopped before its end, and nobody said that anything was wrong.
    #[error("the content stopped before its end")]
    CutShort,
}

/// How long and how slowly content may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The longest pause. It is tolerated up to twice as long (see [`super::body`]).
    pub pause: Duration,
    /// Bytes in each second that it is waited for, averaged over `pause`, where a length was announced; 0 asks for nothing.
    /// Without a length it may be a conversation, which is as slow as it likes.
    pub rate_min: u64,
}

/// Breaks off a body that makes no progress.
#[derive(Debug)]
pub(super) struct Watch {
    timeout: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    pub(super) moved: bool,
}

impl Watch {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self { timeout, sleep: None, moved: false }
    }

    /// Called when there is nothing to read yet; ready once that has gone on for too long.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let moved = &mut self.moved;
        let timer = self.sleep.get_or_insert_with(|| {
            *moved = false;
            Box::pin(sleep(timeout))
        });
        ready!(timer.as_mut().poll(cx));
        if !std::mem::take(&mut self.moved) {
            return Poll::Ready(());
        }
        timer.as_mut().reset(Instant::now() + timeout);
        timer.as_mut().poll(cx)
    }
}

/// How the end of content is told from a break, once hyper says that there is no more of it.
///
/// hyper takes `RST_STREAM` with `NO_ERROR` for an end like any other. It is one where a server has answered before it has
/// read the whole request (RFC 9113, section 8.1), and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// hyper knows: HTTP/1.1 frames it.
    Framed,
    /// `END_STREAM` alone is one.
    Stream,
    /// A reset may be one as well, if all of the length that was announced has come.
    Early,
}

impl End {
    /// The end of a request's content.
    #[must_use]
    pub fn of_request(version: Version) -> Self {
        if version == Version::HTTP_2 { Self::Stream } else { Self::Framed }
    }

    /// The end of a response's content; `uploads` if its request had content that was still coming.
    #[must_use]
    pub fn of_response(version: Version, uploads: bool) -> Self {
        match (version, uploads) {
            (Version::HTTP_2, true) => Self::Early,
            (Version::HTTP_2, false) => Self::Stream,
            _ => Self::Framed,
        }
    }

    /// Says whether content of which nothing more will come is whole.
    #[must_use]
    pub fn is_reached(self, content: &impl Body) -> bool {
        match self {
            Self::Framed => true,
            Self::Stream => content.is_end_stream(),
            Self::Early => content.is_end_stream() || content.size_hint().lower() == 0,
        }
    }
}
