//! The server we forward to: how it is reached, and the connections kept to it.
//!
//! Each worker has a pool of its own ([`pool`]), so that no request waits for another core. A [`Lease`] is a connection
//! in use: the response's body holds it, and gives it back when the last byte was read. A lease that is dropped earlier
//! closes its connection, because nobody can know what would still come on it.
//!
//! A request is sent a second time only where that cannot do harm (RFC 9110, section 9.2.2): when nothing of it was
//! written, or when it is idempotent, has no content, and the *reused* connection died before the first byte came back.

mod ask;
mod connect;
mod interim;
mod pool;
mod send;
mod stream;
mod tls;

pub use pool::Lease;
pub use send::{Switched, UpstreamError, UpstreamResponse};
pub use tls::{TlsError, UpstreamTls};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use pool::Pool;

use crate::mount;

/// Where the upstream listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address and a port. Names are looked up anew for each connection.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// What stands in `Host` for it; a Unix socket has no name of its own.
    #[must_use]
    pub fn host(&self) -> Option<HeaderValue> {
        match self {
            Self::Tcp { .. } => HeaderValue::try_from(self.to_string()).ok(),
            Self::Unix(_) => Some(HeaderValue::from_static("localhost")),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Which version of HTTP the upstream is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on each connection.
    Http1,
    /// HTTP/2, with prior knowledge or, over TLS, by ALPN.
    Http2,
}

/// Which `Host` the upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// The client's own.
    Preserve,
    /// The upstream's authority.
    Replace(HeaderValue),
}

/// How an upstream is reached. Two equal settings mean the same pool, over reloads too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Which `Host` it sees.
    pub host: HostRule,
    /// TLS to the upstream; `None` is plain text.
    pub tls: Option<UpstreamTls>,
    /// Connections open at once, per worker. Above it a request is refused with 503.
    pub connections_max: usize,
    /// Streams at once on one HTTP/2 connection; above it another connection is opened.
    pub streams_max: usize,
    /// How long a connection may wait unused.
    pub idle_timeout: Duration,
    /// How long name lookup, connection and TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long the response's head may take once the request was handed over.
    pub response_head_timeout: Duration,
}

/// One upstream with its pools, one for each worker.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
    /// The content of the files that the settings name, as it was when they were read.
    files: tls::Fingerprint,
    connector: connect::Connector,
    pools: Box<[Pool]>,
}

impl Upstream {
    /// Prepares an upstream; opens no connection.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if a certificate that the settings name cannot be used.
    pub fn new(settings: Settings, workers: usize) -> Result<Arc<Self>, TlsError> {
        let folders: Vec<_> = settings.tls.iter().flat_map(UpstreamTls::files).map(mount::folder_of).collect();
        let (files, connector) = mount::at_one_moment(&folders, || {
            // Before they are read: what changes in between is seen as a change afterwards.
            (tls::fingerprint(settings.tls.as_ref()), connect::Connector::new(&settings))
        });
        let connector = connector?;
        let pools = (0..workers.max(1)).map(|_| Pool::default()).collect();
        Ok(Arc::new(Self { settings, files, connector, pools }))
    }

    /// What the upstream was made from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says whether `other` is the same in all that decides about a connection, the content of files included.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.settings == other.settings && self.files == other.files
    }

    /// The files that its settings name.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.settings.tls.iter().flat_map(UpstreamTls::files)
    }

    /// Says whether a file that its settings name holds something else by now.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.files != tls::fingerprint(self.settings.tls.as_ref())
    }

    /// Connections open now, over all workers.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.pools.iter().map(Pool::open).sum()
    }

    /// Connections opened since the start, over all workers.
    #[must_use]
    pub fn connections_opened(&self) -> u64 {
        self.pools.iter().map(Pool::opened).sum()
    }

    /// The pool of a worker. A worker number out of range falls on the first.
    fn pool(&self, worker: usize) -> &Pool {
        self.pools.get(worker).unwrap_or(&self.pools[0])
    }
}
