//! An HTTP/1.1 upstream that writes down every byte and answers each whole request with its target.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What came, by connection.
type Bytes = Arc<Mutex<BTreeMap<usize, Vec<u8>>>>;

/// The upstream.
pub(crate) struct Tap {
    address: SocketAddr,
    bytes: Bytes,
}

/// A request as it came, read as strictly as the standard is written.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The request line.
    pub(crate) line: String,
    /// Fields, names in lower case.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// The content, chunks joined.
    pub(crate) content: Vec<u8>,
}

impl Seen {
    /// All values of a field, as text.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let of_name = self.fields.iter().filter(|(field, _)| field == name);
        of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The path and query of the request line.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

impl Tap {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let tap = Self { address: listener.local_addr().unwrap(), bytes: Arc::default() };
        let bytes = Arc::clone(&tap.bytes);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let bytes = Arc::clone(&bytes);
                std::thread::spawn(move || serve(stream, number, &bytes));
            }
        });
        tap
    }

    /// Takes what has come since the last time: requests that came whole, and how many bytes of another one.
    ///
    /// # Errors
    ///
    /// What no strict reader would take for requests.
    pub(crate) fn take(&self) -> Result<(Vec<Seen>, usize), String> {
        let (mut requests, mut rest) = (Vec::new(), 0);
        for bytes in std::mem::take(&mut *self.bytes.lock().unwrap()).values() {
            let mut unread = &bytes[..];
            while let Some((request, length)) = read(unread)? {
                requests.push(request);
                unread = &unread[length..];
            }
            rest += unread.len();
        }
        Ok((requests, rest))
    }
}

impl std::fmt::Display for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

fn serve(mut stream: TcpStream, number: usize, log: &Bytes) {
    let (mut unread, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..count]);
        log.lock().unwrap().entry(number).or_default().extend_from_slice(&buffer[..count]);
        // What cannot be read stays in the log and shows there.
        while let Ok(Some((request, length))) = read(&unread) {
            unread.drain(..length);
            let content = if request.line.starts_with("HEAD ") { "" } else { request.target() };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", request.target().len());
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}

/// Reads one request; `None` if it has not come whole.
fn read(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(format!("a request line: {line:?}")) };
    if !method.bytes().all(is_token) || !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(format!("a request line: {line:?}"));
    }
    let mut request = Seen { line: line.clone(), fields: Vec::new(), content: Vec::new() };
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let bad = name.is_empty()
            || !name.iter().copied().all(is_token)
            || value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        if bad {
            return Err(format!("a field line: {:?}", String::from_utf8_lossy(line)));
        }
        request.fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    }
    let (lengths, codings) = (request.values("content-length"), request.values("transfer-encoding"));
    if request.values("host").len() != 1 || lengths.len() + codings.len() > 1 {
        return Err(format!("host or framing: {request:?}"));
    }
    let content = &bytes[end + 4..];
    let length = if let Some(length) = lengths.first() {
        let length: usize = length.parse().map_err(|_| format!("a length: {length:?}"))?;
        let Some(content) = content.get(..length) else { return Ok(None) };
        request.content = content.to_vec();
        length
    } else if codings.is_empty() {
        0
    } else {
        let Some((joined, length)) = chunks(content)? else { return Ok(None) };
        request.content = joined;
        length
    };
    Ok(Some((request, end + 4 + length)))
}

/// Joins chunks; how many bytes they are with all that frames them. No trailers.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut joined, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk size: {size:?}"))?;
        let begin = at + end + 2;
        let Some(chunk) = bytes.get(begin..begin + size + 2) else { return Ok(None) };
        let (chunk, line_end) = chunk.split_at(size);
        if line_end != b"\r\n" {
            return Err(format!("a chunk that does not end where it should, or a trailer: {line_end:?}"));
        }
        joined.extend_from_slice(chunk);
        at = begin + size + 2;
        if size == 0 {
            return Ok(Some((joined, at)));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
