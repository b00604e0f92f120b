//! A connection that goes on in another protocol once the head of a response is sent (RFC 9110, section 7.8), or a
//! stream of one (RFC 8441).
//!
//! What happens on it then is no business of the listener; but the connection is still one of its own. It counts among
//! those that are open, and ends when all of them have to.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

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
