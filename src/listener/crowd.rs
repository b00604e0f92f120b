//! How many connections each client has, so that no client alone can take all that there are.
//!
//! There is an entry for each address that has a connection, and for no other: as many entries as connections at most.
//! Nothing has to be evicted, so nobody can have somebody else's count forgotten. An entry is touched when a connection
//! begins and when it ends, never by a request.

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

use dashmap::{DashMap, Entry};

use super::Settings;
use crate::address::AddressBlock;

/// Parts of the map that are locked separately.
const SHARDS: usize = 64;

/// The connections of each client.
#[derive(Debug)]
pub(super) struct Crowds {
    /// Randomly seeded: addresses are chosen by clients, and must not all land in one place.
    counts: DashMap<AddressBlock, usize, RandomState>,
}

impl Default for Crowds {
    fn default() -> Self {
        Self { counts: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), SHARDS) }
    }
}

impl Crowds {
    /// Counts a connection of `client`, until the guard is dropped; nothing if it has as many as it may.
    pub(super) fn join(self: &Arc<Self>, client: IpAddr, settings: &Settings) -> Option<Member> {
        let (max, prefix_bits) = (settings.maxima.connections_per_address, settings.maxima.ipv6_prefix_bits);
        if settings.proxies.iter().any(|network| network.contains(&client)) {
            return Some(Member { crowd: None });
        }
        let block = AddressBlock::of(client, prefix_bits);
        let mut count = self.counts.entry(block).or_insert(0);
        if *count >= max {
            if *count == 0 {
                drop(count);
                self.counts.remove_if(&block, |_, count| *count == 0);
            }
            return None;
        }
        *count += 1;
        drop(count);
        Some(Member { crowd: Some((Arc::clone(self), block)) })
    }

    fn leave(&self, block: AddressBlock) {
        if let Entry::Occupied(mut entry) = self.counts.entry(block) {
            match entry.get().checked_sub(1) {
                Some(0) | None => drop(entry.remove()),
                Some(left) => *entry.get_mut() = left,
            }
        }
    }
}

/// A connection that is counted; or one of a peer that speaks for many, which is not.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Option<(Arc<Crowds>, AddressBlock)>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some((crowds, block)) = &self.crowd {
            crowds.leave(*block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Maxima;
    use crate::listener::tests::settings;

    fn at_most(connections_per_address: usize) -> Settings {
        let maxima = Maxima { connections_per_address, ..settings().maxima };
        Settings { maxima, proxies: vec!["10.0.0.0/8".parse().unwrap()], ..settings() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_maximum_and_nothing_is_kept_of_who_left() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(2));
        let join = |text| crowds.join(address(text), &settings);
        let (first, second) = (join("203.0.113.1").unwrap(), join("203.0.113.1").unwrap());
        assert!(join("203.0.113.1").is_none());
        let other = join("203.0.113.2").unwrap();
        drop(first);
        let third = join("203.0.113.1").unwrap();
        assert!(join("203.0.113.1").is_none());
        drop((second, third, other));
        assert!(crowds.counts.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_trusted_proxy_is_many() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(1));
        let join = |text| crowds.join(address(text), &settings);
        let _first = join("2001:db8::1").unwrap();
        assert!(join("2001:db8::2").is_none());
        let _other = join("2001:db8:0:1::1").unwrap();
        let _many: Vec<Member> = (0..5).map(|_| join("10.1.2.3").unwrap()).collect();
    }

    #[test]
    fn nobody_is_let_in_where_there_is_room_for_none() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(0));
        assert!(crowds.join(address("203.0.113.1"), &settings).is_none());
        assert!(crowds.counts.is_empty());
    }
}
