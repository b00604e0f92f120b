//! Wrong input of every kind: refused by name, and nothing is changed.

use super::*;

#[tokio::test]
async fn content_that_is_not_as_described_changes_nothing() {
    let api = Api::start().await;
    let (id, _) = api.key(&json!({})).await;
    let before = api.changes().await;
    let long = json!({"name": "x".repeat(1025)}).to_string();
    let permissions = json!({"permissions": vec!["p"; 65]}).to_string();
    let secret = json!({"name": "was xy_live_4eC39HqLyjWDarjtT1zdp7dc"}).to_string();
    let deep = format!("{{\"metadata\":{}}}", "{\"a\":".repeat(30) + "1" + &"}".repeat(30));
    for (content, status, code, pointer) in [
        ("", 400, "not_json", ""),
        ("name=a", 400, "not_json", ""),
        ("{\"name\":\"a\"", 400, "not_json", ""),
        ("{\"name\":\"a\"}{}", 400, "not_json", ""),
        ("{\"name\":\"a\",\"name\":\"b\"}", 400, "not_json", ""),
        ("{\"metadata\":{\"a\":\"1\",\"a\":\"2\"}}", 400, "not_json", ""),
        (&deep, 400, "not_json", ""),
        ("[]", 422, "invalid", "#"),
        ("null", 422, "invalid", "#"),
        ("{\"nmae\":\"a\"}", 422, "invalid", "#"),
        ("{\"name\":1}", 422, "invalid", "#/name"),
        ("{\"name\":\"\"}", 422, "invalid", "#/name"),
        ("{\"name\":\"a\\u0000\"}", 422, "invalid", "#/name"),
        ("{\"name\":\"a\\nb\"}", 422, "invalid", "#/name"),
        (&long, 422, "invalid", "#/name"),
        (&secret, 422, "invalid", "#/name"),
        ("{\"permissions\":null}", 422, "invalid", "#/permissions"),
        ("{\"permissions\":[\"a\",\"a b\"]}", 422, "invalid", "#/permissions/1"),
        (&permissions, 422, "invalid", "#/permissions"),
        ("{\"rate_limit\":0}", 422, "invalid", "#/rate_limit"),
        ("{\"rate_limit\":1.5}", 422, "invalid", "#/rate_limit"),
        ("{\"rate_limit\":-1}", 422, "invalid", "#/rate_limit"),
        ("{\"rate_limit\":\"5\"}", 422, "invalid", "#/rate_limit"),
        ("{\"rate_limit\":1e300}", 422, "invalid", "#/rate_limit"),
        ("{\"expires\":\"tomorrow\"}", 422, "invalid", "#/expires"),
        ("{\"expires\":1}", 422, "invalid", "#/expires"),
        ("{\"allowed_networks\":[\"10.0.0.1\"]}", 422, "invalid", "#/allowed_networks/0"),
        ("{\"metadata\":{\"a/b\":1}}", 422, "invalid", "#/metadata/a~1b"),
        ("{\"metadata\":{\"a b\":\"\"}}", 422, "invalid", "#/metadata"),
        ("{\"not_before\":\"2030-01-01T00:00:00Z\",\"expires\":\"2030-01-01T00:00:00Z\"}", 409, "dates_contradict", ""),
    ] {
        for (method, path) in [("POST", "/keys".to_owned()), ("PATCH", format!("/keys/{id}"))] {
            let problem = api.bytes(method, &path, content.as_bytes()).await.refused(status, code);
            let named = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
            assert_eq!(named, pointer, "{content}: {problem}");
            assert!(!problem.to_string().contains("4eC39HqLyjWDarjtT1zdp7dc"));
        }
    }
    for content in
        [&b"{\"name\":\"\xff\"}"[..], b"{\"name\":\"\xed\xa0\x80\"}", b"\xff\xfe{\0}\0", b"{\"name\":\"\0\"}"]
    {
        api.bytes("POST", "/keys", content).await.refused(400, "not_json");
    }
    api.json("POST", "/users", &json!({})).await.refused(422, "invalid");
    api.json("POST", "/users", &json!({"login": null})).await.refused(422, "invalid");
    api.json("POST", &format!("/keys/{id}/rotate"), &json!({"overlap_seconds": 31_622_401}))
        .await
        .refused(422, "invalid");
    api.json("POST", &format!("/keys/{id}/rotate"), &Value::Null).await.refused(422, "invalid");
    assert_eq!(api.changes().await, before);
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once_and_not_without_end() {
    let api = Api::start().await;
    let content = json!({"name": 1, "roles": [""], "expires": ""});
    let problem = api.json("POST", "/keys", &content).await.refused(422, "invalid");
    let pointers: Vec<String> =
        problem["errors"].as_array().expect("errors").iter().map(|one| text(&one["pointer"])).collect();
    assert_eq!(pointers, ["#/name", "#/roles/0", "#/expires"]);
    let many = json!({"permissions": vec![1; 10_000]});
    let problem = api.json("POST", "/keys", &many).await.refused(422, "invalid");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(32));
}

#[tokio::test]
async fn content_of_another_type_is_refused() {
    let api = Api::start().await;
    let send = async |fields: &str| {
        let fields = format!("Authorization: Bearer {TOKEN}\r\n{fields}");
        let answer = api.send(&api.head("POST", "/keys", &fields), b"{}").await;
        answer.hold(&api.document, "POST", "/keys");
        answer
    };
    for fields in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/merge-patch+json\r\n",
        "Content-Type: application/json; charset=iso-8859-1\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: \u{e9}\r\n",
    ] {
        send(fields).await.refused(415, "media_type");
    }
    for fields in ["Content-Type: application/json\r\n", "content-type: Application/JSON ; charset=UTF-8\r\n"] {
        send(fields).await.expect(201);
    }
}

#[tokio::test]
async fn content_that_is_too_large_is_refused() {
    let api = Api::start().await;
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    api.bytes("POST", "/keys", padded(64 * 1024).as_bytes()).await.expect(201);
    let before = api.changes().await;
    api.bytes("POST", "/keys", padded(64 * 1024 + 1).as_bytes()).await.refused(413, "too_large");

    let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let head = api.head("POST", "/keys", &fields);
    let announced = format!("{head}Content-Length: 9999999999\r\n\r\n");
    api.send_raw(announced.as_bytes()).await.refused(413, "too_large");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n10001\r\n{}\r\n0\r\n\r\n", padded(64 * 1024 + 1));
    api.send_raw(chunked.as_bytes()).await.refused(413, "too_large");
    let broken = format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    api.send_raw(broken.as_bytes()).await.refused(400, "unreadable");
    assert_eq!(api.changes().await, before);
}

#[tokio::test]
async fn a_query_that_is_not_as_described_is_refused() {
    let api = Api::start().await;
    for (path, parameter) in [
        ("/keys?limit=0", Some("limit")),
        ("/keys?limit=201", Some("limit")),
        ("/keys?limit=+5", Some("limit")),
        ("/keys?limit=", Some("limit")),
        ("/keys?limit=99999999999999999999", Some("limit")),
        ("/keys?cursor=1", Some("cursor")),
        ("/keys?cursor=ffffffffffffffff", Some("cursor")),
        ("/keys?state=dead", Some("state")),
        ("/keys?text=", Some("text")),
        ("/keys?text=a%00", Some("text")),
        ("/keys?tenant=a+b", Some("tenant")),
        ("/users?enabled=1", Some("enabled")),
        ("/audit?since=2020", Some("since")),
        ("/audit?kind=", Some("kind")),
        ("/keys/k/usage?since=x", Some("since")),
        ("/keys?limt=5", None),
        ("/keys?limit=5&limit=5", None),
        ("/keys?text=%ff", None),
        ("/keys?text=%f", None),
        ("/keys?text=%zz", None),
    ] {
        let problem = api.ask("GET", path).await.refused(400, "bad_parameter");
        assert_eq!(problem["errors"][0]["parameter"].as_str(), parameter, "{path}");
    }
    api.ask("GET", "/keys?&limit=5&").await.expect(200);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let api = Api::start().await;
    for path in
        ["", "/", "/key", "/keys/", "/keys/a/b", "/keys/a/rotate/", "/users/a/rotate", "/audit/1", "/keys//rotate"]
    {
        api.ask("POST", path).await.refused(404, "no_path");
    }
    for path in ["/keys/%ff", "/keys/a%00", "/keys/a%20b", &format!("/keys/{}", "a".repeat(129))] {
        api.ask("GET", path).await.refused(404, "no_path");
    }
    api.ask("GET", "/keys/a%2Fb").await.refused(404, "no_key");
    for (method, path, allowed) in [
        ("PUT", "/keys", "get,head,post"),
        ("POST", "/keys/a", "get,head,patch,delete"),
        ("GET", "/keys/a/rotate", "post"),
        ("TRACE", "/audit", "get,head"),
        ("DELETE", "/users/a/enable", "post"),
        ("BREW", "/openapi.json", "get,head"),
    ] {
        let answer = api.ask(method, path).await;
        answer.refused(405, "method_not_allowed");
        let mut methods: Vec<&str> = answer.field("allow").expect("Allow").split(',').map(str::trim).collect();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        methods.sort_unstable();
        expected.sort_unstable();
        assert_eq!(methods, expected, "{method} {path}");
    }
}
