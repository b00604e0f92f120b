//! What is answered: keys, users, logins, sessions and lists of them as the document describes them.
//!
//! Never in this file: a digest. A secret stands in two answers alone, which are given once: [`KeyWithSecret`] and
//! [`RotatedKey`].

use std::collections::BTreeMap;

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::kind;
use crate::keys::State;
use crate::keys::database::{AuditRecord, Cursor, DayUsage, KeyRecord, LoginRecord, SessionRecord, UserRecord};
use crate::moment::Moment;
use crate::secret::Secret;

/// What was decided about a key.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyState {
    /// The key opens the gate, within its dates.
    Active,
    /// The key is switched off and may come back.
    Inactive,
    /// The key is dead for good.
    Revoked,
}

/// What comes of the state of a key, of its user and of its dates at the moment of the answer.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// The key opens the gate.
    Active,
    /// The key, or its user, is switched off.
    Inactive,
    /// The key is dead for good.
    Revoked,
    /// The key is past `expires`.
    Expired,
    /// The key is before `not_before`.
    NotYetValid,
}

/// A key: everything about it but its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Key {
    /// Its public name for machines; unique.
    #[schema(example = "key_4mV0cYwYB8sJtq2RkZ1e")]
    id: String,
    /// Its name for people.
    name: Option<String>,
    /// The first characters of its secret, by which its owner recognises it.
    prefix: Option<String>,
    /// What was decided about it.
    state: KeyState,
    /// What comes of that, and of its user and its dates, now.
    standing: Standing,
    /// Whether its user is switched off, and the key with it.
    user_disabled: bool,
    /// The environment it is bound to.
    environment: Option<String>,
    /// The tenant it acts in.
    tenant: Option<String>,
    /// The id of the user it stands for.
    user: Option<String>,
    /// What it may do.
    permissions: Vec<String>,
    /// The sets of permissions it has beside its own.
    roles: Vec<String>,
    /// When it was made.
    created: Timestamp,
    /// When anything about it was last changed, use aside.
    updated: Timestamp,
    /// The first instant at which it is no longer good.
    expires: Option<Timestamp>,
    /// The first instant at which it is good.
    not_before: Option<Timestamp>,
    /// The id of the first key of its chain of rotations; limits count the chain.
    lineage: String,
    /// The id of the key that was made of it by rotation.
    successor: Option<String>,
    /// The end that the rotation has given it.
    retires: Option<Timestamp>,
    /// Requests per window of the per-key limit that were granted to it; null is the default of the limit.
    #[schema(minimum = 1)]
    rate_limit: Option<u64>,
    /// Networks from which it may be used; none means from everywhere.
    allowed_networks: Vec<String>,
    /// Notes.
    metadata: BTreeMap<String, String>,
    /// When it was last used. What other gateways with the same store let through in the last minute may be missing.
    last_used: Option<Timestamp>,
}

impl Key {
    /// The key as it stands at `now`.
    pub(super) fn new(record: KeyRecord, now: Moment) -> Self {
        use crate::keys::Standing as Of;
        let standing = match record.standing(now) {
            Of::Good => Standing::Active,
            Of::Inactive => Standing::Inactive,
            Of::Revoked => Standing::Revoked,
            Of::Expired => Standing::Expired,
            Of::NotYetValid => Standing::NotYetValid,
        };
        let state = match record.state {
            State::Active => KeyState::Active,
            State::Inactive => KeyState::Inactive,
            State::Revoked => KeyState::Revoked,
        };
        Self {
            id: record.id,
            name: record.name,
            prefix: record.prefix,
            state,
            standing,
            user_disabled: record.user_disabled,
            environment: record.environment,
            tenant: record.tenant,
            user: record.user,
            permissions: record.permissions,
            roles: record.roles,
            created: record.created,
            updated: record.updated,
            expires: record.expires,
            not_before: record.not_before,
            lineage: record.lineage,
            successor: record.successor,
            retires: record.retires,
            rate_limit: record.rate_limit,
            allowed_networks: record.allowed_networks.iter().map(ToString::to_string).collect(),
            metadata: record.metadata,
            last_used: record.last_used,
        }
    }

    /// Where it is.
    pub(super) fn location(&self) -> String {
        format!("{}/keys/{}", super::ROOT, self.id)
    }
}

/// A secret that is shown this once.
pub(super) struct Shown(pub(super) Option<Secret>);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().map(Secret::expose).serialize(serializer)
    }
}

/// A key that was just made, and its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyWithSecret {
    /// The key.
    #[serde(flatten)]
    pub(super) key: Key,
    /// Its secret, which is shown this once: only its SHA-256 is kept. Null if it was shown before.
    #[schema(value_type = Option<String>, required)]
    pub(super) secret: Shown,
}

/// A key that was just made of another one, and its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct RotatedKey {
    /// The successor.
    #[serde(flatten)]
    pub(super) key: Key,
    /// Its secret, which is shown this once: only its SHA-256 is kept.
    #[schema(value_type = String)]
    pub(super) secret: Shown,
    /// The key it was made of, which is good until it `retires`.
    pub(super) predecessor: Key,
}

/// A user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The public name for machines; unique. Keys name their user by it.
    #[schema(example = "user_4mV0cYwYB8sJtq2RkZ1e")]
    id: String,
    /// The name to log in with; unique, letters of either case being the same.
    login: String,
    /// The name for people.
    name: Option<String>,
    /// The tenant.
    tenant: Option<String>,
    /// What the user may do.
    permissions: Vec<String>,
    /// The sets of permissions the user has.
    roles: Vec<String>,
    /// Notes.
    metadata: BTreeMap<String, String>,
    /// Whether the user, and every key of the user, is in force.
    enabled: bool,
    /// Whether there is a password.
    has_password: bool,
    /// When the user was made.
    created: Timestamp,
    /// When anything about the user was last changed.
    updated: Timestamp,
}

impl User {
    /// Where the user is.
    pub(super) fn location(&self) -> String {
        format!("{}/users/{}", super::ROOT, self.id)
    }
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            id: record.id,
            login: record.login,
            name: record.name,
            tenant: record.tenant,
            permissions: record.permissions,
            roles: record.roles,
            metadata: record.metadata,
            enabled: record.enabled,
            has_password: record.has_password,
            created: record.created,
            updated: record.updated,
        }
    }
}

/// A login of a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Login {
    /// The public name for machines; unique.
    #[schema(example = "login_4mV0cYwYB8sJtq2RkZ1e")]
    id: String,
    /// The id of the user.
    user: String,
    /// When the user gave the password.
    created: Timestamp,
    /// When it was last renewed.
    refreshed: Option<Timestamp>,
    /// The first instant at which it is over, unless it is renewed before.
    expires: Timestamp,
}

impl From<LoginRecord> for Login {
    fn from(record: LoginRecord) -> Self {
        let LoginRecord { id, user, created, refreshed, expires, revision: _ } = record;
        Self { id, user, created, refreshed, expires }
    }
}

/// A session of a customer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Session {
    /// The public name for machines; unique.
    #[schema(example = "session_4mV0cYwYB8sJtq2RkZ1e")]
    id: String,
    /// The tenant it acts in.
    tenant: Option<String>,
    /// The environment it is bound to.
    environment: Option<String>,
    /// The customer it is for, by the name that the API has for it.
    customer: String,
    /// When it was made.
    created: Timestamp,
    /// The first instant at which it is over.
    expires: Timestamp,
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        let SessionRecord { id, tenant, environment, customer, created, expires, revision: _ } = record;
        Self { id, tenant, environment, customer, created, expires }
    }
}

/// What a key did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    /// The id of the key.
    id: String,
    /// When it was last used. What other gateways with the same store let through in the last minute may be missing.
    last_used: Option<Timestamp>,
    /// Requests on all these days.
    requests: u64,
    /// The days on which there were any, oldest first.
    days: Vec<Day>,
}

/// What a key did on one day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Day {
    /// The instant at which the day began, in UTC.
    day: Timestamp,
    /// Requests.
    requests: u64,
}

impl Usage {
    pub(super) fn new(id: String, last_used: Option<Timestamp>, days: Vec<Day>) -> Self {
        Self { id, last_used, requests: days.iter().map(|day| day.requests).sum(), days }
    }
}

impl From<DayUsage> for Day {
    fn from(DayUsage { day, requests }: DayUsage) -> Self {
        Self { day, requests }
    }
}

/// One line of the audit trail.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AuditLine {
    /// Its number; later lines have larger ones.
    sequence: u64,
    /// When.
    at: Timestamp,
    /// Who.
    actor: String,
    /// By which way: `cli`, `api` or `gateway`.
    channel: String,
    /// What, such as `create` or `revoke`.
    action: String,
    /// To what: `key`, `user`, `login` or `session`.
    kind: String,
    /// Its id.
    subject: String,
    /// More about it; never a secret.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<AuditRecord> for AuditLine {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { sequence, at, revision: _, actor, channel, action, kind, subject, details } = record;
        Self { sequence, at, actor, channel, action, kind, subject, details }
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// What is on it, in the order in which it was made.
    items: Vec<T>,
    /// What to give as `cursor` to get the next page; null on the last one.
    next: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new(items: Vec<T>, next: Option<Cursor>) -> Self {
        Self { items, next: next.and_then(|cursor| kind::cursor_to(&cursor.to_string())) }
    }
}

/// 201, and where it is.
pub(super) fn created(location: &str, answer: impl Serialize) -> Response {
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    // An id is visible ASCII.
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// 200, and that this is what was answered before.
pub(super) fn replayed(answer: impl Serialize) -> Response {
    const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
    ([(REPLAYED, HeaderValue::from_static("true"))], Json(answer)).into_response()
}
