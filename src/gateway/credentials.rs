//! What the client offers as proof, taken *out* of the request: behind this step nobody can forward it by mistake.
//!
//! A key, a user's token and a customer's session travel in places of their own; a key and a token that share
//! `Authorization: Bearer` are told apart by their form. What was offered is looked at only where it is asked for.
//!
//! Never in this file: whether the proof is any good.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::identity::{TOKEN_BYTES_MAX, looks_like_token};

/// Bytes a key may have. The longest format we know has 64; anything of this length is not a key but a weight.
const KEY_BYTES_MAX: usize = 512;

/// Why the credentials of a request cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The request bears none of those that its route asks for.
    #[error("the request bears no credentials")]
    Missing,
    /// What it bears cannot be such credentials.
    #[error("what the request bears is malformed")]
    Malformed,
    /// Two places bear different ones.
    #[error("the request bears two different credentials")]
    Conflict,
}

/// Where keys travel.
#[derive(Clone, Debug)]
pub struct ApiKeyFields {
    /// Fields whose whole value is the key.
    pub fields: Vec<HeaderName>,
    /// Whether `Authorization: Bearer` bears a key too (RFC 6750, section 2.1).
    pub bearer: bool,
}

/// Where credentials travel.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where keys do.
    pub api_key: ApiKeyFields,
    /// Whether users' tokens do, in `Authorization: Bearer`.
    pub token: bool,
    /// Fields whose whole value is the token of a session.
    pub session: Vec<HeaderName>,
}

/// The credentials that a request bore. They are gone from the request.
///
/// Purposefully not `Clone`, and its `Debug` says nothing of them.
#[derive(Debug)]
pub struct Credentials {
    key: Offer,
    token: Offer,
    session: Offer,
}

/// What was offered of one kind.
enum Offer {
    Nothing,
    /// As it came, and how many bytes at the front are not the secret (`Bearer `).
    Secret(HeaderValue, usize),
    Malformed,
    Conflict,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "absent",
            Self::Secret(..) => "present",
            Self::Malformed => "malformed",
            Self::Conflict => "conflicting",
        })
    }
}

impl Credentials {
    /// Takes the credentials out of the fields in which they may travel, wherever they stand.
    ///
    /// An empty value counts as none. The same key twice is one key; two different ones are a conflict, because whoever
    /// looks at the other one would see another client. None of this is an error until somebody asks for it: a public
    /// route does without.
    pub fn take_from(fields: &mut HeaderMap, places: &Places) -> Self {
        let mut credentials = Self { key: Offer::Nothing, token: Offer::Nothing, session: Offer::Nothing };
        for name in &places.api_key.fields {
            credentials.key.take(fields, name, KEY_BYTES_MAX);
        }
        for name in &places.session {
            credentials.session.take(fields, name, KEY_BYTES_MAX);
        }
        if places.token || places.api_key.bearer {
            credentials.take_bearer(fields, places);
        }
        credentials
    }

    /// The secret of the key, if there is one.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Malformed`], [`CredentialsError::Conflict`].
    pub fn key(&self) -> Result<Option<&[u8]>, CredentialsError> {
        self.key.secret()
    }

    /// The user's token, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Credentials::key`].
    pub fn token(&self) -> Result<Option<&str>, CredentialsError> {
        let token = self.token.secret()?;
        token.map(|token| std::str::from_utf8(token).map_err(|_| CredentialsError::Malformed)).transpose()
    }

    /// The token of the session, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Credentials::key`].
    pub fn session(&self) -> Result<Option<&[u8]>, CredentialsError> {
        self.session.secret()
    }

    /// The same in memory of its own, to be kept for longer than a request lasts.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { key: self.key.detached(), token: self.token.detached(), session: self.session.detached() }
    }

    fn take_bearer(&mut self, fields: &mut HeaderMap, places: &Places) {
        let mut ours = false;
        for value in fields.get_all(AUTHORIZATION) {
            let Some(scheme_bytes) = bearer_scheme_bytes(value.as_bytes()) else { continue };
            ours = true;
            let secret = value.as_bytes().get(scheme_bytes..).unwrap_or_default();
            // By form, never by trial against both.
            if places.token && (looks_like_token(secret) || !places.api_key.bearer) {
                self.token.add(value, scheme_bytes, TOKEN_BYTES_MAX);
            } else {
                self.key.add(value, scheme_bytes, KEY_BYTES_MAX);
            }
        }
        if ours {
            fields.remove(AUTHORIZATION);
        }
    }
}

impl Offer {
    fn detached(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Secret(value, scheme_bytes) => match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(copy) => Self::Secret(copy, *scheme_bytes),
                Err(_) => Self::Malformed,
            },
            Self::Malformed => Self::Malformed,
            Self::Conflict => Self::Conflict,
        }
    }

    fn secret(&self) -> Result<Option<&[u8]>, CredentialsError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Secret(value, scheme_bytes) => Ok(value.as_bytes().get(*scheme_bytes..)),
            Self::Malformed => Err(CredentialsError::Malformed),
            Self::Conflict => Err(CredentialsError::Conflict),
        }
    }

    /// Takes all values of a field.
    fn take(&mut self, fields: &mut HeaderMap, name: &HeaderName, bytes_max: usize) {
        let mut present = false;
        for value in fields.get_all(name) {
            present = true;
            self.add(value, 0, bytes_max);
        }
        if present {
            fields.remove(name);
        }
    }

    fn add(&mut self, value: &HeaderValue, scheme_bytes: usize, bytes_max: usize) {
        let secret = value.as_bytes().get(scheme_bytes..).unwrap_or_default();
        if secret.is_empty() {
            return;
        }
        let good = secret.len() <= bytes_max && secret.iter().all(u8::is_ascii_graphic);
        *self = match self.secret() {
            _ if !good => Self::Malformed,
            Ok(None) => Self::Secret(value.clone(), scheme_bytes),
            Ok(Some(first)) if first == secret => return,
            Ok(Some(_)) => Self::Conflict,
            // What was wrong first is told.
            Err(_) => return,
        };
    }
}

/// The length of `Bearer ` at the front, in any case (RFC 9110, section 11.1) and with any number of blanks.
fn bearer_scheme_bytes(value: &[u8]) -> Option<usize> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (spaces > 0 || rest.is_empty()).then_some(6 + spaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-api-key");
    const OTHER: HeaderName = HeaderName::from_static("api-key");
    const SESSION: HeaderName = HeaderName::from_static("x-session-token");

    /// The form of a token, and not one.
    const TOKEN: &str = "Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln";

    fn places() -> Places {
        Places { api_key: ApiKeyFields { fields: vec![KEY, OTHER], bearer: true }, token: true, session: vec![SESSION] }
    }

    #[test]
    fn one_key_is_taken_out_wherever_it_stands() {
        check("in the field", &[(KEY, "abc")], Ok(Some("abc")));
        check("in the second field", &[(OTHER, "abc")], Ok(Some("abc")));
        check("as a bearer", &[(AUTHORIZATION, "Bearer abc")], Ok(Some("abc")));
        check("the scheme has no case", &[(AUTHORIZATION, "bEARER  abc")], Ok(Some("abc")));
        check("the same key twice", &[(KEY, "abc"), (AUTHORIZATION, "Bearer abc")], Ok(Some("abc")));
        check("an empty value is none", &[(KEY, "")], Ok(None));
        check("an empty bearer is none", &[(AUTHORIZATION, "Bearer ")], Ok(None));
        check("no field", &[], Ok(None));
        check("two keys in one field", &[(KEY, "abc"), (KEY, "abd")], Err("conflict"));
        check("two keys in two fields", &[(KEY, "abc"), (AUTHORIZATION, "Bearer abd")], Err("conflict"));
        check("a list is not split", &[(KEY, "abc, abd")], Err("malformed"));
        check("a token is no key", &[(AUTHORIZATION, TOKEN)], Ok(None));
        check("a session is no key", &[(SESSION, "abc")], Ok(None));
    }

    #[track_caller]
    fn check(row: &str, fields: &[(HeaderName, &'static str)], expected: Result<Option<&str>, &str>) {
        let mut map: HeaderMap = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_static(value));
        }
        let credentials = Credentials::take_from(&mut map, &places());
        match (credentials.key(), expected) {
            (Ok(key), Ok(secret)) => assert_eq!(key, secret.map(str::as_bytes), "{row}"),
            (Err(CredentialsError::Conflict), Err("conflict"))
            | (Err(CredentialsError::Malformed), Err("malformed")) => {}
            (got, _) => panic!("{row}: {got:?}"),
        }
        assert!(map.is_empty(), "{row}: something is left: {map:?}");
    }

    #[test]
    fn a_token_and_a_key_are_told_apart_by_their_form() {
        let take = |bearer: bool, value: &'static str| {
            let mut map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            let api_key = ApiKeyFields { fields: vec![KEY], bearer };
            let credentials = Credentials::take_from(&mut map, &Places { api_key, ..places() });
            let is = |offered: bool| if offered { "yes" } else { "no" };
            let (key, token) = (credentials.key().unwrap().is_some(), credentials.token().unwrap().is_some());
            (is(key), is(token), map.len())
        };
        assert_eq!(take(true, TOKEN), ("no", "yes", 0));
        assert_eq!(take(true, "Bearer kg_live_abc"), ("yes", "no", 0));
        assert_eq!(take(false, TOKEN), ("no", "yes", 0));
        assert_eq!(
            take(false, "Bearer kg_live_abc"),
            ("no", "yes", 0),
            "where keys are no bearers, all else is a token"
        );
        assert_eq!(take(true, "Basic YTpi"), ("no", "no", 1), "another scheme is not ours");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let mut map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(TOKEN))]);
        let api_key = ApiKeyFields { fields: vec![KEY], bearer: false };
        let credentials = Credentials::take_from(&mut map, &Places { api_key, token: false, session: Vec::new() });
        assert_eq!(map.len(), 1);
        assert!(credentials.token().unwrap().is_none());
    }

    #[test]
    fn debug_does_not_show_a_secret() {
        let mut map = HeaderMap::from_iter([(KEY, HeaderValue::from_static("abc-secret"))]);
        let credentials = Credentials::take_from(&mut map, &places());
        assert_eq!(format!("{credentials:?}"), "Credentials { key: present, token: absent, session: absent }");
    }
}
