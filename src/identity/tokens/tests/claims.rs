//! Attacks by what a token says of itself, with a signature that is good.

use super::attacks::{AUDIENCE, CLAIMS, Case, EARLY, EXPIRED, GOOD, Subject, TYPE};
use super::*;

/// RFC 8725, section 3.11: one kind of token in place of another.
pub(super) fn types(subject: &Subject) -> Vec<Case> {
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
pub(super) fn audiences(subject: &Subject) -> Vec<Case> {
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
pub(super) fn times(subject: &Subject) -> Vec<Case> {
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
pub(super) fn users(subject: &Subject) -> Vec<Case> {
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
