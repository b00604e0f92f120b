//! What goes on to the upstream, and what does not.

use crate::gate::gate;
use crate::key::key;
use crate::upstream::{Then, Upstream, respond};

#[test]
fn the_upstream_learns_who_asks_and_no_client_can_forge_it() {
    let upstream = Upstream::hello();
    let alice =
        key("alice").with("tenant: acme\n    user: u-1\n    environment: live\n    permissions: [a:read, b:write]");
    let plain = key("plain");
    let gate = gate(&upstream).key(&alice).key(&plain).start();
    let forged = [
        ("X-Keygate-Tenant", "evil"),
        ("x-keygate-user", "evil"),
        ("X_Keygate_Tenant", "evil"),
        ("X-Keygate_User", "evil"),
        ("X-Keygate-Anything", "evil"),
        ("Connection", "X-Keygate-Key-Id, X-Keygate-Tenant"),
    ];

    let fields: Vec<_> = forged.iter().copied().chain([alice.field()]).collect();
    assert_eq!(gate.get("/", &fields).status, 200);
    let seen = upstream.last();
    for (name, value) in [
        ("X-Keygate-Key-Id", "alice"),
        ("X-Keygate-Tenant", "acme"),
        ("X-Keygate-User", "u-1"),
        ("X-Keygate-Environment", "live"),
        ("X-Keygate-Permissions", "a:read b:write"),
    ] {
        assert_eq!(seen.value(name), value);
    }
    assert!(!seen.mentions("evil"), "{}", seen.head);

    let fields: Vec<_> = forged.iter().copied().chain([plain.field()]).collect();
    assert_eq!(gate.get("/", &fields).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.values("X-Keygate-Tenant"), [""; 0]);
    assert!(!seen.mentions("evil"), "{}", seen.head);
}

#[test]
fn connection_specific_fields_end_here_both_ways() {
    let upstream = Upstream::answering(|_, stream| {
        let fields = "connection: x-hop\r\nx-hop: secret\r\nkeep-alive: timeout=5\r\nx-end-to-end: yes\r\n";
        respond(stream, "200 OK", fields, b"hello")
    });
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).start();
    let response = gate.get(
        "/",
        &[
            alice.field(),
            ("Connection", "keep-alive, X-Mine"),
            ("X-Mine", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("X-Kept", "yes"),
        ],
    );
    assert_eq!(response.field("x-end-to-end"), Some("yes"));
    assert_eq!(response.field("x-hop"), None);
    let seen = upstream.last();
    for gone in ["X-Mine", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Connection"] {
        assert_eq!(seen.values(gone), [""; 0], "{gone}");
    }
    assert_eq!(seen.value("X-Kept"), "yes");
}

#[test]
fn the_upstream_learns_where_a_request_came_from() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).with("forwarding: { forwarded: true }").start();
    gate.get(
        "/",
        &[alice.field(), ("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("Via", "1.1 before")],
    );
    let seen = upstream.last();
    assert_eq!(seen.value("X-Forwarded-For"), "127.0.0.1");
    assert_eq!(seen.value("X-Forwarded-Proto"), "http");
    assert_eq!(seen.value("X-Forwarded-Host"), "api.example");
    assert_eq!(seen.value("Forwarded"), "for=127.0.0.1;host=\"api.example\";proto=http");
    assert_eq!(seen.values("Via"), ["1.1 before", "1.1 keygate"]);
    assert_eq!(seen.value("Host"), "api.example");
}

#[test]
fn a_trusted_proxy_is_believed_and_the_list_continued() {
    let (upstream, alice) = (Upstream::hello(), key("alice").with("allowed_networks: [203.0.113.0/24]"));
    let gate = gate(&upstream).key(&alice).with("forwarding: { trusted_proxies: [127.0.0.0/8] }").start();
    let ask =
        |address: &str| gate.get("/", &[alice.field(), ("X-Forwarded-For", address), ("X-Forwarded-Proto", "https")]);

    assert_eq!(ask("203.0.113.9").status, 200);
    assert_eq!(upstream.last().value("X-Forwarded-For"), "203.0.113.9, 127.0.0.1");
    assert_eq!(upstream.last().value("X-Forwarded-Proto"), "https");
    assert_eq!(ask("198.51.100.7").code(), "address_not_allowed");
    assert_eq!(ask("203.0.113.9, 198.51.100.7").code(), "address_not_allowed");
    assert_eq!(ask("not-an-address").code(), "client_address");
}

#[test]
fn every_request_has_one_name_in_field_trace_response_and_log() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let response = gate.get("/named", &[alice.field()]);
    let seen = upstream.last();
    let id = seen.value("X-Request-Id").to_owned();
    assert_eq!(response.field("x-request-id"), Some(id.as_str()));
    assert_eq!(&seen.value("traceparent")[3..35], id);
    gate.eventually("the log line", |gate| gate.stdout().contains(&format!("\"{id}\"")));

    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let response = gate.get("/", &[alice.field(), ("X-Request-Id", "mine-1"), ("traceparent", trace)]);
    assert_eq!(response.field("x-request-id"), Some("mine-1"));
    assert_eq!(upstream.last().value("X-Request-Id"), "mine-1");
    assert_eq!(upstream.last().value("traceparent"), trace);

    let refused = gate.get("/", &[]);
    assert!(refused.field("x-request-id").is_some(), "a refusal has a name too");
}

#[test]
fn ambiguous_messages_do_not_pass() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let key_line = format!("X-API-Key: {}\r\n", alice.secret);
    let rows = [
        ("no Host", "GET / HTTP/1.1\r\n".to_owned()),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned()),
        ("Host with user information", "GET / HTTP/1.1\r\nHost: a@b\r\n".to_owned()),
        ("Host with a bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n".to_owned()),
        ("empty Host", "GET / HTTP/1.1\r\nHost: \r\n".to_owned()),
        ("two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n".to_owned()),
        ("chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n".to_owned()),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n".to_owned()),
        ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n".to_owned()),
        ("space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n".to_owned()),
    ];
    for (row, head) in rows {
        let mut client = gate.client();
        client.write(format!("{head}{key_line}\r\n0\r\n\r\n").as_bytes());
        assert_eq!(client.response("GET").status, 400, "{row}");
    }
    assert!(upstream.received().is_empty());

    // RFC 9112, section 3.2.2: the authority of an absolute target replaces Host.
    let mut client = gate.client();
    client.write(format!("GET http://real.example/x HTTP/1.1\r\nHost: other.example\r\n{key_line}\r\n").as_bytes());
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(upstream.last().value("Host"), "real.example");
    assert!(upstream.last().head.starts_with("GET /x HTTP/1.1"));
}

#[test]
fn content_goes_up_and_down_whole_with_or_without_a_known_length() {
    let (upstream, alice) = (Upstream::echo(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();

    let known = gate.client().request("POST", "/", &[alice.field()], &content);
    assert_eq!(known.content, content);
    assert_eq!(upstream.last().value("Content-Length"), "300000");

    for method in ["POST", "GET", "DELETE"] {
        let mut client = gate.client();
        client.send(method, "/", &[alice.field(), ("Transfer-Encoding", "chunked")], b"");
        client.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
        assert_eq!(client.response(method).text(), "hello world", "{method}");
    }
}

#[test]
fn a_response_without_content_keeps_its_length() {
    let upstream = Upstream::answering(|request, stream| {
        use std::io::Write as _;
        if request.head.starts_with("HEAD") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
        } else {
            let _ = stream.write_all(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n");
        }
        Then::Keep
    });
    let alice = key("alice");
    let gate = gate(&upstream).key(&alice).start();
    let mut client = gate.client();
    assert_eq!(client.request("HEAD", "/", &[alice.field()], b"").field("content-length"), Some("1234"));
    assert_eq!(client.request("GET", "/", &[alice.field()], b"").field("etag"), Some("\"x\""));
    assert_eq!(client.request("HEAD", "/", &[alice.field()], b"").status, 200);
    assert_eq!(upstream.connections(), 1, "the connection is reused after responses without content");
}
