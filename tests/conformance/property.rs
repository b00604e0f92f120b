//! For any bytes as a target: the route that is decided on is the route of what the upstream receives.
//!
//! In HTTP/1.1 they come between two spaces of a line, in HTTP/2 as the value of `:path`, by another way into the gateway.
//! Which route was decided on shows in what arrives: the open one tells nobody's name, the others the name of whoever
//! may take them. What arrives is read as it stands, and as every careless server would read it.

use std::cell::Cell;
use std::net::Ipv4Addr;

use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestRunner};

use crate::paths::{Demand, demand, demands};
use crate::recorder::Arrived;
use crate::world::{PATIENCE, World};
use crate::{http1, http2};

/// Targets that are tried over each version.
const TARGETS: u32 = 1_500;

/// Requests that must arrive of those for which nothing, a key, and the key of an administrator is demanded. Where all are
/// refused nothing is proved.
const ARRIVALS_MIN: [u32; 3] = [300, 600, 100];

/// What servers disagree about.
const WORDS: &[&str] = &[
    "/",
    "/",
    "/",
    "//",
    ".",
    "..",
    "../",
    "/..",
    "/../",
    "admin",
    "admin",
    "public",
    "public/",
    "items",
    ";",
    ";a=b",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "\\",
    "%25",
    "%252e",
    "%252f",
    "%2561dmin",
    "%61dmin",
    "%3b",
    "%3f",
    "%23",
    "%20",
    "%00",
    "%",
    "%%",
    "2",
    "5",
    "2e",
    "32",
    "65",
    "?",
    "#",
    "*",
    "http://a",
    "http://",
    ":",
    "@",
    "a",
    "%c0%ae",
    "%c0%af",
    "%ef%bc%8f",
    "%ef%bc%8e",
    "%ef%bd%81",
    "%e2%80%a4",
    "\u{ff0f}",
    " ",
    "\t",
    "|",
    "~",
    "%7e",
    "./",
    "/.",
];

/// What targets are made of: what servers disagree about, and any bytes at all.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec());
    let bytes = proptest::collection::vec(any::<u8>(), 1..4);
    let part = proptest::prop_oneof![12 => word, 1 => bytes];
    let made_up = (proptest::bool::weighted(0.9), proptest::collection::vec(part.clone(), 0..10))
        .prop_map(|(rooted, parts)| [if rooted { &b"/"[..] } else { b"" }, &parts.concat()].concat());
    // And paths that a route is meant for, with up to three of these put in anywhere: most of what is refused of the others is
    // so for their first odd part.
    let meant =
        proptest::sample::select(vec!["/public/1", "/admin/1", "/items/1", "/public/../admin/1", "/admin/../public/1"]);
    let put_in = proptest::collection::vec((any::<proptest::sample::Index>(), part), 0..4);
    let changed = (meant, put_in).prop_map(|(path, put_in)| {
        put_in.into_iter().fold(path.as_bytes().to_vec(), |mut path, (at, part)| {
            let at = at.index(path.len() + 1);
            path.splice(at..at, part);
            path
        })
    });
    proptest::prop_oneof![1 => made_up, 3 => changed]
}

#[test]
fn the_route_that_is_decided_on_is_the_route_of_what_arrives() {
    try_targets("HTTP/1.1", |world, target, secret| {
        let line = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nX-API-Key: "].concat();
        let sent = [&line[..], secret.as_bytes(), b"\r\nConnection: close\r\n\r\n"].concat();
        http1::say(Ipv4Addr::LOCALHOST, world.address, &sent);
    });
}

#[test]
fn the_route_that_is_decided_on_is_the_route_of_what_arrives_over_http2() {
    try_targets("HTTP/2", |world, target, secret| {
        let fields: [(&str, &[u8]); 5] = [
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"a"),
            (":path", target),
            ("x-api-key", secret.as_bytes()),
        ];
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
        http2::say(Ipv4Addr::LOCALHOST, world.http2, &fields);
    });
}

/// Asks for each target with no good key and with both, and looks at what arrives.
fn try_targets(version: &str, say: impl Fn(&World, &[u8], &str)) {
    let world = World::open();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let config = ProptestConfig {
        cases: TARGETS,
        rng_seed: RngSeed::Fixed(seed.into()),
        failure_persistence: None::<Box<FileFailurePersistence>>.map(|file| file as _),
        ..ProptestConfig::default()
    };
    let arrivals = [const { Cell::new(0) }; 3];
    let outcome = TestRunner::new(config).run(&target(), |target| {
        for (secret, user) in [("none", ""), ("key-of-items", "u-items"), ("key-of-admin", "u-admin")] {
            let before = world.recorder.arrivals();
            say(&world, &target, secret);
            for request in world.recorder.since(before, PATIENCE) {
                let demanded = judge(&request, user);
                arrivals[demanded as usize].update(|count| count + 1);
            }
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "with seed {seed}: {}", outcome.unwrap_err());
    let arrivals = arrivals.map(Cell::into_inner);
    println!("{version}: {TARGETS} targets with three keys; {arrivals:?} requests arrived, by what is demanded");
    for (arrived, min) in arrivals.iter().zip(ARRIVALS_MIN) {
        assert!(*arrived >= min, "only {arrivals:?} arrived: the targets are too odd to prove anything");
    }
}

/// What is demanded for a request that has arrived; panics where another route was decided on.
#[track_caller]
fn judge(request: &Arrived, user: &str) -> Demand {
    let path = request.target();
    let named = request.values("x-auth-user");
    let as_it_stands = demand(path.split('?').next().unwrap_or_default());
    let decided = match &named[..] {
        [] => Demand::Nothing,
        [name] if name == user => as_it_stands.max(Demand::Key),
        _ => panic!("{path} for {named:?}, sent with the key of {user}"),
    };
    assert!(request.fault.is_none() && request.complete, "{request}");
    assert_eq!(decided, as_it_stands, "{path} went to another route");
    assert_eq!(decided, demands(&path), "{path} can be read as the path of another route");
    assert!(decided < Demand::Admin || user == "u-admin", "{path} for {user}");
    decided
}
