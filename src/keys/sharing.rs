//! What many keys have alike, and have once in memory: where they act and what they may do, and whom they stand for.
//!
//! A million keys seldom have more than a few thousand of these. Keys that are made together share them, by way of one
//! [`Sharing`] that is forgotten as soon as they are made: what is shared lives as long as one of the keys that share
//! it, and nothing is left behind by keys that are gone.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use http::header::InvalidHeaderValue;

use super::entry::Entry;
use crate::secret::counted_as;

/// Where a key acts and what it may do, with the values of the fields that say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) tenant: Option<HeaderValue>,
    pub(super) environment: Option<Arc<str>>,
    pub(super) environment_value: Option<HeaderValue>,
    pub(super) permissions: Box<[Arc<str>]>,
    /// With one space between any two.
    pub(super) permissions_value: Option<HeaderValue>,
    pub(super) roles: Box<[Arc<str>]>,
}

/// The user a key stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// As limits count it.
    pub(super) hash: u128,
    pub(super) value: HeaderValue,
}

/// What the keys that were made so far have, to be shared with the next ones.
#[derive(Default)]
pub(super) struct Sharing {
    grants: HashMap<Words, Arc<Grant>>,
    holders: HashMap<String, Arc<Holder>>,
}

/// A [`Grant`] as an operator wrote it.
#[derive(PartialEq, Eq, Hash)]
struct Words {
    tenant: Option<String>,
    environment: Option<String>,
    permissions: Vec<String>,
    roles: Vec<String>,
}

impl Sharing {
    /// Takes out of `entry` what becomes its [`Grant`]; `None` if that is nothing at all.
    pub(super) fn grant_of(&mut self, entry: &mut Entry) -> Result<Option<Arc<Grant>>, InvalidHeaderValue> {
        let words = Words {
            tenant: entry.tenant.take(),
            environment: entry.environment.take(),
            permissions: std::mem::take(&mut entry.permissions),
            roles: std::mem::take(&mut entry.roles),
        };
        if words.are_none() {
            return Ok(None);
        }
        if let Some(grant) = self.grants.get(&words) {
            return Ok(Some(Arc::clone(grant)));
        }
        let grant = Arc::new(Grant::of(&words)?);
        self.grants.insert(words, Arc::clone(&grant));
        Ok(Some(grant))
    }

    /// Takes out of `entry` what becomes its [`Holder`].
    pub(super) fn holder_of(&mut self, entry: &mut Entry) -> Result<Option<Arc<Holder>>, InvalidHeaderValue> {
        let Some(user) = entry.user.take() else { return Ok(None) };
        if let Some(holder) = self.holders.get(&user) {
            return Ok(Some(Arc::clone(holder)));
        }
        let holder = Arc::new(Holder { hash: counted_as(&user), value: HeaderValue::from_str(&user)? });
        self.holders.insert(user, Arc::clone(&holder));
        Ok(Some(holder))
    }
}

impl Words {
    const fn are_none(&self) -> bool {
        let Self { tenant, environment, permissions, roles } = self;
        tenant.is_none() && environment.is_none() && permissions.is_empty() && roles.is_empty()
    }
}

impl Grant {
    fn of(words: &Words) -> Result<Self, InvalidHeaderValue> {
        let Words { tenant, environment, permissions, roles } = words;
        let value = |text: &Option<String>| text.as_deref().map(HeaderValue::from_str).transpose();
        let permissions_text = (!permissions.is_empty()).then(|| permissions.join(" "));
        let each = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
        Ok(Self {
            tenant: value(tenant)?,
            environment: environment.as_deref().map(Into::into),
            environment_value: value(environment)?,
            permissions: each(permissions),
            permissions_value: value(&permissions_text)?,
            roles: each(roles),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Digest;

    fn entry(tenant: Option<&str>, permission: &str, user: &str) -> Entry {
        Entry {
            tenant: tenant.map(Into::into),
            permissions: vec![permission.into()],
            user: Some(user.into()),
            ..Entry::new("key_1", Digest::of(b""))
        }
    }

    #[test]
    fn what_is_alike_is_there_once_and_goes_with_the_last_key_that_has_it() {
        let mut sharing = Sharing::default();
        let mut grant = |tenant, permission| sharing.grant_of(&mut entry(tenant, permission, "u")).unwrap().unwrap();
        let (one, other) = (grant(Some("acme"), "orders:read"), grant(Some("acme"), "orders:read"));
        assert!(Arc::ptr_eq(&one, &other));
        for (tenant, permission) in
            [(None, "orders:read"), (Some("acme"), "orders:write"), (Some("other"), "orders:read")]
        {
            assert_ne!(*one, *grant(tenant, permission));
        }
        let mut holder = |user| sharing.holder_of(&mut entry(None, "x", user)).unwrap().unwrap();
        assert!(Arc::ptr_eq(&holder("alice"), &holder("alice")));
        assert_ne!(holder("alice"), holder("bob"));
        drop((sharing, other));
        assert_eq!(Arc::strong_count(&one), 1);
    }

    #[test]
    fn nothing_takes_no_memory() {
        let mut plain = Entry::new("key_1", Digest::of(b""));
        let mut sharing = Sharing::default();
        assert_eq!(sharing.grant_of(&mut plain).unwrap(), None);
        assert_eq!(sharing.holder_of(&mut plain).unwrap(), None);
    }
}
