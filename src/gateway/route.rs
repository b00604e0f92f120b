//! Which route a request takes.
//!
//! A route has a pattern of paths, and may be for some hosts and some methods only. It says which credentials it
//! accepts, which permission it demands, which limits count it, and where it leads. The most specific route wins: by
//! host first, then by pattern (see [`super::pattern`]), then by method. The paths of operations have the methods of their
//! routes and no others.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use http::uri::Authority;

use super::message::Target;
use super::operation::Operation;
use super::parameter::Word;
use super::pattern::{Found, Pattern, Table};
use super::permission::Permission;
use super::upstream::Upstream;
use crate::limits::{Allowance, Limit};
use crate::telemetry::metrics::RouteLabel;

/// Why a request takes no route.
#[derive(Debug, thiserror::Error)]
pub enum NoRoute {
    /// Nothing is configured for its path.
    #[error("no route matches")]
    Path,
    /// Its path has routes, for other methods.
    #[error("no route matches the method")]
    Method {
        /// The methods that there are, as `Allow` lists them (RFC 9110, section 10.2.1).
        allow: String,
    },
    /// Its path can be read in another way, which is another route's.
    #[error("a careless server would read the path of another route")]
    Disputed,
}

/// What a route asks of a request before it lets it through.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nothing.
    Public,
    /// Good credentials of one of these kinds.
    Credentials(Accepted),
    /// A signature of the content.
    Signature(Arc<Signed>),
}

/// Kinds of credentials that a route accepts; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// An API key.
    pub api_key: bool,
    /// A user's token.
    pub token: bool,
    /// A customer's session.
    pub session: bool,
}

impl Accepted {
    /// API keys alone.
    pub const API_KEY: Self = Self { api_key: true, token: false, session: false };

    /// Users' tokens alone.
    pub const TOKEN: Self = Self { api_key: false, token: true, session: false };
}

/// How the content of a request is signed: each of these may stand in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The scheme of the signature.
    pub scheme: Word,
    /// Whose secrets it is made with.
    pub tenant: Word,
    /// For which environment.
    pub environment: Word,
}

/// Where a route leads.
#[derive(Clone)]
pub enum Destination {
    /// To this upstream; `None`: to that of the environment.
    Upstream(Option<Arc<Upstream>>),
    /// To something that the gateway does itself.
    Operation(Arc<Operation>),
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// The requests of each key; the successors of a rotated key count with it.
    Key,
    /// The requests of each user, over all of its keys and tokens.
    User,
    /// The requests of each user that bear a token, over all of them.
    UserToken,
    /// The requests of each client address.
    Address,
    /// The requests of each client address that bear no good credentials.
    UnauthenticatedAddress,
    /// The attempts of each client address that could be guesses.
    FailuresOfAddress,
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
    /// Bits of an IPv6 address that count as one client address.
    pub ipv6_prefix_bits: u8,
}

/// One route.
pub struct Route {
    /// The operator's name for it, in logs and metrics.
    pub name: Arc<str>,
    /// The same, as the metrics know it.
    pub label: RouteLabel,
    /// What it asks for.
    pub access: Access,
    /// What its principal must be allowed to do.
    pub permission: Option<Permission>,
    /// What counts its requests.
    pub limits: Vec<RouteLimit>,
    /// The paths it is for.
    pub patterns: Vec<Pattern>,
    /// Where it leads.
    pub destination: Destination,
    /// Whether its clients may go on in WebSocket (RFC 6455).
    pub websocket: bool,
}

impl Route {
    /// Whether what its requests bear, in a field or in their content, is held against secrets that clients have.
    #[must_use]
    pub fn asks_for_secrets(&self) -> bool {
        let by_content = || match &self.destination {
            Destination::Operation(operation) => operation.asks_for_secrets(),
            Destination::Upstream(_) => false,
        };
        matches!(self.access, Access::Credentials(_)) || by_content()
    }
}

/// Two routes are for the same requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the same requests as route `{0}`")]
pub struct SameRequests(pub String);

/// All routes of a policy.
#[derive(Default)]
pub struct Routes {
    routes: Vec<Route>,
    by_host: HashMap<String, Table<usize>>,
    any_host: Table<usize>,
}

impl Routes {
    /// Adds a route for these hosts and methods; without hosts for all of them, and so with methods.
    ///
    /// # Errors
    ///
    /// [`SameRequests`] if another route takes the very same ones.
    pub fn add(&mut self, route: Route, hosts: &[String], methods: &[Method]) -> Result<(), SameRequests> {
        let index = self.routes.len();
        let mut tables: Vec<&mut Table<usize>> = Vec::new();
        if hosts.is_empty() {
            tables.push(&mut self.any_host);
        }
        for host in hosts {
            self.by_host.entry(host.to_ascii_lowercase()).or_default();
        }
        tables.extend(
            self.by_host
                .iter_mut()
                .filter(|(name, _)| hosts.iter().any(|host| host.eq_ignore_ascii_case(name)))
                .map(|(_, table)| table),
        );
        for table in tables {
            for pattern in &route.patterns {
                let methods: Vec<_> =
                    if methods.is_empty() { vec![None] } else { methods.iter().cloned().map(Some).collect() };
                // What stands at a path of ours is not for an upstream to say.
                if matches!(route.destination, Destination::Operation(_)) {
                    table.close(pattern);
                }
                for method in methods {
                    table.insert(pattern, method, index).map_err(|other| {
                        SameRequests(self.routes.get(other).map_or_else(String::new, |other| other.name.to_string()))
                    })?;
                }
            }
        }
        self.routes.push(route);
        Ok(())
    }

    /// Finds the route of a request.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] if none matches: what is not configured is refused. So is a path in which a server behind us could read
    /// one that takes another route, such as `/admin;x` where `/admin` has its own.
    pub fn find(&self, method: &Method, target: &Target) -> Result<&Route, NoRoute> {
        let path = target.path_and_query.path();
        match self.look_up(method, target, path) {
            Found::Value(index) => match &target.other_reading {
                Some(other) if self.look_up(method, target, other) != Found::Value(index) => Err(NoRoute::Disputed),
                _ => self.routes.get(index).ok_or(NoRoute::Path),
            },
            Found::OtherMethods | Found::Closed => Err(NoRoute::Method { allow: self.allowed(target) }),
            Found::Nothing => Err(NoRoute::Path),
        }
    }

    fn look_up(&self, method: &Method, target: &Target, path: &str) -> Found<usize> {
        let of_host = self.table_of(target.authority()).map_or(Found::Nothing, |table| table.find(method, path));
        if matches!(of_host, Found::Value(_) | Found::Closed) {
            return of_host;
        }
        let of_any = self.any_host.find(method, path);
        if of_any == Found::Nothing { of_host } else { of_any }
    }

    /// Every route.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    fn table_of(&self, authority: Option<&Authority>) -> Option<&Table<usize>> {
        if self.by_host.is_empty() {
            return None;
        }
        let host = authority?.host().to_ascii_lowercase();
        self.by_host.get(host.strip_suffix('.').unwrap_or(&host))
    }

    /// The methods that a path has. Slow, and only on the way out.
    pub fn allowed(&self, target: &Target) -> String {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ];
        let path = target.path_and_query.path();
        let has = |method: &Method| matches!(self.look_up(method, target, path), Found::Value(_));
        methods.iter().filter(|method| has(method)).map(Method::as_str).collect::<Vec<_>>().join(", ")
    }
}
