//! The stream below hyper: what passes is noted, looked at and counted, and what must not pass does not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use super::framing::{Closed, Framing};
use super::meter::{Measure, Meter};
use super::resets::{Resets, Tell};
use super::spoken::GOAWAY_ENHANCE_YOUR_CALM;

/// A stream whose reads and writes are noted.
#[derive(Debug)]
pub(super) struct Watched<T> {
    wire: T,
    activity: Arc<Activity>,
    framing: Framing,
    http2: Option<Followers>,
}

/// What follows the frames of HTTP/2, in each direction.
#[derive(Debug)]
struct Followers {
    meter: Meter,
    resets: Resets,
    /// What was read is to be taken before more is.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    /// HTTP/1.1, whose framing is looked at.
    pub(super) const fn new(wire: T, activity: Arc<Activity>, framing: Framing) -> Self {
        Self { wire, activity, framing, http2: None }
    }

    /// HTTP/2, whose frames are counted. `tell` hears of the streams that are reset from here.
    pub(super) const fn of_http2(wire: T, activity: Arc<Activity>, tell: Tell) -> Self {
        let http2 = Followers { meter: Meter::new(), resets: Resets::new(tell), pause: None };
        Self { wire, activity, framing: Framing::of_no_interest(), http2: Some(http2) }
    }

    /// Looks at what was read. Behind a doubt there is nothing for hyper.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some((doubt, good)) = self.framing.look(&buffer.filled()[before..]) else { return Ok(()) };
        let _ = self.activity.doubt.set((self.framing.request(), doubt));
        buffer.set_filled(before + good);
        // Nothing read would say that the client has ended.
        if good == 0 { Err(broken()) } else { Ok(()) }
    }

    pub(super) fn into_inner(self) -> T {
        self.wire
    }
}

/// What hyper reads where the framing of content is doubtful.
fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl<T> Watched<T> {
    /// Notes a write of one or more slices, which earns something where frames are counted.
    fn add_write<'b>(&mut self, slices: impl IntoIterator<Item = &'b [u8]>, result: &Poll<io::Result<usize>>) {
        self.activity.add_write(result);
        if let (Some(followers), Poll::Ready(Ok(bytes))) = (&mut self.http2, result) {
            self.activity.allowance.wrote(*bytes);
            let mut left = *bytes;
            for slice in slices {
                let written = left.min(slice.len());
                followers.resets.wrote(&slice[..written]);
                left -= written;
            }
        }
    }

    /// Listens for what hyper and h2 say by themselves. Says whether the bytes are to be kept back.
    fn says_by_itself(&self, bytes: &[u8]) -> bool {
        if self.http2.is_some() {
            self.activity.listen_for_last_words(bytes);
            return false;
        }
        self.activity.keeps_back(bytes)
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    /// Ends a connection that is flooded. Says why, if the client takes it: whoever floods may not read.
    fn calm(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.flooded.swap(true, Relaxed) && !self.activity.write_blocked.load(Relaxed) {
            // Otherwise a frame of h2 may be on its way in part, and this would be in the middle of it.
            let _unheard = Pin::new(&mut self.wire).poll_write(context, GOAWAY_ENHANCE_YOUR_CALM);
            let _unheard = Pin::new(&mut self.wire).poll_flush(context);
        }
        Poll::Ready(Err(io::Error::other("flooded")))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.framing.closed() {
            None => {}
            // The refusal ends the connection; nobody has to be woken for more.
            Some(Closed::Silent) => return Poll::Pending,
            Some(Closed::Broken) => return Poll::Ready(Err(broken())),
        }
        if let Some(http2) = &mut self.http2
            && let Some(pause) = &mut http2.pause
        {
            ready!(pause.as_mut().poll(context));
            http2.pause = None;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.wire).poll_read(context, buffer);
        match &result {
            Poll::Ready(Ok(())) => match buffer.filled().len() - before {
                0 if buffer.remaining() > 0 => self.activity.ended.store(true, Relaxed),
                0 => {}
                bytes => {
                    // RFC 9112, section 2.2: empty lines in front of a request are no part of it.
                    let is_empty = self.framing.is_before_head()
                        && buffer.filled()[before..].iter().all(|byte| b"\r\n".contains(byte));
                    self.activity.add_read(bytes, is_empty);
                    self.activity.waits_for_head.store(false, Relaxed);
                    let this = &mut *self;
                    if let Some(http2) = &mut this.http2 {
                        match http2.meter.read(&buffer.filled()[before..], &this.activity.allowance) {
                            Measure::Good => {}
                            Measure::Crumbs(pause) => http2.pause = Some(Box::pin(sleep(pause))),
                            Measure::Flood => return this.calm(context),
                        }
                    }
                    let looked = self.look(buffer, before);
                    self.activity.in_head.store(self.framing.is_in_head(), Relaxed);
                    self.activity.heads.store(self.framing.request(), Relaxed);
                    return Poll::Ready(looked);
                }
            },
            Poll::Ready(Err(_)) => self.activity.ended.store(true, Relaxed),
            // hyper asks for more only when it has handed on what it had: behind a whole request it wants another one.
            Poll::Pending => self.activity.waits_for_head.store(self.framing.is_between_requests(), Relaxed),
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.says_by_itself(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.wire).poll_write(context, bytes);
        self.add_write([bytes], &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [bytes] if self.says_by_itself(bytes) => return Poll::Ready(Ok(bytes.len())),
            [.., bytes] if self.http2.is_some() => self.activity.listen_for_last_words(bytes),
            _ => {}
        }
        let result = Pin::new(&mut self.wire).poll_write_vectored(context, slices);
        self.add_write(slices.iter().map(|slice| &**slice), &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.wire).poll_flush(context);
        self.activity.add_flush(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_speechless() {
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.wire).poll_shutdown(context);
        self.activity.add_flush(&result);
        result
    }
}
