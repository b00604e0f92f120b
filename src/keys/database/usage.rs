//! Usage: when each key was last used, and how many requests it made on each day.
//!
//! The road counts in memory; now and then somebody takes what was counted ([`super::super::KeyStore::drain_usage`]) and
//! hands it over here, one batch in one transaction. Keys from files are counted here, too: only the id matters.
//!
//! Usage is no change of a key: it makes no revision and no line in the audit trail.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::error::DatabaseError;
use super::transaction::{Reader, Writer, signed, unsigned};

/// Days for which usage is kept.
pub const USAGE_DAYS: u32 = 400;

const DAY_SECONDS: i64 = 86_400;

/// What a key did since it was last asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// The id of the key.
    pub key: Arc<str>,
    /// When it was last used, in whole seconds since the Unix epoch.
    pub last_used_s: u64,
    /// Requests.
    pub requests: u64,
}

/// The requests of a key on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DayUsage {
    /// The instant at which the day began, in UTC.
    pub day: Timestamp,
    /// Requests.
    pub requests: u64,
}

impl Writer<'_> {
    /// Adds a batch to what is known. All requests of an item count for the day of its last use, so a batch should not
    /// cover more than a minute or so. The time of last use never goes back.
    ///
    /// # Errors
    ///
    /// If the store cannot be written. The batch is not recorded then, and may be handed over again.
    pub fn record_usage(&self, batch: &[KeyUsage]) -> Result<(), DatabaseError> {
        for KeyUsage { key, last_used_s, requests } in batch {
            let last_used_s = signed(*last_used_s);
            self.run(
                "INSERT INTO last_used (key, last_used_s) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET last_used_s = max(last_used_s, excluded.last_used_s)",
                (&**key, last_used_s),
            )?;
            if *requests > 0 {
                self.run(
                    "INSERT INTO usage (key, day, requests) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (key, day) DO UPDATE SET requests = requests + excluded.requests",
                    (&**key, last_used_s / DAY_SECONDS, signed(*requests)),
                )?;
            }
        }
        let oldest = self.now.as_second() / DAY_SECONDS - i64::from(USAGE_DAYS);
        self.run("DELETE FROM usage WHERE day < ?1", [oldest])?;
        Ok(())
    }
}

impl Reader {
    /// The requests of a key on each day on which it made any, from the day of `since` on, oldest first; at most
    /// [`USAGE_DAYS`] or so.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn usage(&self, key: &str, since: Timestamp) -> Result<Vec<DayUsage>, DatabaseError> {
        self.all(
            "SELECT day, requests FROM usage WHERE key = ?1 AND day >= ?2 ORDER BY day",
            (key, since.as_second().div_euclid(DAY_SECONDS)),
            |row| {
                let day = row.get::<_, i64>(0)?.saturating_mul(DAY_SECONDS);
                let day = Timestamp::from_second(day).unwrap_or(Timestamp::UNIX_EPOCH);
                Ok(DayUsage { day, requests: unsigned(row.get(1)?) })
            },
        )
    }

    /// When each key was last used, in whole seconds since the Unix epoch; keys from files among them.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn last_used(&self) -> Result<Vec<(String, u64)>, DatabaseError> {
        self.all("SELECT key, last_used_s FROM last_used", [], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))
    }
}
