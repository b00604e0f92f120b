//! Fetching a JWK Set: one GET, one answer, everything bounded.
//!
//! Redirects are not followed: where keys come from says the configuration, and nobody else (RFC 8725, section 3.10). No
//! credentials, no cookies, no proxy, no connection that is kept.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::foreign::JWKS_BYTES_MAX;

/// How long a fetch may take: name, connection, TLS, request and answer together.
const FETCH_TIME: Duration = Duration::from_secs(10);

/// Bytes of the head of an answer at most.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", FETCH_TIME.as_secs())]
    Time,
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer that is HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has the status {0}; only 200 will do, and redirects are not followed")]
    Status(StatusCode),
    #[error("the answer is cut off, or larger than 256 KiB")]
    Content,
    #[error("the URL cannot be asked")]
    Url,
}

/// Fetches over HTTP/1.1, with TLS and without.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client that believes the authorities of this machine; where it has none, Mozilla's as compiled in. Blocks: it
    /// reads them from the disk.
    ///
    /// # Errors
    ///
    /// If rustls does not take its own defaults.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if authorities.is_empty() {
            authorities.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self::believing(authorities)
    }

    /// A client that believes these authorities.
    fn believing(authorities: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_root_certificates(authorities).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Gets what is at `url`, at most 256 KiB within 10 s.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub(super) async fn get(&self, url: &Url) -> Result<Bytes, FetchError> {
        tokio::time::timeout(FETCH_TIME, self.get_at_leisure(url)).await.map_err(|_| FetchError::Time)?
    }

    async fn get_at_leisure(&self, url: &Url) -> Result<Bytes, FetchError> {
        let port = url.port_or_known_default().ok_or(FetchError::Url)?;
        let (stream, name) = match url.host().ok_or(FetchError::Url)? {
            Host::Domain(name) => (TcpStream::connect((name, port)).await?, ServerName::try_from(name.to_owned())),
            Host::Ipv4(ip) => (TcpStream::connect((ip, port)).await?, Ok(ServerName::from(std::net::IpAddr::V4(ip)))),
            Host::Ipv6(ip) => (TcpStream::connect((ip, port)).await?, Ok(ServerName::from(std::net::IpAddr::V6(ip)))),
        };
        if url.scheme() == "https" {
            let name = name.map_err(|_| FetchError::Url)?;
            exchange(self.tls.connect(name, stream).await?, url).await
        } else {
            exchange(stream, url).await
        }
    }
}

/// Asks over a connection of its own.
async fn exchange<S>(stream: S, url: &Url) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("keygate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let room = usize::try_from(JWKS_BYTES_MAX).unwrap_or(usize::MAX);
        let content = Limited::new(response.into_body(), room).collect().await;
        content.map(http_body_util::Collected::to_bytes).map_err(|_| FetchError::Content)
    });
    // The connection has to be driven for the answer to come. It may end before the answer was read from it.
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}
