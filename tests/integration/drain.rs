//! How it ends.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gate::{Gate, gate};
use crate::key::key;
use crate::programs::free_port;
use crate::raw_http2::{Http2, block, frame};
use crate::upstream::{Upstream, respond};

/// Runs `keygate drain` for the gateway with this admin door.
fn drain(admin: SocketAddr) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keygate")).args(["drain", "--admin", &admin.to_string()]).output().unwrap()
}

/// Whether it is told to be draining, in both places.
fn is_draining(gate: &Gate) -> bool {
    let ready = gate.admin("/readyz").status == 200;
    assert_eq!(gate.metric("keygate_draining", &[]), f64::from(u8::from(!ready)));
    !ready
}

fn slow(time: Duration) -> Upstream {
    Upstream::answering(move |_, stream| {
        std::thread::sleep(time);
        respond(stream, "200 OK", "", b"finished")
    })
}

#[test]
fn a_request_in_flight_is_finished_and_the_connection_said_goodbye_to() {
    let (upstream, alice) = (slow(Duration::from_millis(600)), key("alice"));
    let mut gate = gate(&upstream).key(&alice).with("shutdown: { delay: 0s }").start();
    let mut idle = gate.client();
    assert_eq!(idle.request("GET", "/", &[], b"").status, 401);
    let mut busy = gate.client();
    busy.send("GET", "/", &[alice.field()], b"");
    gate.eventually("it is in flight", |_| upstream.received().len() == 1);

    gate.signal("TERM");
    assert!(idle.closes_within(Duration::from_millis(500)), "an idle connection is closed at once");
    let response = busy.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "finished"));
    assert_eq!(response.field("connection"), Some("close"));
    assert!(gate.wait().success());
}

#[test]
fn it_is_not_ready_any_more_while_it_still_serves() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let mut gate = gate(&upstream).key(&alice).with("shutdown: { delay: 700ms, timeout: 5s }").start();
    assert_eq!(gate.admin("/readyz").status, 200);
    gate.signal("TERM");
    gate.eventually("it is not ready", |gate| gate.admin("/readyz").status == 503);
    assert_eq!(gate.admin("/livez").status, 200);
    let response = gate.get("/", &[alice.field()]);
    assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    assert!(gate.wait().success());
}

#[test]
fn the_drain_ends_when_its_time_is_over_or_at_the_second_signal() {
    let (upstream, alice) = (slow(Duration::from_secs(15)), key("alice"));
    for (shutdown, signals) in [("{ delay: 0s, timeout: 300ms }", 1), ("{ timeout: 60s }", 2)] {
        let mut gate = gate(&upstream).key(&alice).with(&format!("shutdown: {shutdown}")).start();
        let before = upstream.received().len();
        let mut busy = gate.client();
        busy.send("GET", "/", &[alice.field()], b"");
        gate.eventually("it is in flight", |_| upstream.received().len() > before);
        let begun = Instant::now();
        for _ in 0..signals {
            gate.signal("TERM");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(gate.wait().success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{shutdown}: {:?}", begun.elapsed());
    }
}

/// Kubernetes starts a sidecar anew that ends in its `preStop`.
#[test]
fn keygate_drain_sends_clients_elsewhere_and_ends_nothing() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let mut gate = gate(&upstream).key(&alice).with("shutdown: { delay: 0s }").start();
    let mut idle = gate.client();
    assert_eq!(idle.request("GET", "/", &[alice.field()], b"").field("connection"), None);
    assert!(!is_draining(&gate));
    for _ in 0..2 {
        let said = drain(gate.admin);
        assert!(said.status.success() && said.stdout == b"draining\n", "{said:?}");
        assert!(is_draining(&gate), "it is so when the command returns");
    }
    std::thread::sleep(Duration::from_millis(700));
    for client in [&mut idle, &mut gate.client()] {
        let response = client.request("GET", "/", &[alice.field()], b"");
        assert_eq!((response.status, response.field("connection")), (200, Some("close")));
        assert!(client.closes_within(Duration::from_secs(5)));
    }
    assert_eq!(gate.admin("/livez").status, 200);
    gate.signal("TERM");
    assert!(gate.wait().success());
    let said = drain(gate.admin);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("no answer"), "{said:?}");
}

#[test]
fn the_delay_is_counted_from_the_drain_and_connections_are_taken_to_its_end() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let mut gate = gate(&upstream).key(&alice).with("shutdown: { delay: 2s }").start();
    let begun = Instant::now();
    assert!(drain(gate.admin).status.success());
    std::thread::sleep(Duration::from_millis(1500));
    let told = Instant::now();
    gate.signal("TERM");
    std::thread::sleep(Duration::from_millis(100));
    if told.elapsed() < Duration::from_millis(300) {
        assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    }
    assert!(gate.wait().success());
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(told.elapsed() < Duration::from_secs(2), "counted from the signal: {:?}", told.elapsed());
}

/// Whoever presses Ctrl-C is no load balancer.
#[test]
fn an_interrupt_does_not_wait_for_the_delay() {
    let upstream = Upstream::hello();
    let mut gate = gate(&upstream).with("shutdown: { delay: 1h }").start();
    gate.signal("INT");
    assert!(gate.wait().success());
}

#[test]
fn http2_clients_are_told_to_go_and_newcomers_are_served_once() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let listen = "listen: { address: \"127.0.0.1:0\", prior_knowledge: true }";
    let gate = gate(&upstream).key(&alice).listen(listen).start();
    let mut old = Http2::connect(gate.address);
    let get = |stream| frame(1, 5, stream, &block(&[("x-api-key", alice.field().1)], "/", "GET"));
    old.write(&get(1)).unwrap();
    gate.eventually("it is answered", |_| upstream.received().len() == 1);
    assert!(drain(gate.admin).status.success());
    old.answer_ping();
    assert_eq!(old.goaway(), Some(0), "NO_ERROR");
    let mut newcomer = Http2::connect(gate.address);
    std::thread::sleep(Duration::from_millis(500));
    newcomer.write(&get(1)).unwrap();
    gate.eventually("it is answered", |_| upstream.received().len() == 2);
    newcomer.answer_ping();
    assert_eq!(newcomer.goaway(), Some(0), "NO_ERROR");
}

#[test]
fn an_upstream_that_has_ended_first_is_503_and_another_reason() {
    let alice = key("alice");
    let gate = gate(format!("http://127.0.0.1:{}", free_port())).key(&alice).start();
    let before = gate.get("/", &[alice.field()]);
    assert_eq!((before.status, before.code().as_str()), (502, "upstream_unreachable"));
    assert_eq!((before.field("retry-after"), before.field("connection")), (None, None));

    assert!(drain(gate.admin).status.success());
    let after = gate.get("/", &[alice.field()]);
    assert_eq!((after.status, after.code().as_str()), (503, "upstream_stopped"));
    assert_eq!((after.field("retry-after"), after.field("connection")), (Some("1"), Some("close")));
    for reason in ["\"upstream_unreachable\"", "\"upstream_stopped\""] {
        assert_eq!(gate.metric("keygate_rejections_total", &[reason]), 1.0, "{reason}");
    }
}

/// Where the door for probes is open to a cluster, it still changes nothing.
#[test]
fn no_request_to_the_admin_door_drains() {
    let upstream = Upstream::hello();
    let gate = gate(&upstream).with("admin: { listen: \"0.0.0.0:0\" }").start();
    let door = SocketAddr::from(([127, 0, 0, 1], gate.admin.port()));
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for path in ["/drain", "/api/v1/drain", "/quitquitquit", "/quit", "/shutdown", "/readyz"] {
            Client::connect(door).request(method, path, &[], b"drain\n");
        }
    }
    let mut raw = Client::connect(door);
    raw.write(b"drain\n");
    raw.sends_no_more();
    raw.rest();
    assert!(!is_draining(&gate));
    assert!(drain(gate.admin).status.success(), "the port alone says which gateway is meant");
    assert!(is_draining(&gate));
}

/// The containers of a pod share what the socket's name is looked up in, and not the user.
#[test]
fn another_user_of_the_machine_cannot_drain() {
    let (upstream, folder) = (Upstream::hello(), tempfile::tempdir().unwrap());
    let gate = gate(&upstream).start();
    let copy = folder.path().join("keygate");
    std::fs::copy(env!("CARGO_BIN_EXE_keygate"), &copy).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut stranger = Command::new(copy);
    stranger.args(["drain", "--admin", &gate.admin.to_string()]).uid(65_533);
    // Only root can become somebody else.
    let Ok(said) = stranger.output() else { return };
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("another user"), "{said:?}");
    assert!(!is_draining(&gate));
}
