//! Which route a request takes.
//!
//! A route says which credentials it accepts, which limits count it, and where it leads.

use std::sync::Arc;

use super::message::Target;
use super::upstream::Upstream;
use crate::limits::{Allowance, Limit};
use crate::telemetry::metrics::RouteLabel;

/// Nothing is configured for this request.
#[derive(Debug, thiserror::Error)]
#[error("no route matches")]
pub struct NoRoute;

/// What a route asks of a request before it lets it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A key that is good.
    ApiKey,
    /// Nothing.
    Public,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// The requests of each key; the successors of a rotated key count with it.
    Key,
    /// The requests of each user, over all of its keys.
    User,
    /// The requests of each client address.
    Address,
    /// The requests of each client address that bear no good credentials.
    UnauthenticatedAddress,
}

/// A limit as a route applies it.
#[derive(Clone)]
pub struct RouteLimit {
    /// The state of it.
    pub limit: Arc<Limit>,
    /// How much it allows to those who were granted nothing else.
    pub allowance: Allowance,
    /// What it counts.
    pub counts: Counts,
    /// What one request costs.
    pub cost: u32,
}

/// One route.
pub struct Route {
    /// The operator's name for it, in logs and metrics.
    pub name: Arc<str>,
    /// The same, as the metrics know it.
    pub label: RouteLabel,
    /// What it asks for.
    pub access: Access,
    /// What counts its requests.
    pub limits: Vec<RouteLimit>,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
}

/// All routes of a policy.
pub struct Routes(Vec<Route>);

impl Routes {
    /// One route for everything.
    #[must_use]
    pub fn everything(route: Route) -> Self {
        Self(vec![route])
    }

    /// Finds the route of a request.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] if none matches: what is not configured is refused.
    pub fn find(&self, _target: &Target) -> Result<&Route, NoRoute> {
        self.0.first().ok_or(NoRoute)
    }

    /// Every route.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}
