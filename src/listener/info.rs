//! What is known about a connection before its first request.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::crowd::Member;

/// The connection a request came on. One value is shared by all requests of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The other end of the TCP connection. An IPv4 address is always written as one, also on a dual-stack socket.
    pub peer: SocketAddr,
    /// Who the peer says it speaks for, by the PROXY protocol; the peer itself without one.
    pub client: SocketAddr,
    /// The client's address without its port, written down once for all requests.
    pub client_text: HeaderValue,
    /// Our end of the TCP connection.
    pub local: SocketAddr,
    /// What TLS has agreed upon; nothing on a plain connection.
    pub tls: Option<TlsInfo>,
    /// The worker that serves the connection, counted from 0.
    pub worker: usize,
    /// Its place among the connections of its client.
    pub(super) member: Arc<Member>,
}

/// What TLS has agreed upon.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The name the client asked for (RFC 6066, section 3), in lower case.
    pub sni: Option<Arc<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The certificate the client has shown. It was verified, or the connection would not exist.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

/// A verified client certificate, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name, such as `CN=orders, O=Example`.
    pub subject: Box<str>,
    /// The subject alternative names: DNS names, e-mail addresses, URIs and IP addresses, in the certificate's order.
    pub names: Vec<Box<str>>,
}
