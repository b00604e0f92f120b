//! Whoever pretends to be somebody: with fields, with tokens of others, with deliveries that were here before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::client::Response;
use crate::gate::Gate;
use crate::shipped::{PASSWORD, Shipped, hmac_hex, post, text_at};
use crate::upstream::{Then, Upstream, respond};

/// What a client writes that must not arrive.
const EVIL: &str = "evil";

/// Names under which the upstream learns who asks, and spellings of them that some servers take for the same.
const SPELLINGS: [&str; 14] = [
    "X-Tenant-ID",
    "X-User-ID",
    "X-Customer-ID",
    "x_customer_id",
    "X_Customer-ID",
    "X-Customer_ID",
    "x-tenant_id",
    "X_User_ID",
    "X_Environment_ID",
    "X-Environment_ID",
    "X-Keygate-Customer",
    "X_Keygate_Environment",
    "X-Keygate-Key-Id",
    "X-Keygate-Anything",
];

/// A user's token for contract F, as the value of `Authorization`.
#[track_caller]
fn bearer_of_core(gate: &Gate, document: &str) -> String {
    let told = json!({ "document": document, "password": PASSWORD });
    format!("Bearer {}", text_at(&post(gate, "/api/v1/auth/login", &[], &told), "/data/access_token"))
}

/// Method, path and credential, and what the upstream then learns of tenant, user, environment and customer.
type Row<'a> = (&'a str, &'a str, (&'a str, &'a str), [Option<&'a str>; 4]);

#[test]
fn nobody_forges_customer_or_environment() {
    const SECRET: &str = "whsec-of-acme-with-forty-characters-or-so";
    let stand = Shipped::unlimited("flexprice");
    let secrets = stand.path("secrets.yaml");
    std::fs::write(&secrets, format!("- {{ provider: hmac, tenant: acme, environment: live, secrets: [{SECRET}] }}\n"))
        .unwrap();
    let stand = stand.with("KEYGATE_WEBHOOK_SECRETS", secrets.to_str().unwrap());
    let mut gate = stand.start();
    gate.watch_for_secret(SECRET);
    stand.user("ada@example.com", "--role member --tenant acme");
    let (_, bound) = stand.key("--tenant acme");
    let unbound = stand.keygate("keys create --name Free --tenant acme", "")["secret"].as_str().unwrap().to_owned();
    let session = |secret: &str, more: &[(&str, &str)]| {
        let fields = [&[("X-API-Key", secret)], more].concat();
        text_at(&gate.get("/v1/customers/portal/c1", &fields), "/token")
    };
    let (of_bound, of_unbound) = (session(&bound, &[("X-Environment-ID", EVIL)]), session(&unbound, &[]));
    let of_asked = session(&unbound, &[("X-Environment-ID", "sandbox")]);
    let told = json!({ "email": "ada@example.com", "password": PASSWORD });
    let bearer = format!("Bearer {}", text_at(&post(&gate, "/v1/auth/login", &[], &told), "/token"));
    let signature = hmac_hex(SECRET, b"{}");
    let portal = "/v1/customer/portal/invoices";
    let rows: [Row<'_>; 7] = [
        ("GET", "/v1/x", ("X-API-Key", &bound), [Some("acme"), None, Some("production"), None]),
        ("GET", "/v1/x", ("X-API-Key", &unbound), [Some("acme"), None, Some("chosen"), None]),
        ("GET", "/v1/x", ("Authorization", &bearer), [Some("acme"), Some("user_"), Some("chosen"), None]),
        ("GET", portal, ("X-Session-Token", &of_bound), [Some("acme"), None, Some("production"), Some("c1")]),
        ("GET", portal, ("X-Session-Token", &of_unbound), [Some("acme"), None, None, Some("c1")]),
        ("GET", portal, ("X-Session-Token", &of_asked), [Some("acme"), None, Some("sandbox"), Some("c1")]),
        (
            "POST",
            "/v1/webhooks/hmac/acme/live",
            ("X-Webhook-Signature", &signature),
            [Some("acme"), None, Some("live"), None],
        ),
    ];
    for (method, path, credential, expected) in rows {
        for stripped in ["", "X-Customer-ID, X-Tenant-ID, X-Environment-ID, X-User-ID"] {
            let mut fields = vec![credential, ("X-Environment-ID", "chosen"), ("Connection", stripped)];
            fields.extend(SPELLINGS.map(|name| (name, EVIL)));
            let content: &[u8] = if method == "POST" { b"{}" } else { b"" };
            let response = gate.client().request(method, path, &fields, content);
            assert_eq!(response.status, 200, "{method} {path}: {response:?}");
            let seen = stand.upstream.last();
            assert!(!seen.mentions(EVIL), "{path}: {}", seen.head);
            for (name, expected) in
                ["X-Tenant-ID", "X-User-ID", "X-Environment-ID", "X-Customer-ID"].iter().zip(expected)
            {
                let values = seen.values(name);
                let right = match expected {
                    Some(text) => values.len() == 1 && values[0].starts_with(text),
                    None => values.is_empty(),
                };
                assert!(right, "{path}: {name}: {values:?}");
            }
        }
    }
}

#[test]
fn a_key_is_a_bearer_in_one_spelling_of_the_scheme() {
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("ada", "--role owner");
    let ((_, key), (_, other)) = (stand.key(""), stand.key(""));
    let token = bearer_of_core(&gate, "ada");
    let bearer = format!("Bearer {key}");
    let rows: [(Vec<String>, u16); 16] = [
        (vec![bearer.clone()], 200),
        (vec![format!("bEARER {key}")], 200),
        (vec![format!("Bearer   {key}")], 200),
        (vec![bearer.clone(), bearer.clone()], 200),
        (vec![bearer.clone(), format!("Bearer {other}")], 400),
        (vec![bearer.clone(), token.clone()], 400),
        (vec![token.clone(), bearer.clone()], 400),
        (vec![format!("Bearer {key} {other}")], 401),
        (vec![format!("Bearer {key},")], 401),
        (vec![format!("Bearer{key}")], 401),
        (vec![format!("Bearer={key}")], 401),
        (vec![format!("Basic {}", STANDARD.encode(&key))], 401),
        (vec![key.clone()], 401),
        (vec![format!("Bearer Bearer {key}")], 401),
        (vec![format!("Bearer {}", key.to_uppercase())], 401),
        (vec!["Bearer".to_owned()], 401),
    ];
    for (values, status) in rows {
        let fields: Vec<_> = values.iter().map(|value| ("Authorization", value.as_str())).collect();
        let response = gate.get("/x", &fields);
        assert_eq!(response.status, status, "{}", values.join(" and ").replace(&key, "KEY"));
        if status == 200 {
            assert!(!stand.upstream.last().mentions(&key));
        }
    }
}

/// Signs what it is given, as another issuer does.
struct Forge(Ed25519KeyPair);

impl Forge {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k1", "alg": "EdDSA", "use": "sig" }] })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn part_of(bearer: &str, index: usize) -> Value {
    let part = bearer.trim_start_matches("Bearer ").split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Contract `name` that believes another issuer, too.
fn believing(name: &str, forge: &Forge) -> Shipped {
    let stand = Shipped::unlimited(name);
    std::fs::write(stand.path("jwks.json"), forge.jwks().to_string()).unwrap();
    let jwks = stand.path("jwks.json").display().to_string();
    stand.edited(|text| {
        format!("{text}\nissuers: [{{ issuer: other, audience: [api], jwks: {jwks}, claims: {{ roles: roles, tenant: org }} }}]\n")
    })
}

fn claims_of_other(user: &str) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({ "iss": "other", "aud": "api", "sub": user, "org": "m1", "roles": ["seller"], "iat": now, "exp": now + 600 })
}

/// The user of another issuer may have any id; it is not that user of ours.
#[test]
fn a_token_of_another_issuer_with_the_same_subject_owns_nothing_here() {
    let forge = Forge::new();
    let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" });
    let stand = believing("certopay", &forge);
    let gate = stand.start();
    let id = stand.user("seller@example.com", "--role seller");
    let (_, secret) = stand.key("--user seller@example.com");
    let foreign = forge.sign(&header, &claims_of_other(&id));
    let fields = [("Authorization", foreign.as_str())];
    assert_eq!(gate.get("/api/api-keys", &fields).status, 200, "it is believed");
    let before = stand.state();
    for (method, path) in [("GET", "/api/api-keys/me"), ("POST", "/api/api-keys/me/regenerate")] {
        assert_eq!(gate.client().request(method, path, &fields, b"").status, 401, "{method} {path}");
    }
    assert_eq!(gate.get("/api/orders", &[("X-Api-Key", &secret)]).status, 200);
    assert_eq!(stand.state(), before);

    let stand = believing("fluxiq-core", &forge);
    let gate = stand.start();
    let id = stand.user("ada", "--role owner --tenant m1");
    let ours = bearer_of_core(&gate, "ada");
    let mut claims = claims_of_other(&id);
    claims["sid"] = part_of(&ours, 1)["sid"].clone();
    let foreign = forge.sign(&header, &claims);
    let fields = [("Authorization", foreign.as_str())];
    assert_eq!(gate.client().request("POST", "/api/v1/auth/logout", &fields, b"").status, 401);
    assert_eq!(gate.get("/x", &[("Authorization", &ours)]).status, 200, "a login that another issuer named is ended");
    assert_eq!(gate.get("/api/v1/users", &fields).status, 403, "our role for another's word");
    let told = json!({ "refresh_token": foreign.trim_start_matches("Bearer ") });
    assert_eq!(post(&gate, "/api/v1/auth/refresh", &[], &told).status, 401);
}

/// A document with some members changed.
fn with(changes: &[(&str, Value)], of: &Value) -> Value {
    let mut changed = of.clone();
    for (name, value) in changes {
        changed[*name] = value.clone();
    }
    changed
}

/// Tokens that are signed with the public key as if it were a secret, in every form in which it can be had.
fn with_public_key_as_secret(published: &[u8], key: &Value, header: &Value, claims: &Value) -> Vec<(String, String)> {
    let mut forged: Vec<(String, String)> = Vec::new();
    // RFC 8725, section 2.1.
    let x = key["x"].as_str().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(x).unwrap();
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &raw].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki));
    let key_text = key.to_string();
    let secrets: [&[u8]; 7] =
        [&raw, x.as_bytes(), &spki, pem.as_bytes(), pem.trim_end().as_bytes(), published, key_text.as_bytes()];
    for (index, secret) in secrets.into_iter().enumerate() {
        for (algorithm, kind) in
            [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512), ("EdDSA", hmac::HMAC_SHA512)]
        {
            let message = unsigned(&with(&[("alg", json!(algorithm))], header), claims);
            let tag = hmac::sign(&hmac::Key::new(kind, secret), message.as_bytes());
            let token = format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
            forged.push((format!("{algorithm} with form {index} of the public key"), token));
        }
    }
    forged
}

#[test]
fn no_published_key_and_no_other_issuer_makes_a_token_of_ours() {
    let forge = Forge::new();
    let stand = believing("fluxiq-core", &forge);
    let gate = stand.start();
    stand.user("ada", "--role owner");
    let ours = bearer_of_core(&gate, "ada");
    let (header, claims) = (part_of(&ours, 0), part_of(&ours, 1));
    let published = gate.get("/.well-known/jwks.json", &[]);
    let key = published.json()["keys"][0].clone();
    assert_eq!((&key["kid"], key.get("d")), (&header["kid"], None), "{key}");

    let mut forged = with_public_key_as_secret(&published.content, &key, &header, &claims);
    let own_jwk = forge.jwks()["keys"][0].clone();
    for (name, changes) in [
        ("our key's name", vec![]),
        ("another key's name", vec![("kid", json!("k1"))]),
        ("no name", vec![("kid", json!("")), ("x", json!(1))]),
        ("a key brought along", vec![("jwk", own_jwk.clone())]),
        ("a place of keys", vec![("jku", json!(format!("http://{}/.well-known/jwks.json", gate.address)))]),
        ("none", vec![("alg", json!("none"))]),
        ("nOnE", vec![("alg", json!("nOnE"))]),
        ("a path for a name", vec![("kid", json!("../../../../dev/null"))]),
    ] {
        forged.push((format!("our claims by another: {name}"), forge.sign(&with(&changes, &header), &claims)));
        let told = with(&[("iss", json!("other")), ("aud", json!("api"))], &claims);
        if name != "another key's name" {
            forged.push((format!("their claims by another: {name}"), forge.sign(&with(&changes, &header), &told)));
        }
    }
    let theirs = json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" });
    for (name, changes) in [
        ("another audience", vec![("aud", json!("fluxiq-core"))]),
        ("without a tenant", vec![("org", Value::Null)]),
        ("an empty tenant", vec![("org", json!(""))]),
        ("two tenants", vec![("org", json!(["m1", "m2"]))]),
        ("no end", vec![("exp", Value::Null)]),
        ("an end that is text", vec![("exp", json!("9999999999"))]),
        ("two issuers", vec![("iss", json!(["other", "fluxiq-core"]))]),
        ("a field in the subject", vec![("sub", json!("a\r\nX-Evil: 1"))]),
    ] {
        forged.push((name.to_owned(), forge.sign(&theirs, &with(&changes, &claims_of_other("u1")))));
    }
    let good = forge.sign(&theirs, &claims_of_other("u1"));
    assert_eq!(gate.get("/x", &[("Authorization", &good)]).status, 200, "the forge is believed for itself");
    for (name, token) in &forged {
        let response = gate.get("/x", &[("Authorization", token)]);
        assert_eq!(response.status, 401, "{name}");
    }
    assert!(forged.len() >= 40);
    assert_eq!(gate.get("/x", &[("Authorization", &ours)]).status, 200);
}

/// A contract X with webhooks, whose API answers the deliveries of each tenant as this says, one after the other.
fn with_webhooks(answers: &'static [&'static str]) -> (Shipped, Upstream) {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |_, stream| {
        let status = answers.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or("200 OK");
        if status == "close" {
            return Then::Close;
        }
        thread::sleep(std::time::Duration::from_millis(30));
        respond(stream, status, "", b"")
    });
    let stand = Shipped::new("flexprice");
    let secrets = stand.path("secrets.yaml");
    let entry = |provider: &str, tenant: &str, environment: &str, secret: &str| {
        format!("- {{ provider: {provider}, tenant: {tenant}, environment: {environment}, secrets: [{secret}] }}\n")
    };
    let text = [
        entry("stripe", "acme", "live", STRIPE),
        entry("stripe", "acme", "test", "another-secret-of-acme-for-its-tests"),
        entry("stripe", "other", "live", "a-secret-of-somebody-else-altogether"),
        entry("github", "acme", "live", STRIPE),
        entry("hmac", "acme", "live", STRIPE),
        entry("standard", "acme", "live", &format!("whsec_{}", STANDARD.encode(STANDARD_SECRET))),
    ];
    std::fs::write(&secrets, text.concat()).unwrap();
    let stand = stand.with("KEYGATE_WEBHOOK_SECRETS", secrets.to_str().unwrap());
    (stand.with("KEYGATE_UPSTREAM", &upstream.to_string()), upstream)
}

const STRIPE: &str = "whsec-of-acme-with-forty-characters-or-so";
const STANDARD_SECRET: &[u8] = b"32 bytes for standard webhooks ..";

fn deliver(gate: &Gate, path: &str, fields: &[(&str, &str)], content: &[u8]) -> Response {
    gate.client().request("POST", &format!("/v1/webhooks/{path}"), fields, content)
}

/// The time of a Stripe delivery, and its signature.
fn stripe(content: &[u8]) -> (i64, String) {
    let now = jiff::Timestamp::now().as_second();
    (now, hmac_hex(STRIPE, &[format!("{now}.").as_bytes(), content].concat()))
}

#[test]
fn a_delivery_passes_once_whatever_stands_beside_its_signature() {
    let (stand, upstream) = with_webhooks(&["500 Error", "close", "302 Found", "200 OK"]);
    let mut gate = stand.start();
    gate.watch_for_secret(STRIPE);
    let content = br#"{"id":"evt_1"}"#;
    let (time, signature) = stripe(content);
    let good = format!("t={time},v1={signature}");
    let send = |value: &str| deliver(&gate, "stripe/acme/live", &[("Stripe-Signature", value)], content).status;
    // What the upstream has not taken may come again.
    assert_eq!([send(&good), send(&good), send(&good), send(&good)], [500, 502, 302, 200]);
    let zeros = "0".repeat(64);
    for again in [
        good.clone(),
        format!("v1={signature},t={time}"),
        format!("t={time},v1={zeros},v1={signature}"),
        format!("t={time},v1={signature},v1={zeros}"),
        format!("t={time},v1={signature},v0=x"),
        format!("v2=y,t={time},v1={signature}"),
        format!("t={time},v1={}", signature.to_uppercase()),
    ] {
        assert!([401, 409].contains(&send(&again)), "{again}");
    }
    assert_eq!(send(&good), 409);
    // Nor at another door.
    for path in [
        "stripe/acme/test",
        "stripe/other/live",
        "github/acme/live",
        "hmac/acme/live",
        "standard/acme/live",
        "stripe/acme/Live",
        "Stripe/acme/live",
    ] {
        let all = [
            ("Stripe-Signature", good.as_str()),
            ("X-Hub-Signature-256", &format!("sha256={signature}")),
            ("X-Webhook-Signature", &signature),
        ];
        let status = deliver(&gate, path, &all, content).status;
        assert!([401, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(upstream.received().len(), 4);
    // A path that is another spelling of the same is the same.
    let fields = [("Stripe-Signature", good.as_str())];
    assert_eq!(deliver(&gate, "%73tripe//x/../acme/./live", &fields, content).status, 409);
}

#[test]
fn of_many_deliveries_at_once_one_passes() {
    let (stand, upstream) = with_webhooks(&[]);
    let gate = stand.start();
    for round in 0..5_u8 {
        let content = [b'{', b'}', b' ' + round];
        let (time, signature) = stripe(&content);
        let value = format!("t={time},v1={signature}");
        let send = || deliver(&gate, "stripe/acme/live", &[("Stripe-Signature", &value)], &content).status;
        let mut statuses: Vec<u16> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (200, &[409; 15][..]));
    }
    assert_eq!(upstream.received().len(), 5);
    // The id counts, whenever it was signed.
    let now = jiff::Timestamp::now().as_second();
    let key = hmac::Key::new(hmac::HMAC_SHA256, STANDARD_SECRET);
    let send = |id: &str, time: i64| {
        let tag = hmac::sign(&key, format!("{id}.{time}.{{}}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(tag.as_ref()));
        let time = time.to_string();
        let fields = [("webhook-id", id), ("webhook-timestamp", &time), ("webhook-signature", &signature)];
        deliver(&gate, "standard/acme/live", &fields, b"{}").status
    };
    assert_eq!([send("a", now), send("a", now + 1), send("a", now - 299), send("b", now)], [200, 409, 409, 200]);
    assert_eq!([send("c", now - 310), send("c", now + 310), send("c", now)], [401, 401, 200]);
}
