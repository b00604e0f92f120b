//! The formats of text that a schema can ask for by name.

use std::net::SocketAddr;

use super::{duration, size};

/// Why `text` is not of the format `name`, as the end of a sentence that begins with the text; nothing if it is, or if
/// the format is none of ours.
pub(super) fn complaint(name: &str, text: &str) -> Option<String> {
    match name {
        "human-duration" => duration::parse(text).err().map(|error| error.to_string()),
        "byte-size" => size::parse(text).err().map(|error| error.to_string()),
        "socket-address" => socket_address(text),
        "network" => network(text),
        "http-field-name" => (!is_token(text))
            .then(|| "is not the name of an HTTP field: letters, digits and `-` (RFC 9110, section 5.6.2)".to_owned()),
        _ => None,
    }
}

fn socket_address(text: &str) -> Option<String> {
    if text.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let hint = if text.parse::<std::net::IpAddr>().is_ok() {
        "has no port; "
    } else if text.starts_with(':') {
        "has no address, only a port; "
    } else if text.starts_with("localhost") {
        "is a name, not an address; "
    } else {
        "is not an address with a port; "
    };
    Some(format!("{hint}write for example `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`"))
}

fn network(text: &str) -> Option<String> {
    let Ok(network) = text.parse::<ipnet::IpNet>() else {
        let hint = if text.parse::<std::net::IpAddr>().is_ok() {
            "is an address without a prefix length"
        } else {
            "is not a network"
        };
        return Some(format!("{hint}; write for example `10.0.0.0/8`, `192.0.2.7/32` or `fd00::/8`"));
    };
    let exact = network.trunc();
    (network != exact).then(|| format!("has bits set behind its prefix length; did you mean `{exact}`?"))
}

/// Whether `text` is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(complaint(format, text), None, "{text}");
        }
        for text in bad {
            assert!(complaint(format, text).is_some(), "{format}: {text}");
        }
    }

    #[test]
    fn each_format_knows_its_own() {
        check("human-duration", &["30s"], &["30", ""]);
        check("byte-size", &["10MiB", "10"], &["10M", ""]);
        check(
            "socket-address",
            &["127.0.0.1:80", "[::]:80", "0.0.0.0:0"],
            &["127.0.0.1", ":80", "localhost:80", "::1:x"],
        );
        check("network", &["10.0.0.0/8", "::1/128"], &["10.0.0.1/8", "10.0.0.1", "ten", "10.0.0.0/33", ""]);
        check("http-field-name", &["X-API-Key", "key"], &["", "X API", "X:", "Schlüssel", "a\n"]);
        check("somebody-elses", &["anything"], &[]);
    }
}
