//! Who is counted.

use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

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

    /// The subject of a client address: one for each IPv4 address, also when it comes mapped into IPv6, and one for
    /// each IPv6 /64, because whoever has one IPv6 address has all of its /64.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
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

    #[test]
    fn addresses_of_one_client_are_one_subject() {
        check("the same IPv4", "203.0.113.9", "203.0.113.9", true);
        check("IPv4 mapped into IPv6", "203.0.113.9", "::ffff:203.0.113.9", true);
        check("two IPv4", "203.0.113.9", "203.0.113.8", false);
        check("two mapped IPv4", "::ffff:203.0.113.9", "::ffff:203.0.113.8", false);
        check("one /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true);
        check("two /64", "2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("the lowest /64 is no IPv4", "::1", "0.0.0.1", false);
        check("the lowest /64 is no mapped IPv4", "::1", "::ffff:0.0.0.1", false);
    }

    #[track_caller]
    fn check(row: &str, one: &str, other: &str, same: bool) {
        let [one, other] = [one, other].map(|text| Subject::address(text.parse().expect(row)));
        assert_eq!(one == other, same, "{row}");
    }

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
