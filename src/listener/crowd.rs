//! How many connections and how many requests each client has, so that no client alone can take all that there are.
//!
//! There is an entry for each address that has a connection or a request in flight, and for no other.
//! Nothing has to be evicted, so nobody can have somebody else's count forgotten. The map is touched when a connection
//! begins and when it ends, never by a request: a request counts itself where its connection has found the place.
//!
//! A request that goes on after its connection keeps that counted, so that who comes back finds the same place again.

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};

use super::{ConnectionInfo, Settings};
use crate::address::AddressBlock;

/// Parts of the map that are locked separately.
const SHARDS: usize = 64;

/// What each client has.
#[derive(Debug)]
pub(super) struct Crowds {
    /// Randomly seeded: addresses are chosen by clients, and must not all land in one place.
    crowds: DashMap<AddressBlock, Crowd, RandomState>,
}

/// What one client has: its connections, and the requests on all of them.
#[derive(Debug, Default)]
struct Crowd {
    connections: usize,
    in_flight: Arc<AtomicUsize>,
}

impl Default for Crowds {
    fn default() -> Self {
        Self { crowds: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), SHARDS) }
    }
}

impl Crowds {
    /// Counts a connection of `client`, until the member is dropped; nothing if it has as many as it may.
    pub(super) fn join(self: &Arc<Self>, client: IpAddr, settings: &Settings) -> Option<Arc<Member>> {
        let (max, prefix_bits) = (settings.maxima.connections_per_address, settings.maxima.ipv6_prefix_bits);
        if settings.proxies.iter().any(|network| network.contains(&client)) {
            return Some(Arc::new(Member { crowd: None }));
        }
        let block = AddressBlock::of(client, prefix_bits);
        let mut crowd = self.crowds.entry(block).or_default();
        if crowd.connections >= max {
            if crowd.connections == 0 {
                drop(crowd);
                self.crowds.remove_if(&block, |_, crowd| crowd.connections == 0);
            }
            return None;
        }
        crowd.connections += 1;
        let in_flight = Arc::clone(&crowd.in_flight);
        drop(crowd);
        Some(Arc::new(Member { crowd: Some(Joined { crowds: Arc::clone(self), block, in_flight }) }))
    }

    fn leave(&self, block: AddressBlock) {
        if let Entry::Occupied(mut entry) = self.crowds.entry(block) {
            match entry.get().connections.checked_sub(1) {
                Some(0) | None => drop(entry.remove()),
                Some(left) => entry.get_mut().connections = left,
            }
        }
    }
}

/// A connection that is counted; or one of a peer that speaks for many, which is not, and neither are its requests.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Option<Joined>,
}

#[derive(Debug)]
struct Joined {
    crowds: Arc<Crowds>,
    block: AddressBlock,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(Joined { crowds, block, .. }) = &self.crowd {
            crowds.leave(*block);
        }
    }
}

/// A request, counted among those of its client until it is dropped: also by a panic, or because the client has left.
#[derive(Debug)]
pub struct Visit {
    connection: Arc<ConnectionInfo>,
    place: Place,
}

/// Whether a request is one of those that its client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is, and is counted.
    Counted,
    /// Nobody counts: its connection is from a peer that speaks for many.
    Uncounted,
    /// It is one too many.
    Refused,
}

impl Visit {
    /// Counts a request on `connection`, unless its client has `max` already, on all of its connections together.
    #[must_use]
    pub fn begin(connection: Arc<ConnectionInfo>, max: usize) -> Self {
        let place = match connection.member.crowd.as_ref().map(|crowd| &*crowd.in_flight) {
            None => Place::Uncounted,
            Some(in_flight) if in_flight.fetch_add(1, Ordering::Relaxed) < max => Place::Counted,
            Some(in_flight) => {
                in_flight.fetch_sub(1, Ordering::Relaxed);
                Place::Refused
            }
        };
        Self { connection, place }
    }

    /// Whether the client has too many requests for this one.
    #[must_use]
    pub const fn is_one_too_many(&self) -> bool {
        matches!(self.place, Place::Refused)
    }

    /// The connection of the request.
    #[must_use]
    pub const fn connection(&self) -> &Arc<ConnectionInfo> {
        &self.connection
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let (Place::Counted, Some(crowd)) = (self.place, &self.connection.member.crowd) {
            crowd.in_flight.fetch_sub(1, Ordering::Relaxed);
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
        assert!(crowds.crowds.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_trusted_proxy_is_many() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(1));
        let join = |text| crowds.join(address(text), &settings);
        let _first = join("2001:db8::1").unwrap();
        assert!(join("2001:db8::2").is_none());
        let _other = join("2001:db8:0:1::1").unwrap();
        let _many: Vec<Arc<Member>> = (0..5).map(|_| join("10.1.2.3").unwrap()).collect();
    }

    #[test]
    fn nobody_is_let_in_where_there_is_room_for_none() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(0));
        assert!(crowds.join(address("203.0.113.1"), &settings).is_none());
        assert!(crowds.crowds.is_empty());
    }

    fn connection(member: Arc<Member>) -> Arc<ConnectionInfo> {
        let address = "192.0.2.1:80".parse().unwrap();
        let client_text = http::HeaderValue::from_static("192.0.2.1");
        let (peer, client, local) = (address, address, address);
        Arc::new(ConnectionInfo { peer, client, client_text, local, tls: None, worker: 0, member })
    }

    /// Begins visits on one connection, and says how many of them there is room for.
    fn visits(connection: &Arc<ConnectionInfo>, max: usize) -> Vec<Visit> {
        let visits = (0..max + 3).map(|_| Visit::begin(Arc::clone(connection), max));
        visits.filter(|visit| !visit.is_one_too_many()).collect()
    }

    #[test]
    fn all_connections_of_a_client_have_their_requests_together() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(9));
        let join = |text| connection(crowds.join(address(text), &settings).unwrap());
        let (one, neighbour, other) = (join("2001:db8::1"), join("2001:db8::2"), join("2001:db8:0:1::1"));
        let mut held = visits(&one, 5);
        assert_eq!((held.len(), visits(&neighbour, 5).len(), visits(&other, 5).len()), (5, 0, 5));
        held.truncate(3);
        assert_eq!(visits(&neighbour, 5).len(), 2);
        // What a reload has lowered holds for the next.
        assert_eq!(visits(&neighbour, 3).len(), 0);
        drop(held);
        assert_eq!(visits(&neighbour, 5).len(), 5);
    }

    #[test]
    fn a_trusted_proxy_has_as_many_requests_as_it_likes() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(1));
        let proxy = connection(crowds.join(address("10.1.2.3"), &settings).unwrap());
        assert_eq!(visits(&proxy, 1).len(), 4);
    }

    #[test]
    fn who_hangs_up_and_comes_back_has_what_is_left_and_not_a_new_count() {
        let (crowds, settings) = (Arc::new(Crowds::default()), at_most(9));
        let join = || connection(crowds.join(address("203.0.113.1"), &settings).unwrap());
        let left_behind = visits(&join(), 5);
        assert_eq!(left_behind.len(), 5);
        let back = join();
        assert_eq!(visits(&back, 5).len(), 0);
        drop(left_behind);
        assert_eq!(visits(&back, 5).len(), 5);
        drop(back);
        assert!(crowds.crowds.is_empty());
    }
}
