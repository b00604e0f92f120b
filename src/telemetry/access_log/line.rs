//! How a line is written.
//!
//! Both formats have the same fields in the same order, because both are written by [`AccessLine::append_to`]. Values
//! that a client chose are escaped in both: a line break, a terminal's escape sequence or a letter that turns the
//! direction of writing cannot reach whoever reads the log.

use std::cell::Cell;
use std::io::Write;
use std::net::IpAddr;

use http::Version;

use super::Format;
use crate::telemetry::escape::is_dangerous;

/// Bytes of one value that are written at most; what is longer ends in `...`. The head of a request may be much longer
/// than is useful in a log.
const VALUE_BYTES_MAX: usize = 2048;

/// The protocol's name as it stands in logs.
#[must_use]
pub fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// The name of a field as each format has it, with what stands between it and the value.
struct Name {
    json: &'static str,
    text: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name { json: concat!("\"", $name, "\":"), text: concat!($name, "=") }
    };
}

/// A finished request, as the access log sees it.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// When the request began: nanoseconds since the Unix epoch. Written in UTC with microseconds.
    pub unix_ns: u64,
    /// The id of the request, as it was given to the upstream.
    pub request_id: &'a str,
    /// The address held responsible for the request.
    pub client: IpAddr,
    /// The method, as the client sent it.
    pub method: &'a str,
    /// The host the request was for: the bytes of the field, whatever they are.
    pub host: Option<&'a [u8]>,
    /// The path. What follows a `?` is not written, should the caller leave it in.
    pub path: &'a str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// The name of the route; `none` if there was none.
    pub route: &'a str,
    /// The status that the client was sent.
    pub status: u16,
    /// Who wrote the response: `upstream` or `keygate`.
    pub source: &'a str,
    /// Why keygate refused the request.
    pub reason: Option<&'a str>,
    /// The public id of the key; never the key.
    pub key_id: Option<&'a str>,
    /// The id of the user whose token it was.
    pub user: Option<&'a str>,
    /// Nanoseconds from the head of the request to the end of the response.
    pub duration_ns: u64,
    /// Nanoseconds that were spent waiting for the upstream, if it was asked.
    pub upstream_ns: Option<u64>,
    /// Nanoseconds that keygate itself took.
    pub overhead_ns: u64,
    /// Bytes of content read from the client.
    pub request_bytes: u64,
    /// Bytes of content sent to the client.
    pub response_bytes: u64,
}

impl AccessLine<'_> {
    /// Appends the line with its line break. Absent values are left out.
    pub(super) fn append_to(&self, buffer: &mut Vec<u8>, format: Format) {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        let mut fields = Fields::begin(buffer, format);
        fields.time(self.unix_ns);
        fields.text(&name!("request_id"), self.request_id.as_bytes());
        fields.address(&name!("client"), self.client);
        fields.word(&name!("method"), self.method);
        if let Some(host) = self.host {
            fields.text(&name!("host"), host);
        }
        fields.text(&name!("path"), path.as_bytes());
        fields.word(&name!("protocol"), self.protocol);
        fields.text(&name!("route"), self.route.as_bytes());
        fields.number(&name!("status"), u64::from(self.status));
        fields.word(&name!("source"), self.source);
        if let Some(reason) = self.reason {
            fields.word(&name!("reason"), reason);
        }
        if let Some(key_id) = self.key_id {
            fields.text(&name!("key_id"), key_id.as_bytes());
        }
        if let Some(user) = self.user {
            fields.text(&name!("user"), user.as_bytes());
        }
        fields.milliseconds(&name!("duration_ms"), self.duration_ns);
        if let Some(upstream_ns) = self.upstream_ns {
            fields.milliseconds(&name!("upstream_ms"), upstream_ns);
        }
        fields.milliseconds(&name!("overhead_ms"), self.overhead_ns);
        fields.number(&name!("request_bytes"), self.request_bytes);
        fields.number(&name!("response_bytes"), self.response_bytes);
        fields.end();
    }
}

/// The fields of a line that is being written.
struct Fields<'a> {
    buffer: &'a mut Vec<u8>,
    format: Format,
}

impl<'a> Fields<'a> {
    /// Begins a line.
    fn begin(buffer: &'a mut Vec<u8>, format: Format) -> Self {
        match format {
            Format::Json => buffer.push(b'{'),
            Format::Text => {}
        }
        Self { buffer, format }
    }

    /// Ends the line. The comma or space after the last field gives way.
    fn end(self) {
        self.buffer.pop();
        match self.format {
            Format::Json => self.buffer.extend_from_slice(b"}\n"),
            Format::Text => self.buffer.push(b'\n'),
        }
    }

    /// Writes a name and the value that `value` appends, bare.
    fn field(&mut self, name: &Name, value: impl FnOnce(&mut Vec<u8>)) {
        let (name, end) = match self.format {
            Format::Json => (name.json, b','),
            Format::Text => (name.text, b' '),
        };
        self.buffer.extend_from_slice(name.as_bytes());
        value(self.buffer);
        self.buffer.push(end);
    }

    /// Writes a value that anybody may have chosen.
    fn text(&mut self, name: &Name, value: &[u8]) {
        let bare = matches!(self.format, Format::Text) && !value.is_empty() && value.iter().all(|byte| is_bare(*byte));
        self.field(name, |buffer| {
            if bare && value.len() <= VALUE_BYTES_MAX {
                buffer.extend_from_slice(value);
            } else {
                append_quoted(buffer, value);
            }
        });
    }

    /// Writes one of our own words, or a token as HTTP has it (RFC 9110, section 5.6.2): neither needs escaping.
    fn word(&mut self, name: &Name, word: &str) {
        if word.is_empty() || word.len() > VALUE_BYTES_MAX {
            return self.text(name, word.as_bytes());
        }
        let quote = self.quote();
        self.field(name, |buffer| {
            buffer.extend_from_slice(quote);
            buffer.extend_from_slice(word.as_bytes());
            buffer.extend_from_slice(quote);
        });
    }

    /// Writes an address, which needs no escaping.
    fn address(&mut self, name: &Name, address: IpAddr) {
        let quote = self.quote();
        self.field(name, |buffer| {
            buffer.extend_from_slice(quote);
            append_address(buffer, address);
            buffer.extend_from_slice(quote);
        });
    }

    /// Writes the time as RFC 3339, section 5.6, has it.
    fn time(&mut self, unix_ns: u64) {
        let quote = self.quote();
        self.field(&name!("time"), |buffer| {
            buffer.extend_from_slice(quote);
            append_time(buffer, unix_ns);
            buffer.extend_from_slice(quote);
        });
    }

    /// Writes a whole number.
    fn number(&mut self, name: &Name, value: u64) {
        self.field(name, |buffer| buffer.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()));
    }

    /// Writes nanoseconds as milliseconds with three digits, rounded down to microseconds.
    fn milliseconds(&mut self, name: &Name, ns: u64) {
        self.field(name, |buffer| {
            let us = ns / 1000;
            buffer.extend_from_slice(itoa::Buffer::new().format(us / 1000).as_bytes());
            buffer.push(b'.');
            buffer.extend_from_slice(&digits::<3>(us % 1000));
        });
    }

    /// What stands around a text that needs no escaping.
    fn quote(&self) -> &'static [u8] {
        match self.format {
            Format::Json => b"\"",
            Format::Text => b"",
        }
    }
}

/// Whether a byte may stand in a text value without quotes: nothing that ends a value, opens a quote, or is not ASCII.
const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=')
}

/// Appends a string of JSON (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD.
fn append_quoted(buffer: &mut Vec<u8>, value: &[u8]) {
    let (value, cut) = match value.get(..VALUE_BYTES_MAX) {
        Some(start) if value.len() > VALUE_BYTES_MAX => (start, true),
        Some(_) | None => (value, false),
    };
    buffer.push(b'"');
    if is_plain(value) {
        buffer.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| append_escaped(buffer, letter));
            if !chunk.invalid().is_empty() {
                append_escaped(buffer, char::REPLACEMENT_CHARACTER);
            }
        }
    }
    if cut {
        buffer.extend_from_slice(b"...");
    }
    buffer.push(b'"');
}

/// Whether a value stands in a string of JSON as it is.
fn is_plain(value: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    // Looks at every byte of a chunk instead of stopping at the first, since that is what a processor does at once.
    let (chunks, rest) = value.as_chunks::<16>();
    chunks.iter().all(|chunk| chunk.iter().fold(true, |all, byte| all & plain(byte))) && rest.iter().all(plain)
}

/// Appends a letter, or `\uXXXX` if it could end the string, the line, or the order of what is read.
fn append_escaped(buffer: &mut Vec<u8>, letter: char) {
    match letter {
        '"' => buffer.extend_from_slice(b"\\\""),
        '\\' => buffer.extend_from_slice(b"\\\\"),
        letter if is_dangerous(letter) => {
            // All of them are in the basic plane, so that four digits are enough.
            let code = u32::from(letter);
            buffer.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                buffer.push(b"0123456789abcdef"[(code >> shift & 0xf) as usize]);
            }
        }
        _ => buffer.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends an address. Most are short, and `fmt` would take longer for one than for the rest of the line.
fn append_address(buffer: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for octet in address.octets() {
                buffer.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                buffer.push(b'.');
            }
            buffer.pop();
        }
        // Writing to memory cannot fail.
        IpAddr::V6(address) => drop(write!(buffer, "{address}")),
    }
}

/// The last decimal digits of a number, with leading zeros.
fn digits<const WIDTH: usize>(mut number: u64) -> [u8; WIDTH] {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Bytes of a time up to its seconds.
const SECOND_BYTES: usize = "2026-11-22T02:21:00".len();

thread_local! {
    /// The second that was written last on this thread, and how: most lines are of the same one as the line before.
    static SECOND: Cell<(u64, [u8; SECOND_BYTES])> = Cell::new((0, second_text(0)));
}

/// Appends `2026-11-22T02:21:00.123456Z`.
fn append_time(buffer: &mut Vec<u8>, unix_ns: u64) {
    let (second, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (mut written, mut text) = SECOND.get();
    if written != second {
        (written, text) = (second, second_text(second));
        SECOND.set((written, text));
    }
    buffer.extend_from_slice(&text);
    buffer.push(b'.');
    buffer.extend_from_slice(&digits::<6>(ns / 1000));
    buffer.push(b'Z');
}

/// A second since the Unix epoch as `2026-11-22T02:21:00`.
///
/// The days are turned into a date with the algorithm `civil_from_days` of Howard Hinnant, which counts years from March
/// so that the leap day is the last of a year. Right until the year 2554, when 64 bits of nanoseconds end.
fn second_text(unix_s: u64) -> [u8; SECOND_BYTES] {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);

    // Days since 0000-03-01; an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00";
    text[..4].copy_from_slice(&digits::<4>(year));
    for (at, number) in [(5, month), (8, day), (11, second / 3600), (14, second / 60 % 60), (17, second % 60)] {
        text[at..at + 2].copy_from_slice(&digits::<2>(number));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// A line with nothing special in it.
    pub(in crate::telemetry::access_log) fn example() -> AccessLine<'static> {
        AccessLine {
            unix_ns: 1_795_314_060_123_456_789,
            request_id: "0193-a",
            client: IpAddr::from([203, 0, 113, 9]),
            method: "GET",
            host: Some(b"api.example.com"),
            path: "/orders",
            protocol: "HTTP/2",
            route: "orders",
            status: 429,
            source: "keygate",
            reason: Some("rate_limited"),
            user: None,
            key_id: Some("k_1"),
            duration_ns: 1_002_003,
            upstream_ns: None,
            overhead_ns: 52_999,
            request_bytes: 0,
            response_bytes: 120,
        }
    }

    fn written(line: &AccessLine<'_>, format: Format) -> String {
        let mut buffer = b"before\n".to_vec();
        line.append_to(&mut buffer, format);
        let text = String::from_utf8(buffer).expect("UTF-8");
        let line = text.strip_prefix("before\n").and_then(|line| line.strip_suffix('\n')).expect("one line");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        line.to_owned()
    }

    fn json(line: &AccessLine<'_>) -> Value {
        serde_json::from_str(&written(line, Format::Json)).expect("JSON")
    }

    #[test]
    fn json_has_every_field_that_is_known() {
        assert_eq!(
            written(&example(), Format::Json),
            r#"{"time":"2026-11-22T02:21:00.123456Z","request_id":"0193-a","client":"203.0.113.9","method":"GET","host":"api.example.com","path":"/orders","protocol":"HTTP/2","route":"orders","status":429,"source":"keygate","reason":"rate_limited","key_id":"k_1","duration_ms":1.002,"overhead_ms":0.052,"request_bytes":0,"response_bytes":120}"#
        );
    }

    #[test]
    fn text_has_the_same_fields_in_the_same_order() {
        assert_eq!(
            written(&example(), Format::Text),
            "time=2026-11-22T02:21:00.123456Z request_id=0193-a client=203.0.113.9 method=GET host=api.example.com \
             path=/orders protocol=HTTP/2 route=orders status=429 source=keygate reason=rate_limited key_id=k_1 \
             duration_ms=1.002 overhead_ms=0.052 request_bytes=0 response_bytes=120"
        );
    }

    #[test]
    fn what_follows_the_path_is_not_written() {
        for format in [Format::Json, Format::Text] {
            let line = written(&AccessLine { path: "/orders?api_key=topsecret&x=?y", ..example() }, format);
            assert!(!line.contains("topsecret") && !line.contains('?'), "{line}");
        }
    }

    /// Whoever sends a path with a line break or with the start of another field must not be able to invent a line.
    #[test]
    fn a_client_cannot_write_a_line_or_a_field_of_its_own() {
        let path = "/a b\" status=200\r\ntime=1970 \u{1b}[2J\u{85}\u{2028}\u{202e}\\";
        let text = written(&AccessLine { path, ..example() }, Format::Text);
        assert!(
            text.contains(r#" path="/a b\" status=200\u000d\u000atime=1970 \u001b[2J\u0085\u2028\u202e\\" protocol="#),
            "{text}"
        );
        assert_eq!(json(&AccessLine { path, ..example() })["path"], path);
    }

    #[test]
    fn an_empty_value_and_an_equals_sign_stand_in_quotes_in_text() {
        let text = written(&AccessLine { request_id: "", route: "a=b", ..example() }, Format::Text);
        assert!(text.contains("request_id=\"\" ") && text.contains("route=\"a=b\" "), "{text}");
    }

    #[test]
    fn a_value_is_cut_at_its_limit() {
        let path = format!("/{}", "ä".repeat(VALUE_BYTES_MAX));
        for format in [Format::Json, Format::Text] {
            let line = written(&AccessLine { path: &path, ..example() }, format);
            assert!(line.len() < VALUE_BYTES_MAX + 600, "{}", line.len());
            assert!(line.contains("...\""), "a cut is visible");
        }
        let bare = "a".repeat(VALUE_BYTES_MAX + 1);
        let line = written(&AccessLine { path: &bare, ..example() }, Format::Text);
        assert!(line.contains("aaa...\"") && line.len() < VALUE_BYTES_MAX + 600);
        // A method can be as long as a head.
        for format in [Format::Json, Format::Text] {
            let line = written(&AccessLine { method: &bare, ..example() }, format);
            assert!(line.contains("aaa...\"") && line.len() < VALUE_BYTES_MAX + 600);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_json_and_read_back_as_what_they_say(host: Vec<u8>, path: String) {
            let value = json(&AccessLine { host: Some(&host), path: &path, ..example() });
            let lossy = String::from_utf8_lossy(&host);
            prop_assert_eq!(value["host"].as_str(), Some(lossy.as_ref()));
            prop_assert_eq!(value["path"].as_str(), path.split('?').next());
        }

        #[test]
        fn any_bytes_are_one_line_of_text(host: Vec<u8>, path: String, method: String) {
            written(&AccessLine { host: Some(&host), path: &path, method: &method, ..example() }, Format::Text);
        }

        #[test]
        fn addresses_are_written_as_they_are_displayed(address: IpAddr) {
            let mut buffer = Vec::new();
            append_address(&mut buffer, address);
            prop_assert_eq!(String::from_utf8(buffer).expect("ASCII"), address.to_string());
        }

        #[test]
        fn times_are_those_of_the_calendar(unix_ns: u64) {
            let mut buffer = Vec::new();
            append_time(&mut buffer, unix_ns);
            let expected = jiff::Timestamp::from_nanosecond(i128::from(unix_ns / 1000 * 1000)).expect("in range");
            prop_assert_eq!(String::from_utf8(buffer).expect("ASCII"), format!("{expected:.6}"));
        }
    }
}
