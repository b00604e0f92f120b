//! Who may manage: whoever has the admin token.
//!
//! The token itself is nowhere; its SHA-256 is compared in constant time. Wrong ones are answered with 401, and with
//! 429 when there are too many of them. The right one is let in at all times: otherwise whoever reaches the door could
//! lock out everybody else. So the limit keeps the noise down; what keeps guessers out is that a token has at least 128
//! random bits.

use std::sync::Mutex;
use std::sync::PoisonError;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::refusal::{Code, Problem};
use crate::secret::Digest;

/// Wrong credentials that are answered with 401 in a second; further ones are 429.
const FAILURES_PER_SECOND: u32 = 10;

/// Bytes of a credential that are looked at.
const TOKEN_BYTES_MAX: usize = 4096;

/// Compares credentials.
pub(super) struct Gate {
    credential: Digest,
    failures: Mutex<Failures>,
}

/// Wrong credentials of one second.
#[derive(Default)]
struct Failures {
    second: u64,
    count: u32,
}

impl Gate {
    pub(super) const fn new(credential: Digest) -> Self {
        Self { credential, failures: Mutex::new(Failures { second: 0, count: 0 }) }
    }

    /// Lets a request in whose head has the right credential. `now_ns` is of the monotonic clock.
    pub(super) fn check(&self, fields: &HeaderMap, now_ns: u64) -> Result<(), Problem> {
        let mut values = fields.get_all(AUTHORIZATION).iter();
        let (Some(value), more) = (values.next(), values.next()) else {
            let detail = "Send the admin token: `Authorization: Bearer <token>` (RFC 6750, section 2.1).";
            return Err(Problem::new(Code::MissingCredential, detail));
        };
        let token = token_of(value.as_bytes()).filter(|_| more.is_none());
        if token.is_some_and(|token| self.is_right(token)) {
            return Ok(());
        }
        if self.too_many(now_ns / 1_000_000_000) {
            return Err(Problem::new(Code::TooManyFailures, "Wait, and send the right admin token."));
        }
        let detail = "Send the admin token, once: `Authorization: Bearer <token>` (RFC 6750, section 2.1).";
        Err(Problem::new(Code::WrongCredential, detail))
    }

    fn is_right(&self, token: &[u8]) -> bool {
        Digest::of(token).bytes().ct_eq(self.credential.bytes()).into()
    }

    /// Counts a wrong credential; says whether there were too many in this second already.
    fn too_many(&self, second: u64) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.second != second {
            *failures = Failures { second, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        failures.count > FAILURES_PER_SECOND
    }
}

/// What stands behind `Bearer`, in letters of any case.
fn token_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && (1..=TOKEN_BYTES_MAX).contains(&token.len())).then_some(token)
}
