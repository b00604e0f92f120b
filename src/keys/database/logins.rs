//! Logins of users: begun with a password, renewed with a refresh token that is good once, ended.
//!
//! A login lives as long as its row: whatever ends it takes the row out, so that neither its access tokens nor its refresh
//! token open anything any more. A refresh token that comes a second time was stolen, or the first one was: the login
//! ends (RFC 9700, section 4.14.2).
//!
//! Never in this file: a refresh token. The file of the store has the SHA-256 of the one that is good now.

use jiff::Timestamp;
use rusqlite::Row;
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::changes::Gone;
use super::error::DatabaseError;
use super::record::{Cursor, Page, Revision};
use super::transaction::{Reader, Writer, signed, time_of, timestamp_of, unsigned, whole_us};
use crate::moment::Moment;
use crate::secret::Digest;

/// Logins a user may have at a time. One more ends the oldest.
pub const LOGINS_PER_USER_MAX: usize = 64;

const SELECT: &str = "SELECT sequence, id, user, created_us, refreshed_us, expires_us, revision FROM logins ";

/// A login as the store has it. Times have whole microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginRecord {
    /// Its public name for machines; unique.
    pub id: String,
    /// The id of the user.
    pub user: String,
    /// When the user gave the password.
    pub created: Timestamp,
    /// When it was last renewed.
    pub refreshed: Option<Timestamp>,
    /// The first instant at which it is over, unless it is renewed before.
    pub expires: Timestamp,
    /// The write that changed it last.
    pub revision: Revision,
}

/// A login to be made.
pub struct NewLogin {
    /// See [`LoginRecord::id`].
    pub id: String,
    /// See [`LoginRecord::user`].
    pub user: String,
    /// The SHA-256 of the first refresh token.
    pub refresh: Digest,
    /// See [`LoginRecord::expires`].
    pub expires: Timestamp,
    /// What was stored of the password when it was found right. A user whose password has been set or taken away since
    /// is not logged in: that ends all logins, and one that is just being made must not slip through.
    pub verified: Option<String>,
}

/// What came of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The login goes on, with the next refresh token.
    Renewed(LoginRecord),
    /// It was not the one that is good now. The login has been ended by this.
    Reused,
    /// There is no such login: it has been ended, or is over, or never was.
    Gone,
}

/// Which logins to list; those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginFilter {
    /// Exactly this user, by id.
    pub user: Option<String>,
    /// Not over at this moment. What is over stays in the store for a while.
    pub live_at: Option<Moment>,
}

/// Why a login ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Somebody asked for it.
    Asked,
    /// Its refresh token came a second time.
    Reuse,
    /// The user has too many of them.
    Superseded,
    /// The user was switched off.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// The password was set or taken away.
    Password,
}

impl Ending {
    const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Reuse => "refresh_token_reused",
            Self::Superseded => "too_many_logins",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::Password => "password_changed",
        }
    }
}

impl Reader {
    /// The login with this id.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoLogin`] if there is none.
    pub fn login(&self, id: &str) -> Result<LoginRecord, DatabaseError> {
        let reading = self.first(&format!("{SELECT} WHERE id = ?1"), [id], read)?;
        reading.map_or(Err(DatabaseError::NoLogin), understood)
    }

    /// A page of the logins that `filter` lets through, in the order in which they were made, and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn logins(
        &self,
        filter: &LoginFilter,
        page: Page,
    ) -> Result<(Vec<LoginRecord>, Option<Cursor>), DatabaseError> {
        let sql = format!(
            "{SELECT} WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR expires_us > ?2) AND sequence > ?3 \
             ORDER BY sequence LIMIT ?4 OFFSET ?5"
        );
        let live_at = filter.live_at.map(|moment| timestamp_of(moment).as_microsecond());
        let parameters = (&filter.user, live_at, page.after(), page.rows_and_one(), page.skip);
        let readings = self.all(&sql, parameters, |row| Ok((row.get("sequence")?, read(row)?)))?;
        page.cut(readings, understood)
    }

    /// The logins that were changed after `since`, and the ids of those of them that cannot be used.
    pub(super) fn logins_after(&self, since: Revision) -> Result<(Vec<LoginRecord>, Vec<String>), DatabaseError> {
        let readings = self.all(&format!("{SELECT} WHERE revision > ?1"), [signed(since.0)], read)?;
        let (mut logins, mut unusable) = (Vec::new(), Vec::new());
        for reading in readings {
            match reading {
                Ok(login) => logins.push(login),
                Err(id) => unusable.push(id),
            }
        }
        Ok((logins, unusable))
    }
}

impl Writer<'_> {
    /// Makes a login of a user. If the user has [`LOGINS_PER_USER_MAX`] already, the oldest ends.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`]; [`DatabaseError::UserDisabled`]; [`DatabaseError::PasswordChanged`] if the user has
    /// another password by now than the one that was found right.
    pub fn create_login(&self, login: NewLogin) -> Result<LoginRecord, DatabaseError> {
        let NewLogin { id, user, refresh, expires, verified } = login;
        let known: Option<(bool, Option<String>)> =
            self.first("SELECT enabled, password_hash FROM users WHERE id = ?1", [&user], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        match known {
            None => return Err(DatabaseError::NoUser),
            Some((false, _)) => return Err(DatabaseError::UserDisabled),
            Some((true, stored)) if verified.is_some() && verified != stored => {
                return Err(DatabaseError::PasswordChanged);
            }
            Some((true, _)) => {}
        }
        let now = self.now.as_microsecond();
        let surplus: Vec<String> = self.all(
            "SELECT id FROM logins WHERE user = ?1 AND expires_us > ?2 ORDER BY sequence DESC LIMIT -1 OFFSET ?3",
            (&user, now, i64::try_from(LOGINS_PER_USER_MAX - 1).unwrap_or(i64::MAX)),
            |row| row.get(0),
        )?;
        for oldest in surplus {
            self.finish(&oldest, &user, Ending::Superseded)?;
        }
        let expires = whole_us(expires);
        self.came(Gone::Login, id.as_bytes())?;
        self.run(
            "INSERT INTO logins (id, user, refresh, created_us, expires_us, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (&id, &user, refresh.bytes(), now, expires.as_microsecond(), signed(self.next_revision()?.0)),
        )?;
        self.note("create", "login", &id, &json!({ "user": user, "expires": expires }))?;
        self.login(&id)
    }

    /// Takes the refresh token with the SHA-256 `presented` for the one with `next`, which is the good one from now on,
    /// and lets the login live until `expires`. Of many who present one token, one alone goes on, and ends with the
    /// second.
    ///
    /// [`Refreshed::Reused`] has changed the store and is no error: the end of the login has to be durable, too.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn refresh_login(
        &self,
        id: &str,
        presented: &Digest,
        next: Digest,
        expires: Timestamp,
    ) -> Result<Refreshed, DatabaseError> {
        let login = match self.login(id) {
            Ok(login) if login.expires > self.now => login,
            Ok(_) | Err(DatabaseError::NoLogin) => return Ok(Refreshed::Gone),
            Err(error) => return Err(error),
        };
        let (good, enabled): ([u8; Digest::BYTES], bool) = self.one(
            "SELECT l.refresh, u.enabled FROM logins l JOIN users u ON u.id = l.user WHERE l.id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if !enabled {
            self.finish(id, &login.user, Ending::UserDisabled)?;
            return Ok(Refreshed::Gone);
        }
        if !bool::from(good.ct_eq(presented.bytes())) {
            self.finish(id, &login.user, Ending::Reuse)?;
            return Ok(Refreshed::Reused);
        }
        self.run(
            "UPDATE logins SET refresh = ?2, refreshed_us = ?3, expires_us = ?4, revision = ?5 WHERE id = ?1",
            (
                id,
                next.bytes(),
                self.now.as_microsecond(),
                whole_us(expires).as_microsecond(),
                signed(self.next_revision()?.0),
            ),
        )?;
        Ok(Refreshed::Renewed(self.login(id)?))
    }

    /// Ends a login: its tokens open nothing any more. Returns what it was.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoLogin`].
    pub fn end_login(&self, id: &str) -> Result<LoginRecord, DatabaseError> {
        let login = self.login(id)?;
        self.finish(id, &login.user, Ending::Asked)?;
        Ok(login)
    }

    /// Ends all logins of a user, whether or not there is such a user; says how many.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn end_logins_of(&self, user: &str) -> Result<usize, DatabaseError> {
        self.finish_all(user, Ending::Asked)
    }

    pub(super) fn finish_all(&self, user: &str, because: Ending) -> Result<usize, DatabaseError> {
        let logins: Vec<String> =
            self.all("SELECT id FROM logins WHERE user = ?1 ORDER BY sequence", [user], |row| row.get(0))?;
        for id in &logins {
            self.finish(id, user, because)?;
        }
        Ok(logins.len())
    }

    fn finish(&self, id: &str, user: &str, because: Ending) -> Result<(), DatabaseError> {
        self.run("DELETE FROM logins WHERE id = ?1", [id])?;
        self.went(Gone::Login, id.as_bytes())?;
        let action = if because == Ending::Reuse { "reuse" } else { "end" };
        self.note(action, "login", id, &json!({ "user": user, "because": because.name() }))
    }
}

/// The login, or the id of one whose row cannot be understood.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<LoginRecord, String>> {
    let id: String = row.get("id")?;
    let refreshed = row.get::<_, Option<i64>>("refreshed_us")?.map(|us| time_of(us).ok_or(())).transpose();
    let (Some(created), Some(expires), Ok(refreshed)) =
        (time_of(row.get("created_us")?), time_of(row.get("expires_us")?), refreshed)
    else {
        return Ok(Err(id));
    };
    let (user, revision) = (row.get("user")?, Revision(unsigned(row.get("revision")?)));
    Ok(Ok(LoginRecord { id, user, created, refreshed, expires, revision }))
}

fn understood(reading: Result<LoginRecord, String>) -> Result<LoginRecord, DatabaseError> {
    reading.map_err(DatabaseError::Unreadable)
}
