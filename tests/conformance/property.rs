//! For any bytes as a target: the route that is decided on is the route of what the upstream receives.
//!
//! Which route was decided on shows in what arrives: the open one tells nobody's name, the others the name of whoever
//! may take them. What arrives is read as it stands, and as every careless server would read it.

use std::net::Ipv4Addr;

use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestRunner};

use crate::http1;
use crate::paths::{Demand, demand, demands};
use crate::world::{PATIENCE, World};

/// Targets that are tried.
const TARGETS: u32 = 1_500;

/// What targets are made of: what servers disagree about, and any bytes at all.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let words = [
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
    let word = proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let bytes = proptest::collection::vec(any::<u8>(), 1..4);
    let part = proptest::prop_oneof![12 => word, 1 => bytes];
    (any::<bool>(), proptest::collection::vec(part, 0..10)).prop_map(|(rooted, parts)| {
        let root = if rooted { b"/".to_vec() } else { Vec::new() };
        [root, parts.concat()].concat()
    })
}

#[test]
fn the_route_that_is_decided_on_is_the_route_of_what_arrives() {
    let world = World::open();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let config = ProptestConfig {
        cases: TARGETS,
        rng_seed: RngSeed::Fixed(seed.into()),
        failure_persistence: None::<Box<FileFailurePersistence>>.map(|file| file as _),
        ..ProptestConfig::default()
    };
    let mut arrived_of_all = 0;
    let arrived = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&target(), |target| {
        for (secret, user) in [("none", ""), ("key-of-items", "u-items"), ("key-of-admin", "u-admin")] {
            let sent = [
                b"GET ",
                &target[..],
                b" HTTP/1.1\r\nHost: a\r\nX-API-Key: ",
                secret.as_bytes(),
                b"\r\nConnection: close\r\n\r\n",
            ]
            .concat();
            let before = world.recorder.arrivals();
            http1::say(Ipv4Addr::LOCALHOST, world.address, &sent);
            for request in world.recorder.since(before, PATIENCE) {
                arrived.set(arrived.get() + 1);
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
            }
        }
        Ok(())
    });
    arrived_of_all += arrived.get();
    assert!(outcome.is_ok(), "with seed {seed}: {}", outcome.unwrap_err());
    assert!(
        arrived_of_all > TARGETS / 4,
        "only {arrived_of_all} requests arrived: the targets are too odd to prove anything"
    );
}
