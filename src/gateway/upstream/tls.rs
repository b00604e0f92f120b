//! TLS to the upstream: whom we believe, and who we say we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use super::Protocol;

/// TLS settings of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that the upstream's certificate must bear; also sent as SNI.
    pub server_name: String,
    /// PEM file of the authorities to trust; `None` trusts those of the system.
    pub authorities: Option<PathBuf>,
    /// PEM files of our own certificate and its key, for an upstream that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `false` takes any certificate. Only for a network that is trusted as it is.
    pub verify: bool,
}

impl UpstreamTls {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.certificate.iter().flat_map(|(certificate, key)| [certificate.as_path(), key.as_path()]);
        self.authorities.as_deref().into_iter().chain(pair)
    }
}

/// What tells the content of some files from another; nothing for no files.
pub(super) type Fingerprint = Option<[u8; 32]>;

/// The fingerprint of the files that `tls` names. A file that cannot be read counts as empty.
pub(super) fn fingerprint(tls: Option<&UpstreamTls>) -> Fingerprint {
    let mut hasher = Sha256::new();
    for file in tls?.files() {
        let content = std::fs::read(file).unwrap_or_default();
        hasher.update((content.len() as u64).to_be_bytes());
        hasher.update(&content);
    }
    Some(hasher.finalize().into())
}

/// Why TLS to an upstream could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is missing, unreadable, or holds nothing of use.
    #[error("cannot use {}: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The server name is neither a DNS name nor an address.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// rustls does not take the combination.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Builds the client configuration that `settings` describe.
pub(super) fn client_config(settings: &UpstreamTls, protocol: Protocol) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if settings.verify {
        builder.with_root_certificates(roots(settings.authorities.as_deref())?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    };
    let mut config = match &settings.certificate {
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, &error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| file_error(key, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The name to ask for, as rustls wants it.
pub(super) fn server_name(settings: &UpstreamTls) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(settings.server_name.clone()).map_err(|_| TlsError::ServerName(settings.server_name.clone()))
}

/// Reads the authorities to trust; without a file, the system's, and where it has none, Mozilla's as compiled in.
fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|error| file_error(file, &error))?;
        }
        return Ok(store);
    }
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(store)
}

/// Reads every certificate of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| file_error(file, &error))?;
    if chain.is_empty() {
        return Err(file_error(file, &"no certificate in it"));
    }
    Ok(chain)
}

fn file_error(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: file.to_owned(), reason: error.to_string() }
}

/// Takes any certificate, for `verify: false`. Signatures are still checked, so that the handshake itself is sound.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
