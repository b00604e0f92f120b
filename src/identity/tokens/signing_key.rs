//! Keys that sign: made, written as files, read from them, parsed once.
//!
//! Private keys are PKCS #8 (RFC 5958) in PEM (RFC 7468), as `openssl genpkey` writes them. Secrets for HS256 are text:
//! the octets of the file are the octets of the key, less blanks and ends of lines at its end.
//!
//! Never in this file: a message that shows a byte of a key.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::compact::{Writing, encoded};
use super::error::IssueError;
use super::jwk;
use super::verifier::{P256_BYTES, PublicKey, SECRET_BYTES_MIN, Verifier};
use crate::secret::random_hex64;

/// The type of our access tokens (RFC 9068, section 2.1).
pub(super) const ACCESS: &str = "at+jwt";

/// The type of our refresh tokens.
pub(super) const REFRESH: &str = "rt+jwt";

/// How the key of a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// PKCS #8 in PEM.
    Pem,
    /// The secret itself.
    Secret,
}

/// Which kind of token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    Refresh,
}

/// Why the content of a file is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAKey {
    #[error("holds no unencrypted private key in PEM (`-----BEGIN PRIVATE KEY-----`, PKCS #8)")]
    Pem,
    #[error("holds a private key that is neither Ed25519, nor P-256, nor RSA of 2048 to 8192 bits")]
    Kind,
    #[error("holds a secret of fewer than {SECRET_BYTES_MIN} characters")]
    Short,
}

/// A key could not be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a new key cannot be made: the cryptographic library or the random generator refuses")]
pub(super) struct NotMade;

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    Hs256(Box<hmac::Key>),
}

/// A key that signs tokens.
pub(super) struct SigningKey {
    id: Box<str>,
    pair: Pair,
    /// What others verify with; none for a secret.
    public: Option<PublicKey>,
    verifier: Verifier,
    /// The headers of access and refresh tokens, in base64url.
    headers: [Box<str>; 2],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.algorithm(), self.id)
    }
}

impl SigningKey {
    /// Reads the content of a file.
    ///
    /// # Errors
    ///
    /// [`NotAKey`].
    pub(super) fn read(content: &[u8], form: Form) -> Result<Self, NotAKey> {
        match form {
            Form::Secret => Self::secret(content.trim_ascii_end()),
            Form::Pem => {
                let der = PrivatePkcs8KeyDer::from_pem_slice(content).map_err(|_| NotAKey::Pem)?;
                Self::private(der.secret_pkcs8_der()).ok_or(NotAKey::Kind)
            }
        }
    }

    /// A private key says itself what it is for: each parser refuses what is for another.
    fn private(der: &[u8]) -> Option<Self> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let public = PublicKey::Ed25519(pair.public_key().as_ref().try_into().ok()?);
            return Self::with(Pair::EdDsa(pair), public);
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            // An uncompressed point: 4, x, y (SEC 1, section 2.3.3).
            let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(P256_BYTES)?;
            let public = PublicKey::P256 { x: x.try_into().ok()?, y: y.try_into().ok()? };
            return Self::with(Pair::Es256(pair), public);
        }
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        let (_, numbers) = RSAPublicKey::from_der(pair.public_key().as_ref()).ok()?;
        let whole = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let public = PublicKey::Rsa { n: whole(numbers.modulus), e: whole(numbers.exponent) };
        Self::with(Pair::Rs256(pair), public)
    }

    fn with(pair: Pair, public: PublicKey) -> Option<Self> {
        let verifier = public.verifier()?;
        Some(Self::named(jwk::thumbprint(&public), pair, Some(public), verifier))
    }

    fn secret(secret: &[u8]) -> Result<Self, NotAKey> {
        let verifier = Verifier::secret(secret).ok_or(NotAKey::Short)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // A thumbprint would be a plain hash of the secret (RFC 7638, section 7). This says no more of it than any
        // token does.
        let id = encoded(hmac::sign(&key, b"the name of this key").as_ref());
        Ok(Self::named(id, Pair::Hs256(Box::new(key)), None, verifier))
    }

    fn named(id: String, pair: Pair, public: Option<PublicKey>, verifier: Verifier) -> Self {
        let algorithm = verifier.algorithm().name();
        let header = |typ| encoded(json!({ "alg": algorithm, "typ": typ, "kid": id }).to_string().as_bytes()).into();
        Self { headers: [header(ACCESS), header(REFRESH)], id: id.into(), pair, public, verifier }
    }

    /// Its name, which follows from the key: `kid`.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What it signs with.
    pub(super) const fn algorithm(&self) -> Algorithm {
        self.verifier.algorithm()
    }

    /// What others verify with; none for a secret.
    pub(super) const fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// What we verify with.
    pub(super) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Makes a token of the claims, which are JSON.
    ///
    /// # Errors
    ///
    /// [`IssueError::TooLarge`] or [`IssueError::Signing`].
    pub(super) fn token(&self, kind: Kind, claims: &[u8]) -> Result<Zeroizing<String>, IssueError> {
        let header = match kind {
            Kind::Access => &self.headers[0],
            Kind::Refresh => &self.headers[1],
        };
        let writing = Writing::begin(header, claims, self.signature_bytes()).ok_or(IssueError::TooLarge)?;
        let message = writing.to_sign();
        Ok(match &self.pair {
            Pair::EdDsa(pair) => {
                let signature = pair.try_sign(message).map_err(|_| IssueError::Signing)?;
                writing.end(signature.as_ref())
            }
            Pair::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| IssueError::Signing)?;
                writing.end(signature.as_ref())
            }
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| IssueError::Signing)?;
                writing.end(&signature)
            }
            Pair::Hs256(key) => {
                let signature = hmac::sign(key, message);
                writing.end(signature.as_ref())
            }
        })
    }

    fn signature_bytes(&self) -> usize {
        match &self.pair {
            Pair::EdDsa(_) | Pair::Es256(_) => 64,
            Pair::Rs256(pair) => pair.public_modulus_len(),
            Pair::Hs256(_) => 32,
        }
    }
}

/// Makes a key, as the content of a file. Takes some tenths of a second for RS256, which has 2048 bits.
///
/// # Errors
///
/// [`NotMade`].
pub(super) fn make(algorithm: Algorithm) -> Result<(Form, Zeroizing<String>), NotMade> {
    let made = match algorithm {
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(|_| NotMade)?;
            pem(pair.to_pkcs8v1().map_err(|_| NotMade)?.as_ref())
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| NotMade)?;
            pem(pair.to_pkcs8v1().map_err(|_| NotMade)?.as_ref())
        }
        Algorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| NotMade)?;
            let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| NotMade)?;
            pem(der.as_ref())
        }
        Algorithm::Hs256 => {
            let secret = random_hex64().map_err(|_| NotMade)?;
            let mut text = Zeroizing::new(String::with_capacity(secret.expose().len() + 1));
            text.push_str(secret.expose());
            text.push('\n');
            return Ok((Form::Secret, text));
        }
    };
    Ok((Form::Pem, made))
}

/// Writes a private key in PEM: lines of 64 letters (RFC 7468, section 2).
fn pem(der: &[u8]) -> Zeroizing<String> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
    const END: &str = "-----END PRIVATE KEY-----\n";
    // With its whole capacity from the start: a string that grows leaves copies of itself behind.
    let letters = der.len().div_ceil(3) * 4 + der.len().div_ceil(48);
    let mut text = Zeroizing::new(String::with_capacity(BEGIN.len() + letters + END.len()));
    text.push_str(BEGIN);
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_can_be_read_and_signs_what_it_verifies() {
        for algorithm in Algorithm::ALL {
            let (form, content) = make(algorithm).unwrap();
            assert_eq!(content.len(), content.capacity(), "{algorithm}: no copies were left behind");
            let key = SigningKey::read(content.as_bytes(), form).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.public().is_some(), !algorithm.is_symmetric());
            assert_eq!(SigningKey::read(content.as_bytes(), form).unwrap().id(), key.id(), "the name follows from it");
            assert!(!format!("{key:?}").contains(&content[28..60]), "{algorithm}");

            let token = key.token(Kind::Access, b"{}").unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert_eq!(signature.len(), key.signature_bytes(), "{algorithm}");
            assert_eq!(key.verifier().verify(message.as_bytes(), &signature), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_from_one_without_being_shown() {
        let (_, good) = make(Algorithm::EdDsa).unwrap();
        let p384 = "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDA=\n\
                    -----END PRIVATE KEY-----\n";
        for (form, content, expected) in [
            (Form::Pem, "", NotAKey::Pem),
            (Form::Pem, "hunter2", NotAKey::Pem),
            (Form::Pem, &good[..good.len() - 30], NotAKey::Pem),
            (Form::Pem, &good.replace("PRIVATE", "PUBLIC"), NotAKey::Pem),
            (Form::Pem, &good.replace("PRIVATE", "ENCRYPTED PRIVATE"), NotAKey::Pem),
            (Form::Pem, &good.replace("PRIVATE", "RSA PRIVATE"), NotAKey::Pem),
            (Form::Pem, p384, NotAKey::Kind),
            (Form::Secret, "0123456789012345678901234567890", NotAKey::Short),
            (Form::Secret, "0123456789012345678901234567890\n\n \n", NotAKey::Short),
            (Form::Secret, "", NotAKey::Short),
        ] {
            assert_eq!(SigningKey::read(content.as_bytes(), form).err(), Some(expected), "{content}");
        }
    }

    /// What stands in the file is what an operator gives to whoever else must verify.
    #[test]
    fn the_end_of_the_line_is_no_part_of_a_secret() {
        let secret = "0123456789abcdef0123456789abcdef";
        let id = |content: &str| SigningKey::read(content.as_bytes(), Form::Secret).unwrap().id().to_owned();
        assert_eq!(id(secret), id(&format!("{secret}\r\n")));
        assert_ne!(id(secret), id(&format!(" {secret}")));
        assert!(!id(secret).contains(secret));
    }
}
