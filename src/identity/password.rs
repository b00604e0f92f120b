//! A password: what may be one, and what is kept of it.
//!
//! Whoever guesses passwords shall pay for each guess, also with the stolen file in hand: a check takes 19 MiB of memory
//! and some 25 ms of a processor (Argon2id, RFC 9106, with the second choice of parameters of the OWASP Password Storage
//! Cheat Sheet). An unknown user costs as much as a known one: the answer tells nobody who is there.
//!
//! Never in this file: a password in a message, or in memory for longer than it takes; and whose turn it is
//! ([`super::passwords`]).

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::secret::{NoRandomness, random_bytes};

/// Characters a password must have at least (NIST SP 800-63B-3, section 5.1.1.2).
pub const PASSWORD_CHARS_MIN: usize = 8;

/// Characters a password may have.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// Bytes a password may have: no character has more than four in UTF-8 (RFC 3629, section 3).
pub const PASSWORD_BYTES_MAX: usize = 4 * PASSWORD_CHARS_MAX;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// What a stored hash may ask for: more would be no password check but an outage.
const STORED_MEMORY_KIB_MAX: u32 = 65_536;
const STORED_PASSES_MAX: u32 = 8;
const STORED_LANES_MAX: u32 = 16;

/// What the password of nobody is compared with. It has our parameters; no password is known that it is of, and the
/// answer would be no even then.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUu$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";

/// What came of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether it is the right one.
    pub good: bool,
    /// Whether what is stored of it was made with parameters below ours: hash it again, now that it is there.
    pub outdated: bool,
}

/// More passwords wait than anybody has the patience for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked; try again")]
pub struct Busy;

/// A text that shall not be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has fewer characters than [`PASSWORD_CHARS_MIN`].
    #[error("must have at least {PASSWORD_CHARS_MIN} characters")]
    Short,
    /// It has more characters than [`PASSWORD_CHARS_MAX`].
    #[error("must have at most {PASSWORD_CHARS_MAX} characters")]
    Long,
    /// It has a line end, or something else that nobody types.
    #[error("must have no line ends or other control characters")]
    Control,
}

/// Why there is no hash.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum HashError {
    /// The text shall not be a password.
    #[error("the password {0}")]
    Unfit(Unfit),
    /// Too many wait.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// There is no salt.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Argon2 has failed, or the thread broke off.
    #[error("the password cannot be hashed")]
    Failed,
}

impl From<Unfit> for HashError {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// Says whether a text may be a password. There is no rule about kinds of characters: they make passwords worse (NIST
/// SP 800-63B-3, section 5.1.1.2).
///
/// # Errors
///
/// [`Unfit`], with what is right.
pub fn check(password: &str) -> Result<(), Unfit> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        Err(Unfit::Short)
    } else if chars > PASSWORD_CHARS_MAX {
        Err(Unfit::Long)
    } else if password.chars().any(char::is_control) {
        Err(Unfit::Control)
    } else {
        Ok(())
    }
}

/// Hashes a password on this thread, for a command that has nothing else to do. The answer is a PHC string, which says
/// itself how it was made.
///
/// # Errors
///
/// [`HashError`]; never [`HashError::Busy`].
pub fn hash(password: &str) -> Result<String, HashError> {
    check(password)?;
    Memory::default().hash(password)
}

/// What Argon2 works in, kept from one password to the next. Overwritten when it is given back.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Block::zeroize);
    }
}

impl Memory {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn hash(&mut self, password: &str) -> Result<String, HashError> {
        let salt = random_bytes::<SALT_BYTES>()?;
        let hash = self.hash_with(password, &salt);
        hash.map(|hash| hash.to_string()).ok_or(HashError::Failed)
    }

    fn hash_with(&mut self, password: &str, salt: &[u8]) -> Option<PasswordHash> {
        let params = ours()?;
        let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
        self.fill(&params, password, salt, output.as_mut_slice())?;
        Some(PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).ok()?,
            salt: Some(Salt::new(salt).ok()?),
            hash: Some(Output::new(output.as_slice()).ok()?),
        })
    }

    pub(super) fn verify(&mut self, password: &str, stored: Option<&str>) -> Checked {
        let no = Checked { good: false, outdated: false };
        let understood = stored.and_then(Stored::read);
        if understood.is_none() && stored.is_some() {
            tracing::error!("what is stored of a password cannot be understood; nobody can log in with it");
        }
        // A password that nobody can have set is as wrong as any other.
        match understood.filter(|_| password.len() <= PASSWORD_BYTES_MAX) {
            Some(stored) => match self.equals(password, &stored) {
                Some(good) => Checked { good, outdated: stored.is_outdated() },
                None => no,
            },
            None => {
                let nobody = Stored::read(NOBODY);
                nobody.and_then(|nobody| self.equals(password, &nobody));
                no
            }
        }
    }

    fn equals(&mut self, password: &str, stored: &Stored) -> Option<bool> {
        let mut output = Zeroizing::new(vec![0; stored.output.len()]);
        self.fill(&stored.params, password, &stored.salt, &mut output)?;
        Some(output.ct_eq(stored.output.as_bytes()).into())
    }

    fn fill(&mut self, params: &Params, password: &str, salt: &[u8], output: &mut [u8]) -> Option<()> {
        if self.0.len() < params.block_count() {
            self.0.resize(params.block_count(), Block::new());
        }
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
            .hash_password_into_with_memory(password.as_bytes(), salt, output, self.0.as_mut_slice())
            .ok()
    }
}

/// What is stored of a password.
struct Stored {
    params: Params,
    salt: Salt,
    output: Output,
}

impl Stored {
    /// Reads a PHC string of Argon2id, version 1.3, that asks for no more than can be given.
    fn read(text: &str) -> Option<Self> {
        let hash = PasswordHash::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let (salt, output) = (hash.salt?, hash.hash?);
        let right = hash.algorithm == ARGON2ID_IDENT
            && hash.version == Some(Version::V0x13.into())
            && params.m_cost() <= STORED_MEMORY_KIB_MAX
            && params.t_cost() <= STORED_PASSES_MAX
            && params.p_cost() <= STORED_LANES_MAX;
        right.then_some(Self { params, salt, output })
    }

    fn is_outdated(&self) -> bool {
        self.params.m_cost() < MEMORY_KIB || self.params.t_cost() < PASSES || self.output.len() < OUTPUT_BYTES
    }
}

/// The parameters of new hashes.
fn ours() -> Option<Params> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash of `password` with parameters of its own: kibibytes, passes, lanes.
    fn hash_with(password: &str, (m, t, p): (u32, u32, u32)) -> String {
        let params = Params::new(m, t, p, Some(OUTPUT_BYTES)).unwrap();
        let mut output = [0; OUTPUT_BYTES];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        argon2.hash_password_into(password.as_bytes(), b"some salt", &mut output).unwrap();
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).unwrap(),
            salt: Some(Salt::new(b"some salt").unwrap()),
            hash: Some(Output::new(&output).unwrap()),
        };
        hash.to_string()
    }

    #[test]
    fn a_password_has_bounds_and_no_other_rules() {
        let bears = "\u{1f43b}".repeat(256);
        for (password, expected) in [
            ("1234567", Err(Unfit::Short)),
            ("", Err(Unfit::Short)),
            ("12345678", Ok(())),
            ("pässwört mit Leerzeichen ", Ok(())),
            (&"x".repeat(256), Ok(())),
            (&"x".repeat(257), Err(Unfit::Long)),
            (&bears, Ok(())),
            (&format!("{bears}x"), Err(Unfit::Long)),
            ("two\nlines", Err(Unfit::Control)),
            ("nul\0nul\0", Err(Unfit::Control)),
        ] {
            assert_eq!(check(password), expected, "{password:?}");
        }
        assert_eq!(HashError::from(Unfit::Short).to_string(), "the password must have at least 8 characters");
    }

    #[test]
    fn a_password_is_checked_against_its_hash() {
        let mut memory = Memory::default();
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hash("correct horse").unwrap(), "a salt of its own");
        for (password, stored, good) in [
            ("correct horse", Some(stored.clone()), true),
            ("correct horsf", Some(stored.clone()), false),
            ("", Some(stored.clone()), false),
            ("correct horse", None, false),
            ("correct horse", Some("correct horse".to_owned()), false),
            ("correct horse", Some(stored.replace("argon2id", "argon2i")), false),
            ("correct horse", Some(stored.replace("v=19", "v=16")), false),
            ("correct horse", Some(NOBODY.to_owned()), false),
        ] {
            let checked = memory.verify(password, stored.as_deref());
            assert_eq!(checked, Checked { good, outdated: false }, "{password} {stored:?}");
        }
    }

    /// Of the tests of the reference implementation; RFC 9106, section 5.3, has none without a secret.
    #[test]
    fn hashes_of_others_are_understood() {
        let theirs = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let checked = Memory::default().verify("password", Some(theirs));
        assert_eq!(checked, Checked { good: true, outdated: false });
    }

    #[test]
    fn a_hash_with_parameters_below_ours_is_outdated() {
        let mut memory = Memory::default();
        for (params, outdated) in [
            ((MEMORY_KIB, PASSES, LANES), false),
            ((MEMORY_KIB + 1, PASSES + 1, LANES + 1), false),
            ((MEMORY_KIB - 1, PASSES, LANES), true),
            ((MEMORY_KIB, PASSES - 1, LANES), true),
        ] {
            let stored = hash_with("correct horse", params);
            let checked = memory.verify("correct horse", Some(&stored));
            assert_eq!(checked, Checked { good: true, outdated }, "{params:?}");
        }
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_not_worked_on() {
        let ours = hash_with("correct horse", (MEMORY_KIB, PASSES, LANES));
        for (from, to) in [("m=19456", "m=65537"), ("m=19456", "m=4294967295"), ("t=2", "t=9"), ("p=1", "p=17")] {
            assert!(Stored::read(&ours.replace(from, to)).is_none(), "{to}");
        }
        assert!(Stored::read(&ours).is_some());
    }

    #[test]
    fn nobody_has_our_parameters() {
        let nobody = Stored::read(NOBODY).unwrap();
        let ours = ours().unwrap();
        assert_eq!(
            (nobody.params.m_cost(), nobody.params.t_cost(), nobody.params.p_cost(), nobody.output.len()),
            (ours.m_cost(), ours.t_cost(), ours.p_cost(), OUTPUT_BYTES)
        );
    }
}
