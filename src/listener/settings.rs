//! What an operator may choose about one listening address.
//!
//! All of it except the address itself may change while the program runs: a connection takes the settings that are in
//! force when it is accepted, and keeps them to its end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// One listening address.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where we listen. The sockets are made by [`bind`](super::bind()); here it is for the log only.
    pub address: SocketAddr,
    /// The PROXY protocol, if load balancers in front of us speak it.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Offers HTTP/2 by ALPN (RFC 7301). Without TLS it has no effect.
    pub http2: bool,
    /// Recognises HTTP/2 without TLS by its preface (RFC 9113, section 3.3).
    pub prior_knowledge: bool,
    /// Tells HTTP/2 clients that they may ask for another protocol on a stream (RFC 8441, section 3).
    pub extended_connect: bool,
    /// How long a peer may take.
    pub timeouts: Timeouts,
    /// How much a peer may send and have open.
    pub maxima: Maxima,
    /// Bytes that a client must take in each second in which we wait for nothing else, averaged over [`Timeouts::write`];
    /// 0 asks for nothing.
    pub response_rate_min: u64,
    /// Peers that speak for many clients, so that [`Maxima::connections_per_address`] does not hold for them.
    pub proxies: Vec<IpNet>,
}

/// Who may speak the PROXY protocol to us, and which versions.
///
/// When it is switched on, every connection must begin with a PROXY header, and only the addresses in `from` may open
/// one. Anything else would let a client choose the address under which it is counted.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Accepts version 1, the line of text.
    pub v1: bool,
    /// Accepts version 2, the binary one.
    pub v2: bool,
    /// The load balancers. Nobody else may connect.
    pub from: Vec<IpNet>,
}

impl ProxyProtocol {
    /// Whether this peer may tell us who the client is.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(&peer))
    }
}

/// How long a peer may take. Every one of them closes the connection when it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake, PROXY header included.
    pub tls_handshake: Duration,
    /// For the first request head (or HTTP/2 preface) of a connection; for each later head, from its first byte.
    pub request_head: Duration,
    /// Between two requests on a connection.
    pub idle: Duration,
    /// Without the client taking a single byte, or opening its HTTP/2 window, while we have something to send.
    pub write: Duration,
}

/// How much a peer may send and have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Bytes of a request head, request line included. HTTP/1.1 answers 431 above it, and holds trailers to it. HTTP/2
    /// lets field lists (RFC 9113, section 6.5.2) of four times that through, and the service is asked to answer 431.
    pub head_bytes: u32,
    /// Field lines of an HTTP/1.1 request head. Above it the answer is 431. Any other figure than 100 costs one
    /// allocation for each request.
    pub fields: usize,
    /// Connections of the whole process, over all listening addresses that share one [`Drain`](super::Drain).
    pub connections: usize,
    /// The same, of one client address.
    pub connections_per_address: usize,
    /// Bits of an IPv6 address that say which network it is in; all of it counts as one address.
    pub ipv6_prefix_bits: u8,
    /// HTTP/2 streams that are open at once on one connection.
    pub streams: u32,
}
