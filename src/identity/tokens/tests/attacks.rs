//! What must never be believed: the attacks of RFC 8725, and the classes of faults that test vectors for JWS have, for
//! each algorithm, against our own tokens and those of others.

use super::claims::{audiences, times, types, users};
use super::signatures::signatures;
use super::*;

/// What came out is what should: `Ok` or the reason.
pub(super) type Case = (String, String, Result<(), TokenError>);

const MALFORMED: Result<(), TokenError> = Err(TokenError::Malformed);
pub(super) const SIGNATURE: Result<(), TokenError> = Err(TokenError::Signature);
const ALGORITHM: Result<(), TokenError> = Err(TokenError::Algorithm);
const UNKNOWN_KEY: Result<(), TokenError> = Err(TokenError::UnknownKey);
const UNKNOWN_ISSUER: Result<(), TokenError> = Err(TokenError::UnknownIssuer);
pub(super) const TYPE: Result<(), TokenError> = Err(TokenError::Type);
pub(super) const AUDIENCE: Result<(), TokenError> = Err(TokenError::Audience);
pub(super) const CLAIMS: Result<(), TokenError> = Err(TokenError::Claims);
pub(super) const EARLY: Result<(), TokenError> = Err(TokenError::NotYetValid);
pub(super) const EXPIRED: Result<(), TokenError> = Err(TokenError::Expired);
pub(super) const GOOD: Result<(), TokenError> = Ok(());

/// One issuer whose private key we hold.
pub(super) struct Subject {
    pub(super) own: bool,
    pub(super) forge: Forge,
    pub(super) tokens: Tokens,
    _folder: TempDir,
}

impl Subject {
    fn new(algorithm: Algorithm, own: bool) -> Self {
        let (folder, forge) = (tempfile::tempdir().unwrap(), Forge::new(algorithm));
        let tokens = match own {
            true => owning(&folder, &forge),
            false => believing(&folder, &json!({ "keys": [forge.jwk()] })).unwrap(),
        };
        Self { own, forge, tokens, _folder: folder }
    }

    pub(super) fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": API, "sub": "user_1", "sid": "login_1", "jti": "at_1",
            "iat": NOW_S - 60, "exp": NOW_S + 840, "tenant": "acme", "roles": ["clerk"], "permissions": ["a:read"],
        })
    }

    /// A good token but for these members of its header and its claims; `null` leaves one out.
    pub(super) fn but(&self, header: &Value, claims: &Value) -> String {
        let merged = |base: Value, changes: &Value| {
            let mut merged = base;
            for (name, value) in changes.as_object().unwrap() {
                if value.is_null() {
                    merged.as_object_mut().unwrap().shift_remove(name);
                } else {
                    merged[name.as_str()] = value.clone();
                }
            }
            merged.to_string()
        };
        self.forge.sign(&merged(self.forge.header(), header), &merged(Self::claims(), claims))
    }

    pub(super) fn good(&self) -> String {
        self.but(&json!({}), &json!({}))
    }

    /// The good header and claims with another signature.
    pub(super) fn signed_by(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let good = self.good();
        let (message, _) = good.rsplit_once('.').unwrap();
        format!("{message}.{}", encoded(&sign(message.as_bytes())))
    }
}

#[test]
fn nothing_is_believed_that_should_not_be() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (algorithm, own) in Algorithm::ALL.into_iter().flat_map(|algorithm| [(algorithm, true), (algorithm, false)]) {
        let subject = Subject::new(algorithm, own);
        let lists = [form, headers, algorithms, keys, signatures, types, audiences, times, users];
        for (name, token, expected) in lists.into_iter().flat_map(|list| list(&subject)) {
            for time in ["for the first time", "again"] {
                let verdict = subject.tokens.verify(&token, at(NOW_S)).map(drop);
                if verdict != expected {
                    wrong.push(format!("{algorithm}, own: {own}, {time}: {name}: {verdict:?}, not {expected:?}"));
                }
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{count} cases");
    assert_eq!(count, CASES);
}

/// How many cases there are; a list that yields nothing would let everything pass.
const CASES: usize = 1888;

/// Parts, base64url, JSON.
fn form(subject: &Subject) -> Vec<Case> {
    let good = subject.good();
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let forge = |header: &str, claims: &str| subject.forge.sign(header, claims);
    let (base, claims) = (subject.forge.header().to_string(), Subject::claims().to_string());
    let inside = |json: &str, more: &str| format!("{}{more}}}", &json[..json.len() - 1]);
    let mut cases = vec![("as it should be".to_owned(), good.clone(), GOOD)];
    let mut bad = |name: &str, token: String| cases.push((name.to_owned(), token, MALFORMED));
    bad("nothing", String::new());
    bad("no dots", good.replace('.', ""));
    bad("dots alone", "..".to_owned());
    bad("two parts", format!("{header}.{payload}"));
    bad("no signature", format!("{header}.{payload}."));
    bad("no payload", format!("{header}..{signature}"));
    bad("no header", format!(".{payload}.{signature}"));
    bad("four parts", format!("{good}.{signature}"));
    bad("five parts, as encrypted ones have", format!("{good}.{signature}.{signature}"));
    bad("a blank in front", format!(" {good}"));
    bad("a blank behind", format!("{good} "));
    bad("an end of line within", format!("{header}.{payload}.\n{signature}"));
    bad("NUL behind", format!("{good}\0"));
    bad("padding of the header", format!("{header}=.{payload}.{signature}"));
    bad("padding of the payload", format!("{header}.{payload}==.{signature}"));
    bad("padding of the signature", format!("{good}=="));
    bad("plain base64", format!("{header}.{payload}.+/{}", &signature[2..]));
    bad("percent-encoding", good.replace('.', "%2E"));
    bad("one letter more", format!("{header}.{payload}{}.{signature}", &"AAAA"[..(5 - payload.len() % 4) % 4]));
    bad("JSON serialization", json!({ "protected": header, "payload": payload, "signature": signature }).to_string());
    bad("larger than any", subject.but(&json!({}), &json!({ "more": "x".repeat(6 * 1024) })));
    bad("larger than any, and garbage", format!("eyJ{}", "A".repeat(100_000)));
    bad("stray bits behind the signature", with_stray_bits(&good, subject.forge.signature(b"").len()));
    for (name, header) in [
        ("a header that is no JSON", "{".to_owned()),
        ("a header that is a list", format!("[{base}]")),
        ("a header with a BOM", format!("\u{feff}{base}")),
        ("a header with something behind", format!("{base}{{}}")),
        ("two algorithms", inside(&base, r#","alg":"none""#)),
        ("two algorithms, one of them escaped", inside(&base, r#","\u0061lg":"none""#)),
        ("two names of keys", inside(&base, r#","kid":"other""#)),
        ("a header with a comma too many", base.replace('}', ",}")),
    ] {
        bad(name, forge(&header, &claims));
    }
    for (name, claims) in [
        ("no claims but text", "\"text\"".to_owned()),
        ("no claims but a number", "1".to_owned()),
        ("no claims but a list", format!("[{claims}]")),
        ("claims that are no JSON", "{iss}".to_owned()),
        ("claims that are cut", claims[..claims.len() - 1].to_owned()),
        ("claims with something behind", format!("{claims}x")),
        ("two ends", inside(&claims, r#","exp":99999999999"#)),
        ("two issuers", inside(&claims, r#","iss":"joe""#)),
        ("two users", inside(&claims, r#","sub":"admin""#)),
        ("two of a claim that nobody reads", inside(&claims, r#","x":{"y":[{"z":1,"z":2}]}"#)),
        (
            "claims that are nested deeper than any",
            inside(&claims, &format!(",\"x\":{}{}", "[".repeat(9), "]".repeat(9))),
        ),
        ("a number beyond all numbers", inside(&claims, r#","x":1e999"#)),
        ("NaN", inside(&claims, r#","x":NaN"#)),
        ("half of a letter", inside(&claims, r#","x":"\ud800""#)),
        ("a comment", inside(&claims, "/**/")),
    ] {
        bad(name, forge(&base, &claims));
    }
    cases.push((
        "blanks in JSON".to_owned(),
        forge(&base.replace(',', " ,\r\n\t"), &claims.replace("\":", "\" : ")),
        GOOD,
    ));
    cases
}

/// A signature whose last letter has bits that say nothing; where each bit says something, a letter too many.
fn with_stray_bits(token: &str, signature_bytes: usize) -> String {
    if signature_bytes.is_multiple_of(3) {
        return format!("{token}A");
    }
    let (rest, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.find(last).unwrap() + 1;
    format!("{rest}{}", &alphabet[next..=next])
}

/// Members of the header that have to be, and those that must not.
fn headers(subject: &Subject) -> Vec<Case> {
    let stranger = Forge::new(subject.forge.algorithm);
    let mut cases = Vec::new();
    for (name, header, expected) in [
        ("an extension", json!({ "crit": ["exp"], "exp": 1 }), MALFORMED),
        ("no extension, but the word", json!({ "crit": [] }), MALFORMED),
        ("the word, and no list", json!({ "crit": "exp" }), MALFORMED),
        ("a payload that is not encoded (RFC 7797)", json!({ "b64": false, "crit": ["b64"] }), MALFORMED),
        ("the same, not critical", json!({ "b64": false }), MALFORMED),
        ("a payload that is encoded, in so many words", json!({ "b64": true }), MALFORMED),
        ("no algorithm", json!({ "alg": null }), MALFORMED),
        ("an algorithm that is a number", json!({ "alg": 256 }), MALFORMED),
        ("an algorithm that is a list", json!({ "alg": [subject.forge.algorithm.name()] }), MALFORMED),
        ("a name of the key that is a number", json!({ "kid": 1 }), MALFORMED),
        ("a name of the key that is a list", json!({ "kid": [subject.forge.id] }), MALFORMED),
        ("a type that is a number", json!({ "typ": 1 }), MALFORMED),
        ("a member that nobody knows", json!({ "x": { "y": [1] } }), GOOD),
        // RFC 8725, section 3.10: what the token says of keys is not even looked at.
        ("a place for keys", json!({ "jku": "http://127.0.0.1:1/", "x5u": "file:///etc/passwd" }), GOOD),
        ("a key in the token", json!({ "jwk": stranger.jwk(), "x5c": ["AAAA"], "x5t": 1 }), GOOD),
    ] {
        cases.push((name.to_owned(), subject.but(&header, &json!({})), expected));
    }
    cases
}

/// RFC 8725, section 2.1: the word of the token about its algorithm.
fn algorithms(subject: &Subject) -> Vec<Case> {
    let mut cases = Vec::new();
    let ours = subject.forge.algorithm;
    for none in ["none", "None", "NONE", "nOnE", "none ", ""] {
        cases.push((format!("{none:?}, signed"), subject.but(&json!({ "alg": none }), &json!({})), ALGORITHM));
        let unsigned = subject.but(&json!({ "alg": none }), &json!({}));
        let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
        cases.push((format!("{none:?}, unsigned"), unsigned.to_owned(), MALFORMED));
        cases.push((format!("{none:?}, a signature of one byte"), format!("{unsigned}AA"), ALGORITHM));
    }
    for other in Algorithm::ALL.into_iter().filter(|other| *other != ours) {
        cases.push((format!("{other}"), subject.but(&json!({ "alg": other.name() }), &json!({})), ALGORITHM));
    }
    for other in ["HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES512", "ES256K", "A128GCM", "RSA1_5"] {
        cases.push((other.to_owned(), subject.but(&json!({ "alg": other }), &json!({})), ALGORITHM));
    }
    let lower = ours.name().to_lowercase();
    cases.push(("in small letters".to_owned(), subject.but(&json!({ "alg": lower }), &json!({})), ALGORITHM));
    // The old one: a public key, which everybody has, as the secret of HS256.
    if let Some(public) = &subject.forge.public {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": subject.forge.id }).to_string();
        let message = format!("{}.{}", encoded(header.as_bytes()), encoded(Subject::claims().to_string().as_bytes()));
        let numbers = match public {
            verifier::PublicKey::Ed25519(x) => x.to_vec(),
            verifier::PublicKey::P256 { x, y } => [&[4][..], x, y].concat(),
            verifier::PublicKey::Rsa { n, .. } => n.clone(),
        };
        let secrets = [numbers, subject.forge.jwk().to_string().into_bytes(), subject.tokens.jwks().to_vec()];
        for secret in secrets {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let token = format!("{message}.{}", encoded(tag.as_ref()));
            cases.push(("a public key as a secret".to_owned(), token, ALGORITHM));
        }
    }
    cases
}

/// Names of keys.
fn keys(subject: &Subject) -> Vec<Case> {
    let mut cases = Vec::new();
    for id in ["other", "", "../../../dev/null", "/dev/null", "' OR 1=1 --", &"x".repeat(1000), "http://127.0.0.1:1/"] {
        cases.push((format!("{id:?}"), subject.but(&json!({ "kid": id }), &json!({})), UNKNOWN_KEY));
    }
    // Ours always name their key. Others need not, if they have one only.
    let unnamed = if subject.own { UNKNOWN_KEY } else { GOOD };
    cases.push(("unnamed".to_owned(), subject.but(&json!({ "kid": null }), &json!({})), unnamed));
    for (name, issuer) in [
        ("no issuer", Value::Null),
        ("another issuer", json!("joe")),
        ("no text", json!([ISSUER])),
        ("a number", json!(1)),
        ("nearly ours", json!(format!("{ISSUER}/"))),
        ("in capitals", json!(ISSUER.to_uppercase())),
        ("nothing", json!("")),
    ] {
        let token = subject.but(&json!({}), &json!({ "iss": issuer }));
        cases.push((format!("the issuer: {name}"), token, UNKNOWN_ISSUER));
    }
    cases
}
