//! Whether the upstream can be reached around us.
//!
//! An API in our pod that listens on every address answers the whole cluster at the pod's address, and whoever asks it
//! there needs no key. Nobody notices, because everything works. So where we are told the pod's address (`POD_IP` or
//! `POD_IPS`, by the downward API), we try it, at the port of each upstream that we reach at a loopback address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::state::State;
use crate::gateway::upstream::Endpoint;

/// The variables with addresses of the pod; several are separated by commas.
const VARIABLES: [&str; 2] = ["POD_IP", "POD_IPS"];

/// How long after the first look the second one is. The pauses double.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long a connection may take.
const CONNECTION: Duration = Duration::from_secs(1);

/// How long a connection must stay open to be one. A proxy that intercepts connections takes them all, and closes those
/// that lead nowhere.
const STAYS: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Debug)]
pub(super) struct Exposure {
    addresses: Vec<IpAddr>,
    /// The upstreams that were tried, and whether they answered.
    found: Mutex<Vec<(String, bool)>>,
}

impl Exposure {
    /// Takes the addresses of the pod from the environment.
    pub(super) fn of(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let mut addresses = Vec::new();
        for text in VARIABLES.iter().filter_map(|name| variable(name)) {
            for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                match text.parse() {
                    Ok(address) if addresses.contains(&address) => {}
                    Ok(address) => addresses.push(address),
                    Err(_) => tracing::warn!(address = text, "POD_IP or POD_IPS holds something else than an address"),
                }
            }
        }
        Self { addresses, found: Mutex::default() }
    }

    /// The upstreams that were tried, and whether they can be reached around us.
    pub(super) fn found(&self) -> Vec<(String, bool)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what was found, and says what is new.
    fn note(&self, found: Vec<(String, bool)>) {
        let before = std::mem::replace(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner), found.clone());
        for (upstream, exposed) in found {
            let was_exposed = before.iter().any(|(other, exposed)| *other == upstream && *exposed);
            if exposed && !was_exposed {
                tracing::warn!(
                    upstream,
                    addresses = ?self.addresses,
                    "the upstream answers at the pod's address, too: whoever asks it there needs no key; let it listen \
                     on 127.0.0.1 or on a Unix socket"
                );
            } else if was_exposed && !exposed {
                tracing::info!(upstream, "the upstream does not answer at the pod's address any more");
            }
        }
    }
}

/// Looks at the start, soon after it, and then less and less often. Ends at once where the pod has no address.
pub(super) async fn watch(state: Arc<State>) {
    let exposure = &state.exposure;
    let mut pause = PAUSE;
    while !exposure.addresses.is_empty() {
        let mut found = Vec::new();
        for upstream in state.upstreams().iter() {
            if let Endpoint::Tcp { host, port } = &upstream.settings().endpoint
                && is_loopback(host)
            {
                let exposed = is_exposed(&exposure.addresses, *port).await;
                found.push((upstream.settings().endpoint.to_string(), exposed));
            }
        }
        exposure.note(found);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether a host is this machine and nobody else's business.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether somebody answers at this port of one of the addresses.
async fn is_exposed(addresses: &[IpAddr], port: u16) -> bool {
    for address in addresses {
        let Ok(Ok(mut stream)) = timeout(CONNECTION, TcpStream::connect((*address, port))).await else { continue };
        match timeout(STAYS, stream.read(&mut [0])).await {
            Ok(Ok(0) | Err(_)) => {}
            Ok(Ok(_)) | Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn addresses_come_from_either_variable_each_once() {
        let of = |ip: &str, ips: &str| {
            let variable = |name: &str| match name {
                "POD_IP" => Some(ip.to_owned()),
                "POD_IPS" => Some(ips.to_owned()),
                _ => None,
            };
            Exposure::of(&variable).addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("10.0.0.7", "10.0.0.7, fd00::7"), ["10.0.0.7", "fd00::7"]);
        assert_eq!(of("", "nonsense"), [""; 0]);
        assert!(Exposure::of(&|_| None).addresses.is_empty());
    }

    #[test]
    fn only_what_is_meant_for_this_machine_alone_can_be_exposed() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("localhost", true),
            ("127.0.0.9", true),
            ("api", false),
            ("10.0.0.7", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    /// A transparent proxy takes connections to ports where nobody listens, and closes them.
    #[tokio::test]
    async fn a_connection_that_is_closed_at_once_leads_nowhere() {
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_exposed(&here, port).await, "it is taken, and nobody closes it");
        let closing = std::thread::spawn(move || while listener.accept().is_ok_and(|(_, peer)| peer.port() != 1) {});
        // The one from before waits in the queue and is closed, too.
        assert!(!is_exposed(&here, port).await);
        drop(closing);
    }
}
