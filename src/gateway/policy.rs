//! Everything that decides about a request, as it stood at one moment.
//!
//! A request takes one policy and keeps it to its end; a reload puts a new one beside it. So old routes never meet new
//! limits.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::cors::Cors;
use super::credentials::Places;
use super::environment::Environments;
use super::forward::Forwarding;
use super::message::HeadMaxima;
use super::permission::Roles;
use super::rate_limit::RateLimitFields;
use super::refusal::Refusals;
use super::route::{RouteLimit, Routes};
use crate::identity::Tokens;
use crate::keys::SecretFormat;
use crate::webhooks::Webhooks;

/// One immutable policy.
pub struct Policy {
    /// How large heads may be.
    pub head_maxima: HeadMaxima,
    /// Which hosts are answered for, with whose keys.
    pub environments: Environments,
    /// How many requests may be in flight.
    pub in_flight_max: usize,
    /// How many of them may be of one client address.
    pub in_flight_per_address_max: usize,
    /// Where requests lead, and what each way asks for.
    pub routes: Routes,
    /// What roles may do.
    pub roles: Roles,
    /// Where credentials travel.
    pub places: Places,
    /// What our own keys look like.
    pub secret_format: SecretFormat,
    /// What requests without good credentials are counted by.
    pub unauthenticated: Vec<RouteLimit>,
    /// What attempts are counted by that could be guesses.
    pub guesses: Vec<RouteLimit>,
    /// How limits show in responses.
    pub rate_limit_fields: RateLimitFields,
    /// How requests are passed on.
    pub forwarding: Forwarding,
    /// What browsers may do; `None`: nothing that the upstream does not allow them.
    pub cors: Option<Cors>,
    /// How refusals are written.
    pub refusals: Refusals,
    /// Whose tokens are believed, and how ours are made.
    pub tokens: Option<Arc<Tokens>>,
    /// The secrets of webhooks.
    pub webhooks: Option<Arc<ArcSwap<Webhooks>>>,
    /// Bytes of content that may be signed.
    pub signed_bytes_max: u64,
}
