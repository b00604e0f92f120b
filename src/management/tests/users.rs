//! Users, and what becomes of their keys.

use super::*;

#[tokio::test]
async fn a_user_is_made_shown_changed_and_deleted() {
    let api = Api::start().await;
    let told = json!({"login": "alice@example.com", "name": "Alice", "tenant": "acme", "roles": ["operator"],
        "permissions": ["orders:*"], "metadata": {"desk": "4"}});
    let answer = api.json("POST", "/users", &told).await;
    let made = answer.expect(201);
    let path = format!("/users/{}", text(&made["id"]));
    assert_eq!(answer.field("location"), Some(format!("/api/v1{path}").to_lowercase().as_str()));
    for (member, value) in told.as_object().expect("members") {
        assert_eq!(&made[member], value, "{member}");
    }
    assert_eq!((&made["enabled"], &made["has_password"]), (&json!(true), &json!(false)));
    assert_eq!(api.ask("GET", &path).await.expect(200), made);
    let changed = api.json("PATCH", &path, &json!({"name": null, "login": "alice"})).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["login"], &changed["tenant"]),
        (&Value::Null, &json!("alice"), &json!("acme"))
    );
    api.ask("DELETE", &path).await.expect(204);
    api.ask("GET", &path).await.refused(404, "no_user");
    api.ask("DELETE", &path).await.refused(404, "no_user");
}

#[tokio::test]
async fn no_two_users_have_one_login_or_id() {
    let api = Api::start().await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    api.json("POST", "/users", &json!({"login": "bob", "id": "u2"})).await.expect(201);
    let before = api.changes().await;
    api.json("POST", "/users", &json!({"login": "ALICE"})).await.refused(409, "login_taken");
    api.json("POST", "/users", &json!({"login": "carol", "id": "u1"})).await.refused(409, "login_taken");
    api.json("PATCH", "/users/u2", &json!({"login": "alice"})).await.refused(409, "login_taken");
    assert_eq!(api.changes().await, before);
}

#[tokio::test]
async fn a_user_takes_all_keys_along() {
    let api = Api::start().await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    let (id, secret) = api.key(&json!({"user": "alice"})).await;
    let path = format!("/keys/{id}");
    assert_eq!(api.ask("GET", &path).await.expect(200)["user"], "u1", "named by login, kept by id");
    let state = || api.in_force(&secret).expect("a key").state.name();
    assert_eq!(api.ask("POST", "/users/u1/disable").await.expect(200)["enabled"], false);
    assert_eq!(state(), "inactive");
    let shown = api.ask("GET", &path).await.expect(200);
    assert_eq!(
        (&shown["state"], &shown["standing"], &shown["user_disabled"]),
        (&json!("active"), &json!("inactive"), &json!(true))
    );
    assert_eq!(api.ask("POST", "/users/u1/enable").await.expect(200)["enabled"], true);
    assert_eq!(state(), "active");
    api.ask("DELETE", "/users/u1").await.expect(204);
    assert_eq!(state(), "revoked");
}

#[tokio::test]
async fn users_are_listed_by_pages_and_filters() {
    let api = Api::start().await;
    for (id, tenant) in [("u1", "a"), ("u2", "b"), ("u3", "a")] {
        api.json("POST", "/users", &json!({"login": format!("{id}@x"), "id": id, "tenant": tenant})).await.expect(201);
    }
    api.ask("POST", "/users/u3/disable").await.expect(200);
    for (query, expected) in [
        ("", &["u1", "u2", "u3"][..]),
        ("?tenant=a", &["u1", "u3"]),
        ("?enabled=false", &["u3"]),
        ("?enabled=true&text=U2%40", &["u2"]),
        ("?tenant=nobody", &[]),
    ] {
        assert_eq!(ids(&api.ask("GET", &format!("/users{query}")).await.expect(200)), expected, "{query}");
    }
    let first = api.ask("GET", "/users?limit=2").await.expect(200);
    assert_eq!(ids(&first), ["u1", "u2"]);
    let next = api.ask("GET", &format!("/users?limit=2&cursor={}", text(&first["next"]))).await.expect(200);
    assert_eq!((ids(&next), &next["next"]), (vec!["u3".to_owned()], &Value::Null));
}
