//! Wrong input of every kind, to every operation of the contracts that are shipped.
//!
//! A wrong request is answered with a 4xx in the shape of its contract, at once; its connection can be used again or is
//! closed; and nothing was changed.

use serde_json::{Value, json};

use crate::client::Response;
use crate::gate::{Gate, PATIENCE};
use crate::shipped::{PASSWORD, Shipped, post, text_at};

/// What every connection that is not closed can be used for.
const JWKS: &str = "/.well-known/jwks.json";

type Fields = Vec<(String, String)>;

/// A wrong request.
struct Case {
    /// What is wrong.
    name: String,
    method: &'static str,
    path: String,
    fields: Fields,
    content: Vec<u8>,
    /// The client says nothing more after it.
    stops: bool,
    /// It cannot be read as a request, so whoever refuses it knows no contract, and may say nothing at all.
    unreadable: bool,
}

impl Case {
    fn new(name: impl Into<String>, method: &'static str, path: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            method,
            path: path.into(),
            fields: Vec::new(),
            content: Vec::new(),
            stops: false,
            unreadable: false,
        }
    }

    fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    fn fields(mut self, fields: &[(String, String)]) -> Self {
        self.fields.extend_from_slice(fields);
        self
    }

    fn json(self, content: impl Into<Vec<u8>>) -> Self {
        self.field("Content-Type", "application/json").content(content)
    }

    fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    fn stops(mut self) -> Self {
        self.stops = true;
        self.unreadable()
    }

    fn unreadable(mut self) -> Self {
        self.unreadable = true;
        self
    }

    /// Sends it, and looks at what comes.
    fn run(&self, gate: &Gate, in_shape: fn(&Response) -> bool) -> Result<(), String> {
        let mut client = gate.client();
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.send(self.method, &self.path, &fields, &self.content);
        if self.stops {
            client.sends_no_more();
        }
        let Some(response) = client.answer(self.method) else {
            return if self.unreadable { Ok(()) } else { Err("closed without an answer".to_owned()) };
        };
        if !(400..500).contains(&response.status) {
            return Err(format!("{response:?}"));
        }
        if !self.unreadable && self.method != "HEAD" && !in_shape(&response) {
            return Err(format!("not in shape: {response:?} {:?}", String::from_utf8_lossy(&response.content)));
        }
        if response.field("connection") == Some("close") || self.stops {
            return if client.closes_within(PATIENCE) { Ok(()) } else { Err("not closed".to_owned()) };
        }
        let again = client.request("GET", JWKS, &[], b"");
        if again.status == 200 { Ok(()) } else { Err(format!("then {again:?}")) }
    }
}

/// Runs all cases; whatever is wrong is told at once. Nothing may have been changed by them.
#[track_caller]
fn check(stand: &Shipped, gate: &Gate, cases: &[Case], at_least: usize, in_shape: fn(&Response) -> bool) {
    let before = stand.state();
    let forwarded = stand.upstream.received().len();
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let failure = case.run(gate, in_shape).err()?;
            Some(format!("{} {:.80}: {}: {failure:.400}", case.method, case.path, case.name))
        })
        .collect();
    println!("{} wrong requests, {} of them not refused as they should be", cases.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    assert_eq!(stand.state(), before, "something was changed");
    assert_eq!(stand.upstream.received().len(), forwarded, "something was forwarded");
}

/// Texts of JSON that are not this document, or can be read as it in one of two ways.
fn no_documents(good: &Value) -> Vec<(String, Vec<u8>)> {
    let text = good.to_string();
    let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
    let mut row = |name: &str, content: Vec<u8>| rows.push((name.to_owned(), content));
    for end in [0, 1, 2, text.len() / 2, text.len() - 2, text.len() - 1] {
        row(&format!("cut off after {end}"), text.as_bytes()[..end].to_vec());
    }
    row("a byte order mark", [b"\xef\xbb\xbf", text.as_bytes()].concat());
    row("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    row("a NUL behind", [text.as_bytes(), b"\0"].concat());
    row("a NUL in front", [b"\0", text.as_bytes()].concat());
    row("twice", [text.as_bytes(), text.as_bytes()].concat());
    row("in a list", format!("[{text}]").into_bytes());
    row("in a text", json!(text).to_string().into_bytes());
    row("a comment", format!("/* */{text}").into_bytes());
    row("a comma behind", text.replace('}', ",}").into_bytes());
    row("other quotes", text.replace('"', "'").into_bytes());
    row("form data", b"document=1&password=2".to_vec());
    for word in ["null", "true", "0", "\"\"", "[]", "{}", "NaN", "-", "{\"\":1}", "undefined", "\\", "\u{2028}", " "] {
        row(word, word.as_bytes().to_vec());
    }
    for (name, deep) in [("lists", "["), ("objects", "{\"a\":"), ("both", "[{\"a\":")] {
        row(&format!("{name} without end"), deep.repeat(60_000 / deep.len()).into_bytes());
    }
    let with = |more: &str| format!("{}{more}}}", &text[..text.len() - 1]).into_bytes();
    row("a deep member", with(&format!(",\"x\":{}{}", "[".repeat(40), "]".repeat(40))));
    row("a number that is none", with(",\"x\":1e999"));
    row("a number with a zero in front", with(",\"x\":01"));
    row("half a surrogate in another member", with(",\"x\":\"\\ud800\""));
    row("another member twice", with(",\"x\":1,\"x\":1"));
    row("another member twice, deep inside", with(",\"x\":[{\"y\":{\"z\":1,\"\\u007a\":1}}]"));
    row("not UTF-8 in another member", [&text.as_bytes()[..text.len() - 1], b",\"x\":\"\xff\"}"].concat());
    row("a NUL in a text", with(",\"x\":\"\0\""));
    row("a line end in a text", with(",\"x\":\"\n\""));
    row("much white space", [text.as_bytes(), " ".repeat(70_000).as_bytes()].concat());
    row("a mebibyte", with(&format!(",\"x\":\"{}\"", "x".repeat(1 << 20))));
    rows
}

/// Documents in which one member is wrong. `optional` ones may be missing; `lists` are not texts.
fn wrong_members(good: &Value, optional: &[&str], lists: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in good.as_object().unwrap() {
        let mut row = |what: &str, content: Vec<u8>| rows.push((format!("{name}: {what}"), content));
        let with = |value: Value| {
            let mut document = good.clone();
            document[name.as_str()] = value;
            document.to_string().into_bytes()
        };
        // Written by hand: what no writer of JSON would write.
        let raw = |value: &str| {
            let marked = String::from_utf8(with(json!("\u{1}MARK"))).unwrap();
            marked.replace("\"\\u0001MARK\"", value).into_bytes()
        };
        if !optional.contains(&name.as_str()) {
            row("null", with(Value::Null));
            let mut document = good.clone();
            document.as_object_mut().unwrap().remove(name);
            row("missing", document.to_string().into_bytes());
            row("in capitals", document_with_name(good, name, &name.to_uppercase()));
        }
        for wrong in [json!(true), json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(1e308), json!({})] {
            row(&wrong.to_string(), with(wrong));
        }
        row("an object of itself", with(json!({ name.as_str(): value })));
        row("a list of it in a list", with(json!([[value]])));
        row("a list of 10,000", with(json!(vec!["x"; 10_000])));
        row("a list of a number", with(json!([1])));
        row("a list of null", with(json!([null])));
        row("a huge number", raw(&"9".repeat(400)));
        row("10 KiB", with(json!("x".repeat(10 << 10))));
        row("a mebibyte", with(json!("x".repeat(1 << 20))));
        row("half a surrogate", raw("\"\\ud800\""));
        row("the other half", raw("\"\\udc00x\""));
        row("a broken escape", raw("\"\\u12\""));
        row("an escape that is none", raw("\"\\x41\""));
        row("no closing quote", raw("\"x"));
        for control in ["\0", "\u{7}", "\n", "\u{7f}", "\u{85}"] {
            row(&format!("{control:?}"), with(json!(format!("a{control}b"))));
        }
        let text = good.to_string();
        let doubled = |again: &str| format!("{},\"{again}\":{value}}}", &text[..text.len() - 1]).into_bytes();
        row("twice", doubled(name));
        let escaped: String = name.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
        row("twice, once with escapes", doubled(&escaped));
        row("twice, once null", format!("{{\"{name}\":null,{}", &text[1..]).into_bytes());
        if !lists.contains(&name.as_str()) {
            row("empty", with(json!("")));
            row("an empty list", with(json!([])));
            row("a list of it", with(json!([value])));
        }
    }
    rows
}

fn document_with_name(good: &Value, name: &str, other: &str) -> Vec<u8> {
    let mut document = good.clone();
    let value = document.as_object_mut().unwrap().remove(name).unwrap();
    document[other] = value;
    document.to_string().into_bytes()
}

/// The right content under the wrong fields.
fn wrong_media(path: &str, fields: &[(String, String)], good: &Value) -> Vec<Case> {
    let mut cases = Vec::new();
    let case = |name: &str| Case::new(name, "POST", path).fields(fields).content(good.to_string());
    cases.push(case("no media type"));
    for media_type in [
        "",
        " ",
        "text/plain",
        "text/json",
        "json",
        "*/*",
        "application/*",
        "application/jsonp",
        "application/+json",
        "application/json, text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/grpc",
        "application/grpc+json",
        "application/grpc-web+json",
        "application/octet-stream",
        "\u{e9}",
    ] {
        cases.push(case(&format!("media type {media_type:?}")).field("Content-Type", media_type));
    }
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "", "nonsense"] {
        let json = case(&format!("coding {coding:?}")).field("Content-Type", "application/json");
        cases.push(json.field("Content-Encoding", coding));
    }
    let twice = case("two media types").field("Content-Type", "application/json");
    cases.push(twice.field("content-type", "application/json"));
    let codings = case("two codings").field("Content-Type", "application/json").field("Content-Encoding", "identity");
    cases.push(codings.field("Content-Encoding", "gzip"));
    cases
}

/// Content that does not come as it was announced, and heads that can be read in two ways.
fn wrong_framing(path: &str, good: &Value) -> Vec<Case> {
    let text = good.to_string();
    let json = |name: &str| Case::new(name, "POST", path).field("Content-Type", "application/json");
    let chunks = |name: &str| json(name).field("Transfer-Encoding", "chunked");
    let length = text.len();
    let half = &text[..length / 2];
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut cases = vec![
        json("content that stops").field("Content-Length", length.to_string()).content(half).stops(),
        json("content that never begins").field("Content-Length", length.to_string()).stops(),
        chunks("a chunk that stops").content(format!("{length:x}\r\n{half}")).stops(),
        chunks("chunks without an end").content(chunk(&text)).stops(),
        chunks("a size that stops").content("1").stops(),
        chunks("a size that is none").content(format!("zz\r\n{text}\r\n0\r\n\r\n")).unreadable(),
        chunks("a size that is too large").content(format!("fffffffffffffffff\r\n{text}\r\n0\r\n\r\n")).unreadable(),
        chunks("a negative size").content(format!("-1\r\n{text}\r\n0\r\n\r\n")).unreadable(),
        chunks("no line end behind a chunk").content(format!("{length:x}\r\n{text}0\r\n\r\n")).unreadable(),
        chunks("half of it in bytes")
            .content(half.chars().map(|one| chunk(&one.to_string())).collect::<String>() + "0\r\n\r\n"),
        chunks("no chunk").content("0\r\n\r\n"),
        chunks("a mebibyte in chunks").content(chunk(&"x".repeat(1 << 16)).repeat(16) + "0\r\n\r\n"),
        json("another coding")
            .field("Transfer-Encoding", "gzip, chunked")
            .content(chunk(&text) + "0\r\n\r\n")
            .unreadable(),
        json("an unknown coding").field("Transfer-Encoding", "x").content(text.clone()).unreadable(),
        json("two lengths")
            .field("Content-Length", length.to_string())
            .field("Content-Length", "1")
            .content(text.clone())
            .unreadable(),
        json("a length of a mebibyte").field("Content-Length", (1 << 20).to_string()).content(text.clone()),
        json("a length of an exbibyte").field("Content-Length", (1_u64 << 60).to_string()).content(text.clone()),
        json("100-continue").field("Expect", "100-continue").content(half),
        json("another expectation").field("Expect", "nonsense").content(half),
        json("two hosts").field("Host", "a.example").field("Host", "b.example").content(text.clone()),
        json("a host that is none").field("Host", "a@b").content(text.clone()),
        json("a wide field").field("X-Wide", "x".repeat(40 << 10)).content(text.clone()).unreadable(),
    ];
    for wrong in ["-1", "+1", "1,1", "0x10", "1 1", "", "99999999999999999999", "\u{661}"] {
        let case = json(&format!("length {wrong:?}")).field("Content-Length", wrong).content(text.clone());
        cases.push(case.unreadable());
    }
    let many =
        (0..101).fold(json("many fields").content(text.clone()), |case, index| case.field(&format!("X-{index}"), "x"));
    cases.push(many.unreadable());
    cases
}

/// Ids that nobody has and most cannot have.
fn strange_words() -> Vec<String> {
    let mut words: Vec<String> = [
        "%2F",
        "a%2Fb",
        "%2f%2e%2e",
        "..%2f..",
        "%00",
        "a%00",
        "%0a",
        "%0D%0A",
        "%7f",
        "%5c",
        "a%5Cb",
        "%ff",
        "%c0%af",
        "%",
        "%2",
        "%zz",
        "%252f",
        "%25252e",
        "%252e%252e",
        "..;x",
        "%C2%85",
        "%20",
        "a%20b",
        "%C3%A9",
        "%F0%9F%92%A9",
        "%EF%BB%BF",
        "%E2%80%8B",
        "a%09b",
    ]
    .map(str::to_owned)
    .to_vec();
    words.extend(["x".repeat(10 << 10), "%41".repeat(4096), "%C3%A9".repeat(100), "x".repeat(129)]);
    words
}

/// Tokens that are not these.
fn wrong_tokens(good: &str, refresh: Option<&str>) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, token: String| rows.push((name.to_owned(), token));
    let parts: Vec<&str> = good.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        for at in [0, part.len() / 2, part.len() - 1] {
            let mut changed = part.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
            let mut token = parts.clone();
            let changed = String::from_utf8(changed).unwrap();
            token[index] = &changed;
            row(&format!("letter {at} of part {index} is another"), token.join("."));
        }
        let mut token = parts.clone();
        token[index] = "";
        row(&format!("part {index} is empty"), token.join("."));
    }
    row("without its signature", parts[..2].join("."));
    row("a part more", format!("{good}.{}", parts[2]));
    row("padded", format!("{good}="));
    row("in another order", [parts[1], parts[0], parts[2]].join("."));
    row("nothing", "x".to_owned());
    row("three letters", "a.b.c".to_owned());
    row("no algorithm", format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]));
    row("no algorithm, signed", format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.{}", parts[1], parts[2]));
    row("10 KiB", format!("eyJ{}.a.b", "x".repeat(10 << 10)));
    row("60 KiB of dots", ".".repeat(20 << 10));
    if let Some(refresh) = refresh {
        row("of the other kind", refresh.to_owned());
    }
    rows
}

fn of_core(response: &Response) -> bool {
    let content: Value = serde_json::from_slice(&response.content).unwrap_or_default();
    let error = &content["error"];
    let code = error["code"].as_str().unwrap_or_default();
    let limits = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    !code.is_empty()
        && code == code.to_uppercase()
        && error["message"].is_string()
        && is_ours(response)
        && limits.iter().all(|name| response.field(name).is_some())
}

fn of_certo(response: &Response) -> bool {
    let content: Value = serde_json::from_slice(&response.content).unwrap_or_default();
    let code = content["error"].as_str().unwrap_or_default();
    !code.is_empty() && code == code.to_lowercase() && content["message"].is_string() && is_ours(response)
}

fn of_flex(response: &Response) -> bool {
    let content: Value = serde_json::from_slice(&response.content).unwrap_or_default();
    content["code"].is_string()
        && content["message"].is_string()
        && content["http_status_code"] == response.status
        && is_ours(response)
}

fn is_ours(response: &Response) -> bool {
    response.field("content-type") == Some("application/json") && response.field("cache-control") == Some("no-store")
}

/// Methods that an operation does not have.
fn other_methods(path: &str, right: &[&str], fields: &[(String, String)]) -> Vec<Case> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "QUERY", "post", "CONNECT"];
    let wrong = methods.into_iter().filter(|method| !right.contains(method));
    let case = |method| Case::new("another method", method, path).fields(fields).json("{\"x\":1}");
    wrong.map(|method| if method == "CONNECT" { case(method).unreadable() } else { case(method) }).collect()
}

fn bearer(token: &str) -> (String, String) {
    ("Authorization".to_owned(), format!("Bearer {token}"))
}

/// Everything that is wrong with a document that is posted.
fn wrong_posts(path: &str, fields: &[(String, String)], good: &Value, optional: &[&str], lists: &[&str]) -> Vec<Case> {
    let documents = no_documents(good).into_iter().chain(wrong_members(good, optional, lists));
    let case = |(name, content): (String, Vec<u8>)| Case::new(name, "POST", path).fields(fields).json(content);
    let mut cases: Vec<Case> = documents.map(case).collect();
    cases.extend(wrong_media(path, fields, good));
    cases
}

/// Keys that may not be made, by whom they may not be.
fn wrong_permissions(path: &str, owner: &[(String, String)], operator: &[(String, String)]) -> Vec<Case> {
    let mut cases = Vec::new();
    for permission in [
        "",
        "a",
        "a:",
        ":a",
        "*:read",
        "a:b:c",
        "a b:c",
        "**",
        "pix:*x",
        "a:*:b",
        "pix:write\0",
        "pix:\u{e9}",
        "pix:write ",
        "\u{202e}pix:write",
        "pix/write",
        "*,*",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39H",
    ] {
        let document = json!({ "name": "Shop", "permissions": ["pix:read", permission] });
        let case = Case::new(format!("permission {permission:?}"), "POST", path).fields(owner);
        cases.push(case.json(document.to_string()));
    }
    let more = |permissions: Value| json!({ "name": "Shop", "permissions": permissions }).to_string();
    let key = |name: &str| Case::new(name, "POST", path);
    cases.extend([
        key("a permission too long").fields(owner).json(more(json!([format!("pix:{}", "x".repeat(200))]))),
        key("too many permissions").fields(owner).json(more(json!(vec!["pix:write"; 257]))),
        key("more bytes than a field has").fields(owner).json(more(json!(vec![format!("p:{}", "x".repeat(100)); 200]))),
        key("who may not").fields(operator).json(more(json!(["pix:write"]))),
        key("who may not, more than that").fields(operator).json(more(json!(["*"]))),
        key("nobody").json(more(json!([]))),
        key("a name that is a key")
            .fields(owner)
            .json(json!({ "name": format!("sk_live_{}", "4eC39HqLyj".repeat(4)) }).to_string()),
    ]);
    cases
}

#[test]
fn wrong_input_to_core_is_refused_and_changes_nothing() {
    const LOGIN: &str = "/api/v1/auth/login";
    const REFRESH: &str = "/api/v1/auth/refresh";
    const LOGOUT: &str = "/api/v1/auth/logout";
    const KEYS: &str = "/api/v1/merchants/m1/api-keys";
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("owner", "--role owner --tenant m1");
    stand.user("root", "--role owner");
    stand.user("operator", "--role operator --tenant m1");
    let login = |document: &str| post(&gate, LOGIN, &[], &json!({ "document": document, "password": PASSWORD }));
    let (owner, root, operator) = (login("owner"), login("root"), login("operator"));
    let access = text_at(&owner, "/data/access_token");
    let refresh = text_at(&owner, "/data/refresh_token");
    let (as_owner, as_root) = ([bearer(&access)], [bearer(&text_at(&root, "/data/access_token"))]);
    let as_operator = [bearer(&text_at(&operator, "/data/access_token"))];

    let (good_login, good_refresh) =
        (json!({ "document": "owner", "password": PASSWORD }), json!({ "refresh_token": refresh }));
    let good_key = json!({ "name": "Shop", "permissions": ["pix:write"] });
    let mut cases = wrong_posts(LOGIN, &[], &good_login, &[], &[]);
    cases.extend(wrong_posts(REFRESH, &[], &good_refresh, &[], &[]));
    cases.extend(wrong_posts(KEYS, &as_owner, &good_key, &["permissions"], &["permissions"]));
    cases.extend([LOGIN, REFRESH].iter().flat_map(|path| other_methods(path, &["POST"], &[])));
    cases.extend(wrong_framing(LOGIN, &good_login));
    cases.extend(wrong_framing(REFRESH, &good_refresh));
    for (name, token) in wrong_tokens(&refresh, Some(&access)) {
        cases.push(Case::new(name, "POST", REFRESH).json(json!({ "refresh_token": token }).to_string()));
    }
    for (name, token) in wrong_tokens(&access, Some(&refresh)) {
        cases.push(Case::new(name.clone(), "POST", LOGOUT).fields(&[bearer(&token)]));
        cases.push(Case::new(name, "POST", KEYS).fields(&[bearer(&token)]).json(good_key.to_string()));
    }
    cases.extend(wrong_permissions(KEYS, &as_owner, &as_operator));
    for word in strange_words() {
        let path = format!("/api/v1/merchants/{word}/api-keys");
        cases.push(Case::new("of a tenant", "POST", path.clone()).fields(&as_owner).json(good_key.to_string()));
        cases.push(Case::new("of no tenant", "POST", path).fields(&as_root).json(good_key.to_string()));
    }
    for other in ["m2", "M1", "m1.", "m1%20", "m1;x", "*", "null", "'or'1'='1"] {
        let path = format!("/api/v1/merchants/{other}/api-keys");
        cases.push(Case::new("another tenant", "POST", path).fields(&as_owner).json(good_key.to_string()));
    }
    check(&stand, &gate, &cases, 600, of_core);

    // What was refused so often is still good.
    assert_eq!(post(&gate, KEYS, &[("Authorization", &as_owner[0].1)], &good_key).status, 201);
    assert_eq!(post(&gate, REFRESH, &[], &good_refresh).status, 200);
    assert_eq!(post(&gate, LOGIN, &[], &good_login).status, 200);
}

#[test]
fn wrong_input_to_certo_is_refused_and_changes_nothing() {
    const LOGIN: &str = "/api/auth/login";
    const OWN: &str = "/api/api-keys/me";
    const REGENERATE: &str = "/api/api-keys/me/regenerate";
    let stand = Shipped::unlimited("certopay");
    let gate = stand.start();
    stand.user("seller@example.com", "--role seller");
    stand.user("keyless@example.com", "--role seller");
    let (_, secret) = stand.key("--user seller@example.com");
    let good_login = json!({ "email": "seller@example.com", "password": PASSWORD });
    let access = text_at(&post(&gate, LOGIN, &[], &good_login), "/accessToken");
    let keyless = post(&gate, LOGIN, &[], &json!({ "email": "keyless@example.com", "password": PASSWORD }));
    let as_keyless = [bearer(&text_at(&keyless, "/accessToken"))];

    let mut cases = wrong_posts(LOGIN, &[], &good_login, &[], &[]);
    cases.extend(wrong_framing(LOGIN, &good_login));
    cases.extend(other_methods(LOGIN, &["POST"], &[]));
    cases.extend(other_methods(OWN, &["GET", "HEAD"], &[]));
    cases.extend(other_methods(REGENERATE, &["POST"], &[]));
    for (method, path) in [("GET", OWN), ("HEAD", OWN), ("POST", REGENERATE)] {
        for (name, token) in wrong_tokens(&access, None) {
            cases.push(Case::new(name, method, path).fields(&[bearer(&token)]));
        }
        let case = |name: &str| Case::new(name, method, path);
        let twice = case("two tokens").fields(&[bearer(&access)]);
        cases.extend([
            case("a user without a key").fields(&as_keyless),
            case("a key").field("X-Api-Key", secret.as_str()),
            case("a key as a bearer").fields(&[bearer(&secret)]),
            case("a token in the place of keys").field("X-Api-Key", access.as_str()),
            case("a token without its scheme").field("Authorization", access.as_str()),
            case("another scheme").field("Authorization", format!("Basic {access}")),
            twice.fields(&as_keyless),
        ]);
    }
    for path in ["/api/payment-gateway/process", "/api/orders", "/api/customers", "/api/customers/1"] {
        cases.push(Case::new("a token is no key", "GET", path).fields(&[bearer(&access)]));
        cases.push(Case::new("a token is no key", "GET", path).field("X-Api-Key", access.as_str()));
    }
    check(&stand, &gate, &cases, 280, of_certo);

    assert_eq!(gate.get(OWN, &[("Authorization", &format!("Bearer {access}"))]).status, 200);
    assert_eq!(post(&gate, LOGIN, &[], &good_login).status, 200);
}

/// The fields and the secret of a delivery that would be good.
fn delivery_fields(secret: &str, content: &[u8]) -> Fields {
    let now = jiff::Timestamp::now().as_second();
    let signature = crate::shipped::hmac_hex(secret, &[format!("{now}.").as_bytes(), content].concat());
    vec![("Stripe-Signature".to_owned(), format!("t={now},v1={signature}"))]
}

fn wrong_deliveries(secret: &str) -> Vec<Case> {
    let content = br#"{"a":1}"#;
    let good = delivery_fields(secret, content);
    let signature = good[0].1.clone();
    let (time, hex) = signature.split_once(",v1=").unwrap();
    let path = "/v1/webhooks/stripe/acme/live";
    let case = |name: &str| Case::new(name, "POST", path).content(&content[..]);
    let mut cases = vec![
        case("no signature"),
        case("another content").content(&br#"{"a":2}"#[..]).fields(&good),
        case("no content").content(&b""[..]).fields(&good),
        case("the field twice").fields(&good).fields(&good),
        case("a session besides nothing").field("X-Session-Token", "st_x"),
    ];
    for wrong in [
        "",
        "t=",
        ",",
        "t=1",
        hex,
        &format!("v1={hex}"),
        &format!("{time},v1="),
        &format!("{time},v1={hex}0"),
        &format!("{time},v1={}", &hex[1..]),
        &format!("{time},{time},v1={hex}"),
        &format!("t=1,v1={hex}"),
        &format!("t=-1,v1={hex}"),
        &format!("t=99999999999999999999,v1={hex}"),
        &format!("{time},v0={hex}"),
        &format!("{time}, v1={hex}"),
        &format!("{time},v1={}", hex.replace(|_| true, "z")),
        &"v1=,".repeat(1000),
        &format!("{time}{}", format!(",v1={hex}").repeat(9)),
        "\u{e9}",
    ] {
        cases.push(case(&format!("signature {wrong:.40}")).field("Stripe-Signature", wrong));
    }
    for (provider, tenant, environment) in [
        ("stripe", "other", "live"),
        ("stripe", "acme", "other"),
        ("stripe", "ACME", "live"),
        ("github", "acme", "live"),
        ("hmac", "acme", "live"),
        ("standard", "acme", "live"),
        ("none", "acme", "live"),
        ("Stripe", "acme", "live"),
        ("stripe", "acme%20", "live"),
        ("stripe", "acme", "live%2F"),
        ("stripe", "%61cme%00", "live"),
    ] {
        let path = format!("/v1/webhooks/{provider}/{tenant}/{environment}");
        cases.push(Case::new("of another", "POST", path).content(&content[..]).fields(&good));
    }
    for word in strange_words() {
        for path in [format!("{word}/acme/live"), format!("stripe/{word}/live"), format!("stripe/acme/{word}")] {
            let case = Case::new("a strange word", "POST", format!("/v1/webhooks/{path}"));
            cases.push(case.content(&content[..]).fields(&good));
        }
    }
    cases
}

fn wrong_keys_and_sessions(secret: &str, others: &str) -> Vec<Case> {
    const KEYS: &str = "/v1/secrets/api/keys";
    let with_key = [("X-API-Key".to_owned(), secret.to_owned())];
    let mut cases = Vec::new();
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=1e3",
        "limit=1001",
        "limit=99999999999999999999",
        "limit=",
        "limit",
        "limit=%00",
        "limit=ten",
        "limit=1&limit=1",
        "limit=1&%6cimit=2",
        "limit=%ff",
        "limit=+",
        "limit=0x1",
        "offset=-1",
        "offset=1000001",
        "offset=",
        "offset=1&offset=1",
        "status=",
        "status=none",
        "status=PUBLISHED",
        "status=published&status=archived",
        "status=%0a",
        "status=a%00b",
        "limit=1;limit=2",
        "limit=1%26",
        "limit[]=1&limit=x",
    ] {
        for method in ["GET", "HEAD"] {
            cases.push(Case::new("a wrong query", method, format!("{KEYS}?{query}")).fields(&with_key));
        }
    }
    let long = format!("{KEYS}?status={}", "x".repeat(10 << 10));
    cases.push(Case::new("a long query", "GET", long).fields(&with_key));
    for word in strange_words() {
        cases.push(Case::new("a strange id", "DELETE", format!("{KEYS}/{word}")).fields(&with_key));
        cases.push(Case::new("a strange customer", "GET", format!("/v1/customers/portal/{word}")).fields(&with_key));
    }
    for id in [others, &others.to_uppercase(), "*", "%25", "_", "'or'1'='1", "null", "0", "-1"] {
        cases.push(Case::new("not one's own", "DELETE", format!("{KEYS}/{id}")).fields(&with_key));
    }
    for (method, path) in [("GET", KEYS), ("DELETE", "/v1/secrets/api/keys/x"), ("GET", "/v1/customers/portal/c1")] {
        let case = |name: &str| Case::new(name, method, path);
        cases.extend([
            case("nobody"),
            case("an empty key").field("X-API-Key", ""),
            case("two keys").fields(&with_key).field("X-API-Key", "0".repeat(64)),
            case("an unknown key").field("X-API-Key", "0".repeat(64)),
            case("a long key").field("X-API-Key", "0".repeat(10 << 10)),
            case("a key with a blank").field("X-API-Key", format!("{secret} x")),
            case("a session").field("X-Session-Token", secret),
            case("a key as a bearer").fields(&[bearer(secret)]),
        ]);
    }
    for path in ["/v1/customer/portal", "/v1/customer/portal/invoices"] {
        cases.push(Case::new("a key where sessions go", "GET", path).fields(&with_key));
        cases.push(Case::new("an unknown session", "GET", path).field("X-Session-Token", "st_x"));
        let two = Case::new("two sessions", "GET", path).field("X-Session-Token", "st_x");
        cases.push(two.field("X-Session-Token", "st_y"));
    }
    cases
}

#[test]
fn wrong_input_to_flex_is_refused_and_changes_nothing() {
    const LOGIN: &str = "/v1/auth/login";
    const KEYS: &str = "/v1/secrets/api/keys";
    const SECRET: &str = "whsec-of-acme-with-forty-characters-or-so";
    let stand = Shipped::unlimited("flexprice");
    let secrets = stand.path("secrets.yaml");
    let content = format!("- {{ provider: stripe, tenant: acme, environment: live, secrets: [{SECRET}] }}\n");
    std::fs::write(&secrets, content).unwrap();
    let stand = stand.with("KEYGATE_WEBHOOK_SECRETS", secrets.to_str().unwrap());
    let mut gate = stand.start();
    gate.watch_for_secret(SECRET);
    stand.user("ada@example.com", "--role member --tenant acme");
    let ((_, secret), (others, _)) = (stand.key("--tenant acme"), stand.key("--tenant other"));
    let with_key = [("X-API-Key".to_owned(), secret.clone())];
    let good_login = json!({ "email": "ada@example.com", "password": PASSWORD });
    let token = text_at(&post(&gate, LOGIN, &[], &good_login), "/token");
    let good_key = json!({ "name": "Backend", "type": "private_key", "expires_at": "2999-01-31T00:00:00Z" });

    let mut cases = wrong_posts(LOGIN, &[], &good_login, &[], &[]);
    cases.extend(wrong_posts(KEYS, &with_key, &good_key, &["expires_at"], &[]));
    cases.extend(wrong_framing(LOGIN, &good_login));
    cases.extend(other_methods(LOGIN, &["POST"], &[]));
    cases.extend(other_methods(KEYS, &["POST", "GET", "HEAD"], &[]));
    for time in [
        "tomorrow",
        "2027-01-31",
        "2027-02-30T00:00:00Z",
        "1999-01-01T00:00:00Z",
        "2999-01-01T00:00:00",
        "-1",
        "99999-01-01T00:00:00Z",
    ] {
        let document = json!({ "name": "Backend", "type": "private_key", "expires_at": time });
        cases.push(Case::new(format!("until {time}"), "POST", KEYS).fields(&with_key).json(document.to_string()));
    }
    for kind in ["public_key", "PRIVATE_KEY", "private_key ", "secret"] {
        let document = json!({ "name": "Backend", "type": kind });
        cases.push(Case::new(format!("type {kind}"), "POST", KEYS).fields(&with_key).json(document.to_string()));
    }
    for (name, wrong) in wrong_tokens(&token, None) {
        cases.push(Case::new(name, "GET", KEYS).fields(&[bearer(&wrong)]));
    }
    cases.push(Case::new("key and token", "GET", KEYS).fields(&with_key).fields(&[bearer(&token)]));
    cases.push(Case::new("a session by a token", "GET", "/v1/customers/portal/c1").fields(&[bearer(&token)]));
    cases.extend(wrong_keys_and_sessions(&secret, &others));
    cases.extend(wrong_deliveries(SECRET));
    check(&stand, &gate, &cases, 650, of_flex);

    assert_eq!(post(&gate, KEYS, &[("X-API-Key", &secret)], &good_key).status, 201);
    let session = gate.get("/v1/customers/portal/c1", &[("X-API-Key", &secret)]);
    assert_eq!(session.status, 200);
    gate.watch_for_secret(&text_at(&session, "/token"));
    let delivered = delivery_fields(SECRET, b"{}");
    let fields: Vec<_> = delivered.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut client = gate.client();
    assert_eq!(client.request("POST", "/v1/webhooks/stripe/acme/live", &fields, b"{}").status, 200);
}

/// Whoever stops in the middle is waited for, but not for ever.
#[test]
fn content_that_stalls_is_given_up() {
    for (name, path, in_shape) in [
        ("fluxiq-core", "/api/v1/auth/login", of_core as fn(&Response) -> bool),
        ("certopay", "/api/auth/login", of_certo),
        ("flexprice", "/v1/auth/login", of_flex),
        ("flexprice", "/v1/webhooks/stripe/acme/live", of_flex),
    ] {
        let stand = Shipped::new(name).edited(|text| format!("{text}\ntimeouts: {{ request_body: 300ms }}\n"));
        let gate = stand.start();
        let begun = std::time::Instant::now();
        for (framing, content) in [("Content-Length: 40", "{"), ("Transfer-Encoding: chunked", "5\r\n{\"a\"")] {
            let mut client = gate.client();
            let (field, value) = framing.split_once(": ").unwrap();
            // A delivery that bears no signature is refused without waiting.
            let signed = delivery_fields("any-secret-that-nobody-knows", b"{}");
            let mut fields = vec![("Content-Type", "application/json"), (field, value)];
            fields.extend(signed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            client.send("POST", path, &fields, content.as_bytes());
            let response = client.response("POST");
            assert!(response.status == 408 && in_shape(&response), "{name}: {framing}: {response:?}");
            assert!(client.closes_within(PATIENCE), "{name}: {framing}");
        }
        assert!(begun.elapsed() < PATIENCE, "{name}");
    }
}
