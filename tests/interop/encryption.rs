//! The gateway's TLS in the eyes of OpenSSL, of records written by hand, and of a scanner.

use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::library::Library;
use crate::site::site;
use crate::upstream::Upstream;

/// As many as `encryption.py` has.
const CASES: usize = 31;

/// A gateway with the default settings; but for what is said.
struct Door {
    gate: Gate,
    alice: TestKey,
    _upstream: Upstream,
}

impl Door {
    fn start(tls: &str, more: &str) -> Self {
        let (upstream, alice) = (site(), key("alice"));
        let certificates =
            "certificates: [{ certificate: tls.crt, key: tls.key }, { certificate: second.crt, key: second.key }]";
        let listen = format!("listen: {{ address: '127.0.0.1:0', tls: {{ {certificates} {tls} }} }}");
        let setup = gate(&upstream).key(&alice).listen(&listen).with(more);
        let authority = Authority::new(setup.directory());
        authority.sign("tls", &["localhost"]);
        authority.sign("second", &["second.example"]);
        authority.sign("client", &["client.example"]);
        crate::gate::make_certificate(setup.directory(), "stranger", &["stranger.example"]);
        Self { gate: setup.start(), alice, _upstream: upstream }
    }
}

#[test]
fn handshakes_good_bad_and_odd_end_as_they_should() {
    let door = Door::start("", "timeouts: { tls_handshake: 2s }");
    let mutual = Door::start(", client_certificates: { ca: ca.crt, mode: required }", "");
    let modern = Door::start(", minimum_version: '1.3'", "");
    // One authority for all: the doors trust their own, and the client that of the door it talks to.
    let told = json!({
        "port": door.gate.address.port(),
        "ca": door.gate.file("ca.crt"),
        "key": door.alice.secret,
        "folder": door.gate.file("."),
        "handshake": 2,
        "mutual": { "port": mutual.gate.address.port(), "ca": mutual.gate.file("ca.crt"), "key": mutual.alice.secret },
        "client": mutual.gate.file("client.crt"),
        "client_key": mutual.gate.file("client.key"),
        "stranger": mutual.gate.file("stranger.crt"),
        "stranger_key": mutual.gate.file("stranger.key"),
        "modern": { "port": modern.gate.address.port(), "ca": modern.gate.file("ca.crt") },
    });
    Library::Encryption.run_cases(&told, CASES);
    for reason in ["alpn", "incompatible", "timeout", "eof"] {
        let failures = door.gate.metric("keygate_tls_handshake_failures_total", &[reason]);
        assert!(failures >= 1.0, "{reason}: {failures}");
    }
}

/// What a scanner finds, held against what Mozilla recommends. Nothing may be below it.
#[track_caller]
fn scan(door: &Door, level: &str) -> Value {
    let to = format!("localhost:{}", door.gate.address.port());
    let said = Library::Sslyze.run(&json!({ "to": to, "ca": door.gate.file("ca.crt"), "level": level }));
    assert_eq!(said["issues"], json!({}), "{level}: {said:#}");
    assert_eq!(said["errors"], json!([]), "{level}: what could not be looked at");
    said
}

#[test]
fn a_scanner_finds_nothing_below_mozillas_intermediate_level() {
    let said = scan(&Door::start("", ""), "intermediate");
    println!("{said:#}");
    assert_eq!(said["versions"], json!(["TLS 1.2", "TLS 1.3"]));
    assert_eq!(
        said["suites"],
        json!([
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ])
    );
    for (what, expected) in [
        ("compression", false),
        ("early_data", false),
        ("heartbleed", false),
        ("ccs_injection", false),
        ("client_renegotiation", false),
        ("secure_renegotiation", true),
        ("fallback_scsv", true),
        ("extended_master_secret", true),
    ] {
        assert_eq!(said[what], expected, "{what}");
    }
    assert_eq!(said["robot"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
    assert_eq!(said["resumed"], json!([5, 5]));
}

#[test]
fn a_scanner_finds_nothing_below_mozillas_modern_level_where_only_tls_1_3_is_spoken() {
    let said = scan(&Door::start(", minimum_version: '1.3'", ""), "modern");
    assert_eq!(said["versions"], json!(["TLS 1.3"]));
}
