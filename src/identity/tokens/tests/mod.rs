//! What tokens promise: a folder and keys of its own for each test, and time as it pleases.
//!
//! Attacks are written by hand: a [`Forge`] signs whatever it is given, with the primitives alone.

mod attacks;
mod claims;
mod signatures;
mod vectors;

mod fetching;
mod life;
mod rotation;

use std::fs;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RsaEncoding,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::compact::encoded;
use super::signing_key::{self, Form, SigningKey};
use super::*;

/// 2026-11-22, 05:19:00 UTC.
const NOW_S: u64 = 1_795_324_740;

const ISSUER: &str = "https://id.example.com";
const API: &str = "https://api.example.com";

fn at(unix_s: u64) -> Moment {
    Moment { unix_ns: unix_s * 1_000_000_000, monotonic_ns: unix_s * 1_000_000_000 }
}

fn holder<'a>(user: &'a str, login: &'a str) -> Holder<'a> {
    Holder { user, login, tenant: None, roles: &[], permissions: &[] }
}

fn settings(folder: &TempDir, algorithm: Algorithm) -> TokenSettings {
    TokenSettings {
        issuer: ISSUER.to_owned(),
        audience: API.to_owned(),
        algorithm,
        keys: folder.path().join("keys"),
        rotate_every: Duration::from_secs(90 * 24 * 3600),
        access_lifetime: Duration::from_secs(900),
        refresh_lifetime: Duration::from_secs(7 * 24 * 3600),
        leeway: Duration::from_secs(5),
    }
}

fn foreign_settings(jwks: JwksSource) -> IssuerSettings {
    let name = |name: &str| Some(ClaimName(name.to_owned()));
    IssuerSettings {
        issuer: ISSUER.to_owned(),
        audiences: vec![API.to_owned(), "second".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        jwks,
        refresh_every: Duration::from_secs(300),
        claims: ClaimNames { tenant: name("tenant"), roles: name("roles"), permissions: name("permissions") },
        types: TokenTypes { names: vec!["at+jwt".to_owned(), "JWT".to_owned()], absent: true },
        leeway: Duration::from_secs(5),
    }
}

fn open(settings: TokenSettings) -> Tokens {
    Tokens::open(Some(settings), Vec::new(), at(NOW_S)).unwrap()
}

/// The header of a token.
fn header_of(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    let bytes = octets(token.split('.').nth(index).unwrap());
    serde_json::from_slice(&bytes).unwrap()
}

fn octets(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A private key in the hands of somebody who signs whatever he likes.
struct Forge {
    algorithm: Algorithm,
    /// As it stands in a file of keys.
    file: String,
    form: Form,
    id: String,
    public: Option<verifier::PublicKey>,
}

impl Forge {
    fn new(algorithm: Algorithm) -> Self {
        let (form, file) = signing_key::make(algorithm).unwrap();
        let key = SigningKey::read(file.as_bytes(), form).unwrap();
        Self { algorithm, file: file.to_string(), form, id: key.id().to_owned(), public: key.public().cloned() }
    }

    fn der(&self) -> Vec<u8> {
        PrivatePkcs8KeyDer::from_pem_slice(self.file.as_bytes()).unwrap().secret_pkcs8_der().to_vec()
    }

    /// The signature as it should be.
    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(&self.der()).unwrap().sign(message).as_ref().to_vec(),
            Algorithm::Es256 => self.ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, message),
            Algorithm::Rs256 => self.rsa(&RSA_PKCS1_SHA256, message),
            Algorithm::Hs256 => self.hmac(hmac::HMAC_SHA256, message),
        }
    }

    fn ecdsa(&self, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.der()).unwrap();
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// In DER, as everybody but JOSE writes it.
    fn ecdsa_der(&self, message: &[u8]) -> Vec<u8> {
        self.ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, message)
    }

    fn rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let pair = rsa::KeyPair::from_pkcs8(&self.der()).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    fn hmac(&self, algorithm: hmac::Algorithm, message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(algorithm, self.file.trim_end().as_bytes()), message).as_ref().to_vec()
    }

    /// A token of this header and these claims, whatever they are.
    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encoded(&signature))
    }

    /// The header that belongs to the key.
    fn header(&self) -> Value {
        json!({ "alg": self.algorithm.name(), "typ": "at+jwt", "kid": self.id })
    }

    /// What others verify with, as a member of a JWK Set. For a secret, the secret.
    fn jwk(&self) -> Value {
        match &self.public {
            Some(public) => {
                let set = jwk::write_set(std::iter::once((self.id.as_str(), public)));
                serde_json::from_str::<Value>(&set).unwrap()["keys"][0].take()
            }
            None => json!({ "kty": "oct", "kid": self.id, "k": encoded(self.file.trim_end().as_bytes()) }),
        }
    }
}

/// Tokens that believe an issuer whose JWK Set is this.
fn believing(folder: &TempDir, jwks: &Value) -> Result<Tokens, Vec<FileProblem>> {
    let file = folder.path().join("jwks.json");
    fs::write(&file, jwks.to_string()).unwrap();
    Tokens::open(None, vec![foreign_settings(JwksSource::File(file))], at(NOW_S))
}

/// Tokens whose only key is this.
fn owning(folder: &TempDir, forge: &Forge) -> Tokens {
    let settings = settings(folder, forge.algorithm);
    fs::create_dir(&settings.keys).unwrap();
    let name = match forge.form {
        Form::Pem => "20261101T000000Z-eddsa-0.pem",
        Form::Secret => "20261101T000000Z-hs256-0.secret",
    };
    fs::write(settings.keys.join(name), &forge.file).unwrap();
    open(settings)
}
