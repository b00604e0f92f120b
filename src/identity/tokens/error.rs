//! What can go wrong with tokens and their keys.
//!
//! Never in this file: a word of a token. Whoever sends one chooses its words, and a good one is a secret.

use std::path::{Path, PathBuf};

use crate::secret::NoRandomness;

/// Why a token is not believed.
///
/// All of them are the same to the client. What is told of claims and times is told only of tokens whose signature is
/// good: a tampered token is never [`TokenError::Expired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, not JSON that can be read in one way, too large, or it asks for an extension.
    #[error("the token is malformed")]
    Malformed,
    /// Nobody whom we know is named as its issuer.
    #[error("the token is of an unknown issuer")]
    UnknownIssuer,
    /// Its issuer has no key of that name, or has not told us of it yet.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// It names another algorithm than that of its key.
    #[error("the token names another algorithm than that of its key")]
    Algorithm,
    /// The signature is not that of the key.
    #[error("the signature of the token is wrong")]
    Signature,
    /// It is of another type: a refresh token in place of an access token, for example.
    #[error("the token is of another type")]
    Type,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing, is of another type than it should be, or cannot be used.
    #[error("the claims of the token cannot be used")]
    Claims,
    /// It is from the future, or is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum IssueError {
    /// This gateway makes no tokens: it has no `tokens` in its configuration.
    #[error("no tokens are made here")]
    NotConfigured,
    /// It would be larger than we would take back.
    #[error("the token would be larger than 8 KiB: it has too many roles or permissions")]
    TooLarge,
    /// The cryptographic library refuses to sign.
    #[error("the token cannot be signed")]
    Signing,
    /// There is no randomness for its name.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// What is wrong with a file or directory of keys. Shows nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .file.display())]
pub struct FileProblem {
    /// The file or directory.
    pub file: PathBuf,
    /// What is wrong with it; goes on after its path.
    pub message: String,
}

impl FileProblem {
    /// A problem with `file`.
    pub(super) fn new(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into() }
    }
}
