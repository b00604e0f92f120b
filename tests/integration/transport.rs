//! How requests arrive: TLS, versions of HTTP, the PROXY protocol.

use std::process::Command;

use crate::client::Client;
use crate::gate::{gate, make_certificate};
use crate::key::key;
use crate::programs::run;
use crate::upstream::Upstream;

#[test]
fn http2_by_prior_knowledge_is_served_where_it_is_switched_on() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let field = format!("X-API-Key: {}", alice.secret);
    for (on, expected) in [(true, Some("hello 2")), (false, None)] {
        let gate = gate(&upstream)
            .key(&alice)
            .listen(&format!("listen: {{ address: \"127.0.0.1:0\", prior_knowledge: {on} }}"))
            .start();
        let url = format!("http://{}/", gate.address);
        let arguments = ["-sS", "--http2-prior-knowledge", "-w", " %{http_version}", "-H", &field, &url];
        assert_eq!(run("curl", &arguments).ok().as_deref(), expected);
        assert_eq!(gate.get("/", &[alice.field()]).status, 200, "HTTP/1.1 is served beside it");
    }
}

#[test]
fn a_client_certificate_is_demanded_where_it_is_configured() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let setup = gate(&upstream).key(&alice).listen(
        "listen:\n  address: 127.0.0.1:0\n  tls:\n    certificates: [{ certificate: tls.crt, key: tls.key }]\n    \
         client_certificates: { ca: client.crt, mode: required }",
    );
    make_certificate(setup.directory(), "tls", &["localhost"]);
    make_certificate(setup.directory(), "client", &["client.example"]);
    let gate = setup.start();
    let url = format!("https://localhost:{}/", gate.address.port());
    let (ca, certificate, private) = (gate.file("tls.crt"), gate.file("client.crt"), gate.file("client.key"));
    let field = format!("X-API-Key: {}", alice.secret);
    let common = ["-sS", "--cacert", ca.to_str().unwrap(), "-H", &field, &url];
    let with = ["--cert", certificate.to_str().unwrap(), "--key", private.to_str().unwrap()];
    assert_eq!(run("curl", &[&common[..], &with[..]].concat()).unwrap(), "hello");
    assert!(run("curl", &common).is_err());
    gate.eventually("it is counted", |gate| {
        gate.metric("keygate_tls_handshake_failures_total", &["no_certificate"]) >= 1.0
    });
}

#[test]
fn the_certificate_is_chosen_by_name_and_sessions_resume() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let setup = gate(&upstream).key(&alice).listen(
        "listen:\n  address: 127.0.0.1:0\n  tls:\n    certificates:\n      - { certificate: one.crt, key: one.key }\n      \
         - { certificate: two.crt, key: two.key }",
    );
    make_certificate(setup.directory(), "one", &["one.example"]);
    make_certificate(setup.directory(), "two", &["two.example", "*.wild.example"]);
    let gate = setup.start();
    let subject = |name: &str| {
        let to = gate.address.to_string();
        let script = format!(
            "openssl s_client -connect {to} -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
        );
        run("sh", &["-c", &script]).unwrap()
    };
    for (asked, got) in [
        ("one.example", "one.example"),
        ("two.example", "two.example"),
        ("a.wild.example", "two.example"),
        ("unknown.example", "one.example"),
    ] {
        assert!(subject(asked).contains(got), "{asked}: {}", subject(asked));
    }
    let session = gate.file("session");
    for (version, reused) in [("-tls1_3", "-sess_in"), ("-tls1_2", "-sess_in")] {
        let script = format!(
            "(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 0.3) | openssl s_client -connect {0} {version} -sess_out {1} -ign_eof \
             >/dev/null 2>&1; (printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 0.3) | openssl s_client -connect {0} {version} \
             {reused} {1} -ign_eof 2>/dev/null",
            gate.address,
            session.display()
        );
        let report = run("sh", &["-c", &script]).unwrap();
        assert!(report.contains("Reused,"), "{version}: {report}");
    }
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let upstream = Upstream::hello();
    let alice = key("alice").with("allowed_networks: [203.0.113.0/24]");
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.0/8] } }")
        .start();
    let mut client = gate.client();
    client.write(b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n");
    assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
    assert_eq!(upstream.last().value("X-Forwarded-For"), "203.0.113.9");
    let mut other = gate.client();
    other.write(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n");
    assert_eq!(other.request("GET", "/", &[alice.field()], b"").code(), "address_not_allowed");
    let mut without = gate.client();
    without.send("GET", "/", &[alice.field()], b"");
    assert!(without.rest().is_empty(), "a connection without the header is closed without an answer");
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { connections: 2, connections_per_address: 3 }").start();
    let mut held: Vec<_> = (0..2).map(|_| gate.client()).collect();
    for client in &mut held {
        assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
    }
    let response = gate.client().response("GET");
    assert_eq!((response.status, response.field("retry-after")), (503, Some("1")));
    assert_eq!(gate.metric("keygate_connections_refused_total", &["connections_max"]), 1.0);
    drop(held.pop());
    gate.eventually("there is room again", |gate| {
        let mut client = gate.client();
        client.send("GET", "/", &[alice.field()], b"");
        client.response("GET").status == 200
    });
}

#[test]
fn silent_and_idle_connections_are_closed_in_their_time() {
    use std::time::Duration;
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("timeouts: { request_head: 300ms, idle: 600ms }").start();
    let mut silent = gate.client();
    assert!(silent.closes_within(Duration::from_secs(3)));
    let mut idle = gate.client();
    assert_eq!(idle.request("GET", "/", &[alice.field()], b"").status, 200);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(idle.request("GET", "/", &[alice.field()], b"").status, 200, "idle is not a slow head");
    assert!(idle.closes_within(Duration::from_secs(3)));
}

/// The signals, files and sockets of a test leave nothing behind in the process table.
#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("keys.yaml"), "keys: []\n").unwrap();
    let text = format!(
        "listen: {}\nupstream: http://127.0.0.1:1\nkeys: {{ file: keys.yaml }}\nadmin: {{ listen: 127.0.0.1:0 }}\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(directory.path().join("keygate.yaml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keygate")).arg("run").current_dir(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&taken.local_addr().unwrap().to_string()) && said.contains("in use"), "{said}");
}

/// One that does not rest holds some 20 KiB, most of them buffers of hyper.
#[test]
fn a_connection_that_rests_holds_little() {
    const CONNECTIONS: u64 = 600;
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { connections_per_address: 1000 }").start();
    let ask = |client: &mut Client| assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
    let mut first = gate.client();
    (0..100).for_each(|_| ask(&mut first));
    let before = gate.memory_bytes();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gate.client()).collect();
    clients.iter_mut().for_each(ask);
    gate.eventually("they rest", |gate| gate.memory_bytes() < before + CONNECTIONS * 12 * 1024);
    clients.iter_mut().for_each(ask);
}
