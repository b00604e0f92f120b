//! Whether the client has asked often enough for now.
//!
//! Several limits may count one request. It passes only if all of them let it; what was taken from the first ones is
//! given back when a later one refuses.
//!
//! Never in this file: how is counted. The `limits` part does that.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::authentication::Principal;
use super::authorization::Permit;
use super::client_address::ClientAddress;
use super::route::{Counts, RouteLimit};
use super::scrap::Scrap;
use crate::address::AddressBlock;
use crate::limits::{Allowance, Exceeded, Quota, Subject};
use crate::moment::Moment;

/// A limit is spent.
#[derive(Debug, thiserror::Error)]
#[error("limit {limit} is spent for {retry_after_seconds} s")]
pub struct RateLimited {
    /// The limit's name.
    pub limit: String,
    /// What is left, for the fields of the response.
    pub quota: Quota,
    /// Whole seconds until it is worth asking again, rounded up, at least 1 (RFC 9110, section 10.2.3).
    pub retry_after_seconds: u64,
}

/// The proof that a request may go on to the upstream. Only [`admit`] makes one.
pub struct Admission<'p> {
    permit: Permit<'p>,
    quota: Option<Quota>,
}

impl<'p> Admission<'p> {
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &Permit<'p> {
        &self.permit
    }

    /// What is left of the most constrained limit, if any counted this request.
    #[must_use]
    pub const fn quota(&self) -> Option<Quota> {
        self.quota
    }
}

/// Takes one request out of every limit of the permitted route.
///
/// # Errors
///
/// [`RateLimited`] by the first limit that is spent; nothing was taken then.
pub fn admit(permit: Permit<'_>, now: Moment) -> Result<Admission<'_>, RateLimited> {
    let quota = take_all(&permit.route().limits, now, |applied| applied.of(permit.principal(), permit.client()))?;
    Ok(Admission { permit, quota })
}

/// Says what is left for a principal without taking anything, for a response that was refused on other grounds.
#[must_use]
pub fn peek(limits: &[RouteLimit], principal: &Principal, client: ClientAddress, now: Moment) -> Option<Quota> {
    let quotas = limits.iter().filter_map(|applied| {
        let (subject, allowance) = applied.of(principal, client)?;
        Some(applied.limit.peek(subject, &allowance, now))
    });
    quotas.reduce(|first, second| tighter(Some(first), second))
}

/// Takes a request that nobody knows whom it is from out of what its address may send: of everything, and of that.
///
/// # Errors
///
/// [`RateLimited`] by the first limit that is spent; nothing was taken then. Guessing keys is then answered with 429,
/// not 401.
pub fn charge_unauthenticated(
    limits: &[RouteLimit],
    client: IpAddr,
    now: Moment,
) -> Result<Option<Quota>, RateLimited> {
    take_all(limits, now, |applied| match applied.counts {
        Counts::Address | Counts::UnauthenticatedAddress => Some((applied.addresses(client), applied.allowance)),
        Counts::Key | Counts::User | Counts::UserToken | Counts::FailuresOfAddress => None,
    })
}

/// Refuses an attempt to authenticate, before anything is looked up for it, from an address whose allowance of failed ones
/// is spent.
///
/// A good key is refused as well: to find out that it is good is what must not be done any more. Costs a load where nobody
/// has failed yet.
///
/// # Errors
///
/// [`RateLimited`] by the first limit that is spent.
pub fn refuse_guesses(limits: &[RouteLimit], client: IpAddr, now: Moment) -> Result<(), RateLimited> {
    limits.iter().try_for_each(|applied| {
        let checked = applied.limit.check(applied.addresses(client), &applied.allowance, now);
        checked.map_err(|exceeded| applied.spent(&exceeded))
    })
}

/// Takes a failed attempt to authenticate out of what its address may fail.
///
/// # Errors
///
/// [`RateLimited`] if others have failed in the meantime, and nothing is left.
pub fn charge_guess(limits: &[RouteLimit], client: IpAddr, now: Moment) -> Result<Option<Quota>, RateLimited> {
    take_all(limits, now, |applied| Some((applied.addresses(client), applied.allowance)))
}

/// Takes one request out of every limit that counts it, or out of none.
fn take_all(
    limits: &[RouteLimit],
    now: Moment,
    counted: impl Fn(&RouteLimit) -> Option<(Subject, Allowance)>,
) -> Result<Option<Quota>, RateLimited> {
    let mut tightest = None;
    for (index, applied) in limits.iter().enumerate() {
        let Some((subject, allowance)) = counted(applied) else { continue };
        match applied.take(subject, &allowance, now) {
            Ok(quota) => tightest = Some(tighter(tightest, quota)),
            Err(limited) => {
                for taken in limits.iter().take(index) {
                    if let Some((subject, allowance)) = counted(taken) {
                        taken.limit.give_back(subject, &allowance, taken.cost, now);
                    }
                }
                return Err(limited);
            }
        }
    }
    Ok(tightest)
}

impl RouteLimit {
    /// Who is counted here, and what it is allowed; `None` if this limit does not count such a principal.
    fn of(&self, principal: &Principal, client: ClientAddress) -> Option<(Subject, Allowance)> {
        match self.counts {
            Counts::Key => {
                let key = principal.key()?;
                let granted =
                    key.rate_limit().map_or(self.allowance, |requests| self.allowance.with_requests(requests));
                Some((Subject::from_hash(key.lineage_hash()), granted))
            }
            Counts::User => {
                let by_token = principal.user().map(|user| user.hash);
                let user = by_token.or_else(|| principal.key().and_then(|key| key.user_hash()))?;
                Some((Subject::from_hash(user), self.allowance))
            }
            Counts::UserToken => Some((Subject::from_hash(principal.user()?.hash), self.allowance)),
            Counts::Address => Some((self.addresses(client.ip()), self.allowance)),
            Counts::FailuresOfAddress => None,
            Counts::UnauthenticatedAddress => {
                principal.is_anonymous().then(|| (self.addresses(client.ip()), self.allowance))
            }
        }
    }

    /// The subject of a client address.
    fn addresses(&self, client: IpAddr) -> Subject {
        Subject::addresses(AddressBlock::of(client, self.ipv6_prefix_bits))
    }

    fn take(&self, subject: Subject, allowance: &Allowance, now: Moment) -> Result<Quota, RateLimited> {
        self.limit.take(subject, allowance, self.cost, now).map_err(|exceeded| self.spent(&exceeded))
    }

    fn spent(&self, exceeded: &Exceeded) -> RateLimited {
        RateLimited {
            limit: self.limit.name().to_owned(),
            quota: exceeded.quota,
            retry_after_seconds: exceeded.retry_after_seconds,
        }
    }
}

/// The quota with less left.
fn tighter(first: Option<Quota>, second: Quota) -> Quota {
    match first {
        Some(first) if first.remaining <= second.remaining => first,
        Some(_) | None => second,
    }
}

/// How the response says when a limit is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// As seconds since the Unix epoch.
    Epoch,
    /// As seconds from now.
    Delta,
}

/// How the limits show in responses.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitFields {
    /// What `X-RateLimit-Reset` counts.
    pub reset: Reset,
    /// Whether `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) are sent as well.
    pub ietf: bool,
}

const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl RateLimitFields {
    /// Writes `quota` into the fields of a response, in place of whatever an upstream wrote there.
    pub fn write(self, fields: &mut HeaderMap, quota: Quota, now: Moment) {
        let reset = match self.reset {
            Reset::Epoch => whole_seconds_up(Duration::from_nanos(now.unix_ns).saturating_add(quota.reset_after)),
            Reset::Delta => whole_seconds_up(quota.reset_after),
        };
        let [limit, remaining, reset] = decimal([quota.limit, quota.remaining, reset]);
        fields.insert(X_RATELIMIT_LIMIT, limit);
        fields.insert(X_RATELIMIT_REMAINING, remaining);
        fields.insert(X_RATELIMIT_RESET, reset);
        if self.ietf {
            let left = format!("\"default\";r={};t={}", quota.remaining, whole_seconds_up(quota.reset_after));
            let policy = format!("\"default\";q={}", quota.limit);
            for (name, text) in [(RATELIMIT, left), (RATELIMIT_POLICY, policy)] {
                if let Ok(value) = HeaderValue::try_from(text) {
                    fields.insert(name, value);
                }
            }
        }
    }
}

/// Three numbers as values of fields.
fn decimal(numbers: [u64; 3]) -> [HeaderValue; 3] {
    /// Digits of the largest number.
    const DIGITS_MAX: usize = 20;
    let mut text = Scrap::<{ 3 * DIGITS_MAX }>::begin();
    let mut digits = itoa::Buffer::new();
    let parts = numbers.map(|number| {
        let start = text.length();
        text.push(digits.format(number).as_bytes());
        start..text.length()
    });
    let text = text.finish();
    parts.map(|part| text.part(part))
}

/// Seconds, rounded up: a client that comes back when we say must not come too early.
const fn whole_seconds_up(duration: Duration) -> u64 {
    duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64)
}
