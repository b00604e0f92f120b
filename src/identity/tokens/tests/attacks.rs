//! What must never be believed: the attacks of RFC 8725, and the classes of faults that test vectors for JWS have, for
//! each algorithm, against our own tokens and those of others.

use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};

use super::*;

/// What came out is what should: `Ok` or the reason.
type Case = (String, String, Result<(), TokenError>);

const MALFORMED: Result<(), TokenError> = Err(TokenError::Malformed);
const SIGNATURE: Result<(), TokenError> = Err(TokenError::Signature);
const ALGORITHM: Result<(), TokenError> = Err(TokenError::Algorithm);
const UNKNOWN_KEY: Result<(), TokenError> = Err(TokenError::UnknownKey);
const UNKNOWN_ISSUER: Result<(), TokenError> = Err(TokenError::UnknownIssuer);
const TYPE: Result<(), TokenError> = Err(TokenError::Type);
const AUDIENCE: Result<(), TokenError> = Err(TokenError::Audience);
const CLAIMS: Result<(), TokenError> = Err(TokenError::Claims);
const EARLY: Result<(), TokenError> = Err(TokenError::NotYetValid);
const EXPIRED: Result<(), TokenError> = Err(TokenError::Expired);
const GOOD: Result<(), TokenError> = Ok(());

/// One issuer whose private key we hold.
struct Subject {
    own: bool,
    forge: Forge,
    tokens: Tokens,
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

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": API, "sub": "user_1", "sid": "login_1", "jti": "at_1",
            "iat": NOW_S - 60, "exp": NOW_S + 840, "tenant": "acme", "roles": ["clerk"], "permissions": ["a:read"],
        })
    }

    /// A good token but for these members of its header and its claims; `null` leaves one out.
    fn but(&self, header: &Value, claims: &Value) -> String {
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

    fn good(&self) -> String {
        self.but(&json!({}), &json!({}))
    }

    /// The good header and claims with another signature.
    fn signed_by(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
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

/// Signatures that are none.
fn signatures(subject: &Subject) -> Vec<Case> {
    let (forge, stranger) = (&subject.forge, Forge::new(subject.forge.algorithm));
    let mut cases = Vec::new();
    let mut bad = |name: &str, token: String| cases.push((name.to_owned(), token, SIGNATURE));
    let length = forge.signature(b"").len();
    for at in [0, 1, length / 2 - 1, length / 2, length - 1] {
        for bit in [1, 0x80] {
            let flipped = subject.signed_by(|message| {
                let mut signature = forge.signature(message);
                signature[at] ^= bit;
                signature
            });
            bad(&format!("bit {bit} of byte {at}"), flipped);
        }
    }
    bad("zeros", subject.signed_by(|_| vec![0; length]));
    bad("ones", subject.signed_by(|_| vec![0xff; length]));
    bad("one byte less", subject.signed_by(|message| forge.signature(message)[..length - 1].to_vec()));
    bad("half of it", subject.signed_by(|message| forge.signature(message)[..length / 2].to_vec()));
    bad("one byte", subject.signed_by(|message| forge.signature(message)[..1].to_vec()));
    bad("a zero more behind", subject.signed_by(|message| [forge.signature(message), vec![0]].concat()));
    bad("a zero more in front", subject.signed_by(|message| [vec![0], forge.signature(message)].concat()));
    bad("twice", subject.signed_by(|message| forge.signature(message).repeat(2)));
    bad("of something else", subject.signed_by(|_| forge.signature(b"something else")));
    bad(
        "of the payload alone",
        subject.signed_by(|message| {
            let at = message.iter().position(|byte| *byte == b'.').unwrap();
            forge.signature(&message[at + 1..])
        }),
    );
    bad("of a stranger", subject.signed_by(|message| stranger.signature(message)));
    // RFC 8725, section 3.10: the key that signs it is in it.
    let mut header = forge.header();
    header["jwk"] = stranger.jwk();
    bad("of a stranger who brings his key along", stranger.sign(&header.to_string(), &Subject::claims().to_string()));
    let good = subject.good();
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut claims = Subject::claims();
    claims["exp"] = json!(NOW_S + 1_000_000);
    bad("a longer life", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    // A token that is changed is never merely old: whoever answers differently to old ones would help a forger.
    claims["exp"] = json!(NOW_S - 1_000_000);
    bad("a shorter life", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    claims["aud"] = json!(1);
    bad("another audience", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    let mut other = forge.header();
    other["typ"] = json!("JWT");
    bad("another type", format!("{}.{payload}.{signature}", encoded(other.to_string().as_bytes())));
    bad("an old token of a stranger", stranger.sign(&forge.header().to_string(), &claims.to_string()));
    for (name, sign) in special(subject.forge.algorithm) {
        bad(name, subject.signed_by(|message| sign(forge, message)));
    }
    cases
}

type Sign = fn(&Forge, &[u8]) -> Vec<u8>;

/// Signatures that only this algorithm can have.
fn special(algorithm: Algorithm) -> Vec<(&'static str, Sign)> {
    match algorithm {
        Algorithm::EdDsa => vec![
            ("S beyond the order of the group (RFC 8032, section 8.4)", |forge, message| {
                let mut signature = forge.signature(message);
                let mut carry = 0;
                for (byte, order) in signature[32..].iter_mut().zip(ED25519_ORDER) {
                    let sum = u16::from(*byte) + u16::from(order) + carry;
                    (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
                }
                signature
            }),
            ("halves changed over", |forge, message| {
                let signature = forge.signature(message);
                [&signature[32..], &signature[..32]].concat()
            }),
            ("R of no order, S of zero", |_, _| [&[1][..], &[0; 63]].concat()),
        ],
        Algorithm::Es256 => vec![
            ("DER", Forge::ecdsa_der),
            ("halves changed over", |forge, message| {
                let signature = forge.signature(message);
                [&signature[32..], &signature[..32]].concat()
            }),
            ("r of zero", |forge, message| [&[0; 32][..], &forge.signature(message)[32..]].concat()),
            ("s of zero", |forge, message| [&forge.signature(message)[..32], &[0; 32]].concat()),
            ("r of the order of the group", |_, _| [&P256_ORDER[..], &[0; 31], &[1]].concat()),
            ("r and s of the order of the group", |_, _| P256_ORDER.repeat(2)),
            ("r and s of one", |_, _| [[0; 31].as_slice(), &[1], &[0; 31], &[1]].concat()),
            ("each half with a zero in front", |forge, message| {
                let signature = forge.signature(message);
                [&[0][..], &signature[..32], &[0], &signature[32..]].concat()
            }),
        ],
        Algorithm::Rs256 => vec![
            ("SHA-512", |forge, message| forge.rsa(&RSA_PKCS1_SHA512, message)),
            ("PSS", |forge, message| forge.rsa(&RSA_PSS_SHA256, message)),
            ("one", |_, _| [&[0; 255][..], &[1]].concat()),
        ],
        Algorithm::Hs256 => vec![
            ("SHA-512", |forge, message| forge.hmac(hmac::HMAC_SHA512, message)),
            ("SHA-512, cut", |forge, message| forge.hmac(hmac::HMAC_SHA512, message)[..32].to_vec()),
            ("half a tag", |forge, message| forge.signature(message)[..16].to_vec()),
            ("no secret", |_, message| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), message).as_ref().to_vec()),
            ("a hash", |forge, message| {
                use sha2::Digest as _;
                sha2::Sha256::digest([forge.file.trim_end().as_bytes(), message].concat()).to_vec()
            }),
        ],
    }
}

/// RFC 8032, section 5.1, with its least octet first.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// SEC 2, section 2.4.2.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// RFC 8725, section 3.11: one kind of token in place of another.
fn types(subject: &Subject) -> Vec<Case> {
    let foreign = if subject.own { TYPE } else { GOOD };
    let mut cases = Vec::new();
    for (typ, expected) in [
        (json!("AT+JWT"), GOOD),
        (json!("application/at+jwt"), GOOD),
        (json!("JWT"), foreign),
        (Value::Null, foreign),
        (json!("rt+jwt"), TYPE),
        (json!("secevent+jwt"), TYPE),
        (json!("dpop+jwt"), TYPE),
        (json!("at+jwt,rt+jwt"), TYPE),
        (json!(""), TYPE),
    ] {
        cases.push((format!("the type {typ}"), subject.but(&json!({ "typ": typ }), &json!({})), expected));
    }
    if subject.own {
        let refresh = subject.tokens.issue_refresh("user_1", "login_1", at(NOW_S)).unwrap();
        cases.push(("a refresh token".to_owned(), refresh.token.expose().to_owned(), TYPE));
        let audience = json!({ "aud": format!("{ISSUER}#refresh") });
        cases.push(("a token for ourselves".to_owned(), subject.but(&json!({}), &audience), AUDIENCE));
    }
    cases
}

/// RFC 8725, section 3.9.
fn audiences(subject: &Subject) -> Vec<Case> {
    let second = if subject.own { AUDIENCE } else { GOOD };
    let cases = [
        (Value::Null, AUDIENCE),
        (json!("https://other.example.com"), AUDIENCE),
        (json!(""), AUDIENCE),
        (json!([]), AUDIENCE),
        (json!(ISSUER), AUDIENCE),
        (json!(format!("{API}/")), AUDIENCE),
        (json!(API.to_uppercase()), AUDIENCE),
        (json!(format!("{API} other")), AUDIENCE),
        (json!([format!("{API}.evil.example.com"), "other"]), AUDIENCE),
        (json!(["other", API]), GOOD),
        (json!([API]), GOOD),
        (json!("second"), second),
        (json!([API, 1]), CLAIMS),
        (json!([[API]]), CLAIMS),
        (json!({ API: true }), CLAIMS),
        (json!(1), CLAIMS),
        (json!(true), CLAIMS),
    ];
    let case = |(audience, expected): (Value, _)| {
        let token = subject.but(&json!({}), &json!({ "aud": audience }));
        (format!("the audience {audience}"), token, expected)
    };
    cases.into_iter().map(case).collect()
}

/// Dates, with a leeway of 5 s.
fn times(subject: &Subject) -> Vec<Case> {
    let mut cases = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "a date in this century is exact")]
    let now = NOW_S as f64;
    for (name, date, expected) in [
        ("exp", Value::Null, CLAIMS),
        ("exp", json!("2030-01-01T00:00:00Z"), CLAIMS),
        ("exp", json!(format!("{}", NOW_S + 900)), CLAIMS),
        ("exp", json!(true), CLAIMS),
        ("exp", json!([NOW_S + 900]), CLAIMS),
        ("exp", json!({}), CLAIMS),
        ("exp", json!(-1), CLAIMS),
        ("exp", json!(-1.5), CLAIMS),
        ("exp", json!(1e300), CLAIMS),
        ("exp", json!(0), EXPIRED),
        ("exp", json!(NOW_S - 1_000_000), EXPIRED),
        ("exp", json!(NOW_S - 5), EXPIRED),
        ("exp", json!(now - 4.5), EXPIRED),
        ("exp", json!(NOW_S - 4), GOOD),
        ("exp", json!(now - 3.5), GOOD),
        ("exp", json!(u64::MAX), GOOD),
        ("nbf", json!(NOW_S + 6), EARLY),
        ("nbf", json!(now + 5.5), EARLY),
        ("nbf", json!(u64::MAX), EARLY),
        ("nbf", json!(NOW_S + 5), GOOD),
        ("nbf", json!(0), GOOD),
        ("nbf", json!("0"), CLAIMS),
        ("nbf", json!(-1), CLAIMS),
        ("iat", json!(NOW_S + 6), EARLY),
        ("iat", json!(NOW_S + 1_000_000), EARLY),
        ("iat", json!(NOW_S + 5), GOOD),
        ("iat", json!("0"), CLAIMS),
        ("iat", json!([]), CLAIMS),
    ] {
        cases.push((format!("{name} {date}"), subject.but(&json!({}), &json!({ name: date })), expected));
    }
    let both = subject.but(&json!({}), &json!({ "exp": NOW_S - 100, "aud": "other" }));
    cases.push(("old, and not for us".to_owned(), both, AUDIENCE));
    cases
}

/// Who it is for.
fn users(subject: &Subject) -> Vec<Case> {
    let login = if subject.own { CLAIMS } else { GOOD };
    let no_tenant = if subject.own { GOOD } else { CLAIMS };
    let mut cases = Vec::new();
    for (name, value, expected) in [
        ("sub", Value::Null, CLAIMS),
        ("sub", json!(""), CLAIMS),
        ("sub", json!(1), CLAIMS),
        ("sub", json!(["user_1"]), CLAIMS),
        ("sub", json!("user\r\nX-Admin: yes"), CLAIMS),
        ("sub", json!("user\u{0}"), CLAIMS),
        ("sub", json!("x".repeat(1025)), CLAIMS),
        ("sid", Value::Null, login),
        ("sid", json!(1), login),
        ("sid", json!(""), login),
        // A user without a tenant may act in all of them: who leaves it out must not get there.
        ("tenant", Value::Null, no_tenant),
        ("tenant", json!(""), CLAIMS),
        ("tenant", json!(7), CLAIMS),
        ("tenant", json!(["acme"]), CLAIMS),
        ("tenant", json!("a\nb"), CLAIMS),
        ("roles", Value::Null, GOOD),
        ("roles", json!("clerk admin"), GOOD),
        ("roles", json!(["Domain Users"]), GOOD),
        ("roles", json!(1), CLAIMS),
        ("roles", json!([1]), CLAIMS),
        ("roles", json!([""]), CLAIMS),
        ("roles", json!({ "admin": true }), CLAIMS),
        ("permissions", Value::Null, GOOD),
        ("permissions", json!(""), GOOD),
        ("permissions", json!("a:read  b:*"), GOOD),
        ("permissions", json!(["a:read *"]), CLAIMS),
        ("permissions", json!(["a:read\n"]), CLAIMS),
        ("permissions", json!([null]), CLAIMS),
        ("permissions", json!(true), CLAIMS),
    ] {
        cases.push((format!("{name} {value}"), subject.but(&json!({}), &json!({ name: value })), expected));
    }
    // `null` in the text itself is a claim of the wrong type, not one that is missing.
    for name in ["exp", "aud", "sub", "tenant", "roles", "permissions", "nbf"] {
        let mut claims = Subject::claims();
        claims[name] = Value::Null;
        let token = subject.forge.sign(&subject.forge.header().to_string(), &claims.to_string());
        cases.push((format!("{name} null"), token, CLAIMS));
    }
    cases
}

/// RFC 7515, appendices A.1 to A.3: one payload, three algorithms. The signatures are good, and so what is wrong is that
/// they are for nobody.
#[test]
fn the_tokens_of_the_rfc_are_signed_as_they_should_be() {
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let jwks = json!({ "keys": [
        { "kty": "oct",
          "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" },
        { "kty": "RSA", "e": "AQAB",
          "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
                T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
                dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
                GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" },
        { "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
          "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
    ] });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, jwks.to_string()).unwrap();
    let settings = IssuerSettings { issuer: "joe".to_owned(), ..foreign_settings(JwksSource::File(file)) };
    let tokens = Tokens::open(None, vec![settings], at(1_300_819_000)).unwrap();
    for (header, signature) in [
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb\
             F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
             LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
             wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let now = at(1_300_819_000);
        assert_eq!(tokens.verify(&format!("{header}.{PAYLOAD}.{signature}"), now), Err(TokenError::Audience));
        let changed = signature.replacen(['D', 'c', 'd'], "E", 1);
        assert_eq!(tokens.verify(&format!("{header}.{PAYLOAD}.{changed}"), now), Err(TokenError::Signature));
    }
}
