//! Connections of the control plane to others whom the configuration names: who has keys for tokens, who collects spans.
//!
//! Redirects and proxies are unknown here: where a connection leads says the configuration, and nobody else. Connections
//! to the API are another matter: they are on the road, and the upstream's pools have them.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// A connection, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to URLs, with TLS and without.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// Believes the authorities of this machine; where it has none, Mozilla's as compiled in. Blocks: it reads them from
    /// the disk.
    ///
    /// # Errors
    ///
    /// If rustls does not take its own defaults.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if authorities.is_empty() {
            authorities.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self::believing(authorities)
    }

    /// Believes the authorities in a PEM file, and no others. Blocks.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, to go on after its path.
    pub fn believing_file(file: &Path) -> Result<Self, String> {
        let unusable = |error: &dyn std::fmt::Display| format!("cannot be used: {error}");
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
        let mut authorities = RootCertStore::empty();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            authorities.add(certificate).map_err(|error| unusable(&error))?;
        }
        if authorities.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        Self::believing(authorities).map_err(|error| unusable(&error))
    }

    /// Believes these authorities.
    ///
    /// # Errors
    ///
    /// If rustls does not take its own defaults.
    pub fn believing(authorities: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_root_certificates(authorities).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Connects to the host of `url`. Takes as long as it takes: bound it.
    ///
    /// # Errors
    ///
    /// If nobody is there, or is not who the URL says; [`io::ErrorKind::InvalidInput`] if the URL has no host or port.
    pub async fn connect(&self, url: &Url) -> io::Result<Box<dyn Stream>> {
        let port = url.port_or_known_default().ok_or(io::ErrorKind::InvalidInput)?;
        let (stream, name) = match url.host().ok_or(io::ErrorKind::InvalidInput)? {
            Host::Domain(name) => (TcpStream::connect((name, port)).await?, ServerName::try_from(name.to_owned())),
            Host::Ipv4(ip) => (TcpStream::connect((ip, port)).await?, Ok(ServerName::from(IpAddr::V4(ip)))),
            Host::Ipv6(ip) => (TcpStream::connect((ip, port)).await?, Ok(ServerName::from(IpAddr::V6(ip)))),
        };
        if url.scheme() != "https" {
            return Ok(Box::new(stream));
        }
        let name = name.map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }
}
