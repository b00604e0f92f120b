//! Tokens, both ways: others verify those that keygate makes, and keygate those that others make.

use serde_json::{Value, json};

use crate::contract::{Contract, PASSWORD};
use crate::library::TOKEN_LIBRARIES;
use crate::upstream::Upstream;

/// A line of the shipped configuration, behind which there is more to say.
const ISSUER: &str = "  issuer: flexprice\n";

const AUDIENCE: &str = "https://api.example";

/// A gateway that signs with this algorithm, and a token that it has made for `ada`.
fn signing_with(algorithm: &str) -> (Contract, String) {
    let more = format!("{ISSUER}  algorithm: {algorithm}\n");
    let mut contract = Contract::start_changed("flexprice", Upstream::hello(), &[(ISSUER, &more)]);
    contract.user("ada@example.com", &["--id", "ada", "--tenant", "acme"]);
    let content = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let fields = [("Content-Type", "application/json")];
    let answer = contract.gate.client().request("POST", "/v1/auth/login", &fields, content.as_bytes()).json();
    let token = answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    contract.gate.watch_for_secret(&token);
    (contract, token)
}

/// What a verifier has to know: where the keys are published, or the secret where there are none.
fn question(contract: &Contract, algorithm: &str, token: &str) -> Value {
    let secret = (algorithm == "HS256").then(|| secret_of(contract));
    json!({
        "token": token,
        "algorithm": algorithm,
        "jwks": format!("http://{}/.well-known/jwks.json", contract.gate.address),
        "secret": secret,
        "issuer": "flexprice",
        "audience": "flexprice",
    })
}

/// The secret that a gateway signs with.
fn secret_of(contract: &Contract) -> String {
    let files = std::fs::read_dir(contract.folder().join("signing-keys")).unwrap().flatten();
    let mut secrets = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "secret"));
    std::fs::read_to_string(secrets.next().expect("a secret")).unwrap().trim_end().to_owned()
}

/// The same token with other claims, and with another signature.
fn tampered(token: &str) -> [String; 2] {
    let middle = token.find('.').unwrap() + 20;
    let last = token.rfind('.').unwrap() + 20;
    [middle, last].map(|at| {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    })
}

#[test]
fn others_verify_the_tokens_that_keygate_makes() {
    let made = ["EdDSA", "ES256", "RS256", "HS256"].map(|algorithm| (algorithm, signing_with(algorithm)));
    let mut questions = Vec::new();
    for (algorithm, (contract, token)) in &made {
        let published = contract.gate.get("/.well-known/jwks.json", &[]).json();
        let keys = published["keys"].as_array().unwrap();
        assert_eq!(keys.len(), usize::from(*algorithm != "HS256"), "a secret is not published: {published}");
        questions.push(question(contract, algorithm, token));
        questions.extend(tampered(token).map(|token| question(contract, algorithm, &token)));
    }
    for library in TOKEN_LIBRARIES {
        let answers = library.run(&json!({ "verify": questions }));
        for ((algorithm, _), answers) in made.iter().zip(answers.as_array().unwrap().chunks(3)) {
            let (header, claims) = (&answers[0]["header"], &answers[0]["payload"]);
            assert_eq!((&header["alg"], &header["typ"]), (&json!(algorithm), &json!("at+jwt")), "{library:?}");
            assert_eq!((&claims["sub"], &claims["tenant"]), (&json!("ada"), &json!("acme")), "{library:?}");
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900, "{library:?}");
            assert!(answers[1].is_string() && answers[2].is_string(), "{library:?} believes anything: {answers:?}");
        }
    }
}

#[test]
fn keygate_verifies_the_tokens_that_others_make() {
    for library in TOKEN_LIBRARIES {
        let issuer = format!("https://{library:?}.example").to_lowercase();
        let made = library.run(&json!({ "make": { "issuer": issuer, "audience": AUDIENCE } }));
        let folder = tempfile::tempdir().unwrap();
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, made["jwks"].to_string()).unwrap();
        let issuers = format!(
            "issuers:\n  - issuer: {issuer}\n    audience: [{AUDIENCE}]\n    jwks: {}\n    claims: {{ tenant: org }}\n    \
             algorithms: [EdDSA, ES256, RS256, HS256]\n\nroles:\n",
            jwks.display()
        );
        let mut contract = Contract::start_changed("flexprice", Upstream::hello(), &[("roles:\n", &issuers)]);
        let tokens = |kind: &str| made[kind].as_object().unwrap().clone();
        let (good, bad) = (tokens("good"), tokens("bad"));
        assert!(good.len() >= 6 && bad.len() >= 25, "{} good and {} bad ones", good.len(), bad.len());
        for (name, token) in good.iter().chain(&bad) {
            let token = token.as_str().unwrap();
            contract.gate.watch_for_secret(token);
            let before = contract.upstream.received().len();
            let response = contract.gate.get("/v1/customers", &[("Authorization", &format!("Bearer {token}"))]);
            if good.contains_key(name) {
                assert_eq!(response.status, 200, "{library:?}, {name}: {response:?}");
                let seen = contract.upstream.last();
                assert_eq!((seen.value("X-User-ID"), seen.value("X-Tenant-ID")), ("user-7", "acme"), "{name}");
            } else {
                let code = if name == "expired" { "token_expired" } else { "token_invalid" };
                assert_eq!((response.status, response.code().as_str()), (401, code), "{library:?}, {name}");
                assert_eq!(contract.upstream.received().len(), before, "{library:?}, {name}");
            }
        }
    }
}
