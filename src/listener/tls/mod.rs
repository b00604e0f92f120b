//! TLS: which certificate a client is shown, which certificate it must show, and how both are exchanged while we run.
//!
//! ```text
//! pair         one certificate with its key, read and checked
//! sni          the choice among several
//! clients      who may come in with a client certificate
//! session      what a handshake has agreed upon, or why it has failed
//! ```
//!
//! Everything is one [`rustls::ServerConfig`], built aside and swapped whole; a connection in the middle of its handshake
//! keeps the one it began with. Versions are 1.2 and 1.3, cipher suites are rustls' (ECDHE with AEAD only) in its order,
//! the strongest first, and early data is off: a replayed request is not ours to detect (RFC 8470).
//!
//! Sessions are resumed by tickets whose keys live in this process. A resumed session does not verify the client's
//! certificate again, so a change of the client authorities makes new ticket keys and forgets all sessions; a mere
//! renewal of our own certificate keeps them.

mod clients;
mod pair;
mod session;
mod sni;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use clients::Clients;
use pair::Pair;
pub(super) use session::{failure, tls_info};
use sni::BySni;

/// Sessions that are remembered for clients of TLS 1.2 without tickets.
const SESSIONS_MAX: usize = 4096;

/// What HTTP/1 is called in ALPN (RFC 7301, section 6). Clients of HTTP/1.0 name it alone, `curl --http1.0` for one.
const HTTP1: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

static FROM_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static FROM_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];

/// What an operator chooses about TLS on one listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one. The first is shown to clients that name no server, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Client certificates, if any are to be asked for.
    pub clients: Option<ClientCertificates>,
    /// Older versions are refused.
    pub minimum_version: TlsVersion,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Which client certificates are asked for (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Certificates of the authorities that may sign them, in PEM.
    pub authorities: PathBuf,
    /// Refuses clients without a certificate. A certificate that does not verify is refused in any case.
    pub required: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// What is wrong with one file. Never says what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do; goes on after the name of the file.
    pub message: String,
}

impl TlsProblem {
    fn new(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into() }
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.file.display(), self.message)
    }
}

impl std::error::Error for TlsProblem {}

/// The certificates of a listening address, as they are now.
pub struct TlsStore {
    current: ArcSwap<Loaded>,
    /// Held while files are read, so that two reloads do not mix.
    reloading: Mutex<()>,
}

/// Everything made from one reading of the files.
struct Loaded {
    settings: TlsSettings,
    pairs: Vec<Arc<Pair>>,
    clients: Option<Arc<Clients>>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    http1: Arc<ServerConfig>,
    http1_and_2: Arc<ServerConfig>,
}

impl TlsStore {
    /// Reads all files. A certificate that has expired is taken, with a warning in the log.
    ///
    /// # Errors
    ///
    /// Every problem of every file.
    pub fn load(settings: &TlsSettings) -> Result<Self, Vec<TlsProblem>> {
        let loaded = Loaded::read(settings, None)?;
        Ok(Self { current: ArcSwap::from_pointee(loaded), reloading: Mutex::new(()) })
    }

    /// Reads the files again, and says whether anything has changed.
    ///
    /// Each pair is judged alone: one that is broken, or of which only one file is new yet, keeps its predecessor, and
    /// the others are taken. So one mistake does not let the other certificates expire.
    ///
    /// # Errors
    ///
    /// Every problem; what had no problem was taken nevertheless.
    pub fn reload(&self) -> Result<bool, Vec<TlsProblem>> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let mut problems = Vec::new();

        let mut pairs = Vec::with_capacity(old.pairs.len());
        for pair in &old.pairs {
            pairs.push(keep_on_problem(Pair::read(pair.files()), pair, Pair::digest, &mut problems));
        }
        let mut clients = old.clients.clone();
        if let (Some(settings), Some(known)) = (&old.settings.clients, &old.clients) {
            clients = Some(keep_on_problem(Clients::read(settings), known, Clients::digest, &mut problems));
        }

        let changed = !old.pairs.iter().zip(&pairs).all(|(old, new)| Arc::ptr_eq(old, new))
            || old.clients.as_ref().map(Arc::as_ptr) != clients.as_ref().map(Arc::as_ptr);
        if changed {
            match Loaded::build(old.settings.clone(), pairs, clients, Some(&old)) {
                Ok(loaded) => self.current.store(Arc::new(loaded)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(changed) } else { Err(problems) }
    }

    /// Takes other settings, whole or not at all, and says whether anything has changed.
    ///
    /// # Errors
    ///
    /// Every problem of every file; then nothing was taken.
    pub fn apply(&self, settings: &TlsSettings) -> Result<bool, Vec<TlsProblem>> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let loaded = Loaded::read(settings, Some(&old))?;
        let changed = old.settings != loaded.settings || old.digests() != loaded.digests();
        if changed {
            self.current.store(Arc::new(loaded));
        }
        Ok(changed)
    }

    /// Makes an acceptor with the certificates of this moment. With `http2` it offers HTTP/2 by ALPN as well.
    #[must_use]
    pub fn acceptor(&self, http2: bool) -> TlsAcceptor {
        let loaded = self.current.load();
        let config = if http2 { &loaded.http1_and_2 } else { &loaded.http1 };
        TlsAcceptor::from(Arc::clone(config))
    }

    /// The files to watch.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let loaded = self.current.load();
        let pairs = loaded.settings.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        let clients = loaded.settings.clients.iter().map(|clients| &clients.authorities);
        pairs.chain(clients).cloned().collect()
    }

    /// When each certificate is valid: its first DNS name (or the file's name) and the first and the last second, since
    /// the Unix epoch.
    #[must_use]
    pub fn validities(&self) -> Vec<(String, (i64, i64))> {
        self.current.load().pairs.iter().map(|pair| (pair.name().to_owned(), pair.validity())).collect()
    }
}

impl fmt::Debug for TlsStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsStore").field("settings", &self.current.load().settings).finish_non_exhaustive()
    }
}

/// The new value, or the old one if the new is broken or the same.
fn keep_on_problem<T>(
    new: Result<T, Vec<TlsProblem>>,
    old: &Arc<T>,
    digest: impl Fn(&T) -> [u8; 32],
    problems: &mut Vec<TlsProblem>,
) -> Arc<T> {
    match new {
        Ok(new) if digest(&new) != digest(old) => Arc::new(new),
        Ok(_) => Arc::clone(old),
        Err(found) => {
            problems.extend(found);
            Arc::clone(old)
        }
    }
}

impl Loaded {
    fn read(settings: &TlsSettings, previous: Option<&Self>) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let mut pairs = Vec::with_capacity(settings.certificates.len());
        for files in &settings.certificates {
            match Pair::read(files) {
                Ok(pair) => pairs.push(Arc::new(pair)),
                Err(found) => problems.extend(found),
            }
        }
        let mut clients = None;
        match settings.clients.as_ref().map(Clients::read) {
            None => {}
            Some(Ok(read)) => clients = Some(Arc::new(read)),
            Some(Err(found)) => problems.extend(found),
        }
        if settings.certificates.is_empty() {
            problems.push(TlsProblem::new(Path::new(""), "TLS needs at least one certificate"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::build(settings.clone(), pairs, clients, previous).map_err(|problem| vec![problem])
    }

    fn build(
        settings: TlsSettings,
        pairs: Vec<Arc<Pair>>,
        clients: Option<Arc<Clients>>,
        previous: Option<&Self>,
    ) -> Result<Self, TlsProblem> {
        let file = pairs.first().map_or(Path::new(""), |pair| pair.files().certificate.as_path());
        let explain = |error: rustls::Error| TlsProblem::new(file, format!("cannot be used to set TLS up: {error}"));

        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(match settings.minimum_version {
                TlsVersion::V1_2 => &FROM_1_2,
                TlsVersion::V1_3 => &FROM_1_3,
            })
            .map_err(explain)?
            .with_client_cert_verifier(match &clients {
                Some(clients) => clients.verifier(),
                None => rustls::server::WebPkiClientVerifier::no_client_auth(),
            })
            .with_cert_resolver(Arc::new(BySni::new(&pairs)));

        // Whoever may be let in has not changed: then what was let in may come back.
        let kept = previous.filter(|old| {
            old.settings.minimum_version == settings.minimum_version
                && old.clients.as_ref().map(|clients| clients.digest())
                    == clients.as_ref().map(|clients| clients.digest())
        });
        let (tickets, sessions) = match kept {
            Some(old) => (Arc::clone(&old.tickets), Arc::clone(&old.sessions)),
            None => {
                let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_MAX);
                (aws_lc_rs::Ticketer::new().map_err(explain)?, sessions)
            }
        };
        config.ticketer = Arc::clone(&tickets);
        config.session_storage = Arc::clone(&sessions);
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        config.ignore_client_order = true;

        config.alpn_protocols = HTTP1.map(<[u8]>::to_vec).into();
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { settings, pairs, clients, tickets, sessions, http1, http1_and_2: Arc::new(config) })
    }

    fn digests(&self) -> Vec<[u8; 32]> {
        let clients = self.clients.iter().map(|clients| clients.digest());
        self.pairs.iter().map(|pair| pair.digest()).chain(clients).collect()
    }
}

/// The one cryptographic library of the program, named instead of found.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
