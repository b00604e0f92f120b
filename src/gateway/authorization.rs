//! What a principal may do.

use std::net::IpAddr;

use super::authentication::Principal;
use super::client_address::ClientAddress;
use super::route::Route;

/// Why a principal may not do what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// The key is bound to networks, and the client is in none of them.
    #[error("the key may not be used from {0}")]
    AddressNotAllowed(IpAddr),
}

/// The proof that a principal may take a route. Only [`authorize`] makes one.
pub struct Permit<'p> {
    principal: Principal,
    route: &'p Route,
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
pub fn authorize(principal: Principal, route: &Route, client: ClientAddress) -> Result<Permit<'_>, AuthorizationError> {
    if let Some(key) = principal.key()
        && !key.allows_address(client.ip())
    {
        return Err(AuthorizationError::AddressNotAllowed(client.ip()));
    }
    Ok(Permit { principal, route, client })
}
