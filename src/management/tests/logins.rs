//! Passwords, logins and sessions.

use jiff::Timestamp;

use super::*;
use crate::keys::database::{By, LoginFilter, NewLogin, NewSession};
use crate::moment::Moment;

impl Api {
    /// What is stored of the password of a user.
    async fn stored(&self, user: &str) -> Option<String> {
        let user = user.to_owned();
        self.database.read(move |store| store.password_hash(&user)).await.expect("a user")
    }

    /// Whether this is the password of a user.
    async fn is_good(&self, user: &str, password: &str) -> bool {
        let password = zeroize::Zeroizing::new(password.to_owned());
        Passwords::start().expect("threads").verify(password, self.stored(user).await).await.expect("time").good
    }

    /// Begins a login as the gateway does.
    async fn login(&self, id: &str, user: &str, expires: &str) {
        let expires: Timestamp = expires.parse().expect("a time");
        let refresh = Digest::of(id.as_bytes());
        let login = NewLogin { id: id.to_owned(), user: user.to_owned(), refresh, expires, verified: None };
        let write = self.database.write(By::gateway(user), Moment::now(), move |store| store.create_login(login));
        write.await.expect("a login");
    }

    async fn session(&self, id: &str, customer: &str, expires: &str) {
        let session = NewSession {
            id: id.to_owned(),
            digest: Digest::of(id.as_bytes()),
            tenant: Some("acme".to_owned()),
            environment: None,
            customer: customer.to_owned(),
            expires: expires.parse().expect("a time"),
        };
        let write =
            self.database.write(By::gateway("key_1"), Moment::now(), move |store| store.create_session(session));
        write.await.expect("a session");
    }

    async fn logins(&self) -> usize {
        self.database.read(|store| store.logins(&LoginFilter::default(), Page::default())).await.expect("reads").0.len()
    }
}

const LATER: &str = "2999-01-01T00:00:00Z";

#[tokio::test]
async fn a_password_is_set_with_the_user_or_afterwards_and_never_shown() {
    let api = Api::start().await;
    let told = json!({"login": "alice", "id": "u1", "password": "violins under the bridge"});
    let answer = api.json("POST", "/users", &told).await;
    assert_eq!(answer.expect(201)["has_password"], true);
    assert!(api.is_good("u1", "violins under the bridge").await);
    let set = api.json("PUT", "/users/u1/password", &json!({"password": "cellos over the river"})).await;
    assert_eq!(set.expect(200)["has_password"], true);
    assert!(api.is_good("u1", "cellos over the river").await);
    assert!(!api.is_good("u1", "violins under the bridge").await);
    let stored = api.stored("u1").await.expect("a hash");
    let trail = api.ask("GET", "/audit").await;
    let shown = format!("{}{}{}{}", answer.text, set.text, trail.text, api.ask("GET", "/users").await.text);
    for secret in ["violins", "cellos", "argon2", stored.as_str()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let actions: Vec<_> = trail.json()["items"].as_array().expect("items").iter().map(|l| text(&l["action"])).collect();
    assert_eq!(actions, ["create", "password", "password"]);

    api.json("POST", "/users", &json!({"login": "bob", "id": "u2", "password": null})).await.expect(201);
    assert_eq!(api.stored("u2").await, None);
    api.json("PUT", "/users/u3/password", &json!({"password": "long enough"})).await.refused(404, "no_user");
}

#[tokio::test]
async fn a_password_that_is_none_is_refused_and_not_repeated() {
    let api = Api::start().await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    let before = api.changes().await;
    let right = "must be 8 to 256 characters, without line ends or other control characters";
    for password in [json!("seven c"), json!(""), json!("two\nlines of it"), json!("x".repeat(257)), json!(12_345_678)]
    {
        for (method, path, told) in [
            ("POST", "/users", json!({"login": "bob", "password": password})),
            ("PUT", "/users/u1/password", json!({"password": password})),
        ] {
            let problem = api.json(method, path, &told).await.refused(422, "invalid");
            assert_eq!(problem["errors"], json!([{"pointer": "#/password", "detail": right}]), "{password}");
        }
    }
    let missing = api.json("PUT", "/users/u1/password", &json!({})).await.refused(422, "invalid");
    assert_eq!(missing["errors"], json!([{"pointer": "#/password", "detail": "must be there"}]));
    api.json("PUT", "/users/u1/password", &json!({"password": null})).await.refused(422, "invalid");
    assert_eq!((api.changes().await, api.stored("u1").await), (before, None));
}

/// Whoever has the old password may be logged in with it.
#[tokio::test]
async fn another_password_and_a_switch_of_the_user_end_the_logins() {
    let api = Api::start().await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    for (method, path, told) in [
        ("PUT", "/users/u1/password", Some(json!({"password": "cellos over the river"}))),
        ("POST", "/users/u1/disable", None),
        ("DELETE", "/users/u1", None),
    ] {
        api.ask("POST", "/users/u1/enable").await.expect(200);
        api.login(&format!("before {path}").replace([' ', '/'], "."), "u1", LATER).await;
        assert_eq!(api.logins().await, 1, "{path}");
        match told {
            Some(told) => drop(api.json(method, path, &told).await.expect(200)),
            None => drop(api.ask(method, path).await),
        }
        assert_eq!(api.logins().await, 0, "{path}");
    }
}

#[tokio::test]
async fn logins_are_listed_and_ended() {
    let api = Api::start().await;
    for (id, login) in [("u1", "alice"), ("u2", "bob")] {
        api.json("POST", "/users", &json!({"login": login, "id": id})).await.expect(201);
    }
    for (id, user, expires) in
        [("l1", "u1", LATER), ("l2", "u2", LATER), ("l3", "u1", "2001-01-01T00:00:00Z"), ("l4", "u1", LATER)]
    {
        api.login(id, user, expires).await;
    }
    for (query, expected) in
        [("", &["l1", "l2", "l4"][..]), ("?user=u1", &["l1", "l4"]), ("?user=u2", &["l2"]), ("?user=alice", &[])]
    {
        assert_eq!(ids(&api.ask("GET", &format!("/logins{query}")).await.expect(200)), expected, "{query}");
    }
    let first = api.ask("GET", "/logins?limit=2").await.expect(200);
    let next = api.ask("GET", &format!("/logins?limit=2&cursor={}", text(&first["next"]))).await.expect(200);
    assert_eq!((ids(&next), &next["next"]), (vec!["l4".to_owned()], &Value::Null));
    let members: Vec<_> = first["items"][0].as_object().expect("a login").keys().cloned().collect();
    assert_eq!(members, ["id", "user", "created", "refreshed", "expires"], "and nothing that opens anything");

    api.ask("DELETE", "/logins/l1").await.expect(204);
    api.ask("DELETE", "/logins/l1").await.refused(404, "no_login");
    assert_eq!(ids(&api.ask("GET", "/logins").await.expect(200)), ["l2", "l4"]);
    let trail = api.ask("GET", "/audit?kind=login&subject=l1").await.expect(200);
    let lines: Vec<_> = trail["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|line| format!("{} {} {}", text(&line["actor"]), text(&line["channel"]), text(&line["action"])))
        .collect();
    assert_eq!(lines, ["u1 gateway create", "admin api end"]);
}

#[tokio::test]
async fn sessions_are_listed_and_revoked() {
    let api = Api::start().await;
    for (id, customer, expires) in [("s1", "c1", LATER), ("s2", "c2", LATER), ("s3", "c1", "2001-01-01T00:00:00Z")] {
        api.session(id, customer, expires).await;
    }
    for (query, expected) in [
        ("", &["s1", "s2"][..]),
        ("?customer=c1", &["s1"]),
        ("?tenant=acme", &["s1", "s2"]),
        ("?tenant=other", &[]),
        ("?environment=live", &[]),
    ] {
        assert_eq!(ids(&api.ask("GET", &format!("/sessions{query}")).await.expect(200)), expected, "{query}");
    }
    api.ask("DELETE", "/sessions/s1").await.expect(204);
    api.ask("DELETE", "/sessions/s1").await.refused(404, "no_session");
    assert_eq!(ids(&api.ask("GET", "/sessions").await.expect(200)), ["s2"]);
    let trail = api.ask("GET", "/audit?kind=session&action=revoke").await.expect(200);
    assert_eq!(trail["items"][0]["subject"], "s1");
}

/// A flood of passwords is turned away, and takes nothing from others than time.
#[tokio::test]
async fn more_passwords_than_can_be_hashed_are_turned_away() {
    let api = Api::start().await;
    api.json("POST", "/users", &json!({"login": "alice", "id": "u1"})).await.expect(201);
    let content = json!({"password": "violins under the bridge"}).to_string();
    let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let head = api.head("PUT", "/users/u1/password", &fields);
    let mut answers = Vec::new();
    let mut sending: Vec<_> = (0..150).map(|_| Box::pin(api.send(&head, content.as_bytes()))).collect();
    std::future::poll_fn(|context| {
        sending.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if sending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let (busy, done): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 503);
    assert!(busy.len() > 10 && done.len() > 10, "{} turned away", busy.len());
    for answer in done {
        answer.expect(200);
    }
    for answer in busy {
        answer.refused(503, "passwords_busy");
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
}
