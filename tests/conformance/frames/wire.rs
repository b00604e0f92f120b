//! HTTP/2 by hand, at either end of a connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::frame::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    WITH_PRIORITY, block, frame,
};
use crate::gate::PATIENCE;
use crate::hpack::{Line, Reader};

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(10);

/// A frame as it came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    fields: Reader,
    next_stream: u32,
    silent: bool,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With `END_STREAM`.
    Whole,
    /// With `RST_STREAM` and this code.
    Reset(u32),
    /// With `GOAWAY` and this code.
    GoneAway(u32),
    /// The connection was closed without a word.
    Closed,
    /// Nothing came for as long as anybody would wait.
    Silent,
}

/// What came back on one stream.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status; 0 if there was none.
    pub(crate) status: u16,
    pub(crate) lines: Vec<Line>,
    pub(crate) content: Vec<u8>,
    pub(crate) end: End,
}

impl Answer {
    /// The content as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

impl Wire {
    /// Connects as a client, and says what a client says first.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        let mut wire = Self::over(stream);
        wire.write(PREFACE);
        // Windows of 16 MiB: nothing here is about flow control (setting 4 is SETTINGS_INITIAL_WINDOW_SIZE).
        wire.write(&frame(SETTINGS, 0, 0, &[0, 4, 1, 0, 0, 0]));
        wire.write(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 24).to_be_bytes()));
        wire
    }

    /// Speaks over a connection that is there. Nothing is said yet.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new(), fields: Reader::default(), next_stream: 1, silent: false }
    }

    /// Reads what a client says first; says whether it did.
    pub(crate) fn greeted(&mut self) -> bool {
        self.take(PREFACE.len()).is_some_and(|preface| preface == PREFACE)
    }

    /// Sends bytes as they are. Whether the other end has closed shows in what comes back.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// A number for a new stream of a client.
    pub(crate) fn new_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// The next frame; `None` when the connection is closed. Answers what has to be answered.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let head = self.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.take(length as usize)?;
        let read = Frame { kind: head[3], flags: head[4], stream, payload };
        if matches!(read.kind, SETTINGS | PING) && read.flags & 1 == 0 {
            let echo: &[u8] = if read.kind == PING { &read.payload } else { &[] };
            let answer = frame(read.kind, 1, 0, echo);
            self.write(&answer);
        }
        Some(read)
    }

    /// The field lines of a HEADERS frame that came whole.
    pub(crate) fn lines(&mut self, read: &Frame) -> Vec<Line> {
        assert_eq!(read.flags & (END_HEADERS | PADDED | WITH_PRIORITY), END_HEADERS, "{read:?}");
        self.fields.read(&read.payload)
    }

    /// Reads until a stream has ended.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer { status: 0, lines: Vec::new(), content: Vec::new(), end: End::Closed };
        while let Some(read) = self.read() {
            let code = |at: usize| u32::from_be_bytes(read.payload[at..at + 4].try_into().unwrap());
            match read.kind {
                // One without an error only says that no new stream will be taken.
                GOAWAY if code(4) != 0 => {
                    answer.end = End::GoneAway(code(4));
                    return answer;
                }
                // Other streams have blocks, too, and all of them belong to the table.
                HEADERS => {
                    let lines = self.lines(&read);
                    if read.stream == stream {
                        let status = lines.iter().find(|(name, _)| name == b":status");
                        let status = status.map(|(_, value)| String::from_utf8_lossy(value).parse().unwrap());
                        answer.status = status.unwrap_or(answer.status);
                        answer.lines.extend(lines);
                    }
                }
                _ if read.stream != stream => continue,
                DATA => answer.content.extend_from_slice(&read.payload),
                RST_STREAM => {
                    answer.end = End::Reset(code(0));
                    return answer;
                }
                _ => {}
            }
            if read.stream == stream && matches!(read.kind, DATA | HEADERS) && read.flags & END_STREAM != 0 {
                answer.end = End::Whole;
                return answer;
            }
        }
        if self.silent {
            answer.end = End::Silent;
        }
        answer
    }

    /// Sends a request without content, and reads its answer.
    #[track_caller]
    pub(crate) fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, lines: &[(N, V)]) -> Answer {
        let stream = self.new_stream();
        self.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(lines)));
        self.answer(stream)
    }

    /// Waits no longer than this for whatever comes next.
    pub(crate) fn waiting(self, silence: Duration) -> Self {
        self.stream.set_read_timeout(Some(silence)).unwrap();
        self
    }

    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.unread.len() < bytes {
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    self.silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    return None;
                }
            }
        }
        Some(self.unread.drain(..bytes).collect())
    }
}
