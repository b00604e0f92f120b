//! One certificate with its key: read, and checked as far as it can be without a client.
//!
//! Messages name the file and what is wrong with it, and never repeat a byte of it: the file may be a key, also where
//! a certificate was expected.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{CertificateFiles, TlsProblem, provider};
use crate::mount;

/// Bytes of a PEM file at most. A bundle of all public authorities is a fifth of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A certificate and its key that belong together.
pub(super) struct Pair {
    files: CertificateFiles,
    digest: [u8; 32],
    certified: std::sync::Arc<CertifiedKey>,
    names: Vec<String>,
    name: String,
    validity: (i64, i64),
}

impl Pair {
    /// Reads both files, as they were at one moment.
    ///
    /// # Errors
    ///
    /// Every problem of both: unreadable, no certificate or key inside, or a key that belongs to another certificate.
    pub(super) fn read(files: &CertificateFiles) -> Result<Self, Vec<TlsProblem>> {
        let folders = [&files.certificate, &files.key].map(|file| mount::folder_of(file));
        let (certificate, key) =
            mount::at_one_moment(&folders, || (read_file(&files.certificate), read_file(&files.key)));
        let certificate = certificate.and_then(|text| {
            let chain = certificates(&files.certificate, &text)?;
            Ok((text, chain))
        });
        let key = key.and_then(|text| {
            let key = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|error| TlsProblem::new(&files.key, explain(&error, "private key")))?;
            Ok((text, key))
        });
        let ((certificate_text, chain), (key_text, key)) = match (certificate, key) {
            (Ok(certificate), Ok(key)) => (certificate, key),
            (certificate, key) => return Err([certificate.err(), key.err()].into_iter().flatten().collect()),
        };
        let digest = digest(&[&certificate_text, &key_text]);
        Self::checked(files, digest, chain, key).map_err(|problem| vec![problem])
    }

    fn checked(
        files: &CertificateFiles,
        digest: [u8; 32],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsProblem> {
        let facts = chain.first().and_then(|own| Facts::of(own));
        let Some(Facts { names, validity }) = facts else {
            return Err(TlsProblem::new(
                &files.certificate,
                "begins with a certificate that cannot be read: is it X.509?",
            ));
        };
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let certificate = files.certificate.display();
                return TlsProblem::new(&files.key, format!("does not belong to the certificate in {certificate}"));
            }
            TlsProblem::new(&files.key, format!("cannot be used as a key: {error}"))
        })?;

        let name = names.first().cloned().unwrap_or_else(|| {
            files.certificate.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        });
        let (_, not_after) = validity;
        if not_after < now() {
            let file = files.certificate.display();
            tracing::warn!(%file, certificate = name, not_after, "The certificate has expired: clients will refuse it");
        }
        Ok(Self { files: files.clone(), digest, certified: certified.into(), names, name, validity })
    }

    pub(super) fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// SHA-256 of both files, to tell whether they have changed.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(super) fn certified(&self) -> &std::sync::Arc<CertifiedKey> {
        &self.certified
    }

    /// The DNS names it is valid for, in lower case; some may begin with `*.`.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Its first DNS name, or the name of its file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The first and the last second it is valid, since the Unix epoch.
    pub(super) fn validity(&self) -> (i64, i64) {
        self.validity
    }
}

/// What we need to know from inside a certificate.
struct Facts {
    names: Vec<String>,
    validity: (i64, i64),
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let mut names = Vec::new();
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
        let validity = parsed.validity();
        Some(Self { names, validity: (validity.not_before.timestamp(), validity.not_after.timestamp()) })
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsProblem::new(file, explain(&pem::Error::NoItemsFound, "certificate"))),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsProblem::new(file, explain(&error, "certificate"))),
    }
}

/// The whole file, wiped from memory after use.
pub(super) fn read_file(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsProblem> {
    let unreadable = |error: std::io::Error| TlsProblem::new(file, format!("cannot be read: {error}"));
    let opened = File::open(file).map_err(unreadable)?;
    // The whole room at once: a buffer that grows leaves copies behind.
    let length = opened.metadata().map_err(unreadable)?.len().min(FILE_BYTES_MAX);
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsProblem::new(file, "is larger than 1 MiB: is it a PEM file?"));
    }
    Ok(text)
}

/// SHA-256 of several texts, each with its length, so that no two lists are alike.
pub(super) fn digest(texts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

fn explain(error: &pem::Error, wanted: &str) -> String {
    // The error itself may quote a line of the file.
    match error {
        pem::Error::NoItemsFound => format!("holds no {wanted} in PEM"),
        pem::Error::MissingSectionEnd { .. } => "is cut: a PEM section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "is not PEM: a section has a broken first line".to_owned(),
        pem::Error::Base64Decode(_) => "is not PEM: a section is not base64".to_owned(),
        pem::Error::SectionTooLarge => "is not PEM: a section is too large".to_owned(),
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        _ => format!("holds no readable {wanted}"),
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
