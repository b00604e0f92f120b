//! A strict reader of HTTP/1.1 requests (RFC 9112), which shares nothing with the program: where a message can be read in
//! two ways it reads none.

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its method.
    pub method: String,
    /// Its target, as it stands there.
    pub target: String,
    /// Names in lower case, with their values.
    pub fields: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
}

/// What some bytes begin with.
#[derive(Debug)]
pub enum Read {
    /// A request, in so many bytes.
    Whole(Message, usize),
    /// Not all of one.
    Part,
    /// None.
    Nonsense(&'static str),
}

/// Reads the first request.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    head(bytes).unwrap_or_else(|other| other)
}

fn head(bytes: &[u8]) -> Result<Read, Read> {
    let mut at = 0;
    let first = line(bytes, &mut at)?;
    let words: Vec<_> = first.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return Err(Read::Nonsense("no request line")) };
    if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() {
        return Err(Read::Nonsense("no request line"));
    }
    let fields = fields(bytes, &mut at)?;
    let values =
        |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| field.1.clone()).collect::<Vec<_>>();
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Vec::new(),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| Read::Part)?;
            take(bytes, &mut at, length)?.to_vec()
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && first.ends_with("1.1") => chunks(bytes, &mut at)?,
        _ => return Err(Read::Nonsense("no one way to find the end")),
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Read::Whole(Message { method, target, fields, body }, at))
}

/// Field lines up to the empty one.
fn fields(bytes: &[u8], at: &mut usize) -> Result<Vec<(String, String)>, Read> {
    let mut fields = Vec::new();
    loop {
        let line = line(bytes, at)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or(Read::Nonsense("no field"))?;
        if name.is_empty()
            || !name.bytes().all(is_token)
            || value.chars().any(|letter| letter < ' ' && letter != '\t' || letter == '\x7f')
        {
            return Err(Read::Nonsense("no field"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn chunks(bytes: &[u8], at: &mut usize) -> Result<Vec<u8>, Read> {
    let mut body = Vec::new();
    loop {
        let line = strict_line(bytes, at)?;
        let size = line.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Read::Nonsense("no chunk"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| Read::Nonsense("no chunk"))?;
        if size == 0 {
            while !strict_line(bytes, at)?.is_empty() {}
            return Ok(body);
        }
        body.extend_from_slice(take(bytes, at, size)?);
        if take(bytes, at, 2)? != b"\r\n" {
            return Err(Read::Nonsense("no end of a chunk"));
        }
    }
}

fn take<'b>(bytes: &'b [u8], at: &mut usize, count: usize) -> Result<&'b [u8], Read> {
    let taken = bytes.get(*at..).and_then(|rest| rest.get(..count)).ok_or(Read::Part)?;
    *at += count;
    Ok(taken)
}

/// A line, which may end with a line feed alone (RFC 9112, section 2.2). Bytes above ASCII are letters of Latin-1.
fn line(bytes: &[u8], at: &mut usize) -> Result<String, Read> {
    let rest = &bytes[*at..];
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Read::Part)?;
    *at += end + 1;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    if line.contains(&b'\r') {
        return Err(Read::Nonsense("a carriage return alone"));
    }
    Ok(line.iter().map(|byte| char::from(*byte)).collect())
}

/// A line of the framing of chunks, where nothing may be missing.
fn strict_line(bytes: &[u8], at: &mut usize) -> Result<String, Read> {
    let begin = *at;
    let line = line(bytes, at)?;
    if bytes[begin..*at].ends_with(b"\r\n") { Ok(line) } else { Err(Read::Nonsense("a line feed alone")) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
