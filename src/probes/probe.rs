//! Asks a door whether all is well, for `keygate probe`, `keygate healthcheck` and `keygate wait`: a container's image then
//! needs no `curl`, and no shell that tries again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of the response that are read at most. The status line is all that matters.
const RESPONSE_BYTES_MAX: usize = 1024;

/// How long [`wait`] rests between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// How long [`wait`] gives one question.
const QUESTION: Duration = Duration::from_secs(2);

/// What is asked: somebody, for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    whom: Whom,
    path: String,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// A host and a port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => f.write_str(authority),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Question {
    /// A path of the door at this address. An unspecified address, which is where a door listens on every interface, is
    /// asked at the loopback address.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: the path is none.
    pub fn to_door(address: SocketAddr, path: &str) -> Result<Self, String> {
        Ok(Self { whom: Whom::Tcp(reachable(address).to_string()), path: checked(path)? })
    }

    /// What a URL says: `http://host:port/path`, or `unix:/run/api.sock:/path`. Without a path it is `/`.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: it is no such URL.
    pub fn of_url(url: &str) -> Result<Self, String> {
        let wrong = || format!("{url:?} is not a URL; write http://host:port/path or unix:/run/api.sock:/path");
        if let Some(rest) = url.strip_prefix("unix:") {
            let (socket, path) =
                rest.split_once(":/").map_or((rest, String::from("/")), |(socket, path)| (socket, format!("/{path}")));
            if !socket.starts_with('/') {
                return Err(wrong());
            }
            return Ok(Self { whom: Whom::Unix(socket.into()), path: checked(&path)? });
        }
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'#' | b'\\');
        let host = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map(|(host, _)| host);
        let authority = match host {
            Some(_) => authority.to_owned(),
            None => format!("{authority}:80"),
        };
        if authority.starts_with(':') || !authority.bytes().all(is_plain) || path.starts_with('?') {
            return Err(wrong());
        }
        Ok(Self { whom: Whom::Tcp(authority), path: checked(if path.is_empty() { "/" } else { path })? })
    }
}

/// A path that can be asked for.
fn checked(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{path:?} is not a path: it must begin with / and have no spaces"));
    }
    Ok(path.to_owned())
}

/// Asks with GET and waits for a status of 200 to 299, all within `patience`, but for the lookup of a name. Blocks the
/// thread.
///
/// # Errors
///
/// A sentence for the operator: nobody listens, no answer in time, an answer that is not HTTP, or another status.
pub fn probe(question: &Question, patience: Duration) -> Result<(), String> {
    let Question { whom, path } = question;
    let status = ask(question, patience).map_err(|error| {
        // A socket whose time is up says `WouldBlock` on Unix.
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            format!("no answer from {whom} within {patience:?}")
        } else {
            format!("no answer from {whom}: {error}")
        }
    })?;
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(format!("{whom} answers {path} with {status}")),
        None => Err(format!("what listens on {whom} does not speak HTTP/1.1")),
    }
}

/// Asks again and again, until the answer is good or `patience` is over.
///
/// # Errors
///
/// What was wrong the last time.
pub fn wait(question: &Question, patience: Duration) -> Result<(), String> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), QUESTION);
        match probe(question, left) {
            Err(error) if Instant::now() + PAUSE >= end => return Err(format!("{error}; waited for {patience:?}")),
            Err(_) => sleep(PAUSE),
            Ok(()) => return Ok(()),
        }
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
fn ask(question: &Question, patience: Duration) -> io::Result<Option<u16>> {
    let start = Instant::now();
    let left = || patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut);
    // Formatted first: piece by piece it would travel in as many packets.
    let host = match &question.whom {
        Whom::Tcp(authority) => authority.as_str(),
        Whom::Unix(_) => "localhost",
    };
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", question.path);
    let status = match &question.whom {
        Whom::Tcp(authority) => {
            let mut stream = connect(authority, left)?;
            stream.set_write_timeout(Some(left()?))?;
            stream.write_all(request.as_bytes())?;
            read(&mut stream, |stream| stream.set_read_timeout(Some(left()?)))
        }
        Whom::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(left()?))?;
            stream.write_all(request.as_bytes())?;
            read(&mut stream, |stream| stream.set_read_timeout(Some(left()?)))
        }
    };
    Ok(status_of(&status?))
}

/// Connects to the first address of a host that takes it.
fn connect(authority: &str, left: impl Fn() -> Result<Duration, io::ErrorKind>) -> io::Result<TcpStream> {
    let mut refused = io::Error::other("the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// What comes, up to the end of the first line. Before each piece `patient` is asked.
fn read<S: Read>(stream: &mut S, patient: impl Fn(&S) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut answer = Vec::with_capacity(RESPONSE_BYTES_MAX);
    let mut piece = [0; RESPONSE_BYTES_MAX];
    while !answer.contains(&b'\n') && answer.len() < RESPONSE_BYTES_MAX {
        patient(stream)?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
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

    /// What is said of a door.
    fn asked(address: SocketAddr, path: &str, patience: Duration) -> Result<(), String> {
        probe(&Question::to_door(address, path)?, patience)
    }

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
        let verdict = asked(address, "/readyz", WAIT);
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
                sleep(Duration::from_millis(20));
            }
        });
        let start = Instant::now();
        let error = asked(address, "/livez", Duration::from_millis(200)).expect_err("no answer");
        assert!(error.contains("within 200ms"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        server.join().expect("ends");
    }

    #[test]
    fn nobody_at_the_address_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        assert!(asked(address, "/livez", WAIT).expect_err("nobody").starts_with("no answer from 127.0.0.1:"));
    }

    #[test]
    fn a_path_cannot_smuggle_a_field() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for path in ["", "livez", "/livez HTTP/1.1\r\nX-A: b", "/a b", "/ä"] {
            assert!(asked(address, path, WAIT).expect_err("refused").contains("is not a path"), "{path}");
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

    #[test]
    fn a_url_says_whom_to_ask_and_for_what() {
        for (url, whom, path) in [
            ("http://127.0.0.1:9000/healthz", "127.0.0.1:9000", "/healthz"),
            ("http://localhost:9000", "localhost:9000", "/"),
            ("http://api/ready?deep=1", "api:80", "/ready?deep=1"),
            ("http://[::1]:9000/x", "[::1]:9000", "/x"),
            ("http://[::1]/x", "[::1]:80", "/x"),
            ("unix:/run/api.sock", "unix:/run/api.sock", "/"),
            ("unix:/run/api.sock:/healthz", "unix:/run/api.sock", "/healthz"),
        ] {
            let question = Question::of_url(url).expect(url);
            assert_eq!((question.whom.to_string().as_str(), question.path.as_str()), (whom, path), "{url}");
        }
        for url in [
            "https://a/",
            "a",
            "",
            "http://",
            "http:///x",
            "http://:80/",
            "http://a b/",
            "http://a?x",
            "unix:",
            "unix:run/s",
            "http://u@a/",
            "http://a/ b",
        ] {
            assert!(Question::of_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_unix_socket_is_asked_like_a_port() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let question = Question::of_url(&format!("unix:{}:/healthz", path.display())).expect("a question");
        assert!(probe(&question, WAIT).expect_err("nobody").contains("api.sock"));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("binds");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut request = [0; 512];
            let read = stream.read(&mut request).expect("reads");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("writes");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        assert_eq!(probe(&question, WAIT), Ok(()));
        assert!(server.join().expect("ends").starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"));
    }

    #[test]
    fn waiting_ends_with_the_first_good_answer_or_with_the_last_bad_one() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let question = Question::to_door(listener.local_addr().expect("bound"), "/readyz").expect("a question");
        let server = thread::spawn(move || {
            for answer in ["503 No", "503 No", "200 OK"] {
                let (mut stream, _) = listener.accept().expect("accepts");
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
            }
        });
        assert_eq!(wait(&question, WAIT), Ok(()));
        server.join().expect("ends");
        let error = wait(&question, Duration::from_millis(300)).expect_err("nobody is left");
        assert!(error.ends_with("; waited for 300ms"), "{error}");
    }
}
