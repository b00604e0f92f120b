//! What a delivery must bring in order to pass.
//!
//! Signatures were computed elsewhere: those of HMAC by Python's `hmac`, `hmac.new(secret, content, sha256).hexdigest()`,
//! those of Ed25519 by OpenSSL, `openssl pkeyutl -sign -rawin` with the key of RFC 8032, section 7.1, test 1.

use std::time::Instant;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z
const SENT_S: u64 = 1_767_225_600;
const BODY: &[u8] = br#"{"amount":1250,"id":"evt_1"}"#;
const TOLERANCE: Duration = Duration::from_secs(300);

/// Of `1767225600.` and the body, with the secret `whsec_new_0123456789abcdef`, and with `whsec_old_0123456789abcdef`.
const NEW: &str = "fffdfa1995c5b294e55192288cf7837cc3ad041f80747455e5560953e5531a05";
const OLD: &str = "afcb99aa4f9fbd7fc339397877d9281459df2ea776784a8fee104555d147ad7c";
/// Of the body, with the secret `plain-secret-0123456789`.
const PLAIN: &str = "c9b46094d70fba974127e83d02b79c35d42e5db53bbc3f24177f91f5b73e0816";

/// The vector of Standard Webhooks 1.0.0, which its libraries are tested with, and a signature of the same by Ed25519.
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_SENT_S: u64 = 1_614_265_330;
const STANDARD_V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_V1A: &str =
    "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw==";

pub(super) fn kind(label: Option<&str>) -> Kind {
    let secrets = SecretForm { prefix: String::new(), written: Written::Text };
    Kind { label: label.map(str::to_owned), algorithm: Algorithm::HmacSha256, encoding: Encoding::Hex, secrets }
}

/// A signature of the body in a field of its own.
pub(super) fn plain() -> Description {
    Description {
        name: "plain".into(),
        field: HeaderName::from_static("x-signature"),
        separator: None,
        label_end: LabelEnd::Equals,
        kinds: vec![kind(None)],
        timestamp: None,
        id: None,
        signed: "{body}".into(),
        replay: None,
    }
}

/// Time and signatures in one field.
pub(super) fn list() -> Description {
    Description {
        name: "list".into(),
        separator: Some(Separator::Comma),
        kinds: vec![kind(Some("v1"))],
        timestamp: Some(Place::Member("t".into())),
        signed: "{timestamp}.{body}".into(),
        ..plain()
    }
}

/// Standard Webhooks 1.0.0: symmetric and asymmetric signatures, time and id in fields of their own.
pub(super) fn standard() -> Description {
    let kind = |label: &str, algorithm, prefix: &str| Kind {
        label: Some(label.into()),
        algorithm,
        encoding: Encoding::Base64,
        secrets: SecretForm { prefix: prefix.into(), written: Written::Base64 },
    };
    Description {
        name: "standard".into(),
        field: HeaderName::from_static("webhook-signature"),
        separator: Some(Separator::Space),
        label_end: LabelEnd::Comma,
        kinds: vec![kind("v1", Algorithm::HmacSha256, "whsec_"), kind("v1a", Algorithm::Ed25519, "whpk_")],
        timestamp: Some(Place::Field(HeaderName::from_static("webhook-timestamp"))),
        id: Some(Place::Field(HeaderName::from_static("webhook-id"))),
        signed: "{id}.{timestamp}.{body}".into(),
        replay: None,
    }
}

const SECRETS: &str = "
- { provider: plain, tenant: acme, environment: live, secrets: [plain-secret-0123456789] }
- { provider: list, tenant: acme, environment: live, secrets: [whsec_new_0123456789abcdef, whsec_old_0123456789abcdef] }
- provider: standard
  tenant: acme
  environment: live
  secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]
- { provider: list, secrets: [whsec_new_0123456789abcdef] }
";

pub(super) fn parse(schemes: &Schemes, text: &str) -> Result<Secrets, crate::document::Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.yaml");
    std::fs::write(&path, text).unwrap();
    SecretsFile::new(path).read(schemes)
}

fn webhooks_of(descriptions: Vec<Description>, secrets: &str) -> Webhooks {
    let schemes = descriptions.into_iter().map(|description| Scheme::new(description).unwrap());
    let schemes = Schemes::new(schemes.collect());
    let secrets = parse(&schemes, secrets).unwrap();
    Webhooks::new(schemes, TOLERANCE, secrets, Arc::new(Replays::new()))
}

fn webhooks() -> Webhooks {
    webhooks_of(vec![plain(), list(), standard()], SECRETS)
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let parsed = lines.iter().map(|(name, value)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    parsed.collect()
}

fn at(seconds: u64) -> Moment {
    Moment { unix_ns: seconds * 1_000_000_000 + 999_999_999, monotonic_ns: seconds * 1_000_000_000 }
}

/// What becomes of a delivery to the live environment of acme that is kept if it passes.
fn deliver(
    webhooks: &Webhooks,
    scheme: &str,
    lines: &[(&str, &str)],
    body: &[u8],
    now: u64,
) -> Result<(), SignatureError> {
    webhooks.verify(scheme, "acme", "live", &fields(lines), body, at(now)).map(Verified::keep)
}

#[test]
fn what_was_signed_with_a_secret_passes() {
    let check = |scheme: &str, lines: &[(&str, &str)], body: &[u8], now: u64| {
        assert_eq!(deliver(&webhooks(), scheme, lines, body, now), Ok(()), "{scheme} {lines:?}");
    };
    check("plain", &[("X-Signature", PLAIN)], BODY, SENT_S);
    check("plain", &[("X-Signature", &PLAIN.to_uppercase())], BODY, 0);
    check("list", &[("X-Signature", &format!("t={SENT_S},v1={NEW}"))], BODY, SENT_S);
    check("list", &[("X-Signature", &format!("v1={OLD},t={SENT_S}"))], BODY, SENT_S);
    check("list", &[("X-Signature", &format!("t={SENT_S},v1={PLAIN},v0=old,v1={NEW}"))], BODY, SENT_S);
    let standard = |signature| {
        let lines = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ];
        check("standard", &lines, STANDARD_BODY, STANDARD_SENT_S);
    };
    standard(STANDARD_V1);
    standard(STANDARD_V1A);
    standard(&format!("v2,x {STANDARD_V1A} {STANDARD_V1}"));
}

/// What others sign with other separators, labels, algorithms and encodings.
#[test]
fn every_part_of_the_language_is_spoken() {
    let check = |description: Description, secret: &str, lines: &[(&str, &str)], body: &[u8], now: u64| {
        let name = description.name.clone();
        let secrets = format!("- {{ provider: {name}, tenant: acme, environment: live, secrets: ['{secret}'] }}");
        let webhooks = webhooks_of(vec![description], &secrets);
        assert_eq!(deliver(&webhooks, &name, lines, body, now), Ok(()), "{lines:?}");
        assert_eq!(deliver(&webhooks, &name, lines, b"{}", now), Err(SignatureError::Mismatch), "{lines:?}");
    };
    let text = "plain-secret-0123456789";
    let base64 = Kind { encoding: Encoding::Base64, ..kind(None) };
    let signature = "ybRglNcPupdBJ+g9ArecNdQuXbU7vD8kF3+R9bc+CBY=";
    check(Description { kinds: vec![base64], ..plain() }, text, &[("x-signature", signature)], BODY, 0);
    let sha512 = Kind { algorithm: Algorithm::HmacSha512, ..kind(None) };
    let signature = "647ccec29b6293aa09da2b7aa9948cae317393b917ff2e4772dde18991c196f8\
                     6493f16b2c0a2cebc4546dca1638eb5c532fd12aff26181ae858c79b58ccdc86";
    check(Description { kinds: vec![sha512], ..plain() }, text, &[("x-signature", signature)], BODY, 0);
    let hex = Kind { secrets: SecretForm { prefix: "hex:".into(), written: Written::Hex }, ..kind(None) };
    // The hexadecimal digits of the text.
    let secret = "hex:706c61696e2d7365637265742d30313233343536373839";
    check(Description { kinds: vec![hex], ..plain() }, secret, &[("x-signature", PLAIN)], BODY, 0);

    let semicolons = Description { separator: Some(Separator::Semicolon), label_end: LabelEnd::Colon, ..list() };
    let lines = [("x-signature", &*format!("t:{SENT_S};v1:{NEW}"))];
    check(semicolons, "whsec_new_0123456789abcdef", &lines, BODY, SENT_S);

    let public = Kind {
        algorithm: Algorithm::Ed25519,
        secrets: SecretForm { prefix: String::new(), written: Written::Hex },
        ..kind(None)
    };
    let time = Some(Place::Field(HeaderName::from_static("x-time")));
    let touching = Description { kinds: vec![public], timestamp: time, signed: "{timestamp}{body}".into(), ..plain() };
    let signature = "3f18944fb1f2b97695ba0e7f1bd40d79863946cf9e6a345ff92eb8655bc48f5f\
                     ab2895b5529487221ee5434c1245a7e200f46fe6c8b13d32e64bfcdaba67dc0d";
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    check(touching, key, &[("x-signature", signature), ("x-time", "1767225600")], BODY, SENT_S);
}

#[test]
fn a_secret_is_good_for_its_own_provider_tenant_and_environment() {
    let webhooks = webhooks();
    let signature = format!("t={SENT_S},v1={NEW}");
    let lines = fields(&[("x-signature", &signature)]);
    let verify = |scheme: &str, tenant: &str, environment: &str| {
        webhooks.verify(scheme, tenant, environment, &lines, BODY, at(SENT_S)).map(Verified::keep)
    };
    for (tenant, environment) in [("acme", "test"), ("acmelive", ""), ("", "acmelive"), ("live", "acme"), ("acme", "")]
    {
        assert_eq!(verify("list", tenant, environment), Err(SignatureError::NoSecret), "{tenant} {environment}");
    }
    assert_eq!(verify("lists", "acme", "live"), Err(SignatureError::UnknownScheme));
    assert_eq!(verify("list", "", ""), Ok(()), "a request that bears neither has secrets of its own");
    assert_eq!(verify("list", "acme", "live"), Ok(()), "and deliveries of its own");
}

/// The wrong signature, but right in every other way; what is refused for more than one reason is refused for the first.
#[test]
fn what_is_refused_is_refused_for_the_first_reason() {
    let webhooks = webhooks();
    let check = |scheme: &str, lines: &[(&str, &str)], now: u64, expected: SignatureError| {
        assert_eq!(deliver(&webhooks, scheme, lines, BODY, now), Err(expected), "{scheme} {lines:?} {now}");
        let told = webhooks.check_fields(scheme, &fields(lines));
        let early = matches!(
            expected,
            SignatureError::UnknownScheme | SignatureError::Missing(_) | SignatureError::Malformed(_)
        );
        assert_eq!(told.err(), early.then_some(expected), "{scheme} {lines:?}: before the body is there");
    };
    let good = format!("t={SENT_S},v1={NEW}");
    let bad = format!("t={SENT_S},v1={PLAIN}");
    check("nobody", &[("x-signature", &good)], SENT_S, SignatureError::UnknownScheme);
    check("list", &[], SENT_S, SignatureError::Missing(Part::Signature));
    check("list", &[("x-signature", &bad)], SENT_S, SignatureError::Mismatch);
    check("list", &[("x-signature", &bad)], SENT_S + 301, SignatureError::Mismatch);
    check("list", &[("x-signature", &good)], SENT_S + 301, SignatureError::TooOld);
    check("list", &[("x-signature", &good)], SENT_S - 301, SignatureError::TooNew);
    check("list", &[("x-signature", &good)], 0, SignatureError::TooNew);
    check("plain", &[("x-signature", OLD)], SENT_S, SignatureError::Mismatch);
}

#[test]
fn the_tolerance_holds_in_both_directions_to_the_second() {
    for (now, expected) in [
        (SENT_S - 300, Ok(())),
        (SENT_S + 300, Ok(())),
        (SENT_S - 301, Err(SignatureError::TooNew)),
        (SENT_S + 301, Err(SignatureError::TooOld)),
    ] {
        let lines = [("x-signature", &*format!("t={SENT_S},v1={NEW}"))];
        assert_eq!(deliver(&webhooks(), "list", &lines, BODY, now), expected, "{now}");
    }
}

#[test]
fn a_delivery_passes_once() {
    let webhooks = webhooks();
    let check = |lines: &[(&str, &str)], expected| {
        assert_eq!(deliver(&webhooks, "list", lines, BODY, SENT_S), expected, "{lines:?}");
    };
    check(&[("x-signature", &format!("t={SENT_S},v1={NEW},v1={OLD}"))], Ok(()));
    // Whoever has overheard it may leave out a signature, or write it otherwise: it is the same delivery.
    for again in [format!("t={SENT_S},v1={NEW}"), format!("v1={},t={SENT_S}", OLD.to_uppercase())] {
        check(&[("x-signature", &again)], Err(SignatureError::Replayed));
    }
    let (id, time) = (("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"), ("webhook-timestamp", "1614265330"));
    for (signature, expected) in [(STANDARD_V1, Ok(())), (STANDARD_V1A, Err(SignatureError::Replayed))] {
        let lines = [id, time, ("webhook-signature", signature)];
        assert_eq!(deliver(&webhooks, "standard", &lines, STANDARD_BODY, STANDARD_SENT_S), expected, "{signature}");
    }
    for _ in 0..2 {
        let plain = [("x-signature", PLAIN)];
        assert_eq!(deliver(&webhooks, "plain", &plain, BODY, SENT_S), Ok(()), "nothing to recognise it by");
    }
}

/// An upstream that was away must see the delivery when its sender repeats it.
#[test]
fn a_delivery_that_did_not_arrive_may_come_again() {
    let webhooks = webhooks();
    let lines = fields(&[("x-signature", &format!("t={SENT_S},v1={NEW}"))]);
    let verify = |now| webhooks.verify("list", "acme", "live", &lines, BODY, at(now));
    let first = verify(SENT_S).unwrap();
    assert_eq!(verify(SENT_S).unwrap_err(), SignatureError::Replayed, "while the first is on its way");
    drop(first);
    verify(SENT_S + 1).unwrap().keep();
    assert_eq!(verify(SENT_S + 2).unwrap_err(), SignatureError::Replayed);
    assert_eq!(verify(SENT_S + 300).unwrap_err(), SignatureError::Replayed, "as long as it is not too old");
}

/// A refusal leaves nothing behind: whoever cannot sign cannot make us remember anything.
#[test]
fn only_what_was_signed_well_is_remembered() {
    let webhooks = webhooks();
    let signature = format!("t={SENT_S},v1={PLAIN}");
    for now in [SENT_S, SENT_S + 301] {
        assert!(deliver(&webhooks, "list", &[("x-signature", &signature)], BODY, now).is_err());
    }
    let old = format!("t={SENT_S},v1={NEW}");
    assert_eq!(deliver(&webhooks, "list", &[("x-signature", &old)], BODY, 0), Err(SignatureError::TooNew));
    assert!(webhooks.replays.is_empty());
}

#[test]
fn of_the_same_delivery_at_the_same_time_one_passes() {
    let webhooks = webhooks();
    let lines = fields(&[("x-signature", &format!("t={SENT_S},v1={NEW}"))]);
    for round in 0..50 {
        let now = at(SENT_S + round);
        let verify = || webhooks.verify("list", "acme", "live", &lines, BODY, now);
        let start = std::sync::Barrier::new(4);
        let passed: Vec<_> = std::thread::scope(|scope| {
            let race = || {
                start.wait();
                verify()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(passed.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
        assert_eq!(passed.iter().filter(|result| matches!(result, Err(SignatureError::Replayed))).count(), 3);
        drop(passed);
        assert!(webhooks.replays.is_empty(), "forgotten with what was dropped");
    }
}

#[test]
fn secrets_are_exchanged_whole_and_deliveries_stay_remembered() {
    let before = webhooks();
    let lines = [("x-signature", &*format!("t={SENT_S},v1={NEW},v1={OLD}"))];
    assert_eq!(deliver(&before, "list", &lines, BODY, SENT_S), Ok(()));
    let secrets = "- { provider: list, tenant: acme, environment: live, secrets: [whsec_old_0123456789abcdef] }";
    let after = before.with_secrets(parse(before.schemes(), secrets).unwrap());
    assert_eq!((before.secrets(), after.secrets()), (4, 1));
    assert_eq!(deliver(&after, "list", &lines, BODY, SENT_S), Err(SignatureError::Replayed));
    let new_alone = [("x-signature", &*format!("t={SENT_S},v1={NEW}"))];
    assert_eq!(deliver(&after, "list", &new_alone, BODY, SENT_S), Err(SignatureError::Mismatch));
    let plain = [("x-signature", PLAIN)];
    assert_eq!(deliver(&after, "plain", &plain, BODY, SENT_S), Err(SignatureError::NoSecret));
}

/// Whether a tenant exists must not be seen in the time of a refusal. Measured generously: the decoy does the same work,
/// and without it a refusal would take a thousandth.
#[test]
fn a_tenant_without_secrets_costs_as_much_as_one_with_a_wrong_one() {
    let webhooks = webhooks();
    let body = vec![b'x'; 1 << 20];
    let signature = format!("t={SENT_S},v1={PLAIN}");
    let standard = [("webhook-id", "msg_1"), ("webhook-timestamp", "1614265330"), ("webhook-signature", STANDARD_V1A)];
    for (scheme, lines) in [("plain", fields(&[("x-signature", OLD)])), ("standard", fields(&standard))] {
        let quickest = |tenant: &str, expected: SignatureError| {
            let once = || {
                let start = Instant::now();
                let refused = webhooks.verify(scheme, tenant, "live", &lines, &body, at(SENT_S)).unwrap_err();
                assert_eq!(refused, expected, "{scheme} {signature}");
                start.elapsed()
            };
            (0..9).map(|_| once()).min().unwrap()
        };
        let with = quickest("acme", SignatureError::Mismatch);
        let without = quickest("nobody", SignatureError::NoSecret);
        assert!(with < without * 4 && without < with * 4, "{scheme}: {with:?} and {without:?}");
    }
}

#[test]
fn nothing_prints_a_secret() {
    let webhooks = webhooks();
    let lines = fields(&[("x-signature", &format!("t={SENT_S},v1={NEW}"))]);
    let verified = webhooks.verify("list", "acme", "live", &lines, BODY, at(SENT_S)).unwrap();
    let printed = format!("{webhooks:#?} {verified:#?}");
    for secret in ["0123456789", "MfKQ9r8GKYq", "11qYAYKxCr", "acme", NEW] {
        assert!(!printed.contains(secret), "{secret}");
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_of_the_body_refuses(bit in 0..BODY.len() * 8) {
        let mut body = BODY.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let lines = [("x-signature", &*format!("t={SENT_S},v1={NEW}"))];
        prop_assert_eq!(deliver(&webhooks(), "list", &lines, &body, SENT_S), Err(SignatureError::Mismatch));
        let lines = [("x-signature", PLAIN)];
        prop_assert_eq!(deliver(&webhooks(), "plain", &lines, &body, SENT_S), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_body_that_is_longer_or_shorter_refuses(length in 0..BODY.len(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let lines = [("x-signature", &*format!("t={SENT_S},v1={NEW}"))];
        let longer = [BODY, &more].concat();
        for body in [&BODY[..length], &longer] {
            prop_assert_eq!(deliver(&webhooks(), "list", &lines, body, SENT_S), Err(SignatureError::Mismatch));
        }
    }

    /// Only the case of hexadecimal digits may differ: there is one way to write the same in base64.
    #[test]
    fn any_other_character_of_a_signature_refuses(place in 0..1000_usize, other in prop::char::range('!', '~')) {
        let id = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let list = format!("t={SENT_S},v1={NEW}");
        for (scheme, value, body, sent) in [
            ("list", &*list, BODY, SENT_S),
            ("standard", STANDARD_V1, STANDARD_BODY, STANDARD_SENT_S),
            ("standard", STANDARD_V1A, STANDARD_BODY, STANDARD_SENT_S),
        ] {
            let mut changed: Vec<char> = value.chars().collect();
            let place = place % changed.len();
            let before = std::mem::replace(&mut changed[place], other);
            let digit = scheme == "list" && place >= value.len() - NEW.len() && before.eq_ignore_ascii_case(&other);
            let changed: String = changed.into_iter().collect();
            let lines = [id, ("webhook-timestamp", "1614265330"), ("webhook-signature", &changed), ("x-signature", &changed)];
            let passed = deliver(&webhooks(), scheme, &lines, body, sent).is_ok();
            prop_assert_eq!(passed, before == other || digit, "{} {}", scheme, changed);
        }
    }

    /// Nothing that anybody can put into the fields makes more of it than a refusal.
    #[test]
    fn no_value_of_a_field_is_too_strange(value in "[\\t -~]{0,200}", time in "[0-9+ .-]{0,20}", id in "[ -~]{0,20}") {
        let lines = [("x-signature", &*value), ("webhook-signature", &value), ("webhook-timestamp", &time), ("webhook-id", &id)];
        for scheme in ["plain", "list", "standard"] {
            prop_assert!(deliver(&webhooks(), scheme, &lines, BODY, SENT_S).is_err());
        }
    }
}
