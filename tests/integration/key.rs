//! Keys for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

/// A key that a gate may know.
#[derive(Clone)]
pub(crate) struct TestKey {
    /// Its public id.
    pub(crate) id: String,
    /// What the client sends.
    pub(crate) secret: String,
    extra: String,
}

/// A key of this id with a secret that no other test uses.
pub(crate) fn key(id: &str) -> TestKey {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let secret = format!("secret-of-{id}-{number}-{}", std::process::id());
    TestKey { id: id.to_owned(), secret, extra: String::new() }
}

impl TestKey {
    /// Adds a field to the key's entry.
    pub(crate) fn with(mut self, yaml: &str) -> Self {
        self.extra.push_str(&format!("    {yaml}\n"));
        self
    }

    /// SHA-256 of the secret, as it stands in key files.
    pub(crate) fn digest(&self) -> String {
        Sha256::digest(self.secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The entry of a key file.
    pub(crate) fn entry(&self) -> String {
        format!("  - id: {}\n    sha256: {}\n{}", self.id, self.digest(), self.extra)
    }

    /// The field that carries the key.
    pub(crate) fn field(&self) -> (&str, &str) {
        ("X-API-Key", &self.secret)
    }
}
