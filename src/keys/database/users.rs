//! Users: made, found, listed, changed, switched, deleted.
//!
//! A user who is switched off takes all keys along, as long as it lasts; a user who is deleted takes them along for good.
//! Either, and another password, ends all logins of the user.

use jiff::Timestamp;
use rusqlite::Row;
use serde_json::{Value, json};

use super::super::entry::{Entry, Fault};
use super::changes::Gone;
use super::error::DatabaseError;
use super::keys::{changed, replace};
use super::logins::Ending;
use super::record::{Cursor, NewUser, Page, Revision, UserFilter, UserPatch, UserRecord};
use super::row::{as_json, json};
use super::transaction::{Reader, Writer, anywhere, signed, time_of, unsigned};
use crate::secret::Digest;

const SELECT: &str = "SELECT sequence, id, login, name, tenant, permissions, roles, metadata, enabled, \
     password_hash IS NOT NULL AS has_password, created_us, updated_us, revision FROM users ";

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
        let text = filter.text.as_deref().map(anywhere);
        let parameters = (filter.enabled, &filter.tenant, text, page.after(), page.rows_and_one(), page.skip);
        let readings = self.all(&sql, parameters, |row| Ok((row.get("sequence")?, read(row)?)))?;
        page.cut(readings, understood)
    }

    /// The users who were changed after `since`, and the ids of those of them who cannot be understood.
    pub(super) fn users_after(&self, since: Revision) -> Result<(Vec<UserRecord>, Vec<String>), DatabaseError> {
        let readings = self.all(&format!("{SELECT} WHERE revision > ?1"), [signed(since.0)], read)?;
        let (mut users, mut unusable) = (Vec::new(), Vec::new());
        for reading in readings {
            match reading {
                Ok(user) => users.push(user),
                Err(id) => unusable.push(id),
            }
        }
        Ok((users, unusable))
    }

    /// The user with this login, letters of either case being the same, and what is stored of the password; both at one
    /// moment. `None` if there is no such user.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn user_and_hash_by_login(&self, login: &str) -> Result<Option<(UserRecord, Option<String>)>, DatabaseError> {
        match self.user_by_login(login) {
            Ok(user) => {
                let hash = self.password_hash(&user.id)?;
                Ok(Some((user, hash)))
            }
            Err(DatabaseError::NoUser) => Ok(None),
            Err(error) => Err(error),
        }
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
            revision: Revision(0),
        };
        self.check_user(&record)?;
        if self.first("SELECT 1 FROM users WHERE id = ?1", [&record.id], |_| Ok(()))?.is_some() {
            return Err(DatabaseError::LoginTaken);
        }
        let record = UserRecord { revision: self.next_revision()?, ..record };
        self.came(Gone::User, record.id.as_bytes())?;
        self.run(
            "INSERT INTO users (id, login, name, tenant, permissions, roles, metadata, enabled, created_us, updated_us, \
             revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8, ?9)",
            (
                &record.id,
                &record.login,
                &record.name,
                &record.tenant,
                as_json(&record.permissions)?,
                as_json(&record.roles)?,
                as_json(&record.metadata)?,
                now.as_microsecond(),
                signed(record.revision.0),
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
             updated_us = ?8, revision = ?9 WHERE id = ?1",
            (
                id,
                &user.login,
                &user.name,
                &user.tenant,
                as_json(&user.permissions)?,
                as_json(&user.roles)?,
                as_json(&user.metadata)?,
                self.now.as_microsecond(),
                signed(self.next_revision()?.0),
            ),
        )?;
        self.note("update", "user", id, &Value::Object(details))?;
        self.user(id)
    }

    /// Sets or takes away the password of a user, and ends all logins of the user. `hash` must say itself how it was made,
    /// and is never shown.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn set_password_hash(&self, id: &str, hash: Option<&str>) -> Result<(), DatabaseError> {
        self.user(id)?;
        self.run(
            "UPDATE users SET password_hash = ?2, updated_us = ?3, revision = ?4 WHERE id = ?1",
            (id, hash, self.now.as_microsecond(), signed(self.next_revision()?.0)),
        )?;
        self.note("password", "user", id, &json!({ "set": hash.is_some() }))?;
        self.finish_all(id, Ending::Password).map(drop)
    }

    /// Stores another hash of the same password, made with newer parameters; says whether it did. If the user has not the
    /// hash `from` any more, somebody has set another password, which stays. Logins go on, and nothing is audited:
    /// the password is the same.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn renew_password_hash(&self, id: &str, from: &str, to: &str) -> Result<bool, DatabaseError> {
        let sql = "UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2";
        Ok(self.run(sql, (id, from, to))? > 0)
    }

    /// Switches a user on.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`].
    pub fn enable_user(&self, id: &str) -> Result<UserRecord, DatabaseError> {
        self.switch_user(id, true, "enable")
    }

    /// Switches a user off, and all keys of the user with it. Logins of the user end for good.
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
        let (now, revision) = (self.now.as_microsecond(), signed(self.next_revision()?.0));
        let sql = "UPDATE users SET enabled = ?2, updated_us = ?3, revision = ?4 WHERE id = ?1";
        self.run(sql, (id, enabled, now, revision))?;
        self.run("UPDATE keys SET revision = ?2 WHERE user = ?1", (id, revision))?;
        self.note(action, "user", id, &json!({}))?;
        if !enabled {
            self.finish_all(id, Ending::UserDisabled)?;
        }
        self.user(id)
    }

    /// Deletes a user, revokes all keys of the user and ends all logins.
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
        self.finish_all(id, Ending::UserDeleted)?;
        self.run("DELETE FROM users WHERE id = ?1", [id])?;
        self.went(Gone::User, id.as_bytes())?;
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
        revision: Revision(unsigned(row.get("revision")?)),
        id,
    }))
}

fn understood(reading: Result<UserRecord, String>) -> Result<UserRecord, DatabaseError> {
    reading.map_err(DatabaseError::Unreadable)
}
