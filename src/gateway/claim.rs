//! Whether a request that was let through would still be.
//!
//! Whoever has left HTTP asks nothing more that could be refused. So what they once asked is held against what is in
//! force now, again and again: the same steps of the road, with the policy, the keys and the users of that moment.
//! Limits are not asked, because nothing is taken a second time.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::Gateway;
use super::authentication::{Asked, authenticate};
use super::authorization::authorize;
use super::client_address::ClientAddress;
use super::credentials::Credentials;
use super::message::Target;
use super::rejection::Rejection;
use crate::moment::Moment;

/// What a tunnel was let through with.
pub struct Claim {
    gateway: Arc<Gateway>,
    credentials: Credentials,
    target: Target,
    client: ClientAddress,
    /// The address that it came in at.
    listener: SocketAddr,
}

impl Claim {
    /// Keeps what was offered, in memory of its own: a field would hold on to the whole head that it was read from.
    #[must_use]
    pub fn new(
        gateway: &Arc<Gateway>,
        credentials: &Credentials,
        target: &Target,
        client: ClientAddress,
        listener: SocketAddr,
    ) -> Self {
        let (credentials, target) = (credentials.detached(), target.detached());
        Self { gateway: Arc::clone(gateway), credentials, target, client, listener }
    }

    /// Asks anew.
    ///
    /// # Errors
    ///
    /// [`Rejection`]: what the same request would be answered now.
    pub fn check(&self, now: Moment) -> Result<(), Rejection> {
        let policy = self.gateway.policy.load();
        let environment = policy.environments.find(self.target.authority(), self.listener)?;
        let route = policy.routes.find(&Method::GET, &self.target)?;
        if !route.websocket {
            return Err(super::upgrade::NotUpgradable.into());
        }
        let known = self.gateway.known(&policy, environment, now);
        let asked = Asked { route, path: self.target.path_and_query.path(), fields: &HeaderMap::new(), content: None };
        let principal = authenticate(&self.credentials, &route.access, asked, known)?;
        authorize(principal, route, environment, self.client, &policy.roles)?;
        Ok(())
    }
}
