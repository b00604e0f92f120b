//! Every way in which the gateway itself says no.
//!
//! Each step of the road has an error type of its own, in its own words, for the log. Here they meet: [`Rejection`] is
//! all of them, and [`Rejection::row`] in [`table`] says for each the machine code (the same word in body, log and
//! metric), the status, and what the client is told.
//!
//! Never in this folder: how a refusal is written down. [`crate::gateway::refusal`] does that.

pub mod table;

use std::sync::atomic::{AtomicBool, Ordering};

pub use self::table::Row;
use crate::gateway::authentication::AuthenticationError;
use crate::gateway::authorization::AuthorizationError;
use crate::gateway::client_address::AddressUnreadable;
use crate::gateway::content::NotWhole;
use crate::gateway::credentials::CredentialsError;
use crate::gateway::environment::Misdirected;
use crate::gateway::hops::Circle;
use crate::gateway::message::{HeadTooLarge, MalformedMessage, UnknownExpectation};
use crate::gateway::operation::error::OperationError;
use crate::gateway::permission::Permission;
use crate::gateway::question::QuestionError;
use crate::gateway::rate_limit::RateLimited;
pub use crate::gateway::reason::Reason;
use crate::gateway::room::{AddressOverloaded, Overloaded};
use crate::gateway::route::NoRoute;
use crate::gateway::unread::UnreadHead;
use crate::gateway::upgrade::NotUpgradable;
use crate::gateway::upload::{Upload, UploadFailure};
use crate::gateway::upstream::UpstreamError;
use crate::identity::TokenError;
use crate::webhooks::SignatureError;

/// A refusal, with what led to it.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// As many requests are in flight as may be.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// As many requests of this client are in flight as may be.
    #[error(transparent)]
    AddressOverloaded(#[from] AddressOverloaded),
    /// The request's head was never read.
    #[error(transparent)]
    Unread(#[from] UnreadHead),
    /// The request's head contradicts itself or could be read in two ways.
    #[error(transparent)]
    Message(#[from] MalformedMessage),
    /// The request's head is larger than allowed.
    #[error(transparent)]
    Head(#[from] HeadTooLarge),
    /// A proxy asked about a request, and is not answered.
    #[error(transparent)]
    Question(#[from] QuestionError),
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
    /// The client expects what we cannot do.
    #[error(transparent)]
    Expectation(#[from] UnknownExpectation),
    /// The request goes round in a circle.
    #[error(transparent)]
    Circle(#[from] Circle),
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
    /// So much content is held for others that there is no room for this.
    #[error("there is no room for more content that has to be seen whole")]
    ContentCrowded,
    /// Another protocol was asked for that cannot be had.
    #[error(transparent)]
    Upgrade(#[from] NotUpgradable),
    /// The upstream is gone, and we are about to go. It has not seen the request.
    #[error("the upstream has ended before us: {0}")]
    Stopping(#[source] UpstreamError),
    /// The upstream did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An operation was not done.
    #[error(transparent)]
    Operation(#[from] OperationError),
}

impl Rejection {
    /// The permission that was missing, or would be needed besides.
    #[must_use]
    pub fn missing_permission(&self) -> Option<&str> {
        let permission = match self {
            Self::Authorization(AuthorizationError::PermissionMissing(permission)) => Some(permission),
            Self::Authorization(AuthorizationError::KeyNotAccepted { permission })
            | Self::Operation(OperationError::Tenant(permission)) => permission.as_ref(),
            Self::Overloaded(_)
            | Self::AddressOverloaded(_)
            | Self::Unread(_)
            | Self::Message(_)
            | Self::Head(_)
            | Self::Question(_)
            | Self::Address(_)
            | Self::Environment(_)
            | Self::Route(_)
            | Self::Credentials(_)
            | Self::Authentication(_)
            | Self::Authorization(_)
            | Self::RateLimited(_)
            | Self::Expectation(_)
            | Self::Circle(_)
            | Self::ContentTooLarge { .. }
            | Self::ContentStalled
            | Self::ContentBroken
            | Self::ContentCrowded
            | Self::Upgrade(_)
            | Self::Stopping(_)
            | Self::Upstream(_)
            | Self::Operation(_) => None,
        };
        permission.map(Permission::as_str)
    }

    /// The seconds that the client is asked to wait.
    #[must_use]
    pub const fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited(limited) => Some(limited.retry_after_seconds),
            Self::Overloaded(_)
            | Self::AddressOverloaded(_)
            | Self::ContentCrowded
            | Self::Stopping(_)
            | Self::Upstream(UpstreamError::Overloaded)
            | Self::Operation(OperationError::Busy(_))
            | Self::Authentication(AuthenticationError::Signature(SignatureError::Crowded)) => Some(1),
            Self::Unread(_)
            | Self::Message(_)
            | Self::Head(_)
            | Self::Question(_)
            | Self::Address(_)
            | Self::Environment(_)
            | Self::Route(_)
            | Self::Credentials(_)
            | Self::Authentication(_)
            | Self::Authorization(_)
            | Self::Expectation(_)
            | Self::Circle(_)
            | Self::ContentTooLarge { .. }
            | Self::ContentStalled
            | Self::ContentBroken
            | Self::Upgrade(_)
            | Self::Upstream(_)
            | Self::Operation(_) => None,
        }
    }

    /// Logs what an operator has to do something about: a request that was not the client's fault.
    pub fn tell_operator(&self, request_id: &str) {
        let reason = self.row().reason.word();
        if let Self::Operation(error @ OperationError::Unavailable(_)) = self {
            tracing::error!(request_id, reason, "an operation failed: {error}");
        }
        if let Self::Question(error @ (QuestionError::Unsaid(_) | QuestionError::Elsewhere)) = self {
            tracing::warn!(request_id, reason, "a check is not answered: {error}");
        }
        if let Self::Upstream(error) = self {
            tracing::warn!(request_id, reason, "the upstream failed: {error}");
        }
    }

    /// What is said to the client where the table's words are too general: which member of its content is wrong. Never its
    /// value.
    #[must_use]
    pub fn particulars(&self) -> Option<&str> {
        if let Self::Operation(OperationError::Malformed(what) | OperationError::Invalid(what)) = self {
            Some(what)
        } else {
            None
        }
    }

    /// Whether the request was to be believed on credentials that are not good. What an operation is told, a password for
    /// example, is none of them: no field was asked for it.
    #[must_use]
    pub const fn is_of_bad_credentials(&self) -> bool {
        matches!(
            self,
            Self::Credentials(CredentialsError::Malformed | CredentialsError::Conflict) | Self::Authentication(_)
        )
    }

    /// Whether the request may have been a guess at somebody's secret. Who shows a secret that is good but not accepted now,
    /// because its time is over for example, has not guessed it; and whoever delivers webhooks from one address does so
    /// for many, anybody among them.
    #[must_use]
    pub const fn is_of_guess(&self) -> bool {
        matches!(
            self,
            Self::Credentials(CredentialsError::Malformed)
                | Self::Authentication(AuthenticationError::Unknown | AuthenticationError::SessionEnded)
                | Self::Operation(OperationError::LoginFailed)
        ) || matches!(
            self,
            Self::Authentication(AuthenticationError::Token(error)) | Self::Operation(OperationError::RefreshRefused(error))
                if !matches!(error, TokenError::Expired | TokenError::NotYetValid)
        )
    }

    /// Whether a user's token was sent where tokens are accepted, and is not good.
    #[must_use]
    pub const fn is_of_bad_token(&self) -> bool {
        matches!(self, Self::Authentication(AuthenticationError::Token(_) | AuthenticationError::LoginEnded))
    }

    /// What it is where `draining` is set: of an API that ends with us, others of its kind are left, and nothing is wrong.
    #[must_use]
    pub fn while_draining(self, draining: &AtomicBool) -> Self {
        if !draining.load(Ordering::Relaxed) {
            return self;
        }
        if let Self::Upstream(error @ UpstreamError::Connect(_)) = self { Self::Stopping(error) } else { self }
    }

    /// The upstream's connection says only that the content broke off; the upload knows why.
    #[must_use]
    pub fn of_upstream(error: UpstreamError, upload: Option<&Upload>, bytes_max: u64) -> Self {
        let failure = upload.and_then(Upload::failure);
        failure.map_or(Self::Upstream(error), |failure| Self::of_upload(failure, bytes_max))
    }

    /// What an upload that ended early means.
    #[must_use]
    pub const fn of_upload(failure: UploadFailure, bytes_max: u64) -> Self {
        match failure {
            UploadFailure::TooLarge => Self::ContentTooLarge { bytes_max },
            UploadFailure::Stalled => Self::ContentStalled,
            UploadFailure::Broken => Self::ContentBroken,
        }
    }

    /// What it means that content could not be read whole.
    #[must_use]
    pub const fn of_content(failure: NotWhole, bytes_max: u64) -> Self {
        match failure {
            NotWhole::Upload(failure) => Self::of_upload(failure, bytes_max),
            NotWhole::Crowded => Self::ContentCrowded,
        }
    }
}
