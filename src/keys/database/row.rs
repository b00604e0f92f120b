//! A key in its row, and back.

use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::entry::{Entry, State};
use super::super::key::{Key, Origin};
use super::error::DatabaseError;
use super::record::{KeyRecord, Revision};
use super::transaction::{time_of, unsigned};
use crate::secret::Digest;

/// Every key with all that is known of it. A condition is added at the end.
pub(super) const SELECT: &str = "SELECT k.sequence, k.digest, k.id, k.name, k.prefix, k.tenant, k.user, k.environment, \
     k.permissions, k.roles, k.state, k.created_us, k.updated_us, k.expires_us, k.not_before_us, k.lineage, \
     k.rate_limit, k.allowed_networks, k.metadata, k.retires_us, k.successor, k.revision, l.last_used_s, \
     u.enabled = 0 AS user_disabled \
     FROM keys k LEFT JOIN last_used l ON l.key = k.id LEFT JOIN users u ON u.id = k.user ";

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
    let digest = Digest::from_bytes(row.get("digest")?);
    let id: String = row.get("id")?;
    Ok(record(row, &id)?
        .map(|record| Stored { sequence: row.get("sequence").unwrap_or(0), digest, record })
        .ok_or((digest, id)))
}

/// `None` if the row cannot be understood.
fn record(row: &Row<'_>, id: &str) -> rusqlite::Result<Option<KeyRecord>> {
    let time = |column: &str| -> rusqlite::Result<Result<Option<_>, ()>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(|us| time_of(us).ok_or(())).transpose())
    };
    let state =
        State::ALL.into_iter().find(|state| row.get_ref("state").is_ok_and(|text| text.as_str() == Ok(state.name())));
    let (Ok(Some(created)), Ok(Some(updated))) = (time("created_us")?, time("updated_us")?) else { return Ok(None) };
    let (Ok(expires), Ok(not_before), Ok(retires)) = (time("expires_us")?, time("not_before_us")?, time("retires_us")?)
    else {
        return Ok(None);
    };
    let (Some(state), Some(permissions), Some(roles), Some(allowed_networks), Some(metadata)) =
        (state, json(row, "permissions")?, json(row, "roles")?, json(row, "allowed_networks")?, json(row, "metadata")?)
    else {
        return Ok(None);
    };
    let last_used: Option<i64> = row.get("last_used_s")?;
    Ok(Some(KeyRecord {
        id: id.to_owned(),
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        tenant: row.get("tenant")?,
        user: row.get("user")?,
        environment: row.get("environment")?,
        permissions,
        roles,
        state,
        user_disabled: row.get::<_, Option<bool>>("user_disabled")?.unwrap_or(false),
        created,
        updated,
        expires,
        not_before,
        lineage: row.get("lineage")?,
        successor: row.get("successor")?,
        retires,
        rate_limit: row.get::<_, Option<i64>>("rate_limit")?.map(unsigned),
        allowed_networks,
        metadata,
        last_used: last_used.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
        revision: Revision(unsigned(row.get("revision")?)),
    }))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
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
    pub(super) fn into_key(self) -> Result<(Digest, Key), (Digest, String)> {
        let (digest, id) = (self.digest, self.record.id.clone());
        let (retires, last_used, state) = (self.record.retires, self.record.last_used, self.record.effective_state());
        let mut key = Key::new(Entry { state, ..self.into_entry() }).map_err(|_| (digest, id))?;
        key.origin = Origin::Database;
        key.retires = retires;
        key.usage.recorded(last_used.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0));
        Ok((digest, key))
    }
}
