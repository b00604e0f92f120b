//! Keys, from the first day to the last.

use super::*;
use crate::keys::{Entry, KeySet, Origin};

#[tokio::test]
async fn a_key_is_made_shown_changed_and_deleted() {
    let api = Api::start().await;
    let told = json!({"name": "Billing job", "environment": "live", "tenant": "acme", "user": "u-elsewhere",
        "permissions": ["orders:read"], "roles": ["operator"], "expires": "2999-01-31T00:00:00Z",
        "not_before": "2026-01-01T00:00:00Z", "rate_limit": 500, "metadata": {"team": "billing"},
        "allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]});
    let answer = api.json("POST", "/keys", &told).await;
    let mut made = answer.expect(201);
    let secret = text(&made["secret"]);
    let path = format!("/keys/{}", text(&made["id"]));
    assert_eq!(answer.field("location"), Some(format!("/api/v1{path}").to_lowercase().as_str()));
    for (member, value) in told.as_object().expect("members") {
        assert_eq!(&made[member], value, "{member}");
    }
    let key = api.in_force(&secret).expect("in force");
    assert_eq!((key.id(), key.rate_limit()), (made["id"].as_str().expect("an id"), Some(500)));

    made.as_object_mut().expect("members").remove("secret");
    assert_eq!(api.ask("GET", &path).await.expect(200), made, "the same, without the secret");
    let change = json!({"name": null, "rate_limit": 1000.0, "expires": null, "permissions": []});
    let changed = api.json("PATCH", &path, &change).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["rate_limit"], &changed["expires"]),
        (&Value::Null, &json!(1000), &Value::Null)
    );
    assert_eq!((&changed["permissions"], &changed["roles"]), (&json!([]), &told["roles"]), "what is left out stays");
    assert_eq!(api.in_force(&secret).expect("in force").rate_limit(), Some(1000));

    api.ask("DELETE", &path).await.expect(204);
    assert!(api.in_force(&secret).is_none());
    api.ask("GET", &path).await.refused(404, "no_key");
    api.ask("DELETE", &path).await.refused(404, "no_key");
}

#[tokio::test]
async fn a_secret_is_shown_once() {
    let api = Api::start().await;
    let (id, secret) = api.key(&json!({"name": "a"})).await;
    let digest = Digest::of(secret.as_bytes()).to_hex();
    for path in [format!("/keys/{id}"), "/keys".to_owned(), "/audit".to_owned(), format!("/keys/{id}/usage")] {
        let answer = api.ask("GET", &path).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains(&secret) && !answer.text.contains(&digest), "{path}");
    }
}

#[tokio::test]
async fn the_same_request_makes_one_key() {
    let api = Api::start().await;
    let fields = |token: &str| {
        format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nIdempotency-Key: {token}\r\n")
    };
    let send = async |token: &str, content: &str| {
        let answer = api.send(&api.head("POST", "/keys", &fields(token)), content.as_bytes()).await;
        answer.hold(&api.document, "POST", "/keys");
        answer
    };
    let first = send("t-1", r#"{"name":"a","roles":[]}"#).await;
    assert_eq!(first.field("idempotency-replayed"), None);
    let mut first = first.expect(201);
    let again = send("t-1", r#" {"roles": [], "name": "\u0061"}"#).await;
    assert_eq!(again.field("idempotency-replayed"), Some("true"));
    first["secret"] = Value::Null;
    assert_eq!(again.expect(200), first, "the same key, without its secret");
    send("t-1", r#"{"name":"b"}"#).await.refused(409, "another_request");
    send("t-2", r#"{"name":"a","roles":[]}"#).await.expect(201);
    assert_eq!(ids(&api.ask("GET", "/keys").await.expect(200)).len(), 2);
    api.ask("DELETE", &format!("/keys/{}", text(&first["id"]))).await.expect(204);
    send("t-1", r#"{"name":"a","roles":[]}"#).await.refused(409, "deleted_since");
    for token in ["", "a b", "\u{e9}", &"x".repeat(129), "a\r\nIdempotency-Key: b"] {
        send(token, "{}").await.refused(400, "bad_parameter");
    }
    assert_eq!(ids(&api.ask("GET", "/keys").await.expect(200)).len(), 1);
}

/// Whoever does not wait for the answer before asking again gets one key all the same.
#[tokio::test]
async fn the_same_request_makes_one_key_also_at_the_same_time() {
    let api = Api::start().await;
    let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nIdempotency-Key: t\r\n");
    let head = api.head("POST", "/keys", &fields);
    let send = || api.send(&head, br#"{"id":"k1"}"#);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 201]);
}

#[tokio::test]
async fn a_rotated_key_and_its_successor_are_good_side_by_side() {
    let api = Api::start().await;
    let (id, old) = api.key(&json!({"name": "a", "environment": "live", "permissions": ["p"]})).await;
    let rotated = api.ask("POST", &format!("/keys/{id}/rotate")).await.expect(201);
    let new = text(&rotated["secret"]);
    let now = crate::moment::Moment::now();
    for secret in [&old, &new] {
        assert_eq!(api.in_force(secret).expect("in force").standing(now).name(), "active");
    }
    assert_eq!((&rotated["lineage"], &rotated["permissions"]), (&json!(id), &json!(["p"])));
    assert_eq!((&rotated["predecessor"]["id"], &rotated["predecessor"]["successor"]), (&json!(id), &rotated["id"]));
    assert!(new.starts_with("kg_live_"), "of the same environment");
    let path = format!("/keys/{id}/rotate");
    assert!(
        text(&api.ask("POST", &path).await.refused(409, "rotated_already")["detail"]).contains(&text(&rotated["id"]))
    );
    let late = json!({"expires": "2999-01-01T00:00:00Z"});
    api.json("PATCH", &format!("/keys/{id}"), &late).await.refused(409, "dates_contradict");

    let path = format!("/keys/{}/rotate", text(&rotated["id"]));
    let last = api.json("POST", &path, &json!({"overlap_seconds": 0})).await.expect(201);
    assert_eq!(last["predecessor"]["standing"], "revoked");
    let later = now.plus(Duration::from_secs(5));
    assert_eq!(api.in_force(&new).expect("in force").standing(later).name(), "revoked", "at once");
    assert_eq!(api.in_force(&text(&last["secret"])).expect("in force").standing(later).name(), "active");
    api.ask("POST", &path).await.refused(409, "not_rotatable");
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let api = Api::start().await;
    let (id, secret) = api.key(&json!({})).await;
    let state = || api.in_force(&secret).expect("a key").state.name();
    for (action, expected) in [
        ("deactivate", "inactive"),
        ("activate", "active"),
        ("activate", "active"),
        ("revoke", "revoked"),
        ("revoke", "revoked"),
    ] {
        assert_eq!(api.ask("POST", &format!("/keys/{id}/{action}")).await.expect(200)["state"], expected);
        assert_eq!(state(), expected, "{action}");
    }
    for action in ["activate", "deactivate"] {
        api.ask("POST", &format!("/keys/{id}/{action}")).await.refused(409, "key_revoked");
    }
    api.ask("POST", &format!("/keys/{id}/rotate")).await.refused(409, "not_rotatable");
    for action in ["revoke", "activate", "deactivate", "rotate"] {
        api.ask("POST", &format!("/keys/nobody/{action}")).await.refused(404, "no_key");
    }
}

/// Puts a key with this id in force, as if it stood in a key file; what its secret is known by.
fn in_a_file(api: &Api, id: &str) -> Digest {
    let mut file = KeySet::new();
    let digest = Digest::of(format!("{id} of the file").as_bytes());
    file.insert(Key::new(Entry::new(id, digest)).expect("a key")).expect("the first");
    api.keys.apply_from(Origin::File, file).expect("no clash");
    digest
}

/// A key file may have a key with the id that was chosen. It is not in the store, and it stays in force.
#[tokio::test]
async fn an_id_belongs_to_one_key() {
    let api = Api::start().await;
    api.key(&json!({"id": "k1"})).await;
    let before = api.changes().await;
    let digest = in_a_file(&api, "k2");
    for id in ["k1", "k2"] {
        api.json("POST", "/keys", &json!({"id": id})).await.refused(409, "id_taken");
    }
    assert_eq!(api.changes().await, before, "nothing was written");
    assert_eq!(ids(&api.ask("GET", "/keys").await.expect(200)), ["k1"]);
    assert_eq!(api.keys.find(&digest).expect("in force").id(), "k2");
}

/// The file may come while the key is being made.
#[tokio::test]
async fn an_id_that_a_file_takes_in_the_meantime_belongs_to_the_file() {
    let api = Api::start().await;
    api.hold.store(true, Ordering::SeqCst);
    let told = json!({"id": "k1"});
    let meanwhile = async {
        while api.changes().await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let digest = in_a_file(&api, "k1");
        api.hold.store(false, Ordering::SeqCst);
        api.go.notify_one();
        digest
    };
    let (answer, digest) = tokio::join!(api.json("POST", "/keys", &told), meanwhile);
    answer.refused(409, "id_taken");
    assert!(ids(&api.ask("GET", "/keys").await.expect(200)).is_empty());
    assert_eq!(api.keys.find(&digest).expect("in force").id(), "k1");
}

/// The store is written to once a minute; what is answered is what the road knows.
#[tokio::test]
async fn when_a_key_was_last_used_is_answered_at_once() {
    use crate::keys::database::{By, KeyUsage};
    let api = Api::start().await;
    let (id, secret) = api.key(&json!({})).await;
    let last_used = async |expected: Value| {
        let path = format!("/keys/{id}");
        assert_eq!(api.ask("GET", &path).await.expect(200)["last_used"], expected);
        assert_eq!(api.ask("GET", "/keys").await.expect(200)["items"][0]["last_used"], expected);
        assert_eq!(api.json("PATCH", &path, &json!({"name": "b"})).await.expect(200)["last_used"], expected);
        assert_eq!(api.ask("GET", &format!("{path}/usage")).await.expect(200)["last_used"], expected);
    };
    last_used(Value::Null).await;
    let at = |seconds: u64| crate::moment::Moment { unix_ns: seconds * 1_000_000_000 + 1, monotonic_ns: 0 };
    api.in_force(&secret).expect("in force").used(at(1_767_225_600));
    last_used("2026-01-01T00:00:00Z".into()).await;
    // Another gateway with the same store saw it later.
    let batch = [KeyUsage { key: id.as_str().into(), last_used_s: 1_767_225_660, requests: 1 }];
    api.database.write(By::cli("test"), at(0), move |store| store.record_usage(&batch)).await.expect("writes");
    last_used("2026-01-01T00:01:00Z".into()).await;
    api.in_force(&secret).expect("in force").used(at(1_767_225_720));
    last_used("2026-01-01T00:02:00Z".into()).await;
}

/// Such a key would open nothing. One that names no environment may be good in all of them.
#[tokio::test]
async fn an_environment_that_is_not_there_is_refused() {
    let api = Api::start().await;
    api.key(&json!({"environment": "anything"})).await;
    api.environments.store(Arc::new(vec!["live".to_owned(), "test".to_owned()]));
    let before = api.changes().await;
    let problem = api.json("POST", "/keys", &json!({"environment": "prod"})).await.refused(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/environment");
    assert_eq!(problem["errors"][0]["detail"], "must be an environment of this keygate: live, test");
    let problem = api.ask("GET", "/keys?environment=anything").await.refused(400, "bad_parameter");
    assert_eq!(problem["errors"][0]["parameter"], "environment");
    assert_eq!(api.changes().await, before);
    api.key(&json!({"environment": "live", "id": "k1"})).await;
    api.key(&json!({"environment": null})).await;
    assert_eq!(ids(&api.ask("GET", "/keys?environment=live").await.expect(200)), ["k1"]);
    assert_eq!(ids(&api.ask("GET", "/keys").await.expect(200)).len(), 3, "those of before are still listed");
}

#[tokio::test]
async fn keys_are_listed_by_pages_and_filters() {
    let api = Api::start().await;
    for (id, environment, tenant) in
        [("k1", "live", "a"), ("k2", "test", "b"), ("k3", "live", "b"), ("k4", "live", "a")]
    {
        api.key(&json!({"id": id, "environment": environment, "tenant": tenant, "name": format!("100% {id}")})).await;
    }
    api.ask("POST", "/keys/k4/revoke").await.expect(200);
    for (query, expected) in [
        ("", &["k1", "k2", "k3", "k4"][..]),
        ("?environment=live&tenant=a", &["k1", "k4"]),
        ("?state=revoked", &["k4"]),
        ("?text=0%25+K3", &["k3"]),
        ("?text=%25%25", &[]),
        ("?lineage=k2&limit=200", &["k2"]),
        ("?user=nobody", &[]),
    ] {
        assert_eq!(ids(&api.ask("GET", &format!("/keys{query}")).await.expect(200)), expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.ask("GET", &format!("/keys?limit=1{cursor}")).await.expect(200);
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        assert!(seen.len() < 10);
    }
    assert_eq!(seen, ["k1", "k2", "k3", "k4"]);
}

#[tokio::test]
async fn usage_is_counted_by_days() {
    use crate::keys::database::{By, KeyUsage};
    let api = Api::start().await;
    let (id, _) = api.key(&json!({})).await;
    let path = format!("/keys/{id}/usage");
    let empty = json!({"id": id, "last_used": null, "requests": 0, "days": []});
    assert_eq!(api.ask("GET", &path).await.expect(200), empty);
    let now = crate::moment::Moment::now();
    let today = now.unix_seconds() / 86_400 * 86_400;
    let batch = [(today, 5), (today - 86_400, 7), (today - 86_400 * 60, 11)].map(|(last_used_s, requests)| KeyUsage {
        key: id.as_str().into(),
        last_used_s,
        requests,
    });
    api.database.write(By::cli("test"), now, move |store| store.record_usage(&batch)).await.expect("writes");
    let usage = api.ask("GET", &path).await.expect(200);
    assert_eq!((&usage["requests"], usage["days"].as_array().map(Vec::len)), (&json!(12), Some(2)), "of 30 days");
    assert_eq!(usage["days"][0]["requests"], 7, "oldest first");
    assert_eq!(api.ask("GET", &format!("{path}?since=2020-01-01T00:00:00Z")).await.expect(200)["requests"], 23);
    api.ask("GET", "/keys/nobody/usage").await.refused(404, "no_key");
}

#[tokio::test]
async fn the_audit_trail_says_who_did_what() {
    let api = Api::start().await;
    let (id, _) = api.key(&json!({"id": "k1"})).await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    api.ask("POST", &format!("/keys/{id}/revoke")).await.expect(200);
    let lines = async |query: &str| {
        let page = api.ask("GET", &format!("/audit{query}")).await.expect(200);
        let line =
            |line: &Value| format!("{} {} {}", text(&line["action"]), text(&line["kind"]), text(&line["subject"]));
        page["items"].as_array().expect("items").iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(lines("").await, ["create key k1", "create user u1", "revoke key k1"]);
    assert_eq!(lines("?kind=key&subject=k1&action=revoke&actor=admin").await, ["revoke key k1"]);
    assert_eq!(lines("?until=2020-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(lines("?since=2020-01-01T00:00:00%2B02:00&limit=1").await, ["create key k1"]);
    assert_eq!(api.ask("GET", "/audit").await.expect(200)["items"][0]["channel"], "api");
}
