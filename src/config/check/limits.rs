//! Rules of limits.

use std::time::Duration;

use super::Checker;
use crate::config::file::{Algorithm, Count, Limit, Per, RateLimitFields, Reset};
use crate::config::values::{AlgorithmValue, CountedRequests, LimitSubject, LimitValues, RateLimitFieldValues};
use crate::document::Path;

/// The longest window.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The most requests a rolling window may have: each is remembered.
const ROLLING_REQUESTS_MAX: u64 = 100_000;

/// The longest time in which an empty bucket may become full.
const REFILL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Checker<'_> {
    pub(super) fn limits(&mut self, limits: &[Limit]) -> Vec<LimitValues> {
        let list = Path::root().field("limits");
        for (index, limit) in limits.iter().enumerate() {
            let path = self.document.item(&list, index);
            let earlier = limits.iter().take(index).position(|other| other.name == limit.name);
            if let Some(earlier) = earlier {
                self.refuse(
                    &path.field("name"),
                    format!("is the name of `limits[{earlier}]` already; names must differ"),
                );
            }
            self.limit(limit, &path);
        }
        limits.iter().map(values).collect()
    }

    fn limit(&mut self, limit: &Limit, path: &Path) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if !limit.name.bytes().all(plain) {
            self.refuse(&path.field("name"), "must be lower case letters, digits, `-` and `_`");
        }
        if limit.count == Count::Unauthenticated && limit.per != Per::Address {
            let message = "needs `per: address`: without a valid credential there is neither key nor user to count by";
            self.refuse(&path.field("count"), message);
        }
        let window = limit.window.get();
        if window.is_zero() {
            self.refuse(&path.field("window"), "must be longer than `0s`");
        }
        if window > WINDOW_MAX {
            self.refuse(&path.field("window"), "must be at most 366 days (`366d`)");
        }
        match limit.algorithm {
            Algorithm::TokenBucket => {
                let burst = limit.burst.unwrap_or(limit.requests);
                if window.as_nanos() * u128::from(burst) > REFILL_MAX.as_nanos() * u128::from(limit.requests) {
                    let message = "would take longer than 100 years to fill again; make it smaller";
                    self.refuse(&path.field("burst"), message);
                }
            }
            Algorithm::RollingWindow => {
                if limit.burst.is_some() {
                    let message = "has no meaning for a rolling window, which never admits more than `requests`; leave it \
                                   out, or write `algorithm: token_bucket`";
                    self.refuse(&path.field("burst"), message);
                }
                if limit.requests > ROLLING_REQUESTS_MAX {
                    let message = "must be at most 100000 for a rolling window, which remembers each; write `algorithm: \
                                   token_bucket` for more";
                    self.refuse(&path.field("requests"), message);
                }
            }
        }
    }

    pub(super) fn rate_limit_fields(fields: &RateLimitFields) -> RateLimitFieldValues {
        RateLimitFieldValues { reset_delta: fields.reset == Reset::Delta, ietf: fields.ietf }
    }
}

fn values(limit: &Limit) -> LimitValues {
    LimitValues {
        name: limit.name.clone(),
        per: match limit.per {
            Per::Key => LimitSubject::Key,
            Per::User => LimitSubject::User,
            Per::Address => LimitSubject::Address,
        },
        count: match limit.count {
            Count::All => CountedRequests::All,
            Count::Unauthenticated => CountedRequests::Unauthenticated,
        },
        requests: limit.requests,
        window: limit.window.get(),
        algorithm: match limit.algorithm {
            Algorithm::TokenBucket => AlgorithmValue::TokenBucket,
            Algorithm::RollingWindow => AlgorithmValue::RollingWindow,
        },
        burst: match limit.algorithm {
            Algorithm::TokenBucket => Some(limit.burst.unwrap_or(limit.requests)),
            Algorithm::RollingWindow => None,
        },
        buckets_max: usize::try_from(limit.buckets_max).unwrap_or(usize::MAX),
    }
}
