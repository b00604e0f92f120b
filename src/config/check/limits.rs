//! Rules of limits.

use super::Checker;
use crate::config::file;
use crate::config::values::NamedLimit;
use crate::document::Path;
use crate::gateway::rate_limit::{RateLimitFields, Reset};
use crate::gateway::route::Counts;
use crate::limits::{Algorithm, Allowance};

impl Checker<'_> {
    /// Those that are good.
    pub(super) fn limits(&mut self, limits: &[file::Limit]) -> Vec<NamedLimit> {
        let list = Path::root().field("limits");
        let mut named = Vec::with_capacity(limits.len());
        for (index, limit) in limits.iter().enumerate() {
            let path = self.document.item(&list, index);
            let earlier = limits.iter().take(index).position(|other| other.name == limit.name);
            if let Some(earlier) = earlier {
                self.refuse(
                    &path.field("name"),
                    format!("is the name of `limits[{earlier}]` already; names must differ"),
                );
            }
            named.extend(self.limit(limit, &path));
        }
        named
    }

    fn limit(&mut self, limit: &file::Limit, path: &Path) -> Option<NamedLimit> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if !limit.name.bytes().all(plain) {
            self.refuse(&path.field("name"), "must be lower case letters, digits, `-` and `_`");
        }
        let counts = self.counts(limit, path);
        let allowance = self.allowance(limit, path);
        let buckets_max = usize::try_from(limit.buckets_max).unwrap_or(usize::MAX);
        Some(NamedLimit { name: limit.name.clone(), counts: counts?, allowance: allowance?, buckets_max })
    }

    fn counts(&mut self, limit: &file::Limit, path: &Path) -> Option<Counts> {
        match (limit.per, limit.count) {
            (file::Per::Key, file::Count::All) => Some(Counts::Key),
            (file::Per::User, file::Count::All) => Some(Counts::User),
            (file::Per::Address, file::Count::All) => Some(Counts::Address),
            (file::Per::Address, file::Count::Unauthenticated) => Some(Counts::UnauthenticatedAddress),
            (file::Per::Address, file::Count::Failures) => Some(Counts::FailuresOfAddress),
            (file::Per::User, file::Count::Tokens) => Some(Counts::UserToken),
            (file::Per::Key | file::Per::Address, file::Count::Tokens) => {
                self.refuse(&path.field("count"), "needs `per: user`: tokens are counted by whose they are");
                None
            }
            (file::Per::Key | file::Per::User, file::Count::Unauthenticated | file::Count::Failures) => {
                let message =
                    "needs `per: address`: without a valid credential there is neither key nor user to count by";
                self.refuse(&path.field("count"), message);
                None
            }
        }
    }

    fn allowance(&mut self, limit: &file::Limit, path: &Path) -> Option<Allowance> {
        let algorithm = match limit.algorithm {
            file::Algorithm::TokenBucket => Algorithm::TokenBucket,
            file::Algorithm::RollingWindow => Algorithm::RollingWindow,
        };
        match Allowance::new(algorithm, limit.requests, limit.window.get(), limit.burst) {
            Ok(allowance) => Some(allowance),
            Err(errors) => {
                for error in errors {
                    self.refuse(&path.field(error.field()), error.to_string());
                }
                None
            }
        }
    }
}

pub(super) const fn rate_limit_fields(written: &file::RateLimitFields) -> RateLimitFields {
    let reset = match written.reset {
        file::Reset::Epoch => Reset::Epoch,
        file::Reset::Delta => Reset::Delta,
    };
    RateLimitFields { reset, ietf: written.ietf }
}
