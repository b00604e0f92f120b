//! Clients that speak TLS, and one name for streams with it and without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::gate::{Gate, PATIENCE};

/// A stream over TCP, with TLS or without.
pub(crate) trait Duplex: Read + Write + Send {
    /// What is below.
    fn socket(&self) -> &TcpStream;
}

impl Duplex for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Duplex for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// A connection, on which nothing is waited for too long.
#[track_caller]
pub(crate) fn plain(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Knows the certificate `tls` of a gate, and remembers no session: every handshake is a whole one.
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Tls {
    /// To speak this protocol, by its name in ALPN.
    pub(crate) fn to(gate: &Gate, protocol: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(gate.file("tls.crt")).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config), address: gate.address }
    }

    /// Connects, and comes to the end of the handshake.
    #[track_caller]
    pub(crate) fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(session, plain(self.address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }
}
