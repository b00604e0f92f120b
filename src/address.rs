//! Which client addresses are counted as one.
//!
//! Whoever has one IPv4 address has one. Whoever has one IPv6 address has the whole network that it was given, usually a
//! /64 (RFC 6177, section 2), and could come from another address each time.

use std::net::IpAddr;

/// Bits of an IPv6 address that say which network it is in, where nobody has configured otherwise.
pub const IPV6_PREFIX_BITS: u8 = 64;

/// The addresses that one client is believed to have: one of IPv4, or a network of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressBlock(u128);

impl AddressBlock {
    /// The block of an address. An IPv4 address is one by itself, also when it comes mapped into IPv6. Of an IPv6 address
    /// the first `ipv6_prefix_bits` count, 1 to 128; more are 128.
    #[must_use]
    pub fn of(address: IpAddr, ipv6_prefix_bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => {
                let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix_bits));
                Self(v6.to_bits().checked_shr(host_bits).map_or(0, |network| network << host_bits))
            }
        }
    }

    /// The block as a number. Different blocks have different ones.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one_block() {
        check("the same IPv4", 64, "203.0.113.9", "203.0.113.9", true);
        check("IPv4 mapped into IPv6", 64, "203.0.113.9", "::ffff:203.0.113.9", true);
        check("two IPv4", 64, "203.0.113.9", "203.0.113.8", false);
        check("two mapped IPv4", 64, "::ffff:203.0.113.9", "::ffff:203.0.113.8", false);
        check("one /64", 64, "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true);
        check("two /64", 64, "2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("two /64 in one /48", 48, "2001:db8:0:1::1", "2001:db8:0:2::1", true);
        check("two addresses in one /64, counted alone", 128, "2001:db8::1", "2001:db8::2", false);
        check("the lowest /64 is no IPv4", 64, "::1", "0.0.0.1", false);
        check("the lowest /64 is no mapped IPv4", 64, "::1", "::ffff:0.0.0.1", false);
    }

    #[track_caller]
    fn check(row: &str, prefix_bits: u8, one: &str, other: &str, same: bool) {
        let [one, other] = [one, other].map(|text| AddressBlock::of(text.parse().expect(row), prefix_bits));
        assert_eq!(one == other, same, "{row}");
    }
}
