//! A key in its row, and back.

use rusqlite::types::FromSql;
use rusqlite::{Row, RowIndex};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::entry::{Entry, State};
use super::super::key::{Key, Origin};
use super::super::sharing::Sharing;
use super::error::DatabaseError;
use super::record::{KeyRecord, Revision};
use super::transaction::{time_of, unsigned};
use crate::secret::Digest;

/// The columns of a row, from which come both what is asked for and where it stands in the answer: a million rows are
/// read at a time, and SQLite looks a name up by comparing it with one column after the other.
macro_rules! columns {
    ($first:ident = $first_sql:literal, $($column:ident = $sql:literal,)+) => {
        #[derive(Clone, Copy)]
        enum Column {
            $first,
            $($column,)+
        }

        /// Every key with all that is known of it. A condition is added at the end.
        pub(super) const SELECT: &str = concat!(
            "SELECT ", $first_sql, $(", ", $sql,)+
            " FROM keys k LEFT JOIN last_used l ON l.key = k.id LEFT JOIN users u ON u.id = k.user "
        );
    };
}

columns! {
    Sequence = "k.sequence",
    Digest = "k.digest",
    Id = "k.id",
    Name = "k.name",
    Prefix = "k.prefix",
    Tenant = "k.tenant",
    User = "k.user",
    Environment = "k.environment",
    Permissions = "k.permissions",
    Roles = "k.roles",
    State = "k.state",
    Created = "k.created_us",
    Updated = "k.updated_us",
    Expires = "k.expires_us",
    NotBefore = "k.not_before_us",
    Lineage = "k.lineage",
    RateLimit = "k.rate_limit",
    AllowedNetworks = "k.allowed_networks",
    Metadata = "k.metadata",
    Retires = "k.retires_us",
    Successor = "k.successor",
    Revision = "k.revision",
    LastUsed = "l.last_used_s",
    UserDisabled = "u.enabled = 0",
}

/// A key as it is stored.
pub(super) struct Stored {
    /// Its place in lists.
    pub(super) sequence: i64,
    pub(super) digest: Digest,
    pub(super) record: KeyRecord,
}

/// What came of reading a row: the key, or the digest and the id of one that cannot be understood.
pub(super) type Reading = Result<Stored, (Digest, String)>;

/// Reads a row of [`SELECT`].
///
/// SQLite's own checks let few mistakes through; what they let through must not become a key with fewer restrictions.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Reading> {
    let columns = Columns(row);
    let digest = Digest::from_bytes(columns.get(Column::Digest)?);
    let id: String = columns.get(Column::Id)?;
    Ok(match columns.record()? {
        Some(record) => {
            let sequence = columns.get(Column::Sequence).unwrap_or(0);
            Ok(Stored { sequence, digest, record: KeyRecord { id, ..record } })
        }
        None => Err((digest, id)),
    })
}

/// A row, read by [`Column`].
struct Columns<'r>(&'r Row<'r>);

impl Columns<'_> {
    fn get<T: FromSql>(&self, column: Column) -> rusqlite::Result<T> {
        self.0.get(column as usize)
    }

    /// `None` if it is no time.
    fn time(&self, column: Column) -> rusqlite::Result<Option<Option<jiff::Timestamp>>> {
        Ok(self.get::<Option<i64>>(column)?.map_or(Some(None), |us| time_of(us).map(Some)))
    }

    /// A list or a map; most of them are `empty`. `None` if it is none.
    fn json<T: DeserializeOwned + Default>(&self, column: Column, empty: &str) -> rusqlite::Result<Option<T>> {
        if self.0.get_ref(column as usize)?.as_str()? == empty {
            return Ok(Some(T::default()));
        }
        json(self.0, column as usize)
    }

    /// All but the id. `None` if the row cannot be understood.
    fn record(&self) -> rusqlite::Result<Option<KeyRecord>> {
        let state = self.0.get_ref(Column::State as usize)?;
        let state = State::ALL.into_iter().find(|each| state.as_str() == Ok(each.name()));
        let (Some(Some(created)), Some(Some(updated))) = (self.time(Column::Created)?, self.time(Column::Updated)?)
        else {
            return Ok(None);
        };
        let (Some(expires), Some(not_before), Some(retires)) =
            (self.time(Column::Expires)?, self.time(Column::NotBefore)?, self.time(Column::Retires)?)
        else {
            return Ok(None);
        };
        let (Some(state), Some(permissions), Some(roles), Some(allowed_networks), Some(metadata)) = (
            state,
            self.json(Column::Permissions, "[]")?,
            self.json(Column::Roles, "[]")?,
            self.json(Column::AllowedNetworks, "[]")?,
            self.json(Column::Metadata, "{}")?,
        ) else {
            return Ok(None);
        };
        let last_used: Option<i64> = self.get(Column::LastUsed)?;
        Ok(Some(KeyRecord {
            id: String::new(),
            name: self.get(Column::Name)?,
            prefix: self.get(Column::Prefix)?,
            tenant: self.get(Column::Tenant)?,
            user: self.get(Column::User)?,
            environment: self.get(Column::Environment)?,
            permissions,
            roles,
            state,
            user_disabled: self.get::<Option<bool>>(Column::UserDisabled)?.unwrap_or(false),
            created,
            updated,
            expires,
            not_before,
            lineage: self.get(Column::Lineage)?,
            successor: self.get(Column::Successor)?,
            retires,
            rate_limit: self.get::<Option<i64>>(Column::RateLimit)?.map(unsigned),
            allowed_networks,
            metadata,
            last_used: last_used.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
            revision: Revision(unsigned(self.get(Column::Revision)?)),
        }))
    }
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<T>> {
    Ok(serde_json::from_str(row.get_ref(column)?.as_str()?).ok())
}

/// A list or a map, for a column.
pub(super) fn as_json(value: &impl Serialize) -> Result<String, DatabaseError> {
    // Lists and maps of texts can always be written.
    serde_json::to_string(value).map_err(|_| DatabaseError::Closed)
}

impl Stored {
    /// What was written, as the checks of entries take it.
    pub(super) fn into_entry(self) -> Entry {
        let Self { digest, record, .. } = self;
        Entry {
            state: record.state,
            id: record.id,
            digest,
            name: record.name,
            prefix: record.prefix,
            tenant: record.tenant,
            user: record.user,
            environment: record.environment,
            permissions: record.permissions,
            roles: record.roles,
            created: Some(record.created),
            expires: record.expires,
            not_before: record.not_before,
            lineage: Some(record.lineage),
            rate_limit: record.rate_limit,
            allowed_networks: record.allowed_networks,
            metadata: record.metadata,
        }
    }

    /// The key as the road takes it; the id alone if it is not allowed to be one.
    pub(super) fn into_key(self, sharing: &mut Sharing) -> Result<Key, (Digest, String)> {
        let digest = self.digest;
        let (retires, last_used, state) = (self.record.retires, self.record.last_used, self.record.effective_state());
        let id = self.record.id.clone();
        let key = Key::sharing(Entry { state, ..self.into_entry() }, sharing).map_err(|_| (digest, id))?;
        let mut key = key.retiring(retires);
        key.origin = Origin::Database;
        key.usage.recorded(last_used.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0));
        Ok(key)
    }
}
