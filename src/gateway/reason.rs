//! The words for why a request was refused: the same in body, log and metric. What each means is the table in
//! [`super::rejection`].

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
    Overloaded "overloaded",
    AddressOverloaded "address_overloaded",
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
    KeyNotAccepted "key_not_accepted",
    TokenNotAccepted "token_not_accepted",
    TokenInvalid "token_invalid",
    TokenExpired "token_expired",
    TokenReused "token_reused",
    LoginEnded "login_ended",
    LoginFailed "login_failed",
    LoginOverloaded "login_overloaded",
    SessionEnded "session_ended",
    SignatureInvalid "signature_invalid",
    SignatureExpired "signature_expired",
    DeliveryRepeated "delivery_repeated",
    DeliveryOverloaded "delivery_overloaded",
    TenantNotAllowed "tenant_not_allowed",
    AddressNotAllowed "address_not_allowed",
    PermissionMissing "permission_missing",
    RateLimited "rate_limited",
    CheckNotAllowed "check_not_allowed",
    CheckMalformed "check_malformed",
    CheckImpossible "check_impossible",
    ExpectationFailed "expectation_failed",
    LoopDetected "loop_detected",
    ContentTooLarge "content_too_large",
    ContentTimeout "content_timeout",
    ContentBroken "content_broken",
    ContentUnsupported "content_unsupported",
    ContentMalformed "content_malformed",
    ContentInvalid "content_invalid",
    ContentOverloaded "content_overloaded",
    KeyNotFound "key_not_found",
    TooManyKeys "too_many_keys",
    TooManySessions "too_many_sessions",
    StoreUnavailable "store_unavailable",
    UpgradeUnsupported "upgrade_unsupported",
    UpstreamUnreachable "upstream_unreachable",
    UpstreamStopped "upstream_stopped",
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
