//! What the claims of a token must say (RFC 7519, section 4.1; RFC 9068, section 4), and the user they make.
//!
//! Looked at only when the signature is known to be good: nothing here may tell a forger how far he has come.

use serde_json::Value;

use super::compact::Compact;
use super::error::TokenError;
use super::settings::{ClaimNames, TokenTypes};
use crate::identity::user::{User, Written};

/// Bytes of the name of a user or a login at most.
const NAME_BYTES_MAX: usize = 1024;

/// Numbers up to here are exact in every reader's arithmetic (RFC 8259, section 6), and later than any date.
const DATE_MAX: f64 = 9_007_199_254_740_992.0;

/// What is demanded of a token.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    pub(super) types: TokenTypes,
    /// One of them must be in `aud`.
    pub(super) audiences: Vec<String>,
    /// How far clocks may be apart.
    pub(super) leeway_s: u64,
}

/// When a token that was found good ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Its `exp`, rounded down.
    pub(super) expires_s: u64,
    /// The first second at which it is refused: `exp` and the leeway.
    pub(super) over_s: u64,
}

impl Demands {
    /// Checks type, audience and times, in this order.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub(super) fn check(&self, token: &Compact<'_>, now_s: u64) -> Result<End, TokenError> {
        if !self.types.take(token.typ.as_deref()) {
            return Err(TokenError::Type);
        }
        let claims = &token.claims;
        self.check_audience(claims)?;
        let expires_s = date(claims, "exp", f64::floor)?.ok_or(TokenError::Claims)?;
        let latest_s = now_s.saturating_add(self.leeway_s);
        // RFC 7519, section 4.1.5. And what was made in the future was made by somebody whose clock we cannot believe, or
        // is kept for the day on which its key is stolen.
        for name in ["nbf", "iat"] {
            if date(claims, name, f64::ceil)?.is_some_and(|date_s| date_s > latest_s) {
                return Err(TokenError::NotYetValid);
            }
        }
        // RFC 7519, section 4.1.4: "on or after which" it must not be accepted.
        let over_s = expires_s.saturating_add(self.leeway_s);
        if now_s >= over_s { Err(TokenError::Expired) } else { Ok(End { expires_s, over_s }) }
    }

    /// RFC 7519, section 4.1.3: one text, or a list of them.
    fn check_audience(&self, claims: &Value) -> Result<(), TokenError> {
        let ours = |audience: &str| self.audiences.iter().any(|wanted| wanted == audience);
        let found = match claims.get("aud") {
            None => false,
            Some(Value::String(audience)) => ours(audience),
            Some(Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.ok_or(TokenError::Claims)?.into_iter().any(ours)
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(TokenError::Claims),
        };
        if found { Ok(()) } else { Err(TokenError::Audience) }
    }
}

/// A claim that must be there: text that is not empty.
///
/// # Errors
///
/// [`TokenError::Claims`].
pub(super) fn text<'a>(claims: &'a Value, name: &str) -> Result<&'a str, TokenError> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX).ok_or(TokenError::Claims)
}

/// The user that the claims speak of.
///
/// Where `tenant_needed`, the claim that `names` give for the tenant must be there: a user without a tenant may act in
/// all of them, which must not come about by leaving a claim out.
///
/// # Errors
///
/// [`TokenError::Claims`].
pub(super) fn user(claims: &Value, names: &ClaimNames, tenant_needed: bool) -> Result<User, TokenError> {
    let tenant = match names.tenant.as_ref().and_then(|name| name.of(claims)) {
        Some(Value::String(tenant)) if !tenant.is_empty() && tenant.len() <= NAME_BYTES_MAX => Some(tenant.clone()),
        Some(_) => return Err(TokenError::Claims),
        None if tenant_needed && names.tenant.is_some() => return Err(TokenError::Claims),
        None => None,
    };
    let list = |name: Option<&super::ClaimName>| name.and_then(|name| name.of(claims)).map_or(Ok(Vec::new()), words);
    let permissions = list(names.permissions.as_ref())?;
    // They are handed on separated by blanks: one with a blank in it would become two.
    if permissions.iter().any(|permission| permission.contains(|letter: char| letter.is_whitespace())) {
        return Err(TokenError::Claims);
    }
    let written = Written {
        id: text(claims, "sub")?.to_owned(),
        tenant,
        permissions,
        roles: list(names.roles.as_ref())?,
        enabled: true,
    };
    User::new(written).map_err(|_| TokenError::Claims)
}

/// Text separated by blanks (RFC 6749, section 3.3), or a list of texts.
fn words(value: &Value) -> Result<Vec<String>, TokenError> {
    match value {
        Value::String(text) => Ok(text.split_ascii_whitespace().map(str::to_owned).collect()),
        Value::Array(list) => {
            let word = |item: &Value| item.as_str().filter(|word| !word.is_empty()).map(str::to_owned);
            list.iter().map(word).collect::<Option<_>>().ok_or(TokenError::Claims)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(TokenError::Claims),
    }
}

/// A date in seconds since the Unix epoch, which may have a fraction (RFC 7519, section 2, NumericDate); `round` makes it
/// whole.
fn date(claims: &Value, name: &str, round: fn(f64) -> f64) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    let fraction = value.as_f64().filter(|date| (0.0..=DATE_MAX).contains(date)).ok_or(TokenError::Claims)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and within bounds")]
    Ok(Some(round(fraction) as u64))
}
