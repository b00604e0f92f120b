//! Keys that verify: parsed once, and each bound to the one algorithm that it is for.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

use super::algorithm::Algorithm;
use super::error::TokenError;

/// Bytes of a coordinate on the curve P-256.
pub(super) const P256_BYTES: usize = 32;

/// Bytes of the signatures of EdDSA and ES256 (RFC 8032, section 5.1.6; RFC 7518, section 3.4).
const PAIR_BYTES: usize = 64;

/// Bytes of a secret at least: as many as the hash has (RFC 7518, section 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// Bytes of an RSA modulus: 2048 bits (RFC 7518, section 3.3) to 8192.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Bytes of a public exponent at most; everybody uses 65537. A larger one only costs us time.
const EXPONENT_BYTES_MAX: usize = 4;

/// A public key, number by number.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    Ed25519([u8; 32]),
    P256 {
        x: [u8; P256_BYTES],
        y: [u8; P256_BYTES],
    },
    /// Without zeros in front.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// What it verifies.
    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256 { .. } => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Parses it. `None` if it is no good key: not on its curve, too short, or with an exponent that protects nothing.
    pub(super) fn verifier(&self) -> Option<Verifier> {
        let parsed = match self {
            Self::Ed25519(x) => ParsedPublicKey::new(&ED25519, x).ok()?,
            Self::P256 { x, y } => {
                // An uncompressed point (SEC 1, section 2.3.3). Parsing it checks that it is on the curve.
                let mut point = [0x04; 1 + 2 * P256_BYTES];
                point[1..=P256_BYTES].copy_from_slice(x);
                point[1 + P256_BYTES..].copy_from_slice(y);
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?
            }
            Self::Rsa { n, e } => {
                let whole = |number: &[u8]| number.first().is_some_and(|first| *first != 0);
                let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
                // The library looks at the length in bits only when it verifies.
                let long = MODULUS_BYTES.contains(&n.len()) && (n.len() > *MODULUS_BYTES.start() || n[0] >= 0x80);
                let good = whole(n) && odd(n) && long && whole(e) && odd(e) && e.as_slice() != [1];
                if !good || e.len() > EXPONENT_BYTES_MAX {
                    return None;
                }
                PublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?
            }
        };
        Some(Verifier::Public(self.algorithm(), parsed))
    }
}

/// A key that verifies signatures of one algorithm.
pub(super) enum Verifier {
    /// A public key.
    Public(Algorithm, ParsedPublicKey),
    /// A secret, for HS256.
    Secret(Box<hmac::Key>),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.algorithm())
    }
}

impl Verifier {
    /// The verifier of HS256 with this secret. `None` if it is shorter than [`SECRET_BYTES_MIN`].
    pub(super) fn secret(secret: &[u8]) -> Option<Self> {
        (secret.len() >= SECRET_BYTES_MIN).then(|| Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret).into()))
    }

    /// The one algorithm that it is for.
    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Public(algorithm, _) => *algorithm,
            Self::Secret(_) => Algorithm::Hs256,
        }
    }

    /// Whether `signature` is that of `message`. For HS256 in constant time.
    ///
    /// # Errors
    ///
    /// [`TokenError::Signature`], whatever is wrong with it.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let verified = match self {
            Self::Public(Algorithm::EdDsa | Algorithm::Es256, _) if signature.len() != PAIR_BYTES => {
                return Err(TokenError::Signature);
            }
            Self::Public(_, key) => key.verify_sig(message, signature),
            Self::Secret(key) => hmac::verify(key, message, signature),
        };
        verified.map_err(|_| TokenError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8037, appendix A.4.
    #[test]
    fn the_signature_of_the_rfc_is_that_of_its_key() {
        let key = octets("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            octets("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
        let verifier = PublicKey::Ed25519(key.try_into().unwrap()).verifier().unwrap();
        assert_eq!(verifier.verify(message, &signature), Ok(()));
        assert_eq!(verifier.verify(&message[1..], &signature), Err(TokenError::Signature));
        assert_eq!(format!("{verifier:?}"), "Verifier(EdDSA)");
    }

    #[test]
    fn a_key_that_protects_nothing_is_none() {
        let modulus = |bytes: usize, first: u8, last: u8| {
            let mut n = vec![0xa5; bytes];
            n[0] = first;
            n[bytes - 1] = last;
            n
        };
        let rsa = |n: Vec<u8>, e: &[u8]| PublicKey::Rsa { n, e: e.to_vec() }.verifier().is_some();
        assert!(rsa(modulus(256, 0x80, 1), &[1, 0, 1]));
        assert!(rsa(modulus(257, 0x01, 1), &[3]));
        for (what, n, e) in [
            ("1024 bits", modulus(128, 0x80, 1), &[1, 0, 1][..]),
            ("2047 bits", modulus(256, 0x7f, 1), &[1, 0, 1]),
            ("more than 8192 bits", modulus(1025, 0x80, 1), &[1, 0, 1]),
            ("zeros in front", modulus(257, 0, 1), &[1, 0, 1]),
            ("an even modulus", modulus(256, 0x80, 2), &[1, 0, 1]),
            ("no modulus", Vec::new(), &[1, 0, 1]),
            ("the exponent 1", modulus(256, 0x80, 1), &[1]),
            ("an even exponent", modulus(256, 0x80, 1), &[4]),
            ("the exponent 0", modulus(256, 0x80, 1), &[0]),
            ("no exponent", modulus(256, 0x80, 1), &[]),
            ("an exponent with zeros in front", modulus(256, 0x80, 1), &[0, 3]),
            ("an exponent that costs time", modulus(256, 0x80, 1), &[1, 0, 0, 0, 1]),
        ] {
            assert!(!rsa(n, e), "{what}");
        }
        assert!(PublicKey::P256 { x: [1; 32], y: [1; 32] }.verifier().is_none(), "not on the curve");
        assert!(PublicKey::P256 { x: [0; 32], y: [0; 32] }.verifier().is_none(), "not on the curve");
        assert!(Verifier::secret(&[7; 31]).is_none() && Verifier::secret(&[7; 32]).is_some());
    }
}
