//! Public keys as JSON (RFC 7517, RFC 7518 section 6, RFC 8037): written for others, read from others.
//!
//! A key says by its form what it signs with; where it also says so in words (`alg`, `use`, `key_ops`), both must agree.
//! Whatever is not good to verify the signatures of tokens is left out of a set, and the rest is used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::algorithm::Algorithm;
use super::compact::encoded;
use super::verifier::{P256_BYTES, PublicKey, Verifier};
use crate::json;

/// Keys in one set at most. A set with more is none of an issuer of tokens.
pub(super) const KEYS_MAX: usize = 128;

/// Bytes of a key's name at most.
const KEY_ID_BYTES_MAX: usize = 256;

/// A key of somebody else, to verify with.
pub(super) struct NamedVerifier {
    /// Its name.
    pub(super) id: Option<Box<str>>,
    pub(super) verifier: Verifier,
}

/// What a set holds.
pub(super) struct Set {
    /// The keys that are good for something.
    pub(super) keys: Vec<NamedVerifier>,
    /// How many are not.
    pub(super) left_out: usize,
}

/// Why there are no keys to be had from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotASet {
    #[error("is not a JWK Set: it is not JSON that can be read in one way")]
    Json,
    #[error("is not a JWK Set: it has no list of `keys`")]
    NoKeys,
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
    #[error("holds no key that can be used with the algorithms of this issuer")]
    NoneOfUse,
}

/// Reads a JWK Set (RFC 7517, section 5) for an issuer who signs with `algorithms`.
pub(super) fn read_set(document: &[u8], algorithms: &[Algorithm]) -> Result<Set, NotASet> {
    let document = json::read(document).map_err(|_| NotASet::Json)?;
    let list = document.get("keys").and_then(Value::as_array).ok_or(NotASet::NoKeys)?;
    if list.len() > KEYS_MAX {
        return Err(NotASet::TooMany);
    }
    let mut keys: Vec<NamedVerifier> = Vec::new();
    for key in list {
        let Some(key) = key.as_object().and_then(read) else { continue };
        let algorithm = key.verifier.algorithm();
        // Two keys of one name and one algorithm cannot be told apart: the first counts.
        let twice = keys.iter().any(|other| other.id == key.id && other.verifier.algorithm() == algorithm);
        if algorithms.contains(&algorithm) && !(twice && key.id.is_some()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(NotASet::NoneOfUse);
    }
    let left_out = list.len() - keys.len();
    Ok(Set { keys, left_out })
}

/// Reads one key (RFC 7517, section 4), if it is good to verify tokens with.
fn read(key: &Map<String, Value>) -> Option<NamedVerifier> {
    let text = |name: &str| match key.get(name) {
        None => Some(None),
        Some(value) => value.as_str().map(Some),
    };
    let verifier = match text("kty")?? {
        "OKP" if text("crv")?? == "Ed25519" => PublicKey::Ed25519(octets(text("x")??)?.try_into().ok()?).verifier()?,
        "EC" if text("crv")?? == "P-256" => {
            let coordinate = |name| octets(text(name)??)?.try_into().ok();
            let (x, y): ([u8; P256_BYTES], [u8; P256_BYTES]) = (coordinate("x")?, coordinate("y")?);
            PublicKey::P256 { x, y }.verifier()?
        }
        "RSA" => PublicKey::Rsa { n: octets(text("n")??)?, e: octets(text("e")??)? }.verifier()?,
        "oct" => Verifier::secret(&zeroize::Zeroizing::new(octets(text("k")??)?))?,
        _ => return None,
    };
    let says_so = match text("alg")? {
        Some(name) => Algorithm::named(name) == Some(verifier.algorithm()),
        None => true,
    };
    let for_signatures = text("use")?.is_none_or(|usage| usage == "sig");
    let to_verify = match key.get("key_ops") {
        None => true,
        Some(operations) => operations.as_array()?.iter().any(|operation| operation == "verify"),
    };
    // A private key that lies about in public signs for everybody.
    let private = key.contains_key("d");
    let id = text("kid")?;
    if !says_so || !for_signatures || !to_verify || private || id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
        return None;
    }
    Some(NamedVerifier { id: id.map(Into::into), verifier })
}

fn octets(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The members of a public key that make it what it is, in the order of the alphabet (RFC 7638, section 3.2).
fn members(key: &PublicKey) -> Vec<(&'static str, String)> {
    match key {
        PublicKey::Ed25519(x) => vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", encoded(x))],
        PublicKey::P256 { x, y } => {
            vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", encoded(x)), ("y", encoded(y))]
        }
        PublicKey::Rsa { n, e } => vec![("e", encoded(e)), ("kty", "RSA".into()), ("n", encoded(n))],
    }
}

/// The name of a key that follows from the key itself: its thumbprint (RFC 7638).
pub(super) fn thumbprint(key: &PublicKey) -> String {
    let members: Map<String, Value> =
        members(key).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    encoded(&Sha256::digest(Value::Object(members).to_string()))
}

/// Writes a JWK Set of public keys with their names.
pub(super) fn write_set<'a>(keys: impl Iterator<Item = (&'a str, &'a PublicKey)>) -> String {
    let list: Vec<Value> = keys
        .map(|(id, key)| {
            let mut object: Map<String, Value> =
                members(key).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            object.insert("use".to_owned(), "sig".into());
            object.insert("alg".to_owned(), key.algorithm().name().into());
            object.insert("kid".to_owned(), id.into());
            Value::Object(object)
        })
        .collect();
    serde_json::json!({ "keys": list }).to_string()
}
