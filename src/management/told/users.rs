//! What may be asked about users, logins and sessions.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use zeroize::Zeroizing;

use super::{CURSOR, LIMIT};
use crate::management::kind::{Kind, PERMISSIONS, ROLES};
use crate::management::shape::{self, Member, Shaped, some};

content!(NewUser, UserChange, NewPassword);
query!(UserQuery, LoginQuery, SessionQuery);

/// A user to be made.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct NewUser {
    pub(in crate::management) id: Option<String>,
    pub(in crate::management) login: String,
    pub(in crate::management) password: Option<Password>,
    pub(in crate::management) name: Option<String>,
    pub(in crate::management) tenant: Option<String>,
    #[serde(default)]
    pub(in crate::management) permissions: Vec<String>,
    #[serde(default)]
    pub(in crate::management) roles: Vec<String>,
    #[serde(default)]
    pub(in crate::management) metadata: BTreeMap<String, String>,
}

/// A password that was sent. Overwritten in memory when dropped; prints nothing of itself.
#[derive(Deserialize)]
#[serde(from = "String")]
pub(in crate::management) struct Password(pub(in crate::management) Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Shaped for NewUser {
    const ABOUT: &'static str = "A user to be made, who is enabled";
    const EXAMPLE: &'static str = r#"{"login": "alice@example.com", "name": "Alice", "roles": ["operator"]}"#;
    const MEMBERS: &'static [Member] = &[
        Member::optional(
            "id",
            Kind::Id,
            "The public name for machines, unique among all users; random if it is left out",
        ),
        Member::required("login", Kind::Word, "The name to log in with; unique, letters of either case being the same"),
        Member::nullable("password", Kind::Password, "What to log in with; without one the user cannot log in"),
        Member::nullable("name", Kind::Line, "The name for people"),
        Member::nullable("tenant", Kind::Word, "The tenant"),
        Member::optional("permissions", PERMISSIONS, "What the user may do, such as `orders:read`"),
        Member::optional("roles", ROLES, "Named sets of permissions"),
        Member::optional("metadata", Kind::Metadata, "Notes"),
    ];
}

/// What to change of a user.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct UserChange {
    pub(in crate::management) login: Option<String>,
    #[serde(default, deserialize_with = "some")]
    pub(in crate::management) name: Option<Option<String>>,
    #[serde(default, deserialize_with = "some")]
    pub(in crate::management) tenant: Option<Option<String>>,
    pub(in crate::management) permissions: Option<Vec<String>>,
    pub(in crate::management) roles: Option<Vec<String>>,
    pub(in crate::management) metadata: Option<BTreeMap<String, String>>,
}

impl Shaped for UserChange {
    const ABOUT: &'static str = "What to change of a user; what is left out stays as it is, and null takes it away";
    const EXAMPLE: &'static str = r#"{"name": null, "roles": ["manager"]}"#;
    const MEMBERS: &'static [Member] = &[
        Member::optional("login", Kind::Word, "The name to log in with; unique, letters of either case being the same"),
        Member::nullable("name", Kind::Line, "The name for people"),
        Member::nullable("tenant", Kind::Word, "The tenant"),
        Member::optional("permissions", PERMISSIONS, "What the user may do, such as `orders:read`; all of it"),
        Member::optional("roles", ROLES, "Named sets of permissions; all of them"),
        Member::optional("metadata", Kind::Metadata, "Notes; all of them"),
    ];
}

/// Another password of a user.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct NewPassword {
    pub(in crate::management) password: Password,
}

impl Shaped for NewPassword {
    const ABOUT: &'static str = "Another password of a user";
    const EXAMPLE: &'static str = r#"{"password": "violins under the bridge"}"#;
    const MEMBERS: &'static [Member] =
        &[Member::required("password", Kind::Password, "What to log in with from now on")];
}

/// Which users, and which page of them.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct UserQuery {
    pub(in crate::management) enabled: Option<bool>,
    pub(in crate::management) tenant: Option<String>,
    pub(in crate::management) text: Option<String>,
    pub(in crate::management) limit: Option<u32>,
    pub(in crate::management) cursor: Option<String>,
}

impl Shaped for UserQuery {
    const ABOUT: &'static str = "Which users";
    const MEMBERS: &'static [Member] = &[
        Member::optional("enabled", Kind::Truth, "Users who are enabled, or those who are not"),
        Member::optional("tenant", Kind::Word, "Users of exactly this tenant"),
        Member::optional("text", Kind::Part, "Users whose id, login or name has this in it, in letters of any case"),
        LIMIT,
        CURSOR,
    ];
}

/// Which logins, and which page of them.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct LoginQuery {
    pub(in crate::management) user: Option<String>,
    pub(in crate::management) limit: Option<u32>,
    pub(in crate::management) cursor: Option<String>,
}

impl Shaped for LoginQuery {
    const ABOUT: &'static str = "Which logins";
    const MEMBERS: &'static [Member] =
        &[Member::optional("user", Kind::Word, "Logins of exactly this user, by id"), LIMIT, CURSOR];
}

/// Which sessions, and which page of them.
#[derive(Debug, Deserialize)]
pub(in crate::management) struct SessionQuery {
    pub(in crate::management) tenant: Option<String>,
    pub(in crate::management) environment: Option<String>,
    pub(in crate::management) customer: Option<String>,
    pub(in crate::management) limit: Option<u32>,
    pub(in crate::management) cursor: Option<String>,
}

impl Shaped for SessionQuery {
    const ABOUT: &'static str = "Which sessions";
    const MEMBERS: &'static [Member] = &[
        Member::optional("tenant", Kind::Word, "Sessions of exactly this tenant"),
        Member::optional("environment", Kind::Word, "Sessions of exactly this environment"),
        Member::optional("customer", Kind::Word, "Sessions of exactly this customer"),
        LIMIT,
        CURSOR,
    ];
}
