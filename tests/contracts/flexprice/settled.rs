//! Contract X.
