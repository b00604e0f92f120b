//! Keys: made, found, listed, changed, switched, deleted.
//!
//! Every key is checked by the same rules as one in a key file ([`Entry::faults`]), when it is made and when it is
//! changed, so that what is stored can always be used.

use jiff::Timestamp;
use rusqlite::ToSql;
use serde_json::{Map, Value, json};

use super::super::entry::{Entry, Fault, State};
use super::changes::REMOVED_MAX;
use super::error::DatabaseError;
use super::record::{Cursor, KeyFilter, KeyPatch, KeyRecord, Page};
use super::row::{self, SELECT, Stored, as_json};
use super::transaction::{Reader, Writer, anywhere, signed, timestamp_of, whole_us};
use crate::moment::Moment;

/// What a filter means; `?1` to `?6` and `?8`, each of which lets everything through when it is NULL, and `?7`, when it is
/// false. The standing at `?9` is that of [`KeyRecord::standing`].
const FILTER: &str = "(?1 IS NULL OR instr(?1, ' ' || k.state || ' ') > 0) AND (?2 IS NULL OR k.environment = ?2) AND \
     (?3 IS NULL OR k.tenant = ?3) AND (NOT ?7 OR k.tenant IS NULL) AND (?4 IS NULL OR k.user = ?4) AND (?5 IS NULL OR k.lineage = ?5) AND \
     (?6 IS NULL OR k.id LIKE ?6 ESCAPE '\\' OR k.name LIKE ?6 ESCAPE '\\' OR k.prefix LIKE ?6 ESCAPE '\\') AND \
     (?8 IS NULL OR instr(?8, ' ' || CASE WHEN k.state = 'revoked' THEN 'revoked' \
     WHEN k.state = 'inactive' OR u.enabled = 0 THEN 'inactive' WHEN k.expires_us <= ?9 THEN 'expired' \
     WHEN k.not_before_us > ?9 THEN 'not_yet_valid' ELSE 'active' END || ' ') > 0)";

impl Reader {
    /// The key with this id.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`] if there is none.
    pub fn key(&self, id: &str) -> Result<KeyRecord, DatabaseError> {
        Ok(self.stored(id)?.record)
    }

    /// The newest key of a user, by id, that is good at `now` and has not been rotated; in `environment` alone, where keys
    /// without one are good, too. `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn current_key_of_user(
        &self,
        user: &str,
        environment: Option<&str>,
        now: Moment,
    ) -> Result<Option<KeyRecord>, DatabaseError> {
        let sql = format!(
            "{SELECT} WHERE k.user = ?1 AND k.state = 'active' AND u.enabled IS NOT 0 AND k.retires_us IS NULL \
             AND (?2 IS NULL OR k.environment IS NULL OR k.environment = ?2) \
             AND (k.expires_us IS NULL OR k.expires_us > ?3) AND (k.not_before_us IS NULL OR k.not_before_us <= ?3) \
             ORDER BY k.sequence DESC LIMIT 1"
        );
        let reading = self.first(&sql, (user, environment, timestamp_of(now).as_microsecond()), row::read)?;
        reading.map(|reading| Ok(understood(reading)?.record)).transpose()
    }

    /// A page of the keys that `filter` lets through, in the order in which they were made, and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn keys(&self, filter: &KeyFilter, page: Page) -> Result<(Vec<KeyRecord>, Option<Cursor>), DatabaseError> {
        let sql = format!("{SELECT} WHERE {FILTER} AND k.sequence > ?10 ORDER BY k.sequence LIMIT ?11 OFFSET ?12");
        let asked = Asked::of(filter);
        let rows = page.rows();
        let limit = i64::try_from(rows + 1).unwrap_or(i64::MAX);
        let mut parameters = asked.parameters(filter).to_vec();
        let (after, skip) = (page.after(), i64::from(page.skip));
        parameters.extend([&after as &dyn ToSql, &limit, &skip]);
        let readings = self.all(&sql, parameters.as_slice(), row::read)?;
        let mut found = readings.into_iter().map(understood).collect::<Result<Vec<_>, _>>()?;
        let more = found.len() > rows;
        found.truncate(rows);
        let next = found.last().filter(|_| more).map(|last| Cursor(last.sequence));
        Ok((found.into_iter().map(|stored| stored.record).collect(), next))
    }

    /// How many keys `filter` lets through.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn count_keys(&self, filter: &KeyFilter) -> Result<u64, DatabaseError> {
        let sql = format!("SELECT count(*) FROM keys k LEFT JOIN users u ON u.id = k.user WHERE {FILTER}");
        let count: i64 = self.one(&sql, Asked::of(filter).parameters(filter).as_slice(), |row| row.get(0))?;
        Ok(super::transaction::unsigned(count))
    }

    pub(super) fn stored(&self, id: &str) -> Result<Stored, DatabaseError> {
        let sql = format!("{SELECT} WHERE k.id = ?1");
        self.first(&sql, [id], row::read)?.map_or(Err(DatabaseError::NoKey), understood)
    }
}

/// What of a filter has to be worked out before SQLite can be asked.
struct Asked {
    states: Option<String>,
    text: Option<String>,
    standings: Option<String>,
    at_us: Option<i64>,
}

impl Asked {
    fn of(filter: &KeyFilter) -> Self {
        let standings = filter.standings.as_ref();
        Self {
            states: (!filter.states.is_empty()).then(|| between_blanks(filter.states.iter().map(|state| state.name()))),
            text: filter.text.as_deref().map(anywhere),
            standings: standings.map(|(any, _)| between_blanks(any.iter().map(|standing| standing.name()))),
            at_us: standings.map(|(_, at)| timestamp_of(*at).as_microsecond()),
        }
    }

    /// The parameters of [`FILTER`].
    fn parameters<'a>(&'a self, filter: &'a KeyFilter) -> [&'a dyn ToSql; 9] {
        let KeyFilter { states: _, standings: _, environment, tenant, without_tenant, user, lineage, text: _ } = filter;
        let Self { states, text, standings, at_us } = self;
        [states, environment, tenant, user, lineage, text, without_tenant, standings, at_us]
    }
}

/// Words, each between blanks.
fn between_blanks(words: impl Iterator<Item = &'static str>) -> String {
    words.fold(" ".to_owned(), |text, word| text + word + " ")
}

fn understood(reading: row::Reading) -> Result<Stored, DatabaseError> {
    reading.map_err(|(_, id)| DatabaseError::Unreadable(id))
}

impl Writer<'_> {
    /// Makes a key of `entry`. `created` is now, and the lineage its own, unless the entry says otherwise.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Invalid`] with all its faults, [`DatabaseError::IdTaken`], [`DatabaseError::SecretTaken`].
    pub fn create_key(&self, entry: Entry) -> Result<KeyRecord, DatabaseError> {
        let id = entry.id.clone();
        self.insert(entry)?;
        let record = self.key(&id)?;
        let details = json!({
            "name": record.name,
            "environment": record.environment,
            "tenant": record.tenant,
            "user": record.user,
            "permissions": record.permissions,
            "roles": record.roles,
            "expires": record.expires,
            "rate_limit": record.rate_limit,
        });
        self.note("create", "key", &id, &details)?;
        Ok(record)
    }

    /// Changes what `patch` names. A patch that changes nothing is no change.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`]; [`DatabaseError::Invalid`] also if a key that was rotated should live longer than until
    /// it retires.
    pub fn update_key(&self, id: &str, patch: KeyPatch) -> Result<KeyRecord, DatabaseError> {
        let before = self.stored(id)?;
        let (record, retires) = (before.record.clone(), before.record.retires);
        let mut entry = before.into_entry();
        let KeyPatch { name, permissions, roles, rate_limit, expires, not_before, allowed_networks, metadata } = patch;
        replace(&mut entry.name, name);
        replace(&mut entry.permissions, permissions);
        replace(&mut entry.roles, roles);
        replace(&mut entry.rate_limit, rate_limit);
        replace(&mut entry.expires, expires.map(|time| time.map(whole_us)));
        replace(&mut entry.not_before, not_before.map(|time| time.map(whole_us)));
        replace(&mut entry.allowed_networks, allowed_networks);
        replace(&mut entry.metadata, metadata);
        let mut faults = entry.faults();
        if retires.is_some_and(|retires| entry.expires.is_none_or(|expires| expires > retires)) {
            let message = "must not be later than the end that the rotation of this key has set";
            faults.push(Fault { field: "expires".to_owned(), message: message.to_owned() });
        }
        if !faults.is_empty() {
            return Err(DatabaseError::Invalid(faults));
        }
        let details = differences(&record, &entry);
        if details.is_empty() {
            return Ok(record);
        }
        self.run(
            "UPDATE keys SET name = ?2, permissions = ?3, roles = ?4, rate_limit = ?5, expires_us = ?6,
             not_before_us = ?7, allowed_networks = ?8, metadata = ?9, updated_us = ?10, revision = ?11 WHERE id = ?1",
            (
                id,
                &entry.name,
                as_json(&entry.permissions)?,
                as_json(&entry.roles)?,
                entry.rate_limit.map(signed),
                entry.expires.map(Timestamp::as_microsecond),
                entry.not_before.map(Timestamp::as_microsecond),
                as_json(&entry.allowed_networks)?,
                as_json(&entry.metadata)?,
                self.now.as_microsecond(),
                signed(self.next_revision()?.0),
            ),
        )?;
        self.note("update", "key", id, &Value::Object(details))?;
        self.key(id)
    }

    /// Ends a key for good. One that is revoked already stays as it is.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`].
    pub fn revoke_key(&self, id: &str) -> Result<KeyRecord, DatabaseError> {
        self.switch(id, State::Revoked, "revoke")
    }

    /// Switches a key on.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`]; [`DatabaseError::Revoked`] if it is dead for good.
    pub fn activate_key(&self, id: &str) -> Result<KeyRecord, DatabaseError> {
        self.switch(id, State::Active, "activate")
    }

    /// Switches a key off, until it is switched on again.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`]; [`DatabaseError::Revoked`] if it is dead for good.
    pub fn deactivate_key(&self, id: &str) -> Result<KeyRecord, DatabaseError> {
        self.switch(id, State::Inactive, "deactivate")
    }

    fn switch(&self, id: &str, state: State, action: &str) -> Result<KeyRecord, DatabaseError> {
        let record = self.key(id)?;
        if record.state == state {
            return Ok(record);
        }
        if record.state == State::Revoked {
            return Err(DatabaseError::Revoked);
        }
        let revision = signed(self.next_revision()?.0);
        self.run(
            "UPDATE keys SET state = ?2, updated_us = ?3, revision = ?4 WHERE id = ?1",
            (id, state.name(), self.now.as_microsecond(), revision),
        )?;
        self.note(action, "key", id, &json!({ "state": { "from": record.state, "to": state } }))?;
        self.key(id)
    }

    /// Deletes a key with its usage. The audit trail keeps its id and its name.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`].
    pub fn delete_key(&self, id: &str) -> Result<(), DatabaseError> {
        let Stored { digest, record, .. } = self.stored(id)?;
        let revision = signed(self.next_revision()?.0);
        // Its predecessor loses its successor by this, and readers have to hear of it.
        self.run("UPDATE keys SET revision = ?2 WHERE successor = ?1", (id, revision))?;
        self.run("DELETE FROM keys WHERE id = ?1", [id])?;
        self.run("DELETE FROM last_used WHERE key = ?1", [id])?;
        self.run("DELETE FROM usage WHERE key = ?1", [id])?;
        self.run("INSERT OR REPLACE INTO removed (digest, revision) VALUES (?1, ?2)", (digest.bytes(), revision))?;
        self.forget_removals(REMOVED_MAX)?;
        let details = json!({
            "name": record.name, "environment": record.environment, "tenant": record.tenant, "user": record.user
        });
        self.note("delete", "key", id, &details)
    }

    /// Checks an entry and puts it in.
    pub(super) fn insert(&self, mut entry: Entry) -> Result<(), DatabaseError> {
        for time in [&mut entry.created, &mut entry.expires, &mut entry.not_before] {
            *time = time.map(whole_us);
        }
        let faults = entry.faults();
        if !faults.is_empty() {
            return Err(DatabaseError::Invalid(faults));
        }
        if self.first("SELECT 1 FROM keys WHERE id = ?1", [&entry.id], |_| Ok(()))?.is_some() {
            return Err(DatabaseError::IdTaken);
        }
        if self.first("SELECT 1 FROM keys WHERE digest = ?1", [entry.digest.bytes()], |_| Ok(()))?.is_some() {
            return Err(DatabaseError::SecretTaken);
        }
        self.run("DELETE FROM removed WHERE digest = ?1", [entry.digest.bytes()])?;
        self.run(
            "INSERT INTO keys (id, digest, name, prefix, tenant, user, environment, permissions, roles, state, \
             created_us, updated_us, expires_us, not_before_us, lineage, rate_limit, allowed_networks, metadata, revision) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            rusqlite::params![
                entry.id,
                entry.digest.bytes(),
                entry.name,
                entry.prefix,
                entry.tenant,
                entry.user,
                entry.environment,
                as_json(&entry.permissions)?,
                as_json(&entry.roles)?,
                entry.state.name(),
                entry.created.unwrap_or(self.now).as_microsecond(),
                self.now.as_microsecond(),
                entry.expires.map(Timestamp::as_microsecond),
                entry.not_before.map(Timestamp::as_microsecond),
                entry.lineage.as_ref().unwrap_or(&entry.id),
                entry.rate_limit.map(signed),
                as_json(&entry.allowed_networks)?,
                as_json(&entry.metadata)?,
                signed(self.next_revision()?.0),
            ],
        )?;
        Ok(())
    }
}

pub(super) fn replace<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}

/// What an update changes, each with both values.
fn differences(before: &KeyRecord, after: &Entry) -> Map<String, Value> {
    let pairs = [
        ("name", json!(before.name), json!(after.name)),
        ("permissions", json!(before.permissions), json!(after.permissions)),
        ("roles", json!(before.roles), json!(after.roles)),
        ("rate_limit", json!(before.rate_limit), json!(after.rate_limit)),
        ("expires", json!(before.expires), json!(after.expires)),
        ("not_before", json!(before.not_before), json!(after.not_before)),
        ("allowed_networks", json!(before.allowed_networks), json!(after.allowed_networks)),
        ("metadata", json!(before.metadata), json!(after.metadata)),
    ];
    changed(pairs)
}

/// The pairs that differ, as `{"name": {"from": ..., "to": ...}}`.
pub(super) fn changed<const N: usize>(pairs: [(&str, Value, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(field, before, after)| (field.to_owned(), json!({ "from": before, "to": after })))
        .collect()
}
