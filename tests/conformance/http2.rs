//! A client of HTTP/2 that sends what no library would: fields are written byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::book::Case;
use crate::frame::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame};
use crate::wire::{End, Wire};
use crate::world::{Answer, Ending, PATIENCE, connect};

/// What fits into a frame (RFC 9113, section 6.5.2).
const FRAME_BYTES: usize = 16_384;

/// What stands for the refusal of a stream that is not well-formed (RFC 9113, section 8.1.1): no status at all.
const PROTOCOL_ERROR: u32 = 1;

/// Sends a case as stream 1 of a connection of its own.
pub(crate) fn ask(from: Ipv4Addr, address: SocketAddr, case: &Case, patience: Duration) -> (Vec<Answer>, Ending) {
    let request = &case.stream;
    let (no_content, no_trailers) = (request.content.is_empty(), request.trailers.is_empty());
    let mut sent = headers(&request.fields, no_content && no_trailers);
    if !no_content {
        let chunks = request.content.chunks(FRAME_BYTES);
        let count = chunks.len();
        for (index, chunk) in chunks.enumerate() {
            sent.extend(frame(DATA, if no_trailers && index + 1 == count { END_STREAM } else { 0 }, 1, chunk));
        }
    }
    if !no_trailers {
        sent.extend(headers(&request.trailers, true));
    }
    converse(from, address, &sent, patience)
}

/// Sends a request without content, and waits until the other side is done with it.
pub(crate) fn say(from: Ipv4Addr, address: SocketAddr, fields: &[(Vec<u8>, Vec<u8>)]) {
    converse(from, address, &headers(fields, true), PATIENCE);
}

/// Sends these frames on a connection of its own, and reads until stream 1 is over.
fn converse(from: Ipv4Addr, address: SocketAddr, sent: &[u8], patience: Duration) -> (Vec<Answer>, Ending) {
    let mut wire = Wire::over(connect(from, address, patience)).waiting(patience);
    wire.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), sent].concat());
    let answer = wire.answer(1);
    wire.close();
    let ending = match answer.end {
        End::Whole | End::Silent => Ending::Open,
        End::Closed => Ending::Closed,
        End::Reset(code) | End::GoneAway(code) => Ending::Reset(code),
    };
    let text = answer.text();
    let answered = Answer { status: answer.status, content: text, request_id: None };
    (if answer.status < 200 { Vec::new() } else { vec![answered] }, ending)
}

/// Whether this ends a stream because its request is not well-formed.
pub(crate) const fn is_refusal(code: u32) -> bool {
    code == PROTOCOL_ERROR
}

/// A block of fields in as many frames as it takes.
fn headers(fields: &[(Vec<u8>, Vec<u8>)], ends: bool) -> Vec<u8> {
    let block = block(fields);
    let chunks = block.chunks(FRAME_BYTES);
    let count = chunks.len();
    let mut frames = Vec::new();
    for (index, chunk) in chunks.enumerate() {
        let (kind, end) =
            (if index == 0 { HEADERS } else { CONTINUATION }, if ends && index == 0 { END_STREAM } else { 0 });
        frames.extend(frame(kind, end | if index + 1 == count { END_HEADERS } else { 0 }, 1, chunk));
    }
    frames
}
