//! Why an operation was not done. Nothing was changed then.

use crate::gateway::permission::Permission;
use crate::identity::{Busy, IssueError, TokenError};
use crate::keys::database::DatabaseError;
use crate::secret::NoRandomness;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The content is of another media type than JSON, or encoded.
    #[error("the content is not JSON by its media type")]
    MediaType,
    /// The content is no JSON that can be read in one way.
    #[error("{0}")]
    Malformed(String),
    /// The content, or the query, is not what the operation takes; the words name the member.
    #[error("{0}")]
    Invalid(String),
    /// There is no such user, or the password is not right; nobody learns which.
    #[error("login and password do not belong together")]
    LoginFailed,
    /// More passwords wait than anybody has the patience for.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The refresh token is not good.
    #[error("the refresh token is not good: {0}")]
    RefreshRefused(TokenError),
    /// The refresh token was good, and its login has ended.
    #[error("the login of the refresh token has ended")]
    LoginEnded,
    /// The refresh token was used before. The login has been ended.
    #[error("the refresh token was used before; its login has been ended")]
    TokenReused,
    /// The tenant is none of the caller's, whatever permission the route demands.
    #[error("the caller may not act in this tenant")]
    Tenant(Option<Permission>),
    /// The caller has no key of this id; or none at all.
    #[error("there is no such key")]
    NoKey,
    /// The tenant has as many keys as it may.
    #[error("there are as many keys as there may be")]
    TooManyKeys,
    /// There are as many sessions as there may be.
    #[error("there are as many sessions as there may be")]
    TooManySessions,
    /// The store, the signing keys or the random generator failed.
    #[error("{0}")]
    Unavailable(String),
}

impl OperationError {
    /// There is no store to work with. The configuration does not let operations be without one; a store that was added to
    /// it comes with the next start.
    #[must_use]
    pub fn no_store() -> Self {
        Self::Unavailable("the store comes with the next start".to_owned())
    }
}

impl From<DatabaseError> for OperationError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::NoKey | DatabaseError::Revoked | DatabaseError::NotRotatable(_) => Self::NoKey,
            DatabaseError::Invalid(_) => Self::Invalid(error.to_string()),
            DatabaseError::TooManySessions => Self::TooManySessions,
            DatabaseError::UserDisabled | DatabaseError::PasswordChanged | DatabaseError::NoUser => Self::LoginFailed,
            DatabaseError::NoDirectory(_)
            | DatabaseError::NoStore(_)
            | DatabaseError::File { .. }
            | DatabaseError::Foreign(_)
            | DatabaseError::Newer { .. }
            | DatabaseError::Replaced(_)
            | DatabaseError::Busy
            | DatabaseError::Full
            | DatabaseError::Closed
            | DatabaseError::Sqlite(_)
            | DatabaseError::Unreadable(_)
            | DatabaseError::NoLogin
            | DatabaseError::NoSession
            | DatabaseError::IdTaken
            | DatabaseError::SecretTaken
            | DatabaseError::LoginTaken
            | DatabaseError::RotatedAlready(_)
            | DatabaseError::AnotherRequest => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<NoRandomness> for OperationError {
    fn from(error: NoRandomness) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<IssueError> for OperationError {
    fn from(error: IssueError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
