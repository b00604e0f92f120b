//! When something goes wrong: with the upstream, with the client, with the size of things.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::gate::gate;
use crate::key::key;
use crate::upstream::{Then, Upstream, respond};

#[test]
fn nobody_listening_is_502_and_silence_is_504() {
    let alice = key("alice");
    let nobody = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let gate_to_nobody = gate(&nobody).key(&alice).start();
    let refused = gate_to_nobody.get("/", &[alice.field()]);
    assert_eq!((refused.status, refused.code().as_str()), (502, "upstream_unreachable"));

    let silent = Upstream::answering(|_, _| {
        thread::sleep(Duration::from_secs(5));
        Then::Close
    });
    let gate_to_silence = gate(&silent).key(&alice).with("timeouts: { connect: 200ms, response_head: 200ms }").start();
    let begun = Instant::now();
    let late = gate_to_silence.get("/", &[alice.field()]);
    assert_eq!((late.status, late.code().as_str()), (504, "upstream_timeout"));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_broken_answer_is_502_and_the_connection_is_not_used_again() {
    let alice = key("alice");
    let rows: [(&str, &'static [u8], &str); 4] = [
        ("nothing at all", b"", "upstream_reset"),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le", "upstream_reset"),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "upstream_malformed"),
        ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "upstream_malformed"),
    ];
    for (row, bytes, code) in rows {
        let upstream = Upstream::answering(move |_, stream| {
            let _ = stream.write_all(bytes);
            Then::Close
        });
        let gate = gate(&upstream).key(&alice).start();
        let response = gate.client().request("POST", "/", &[alice.field()], b"x");
        assert_eq!((response.status, response.code().as_str()), (502, code), "{row}");
        assert_eq!(upstream.received().len(), 1, "{row}: a POST is not sent twice");
    }
}

/// Interim responses may come in any number (RFC 9110, section 15.2), and each of them costs a look.
#[test]
fn an_upstream_that_never_comes_to_its_answer_is_broken_off_and_holds_up_nobody() {
    let (hello, alice) = (Upstream::hello(), key("alice"));
    let endless = Upstream::answering(|_, stream| {
        let many = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        while stream.write_all(&many).is_ok() {}
        Then::Close
    });
    let gate = gate(&hello)
        .key(&alice)
        .with(&format!(
            "routes: [{{ name: endless, paths: [/endless], access: api_key, upstream: \"{endless}\" }}, \
             {{ name: hello, paths: [/], access: api_key }}]"
        ))
        .with("workers: 1")
        .start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = || {
            let mut client = gate.client();
            while !stop.load(Ordering::Relaxed) {
                let response = client.request("GET", "/endless", &[alice.field()], b"");
                assert_eq!((response.status, response.code().as_str()), (502, "upstream_malformed"));
            }
        };
        for _ in 0..4 {
            scope.spawn(asking);
        }
        let mut client = gate.client();
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        println!("beside four endless answers the slowest took {slowest:?}");
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    });
    // Nothing is sent again to one that behaves so.
    let refused = gate.metric("keygate_rejections_total", &["upstream_malformed"]);
    assert_eq!(endless.received().len() as f64, refused);
}

/// RFC 9112, section 8: a client must be able to see that something is missing.
#[test]
fn a_cut_answer_is_visibly_cut() {
    let upstream = Upstream::answering(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        thread::sleep(Duration::from_millis(50));
        Then::Close
    });
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).start();
    let mut client = gate.client();
    client.send("GET", "/", &[alice.field()], b"");
    let answer = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(answer.contains("hello") && !answer.contains("\r\n0\r\n"), "{answer:?}");
    gate.eventually("it is counted", |gate| gate.metric("keygate_rejections_total", &["upstream_reset"]) >= 1.0);
}

/// RFC 9110, section 9.2.2: only what is idempotent is sent again, and only over a connection that had died unused.
#[test]
fn a_connection_that_died_while_it_waited_costs_nobody_a_request() {
    let served = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |request, stream| {
        respond(stream, "200 OK", "", format!("{}", request.connection).as_bytes());
        served.fetch_add(1, Ordering::SeqCst);
        // Says that it stays and goes, as upstreams do whose idle time is over.
        thread::sleep(Duration::from_millis(20));
        let _ = stream.shutdown(Shutdown::Both);
        Then::Close
    });
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).with("workers: 1").start();
    let mut client = gate.client();
    for round in 0..50 {
        let response = client.request("GET", "/", &[alice.field()], b"");
        assert_eq!(response.status, 200, "round {round}");
        thread::sleep(Duration::from_millis(if round % 2 == 0 { 19 } else { 21 }));
    }
}

#[test]
fn connections_to_the_upstream_are_reused() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("workers: 1").start();
    let mut client = gate.client();
    for _ in 0..100 {
        assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    for _ in 0..20 {
        assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_connection_that_nobody_uses_is_closed_after_its_time() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .upstream(&format!("upstream: {{ url: \"{upstream}\", idle_timeout: 100ms }}"))
        .start();
    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    gate.eventually("it is closed", |gate| gate.metric("keygate_upstream_connections", &[]) == 0.0);
}

#[test]
fn more_connections_than_allowed_are_refused_with_503() {
    let upstream = Upstream::answering(|_, stream| {
        thread::sleep(Duration::from_millis(500));
        respond(stream, "200 OK", "", b"hello")
    });
    let alice = key("alice");
    let gate = gate(&upstream)
        .key(&alice)
        .with("workers: 1")
        .upstream(&format!("upstream: {{ url: \"{upstream}\", connections_max: 1 }}"))
        .start();
    let mut first = gate.client();
    first.send("GET", "/", &[alice.field()], b"");
    gate.eventually("the first is under way", |_| upstream.received().len() == 1);
    let second = gate.get("/", &[alice.field()]);
    assert_eq!((second.status, second.code().as_str()), (503, "upstream_overloaded"));
    assert_eq!(second.number("retry-after"), 1);
    assert_eq!(first.response("GET").status, 200);
}

#[test]
fn content_that_is_too_large_is_413_announced_or_not() {
    let (upstream, alice) = (Upstream::echo(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { body: 1KiB }").start();
    let fits = gate.client().request("POST", "/", &[alice.field()], &[b'x'; 1024]);
    assert_eq!(fits.status, 200);
    let announced = gate.client().request("POST", "/", &[alice.field(), ("Content-Length", "1025")], b"");
    assert_eq!((announced.status, announced.code().as_str()), (413, "content_too_large"));
    assert_eq!(upstream.received().len(), 1, "what announces too much is not even begun");

    let mut client = gate.client();
    client.send("POST", "/", &[alice.field(), ("Transfer-Encoding", "chunked")], b"");
    client.write(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(2048)).as_bytes());
    assert_eq!(client.response("POST").code(), "content_too_large");
}

#[test]
fn a_client_that_stops_sending_is_408() {
    let (upstream, alice) = (Upstream::echo(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("timeouts: { request_body: 200ms, request_head: 300ms }").start();
    let mut in_content = gate.client();
    in_content.send("POST", "/", &[alice.field(), ("Content-Length", "100")], b"only this");
    assert_eq!(in_content.response("POST").code(), "content_timeout");

    let mut in_head = gate.client();
    in_head.write(b"GET / HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(in_head.response("GET").status, 408);
    gate.eventually("it is counted", |gate| gate.metric("keygate_rejections_total", &["head_timeout"]) == 1.0);
}

#[test]
fn a_client_that_stops_sending_is_not_taken_for_a_slow_upstream() {
    let alice = key("alice");
    let silent = Upstream::answering(|_, _| {
        thread::sleep(Duration::from_secs(5));
        Then::Close
    });
    let short = "timeouts: { connect: 100ms, response_head: 200ms, request_body: 600ms }";
    let gate = gate(&silent).key(&alice).with(short).start();
    let mut stops = gate.client();
    stops.send("POST", "/", &[alice.field(), ("Content-Length", "100")], b"only this");
    let answer = stops.response("POST");
    assert_eq!((answer.status, answer.code().as_str()), (408, "content_timeout"));
    let whole = gate.client().request("POST", "/", &[alice.field()], b"all of it");
    assert_eq!((whole.status, whole.code().as_str()), (504, "upstream_timeout"));
}

#[test]
fn an_upload_may_take_longer_than_a_response() {
    let (upstream, alice) = (Upstream::echo(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("timeouts: { connect: 100ms, response_head: 300ms }").start();
    let mut client = gate.client();
    client.send("POST", "/", &[alice.field(), ("Content-Length", "10")], b"");
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        client.write(b"x");
    }
    assert_eq!(client.response("POST").text(), "xxxxxxxxxx");
}

#[test]
fn a_client_that_hangs_up_leaves_nothing_behind() {
    let upstream = Upstream::answering(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, "200 OK", "", b"hello")
    });
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).start();
    for _ in 0..10 {
        let mut client = gate.client();
        client.send("GET", "/gone", &[alice.field()], b"");
        thread::sleep(Duration::from_millis(20));
    }
    gate.eventually("nothing is in flight", |gate| gate.metric("keygate_requests_in_flight", &[]) == 0.0);
    gate.eventually("it is logged", |gate| gate.stdout().matches("\"client_gone\"").count() == 10);
    gate.eventually("it is counted", |gate| gate.metric("keygate_rejections_total", &["client_gone"]) == 10.0);
    gate.eventually("connections are closed", |gate| gate.metric("keygate_upstream_connections", &[]) == 0.0);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("maxima: { head: 8KiB, fields: 20 }").start();
    let long = "x".repeat(9 * 1024);
    assert_eq!(gate.get("/", &[alice.field(), ("X-Long", &long)]).status, 431);
    let many: Vec<_> = (0..30).map(|_| ("X-Many", "x")).collect();
    assert_eq!(gate.get("/", &many).status, 431);
    gate.eventually("both are counted", |gate| gate.metric("keygate_rejections_total", &["head_too_large"]) == 2.0);
    assert!(upstream.received().is_empty());
}
