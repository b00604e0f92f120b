//! Which tokens are made, and whose are believed.
//!
//! The rules of these values are checked where they are written: in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::algorithm::Algorithm;

/// The tokens that this gateway makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Who makes them: `iss`.
    pub issuer: String,
    /// Whom access tokens are for: `aud`. Never [`TokenSettings::refresh_audience`].
    pub audience: String,
    /// With what new keys sign.
    pub algorithm: Algorithm,
    /// The directory of the signing keys.
    pub keys: PathBuf,
    /// How long a key signs; at least an hour.
    pub rotate_every: Duration,
    /// How long an access token is good; at least a second. Fractions of a second are cut off.
    pub access_lifetime: Duration,
    /// How long a refresh token is good; not shorter than that of an access token.
    pub refresh_lifetime: Duration,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

impl TokenSettings {
    /// The audience of refresh tokens: a place of the issuer itself, so that no API believes one, not even an API that
    /// looks at the audience alone.
    #[must_use]
    pub fn refresh_audience(&self) -> String {
        format!("{}#refresh", self.issuer)
    }
}

/// Somebody else whose access tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Who makes them: `iss`, to the letter. Unique.
    pub issuer: String,
    /// One of these must be in `aud`; at least one.
    pub audiences: Vec<String>,
    /// What it may sign with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where its public keys are.
    pub jwks: JwksSource,
    /// How often they are read again; at least 10 s.
    pub refresh_every: Duration,
    /// What its claims are called.
    pub claims: ClaimNames,
    /// The types of its access tokens.
    pub types: TokenTypes,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// Where the public keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At an `http` or `https` URL.
    Url(Url),
}

/// Under which names an issuer tells what we want to know of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimNames {
    /// The tenant. Where it is named every token must have it; where it is not, users are bound to none.
    pub tenant: Option<ClaimName>,
    /// Roles: text separated by blanks, or a list.
    pub roles: Option<ClaimName>,
    /// Permissions: text separated by blanks, or a list.
    pub permissions: Option<ClaimName>,
}

/// Finds one claim: by its name, or, if it begins with `/`, by a JSON Pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(pub String);

impl ClaimName {
    /// What the claims say under this name.
    pub(super) fn of<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        if self.0.starts_with('/') { claims.pointer(&self.0) } else { claims.get(&self.0) }
    }
}

/// The types of tokens that are taken: what `typ` may say (RFC 7515, section 4.1.9; RFC 8725, section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTypes {
    /// Media types, without `application/`.
    pub names: Vec<String>,
    /// Whether a token need not name its type.
    pub absent: bool,
}

impl TokenTypes {
    /// One type and no other.
    #[must_use]
    pub fn only(name: &str) -> Self {
        Self { names: vec![name.to_owned()], absent: false }
    }

    /// Whether a token of this type is taken. Case does not count, nor does `application/` in front.
    pub(super) fn take(&self, typ: Option<&str>) -> bool {
        let Some(typ) = typ else { return self.absent };
        let application = typ.get(..APPLICATION.len()).is_some_and(|start| start.eq_ignore_ascii_case(APPLICATION));
        let subtype = if application { &typ[APPLICATION.len()..] } else { typ };
        self.names.iter().any(|name| name.eq_ignore_ascii_case(subtype))
    }
}

/// What may be left out of a media type in `typ`.
const APPLICATION: &str = "application/";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_a_media_type() {
        let types = TokenTypes::only("at+jwt");
        for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(types.take(Some(good)), "{good}");
        }
        for bad in ["JWT", "rt+jwt", "", "at+jwt ", "application/", "text/at+jwt", "application/application/at+jwt"] {
            assert!(!types.take(Some(bad)), "{bad}");
        }
        assert!(!types.take(None));
        assert!(TokenTypes { absent: true, ..types }.take(None));
    }

    #[test]
    fn a_claim_is_found_by_name_or_by_pointer() {
        let claims = json!({"scope": 1, "https://example.com/roles": 2, "realm": {"roles": 3}});
        for (name, expected) in [
            ("scope", Some(1)),
            ("https://example.com/roles", Some(2)),
            ("/realm/roles", Some(3)),
            ("realm.roles", None),
            ("/realm/none", None),
        ] {
            let found = ClaimName(name.to_owned()).of(&claims).and_then(Value::as_i64);
            assert_eq!(found, expected, "{name}");
        }
    }
}
