//! One look at the store, and one change of it: what a function that was handed to the store works with.
//!
//! The operations stand in files of their own, by what they are about. Here is what all of them need: the moment, who
//! it is, the revision, and the audit trail.

use std::cell::Cell;
use std::ops::Deref;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, TransactionBehavior};
use serde_json::Value;

use super::error::DatabaseError;
use super::record::Revision;
use crate::moment::Moment;

/// By which way a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The command line.
    Cli,
    /// The management API.
    Api,
    /// A client of the gateway: an operation, such as a login.
    Gateway,
}

impl Channel {
    /// The word that stands for it in the audit trail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Api => "api",
            Self::Gateway => "gateway",
        }
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The name of a person, a key or an account; shown in the audit trail, as far as [`By::ACTOR_CHARS_MAX`].
    pub(super) actor: String,
    /// By which way.
    pub(super) channel: Channel,
}

impl By {
    /// Characters of an actor that are kept.
    pub const ACTOR_CHARS_MAX: usize = 256;

    /// Somebody at the command line.
    #[must_use]
    pub fn cli(actor: &str) -> Self {
        Self::new(actor, Channel::Cli)
    }

    /// Somebody who calls the management API.
    #[must_use]
    pub fn api(actor: &str) -> Self {
        Self::new(actor, Channel::Api)
    }

    /// A client of the gateway, by the id of the user or the key.
    #[must_use]
    pub fn gateway(actor: &str) -> Self {
        Self::new(actor, Channel::Gateway)
    }

    fn new(actor: &str, channel: Channel) -> Self {
        Self { actor: actor.chars().take(Self::ACTOR_CHARS_MAX).collect(), channel }
    }
}

/// Reads the store, at one moment.
pub struct Reader {
    connection: Connection,
}

/// Changes the store, all at once; reads it as it will be.
pub struct Writer<'c> {
    reader: &'c Reader,
    pub(super) by: By,
    /// Now, in whole microseconds as the store has them.
    pub(super) now: Timestamp,
    /// The same moment with its nanoseconds.
    pub(super) moment: Moment,
    /// The revision of this change, as soon as there is one.
    revision: Cell<Option<Revision>>,
}

impl Reader {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Begins a transaction. The thread of the store begins one at a time, and ends it before the next.
    pub(super) fn begin(&self, behavior: TransactionBehavior) -> Result<Transaction<'_>, DatabaseError> {
        Ok(Transaction::new_unchecked(&self.connection, behavior)?)
    }

    /// The number of the last write that changed anything but usage.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn revision(&self) -> Result<Revision, DatabaseError> {
        Ok(Revision(unsigned(self.one("SELECT revision FROM counter", [], |row| row.get(0))?)))
    }

    /// The one row of a query that always has one.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(parameters, row)?)
    }

    /// The first row of a query, if it has one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DatabaseError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(parameters, row).optional()?)
    }

    /// All rows of a query.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(parameters, row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl<'c> Writer<'c> {
    pub(super) fn new(reader: &'c Reader, by: By, moment: Moment) -> Self {
        Self { reader, by, now: timestamp_of(moment), moment, revision: Cell::new(None) }
    }

    /// Changes rows; says how many.
    pub(super) fn run(&self, sql: &str, parameters: impl Params) -> Result<usize, DatabaseError> {
        Ok(self.reader.connection.prepare_cached(sql)?.execute(parameters)?)
    }

    /// The revision of this change. All that is changed together has one.
    pub(super) fn next_revision(&self) -> Result<Revision, DatabaseError> {
        if let Some(revision) = self.revision.get() {
            return Ok(revision);
        }
        self.run("UPDATE counter SET revision = revision + 1", [])?;
        let revision = self.reader.revision()?;
        self.revision.set(Some(revision));
        Ok(revision)
    }

    /// Adds a line to the audit trail.
    pub(super) fn note(&self, action: &str, kind: &str, subject: &str, details: &Value) -> Result<(), DatabaseError> {
        let revision = signed(self.next_revision()?.0);
        self.run(
            "INSERT INTO audit (at_us, revision, actor, channel, action, kind, subject, details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                self.now.as_microsecond(),
                revision,
                &self.by.actor,
                self.by.channel.name(),
                action,
                kind,
                subject,
                details.to_string(),
            ),
        )?;
        Ok(())
    }
}

/// A change is read by the same operations.
impl Deref for Writer<'_> {
    type Target = Reader;

    fn deref(&self) -> &Self::Target {
        self.reader
    }
}

/// Without what is smaller than a microsecond, which the store does not keep.
pub(super) fn whole_us(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// A moment by the wall clock, as the store has it.
pub(super) fn timestamp_of(moment: Moment) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(moment.unix_ns)).map_or(Timestamp::UNIX_EPOCH, whole_us)
}

/// A time from a column. One that is no time cannot be told from one that never comes: the caller gets `None`.
pub(super) fn time_of(us: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(us).ok()
}

/// SQLite has signed numbers only. None of ours comes near the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A pattern for `LIKE ... ESCAPE '\'` that finds `text` anywhere.
pub(super) fn anywhere(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
