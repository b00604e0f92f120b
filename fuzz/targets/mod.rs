//! What must hold for whatever arrives, one file a parser.
//!
//! Each target is a plain function of some bytes that panics when a promise is broken. Two programs call them:
//! `tests/fuzz.rs` with mutations of the kept corpus, the same ones every time, in `make test`; and libFuzzer
//! (`fuzz_targets`), which looks for more by what the bytes reach, in `make fuzz`.
//!
//! A target says what is true of an answer, and where it can says the answer a second time, by other means. "It did not
//! panic" is never all.

pub mod cookie;
pub mod credentials;
pub mod forwarded;
pub mod head;
pub mod key_file;
pub mod path;
pub mod proxy_protocol;
pub mod question;
pub mod reader;
pub mod template;
pub mod webhook;

use http::{HeaderMap, HeaderName, HeaderValue};

/// One target, by the name of its folder of the corpus.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Looks at some bytes.
    pub check: fn(&[u8]),
    /// Bytes that mutations put in: words of the language that is parsed.
    pub words: &'static [&'static str],
    /// Mutations of a short run: some seconds for all targets together, without optimisation.
    pub runs: usize,
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target { name: "path", check: path::check, words: path::WORDS, runs: 2000 },
    Target { name: "forwarded", check: forwarded::check, words: forwarded::WORDS, runs: 2000 },
    Target { name: "credentials", check: credentials::check, words: credentials::WORDS, runs: 2000 },
    Target { name: "key_file", check: key_file::check, words: key_file::WORDS, runs: 2000 },
    Target { name: "template", check: template::check, words: template::WORDS, runs: 2000 },
    Target { name: "proxy_protocol", check: proxy_protocol::check, words: proxy_protocol::WORDS, runs: 2000 },
    Target { name: "cookie", check: cookie::check, words: cookie::WORDS, runs: 2000 },
    Target { name: "webhook", check: webhook::check, words: webhook::WORDS, runs: 2000 },
    Target { name: "question", check: question::check, words: question::WORDS, runs: 2000 },
    Target { name: "head", check: head::check, words: head::WORDS, runs: 2000 },
];

/// Fields written as `name: value`, a line each, up to an empty line; and what follows that. Lines that are no fields are
/// left out: what may be a field is hyper's to say, and not looked at here.
fn fields_of(data: &[u8]) -> (HeaderMap, &[u8]) {
    let mut fields = HeaderMap::new();
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    (fields, rest)
}
