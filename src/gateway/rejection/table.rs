//! The one table of what each refusal means: its word, its status, and what the client is told.
//!
//! No other file chooses a status.

use http::StatusCode;

use super::{Reason, Rejection};
use crate::gateway::authentication::AuthenticationError;
use crate::gateway::authorization::AuthorizationError;
use crate::gateway::credentials::CredentialsError;
use crate::gateway::operation::error::OperationError;
use crate::gateway::question::QuestionError;
use crate::gateway::route::NoRoute;
use crate::gateway::unread::UnreadHead;
use crate::gateway::upstream::UpstreamError;
use crate::identity::TokenError;
use crate::webhooks::SignatureError;

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

impl Rejection {
    /// The table. No `_` arm: a new rejection does not compile until its row is written.
    #[must_use]
    pub const fn row(&self) -> Row {
        match self {
            Self::Overloaded(_) => {
                unavailable(Reason::Overloaded, "Too many requests are being answered; try again in a moment")
            }
            Self::AddressOverloaded(_) => unavailable(
                Reason::AddressOverloaded,
                "Too many requests from your address are being answered; try again in a moment",
            ),
            Self::Unread(head) => unread_row(*head),
            Self::Message(_) | Self::Route(NoRoute::Disputed) => {
                row(Reason::BadRequest, StatusCode::BAD_REQUEST, "The request is malformed or ambiguous")
            }
            // RFC 6585, section 5.
            Self::Head(_) => {
                row(Reason::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Send fewer or shorter fields")
            }
            Self::Question(error) => question_row(error),
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
            Self::Authorization(error) => authorization_row(error),
            // RFC 6585, section 4.
            Self::RateLimited(_) => row(
                Reason::RateLimited,
                StatusCode::TOO_MANY_REQUESTS,
                "Wait for as many seconds as the field Retry-After says",
            ),
            // RFC 9110, section 15.5.18.
            Self::Expectation(_) => row(
                Reason::ExpectationFailed,
                StatusCode::EXPECTATION_FAILED,
                "Nothing but 100-continue can be expected here",
            ),
            // RFC 5842, section 7.2.
            Self::Circle(_) => {
                row(Reason::LoopDetected, StatusCode::LOOP_DETECTED, "The request came back to where it was before")
            }
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
            Self::ContentCrowded => {
                unavailable(Reason::ContentOverloaded, "Too much is being sent; try again in a moment")
            }
            // RFC 9110, section 15.6.2, as RFC 9220, section 3, has it for the same request in HTTP/3.
            Self::Upgrade(_) => row(
                Reason::UpgradeUnsupported,
                StatusCode::NOT_IMPLEMENTED,
                "This path does not go on in another protocol",
            ),
            Self::Stopping(_) => {
                unavailable(Reason::UpstreamStopped, "The service is about to end here; try again in a moment")
            }
            Self::Upstream(error) => upstream_row(error),
            Self::Operation(error) => operation_row(error),
        }
    }
}

const fn question_row(error: &QuestionError) -> Row {
    match error {
        QuestionError::Stranger(_) => {
            row(Reason::CheckNotAllowed, StatusCode::FORBIDDEN, "Checks are answered to known proxies alone")
        }
        QuestionError::Unsaid(_) | QuestionError::Elsewhere => row(
            Reason::CheckMalformed,
            StatusCode::BAD_REQUEST,
            "The proxy in front does not say which request it asks about",
        ),
        QuestionError::Undecidable => row(
            Reason::CheckImpossible,
            StatusCode::NOT_IMPLEMENTED,
            "Such a request has to be sent through the gateway itself",
        ),
    }
}

const fn unread_row(head: UnreadHead) -> Row {
    match head {
        UnreadHead::Malformed => {
            row(Reason::HeadMalformed, StatusCode::BAD_REQUEST, "The head of the request is not HTTP")
        }
        UnreadHead::TooLarge => {
            row(Reason::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Send fewer or shorter fields")
        }
        UnreadHead::TargetTooLong => row(Reason::TargetTooLong, StatusCode::URI_TOO_LONG, "Ask for a shorter path"),
        UnreadHead::Late => {
            row(Reason::HeadTimeout, StatusCode::REQUEST_TIMEOUT, "The head of the request did not arrive in time")
        }
    }
}

const fn credentials_row(error: &CredentialsError) -> Row {
    match error {
        CredentialsError::Missing => {
            row(Reason::CredentialsMissing, StatusCode::UNAUTHORIZED, "Send credentials with the request")
        }
        CredentialsError::Malformed => {
            row(Reason::CredentialsMalformed, StatusCode::UNAUTHORIZED, "What was sent cannot be good credentials")
        }
        CredentialsError::Conflict => {
            row(Reason::CredentialsConflict, StatusCode::BAD_REQUEST, "Send one credential, once")
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
        AuthenticationError::TokenNotAccepted => {
            row(Reason::TokenNotAccepted, StatusCode::UNAUTHORIZED, "Tokens are not accepted here")
        }
        AuthenticationError::Token(TokenError::Expired) => {
            row(Reason::TokenExpired, StatusCode::UNAUTHORIZED, "The token has expired")
        }
        AuthenticationError::Token(_) => row(Reason::TokenInvalid, StatusCode::UNAUTHORIZED, "The token is not valid"),
        AuthenticationError::LoginEnded => {
            row(Reason::LoginEnded, StatusCode::UNAUTHORIZED, "The login of the token has ended")
        }
        AuthenticationError::SessionEnded => {
            row(Reason::SessionEnded, StatusCode::UNAUTHORIZED, "The session has ended")
        }
        AuthenticationError::Signature(error) => signature_row(*error),
    }
}

const fn authorization_row(error: &AuthorizationError) -> Row {
    match error {
        AuthorizationError::KeyNotAccepted { .. } => {
            row(Reason::KeyNotAccepted, StatusCode::FORBIDDEN, "API keys are not accepted here")
        }
        AuthorizationError::PermissionMissing(_) => row(
            Reason::PermissionMissing,
            StatusCode::FORBIDDEN,
            "The credentials do not have the permission that this needs",
        ),
        AuthorizationError::AddressNotAllowed(_) => {
            row(Reason::AddressNotAllowed, StatusCode::FORBIDDEN, "The key may not be used from this address")
        }
    }
}

/// A tenant without secrets is answered like a signature that does not fit: nobody learns which tenants there are.
const fn signature_row(error: SignatureError) -> Row {
    match error {
        SignatureError::UnknownScheme => row(Reason::NoRoute, StatusCode::NOT_FOUND, "Nothing answers at this path"),
        SignatureError::NoSecret
        | SignatureError::Missing(_)
        | SignatureError::Malformed(_)
        | SignatureError::Mismatch => {
            row(Reason::SignatureInvalid, StatusCode::UNAUTHORIZED, "The signature is not valid")
        }
        SignatureError::TooOld | SignatureError::TooNew => row(
            Reason::SignatureExpired,
            StatusCode::UNAUTHORIZED,
            "The content was signed too long ago, or in the future",
        ),
        SignatureError::Replayed => {
            row(Reason::DeliveryRepeated, StatusCode::CONFLICT, "The same content was delivered before")
        }
        SignatureError::Crowded => {
            unavailable(Reason::DeliveryOverloaded, "Too much is being delivered; try again in a moment")
        }
    }
}

const fn operation_row(error: &OperationError) -> Row {
    match error {
        // RFC 9110, section 15.5.16.
        OperationError::MediaType => {
            row(Reason::ContentUnsupported, StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send JSON, as `application/json`")
        }
        OperationError::Malformed(_) => {
            row(Reason::ContentMalformed, StatusCode::BAD_REQUEST, "The content is not JSON")
        }
        // RFC 9110, section 15.5.21.
        OperationError::Invalid(_) => {
            row(Reason::ContentInvalid, StatusCode::UNPROCESSABLE_ENTITY, "The content is not what is asked for")
        }
        OperationError::LoginFailed => {
            row(Reason::LoginFailed, StatusCode::UNAUTHORIZED, "Login or password are not right")
        }
        OperationError::RefreshRefused(TokenError::Expired) => {
            row(Reason::TokenExpired, StatusCode::UNAUTHORIZED, "The token has expired")
        }
        OperationError::RefreshRefused(_) => {
            row(Reason::TokenInvalid, StatusCode::UNAUTHORIZED, "The token is not valid")
        }
        OperationError::LoginEnded => {
            row(Reason::LoginEnded, StatusCode::UNAUTHORIZED, "The login of the token has ended")
        }
        OperationError::Busy(_) => {
            unavailable(Reason::LoginOverloaded, "Too many log in at once; try again in a moment")
        }
        OperationError::TokenReused => {
            row(Reason::TokenReused, StatusCode::UNAUTHORIZED, "The token was used before, and its login has ended")
        }
        OperationError::Tenant(_) => {
            row(Reason::TenantNotAllowed, StatusCode::FORBIDDEN, "The credentials are for another tenant")
        }
        OperationError::NoKey => row(Reason::KeyNotFound, StatusCode::NOT_FOUND, "There is no such key"),
        OperationError::TooManyKeys => {
            row(Reason::TooManyKeys, StatusCode::CONFLICT, "There are as many keys as there may be; delete some first")
        }
        OperationError::TooManySessions => {
            unavailable(Reason::TooManySessions, "There are as many sessions as there may be; try again later")
        }
        OperationError::Unavailable(_) => {
            unavailable(Reason::StoreUnavailable, "This cannot be done now; try again later")
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
        UpstreamError::Overloaded => {
            unavailable(Reason::UpstreamOverloaded, "The service is busy; try again in a moment")
        }
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

const fn unavailable(reason: Reason, detail: &'static str) -> Row {
    row(reason, StatusCode::SERVICE_UNAVAILABLE, detail)
}

const fn row(reason: Reason, status: StatusCode, detail: &'static str) -> Row {
    Row { reason, status, detail }
}
