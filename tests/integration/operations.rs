//! Operations, asked in every way in which HTTP can ask: other methods, preflights, HTTP/2, content that waits to be asked
//! for; and what they leave behind in logs, metrics and memory.

use serde_json::{Value, json};

use crate::gate::{Gate, PATIENCE};
use crate::programs::run;
use crate::shipped::{PASSWORD, Shipped, post, text_at};

const LOGIN: &str = "/v1/auth/login";
const KEYS: &str = "/v1/secrets/api/keys";
const ORIGIN: (&str, &str) = ("Origin", "https://app.example.com");

fn login_of_ada() -> Value {
    json!({ "email": "ada@example.com", "password": PASSWORD })
}

/// A browser asks first whether it may; asking does nothing yet, whatever else stands in the question.
#[test]
fn a_preflight_does_nothing() {
    let stand = Shipped::new("flexprice")
        .edited(|text| format!("{text}\ncors: {{ origins: [\"https://app.example.com\"], preflight: true }}\n"));
    let gate = stand.start();
    stand.user("ada@example.com", "--role member --tenant acme");
    let (id, secret) = stand.key("--tenant acme");
    let before = stand.state();
    let key_path = format!("{KEYS}/{id}");
    for (method, path) in [
        ("POST", LOGIN),
        ("POST", KEYS),
        ("GET", KEYS),
        ("DELETE", &key_path),
        ("GET", "/v1/customers/portal/c1"),
        ("GET", "/.well-known/jwks.json"),
    ] {
        let asks = [ORIGIN, ("Access-Control-Request-Method", method), ("Content-Type", "application/json")];
        for more in [&[][..], &[("X-API-Key", secret.as_str())], &[("X-API-Key", "wrong")]] {
            let content = login_of_ada().to_string();
            let response = gate.client().request("OPTIONS", path, &[&asks[..], more].concat(), content.as_bytes());
            assert_eq!(response.status, 204, "{method} {path}: {response:?}");
            assert_eq!(response.field("access-control-allow-origin"), Some(ORIGIN.1), "{method} {path}");
            assert_eq!(response.field("access-control-allow-methods"), Some(method), "{method} {path}");
        }
    }
    // What a page asks for is not a method, or has none of these routes.
    for (method, path) in [("GET, DELETE", KEYS), ("", KEYS), ("\u{e9}", KEYS)] {
        let asks = [ORIGIN, ("Access-Control-Request-Method", method)];
        assert_eq!(gate.client().request("OPTIONS", path, &asks, b"").status, 405, "{method:?} {path}");
    }
    // Without an origin it is no preflight.
    assert_eq!(gate.client().request("OPTIONS", LOGIN, &[], b"").status, 405);
    assert!(stand.upstream.received().is_empty());
    assert_eq!(stand.state(), before);
    // What goes on goes on as nobody.
    let asks =
        [ORIGIN, ("Access-Control-Request-Method", "GET"), ("X-Customer-ID", "evil"), ("X-Session-Token", "evil")];
    assert_eq!(gate.client().request("OPTIONS", "/v1/customer/portal/x", &asks, b"").status, 200);
    assert!(!stand.upstream.last().mentions("evil"));
    // And the page may read both kinds of answers.
    let good = post(&gate, LOGIN, &[ORIGIN], &login_of_ada());
    let bad = post(&gate, LOGIN, &[ORIGIN], &json!({}));
    for (response, status) in [(good, 200), (bad, 400)] {
        assert_eq!(response.status, status);
        assert_eq!(response.field("access-control-allow-origin"), Some(ORIGIN.1));
    }
    assert_eq!(
        post(&gate, LOGIN, &[("Origin", "https://evil.example")], &json!({})).field("access-control-allow-origin"),
        None
    );
}

/// `HEAD` is `GET` without its content (RFC 9110, section 9.3.2), and what changes something is not asked for by it.
#[test]
fn head_shows_what_get_would_and_changes_nothing() {
    let stand = Shipped::new("flexprice");
    let gate = stand.start();
    let (_, secret) = stand.key("--tenant acme");
    let before = stand.state();
    for (path, status) in [(KEYS, 200), ("/.well-known/jwks.json", 200), ("/v1/customers/portal/c1", 405), (LOGIN, 405)]
    {
        let mut client = gate.client();
        let response = client.request("HEAD", path, &[("X-API-Key", &secret)], b"");
        assert_eq!(response.status, status, "{path}");
        // Nothing of the content is there: it would be taken for the next response.
        assert_eq!(client.request("GET", "/.well-known/jwks.json", &[], b"").status, 200, "{path}");
    }
    assert_eq!(stand.state(), before, "a session was made");
    let lengths = ["HEAD", "GET"].map(|method| {
        gate.client().request(method, KEYS, &[("X-API-Key", &secret)], b"").field("content-length").map(str::to_owned)
    });
    assert_eq!(lengths[0], lengths[1]);
}

/// Asks with curl: the status and the content.
#[track_caller]
fn curl(gate: &Gate, method: &str, path: &str, more: &[&str]) -> (u16, Value) {
    let url = format!("http://{}{path}", gate.address);
    let arguments = ["-sS", "--http2-prior-knowledge", "-X", method, "-w", "\n%{http_code} %{http_version}", &url];
    let said = run("curl", &[&arguments[..], more].concat()).unwrap();
    let (content, status) = said.rsplit_once('\n').unwrap();
    let (status, version) = status.split_once(' ').unwrap();
    assert_eq!(version, "2");
    (status.parse().unwrap(), serde_json::from_str(content).unwrap_or_default())
}

#[test]
fn operations_are_the_same_over_http2() {
    let stand = Shipped::unlimited("fluxiq-core").edited(|text| {
        let listen = text.lines().find(|line| line.starts_with("listen: ")).unwrap();
        let address = listen.trim_start_matches("listen: ");
        text.replace(listen, &format!("listen: {{ address: {address}, prior_knowledge: true }}"))
    });
    let gate = stand.start();
    stand.user("ada", "--role owner --tenant m1");
    let json = ["-H", "content-type: application/json", "-d"];
    let login = json!({ "document": "ada", "password": PASSWORD }).to_string();
    let post =
        |path: &str, more: &[&str], content: &str| curl(&gate, "POST", path, &[&json[..], &[content], more].concat());
    let (status, tokens) = post("/api/v1/auth/login", &[], &login);
    assert_eq!(status, 200);
    let bearer = format!("Authorization: Bearer {}", tokens["data"]["access_token"].as_str().unwrap());
    let refresh = json!({ "refresh_token": tokens["data"]["refresh_token"] }).to_string();
    let before = stand.state();
    for (content, status, code) in [
        ("", 400, "CONTENT_MALFORMED"),
        ("{", 400, "CONTENT_MALFORMED"),
        ("[]", 422, "CONTENT_INVALID"),
        ("{\"document\":\"ada\",\"password\":\"wrong\"}", 401, "UNAUTHORIZED"),
        ("{\"document\":\"ada\",\"document\":\"ada\",\"password\":\"wrong\"}", 400, "CONTENT_MALFORMED"),
    ] {
        let (got, answer) = post("/api/v1/auth/login", &[], content);
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{content:.60}");
    }
    for (method, path, more) in [
        ("POST", "/api/v1/auth/logout", &["-H", "authorization: Bearer x.y.z"][..]),
        ("POST", "/api/v1/auth/logout", &[]),
        ("GET", "/api/v1/auth/logout", &["-H", "content-type: application/grpc"]),
        ("POST", "/api/v1/auth/refresh", &["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", "x"]),
        ("OPTIONS", "/api/v1/auth/login", &[]),
        ("POST", "/api/v1/merchants/a%2Fb/api-keys", &["-H", &bearer]),
    ] {
        let (status, answer) = curl(&gate, method, path, more);
        let whole = (400..500).contains(&status) && answer["error"]["code"].is_string();
        // What is for no operation speaks gRPC with whoever does.
        assert!(whole || (method == "GET" && status == 200 && answer.is_null()), "{method} {path}: {status} {answer}");
    }
    assert_eq!(stand.state(), before);
    let (status, made) =
        post("/api/v1/merchants/m1/api-keys", &["-H", &bearer], "{\"name\":\"Shop\",\"permissions\":[\"pix:write\"]}");
    assert!(status == 201 && made["data"]["key"].is_string(), "{status} {made}");
    assert_eq!(post("/api/v1/auth/refresh", &[], &refresh).0, 200);
    assert_eq!(curl(&gate, "POST", "/api/v1/auth/logout", &["-H", &bearer]).0, 204);
    assert_eq!(curl(&gate, "GET", "/x", &["-H", &bearer]).0, 401);
    assert_eq!(post("/api/v1/auth/refresh", &[], &refresh).0, 401);
}

/// RFC 9110, section 10.1.1: who waits to be asked for the content is asked, or told at once that nobody wants it.
#[test]
fn content_that_waits_is_asked_for() {
    let stand = Shipped::new("flexprice");
    let gate = stand.start();
    stand.user("ada@example.com", "--role member --tenant acme");
    let content = login_of_ada().to_string();
    let length = content.len().to_string();
    let fields =
        |length| [("Content-Type", "application/json"), ("Expect", "100-continue"), ("Content-Length", length)];
    let mut client = gate.client();
    client.send("POST", LOGIN, &fields(&length), b"");
    assert_eq!(client.take(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write(content.as_bytes());
    assert_eq!(client.response("POST").status, 200);
    let mut client = gate.client();
    client.send("POST", LOGIN, &fields("1000000"), b"");
    assert!(client.take(12).ends_with(b"413"));
    assert!(!client.rest().is_empty());
    assert!(client.closes_within(PATIENCE));
}

/// At the level that says most.
#[test]
fn no_secret_of_an_operation_is_written_down() {
    let stand = Shipped::unlimited("fluxiq-core").edited(|text| format!("{text}\nlog: {{ level: trace }}\n"));
    let mut gate = stand.start();
    stand.user("ada", "--role owner --tenant m1");
    let told = json!({ "document": "ada", "password": PASSWORD });
    let tokens = post(&gate, "/api/v1/auth/login", &[], &told);
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| text_at(&tokens, &format!("/data/{name}")));
    let bearer = format!("Bearer {access}");
    let fields = [("Authorization", bearer.as_str())];
    let key = json!({ "name": "Shop", "permissions": ["pix:write"] });
    let made = text_at(&post(&gate, "/api/v1/merchants/m1/api-keys", &fields, &key), "/data/key");
    let guess = "a-password-that-was-a-guess";
    for (path, content) in [
        ("/api/v1/auth/login", json!({ "document": "ada", "password": guess })),
        ("/api/v1/auth/login", json!({ "document": guess, "password": guess })),
        ("/api/v1/auth/login", json!({ "document": { "password": guess }, "password": [guess] })),
        ("/api/v1/auth/login", json!({ guess: guess })),
        ("/api/v1/auth/refresh", json!({ "refresh_token": guess })),
        ("/api/v1/auth/refresh", json!({ "refresh_token": format!("{refresh}x") })),
        ("/api/v1/merchants/m1/api-keys", json!({ "name": guess, "permissions": [guess] })),
    ] {
        let refused = post(&gate, path, &fields, &content);
        assert!((400..500).contains(&refused.status), "{path}: {refused:?}");
        assert!(!refused.text().contains(guess), "{path}: {}", refused.text());
    }
    let forged = format!("Bearer {access}x");
    assert_eq!(gate.get("/x", &[("Authorization", &forged)]).status, 401);
    let next =
        text_at(&post(&gate, "/api/v1/auth/refresh", &[], &json!({ "refresh_token": refresh })), "/data/refresh_token");
    assert_eq!(post(&gate, "/api/v1/auth/refresh", &[], &json!({ "refresh_token": refresh })).status, 401);
    for secret in [&access, &refresh, &made, &next, guess] {
        gate.watch_for_secret(secret);
        // The signature alone is enough to be too much.
        gate.watch_for_secret(secret.rsplit('.').next().unwrap());
    }
    let store = std::fs::read_dir(stand.path("data")).unwrap().flatten().filter(|entry| entry.path().is_file());
    for entry in store {
        let bytes = std::fs::read(entry.path()).unwrap();
        for secret in [&access, &refresh, &made, &next, guess, PASSWORD] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "a secret is in {}", entry.path().display());
        }
    }
}

/// Whoever makes keys with a key that was granted less than others makes none that may more.
#[test]
fn a_key_that_may_less_makes_no_key_that_may_more() {
    let stand = Shipped::new("flexprice")
        .edited(|text| format!("{text}\nlimits: [{{ name: per-key, per: key, requests: 100, window: 1h }}]\n"));
    let gate = stand.start();
    for (granted, expected) in [("--rate-limit 7", 7), ("--rate-limit 500", 100), ("", 100)] {
        let (_, maker) = stand.key(&format!("--tenant acme {granted}"));
        let told = json!({ "name": "Child", "type": "private_key" });
        let child = text_at(&post(&gate, KEYS, &[("X-API-Key", &maker)], &told), "/api_key");
        let response = gate.get("/v1/x", &[("X-API-Key", &child)]);
        assert_eq!((response.status, response.number("x-ratelimit-limit")), (200, expected), "{granted}");
    }
}
