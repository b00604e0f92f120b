//! Who is behind the load balancer: the PROXY protocol, versions 1 and 2.
//!
//! When it is on, every connection begins with a header, and only a peer we were told to trust may send one. A
//! connection without a readable header is refused: to guess here would let clients choose who they are.
//!
//! The header is read with a bound of [`HEADER_BYTES_MAX`] and within the time of the TLS handshake. What follows it in
//! the same packet goes back to the socket.

use std::net::SocketAddr;

use bytes::BytesMut;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;

use super::socket::Socket;
use super::{ProxyProtocol, Refusal};

/// Bytes of a header at most. Version 1 allows 107; version 2 allows 64 KiB of extensions, of which load balancers use
/// a few hundred bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// The start of a version 1 header.
const SIGNATURE_V1: &[u8] = b"PROXY ";

/// Bytes of a version 1 header at most, end of line included.
const HEADER_BYTES_MAX_V1: usize = 107;

/// Reads the header and says who the client is. The peer itself, if it speaks for nobody (`LOCAL`, `UNKNOWN`).
///
/// # Errors
///
/// [`Refusal::ProxyUntrusted`] before a byte is read; [`Refusal::ProxyMalformed`] if what arrives is no header that is
/// allowed here, or ends early.
pub(super) async fn client_behind(
    socket: &mut Socket,
    peer: SocketAddr,
    allowed: &ProxyProtocol,
) -> Result<SocketAddr, Refusal> {
    if !allowed.trusts(peer.ip()) {
        return Err(Refusal::ProxyUntrusted);
    }
    let mut read = BytesMut::with_capacity(512);
    loop {
        let more = socket.read_buf(&mut read).await.map_err(|_| Refusal::ProxyMalformed)?;
        if more == 0 {
            return Err(Refusal::ProxyMalformed);
        }
        match parse(&read, allowed)? {
            Some((client, length)) => {
                let _header = read.split_to(length);
                socket.keep(read.freeze());
                return Ok(client.unwrap_or(peer));
            }
            None if read.len() >= HEADER_BYTES_MAX => return Err(Refusal::ProxyMalformed),
            None => {}
        }
    }
}

/// The client, if one is named, and the length of the header; nothing as long as the header is not complete.
///
/// # Errors
///
/// [`Refusal::ProxyMalformed`] as soon as what was read can no longer become a header that is allowed here.
pub fn parse(read: &[u8], allowed: &ProxyProtocol) -> Result<Option<(Option<SocketAddr>, usize)>, Refusal> {
    // The crate waits for 15 bytes before it looks at the first; a client that speaks HTTP at us can be told earlier.
    let compared = read.len().min(SIGNATURE_V1.len());
    let is_v1 = read[..compared] == SIGNATURE_V1[..compared];
    if read.first() == Some(&b'P') && !is_v1 {
        return Err(Refusal::ProxyMalformed);
    }

    let versions = ParseConfig { include_tlvs: false, allow_v1: allowed.v1, allow_v2: allowed.v2 };
    let (header, length) = match ProxyHeader::parse(read, versions) {
        Ok(parsed) => parsed,
        Err(Error::BufferTooShort) => return Ok(None),
        Err(
            Error::Invalid
            | Error::AddressFamilyMismatch
            | Error::HeaderTooBig
            | Error::V1UnsupportedTlv
            | Error::V1UnsupportedProtocol,
        ) => return Err(Refusal::ProxyMalformed),
    };
    let length_max = if is_v1 { HEADER_BYTES_MAX_V1 } else { HEADER_BYTES_MAX };
    if length > length_max || (is_v1 && !has_plain_ports(&read[..length])) {
        return Err(Refusal::ProxyMalformed);
    }
    match header.proxied_address() {
        None => Ok(Some((None, length))),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some((Some(canonical(address.source)), length))),
        // Nobody carries a datagram over this connection.
        Some(_) => Err(Refusal::ProxyMalformed),
    }
}

/// Says whether the ports of a version 1 header are written as its specification (section 2.1) has it: the crate takes
/// `+80` and `080`, too. What follows `UNKNOWN` is to be ignored.
fn has_plain_ports(header: &[u8]) -> bool {
    let plain = |port: &[u8]| port.iter().all(u8::is_ascii_digit) && (port.len() == 1 || !port.starts_with(b"0"));
    header.starts_with(b"PROXY UNKNOWN") || header.trim_ascii_end().rsplit(|byte| *byte == b' ').take(2).all(plain)
}

/// The same address, with an IPv4 address written as one.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// For tests of other files.
#[cfg(test)]
pub(super) fn header_v2(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    let addresses = proxy_header::ProxiedAddress::stream(client, local);
    ProxyHeader::with_address(addresses).encode_v2(&mut header).unwrap();
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: ProxyProtocol = ProxyProtocol { v1: true, v2: true, from: Vec::new() };

    fn client(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[track_caller]
    fn check(row: &str, bytes: &[u8], expected: Result<Option<(Option<SocketAddr>, usize)>, Refusal>) {
        assert_eq!(parse(bytes, &BOTH), expected, "{row}");
    }

    #[test]
    fn headers_are_read_as_far_as_they_go() {
        let v1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\n";
        check("version 1", v1, Ok(Some((client("203.0.113.9:56324"), 43))));
        check("version 1, cut", &v1[..42], Ok(None));
        check("one byte", b"P", Ok(None));
        check("unknown", b"PROXY UNKNOWN\r\n", Ok(Some((None, 15))));
        check("IPv6", b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n", Ok(Some((client("[2001:db8::9]:1"), 32))));
        check("mapped", b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Ok(Some((client("192.0.2.1:1"), 37))));

        let v2 = header_v2("203.0.113.9:1".parse().unwrap(), "10.0.0.1:2".parse().unwrap());
        check("version 2", &v2, Ok(Some((client("203.0.113.9:1"), 28))));
        check("version 2, cut", &v2[..27], Ok(None));
        check("local", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Ok(Some((None, 16))));
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        let malformed = Err(Refusal::ProxyMalformed);
        check("HTTP", b"GET / HTTP/1.1\r\n\r\n", malformed);
        check("HTTP that begins alike", b"POST ", malformed);
        check("TLS", b"\x16\x03\x01\x02\x00", malformed);
        check("other separator", b"PROXY-UNKNOWN\r\n", malformed);
        check("broken address", b"PROXY TCP4 203.0.113.999 10.0.0.1 1 2\r\n", malformed);
        check("signed port", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 +2\r\n", malformed);
        check("port with a zero before it", b"PROXY TCP4 203.0.113.9 10.0.0.1 01 2\r\n", malformed);
        check("version 3", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x01", malformed);
        check("datagram", b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x01", malformed);

        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 120], b"\r\n"].concat();
        check("longer than version 1 allows", &long, malformed);
    }

    #[test]
    fn a_version_that_is_off_is_refused() {
        let v1 = b"PROXY UNKNOWN\r\n";
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let only = |v1, v2| ProxyProtocol { v1, v2, from: Vec::new() };
        assert_eq!(parse(v1, &only(false, true)), Err(Refusal::ProxyMalformed));
        assert_eq!(parse(v2, &only(true, false)), Err(Refusal::ProxyMalformed));
        assert!(parse(v1, &only(true, false)).is_ok());
        assert!(parse(v2, &only(false, true)).is_ok());
    }
}
