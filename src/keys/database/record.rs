//! What the store says of a key and of a user, and what it is asked. Logins and sessions have files of their own.
//!
//! Never in this file: a digest, or anything else that opens something. Records may be printed and answered.

use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::super::entry::State;
use super::super::standing::Standing;
use super::error::DatabaseError;
use crate::moment::Moment;

/// The number of a write. Later writes have larger numbers, across all processes; what was read at a revision holds
/// everything that was written up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A key as the store has it. Times have whole microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Its public name for machines; unique.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// The first characters of its secret.
    pub prefix: Option<String>,
    /// The tenant it acts in.
    pub tenant: Option<String>,
    /// The id of the user it stands for; not all users are in the store.
    pub user: Option<String>,
    /// The environment it is bound to.
    pub environment: Option<String>,
    /// What it may do.
    pub permissions: Vec<String>,
    /// The sets of permissions it has beside its own.
    pub roles: Vec<String>,
    /// What was decided about it.
    pub state: State,
    /// Whether its user is switched off, and the key with it.
    pub user_disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When anything about it was last changed, use aside.
    pub updated: Timestamp,
    /// The first instant at which it is no longer good.
    pub expires: Option<Timestamp>,
    /// The first instant at which it is good.
    pub not_before: Option<Timestamp>,
    /// The id of the first key of its chain of rotations.
    pub lineage: String,
    /// The key that was made of it by a rotation.
    pub successor: Option<String>,
    /// The end that a rotation has given it; `expires` is no later. `None` if it was not rotated.
    pub retires: Option<Timestamp>,
    /// Requests per window of the per-key limit that were granted to it. `None` means the default of the limit.
    pub rate_limit: Option<u64>,
    /// Networks from which it may be used. Empty means from everywhere.
    pub allowed_networks: Vec<IpNet>,
    /// Notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was last used, as far as was recorded; in whole seconds.
    pub last_used: Option<Timestamp>,
    /// The write that changed it last.
    pub revision: Revision,
}

impl KeyRecord {
    /// The state that counts: an active key whose user is switched off is inactive.
    #[must_use]
    pub const fn effective_state(&self) -> State {
        if self.user_disabled && matches!(self.state, State::Active) { State::Inactive } else { self.state }
    }

    /// Says whether the key is good at `now`; as [`super::super::Key::standing`].
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        Standing::of(self.effective_state(), self.not_before, self.expires, now)
    }
}

/// Which keys to list; those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Any of these states, of the key alone and not of its user or its dates; none is all.
    pub states: Vec<State>,
    /// Any of these standings at this moment: what comes of the key, its user and its dates.
    pub standings: Option<(Vec<Standing>, Moment)>,
    /// Exactly this environment.
    pub environment: Option<String>,
    /// Exactly this tenant.
    pub tenant: Option<String>,
    /// No tenant at all.
    pub without_tenant: bool,
    /// Exactly this user, by id.
    pub user: Option<String>,
    /// Exactly this chain of rotations.
    pub lineage: Option<String>,
    /// The id, the name or the prefix has this in it, ASCII letters of either case.
    pub text: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many at most; 1 to [`Page::LIMIT_MAX`], anything else is brought into that range.
    pub limit: u32,
    /// How many to leave out after the cursor.
    pub skip: u32,
    /// Where the page before ended; `None` is the beginning.
    pub cursor: Option<Cursor>,
}

impl Page {
    /// The most that is listed at once.
    pub const LIMIT_MAX: u32 = 1000;

    /// The first `limit`.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, skip: 0, cursor: None }
    }

    pub(super) fn rows(self) -> usize {
        usize::try_from(self.limit.clamp(1, Self::LIMIT_MAX)).unwrap_or(1)
    }

    /// One row more than the page has: it tells whether there is another page.
    pub(super) fn rows_and_one(self) -> i64 {
        i64::try_from(self.rows() + 1).unwrap_or(i64::MAX)
    }

    pub(super) fn after(self) -> i64 {
        self.cursor.map_or(0, |cursor| cursor.0)
    }

    /// The page that begins with these readings, each with its place, and where the next one begins.
    pub(super) fn cut<R, T>(
        self,
        readings: Vec<(i64, R)>,
        understood: impl Fn(R) -> Result<T, DatabaseError>,
    ) -> Result<(Vec<T>, Option<Cursor>), DatabaseError> {
        let rows = self.rows();
        let more = readings.len() > rows;
        let next = readings.get(rows - 1).filter(|_| more).map(|(place, _)| Cursor(*place));
        let records = readings.into_iter().take(rows).map(|(_, reading)| understood(reading));
        Ok((records.collect::<Result<_, _>>()?, next))
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::first(100)
    }
}

/// The place in a list at which the next page goes on. Lists are in the order in which things were made, so nothing is
/// listed twice or missed when others come and go between two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) i64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What to change of a key. `None` leaves things as they are, `Some(None)` takes them away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// See [`KeyRecord::name`].
    pub name: Option<Option<String>>,
    /// See [`KeyRecord::permissions`].
    pub permissions: Option<Vec<String>>,
    /// See [`KeyRecord::roles`].
    pub roles: Option<Vec<String>>,
    /// See [`KeyRecord::rate_limit`].
    pub rate_limit: Option<Option<u64>>,
    /// See [`KeyRecord::expires`].
    pub expires: Option<Option<Timestamp>>,
    /// See [`KeyRecord::not_before`].
    pub not_before: Option<Option<Timestamp>>,
    /// See [`KeyRecord::allowed_networks`].
    pub allowed_networks: Option<Vec<IpNet>>,
    /// See [`KeyRecord::metadata`].
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A user as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRecord {
    /// The public name for machines; unique. Keys name their user by it.
    pub id: String,
    /// The name to log in with; unique, letters of either case being the same.
    pub login: String,
    /// The name for people.
    pub name: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// What the user may do.
    pub permissions: Vec<String>,
    /// The sets of permissions the user has.
    pub roles: Vec<String>,
    /// Notes.
    pub metadata: BTreeMap<String, String>,
    /// Whether the user, and every key of the user, is in force.
    pub enabled: bool,
    /// Whether there is a password.
    pub has_password: bool,
    /// When the user was made.
    pub created: Timestamp,
    /// When anything about the user was last changed.
    pub updated: Timestamp,
    /// The write that changed the user last.
    pub revision: Revision,
}

/// A user to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUser {
    /// See [`UserRecord::id`].
    pub id: String,
    /// See [`UserRecord::login`].
    pub login: String,
    /// See [`UserRecord::name`].
    pub name: Option<String>,
    /// See [`UserRecord::tenant`].
    pub tenant: Option<String>,
    /// See [`UserRecord::permissions`].
    pub permissions: Vec<String>,
    /// See [`UserRecord::roles`].
    pub roles: Vec<String>,
    /// See [`UserRecord::metadata`].
    pub metadata: BTreeMap<String, String>,
}

/// What to change of a user. `None` leaves things as they are, `Some(None)` takes them away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// See [`UserRecord::login`].
    pub login: Option<String>,
    /// See [`UserRecord::name`].
    pub name: Option<Option<String>>,
    /// See [`UserRecord::tenant`].
    pub tenant: Option<Option<String>>,
    /// See [`UserRecord::permissions`].
    pub permissions: Option<Vec<String>>,
    /// See [`UserRecord::roles`].
    pub roles: Option<Vec<String>>,
    /// See [`UserRecord::metadata`].
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Which users to list; those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Enabled or disabled.
    pub enabled: Option<bool>,
    /// Exactly this tenant.
    pub tenant: Option<String>,
    /// The id, the login or the name has this in it, ASCII letters of either case.
    pub text: Option<String>,
}
