//! A connection that goes on in another protocol once the head of a response is sent (RFC 9110, section 7.8), or a
//! stream of one (RFC 8441).
//!
//! What happens on it then is no business of the listener; but the connection is still one of its own. It counts among
//! those that are open, and ends when all of them have to.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// Both directions of what a client has given over.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// The client's side of a connection that has left HTTP.
pub struct GivenOver {
    /// Where its bytes come from and go to.
    pub stream: Box<dyn Duplex>,
    /// What it had sent behind the head of its request. It comes first.
    pub early: Bytes,
}

/// What goes on with a connection after HTTP.
pub struct Takeover(Box<dyn FnOnce(GivenOver) -> Afterwards + Send>);

/// What then goes on, to its end.
type Afterwards = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Takeover {
    /// Goes on with `what`, to the end of what it returns.
    pub fn new<F: Future<Output = ()> + Send + 'static>(what: impl FnOnce(GivenOver) -> F + Send + 'static) -> Self {
        Self(Box::new(move |client| Box::pin(what(client))))
    }

    pub(super) async fn go_on(self, client: GivenOver) {
        (self.0)(client).await;
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Takeover")
    }
}

/// The body of a response that may take its connection over.
pub trait TakesOver {
    /// What goes on after a response of 101, or of 2xx to an extended CONNECT; nothing for every other response. It is
    /// asked once.
    fn take_over(&mut self) -> Option<Takeover>;
}

/// A stream of HTTP/2 that has left HTTP. Each write becomes a frame, as each part of a response does, and counts as one: a
/// client may open its windows again for every small one, and one that takes them takes something.
pub(super) struct Earning<T> {
    stream: T,
    activity: Arc<Activity>,
}

impl<T> Earning<T> {
    pub(super) const fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Earning<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Earning<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.gave_part();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::meter::{Measure, Meter};
    use crate::moment::monotonic_ns;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn small_messages_through_a_stream_pay_for_the_windows_that_are_opened_for_them() {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        const WINDOW_UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01";
        let activity = Arc::new(Activity::new(monotonic_ns()));
        let mut meter = Meter::new();
        assert_eq!(meter.read(PREFACE, &activity.allowance), Measure::Good);
        let mut stream = Earning::new(tokio::io::sink(), Arc::clone(&activity));
        for _ in 0..100_000 {
            stream.write_all(b"message").await.unwrap();
            // Of the stream, and of the connection.
            assert_eq!(meter.read(&[WINDOW_UPDATE, WINDOW_UPDATE].concat(), &activity.allowance), Measure::Good);
        }
    }
}
