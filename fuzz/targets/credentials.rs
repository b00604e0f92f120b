//! Credentials in fields: none is left where it could be forwarded, and of two different ones none is taken.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};
use keygate::gateway::credentials::{ApiKeyFields, Credentials, Places};

use super::fields_of;

pub const WORDS: &[&str] = &[
    "x-api-key: ",
    "api-key: ",
    "x-session-token: ",
    "authorization: ",
    "Bearer ",
    "bEARER\t ",
    "Basic ",
    "abc",
    "abd",
    "\n",
    ", ",
    "kg_live_0123456789",
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln",
    "é",
    " ",
    "cookie: abc",
];

/// Bytes that a key may have.
const KEY_BYTES_MAX: usize = 512;

pub fn check(data: &[u8]) {
    // The first byte says whether keys are bearers, and whether tokens are.
    let (bearer, token) = data.first().map_or((true, true), |byte| (byte & 1 == 0, byte & 2 == 0));
    let name = |text| HeaderName::from_static(text);
    let api_key = ApiKeyFields { fields: vec![name("x-api-key"), name("api-key")], bearer };
    let places = Places { api_key, token, session: vec![name("x-session-token")] };
    let (before, _) = fields_of(data.get(1..).unwrap_or_default());
    let mut fields = before.clone();
    let credentials = Credentials::take_from(&mut fields, &places);

    let ours = |name: &HeaderName| ["x-api-key", "api-key", "x-session-token"].contains(&name.as_str());
    assert!(!fields.keys().any(ours), "left behind: {:?}", fields.keys().collect::<Vec<_>>());
    let bearers: Vec<_> = before.get_all(AUTHORIZATION).iter().filter_map(|value| after_bearer(value)).collect();
    let takes_bearers = (bearer || token) && !bearers.is_empty();
    assert_eq!(fields.contains_key(AUTHORIZATION), before.contains_key(AUTHORIZATION) && !takes_bearers);
    for name in before.keys().filter(|name| !ours(name) && **name != AUTHORIZATION) {
        assert!(fields.get_all(name).iter().eq(before.get_all(name).iter()), "{name} was changed");
    }

    let secret = credentials.session();
    let offered: Vec<_> = before.get_all("x-session-token").iter().map(HeaderValue::as_bytes).collect();
    agrees("session", secret.ok(), &offered);
    // Where both may be bearers the form tells them apart, and either is one of these.
    let mut offered = values(&before, &places.api_key.fields);
    let (key, token_found) = (credentials.key(), credentials.token());
    if bearer && !token {
        offered.extend(&bearers);
    }
    if !(bearer && token) {
        agrees("key", key.ok(), &offered);
        return;
    }
    if let (Ok(key), Ok(token)) = (key, token_found) {
        offered.extend(&bearers);
        let mut taken: Vec<_> = key.into_iter().chain(token.map(str::as_bytes)).collect();
        taken.sort_unstable();
        taken.dedup();
        offered.retain(|value| !value.is_empty());
        offered.sort_unstable();
        offered.dedup();
        assert_eq!(taken, offered, "each that was offered is taken, once");
    }
}

/// One secret, however often it stands there; and it is a good one.
#[track_caller]
fn agrees(what: &str, taken: Option<Option<&[u8]>>, offered: &[&[u8]]) {
    let mut offered: Vec<_> = offered.iter().copied().filter(|value| !value.is_empty()).collect();
    offered.sort_unstable();
    offered.dedup();
    let good = |secret: &&[u8]| secret.len() <= KEY_BYTES_MAX && secret.iter().all(u8::is_ascii_graphic);
    let expected = match offered.as_slice() {
        [] => Some(None),
        [one] if good(one) => Some(Some(*one)),
        _ => None,
    };
    assert_eq!(taken, expected, "{what}");
}

fn values<'f>(fields: &'f HeaderMap, names: &[HeaderName]) -> Vec<&'f [u8]> {
    names.iter().flat_map(|name| fields.get_all(name)).map(HeaderValue::as_bytes).collect()
}

/// What follows `Bearer` and blanks.
fn after_bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    let scheme = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))?;
    let rest = &value[scheme.len()..];
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (blanks > 0 || rest.is_empty()).then(|| &rest[blanks..])
}
