//! Secrets as they are made: random characters, kept no longer than needed and shown only on purpose.
//!
//! All randomness is the operating system's. There is no second source: without it nothing is made.
//!
//! Never in this file: a secret that prints itself, or stays in memory after it is dropped.

use std::fmt;

use zeroize::Zeroizing;

use super::digest::Digest;

/// Characters of a secret that may be shown, see [`display_prefix`].
pub const PREFIX_CHARS_MAX: usize = 16;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The operating system would not give random bytes. There is no second source.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system's random generator does not answer: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A secret that was just made. Overwritten in memory when dropped; prints nothing of itself.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret that was put together elsewhere.
    #[must_use]
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The secret itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// What may be shown of it.
    #[must_use]
    pub fn display_prefix(&self) -> String {
        display_prefix(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The first characters of a secret, by which its owner recognises it: 16, but never more than half of it.
#[must_use]
pub fn display_prefix(secret: &str) -> String {
    let shown = PREFIX_CHARS_MAX.min(secret.chars().count() / 2);
    secret.chars().take(shown).collect()
}

/// Random bytes that need not be kept secret, such as a salt.
///
/// # Errors
///
/// [`NoRandomness`] if the operating system gives no random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// Makes an id that nobody else makes: a word, `_`, and 20 random characters (119 bits).
///
/// # Errors
///
/// [`NoRandomness`] if the operating system gives no random bytes.
pub fn random_id_of(kind: &str) -> Result<String, NoRandomness> {
    let mut id = format!("{kind}_");
    push_random_base62(&mut id, 20)?;
    Ok(id)
}

/// Makes a random UUID (RFC 9562, section 5.4): 122 random bits.
///
/// # Errors
///
/// [`NoRandomness`] if the operating system gives no random bytes.
pub fn random_uuid() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) | 4 << 76;
    let digits = format!("{:032x}", number & !(0b11 << 62) | 0b10 << 62);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

/// Makes a secret of `prefix` and `chars` random characters of `0-9A-Za-z`, of 5.95 bits each.
///
/// # Errors
///
/// [`NoRandomness`] if the operating system gives no random bytes.
pub fn random_base62(prefix: &str, chars: usize) -> Result<Secret, NoRandomness> {
    // With its whole capacity from the start: a string that grows leaves copies of itself behind.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + chars));
    text.push_str(prefix);
    push_random_base62(&mut text, chars)?;
    Ok(Secret(text))
}

/// Adds characters that are all equally likely. A byte has 256 values and 62 does not divide 256: the 8 values above
/// the last whole multiple are thrown away instead of making some characters likelier.
fn push_random_base62(text: &mut String, amount: usize) -> Result<(), NoRandomness> {
    let mut missing = amount;
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while missing > 0 {
        getrandom::fill(bytes.as_mut_slice()).map_err(NoRandomness)?;
        for byte in bytes.iter().filter(|byte| **byte < 248).take(missing) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            missing -= 1;
        }
    }
    Ok(())
}

/// Makes a secret of 64 hexadecimal digits: 256 random bits.
///
/// # Errors
///
/// [`NoRandomness`] if the operating system gives no random bytes.
pub fn random_hex64() -> Result<Secret, NoRandomness> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(NoRandomness)?;
    let mut text = Zeroizing::new(String::with_capacity(64));
    for byte in bytes.iter() {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Ok(Secret(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_random_is_never_the_same_and_has_the_length_it_should() {
        let ids: HashSet<String> = (0..1000).map(|_| random_id_of("login").unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.starts_with("login_") && id.len() == 26));
        let secrets: HashSet<String> =
            (0..100).map(|_| random_base62("rt_", 43).unwrap().expose().to_owned()).collect();
        assert!(secrets.len() == 100 && secrets.iter().all(|secret| secret.len() == 46));
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuids: HashSet<String> = (0..1000).map(|_| random_uuid().unwrap()).collect();
        assert_eq!(uuids.len(), 1000);
        for uuid in uuids {
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
    }

    #[test]
    fn a_secret_prints_nothing_of_itself_but_what_its_owner_may_show() {
        let secret = random_hex64().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.display_prefix(), secret.expose()[..16]);
    }

    /// 62 000 characters, 1 000 expected of each: a fair generator stays within 800 and 1 200 (six standard
    /// deviations) all but never. Taking the byte modulo 62 without rejection makes eight of them 1 211.
    #[test]
    fn every_character_is_equally_likely() {
        let mut text = String::new();
        push_random_base62(&mut text, 62_000).unwrap();
        for character in BASE62 {
            let count = text.bytes().filter(|byte| byte == character).count();
            assert!((800..=1200).contains(&count), "{}: {count}", char::from(*character));
        }
    }

    #[test]
    fn at_most_half_of_a_secret_is_shown() {
        for (secret, shown) in [
            ("kg_live_0123456789012345678901", "kg_live_0123456"),
            ("kg_live_01234567890123456789012345678901234567", "kg_live_01234567"),
            ("abcd", "ab"),
            ("abc", "a"),
            ("a", ""),
            ("", ""),
        ] {
            assert_eq!(display_prefix(secret), shown);
        }
    }
}
