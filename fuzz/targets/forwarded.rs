//! Who sent a request, by `X-Forwarded-For`: what we decide is what the next proxy reads from what we write.
//!
//! The first line is the peer, the others are fields.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use keygate::gateway::client_address::{ClientAddress, TrustedProxies, X_FORWARDED_FOR};
use keygate::gateway::fields::{FieldRules, Origin, Via};
use keygate::gateway::identity::IdentityFields;
use keygate::gateway::message::Target;
use keygate::gateway::seen::Seen;

use super::fields_of;

pub const WORDS: &[&str] = &[
    "10.0.0.1",
    "10.255.0.9",
    "203.0.113.9",
    "[2001:db8::1]:443",
    "::ffff:10.0.0.3",
    ":80",
    ", ",
    ",",
    "unknown",
    "for=",
    "x-forwarded-for: ",
    "forwarded: ",
    "x-forwarded-host: ",
    "x-forwarded-proto: ",
    "\n",
    "127.1",
    "0x7f.1",
    "010.0.0.1",
];

/// Hops that the gateway looks back.
const HOPS_MAX: usize = 8;

/// The address at which the next proxy sees us.
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200));

pub fn check(data: &[u8]) {
    let (first, rest) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let peer = std::str::from_utf8(first).ok().and_then(|text| text.trim().parse().ok());
    let peer: IpAddr = peer.unwrap_or(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    let (mut fields, _) = fields_of(rest.get(1..).unwrap_or_default());
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);

    let found = proxies.client_address(peer, &fields).ok().map(ClientAddress::ip);
    let entries = entries(&fields);
    assert_eq!(found, walked(peer.to_canonical(), &entries), "{peer} {entries:?}");

    let trusted = is_trusted(peer.to_canonical());
    if !trusted {
        assert_eq!(found, Some(peer.to_canonical()), "who is not trusted is whom it is from");
    }
    write(&mut fields, peer, proxies.clone());
    assert_eq!(fields.get_all(X_FORWARDED_FOR).iter().count(), 1, "one line");
    assert_eq!(fields.get_all(FORWARDED).iter().count(), 1, "one line");
    let next = proxies.client_address(OURS, &fields).ok().map(ClientAddress::ip);
    if entries.len() < HOPS_MAX - 1 || !trusted {
        assert_eq!(next, found, "the next proxy believes another one");
    }
    if !trusted {
        assert_eq!(fields[X_FORWARDED_FOR].as_bytes(), peer.to_string().as_bytes(), "its own word is replaced");
        assert!(fields[FORWARDED].as_bytes().starts_with(b"for="));
    }
}

/// Lets the gateway write where a request came from.
fn write(fields: &mut HeaderMap, peer: IpAddr, proxies: TrustedProxies) {
    let name = |text| HeaderName::from_static(text);
    let identity = IdentityFields {
        key_id: name("x-keygate-key-id"),
        tenant: name("x-keygate-tenant"),
        user: name("x-keygate-user"),
        environment: name("x-keygate-environment"),
        permissions: name("x-keygate-permissions"),
        customer: name("x-keygate-customer"),
        environment_by_client: false,
    };
    let via = Via::new("keygate").expect("a token");
    let rules = FieldRules::new(&identity, &[], &name("x-request-id"), true, via, proxies);
    let peer_text = HeaderValue::try_from(peer.to_string()).expect("an address");
    let target = Target::unchecked(&Request::new(()));
    let seen = Seen::of(fields);
    let version = Version::HTTP_11;
    let origin = Origin { peer, peer_text: &peer_text, tls: false, version, target: &target, seen, handshake: None };
    rules.write_forwarding(fields, &origin);
}

/// All entries of all lines, from left to right.
fn entries(fields: &HeaderMap) -> Vec<String> {
    let lines: Vec<_> =
        fields.get_all(X_FORWARDED_FOR).iter().map(|line| line.as_bytes().escape_ascii().to_string()).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    lines
        .join(",")
        .split(',')
        .map(|entry| entry.trim_matches(' ').trim_matches(|blank| blank == '\t').to_owned())
        .collect()
}

/// The same said once more: from the right, as long as there is trust.
fn walked(peer: IpAddr, entries: &[String]) -> Option<IpAddr> {
    let mut client = peer;
    for entry in entries.iter().rev().take(HOPS_MAX) {
        if !is_trusted(client) {
            return Some(client);
        }
        let entry = entry.replace("\\t", "\t");
        let entry = entry.trim_ascii();
        let bracketed = entry.starts_with('[') && entry.ends_with(']') && entry.len() > 1;
        let bare = if bracketed { &entry[1..entry.len() - 1] } else { entry };
        let address = bare.parse::<IpAddr>().ok();
        let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
        client = address.or_else(with_port)?.to_canonical();
    }
    Some(client)
}

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
}
