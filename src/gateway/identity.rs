//! Who the request is from, told to the upstream in fields that no client can forge.
//!
//! Every field under a reserved name is removed from every request, whatever its spelling, before ours are written.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::authentication::Principal;
use crate::keys::IdentityValues;

/// The names under which the upstream learns who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFields {
    /// The key's id.
    pub key_id: HeaderName,
    /// The tenant it acts in.
    pub tenant: HeaderName,
    /// The user it stands for.
    pub user: HeaderName,
    /// The environment it is good for.
    pub environment: HeaderName,
    /// What it may do, separated by spaces.
    pub permissions: HeaderName,
    /// The customer whose session it is.
    pub customer: HeaderName,
    /// Whether a client whose credentials carry no environment may name one in that same field.
    pub environment_by_client: bool,
}

/// Every name that begins so is reserved, used or not.
pub const RESERVED_PREFIX: &str = "x-keygate-";

/// Bytes that an environment may have which a client names.
const ENVIRONMENT_BYTES_MAX: usize = 128;

/// Who a request is from, as values of fields. What is not known is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'p> {
    /// The key's id.
    pub key_id: Option<&'p HeaderValue>,
    /// The tenant.
    pub tenant: Option<&'p HeaderValue>,
    /// The user.
    pub user: Option<&'p HeaderValue>,
    /// The environment.
    pub environment: Option<&'p HeaderValue>,
    /// The permissions.
    pub permissions: Option<&'p HeaderValue>,
    /// The customer.
    pub customer: Option<&'p HeaderValue>,
}

impl<'p> Identity<'p> {
    /// What is known of `principal`, whose credentials may carry no environment; `asked` counts then.
    #[must_use]
    pub fn of(principal: &'p Principal, asked: Option<&'p HeaderValue>) -> Self {
        let identity = if let Some(key) = principal.key() {
            let IdentityValues { key_id, tenant, user, environment, permissions } = key.identity();
            Self { key_id: Some(key_id), tenant, user, environment, permissions, customer: None }
        } else if let Some(user) = principal.user() {
            Self {
                tenant: user.tenant_value.as_ref(),
                user: Some(&user.id_value),
                permissions: user.permissions_value.as_ref(),
                ..Self::default()
            }
        } else if let Some(session) = principal.session() {
            Self {
                tenant: session.tenant_value.as_ref(),
                environment: session.environment_value.as_ref(),
                customer: Some(&session.customer_value),
                ..Self::default()
            }
        } else if let Some(delivery) = principal.delivery() {
            Self { tenant: Some(&delivery.tenant), environment: Some(&delivery.environment), ..Self::default() }
        } else {
            // Nobody knows whom it is from, so it may not say for which environment either.
            return Self::default();
        };
        // A session is bound to what it was made for, also where that was no environment.
        let asked = asked.filter(|_| principal.session().is_none());
        Self { environment: identity.environment.or(asked), ..identity }
    }
}

impl IdentityFields {
    /// All names.
    pub fn names(&self) -> [&HeaderName; 6] {
        [&self.key_id, &self.tenant, &self.user, &self.environment, &self.permissions, &self.customer]
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

    /// Writes `identity`.
    pub fn write(&self, fields: &mut HeaderMap, identity: Identity<'_>) {
        for (name, value) in [
            (&self.key_id, identity.key_id),
            (&self.tenant, identity.tenant),
            (&self.user, identity.user),
            (&self.environment, identity.environment),
            (&self.permissions, identity.permissions),
            (&self.customer, identity.customer),
        ] {
            if let Some(value) = value {
                fields.insert(name, value.clone());
            }
        }
    }
}
