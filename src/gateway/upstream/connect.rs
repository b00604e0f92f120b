//! Opening a connection to the upstream: name lookup, TCP or Unix socket, TLS.

use std::io;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::tls::{self, TlsError};
use super::{Endpoint, Settings};
use crate::coalescing::CoalescedStream;

/// Knows how to reach one upstream.
pub(super) struct Connector {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", self.endpoint)
    }
}

impl Connector {
    /// Prepares what every connection needs, once.
    pub(super) fn new(settings: &Settings) -> Result<Self, TlsError> {
        let tls = match &settings.tls {
            None => None,
            Some(tls) => {
                let config = tls::client_config(tls, settings.protocol)?;
                Some((TlsConnector::from(Arc::clone(&config)), tls::server_name(tls)?))
            }
        };
        Ok(Self { endpoint: settings.endpoint.clone(), tls })
    }

    /// Opens one connection. Has no time limit of its own: the caller sets one over all of it.
    ///
    /// # Errors
    ///
    /// Whatever the lookup, the socket or the handshake says.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let stream = match &self.endpoint {
            Endpoint::Tcp { host, port } => Stream::Tcp(CoalescedStream::new(connect_tcp(host, *port).await?)),
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        match &self.tls {
            None => Ok(stream),
            Some((connector, name)) => Ok(Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?))),
        }
    }
}

/// Tries every address of the name in the resolver's order and takes the first that answers.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
