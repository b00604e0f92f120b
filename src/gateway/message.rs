//! Is this one request, for one host, that everybody behind us would read as we do?
//!
//! hyper refuses most of what is ambiguous; what it lets through is refused here: no `Host`, two of them, one that is
//! not an authority, a `Transfer-Encoding` other than exactly `chunked`. What was decided here is what is forwarded:
//! the [`Target`] holds the authority and the path that every later step uses.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version};

use super::path::{careless_reading, normal_form, push};
use crate::listener::Doubt;

/// The request could be read in more than one way, or not at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedMessage(pub &'static str);

/// The head of the request is larger than allowed.
#[derive(Debug, thiserror::Error)]
#[error("the head of the request is larger than allowed")]
pub struct HeadTooLarge;

/// The client expects something that we cannot do (RFC 9110, section 10.1.1).
#[derive(Debug, thiserror::Error)]
#[error("an expectation other than 100-continue")]
pub struct UnknownExpectation;

/// Looks whether a request expects nothing but to be asked for its content. HTTP/1.0 knows no expectations.
///
/// # Errors
///
/// [`UnknownExpectation`].
pub fn check_expectation<B>(request: &Request<B>) -> Result<(), UnknownExpectation> {
    let mut expected = request.headers().get_all(EXPECT).iter();
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if request.version() == Version::HTTP_10 || expected.all(known) { Ok(()) } else { Err(UnknownExpectation) }
}

/// How large the head of a request may be. HTTP/1.1 is held to it while it is read; this holds for HTTP/2 as well, and
/// for a head that came whole in one piece.
#[derive(Clone, Copy, Debug)]
pub struct HeadMaxima {
    /// Bytes of names, values and target together.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

impl HeadMaxima {
    /// Looks whether the head of a request is small enough.
    ///
    /// # Errors
    ///
    /// [`HeadTooLarge`] (RFC 6585, section 5).
    pub fn check<B>(self, request: &Request<B>) -> Result<(), HeadTooLarge> {
        let fields = request.headers();
        if fields.len() > self.fields {
            return Err(HeadTooLarge);
        }
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let bytes = fields.iter().fold(target, |bytes, (name, value)| bytes + name.as_str().len() + value.len());
        if bytes > self.bytes { Err(HeadTooLarge) } else { Ok(()) }
    }
}

/// What the request asks for, and from which host.
#[derive(Clone, Debug)]
pub struct Target {
    /// The authority: of the target itself if it is absolute (RFC 9112, section 3.2.2) or HTTP/2, else of `Host`.
    pub authority: Option<Authority>,
    /// Path and query in origin form, the path in its normal form (see [`super::path`]).
    pub path_and_query: PathAndQuery,
    /// Another path that a careless server could read in this one (see [`super::path::careless_reading`]).
    pub other_reading: Option<String>,
}

impl Target {
    /// The target as the client wrote it, for the log of a request that does not get further; without an authority that
    /// has user information, which is often a secret.
    #[must_use]
    pub fn unchecked<B>(request: &Request<B>) -> Self {
        let path_and_query = request.uri().path_and_query().cloned();
        Self {
            authority: request.uri().authority().filter(|authority| !authority.as_str().contains('@')).cloned(),
            path_and_query: path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
            other_reading: None,
        }
    }

    /// The same in memory of its own, to be kept for longer than a request lasts.
    #[must_use]
    pub fn detached(&self) -> Self {
        let authority = self.authority.as_ref().map(|authority| authority.as_str().parse());
        let path_and_query = self.path_and_query.as_str().parse();
        // What was parsed once is parsed again.
        Self {
            authority: authority.and_then(Result::ok),
            path_and_query: path_and_query.unwrap_or_else(|_| PathAndQuery::from_static("/")),
            other_reading: self.other_reading.clone(),
        }
    }

    /// Reads the target of a request, and refuses a request that is ambiguous about it or about its own length.
    ///
    /// # Errors
    ///
    /// [`MalformedMessage`] with the rule that was broken.
    pub fn of<B>(request: &Request<B>) -> Result<Self, MalformedMessage> {
        if *request.method() == Method::CONNECT {
            return Err(MalformedMessage("CONNECT is not for a gateway"));
        }
        if let Some(doubt) = request.extensions().get::<Doubt>() {
            return Err(MalformedMessage(doubt.0));
        }
        check_transfer_encoding(request)?;
        check_content_length(request)?;
        check_fields(request)?;
        let host = host(request)?;
        let uri = request.uri();
        check_form(uri, request.version())?;
        // RFC 9112, section 3.2: also where an absolute target says which.
        let is_named = host.is_some() || (uri.authority().is_some() && request.version() == Version::HTTP_2);
        let authority = match uri.authority() {
            // RFC 9112, section 3.2.2: the authority of an absolute target replaces `Host`. In HTTP/2 the two must
            // agree (RFC 9113, section 8.3.1).
            Some(authority) => {
                let differs = host.as_ref().is_some_and(|host| !host.as_str().eq_ignore_ascii_case(authority.as_str()));
                if differs && request.version() == Version::HTTP_2 {
                    return Err(MalformedMessage("Host differs from :authority"));
                }
                check_authority(authority)?;
                Some(authority.clone())
            }
            None => host,
        };
        if !is_named && request.version() != Version::HTTP_10 {
            return Err(MalformedMessage("Host is missing"));
        }
        let (path_and_query, other_reading) = normal_target(uri)?;
        Ok(Self { authority, path_and_query, other_reading })
    }
}

/// The path in its normal form and the query as it came, but in ASCII; beside them what else could be read in the path.
fn normal_target(uri: &Uri) -> Result<(PathAndQuery, Option<String>), MalformedMessage> {
    // A path without a byte, as in `http://a#b`, calls itself `/` and is written as nothing.
    let Some(path_and_query) = uri.path_and_query().filter(|target| target.as_str() != "/") else {
        return Ok((PathAndQuery::from_static("/"), None));
    };
    let path = normal_form(path_and_query.path())?;
    let other_reading = match &path {
        // It came in its normal form, beyond doubt.
        Cow::Borrowed(_) => None,
        Cow::Owned(path) => careless_reading(path)?,
    };
    // An absolute target may come without a path at all; on the wire it has one (RFC 9112, section 3.2.1).
    let query_is_ascii = path_and_query.query().is_none_or(str::is_ascii);
    if matches!(path, Cow::Borrowed(_)) && path_and_query.as_str().starts_with('/') && query_is_ascii {
        return Ok((path_and_query.clone(), None));
    }
    match path_and_query.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{}", escaped_query(query))),
        None => PathAndQuery::try_from(path.into_owned()),
    }
    .map(|target| (target, other_reading))
    .map_err(|_| MalformedMessage("the target is malformed"))
}

/// The query with escapes for what is not ASCII: the first line of a request is (RFC 9112, section 3.2).
fn escaped_query(query: &str) -> String {
    query.bytes().fold(String::with_capacity(query.len()), |mut text, byte| {
        push(&mut text, byte, byte.is_ascii());
        text
    })
}

/// A target is a path or an absolute URL of HTTP; the other forms are for other methods (RFC 9112, section 3.2). In
/// HTTP/2 there is a path always (RFC 9113, section 8.3.1), where an absolute URL may have a query alone.
fn check_form(uri: &Uri, version: Version) -> Result<(), MalformedMessage> {
    if version == Version::HTTP_2 && uri.path_and_query().is_none_or(|path| !path.as_str().starts_with('/')) {
        return Err(MalformedMessage(":path is not a path"));
    }
    match (uri.scheme_str(), uri.authority()) {
        (None, None) | (Some("http" | "https"), Some(_)) => Ok(()),
        _ => Err(MalformedMessage("the target is neither a path nor a URL of HTTP")),
    }
}

/// A length is one number, written once (RFC 9110, section 8.6).
fn check_content_length<B>(request: &Request<B>) -> Result<(), MalformedMessage> {
    let mut values = request.headers().get_all(CONTENT_LENGTH).iter();
    let number = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if number(value) => Ok(()),
        (Some(_), _) => Err(MalformedMessage("Content-Length is not one number")),
    }
}

/// In HTTP/2 a value has no white space at its edges, and a name is a token (RFC 9113, section 8.2.1); in HTTP/1.1 hyper
/// has taken off the one and seen to the other. A [`http::HeaderName`] may hold a quotation mark, which no token has.
fn check_fields<B>(request: &Request<B>) -> Result<(), MalformedMessage> {
    if request.version() != Version::HTTP_2 {
        return Ok(());
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in request.headers() {
        if name.as_str().contains('"') {
            return Err(MalformedMessage("the name of a field is no token"));
        }
        let value = value.as_bytes();
        if blank(value.first()) || blank(value.last()) {
            return Err(MalformedMessage("white space at the edge of a value"));
        }
    }
    Ok(())
}

/// Reads `Host`, which must stand exactly once in HTTP/1.1 (RFC 9112, section 3.2).
fn host<B>(request: &Request<B>) -> Result<Option<Authority>, MalformedMessage> {
    let mut values = request.headers().get_all(HOST).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedMessage("Host stands more than once"));
    }
    let authority = Authority::try_from(value.as_bytes()).map_err(|_| MalformedMessage("Host is not an authority"))?;
    check_authority(&authority)?;
    Ok(Some(authority))
}

/// An authority of a request has no user information (RFC 9110, section 4.2.4), and a port that is one.
fn check_authority(authority: &Authority) -> Result<(), MalformedMessage> {
    if authority.as_str().contains('@') {
        return Err(MalformedMessage("user information in the authority"));
    }
    let host = authority.host();
    let good_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let good_port = match authority.as_str().get(host.len()..).unwrap_or_default().strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && authority.port_u16().is_some(),
        None => authority.as_str().len() == host.len(),
    };
    if good_host && good_port { Ok(()) } else { Err(MalformedMessage("the authority is malformed")) }
}

/// Takes `Transfer-Encoding` only as exactly `chunked`, once (RFC 9112, section 6.1): codings that we would have to
/// undo could be undone differently behind us.
fn check_transfer_encoding<B>(request: &Request<B>) -> Result<(), MalformedMessage> {
    let mut values = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(MalformedMessage("Transfer-Encoding is not exactly chunked")),
    }
}
