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
    let status = ask(address, path, wait).map_err(|error| {
        // A socket whose time is up says `WouldBlock` on Unix.
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            format!("no answer from {address} within {wait:?}")
        } else {
            format!("no answer from {address}: {error}")
        }
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
    // Formatted first: piece by piece it would travel in as many packets.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;

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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    /// What a check says of somebody who answers every connection with `answer`, byte by byte, and then closes it.
    fn checked(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut request = [0; 512];
            let read = stream.read(&mut request).expect("reads");
            answer.chunks(1).for_each(|byte| drop(stream.write_all(byte)));
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let verdict = healthcheck(address, "/readyz", WAIT);
        assert!(server.join().expect("ends").starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        verdict
    }

    #[test]
    fn any_status_of_200_to_299_is_healthy() {
        assert_eq!(checked(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(()));
        assert_eq!(checked(b"HTTP/1.0 204\r\n\r\n"), Ok(()));
    }

    #[test]
    fn everything_else_is_not() {
        for (answer, said) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "answers /readyz with 503"),
            (b"HTTP/1.1 301 Moved\r\n\r\n", "with 301"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP/1.1"),
            (b"HTTP/1.1 20", "does not speak HTTP/1.1"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1.1"),
            (b"", "does not speak HTTP/1.1"),
        ] {
            let error = checked(answer).expect_err("not healthy");
            assert!(error.contains(said), "{error}");
        }
    }

    /// A check must end in time also if every byte comes just before the wait for one byte is over.
    #[test]
    fn a_door_that_does_not_answer_costs_the_wait_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            while stream.write_all(b"H").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let start = Instant::now();
        let error = healthcheck(address, "/livez", Duration::from_millis(200)).expect_err("no answer");
        assert!(error.contains("within 200ms"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        server.join().expect("ends");
    }

    #[test]
    fn nobody_at_the_address_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        assert!(healthcheck(address, "/livez", WAIT).expect_err("nobody").starts_with("no answer from 127.0.0.1:"));
    }

    #[test]
    fn a_path_cannot_smuggle_a_field() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for path in ["", "livez", "/livez HTTP/1.1\r\nX-A: b", "/a b", "/ä"] {
            assert!(healthcheck(address, path, WAIT).expect_err("refused").contains("is not a path"), "{path}");
        }
    }

    #[test]
    fn an_unspecified_address_is_asked_at_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:9", "127.0.0.1:9"),
            ("[::]:9", "[::1]:9"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(reachable(listens.parse().expect("an address")).to_string(), asked);
        }
    }
}
