//! Why a delivery is not believed.

use std::fmt;

/// What of a delivery an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The signatures.
    Signature,
    /// The time at which it was sent.
    Timestamp,
    /// Its id.
    Id,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Signature => "signature",
            Self::Timestamp => "timestamp",
            Self::Id => "id",
        })
    }
}

/// Why a delivery is not believed.
///
/// For the log. The client is told less: [`SignatureError::NoSecret`] and [`SignatureError::Mismatch`] must be answered
/// alike, byte for byte, or anybody could find out which tenants there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No scheme has this name. The configuration decides about that alone, so the client may be told.
    #[error("there is no scheme of this name")]
    UnknownScheme,
    /// There is no secret for this tenant and environment. Takes as long as [`SignatureError::Mismatch`] with one secret.
    #[error("there is no secret for this tenant and environment")]
    NoSecret,
    /// A field, or a member of one, is not there; of signatures: none of a kind that is known.
    #[error("the {0} is missing")]
    Missing(Part),
    /// It is there twice, or not written as it must be, or too long.
    #[error("the {0} is malformed")]
    Malformed(Part),
    /// No signature fits any secret.
    #[error("no signature fits")]
    Mismatch,
    /// It was sent longer ago than the tolerance allows. Only said of what was signed well.
    #[error("it was sent too long ago")]
    TooOld,
    /// It was sent further in the future than the tolerance allows. Only said of what was signed well.
    #[error("it was sent in the future")]
    TooNew,
    /// The same delivery was here before, or is being forwarded now. Only said of what was signed well.
    #[error("it was delivered before")]
    Replayed,
    /// So many deliveries are remembered that this one could not be, and might be repeated. Only said of what was signed
    /// well; the sender may try again.
    #[error("too many deliveries are remembered")]
    Crowded,
}
