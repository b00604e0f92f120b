//! Deliveries of webhooks: whether they come from whom they say, whole, now, and once.
//!
//! ```text
//! fields -> scheme -> timestamp, id, signatures     nothing secret has a part in it
//!        -> secrets of provider, tenant, environment x signatures
//!        -> timestamp against the clock             only of what was signed well
//!        -> was it here before?                     leaves `Verified`
//! ```
//!
//! How a provider signs is described by configuration ([`Description`]); no provider is known here. A [`Webhooks`] is made
//! whole of schemes and secrets and exchanged whole at a reload; the memory of deliveries ([`Replays`]) outlives it.
//!
//! ```text
//! start    Webhooks::new(schemes, tolerance, file.load()?.parse(&schemes)?, replays)
//! reload   file.load()?, and if its fingerprint is another one: webhooks.with_secrets(contents.parse(..)?)
//! ```
//!
//! Never in this part: reading the body of a request, and what a client is told.
//!
//! The modules below are declared in the order in which they are best read.

mod description;
mod scheme;
mod signed;
mod encoding;
mod fields;
mod secrets;
mod material;
mod replay;
mod error;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

pub use self::description::{Algorithm, Description, KINDS_MAX, Kind, LabelEnd, Place, Replay, SecretForm, Separator};
pub use self::encoding::{Encoding, Written};
pub use self::error::{Part, SignatureError};
pub use self::fields::{FIELD_BYTES_MAX, ID_CHARS_MAX, MEMBERS_MAX, SIGNATURES_MAX};
pub use self::material::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};
pub use self::replay::{ENTRIES_MAX, ENTRIES_OF_ONE_MAX, Replays};
pub use self::scheme::{Fault, LABEL_CHARS_MAX, NAME_CHARS_MAX, Scheme, Schemes};
pub use self::secrets::{Contents, FILE_BYTES_MAX, Fingerprint, SECRETS_MAX, Secrets, SecretsFile};
pub use self::signed::{Signed, SignedError};

use self::fields::Told;
use self::material::{Content, any_has_signed};
use self::replay::Claim;
use crate::moment::Moment;
use crate::secret::Digest;

/// Schemes and secrets, as they stood at one moment.
#[derive(Debug)]
pub struct Webhooks {
    schemes: Schemes,
    tolerance: Duration,
    secrets: Secrets,
    replays: Arc<Replays>,
}

/// A delivery that may pass.
///
/// It is remembered for as long as this lives. Whoever has forwarded it says what is to become of that:
///
/// - [`Verified::keep`] once the upstream has taken it (an answer that its sender does not repeat it for, usually 2xx):
///   the same delivery is then refused until it would be too old.
/// - Dropped in any other case - 502, a time-out, a client that left, an upstream that answered 500: it is forgotten, and
///   passes when its sender repeats it. So an upstream sees each delivery once, except one whose end nobody knows.
#[derive(Debug)]
#[must_use = "a delivery that is dropped is forgotten, and may come again"]
pub struct Verified {
    claim: Option<Claim>,
}

impl Verified {
    /// Keeps the delivery in memory: it was delivered. Does nothing where a scheme has nothing to recognise one by.
    pub fn keep(self) {
        if let Some(claim) = self.claim {
            claim.keep();
        }
    }
}

impl Webhooks {
    /// Puts everything together.
    ///
    /// `tolerance` is how far the time of a delivery may be from ours, in both directions; what is below a second of it
    /// does not count.
    #[must_use]
    pub fn new(schemes: Schemes, tolerance: Duration, secrets: Secrets, replays: Arc<Replays>) -> Self {
        Self { schemes, tolerance, secrets, replays }
    }

    /// The same with other secrets, which were parsed for the same schemes.
    #[must_use]
    pub fn with_secrets(&self, secrets: Secrets) -> Self {
        Self { schemes: self.schemes.clone(), tolerance: self.tolerance, secrets, replays: Arc::clone(&self.replays) }
    }

    /// The schemes.
    #[must_use]
    pub const fn schemes(&self) -> &Schemes {
        &self.schemes
    }

    /// For how many tenants and environments there are secrets.
    #[must_use]
    pub fn secrets(&self) -> usize {
        self.secrets.len()
    }

    /// Says what can be said before the body is there, so that nobody need wait for the body of what is refused anyway.
    ///
    /// # Errors
    ///
    /// [`SignatureError::UnknownScheme`], [`SignatureError::Missing`] and [`SignatureError::Malformed`], as
    /// [`Webhooks::verify`] would.
    pub fn check_fields(&self, scheme_name: &str, fields: &HeaderMap) -> Result<(), SignatureError> {
        self.told(scheme_name, fields).map(drop)
    }

    /// Says whether a delivery may pass, and remembers it.
    ///
    /// `body` is the whole body, byte for byte. `tenant` and `environment` are empty where a request bears none.
    ///
    /// Costs one pass over the body for each secret of the tenant, and with Ed25519 for each of them and each signature:
    /// at most [`SECRETS_MAX`] times [`SIGNATURES_MAX`] passes.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]. Whether the time is right, and whether the delivery was here before, is said only of what was
    /// signed well.
    #[expect(clippy::too_many_arguments, reason = "each is another thing that is known of a request")]
    pub fn verify(
        &self,
        scheme_name: &str,
        tenant: &str,
        environment: &str,
        fields: &HeaderMap,
        body: &[u8],
        now: Moment,
    ) -> Result<Verified, SignatureError> {
        let (scheme, told) = self.told(scheme_name, fields)?;
        let owner = owner(scheme_name, tenant, environment);
        let secrets = self.secrets.of(&owner);
        let timestamp = told.timestamp.map(|(text, _)| text).unwrap_or_default();
        let content = Content::new(scheme.signed.pieces(told.id.unwrap_or_default(), timestamp, body));
        let good = any_has_signed(&scheme.kinds, secrets, &told.signatures, &content);
        if !good {
            return Err(if secrets.is_some() { SignatureError::Mismatch } else { SignatureError::NoSecret });
        }
        self.check_time(&told, now)?;
        let delivery = match scheme.replay {
            Replay::Off => return Ok(Verified { claim: None }),
            Replay::Id => digest_of(&[owner.bytes(), b"id", told.id.unwrap_or_default().as_bytes()]),
            // The bytes that were signed and not the signature: one delivery may bear several.
            Replay::Content => digest_of(&[owner.bytes(), b"content", content.digest().bytes()]),
        };
        let claim = self.replays.claim(owner, delivery, self.tolerance, now)?;
        Ok(Verified { claim: Some(claim) })
    }

    fn told<'a>(&self, scheme_name: &str, fields: &'a HeaderMap) -> Result<(&Scheme, Told<'a>), SignatureError> {
        let scheme = self.schemes.find(scheme_name).ok_or(SignatureError::UnknownScheme)?;
        Ok((scheme, fields::read(scheme, fields)?))
    }

    fn check_time(&self, told: &Told<'_>, now: Moment) -> Result<(), SignatureError> {
        let Some((_, sent)) = told.timestamp else { return Ok(()) };
        let (now, tolerance) = (now.unix_seconds(), self.tolerance.as_secs());
        if now.saturating_sub(sent) > tolerance {
            return Err(SignatureError::TooOld);
        }
        if sent.saturating_sub(now) > tolerance { Err(SignatureError::TooNew) } else { Ok(()) }
    }
}

/// Whose secrets, and whose deliveries: a provider's for one tenant in one environment.
fn owner(provider: &str, tenant: &str, environment: &str) -> Digest {
    digest_of(&[provider.as_bytes(), tenant.as_bytes(), environment.as_bytes()])
}

/// The SHA-256 of some parts with their lengths, so that no two lists look alike.
fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Digest::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests;
