//! Rules of the upstream.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::HeaderValue;
use http::uri::Authority;
use rustls_pki_types::ServerName;
use url::{Host, Url};

use super::Checker;
use crate::config::file;
use crate::document::Path;
use crate::gateway::upstream::{Endpoint, HostRule, Protocol, Settings, UpstreamTls};

/// What a good URL looks like.
const EXAMPLES: &str = "`http://127.0.0.1:9000`, `https://api.internal` or `unix:/run/api.sock`";

/// Streams on one HTTP/2 connection before another is opened. Servers should allow no fewer (RFC 9113, section 6.5.2).
const STREAMS_MAX: usize = 100;

/// A URL, understood.
struct Target {
    endpoint: Endpoint,
    /// The host and port as a `Host` field holds them.
    host: HeaderValue,
    /// Whether it begins with `https://`.
    tls: bool,
}

impl Checker<'_> {
    /// The upstream that is written at `path`.
    pub(super) fn upstream(&mut self, file: &file::File, upstream: &file::Upstream, path: &Path) -> Option<Settings> {
        let root = Path::root();
        let url = path.field("url");
        let url = if self.document.has(&url) { url } else { path.clone() };
        let timeouts = root.field("timeouts");

        let idle_timeout = self.positive(upstream.idle_timeout, &path.field("idle_timeout"));
        let connect_timeout = self.positive(file.timeouts.connect, &timeouts.field("connect"));
        let response_head_timeout = self.positive(file.timeouts.response_head, &timeouts.field("response_head"));
        let target = target(&upstream.url).map_err(|message| self.refuse(&url, message)).ok()?;
        self.not_ourselves(file, &target, &url);
        let tls = self.upstream_tls(upstream, &target, &path.field("tls"))?;
        let host = match (upstream.host, &target.endpoint) {
            (file::HostField::Preserve, _) => HostRule::Preserve,
            (file::HostField::Upstream, Endpoint::Tcp { .. }) => HostRule::Replace(target.host),
            (file::HostField::Upstream, Endpoint::Unix(_)) => {
                self.refuse(&path.field("host"), "a Unix socket has no host; leave it at `preserve`");
                return None;
            }
        };
        Some(Settings {
            endpoint: target.endpoint,
            protocol: match upstream.protocol {
                file::Protocol::Http1 => Protocol::Http1,
                file::Protocol::Http2 => Protocol::Http2,
            },
            host,
            tls,
            connections_max: usize::try_from(upstream.connections_max).unwrap_or(usize::MAX),
            streams_max: STREAMS_MAX,
            idle_timeout,
            connect_timeout,
            response_head_timeout,
        })
    }

    /// The inner nothing is "no TLS", the outer one a problem.
    fn upstream_tls(&mut self, upstream: &file::Upstream, target: &Target, path: &Path) -> Option<Option<UpstreamTls>> {
        if !target.tls {
            if upstream.tls.is_some() {
                self.refuse(path, "has no effect, because the URL does not begin with `https://`");
            }
            return Some(None);
        }
        let tls = upstream.tls.clone().unwrap_or_default();
        let certificate = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => {
                let certificate = self.named_file(certificate, &path.field("certificate"));
                Some((certificate, self.named_file(key, &path.field("key"))))
            }
            (None, None) => None,
            (Some(_), None) => {
                self.refuse(&path.field("certificate"), "needs its private key; write `key` beside it");
                None
            }
            (None, Some(_)) => {
                self.refuse(&path.field("key"), "needs its certificate; write `certificate` beside it");
                None
            }
        };
        if !tls.verify {
            if tls.ca.is_some() {
                self.refuse(&path.field("ca"), "has no effect with `verify: false`; leave one of them out");
            }
            let message =
                "the upstream's certificate is not verified: anybody on the way can read and change everything";
            self.warn(&path.field("verify"), message);
        }
        let (name, name_path) = match (&tls.server_name, &target.endpoint) {
            (Some(name), _) => (name.as_str(), path.field("server_name")),
            (None, Endpoint::Tcp { host, .. }) => (host.as_str(), path.clone()),
            (None, Endpoint::Unix(_)) => ("localhost", path.clone()),
        };
        if ServerName::try_from(name).is_err() {
            self.refuse(&name_path, "is neither the name of a host nor an IP address");
            return None;
        }
        let authorities = tls.ca.as_ref().map(|ca| self.named_file(ca, &path.field("ca")));
        Some(Some(UpstreamTls { server_name: name.to_owned(), authorities, certificate, verify: tls.verify }))
    }

    /// Refuses an upstream that is one of our own doors: each request would come back to us until nothing is left.
    fn not_ourselves(&mut self, file: &file::File, target: &Target, url: &Path) {
        let Endpoint::Tcp { host, port } = &target.endpoint else { return };
        let ip = match host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Err(_) => return,
        };
        let upstream = SocketAddr::new(ip, *port);
        for (index, listener) in file.listen.iter().enumerate() {
            let here = ip == listener.address.ip() || listener.address.ip().is_unspecified() && ip.is_loopback();
            if here && super::listen::overlap(listener.address, upstream) {
                let ours = self.address_path(index);
                if !self.document.is_faulty(&ours) {
                    self.refuse(
                        url,
                        format!("is where keygate itself listens (`{ours}`): requests would go in a circle"),
                    );
                }
            }
        }
    }
}

/// Understands a URL. The messages do not repeat it: it could hold a password.
fn target(url: &str) -> Result<Target, String> {
    if let Some(path) = url.strip_prefix("unix:") {
        return unix(path);
    }
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(format!(
            "is not a URL that begins with `http://`, `https://` or `unix:`; write for example {EXAMPLES}"
        ));
    }
    let parsed = Url::parse(url).map_err(|error| format!("is not a URL: {error}; write for example {EXAMPLES}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must not hold a user or a password: keygate has no credentials of its own".to_owned());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("must not have a query or a fragment: those of a request are forwarded as they came".to_owned());
    }
    if parsed.path() != "/" {
        return Err("must not have a path: the path of a request is forwarded, and nothing is put in front \
                    of it"
            .to_owned());
    }
    let host = match parsed.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(format!("has no host; write for example {EXAMPLES}")),
    };
    let port = parsed.port_or_known_default().filter(|port| *port != 0).ok_or("must not have the port 0")?;
    let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
    let host_field = Authority::try_from(authority).ok().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host_field = host_field.ok_or("has a host that no `Host` field can hold")?;
    Ok(Target { endpoint: Endpoint::Tcp { host, port }, host: host_field, tls: parsed.scheme() == "https" })
}

fn unix(path: &str) -> Result<Target, String> {
    if !path.starts_with('/') || path.starts_with("//") || path.len() < 2 {
        return Err("must name the socket by its absolute path: write for example `unix:/run/api.sock`".to_owned());
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!("names a socket by more than {UNIX_PATH_BYTES_MAX} bytes, which no system allows"));
    }
    let endpoint = Endpoint::Unix(PathBuf::from(path));
    Ok(Target { endpoint, host: HeaderValue::from_static("localhost"), tls: false })
}

/// What fits into `sockaddr_un` on Linux, less the final zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_place_and_nothing_else() {
        let tcp = |url: &str, host: &str, port: u16, tls: bool, authority: &str| {
            let target = target(url).expect(url);
            assert_eq!(target.endpoint, Endpoint::Tcp { host: host.to_owned(), port }, "{url}");
            assert_eq!((target.tls, target.host.to_str().unwrap()), (tls, authority), "{url}");
        };
        tcp("http://127.0.0.1:9000", "127.0.0.1", 9000, false, "127.0.0.1:9000");
        tcp("http://127.0.0.1:9000/", "127.0.0.1", 9000, false, "127.0.0.1:9000");
        tcp("http://api", "api", 80, false, "api");
        tcp("https://API.internal", "api.internal", 443, true, "api.internal");
        tcp("https://[::1]:8443", "::1", 8443, true, "[::1]:8443");
        assert_eq!(target("unix:/run/a.sock").unwrap().endpoint, Endpoint::Unix("/run/a.sock".into()));
    }

    #[test]
    fn a_url_with_more_than_a_place_is_refused_without_being_repeated() {
        for url in [
            "hunter2",
            "hunter2:80",
            "//hunter2",
            "http://",
            "http://:80",
            "http://hunter2\"",
            "http://hunter2@api",
            "http://u:hunter2@api",
            "http://api/hunter2",
            "http://api?hunter2",
            "http://api#hunter2",
            "http://api:0/",
            "http://api:hunter2",
            "ftp://hunter2",
            "unix:hunter2",
            "unix://hunter2",
            "unix:/",
            "unix:",
            "HTTP//hunter2",
            "",
        ] {
            let message = target(url).map(|target| target.host).expect_err(url);
            assert!(!message.contains("hunter2"), "{url}: {message}");
        }
    }
}
