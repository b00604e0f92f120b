//! Reads the cases from `cases/*.txt`. `cases/README.md` says how they are written.

use std::fmt;
use std::path::Path;

/// Letters of a name that are shown.
const TITLE_LETTERS: usize = 120;

/// In which protocol a case is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// One case: what is sent, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The file it stands in, without its ending: the group of cases.
    pub(crate) file: String,
    /// The line its entry begins at.
    pub(crate) line: usize,
    /// The entry's name, before words were filled in.
    pub(crate) entry: String,
    /// Its name.
    pub(crate) title: String,
    /// Why it matters, and where that is written.
    pub(crate) why: String,
    /// In which protocol it is sent.
    pub(crate) over: Protocol,
    /// HTTP/1.1: the bytes.
    pub(crate) sent: Vec<u8>,
    /// HTTP/2: the request.
    pub(crate) stream: Stream,
    /// Whether the client says after this that it sends no more.
    pub(crate) ends: bool,
    /// What must come of it.
    pub(crate) want: Want,
}

/// A request of HTTP/2, however wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Pseudo fields and fields, in order.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Fields behind the content.
    pub(crate) trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What must come of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// The answers in order, each with the statuses that will do. None: the connection is closed without a word.
    pub(crate) answers: Vec<Vec<u16>>,
    /// The gateway closes the connection.
    pub(crate) closed: bool,
    /// The beginning of a request may have reached the upstream, but never its end.
    pub(crate) cut: bool,
    /// The requests that arrive, in order.
    pub(crate) arrivals: Vec<Arrival>,
}

/// A request that must arrive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    /// Method and target.
    pub(crate) line: String,
    /// The fields that are not the gateway's own, and those of its own that matter here.
    pub(crate) fields: Vec<(String, String)>,
    /// The content.
    pub(crate) content: Vec<u8>,
}

impl Case {
    /// What is sent, as a reader can read it.
    pub(crate) fn shown(&self) -> String {
        match self.over {
            Protocol::Http1 => self.sent.escape_ascii().to_string(),
            Protocol::Http2 => {
                let line =
                    |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}: {}", name.escape_ascii(), value.escape_ascii());
                let all: Vec<_> = self.stream.fields.iter().chain(&self.stream.trailers).map(line).collect();
                format!("{} | {}", all.join(" | "), self.stream.content.escape_ascii())
            }
        }
    }

    /// The method of the first request.
    pub(crate) fn method(&self) -> &str {
        let bytes = match self.over {
            Protocol::Http1 => self.sent.split(|byte| *byte == b' ').next().unwrap_or_default(),
            Protocol::Http2 => {
                let method = self.stream.fields.iter().find(|(name, _)| name == b":method");
                method.map_or(&b""[..], |(_, value)| value)
            }
        };
        std::str::from_utf8(bytes).unwrap_or_default().trim_start()
    }
}

/// All cases of all files.
pub(crate) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        cases.extend(read(&name, &text));
    }
    cases
}

/// An entry as it stands in the file: one case, or many by the words that are filled in.
#[derive(Default)]
struct Entry {
    line: usize,
    name: String,
    why: String,
    over: Vec<Protocol>,
    want: String,
    ends: bool,
    /// Each word with its values, and what a value changes of what is wanted.
    words: Vec<(String, Vec<Value>)>,
    sent: Vec<String>,
    arrives: Vec<String>,
}

/// A value of a word, and what it changes of what is wanted.
type Value = (String, Option<String>);

/// Reads one file.
pub(crate) fn read(file: &str, text: &str) -> Vec<Case> {
    let mut fixed: Vec<(String, String)> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = || format!("{file}:{}: {line}", index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("let ") {
            let (name, value) = rest.split_once(" = ").unwrap_or_else(|| panic!("{}", wrong()));
            fixed.push((name.to_owned(), filled(value, &fixed)));
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            let line = index + 1;
            entries.push(Entry { line, name: name.to_owned(), over: vec![Protocol::Http1], ..Entry::default() });
            continue;
        }
        let entry = entries.last_mut().unwrap_or_else(|| panic!("{}", wrong()));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "why" => entry.why = format!("{} {rest}", entry.why).trim().to_owned(),
            "want" => entry.want = rest.to_owned(),
            "over" => {
                entry.over =
                    rest.split(' ').map(|name| protocol(name).unwrap_or_else(|| panic!("{}", wrong()))).collect();
            }
            "ends" => entry.ends = true,
            "with" => {
                let (name, value) = rest.split_once(" =").unwrap_or_else(|| panic!("{}", wrong()));
                let value = value.strip_prefix(' ').unwrap_or(value);
                let (value, changed) = match value.split_once(" => ") {
                    Some((value, changed)) => (value, Some(changed.to_owned())),
                    None => (value, None),
                };
                let value = (filled(value, &fixed), changed);
                match entry.words.iter_mut().find(|(word, _)| word == name) {
                    Some((_, values)) => values.push(value),
                    None => entry.words.push((name.to_owned(), vec![value])),
                }
            }
            "|" => entry.sent.push(rest.to_owned()),
            ">>" | ">" => entry.arrives.push(line.to_owned()),
            _ => panic!("{}", wrong()),
        }
    }
    entries.iter().flat_map(|entry| cases_of(file, entry, &fixed)).collect()
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "h1" => Some(Protocol::Http1),
        "h2" => Some(Protocol::Http2),
        _ => None,
    }
}

/// Every case of an entry: each protocol with each combination of words.
fn cases_of(file: &str, entry: &Entry, fixed: &[(String, String)]) -> Vec<Case> {
    let combinations: usize = entry.words.iter().map(|(_, values)| values.len()).product();
    assert!(!entry.why.is_empty() && !entry.sent.is_empty(), "{file}:{}: no why, or nothing is sent", entry.line);
    let mut cases = Vec::new();
    for over in entry.over.iter().copied() {
        for number in 0..combinations {
            let (mut words, mut want, mut path, mut left) = (fixed.to_vec(), entry.want.clone(), None, number);
            for (name, values) in &entry.words {
                let (value, changed) = &values[left % values.len()];
                left /= values.len();
                words.push((name.clone(), value.clone()));
                match changed {
                    Some(changed) if changed.starts_with('/') => path = Some(changed.clone()),
                    Some(changed) => want.clone_from(changed),
                    None => {}
                }
            }
            // A value may have words in it, too.
            let mut words: Vec<_> = words.iter().map(|(name, value)| (name.clone(), filled(value, &words))).collect();
            // What a value says of the path that arrives yields to what another says of the answer.
            if let Some(path) = path.filter(|_| want == entry.want) {
                "200".clone_into(&mut want);
                words.push(("path".to_owned(), path));
            }
            cases.push(case_of(file, entry, over, &words, &want));
        }
    }
    cases
}

fn case_of(file: &str, entry: &Entry, over: Protocol, words: &[(String, String)], want: &str) -> Case {
    let mut want = read_want(want).unwrap_or_else(|word| panic!("{file}:{}: {word} cannot be wanted", entry.line));
    if want.answers.iter().flatten().any(|status| *status < 400) {
        want.arrivals = arrivals(&entry.arrives.iter().map(|line| filled(line, words)).collect::<Vec<_>>());
    }
    let lines: Vec<Vec<u8>> = entry.sent.iter().map(|line| bytes_of_line(&filled(line, words))).collect();
    let sent = lines.concat();
    let stream = match over {
        Protocol::Http1 => Stream::default(),
        Protocol::Http2 if lines[0].starts_with(b":") => stream_of_lines(&lines),
        Protocol::Http2 => stream_of_http1(&lines),
    };
    let title = filled(&entry.name, words).chars().take(TITLE_LETTERS).collect();
    let (file, entry_name, why) = (file.to_owned(), entry.name.clone(), entry.why.clone());
    Case { file, line: entry.line, entry: entry_name, title, why, over, sent, stream, ends: entry.ends, want }
}

/// `200`, `400|431`, `200 400 closed`, `silence`, `400 cut`.
fn read_want(text: &str) -> Result<Want, String> {
    let mut want = Want::default();
    for word in text.split(' ') {
        match word {
            "closed" => want.closed = true,
            "cut" => want.cut = true,
            "silence" => want.closed = true,
            statuses => {
                let statuses: Result<Vec<u16>, _> = statuses.split('|').map(str::parse).collect();
                want.answers.push(statuses.map_err(|_| word.to_owned())?);
            }
        }
    }
    Ok(want)
}

fn arrivals(lines: &[String]) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = Vec::new();
    let mut in_content = false;
    for line in lines {
        if let Some(line) = line.strip_prefix(">> ") {
            arrivals.push(Arrival { line: line.to_owned(), ..Arrival::default() });
            in_content = false;
            continue;
        }
        let arrival = arrivals.last_mut().expect("`>>` comes before `>`");
        let line = line[1..].strip_prefix(' ').unwrap_or(&line[1..]);
        if in_content {
            arrival.content.extend(bytes_of_line(line));
        } else if line.is_empty() {
            in_content = true;
        } else {
            for line in line.split("\\r\\n").filter(|line| !line.is_empty()) {
                let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
                arrival.fields.push((name.to_owned(), String::from_utf8_lossy(&bytes_of(value)).into_owned()));
            }
        }
    }
    arrivals
}

/// Fills in words: `{name}`, and `{5*x}` for `xxxxx`. What is neither stays as it is.
fn filled(text: &str, words: &[(String, String)]) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        done.push_str(before);
        let Some((name, after)) = behind.split_once('}') else {
            rest = &rest[before.len()..];
            break;
        };
        let repeated = name.split_once('*').and_then(|(count, what)| Some(what.repeat(count.parse().ok()?)));
        let value = words.iter().rev().find(|(word, _)| word == name).map(|(_, value)| value.clone());
        match value.or(repeated) {
            Some(value) => {
                done.push_str(&value);
                rest = after;
            }
            None => {
                done.push('{');
                rest = behind;
            }
        }
    }
    done + rest
}

/// The bytes of a line: with CR LF, unless it ends with a backslash of its own.
fn bytes_of_line(line: &str) -> Vec<u8> {
    match line.strip_suffix('\\') {
        Some(line) if !line.ends_with('\\') => bytes_of(line),
        _ => [bytes_of(line), b"\r\n".to_vec()].concat(),
    }
}

/// Undoes `\r`, `\n`, `\t`, `\0`, `\\`, `\s` (a space) and `\xHH`.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match left.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b's') => b' ',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [left.next().unwrap_or(b'?'), left.next().unwrap_or(b'?')];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap_or("?"), 16).unwrap_or_else(|_| panic!("{text}"))
            }
            _ => panic!("unknown escape: {text}"),
        });
    }
    bytes
}

/// A request of HTTP/2 as it stands in the file: `name: value` lines, an empty one, content; trailers behind `%`.
fn stream_of_lines(lines: &[Vec<u8>]) -> Stream {
    let mut stream = Stream::default();
    let mut in_content = false;
    for line in lines {
        let whole = line.strip_suffix(b"\r\n").unwrap_or(line);
        if let Some(trailer) = whole.strip_prefix(b"% ") {
            stream.trailers.push(pair(trailer));
        } else if in_content {
            stream.content.extend(line);
        } else if whole.is_empty() {
            in_content = true;
        } else {
            // A filled-in word may hold several pseudo fields.
            stream.fields.extend(pseudo_fields(whole).into_iter().map(pair));
        }
    }
    stream
}

/// The lines of a line, split in front of pseudo fields alone: the value of a field may hold an end of line itself.
fn pseudo_fields(line: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.windows(3).position(|window| window == b"\r\n:") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// Splits `name: value` at the first colon with a space, but for the one that begins a pseudo field.
fn pair(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = (1..line.len()).find(|at| line[*at..].starts_with(b": ") || *at + 1 == line.len() && line[*at] == b':');
    let at = at.unwrap_or_else(|| panic!("no field: {}", line.escape_ascii()));
    (line[..at].to_vec(), line.get(at + 2..).unwrap_or_default().to_vec())
}

/// The request of HTTP/2 that says the same as one of HTTP/1.1.
fn stream_of_http1(lines: &[Vec<u8>]) -> Stream {
    let text = |bytes: &[u8]| bytes.strip_suffix(b"\r\n").unwrap_or(bytes).to_vec();
    let first = text(&lines[0]);
    let (start, end) = (first.iter().position(|byte| *byte == b' '), first.iter().rposition(|byte| *byte == b' '));
    let (start, end) = start.zip(end).expect("a request line");
    let mut stream = Stream::default();
    stream.fields.push((b":method".to_vec(), first[..start].to_vec()));
    stream.fields.push((b":scheme".to_vec(), b"http".to_vec()));
    stream.fields.push((b":path".to_vec(), first.get(start + 1..end).unwrap_or_default().to_vec()));
    // A filled-in word may hold several lines.
    let rest = lines[1..].concat();
    let head_bytes = rest.windows(4).position(|window| window == b"\r\n\r\n").map_or(rest.len(), |at| at + 2);
    let (head, content) = (&rest[..head_bytes], rest.get(head_bytes + 2..).unwrap_or_default());
    for line in String::from_utf8_lossy(head).split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = pair(line.as_bytes());
        if name.eq_ignore_ascii_case(b"host") {
            stream.fields.insert(2, (b":authority".to_vec(), value));
        } else {
            stream.fields.push((name.to_ascii_lowercase(), value));
        }
    }
    stream.content = content.to_vec();
    stream
}
