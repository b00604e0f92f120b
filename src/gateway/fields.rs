//! Which fields of a message end here, and which we write before it goes on.
//!
//! A field goes on unless it is about this connection alone (RFC 9110, section 7.6.1), is one that only we may write,
//! or is spelled with underscores so that a server behind us would take it for one of those.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};

use super::client_address::{TrustedProxies, X_FORWARDED_FOR};
use super::correlation::{TRACEPARENT, TRACESTATE};
use super::identity::{IdentityFields, RESERVED_PREFIX};
use super::message::Target;
use super::seen::{Rare, Seen};
use super::trailers::TrailerRules;
use super::upgrade::Handshake;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// What a policy says about the fields of requests.
#[derive(Clone, Debug)]
pub struct FieldRules {
    /// Names that never go on as the client sent them: identity, the fields in which keys travel, the name of a request.
    /// With dashes for underscores, as all names are compared here.
    reserved: Arc<[String]>,
    /// The field that names a request; what it holds is ours already.
    request_id: HeaderName,
    /// Whether `Forwarded` (RFC 7239) is written.
    forwarded: bool,
    /// What we call ourselves in `Via`.
    pub(super) via: Via,
    /// Whose forwarding fields are continued; everybody else's are replaced.
    pub trusted_proxies: TrustedProxies,
}

/// `Via` (RFC 9110, section 7.6.3) by the version of the request that was received.
#[derive(Clone, Debug)]
pub struct Via {
    /// What we call ourselves.
    pub(super) pseudonym: String,
    http_1_0: HeaderValue,
    http_1_1: HeaderValue,
    http_2: HeaderValue,
}

/// What we are to call ourselves in `Via` is not a token (RFC 9110, section 5.6.2).
#[derive(Debug, thiserror::Error)]
#[error("must be a name without spaces, such as `keygate`")]
pub struct NoPseudonym;

impl Via {
    /// We call ourselves `pseudonym`.
    ///
    /// # Errors
    ///
    /// [`NoPseudonym`] if it is not a token.
    pub fn new(pseudonym: &str) -> Result<Self, NoPseudonym> {
        // A token is exactly what can be the name of a field (RFC 9110, section 5.1).
        HeaderName::try_from(pseudonym).map_err(|_| NoPseudonym)?;
        let value = |version: &str| HeaderValue::try_from(format!("{version} {pseudonym}")).map_err(|_| NoPseudonym);
        let pseudonym = pseudonym.to_owned();
        Ok(Self { http_1_0: value("1.0")?, http_1_1: value("1.1")?, http_2: value("2.0")?, pseudonym })
    }
}

impl FieldRules {
    /// Puts the rules together. `keys` are the fields in which keys travel.
    #[must_use]
    pub fn new(
        identity: &IdentityFields,
        keys: &[HeaderName],
        request_id: &HeaderName,
        forwarded: bool,
        via: Via,
        trusted_proxies: TrustedProxies,
    ) -> Self {
        let ours = identity.names().into_iter().chain(keys).chain([request_id]);
        let reserved = ours.map(|name| name.as_str().replace('_', "-")).collect();
        Self { reserved, request_id: request_id.clone(), forwarded, via, trusted_proxies }
    }

    /// What holds for fields behind the content.
    #[must_use]
    pub fn trailers(&self) -> TrailerRules {
        TrailerRules(Arc::clone(&self.reserved))
    }

    /// Removes from a request what ends here: connection-specific fields, reserved names, disguised ones.
    ///
    /// Identity and forwarding fields are written after this, so no `Connection: x-keygate-key-id` can take them away.
    pub fn strip_request(&self, fields: &mut HeaderMap) {
        let mut ending = take_ending_here(fields);
        ending.retain(|name| *name != self.request_id && *name != TRACEPARENT && *name != TRACESTATE);
        for name in fields.keys() {
            if *name == EXPECT || (*name != self.request_id && self.is_reserved(name)) {
                ending.push(name.clone());
            }
        }
        for name in &ending {
            fields.remove(name);
        }
    }

    /// Says whether only we may write a field, in this spelling or in one that a server could take for it.
    fn is_reserved(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        if !text.contains('_') {
            return text.starts_with(RESERVED_PREFIX) || self.reserved.iter().any(|reserved| reserved == text);
        }
        let dashed = text.replace('_', "-");
        dashed.starts_with(RESERVED_PREFIX) || self.reserved.contains(&dashed) || is_written_here(&dashed)
    }

    /// Writes where the request came from: `X-Forwarded-*`, `Via` and, if wanted, `Forwarded`.
    ///
    /// What a trusted proxy wrote is continued; what anybody else wrote is replaced.
    pub fn write_forwarding(&self, fields: &mut HeaderMap, origin: &Origin<'_>) {
        let trusted = self.trusted_proxies.contains(origin.peer.to_canonical());
        continue_list(fields, &X_FORWARDED_FOR, origin.peer_text, trusted);
        let scheme = HeaderValue::from_static(if origin.tls { "https" } else { "http" });
        if !(trusted && fields.contains_key(&X_FORWARDED_PROTO)) {
            fields.insert(X_FORWARDED_PROTO, scheme);
        }
        match &origin.target.host {
            Some(_) if trusted && fields.contains_key(&X_FORWARDED_HOST) => {}
            Some(host) => {
                fields.insert(X_FORWARDED_HOST, host.value.clone());
            }
            None => {
                fields.remove(X_FORWARDED_HOST);
            }
        }
        if self.forwarded {
            if let Ok(element) = HeaderValue::try_from(origin.forwarded_element()) {
                continue_list(fields, &FORWARDED, &element, trusted);
            }
        } else if origin.seen.has(Rare::Forwarded) {
            fields.remove(FORWARDED);
        }
        fields.append(VIA, self.via.of(origin.version));
    }
}

/// What we write ourselves, what frames the message, or what ends here: no disguise of these goes on.
const WRITTEN_HERE: [HeaderName; 16] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    FORWARDED,
    VIA,
    HOST,
    AUTHORIZATION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TRACEPARENT,
    TRACESTATE,
];

/// Whether we write the field of this name ourselves, or it frames the message or ends with its connection.
pub fn is_written_here(name: &str) -> bool {
    WRITTEN_HERE.iter().any(|written| written.as_str() == name)
}

impl Via {
    fn of(&self, version: Version) -> HeaderValue {
        match version {
            Version::HTTP_2 => self.http_2.clone(),
            Version::HTTP_10 | Version::HTTP_09 => self.http_1_0.clone(),
            _ => self.http_1_1.clone(),
        }
    }
}

/// Where a request came from, as the forwarding fields say it.
#[derive(Debug)]
pub struct Origin<'r> {
    /// Whoever sent it to us: the last proxy, or the client itself.
    pub peer: IpAddr,
    /// The same, written down.
    pub peer_text: &'r HeaderValue,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The version it came in.
    pub version: Version,
    /// What it was for.
    pub target: &'r Target,
    /// The fields it came with.
    pub seen: Seen,
    /// That it asks to leave HTTP, and may.
    pub handshake: Option<Handshake>,
}

impl Origin<'_> {
    /// One element of `Forwarded` (RFC 7239, section 4). IPv6 addresses and hosts with ports need quotes.
    fn forwarded_element(&self) -> String {
        let node = match self.peer.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let scheme = if self.tls { "https" } else { "http" };
        match self.target.authority() {
            Some(host) => format!("for={node};host=\"{host}\";proto={scheme}"),
            None => format!("for={node};proto={scheme}"),
        }
    }
}

/// Continues a list that a trusted proxy began, or begins it. It is one line afterwards: there are servers that read
/// only the first.
fn continue_list(fields: &mut HeaderMap, name: &HeaderName, element: &HeaderValue, trusted: bool) {
    if trusted && fields.contains_key(name) {
        let begun = fields.get_all(name).iter().map(HeaderValue::as_bytes);
        let line = begun.chain([element.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            fields.insert(name, line);
            return;
        }
    }
    fields.insert(name, element.clone());
}

/// What a response says about its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One thing, or nothing.
    Clear,
    /// The server speaks HTTP/1.0, and so would hyper in the next request: without chunks, and without content of unknown
    /// length.
    Old,
}

/// The framing of a response that nobody can be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Brings the framing of a response into one form, or finds that there is none (RFC 9112, section 6.3).
///
/// # Errors
///
/// [`Ambiguous`] for a `Transfer-Encoding` other than exactly `chunked`, for a length that is not one number, and for both:
/// that may be an attempt to smuggle a response.
pub fn settle_framing(status: StatusCode, fields: &mut HeaderMap) -> Result<(), Ambiguous> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        (Some(_), _) => return Err(Ambiguous),
    };
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => {}
        (Some(length), None) if is_number(length) && !chunked => {}
        (Some(_), _) => return Err(Ambiguous),
    }
    // A 204 has none (RFC 9110, section 8.6).
    if status == StatusCode::NO_CONTENT {
        fields.remove(CONTENT_LENGTH);
    }
    Ok(())
}

/// Says whether a value is digits and nothing else, as a length is (RFC 9110, section 8.6).
pub fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Finds what makes a message of HTTP/2 malformed and is let through by the libraries that read it (RFC 9113, section
/// 8.2.1): a [`HeaderName`] may hold a quotation mark, which no token has, and white space stays at the edges of a value. In
/// HTTP/1.1 the parser sees to the one and takes off the other.
#[must_use]
pub fn flaw(fields: &HeaderMap) -> Option<&'static str> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in fields {
        if name.as_str().contains('"') {
            return Some("the name of a field is no token");
        }
        let value = value.as_bytes();
        if blank(value.first()) || blank(value.last()) {
            return Some("white space at the edge of a value");
        }
    }
    None
}

/// Removes from a response, or from its trailers, what ended at the upstream's connection.
pub fn strip_response(fields: &mut HeaderMap) {
    for name in &take_ending_here(fields) {
        fields.remove(name);
    }
}

/// Removes `Connection` from a message. Returns the other names in it that are about one connection only, and those that it
/// says are: most often none.
fn take_ending_here(fields: &mut HeaderMap) -> Vec<HeaderName> {
    let (mut ending, mut has_connection) = (Vec::new(), false);
    for (name, value) in &*fields {
        if *name == CONNECTION {
            has_connection = true;
            add_connection_tokens(value, &mut ending);
        } else if is_connection_specific(name) {
            ending.push(name.clone());
        }
    }
    if has_connection {
        fields.remove(CONNECTION);
    }
    ending
}

/// The fields beside `Connection` that are about one connection only (RFC 9110, section 7.6.1), and those addressed to us as
/// a proxy.
fn is_connection_specific(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => *name == TE,
        7 => *name == UPGRADE,
        10 => *name == KEEP_ALIVE,
        14 => *name == HTTP2_SETTINGS,
        16 => *name == PROXY_CONNECTION,
        17 => *name == TRANSFER_ENCODING,
        18 => *name == PROXY_AUTHENTICATE,
        19 => *name == PROXY_AUTHORIZATION,
        _ => false,
    }
}

/// Adds the names that `Connection` lists. Those that frame the message or name its host cannot be listed away.
fn add_connection_tokens(value: &HeaderValue, names: &mut Vec<HeaderName>) {
    for token in value.as_bytes().split(|byte| *byte == b',') {
        let token = token.trim_ascii();
        if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token)
            && name != CONTENT_LENGTH
            && name != HOST
        {
            names.push(name);
        }
    }
}

/// Makes the head of a request fit for HTTP/1.1: exactly one `Host` (RFC 9112, section 3.2), one `Cookie` (RFC 9113,
/// section 8.2.3), and chunks where the length is not known beforehand.
pub fn fit_for_http1<B: http_body::Body>(request: &mut Request<B>, host: Option<HeaderValue>) {
    let unknown_length = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let received_in = request.version();
    *request.version_mut() = Version::HTTP_11;
    let fields = request.headers_mut();
    if let Some(host) = host {
        fields.insert(HOST, host);
    }
    if received_in == Version::HTTP_2 {
        join_cookies(fields);
    }
    if unknown_length {
        // hyper drops the content of a GET of unknown length unless it is told.
        fields.insert(TRANSFER_ENCODING, CHUNKED);
    }
}

/// HTTP/2 clients may send `Cookie` in crumbs; HTTP/1.1 knows one line.
fn join_cookies(fields: &mut HeaderMap) {
    let crumbs: Vec<_> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        fields.insert(COOKIE, line);
    }
}
