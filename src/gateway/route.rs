//! Which route a request takes.
//!
//! A route says which credentials it accepts, which limits count it, and where it leads.

use std::sync::Arc;

use super::message::Target;
use super::rate_limit::RouteLimit;
use super::upstream::Upstream;
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
