//! Who may come in with a client certificate.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::pair::{certificates, digest, read_file};
use super::{ClientCertificates, TlsProblem, provider};

/// The authorities whose signature lets a client in.
pub(super) struct Clients {
    digest: [u8; 32],
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    /// Reads the authorities.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something that is not a certificate.
    pub(super) fn read(settings: &ClientCertificates) -> Result<Self, Vec<TlsProblem>> {
        Self::checked(settings).map_err(|problem| vec![problem])
    }

    fn checked(settings: &ClientCertificates) -> Result<Self, TlsProblem> {
        let file = &settings.authorities;
        let text = read_file(file)?;
        let mut authorities = RootCertStore::empty();
        for (index, certificate) in certificates(file, &text)?.into_iter().enumerate() {
            authorities.add(certificate).map_err(|error| {
                TlsProblem::new(
                    file,
                    format!("holds a certificate, number {}, that cannot be an authority: {error}", index + 1),
                )
            })?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
        if !settings.required {
            builder = builder.allow_unauthenticated();
        }
        let verifier =
            builder.build().map_err(|error| TlsProblem::new(file, format!("cannot verify clients: {error}")))?;
        Ok(Self { digest: digest(&[&text, &[u8::from(settings.required)]]), verifier })
    }

    /// SHA-256 of everything that decides who may come in.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}
