//! A client of HTTP/2 that sends what no library would: fields are written byte by byte (RFC 7541, section 6.2.2).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::book::Case;
use crate::world::{Answer, Ending, connect};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What fits into a frame (RFC 9113, section 6.5.2).
const FRAME_BYTES: usize = 16_384;

/// What stands for the refusal of a stream that is not well-formed (RFC 9113, section 8.1.1): no status at all.
const PROTOCOL_ERROR: u32 = 1;

/// Sends a case as stream 1 of a connection of its own.
pub(crate) fn ask(from: Ipv4Addr, address: SocketAddr, case: &Case, patience: Duration) -> (Vec<Answer>, Ending) {
    let mut stream = connect(from, address, patience);
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut sent, SETTINGS, 0, 0, &[]);
    let request = &case.stream;
    let (no_content, no_trailers) = (request.content.is_empty(), request.trailers.is_empty());
    headers(&mut sent, &request.fields, no_content && no_trailers);
    if !no_content {
        let chunks = request.content.chunks(FRAME_BYTES);
        let count = chunks.len();
        for (index, chunk) in chunks.enumerate() {
            frame(&mut sent, DATA, if no_trailers && index + 1 == count { END_STREAM } else { 0 }, 1, chunk);
        }
    }
    if !no_trailers {
        headers(&mut sent, &request.trailers, true);
    }
    let _ = stream.write_all(&sent);
    let mut answer = Answer { status: 0, content: String::new(), request_id: None };
    let ending = read(&mut stream, &mut answer);
    let _ = stream.shutdown(Shutdown::Both);
    (if answer.status == 0 { Vec::new() } else { vec![answer] }, ending)
}

/// Reads until stream 1 is over.
fn read(stream: &mut TcpStream, answer: &mut Answer) -> Ending {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    loop {
        let mut head = [0; 9];
        if let Err(error) = stream.read_exact(&mut head) {
            let silent = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            return if silent { Ending::Open } else { Ending::Closed };
        }
        let mut payload = vec![0; number(&[0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).is_err() {
            return Ending::Closed;
        }
        let (kind, flags) = (head[3], head[4]);
        match kind {
            HEADERS => {
                let status = status(&payload);
                if status >= 200 && answer.status == 0 {
                    answer.status = status;
                }
            }
            DATA => answer.content.push_str(&String::from_utf8_lossy(&payload)),
            RST_STREAM => return Ending::Reset(number(&payload[..4])),
            GOAWAY if number(&payload[4..8]) != 0 => return Ending::Reset(number(&payload[4..8])),
            SETTINGS if flags & 1 == 0 => {
                let mut acknowledgement = Vec::new();
                frame(&mut acknowledgement, SETTINGS, 1, 0, &[]);
                let _ = stream.write_all(&acknowledgement);
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            return Ending::Open;
        }
    }
}

/// Whether this ends a stream because its request is not well-formed.
pub(crate) const fn is_refusal(code: u32) -> bool {
    code == PROTOCOL_ERROR
}

fn frame(sent: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    sent.extend_from_slice(&length[1..]);
    sent.extend_from_slice(&[kind, flags]);
    sent.extend_from_slice(&stream.to_be_bytes());
    sent.extend_from_slice(payload);
}

fn headers(sent: &mut Vec<u8>, fields: &[(Vec<u8>, Vec<u8>)], ends: bool) {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    let chunks = block.chunks(FRAME_BYTES);
    let count = chunks.len();
    for (index, chunk) in chunks.enumerate() {
        let (kind, end) =
            (if index == 0 { HEADERS } else { CONTINUATION }, if ends && index == 0 { END_STREAM } else { 0 });
        frame(sent, kind, end | if index + 1 == count { END_HEADERS } else { 0 }, 1, chunk);
    }
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// The status, which is the first field of a first answer: by its index, or as three digits.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // The size of a table comes before it.
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        block => block,
    };
    match block {
        [first, ..] if (0x88..=0x8e).contains(first) => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        // Any of the seven entries of the static table may lend its name.
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, length, rest @ ..] => {
            let text = rest.get(..usize::from(length & 127)).unwrap_or_default();
            if length & 128 == 0 { String::from_utf8_lossy(text).parse().unwrap_or(0) } else { digits(text) }
        }
        _ => 0,
    }
}

/// Three digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, the others six.
fn digits(text: &[u8]) -> u16 {
    let bits: Vec<u16> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let take = |count: usize| bits.iter().skip(at).take(count).fold(0, |value, bit| value * 2 + bit);
        let five = take(5);
        number = number * 10 + if five <= 2 { five } else { take(6).wrapping_sub(0b011_001) + 3 };
        at += if five <= 2 { 5 } else { 6 };
    }
    number
}
