//! Rules of listening addresses.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::Checker;
use crate::config::file::{Admin, ClientCertificatesMode, File, Listener, MinimumVersion, ProxyVersion};
use crate::config::values::{
    CertificatePaths, ClientCertificateValues, ListenerMaxima, ListenerTimeouts, ListenerValues, ProxyProtocolValues,
    TlsValues,
};
use crate::document::Path;

impl Checker<'_> {
    pub(super) fn listeners(
        &mut self,
        listeners: &[Listener],
        timeouts: ListenerTimeouts,
        maxima: ListenerMaxima,
    ) -> Vec<ListenerValues> {
        let mut values = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.iter().enumerate() {
            let path = self.listener_path(index);
            if listener.tls.is_some() && listener.prior_knowledge {
                let message = "has no effect with `tls`, where HTTP/2 is agreed on by ALPN; leave it out";
                self.refuse(&path.field("prior_knowledge"), message);
            }
            values.push(ListenerValues {
                address: listener.address,
                tls: self.tls(listener),
                http2: listener.http2,
                prior_knowledge: listener.prior_knowledge,
                proxy_protocol: self.proxy_protocol(listener, &path.field("proxy_protocol")),
                timeouts,
                maxima,
            });
        }
        values
    }

    fn tls(&self, listener: &Listener) -> Option<TlsValues> {
        let tls = listener.tls.as_ref()?;
        let certificates = tls
            .certificates
            .iter()
            .map(|files| CertificatePaths { certificate: self.path(&files.certificate), key: self.path(&files.key) });
        let client_certificates = tls.client_certificates.as_ref().map(|clients| ClientCertificateValues {
            ca: self.path(&clients.ca),
            required: clients.mode == ClientCertificatesMode::Required,
        });
        let tls13_only = tls.minimum_version == MinimumVersion::Tls13;
        Some(TlsValues { certificates: certificates.collect(), client_certificates, tls13_only })
    }

    fn proxy_protocol(&mut self, listener: &Listener, path: &Path) -> Option<ProxyProtocolValues> {
        let proxy_protocol = listener.proxy_protocol.as_ref()?;
        self.not_everybody(&proxy_protocol.from, &path.field("from"));
        let versions = &proxy_protocol.versions;
        let [v1, v2] = [ProxyVersion::V1, ProxyVersion::V2].map(|version| versions.contains(&version));
        if versions.len() > usize::from(v1) + usize::from(v2) {
            self.refuse(&path.field("versions"), "names a version twice");
        }
        Some(ProxyProtocolValues { v1, v2, from: proxy_protocol.from.clone() })
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

    /// Refuses addresses that are in use twice, among listeners and with the admin door.
    pub(super) fn addresses(&mut self, file: &File) {
        let mut taken: Vec<(SocketAddr, Path)> = Vec::new();
        let listeners = file.listen.iter().enumerate();
        let mut wanted: Vec<_> =
            listeners.map(|(index, listener)| (listener.address, self.address_path(index))).collect();
        if let Admin::On(door) = &file.admin {
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
