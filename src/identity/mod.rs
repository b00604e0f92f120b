//! Users, and what they sign in with.
//!
//! The modules below are declared in the order in which they are best read.

pub mod user;

pub use user::{NotAField, User, Written};
