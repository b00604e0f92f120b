//! gRPC's own client, through keygate to gRPC's own server: every kind of call, with what can go wrong in it.

use serde_json::json;

use crate::gate::gate;
use crate::key::key;
use crate::library::Library;

/// As many as `grpc.py` has.
const CASES: usize = 37;

/// What is guarded: the methods of the server, and paths at which calls are refused.
const ROUTES: &str = "limits: [{ name: few, per: key, requests: 2, window: 1h }]
routes:
  - { name: test, paths: ['/interop.Test/{*rest}'], access: api_key, limits: [] }
  - { name: secret, paths: ['/interop.Secret/{*rest}'], access: api_key, limits: [], permission: 'secrets:read' }
  - { name: limited, paths: ['/interop.Limited/{*rest}'], access: api_key }
  - name: away
    paths: ['/interop.Away/{*rest}']
    access: api_key
    limits: []
    upstream: { url: 'unix:/nobody/is/here.sock', protocol: http2 }";

#[track_caller]
fn check(encrypted: bool) {
    let sockets = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", sockets.path().join("grpc.sock").display());
    let alice = key("alice");
    let setup =
        gate("").upstream(&format!("upstream: {{ url: '{socket}', protocol: http2 }}")).key(&alice).with(ROUTES);
    let setup = match encrypted {
        true => setup.tls(),
        false => setup.listen("listen: { address: '127.0.0.1:0', prior_knowledge: true }"),
    };
    let gate = setup.start();
    let ca = encrypted.then(|| gate.file("tls.crt"));
    let address = format!("localhost:{}", gate.address.port());
    Library::Grpc.run_cases(&json!({ "gate": address, "upstream": socket, "ca": ca, "key": alice.secret }), CASES);
}

#[test]
fn calls_of_every_kind_go_through_over_tls() {
    check(true);
}

#[test]
fn calls_of_every_kind_go_through_in_the_clear() {
    check(false);
}
