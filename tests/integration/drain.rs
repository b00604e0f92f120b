//! How it ends.

use std::time::{Duration, Instant};

use crate::gate::gate;
use crate::key::key;
use crate::upstream::{Upstream, respond};

fn slow(time: Duration) -> Upstream {
    Upstream::answering(move |_, stream| {
        std::thread::sleep(time);
        respond(stream, "200 OK", "", b"finished")
    })
}

#[test]
fn a_request_in_flight_is_finished_and_the_connection_said_goodbye_to() {
    let (upstream, alice) = (slow(Duration::from_millis(600)), key("alice"));
    let mut gate = gate(&upstream).key(&alice).start();
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
    for (shutdown, signals) in [("{ timeout: 300ms }", 1), ("{ timeout: 60s }", 2)] {
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
