//! Rules of listening addresses.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::Checker;
use crate::config::file;
use crate::document::Path;
use crate::listener::{
    CertificateFiles, ClientCertificates, Maxima, ProxyProtocol, Settings, Timeouts, TlsSettings, TlsVersion,
};

/// A smaller head has no room for the fields and cookies that browsers send.
const HEAD_BYTES_MIN: u32 = 8 * 1024;

/// A larger head is an attack.
const HEAD_BYTES_MAX: u32 = 1024 * 1024;

impl Checker<'_> {
    /// What all listening addresses have in common.
    pub(super) fn shared_settings(&mut self, file: &file::File) -> Settings {
        Settings {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            proxy_protocol: None,
            http2: true,
            prior_knowledge: false,
            // A client is not told of what no route would grant it.
            extended_connect: file.routes.iter().any(|route| !route.upgrade.is_empty()),
            timeouts: self.timeouts(file),
            maxima: self.maxima(file),
            response_rate_min: file.minima.response_rate.get(),
            proxies: file.forwarding.trusted_proxies.clone(),
        }
    }

    pub(super) fn listeners(&mut self, file: &file::File, like: &Settings) -> Vec<(Settings, Option<TlsSettings>)> {
        let mut listeners = Vec::with_capacity(file.listen.len());
        for (index, listener) in file.listen.iter().enumerate() {
            let path = self.listener_path(index);
            if listener.tls.is_some() && listener.prior_knowledge {
                let message = "has no effect with `tls`, where HTTP/2 is agreed on by ALPN; leave it out";
                self.refuse(&path.field("prior_knowledge"), message);
            }
            let settings = Settings {
                address: listener.address,
                proxy_protocol: self.proxy_protocol(listener, &path.field("proxy_protocol")),
                http2: listener.http2,
                prior_knowledge: listener.prior_knowledge,
                ..like.clone()
            };
            let tls = listener.tls.as_ref().map(|tls| self.tls(tls, &path.field("tls")));
            listeners.push((settings, tls));
        }
        listeners
    }

    fn timeouts(&mut self, file: &file::File) -> Timeouts {
        let (timeouts, path) = (&file.timeouts, Path::root().field("timeouts"));
        Timeouts {
            tls_handshake: self.positive(timeouts.tls_handshake, &path.field("tls_handshake")),
            request_head: self.positive(timeouts.request_head, &path.field("request_head")),
            idle: self.positive(timeouts.idle, &path.field("idle")),
            write: self.positive(timeouts.write, &path.field("write")),
        }
    }

    fn maxima(&mut self, file: &file::File) -> Maxima {
        let maxima = &file.maxima;
        let head_bytes = u32::try_from(maxima.head.get()).unwrap_or(u32::MAX);
        if !(HEAD_BYTES_MIN..=HEAD_BYTES_MAX).contains(&head_bytes) {
            let path = Path::root().field("maxima").field("head");
            self.refuse(&path, "must be from `8KiB` to `1MiB`");
        }
        // A client that takes all it may leaves as much to the others.
        let per_address = maxima.connections_per_address.unwrap_or_else(|| maxima.connections.div_ceil(2));
        Maxima {
            head_bytes,
            fields: usize::try_from(maxima.fields).unwrap_or(usize::MAX),
            connections: usize::try_from(maxima.connections).unwrap_or(usize::MAX),
            connections_per_address: usize::try_from(per_address).unwrap_or(usize::MAX),
            ipv6_prefix_bits: maxima.ipv6_prefix,
            streams: maxima.streams,
        }
    }

    pub(super) fn tls(&mut self, tls: &file::Tls, path: &Path) -> TlsSettings {
        let list = path.field("certificates");
        let mut certificates = Vec::with_capacity(tls.certificates.len());
        for (index, files) in tls.certificates.iter().enumerate() {
            let path = self.document.item(&list, index);
            certificates.push(CertificateFiles {
                certificate: self.named_file(&files.certificate, &path.field("certificate")),
                key: self.named_file(&files.key, &path.field("key")),
            });
        }
        let path = path.field("client_certificates");
        let clients = tls.client_certificates.as_ref().map(|clients| ClientCertificates {
            authorities: self.named_file(&clients.ca, &path.field("ca")),
            required: match clients.mode {
                file::ClientCertificatesMode::Required => true,
                file::ClientCertificatesMode::Optional => false,
            },
        });
        let minimum_version = match tls.minimum_version {
            file::MinimumVersion::Tls12 => TlsVersion::V1_2,
            file::MinimumVersion::Tls13 => TlsVersion::V1_3,
        };
        TlsSettings { certificates, clients, minimum_version }
    }

    fn proxy_protocol(&mut self, listener: &file::Listener, path: &Path) -> Option<ProxyProtocol> {
        let proxy_protocol = listener.proxy_protocol.as_ref()?;
        self.not_everybody(&proxy_protocol.from, &path.field("from"));
        let versions = &proxy_protocol.versions;
        let [v1, v2] = [file::ProxyVersion::V1, file::ProxyVersion::V2].map(|version| versions.contains(&version));
        if versions.len() > usize::from(v1) + usize::from(v2) {
            self.refuse(&path.field("versions"), "names a version twice");
        }
        Some(ProxyProtocol { v1, v2, from: proxy_protocol.from.clone() })
    }

    /// Refuses networks that are the whole internet: whoever is believed by everybody is believed by nobody.
    pub(super) fn not_everybody(&mut self, networks: &[IpNet], path: &Path) {
        for (index, network) in networks.iter().enumerate() {
            if network.prefix_len() == 0 {
                let message = "is every address there is, so any client could claim to be another; name the networks of \
                               your proxies";
                self.refuse(&self.document.item(path, index), message);
            }
        }
    }

    /// Refuses addresses that are in use twice, among listeners, checks and the admin door.
    pub(super) fn addresses(&mut self, file: &file::File) {
        let mut taken: Vec<(SocketAddr, Path)> = Vec::new();
        let listeners = file.listen.iter().enumerate();
        let mut wanted: Vec<_> =
            listeners.map(|(index, listener)| (listener.address, self.address_path(index))).collect();
        let checks = file.check.iter().enumerate();
        wanted.extend(checks.map(|(index, check)| (check.listen, self.check_address_path(index))));
        if let file::Admin::On(door) = &file.admin {
            wanted.push((door.listen, Path::root().field("admin").field("listen")));
        }
        for (address, path) in wanted {
            if let Some((other, other_path)) = taken.iter().find(|(other, _)| overlap(*other, address)) {
                self.in_use(address, &path, *other, other_path);
            }
            taken.push((address, path));
        }
    }

    fn in_use(&mut self, address: SocketAddr, path: &Path, other: SocketAddr, other_path: &Path) {
        if self.document.is_faulty(path) || self.document.is_faulty(other_path) {
            return;
        }
        if !self.document.has(path) {
            let message = format!("is in the way of `{path}`, which is `{address}` by default; move one of them");
            self.refuse(other_path, message);
        } else if other == address {
            self.refuse(path, format!("`{address}` is in use already, by `{other_path}`"));
        } else {
            let message = format!("port {} is in use already, by `{other}` of `{other_path}`", address.port());
            self.refuse(path, message);
        }
    }

    fn listener_path(&self, index: usize) -> Path {
        let listen = Path::root().field("listen");
        let item = self.document.item(&listen, index);
        if self.document.has(&item) { item } else { listen }
    }

    /// The address may be the whole of a listener.
    pub(super) fn address_path(&self, index: usize) -> Path {
        let listener = self.listener_path(index);
        let address = listener.field("address");
        if self.document.has(&address) { address } else { listener }
    }
}

/// A client that takes all the requests it may leaves as many to the others.
pub(super) fn in_flight_per_address_max(maxima: &file::Maxima) -> usize {
    let max = maxima.in_flight_per_address.unwrap_or_else(|| maxima.in_flight.div_ceil(2));
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// Whether two addresses cannot both be listened on. Port 0 is a different port each time; an unspecified IPv6 address
/// takes IPv4 with it.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |one: SocketAddr, other: SocketAddr| {
        one.ip() == other.ip() || one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4())
    };
    one.port() == other.port() && one.port() != 0 && (takes(one, other) || takes(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_when_one_takes_the_other() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("[::]:80", "127.0.0.1:80", true);
        check("[::]:80", "0.0.0.0:80", true);
        check("0.0.0.0:80", "[::1]:80", false);
        check("127.0.0.1:0", "127.0.0.1:0", false);
    }
}
