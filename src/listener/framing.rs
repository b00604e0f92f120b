//! How the requests of an HTTP/1.1 connection are framed, looked at in the bytes that hyper reads.
//!
//! hyper is the parser. But it forgets what it has overruled: a `Content-Length` beside a `Transfer-Encoding`, or a second
//! one that says the same. Whoever is in front of us may have read such a request in the other way, so it must be
//! refused (RFC 9112, section 6.1), and nobody above hyper can see it. So [`Framing`] follows the lines that frame
//! messages - two names in each head, the sizes of chunks - and is content with everything that hyper refuses by
//! itself. Where it finds a doubt, hyper gets nothing behind it.
//!
//! A line is looked at where it lies; only one that comes in pieces is kept, and no more of it than decides.

use std::io::BufRead as _;

use super::chunk_line::{ChunkLine, LINE_END};

/// Bytes that are kept of a line that comes in pieces: a name, its colon, and a number with some white space.
const KEPT_BYTES: usize = 64;

/// Why the framing of a request is doubtful. Goes with the request, for whoever refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt(pub &'static str);

/// What is read of a connection once there is a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Nothing: the request is complete for hyper, and its refusal is the last thing that is said.
    Silent,
    /// An error, so that nobody takes what there is of the content for all of it.
    Broken,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A request line, or an empty line before it (RFC 9112, section 2.2).
    RequestLine,
    Field,
    /// Content of a known length.
    Content(u64),
    ChunkLine(ChunkLine),
    ChunkData(u64),
    /// The line end behind a chunk's data.
    ChunkEnd,
    Trailer,
    /// Not looked at.
    Beyond,
    /// Behind a doubt.
    Closed(Closed),
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    /// Requests whose head is complete.
    requests: u64,
    /// Of the current head: lines of `Content-Length`, their last value, lines of `Transfer-Encoding`.
    lengths: u32,
    length: Option<u64>,
    codings: u32,
    /// Of a line that comes in pieces: its beginning, and the last byte so far.
    kept: [u8; KEPT_BYTES],
    kept_bytes: usize,
    last: u8,
}

impl Framing {
    /// For a connection of HTTP/1.1 that has not begun.
    pub(super) const fn new() -> Self {
        Self::after(0)
    }

    /// For a connection of HTTP/1.1 that is between two requests, and has had so many.
    pub(super) const fn after(requests: u64) -> Self {
        Self {
            place: Place::RequestLine,
            requests,
            lengths: 0,
            length: None,
            codings: 0,
            kept: [0; KEPT_BYTES],
            kept_bytes: 0,
            last: 0,
        }
    }

    /// For a connection of which nothing is to be known: HTTP/2 frames everything by itself.
    pub(super) const fn of_no_interest() -> Self {
        let mut framing = Self::new();
        framing.place = Place::Beyond;
        framing
    }

    /// The number of the request whose head was completed last, from 1 on.
    pub(super) const fn request(&self) -> u64 {
        self.requests
    }

    /// Whether the last request is complete, and nothing of another has come.
    pub(super) fn is_between_requests(&self) -> bool {
        self.place == Place::RequestLine && self.kept_bytes == 0
    }

    /// Whether a request is to come, and at most a part of an empty line before it is there.
    pub(super) fn is_before_head(&self) -> bool {
        self.place == Place::RequestLine && matches!(self.kept[..self.kept_bytes], [] | [b'\r'])
    }

    /// Whether a part of a head is there, and its end is not.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::RequestLine | Place::Field) && !self.is_before_head()
    }

    /// What is to be read from now on, if not what comes.
    pub(super) const fn closed(&self) -> Option<Closed> {
        if let Place::Closed(closed) = self.place { Some(closed) } else { None }
    }

    /// Looks at the bytes that come next.
    ///
    /// Returns what is doubtful, and how many of the bytes are for hyper all the same: those before a doubt about content,
    /// and all of a head, because it is the request that is to be refused.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Option<(Doubt, usize)> {
        if self.place == Place::RequestLine && self.kept_bytes == 0 && is_one_plain_head(bytes) {
            self.requests += 1;
            return None;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.place {
                Place::Beyond | Place::Closed(_) => break,
                Place::Content(left) => {
                    let left = skip(&mut rest, left);
                    self.place = if left == 0 { Place::RequestLine } else { Place::Content(left) };
                }
                Place::ChunkData(left) => {
                    let left = skip(&mut rest, left);
                    self.place = if left == 0 { Place::ChunkEnd } else { Place::ChunkData(left) };
                }
                Place::ChunkLine(mut line) => {
                    let begins_at = bytes.len() - rest.len();
                    self.place = match line.read(&mut rest) {
                        Ok(None) => Place::ChunkLine(line),
                        Ok(Some(0)) => Place::Trailer,
                        Ok(Some(size)) => Place::ChunkData(size),
                        Err(doubt) => {
                            self.place = Place::Closed(Closed::Broken);
                            return Some((doubt, begins_at));
                        }
                    };
                }
                Place::RequestLine | Place::Field | Place::ChunkEnd | Place::Trailer => {
                    let begins_at = bytes.len() - rest.len();
                    let in_content = !matches!(self.place, Place::RequestLine | Place::Field);
                    if let Err(doubt) = self.line(&mut rest) {
                        self.place = Place::Closed(if in_content { Closed::Broken } else { Closed::Silent });
                        let good = if in_content { begins_at } else { bytes.len() - rest.len() };
                        return Some((doubt, good));
                    }
                }
            }
        }
        None
    }

    /// Takes a line, or as much of one as there is.
    fn line(&mut self, rest: &mut &[u8]) -> Result<(), Doubt> {
        let bytes = *rest;
        // Reading from memory does not fail.
        let count = rest.skip_until(b'\n').unwrap_or(bytes.len());
        let part = &bytes[..count];
        let text = part.strip_suffix(b"\n").unwrap_or(part);
        let is_complete = text.len() < part.len();
        if is_complete && self.kept_bytes == 0 {
            let line = text.strip_suffix(b"\r");
            return self.complete(line.unwrap_or(text), true, line.is_some());
        }
        let room = (KEPT_BYTES - self.kept_bytes).min(text.len());
        self.kept[self.kept_bytes..self.kept_bytes + room].copy_from_slice(&text[..room]);
        self.kept_bytes += room;
        self.last = text.last().copied().unwrap_or(self.last);
        if !is_complete {
            return Ok(());
        }
        let (kept, kept_bytes) = (self.kept, std::mem::take(&mut self.kept_bytes));
        let (line, is_whole, ends_in_cr) = (&kept[..kept_bytes], kept_bytes < KEPT_BYTES, self.last == b'\r');
        self.complete(line.strip_suffix(b"\r").unwrap_or(line), is_whole, ends_in_cr)
    }

    /// A line is complete. One that came in pieces has lost its end if it is longer than what is kept.
    fn complete(&mut self, line: &[u8], is_whole: bool, ends_in_cr: bool) -> Result<(), Doubt> {
        if matches!(self.place, Place::ChunkEnd | Place::Trailer) && !ends_in_cr {
            return Err(LINE_END);
        }
        match self.place {
            Place::RequestLine if line.is_empty() => Ok(()),
            Place::RequestLine => {
                (self.lengths, self.length, self.codings) = (0, None, 0);
                self.place = Place::Field;
                Ok(())
            }
            Place::Field if line.is_empty() => self.head_is_complete(),
            Place::Field => {
                self.field(line, is_whole);
                Ok(())
            }
            Place::ChunkEnd if line.is_empty() => {
                self.place = Place::ChunkLine(ChunkLine::new());
                Ok(())
            }
            Place::ChunkEnd => Err(Doubt("a chunk is longer than its size says")),
            Place::Trailer => {
                if line.is_empty() {
                    self.place = Place::RequestLine;
                }
                Ok(())
            }
            Place::Content(_) | Place::ChunkLine(_) | Place::ChunkData(_) | Place::Beyond | Place::Closed(_) => Ok(()),
        }
    }

    fn field(&mut self, line: &[u8], is_whole: bool) {
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length:") {
                    self.lengths += 1;
                    let digits = std::str::from_utf8(value).ok().filter(|_| is_whole);
                    self.length = digits.and_then(|digits| digits.parse().ok());
                }
            }
            b't' | b'T' if value_of(line, b"transfer-encoding:").is_some() => self.codings += 1,
            _ => {}
        }
    }

    fn head_is_complete(&mut self) -> Result<(), Doubt> {
        self.requests += 1;
        self.place = match (self.lengths, self.codings) {
            (0, 0) => Place::RequestLine,
            (0, _) => Place::ChunkLine(ChunkLine::new()),
            (1, 0) => match self.length {
                Some(0) => Place::RequestLine,
                Some(length) => Place::Content(length),
                // hyper refuses this by itself, unless white space has pushed the number out of sight.
                None => return Err(Doubt("Content-Length is not one number")),
            },
            (_, 0) => return Err(Doubt("Content-Length stands more than once")),
            (_, _) => return Err(Doubt("Content-Length beside Transfer-Encoding")),
        };
        Ok(())
    }
}

/// Places that are looked at together, so that the compiler does it in one step for all of them.
const TOGETHER: usize = 32;

/// From the line end before `Transfer-Encoding` to the colon behind it.
const TO_COLON: usize = 18;

/// Whether bytes that begin with a request line are one head, with neither of the two names: what nearly every request
/// is, seen without going from line to line. A head in which a line only looks like it is left to those who do.
///
/// No name fits into the last bytes.
fn is_one_plain_head(bytes: &[u8]) -> bool {
    let Some(places) = bytes.len().checked_sub(TO_COLON).filter(|places| *places >= TOGETHER) else { return false };
    if !bytes.ends_with(b"\r\n\r\n") || matches!(bytes[0], b'\r' | b'\n') {
        return false;
    }
    // But the end of a head does, with one behind it that is too short to be good.
    let last = &bytes[places..bytes.len() - 3];
    if last.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b'\r' | b'\n')) {
        return false;
    }
    let mut at = 0;
    while at + TOGETHER < places {
        if has_place_of_interest(&bytes[at..]) {
            return false;
        }
        at += TOGETHER;
    }
    !has_place_of_interest(&bytes[places - TOGETHER..])
}

/// Whether one of the first places is a line end before the end of the head, or before a name of that length.
fn has_place_of_interest(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk::<{ TOGETHER + TO_COLON }>() else { return true };
    let mut found = false;
    for at in 0..TOGETHER {
        let first = bytes[at + 1];
        let length = (first | 0x20 == b'c') & (bytes[at + 15] == b':');
        let coding = (first | 0x20 == b't') & (bytes[at + TO_COLON] == b':');
        found |= (bytes[at] == b'\n') & ((first == b'\r') | (first == b'\n') | length | coding);
    }
    found
}

/// Skips up to `left` bytes, and returns how many are left to skip.
fn skip(rest: &mut &[u8], left: u64) -> u64 {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    *rest = &rest[count..];
    left - count as u64
}

/// The value of a field line, if the field is `name`, which ends with its colon.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (begin, value) = line.split_at_checked(name.len())?;
    begin.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: &str = "Content-Length stands more than once";
    const BOTH: &str = "Content-Length beside Transfer-Encoding";
    const SIZE: &str = "the size of a chunk is malformed";
    const EXTENSION: &str = "the extension of a chunk is malformed";

    /// What comes of bytes in pieces: the number of heads, the doubt, and what hyper gets.
    fn look(pieces: &[&[u8]]) -> (u64, Option<&'static str>, Vec<u8>) {
        let (mut framing, mut given) = (Framing::new(), Vec::new());
        for piece in pieces {
            if let Some((doubt, good)) = framing.look(piece) {
                given.extend_from_slice(&piece[..good]);
                assert!(framing.closed().is_some());
                return (framing.request(), Some(doubt.0), given);
            }
            given.extend_from_slice(piece);
        }
        assert_eq!(framing.closed(), None);
        (framing.request(), None, given)
    }

    /// Looks at bytes as a whole, and cut in two at every place: the pieces must not matter.
    #[track_caller]
    fn check(bytes: &str, requests: u64, doubt: Option<&str>) {
        let bytes = bytes.as_bytes();
        let whole = look(&[bytes]);
        assert_eq!((whole.0, whole.1), (requests, doubt), "{}", bytes.escape_ascii());
        for cut in 0..bytes.len() {
            let (begin, end) = bytes.split_at(cut);
            let cut = look(&[begin, end]);
            assert_eq!((cut.0, cut.1), (requests, doubt), "{}", begin.escape_ascii());
            assert!(bytes.starts_with(&cut.2) && (doubt.is_none() || cut.2.len() >= whole.2.len()));
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let single = look(&single);
        assert_eq!((single.0, single.1), (requests, doubt), "in single bytes: {}", bytes.escape_ascii());
    }

    #[test]
    fn requests_that_are_framed_in_one_way_are_followed_to_their_end() {
        let all = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\nHost: a\n\n",
            "POST / HTTP/1.1\r\ncontent-LENGTH:  5 \r\n\r\nGET \n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nX-Content-Length: 9\r\nContent-Lengths: 9\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\r\n\r\n\r\n0005;a=\"b\" ; c\r\nhello\r\nA ;x\r\n0123456789\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n",
        ];
        for one in all {
            check(one, 1, None);
        }
        check(&all.concat(), all.len() as u64, None);
    }

    #[test]
    fn a_length_beside_chunks_or_twice_is_a_doubt_in_every_spelling() {
        for (lines, doubt) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BOTH),
            ("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\n", BOTH),
            ("transfer-encoding:chunked\r\ncontent-length:0\r\n", BOTH),
            ("TRANSFER-ENCODING: chunked\nCONTENT-LENGTH: five\n", BOTH),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", TWICE),
            ("Content-Length: 0\r\nHost: a\r\ncontent-length: 0\r\n", TWICE),
            ("Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", BOTH),
        ] {
            check(&format!("POST / HTTP/1.1\r\n{lines}\r\nhello"), 1, Some(doubt));
            check(&format!("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n{lines}\r\n5\r\nhello"), 2, Some(doubt));
        }
        // All of the head is for hyper, and nothing behind it.
        let head = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(look(&[format!("{head}0\r\n\r\n").as_bytes()]).2, head.as_bytes());
    }

    #[test]
    fn a_number_behind_more_white_space_than_is_kept_is_a_doubt_and_never_half_a_number() {
        let line = format!("Content-Length: {}12345678", " ".repeat(KEPT_BYTES - 20));
        let head = format!("POST / HTTP/1.1\r\n{line}\r\n\r\n");
        assert_eq!(look(&[head.as_bytes()]).1, None);
        let pieces: Vec<&[u8]> = head.as_bytes().chunks(1).collect();
        assert_eq!(look(&pieces).1, Some("Content-Length is not one number"));
    }

    #[test]
    fn a_line_behind_the_chunks_ends_with_cr_lf_however_long_it_is() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        for length in [0, 1, KEPT_BYTES - 6, KEPT_BYTES - 5, KEPT_BYTES - 4, KEPT_BYTES - 3, 2 * KEPT_BYTES] {
            let trailer = format!("X: {}", "a".repeat(length));
            check(&format!("{head}{trailer}\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 2, None);
            check(&format!("{head}{trailer}\n\r\n"), 1, Some("a line end in chunks is not CR LF"));
            check(&format!("{head}{trailer}\r\n{trailer}\n\r\n"), 1, Some("a line end in chunks is not CR LF"));
        }
    }

    #[test]
    fn chunks_whose_sizes_are_not_plain_are_a_doubt() {
        for (line, doubt) in [
            ("5 5", SIZE),
            ("5 ", SIZE),
            ("5\t", SIZE),
            (" 5", SIZE),
            ("", SIZE),
            (";a", SIZE),
            ("0x5", SIZE),
            ("+5", SIZE),
            ("-5", SIZE),
            ("5,a", SIZE),
            ("00000000000000005", SIZE),
            ("10000000000000000", SIZE),
            ("5\nhello\r\n0\r\n\r\n", "a line end in chunks is not CR LF"),
            ("5;a\0b", EXTENSION),
            ("5;a\x7f", EXTENSION),
            ("5;", EXTENSION),
            ("5; ", EXTENSION),
            ("5;a;", EXTENSION),
            ("5;a ", EXTENSION),
            ("5;a=", EXTENSION),
            ("5;=b", EXTENSION),
            ("5;a b", EXTENSION),
            ("5;a=b c", EXTENSION),
            ("5;a=b=c", EXTENSION),
            ("5;a=b\"c\"", EXTENSION),
            ("5;a=\"b", EXTENSION),
            ("5;a=\"b\\\"", EXTENSION),
            ("5;a=\"b\"c", EXTENSION),
            ("5;a=\"b\" ", EXTENSION),
            ("5;a=\"\x01\"", EXTENSION),
            ("5;\u{e4}", EXTENSION),
            ("5;a=\"\\\x7f\"", EXTENSION),
            ("5\r", "a line end in chunks is not CR LF"),
        ] {
            let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
            check(&format!("{head}{line}\r\nhello\r\n0\r\n\r\n"), 1, Some(doubt));
            check(&format!("{head}3\r\nabc\r\n{line}\r\nhello\r\n0\r\n\r\n"), 1, Some(doubt));
            let before = format!("{head}3\r\nabc\r\n");
            assert_eq!(look(&[format!("{before}{line}\r\nhello").as_bytes()]).2, before.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn a_head_seen_at_one_glance_is_seen_as_line_by_line() {
        let mut glances = 0;
        for target in 0..40 {
            let request_line = format!("GET /{} HTTP/1.1\r\n", "x".repeat(target));
            for (lines, doubt) in [
                ("Host: a\r\n", None),
                ("Host: a\r\nX-Content-Length: 5\r\nContent-Lengthy: 5\r\nTransfer-Encodin: x\r\n", None),
                ("Content-Type: text/plain\r\nTe: trailers\r\n", None),
                ("Content-Length:5\r\nContent-Length:5\r\n", Some(TWICE)),
                ("content-length:0\r\nx: y\r\ntransfer-encoding:chunked\r\n", Some(BOTH)),
                ("TRANSFER-ENCODING:chunked\r\nCONTENT-LENGTH:0\r\n", Some(BOTH)),
            ] {
                let head = format!("{request_line}{lines}\r\n");
                glances += usize::from(is_one_plain_head(head.as_bytes()));
                check(&head, 1, doubt);
                // Two of them, of which the second is as short as can be.
                check(&format!("GET / HTTP/1.1\r\n\r\n{head}"), 2, doubt);
                if doubt.is_none() {
                    check(&format!("{head}GET / HTTP/1.1\r\n\r\n"), 2, doubt);
                    check(&format!("{head}\r\n"), 1, doubt);
                    let bare = lines.trim_end();
                    for short in ["A / HTTP/1.1", "bad", "x"] {
                        check(&format!("{head}{short}\r\n\r\n"), 2, doubt);
                        check(&format!("{request_line}{bare}\n\n{short}\r\n\r\n"), 2, doubt);
                    }
                    let length = "POST / HTTP/1.1\r\nContent-Length:4\r\n\r\n\r\n\r\n";
                    check(&format!("{length}{head}"), 2, doubt);
                }
            }
        }
        assert!(glances > 60, "of 120 plain heads {glances} were seen at one glance");
    }

    #[test]
    fn another_protocol_is_not_looked_at() {
        let mut framing = Framing::of_no_interest();
        let doubtful = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framing.look(doubtful), None);
    }
}
