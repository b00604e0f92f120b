//! Tells whether a text carries what looks like a plain key.
//!
//! Key files hold digests. Sooner or later somebody pastes the secret itself - into `name`, into a comment - and the
//! file goes into a repository, a ConfigMap and a backup. So the whole text of a key file is looked through, its
//! comments too.
//!
//! Two shapes are known: secrets that keygate makes (38 letters and digits behind a `_`, with a check that fits: a
//! chance of one in four billion for anything else) and the widespread `xx_live_...`, `xx_test_...`. A third, 64
//! hexadecimal digits, cannot be told from a digest and is looked for in single values only.

use super::format::{TAIL_CHARS, check_fits};

/// Characters behind `xx_live_` or `xx_test_` from which on it is taken for a key: more than a display prefix shows.
const TAIL_CHARS_MIN: usize = 16;

/// Characters of the shortest of all, `x_live_` with such a tail.
const WORD_CHARS_MIN: usize = 7 + TAIL_CHARS_MIN;

/// Finds everything in `text` that looks like a plain key, and says at which bytes each begins.
pub fn plain_keys_in(text: &str) -> impl Iterator<Item = usize> {
    let mut next = 0;
    // Byte by byte, because it is done with every byte of every key file: what is not ASCII separates words in any case.
    text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').filter_map(move |piece| {
        let start = next;
        next += piece.len() + 1;
        if piece.len() < WORD_CHARS_MIN {
            return None;
        }
        let word = std::str::from_utf8(piece).ok()?.trim_end_matches('_');
        looks_like_a_key(word).then_some(start)
    })
}

/// Says whether a single value is, or carries, what looks like a plain key, or a digest in the wrong place.
#[must_use]
pub fn carries_a_plain_key(value: &str) -> bool {
    is_hex64(value) || plain_keys_in(value).next().is_some()
}

/// Says whether `value` as a whole is 64 hexadecimal digits: a secret of that format, or a digest in the wrong place.
fn is_hex64(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Looks at one word of ASCII letters, digits and `_`.
fn looks_like_a_key(word: &str) -> bool {
    let Some((head, tail)) = word.rsplit_once('_') else { return false };
    if tail.len() == TAIL_CHARS && check_fits(word) {
        return true;
    }
    let environment = head.rsplit_once('_').filter(|(brand, _)| !brand.is_empty()).map(|(_, environment)| environment);
    tail.len() >= TAIL_CHARS_MIN && matches!(environment, Some("live" | "test")) && looks_random(tail)
}

/// A digit, or letters of both cases. Sixteen random characters have that practically always, and words of a language
/// that stand behind `_test_` rarely.
fn looks_random(tail: &str) -> bool {
    let has = |what: fn(&u8) -> bool| tail.as_bytes().iter().any(what);
    has(u8::is_ascii_digit) || (has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::super::format::SecretFormat;
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        plain_keys_in(text).collect()
    }

    #[test]
    fn a_secret_of_ours_is_found_anywhere() {
        let secret = SecretFormat::base62("acme").unwrap().generate(Some("eu")).unwrap();
        let secret = secret.expose();
        for (before, after) in
            [("", ""), ("# was ", "\n"), ("\u{e9}\u{e9} \"", "\""), ("https://x.example/?k=", "&a=b"), ("-", "-")]
        {
            assert_eq!(found(&format!("{before}{secret}{after}")), [before.len()], "{before:?}");
        }
    }

    #[test]
    fn a_common_shape_is_found() {
        for text in ["xy_live_4eC39HqLyjWDarjtT1zdp7dc", "pk_test_0123456789abcdef", "my_own_test_AbcdefGhijklmnop"] {
            assert_eq!(found(text), [0], "{text}");
            assert_eq!(found(&format!("{text}, {text}")), [0, text.len() + 2], "{text}");
            assert!(carries_a_plain_key(&format!("was {text}")));
        }
    }

    #[test]
    fn what_only_resembles_a_key_is_left_alone() {
        for text in [
            "",
            "_",
            "kg_live_0pQm7Zk3",
            "pk_test_a1b2c3d",
            "orders_test_authenticationfailure",
            "live_4eC39HqLyjWDarjtT1zdp7dc",
            "_test_4eC39HqLyjWDarjtT1zdp7dc",
            "key_4eC39HqLyjWDarjtT1zdp7dc",
            "acme_0123456789abcdefghijklmnopqrstuvwxyz01",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn sixty_four_hexadecimal_digits_are_told_from_everything_else() {
        assert!(carries_a_plain_key(&"aB3".repeat(22)[..64]));
        for value in ["", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
            assert!(!carries_a_plain_key(value));
        }
    }
}
