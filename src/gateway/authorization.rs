//! What a principal may do.

use std::net::IpAddr;
use std::sync::Arc;

use super::authentication::Principal;
use super::client_address::ClientAddress;
use super::environment::Environment;
use super::permission::{Permission, Roles};
use super::route::Route;
use super::upstream::Upstream;

/// Why a principal may not do what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
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
    upstream: &'p Arc<Upstream>,
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

    /// Where that leads: the route's own upstream, or its environment's.
    #[must_use]
    pub const fn upstream(&self) -> &'p Arc<Upstream> {
        self.upstream
    }

    /// From where.
    #[must_use]
    pub const fn client(&self) -> ClientAddress {
        self.client
    }
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
    if let Some(key) = principal.key()
        && !key.allows_address(client.ip())
    {
        return Err(AuthorizationError::AddressNotAllowed(client.ip()));
    }
    // Nobody is anonymous here but on a public route, or with a browser's preflight: neither demands a permission.
    if let (Some(demanded), Some(key)) = (&route.permission, principal.key())
        && !roles.allow(key, demanded)
    {
        return Err(AuthorizationError::PermissionMissing(demanded.clone()));
    }
    let upstream = route.upstream.as_ref().unwrap_or(&environment.upstream);
    Ok(Permit { principal, route, upstream, client })
}
