//! Requests made of frames, with an HTTP/1.1 upstream: what goes on is one request, exactly; what is malformed does not.

use std::time::Duration;

use crate::frame::{DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, RST_STREAM, block, frame};
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::stands_in_the_table;
use crate::tap::{Seen, Tap};
use crate::wire::{Answer, End, Wire};

mod corpus;

/// What is to come of a row.
pub(crate) enum Then {
    /// It is refused, by a status of 4xx, by `RST_STREAM` or by `GOAWAY`, and nothing whole arrives.
    Refused,
    /// It arrives once, and this holds for it.
    Arrives(fn(&Seen) -> bool),
}

/// Name and value of a field.
pub(crate) type Line = (Vec<u8>, Vec<u8>);

/// One request.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
    /// Payloads of DATA frames; `None` is a request that ends with its head.
    pub(crate) data: Option<Vec<Vec<u8>>>,
    /// Each DATA frame is padded.
    pub(crate) padded: bool,
    /// A second block, and whether it ends the stream.
    pub(crate) trailers: Option<(Vec<Line>, bool)>,
    pub(crate) then: Then,
}

impl Row {
    fn send(&self, wire: &mut Wire) -> Answer {
        let stream = wire.new_stream();
        let mut bytes = Vec::new();
        let ends = self.data.is_none() && self.trailers.is_none();
        bytes.extend(frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &block(&self.lines)));
        let data = self.data.as_deref().unwrap_or_default();
        for (number, part) in data.iter().enumerate() {
            let last = number + 1 == data.len() && self.trailers.is_none();
            let flags = if last { END_STREAM } else { 0 };
            if self.padded {
                let payload = [&[7][..], part, &[0; 7]].concat();
                bytes.extend(frame(DATA, flags | PADDED, stream, &payload));
            } else {
                bytes.extend(frame(DATA, flags, stream, part));
            }
        }
        if let Some((trailers, ends)) = &self.trailers {
            bytes.extend(frame(HEADERS, END_HEADERS | if *ends { END_STREAM } else { 0 }, stream, &block(trailers)));
        }
        wire.write(&bytes);
        wire.answer(stream)
    }
}

/// How the rows of a run ended.
#[derive(Default, Debug)]
struct Counts {
    rows: usize,
    arrived: usize,
    status: usize,
    reset: usize,
    gone_away: usize,
}

#[test]
fn no_request_made_of_frames_arrives_as_another_one_or_as_two() {
    let (tap, alice) = (Tap::open(), key("alice"));
    let gate = gate(&tap).key(&alice).listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }").start();
    let (mut counts, mut wrong) = (Counts::default(), Vec::new());
    for row in corpus::rows(&alice.secret) {
        if let Err(what) = judge(&row, &gate, &tap, &alice, &mut counts) {
            wrong.push(format!("{}: {what}", row.name));
        }
    }
    println!("requests made of frames: {counts:?}, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    let Counts { rows, arrived, status, reset, gone_away } = counts;
    stands_in_the_table(&format!(
        "| requests made of frames, HTTP/1.1 upstream that records each byte | {rows} | {arrived} arrived as they should, \
         {status} refused with a status, {reset} with `RST_STREAM`, {gone_away} with `GOAWAY`; nothing else arrived |"
    ));
}

/// hyper takes a reset with `NO_ERROR` for the end of the content.
#[test]
fn content_that_is_reset_never_arrives_as_whole() {
    let (tap, alice) = (Tap::open(), key("alice"));
    let gate = gate(&tap).key(&alice).listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }").start();
    let mut resets = 0;
    for code in [0u32, 1, 2, 5, 8] {
        for pause in [Duration::ZERO, Duration::from_millis(30)] {
            for lines in [&[][..], &[("content-length", "9")], &[("te", "trailers")]] {
                let mut wire = Wire::connect(gate.address);
                let stream = wire.new_stream();
                let head = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "api.example"),
                    (":path", "/p"),
                    ("x-api-key", &alice.secret),
                ];
                wire.write(&frame(HEADERS, END_HEADERS, stream, &block(&[&head, lines].concat())));
                wire.write(&frame(DATA, 0, stream, b"hello"));
                std::thread::sleep(pause);
                wire.write(&frame(RST_STREAM, 0, stream, &code.to_be_bytes()));
                let follow = honest(&mut wire, &alice);
                assert_eq!((follow.status, follow.text().as_str()), (200, "/after"), "{code} {pause:?} {lines:?}");
                std::thread::sleep(Duration::from_millis(30));
                let (requests, _) = tap.take().unwrap();
                let arrived: Vec<_> = requests.iter().map(|request| &request.line).collect();
                assert_eq!(arrived, ["GET /after HTTP/1.1"], "{code} {pause:?} {lines:?}");
                resets += 1;
            }
        }
    }
    println!("content that was reset: {resets} times, never whole");
    stands_in_the_table(&format!(
        "| uploads that are reset halfway, with five codes | {resets} | none arrived as a whole one |"
    ));
}

fn judge(row: &Row, gate: &Gate, tap: &Tap, alice: &TestKey, counts: &mut Counts) -> Result<(), String> {
    let mut wire = Wire::connect(gate.address);
    let answer = row.send(&mut wire);
    // The same connection if it is there still.
    let follow = match answer.end {
        End::Whole | End::Reset(_) => honest(&mut wire, alice),
        End::GoneAway(_) | End::Closed | End::Silent => honest(&mut Wire::connect(gate.address), alice),
    };
    if (follow.status, follow.text().as_str(), follow.end) != (200, "/after", End::Whole) {
        return Err(format!("the request behind it got {follow:?}"));
    }
    counts.rows += 1;
    let (requests, rest) = tap.take().map_err(|error| format!("arrived as {error}; answered {answer:?}"))?;
    let (after, arrived): (Vec<Seen>, Vec<Seen>) =
        requests.into_iter().partition(|request| request.line == "GET /after HTTP/1.1");
    if after.len() != 1 {
        return Err(format!("arrived {} times: the request behind it", after.len()));
    }
    match (&row.then, &arrived[..]) {
        (Then::Refused, []) => refused(&answer, rest, row, counts),
        (Then::Arrives(holds), [request]) => {
            counts.arrived += 1;
            if answer.status != 200 || answer.end != End::Whole || rest > 0 {
                return Err(format!("answered {answer:?}, {rest} bytes left"));
            }
            if holds(request) { Ok(()) } else { Err(format!("arrived as {request:?}")) }
        }
        _ => Err(format!(
            "arrived as {:?}; answered {} {:?} {}",
            arrived.iter().map(|request| &request.line).collect::<Vec<_>>(),
            answer.status,
            answer.end,
            answer.text()
        )),
    }
}

fn refused(answer: &Answer, rest: usize, row: &Row, counts: &mut Counts) -> Result<(), String> {
    match answer.end {
        // A response may be followed by a reset that says that the rest is not wanted.
        End::Whole | End::Reset(0) if (400..500).contains(&answer.status) => counts.status += 1,
        // RFC 9113, section 8.1.1: a stream error of type PROTOCOL_ERROR.
        End::Reset(1) => counts.reset += 1,
        End::GoneAway(1) => counts.gone_away += 1,
        End::Whole | End::Reset(_) | End::GoneAway(_) | End::Closed | End::Silent => {
            return Err(format!("answered {answer:?}"));
        }
    }
    // Of a request whose content is at fault, the head may have gone on already.
    if rest > 0 && row.data.is_none() && row.trailers.is_none() {
        return Err(format!("{rest} bytes of it arrived"));
    }
    Ok(())
}

fn honest(wire: &mut Wire, alice: &TestKey) -> Answer {
    wire.request(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", "/after"),
        ("x-api-key", &alice.secret),
    ])
}
