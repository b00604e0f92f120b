//! What a handshake has agreed upon, or why it has failed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::{Error, ProtocolVersion, ServerConnection};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::listener::{ClientCertificate, HandshakeFailure, TlsInfo};

/// What this session has agreed upon.
pub(in crate::listener) fn tls_info(session: &ServerConnection) -> TlsInfo {
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    TlsInfo {
        sni: session.server_name().map(|name| name.to_ascii_lowercase().into()),
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "TLSv1.3" } else { "TLSv1.2" },
        client_certificate: certificate.and_then(|der| describe(der)).map(Arc::new),
    }
}

/// A certificate as text; nothing if it cannot be read, which the verification before has excluded.
fn describe(der: &[u8]) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let mut names = Vec::new();
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                names.push((*text).into());
            }
            GeneralName::IPAddress(bytes) => names.extend(address(bytes).map(|ip| ip.to_string().into())),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => {}
        }
    }
    Some(ClientCertificate { subject: certificate.subject().to_string().into(), names })
}

/// RFC 5280, section 4.2.1.6: four bytes or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into());
    v4().or_else(|_| v6()).ok()
}

/// Why a handshake has failed, as one of a few words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open, and all that is left is broken TLS, or none")]
pub(in crate::listener) fn failure(error: &io::Error) -> HandshakeFailure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() == io::ErrorKind::UnexpectedEof {
            true => HandshakeFailure::Eof,
            false => HandshakeFailure::Io,
        };
    };
    match tls {
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => HandshakeFailure::BadCertificate,
        Error::PeerIncompatible(_) => HandshakeFailure::Incompatible,
        Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        _ => HandshakeFailure::Protocol,
    }
}
