//! Whether a request asks to leave HTTP for WebSocket (RFC 6455), and how that is agreed on with the upstream.
//!
//! Over HTTP/1.1 the client asks with `Upgrade`, over HTTP/2 with an extended CONNECT (RFC 8441). The upstream is asked
//! with `Upgrade` in both cases. In the first the handshake is the client's own and goes on as it is; in the second
//! there is none (RFC 8441, section 5.1), and we shake hands with the upstream ourselves.
//!
//! Only a route that permits it comes here; for all others `Upgrade` ends at this hop like every field of its kind.
//! No other protocol is ever asked for, `h2c` least of all.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::header::{TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, response};
use hyper::body::Body as _;
use hyper::ext::Protocol;

use super::content::Content;
use super::message::MalformedMessage;
use super::rejection::Rejection;
use super::upstream::UpstreamError;

/// The only protocol that we know. Names of protocols are told apart without regard to case (RFC 9110, section 7.8).
const WEBSOCKET: &str = "websocket";

/// What is behind a key before it is hashed (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of the number that a key is made of (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

/// A protocol was asked for on a stream that cannot be had there. It cannot be overlooked as in HTTP/1.1: a CONNECT has
/// no other meaning.
#[derive(Debug, thiserror::Error)]
#[error("this protocol cannot be had here")]
pub struct NotUpgradable;

/// A request to leave HTTP that may be passed on.
#[derive(Clone, Debug)]
pub enum Handshake {
    /// The client's own, over HTTP/1.1.
    Passed,
    /// Ours, for a client that speaks HTTP/2.
    Made {
        /// What the upstream is challenged with.
        key: HeaderValue,
        /// What it has to answer.
        accept: HeaderValue,
    },
}

/// Whether a request was an extended CONNECT. It is then the GET that it stands for, so that every later step finds and
/// judges it as it would the same request over HTTP/1.1.
///
/// # Errors
///
/// [`MalformedMessage`] for a CONNECT without a protocol, which asks for a tunnel to anywhere; [`NotUpgradable`] for one
/// to a protocol that we do not know.
pub fn as_get<B>(request: &mut Request<B>) -> Result<bool, Rejection> {
    if *request.method() != Method::CONNECT {
        return Ok(false);
    }
    let Some(protocol) = request.extensions().get::<Protocol>() else {
        return Err(MalformedMessage("CONNECT is not for a gateway").into());
    };
    if !protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
        return Err(NotUpgradable.into());
    }
    *request.method_mut() = Method::GET;
    Ok(true)
}

/// Looks whether a request may go on to an upstream that somebody else forwards it to, with all that it asks for: where
/// we forward, what is not permitted ends here. A proxy may have taken `Upgrade` out before it asked us.
///
/// # Errors
///
/// [`NotUpgradable`] for WebSocket where it is not permitted, and for every other protocol.
pub fn check_asked(fields: &HeaderMap, permitted: bool) -> Result<(), NotUpgradable> {
    let websocket = |name: &HeaderValue| name.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    let asks = fields.contains_key(UPGRADE) || fields.contains_key(SEC_WEBSOCKET_KEY);
    let granted = permitted && fields.get_all(UPGRADE).iter().all(websocket);
    if !asks || granted { Ok(()) } else { Err(NotUpgradable) }
}

impl Handshake {
    /// What a request asks for, on a route that permits it or does not. `was_connect` is what [`as_get`] has said.
    ///
    /// # Errors
    ///
    /// [`NotUpgradable`] for an extended CONNECT where it is not permitted; [`MalformedMessage`] for a handshake that
    /// could be read in two ways, or that we cannot translate.
    pub fn of(request: &Request<Content>, was_connect: bool, permitted: bool) -> Result<Option<Self>, Rejection> {
        let has_content = !matches!(request.body(), Content::Coming(incoming) if incoming.is_end_stream());
        Self::asked(request, has_content, was_connect, permitted)
    }

    fn asked<B>(
        request: &Request<B>,
        has_content: bool,
        was_connect: bool,
        permitted: bool,
    ) -> Result<Option<Self>, Rejection> {
        let fields = request.headers();
        match (was_connect, permitted) {
            (true, false) => Err(NotUpgradable.into()),
            (true, true) if only(fields, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") => {
                Err(MalformedMessage("Sec-WebSocket-Version is not 13").into())
            }
            (true, true) => Ok(Some(Self::made()?)),
            (false, true) if asks_for_websocket(request) => {
                if has_content {
                    return Err(MalformedMessage("content before another protocol").into());
                }
                if only(fields, &SEC_WEBSOCKET_KEY).is_none_or(HeaderValue::is_empty) {
                    return Err(MalformedMessage("Sec-WebSocket-Key does not stand once").into());
                }
                Ok(Some(Self::Passed))
            }
            (false, _) => Ok(None),
        }
    }

    fn made() -> Result<Self, Rejection> {
        let mut number = [0; KEY_BYTES];
        getrandom::fill(&mut number).map_err(|_| UpstreamError::Overloaded)?;
        let key = STANDARD.encode(number);
        let accept = accept_of(&key);
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| UpstreamError::Ambiguous);
        Ok(Self::Made { key: value(&key)?, accept: value(&accept)? })
    }

    /// Asks the upstream. To be called after connection-specific fields were taken out.
    pub fn ask(&self, fields: &mut HeaderMap) {
        fields.remove(CONTENT_LENGTH);
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        if let Self::Made { key, .. } = self {
            fields.insert(SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Looks whether the upstream may answer like this where it does not switch: a success would tell a client of
    /// extended CONNECT that it has (RFC 8441, section 4; RFC 9110, section 9.3.6).
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Ambiguous`].
    pub fn may_decline(&self, status: StatusCode) -> Result<(), UpstreamError> {
        match self {
            Self::Made { .. } if status.is_success() => Err(UpstreamError::Ambiguous),
            Self::Made { .. } | Self::Passed => Ok(()),
        }
    }

    /// Looks whether the upstream's 101 is the one that was asked for, before anything of it is taken out.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Ambiguous`] if it switches to anything else, or has not understood our handshake.
    pub fn check(&self, fields: &HeaderMap) -> Result<(), UpstreamError> {
        let to_websocket =
            only(fields, &UPGRADE).is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let understood = match self {
            // Theirs to look at, as the key was theirs.
            Self::Passed => true,
            Self::Made { accept, .. } => only(fields, &SEC_WEBSOCKET_ACCEPT) == Some(accept),
        };
        let framed = fields.contains_key(TRANSFER_ENCODING);
        if to_websocket && lists(fields, &CONNECTION, "upgrade") && understood && !framed {
            Ok(())
        } else {
            Err(UpstreamError::Ambiguous)
        }
    }

    /// Tells the client in its own version of HTTP. To be called after connection-specific fields were taken out.
    pub fn agree(&self, head: &mut response::Parts) {
        head.headers.remove(CONTENT_LENGTH);
        match self {
            Self::Passed => {
                head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                head.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            }
            Self::Made { .. } => {
                head.status = StatusCode::OK;
                head.headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
        }
    }
}

/// Whether a request is the one of RFC 6455, section 4.1. HTTP/1.0 knows no 101 (RFC 9110, section 15.2).
fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let fields = request.headers();
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && lists(fields, &UPGRADE, WEBSOCKET)
        && lists(fields, &CONNECTION, "upgrade")
}

/// Whether a field lists a token.
fn lists(fields: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut listed = fields.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    listed.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of a field that stands exactly once.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f HeaderValue> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// What answers a key (RFC 6455, section 4.2.2). SHA-1 is what the protocol says; nothing is kept secret by it.
fn accept_of(key: &str) -> String {
    let text = format!("{key}{ACCEPT_SUFFIX}");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKING: &[(&str, &str)] =
        &[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(name, value);
        }
        fields
    }

    fn request(list: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::new(());
        *request.headers_mut() = fields(list);
        request
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_a_get_of_http_1_1_that_asks_in_both_fields_is_a_handshake() {
        let asks = |request: &Request<()>| Handshake::asked(request, false, false, true).unwrap().is_some();
        assert!(asks(&request(ASKING)));
        let listed = [("connection", "keep-alive, upgrade"), ("upgrade", "foo/2, WebSocket"), ASKING[2]];
        assert!(asks(&request(&listed)), "in lists, in any case");

        let mut old = request(ASKING);
        *old.version_mut() = Version::HTTP_10;
        let mut post = request(ASKING);
        *post.method_mut() = Method::POST;
        for (row, request) in [
            ("HTTP/1.0", old),
            ("POST", post),
            ("no Connection", request(&ASKING[1..])),
            ("no Upgrade", request(&[ASKING[0], ASKING[2]])),
            ("h2c", request(&[ASKING[0], ("upgrade", "h2c"), ASKING[2]])),
            ("a longer name", request(&[ASKING[0], ("upgrade", "websocket2"), ASKING[2]])),
        ] {
            assert!(!asks(&request), "{row}");
        }
        assert!(
            Handshake::asked(&request(ASKING), false, false, false).unwrap().is_none(),
            "a route that does not permit it"
        );
    }

    #[test]
    fn a_handshake_that_could_be_read_in_two_ways_is_refused() {
        let refused =
            |list: &[(&'static str, &'static str)]| Handshake::asked(&request(list), false, false, true).is_err();
        assert!(refused(&ASKING[..2]), "no key");
        assert!(refused(&[ASKING[0], ASKING[1], ASKING[2], ASKING[2]]), "two keys");
        assert!(refused(&[ASKING[0], ASKING[1], ("sec-websocket-key", "")]), "an empty key");
        assert!(Handshake::asked(&request(ASKING), true, false, true).is_err(), "content");
    }

    #[test]
    fn a_connect_is_a_get_only_with_our_protocol() {
        let mut plain = request(&[]);
        *plain.method_mut() = Method::CONNECT;
        assert!(matches!(as_get(&mut plain), Err(Rejection::Message(_))));
        plain.extensions_mut().insert(Protocol::from_static("connect-udp"));
        assert!(matches!(as_get(&mut plain), Err(Rejection::Upgrade(NotUpgradable))));
        plain.extensions_mut().insert(Protocol::from_static("WebSocket"));
        assert!(as_get(&mut plain).unwrap());
        assert_eq!(plain.method(), Method::GET);
        assert!(!as_get(&mut plain).unwrap(), "a GET was none");
    }

    #[test]
    fn an_extended_connect_is_granted_where_it_is_permitted_and_for_version_13() {
        let of = |version: &'static str, permitted| {
            Handshake::asked(&request(&[("sec-websocket-version", version)]), false, true, permitted)
        };
        assert!(matches!(of("13", true), Ok(Some(Handshake::Made { .. }))));
        assert!(matches!(of("8", true), Err(Rejection::Message(_))));
        assert!(matches!(of("13", false), Err(Rejection::Upgrade(NotUpgradable))));
    }

    #[test]
    fn every_handshake_of_ours_has_a_key_of_its_own() {
        let key = || match Handshake::made().unwrap() {
            Handshake::Made { key, .. } => key,
            Handshake::Passed => unreachable!(),
        };
        let (one, other) = (key(), key());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.as_bytes()).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn only_the_101_that_was_asked_for_is_taken() {
        let made = Handshake::Made {
            key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            accept: HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        };
        let (connection, upgrade) = (("connection", "upgrade"), ("upgrade", "WebSocket"));
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let wrong = ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        for (row, list, passed, ours) in [
            ("as asked", &[connection, upgrade, accept][..], true, true),
            ("a wrong answer", &[connection, upgrade, wrong], true, false),
            ("no answer", &[connection, upgrade], true, false),
            ("two answers", &[connection, upgrade, accept, wrong], true, false),
            ("another protocol", &[connection, ("upgrade", "h2c"), accept], false, false),
            ("two protocols", &[connection, upgrade, ("upgrade", "h2c"), accept], false, false),
            ("no Connection", &[upgrade, accept], false, false),
            ("no protocol", &[connection, accept], false, false),
            ("chunks", &[connection, upgrade, accept, ("transfer-encoding", "chunked")], false, false),
        ] {
            assert_eq!(Handshake::Passed.check(&fields(list)).is_ok(), passed, "{row}");
            assert_eq!(made.check(&fields(list)).is_ok(), ours, "{row}");
        }
    }
}
