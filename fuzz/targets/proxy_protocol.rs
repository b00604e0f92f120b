//! The PROXY protocol: how a header is cut into packets says nothing, and neither does what follows it.

use std::net::{IpAddr, SocketAddr};

use keygate::listener::proxy_protocol::parse;
use keygate::listener::{ProxyProtocol, Refusal};

pub const WORDS: &[&str] = &[
    "PROXY ",
    "TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "203.0.113.9 ",
    "10.0.0.1 ",
    "::1 ",
    "::ffff:192.0.2.1 ",
    "0",
    "65535",
    "65536",
    "+1",
    "01",
    " ",
    "\r\n",
    "\n",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x20",
    "\x21\x11",
    "\0\x0c",
    "\x21\x21\0\x24",
];

type Parsed = Result<Option<(Option<SocketAddr>, usize)>, Refusal>;

pub fn check(data: &[u8]) {
    let both = ProxyProtocol { v1: true, v2: true, from: Vec::new() };
    let parsed = parse(data, &both);
    let is_v1 = data.starts_with(b"P");
    let only = |v1| parse(data, &ProxyProtocol { v1, v2: !v1, from: Vec::new() });
    match parsed {
        Ok(Some((client, length))) => {
            assert!(length <= data.len() && length >= if is_v1 { 15 } else { 16 }, "{length}");
            for cut in 1..length {
                assert_eq!(parse(&data[..cut], &both), Ok(None), "cut at {cut} of {length}");
            }
            assert_eq!(parse(&data[..length], &both), parsed, "what follows counts");
            assert_eq!(only(is_v1), parsed);
            assert!(matches!(only(!is_v1), Err(_) | Ok(None)), "a version that is off");
            assert!(client.is_none_or(|client| client.ip() == client.ip().to_canonical()));
        }
        // Once refused, no further byte makes it good.
        Err(_) => assert!(!matches!(parse(&[data, b" 1 2\r\n\0\0\0\0\0\0\0\0"].concat(), &both), Ok(Some(_)))),
        Ok(None) => assert!(data.len() < 4096 + 16, "more and more is read"),
    }
    if is_v1 && let Ok(Some((client, length))) = parsed {
        assert_eq!(client, line(&data[..length]), "{}", data[..length].escape_ascii());
    }
    if let Ok(Some((client, length))) = parsed
        && !is_v1
    {
        assert_eq!(Ok(Some((client, length))) as Parsed, binary(data), "version 2");
    }
}

/// Version 1 as its specification (section 2.1) has it: exactly one space, canonical numbers.
fn line(header: &[u8]) -> Option<SocketAddr> {
    // What follows is to be ignored.
    if header.starts_with(b"PROXY UNKNOWN") {
        return None;
    }
    let text = std::str::from_utf8(header).expect("ASCII").strip_suffix("\r\n").expect("the end of the line");
    let words: Vec<_> = text.split(' ').collect();
    let [_, family, source, destination, from, to] = words[..] else { panic!("not six words: {text:?}") };
    let address = |word: &str| -> IpAddr { word.parse().expect("an address") };
    let port = |word: &str| {
        let number: u16 = word.parse().expect("a port");
        assert_eq!(number.to_string(), word, "another spelling of a port");
        number
    };
    assert_eq!(address(source).is_ipv4(), family == "TCP4", "{text}");
    assert_eq!(address(destination).is_ipv4(), family == "TCP4", "{text}");
    port(to);
    Some(SocketAddr::new(address(source).to_canonical(), port(from)))
}

/// Version 2 as its specification (section 2.2) has it.
fn binary(data: &[u8]) -> Parsed {
    let length = 16 + usize::from(u16::from_be_bytes([data[14], data[15]]));
    let port = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
    let client = match (data[12], data[13]) {
        (0x20, _) => None,
        (0x21, 0x11) => {
            let octets: [u8; 4] = data[16..20].try_into().expect("four");
            Some(SocketAddr::new(IpAddr::from(octets), port(24)))
        }
        (0x21, 0x21) => {
            let octets: [u8; 16] = data[16..32].try_into().expect("sixteen");
            Some(SocketAddr::new(IpAddr::from(octets).to_canonical(), port(48)))
        }
        // A Unix socket has no address that anybody could be counted by: it is the load balancer's own.
        (0x21, 0x00 | 0x31 | 0x32) => None,
        (version, family) => panic!("accepted: {version:#x} {family:#x}"),
    };
    Ok(Some((client, length)))
}
