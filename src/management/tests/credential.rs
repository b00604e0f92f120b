//! Who may manage.

use super::*;

async fn with_authorization(api: &Api, fields: &str) -> Answer {
    let answer = api.send(&api.head("GET", "/keys", fields), b"").await;
    answer.hold(&api.document, "GET", "/keys");
    answer
}

#[tokio::test]
async fn nothing_but_the_admin_token_opens_the_api() {
    let api = Api::start().await;
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (fields, code) in [
        (String::new(), "missing_credential"),
        ("Authorization: \r\n".to_owned(), "wrong_credential"),
        ("Authorization: Bearer\r\n".to_owned(), "wrong_credential"),
        ("Authorization: Bearer wrong\r\n".to_owned(), "wrong_credential"),
        (format!("Authorization: Basic {TOKEN}\r\n"), "wrong_credential"),
        (format!("Authorization: Bearer {TOKEN}x\r\n"), "wrong_credential"),
        (format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()), "wrong_credential"),
        (format!("{right}{right}"), "wrong_credential"),
    ] {
        let answer = with_authorization(&api, &fields).await;
        answer.refused(401, code);
        assert!(answer.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("bearer")));
    }
    for fields in [right, format!("authorization: bearer   {TOKEN}\r\n")] {
        with_authorization(&api, &fields).await.expect(200);
    }
}

#[tokio::test]
async fn every_path_is_guarded_but_the_document() {
    let api = Api::start().await;
    for (method, path) in
        [("GET", "/users"), ("PUT", "/keys"), ("GET", "/nothing"), ("POST", "/keys"), ("HEAD", "/keys")]
    {
        assert_eq!(api.send(&api.head(method, path, ""), b"").await.status, 401, "{method} {path}");
    }
    assert_eq!(api.document["openapi"], "3.1.0");
}

/// Otherwise whoever reaches the door could lock everybody out.
#[tokio::test]
async fn too_many_wrong_credentials_are_slowed_and_the_right_one_is_not() {
    let api = Api::start().await;
    let mut statuses = Vec::new();
    // A second may end in the middle of it, so that twenty are let through; not forty.
    for _ in 0..40 {
        statuses.push(with_authorization(&api, "Authorization: Bearer wrong\r\n").await.status);
        if statuses.contains(&429) {
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert!(statuses.len() > 10, "{statuses:?}");
    assert_eq!(with_authorization(&api, "").await.status, 401, "nothing was guessed");
    api.ask("GET", "/keys").await.expect(200);
}
