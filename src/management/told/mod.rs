//! What may be asked: every query and every content, member by member. That of users, logins and sessions is in
//! `users.rs`.
//!
//! Each struct has its table of members above all; what the table lets through, the struct can be made of.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::kind::{Kind, NETWORKS, PERMISSIONS, RATE_LIMIT, ROLES};
use super::shape::{self, Member, Shaped, some};
use crate::keys::State as KeyState;
use crate::keys::database::{Page, Rotation};

/// The table is what the document says of content.
macro_rules! content {
    ($($shape:ty),*) => {$(
        impl PartialSchema for $shape {
            fn schema() -> RefOr<Schema> {
                shape::schema::<Self>()
            }
        }

        impl ToSchema for $shape {}
    )*};
}

/// The table is what the document says of a query.
macro_rules! query {
    ($($shape:ty),*) => {$(
        impl IntoParams for $shape {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                shape::parameters::<Self>()
            }
        }
    )*};
}

content!(NewKey, KeyChange, KeyRotation);
query!(KeyQuery, UsageQuery, AuditQuery);

mod users;

pub(super) use users::{LoginQuery, NewPassword, NewUser, Password, SessionQuery, UserChange, UserQuery};

/// Which keys, and which page of them.
#[derive(Debug, Deserialize)]
pub(super) struct KeyQuery {
    pub(super) state: Option<KeyState>,
    pub(super) environment: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    pub(super) lineage: Option<String>,
    pub(super) text: Option<String>,
    pub(super) limit: Option<u32>,
    pub(super) cursor: Option<String>,
}

impl Shaped for KeyQuery {
    const ABOUT: &'static str = "Which keys";
    const MEMBERS: &'static [Member] = &[
        Member::optional("state", Kind::Choice(&["active", "inactive", "revoked"]), "Keys of exactly this state"),
        Member::optional(
            "environment",
            Kind::Word,
            "Keys of exactly this environment, which must be one that there is",
        ),
        Member::optional("tenant", Kind::Word, "Keys of exactly this tenant"),
        Member::optional("user", Kind::Word, "Keys of exactly this user, by id"),
        Member::optional("lineage", Kind::Word, "Keys of exactly this chain of rotations"),
        Member::optional("text", Kind::Part, "Keys whose id, name or prefix has this in it, in letters of any case"),
        LIMIT,
        CURSOR,
    ];
}

/// How long a page is.
pub(super) const LIMIT: Member =
    Member::optional("limit", Kind::Number(1, 200), "How many at most; 50 if it is left out");
/// Which page it is.
pub(super) const CURSOR: Member =
    Member::optional("cursor", Kind::Cursor, "The `next` of the page before; the first page if it is left out");

/// The page that `limit` and `cursor` ask for.
pub(super) fn page_of(limit: Option<u32>, cursor: Option<String>) -> Page {
    let cursor = cursor.and_then(|cursor| super::kind::cursor_of(&cursor)?.parse().ok());
    Page { cursor, ..Page::first(limit.unwrap_or(50)) }
}

/// A key to be made.
#[derive(Debug, Deserialize)]
pub(super) struct NewKey {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) permissions: Vec<String>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) rate_limit: Option<u64>,
    #[serde(default)]
    pub(super) allowed_networks: Vec<IpNet>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

impl Shaped for NewKey {
    const ABOUT: &'static str = "A key to be made";
    const EXAMPLE: &'static str = r#"{"name": "Billing job", "environment": "production", "permissions": ["orders:read"], "expires": "2027-01-31T00:00:00Z"}"#;
    const MEMBERS: &'static [Member] = &[
        Member::optional(
            "id",
            Kind::Id,
            "Its public name for machines, unique among all keys; random if it is left out",
        ),
        Member::nullable("name", Kind::Line, "Its name for people"),
        Member::nullable(
            "environment",
            Kind::Word,
            "The environment it is bound to; one that the configuration names, if it names any",
        ),
        Member::nullable("tenant", Kind::Word, "The tenant it acts in"),
        Member::nullable(
            "user",
            Kind::Word,
            "The user it stands for; the id or, of a user of the store, also the login",
        ),
        Member::optional(
            "permissions",
            PERMISSIONS,
            "What it may do, such as `orders:read`; nothing if it is left out",
        ),
        Member::optional("roles", ROLES, "Named sets of permissions"),
        Member::nullable(
            "expires",
            Kind::Instant,
            "The first instant at which it is no longer good; later than `not_before`",
        ),
        Member::nullable("not_before", Kind::Instant, "The first instant at which it is good"),
        Member::nullable("rate_limit", RATE_LIMIT, "Requests per window of the per-key limit, instead of its default"),
        Member::optional(
            "allowed_networks",
            NETWORKS,
            "Networks from which it may be used; from everywhere if there is none",
        ),
        Member::optional("metadata", Kind::Metadata, "Notes"),
    ];
}

/// What to change of a key.
#[derive(Debug, Deserialize)]
pub(super) struct KeyChange {
    #[serde(default, deserialize_with = "some")]
    pub(super) name: Option<Option<String>>,
    pub(super) permissions: Option<Vec<String>>,
    pub(super) roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some")]
    pub(super) expires: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "some")]
    pub(super) not_before: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "some")]
    pub(super) rate_limit: Option<Option<u64>>,
    pub(super) allowed_networks: Option<Vec<IpNet>>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl Shaped for KeyChange {
    const ABOUT: &'static str = "What to change of a key; what is left out stays as it is, and null takes it away";
    const EXAMPLE: &'static str = r#"{"rate_limit": 500, "expires": null}"#;
    const MEMBERS: &'static [Member] = &[
        Member::nullable("name", Kind::Line, "Its name for people"),
        Member::optional("permissions", PERMISSIONS, "What it may do, such as `orders:read`; all of it"),
        Member::optional("roles", ROLES, "Named sets of permissions; all of them"),
        Member::nullable(
            "expires",
            Kind::Instant,
            "The first instant at which it is no longer good; later than `not_before`, and not later than `retires`",
        ),
        Member::nullable("not_before", Kind::Instant, "The first instant at which it is good"),
        Member::nullable("rate_limit", RATE_LIMIT, "Requests per window of the per-key limit, instead of its default"),
        Member::optional("allowed_networks", NETWORKS, "Networks from which it may be used; all of them"),
        Member::optional("metadata", Kind::Metadata, "Notes; all of them"),
    ];
}

/// How to rotate a key.
#[derive(Debug, Default, Deserialize)]
pub(super) struct KeyRotation {
    pub(super) overlap_seconds: Option<u64>,
    pub(super) expires: Option<Timestamp>,
}

impl Shaped for KeyRotation {
    const ABOUT: &'static str = "How to rotate a key";
    const EXAMPLE: &'static str = r#"{"overlap_seconds": 86400}"#;
    const MEMBERS: &'static [Member] = &[
        Member::optional(
            "overlap_seconds",
            Kind::Number(0, Rotation::OVERLAP_MAX.as_secs()),
            "How long the key lives on beside its successor; a day if it is left out. 0 ends it at once",
        ),
        Member::nullable(
            "expires",
            Kind::Instant,
            "When the successor expires; when the key would have if it is left out",
        ),
    ];
}

/// Since when.
#[derive(Debug, Deserialize)]
pub(super) struct UsageQuery {
    pub(super) since: Option<Timestamp>,
}

impl Shaped for UsageQuery {
    const ABOUT: &'static str = "Since when";
    const MEMBERS: &'static [Member] = &[Member::optional(
        "since",
        Kind::Instant,
        "The first day to count, as any instant of it; 30 days ago if it is left out. Usage is kept for 400 days",
    )];
}

/// Which lines of the audit trail, and which page of them.
#[derive(Debug, Deserialize)]
pub(super) struct AuditQuery {
    pub(super) actor: Option<String>,
    pub(super) action: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) limit: Option<u32>,
    pub(super) cursor: Option<String>,
}

impl Shaped for AuditQuery {
    const ABOUT: &'static str = "Which lines";
    const MEMBERS: &'static [Member] = &[
        Member::optional("actor", Kind::Part, "What exactly this actor did"),
        Member::optional("action", Kind::Word, "Exactly this action, such as `revoke`"),
        Member::optional(
            "kind",
            Kind::Choice(&["key", "user", "login", "session"]),
            "What was done to things of one kind",
        ),
        Member::optional("subject", Kind::Word, "What was done to exactly this key, user, login or session, by id"),
        Member::optional("since", Kind::Instant, "Not before this instant"),
        Member::optional("until", Kind::Instant, "Before this instant"),
        LIMIT,
        CURSOR,
    ];
}
