//! An upstream that keeps every byte it receives, and reads it as strictly as the standards allow.
//!
//! What it cannot read that way it answers with 400 and notes: a gateway must never have written it.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrived {
    /// Its head, without the empty line.
    pub(crate) head: Vec<u8>,
    /// Its content, as it was framed.
    pub(crate) framed: Vec<u8>,
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Fields behind the content.
    pub(crate) trailers: Vec<String>,
    /// All of it came.
    pub(crate) complete: bool,
    /// Nothing more will come: it is complete, or its connection is closed.
    over: bool,
    /// What is wrong with it, as nobody may write it.
    pub(crate) fault: Option<String>,
}

impl Arrived {
    /// Method and target.
    pub(crate) fn line(&self) -> String {
        let line = self.text().lines().next().unwrap_or_default().to_owned();
        line.strip_suffix(" HTTP/1.1").map_or(line.clone(), str::to_owned)
    }

    /// The target.
    pub(crate) fn target(&self) -> String {
        self.line().split_once(' ').map_or(String::new(), |(_, target)| target.to_owned())
    }

    /// The values of a field, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.fields().into_iter().filter(|(field, _)| field == name).map(|(_, value)| value).collect()
    }

    /// Its fields in order, names in lower case.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let text = self.text();
        let lines = text.split("\r\n").skip(1).filter(|line| !line.is_empty());
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
        };
        lines.map(pair).collect()
    }

    fn is_of_http10(&self) -> bool {
        self.line().ends_with(" HTTP/1.0")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.complete { "" } else { " (not all of it)" };
        write!(f, "{} + {}{end}", self.head.escape_ascii(), self.framed.escape_ascii())
    }
}

/// The upstream, and what it has received.
pub(crate) struct Recorder {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    arrived: Mutex<Vec<Arrived>>,
    changed: Condvar,
}

impl Log {
    fn begin(&self, arrived: Arrived) -> usize {
        let mut all = self.arrived.lock().unwrap();
        all.push(arrived);
        self.changed.notify_all();
        all.len() - 1
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Arrived)) {
        change(&mut self.arrived.lock().unwrap()[index]);
        self.changed.notify_all();
    }
}

impl Recorder {
    /// Opens one.
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, log) = (listener.local_addr().unwrap(), Arc::new(Log::default()));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &log));
            }
        });
        Self { address, log }
    }

    /// How many requests have begun to arrive.
    pub(crate) fn arrivals(&self) -> usize {
        self.log.arrived.lock().unwrap().len()
    }

    /// How many requests have arrived whole.
    pub(crate) fn whole(&self) -> usize {
        self.log.arrived.lock().unwrap().iter().filter(|arrived| arrived.complete).count()
    }

    /// What has arrived since there were `before`, each waited for until it is over.
    pub(crate) fn since(&self, before: usize, patience: Duration) -> Vec<Arrived> {
        let deadline = Instant::now() + patience;
        let mut all = self.log.arrived.lock().unwrap();
        while all[before..].iter().any(|arrived| !arrived.over) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            all = self.log.changed.wait_timeout(all, left).unwrap().0;
        }
        all[before..].to_vec()
    }
}

fn serve(mut stream: TcpStream, log: &Log) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(head) = read_head(&mut reader) {
        let mut arrived = Arrived { head, ..Arrived::default() };
        arrived.fault = fault_of_head(&arrived).err();
        let faulty = arrived.fault.is_some();
        let index = log.begin(arrived.clone());
        if !faulty {
            read_content(&mut reader, log, index, &mut arrived);
        }
        let arrived = log.arrived.lock().unwrap()[index].clone();
        if arrived.fault.is_some() || !arrived.complete {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Both);
            log.change(index, |arrived| arrived.over = true);
            return;
        }
        log.change(index, |arrived| arrived.over = true);
        let content = if arrived.line().starts_with("HEAD ") { String::new() } else { arrived.line() };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", content.len());
        let _ = stream.write_all(&[head.as_bytes(), content.as_bytes()].concat());
    }
}

/// Everything up to the empty line, however it is written; `None` when there is nothing.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return if head.is_empty() { None } else { Some(head) };
        }
        if matches!(&head[before..], b"\r\n" | b"\n") && before > 0 {
            head.truncate(before);
            return Some(head);
        }
    }
}

/// What must not be written into the head of a request (RFC 9112, sections 2.2, 3, 5 and 6).
fn fault_of_head(arrived: &Arrived) -> Result<(), String> {
    let head = &arrived.head;
    let wrong = |what: &str| Err(format!("{what} in {}", head.escape_ascii()));
    let Some(inner) = head.strip_suffix(b"\r\n") else { return wrong("no CR LF at the end") };
    let lines = inner.split(|byte| *byte == b'\n');
    let mut first = true;
    for line in lines {
        let last = line.as_ptr_range().end == inner.as_ptr_range().end;
        let line = if last { line } else { line.strip_suffix(b"\r").ok_or("a bare LF")? };
        let first_line = std::mem::take(&mut first);
        if line.iter().any(|byte| byte.is_ascii_control() && (first_line || *byte != b'\t')) {
            return wrong("a control character");
        }
        if first_line {
            let parts: Vec<_> = line.split(|byte| *byte == b' ').collect();
            let good = parts.len() == 3
                && is_token(parts[0])
                && matches!(parts[2], b"HTTP/1.1" | b"HTTP/1.0")
                && parts[1].is_ascii();
            if !good || !(parts[1].starts_with(b"/") || parts[1] == b"*") {
                return wrong("a request line that is none");
            }
        } else if !line.split(|byte| *byte == b':').next().is_some_and(|name| is_token(name) && name.len() < line.len())
        {
            return wrong("a field that is none");
        }
    }
    if arrived.values("host").len() != 1 {
        return wrong("not exactly one Host");
    }
    let (codings, lengths) = (arrived.values("transfer-encoding"), arrived.values("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(()),
        // RFC 9112, section 6.1: HTTP/1.0 knows no chunks.
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && !arrived.is_of_http10() => Ok(()),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => wrong("ambiguous framing"),
    }
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn read_content(reader: &mut BufReader<TcpStream>, log: &Log, index: usize, arrived: &mut Arrived) {
    if arrived.values("transfer-encoding").is_empty() {
        let length: u64 =
            arrived.values("content-length").first().map_or(0, |length| length.parse().unwrap_or(u64::MAX));
        let mut content = Vec::new();
        let read = reader.take(length).read_to_end(&mut content);
        let complete = read.is_ok() && content.len() as u64 == length;
        log.change(index, |arrived| {
            arrived.framed.clone_from(&content);
            arrived.content = content;
            arrived.complete = complete;
        });
        return;
    }
    let outcome = read_chunks(reader, log, index);
    log.change(index, |arrived| match outcome {
        Ok(complete) => arrived.complete = complete,
        Err(fault) => arrived.fault = Some(fault),
    });
}

/// Reads chunks as strictly as RFC 9112, section 7.1, has them. `Ok(false)` if the connection ends before they do.
fn read_chunks(reader: &mut BufReader<TcpStream>, log: &Log, index: usize) -> Result<bool, String> {
    loop {
        let Some(line) = chunk_line(reader, log, index)? else { return Ok(false) };
        let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = if digits { u64::from_str_radix(&line, 16).ok() } else { None };
        let size = size.ok_or_else(|| format!("a chunk size that is none: {line}"))?;
        if size == 0 {
            break;
        }
        let mut data = Vec::new();
        let read = reader.take(size + 2).read_to_end(&mut data);
        log.change(index, |arrived| {
            arrived.framed.extend_from_slice(&data);
            arrived.content.extend_from_slice(&data[..data.len().min(usize::try_from(size).unwrap_or(usize::MAX))]);
        });
        if read.is_err() || data.len() as u64 != size + 2 {
            return Ok(false);
        }
        if !data.ends_with(b"\r\n") {
            return Err("no CR LF behind a chunk".to_owned());
        }
    }
    loop {
        let Some(line) = chunk_line(reader, log, index)? else { return Ok(false) };
        if line.is_empty() {
            return Ok(true);
        }
        log.change(index, |arrived| arrived.trailers.push(line));
    }
}

/// A line of the framing, without its CR LF; `None` if the connection ends before it does.
fn chunk_line(reader: &mut BufReader<TcpStream>, log: &Log, index: usize) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let read = reader.read_until(b'\n', &mut line);
    log.change(index, |arrived| arrived.framed.extend_from_slice(&line));
    if read.is_err() || !line.ends_with(b"\n") {
        return Ok(None);
    }
    let inner = line.strip_suffix(b"\r\n").ok_or("a bare LF in the framing")?;
    if inner.iter().any(u8::is_ascii_control) {
        return Err("a control character in the framing".to_owned());
    }
    Ok(Some(String::from_utf8_lossy(inner).into_owned()))
}
