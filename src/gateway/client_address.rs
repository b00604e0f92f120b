//! Who sent this request: the address of the client, as far as we can believe it.
//!
//! The peer of the connection is always true. Everything behind it is hearsay, which each proxy on the way has
//! written into `X-Forwarded-For`. We read that list from its right end and stop at the first address that is not
//! one of our trusted proxies. Nobody we trust has seen what stands further left, so it may be invented.
//!
//! Never in this file: what the address is good for. Authorization compares it, the limits count it, the access
//! log prints it; all of them take the [`ClientAddress`] made here.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Hops we are willing to look back. Eight is more than any sane chain of proxies, and bounds the work a request can
/// cause before it is authenticated.
const HOPS_MAX: usize = 8;

/// The address we hold responsible for a request.
///
/// Only [`TrustedProxies`] make one. A function that takes a `ClientAddress` can therefore never be
/// given a raw field value, or the address of the load balancer, by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The address itself; IPv4 written as IPv6 is IPv4 here.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// A proxy that we trust passed on an entry that is not an address.
#[derive(Debug, thiserror::Error)]
#[error("a trusted proxy has passed on an X-Forwarded-For entry that is not an IP address")]
pub struct AddressUnreadable;

/// The proxies whose word about the client we take.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The networks that the proxies stand in; none means that only the peer itself is believed.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Says whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Finds the client that is named in a field by a peer that we believe, whoever it is. From there on, only proxies that
    /// we trust are believed.
    ///
    /// # Errors
    ///
    /// [`AddressUnreadable`] as [`TrustedProxies::client_address`], and if nobody is named.
    pub fn client_named(&self, fields: &HeaderMap, name: &HeaderName) -> Result<ClientAddress, AddressUnreadable> {
        let mut entries = entries(fields, name);
        let named = entries.next().and_then(parse).ok_or(AddressUnreadable)?;
        self.behind(named, entries)
    }

    /// Finds the client behind `peer`.
    ///
    /// Looks at no more than [`HOPS_MAX`] entries, however many the client sends.
    ///
    /// # Errors
    ///
    /// [`AddressUnreadable`] if a proxy we trust has passed on an entry that is not an IP address. Guessing here would
    /// let clients choose the address under which they are counted.
    pub fn client_address(&self, peer: IpAddr, fields: &HeaderMap) -> Result<ClientAddress, AddressUnreadable> {
        if self.0.is_empty() {
            return Ok(ClientAddress(peer.to_canonical()));
        }
        self.behind(peer, entries(fields, &X_FORWARDED_FOR))
    }

    /// Goes from `address` to the one before it, for as long as it is one that we trust.
    fn behind<'f>(
        &self,
        address: IpAddr,
        entries: impl Iterator<Item = &'f [u8]>,
    ) -> Result<ClientAddress, AddressUnreadable> {
        let mut address = address.to_canonical();
        for entry in entries.take(HOPS_MAX) {
            if !self.contains(address) {
                break;
            }
            address = parse(entry).ok_or(AddressUnreadable)?.to_canonical();
        }
        Ok(ClientAddress(address))
    }
}

/// The entries of a list, the last one first; several fields are one list.
fn entries<'f>(fields: &'f HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'f [u8]> {
    let lines = fields.get_all(name).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// An address, in brackets or not, with a port or without: proxies write all of these.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        check("no proxy: the peer", "203.0.113.9", &[], "203.0.113.9");
        check("one trusted proxy", "10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("two trusted proxies", "10.0.0.1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9");
        check("an invented left end is ignored", "10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9");
        check("a field from an untrusted peer is ignored", "203.0.113.9", &["1.1.1.1"], "203.0.113.9");
        check("several fields are one list", "10.0.0.1", &["203.0.113.9", "10.0.0.2"], "203.0.113.9");
        check("a port is not part of the address", "10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("IPv6 in brackets with a port", "10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1");
        check("IPv4 written as IPv6 is IPv4", "::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9");
        check("all hops trusted: the leftmost", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn an_unreadable_entry_of_a_trusted_proxy_is_refused() {
        let fields = forwarded_for(&["203.0.113.9, unknown"]);
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(proxies.client_address("10.0.0.1".parse().unwrap(), &fields).is_err());
    }

    fn forwarded_for(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (X_FORWARDED_FOR, http::HeaderValue::from_static(line))).collect()
    }

    #[track_caller]
    fn check(row: &str, peer: &str, lines: &[&'static str], expected: &str) {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let got = proxies.client_address(peer.parse().expect(row), &forwarded_for(lines)).expect(row);
        assert_eq!(got, ClientAddress(expected.parse().expect(row)), "{row}");
    }
}
