//! Is this one request, for one host, that everybody behind us would read as we do?
//!
//! hyper refuses most of what is ambiguous; what it lets through is refused here: no `Host`, two of them, one that is
//! not an authority, a `Transfer-Encoding` other than exactly `chunked`. What was decided here is what is forwarded:
//! the [`Target`] holds the authority and the path that every later step uses.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::Ipv6Addr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version};

use super::fields::{flaw, is_number};
use super::path::{careless_reading, normal_form, push};
use super::seen::{Rare, Seen};
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
pub fn check_expectation<B>(request: &Request<B>, seen: Seen) -> Result<(), UnknownExpectation> {
    if !seen.has(Rare::Expect) {
        return Ok(());
    }
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
    /// The host: of the target itself if it is absolute (RFC 9112, section 3.2.2) or HTTP/2, else of `Host`.
    pub host: Option<Arc<Host>>,
    /// Path and query in origin form, the path in its normal form (see [`super::path`]).
    pub path_and_query: PathAndQuery,
    /// Another path that a careless server could read in this one (see [`super::path::careless_reading`]).
    pub other_reading: Option<String>,
}

/// A host with its port if it has one, in the two forms in which it is needed. Its memory is its own.
#[derive(Debug)]
pub struct Host {
    /// To be looked at.
    pub authority: Authority,
    /// The same text, to be written into fields.
    pub value: HeaderValue,
}

thread_local! {
    /// The host of the request before: mostly it is the next one's, too.
    static LAST_HOST: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
}

impl Host {
    fn new(text: &[u8]) -> Option<Self> {
        Some(Self { authority: Authority::try_from(text).ok()?, value: HeaderValue::from_bytes(text).ok()? })
    }

    /// Reads the host of a request. What was found good is not looked at again while it comes again.
    fn read(text: &[u8]) -> Result<Arc<Self>, MalformedMessage> {
        LAST_HOST.with_borrow_mut(|last| match last {
            Some(last) if last.value.as_bytes() == text => Ok(Arc::clone(last)),
            _ => {
                let host = Self::new(text).ok_or(MalformedMessage("Host is not an authority"))?;
                check_authority(&host.authority)?;
                Ok(Arc::clone(last.insert(Arc::new(host))))
            }
        })
    }
}

impl Target {
    /// The authority of the host.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.host.as_ref().map(|host| &host.authority)
    }

    /// The target as the client wrote it, for the log of a request that does not get further; without an authority that
    /// has user information, which is often a secret.
    #[must_use]
    pub fn unchecked<B>(request: &Request<B>) -> Self {
        let path_and_query = request.uri().path_and_query().cloned();
        let authority = request.uri().authority().filter(|authority| !authority.as_str().contains('@'));
        Self {
            host: authority.and_then(|authority| Host::new(authority.as_str().as_bytes())).map(Arc::new),
            path_and_query: path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
            other_reading: None,
        }
    }

    /// The same in memory of its own, to be kept for longer than a request lasts.
    #[must_use]
    pub fn detached(&self) -> Self {
        let path_and_query = self.path_and_query.as_str().parse();
        // What was parsed once is parsed again.
        Self {
            host: self.host.clone(),
            path_and_query: path_and_query.unwrap_or_else(|_| PathAndQuery::from_static("/")),
            other_reading: self.other_reading.clone(),
        }
    }

    /// Reads the target of a request, and refuses a request that is ambiguous about it or about its own length.
    ///
    /// # Errors
    ///
    /// [`MalformedMessage`] with the rule that was broken.
    pub fn of<B>(request: &Request<B>, seen: Seen) -> Result<Self, MalformedMessage> {
        if *request.method() == Method::CONNECT {
            return Err(MalformedMessage("CONNECT is not for a gateway"));
        }
        if let Some(doubt) = request.extensions().get::<Doubt>() {
            return Err(MalformedMessage(doubt.0));
        }
        if seen.has(Rare::TransferEncoding) {
            check_transfer_encoding(request)?;
        }
        check_content_length(request)?;
        check_fields(request)?;
        let host = host(request)?;
        let uri = request.uri();
        check_form(uri, request.version())?;
        // RFC 9112, section 3.2: also where an absolute target says which.
        let is_named = host.is_some() || (uri.authority().is_some() && request.version() == Version::HTTP_2);
        let host = match uri.authority() {
            // RFC 9112, section 3.2.2: the authority of an absolute target replaces `Host`. In HTTP/2 the two must
            // agree (RFC 9113, section 8.3.1).
            Some(authority) => {
                let differs =
                    host.as_ref().is_some_and(|host| !host.authority.as_str().eq_ignore_ascii_case(authority.as_str()));
                if differs && request.version() == Version::HTTP_2 {
                    return Err(MalformedMessage("Host differs from :authority"));
                }
                Some(Host::read(authority.as_str().as_bytes())?)
            }
            None => host,
        };
        if !is_named && request.version() != Version::HTTP_10 {
            return Err(MalformedMessage("Host is missing"));
        }
        let (path_and_query, other_reading) = normal_target(uri)?;
        Ok(Self { host, path_and_query, other_reading })
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
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if is_number(value) => Ok(()),
        (Some(_), _) => Err(MalformedMessage("Content-Length is not one number")),
    }
}

/// HTTP/2 allows less in a field than the library that reads it.
fn check_fields<B>(request: &Request<B>) -> Result<(), MalformedMessage> {
    if request.version() != Version::HTTP_2 {
        return Ok(());
    }
    flaw(request.headers()).map_or(Ok(()), |flaw| Err(MalformedMessage(flaw)))
}

/// Reads `Host`, which must stand exactly once in HTTP/1.1 (RFC 9112, section 3.2).
fn host<B>(request: &Request<B>) -> Result<Option<Arc<Host>>, MalformedMessage> {
    let mut values = request.headers().get_all(HOST).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedMessage("Host stands more than once"));
    }
    Host::read(value.as_bytes()).map(Some)
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
