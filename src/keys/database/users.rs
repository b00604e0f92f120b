//! Users: made, found, listed, changed, switched, deleted.
//!
//! A user who is switched off takes all keys along, as long as it lasts; a user who is deleted takes them along for good.

use jiff::Timestamp;
use rusqlite::Row;
use serde_json::{Value, json};

use super::super::entry::{Entry, Fault};
use super::error::DatabaseError;
use super::keys::{changed, replace};
use super::record::{Cursor, NewUser, Page, UserFilter, UserPatch, UserRecord};
use super::row::{as_json, json};
use super::transaction::{Reader, Writer, anywhere, signed, time_of};
use crate::secret::Digest;

const SELECT: &str = "SELECT sequence, id, login, name, tenant, permissions, roles, metadata, enabled, \
     password_hash IS NOT NULL AS has_password, created_us, updated_us FROM users ";

impl Reader {
    /// The user with this id.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`] if there is none.
    pub fn user(&self, id: &str) -> Result<UserRecord, DatabaseError> {
        self.one_user("WHERE id = ?1", id)
    }

    /// The user with this login, letters of either case being the same.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`] if there is none.
    pub fn user_by_login(&self, login: &str) -> Result<UserRecord, DatabaseError> {
        self.one_user("WHERE login = ?1", login)
    }

    /// The user with this id or, if there is none, with this login.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`] if there is neither.
    pub fn user_by_id_or_login(&self, text: &str) -> Result<UserRecord, DatabaseError> {
        match self.user(text) {
            Err(DatabaseError::NoUser) => self.user_by_login(text),
            found => found,
        }
    }

    /// A page of the users that `filter` lets through, in the order in which they were made, and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn users(&self, filter: &UserFilter, page: Page) -> Result<(Vec<UserRecord>, Option<Cursor>), DatabaseError> {
        let sql = format!(
            "{SELECT} WHERE (?1 IS NULL OR enabled = ?1) AND (?2 IS NULL OR tenant = ?2) AND \
             (?3 IS NULL OR id LIKE ?3 ESCAPE '\\' OR login LIKE ?3 ESCAPE '\\' OR name LIKE ?3 ESCAPE '\\') \
             AND sequence > ?4 ORDER BY sequence LIMIT ?5 OFFSET ?6"
        );
        let rows = page.rows();
        let limit = i64::try_from(rows + 1).unwrap_or(i64::MAX);
        let text = filter.text.as_deref().map(anywhere);
        let parameters = (filter.enabled, &filter.tenant, text, page.after(), limit, page.skip);
        let readings = self.all(&sql, parameters, |row| Ok((row.get::<_, i64>("sequence")?, read(row)?)))?;
        let more = readings.len() > rows;
        let next = readings.get(rows - 1).filter(|_| more).map(|(sequence, _)| Cursor(*sequence));
        let users =
            readings.into_iter().take(rows).map(|(_, reading)| understood(reading)).collect::<Result<_, _>>()?;
        Ok((users, next))
    }

    /// What is stored of the password of a user: a hash that says itself how it was made. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn password_hash(&self, id: &str) -> Result<Option<String>, DatabaseError> {
        self.first("SELECT password_hash FROM users WHERE id = ?1", [id], |row| row.get(0))?
            .ok_or(DatabaseError::NoUser)
    }

    fn one_user(&self, condition: &str, value: &str) -> Result<UserRecord, DatabaseError> {
        let reading = self.first(&format!("{SELECT} {condition}"), [value], read)?;
        reading.map_or(Err(DatabaseError::NoUser), understood)
    }
}

impl Writer<'_> {
    /// Makes a user, enabled and without a password.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Invalid`] with all faults; [`DatabaseError::LoginTaken`].
    pub fn create_user(&self, user: NewUser) -> Result<UserRecord, DatabaseError> {
        let now = self.now;
        let NewUser { id, login, name, tenant, permissions, roles, metadata } = user;
        let record = UserRecord {
            id,
            login,
            name,
            tenant,
            permissions,
            roles,
            metadata,
            enabled: true,
            has_password: false,
            created: now,
            updated: now,
        };
        self.check_user(&record)?;
        if self.first("SELECT 1 FROM users WHERE id = ?1", [&record.id], |_| Ok(()))?.is_some() {
            return Err(DatabaseError::LoginTaken);
        }
        self.run(
            "INSERT INTO users (id, login, name, tenant, permissions, roles, metadata, enabled, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8)",
            (
                &record.id,
                &record.login,
                &record.name,
                &record.tenant,
                as_json(&record.permissions)?,
                as_json(&record.roles)?,
                as_json(&record.metadata)?,
                now.as_microsecond(),
            ),
        )?;
        let details = json!({
            "login": record.login,
            "name": record.name,
            "tenant": record.tenant,
            "permissions": record.permissions,
            "roles": record.roles,
        });
        self.note("create", "user", &record.id, &details)?;
        Ok(record)
    }

    /// Changes what `patch` names. A patch that changes nothing is no change.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`], [`DatabaseError::Invalid`], [`DatabaseError::LoginTaken`].
    pub fn update_user(&self, id: &str, patch: UserPatch) -> Result<UserRecord, DatabaseError> {
        let before = self.user(id)?;
        let mut user = before.clone();
        let UserPatch { login, name, tenant, permissions, roles, metadata } = patch;
        replace(&mut user.login, login);
        replace(&mut user.name, name);
        replace(&mut user.tenant, tenant);
        replace(&mut user.permissions, permissions);
        replace(&mut user.roles, roles);
        replace(&mut user.metadata, metadata);
        self.check_user(&user)?;
        let details = changed([
            ("login", json!(before.login), json!(user.login)),
            ("name", json!(before.name), json!(user.name)),
            ("tenant", json!(before.tenant), json!(user.tenant)),
            ("permissions", json!(before.permissions), json!(user.permissions)),
            ("roles", json!(before.roles), json!(user.roles)),
            ("metadata", json!(before.metadata), json!(user.metadata)),
        ]);
        if details.is_empty() {
            return Ok(before);
        }
        self.run(
            "UPDATE users SET login = ?2, name = ?3, tenant = ?4, permissions = ?5, roles = ?6, metadata = ?7, \
             updated_us = ?8 WHERE id = ?1",
            (
                id,
                &user.login,
                &user.name,
                &user.tenant,
                as_json(&user.permissions)?,
                as_json(&user.roles)?,
                as_json(&user.metadata)?,
                self.now.as_microsecond(),
            ),
        )?;
        self.note("update", "user", id, &Value::Object(details))?;
        self.user(id)
    }

    /// Sets or takes away the password of a user. `hash` must say itself how it was made, and is never shown.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn set_password_hash(&self, id: &str, hash: Option<&str>) -> Result<(), DatabaseError> {
        let now = self.now.as_microsecond();
        if self.run("UPDATE users SET password_hash = ?2, updated_us = ?3 WHERE id = ?1", (id, hash, now))? == 0 {
            return Err(DatabaseError::NoUser);
        }
        self.note("password", "user", id, &json!({ "set": hash.is_some() }))
    }

    /// Switches a user on.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn enable_user(&self, id: &str) -> Result<UserRecord, DatabaseError> {
        self.switch_user(id, true, "enable")
    }

    /// Switches a user off, and all keys of the user with it.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn disable_user(&self, id: &str) -> Result<UserRecord, DatabaseError> {
        self.switch_user(id, false, "disable")
    }

    fn switch_user(&self, id: &str, enabled: bool, action: &str) -> Result<UserRecord, DatabaseError> {
        let user = self.user(id)?;
        if user.enabled == enabled {
            return Ok(user);
        }
        let now = self.now.as_microsecond();
        self.run("UPDATE users SET enabled = ?2, updated_us = ?3 WHERE id = ?1", (id, enabled, now))?;
        self.run("UPDATE keys SET revision = ?2 WHERE user = ?1", (id, signed(self.next_revision()?.0)))?;
        self.note(action, "user", id, &json!({}))?;
        self.user(id)
    }

    /// Deletes a user, and revokes all keys of the user.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn delete_user(&self, id: &str) -> Result<(), DatabaseError> {
        let user = self.user(id)?;
        let keys: Vec<String> =
            self.all("SELECT id FROM keys WHERE user = ?1 AND state <> 'revoked'", [id], |row| row.get(0))?;
        for key in &keys {
            self.revoke_key(key)?;
        }
        self.run("DELETE FROM users WHERE id = ?1", [id])?;
        self.note("delete", "user", id, &json!({ "login": user.login, "name": user.name, "tenant": user.tenant }))
    }

    /// The rules for keys are the rules for users, too: both travel in fields and stand in logs.
    fn check_user(&self, user: &UserRecord) -> Result<(), DatabaseError> {
        let entry = Entry {
            name: user.name.clone(),
            tenant: user.tenant.clone(),
            user: Some(user.login.clone()),
            permissions: user.permissions.clone(),
            roles: user.roles.clone(),
            metadata: user.metadata.clone(),
            ..Entry::new(&user.id, Digest::of(b""))
        };
        let faults: Vec<Fault> = entry
            .faults()
            .into_iter()
            .map(|fault| if fault.field == "user" { Fault { field: "login".to_owned(), ..fault } } else { fault })
            .collect();
        if !faults.is_empty() {
            return Err(DatabaseError::Invalid(faults));
        }
        let others = "SELECT 1 FROM users WHERE login = ?2 AND id <> ?1";
        let taken = self.first(others, (&user.id, &user.login), |_| Ok(()))?;
        if taken.is_some() { Err(DatabaseError::LoginTaken) } else { Ok(()) }
    }
}

/// The user, or the id of one whose row cannot be understood.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<UserRecord, String>> {
    let id: String = row.get("id")?;
    let time = |column: &str| -> rusqlite::Result<Option<Timestamp>> { Ok(time_of(row.get(column)?)) };
    let (Some(created), Some(updated), Some(permissions), Some(roles), Some(metadata)) = (
        time("created_us")?,
        time("updated_us")?,
        json(row, "permissions")?,
        json(row, "roles")?,
        json(row, "metadata")?,
    ) else {
        return Ok(Err(id));
    };
    Ok(Ok(UserRecord {
        login: row.get("login")?,
        name: row.get("name")?,
        tenant: row.get("tenant")?,
        permissions,
        roles,
        metadata,
        enabled: row.get("enabled")?,
        has_password: row.get("has_password")?,
        created,
        updated,
        id,
    }))
}

fn understood(reading: Result<UserRecord, String>) -> Result<UserRecord, DatabaseError> {
    reading.map_err(DatabaseError::Unreadable)
}
