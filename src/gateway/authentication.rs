//! Whom the credentials stand for.
//!
//! Every kind of credentials has one function here that says whether they are good now, and what they stand for. All of it
//! is answered from memory: keys, users, logins and sessions as the store had them, tokens by the keys of their issuers.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};

use super::credentials::{Credentials, CredentialsError};
use super::environment::Environment;
use super::parameter::Word;
use super::rejection::Rejection;
use super::route::{Accepted, Access, Route, Signed};
use crate::identity::{Directory, Issuer, Session, TokenError, Tokens, User};
use crate::keys::{Key, KeyStore, SecretFormat, Standing};
use crate::moment::Moment;
use crate::secret::Digest;
use crate::webhooks::{SignatureError, Verified, Webhooks};

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No key has this digest.
    #[error("no key has this digest")]
    Unknown,
    /// The key's time is over.
    #[error("key {0} has expired")]
    Expired(Arc<str>),
    /// The key's time has not come.
    #[error("key {0} is not valid yet")]
    NotYetValid(Arc<str>),
    /// The key is switched off.
    #[error("key {0} is inactive")]
    Inactive(Arc<str>),
    /// The key was taken back for good.
    #[error("key {0} is revoked")]
    Revoked(Arc<str>),
    /// A token was offered where none is accepted.
    #[error("tokens are not accepted here")]
    TokenNotAccepted,
    /// The token is not good.
    #[error("the token is not good: {0}")]
    Token(TokenError),
    /// The token was good, and the login it belongs to has ended.
    #[error("the login of the token has ended")]
    LoginEnded,
    /// No session has this token, or it is over.
    #[error("the session has ended, or never was")]
    SessionEnded,
    /// The signature is missing or not good.
    #[error("the signature is not good: {0}")]
    Signature(SignatureError),
}

impl AuthenticationError {
    /// The id of the key that was refused, if there is one of that digest.
    #[must_use]
    pub const fn key_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Expired(id) | Self::NotYetValid(id) | Self::Inactive(id) | Self::Revoked(id) => Some(id),
            Self::Unknown
            | Self::TokenNotAccepted
            | Self::Token(_)
            | Self::LoginEnded
            | Self::SessionEnded
            | Self::Signature(_) => None,
        }
    }
}

/// What credentials are held against.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// The keys in force.
    pub keys: &'k KeyStore,
    /// What our own keys look like.
    pub format: &'k SecretFormat,
    /// The users, logins and sessions in force.
    pub directory: &'k Directory,
    /// Whose tokens are believed.
    pub tokens: Option<&'k Tokens>,
    /// The secrets of webhooks.
    pub webhooks: Option<&'k ArcSwap<Webhooks>>,
    /// The world that the request is for.
    pub environment: &'k Environment,
    /// When it arrived.
    pub now: Moment,
}

/// Whom a request is from. Only [`authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct Principal(Who);

#[derive(Clone, Debug)]
enum Who {
    Key(Arc<Key>),
    /// A user, and the login if it is one of ours.
    User(Arc<User>, Option<Arc<str>>),
    Session(Arc<Session>),
    Delivery(Arc<Delivery>),
    Anonymous,
}

impl Principal {
    /// The key, if it is one.
    #[must_use]
    pub const fn key(&self) -> Option<&Arc<Key>> {
        match &self.0 {
            Who::Key(key) => Some(key),
            Who::User(..) | Who::Session(_) | Who::Delivery(_) | Who::Anonymous => None,
        }
    }

    /// Notes that a request bore the key, if it is one.
    pub fn used(&self, now: Moment) {
        if let Who::Key(key) = &self.0 {
            key.used(now);
        }
    }

    /// The user, if it is one with a token.
    #[must_use]
    pub const fn user(&self) -> Option<&Arc<User>> {
        match &self.0 {
            Who::User(user, _) => Some(user),
            Who::Key(_) | Who::Session(_) | Who::Delivery(_) | Who::Anonymous => None,
        }
    }

    /// The login of the user, if it is one of ours.
    #[must_use]
    pub const fn login(&self) -> Option<&Arc<str>> {
        match &self.0 {
            Who::User(_, login) => login.as_ref(),
            Who::Key(_) | Who::Session(_) | Who::Delivery(_) | Who::Anonymous => None,
        }
    }

    /// The session, if it is a customer.
    #[must_use]
    pub const fn session(&self) -> Option<&Arc<Session>> {
        match &self.0 {
            Who::Session(session) => Some(session),
            Who::Key(_) | Who::User(..) | Who::Delivery(_) | Who::Anonymous => None,
        }
    }

    /// The delivery, if its content was signed.
    #[must_use]
    pub const fn delivery(&self) -> Option<&Arc<Delivery>> {
        match &self.0 {
            Who::Delivery(delivery) => Some(delivery),
            Who::Key(_) | Who::User(..) | Who::Session(_) | Who::Anonymous => None,
        }
    }

    /// Whether nobody is known.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.0, Who::Anonymous)
    }
}

/// Content whose signature was good.
#[derive(Debug)]
pub struct Delivery {
    /// The tenant whose secret it was signed with, as the value of a field.
    pub tenant: HeaderValue,
    /// The environment it is for, as the value of a field.
    pub environment: HeaderValue,
    verified: Mutex<Option<Verified>>,
}

impl Delivery {
    /// Notes that the upstream has taken it: it may not come again. Without that, it may.
    pub fn keep(&self) {
        if let Some(verified) = self.verified.lock().unwrap_or_else(PoisonError::into_inner).take() {
            verified.keep();
        }
    }
}

/// What was asked, as far as signatures need it.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    /// The route.
    pub route: &'r Route,
    /// The path in its one spelling.
    pub path: &'r str,
    /// The fields.
    pub fields: &'r HeaderMap,
    /// The content, where the route needs all of it.
    pub content: Option<&'r [u8]>,
}

/// Finds out whom `credentials` stand for, if that is needed for `access`. A key of another environment is unknown in this
/// one.
///
/// # Errors
///
/// [`Rejection::Credentials`] or [`Rejection::Authentication`]. Credentials that are not asked for are not looked at.
pub fn authenticate(
    credentials: &Credentials,
    access: &Access,
    asked: Asked<'_>,
    known: Known<'_>,
) -> Result<Principal, Rejection> {
    let who = match access {
        Access::Public => Who::Anonymous,
        Access::Credentials(accepted) => whom(credentials, *accepted, known)?,
        Access::Signature(signed) => Who::Delivery(Arc::new(delivery(signed, asked, known)?)),
    };
    Ok(Principal(who))
}

/// The holder of credentials of a kind that is accepted, or of a key where there are only keys: whoever has a good one is
/// known, and told by authorization that it is the wrong kind.
fn whom(credentials: &Credentials, accepted: Accepted, known: Known<'_>) -> Result<Who, Rejection> {
    let key = if accepted.api_key { credentials.key()? } else { None };
    let token = if accepted.token { credentials.token()? } else { None };
    let session = if accepted.session { credentials.session()? } else { None };
    match (key, token, session) {
        (Some(secret), None, None) => Ok(Who::Key(good_key(secret, known)?)),
        (None, Some(token), None) => good_token(token, known),
        (None, None, Some(token)) => Ok(Who::Session(good_session(token, known)?)),
        (None, None, None) => not_accepted(credentials, accepted, known),
        _ => Err(CredentialsError::Conflict.into()),
    }
}

/// Whom a key stands for that was offered where other credentials are accepted, or why there is nobody: there are no
/// credentials at all, or those of a kind that is not looked at here.
fn not_accepted(credentials: &Credentials, accepted: Accepted, known: Known<'_>) -> Result<Who, Rejection> {
    if !accepted.api_key
        && let Ok(Some(secret)) = credentials.key()
    {
        return Ok(Who::Key(good_key(secret, known)?));
    }
    if !accepted.token && matches!(credentials.token(), Ok(Some(_))) {
        return Err(AuthenticationError::TokenNotAccepted.into());
    }
    Err(CredentialsError::Missing.into())
}

fn good_key(secret: &[u8], known: Known<'_>) -> Result<Arc<Key>, Rejection> {
    let key = known.keys.find(&Digest::of(secret)).filter(|key| known.environment.accepts(key, secret));
    let key = key.ok_or_else(|| unknown(secret, known.format))?;
    let id = || Arc::from(key.id());
    match key.standing(known.now) {
        Standing::Good => Ok(key),
        Standing::Inactive => Err(AuthenticationError::Inactive(id()).into()),
        Standing::Revoked => Err(AuthenticationError::Revoked(id()).into()),
        Standing::Expired => Err(AuthenticationError::Expired(id()).into()),
        Standing::NotYetValid => Err(AuthenticationError::NotYetValid(id()).into()),
    }
}

/// Why no key was found: a secret in our own format with a wrong checksum was mistyped, and is told apart so that
/// whoever mistyped it sees that.
fn unknown(secret: &[u8], format: &SecretFormat) -> Rejection {
    if std::str::from_utf8(secret).is_ok_and(|text| format.well_formed(text)) {
        AuthenticationError::Unknown.into()
    } else {
        CredentialsError::Malformed.into()
    }
}

/// Whom a token stands for. Of one of our own, the login has to be alive and the user switched on; what the user may do
/// is what the store says now, not what it said when the token was made.
fn good_token(token: &str, known: Known<'_>) -> Result<Who, Rejection> {
    let tokens = known.tokens.ok_or(AuthenticationError::TokenNotAccepted)?;
    let verified = tokens.verify(token, known.now).map_err(AuthenticationError::Token)?;
    let Issuer::Own { login } = &verified.issuer else { return Ok(Who::User(Arc::clone(&verified.user), None)) };
    let alive =
        known.directory.login(login).filter(|login| !login.is_over(known.now) && login.user == verified.user.id);
    let user = alive.and_then(|login| known.directory.user(&login.user)).filter(|user| user.enabled);
    let user = user.ok_or(AuthenticationError::LoginEnded)?;
    Ok(Who::User(user, Some(Arc::clone(login))))
}

fn good_session(token: &[u8], known: Known<'_>) -> Result<Arc<Session>, Rejection> {
    let session = known.directory.session(&Digest::of(token)).filter(|session| !session.is_over(known.now));
    session.ok_or_else(|| AuthenticationError::SessionEnded.into())
}

/// Says what can be said of credentials before the content is there: nobody need wait for content that is refused anyway,
/// or hold it.
///
/// # Errors
///
/// As [`authenticate`], for a delivery whose fields are no signature of any scheme.
pub fn check_before_content(access: &Access, asked: Asked<'_>, known: Known<'_>) -> Result<(), Rejection> {
    let (Access::Signature(signed), Some(webhooks)) = (access, known.webhooks) else { return Ok(()) };
    let scheme = signed.scheme.of(&asked.route.patterns, asked.path);
    Ok(webhooks.load().check_fields(&scheme, asked.fields).map_err(AuthenticationError::Signature)?)
}

fn delivery(signed: &Signed, asked: Asked<'_>, known: Known<'_>) -> Result<Delivery, AuthenticationError> {
    let word = |word: &Word| word.of(&asked.route.patterns, asked.path).into_owned();
    let (scheme, tenant, environment) = (word(&signed.scheme), word(&signed.tenant), word(&signed.environment));
    let refused = AuthenticationError::Signature;
    let webhooks = known.webhooks.ok_or(refused(SignatureError::NoSecret))?.load();
    let content = asked.content.unwrap_or_default();
    let verified =
        webhooks.verify(&scheme, &tenant, &environment, asked.fields, content, known.now).map_err(refused)?;
    // The operator has written both down beside their secret, in characters that fields may have.
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| refused(SignatureError::NoSecret));
    let (tenant, environment) = (value(&tenant)?, value(&environment)?);
    Ok(Delivery { tenant, environment, verified: Mutex::new(Some(verified)) })
}
