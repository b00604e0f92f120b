//! Asks a door whether all is well, for `keygate healthcheck`: a container's image then needs no `curl`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of the response that are read at most. The status line is all that matters.
const RESPONSE_BYTES_MAX: usize = 1024;

/// Sends `GET path` to `address` and waits for a status of 200 to 299, all within `wait`.
///
/// An unspecified address, which is where a door listens on every interface, is asked at the loopback address. Blocks the
/// thread.
///
/// # Errors
///
/// A sentence for the operator: nobody listens, no answer in time, an answer that is not HTTP, or another status.
pub fn healthcheck(address: SocketAddr, path: &str, wait: Duration) -> Result<(), String> {
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{path:?} is not a path: it must begin with / and have no spaces"));
    }
    let address = reachable(address);
    let status = ask(address, path, wait).map_err(|error| match error.kind() {
        // A socket whose time is up says `WouldBlock` on Unix.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("no answer from {address} within {wait:?}"),
        _ => format!("no answer from {address}: {error}"),
    })?;
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(format!("{address} answers {path} with {status}")),
        None => Err(format!("what listens on {address} does not speak HTTP/1.1")),
    }
}

/// The address at which somebody who listens on `address` can be reached from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// The status of the answer; `None` if it is no answer.
fn ask(address: SocketAddr, path: &str, wait: Duration) -> io::Result<Option<u16>> {
    let start = Instant::now();
    let left = || wait.checked_sub(start.elapsed()).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut);

    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;

    let mut answer = Vec::with_capacity(RESPONSE_BYTES_MAX);
    let mut piece = [0; RESPONSE_BYTES_MAX];
    while !answer.contains(&b'\n') && answer.len() < RESPONSE_BYTES_MAX {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(status_of(&answer))
}

/// The status in a status line (RFC 9112, section 4).
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    if !matches!(rest.get(3), Some(b' ' | b'\r' | b'\n')) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
