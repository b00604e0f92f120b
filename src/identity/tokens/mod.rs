//! Tokens: JSON Web Tokens (RFC 7519) that this gateway makes, and those of others that it believes.
//!
//! The modules below are declared in the order in which they are best read.

mod algorithm;
mod error;
mod settings;

use std::sync::Arc;

use bytes::Bytes;

pub use self::algorithm::Algorithm;
pub use self::error::{FileProblem, IssueError, TokenError};
pub use self::settings::{ClaimName, ClaimNames, IssuerSettings, JwksSource, TokenSettings, TokenTypes};

use super::user::User;
use crate::moment::Moment;
use crate::secret::{Digest, Secret};

/// Bytes of a token at most; a larger one is malformed.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Whom an access token is made for.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The user: `sub`.
    pub user: &'a str,
    /// The login: `sid`.
    pub login: &'a str,
    /// The tenant that the user is bound to, if it is.
    pub tenant: Option<&'a str>,
    /// Its roles.
    pub roles: &'a [Arc<str>],
    /// Its permissions.
    pub permissions: &'a [Arc<str>],
}

/// An access token that was just made.
#[derive(Debug)]
pub struct Issued {
    /// The token, to be given to its user.
    pub token: Secret,
    /// When it expires, in whole seconds since the Unix epoch.
    pub expires_s: u64,
}

/// A refresh token that was just made.
#[derive(Debug)]
pub struct IssuedRefresh {
    /// The token, to be given to its user.
    pub token: Secret,
    /// What is kept of it.
    pub digest: Digest,
    /// When it expires, in whole seconds since the Unix epoch.
    pub expires_s: u64,
}

/// Who has made a token that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// This gateway, for this login. Whether the login is still alive, the token does not know.
    Own {
        /// Its `sid`.
        login: Arc<str>,
    },
    /// Somebody else: its `iss`.
    Foreign(Arc<str>),
}

/// An access token that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who has made it.
    pub issuer: Issuer,
    /// Whom it stands for, as its claims say.
    pub user: Arc<User>,
    /// When it expires, in whole seconds since the Unix epoch, rounded down. The leeway is not in it.
    pub expires_s: u64,
}

/// A refresh token that was found good. Whether it was used before, its text does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Its `sub`.
    pub user: Arc<str>,
    /// Its `sid`.
    pub login: Arc<str>,
    /// What was kept of it when it was made.
    pub digest: Digest,
    /// When it expires, in whole seconds since the Unix epoch. The leeway is not in it.
    pub expires_s: u64,
}

/// The tokens of this gateway and of the issuers it believes; shared by all threads.
#[derive(Debug)]
pub struct Tokens {
    own: Option<TokenSettings>,
    issuers: Vec<IssuerSettings>,
}

impl Tokens {
    /// Reads the signing keys, and makes the directory and the first key if there is none. Reads the keys of issuers that
    /// are in files; those at URLs come with [`Tokens::follow`]. Blocks: it waits for the disk.
    ///
    /// # Errors
    ///
    /// Every file and directory that cannot be used.
    pub fn open(
        own: Option<TokenSettings>,
        issuers: Vec<IssuerSettings>,
        _now: Moment,
    ) -> Result<Self, Vec<FileProblem>> {
        Ok(Self { own, issuers })
    }

    /// Whether [`Tokens::open`] would find what it needs. Makes nothing and changes nothing. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Tokens::open`].
    pub fn check(_own: Option<&TokenSettings>, _issuers: &[IssuerSettings]) -> Result<(), Vec<FileProblem>> {
        Ok(())
    }

    /// Takes the place of `earlier` and keeps what it knows of issuers that are the same, so that nobody's keys are
    /// missing while they are fetched anew.
    pub fn succeed(&mut self, _earlier: &Self) {}

    /// Makes an access token (RFC 9068).
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue_access(&self, _holder: &Holder<'_>, _now: Moment) -> Result<Issued, IssueError> {
        Err(IssueError::NotConfigured)
    }

    /// Makes a refresh token. It says who and which login, and nothing else.
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue_refresh(&self, _user: &str, _login: &str, _now: Moment) -> Result<IssuedRefresh, IssueError> {
        Err(IssueError::NotConfigured)
    }

    /// Says whom an access token stands for. Quick for a token that was seen before. Never waits.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify(&self, _token: &str, _now: Moment) -> Result<Arc<Verified>, TokenError> {
        Err(TokenError::UnknownIssuer)
    }

    /// Says what a refresh token of ours stands for.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify_refresh(&self, _token: &str, _now: Moment) -> Result<Refresh, TokenError> {
        Err(TokenError::UnknownIssuer)
    }

    /// The public keys by which others can verify our tokens: a JWK Set (RFC 7517, section 5), `application/jwk-set+json`.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        Bytes::new()
    }

    /// Reads the signing keys again, makes the successor when it is time, and deletes keys whose tokens have all expired.
    /// To be called every minute. Blocks: it waits for the disk.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong; for the log. The keys that were good stay in force.
    pub fn tend(&self, _now: Moment) -> Result<(), FileProblem> {
        Ok(())
    }

    /// Keeps the keys of all issuers fresh, for as long as it is polled: a task of the control plane, to be ended when
    /// these tokens are succeeded by others.
    pub async fn follow(self: Arc<Self>) {}
}

/// Whether the bytes have the form of a token: three parts of base64url with dots between, the first of which begins as
/// JSON objects do. Tells nothing of its worth, only that it is no API key. Allocates nothing.
#[must_use]
pub fn looks_like_token(bytes: &[u8]) -> bool {
    let base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut parts = 0;
    let parts_are_good = bytes.split(|byte| *byte == b'.').all(|part| {
        parts += 1;
        !part.is_empty() && part.iter().all(base64url)
    });
    bytes.starts_with(b"eyJ") && parts_are_good && parts == 3
}
