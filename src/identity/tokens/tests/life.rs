//! From making a token to its end: round trips, what is remembered, what others can verify.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

#[test]
fn what_is_issued_is_what_is_verified() {
    for algorithm in Algorithm::ALL {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(settings(&folder, algorithm));
        let (roles, permissions): ([Arc<str>; 2], [Arc<str>; 1]) = (["clerk".into(), "x y".into()], ["a:read".into()]);
        let holder =
            Holder { tenant: Some("acme"), roles: &roles, permissions: &permissions, ..holder("user_1", "l_1") };
        let issued = tokens.issue_access(&holder, at(NOW_S)).unwrap();
        let token = issued.token.expose();
        assert!(looks_like_token(token.as_bytes()) && issued.expires_s == NOW_S + 900);
        let id = header_of(token)["kid"].as_str().unwrap().to_owned();
        assert_eq!(header_of(token), json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": id }));
        let claims = part(token, 1);
        assert!(claims["jti"].as_str().unwrap().starts_with("at_"));
        let expected = json!({
            "iss": ISSUER, "aud": API, "sub": "user_1", "sid": "l_1", "jti": claims["jti"], "iat": NOW_S,
            "exp": NOW_S + 900, "tenant": "acme", "roles": ["clerk", "x y"], "permissions": ["a:read"],
        });
        assert_eq!(claims, expected, "{algorithm}");

        let verified = tokens.verify(token, at(NOW_S)).unwrap();
        assert_eq!((&verified.issuer, verified.expires_s), (&Issuer::Own { login: "l_1".into() }, NOW_S + 900));
        let user = &verified.user;
        assert_eq!((&*user.id, user.tenant.as_deref(), user.enabled), ("user_1", Some("acme"), true));
        assert_eq!((user.roles.as_slice(), user.permissions.as_slice()), (&roles[..], &permissions[..]));
        assert_eq!(tokens.verify_refresh(token, at(NOW_S)), Err(TokenError::Type), "{algorithm}");
    }
}

#[test]
fn a_refresh_token_says_who_and_which_login_and_is_known_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = open(settings(&folder, Algorithm::EdDsa));
    let issued = tokens.issue_refresh("user_1", "login_1", at(NOW_S)).unwrap();
    let token = issued.token.expose();
    let claims: BTreeSet<_> = part(token, 1).as_object().unwrap().keys().cloned().collect();
    assert_eq!(claims, ["aud", "exp", "iat", "iss", "jti", "sid", "sub"].map(str::to_owned).into());
    assert_eq!(
        (&header_of(token)["typ"], &part(token, 1)["aud"]),
        (&json!("rt+jwt"), &json!(format!("{ISSUER}#refresh")))
    );

    let expires_s = NOW_S + 7 * 24 * 3600;
    assert_eq!((issued.digest, issued.expires_s), (Digest::of(token.as_bytes()), expires_s));
    let verify = |now_s| tokens.verify_refresh(token, at(now_s));
    let refresh = Refresh { user: "user_1".into(), login: "login_1".into(), digest: issued.digest, expires_s };
    assert_eq!(verify(NOW_S), Ok(refresh.clone()));
    assert_eq!(verify(expires_s + 4), Ok(refresh));
    assert_eq!(verify(expires_s + 5), Err(TokenError::Expired));
    assert_eq!(verify(NOW_S - 6), Err(TokenError::NotYetValid));
    assert_eq!(tokens.verify(token, at(NOW_S)).err(), Some(TokenError::Type));
    let other = tokens.issue_refresh("user_1", "login_1", at(NOW_S)).unwrap();
    assert_ne!(other.digest, issued.digest, "no two are alike");
}

#[test]
fn a_token_that_is_seen_again_is_not_verified_again_and_expires_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = open(settings(&folder, Algorithm::Es256));
    let issued = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap();
    let token = issued.token.expose();
    let remembered = || tokens.in_force.load().cache.len();

    let first = tokens.verify(token, at(NOW_S)).unwrap();
    let again = tokens.verify(token, at(NOW_S + 904)).unwrap();
    assert!(Arc::ptr_eq(&first, &again) && remembered() == 1);
    for _ in 0..2 {
        assert_eq!(tokens.verify(token, at(NOW_S + 905)).err(), Some(TokenError::Expired));
    }
    assert_eq!(remembered(), 0);
    assert_eq!(tokens.verify(&format!("{token}A"), at(NOW_S)).err(), Some(TokenError::Signature));
    assert_eq!(remembered(), 0, "only good ones are remembered");
}

/// An operator who deletes a key means it: nothing that it has signed is believed any more, remembered or not.
#[test]
fn what_was_remembered_is_forgotten_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::EdDsa);
    let keys = settings.keys.clone();
    let tokens = open(settings);
    let token = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap().token;
    tokens.verify(token.expose(), at(NOW_S)).unwrap();
    tokens.tend(at(NOW_S + 60)).unwrap();
    assert_eq!(tokens.in_force.load().cache.len(), 1, "nothing has changed");

    fs::remove_dir_all(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    tokens.tend(at(NOW_S + 120)).unwrap();
    assert_eq!(tokens.verify(token.expose(), at(NOW_S + 120)).err(), Some(TokenError::UnknownKey));
    let token = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S + 120)).unwrap().token;
    tokens.verify(token.expose(), at(NOW_S + 120)).unwrap();
}

#[test]
fn others_can_verify_our_tokens_by_our_public_keys() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(settings(&folder, algorithm));
        let set: Value = serde_json::from_slice(&tokens.jwks()).unwrap();
        let key = &set["keys"][0];
        let members: BTreeSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: &[&str] = match algorithm {
            Algorithm::EdDsa => &["kty", "crv", "x"],
            Algorithm::Es256 => &["kty", "crv", "x", "y"],
            Algorithm::Rs256 => &["kty", "n", "e"],
            Algorithm::Hs256 => &[],
        };
        assert_eq!(members, expected.iter().chain(&["use", "alg", "kid"]).copied().collect(), "{algorithm}");
        assert_eq!((&key["use"], &key["alg"]), (&json!("sig"), &json!(algorithm.name())));

        let others = believing(&folder, &set).unwrap();
        let holder = Holder { tenant: Some("acme"), ..holder("user_1", "login_1") };
        let token = tokens.issue_access(&holder, at(NOW_S)).unwrap().token;
        let verified = others.verify(token.expose(), at(NOW_S)).unwrap();
        assert_eq!(verified.issuer, Issuer::Foreign(ISSUER.into()));
        assert_eq!((&*verified.user.id, verified.user.tenant.as_deref()), ("user_1", Some("acme")));
        let refresh = tokens.issue_refresh("user_1", "login_1", at(NOW_S)).unwrap().token;
        assert_eq!(others.verify(refresh.expose(), at(NOW_S)).err(), Some(TokenError::Type));
        assert_eq!(others.verify_refresh(refresh.expose(), at(NOW_S)), Err(TokenError::UnknownIssuer));
        assert_eq!(others.issue_access(&holder, at(NOW_S)).unwrap_err().to_string(), "no tokens are made here");
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(settings(&folder, Algorithm::Hs256)).jwks(), r#"{"keys":[]}"#);
}

/// RFC 7638, section 3.1, and RFC 8037, appendix A.3.
#[test]
fn the_name_of_a_key_is_its_thumbprint() {
    let n = octets(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
         hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ\
         vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
         nqDKgw",
    );
    let rsa = verifier::PublicKey::Rsa { n, e: octets("AQAB") };
    assert_eq!(jwk::thumbprint(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let x = octets("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").try_into().unwrap();
    assert_eq!(jwk::thumbprint(&verifier::PublicKey::Ed25519(x)), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn keys_that_are_not_for_signatures_of_tokens_are_left_out_and_the_others_used() {
    let forges = Algorithm::ALL.map(Forge::new);
    let but = |forge: &Forge, changes: Value| {
        let mut key = forge.jwk();
        for (name, value) in changes.as_object().unwrap() {
            key[name.as_str()] = value.clone();
        }
        key
    };
    let [ed, ec, rsa, oct] = &forges;
    let unsuitable = [
        ("to encrypt", but(ed, json!({ "use": "enc" }))),
        ("to sign, not to verify", but(ed, json!({ "key_ops": ["sign"] }))),
        ("of another algorithm", but(ed, json!({ "alg": "ES256" }))),
        ("of no algorithm", but(ed, json!({ "alg": "none" }))),
        ("of an algorithm that is a number", but(ed, json!({ "alg": 1 }))),
        ("RSA for encryption", but(rsa, json!({ "alg": "RSA-OAEP" }))),
        ("RSA for PSS", but(rsa, json!({ "alg": "PS256" }))),
        ("private", but(ed, json!({ "d": "AAAA" }))),
        ("Ed448", but(ed, json!({ "crv": "Ed448" }))),
        ("for key agreement", but(ed, json!({ "crv": "X25519" }))),
        ("of another curve", but(ec, json!({ "crv": "P-384" }))),
        ("not on the curve", but(ec, json!({ "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }))),
        ("a coordinate too short", but(ec, json!({ "x": "AAAA" }))),
        ("a coordinate with padding", but(ec, json!({ "x": format!("{}=", ec.jwk()["x"].as_str().unwrap()) }))),
        ("of no kind", but(ed, json!({ "kty": "XYZ" }))),
        ("of a kind that is a number", but(ed, json!({ "kty": 1 }))),
        ("a secret that is too short", but(oct, json!({ "k": "AAAA" }))),
        ("an exponent of one", but(rsa, json!({ "e": "AQ" }))),
        ("a modulus that is too short", but(rsa, json!({ "n": &rsa.jwk()["n"].as_str().unwrap()[..171] }))),
        ("a name that is a number", but(ed, json!({ "kid": 1 }))),
        ("a name that is too long", but(ed, json!({ "kid": "x".repeat(257) }))),
        ("no object", json!("key")),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (what, key) in &unsuitable {
        let message = believing(&folder, &json!({ "keys": [key] })).map(drop).unwrap_err()[0].message.clone();
        assert_eq!(message, "holds no key that can be used with the algorithms of this issuer", "{what}");
    }
    let mut all: Vec<Value> = unsuitable.into_iter().map(|(_, key)| key).collect();
    all.extend(forges.iter().map(Forge::jwk));
    // The first of a name counts, and one of another algorithm is another key.
    all.push(but(&Forge::new(Algorithm::EdDsa), json!({ "kid": ed.id })));
    all.push(but(ec, json!({ "kid": ed.id, "use": "sig", "key_ops": ["verify"] })));
    let tokens = believing(&folder, &json!({ "keys": all })).unwrap();
    let claims = json!({ "iss": ISSUER, "aud": API, "sub": "u", "exp": NOW_S + 9, "tenant": "t" }).to_string();
    let verify =
        |forge: &Forge, header: &Value| tokens.verify(&forge.sign(&header.to_string(), &claims), at(NOW_S)).map(drop);
    for forge in &forges {
        assert_eq!(verify(forge, &forge.header()), Ok(()), "{}", forge.algorithm);
    }
    assert_eq!(verify(ec, &json!({ "alg": "ES256", "kid": ed.id })), Ok(()));
    assert_eq!(verify(ed, &json!({ "alg": "Ed25519", "kid": ed.id })), Ok(()), "the newer name");
    assert_eq!(verify(ed, &json!({ "alg": "EdDSA" })), Ok(()), "there is one key only that it could be");
    assert_eq!(verify(ec, &json!({ "alg": "ES256" })), Err(TokenError::UnknownKey), "it could be one of two");
}

#[test]
fn only_the_algorithms_of_an_issuer_count() {
    let (folder, forge) = (tempfile::tempdir().unwrap(), Forge::new(Algorithm::Hs256));
    let file = folder.path().join("jwks.json");
    fs::write(&file, json!({ "keys": [forge.jwk(), Forge::new(Algorithm::EdDsa).jwk()] }).to_string()).unwrap();
    let settings = IssuerSettings {
        algorithms: vec![Algorithm::EdDsa, Algorithm::Es256],
        ..foreign_settings(JwksSource::File(file))
    };
    let tokens = Tokens::open(None, vec![settings], at(NOW_S)).unwrap();
    let claims = json!({ "iss": ISSUER, "aud": API, "sub": "u", "exp": NOW_S + 9, "tenant": "t" }).to_string();
    let verdict = tokens.verify(&forge.sign(&forge.header().to_string(), &claims), at(NOW_S));
    assert_eq!(verdict, Err(TokenError::UnknownKey));
}

#[test]
fn a_token_that_nobody_would_take_back_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = open(settings(&folder, Algorithm::Rs256));
    let issue = |amount: usize| {
        let permissions: Vec<Arc<str>> =
            (0..amount).map(|number| format!("resource-{number:04}:read").into()).collect();
        tokens.issue_access(&Holder { permissions: &permissions, ..holder("user_1", "login_1") }, at(NOW_S))
    };
    let most = (1..500).take_while(|amount| issue(*amount).is_ok()).last().unwrap();
    assert!(most > 200, "{most}");
    let token = issue(most).unwrap().token;
    assert_eq!(tokens.verify(token.expose(), at(NOW_S)).unwrap().user.permissions.len(), most);
    assert!(matches!(issue(most + 1), Err(IssueError::TooLarge)));
}

#[test]
fn nothing_of_a_token_or_a_key_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = open(settings(&folder, Algorithm::EdDsa));
    let issued = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap();
    let refresh = tokens.issue_refresh("user_1", "login_1", at(NOW_S)).unwrap();
    let file = fs::read_dir(folder.path().join("keys")).unwrap().next().unwrap().unwrap().path();
    let key = fs::read_to_string(file).unwrap();
    tokens.verify(issued.token.expose(), at(NOW_S)).unwrap();
    let mut shown = format!("{tokens:?} {issued:?} {refresh:?}");
    for error in [tokens.verify(refresh.token.expose(), at(NOW_S)).unwrap_err(), TokenError::Signature] {
        shown += &format!("{error} {error:?}");
    }
    for secret in issued.token.expose().split('.').chain(refresh.token.expose().split('.')).chain(key.lines().nth(1)) {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// What can be wrong at the start is told with the file, all of it at once, and nothing is half opened.
#[test]
fn what_cannot_be_used_at_the_start_is_told_and_checking_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let own = TokenSettings { keys: folder.path().join("no/keys"), ..settings(&folder, Algorithm::EdDsa) };
    let missing = foreign_settings(JwksSource::File(folder.path().join("missing.json")));
    let problems = Tokens::open(Some(own), vec![missing], at(NOW_S)).map(drop).unwrap_err();
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(said.len() == 2 && said[0].contains("no/keys: cannot be made: "), "{said:?}");
    assert!(said[1].contains("missing.json: cannot be read: "), "{said:?}");

    for (content, expected) in [
        ("", "is not a JWK Set: it is not JSON that can be read in one way"),
        ("{\"keys\":[],\"keys\":[]}", "is not a JWK Set: it is not JSON that can be read in one way"),
        ("[]", "is not a JWK Set: it has no list of `keys`"),
        ("{\"keys\":{}}", "is not a JWK Set: it has no list of `keys`"),
        ("{\"keys\":[]}", "holds no key that can be used with the algorithms of this issuer"),
        (&format!("{{\"keys\":[{}1]}}", "1,".repeat(128)), "holds more than 128 keys"),
        (&" ".repeat(256 * 1024 + 1), "is larger than 256 KiB"),
    ] {
        let file = folder.path().join("jwks.json");
        fs::write(&file, content).unwrap();
        let settings = [foreign_settings(JwksSource::File(file))];
        assert_eq!(Tokens::check(None, &settings).unwrap_err()[0].message, expected);
        assert_eq!(Tokens::open(None, settings.to_vec(), at(NOW_S)).map(drop).unwrap_err()[0].message, expected);
    }

    let own = settings(&folder, Algorithm::EdDsa);
    assert_eq!(Tokens::check(Some(&own), &[]), Ok(()));
    assert!(!own.keys.exists());
    fs::create_dir(&own.keys).unwrap();
    fs::write(own.keys.join("a.pem"), "hunter2").unwrap();
    let problems = Tokens::check(Some(&own), &[]).unwrap_err();
    assert!(problems[0].to_string().ends_with("(`-----BEGIN PRIVATE KEY-----`, PKCS #8)"), "{problems:?}");
    assert_eq!(Tokens::open(Some(own), Vec::new(), at(NOW_S)).map(drop), Err(problems));
}

/// Several workers at once, while keys come: every good token is good, at every moment, and every bad one bad.
#[test]
fn tokens_are_good_while_keys_change() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::EdDsa);
    let keys = settings.keys.clone();
    let (tokens, ended) = (open(settings), AtomicBool::new(false));
    let good: Vec<_> = (0..8)
        .map(|number| tokens.issue_access(&holder(&format!("user_{number}"), "login_1"), at(NOW_S)).unwrap().token)
        .collect();
    let stranger = Forge::new(Algorithm::EdDsa);
    let claims = json!({ "iss": ISSUER, "aud": API, "sub": "u", "sid": "l", "iat": NOW_S, "exp": NOW_S + 9 });
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": header_of(good[0].expose())["kid"] });
    let bad = stranger.sign(&header.to_string(), &claims.to_string());
    let verified = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !ended.load(Ordering::Relaxed) {
                        for (number, token) in good.iter().enumerate() {
                            let verified = tokens.verify(token.expose(), at(NOW_S)).unwrap();
                            assert_eq!(*verified.user.id, *format!("user_{number}"));
                            assert_eq!(tokens.verify(&bad, at(NOW_S)).err(), Some(TokenError::Signature));
                            count += 1;
                        }
                    }
                    count
                })
            })
            .collect();
        for number in 0..20 {
            fs::write(keys.join(".new"), &Forge::new(Algorithm::EdDsa).file).unwrap();
            fs::rename(keys.join(".new"), keys.join(format!("{number}.pem"))).unwrap();
            tokens.tend(at(NOW_S)).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<i32>>()
    });
    assert!(verified.iter().all(|count| *count > 0), "{verified:?}");
    let set: Value = serde_json::from_slice(&tokens.jwks()).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 21);
}

/// What signing and verifying cost: `cargo test --release --lib cost_of_tokens -- --ignored --nocapture`.
#[test]
#[ignore = "it measures, and promises nothing"]
fn cost_of_tokens() {
    const TIMES: u32 = 2000;
    let permissions: Vec<Arc<str>> = (0..8).map(|number| format!("resource-{number}:read").into()).collect();
    for algorithm in Algorithm::ALL {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(settings(&folder, algorithm));
        let holder = Holder { tenant: Some("acme"), permissions: &permissions, ..holder("user_1", "login_1") };
        let start = std::time::Instant::now();
        let issued: Vec<_> = (0..TIMES).map(|_| tokens.issue_access(&holder, at(NOW_S)).unwrap().token).collect();
        let signing = start.elapsed() / TIMES;
        let mut verifying = [Duration::ZERO; 2];
        for duration in &mut verifying {
            let start = std::time::Instant::now();
            assert!(issued.iter().all(|token| tokens.verify(token.expose(), at(NOW_S)).is_ok()));
            *duration = start.elapsed() / TIMES;
        }
        let bytes = issued[0].expose().len();
        println!("{algorithm}: {bytes} bytes, sign {signing:?}, verify {:?}, again {:?}", verifying[0], verifying[1]);
    }
}
