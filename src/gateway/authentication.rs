//! Whom the credentials stand for.

use std::sync::Arc;

use super::credentials::{Credentials, CredentialsError};
use super::environment::Environment;
use super::rejection::Rejection;
use super::route::Access;
use crate::keys::{Key, KeyStore, SecretFormat, Standing};
use crate::moment::Moment;
use crate::secret::Digest;

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No key has this digest.
    #[error("no key has this digest")]
    Unknown,
    /// The key's time is over.
    #[error("key {0} has expired")]
    Expired(Arc<str>),
    /// The key's time has not come.
    #[error("key {0} is not valid yet")]
    NotYetValid(Arc<str>),
    /// The key is switched off.
    #[error("key {0} is inactive")]
    Inactive(Arc<str>),
    /// The key was taken back for good.
    #[error("key {0} is revoked")]
    Revoked(Arc<str>),
}

impl AuthenticationError {
    /// The id of the key that was refused, if there is one of that digest.
    #[must_use]
    pub const fn key_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Unknown => None,
            Self::Expired(id) | Self::NotYetValid(id) | Self::Inactive(id) | Self::Revoked(id) => Some(id),
        }
    }
}

/// Whom a request is from. Only [`authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct Principal(Who);

#[derive(Clone, Debug)]
enum Who {
    Key(Arc<Key>),
    Anonymous,
}

impl Principal {
    /// The key, if it is one.
    #[must_use]
    pub const fn key(&self) -> Option<&Arc<Key>> {
        match &self.0 {
            Who::Key(key) => Some(key),
            Who::Anonymous => None,
        }
    }
}

/// Finds out whom `credentials` stand for, if that is needed for a route with this `access`. A key of another environment
/// is unknown in this one.
///
/// # Errors
///
/// [`Rejection::Credentials`] or [`Rejection::Authentication`]. Credentials offered on a public route are not looked at.
pub fn authenticate(
    credentials: &Credentials,
    access: Access,
    environment: &Environment,
    keys: &KeyStore,
    format: &SecretFormat,
    now: Moment,
) -> Result<Principal, Rejection> {
    match access {
        Access::Public => Ok(Principal(Who::Anonymous)),
        Access::ApiKey => {
            let secret = credentials.secret().ok_or(CredentialsError::Missing)?;
            let key = keys.find(&Digest::of(secret)).filter(|key| environment.accepts(key, secret));
            let key = key.ok_or_else(|| unknown(secret, format))?;
            let id = || Arc::clone(&key.id);
            match key.standing(now) {
                Standing::Good => {
                    key.used(now);
                    Ok(Principal(Who::Key(key)))
                }
                Standing::Inactive => Err(AuthenticationError::Inactive(id()).into()),
                Standing::Revoked => Err(AuthenticationError::Revoked(id()).into()),
                Standing::Expired => Err(AuthenticationError::Expired(id()).into()),
                Standing::NotYetValid => Err(AuthenticationError::NotYetValid(id()).into()),
            }
        }
    }
}

/// Why no key was found: a secret in our own format with a wrong checksum was mistyped, and is told apart so that
/// whoever mistyped it sees that.
fn unknown(secret: &[u8], format: &SecretFormat) -> Rejection {
    if std::str::from_utf8(secret).is_ok_and(|text| format.well_formed(text)) {
        AuthenticationError::Unknown.into()
    } else {
        CredentialsError::Malformed.into()
    }
}
