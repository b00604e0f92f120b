//! WebSocket, as a library of others speaks it on both sides.

use serde_json::json;

use crate::gate::gate;
use crate::key::key;
use crate::library::Library;

#[test]
fn the_library_websockets_is_carried_unchanged_in_the_clear_and_over_tls() {
    let upstream = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    for tls in [false, true] {
        let alice = key("alice");
        let setup = gate(format!("http://{upstream}")).key(&alice).with(
            "routes:\n  - { name: live, paths: [\"/live/{*rest}\"], access: api_key, upgrade: [websocket] }\n  \
             - { name: rest, paths: [\"/{*rest}\"], access: api_key }",
        );
        let over_tls =
            format!("upstream: {{ url: \"https://localhost:{}\", tls: {{ ca: tls.crt }} }}", upstream.port());
        let gate = if tls { setup.tls().upstream(&over_tls) } else { setup }.start();
        let said = Library::Websockets.run(&json!({
            "port": gate.address.port(),
            "upstream": upstream.port(),
            "key": alice.secret,
            "ca": tls.then(|| gate.file("tls.crt")),
            "private": gate.file("tls.key"),
        }));
        assert_eq!(said["sizes"], 48, "{said}");
        assert_eq!((&said["burst"], &said["many"]), (&json!(5000), &json!(50)), "{said}");
        assert_eq!(said["closing"], json!([4000, "as asked"]), "{said}");
        assert_eq!(said["subprotocol"], "chat", "{said}");
        assert_eq!((&said["no_key"], &said["elsewhere"]), (&json!(401), &json!(426)), "{said}");
        gate.eventually("all have ended", |gate| gate.metric("keygate_tunnels", &[]) == 0.0);
        assert_eq!(gate.metric("keygate_tunnels_total", &[]), 55.0, "tls: {tls}");
        assert_eq!(gate.metric("keygate_tunnels_ended_total", &["broken"]), 0.0, "tls: {tls}");
    }
}
