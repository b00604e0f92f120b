//! The audit trail: who did what, and when.
//!
//! Lines are added by the changes themselves, each in its own transaction: there is no change without its line. The file
//! itself refuses to change or delete a line (triggers); only whoever can write to the file can take them out.

use jiff::Timestamp;
use rusqlite::{Row, ToSql};
use serde::Serialize;
use serde_json::Value;

use super::error::DatabaseError;
use super::record::{Cursor, Page, Revision};
use super::row::json;
use super::transaction::{Reader, time_of, unsigned};

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// Its number; later lines have larger ones.
    pub sequence: u64,
    /// When, in whole microseconds.
    pub at: Timestamp,
    /// With which write. Lines of one write were one step.
    pub revision: Revision,
    /// Who.
    pub actor: String,
    /// By which way: `cli`, `api` or `gateway`.
    pub channel: String,
    /// What: `create`, `update`, `revoke`, `activate`, `deactivate`, `rotate`, `delete`, `enable`, `disable`, `password`,
    /// `end`, `reuse` (of a refresh token, which has ended the login).
    pub action: String,
    /// To what: `key`, `user`, `login` or `session`.
    pub kind: String,
    /// Its id.
    pub subject: String,
    /// More about it; never a secret or a digest.
    pub details: Value,
}

/// Which lines to list; those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Exactly this actor.
    pub actor: Option<String>,
    /// Exactly this action.
    pub action: Option<String>,
    /// `key`, `user`, `login` or `session`.
    pub kind: Option<String>,
    /// Exactly this id.
    pub subject: Option<String>,
    /// Not before this instant.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
}

impl Reader {
    /// A page of the audit trail, oldest line first, and where the next page begins, if there is one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn audit(&self, filter: &AuditFilter, page: Page) -> Result<(Vec<AuditRecord>, Option<Cursor>), DatabaseError> {
        let rows = page.rows();
        let limit = i64::try_from(rows + 1).unwrap_or(i64::MAX);
        let (since, until) = (filter.since.map(Timestamp::as_microsecond), filter.until.map(Timestamp::as_microsecond));
        let (after, skip) = (page.after(), page.skip);
        let parameters: [&dyn ToSql; 9] =
            [&filter.actor, &filter.action, &filter.kind, &filter.subject, &since, &until, &after, &limit, &skip];
        let mut found = self.all(
            "SELECT sequence, at_us, revision, actor, channel, action, kind, subject, details FROM audit \
             WHERE (?1 IS NULL OR actor = ?1) AND (?2 IS NULL OR action = ?2) AND (?3 IS NULL OR kind = ?3) \
             AND (?4 IS NULL OR subject = ?4) AND (?5 IS NULL OR at_us >= ?5) AND (?6 IS NULL OR at_us < ?6) \
             AND sequence > ?7 ORDER BY sequence LIMIT ?8 OFFSET ?9",
            parameters.as_slice(),
            read,
        )?;
        let more = found.len() > rows;
        found.truncate(rows);
        let next = found.last().filter(|_| more).map(|last| Cursor(super::transaction::signed(last.sequence)));
        Ok((found, next))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        sequence: unsigned(row.get("sequence")?),
        at: time_of(row.get("at_us")?).unwrap_or(Timestamp::UNIX_EPOCH),
        revision: Revision(unsigned(row.get("revision")?)),
        actor: row.get("actor")?,
        channel: row.get("channel")?,
        action: row.get("action")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        details: json(row, "details")?.unwrap_or_default(),
    })
}
