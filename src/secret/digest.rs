//! What keygate knows of a secret: its SHA-256, and nothing else.
//!
//! A secret has at least 128 random bits, so a plain SHA-256 is enough: there is no dictionary to try, and a slow
//! password hash would only make every request slow. The digest itself is not shown either: whoever has it can test
//! guesses, and can tell that two systems share a key.
//!
//! Never in this file: a secret that outlives the call, a `Debug` or `Display` that prints a digest.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::{Digest as _, Sha256};

/// SHA-256 of a secret.
///
/// `Debug` prints nothing of it, there is no `Display`. `Hash` gives the first 8 bytes, for [`DigestHasher`]; equality
/// compares all 32. The comparison may stop at the first difference: what it would reveal is the digest of a string
/// that the client itself has chosen, and nobody can steer a digest towards a wanted value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; Self::BYTES]);

impl Digest {
    /// How long a SHA-256 is.
    pub const BYTES: usize = 32;

    /// Hashes `secret`, which may be any bytes.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits of either case. Anything else is `None`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * Self::BYTES {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The digest that was stored as these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored; never to be shown.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Writes 64 lower-case hexadecimal digits.
    ///
    /// For `keygate keys create` and `keygate keys hash` only, where showing the digest is the point.
    #[must_use]
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
            .collect()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

/// The hasher of maps whose keys are [`Digest`]s: a SHA-256 is already as evenly spread as a hash can be.
///
/// Nobody can aim at a bucket: only operators insert, and aiming would take some 2^64 trials of SHA-256 a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestHasher(u64);

/// Makes [`DigestHasher`]s.
pub type DigestState = BuildHasherDefault<DigestHasher>;

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, eight: u64) {
        self.0 = eight;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Digests never come here; FNV-1a, so that whatever else does is at least not all in one bucket.
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The first 16 bytes of the SHA-256 of `text`: who is counted, in a form that costs nothing to look up.
///
/// 128 bits: two different names share a bucket with a chance that nobody needs to think about.
#[must_use]
pub fn counted_as(text: &str) -> u128 {
    Digest::of(text.as_bytes()).0.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn first_eight(bytes: &[u8; Digest::BYTES]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    /// The digest of "abc", from FIPS 180-4's example.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_the_sha_256_of_the_secret() {
        assert_eq!(Digest::of(b"abc").to_hex(), ABC);
        assert_eq!(Digest::from_hex(ABC), Some(Digest::of(b"abc")));
        assert_eq!(Digest::from_hex(&ABC.to_uppercase()), Some(Digest::of(b"abc")));
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_digest() {
        for wrong in
            ["", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), &"é".repeat(32), &ABC.replace("ba", " a")]
        {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_digest_prints_nothing_of_itself() {
        assert_eq!(format!("{:?}", Digest::of(b"abc")), "Digest");
        assert_eq!(format!("{:#?}", [Digest::of(b"abc")]), "[\n    Digest,\n]");
    }

    #[test]
    fn the_hash_of_a_digest_is_its_first_eight_bytes() {
        assert_eq!(DigestState::default().hash_one(Digest::of(b"abc")), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn who_is_counted_is_the_first_half_of_a_sha_256() {
        assert_eq!(counted_as("abc"), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
    }
}
