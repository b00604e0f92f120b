//! Who the request is from, told to the upstream in fields that no client can forge.
//!
//! Every field under a reserved name is removed from every request, whatever its spelling, before ours are written.

use http::{HeaderMap, HeaderName};

use super::authentication::Principal;

/// The names under which the upstream learns who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFields {
    /// The key's id.
    pub key_id: HeaderName,
    /// The tenant it belongs to.
    pub tenant: HeaderName,
    /// The user it belongs to.
    pub user: HeaderName,
    /// The environment it is good for.
    pub environment: HeaderName,
    /// What it may do, separated by spaces.
    pub permissions: HeaderName,
}

/// Every name that begins so is reserved, used or not.
pub const RESERVED_PREFIX: &str = "x-keygate-";

impl IdentityFields {
    /// All names.
    pub fn names(&self) -> [&HeaderName; 5] {
        [&self.key_id, &self.tenant, &self.user, &self.environment, &self.permissions]
    }

    /// Writes the identity of `principal`. What a key does not have is left out.
    pub fn write(&self, fields: &mut HeaderMap, principal: &Principal) {
        let Some(key) = principal.key() else { return };
        let identity = &key.identity;
        fields.insert(&self.key_id, identity.key_id.clone());
        for (name, value) in [
            (&self.tenant, &identity.tenant),
            (&self.user, &identity.user),
            (&self.environment, &identity.environment),
            (&self.permissions, &identity.permissions),
        ] {
            if let Some(value) = value {
                fields.insert(name, value.clone());
            }
        }
    }
}
