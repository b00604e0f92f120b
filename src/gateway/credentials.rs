//! What the client offers as proof, taken *out* of the request: behind this step nobody can forward it by mistake.
//!
//! Never in this file: whether the proof is any good.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Bytes a key may have. The longest format we know has 64; anything of this length is not a key but a weight.
const KEY_BYTES_MAX: usize = 512;

/// Why no credentials could be taken from a request.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No field bears a key.
    #[error("the request bears no key")]
    Missing,
    /// A field bears something that cannot be a key.
    #[error("what the request bears is not a key")]
    Malformed,
    /// Two fields bear different keys.
    #[error("the request bears two different keys")]
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

/// The secret that a request bore. It is gone from the request.
///
/// Purposefully not `Clone`, and its `Debug` says nothing.
pub struct Credentials {
    /// The secret as it came; `None` if the request bore none.
    value: Option<HeaderValue>,
    /// How many bytes at the front of the value are not the secret (`Bearer `).
    scheme_bytes: usize,
    /// Whether `Authorization` bore the secret, there alone or there too.
    in_authorization: bool,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.value.is_some() { "Credentials(present)" } else { "Credentials(absent)" })
    }
}

impl Credentials {
    /// Takes the key out of the fields in which one may travel, wherever it stands.
    ///
    /// An empty value counts as none. The same key twice is one key; two different ones are a conflict, because
    /// whoever looks at the other one would see another client.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Conflict`] or [`CredentialsError::Malformed`]. A missing key is not an error here: a public
    /// route does without.
    pub fn take_from(fields: &mut HeaderMap, places: &ApiKeyFields) -> Result<Self, CredentialsError> {
        let mut credentials = Self { value: None, scheme_bytes: 0, in_authorization: false };
        for name in &places.fields {
            for value in fields.get_all(name) {
                credentials.add(value, 0)?;
            }
        }
        if places.bearer {
            for value in fields.get_all(AUTHORIZATION) {
                if let Some(scheme_bytes) = bearer_scheme_bytes(value.as_bytes()) {
                    credentials.add(value, scheme_bytes)?;
                    credentials.in_authorization = true;
                }
            }
        }
        if credentials.value.is_some() {
            credentials.remove_from(fields, places);
        }
        Ok(credentials)
    }

    /// The secret's bytes, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&[u8]> {
        self.value.as_ref().and_then(|value| value.as_bytes().get(self.scheme_bytes..))
    }

    fn add(&mut self, value: &HeaderValue, scheme_bytes: usize) -> Result<(), CredentialsError> {
        let secret = value.as_bytes().get(scheme_bytes..).unwrap_or_default();
        if secret.is_empty() {
            return Ok(());
        }
        if secret.len() > KEY_BYTES_MAX || !secret.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialsError::Malformed);
        }
        match self.secret() {
            None => {
                self.value = Some(value.clone());
                self.scheme_bytes = scheme_bytes;
                Ok(())
            }
            Some(first) if first == secret => Ok(()),
            Some(_) => Err(CredentialsError::Conflict),
        }
    }

    /// Removes every field that bears the key, and every other field in which a key may travel.
    fn remove_from(&self, fields: &mut HeaderMap, places: &ApiKeyFields) {
        for name in &places.fields {
            fields.remove(name);
        }
        if self.in_authorization {
            fields.remove(AUTHORIZATION);
        }
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

    #[test]
    fn one_key_is_taken_out_wherever_it_stands() {
        check("in the field", &[(KEY, "abc")], Ok(Some("abc")));
        check("in the second field", &[(OTHER, "abc")], Ok(Some("abc")));
        check("as a bearer", &[(AUTHORIZATION, "Bearer abc")], Ok(Some("abc")));
        check("the scheme has no case", &[(AUTHORIZATION, "bEARER  abc")], Ok(Some("abc")));
        check("the same key twice", &[(KEY, "abc"), (AUTHORIZATION, "Bearer abc")], Ok(Some("abc")));
        check("an empty value is none", &[(KEY, "")], Ok(None));
        check("another scheme is not ours", &[(AUTHORIZATION, "Basic abc")], Ok(None));
        check("no field", &[], Ok(None));
        check("two keys in one field", &[(KEY, "abc"), (KEY, "abd")], Err("conflict"));
        check("two keys in two fields", &[(KEY, "abc"), (AUTHORIZATION, "Bearer abd")], Err("conflict"));
        check("a list is not split", &[(KEY, "abc, abd")], Err("malformed"));
    }

    #[track_caller]
    fn check(row: &str, fields: &[(HeaderName, &'static str)], expected: Result<Option<&str>, &str>) {
        let places = ApiKeyFields { fields: vec![KEY, OTHER], bearer: true };
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_static(value));
        }
        let got = Credentials::take_from(&mut map, &places);
        match (&got, expected) {
            (Ok(credentials), Ok(secret)) => {
                assert_eq!(credentials.secret(), secret.map(str::as_bytes), "{row}");
                if secret.is_some() {
                    assert!(map.is_empty(), "{row}: something is left of the key: {map:?}");
                }
            }
            (Err(CredentialsError::Conflict), Err("conflict"))
            | (Err(CredentialsError::Malformed), Err("malformed")) => {}
            _ => panic!("{row}: {got:?}"),
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let mut map = HeaderMap::from_iter([(KEY, HeaderValue::from_static("abc-secret"))]);
        let places = ApiKeyFields { fields: vec![KEY], bearer: false };
        let credentials = Credentials::take_from(&mut map, &places).unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
