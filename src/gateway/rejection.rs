//! Every way in which the gateway itself says no, and the one table of what that means.
//!
//! Each step of the road has an error type of its own, in its own words, for the log. Here they meet: [`Rejection`] is
//! all of them, and [`Rejection::row`] says for each the machine code (the same word in body, log and metric), the
//! status, and what the client is told. No other file chooses a status.
//!
//! Never in this file: how a refusal is written down. [`super::refusal`] does that.

use http::StatusCode;

use super::authentication::AuthenticationError;
use super::authorization::AuthorizationError;
use super::body::{Upload, UploadFailure};
use super::client_address::AddressUnreadable;
use super::credentials::CredentialsError;
use super::environment::Misdirected;
use super::message::{HeadTooLarge, MalformedMessage};
use super::rate_limit::RateLimited;
use super::route::NoRoute;
use super::upstream::UpstreamError;

/// A refusal, with what led to it.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The request's head contradicts itself or could be read in two ways.
    #[error(transparent)]
    Message(#[from] MalformedMessage),
    /// The request's head is larger than allowed.
    #[error(transparent)]
    Head(#[from] HeadTooLarge),
    /// A trusted proxy passed on something that is not an address.
    #[error(transparent)]
    Address(#[from] AddressUnreadable),
    /// No environment answers under this host.
    #[error(transparent)]
    Environment(#[from] Misdirected),
    /// Nothing is configured for this path, or not for this method.
    #[error(transparent)]
    Route(#[from] NoRoute),
    /// The credentials are missing, malformed or contradictory.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The credentials are not good.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// The principal may not do this.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// A limit is spent.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The request's content is larger than allowed.
    #[error("the content is larger than {bytes_max} bytes")]
    ContentTooLarge {
        /// What is allowed, in bytes.
        bytes_max: u64,
    },
    /// The client stopped sending the request's content.
    #[error("the request's content stopped arriving")]
    ContentStalled,
    /// The client broke off the request's content, or its framing is wrong.
    #[error("the request's content broke off")]
    ContentBroken,
    /// The upstream did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// What a refusal says to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Stable machine code: the same word in body, log and metric.
    pub reason: Reason,
    /// Status of the response.
    pub status: StatusCode,
    /// What the client can do about it.
    pub detail: &'static str,
}

/// Makes [`Reason`], its words, and the list of them, from one table.
macro_rules! reasons {
    ($($variant:ident $word:literal,)*) => {
        /// Why a request was refused, as one word. The words are stable: they stand in bodies, logs and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $word, "`")] $variant,)*
        }

        impl Reason {
            /// All words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// All reasons, in the same order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason of a word.
            #[must_use]
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.word() == word)
            }

            /// The word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

reasons! {
    BadRequest "bad_request",
    ClientAddress "client_address",
    Misdirected "misdirected",
    NoRoute "no_route",
    MethodNotAllowed "method_not_allowed",
    CredentialsMissing "credentials_missing",
    CredentialsMalformed "credentials_malformed",
    CredentialsConflict "credentials_conflict",
    KeyUnknown "key_unknown",
    KeyExpired "key_expired",
    KeyNotYetValid "key_not_yet_valid",
    KeyInactive "key_inactive",
    KeyRevoked "key_revoked",
    AddressNotAllowed "address_not_allowed",
    PermissionMissing "permission_missing",
    RateLimited "rate_limited",
    ContentTooLarge "content_too_large",
    ContentTimeout "content_timeout",
    ContentBroken "content_broken",
    UpstreamUnreachable "upstream_unreachable",
    UpstreamConnectTimeout "upstream_connect_timeout",
    UpstreamOverloaded "upstream_overloaded",
    UpstreamTimeout "upstream_timeout",
    UpstreamReset "upstream_reset",
    UpstreamMalformed "upstream_malformed",
    HeadTimeout "head_timeout",
    HeadMalformed "head_malformed",
    HeadTooLarge "head_too_large",
    TargetTooLong "target_too_long",
    ClientGone "client_gone",
}

impl Rejection {
    /// The permission that was missing.
    #[must_use]
    pub fn missing_permission(&self) -> Option<&str> {
        if let Self::Authorization(AuthorizationError::PermissionMissing(permission)) = self {
            Some(permission.as_str())
        } else {
            None
        }
    }

    /// The seconds that the client is asked to wait.
    #[must_use]
    pub const fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited(limited) => Some(limited.retry_after_seconds),
            Self::Upstream(UpstreamError::Overloaded) => Some(1),
            Self::Message(_)
            | Self::Head(_)
            | Self::Address(_)
            | Self::Environment(_)
            | Self::Route(_)
            | Self::Credentials(_)
            | Self::Authentication(_)
            | Self::Authorization(_)
            | Self::ContentTooLarge { .. }
            | Self::ContentStalled
            | Self::ContentBroken
            | Self::Upstream(_) => None,
        }
    }

    /// The upstream's connection says only that the content broke off; the upload knows why.
    #[must_use]
    pub fn of_upstream(error: UpstreamError, upload: Option<&Upload>, bytes_max: u64) -> Self {
        match upload.and_then(Upload::failure) {
            Some(UploadFailure::TooLarge) => Self::ContentTooLarge { bytes_max },
            Some(UploadFailure::Stalled) => Self::ContentStalled,
            Some(UploadFailure::Broken) => Self::ContentBroken,
            None => Self::Upstream(error),
        }
    }

    /// The table. No `_` arm: a new rejection does not compile until its row is written.
    #[must_use]
    pub const fn row(&self) -> Row {
        match self {
            Self::Message(_) => {
                row(Reason::BadRequest, StatusCode::BAD_REQUEST, "The request is malformed or ambiguous")
            }
            // RFC 6585, section 5.
            Self::Head(_) => {
                row(Reason::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Send fewer or shorter fields")
            }
            Self::Address(_) => row(
                Reason::ClientAddress,
                StatusCode::BAD_REQUEST,
                "The client's address was passed on in a malformed field",
            ),
            // RFC 9110, section 15.5.20.
            Self::Environment(_) => {
                row(Reason::Misdirected, StatusCode::MISDIRECTED_REQUEST, "Nothing answers under this host here")
            }
            Self::Route(NoRoute::Method { .. }) => {
                row(Reason::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED, "This path has other methods")
            }
            Self::Route(NoRoute::Path) => row(Reason::NoRoute, StatusCode::NOT_FOUND, "Nothing answers at this path"),
            Self::Credentials(error) => credentials_row(error),
            Self::Authentication(error) => authentication_row(error),
            Self::Authorization(AuthorizationError::PermissionMissing(_)) => row(
                Reason::PermissionMissing,
                StatusCode::FORBIDDEN,
                "The credentials do not have the permission that this needs",
            ),
            Self::Authorization(AuthorizationError::AddressNotAllowed(_)) => {
                row(Reason::AddressNotAllowed, StatusCode::FORBIDDEN, "The key may not be used from this address")
            }
            // RFC 6585, section 4.
            Self::RateLimited(_) => row(
                Reason::RateLimited,
                StatusCode::TOO_MANY_REQUESTS,
                "Wait for as many seconds as the field Retry-After says",
            ),
            Self::ContentTooLarge { .. } => {
                row(Reason::ContentTooLarge, StatusCode::PAYLOAD_TOO_LARGE, "Send less content")
            }
            // RFC 9110, section 15.5.9.
            Self::ContentStalled => {
                row(Reason::ContentTimeout, StatusCode::REQUEST_TIMEOUT, "The content did not arrive in time")
            }
            Self::ContentBroken => {
                row(Reason::ContentBroken, StatusCode::BAD_REQUEST, "The content broke off or is malformed")
            }
            Self::Upstream(error) => upstream_row(error),
        }
    }
}

const fn credentials_row(error: &CredentialsError) -> Row {
    match error {
        CredentialsError::Missing => {
            row(Reason::CredentialsMissing, StatusCode::UNAUTHORIZED, "Send an API key with the request")
        }
        CredentialsError::Malformed => {
            row(Reason::CredentialsMalformed, StatusCode::UNAUTHORIZED, "What was sent is not an API key")
        }
        CredentialsError::Conflict => {
            row(Reason::CredentialsConflict, StatusCode::BAD_REQUEST, "Send one API key, once")
        }
    }
}

const fn authentication_row(error: &AuthenticationError) -> Row {
    match error {
        AuthenticationError::Unknown => {
            row(Reason::KeyUnknown, StatusCode::UNAUTHORIZED, "The API key is not known here")
        }
        AuthenticationError::Expired(_) => row(Reason::KeyExpired, StatusCode::UNAUTHORIZED, "The API key has expired"),
        AuthenticationError::NotYetValid(_) => {
            row(Reason::KeyNotYetValid, StatusCode::UNAUTHORIZED, "The API key is not valid yet")
        }
        AuthenticationError::Inactive(_) => {
            row(Reason::KeyInactive, StatusCode::UNAUTHORIZED, "The API key is not active")
        }
        AuthenticationError::Revoked(_) => {
            row(Reason::KeyRevoked, StatusCode::UNAUTHORIZED, "The API key has been revoked")
        }
    }
}

const fn upstream_row(error: &UpstreamError) -> Row {
    match error {
        UpstreamError::Connect(_) => {
            row(Reason::UpstreamUnreachable, StatusCode::BAD_GATEWAY, "The service cannot be reached")
        }
        UpstreamError::ConnectTimeout => {
            row(Reason::UpstreamConnectTimeout, StatusCode::GATEWAY_TIMEOUT, "The service cannot be reached in time")
        }
        UpstreamError::Overloaded => row(
            Reason::UpstreamOverloaded,
            StatusCode::SERVICE_UNAVAILABLE,
            "The service is busy; try again in a moment",
        ),
        UpstreamError::ResponseTimeout => {
            row(Reason::UpstreamTimeout, StatusCode::GATEWAY_TIMEOUT, "The service did not answer in time")
        }
        UpstreamError::Reset(_) => {
            row(Reason::UpstreamReset, StatusCode::BAD_GATEWAY, "The service broke off the connection")
        }
        UpstreamError::Malformed(_) | UpstreamError::Ambiguous => {
            row(Reason::UpstreamMalformed, StatusCode::BAD_GATEWAY, "The service's answer is malformed")
        }
        UpstreamError::Content(_) => {
            row(Reason::ContentBroken, StatusCode::BAD_REQUEST, "The content broke off or is malformed")
        }
    }
}

const fn row(reason: Reason, status: StatusCode, detail: &'static str) -> Row {
    Row { reason, status, detail }
}
