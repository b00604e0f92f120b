//! What a listener tells about connections that never became a request.
//!
//! All reasons are closed sets of words, so that they can be metric labels without growing with traffic.

use bytes::Bytes;
use http::StatusCode;

use super::{ConnectionInfo, ResetReason};

/// Hears what happens to connections. Called on the worker's thread: it must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted and is within the maximum.
    fn connection_opened(&self);

    /// A connection that was opened is gone. Called exactly once for each [`Observer::connection_opened`].
    fn connection_closed(&self);

    /// The listener turned a connection away, or cut it.
    fn refused(&self, refusal: Refusal);

    /// A connection was closed because it was idle for too long, or for a while in a drain.
    fn closed_when_idle(&self);

    /// A connection could not be accepted because descriptors or memory are short. It waits in the kernel.
    fn accept_failed(&self);

    /// A stream of an HTTP/2 connection was reset from here. Most often no service has seen its request.
    fn stream_reset(&self, reason: ResetReason, connection: &ConnectionInfo);

    /// A TLS handshake did not come to its end.
    fn handshake_failed(&self, failure: HandshakeFailure);

    /// A request head was refused, so that no service will ever see it. Returns what the client is told: a whole HTTP/1.1
    /// response, after which the connection is closed.
    ///
    /// `status` is the one that fits, and `reason` one of a few fixed words, such as `head_too_large`.
    fn head_refused(&self, status: StatusCode, reason: &'static str, connection: &ConnectionInfo) -> Bytes;
}

/// Why the listener turned a connection away, or cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// More connections than the maximum. A plain connection was answered 503.
    ConnectionsMax,
    /// The PROXY protocol is on and this peer may not speak it.
    ProxyUntrusted,
    /// No PROXY header, or a broken one, or one of a version that is off.
    ProxyMalformed,
    /// The PROXY header did not arrive in time.
    ProxyTimeout,
    /// Nothing was sent before the first head was due.
    Silent,
    /// A request head came too slowly. Answered 408 on HTTP/1.1.
    HeadTimeout,
    /// An HTTP/2 preface where HTTP/2 is off, or was not negotiated.
    UnexpectedHttp2,
    /// The client did not read what it asked for.
    WriteTimeout,
    /// More connections of one client address than the maximum. A plain connection was answered 429.
    AddressConnectionsMax,
    /// HTTP/2: more frames that ask for nothing than a connection may send.
    Http2Flood,
    /// HTTP/2: requests that were taken back before they were looked at (CVE-2023-44487).
    Http2Resets,
    /// HTTP/2: streams that had to be reset for the client's mistakes (CVE-2025-8671).
    Http2Mistakes,
    /// HTTP/2: a head in more frames than any head needs (CVE-2024-27316).
    Http2Continuations,
    /// HTTP/2: content in frames so small that they are an attack.
    Http2SmallFrames,
    /// HTTP/2: a head that is many times as large as may be, or unpacks to one.
    Http2Head,
    /// HTTP/2 that is none.
    Http2Malformed,
}

impl Refusal {
    /// All of them, for a metric that has every series from the start.
    pub const ALL: [Self; 16] = [
        Self::ConnectionsMax,
        Self::ProxyUntrusted,
        Self::ProxyMalformed,
        Self::ProxyTimeout,
        Self::Silent,
        Self::HeadTimeout,
        Self::UnexpectedHttp2,
        Self::WriteTimeout,
        Self::AddressConnectionsMax,
        Self::Http2Flood,
        Self::Http2Resets,
        Self::Http2Mistakes,
        Self::Http2Continuations,
        Self::Http2SmallFrames,
        Self::Http2Head,
        Self::Http2Malformed,
    ];

    /// The words of all of them, in the order of the variants.
    pub const WORDS: [&'static str; 16] = {
        let mut words = [""; Self::ALL.len()];
        let mut index = 0;
        while index < words.len() {
            words[index] = Self::ALL[index].word();
            index += 1;
        }
        words
    };

    /// The stable word for it, in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConnectionsMax => "connections_max",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyMalformed => "proxy_malformed",
            Self::ProxyTimeout => "proxy_timeout",
            Self::Silent => "silent",
            Self::HeadTimeout => "head_timeout",
            Self::UnexpectedHttp2 => "unexpected_http2",
            Self::WriteTimeout => "write_timeout",
            Self::AddressConnectionsMax => "address_connections_max",
            Self::Http2Flood => "http2_flood",
            Self::Http2Resets => "http2_resets",
            Self::Http2Mistakes => "http2_mistakes",
            Self::Http2Continuations => "http2_continuations",
            Self::Http2SmallFrames => "http2_small_frames",
            Self::Http2Head => "http2_head",
            Self::Http2Malformed => "http2_malformed",
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// The peer closed the connection in the middle.
    Eof,
    /// A client certificate is required and none was shown.
    NoCertificate,
    /// The client's certificate does not verify.
    BadCertificate,
    /// No version, cipher suite, group or signature scheme in common.
    Incompatible,
    /// No application protocol in common (RFC 7301, section 3.2).
    Alpn,
    /// The client sent an alert; most often it does not trust our certificate.
    Alert,
    /// What arrived is not TLS, or is broken TLS.
    Protocol,
    /// The network failed.
    Io,
}

impl HandshakeFailure {
    /// All of them, for a metric that has every series from the start.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Eof,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Incompatible,
        Self::Alpn,
        Self::Alert,
        Self::Protocol,
        Self::Io,
    ];

    /// The words of all of them, in the order of the variants.
    pub const WORDS: [&'static str; 9] = {
        let mut words = [""; 9];
        let mut index = 0;
        while index < words.len() {
            words[index] = Self::ALL[index].word();
            index += 1;
        }
        words
    };

    /// The stable word for it, in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Eof => "eof",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::Io => "io",
        }
    }
}
