//! Sessions of customers: one token for one customer, for a short time.
//!
//! Whoever has an API key asks for it and hands it to the customer, who sees what is the customer's with it and nothing
//! else. Customers are known to the API alone.
//!
//! Never in this file: a token. The file of the store has its SHA-256.

use jiff::Timestamp;
use rusqlite::Row;
use serde::Serialize;
use serde_json::json;

use super::super::entry::{Entry, Fault};
use super::changes::Gone;
use super::error::DatabaseError;
use super::record::{Cursor, Page, Revision};
use super::transaction::{Reader, Writer, signed, time_of, timestamp_of, unsigned, whole_us};
use crate::moment::Moment;
use crate::secret::Digest;

/// Sessions there may be at a time, of all customers together.
pub const SESSIONS_MAX: usize = 100_000;

/// Sessions of one tenant among them, so that no tenant's key can leave none for the others.
pub const SESSIONS_OF_ONE_MAX: usize = SESSIONS_MAX / 2;

const SELECT: &str =
    "SELECT sequence, id, digest, tenant, environment, customer, created_us, expires_us, revision FROM sessions ";

/// A session as the store has it. Times have whole microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionRecord {
    /// Its public name for machines; unique.
    pub id: String,
    /// The tenant it acts in.
    pub tenant: Option<String>,
    /// The environment it is bound to.
    pub environment: Option<String>,
    /// The customer it is for, by the name that the API has for it.
    pub customer: String,
    /// When it was made.
    pub created: Timestamp,
    /// The first instant at which it is over.
    pub expires: Timestamp,
    /// The write that made it.
    pub revision: Revision,
}

/// A session to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// See [`SessionRecord::id`].
    pub id: String,
    /// The SHA-256 of its token.
    pub digest: Digest,
    /// See [`SessionRecord::tenant`].
    pub tenant: Option<String>,
    /// See [`SessionRecord::environment`].
    pub environment: Option<String>,
    /// See [`SessionRecord::customer`].
    pub customer: String,
    /// See [`SessionRecord::expires`].
    pub expires: Timestamp,
}

/// Which sessions to list; those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Exactly this tenant.
    pub tenant: Option<String>,
    /// Exactly this environment.
    pub environment: Option<String>,
    /// Exactly this customer.
    pub customer: Option<String>,
    /// Not over at this moment. What is over stays in the store for a while.
    pub live_at: Option<Moment>,
}

impl Reader {
    /// The session with this id.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoSession`] if there is none.
    pub fn session(&self, id: &str) -> Result<SessionRecord, DatabaseError> {
        let reading = self.first(&format!("{SELECT} WHERE id = ?1"), [id], read)?;
        reading.map_or(Err(DatabaseError::NoSession), understood)
    }

    /// A page of the sessions that `filter` lets through, in the order in which they were made, and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn sessions(
        &self,
        filter: &SessionFilter,
        page: Page,
    ) -> Result<(Vec<SessionRecord>, Option<Cursor>), DatabaseError> {
        let sql = format!(
            "{SELECT} WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR environment = ?2) AND \
             (?3 IS NULL OR customer = ?3) AND (?4 IS NULL OR expires_us > ?4) AND sequence > ?5 \
             ORDER BY sequence LIMIT ?6 OFFSET ?7"
        );
        let SessionFilter { tenant, environment, customer, live_at } = filter;
        let live_at = live_at.map(|moment| timestamp_of(moment).as_microsecond());
        let parameters = (tenant, environment, customer, live_at, page.after(), page.rows_and_one(), page.skip);
        let readings = self.all(&sql, parameters, |row| Ok((row.get("sequence")?, read(row)?)))?;
        page.cut(readings, understood)
    }

    /// The sessions that were made after `since`, and the digests and ids of those of them that cannot be used.
    #[expect(clippy::type_complexity, reason = "two lists, each of pairs")]
    pub(super) fn sessions_after(
        &self,
        since: Revision,
    ) -> Result<(Vec<(Digest, SessionRecord)>, Vec<(Digest, String)>), DatabaseError> {
        let readings = self.all(&format!("{SELECT} WHERE revision > ?1"), [signed(since.0)], read)?;
        let (mut sessions, mut unusable) = (Vec::new(), Vec::new());
        for reading in readings {
            match reading {
                Ok(session) => sessions.push(session),
                Err(session) => unusable.push(session),
            }
        }
        Ok((sessions, unusable))
    }
}

impl Writer<'_> {
    /// Makes a session.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Invalid`] with all faults; [`DatabaseError::TooManySessions`] if there are [`SESSIONS_MAX`] that
    /// are not over, or [`SESSIONS_OF_ONE_MAX`] of this tenant; [`DatabaseError::SecretTaken`].
    pub fn create_session(&self, session: NewSession) -> Result<SessionRecord, DatabaseError> {
        check(&session)?;
        self.make_room(session.tenant.as_deref(), SESSIONS_OF_ONE_MAX, SESSIONS_MAX)?;
        let NewSession { id, digest, tenant, environment, customer, expires } = session;
        if self.first("SELECT 1 FROM sessions WHERE digest = ?1", [digest.bytes()], |_| Ok(()))?.is_some() {
            return Err(DatabaseError::SecretTaken);
        }
        let expires = whole_us(expires);
        self.came(Gone::Session, digest.bytes())?;
        self.run(
            "INSERT INTO sessions (id, digest, tenant, environment, customer, created_us, expires_us, revision) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                &id,
                digest.bytes(),
                &tenant,
                &environment,
                &customer,
                self.now.as_microsecond(),
                expires.as_microsecond(),
                signed(self.next_revision()?.0),
            ),
        )?;
        let details = json!({ "tenant": tenant, "environment": environment, "customer": customer, "expires": expires });
        self.note("create", "session", &id, &details)?;
        self.session(&id)
    }

    /// Ends a session before its time. Returns what it was.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoSession`].
    pub fn revoke_session(&self, id: &str) -> Result<SessionRecord, DatabaseError> {
        let session = self.session(id)?;
        let digest: [u8; Digest::BYTES] =
            self.one("DELETE FROM sessions WHERE id = ?1 RETURNING digest", [id], |row| row.get(0))?;
        self.went(Gone::Session, &digest)?;
        let SessionRecord { tenant, environment, customer, .. } = &session;
        let details = json!({ "tenant": tenant, "environment": environment, "customer": customer });
        self.note("revoke", "session", id, &details)?;
        Ok(session)
    }

    /// Says whether there may be one more: of `tenant` and of all. What is over gives way first.
    pub(super) fn make_room(&self, tenant: Option<&str>, of_one: usize, of_all: usize) -> Result<(), DatabaseError> {
        let full = || -> Result<bool, DatabaseError> {
            let reached = |count: i64, most: usize| usize::try_from(count).unwrap_or(usize::MAX) >= most;
            let all: i64 = self.one("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
            // All of them are quickly counted; those of one are not, and no more than all.
            if !reached(all, of_one) || reached(all, of_all) {
                return Ok(reached(all, of_all));
            }
            let own: i64 = self.one("SELECT count(*) FROM sessions WHERE tenant IS ?1", [tenant], |row| row.get(0))?;
            Ok(reached(own, of_one))
        };
        if full()? && (self.purge()? == 0 || full()?) {
            return Err(DatabaseError::TooManySessions);
        }
        Ok(())
    }
}

/// The rules for keys are the rules for sessions, too: all of it travels in fields.
fn check(session: &NewSession) -> Result<(), DatabaseError> {
    let entry = Entry {
        tenant: session.tenant.clone(),
        user: Some(session.customer.clone()),
        environment: session.environment.clone(),
        ..Entry::new(&session.id, session.digest)
    };
    let named = |fault: Fault| match fault.field.as_str() {
        "user" => Fault { field: "customer".to_owned(), ..fault },
        _ => fault,
    };
    let faults: Vec<Fault> = entry.faults().into_iter().map(named).collect();
    if faults.is_empty() { Ok(()) } else { Err(DatabaseError::Invalid(faults)) }
}

/// The session, or the digest and the id of one whose row cannot be understood.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<(Digest, SessionRecord), (Digest, String)>> {
    let (digest, id) = (Digest::from_bytes(row.get("digest")?), row.get("id")?);
    let (Some(created), Some(expires)) = (time_of(row.get("created_us")?), time_of(row.get("expires_us")?)) else {
        return Ok(Err((digest, id)));
    };
    let record = SessionRecord {
        id,
        tenant: row.get("tenant")?,
        environment: row.get("environment")?,
        customer: row.get("customer")?,
        created,
        expires,
        revision: Revision(unsigned(row.get("revision")?)),
    };
    Ok(Ok((digest, record)))
}

fn understood(reading: Result<(Digest, SessionRecord), (Digest, String)>) -> Result<SessionRecord, DatabaseError> {
    reading.map(|(_, session)| session).map_err(|(_, id)| DatabaseError::Unreadable(id))
}
