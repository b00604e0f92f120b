//! The locks of what many threads share, named in one place.
//!
//! Limits and keys take theirs from here. The models (`models/`) are built of the same sources with other ones in their
//! place, which let a test decide at each of them who goes on.

pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Mutex, MutexGuard, PoisonError};

pub use dashmap::{DashMap, Entry};
