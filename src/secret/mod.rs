//! Secrets: how they are made, and what is known of them afterwards.
//!
//! The modules below are declared in the order in which they are best read.

pub mod digest;
pub mod random;

pub use digest::{Digest, DigestHasher, DigestState, counted_as};
pub use random::{
    NoRandomness, PREFIX_CHARS_MAX, Secret, display_prefix, random_base62, random_bytes, random_hex64, random_id_of,
    random_uuid,
};
