//! The normal form of a path: no server, however often it decodes, reads another path from it than we do.

use http::uri::PathAndQuery;
use keygate::gateway::path::normal_form;

pub const WORDS: &[&str] = &[
    "/",
    "//",
    "/.",
    "/..",
    "/../",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    ";a=b",
    "%3b",
    "%00",
    "%25",
    "%252e",
    "%c0%ae",
    "%e2%80%a5",
    "..;/",
    "%",
    "%4",
    "%7e",
    "%41",
    "?",
    "#",
    "admin",
    "é",
    "%0d%0a",
    " ",
    "\t",
];

pub fn check(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Ok(normal) = normal_form(path) else { return };
    assert_eq!(normal_form(&normal).as_deref().ok(), Some(&*normal), "not normal a second time");
    assert!(normal.starts_with('/') && !normal.contains("//"), "{normal:?}");
    // What is written upstream is exactly this, if it can be written at all.
    if let Ok(target) = PathAndQuery::try_from(normal.as_ref())
        && !normal.contains(['?', '#'])
    {
        assert_eq!((target.path(), target.query()), (&*normal, None));
    }
    assert!(normal.is_ascii() && !normal.contains(['\\', '?', '#', ' ']), "{normal:?} has to be escaped");
    assert!(!normal.bytes().any(|byte| byte.is_ascii_control()), "{normal:?}");

    let mut read = normal.as_bytes().to_vec();
    let segments = read.split(|byte| *byte == b'/').count();
    for times in 0..3 {
        let split: Vec<_> = read.split(|byte| matches!(byte, b'/' | b'\\')).collect();
        assert_eq!(split.len(), segments, "decoded {times} times, {normal:?} has other segments");
        for segment in split {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(name != b"." && name != b"..", "decoded {times} times, {normal:?} has a dot segment");
        }
        assert!(!read.contains(&0), "decoded {times} times, {normal:?} has a NUL");
        read = decoded(&read);
    }
    assert_eq!(decoded(normal.as_bytes()), resolved(path), "{path:?} does not mean what {normal:?} does");
}

/// Undoes every escape once. What is no escape stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(byte) = text.get(index) {
        let escape = text.get(index + 1..index + 3).filter(|_| *byte == b'%');
        let escape = escape.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                index += 3;
            }
            None => {
                bytes.push(*byte);
                index += 1;
            }
        }
    }
    bytes
}

/// The path as RFC 3986, section 5.2.4, reads it, decoded once, with slashes merged: what was meant.
fn resolved(path: &str) -> Vec<u8> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut open = true;
    for segment in path.split('/').skip(1).map(|segment| decoded(segment.as_bytes())) {
        open = matches!(segment.as_slice(), b"" | b"." | b"..");
        match segment.as_slice() {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut whole = Vec::new();
    for segment in &segments {
        whole.push(b'/');
        whole.extend_from_slice(segment);
    }
    if open {
        whole.push(b'/');
    }
    whole
}
