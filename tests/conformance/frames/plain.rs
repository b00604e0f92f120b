//! An HTTP/1.1 client that believes nothing: it says whether an answer came whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::gate::PATIENCE;
use crate::wire::{Answer, End};

/// One connection.
pub(crate) struct Plain {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Nothing more will come.
    ended: Option<End>,
}

impl Plain {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new(), ended: None }
    }

    /// Sends a request without content and reads its answer. Its end is `Whole` only if its own framing says so.
    pub(crate) fn request(&mut self, method: &str, target: &str, secret: &str) -> Answer {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: api.example\r\nX-API-Key: {secret}\r\n\r\n");
        let _ = self.stream.write_all(head.as_bytes());
        self.answer(method)
    }

    fn answer(&mut self, method: &str) -> Answer {
        let mut answer = Answer { status: 0, lines: Vec::new(), content: Vec::new(), end: End::Closed };
        answer.end = match self.read(method, &mut answer) {
            Some(()) => End::Whole,
            None => self.ended.unwrap_or(End::Closed),
        };
        answer
    }

    fn read(&mut self, method: &str, answer: &mut Answer) -> Option<()> {
        while answer.status < 200 {
            let line = self.line()?;
            assert!(line.starts_with("HTTP/1.1 "), "a status line: {line:?}");
            answer.status = line[9..12].parse().unwrap();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a field line: {line:?}"));
                answer.lines.push((name.to_ascii_lowercase().into_bytes(), value.trim().as_bytes().to_vec()));
            }
        }
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return Some(());
        }
        let values = |name: &[u8]| -> Vec<String> {
            let of_name = answer.lines.iter().filter(|(line, _)| line == name);
            of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
        };
        let (lengths, codings) = (values(b"content-length"), values(b"transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "framed twice: {answer:?}");
        if let Some(length) = lengths.first() {
            return self.take(length.parse().unwrap(), &mut answer.content);
        }
        assert_eq!(codings, ["chunked"], "only its end would frame it: {answer:?}");
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a chunk size: {line:?}"));
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Some(());
            }
            self.take(size, &mut answer.content)?;
            assert_eq!(self.line()?, "", "behind a chunk");
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill()?;
        }
    }

    /// Moves so many bytes, or as many as there are before the connection ends.
    fn take(&mut self, mut bytes: usize, into: &mut Vec<u8>) -> Option<()> {
        loop {
            let here = bytes.min(self.unread.len());
            into.extend(self.unread.drain(..here));
            bytes -= here;
            if bytes == 0 {
                return Some(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.unread.extend_from_slice(&buffer[..count]);
                return Some(());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.ended = Some(End::Silent);
            }
            Ok(_) | Err(_) => self.ended = Some(End::Closed),
        }
        None
    }
}
