//! Users, and what they sign in with.
//!
//! ```text
//! store -> Update -> Directory::change                        the control plane, when somebody has written to it
//!                    Directory::user, login, session -> road  at each request
//! ```
//!
//! The modules below are declared in the order in which they are best read.

pub mod directory;
pub mod password;
pub mod passwords;
pub mod tokens;
pub mod user;

pub use directory::{Directory, Login, Population, Session, Update, WrittenSession};
pub use password::{Busy, Checked, HashError, Unfit};
pub use passwords::Passwords;
pub use tokens::{
    Algorithm, ClaimName, ClaimNames, FileProblem, Holder, IssueError, Issued, IssuedRefresh, Issuer, IssuerSettings,
    JwksSource, Refresh, TOKEN_BYTES_MAX, TokenError, TokenSettings, TokenTypes, Tokens, Verified, looks_like_token,
};
pub use user::{NotAField, User, Written};
