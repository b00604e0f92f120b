//! The key domain: what a key is, where keys come from, how they are found.
//!
//! ```text
//! key files -> sources -> KeySet -> KeyStore::apply        the control plane, when a file changes
//! database  -> changes           -> KeyStore::change       the control plane, when somebody has written to it
//!                                   KeyStore::find -> Key  the road, at each request
//! ```
//!
//! A secret is known by its SHA-256 alone, the [`crate::secret::Digest`]; nothing here keeps or prints a secret.
//!
//! The modules below are declared in the order in which they are best read.

pub mod entry;
pub mod key;
pub mod standing;
pub mod set;
mod sharing;
pub mod store;

pub mod append;
pub mod file;
mod map;
pub mod sources;
mod text;

pub mod database;

pub mod format;
pub mod plain;

pub use append::{AppendError, append, json_of, yaml_of};
pub use entry::{Entry, Fault, State};
pub use format::{FormatError, Ids, SecretFormat};
pub use key::{IdentityValues, Key, Origin, Usage};
pub use set::{Clash, Duplicate, KeySet, Same};
pub use sources::{Contents, Development, Fingerprint, Sources};
pub use standing::Standing;
pub use store::{Difference, KeyStore, StandingCounts};
