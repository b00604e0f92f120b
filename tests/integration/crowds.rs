//! What one client cannot take away from the others by asking for much at once: places in flight.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use crate::client::Client;
use crate::gate::{Gate, PATIENCE, Setup, gate};
use crate::guards::connect_from;
use crate::key::key;
use crate::raw_http2::{END_HEADERS, END_STREAM, HEADERS, Http2, RST_STREAM, block, frame};
use crate::upstream::{Then, Upstream, respond};

const PRIOR_KNOWLEDGE: &str = "listen: { address: \"127.0.0.1:0\", prior_knowledge: true }";

const ROUTES: &str = "routes:
  - { name: live, paths: [/live], access: public, upgrade: [websocket] }
  - { name: closed, paths: [/closed], access: api_key }
  - { name: open, paths: [\"/{*rest}\"], access: public }";

/// An upstream that leaves `/wait` waiting until it is told, and answers all else at once; `/half` not to its end.
struct Slow {
    upstream: Upstream,
    told: Arc<(Mutex<bool>, Condvar)>,
}

impl Slow {
    fn new() -> Self {
        let told = Arc::new((Mutex::new(false), Condvar::new()));
        let wait = Arc::clone(&told);
        let upstream = Upstream::answering(move |request, stream| match request.head.split(' ').nth(1) {
            Some("/wait") => {
                let (told, changed) = &*wait;
                drop(changed.wait_timeout_while(told.lock().unwrap(), PATIENCE, |told| !*told).unwrap());
                respond(stream, "200 OK", "", b"late")
            }
            Some("/half") => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
                Then::Keep
            }
            _ => respond(stream, "200 OK", "", b"at once"),
        });
        Self { upstream, told }
    }

    /// Lets everything be answered that waits or will.
    fn answers(&self) {
        *self.told.0.lock().unwrap() = true;
        self.told.1.notify_all();
    }
}

fn crowded(slow: &Slow, more: &str) -> Setup {
    gate(&slow.upstream).listen(PRIOR_KNOWLEDGE).with(ROUTES).with(more)
}

fn refused(gate: &Gate) -> f64 {
    gate.metric("keygate_rejections_total", &["\"address_overloaded\""])
}

fn in_flight(gate: &Gate) -> f64 {
    gate.metric("keygate_requests_in_flight", &[])
}

/// Opens so many requests on one HTTP/2 connection whose content never comes.
fn open_posts(address: SocketAddr, count: u32, fields: &[(&str, &str)]) -> Http2 {
    let mut http2 = Http2::connect(address);
    let head = block(fields, "/wait", "POST");
    for number in 0..count {
        http2.write(&frame(HEADERS, END_HEADERS, number * 2 + 1, &head)).unwrap();
    }
    http2
}

/// Asks for `/` from another address, again and again, and holds that all is well there.
#[track_caller]
fn others_are_served(gate: &Gate, address: &str) {
    let mut kept = Client::over(connect_from(address, gate.address));
    for _ in 0..10 {
        assert_eq!(kept.request("GET", "/", &[], b"").status, 200);
        assert_eq!(Client::over(connect_from(address, gate.address)).request("GET", "/", &[], b"").status, 200);
    }
}

#[test]
fn one_http2_connection_takes_no_more_than_half_of_the_places_and_the_other_half_is_for_others() {
    let (slow, alice) = (Slow::new(), key("alice"));
    let gate = crowded(&slow, "maxima: { in_flight: 100 }").key(&alice).start();
    let flood = open_posts(gate.address, 110, &[]);
    gate.eventually("the other 60 are refused", |gate| refused(gate) == 60.0 && in_flight(gate) == 50.0);
    others_are_served(&gate, "127.0.0.2");

    // At once, on any connection of that address, before anybody looks at the key, and as every refusal.
    let mut client = gate.client();
    for (path, fields) in [("/", &[][..]), ("/closed", &[alice.field()]), ("/closed", &[("X-API-Key", "unknown")])] {
        let response = client.request("GET", path, fields, b"");
        assert_eq!((response.status, response.number("retry-after")), (503, 1), "{response:?}");
        assert_eq!((response.code().as_str(), &response.json()["retry_after"]), ("address_overloaded", &1.into()));
        let id = response.field("x-request-id").unwrap().to_owned();
        gate.eventually("it is logged", |gate| gate.stdout().contains(&id));
        let log = gate.stdout();
        let line = log.lines().find(|line| line.contains(&id)).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["reason"], &line["status"]), (&"address_overloaded".into(), &503.into()), "{line}");
        assert_eq!((&line["client"], line["key_id"].as_str()), (&"127.0.0.1".into(), None), "{line}");
    }
    // Nor does it wait for content that is refused with it.
    let mut client = gate.client();
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let response = client.response("POST");
    assert_eq!((response.code().as_str(), response.field("connection")), ("address_overloaded", Some("close")));
    assert_eq!((refused(&gate), gate.metric("keygate_rejections_total", &["\"overloaded\""])), (64.0, 0.0));

    drop(flood);
    gate.eventually("their places are free", |gate| in_flight(gate) == 0.0);
    assert_eq!(gate.get("/closed", &[alice.field()]).status, 200);
}

#[test]
fn many_http1_connections_take_no_more_than_the_same_and_go_on_when_they_are_answered() {
    let slow = Slow::new();
    let gate = crowded(&slow, "maxima: { in_flight: 10, in_flight_per_address: 6 }\nworkers: 4").start();
    let mut waiting: Vec<Client> = (0..6).map(|_| Client::over(connect_from("127.0.0.2", gate.address))).collect();
    for client in &mut waiting {
        client.send("GET", "/wait", &[], b"");
    }
    gate.eventually("they are in flight", |gate| in_flight(gate) == 6.0);
    let mut client = Client::over(connect_from("127.0.0.2", gate.address));
    for _ in 0..5 {
        assert_eq!(client.request("GET", "/", &[], b"").code(), "address_overloaded");
    }
    others_are_served(&gate, "127.0.0.1");
    others_are_served(&gate, "127.0.0.3");

    // All together are still held to what all may have.
    let mut more: Vec<Client> = (0..4).map(|_| gate.client()).collect();
    for client in &mut more {
        client.send("GET", "/wait", &[], b"");
    }
    gate.eventually("all are in flight", |gate| in_flight(gate) == 10.0);
    assert_eq!(gate.get("/", &[]).code(), "overloaded");
    assert_eq!(client.request("GET", "/", &[], b"").code(), "address_overloaded");

    slow.answers();
    for client in waiting.iter_mut().chain(&mut more) {
        assert_eq!(client.response("GET").text(), "late");
    }
    gate.eventually("nothing is in flight", |gate| in_flight(gate) == 0.0);
    for client in waiting.iter_mut().chain([&mut client]) {
        assert_eq!(client.request("GET", "/wait", &[], b"").status, 200);
    }
    assert_eq!(refused(&gate), 6.0);
}

/// Holds that one address has exactly four places: takes them all, and two too many.
#[track_caller]
fn has_four_places(gate: &Gate, after: &str) {
    gate.eventually(after, |gate| in_flight(gate) == 0.0);
    let before = refused(gate);
    let flood = open_posts(gate.address, 6, &[]);
    gate.eventually(after, |gate| (refused(gate) - before, in_flight(gate)) == (2.0, 4.0));
    drop(flood);
    gate.eventually(after, |gate| in_flight(gate) == 0.0);
}

#[test]
fn a_place_is_given_back_once_however_its_request_ends() {
    let slow = Slow::new();
    let gate = crowded(&slow, "maxima: { in_flight_per_address: 4 }").start();
    let begun = |count: f64| gate.eventually("they have begun", |gate| in_flight(gate) == count);
    has_four_places(&gate, "nothing");

    let mut client = gate.client();
    for _ in 0..6 {
        assert_eq!(client.request("GET", "/", &[], b"").status, 200);
        assert_eq!(client.request("GET", "/closed", &[], b"").status, 401);
        assert_eq!(client.request("POST", "/", &[], b"content").status, 200);
    }
    has_four_places(&gate, "answers and refusals");

    for path in ["/wait", "/half"] {
        let leaving: Vec<Client> = (0..4).map(|_| gate.client()).collect();
        for mut client in leaving.iter().map(Client::twin) {
            client.send("GET", path, &[], b"");
        }
        begun(4.0);
        drop(leaving);
        has_four_places(&gate, path);
    }

    // Some of them taken back, the others with their connection.
    let mut flood = open_posts(gate.address, 6, &[]);
    begun(4.0);
    for stream in [1, 3] {
        flood.write(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).unwrap();
    }
    begun(2.0);
    drop(flood);
    has_four_places(&gate, "streams that were reset");

    // Answered, and not read.
    let mut deaf = Http2::connect_with(gate.address, &[0, 4, 0, 0, 0, 0]);
    let head = block(&[], "/", "GET");
    for stream in [1, 3, 5, 7] {
        deaf.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).unwrap();
    }
    begun(4.0);
    assert_eq!(gate.get("/", &[]).code(), "address_overloaded");
    drop(deaf);
    has_four_places(&gate, "responses that nobody read");
}

#[test]
fn a_websocket_keeps_its_place_until_it_ends() {
    let upstream = Upstream::answering(|request, stream| {
        if request.head.starts_with("GET /live ") {
            // The answer to the key that RFC 6455 has as an example (section 1.3).
            let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
            let _ = stream.write_all(format!("{head}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
            return Then::Keep;
        }
        respond(stream, "200 OK", "", b"at once")
    });
    let gate = gate(&upstream).with(ROUTES).with("maxima: { in_flight_per_address: 2 }").start();
    let mut sockets: Vec<Client> = (0..2).map(|_| gate.client()).collect();
    for client in &mut sockets {
        let asking = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(client.request("GET", "/live", &asking, b"").status, 101);
    }
    let mut client = gate.client();
    assert_eq!(client.request("GET", "/", &[], b"").code(), "address_overloaded");
    others_are_served(&gate, "127.0.0.2");
    sockets.clear();
    gate.eventually("both have ended", |gate| in_flight(gate) == 0.0);
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[], b"").status, 200);
    }
}

#[test]
fn a_trusted_proxy_has_the_requests_of_many_clients_and_those_behind_a_balancer_have_their_own() {
    let slow = Slow::new();
    let maxima = "maxima: { in_flight: 100, in_flight_per_address: 2 }";
    let trusting = crowded(&slow, maxima).with("forwarding: { trusted_proxies: [127.0.0.1/32] }").start();
    let flood = open_posts(trusting.address, 20, &[("x-forwarded-for", "203.0.113.1")]);
    trusting.eventually("all are in flight", |gate| in_flight(gate) == 20.0);
    assert_eq!((refused(&trusting), trusting.get("/", &[]).status), (0.0, 200));
    let mut stranger: Vec<Client> = (0..2).map(|_| Client::over(connect_from("127.0.0.2", trusting.address))).collect();
    for client in &mut stranger {
        client.send("GET", "/wait", &[], b"");
    }
    trusting.eventually("they are in flight", |gate| in_flight(gate) == 22.0);
    let mut third = Client::over(connect_from("127.0.0.2", trusting.address));
    assert_eq!(third.request("GET", "/", &[], b"").code(), "address_overloaded");
    drop(flood);

    let balanced = gate(&slow.upstream)
        .listen("listen: { address: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.0/8] } }")
        .with(ROUTES)
        .with(maxima)
        .start();
    let from = |client: &str| {
        let mut balancer = balanced.client();
        balancer.write(format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n").as_bytes());
        balancer
    };
    let mut waiting = [from("203.0.113.1"), from("203.0.113.1")];
    for client in &mut waiting {
        client.send("GET", "/wait", &[], b"");
    }
    balanced.eventually("they are in flight", |gate| in_flight(gate) == 2.0);
    assert_eq!(from("203.0.113.1").request("GET", "/", &[], b"").code(), "address_overloaded");
    assert_eq!(from("203.0.113.2").request("GET", "/", &[], b"").status, 200);
}

/// A proxy asks on behalf of all of its clients. Answers that it does not read are still in flight.
#[test]
fn a_proxy_that_asks_for_others_is_not_held_to_what_one_address_may_have() {
    let slow = Slow::new();
    let check = "check: [{ listen: '127.0.0.1:0', dialect: forwarded, from: [127.0.0.1/32] }]";
    let gate = crowded(&slow, check).with("maxima: { in_flight: 100, in_flight_per_address: 2 }").start();
    let mut proxy = Http2::connect_with(gate.check_address(0), &[0, 4, 0, 0, 0, 0]);
    let said = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/closed"),
        ("x-forwarded-host", "api.example"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let question = block(&said, "/check", "GET");
    for number in 0..20_u32 {
        proxy.write(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &question)).unwrap();
    }
    gate.eventually("all are answered", |gate| {
        gate.metric("keygate_rejections_total", &["\"credentials_missing\""]) == 20.0
    });
    assert_eq!((in_flight(&gate), refused(&gate)), (20.0, 0.0));
}

#[test]
fn a_reload_of_the_maximum_holds_for_connections_that_are_open() {
    let slow = Slow::new();
    let gate = crowded(&slow, "maxima: { in_flight_per_address: 1 }").start();
    let mut waiting = gate.client();
    waiting.send("GET", "/wait", &[], b"");
    gate.eventually("it is in flight", |gate| in_flight(gate) == 1.0);
    let mut client = gate.client();
    assert_eq!(client.request("GET", "/", &[], b"").code(), "address_overloaded");
    let text = std::fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("in_flight_per_address: 1", "in_flight_per_address: 2"));
    gate.eventually("there is more room", |_| client.request("GET", "/", &[], b"").status == 200);
    slow.answers();
    assert_eq!(waiting.response("GET").text(), "late");
}
