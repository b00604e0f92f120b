//! Who is counted.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::address::AddressBlock;

/// Who is counted by a limit: a key lineage, a user, a client address, a tenant, a route.
///
/// 128 bits, so that a bucket needs no string and a look-up no allocation. Its `Debug` shows nothing: what it was made
/// from may be a digest, and those are never written anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(u128);

impl Subject {
    /// A subject whose 128 bits are already well mixed, such as half of a digest.
    #[must_use]
    pub const fn from_hash(hash: u128) -> Self {
        Self(hash)
    }

    /// The subject called `name` among those of its `kind`, such as `("tenant", "acme")`: the first 16 bytes of a
    /// SHA-256. The same after a restart and in every replica.
    #[must_use]
    pub fn named(kind: &str, name: &str) -> Self {
        // The length goes first: ("ab", "c") and ("a", "bc") are two subjects.
        let digest =
            Sha256::new().chain_update((kind.len() as u64).to_be_bytes()).chain_update(kind).chain_update(name);
        let mut first = [0; 16];
        first.copy_from_slice(&digest.finalize()[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// The subject of whoever has these client addresses.
    #[must_use]
    pub const fn addresses(block: AddressBlock) -> Self {
        Self(block.bits())
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State that is shared between replicas, or written down one day, must find its subject again.
    #[test]
    fn a_named_subject_is_the_same_in_every_version() {
        // printf '\0\0\0\0\0\0\0\6tenantacme' | sha256sum | cut -c1-32
        assert_eq!(Subject::named("tenant", "acme").0, 0x846b_4d2c_ae34_ffc9_2e7a_a4ee_92eb_1f1a);
        assert_ne!(Subject::named("ab", "c"), Subject::named("a", "bc"));
        assert_ne!(Subject::named("tenant", "acme"), Subject::named("user", "acme"));
    }

    #[test]
    fn a_subject_shows_nothing() {
        assert_eq!(format!("{:?}", Subject::from_hash(0xdead_beef)), "Subject(..)");
    }
}
