//! Who gets in.

use crate::gate::gate;
use crate::key::key;
use crate::upstream::Upstream;

#[test]
fn a_request_with_a_good_key_reaches_the_upstream_and_one_without_does_not() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();

    let let_in = gate.get("/orders?id=7", &[alice.field()]);
    assert_eq!((let_in.status, let_in.text().as_str()), (200, "hello"));
    assert!(upstream.last().head.starts_with("GET /orders?id=7 HTTP/1.1\r\n"));

    let kept_out = gate.get("/orders", &[]);
    assert_eq!((kept_out.status, kept_out.code().as_str()), (401, "credentials_missing"));
    let wrong = gate.get("/orders", &[("X-API-Key", "kg_wrong_key")]);
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "key_unknown"));
    assert_eq!(upstream.received().len(), 1, "something unauthenticated came through");
}

#[test]
fn a_key_that_is_not_good_now_is_refused_with_its_own_word() {
    let upstream = Upstream::hello();
    let rows = [
        (key("inactive").with("state: inactive"), 401, "key_inactive"),
        (key("revoked").with("state: revoked"), 401, "key_revoked"),
        (key("expired").with("expires: 2020-01-01T00:00:00Z"), 401, "key_expired"),
        (key("early").with("not_before: 2999-01-01T00:00:00Z"), 401, "key_not_yet_valid"),
        (key("elsewhere").with("allowed_networks: [10.0.0.0/8]"), 403, "address_not_allowed"),
        (key("here").with("allowed_networks: [127.0.0.0/8]"), 200, ""),
    ];
    let gate = rows.iter().fold(gate(&upstream), |setup, (key, ..)| setup.key(key)).start();
    for (key, status, code) in &rows {
        let response = gate.get("/", &[key.field()]);
        assert_eq!(response.status, *status, "{}", key.id);
        if *status != 200 {
            assert_eq!(response.code(), *code, "{}", key.id);
            assert!(gate.metric("keygate_rejections_total", &[code]) >= 1.0, "{code} is not counted");
        }
    }
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn two_different_keys_in_one_request_are_refused_and_the_same_twice_is_one() {
    let (upstream, alice, bob) = (Upstream::hello(), key("alice"), key("bob"));
    let gate = gate(&upstream)
        .key(&alice)
        .key(&bob)
        .with("credentials: { api_key: { fields: [X-API-Key, Api-Token], bearer: true } }")
        .start();
    let bearer = |key: &crate::key::TestKey| format!("Bearer {}", key.secret);

    let both = gate.get("/", &[alice.field(), ("Authorization", &bearer(&bob))]);
    assert_eq!((both.status, both.code().as_str()), (400, "credentials_conflict"));
    let twice = gate.get("/", &[alice.field(), ("X-API-Key", &bob.secret)]);
    assert_eq!(twice.status, 400);
    let same = gate.get("/", &[alice.field(), ("Authorization", &bearer(&alice))]);
    assert_eq!(same.status, 200);
    for fields in [vec![("Api-Token", bob.secret.as_str())], vec![("authorization", bearer(&bob).as_str())]] {
        assert_eq!(gate.get("/", &fields).status, 200);
        assert_eq!(upstream.last().value("X-Keygate-Key-Id"), "bob");
    }
    let empty = gate.get("/", &[("X-API-Key", "")]);
    assert_eq!((empty.status, empty.code().as_str()), (401, "credentials_missing"));
}

#[test]
fn the_key_ends_at_the_gateway_wherever_it_travelled() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate =
        gate(&upstream).key(&alice).with("credentials: { api_key: { fields: [X-API-Key], bearer: true } }").start();
    let bearer = format!("Bearer {}", alice.secret);
    for fields in [
        vec![alice.field()],
        vec![("x-api-KEY", alice.secret.as_str())],
        vec![("Authorization", bearer.as_str())],
        vec![alice.field(), ("Authorization", bearer.as_str())],
        vec![alice.field(), ("X_API_Key", alice.secret.as_str())],
    ] {
        assert_eq!(gate.get("/", &fields).status, 200);
        assert!(!upstream.last().mentions(&alice.secret), "{}", upstream.last().head);
    }
}

#[test]
fn a_challenge_names_the_scheme_that_is_configured() {
    let upstream = Upstream::hello();
    let field = gate(&upstream).start();
    assert_eq!(field.get("/", &[]).field("www-authenticate"), Some("ApiKey realm=\"keygate\""));
    let bearer = gate(&upstream).with("credentials: { api_key: { fields: [], bearer: true } }").start();
    assert_eq!(bearer.get("/", &[]).field("www-authenticate"), Some("Bearer realm=\"keygate\""));
}
