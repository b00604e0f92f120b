//! A client of HTTP/1.1 that sends exactly the bytes of a case, and reads every answer there is.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::book::Case;
use crate::world::{Answer, Ending, PATIENCE, connect};

/// Sends a case, reads as many answers as it should have, then everything else that still comes.
pub(crate) fn ask(from: Ipv4Addr, address: SocketAddr, case: &Case, patience: Duration) -> (Vec<Answer>, Ending) {
    let mut stream = connect(from, address, patience);
    // Whoever is refused in the middle may find the connection closed.
    let _ = stream.write_all(&case.sent);
    if case.ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut reader = Reader { stream, unread: Vec::new(), silent: false, ended: false };
    let mut answers = Vec::new();
    while answers.len() < case.want.answers.len() {
        match reader.answer(case.method()) {
            Some(answer) => answers.push(answer),
            None => break,
        }
    }
    let as_wanted = answers.len() == case.want.answers.len();
    if as_wanted && !case.want.closed && !reader.ended {
        // It may stay open; what it still has to say comes before it takes note that we leave.
        let _ = reader.stream.shutdown(Shutdown::Write);
        while let Some(answer) = reader.answer(case.method()) {
            answers.push(answer);
        }
        return (answers, Ending::Open);
    }
    while let Some(answer) = reader.answer(case.method()) {
        answers.push(answer);
    }
    (answers, if reader.silent { Ending::Open } else { Ending::Closed })
}

/// Sends bytes, and waits until the other side closes.
pub(crate) fn say(from: Ipv4Addr, address: SocketAddr, bytes: &[u8]) {
    let mut stream = connect(from, address, PATIENCE);
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

struct Reader {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Nothing came for too long.
    silent: bool,
    ended: bool,
}

impl Reader {
    /// The next answer, but for interim ones; `None` when there is no more.
    fn answer(&mut self, method: &str) -> Option<Answer> {
        let head = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            if !self.fill() {
                return None;
            }
        };
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            return self.answer(method);
        }
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let content = if method == "HEAD" || status == 204 || status == 304 {
            Vec::new()
        } else if value("transfer-encoding").is_some() {
            self.chunks()
        } else if let Some(length) = value("content-length") {
            self.take(length.parse().unwrap_or(0))
        } else {
            while self.fill() {}
            std::mem::take(&mut self.unread)
        };
        let content = String::from_utf8_lossy(&content).into_owned();
        Some(Answer { status, content, request_id: value("x-request-id") })
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let byte = self.take(1);
                if byte.is_empty() {
                    return content;
                }
                line.extend(byte);
            }
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap_or(0);
            content.extend(self.take(size));
            self.take(2);
            if size == 0 {
                return content;
            }
        }
    }

    /// So many bytes, or what there is of them.
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes && self.fill() {}
        self.unread.drain(..bytes.min(self.unread.len())).collect()
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => self.silent = true,
            Err(_) => self.ended = true,
        }
        false
    }
}
