//! Users, and what they sign in with.
//!
//! The modules below are declared in the order in which they are best read.

pub mod tokens;
pub mod user;

pub use tokens::{
    Algorithm, ClaimName, ClaimNames, FileProblem, Holder, IssueError, Issued, IssuedRefresh, Issuer, IssuerSettings,
    JwksSource, Refresh, TOKEN_BYTES_MAX, TokenError, TokenSettings, TokenTypes, Tokens, Verified, looks_like_token,
};
pub use user::{NotAField, User, Written};
