//! Two gateways behind a load balancer, started anew one after the other under load.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::Client;
use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::programs::{Program, free_port};
use crate::upstream::{Upstream, respond};

/// Where one of the gateways is, each time it runs.
#[derive(Clone, Copy)]
struct Place {
    port: u16,
    admin: u16,
}

impl Place {
    fn free() -> Self {
        Self { port: free_port(), admin: free_port() }
    }

    fn start(self, upstream: &Upstream, key: &TestKey) -> Gate {
        gate(upstream)
            .key(key)
            .listen(&format!("listen: {{ address: \"127.0.0.1:{}\", prior_knowledge: true }}", self.port))
            .with(&format!("admin: {{ listen: \"127.0.0.1:{}\" }}", self.admin))
            .with("shutdown: { delay: 2s }")
            .start()
    }
}

/// Starts HAProxy before both places. It asks nobody twice: what fails once has failed.
fn balance(places: [Place; 2], protocol: &str) -> (Program, SocketAddr, TempDir) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let servers: String = (places.iter().zip(["one", "two"]))
        .map(|(place, name)| {
            let Place { port, admin } = place;
            format!("  server {name} 127.0.0.1:{port} {protocol} check check-proto h1 port {admin} inter 250ms fall 1 rise 1\n")
        })
        .collect();
    let configuration = format!(
        "defaults\n  mode http\n  retries 0\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n  timeout check 5s\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend gateways\n\
         backend gateways\n  balance roundrobin\n  option httpchk GET /readyz\n{servers}"
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, configuration).unwrap();
    let haproxy = Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), port);
    (haproxy, SocketAddr::from(([127, 0, 0, 1], port)), folder)
}

/// How many requests a gateway has answered for the upstream.
fn answered(gate: &Gate) -> f64 {
    gate.metric("keygate_requests_total", &["status=\"200\""])
}

/// Restarts both, the second as Kubernetes does it with a `preStop`; says how many requests were answered meanwhile.
#[track_caller]
fn no_request_fails_while_both_are_restarted(protocol: &str) -> u64 {
    let upstream = Upstream::answering(|_, stream| {
        std::thread::sleep(Duration::from_millis(3));
        respond(stream, "200 OK", "", b"hello")
    });
    let alice = key("alice");
    let places = [Place::free(), Place::free()];
    let mut gates = places.map(|place| place.start(&upstream, &alice));
    let (_haproxy, address, _folder) = balance(places, protocol);

    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let ask = |client: &mut Client| {
        let response = client.request("GET", "/", &[alice.field()], b"");
        assert_eq!(response.status, 200, "after {} good ones: {response:?}", asked.load(Ordering::Relaxed));
        asked.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for keeps in [true, true, true, false] {
            let (done, ask) = (&done, &ask);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                while !done.load(Ordering::Relaxed) {
                    ask(&mut client);
                    if !keeps {
                        client = Client::connect(address);
                    }
                }
            });
        }
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (turn, gate) in gates.iter_mut().enumerate() {
                gate.eventually("it has its share", |gate| answered(gate) > 20.0);
                if turn == 1 {
                    let admin = gate.admin.to_string();
                    let drain = Command::new(env!("CARGO_BIN_EXE_keygate")).args(["drain", "--admin", &admin]).status();
                    assert!(drain.unwrap().success());
                }
                gate.signal("TERM");
                assert!(gate.wait().success());
                *gate = places[turn].start(&upstream, &alice);
                // Only then HAProxy knows, and the next one may go.
                gate.eventually("it has its share again", |gate| answered(gate) > 20.0);
            }
        }));
        done.store(true, Ordering::Relaxed);
        restarted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    asked.into_inner()
}

#[test]
fn a_rolling_restart_behind_haproxy_fails_no_request() {
    let begun = Instant::now();
    let asked = no_request_fails_while_both_are_restarted("");
    assert!(asked > 300, "there was no load: {asked}");
    println!("{asked} requests in {:?}", begun.elapsed());
}

#[test]
fn a_rolling_restart_behind_haproxy_fails_no_request_over_http2_either() {
    let begun = Instant::now();
    let asked = no_request_fails_while_both_are_restarted("proto h2");
    assert!(asked > 300, "there was no load: {asked}");
    println!("{asked} requests in {:?}", begun.elapsed());
}
