//! Fetching a JWK Set: one GET, one answer, everything bounded.
//!
//! Redirects are not followed: where keys come from says the configuration, and nobody else (RFC 8725, section 3.10). No
//! credentials, no cookies, no proxy, no connection that is kept.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use url::{Position, Url};

use super::foreign::JWKS_BYTES_MAX;
use crate::outbound::{Connector, Stream};

/// How long a fetch may take: name, connection, TLS, request and answer together.
const FETCH_TIME: Duration = Duration::from_secs(10);

/// Bytes of the head of an answer, or little more: hyper looks at it after each reading.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {0:?}")]
    Time(Duration),
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
#[derive(Clone, Debug)]
pub(super) struct Client(Connector);

impl Client {
    /// A client that believes the authorities of this machine; where it has none, Mozilla's as compiled in. Blocks: it
    /// reads them from the disk.
    ///
    /// # Errors
    ///
    /// If rustls does not take its own defaults.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Connector::new().map(Self)
    }

    /// Gets what is at `url`, at most 256 KiB within 10 s.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub(super) async fn get(&self, url: &Url) -> Result<Bytes, FetchError> {
        self.get_within(FETCH_TIME, url).await
    }

    async fn get_within(&self, time: Duration, url: &Url) -> Result<Bytes, FetchError> {
        tokio::time::timeout(time, self.get_at_leisure(url)).await.map_err(|_| FetchError::Time(time))?
    }

    async fn get_at_leisure(&self, url: &Url) -> Result<Bytes, FetchError> {
        exchange(self.0.connect(url).await?, url).await
    }
}

/// Asks over a connection of its own.
async fn exchange(stream: Box<dyn Stream>, url: &Url) -> Result<Bytes, FetchError> {
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair};
    use std::sync::Arc;

    use rustls::{RootCertStore, ServerConfig};
    use rustls_pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Answers one connection with `answer` and returns what was asked.
    async fn server(answer: Vec<u8>) -> (Url, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys/jwks.json?v=1", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            // Whoever has had enough hangs up.
            drop(stream.write_all(&answer).await);
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (url.parse().unwrap(), asked)
    }

    fn client() -> Client {
        Client(Connector::believing(RootCertStore::empty()).unwrap())
    }

    fn answer(head: &str, content: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes(), content].concat()
    }

    #[tokio::test]
    async fn a_document_is_asked_for_once_and_politely() {
        let (url, asked) = server(answer("200 OK", b"{}")).await;
        assert_eq!(client().get(&url).await.unwrap(), "{}");
        let asked = asked.await.unwrap();
        let host = &url[Position::BeforeHost..Position::AfterPort];
        assert!(asked.starts_with("GET /keys/jwks.json?v=1 HTTP/1.1\r\n"), "{asked}");
        for field in [format!("host: {host}"), "accept: application/jwk-set+json, application/json".to_owned()] {
            assert!(asked.contains(&format!("\r\n{field}\r\n")), "{asked}");
        }
        // Chunks, and an end that is the end of the connection.
        let (url, _) =
            server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec()).await;
        assert_eq!(client().get(&url).await.unwrap(), "{}");
        let (url, _) = server(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}".to_vec()).await;
        assert_eq!(client().get(&url).await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn whatever_else_comes_is_no_document() {
        let large = vec![b' '; 256 * 1024 + 1];
        let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &large].concat();
        for (bytes, expected) in [
            (answer("302 Found\r\nLocation: http://127.0.0.1:1/", b""), "has the status 302 Found"),
            (answer("500 Internal Server Error", b"{}"), "has the status 500"),
            (answer("404 Not Found", b"{}"), "has the status 404"),
            (answer("204 No Content", b""), "has the status 204"),
            (answer("206 Partial Content", b"{}"), "has the status 206"),
            (answer("200 OK", &large), "larger than 256 KiB"),
            (endless, "larger than 256 KiB"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}".to_vec(), "cut off"),
            (b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), "no answer that is HTTP"),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no answer that is HTTP"),
            (answer(&format!("200 OK\r\nX: {}", "x".repeat(100_000)), b"{}"), "no answer that is HTTP"),
            (Vec::new(), "no answer that is HTTP"),
        ] {
            let (url, _) = server(bytes).await;
            let error = client().get(&url).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        let (url, server) = server(Vec::new()).await;
        server.abort();
        drop(server.await);
        assert!(client().get(&url).await.unwrap_err().to_string().starts_with("no connection"));
    }

    /// A byte now and then does not prolong it.
    #[tokio::test]
    async fn whoever_is_slow_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.read(&mut [0; 4096]).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await);
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let error = client().get_within(Duration::from_millis(200), &url).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 200ms");
        // It notices that nobody listens any more.
        server.await.unwrap();
    }

    /// Over TLS only with a certificate of an authority that is believed, and for the name that is asked for.
    #[tokio::test]
    async fn over_tls_the_server_must_be_who_it_says() {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(params, &authority_key);
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await);
            }
        });
        let mut authorities = RootCertStore::empty();
        authorities.add(authority.der().clone()).unwrap();
        let believing = Client(Connector::believing(authorities).unwrap());
        let url = |host: &str| Url::parse(&format!("https://{host}:{port}/")).unwrap();
        assert_eq!(believing.get(&url("localhost")).await.unwrap(), "{}");
        for (client, host) in
            [(&believing, "127.0.0.1"), (&client(), "localhost"), (&Client::new().unwrap(), "localhost")]
        {
            let error = client.get(&url(host)).await.unwrap_err().to_string();
            assert!(error.starts_with("no connection: invalid peer certificate"), "{error}");
        }
    }
}
