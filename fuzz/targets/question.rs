//! What another proxy asks about: it follows from the fields of its dialect alone, and what we decide on is what the proxy
//! forwards.
//!
//! The first word of the first line is the dialect, the rest of that line the target of the question; the others are fields.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, Request, Uri};
use keygate::gateway::client_address::TrustedProxies;
use keygate::gateway::message::Target;
use keygate::gateway::question::{Asking, Dialect};

use super::fields_of;

pub const WORDS: &[&str] = &[
    "nginx ",
    "forwarded ",
    "envoy ",
    "/check",
    "/check/",
    "/check?",
    "x-original-method: ",
    "x-original-uri: ",
    "x-original-host: ",
    "x-real-ip: ",
    "x-forwarded-method: ",
    "x-forwarded-uri: ",
    "x-forwarded-host: ",
    "x-forwarded-for: ",
    "203.0.113.9",
    "10.0.0.1",
    "/../",
    "//",
    "/./",
    "%2e",
    "%2F",
    "%252e",
    ";",
    "#",
    "?",
    "\\",
    "GET",
    "CONNECT",
    "\n",
];

/// The fields that a dialect names, and with which the client is named.
const fn names(dialect: Dialect) -> (&'static [&'static str], &'static str) {
    match dialect {
        Dialect::Nginx => (&["x-original-method", "x-original-uri", "x-original-host"], "x-real-ip"),
        Dialect::Forwarded => (&["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"], "x-forwarded-for"),
        Dialect::Envoy => (&["host"], "x-forwarded-for"),
    }
}

pub fn check(data: &[u8]) {
    let (first, rest) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let (fields, _) = fields_of(rest.get(1..).unwrap_or_default());
    let Some((dialect, target)) = std::str::from_utf8(first).ok().and_then(|line| line.split_once(' ')) else { return };
    let Ok(uri) = target.parse::<Uri>() else { return };
    let dialect = match dialect {
        "nginx" => Dialect::Nginx,
        "forwarded" => Dialect::Forwarded,
        _ => Dialect::Envoy,
    };

    let all = read(dialect, &uri, &fields);
    let (said, client) = names(dialect);
    let alone: HeaderMap = fields
        .iter()
        .filter(|(name, _)| said.contains(&name.as_str()) || name.as_str() == client)
        .map(|(name, value)| (name.clone(), value.clone()))
        .fold(HeaderMap::new(), |mut fields, (name, value)| {
            fields.append(name, value);
            fields
        });
    let of_its_own = read(dialect, &uri, &alone);
    assert_eq!(all, of_its_own, "a field of another dialect was read");

    let Some(asked) = all else { return };
    if dialect == Dialect::Envoy {
        assert!(target.starts_with("/check"), "a question elsewhere was answered: {target}");
    } else {
        let only = |name: &str| {
            let mut values = fields.get_all(HeaderName::from_bytes(name.as_bytes()).expect("a name")).iter();
            let value = values.next().expect("it was said");
            assert!(values.next().is_none(), "{name} was said twice");
            value.as_bytes()
        };
        assert_eq!(asked.method.as_bytes(), only(said[0]));
        assert_eq!(asked.target.as_bytes(), only(said[1]));
        assert_eq!(asked.host, only(said[2]).escape_ascii().to_string());
    }
    if let Some(decided) = &asked.decided {
        // The proxy forwards what was asked about, where we have decided on `decided`.
        let path = asked.target.split('?').next().expect("a path");
        let segments: Vec<String> = path.split('/').skip(1).map(undone).collect();
        let judged: Vec<String> = decided.split('/').skip(1).map(undone).collect();
        assert_eq!(segments, judged, "{path} would be forwarded, and {decided} was decided on");
        let (last, before) = segments.split_last().expect("a segment");
        assert!(before.iter().all(|segment| !segment.is_empty()), "{path} has slashes to be merged");
        let dots = |segment: &String| [".", ".."].contains(&segment.as_str());
        assert!(!dots(last) && !before.iter().any(dots), "{path} has dots to be resolved");
    }
}

/// What was asked about.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    target: String,
    host: String,
    client: IpAddr,
    /// The path that is decided on, if one is.
    decided: Option<String>,
}

fn read(dialect: Dialect, uri: &Uri, fields: &HeaderMap) -> Option<Asked> {
    let from = vec!["10.0.0.0/8".parse().expect("a network")];
    let asking = Asking { dialect, path: "/check".to_owned(), from: from.clone(), limit_status: None };
    let mut request = Request::new(());
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = fields.clone();
    let peer = IpAddr::from([10, 0, 0, 1]);
    let client = asking.read(&mut request, peer, &TrustedProxies::new(from)).ok()?.ip();
    let target = Target::of(&request).ok();
    let decided = target.filter(|target| Asking::check_spelling(request.uri(), target).is_ok());
    let host = request.headers().get(HOST).map(|host| host.as_bytes().escape_ascii().to_string());
    Some(Asked {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        host: host.unwrap_or_default(),
        client,
        decided: decided.map(|target| target.path_and_query.path().to_owned()),
    })
}

/// A segment without its escapes, byte by byte.
fn undone(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut text = String::new();
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let escaped = bytes.get(index + 1..index + 3).filter(|_| *byte == b'%');
        let digits = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(undone) => {
                text.extend(std::ascii::escape_default(undone).map(char::from));
                index += 3;
            }
            None => {
                text.extend(std::ascii::escape_default(*byte).map(char::from));
                index += 1;
            }
        }
    }
    text
}
