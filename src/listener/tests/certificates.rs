//! Certificates for tests, made when they are needed.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::listener::{CertificateFiles, ClientCertificates, TlsSettings, TlsStore, TlsVersion};

/// An authority, and a folder with what it has signed.
pub(in crate::listener) struct Folder {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    pub(in crate::listener) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Self { folder: TempDir::new().unwrap(), authority };
        folder.write("authority.pem", &folder.authority.pem());
        folder
    }

    pub(in crate::listener) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(in crate::listener) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// Writes a certificate for these names, with an ECDSA key. Overwrites what was there.
    pub(in crate::listener) fn pair(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.pair_with(file, names, 2050, &KeyPair::generate().unwrap())
    }

    pub(in crate::listener) fn rsa_pair(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.pair_with(file, names, 2050, &KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap())
    }

    pub(in crate::listener) fn expired_pair(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.pair_with(file, names, 2001, &KeyPair::generate().unwrap())
    }

    fn pair_with(&self, file: &str, names: &[&str], last_year: i32, key: &KeyPair) -> CertificateFiles {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(key, &self.authority).unwrap();
        let files =
            CertificateFiles { certificate: self.path(&format!("{file}.pem")), key: self.path(&format!("{file}.key")) };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// A store with a certificate for each of these names; each lies in files named after it.
    pub(in crate::listener) fn store(&self, names: &[&str]) -> Arc<TlsStore> {
        Arc::new(TlsStore::load(&self.settings(names)).unwrap())
    }

    pub(in crate::listener) fn settings(&self, names: &[&str]) -> TlsSettings {
        TlsSettings {
            certificates: names.iter().map(|name| self.pair(&name.replace('*', "_"), &[*name])).collect(),
            clients: None,
            minimum_version: TlsVersion::V1_2,
        }
    }

    /// Client certificates of this authority.
    pub(in crate::listener) fn clients(&self, required: bool) -> Option<ClientCertificates> {
        Some(ClientCertificates { authorities: self.path("authority.pem"), required })
    }

    /// A certificate for a client named `orders`.
    pub(in crate::listener) fn client(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["orders.internal".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example/orders".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "orders");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// What a client must trust to come in.
    pub(in crate::listener) fn authority(&self) -> CertificateDer<'static> {
        self.authority.der().clone()
    }
}
