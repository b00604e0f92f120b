//! The two bodies of a request on its way through: what the client sends up, and what comes down to it.
//!
//! Neither is held whole, but for what [`super::content`] has read. Each is one enum, so that hyper is compiled for one
//! type and nothing is boxed for a request without content. Both notice when the other end stops moving: a body without
//! progress for the configured time is broken off. The pause that is tolerated lies between that time and twice that time,
//! because progress is only noted when the timer fires and costs nothing in between.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::arriving::Arriving;
use super::content::{Content, Held};
use super::fields::Framing;
use super::progress::{BodyError, End, Patience, Watch};
use super::record::Record;
use super::trailers::{self, TrailerRules};
use super::tunnel::Tunnel;
use super::upload::{Upload, UploadFailure};
use super::upstream::Lease;
use crate::listener::{Pace, Takeover, TakesOver};
use crate::moment::monotonic_ns;

/// The content of a request on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Going>>);

#[derive(Debug)]
enum Going {
    Streaming(Uploading),
    Whole(Held),
}

#[derive(Debug)]
struct Uploading {
    arriving: Arriving,
    upload: Arc<Upload>,
    left_bytes: u64,
    watch: Watch,
    /// There if a length was announced.
    pace: Option<Pace>,
    end: End,
    trailers: Option<TrailerRules>,
}

impl RequestBody {
    /// No content.
    #[must_use]
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The content that the upstream shall have, of a request that came in this `version`, and of the fields behind it what
    /// `trailers` leave.
    pub fn new(
        content: Content,
        version: Version,
        bytes_max: u64,
        patience: Patience,
        trailers: impl FnOnce() -> TrailerRules,
    ) -> Self {
        match content {
            Content::Coming(arriving) => {
                let mut body = Self::streaming(arriving, version, bytes_max, patience);
                if let Some(Going::Streaming(uploading)) = body.0.as_deref_mut() {
                    uploading.trailers = Some(trailers());
                }
                body
            }
            Content::Whole(held) if held.bytes().is_empty() => Self::empty(),
            Content::Whole(held) => Self(Some(Box::new(Going::Whole(held)))),
        }
    }

    /// Streams the client's content: at most `bytes_max` of it, with no more `patience` than this, and nothing behind it.
    pub fn streaming(arriving: Arriving, version: Version, bytes_max: u64, patience: Patience) -> Self {
        if arriving.is_end_stream() {
            return Self::empty();
        }
        let upload = Arc::new(Upload::begun(monotonic_ns(), patience.pause.saturating_mul(2)));
        let (watch, end) = (Watch::new(patience.pause), End::of_request(version));
        let announced = arriving.size_hint().exact().is_some() && patience.rate_min > 0;
        let pace = announced.then(|| Pace::new(patience.rate_min, patience.pause));
        let uploading = Uploading { arriving, upload, left_bytes: bytes_max, watch, pace, end, trailers: None };
        Self(Some(Box::new(Going::Streaming(uploading))))
    }

    /// Where to see how far it has come; `None` without content that is still coming.
    #[must_use]
    pub fn upload(&self) -> Option<Arc<Upload>> {
        match self.0.as_deref()? {
            Going::Streaming(uploading) => Some(Arc::clone(&uploading.upload)),
            Going::Whole(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut().0.as_deref_mut() {
            None => Poll::Ready(None),
            Some(Going::Whole(held)) if held.bytes().is_empty() => Poll::Ready(None),
            Some(Going::Whole(held)) => Poll::Ready(Some(Ok(Frame::data(held.take())))),
            Some(Going::Streaming(uploading)) => uploading.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.0.as_deref() {
            None => true,
            Some(Going::Whole(held)) => held.bytes().is_empty(),
            Some(Going::Streaming(uploading)) => uploading.arriving.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_deref() {
            None => SizeHint::with_exact(0),
            Some(Going::Whole(held)) => SizeHint::with_exact(held.bytes().len() as u64),
            Some(Going::Streaming(uploading)) => uploading.arriving.size_hint(),
        }
    }
}

impl Uploading {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.arriving).poll_frame(cx);
        self.upload.waits(polled.is_pending());
        match polled {
            // h2 leaves out the pseudo-fields of trailers without a word, and they make a request malformed (RFC 9113,
            // section 8.1). Those that hold nothing else are told by that; nobody has a reason to send empty ones.
            Poll::Ready(Some(Ok(frame))) if frame.trailers_ref().is_some_and(HeaderMap::is_empty) => {
                self.upload.fail(UploadFailure::Broken);
                Poll::Ready(Some(Err(BodyError::EmptyTrailers)))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(fields) = frame.trailers_mut()
                    && !self.trailers.as_ref().is_some_and(|rules| rules.strip(fields))
                {
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(self.moved(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.upload.fail(UploadFailure::Broken);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) if !self.end.is_reached(&self.arriving) => {
                self.upload.fail(UploadFailure::Broken);
                Poll::Ready(Some(Err(BodyError::CutShort)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if let Some(pace) = self.pace.as_mut().filter(|pace| !pace.is_waiting()) {
                    pace.waits(monotonic_ns());
                }
                ready!(self.watch.poll_stalled(cx));
                self.upload.fail(UploadFailure::Stalled);
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    /// Counts a part that has come.
    fn moved(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        self.watch.moved = true;
        if let Some(data) = frame.data_ref() {
            let bytes = data.len() as u64;
            let Some(left_bytes) = self.left_bytes.checked_sub(bytes) else {
                self.upload.fail(UploadFailure::TooLarge);
                return Err(BodyError::TooLarge);
            };
            self.left_bytes = left_bytes;
            let now_ns = monotonic_ns();
            self.upload.moved(bytes, now_ns);
            let is_fast_enough = self.pace.as_mut().is_none_or(|pace| pace.moved(bytes, now_ns));
            if !is_fast_enough && !self.arriving.is_end_stream() {
                self.upload.fail(UploadFailure::Stalled);
                return Err(BodyError::Stalled);
            }
        }
        Ok(frame)
    }
}

/// The content of a response on its way to the client. It carries the request's [`Record`], which is written when the
/// body is gone, whether it was sent whole or not.
pub enum ResponseBody {
    /// Content of our own, or none.
    Fixed(Fixed),
    /// The upstream's content as it comes.
    Forwarded(Box<Forwarded>),
    /// No content, and no HTTP behind it; nothing once that was taken over.
    Tunnel(Option<Box<Tunnel>>),
}

/// Content of our own.
pub struct Fixed {
    pub(super) content: Bytes,
    record: Option<Box<Record>>,
}

/// The upstream's content, and the connection that it comes over.
pub struct Forwarded {
    incoming: Incoming,
    lease: Option<Lease>,
    framing: Framing,
    end: End,
    watch: Watch,
    stage: Stage,
    record: Option<Box<Record>>,
}

/// How far a forwarded response has come.
enum Stage {
    /// Nothing of its content was asked for: its head may wait to be written.
    Head,
    /// Its content is on its way.
    Content,
    /// Its content has broken off before anything of it came. hyper would throw the head away if it heard of it at once.
    Broken(BodyError),
}

impl ResponseBody {
    /// Content that we made.
    #[must_use]
    pub const fn fixed(content: Bytes) -> Self {
        Self::Fixed(Fixed { content, record: None })
    }

    /// The upstream's content, with no pause longer than `timeout` (see above). The connection goes back to its pool
    /// when the last byte was read, unless its `framing` leaves a doubt.
    #[must_use]
    pub fn forwarded(incoming: Incoming, lease: Lease, framing: Framing, end: End, timeout: Duration) -> Self {
        let watch = Watch::new(timeout);
        let mut forwarded =
            Forwarded { incoming, lease: Some(lease), framing, end, watch, stage: Stage::Head, record: None };
        if forwarded.incoming.is_end_stream() {
            forwarded.give_back();
            return Self::fixed(Bytes::new());
        }
        Self::Forwarded(Box::new(forwarded))
    }

    /// Content that we made; none of what the upstream sends.
    #[must_use]
    pub fn content(&self) -> Bytes {
        match self {
            Self::Fixed(fixed) => fixed.content.clone(),
            Self::Forwarded(_) | Self::Tunnel(_) => Bytes::new(),
        }
    }

    /// Hands over the record, to be written when this body ends.
    pub fn carry(&mut self, finished: Box<Record>) {
        match self {
            Self::Fixed(fixed) => fixed.record = Some(finished),
            Self::Forwarded(forwarded) => forwarded.record = Some(finished),
            Self::Tunnel(Some(tunnel)) => tunnel.carry(finished),
            Self::Tunnel(None) => {}
        }
    }
}

impl TakesOver for ResponseBody {
    fn take_over(&mut self) -> Option<Takeover> {
        match self {
            Self::Tunnel(tunnel) => tunnel.take().map(|tunnel| Takeover::new(|client| tunnel.run(client))),
            Self::Fixed(_) | Self::Forwarded(_) => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Fixed(fixed) if fixed.content.is_empty() => Poll::Ready(None),
            Self::Fixed(fixed) => {
                if let Some(record) = &mut fixed.record {
                    record.sent(fixed.content.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut fixed.content)))))
            }
            Self::Forwarded(forwarded) => forwarded.poll_frame(cx),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed(fixed) => fixed.content.is_empty(),
            Self::Forwarded(forwarded) => forwarded.incoming.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(fixed) => SizeHint::with_exact(fixed.content.len() as u64),
            Self::Forwarded(forwarded) => forwarded.incoming.size_hint(),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl Forwarded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match std::mem::replace(&mut self.stage, Stage::Content) {
            Stage::Content => self.poll_content(cx).map_err(|error| self.broke_off(error)),
            Stage::Broken(error) => Poll::Ready(Some(Err(self.broke_off(error)))),
            Stage::Head => match self.poll_content(cx) {
                Poll::Ready(Some(Err(error))) => {
                    self.stage = Stage::Broken(error);
                    // The head is written meanwhile.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                polled @ (Poll::Pending | Poll::Ready(None | Some(Ok(_)))) => polled,
            },
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.watch.moved = true;
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::strip(trailers);
                }
                if let (Some(data), Some(record)) = (frame.data_ref(), &mut self.record) {
                    record.sent(data.len() as u64);
                }
                // Nobody asks for more behind trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if !self.end.is_reached(&self.incoming) => Poll::Ready(Some(Err(BodyError::CutShort))),
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Pending => {
                ready!(self.watch.poll_stalled(cx));
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            match self.framing {
                Framing::Clear => lease.give_back(),
                Framing::Old => drop(lease),
            }
        }
    }

    /// Notes in the record that the client did not get everything. The lease is dropped with this body.
    fn broke_off(&mut self, error: BodyError) -> BodyError {
        if let Some(record) = &mut self.record {
            record.response_broke_off(&error);
        }
        error
    }
}
