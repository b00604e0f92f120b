//! Taking out what is over: logins and sessions past their end.
//!
//! Nobody has to hear of it, because everybody sees the end of what they have: it makes no revision and no line in the
//! audit trail.

use super::error::DatabaseError;
use super::transaction::Writer;

/// Rows of each kind that are taken out at once. Others want to write, too.
pub const PURGE_MAX: usize = 10_000;

impl Writer<'_> {
    /// Takes out logins and sessions that are over, at most [`PURGE_MAX`] of each; says how many it were.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn purge(&self) -> Result<usize, DatabaseError> {
        let (now, most) = (self.now.as_microsecond(), i64::try_from(PURGE_MAX).unwrap_or(i64::MAX));
        let mut purged = 0;
        for table in ["logins", "sessions"] {
            let sql = format!(
                "DELETE FROM {table} WHERE sequence IN \
                 (SELECT sequence FROM {table} WHERE expires_us <= ?1 ORDER BY expires_us LIMIT ?2)"
            );
            purged += self.run(&sql, (now, most))?;
        }
        Ok(purged)
    }
}
