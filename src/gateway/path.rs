//! One spelling for every path: the one that is matched is the one that is forwarded.
//!
//! Servers disagree about `%2e`, `//`, `..`, `\` and `;`. Whoever can write a path that we match in one way and the
//! server behind us in another walks round our routes. So a path is brought into its normal form once (RFC 3986,
//! section 6.2.2), before anything is decided, and what has no form that everybody agrees on is refused. What a careless
//! server could still read in it is told to whoever finds its route.
//!
//! Never in this file: the query. It is opaque here and goes on as it came.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::message::MalformedMessage;

/// Bytes that stand for themselves in a path, everywhere (RFC 3986, section 3.3), without `%`, `/`, `.` and `;`.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

/// Bytes that mean the same with and without an escape (RFC 3986, section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Brings a path into its normal form. Borrows where it is in it already, as nearly all paths are.
///
/// Needless escapes are undone, hexadecimal digits written in upper case, dot segments resolved, slashes merged.
///
/// # Errors
///
/// [`MalformedMessage`] for what servers read in different ways: an escaped slash, backslash, NUL or control character,
/// a backslash, a broken escape, an escaped escape of any of these or of a dot, bytes that are not UTF-8, a dot segment
/// with parameters, and dot segments that lead above the root.
pub fn normal_form(path: &str) -> Result<Cow<'_, str>, MalformedMessage> {
    if !path.starts_with('/') {
        return Err(MalformedMessage("the target is not a path"));
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(raw) = segments.next() {
        let last = segments.peek().is_none();
        let segment = unescaped(raw)?;
        if has_parameters_behind_dots(&segment) {
            return Err(MalformedMessage("a dot segment of the path has parameters"));
        }
        match segment.as_str() {
            "." => {}
            ".." => {
                let parent = normal.rfind('/').ok_or(MalformedMessage("the path leads above the root"))?;
                normal.truncate(parent);
            }
            _ if segment.is_empty() => {}
            _ => {
                normal.push('/');
                normal.push_str(&segment);
                continue;
            }
        }
        if last {
            normal.push('/');
        }
    }
    Ok(Cow::Owned(if normal.is_empty() { "/".to_owned() } else { normal }))
}

/// Says whether a path is beyond doubt in its normal form: plain bytes, no empty segment, no segment that begins or ends
/// with a dot, no parameters. Paths that are normal but not obviously so take the long way and come out the same.
fn is_normal(path: &[u8]) -> bool {
    let mut before = b' ';
    for byte in path.iter().copied() {
        let fine = match byte {
            b'/' => before != b'/' && before != b'.',
            b'.' => before != b'/',
            byte => is_plain(byte),
        };
        if !fine {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

/// How a careless server could read a path in its normal form, in the same form; `None` if there is but one reading.
///
/// There are servers that undo escapes twice, cut parameters, queries and fragments off segments after that, forget dots
/// and spaces at their ends, and take full-width letters and their like for ASCII (NFKC, "best fit"). Nobody but whoever
/// writes the routes knows whether such a reading leads to something that is guarded otherwise, so it is left to them.
///
/// # Errors
///
/// [`MalformedMessage`] for a dot segment in such a disguise, for which nobody has an honest use.
pub fn careless_reading(normal: &str) -> Result<Option<String>, MalformedMessage> {
    let mut bytes = normal.as_bytes().to_vec();
    // An escaped escape of an escape was refused: twice is as often as anything can be undone.
    for _ in 0..2 {
        bytes = alike(&decoded(&bytes));
    }
    let end = bytes.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(bytes.len());
    bytes.truncate(end);
    let mut reading = String::with_capacity(normal.len());
    let mut segments = bytes.split(|byte| matches!(byte, b'/' | b'\\')).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        if matches!(name.trim_ascii(), b"." | b"..") {
            return Err(MalformedMessage("a dot segment of the path is in disguise"));
        }
        let kept = name.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |last| last + 1);
        // Of spaces nothing is left, and the segment is an empty one. Of three dots nothing would be, which nobody reads.
        let blank = name.iter().all(|byte| *byte == b' ');
        let name = if kept == 0 && !blank { name } else { &name[..kept] };
        if !name.is_empty() {
            reading.push('/');
            name.iter().for_each(|byte| push(&mut reading, *byte, *byte == b'.' || is_plain(*byte)));
        } else if segments.peek().is_none() {
            reading.push('/');
        }
    }
    if reading.is_empty() {
        reading.push('/');
    }
    Ok((reading != normal).then_some(reading))
}

/// Whether two spellings of a path are the same to whoever undoes escapes once, and nothing else.
#[must_use]
pub fn same_when_decoded(one: &str, other: &str) -> bool {
    one == other || decoded(one.as_bytes()) == decoded(other.as_bytes())
}

/// Undoes every escape there is.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(byte) = text.get(index).copied() {
        match escape_at(text, index) {
            Ok(escaped) if byte == b'%' => {
                bytes.push(escaped);
                index += 3;
            }
            _ => {
                bytes.push(byte);
                index += 1;
            }
        }
    }
    bytes
}

/// Replaces letters and signs by those that compatibility forms (NFKC) take them for: full-width and small ones, ligatures,
/// the two dots that lead (U+2025), the long s.
fn alike(text: &[u8]) -> Vec<u8> {
    const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
    if text.is_ascii() {
        return text.to_vec();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        bytes.extend_from_slice(NFKC.normalize(chunk.valid()).as_bytes());
        bytes.extend_from_slice(chunk.invalid());
    }
    bytes
}

/// Says whether a segment is a dot segment to a server that takes parameters off, however often it decodes before.
fn has_parameters_behind_dots(segment: &str) -> bool {
    let behind = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.')).unwrap_or_default();
    let begins = |mark: &str| behind.get(..mark.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(mark));
    [";", "%3B", "%253B"].into_iter().any(begins)
}

/// Undoes the escapes of a segment that are not needed, and refuses those that are dangerous.
fn unescaped(raw: &str) -> Result<String, MalformedMessage> {
    let mut text = String::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let bytes = raw.as_bytes();
    let mut index = 0;
    while let Some(byte) = bytes.get(index).copied() {
        if byte != b'%' {
            if byte == b'\\' || byte.is_ascii_control() {
                return Err(MalformedMessage("a backslash or control character in the path"));
            }
            decoded.push(byte);
            push(&mut text, byte, byte == b';' || byte == b'.' || is_plain(byte));
            index += 1;
            continue;
        }
        let byte = escape_at(bytes, index)?;
        if byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return Err(MalformedMessage("an escaped slash, backslash or control character in the path"));
        }
        decoded.push(byte);
        push(&mut text, byte, is_unreserved(byte));
        index += 3;
    }
    // Looked at when all else is undone: `%25%32%65` says what `%252e` says.
    if text.match_indices("%25").any(|(at, _)| hides_a_separator(text.as_bytes().get(at + 3..).unwrap_or_default())) {
        return Err(MalformedMessage("an escaped escape in the path"));
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(text),
        Err(_) => Err(MalformedMessage("the path is not UTF-8")),
    }
}

/// Writes a byte as it is or as an escape.
pub(super) fn push(text: &mut String, byte: u8, as_it_is: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if as_it_is {
        text.push(char::from(byte));
    } else {
        text.push('%');
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The byte that the escape at `index` stands for.
fn escape_at(bytes: &[u8], index: usize) -> Result<u8, MalformedMessage> {
    match bytes.get(index + 1..index + 3) {
        Some([high, low]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
        Some(_) | None => None,
    }
    .ok_or(MalformedMessage("a broken escape in the path"))
}

/// Says whether what follows `%25` would be an escape of a dot, slash, backslash, NUL or `%`, decoded once more.
fn hides_a_separator(rest: &[u8]) -> bool {
    match rest {
        [high, low, ..] => {
            let hidden = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low);
            hidden.is_some_and(|byte| matches!(byte, b'.' | b'/' | b'\\' | b'%') || byte.is_ascii_control())
        }
        _ => false,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b", "/a/b"),
            ("/a//", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..a/b..", "/..a/b.."),
            ("/.well-known/x", "/.well-known/x"),
            ("/%61%2Db", "/a-b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/100%25", "/100%25"),
            ("/a%25zz", "/a%25zz"),
            ("/a|b\"", "/a%7Cb%22"),
            ("/files/a.b.c", "/files/a.b.c"),
        ] {
            assert_eq!(normal_form(path).expect(path), normal, "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for path in [
            "",
            "a",
            "*",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/a%0d",
            "/a%7f",
            "/%",
            "/%2",
            "/%zz",
            "/a%252fb",
            "/%252e%252e/",
            "/%25252e",
            "/%255c",
            "/..;/a",
            "/a/.;x/b",
            "/..;a=b/c",
            "/%ff",
            "/%c0%ae",
            "/%c0%af",
            "/%e0%80%af",
            "/%2e%2e;/a",
            "/%25%32%65%25%32%65/a",
            "/a%25%32fb",
            "/%2525",
            "/a/..%3b/b",
            "/a/.%3Bx/b",
            "/a/..%253b./b",
        ] {
            assert!(normal_form(path).is_err(), "{path}: {:?}", normal_form(path));
        }
    }

    #[test]
    fn a_careless_reading_is_known_where_there_is_one() {
        for (path, reading) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a%20b/%C3%A9", "/a%20b/%C3%A9"),
            ("/100%25", "/100%25"),
            ("/a;v=1/b", "/a/b"),
            ("/;/a", "/a"),
            ("/a/;v", "/a/"),
            ("/a%3Bv=1/b", "/a/b"),
            ("/%2561", "/a"),
            ("/a%3Fb/c", "/a"),
            ("/a%23b", "/a"),
            ("/a./b%20/c", "/a/b/c"),
            ("/a/...", "/a/..."),
            ("/%20/a", "/a"),
            ("/a/%20", "/a/"),
            ("/.%20./a", "/.%20./a"),
            ("/%EF%BC%8Fa", "/a"),
            ("/%EF%BD%81", "/a"),
            ("/a%EF%BC%BCb", "/a/b"),
            ("/%25EF%25BC%258F", "/"),
            ("/%C5%BFecret/%E2%93%81/%EF%AC%81", "/secret/L/fi"),
            ("/a%EF%B9%94b/c", "/a/c"),
        ] {
            let read = careless_reading(path).expect(path);
            assert_eq!(read.as_deref().unwrap_or(path), reading, "{path}");
        }
        for path in [
            "/..%3B/a",
            "/.%3B",
            "/..%20/a",
            "/%20../a",
            "/%EF%BC%8E%EF%BC%8E/a",
            "/%E2%80%A4./a",
            "/a%EF%BC%8F..",
            "/%E2%80%A5/a",
            "/%EF%B8%B0/a",
            "/%EF%B9%92%EF%B9%92/a",
            "/%25E2%2580%25A5/a",
        ] {
            assert!(careless_reading(path).is_err(), "{path}");
        }
    }

    proptest! {
        /// Whatever comes: a normal form is its own normal form, and holds nothing that could be read twice.
        #[test]
        fn a_normal_form_is_normal(path in "/[a-c./%25;\\\\ef0-9é]{0,24}") {
            if let Ok(normal) = normal_form(&path) {
                assert_eq!(normal_form(&normal).expect("it was accepted"), normal);
                assert!(!normal.contains("//") && !normal.contains('\\'));
                assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
                assert!(!normal.to_ascii_lowercase().contains("%2f") && !normal.to_ascii_lowercase().contains("%2e"));
            }
        }

        #[test]
        fn no_text_is_too_strange(path in any::<String>()) {
            if let Ok(normal) = normal_form(&format!("/{path}")) {
                assert!(normal.is_ascii() && normal.starts_with('/'));
            }
        }
    }
}
