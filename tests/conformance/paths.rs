//! How a server behind the gateway might read a path, at its worst.

/// What the gateway demands for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Demand {
    Nothing,
    Key,
    Admin,
}

/// What is demanded for a path that is read as it stands.
pub(crate) fn demand(path: &str) -> Demand {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "public" => Demand::Nothing,
        "admin" => Demand::Admin,
        _ => Demand::Key,
    }
}

/// The most that is demanded for any reading of a target that some server is known to have.
pub(crate) fn demands(target: &str) -> Demand {
    let path = target.split('?').next().unwrap_or_default();
    readings(path).iter().map(|path| demand(path)).max().unwrap_or(Demand::Key)
}

/// The most that is demanded for the readings that any server may have: the path as it stands, and with its escapes undone.
pub(crate) fn plainly_demands(target: &str) -> Demand {
    let path = target.split('?').next().unwrap_or_default();
    let undone = String::from_utf8_lossy(&unescaped(path.as_bytes())).into_owned();
    demand(&resolved(path, false)).max(demand(&resolved(&undone, false)))
}

/// Every reading: escapes undone up to three times, also overlong ones; backslashes and full-width letters taken for what
/// they look like; parameters cut off; what follows a NUL or a `#` forgotten; then dot segments and empty ones resolved,
/// after each of these or after all.
pub(crate) fn readings(path: &str) -> Vec<String> {
    let mut stages = vec![path.as_bytes().to_vec()];
    for _ in 0..3 {
        let next = unescaped(stages.last().unwrap());
        stages.push(next);
    }
    let mut readings = Vec::new();
    for stage in stages {
        let text = alike(&stage);
        for slashes in [text.clone(), text.replace('\\', "/")] {
            for cut in [slashes.clone(), slashes.split(['\0', '#']).next().unwrap_or_default().to_owned()] {
                readings.push(resolved(&cut, true));
                readings.push(resolved(&without_parameters(&cut), true));
                readings.push(without_parameters(&resolved(&cut, true)));
            }
        }
    }
    readings.sort();
    readings.dedup();
    readings
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

/// Bytes as a careless reader takes them: overlong forms of ASCII, and letters that compatibility forms fold into it.
fn alike(bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (letter, length) = match bytes[at..] {
            [first @ (0xc0 | 0xc1), second, ..] => ((first & 1) << 6 | second & 0x3f, 2),
            [0xe0, second @ (0x80 | 0x81), third, ..] => ((second & 1) << 6 | third & 0x3f, 3),
            [0xef, 0xbc, third @ 0x81..=0xbf, ..] => (third - 0x80 + 0x20, 3),
            [0xef, 0xbd, third @ 0x80..=0x9e, ..] => (third - 0x80 + 0x60, 3),
            [0xe2, 0x80, 0xa4, ..] => (b'.', 3),
            [byte, ..] => (byte, 1),
            [] => break,
        };
        plain.push(letter);
        at += length;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

/// Without dot segments and empty ones; a careless server takes dots with spaces behind them for dots.
fn resolved(path: &str, careless: bool) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match if careless { segment.trim_end_matches(' ') } else { segment } {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}
