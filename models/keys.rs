//! What of `src/keys` the store stands on.

#[path = "../src/keys/entry.rs"]
pub mod entry;
#[path = "../src/keys/format.rs"]
pub mod format;
#[path = "../src/keys/key.rs"]
pub mod key;
#[path = "../src/keys/plain.rs"]
pub mod plain;
#[path = "../src/keys/set.rs"]
pub mod set;
#[path = "../src/keys/sharing.rs"]
pub mod sharing;
#[path = "../src/keys/standing.rs"]
pub mod standing;
#[path = "../src/keys/store.rs"]
pub mod store;

pub mod database {
    pub use keygate::keys::database::{Delta, KeyUsage};
}
