//! A TCP stream that can take back what was read from it.
//!
//! The PROXY header and the HTTP/2 preface are recognised by reading, and a read rarely ends where they end. What
//! belongs to the next reader is kept here and read first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::coalescing::CoalescedStream;

/// A TCP stream with the bytes that were read too early.
#[derive(Debug)]
pub(super) struct Socket {
    stream: CoalescedStream,
    kept: Bytes,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: CoalescedStream::new(stream), kept: Bytes::new() }
    }

    /// Gives back what was read last. It comes before what was given back earlier and not read again: behind a PROXY
    /// header there may be more than the next reader looks at.
    pub(super) fn keep(&mut self, bytes: Bytes) {
        self.kept = if self.kept.is_empty() { bytes } else { Bytes::from([bytes, self.kept.split_off(0)].concat()) };
    }

    /// The stream alone, for the end of a connection: what was kept is ignored.
    pub(super) fn stream(&mut self) -> &mut CoalescedStream {
        &mut self.stream
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.kept.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.kept.len().min(buffer.remaining());
        buffer.put_slice(&self.kept[..length]);
        self.kept.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What HTTP is spoken over: a socket, or TLS over a socket.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The TCP stream below everything.
    fn stream(&mut self) -> &mut CoalescedStream;
}

impl Wire for Socket {
    fn stream(&mut self) -> &mut CoalescedStream {
        Self::stream(self)
    }
}

impl Wire for Box<TlsStream<Socket>> {
    fn stream(&mut self) -> &mut CoalescedStream {
        self.get_mut().0.stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_was_kept_is_read_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        socket.keep(Bytes::from_static(b"e "));
        socket.keep(Bytes::from_static(b"on"));
        client.write_all(b"two").await.unwrap();
        drop(client);

        let mut first = [0; 2];
        socket.read_exact(&mut first).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&first[..], &rest[..]), (&b"on"[..], &b"e two"[..]));
    }
}
