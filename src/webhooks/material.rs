//! Secrets and public keys, ready to be used.
//!
//! Every signature is compared with every candidate, whatever the others said, and HMACs in constant time. Where a tenant
//! has no candidate of a kind, a decoy takes its place: it does the same work, and its answer does not count. So the time
//! that a refusal takes does not tell whether there is a secret.
//!
//! Never in this file: a `Debug` that shows a key.

use std::cell::OnceCell;
use std::fmt;
use std::hint::black_box;

use aws_lc_rs::{hmac, signature};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::description::{Algorithm, Kind};
use crate::secret::Digest;

/// Bytes that the secret of an HMAC must have: 128 bits.
pub const SECRET_BYTES_MIN: usize = 16;

/// Bytes that the secret of an HMAC may have.
pub const SECRET_BYTES_MAX: usize = 512;

/// Bytes of a public key (RFC 8032, section 5.1.5).
const PUBLIC_KEY_BYTES: usize = 32;

/// The base point (RFC 8032, section 5.1): a point like any other, so checking against it is as much work.
const DECOY_POINT: [u8; PUBLIC_KEY_BYTES] = {
    let mut point = [0x66; PUBLIC_KEY_BYTES];
    point[0] = 0x58;
    point
};

/// The points of small order, without the bit of the sign. Under them anybody can make signatures that are good for
/// nearly everything, and all zeros, a common placeholder, is among them. Taken mod 2^255 - 19: 0, 1, its last two
/// numbers' neighbours, and the two of order 8.
const SMALL_ORDER: [[u8; PUBLIC_KEY_BYTES]; 7] = [
    [0; PUBLIC_KEY_BYTES],
    point(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    point(0xec, 0xff, 0x7f),
    point(0xed, 0xff, 0x7f),
    point(0xee, 0xff, 0x7f),
];

const fn point(first: u8, middle: u8, last: u8) -> [u8; PUBLIC_KEY_BYTES] {
    let mut point = [middle; PUBLIC_KEY_BYTES];
    point[0] = first;
    point[PUBLIC_KEY_BYTES - 1] = last;
    point
}

/// Why bytes are no secret. `Display` goes on after the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MaterialError {
    #[error("is too short: an HMAC needs at least {SECRET_BYTES_MIN} bytes of secret")]
    TooShort,
    #[error("is too long: at most {SECRET_BYTES_MAX} bytes of secret are used")]
    TooLong,
    #[error("is no public key: those of Ed25519 have {PUBLIC_KEY_BYTES} bytes")]
    NoPublicKey,
    #[error("is a public key under which anybody can sign; is it a placeholder?")]
    Weak,
}

/// One secret or public key.
pub(super) enum Material {
    /// Kept as it is, and overwritten when dropped: worked out for use it is 40 times as large.
    Hmac(hmac::Algorithm, Zeroizing<Vec<u8>>),
    Ed25519([u8; PUBLIC_KEY_BYTES]),
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Material")
    }
}

impl Material {
    /// Makes a secret or a public key of its bytes.
    pub(super) fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, MaterialError> {
        let hmac = |hash| match bytes.len() {
            ..SECRET_BYTES_MIN => Err(MaterialError::TooShort),
            SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(Self::Hmac(hash, Zeroizing::new(bytes.to_vec()))),
            _ => Err(MaterialError::TooLong),
        };
        match algorithm {
            Algorithm::HmacSha256 => hmac(hmac::HMAC_SHA256),
            Algorithm::HmacSha512 => hmac(hmac::HMAC_SHA512),
            Algorithm::Ed25519 => {
                let key: [u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| MaterialError::NoPublicKey)?;
                let mut without_sign = key;
                without_sign[PUBLIC_KEY_BYTES - 1] &= 0x7f;
                if SMALL_ORDER.contains(&without_sign) { Err(MaterialError::Weak) } else { Ok(Self::Ed25519(key)) }
            }
        }
    }

    /// What does the work where there is no secret.
    fn decoy(algorithm: Algorithm) -> Self {
        let hmac = |hash| Self::Hmac(hash, Zeroizing::new(vec![0; SECRET_BYTES_MIN]));
        match algorithm {
            Algorithm::HmacSha256 => hmac(hmac::HMAC_SHA256),
            Algorithm::HmacSha512 => hmac(hmac::HMAC_SHA512),
            Algorithm::Ed25519 => Self::Ed25519(DECOY_POINT),
        }
    }

    /// Whether any of the signatures is good. Looks at all of them in any case.
    fn has_signed(&self, content: &Content<'_>, signatures: &[Vec<u8>]) -> bool {
        match self {
            Self::Hmac(hash, secret) => {
                let mut context = hmac::Context::with_key(&hmac::Key::new(*hash, secret));
                content.pieces.iter().for_each(|piece| context.update(piece));
                let tag = context.sign();
                signatures.iter().fold(false, |good, signature| good | bool::from(tag.as_ref().ct_eq(signature)))
            }
            Self::Ed25519(key) => {
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, key);
                signatures.iter().fold(false, |good, signature| good | key.verify(content.whole(), signature).is_ok())
            }
        }
    }
}

/// What was signed, in pieces; put together only if somebody must have it whole.
pub(super) struct Content<'a> {
    pieces: Vec<&'a [u8]>,
    whole: OnceCell<Vec<u8>>,
}

impl<'a> Content<'a> {
    pub(super) const fn new(pieces: Vec<&'a [u8]>) -> Self {
        Self { pieces, whole: OnceCell::new() }
    }

    /// The SHA-256 of the whole.
    pub(super) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        self.pieces.iter().for_each(|piece| hash.update(piece));
        Digest::from_bytes(hash.finalize().into())
    }

    fn whole(&self) -> &[u8] {
        self.whole.get_or_init(|| self.pieces.concat())
    }
}

/// The secrets of one tenant and environment: some for each kind of the scheme, in its order.
pub(super) type Candidates = Vec<Vec<Material>>;

/// Whether any candidate has made any of the signatures. `signatures` are in the order of `kinds`, as `candidates` are.
pub(super) fn any_has_signed(
    kinds: &[Kind],
    candidates: Option<&Candidates>,
    signatures: &[Vec<Vec<u8>>],
    content: &Content<'_>,
) -> bool {
    let mut good = false;
    for (index, (kind, signatures)) in kinds.iter().zip(signatures).enumerate() {
        if signatures.is_empty() {
            continue;
        }
        match candidates.and_then(|candidates| candidates.get(index)).filter(|own| !own.is_empty()) {
            Some(own) => {
                for material in own {
                    good |= material.has_signed(content, signatures);
                }
            }
            None => {
                black_box(Material::decoy(kind.algorithm).has_signed(content, signatures));
            }
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(algorithm: Algorithm, bytes: &[u8]) -> Option<MaterialError> {
        Material::new(algorithm, bytes).err()
    }

    #[test]
    fn a_secret_has_a_length_that_protects() {
        for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha512] {
            assert_eq!(refused(algorithm, &[7; SECRET_BYTES_MIN - 1]), Some(MaterialError::TooShort));
            assert_eq!(refused(algorithm, &[7; SECRET_BYTES_MIN]), None);
            assert_eq!(refused(algorithm, &[7; SECRET_BYTES_MAX]), None);
            assert_eq!(refused(algorithm, &[7; SECRET_BYTES_MAX + 1]), Some(MaterialError::TooLong));
        }
        for length in [0, 31, 33, 64] {
            assert_eq!(refused(Algorithm::Ed25519, &vec![7; length]), Some(MaterialError::NoPublicKey), "{length}");
        }
    }

    /// With all zeros as key, R of small order and S = 0, one signature in a few fits any message.
    #[test]
    fn a_public_key_under_which_anybody_can_sign_is_refused() {
        for mut point in SMALL_ORDER {
            assert_eq!(refused(Algorithm::Ed25519, &point), Some(MaterialError::Weak));
            point[31] |= 0x80;
            assert_eq!(refused(Algorithm::Ed25519, &point), Some(MaterialError::Weak), "the other sign");
        }
        let forged = |key: Material| {
            let mut signature = vec![0; 64];
            signature[0] = 1;
            (0..64_u8).any(|message| key.has_signed(&Content::new(vec![&[message]]), std::slice::from_ref(&signature)))
        };
        assert!(forged(Material::Ed25519(SMALL_ORDER[0])), "if this fails, the table is not needed any more");
        assert!(!forged(Material::Ed25519(DECOY_POINT)));
    }

    #[test]
    fn what_a_decoy_says_does_not_count() {
        let kinds = [Algorithm::HmacSha256, Algorithm::HmacSha512].map(|algorithm| Kind {
            label: None,
            algorithm,
            encoding: super::super::Encoding::Hex,
            secrets: super::super::SecretForm { prefix: String::new(), written: super::super::Written::Text },
        });
        let content = Content::new(vec![b"a", b"b"]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0; SECRET_BYTES_MIN]);
        let of_decoy = vec![hmac::sign(&key, b"ab").as_ref().to_vec()];
        assert!(Material::decoy(Algorithm::HmacSha256).has_signed(&content, &of_decoy));
        let signatures = [of_decoy, Vec::new()];
        assert!(!any_has_signed(&kinds, None, &signatures, &content));
        assert!(!any_has_signed(&kinds, Some(&vec![Vec::new(), Vec::new()]), &signatures, &content));
        let own = Material::new(Algorithm::HmacSha256, &[0; SECRET_BYTES_MIN]).unwrap();
        assert!(any_has_signed(&kinds, Some(&vec![vec![own], Vec::new()]), &signatures, &content));
    }
}
