//! HTTP/2 by hand: frames as they are written, also those that no library would send.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::gate::PATIENCE;

/// Types of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of HEADERS, and of DATA.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(content.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// A field that is written out and not remembered (RFC 7541, section 6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A text without the code of Huffman (RFC 7541, section 5.2).
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len().checked_sub(127) {
        None => bytes.push(text.len() as u8),
        Some(mut rest) => {
            bytes.push(127);
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// The head of a request.
pub(crate) fn block(fields: &[(&str, &str)], path: &str, method: &str) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "api.example")];
    pseudo.iter().chain(fields).flat_map(|(name, value)| literal(name, value)).collect()
}

/// A connection that has said its preface and SETTINGS.
pub(crate) struct Http2 {
    stream: TcpStream,
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
        let mut http2 = Self { stream, read: Vec::new() };
        let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat();
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
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 16 * 1024];
        let ended = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        ended
    }

    /// Waits for the end, and says which code stood in the last GOAWAY, if one came.
    #[track_caller]
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
