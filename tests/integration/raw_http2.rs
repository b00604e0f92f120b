//! A client of HTTP/2 by hand, which sends frames that no library would send, as many as it likes.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::encrypted::Duplex;
use crate::frame::{self, PREFACE};
pub(crate) use crate::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use crate::gate::PATIENCE;

/// The head of a request, as a block of field lines.
pub(crate) fn block(fields: &[(&str, &str)], path: &str, method: &str) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "api.example")];
    frame::block(&[&pseudo, fields].concat())
}

/// A connection that has said its preface and SETTINGS.
pub(crate) struct Http2 {
    stream: Box<dyn Duplex>,
    read: Vec<u8>,
}

impl Http2 {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// Connects with these settings.
    #[track_caller]
    pub(crate) fn connect_with(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(Box::new(stream), settings)
    }

    /// Speaks over a stream that is there, with these settings.
    #[track_caller]
    pub(crate) fn over(stream: Box<dyn Duplex>, settings: &[u8]) -> Self {
        let mut http2 = Self { stream, read: Vec::new() };
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
        http2.write(&begin).unwrap();
        http2
    }

    /// Sends bytes as they are. Takes what has come meanwhile, so that the other side is never blocked by it.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        if self.has_ended() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// Takes what has come, and says whether that was the end.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.stream.socket().set_nonblocking(true).unwrap();
        let mut buffer = [0; 16 * 1024];
        let ended = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        self.stream.socket().set_nonblocking(false).unwrap();
        ended
    }

    /// Waits for the end, and says which code stood in the last GOAWAY, if one came.
    #[track_caller]
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        self.stream.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the connection was not ended");
                    break;
                }
            }
        }
        let mut code = None;
        for (kind, _, content) in frames(&self.read) {
            if kind == GOAWAY && content.len() >= 8 {
                code = Some(u32::from_be_bytes([content[4], content[5], content[6], content[7]]));
            }
        }
        code
    }

    /// Sends bytes with a PING behind them, and waits until that is answered: then all of them have been read. So no more is ever
    /// on its way than these, and their answers. Says whether it was, or the end came before it.
    #[track_caller]
    pub(crate) fn is_heard(&mut self, bytes: &[u8]) -> bool {
        const SIGN: &[u8] = b"are you?";
        let begun = Instant::now();
        let mut ended = self.write(&[bytes, &frame(PING, 0, 0, SIGN)].concat()).is_err();
        loop {
            let mut whole = 0;
            let is_answer = |(kind, flags, content): (u8, u8, &[u8])| {
                whole += 9 + content.len();
                kind == PING && flags & 1 != 0 && content == SIGN
            };
            if frames(&self.read).any(is_answer) {
                self.read.drain(..whole);
                return true;
            }
            if ended {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "a PING was not answered");
            std::thread::yield_now();
            ended = self.has_ended();
        }
    }

    /// Sends the same frames until the connection ends, at most so often. The answers to them are read.
    pub(crate) fn flood(mut self, frames: &[u8], times_max: usize) -> Self {
        const AT_ONCE: usize = 128;
        let batch = frames.repeat(AT_ONCE);
        for _ in 0..times_max.div_ceil(AT_ONCE) {
            if !self.is_heard(&batch) {
                break;
            }
        }
        self
    }

    /// Waits for a PING, and answers it: a gateway that takes its leave asks by one whether its GOAWAY has arrived.
    #[track_caller]
    pub(crate) fn answer_ping(&mut self) {
        let begun = Instant::now();
        loop {
            assert!(!self.has_ended() && begun.elapsed() < PATIENCE, "no PING has come");
            let asked = frames(&self.read).find(|(kind, flags, _)| *kind == PING && flags & 1 == 0);
            if let Some((_, _, content)) = asked {
                let answer = frame(PING, 1, 0, content);
                // What comes next may be the end.
                return self.stream.write_all(&answer).unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The frames that came: kind, flags and content.
fn frames(mut rest: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (content, after) = after.split_at_checked(length)?;
        rest = after;
        Some((head[3], head[4], content))
    })
}
