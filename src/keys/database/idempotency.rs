//! The same request twice is one key: `Idempotency-Key`.
//!
//! Whoever asks for a key and hears nothing asks again, with the same idempotency key, and gets the record of the key
//! that was made the first time. The secret was in the answer that was lost, and is not there a second time: the caller
//! rotates or deletes the key.
//!
//! Idempotency keys are remembered for 24 hours, by actor, as their SHA-256.

use std::time::Duration;

use jiff::SignedDuration;

use super::super::entry::Entry;
use super::error::DatabaseError;
use super::record::KeyRecord;
use super::transaction::Writer;
use crate::secret::Digest;

/// How long an idempotency key is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// What came of asking for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made now.
    Now(KeyRecord),
    /// It was made by an earlier request of the same kind; this is what it is now.
    Earlier(KeyRecord),
}

impl Writer<'_> {
    /// As [`Writer::create_key`], once for each `token` (the idempotency key) and actor. `request` is the SHA-256 of
    /// everything that the request asks for.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::AnotherRequest`] if the token came with another request; [`DatabaseError::NoKey`] if the key that
    /// was made was deleted since; and what [`Writer::create_key`] says.
    pub fn create_key_once(&self, entry: Entry, token: &str, request: &Digest) -> Result<Created, DatabaseError> {
        let token = Digest::of(token.as_bytes());
        let remembered = SignedDuration::try_from(REMEMBERED).unwrap_or(SignedDuration::ZERO);
        let oldest = self.now.checked_sub(remembered).unwrap_or(self.now);
        self.run("DELETE FROM idempotency WHERE at_us <= ?1", [oldest.as_microsecond()])?;
        let earlier: Option<([u8; Digest::BYTES], String)> = self.first(
            "SELECT request, key FROM idempotency WHERE actor = ?1 AND token = ?2",
            (&self.by.actor, token.bytes()),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        match earlier {
            Some((earlier, _)) if earlier != *request.bytes() => Err(DatabaseError::AnotherRequest),
            Some((_, key)) => Ok(Created::Earlier(self.key(&key)?)),
            None => {
                let record = self.create_key(entry)?;
                self.run(
                    "INSERT INTO idempotency (actor, token, request, key, at_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                    (&self.by.actor, token.bytes(), request.bytes(), &record.id, self.now.as_microsecond()),
                )?;
                Ok(Created::Now(record))
            }
        }
    }
}
