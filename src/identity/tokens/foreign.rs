//! Issuers whom we believe, and their keys.
//!
//! Keys come from a file or a URL, are read again every few minutes, and stay as they are whenever that fails. A token that
//! names a key we do not know is refused; and the keys are read again soon, in case the issuer has changed over early. Not
//! more often than every half minute, however many such tokens come.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::claims::{self, Demands, End};
use super::compact::Compact;
use super::error::{FileProblem, TokenError};
use super::jwk::{self, NamedVerifier, NotASet};
use super::settings::IssuerSettings;
use super::verifier::Verifier;
use super::{Algorithm, Issuer, Verified};
use crate::moment::Moment;
use crate::secret::Digest;

/// Bytes of a JWK Set at most.
pub(super) const JWKS_BYTES_MAX: u64 = 256 * 1024;

/// How long keys are not read again, whoever asks for it.
pub(super) const EARLY_EVERY: Duration = Duration::from_secs(30);

/// An issuer whom we believe.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) settings: IssuerSettings,
    name: Arc<str>,
    demands: Demands,
    /// For tokens with keys that we do not know.
    pub(super) early: Early,
}

/// The keys of an issuer.
#[derive(Default)]
pub(super) struct ForeignKeys {
    keys: Vec<NamedVerifier>,
    /// What they were read from; nothing if they never were.
    document: Option<Digest>,
}

impl std::fmt::Debug for ForeignKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForeignKeys({})", self.keys.len())
    }
}

impl Foreign {
    pub(super) fn new(settings: IssuerSettings) -> Self {
        let demands = Demands {
            types: settings.types.clone(),
            audiences: settings.audiences.clone(),
            leeway_s: settings.leeway.as_secs(),
        };
        Self { name: settings.issuer.as_str().into(), demands, early: Early::default(), settings }
    }

    /// Whom a token of this issuer stands for.
    pub(super) fn verify(
        &self,
        keys: &ForeignKeys,
        token: &Compact<'_>,
        now_s: u64,
    ) -> Result<(Verified, End), TokenError> {
        let key = keys.find(token.key_id.as_deref(), token.algorithm)?;
        key.verify(token.signed, &token.signature)?;
        let end = self.demands.check(token, now_s)?;
        let user = claims::user(&token.claims, &self.settings.claims, true)?;
        let issuer = Issuer::Foreign(Arc::clone(&self.name));
        Ok((Verified { issuer, user: Arc::new(user), expires_s: end.expires_s }, end))
    }

    /// Reads keys from a JWK Set. `None`: these are the ones that `known` has.
    ///
    /// # Errors
    ///
    /// [`NotASet`].
    pub(super) fn keys(&self, document: &[u8], known: &ForeignKeys) -> Result<Option<ForeignKeys>, NotASet> {
        let digest = Digest::of(document);
        if known.document == Some(digest) {
            return Ok(None);
        }
        let set = jwk::read_set(document, &self.settings.algorithms)?;
        let issuer = &*self.name;
        tracing::info!(issuer, keys = set.keys.len(), left_out = set.left_out, "the keys of an issuer were read");
        Ok(Some(ForeignKeys { keys: set.keys, document: Some(digest) }))
    }
}

impl ForeignKeys {
    /// The key for a token that names `id` and `algorithm`. What it verifies with is the key's own; the token's word has to
    /// agree.
    ///
    /// A token without a name for its key is taken only if there is no choice.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Verifier, TokenError> {
        let fits = |key: &&NamedVerifier| key.verifier.algorithm() == algorithm;
        let Some(id) = id else {
            let mut fitting = self.keys.iter().filter(fits);
            let (first, second) = (fitting.next(), fitting.next());
            return first.filter(|_| second.is_none()).map(|key| &key.verifier).ok_or(TokenError::UnknownKey);
        };
        let named = || self.keys.iter().filter(|key| key.id.as_deref() == Some(id));
        match named().find(fits) {
            Some(key) => Ok(&key.verifier),
            None if named().next().is_some() => Err(TokenError::Algorithm),
            None => Err(TokenError::UnknownKey),
        }
    }
}

/// Reads a file with a JWK Set.
///
/// # Errors
///
/// If it cannot be read, or is larger than [`JWKS_BYTES_MAX`].
pub(super) fn read_file(file: &Path) -> Result<Vec<u8>, FileProblem> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| FileProblem::new(file, format!("cannot be read: {error}"));
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut content = Vec::new();
    opened.take(JWKS_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > JWKS_BYTES_MAX {
        return Err(FileProblem::new(file, "is larger than 256 KiB"));
    }
    Ok(content)
}

/// A wish to read keys before it is time, which is not heard too often.
#[derive(Debug)]
pub(super) struct Early {
    /// How long keys are not read again, whoever wishes: [`EARLY_EVERY`].
    pub(super) every: Duration,
    wished: Notify,
    /// When they were last read, in nanoseconds of the monotonic clock; zero if they never were.
    read_ns: AtomicU64,
}

impl Default for Early {
    fn default() -> Self {
        Self { every: EARLY_EVERY, wished: Notify::new(), read_ns: AtomicU64::new(0) }
    }
}

impl Early {
    /// Wishes, unless keys were read just now. Never waits.
    pub(super) fn wish(&self, now: Moment) {
        if self.may_read(now) {
            self.wished.notify_one();
        }
    }

    /// Notes that keys are being read.
    pub(super) fn reading(&self, now: Moment) {
        self.read_ns.store(now.monotonic_ns.max(1), Ordering::Relaxed);
    }

    /// Waits until somebody wishes and it may be done.
    pub(super) async fn wished(&self) {
        loop {
            self.wished.notified().await;
            // Wishes may have come in while keys were being read.
            if self.may_read(Moment::now()) {
                return;
            }
        }
    }

    fn may_read(&self, now: Moment) -> bool {
        let read_ns = self.read_ns.load(Ordering::Relaxed);
        read_ns == 0 || u128::from(now.monotonic_ns.saturating_sub(read_ns)) >= self.every.as_nanos()
    }
}
