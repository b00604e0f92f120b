//! The admin door: livez, readyz, metrics.
