//! The compact serialization of signed tokens (RFC 7515, section 7.1): three parts of base64url with dots between.
//!
//! Reading is strict, because two readers that disagree about a token are an attack: base64url without padding and
//! without stray bits, JSON in which no member stands twice, no extension of which we know nothing.
//!
//! Of a header only `alg`, `kid` and `typ` are looked at. Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are
//! never looked at (RFC 8725, section 3.10).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::error::TokenError;
use crate::json;

/// Bytes of a token at most; a larger one is malformed.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Whether the bytes have the form of a token: three parts of base64url with dots between, the first of which begins as
/// JSON objects do. Tells nothing of its worth, only that it is no API key. Allocates nothing.
#[must_use]
pub fn looks_like_token(bytes: &[u8]) -> bool {
    let base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let good = |part: &[u8]| !part.is_empty() && part.iter().all(base64url);
    if !bytes.starts_with(b"eyJ") {
        return false;
    }
    let mut parts = bytes.split(|byte| *byte == b'.');
    parts.by_ref().take(3).filter(|part| good(part)).count() == 3 && parts.next().is_none()
}

/// A token, taken apart and not yet believed.
pub(super) struct Compact<'a> {
    /// What the header says of the algorithm. The key says which it is.
    pub(super) algorithm: Algorithm,
    /// The name of the key.
    pub(super) key_id: Option<String>,
    /// The type of the token.
    pub(super) typ: Option<String>,
    /// The payload, an object.
    pub(super) claims: Value,
    /// What is signed: the first two parts and the dot between.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`]; [`TokenError::Algorithm`] if it names one that we do not know, `none` for example.
    pub(super) fn read(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX || !looks_like_token(token.as_bytes()) {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let mut header = object(header)?;
        // RFC 7515, section 4.1.11: who does not know an extension must refuse. We know none, `b64` (RFC 7797) neither.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenError::Malformed);
        }
        let key_id = text(&mut header, "kid")?;
        let typ = text(&mut header, "typ")?;
        let algorithm = text(&mut header, "alg")?.ok_or(TokenError::Malformed)?;
        Ok(Self {
            algorithm: Algorithm::named(&algorithm).ok_or(TokenError::Algorithm)?,
            key_id,
            typ,
            claims: Value::Object(object(payload)?),
            signed: signed.as_bytes(),
            signature: decoded(signature)?,
        })
    }

    /// Who claims to have made it: `iss`. Nothing but a claim, by which the key is found.
    ///
    /// # Errors
    ///
    /// [`TokenError::UnknownIssuer`] if it does not say so in a text.
    pub(super) fn issuer(&self) -> Result<&str, TokenError> {
        self.claims.get("iss").and_then(Value::as_str).ok_or(TokenError::UnknownIssuer)
    }
}

/// Takes a member out of a header. It may be missing, but must be text if it is there.
fn text(header: &mut Map<String, Value>, name: &str) -> Result<Option<String>, TokenError> {
    match header.get_mut(name).map(Value::take) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(TokenError::Malformed)
        }
    }
}

/// Reads a part that is a JSON object.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    match json::read(&decoded(part)?) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(TokenError::Malformed),
    }
}

/// Reads base64url without padding, whose last letter has no bits that say nothing: each text has one spelling.
fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Writes base64url without padding.
pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token as it is written: header and payload first, then the signature of what is there.
pub(super) struct Writing(Zeroizing<String>);

impl Writing {
    /// Begins with `header`, which is already base64url, and `payload`. `None` if the token would be too large with a
    /// signature of `signature_bytes`.
    pub(super) fn begin(header: &str, payload: &[u8], signature_bytes: usize) -> Option<Self> {
        let letters = |bytes: usize| (bytes * 4).div_ceil(3);
        let length = header.len() + letters(payload.len()) + letters(signature_bytes) + 2;
        if length > TOKEN_BYTES_MAX {
            return None;
        }
        // With its whole capacity from the start: a string that grows leaves copies of itself behind.
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        Some(Self(text))
    }

    /// What is to be signed.
    pub(super) fn to_sign(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The whole token.
    pub(super) fn end(mut self, signature: &[u8]) -> Zeroizing<String> {
        self.0.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut self.0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_from_a_key_by_its_form() {
        for token in ["eyJ.a.b", "eyJhbGciOiJFZERTQSJ9.e30.AA", "eyJ0-_.AZaz09-_.-"] {
            assert!(looks_like_token(token.as_bytes()), "{token}");
        }
        for other in [
            "",
            "eyJ",
            "eyJ.a",
            "eyJ..b",
            "eyJ.a.",
            "eyJ.a.b.",
            "eyJ.a.b.c",
            ".eyJ.a.b",
            "eyJ.a.b=",
            "eyJ.a+.b",
            "eyJ.a/.b",
            "eyJ.a.b ",
            "eyK.a.b",
            "kg_live_0123456789.a.b",
            "eyJ.ä.b",
            "eyJ.a\n.b",
        ] {
            assert!(!looks_like_token(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_token_is_never_written_larger_than_it_may_be_read() {
        let header = "eyJ9";
        // 4 + 1 + payload + 1 + 86 letters.
        let fits = (TOKEN_BYTES_MAX - 92) * 3 / 4;
        let written = Writing::begin(header, &vec![b'x'; fits], 64).unwrap().end(&[0; 64]);
        assert_eq!((written.len(), written.capacity()), (TOKEN_BYTES_MAX, TOKEN_BYTES_MAX));
        assert!(Writing::begin(header, &vec![b'x'; fits + 1], 64).is_none());
    }
}
