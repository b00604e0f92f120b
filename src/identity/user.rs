//! One user, as the road uses it: everything that would otherwise have to be worked out at each request.
//!
//! A user comes from the store, or from the claims of a token that somebody else has signed.
//!
//! Never in this file: a password, nor what is known of one.

use std::sync::Arc;

use http::HeaderValue;

use crate::secret::counted_as;

/// A user as it was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its name for machines.
    pub id: String,
    /// The tenant it is bound to; `None`: it may act in all of them.
    pub tenant: Option<String>,
    /// What it may do.
    pub permissions: Vec<String>,
    /// The sets of permissions it has beside its own.
    pub roles: Vec<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name for machines.
    pub id: Arc<str>,
    /// The tenant it is bound to; `None`: it may act in all of them.
    pub tenant: Option<Arc<str>>,
    /// What it may do.
    pub permissions: Vec<Arc<str>>,
    /// The sets of permissions it has beside its own.
    pub roles: Vec<Arc<str>>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The id as limits count it: the first 16 bytes of its SHA-256. The same number as of a key of this user.
    pub hash: u128,
    /// The id as the value of a field.
    pub id_value: HeaderValue,
    /// The tenant as the value of a field.
    pub tenant_value: Option<HeaderValue>,
    /// The permissions as the value of a field, with one space between any two; `None` if there are none.
    pub permissions_value: Option<HeaderValue>,
}

/// Something of a user cannot travel in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot travel in a field")]
pub struct NotAField(pub &'static str);

impl User {
    /// Works out what the road needs.
    ///
    /// # Errors
    ///
    /// [`NotAField`] if the id, the tenant or a permission has characters that no field may have, or none at all.
    pub fn new(written: Written) -> Result<Self, NotAField> {
        let Written { id, tenant, permissions, roles, enabled } = written;
        let value = |what, text: &str| match HeaderValue::from_str(text) {
            Ok(value) if !text.is_empty() => Ok(value),
            Ok(_) | Err(_) => Err(NotAField(what)),
        };
        let joined = (!permissions.is_empty()).then(|| permissions.join(" "));
        Ok(Self {
            id_value: value("the id", &id)?,
            tenant_value: tenant.as_deref().map(|tenant| value("the tenant", tenant)).transpose()?,
            permissions_value: joined.map(|joined| value("a permission", &joined)).transpose()?,
            hash: counted_as(&id),
            id: id.into(),
            tenant: tenant.map(Into::into),
            permissions: permissions.into_iter().map(Into::into).collect(),
            roles: roles.into_iter().map(Into::into).collect(),
            enabled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_travel_in_a_field_is_no_user() {
        let ada = || Written { id: "user_1".to_owned(), ..Written::default() };
        let user = User::new(Written { permissions: vec!["a:read".to_owned(), "b:*".to_owned()], ..ada() }).unwrap();
        assert_eq!(user.permissions_value.unwrap(), "a:read b:*");
        assert_eq!((user.hash, user.tenant_value), (counted_as("user_1"), None));
        assert_eq!(User::new(Written { tenant: Some("a\nb".to_owned()), ..ada() }), Err(NotAField("the tenant")));
        assert_eq!(User::new(Written::default()), Err(NotAField("the id")));
    }
}
