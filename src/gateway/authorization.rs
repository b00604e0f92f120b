//! What a principal may do.

use std::net::IpAddr;
use std::sync::Arc;

use super::authentication::Principal;
use super::client_address::ClientAddress;
use super::environment::Environment;
use super::operation::Operation;
use super::permission::{Permission, Roles};
use super::route::{Access, Destination, Route};
use super::upstream::Upstream;

/// Why a principal may not do what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// The key is good, and keys are not accepted here.
    #[error("keys are not accepted here")]
    KeyNotAccepted {
        /// The permission that would be needed besides.
        permission: Option<Permission>,
    },
    /// The key is bound to networks, and the client is in none of them.
    #[error("the key may not be used from {0}")]
    AddressNotAllowed(IpAddr),
    /// The route demands a permission that the principal does not hold.
    #[error("the permission {0} is missing")]
    PermissionMissing(Permission),
}

/// The proof that a principal may take a route. Only [`authorize`] makes one.
pub struct Permit<'p> {
    principal: Principal,
    route: &'p Route,
    environment: &'p Environment,
    client: ClientAddress,
}

impl<'p> Permit<'p> {
    /// Who may.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Which way.
    #[must_use]
    pub const fn route(&self) -> &'p Route {
        self.route
    }

    /// For which world.
    #[must_use]
    pub const fn environment(&self) -> &'p Environment {
        self.environment
    }

    /// Where that leads: the route's own destination, or its environment's upstream.
    #[must_use]
    pub fn destination(&self) -> To<'p> {
        match &self.route.destination {
            Destination::Upstream(own) => To::Upstream(own.as_ref().unwrap_or(&self.environment.upstream)),
            Destination::Operation(operation) => To::Operation(operation),
        }
    }

    /// From where.
    #[must_use]
    pub const fn client(&self) -> ClientAddress {
        self.client
    }
}

/// Where a permitted request goes.
#[derive(Clone, Copy)]
pub enum To<'p> {
    /// To this upstream.
    Upstream(&'p Arc<Upstream>),
    /// To something that the gateway does itself.
    Operation(&'p Operation),
}

/// Decides whether `principal` may take `route` from where it is.
///
/// # Errors
///
/// [`AuthorizationError`].
pub fn authorize<'p>(
    principal: Principal,
    route: &'p Route,
    environment: &'p Environment,
    client: ClientAddress,
    roles: &Roles,
) -> Result<Permit<'p>, AuthorizationError> {
    if let Some(key) = principal.key() {
        if !accepts_keys(&route.access) {
            return Err(AuthorizationError::KeyNotAccepted { permission: route.permission.clone() });
        }
        if !key.allows_address(client.ip()) {
            return Err(AuthorizationError::AddressNotAllowed(client.ip()));
        }
    }
    if let Some(demanded) = &route.permission
        && !allows(roles, &principal, demanded.as_str())
    {
        return Err(AuthorizationError::PermissionMissing(demanded.clone()));
    }
    Ok(Permit { principal, route, environment, client })
}

/// Says whether keys are among what a route asks for.
const fn accepts_keys(access: &Access) -> bool {
    match access {
        Access::Credentials(accepted) => accepted.api_key,
        Access::Public | Access::Signature(_) => false,
    }
}

/// Says whether `principal` may do what demands `demanded`. Nobody is anonymous before a route that demands something,
/// but for a browser's preflight; customers and deliveries hold nothing, and no such route accepts them.
#[must_use]
pub fn allows(roles: &Roles, principal: &Principal, demanded: &str) -> bool {
    match (principal.key(), principal.user()) {
        (Some(key), _) => roles.allow(key.permissions(), key.roles(), demanded),
        (None, Some(user)) => roles.allow(&user.permissions, &user.roles, demanded),
        (None, None) => principal.is_anonymous(),
    }
}
