//! What a proxy asks that forwards requests itself and wants to know whether one may pass: the request it asks about.
//!
//! Each kind of proxy says it in fields of its own, and passes on whatever else the client has sent. So the dialect is
//! configured and never guessed: in the fields of another one stands what a client has written there. And only those may
//! ask who are trusted to have written them.
//!
//! What comes out of here takes the road like any other request, up to its [`super::rate_limit::Admission`].

use std::net::IpAddr;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use ipnet::IpNet;

use super::client_address::{ClientAddress, TrustedProxies, X_FORWARDED_FOR};
use super::message::{MalformedMessage, Target};
use super::path::same_when_decoded;
use super::rejection::Rejection;
use super::route::{Access, Destination, Route};

const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How a proxy says what it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// nginx's `auth_request`: `X-Original-Method`, `X-Original-URI`, `X-Original-Host` and `X-Real-IP`, which its
    /// configuration has to write.
    Nginx,
    /// Caddy's `forward_auth` and Traefik's ForwardAuth: `X-Forwarded-Method`, `-Uri`, `-Host` and `-For`.
    Forwarded,
    /// Envoy's `ext_authz` over HTTP: the request itself without its content, behind a prefix, and `X-Forwarded-For`.
    Envoy,
}

/// The fields that say which request is meant.
struct Named {
    method: HeaderName,
    uri: HeaderName,
    host: HeaderName,
}

impl Dialect {
    /// The fields of the request that is meant; `None` where it is the request itself.
    const fn named(self) -> Option<Named> {
        match self {
            Self::Nginx => Some(Named { method: X_ORIGINAL_METHOD, uri: X_ORIGINAL_URI, host: X_ORIGINAL_HOST }),
            Self::Forwarded => Some(Named { method: X_FORWARDED_METHOD, uri: X_FORWARDED_URI, host: X_FORWARDED_HOST }),
            Self::Envoy => None,
        }
    }

    /// The field that says for whom.
    const fn client(self) -> HeaderName {
        match self {
            Self::Nginx => X_REAL_IP,
            Self::Forwarded | Self::Envoy => X_FORWARDED_FOR,
        }
    }
}

/// Who may ask at one listening address, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// How they say it.
    pub dialect: Dialect,
    /// What the path of every question begins with: `/check`.
    pub path: String,
    /// Where those stand who may ask.
    pub from: Vec<IpNet>,
    /// The status that a spent limit is told with; `None`: the usual one.
    pub limit_status: Option<StatusCode>,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// It comes from an address that may not ask.
    #[error("{0} may not ask whether requests may pass")]
    Stranger(IpAddr),
    /// It does not say what its dialect has to say. Not the client's fault: the proxy is not set up as it should be.
    #[error("the proxy in front does not say {0} once, in a form that can be read")]
    Unsaid(HeaderName),
    /// Its path is not the one of questions.
    #[error("the path of the question is not the one of `check.path`")]
    Elsewhere,
    /// Whether such a request may pass depends on its content, or it leads to something that only we can do.
    #[error("a request of this route cannot be checked without being forwarded")]
    Undecidable,
}

impl Asking {
    /// Makes a question into the request that it asks about, and finds whose request that is.
    ///
    /// # Errors
    ///
    /// [`Rejection::Question`]; [`Rejection::Address`] if the client's address cannot be read.
    pub fn read<B>(
        &self,
        request: &mut Request<B>,
        peer: IpAddr,
        proxies: &TrustedProxies,
    ) -> Result<ClientAddress, Rejection> {
        let peer = peer.to_canonical();
        if !self.from.iter().any(|network| network.contains(&peer)) {
            return Err(QuestionError::Stranger(peer).into());
        }
        let behind = behind(&self.path, request.uri()).ok_or(QuestionError::Elsewhere)?;
        match self.dialect.named() {
            None => {
                let target = behind.map_err(|_| MalformedMessage("the target is malformed"))?;
                let mut parts = request.uri().clone().into_parts();
                parts.path_and_query = Some(target);
                *request.uri_mut() = Uri::from_parts(parts).map_err(|_| MalformedMessage("the target is malformed"))?;
            }
            Some(named) => {
                let fields = request.headers();
                let method = Method::from_bytes(once(fields, &named.method)?.as_bytes())
                    .map_err(|_| QuestionError::Unsaid(named.method))?;
                let target = origin_form(once(fields, &named.uri)?)?;
                let host = once(fields, &named.host)?.clone();
                *request.method_mut() = method;
                *request.uri_mut() = Uri::from(target);
                request.headers_mut().insert(HOST, host);
            }
        }
        let client = self.dialect.client();
        let said = match self.dialect {
            // nginx writes the one address that it sees itself. A list would be from somebody else.
            Dialect::Nginx => !once(request.headers(), &client)?.as_bytes().contains(&b','),
            Dialect::Forwarded | Dialect::Envoy => request.headers().contains_key(&client),
        };
        if !said {
            return Err(QuestionError::Unsaid(client).into());
        }
        Ok(proxies.client_named(request.headers(), &client)?)
    }

    /// Looks whether what was decided on is what the proxy will forward: it goes on with the path as the client wrote it,
    /// where we would have written the one spelling that everybody reads alike. Escapes make no difference to whoever
    /// undoes them; slashes that are merged and dots that are resolved do.
    ///
    /// # Errors
    ///
    /// [`MalformedMessage`].
    pub fn check_spelling(asked: &Uri, target: &Target) -> Result<(), MalformedMessage> {
        if same_when_decoded(asked.path(), target.path_and_query.path()) {
            Ok(())
        } else {
            Err(MalformedMessage("the path is not in its normal form, and would be forwarded as it is"))
        }
    }
}

/// Looks whether it can be said of the requests of a route that they may pass, without their content and without doing
/// what they ask for.
///
/// # Errors
///
/// [`QuestionError::Undecidable`].
pub fn check_route(route: &Route) -> Result<(), QuestionError> {
    match (&route.access, &route.destination) {
        (Access::Signature(_), _) | (_, Destination::Operation(_)) => Err(QuestionError::Undecidable),
        (Access::Public | Access::Credentials(_), Destination::Upstream(_)) => Ok(()),
    }
}

/// What stands behind the prefix of a path, as a target of its own; `None` if the path begins otherwise.
fn behind(prefix: &str, uri: &Uri) -> Option<Result<PathAndQuery, http::uri::InvalidUri>> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    match rest.as_bytes().first() {
        Some(b'/') => Some(PathAndQuery::try_from(rest)),
        None => Some(Ok(PathAndQuery::from_static("/"))),
        Some(b'?') => Some(PathAndQuery::try_from(format!("/{rest}"))),
        Some(_) => None,
    }
}

/// The target of a request as its first line has it, which is a path (RFC 9112, section 3.2.1). A fragment is none of a
/// target, and would be forwarded.
fn origin_form(value: &HeaderValue) -> Result<PathAndQuery, MalformedMessage> {
    let bytes = value.as_bytes();
    let target = PathAndQuery::try_from(bytes).ok();
    let whole = bytes.starts_with(b"/") && !bytes.contains(&b'#');
    target.filter(|_| whole).ok_or(MalformedMessage("the target is not a path"))
}

/// The value of a field that stands exactly once and says something.
fn once<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Result<&'f HeaderValue, QuestionError> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        _ => Err(QuestionError::Unsaid(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(dialect: Dialect, path: &str) -> Asking {
        Asking { dialect, path: path.to_owned(), from: vec!["10.0.0.0/8".parse().unwrap()], limit_status: None }
    }

    fn question(uri: &str, fields: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::get(uri).body(()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    /// The method, target, host and client that are asked about; `None` if that cannot be said.
    fn read(asking: &Asking, peer: &str, mut request: Request<()>) -> Option<String> {
        let trusted = TrustedProxies::new(vec!["192.0.2.0/24".parse().unwrap()]);
        let client = asking.read(&mut request, peer.parse().unwrap(), &trusted).ok()?;
        let host = request.headers().get(HOST).map_or("", |host| host.to_str().unwrap());
        Some(format!("{} {} {host} {}", request.method(), request.uri(), client.ip()))
    }

    const SAID: [(&str, &str); 4] = [
        ("x-original-method", "DELETE"),
        ("x-original-uri", "/a?b"),
        ("x-original-host", "api.example"),
        ("x-real-ip", "203.0.113.9"),
    ];

    #[test]
    fn only_known_peers_may_ask() {
        let asking = asking(Dialect::Nginx, "/check");
        let asked = "DELETE /a?b api.example 203.0.113.9";
        for (peer, expected) in
            [("10.1.2.3", Some(asked)), ("::ffff:10.1.2.3", Some(asked)), ("192.0.2.1", None), ("203.0.113.9", None)]
        {
            assert_eq!(read(&asking, peer, question("/check", &SAID)).as_deref(), expected, "{peer}");
        }
    }

    #[test]
    fn the_client_is_whom_the_proxy_names_and_who_stands_behind_proxies_that_are_trusted() {
        let asking = asking(Dialect::Envoy, "/check");
        for (list, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("6.6.6.6, 203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, 192.0.2.7", Some("203.0.113.9")),
            // Whoever asks is believed once, and not for what others have written before it.
            ("6.6.6.6, 10.1.2.3", Some("10.1.2.3")),
            ("203.0.113.9, unknown", None),
            ("", None),
            ("203.0.113.9,", None),
        ] {
            let mut request = question("/check/a", &[("host", "api.example")]);
            request.headers_mut().insert(X_FORWARDED_FOR, HeaderValue::from_static(list));
            let expected = expected.map(|client| format!("GET /a api.example {client}"));
            assert_eq!(read(&asking, "10.1.2.3", request), expected, "{list}");
        }
    }

    #[test]
    fn nginx_names_one_client() {
        let asking = asking(Dialect::Nginx, "/check");
        for (value, good) in [("203.0.113.9", true), ("6.6.6.6, 203.0.113.9", false), ("", false), (",", false)] {
            let mut request = question("/check", &SAID);
            request.headers_mut().insert(X_REAL_IP, HeaderValue::from_static(value));
            assert_eq!(read(&asking, "10.1.2.3", request).is_some(), good, "{value}");
        }
        let twice = question("/check", &[&SAID[..], &[("x-real-ip", "6.6.6.6")]].concat());
        assert_eq!(read(&asking, "10.1.2.3", twice), None);
    }

    #[test]
    fn what_stands_behind_the_prefix_is_asked_about() {
        for (prefix, uri, expected) in [
            ("/check", "/check/a/b?c=/d", Some("/a/b?c=/d")),
            ("/check", "/check", Some("/")),
            ("/check", "/check?a", Some("/?a")),
            ("/check", "/check//a", Some("//a")),
            ("/check", "/checka", None),
            ("/check", "/a/check", None),
            ("/check", "/%63heck/a", None),
            ("/may/it", "/may/it/a", Some("/a")),
            ("", "/a", Some("/a")),
        ] {
            let told = behind(prefix, &uri.parse().unwrap()).map(|target| target.unwrap().as_str().to_owned());
            assert_eq!(told.as_deref(), expected, "{prefix} {uri}");
        }
    }

    #[test]
    fn a_target_is_a_path_and_nothing_else() {
        for (value, good) in [
            ("/", true),
            ("/a?b#", false),
            ("/a#b", false),
            ("*", false),
            ("", false),
            ("a", false),
            ("http://api.example/a", false),
            ("//a", true),
            ("/a b", false),
        ] {
            assert_eq!(origin_form(&HeaderValue::from_static(value)).is_ok(), good, "{value:?}");
        }
    }
}
