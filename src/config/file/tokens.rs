//! `tokens` and `issuers`: the tokens that are made, and those of others that are believed.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::document::duration::HumanDuration;

/// The tokens that users get when they sign in: JSON Web Tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tokens {
    /// Who makes them: `iss`. Often the URL of this gateway.
    #[serde(default = "issuer")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) issuer: String,
    /// Whom they are for: `aud`. Absent: the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) audience: Option<String>,
    /// With what they are signed. `HS256` has a secret instead of a pair of keys: nobody else can verify such a token
    /// without being able to make one.
    #[serde(default)]
    pub(in crate::config) algorithm: SignatureAlgorithm,
    /// The directory of the signing keys, made if it is not there. Gateways with the same settings may share it. Keys are
    /// `.pem` files (PKCS #8), secrets for HS256 `.secret` files; you may put in your own.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) keys: PathBuf,
    /// How long a key signs before its successor does; at least an hour. The successor is published a day earlier, or a
    /// tenth of this.
    #[serde(default = "rotate_every")]
    pub(in crate::config) rotate_every: HumanDuration,
    /// How long an access token is good, `1s` to `24h`.
    #[serde(default = "access_lifetime")]
    pub(in crate::config) access_lifetime: HumanDuration,
    /// How long a refresh token is good; at most 366 days, and 30 times `rotate_every`.
    #[serde(default = "refresh_lifetime")]
    pub(in crate::config) refresh_lifetime: HumanDuration,
    /// How far clocks may be apart, at most `5m`; for tokens of others, too.
    #[serde(default = "leeway")]
    pub(in crate::config) leeway: HumanDuration,
}

fn issuer() -> String {
    "keygate".to_owned()
}

const fn rotate_every() -> HumanDuration {
    HumanDuration::from_secs(90 * 24 * 3600)
}

const fn access_lifetime() -> HumanDuration {
    HumanDuration::from_secs(15 * 60)
}

const fn refresh_lifetime() -> HumanDuration {
    HumanDuration::from_secs(7 * 24 * 3600)
}

/// How far clocks may be apart where nobody says it.
pub(in crate::config) const fn leeway() -> HumanDuration {
    HumanDuration::from_secs(5)
}

/// An algorithm of signatures (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum SignatureAlgorithm {
    /// Ed25519: short and quick.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSA of 2048 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with a secret.
    #[serde(rename = "HS256")]
    Hs256,
}

/// Somebody else whose access tokens are believed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Issuer {
    /// Who makes them: `iss`, to the letter.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) issuer: String,
    /// One of these must be in `aud`: the names under which the issuer knows the API.
    #[schemars(schema_with = "audiences")]
    pub(in crate::config) audience: Vec<String>,
    /// What they may be signed with. The key says which it is, never the token.
    #[serde(default = "algorithms")]
    #[schemars(length(min = 1, max = 4))]
    pub(in crate::config) algorithms: Vec<SignatureAlgorithm>,
    /// The issuer's public keys, a JWK Set (RFC 7517): its URL, or a file.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) jwks: String,
    /// How often they are read again; at least `10s`. When that fails, the last ones stay in force.
    #[serde(default = "refresh_every")]
    pub(in crate::config) refresh_every: HumanDuration,
    /// Which claims say what is to be known of a user.
    #[serde(default)]
    pub(in crate::config) claims: Claims,
    /// The types of its access tokens: what `typ` says. `absent` is for tokens that have none.
    #[serde(default = "types")]
    #[schemars(schema_with = "token_types")]
    pub(in crate::config) types: Vec<String>,
}

fn algorithms() -> Vec<SignatureAlgorithm> {
    vec![SignatureAlgorithm::EdDsa, SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256]
}

const fn refresh_every() -> HumanDuration {
    HumanDuration::from_secs(5 * 60)
}

fn types() -> Vec<String> {
    ["at+jwt", "JWT", "absent"].map(str::to_owned).to_vec()
}

/// Which claims say what is to be known of a user. A name that begins with `/` is a JSON Pointer (RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Claims {
    /// The tenant that the user is bound to. Tokens without this claim are refused. Absent: users are bound to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) tenant: Option<String>,
    /// Roles: text separated by blanks, or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) roles: Option<String>,
    /// Permissions: text separated by blanks, or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) permissions: Option<String>,
}

/// Some names of audiences, at least one.
fn audiences(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 64,
        "items": { "type": "string", "minLength": 1, "maxLength": 1024 }
    })
}

/// Some types of tokens, at least one.
fn token_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16,
        "items": { "type": "string", "minLength": 1, "maxLength": 128 }
    })
}
