//! Contract X: deliveries of webhooks, which prove by signatures whom they come from.
//!
//! Every signature here is made here, from the words of its scheme: nothing of keygate has a part in it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{check, error, now_s};
use crate::client::Response;
use crate::contract::Contract;
use crate::upstream::{Then, Upstream, respond};

const NEW: &str = "whsec_new_9f8e7d6c5b4a3921";
const OLD: &str = "whsec_old_1a2b3c4d5e6f7081";
const OF_TEST: &str = "whsec_test_5566778899aabbcc";
const OF_OTHER: &str = "whsec_other_00112233445566";
const GITHUB: &str = "a secret of GitHub's, with blanks";
const PLAIN: &str = "plain-secret-8d7c6b5a49382716";
/// The secret of Standard Webhooks, and the seed of its key pair, as bytes.
const SYMMETRIC: [u8; 32] = *b"the bytes of a symmetric secret!";
const SEED: [u8; 32] = *b"the seed of an asymmetric secret";

/// What would not survive anybody who reads it as text or as JSON.
const BODY: &[u8] = b" {\"amount\": 1.50,\r\n\"amount\": 2,\t\"name\": \"\xc3\xa9\\u00e9\"}\n\x00\xff\xfe";

/// One delivery.
#[derive(Clone)]
struct Delivery {
    path: String,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn to(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.retain(|(known, _)| *known != name);
        self.and(name, value)
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| *known != name);
        self
    }

    fn saying(self, body: &[u8]) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    fn send(&self, contract: &Contract) -> Response {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        contract.gate.client().request("POST", &self.path, &fields, &self.body)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(secret: &[u8], content: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), content).as_ref().to_vec()
}

fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap()
}

/// What Stripe signs: `TIMESTAMP.BODY`.
fn stripe_mac(secret: &str, sent_s: i64, body: &[u8]) -> String {
    hex(&mac(secret.as_bytes(), &[format!("{sent_s}.").as_bytes(), body].concat()))
}

fn stripe(secret: &str, sent_s: i64) -> Delivery {
    let signature = format!("t={sent_s},v1={},v0=6ffbb59b2300", stripe_mac(secret, sent_s, BODY));
    delivery("stripe").with("Stripe-Signature", &signature)
}

fn github() -> Delivery {
    let signature = format!("sha256={}", hex(&mac(GITHUB.as_bytes(), BODY)));
    delivery("github").with("X-Hub-Signature-256", &signature).with("X-GitHub-Event", "push")
}

fn plain() -> Delivery {
    delivery("hmac").with("X-Webhook-Signature", &hex(&mac(PLAIN.as_bytes(), BODY)))
}

/// What Standard Webhooks signs: `ID.TIMESTAMP.BODY`.
fn standard_content(id: &str, sent_s: i64) -> Vec<u8> {
    [format!("{id}.{sent_s}.").as_bytes(), BODY].concat()
}

fn standard(id: &str, sent_s: i64) -> Delivery {
    let signature = STANDARD.encode(mac(&SYMMETRIC, &standard_content(id, sent_s)));
    delivery("standard")
        .with("webhook-id", id)
        .with("webhook-timestamp", &sent_s.to_string())
        .with("webhook-signature", &format!("v1,{signature}"))
}

fn standard_by_key_pair(id: &str, sent_s: i64) -> Delivery {
    let signature = STANDARD.encode(key_pair().sign(&standard_content(id, sent_s)));
    standard(id, sent_s).with("webhook-signature", &format!("v1a,{signature}"))
}

fn delivery(provider: &str) -> Delivery {
    Delivery { path: format!("/v1/webhooks/{provider}/acme/live"), fields: Vec::new(), body: BODY.to_vec() }
}

/// One of each scheme, sent now.
fn each(number: u32) -> [(&'static str, Delivery); 5] {
    let now = now_s();
    [
        ("stripe", stripe(NEW, now - i64::from(number))),
        ("github", github()),
        ("standard", standard(&format!("msg_{number}"), now)),
        ("standard, with a key pair", standard_by_key_pair(&format!("msg_pair_{number}"), now)),
        ("hmac", plain()),
    ]
}

fn entry(provider: &str, tenant: &str, environment: &str, secrets: &[&str]) -> String {
    format!(
        "- {{ provider: {provider}, tenant: {tenant}, environment: {environment}, secrets: {} }}\n",
        serde_json::to_string(secrets).unwrap()
    )
}

/// Secrets of the tenant `acme` and of another one.
fn secrets() -> String {
    let symmetric = format!("whsec_{}", STANDARD.encode(SYMMETRIC));
    let public = format!("whpk_{}", STANDARD.encode(key_pair().public_key()));
    [
        entry("stripe", "acme", "live", &[NEW, OLD]),
        entry("stripe", "acme", "test", &[OF_TEST]),
        entry("stripe", "other", "live", &[OF_OTHER]),
        entry("github", "acme", "live", &[GITHUB]),
        entry("standard", "acme", "live", &[&symmetric, &public]),
        entry("hmac", "acme", "live", &[PLAIN]),
    ]
    .concat()
}

/// The contract, with these secrets in a folder of their own.
fn start(secrets: &str) -> (tempfile::TempDir, Contract) {
    start_with(secrets, &[])
}

fn start_with(secrets: &str, more: &[(&'static str, &str)]) -> (tempfile::TempDir, Contract) {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), secrets);
    let path = folder.path().join("secrets.yaml").display().to_string();
    let more = [more, &[("KEYGATE_WEBHOOK_SECRETS", path.as_str())]].concat();
    let mut contract = Contract::start_with("flexprice", &more);
    let symmetric = STANDARD.encode(SYMMETRIC);
    for secret in [NEW, OLD, OF_TEST, OF_OTHER, GITHUB, PLAIN, &symmetric] {
        contract.gate.watch_for_secret(secret);
    }
    (folder, contract)
}

/// Replaces the secrets as a careful writer does.
fn replace(folder: &Path, secrets: &str) {
    std::fs::write(folder.join("new"), secrets).unwrap();
    std::fs::rename(folder.join("new"), folder.join("secrets.yaml")).unwrap();
}

fn invalid() -> Value {
    error("signature_invalid", "The signature is not valid", 401)
}

#[track_caller]
fn refused(contract: &Contract, row: &str, delivery: &Delivery) {
    let response = delivery.send(contract);
    assert_eq!((response.status, response.json()), (401, invalid()), "{row}");
    assert!(response.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("ApiKey")), "{row}");
}

#[test]
fn flex_07_a_signature_is_all_that_a_delivery_needs() {
    let (_folder, mut contract) = start(&secrets());
    let key = contract.key("production", &["--tenant", "evil"]);
    for (row, delivery) in each(0) {
        let delivery = delivery
            .with("Content-Type", "application/json; charset=utf-8")
            .with("X-Tenant-ID", "evil")
            .with("X-Environment-ID", "evil")
            .with("x_environment_id", "evil")
            .with("X-User-ID", "evil")
            .with("X-Customer-ID", "evil")
            .with("X-API-Key", &key.secret)
            .with("Connection", "X-Tenant-ID, X-Environment-ID");
        let response = delivery.send(&contract);
        assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{row}: {response:?}");
        let seen = contract.upstream.last();
        assert!(seen.head.starts_with(&format!("POST {} HTTP/1.1\r\n", delivery.path)), "{row}: {}", seen.head);
        assert_eq!(seen.content, BODY, "{row}: byte for byte");
        assert_eq!(seen.value("Content-Type"), "application/json; charset=utf-8");
        assert_eq!((seen.value("X-Tenant-ID"), seen.value("X-Environment-ID")), ("acme", "live"), "{row}");
        assert!(!seen.mentions("evil") && !seen.mentions(&key.secret), "{row}: {}", seen.head);
        assert!(["X-User-ID", "X-Customer-ID"].iter().all(|name| seen.values(name).is_empty()), "{row}");
    }
    // The same in chunks, and with a path that is written in another way.
    let chunked = stripe(NEW, now_s() - 100).to("/v1/webhooks/stripe/%61cme/live");
    let mut client = contract.gate.client();
    let signature = &chunked.fields[0].1;
    client.send("POST", &chunked.path, &[("Transfer-Encoding", "chunked"), ("Stripe-Signature", signature)], b"");
    for part in BODY.chunks(7) {
        client.write(&[format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    }
    client.write(b"0\r\n\r\n");
    assert_eq!(client.response("POST").status, 200);
    let seen = contract.upstream.last();
    assert_eq!((seen.content.as_slice(), seen.value("X-Tenant-ID")), (BODY, "acme"));
}

#[test]
fn flex_07_what_is_not_signed_by_whom_it_says_is_401() {
    let (_folder, contract) = start(&secrets());
    let now = now_s();
    let good = stripe(NEW, now);
    let signature = stripe_mac(NEW, now, BODY);
    let stripe_saying = |value: String| good.clone().with("Stripe-Signature", &value);
    let message = standard("msg_1", now);
    let rows = [
        ("another tenant's path", good.clone().to("/v1/webhooks/stripe/other/live")),
        ("another environment's path", good.clone().to("/v1/webhooks/stripe/acme/test")),
        ("a tenant that nobody knows", good.clone().to("/v1/webhooks/stripe/nobody/live")),
        ("tenant and environment changed places", good.clone().to("/v1/webhooks/stripe/live/acme")),
        ("a provider without secrets here", github().to("/v1/webhooks/github/other/live")),
        ("another provider's path", good.clone().to("/v1/webhooks/github/acme/live")),
        ("another tenant's secret", stripe(OF_OTHER, now)),
        ("another environment's secret", stripe(OF_TEST, now)),
        ("a secret of nobody", stripe("whsec_nobody_0123456789", now)),
        ("an empty secret", stripe("", now)),
        ("another body", good.clone().saying(b"{}")),
        ("a body with one byte more", good.clone().saying(&[BODY, b"\n"].concat())),
        ("no body", good.clone().saying(b"")),
        ("another time", stripe_saying(format!("t={},v1={signature}", now - 1))),
        ("no signature", good.clone().without("Stripe-Signature")),
        ("an empty signature", stripe_saying(String::new())),
        ("no time", stripe_saying(format!("v1={signature}"))),
        ("two times", stripe_saying(format!("t={now},t={now},v1={signature}"))),
        ("a time that is none", stripe_saying(format!("t=now,v1={signature}"))),
        ("a negative time", stripe_saying(format!("t=-1,v1={signature}"))),
        ("an old kind of signature alone", stripe_saying(format!("t={now},v0={signature}"))),
        ("no digits", stripe_saying(format!("t={now},v1=zz"))),
        ("half a signature", stripe_saying(format!("t={now},v1={}", &signature[..32]))),
        ("two fields", good.clone().and("Stripe-Signature", &format!("t={now},v1={signature}"))),
        ("GitHub: another body", github().saying(b"{}")),
        (
            "GitHub: the field of the days of SHA-1",
            github().without("X-Hub-Signature-256").with("X-Hub-Signature", "sha1=00"),
        ),
        ("GitHub: no label", github().with("X-Hub-Signature-256", &hex(&mac(GITHUB.as_bytes(), BODY)))),
        ("standard: another body", message.clone().saying(b"{}")),
        ("standard: another id", message.clone().with("webhook-id", "msg_2")),
        ("standard: another time", message.clone().with("webhook-timestamp", &(now - 1).to_string())),
        ("standard: no id", message.clone().without("webhook-id")),
        ("standard: no time", message.clone().without("webhook-timestamp")),
        ("standard: two ids", message.clone().and("webhook-id", "msg_1")),
        (
            "standard: one kind called another",
            message.clone().with("webhook-signature", &message.fields[2].1.replace("v1,", "v1a,")),
        ),
        ("hmac: another body", plain().saying(b"{}")),
        ("hmac: in base64", plain().with("X-Webhook-Signature", &STANDARD.encode(mac(PLAIN.as_bytes(), BODY)))),
    ];
    for (row, delivery) in &rows {
        refused(&contract, row, delivery);
    }
    // Which providers there are is no secret, and no key is asked for.
    let unknown = good.clone().to("/v1/webhooks/paypal/acme/live").send(&contract);
    check(&unknown, 404, &error("not_found", "Nothing answers at this path", 404));
    assert!(contract.upstream.received().is_empty());
    assert_eq!(good.send(&contract).status, 200, "what was refused has not used it up");
}

#[test]
fn flex_07_a_delivery_is_neither_older_nor_newer_than_is_tolerated() {
    let (_folder, contract) = start(&secrets());
    let expired = error("signature_expired", "The content was signed too long ago, or in the future", 401);
    for (late_s, good) in [(0, true), (290, true), (-290, true), (310, false), (-310, false), (86_400, false)] {
        let sent_s = now_s() - late_s;
        let id = format!("msg_{sent_s}");
        for delivery in [stripe(NEW, sent_s), standard(&id, sent_s), standard_by_key_pair(&(id.clone() + "a"), sent_s)]
        {
            let response = delivery.send(&contract);
            if good {
                assert_eq!(response.status, 200, "{late_s} s late: {response:?}");
            } else {
                check(&response, 401, &expired);
            }
        }
    }
    // Whoever cannot sign does not learn what the time is.
    refused(&contract, "late and forged", &stripe("whsec_nobody_0123456789", now_s() - 86_400));
}

#[test]
fn flex_07_several_secrets_are_good_while_one_takes_the_place_of_another() {
    let (folder, contract) = start(&secrets());
    let now = now_s();
    assert_eq!(stripe(NEW, now - 1).send(&contract).status, 200);
    assert_eq!(stripe(OLD, now - 2).send(&contract).status, 200);
    // Stripe signs with both for a while; one that fits is enough, wherever it stands.
    let both = |sent_s: i64, first: &str, second: &str| {
        let signature = |secret: &str| stripe_mac(secret, sent_s, BODY);
        let value = format!("t={sent_s},v1={},v1={}", signature(first), signature(second));
        stripe(NEW, sent_s).with("Stripe-Signature", &value)
    };
    assert_eq!(both(now - 3, "whsec_nobody_0123456789", OLD).send(&contract).status, 200);
    assert_eq!(both(now - 4, NEW, "whsec_nobody_0123456789").send(&contract).status, 200);
    let (first, second) = (standard("msg_both", now), standard_by_key_pair("msg_both", now));
    let nobodys = STANDARD.encode(mac(b"of nobody", BODY));
    let signatures = format!("v1,{nobodys} v2,anything {}", second.fields[2].1);
    assert_eq!(first.with("webhook-signature", &signatures).send(&contract).status, 200);

    replace(folder.path(), &secrets().replace(&format!("\"{NEW}\",\"{OLD}\""), &format!("\"{NEW}\"")));
    let begun = Instant::now();
    let mut number = 10;
    while stripe(OLD, now - number).send(&contract).status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(5), "a secret that the file no longer has is still good");
        std::thread::sleep(Duration::from_millis(20));
        number += 1;
    }
    refused(&contract, "the old secret", &stripe(OLD, now));
    assert_eq!(stripe(NEW, now).send(&contract).status, 200);
}

#[test]
fn flex_07_secrets_are_read_again_without_a_restart_and_a_broken_file_changes_nothing() {
    let (folder, contract) = start(&secrets());
    let failures = || contract.gate.metric("keygate_reloads_total", &["part=\"webhooks\"", "result=\"failed\""]);
    let begun_s = now_s();
    let of = |secret: &str, tenant: &str, number: i64| {
        stripe(secret, begun_s - number).to(&format!("/v1/webhooks/stripe/{tenant}/live")).send(&contract).status
    };
    assert_eq!((of(NEW, "acme", 1), of("whsec_of_a_newcomer_123456", "newcomer", 1)), (200, 401));
    let first = stripe(NEW, begun_s - 100);
    assert_eq!(first.send(&contract).status, 200);
    let newcomer = entry("stripe", "newcomer", "live", &["whsec_of_a_newcomer_123456"]);
    for broken in [
        format!("{newcomer}- {{ provider: stripe"),
        format!("{newcomer}{}", entry("nobody", "acme", "live", &[NEW])),
        format!("{newcomer}{newcomer}"),
        format!("{newcomer}{}", entry("standard", "acme", "live", &["whsec_not base64"])),
        format!("{newcomer}{}", entry("stripe", "acme", "live", &["short"])),
    ] {
        let before = failures();
        replace(folder.path(), &broken);
        contract.gate.eventually("a failed reload", |_| failures() > before);
        assert_eq!(of("whsec_of_a_newcomer_123456", "newcomer", 2), 401, "{broken}");
        refused(&contract, &broken, &stripe(OF_OTHER, now_s()));
    }
    assert_eq!(of(NEW, "acme", 3), 200, "what was good stays");
    replace(folder.path(), &(secrets() + &newcomer));
    let mut number = 4;
    contract.gate.eventually("the newcomer", |_| {
        number += 1;
        of("whsec_of_a_newcomer_123456", "newcomer", number) == 200
    });
    assert_eq!(of(NEW, "acme", 4), 200);
    assert_eq!(first.send(&contract).status, 409, "what was delivered is remembered over it");
    assert!(!contract.gate.stderr().contains("whsec_of_a_newcomer"), "a problem repeats a secret");
}

#[test]
fn flex_07_without_secrets_every_delivery_is_refused() {
    let contract = Contract::start("flexprice");
    for (row, delivery) in each(0) {
        refused(&contract, row, &delivery);
    }
    assert!(contract.upstream.received().is_empty());
}

#[test]
fn flex_settled_07_what_was_delivered_does_not_come_again() {
    let (_folder, contract) = start(&secrets());
    let repeated = error("delivery_repeated", "The same content was delivered before", 409);
    for (row, delivery) in each(0) {
        let bears_a_time = !matches!(row, "github" | "hmac");
        assert_eq!(delivery.send(&contract).status, 200, "{row}");
        let again = delivery.send(&contract);
        if bears_a_time {
            check(&again, 409, &repeated);
        } else {
            assert_eq!(again.status, 200, "{row} has nothing to be recognised by");
        }
    }
    assert_eq!(contract.upstream.received().len(), 7);
    // Another signature of the same, and another message under the same id.
    let now = now_s() - 20;
    assert_eq!(stripe(NEW, now).send(&contract).status, 200);
    check(&stripe(OLD, now).send(&contract), 409, &repeated);
    assert_eq!(standard("msg_twice", now).send(&contract).status, 200);
    check(&standard_by_key_pair("msg_twice", now - 1).send(&contract), 409, &repeated);
}

#[test]
fn flex_settled_07_of_the_same_delivery_many_times_at_once_one_passes() {
    let slow = Upstream::answering(|_, stream| {
        std::thread::sleep(Duration::from_millis(200));
        respond(stream, "200 OK", "", b"")
    });
    let (_folder, contract) = start_with(&secrets(), &[("KEYGATE_UPSTREAM", &slow.to_string())]);
    let delivery = stripe(NEW, now_s());
    let passed: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(|| delivery.send(&contract).status)).collect();
        let statuses: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    });
    assert_eq!((passed, slow.received().len()), (1, 1));
}

#[test]
fn flex_07_a_delivery_that_was_not_taken_may_come_again() {
    let asked = AtomicUsize::new(0);
    let failing = Upstream::answering(move |_, stream| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Then::Close,
        1 => respond(stream, "500 Internal Server Error", "", b"broken"),
        2 => respond(stream, "404 Not Found", "", b"not yet"),
        _ => respond(stream, "204 No Content", "", b""),
    });
    let (_folder, contract) = start_with(&secrets(), &[("KEYGATE_UPSTREAM", &failing.to_string())]);
    let down = error("service_unavailable", "The service broke off the connection", 502);
    for delivery in [stripe(NEW, now_s()), standard("msg_1", now_s())] {
        if failing.received().is_empty() {
            check(&delivery.send(&contract), 502, &down);
            assert_eq!(delivery.send(&contract).text(), "broken", "the answer is the upstream's");
            assert_eq!(delivery.send(&contract).status, 404);
        }
        assert_eq!(delivery.send(&contract).status, 204);
        assert_eq!(delivery.send(&contract).status, 409, "it was taken");
    }
    assert_eq!(failing.received().len(), 5);
    assert!(failing.received().iter().all(|seen| seen.content == BODY));
}

#[test]
fn flex_07_more_than_a_mebibyte_is_413_in_the_shape_of_the_contract() {
    const MAX: usize = 1 << 20;
    let (_folder, contract) = start(&secrets());
    let large = error("content_too_large", "Send less content", 413);
    let sent_s = now_s();
    let of_bytes = |bytes: usize| {
        let body = vec![b'x'; bytes];
        let signature = format!("t={sent_s},v1={}", stripe_mac(NEW, sent_s, &body));
        stripe(NEW, sent_s).with("Stripe-Signature", &signature).saying(&body)
    };
    assert_eq!(of_bytes(MAX).send(&contract).status, 200);
    assert_eq!(contract.upstream.last().content.len(), MAX);
    // What says that it is too large is refused before it is sent, what does not, as soon as it is.
    let over = of_bytes(MAX + 1);
    let signature = over.fields[0].1.as_str();
    let length = over.body.len().to_string();
    let mut client = contract.gate.client();
    client.send("POST", &over.path, &[("Stripe-Signature", signature), ("Content-Length", &length)], b"");
    check(&client.response("POST"), 413, &large);
    let mut client = contract.gate.client();
    client.send("POST", &over.path, &[("Stripe-Signature", signature), ("Transfer-Encoding", "chunked")], b"");
    client.write(&[format!("{:x}\r\n", over.body.len()).as_bytes(), &over.body, b"\r\n0\r\n\r\n"].concat());
    check(&client.response("POST"), 413, &large);
    assert_eq!(contract.upstream.received().len(), 1);
}

/// Nobody waits for content, or holds it, that cannot be good.
#[test]
fn flex_07_what_bears_no_signature_is_refused_before_its_content_comes() {
    let (_folder, contract) = start(&secrets());
    for (path, fields, status) in [
        ("/v1/webhooks/stripe/acme/live", &[][..], 401),
        ("/v1/webhooks/stripe/acme/live", &[("Stripe-Signature", "t=1")], 401),
        ("/v1/webhooks/github/acme/live", &[("X-Hub-Signature-256", "sha256=00")], 401),
        ("/v1/webhooks/paypal/acme/live", &[], 404),
    ] {
        let mut client = contract.gate.client();
        client.send("POST", path, &[fields, &[("Content-Length", "1000")]].concat(), b"");
        assert_eq!(client.response("POST").status, status, "{path} {fields:?}");
    }
}
