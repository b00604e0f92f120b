//! How secrets look: how they are made, and how a typo is told from a key.
//!
//! ```text
//! kg_live_0pQm...(32)...7Zk3xW9a
//! |prefix||   random   ||check |      the check is CRC-32 of everything before it
//! ```
//!
//! The prefix says whose secret it is, and lets leak scanners find it. The random part has 190 bits from the operating
//! system's generator. The check lets the gateway refuse a mistyped or cut off secret without a look-up, and lets
//! a leak scanner be sure. It protects nothing: anybody can compute it.
//!
//! Never in this file: where randomness comes from, and how a secret is kept ([`crate::secret`]).

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::secret::{NoRandomness, Secret, random_base62, random_hex64, random_id_of, random_uuid};

/// Random characters of a secret: log2(62^32) is 190.5 bits.
const RANDOM_CHARS: usize = 32;

/// Characters of the check: 62^6 is more than 2^32.
const CHECK_CHARS: usize = 6;

/// Random and check characters together.
pub(super) const TAIL_CHARS: usize = RANDOM_CHARS + CHECK_CHARS;

/// How the secrets of an installation look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFormat {
    /// The first word of every secret, like `kg`. Not used by [`Shape::Hex64`].
    brand: String,
    /// Whole prefixes by environment, like `sandbox` -> `pk_test_`. An environment that is not here gets
    /// `<brand>_<environment>_`.
    prefixes: BTreeMap<String, String>,
    shape: Shape,
    ids: Ids,
}

/// How the ids of new keys look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// `key_` and 20 letters and digits.
    #[default]
    Word,
    /// A random UUID (RFC 9562, section 5.4).
    Uuid,
}

/// What stands behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 32 random characters of `0-9A-Za-z` and 6 of CRC-32.
    Base62,
    /// 64 hexadecimal digits, 256 random bits, without prefix and check.
    Hex64,
}

/// Why a format cannot be used; goes on after the name of what cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The brand has other characters, or too many.
    #[error("must be 1 to {} letters and digits (ASCII)", SecretFormat::BRAND_CHARS_MAX)]
    Brand,
    /// The prefix has other characters, or too many, or no `_` at its end.
    #[error(
        "must be 2 to {} letters, digits and `_`, with `_` at its end, such as `pk_test_`",
        SecretFormat::BRAND_CHARS_MAX
    )]
    Prefix,
}

impl SecretFormat {
    /// The brand of an installation that has not chosen one.
    pub const BRAND: &'static str = "kg";
    /// Characters a brand or a prefix may have.
    pub const BRAND_CHARS_MAX: usize = 32;

    /// `<brand>_<environment>_`, 32 random characters, 6 characters of check.
    ///
    /// # Errors
    ///
    /// [`FormatError::Brand`] unless it is 1 to 32 ASCII letters and digits.
    pub fn base62(brand: &str) -> Result<Self, FormatError> {
        let good = (1..=Self::BRAND_CHARS_MAX).contains(&brand.len())
            && brand.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !good {
            return Err(FormatError::Brand);
        }
        Ok(Self { brand: brand.to_owned(), prefixes: BTreeMap::new(), shape: Shape::Base62, ids: Ids::Word })
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub const fn hex64() -> Self {
        Self { brand: String::new(), prefixes: BTreeMap::new(), shape: Shape::Hex64, ids: Ids::Word }
    }

    /// Gives the secrets of `environment` a whole prefix of their own, like `pk_test_`. The empty word stands for keys
    /// without an environment.
    ///
    /// # Errors
    ///
    /// [`FormatError::Prefix`] unless it is 2 to 32 ASCII letters, digits and `_`, with `_` at its end: the end of
    /// the prefix must be seen without knowing it.
    pub fn with_prefix(mut self, environment: &str, prefix: &str) -> Result<Self, FormatError> {
        let good = (2..=Self::BRAND_CHARS_MAX).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && prefix.ends_with('_');
        if !good {
            return Err(FormatError::Prefix);
        }
        self.prefixes.insert(environment.to_owned(), prefix.to_owned());
        Ok(self)
    }

    /// As [`SecretFormat::with_prefix`], unless the environment has a prefix already: how the keys of an environment begin is
    /// how its new secrets begin.
    ///
    /// # Errors
    ///
    /// As [`SecretFormat::with_prefix`].
    pub fn with_prefix_unless_given(self, environment: &str, prefix: &str) -> Result<Self, FormatError> {
        let given = self.shape == Shape::Hex64 || self.prefixes.contains_key(environment);
        if given { Ok(self) } else { self.with_prefix(environment, prefix) }
    }

    /// Makes a new secret for a key of this environment.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if the operating system gives no random bytes.
    pub fn generate(&self, environment: Option<&str>) -> Result<Secret, NoRandomness> {
        match self.shape {
            Shape::Hex64 => random_hex64(),
            Shape::Base62 => {
                let prefix = self.prefix(environment);
                let random = random_base62(&prefix, RANDOM_CHARS)?;
                // With its whole capacity from the start: a string that grows leaves copies of itself behind.
                let mut text = Zeroizing::new(String::with_capacity(prefix.len() + TAIL_CHARS));
                text.push_str(random.expose());
                let check = check_of(text.as_bytes());
                text.extend(check.map(char::from));
                Ok(Secret::new(text))
            }
        }
    }

    /// Makes an id for a key that nobody else makes: `key_` and 20 random characters (119 bits), or a UUID.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if the operating system gives no random bytes.
    pub fn random_id(&self) -> Result<String, NoRandomness> {
        match self.ids {
            Ids::Word => random_id_of("key"),
            Ids::Uuid => random_uuid(),
        }
    }

    /// The same with other ids for new keys.
    #[must_use]
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Says whether `text` can be a secret, as far as one can tell without a look-up.
    ///
    /// Costs as much as hashing and looking up (some 200 ns): on the road, ask it about what was not found, to tell a
    /// typo from an unknown key.
    ///
    /// Refuses only what has the shape of this format's secrets - one of its prefixes, and 38 letters and digits
    /// behind the last `_` - and a check that does not fit. Everything else may be a key from elsewhere, which was
    /// brought along, and is left to the store.
    #[must_use]
    pub fn well_formed(&self, text: &str) -> bool {
        match self.shape {
            Shape::Hex64 => true,
            Shape::Base62 => !self.has_prefix(text) || tail(text).is_none_or(|_| check_is_right(text)),
        }
    }

    fn has_prefix(&self, text: &str) -> bool {
        text.strip_prefix(self.brand.as_str()).is_some_and(|rest| rest.starts_with('_'))
            || self.prefixes.values().any(|prefix| text.starts_with(prefix.as_str()))
    }

    /// The prefix of secrets of an environment. What is neither letter nor digit in the name of the environment is
    /// left out, so that a double click selects a whole secret, and scanners need to know one alphabet only.
    fn prefix(&self, environment: Option<&str>) -> String {
        let environment = environment.unwrap_or_default();
        if let Some(prefix) = self.prefixes.get(environment) {
            return prefix.clone();
        }
        let word: String =
            environment.chars().filter(char::is_ascii_alphanumeric).take(Self::BRAND_CHARS_MAX).collect();
        if word.is_empty() { format!("{}_", self.brand) } else { format!("{}_{word}_", self.brand) }
    }
}

impl Default for SecretFormat {
    fn default() -> Self {
        Self { brand: Self::BRAND.to_owned(), prefixes: BTreeMap::new(), shape: Shape::Base62, ids: Ids::Word }
    }
}

/// Says whether the last 6 characters are the check of everything before them, and the whole has the shape that
/// [`SecretFormat::generate`] gives, whatever its prefix.
pub(super) fn check_fits(text: &str) -> bool {
    tail(text).is_some() && check_is_right(text)
}

fn check_is_right(text: &str) -> bool {
    let text = text.as_bytes();
    text.split_last_chunk::<CHECK_CHARS>().is_some_and(|(before, check)| check_of(before) == *check)
}

/// What stands behind the last `_`, if it is 38 letters and digits.
fn tail(text: &str) -> Option<&str> {
    let (_, tail) = text.rsplit_once('_')?;
    (tail.len() == TAIL_CHARS && tail.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(tail)
}

/// The digits of numbers in base 62, smallest first.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 in base 62, most significant digit first, with leading zeros.
fn check_of(bytes: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32(bytes);
    let mut check = [b'0'; CHECK_CHARS];
    for digit in check.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    check
}

/// CRC-32 as in zlib, PNG and Ethernet (reflected polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn made(format: &SecretFormat, environment: Option<&str>) -> String {
        format.generate(environment).unwrap().expose().to_owned()
    }

    #[test]
    fn the_check_is_the_crc_32_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
        assert_eq!(crc32(b""), 0);
        assert_eq!(&check_of(b"123456789"), b"3jZRME", "0xcbf43926 in base 62");
        assert_eq!(&check_of(b""), b"000000");
    }

    #[test]
    fn a_secret_has_prefix_random_and_check() {
        let secret = made(&SecretFormat::default(), Some("live"));
        assert!(secret.starts_with("kg_live_"), "{}", secret.len());
        assert_eq!(secret.len(), "kg_live_".len() + 38);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert!(check_fits(&secret));
    }

    #[test]
    fn the_prefix_follows_brand_and_environment() {
        let format = SecretFormat::base62("acme").unwrap().with_prefix("sandbox", "pk_test_").unwrap();
        for (environment, prefix) in [
            (None, "acme_"),
            (Some("live"), "acme_live_"),
            (Some("sandbox"), "pk_test_"),
            (Some("eu-west.1"), "acme_euwest1_"),
            (Some("--"), "acme_"),
        ] {
            let secret = made(&format, environment);
            assert_eq!(&secret[..secret.len() - 38], prefix);
            assert!(format.well_formed(&secret), "{environment:?}");
        }
    }

    #[test]
    fn a_brand_or_prefix_with_other_characters_is_refused() {
        for brand in ["", "a_b", "a b", "\u{e9}", &"x".repeat(33)] {
            assert_eq!(SecretFormat::base62(brand), Err(FormatError::Brand), "{brand}");
        }
        for prefix in ["", "_", "pk", "pk-test_", "p k_", &"x_".repeat(17)] {
            assert_eq!(SecretFormat::default().with_prefix("e", prefix), Err(FormatError::Prefix), "{prefix}");
        }
    }

    #[test]
    fn no_two_secrets_are_alike() {
        let format = SecretFormat::default();
        let secrets: HashSet<String> = (0..1000).map(|_| made(&format, None)).collect();
        assert_eq!(secrets.len(), 1000);
        assert_ne!(format.random_id().unwrap(), format.random_id().unwrap());
        let uuid = format.with_ids(Ids::Uuid).random_id().unwrap();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
    }

    #[test]
    fn a_typo_is_refused_without_a_look_up() {
        let format = SecretFormat::default();
        let secret = made(&format, Some("live"));
        assert!(format.well_formed(&secret));
        for at in "kg_live_".len()..secret.len() {
            let mut typo = secret.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert!(!format.well_formed(&String::from_utf8(typo).unwrap()), "typo at {at}");
        }
        assert!(!format.well_formed(&secret.replace("kg_live_", "kg_test_")), "another environment is a typo, too");
    }

    #[test]
    fn a_key_from_elsewhere_is_left_to_the_store() {
        let format = SecretFormat::default();
        let of_another_brand = made(&SecretFormat::base62("sk").unwrap(), Some("live")).replace('x', "y");
        for text in
            ["", "k", "kg_", "kg_live_short", "AKIAIOSFODNN7EXAMPLE", &"0".repeat(64), "kg_\u{e9}", &of_another_brand]
        {
            assert!(format.well_formed(text));
        }
    }

    #[test]
    fn hex_secrets_are_64_digits() {
        let format = SecretFormat::hex64();
        let secret = made(&format, Some("live"));
        assert_eq!(secret.len(), 64);
        assert!(secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert!(format.well_formed(&secret));
        assert_ne!(secret, made(&format, Some("live")));
    }
}
