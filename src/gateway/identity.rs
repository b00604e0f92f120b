//! Who the request is from, told to the upstream in fields that no client can forge.
//!
//! Every field under a reserved name is removed from every request, whatever its spelling, before ours are written.

use http::{HeaderMap, HeaderName, HeaderValue};

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
    /// Whether a client whose credentials carry no environment may name one in that same field.
    pub environment_by_client: bool,
}

/// Bytes that an environment may have which a client names.
const ENVIRONMENT_BYTES_MAX: usize = 128;

/// Every name that begins so is reserved, used or not.
pub const RESERVED_PREFIX: &str = "x-keygate-";

impl IdentityFields {
    /// All names.
    pub fn names(&self) -> [&HeaderName; 5] {
        [&self.key_id, &self.tenant, &self.user, &self.environment, &self.permissions]
    }

    /// The environment that the client of a request asks for, where it may: one value, of visible ASCII.
    #[must_use]
    pub fn asked_environment(&self, fields: &HeaderMap) -> Option<HeaderValue> {
        if !self.environment_by_client {
            return None;
        }
        let mut values = fields.get_all(&self.environment).iter();
        let (value, another) = (values.next()?, values.next());
        let good =
            (1..=ENVIRONMENT_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        (good && another.is_none()).then(|| value.clone())
    }

    /// Writes the identity of `principal`. What a key does not have is left out; its environment may be `asked` for then.
    pub fn write(&self, fields: &mut HeaderMap, principal: &Principal, asked: Option<HeaderValue>) {
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
        if let Some(asked) = asked.filter(|_| identity.environment.is_none()) {
            fields.insert(&self.environment, asked);
        }
    }
}
