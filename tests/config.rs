//! Configurations an operator could write, and what keygate says about them.
//!
//! Adding a test is adding a file: `tests/config/accepted/NAME.yaml`, or `tests/config/rejected/NAME.yaml` with the
//! exact output in `NAME.txt`. `KEYGATE_UPDATE=1 cargo test --test config` writes the `.txt` files anew; read them as an
//! operator would before you commit them: is it clear where something is wrong, and what to do?

#![expect(clippy::expect_used, reason = "what is not there ends a test, wherever in it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use keygate::config::{Config, schema};
use keygate::gateway::permission::Permission;
use keygate::gateway::question::Dialect;
use keygate::gateway::route::{Access, Counts};
use keygate::gateway::upstream::Endpoint;
use keygate::identity::{Algorithm, JwksSource};
use keygate::keys::Sources;
use keygate::moment::Moment;
use keygate::webhooks::{Replays, Schemes, SecretsFile, SignatureError, Verified, Webhooks};
use serde_json::Value;

/// The environment of every configuration in these folders.
fn variable(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "REQUESTS" => Some("250".to_owned()),
        "YES" => Some("true".to_owned()),
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of configurations");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|other| other == extension));
    files.sort();
    files
}

/// All problems, with the file named as it would be in its own folder; warnings if there are no problems.
fn output(path: &Path) -> Result<Config, String> {
    let folder = format!("{}/", path.parent().expect("a folder").display());
    Config::load(path, &variable).map_err(|problems| format!("{problems}\n").replace(&folder, ""))
}

#[test]
fn every_rejected_configuration_yields_its_exact_message() {
    let folder = folder("rejected");
    let update = std::env::var_os("KEYGATE_UPDATE").is_some();
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files(&folder, "yaml") {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Err(output) = output(&path) else {
            wrong.push(format!("{name} is accepted"));
            continue;
        };
        let expected_path = path.with_extension("txt");
        if update {
            std::fs::write(&expected_path, &output).expect("the output can be written");
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if output != expected {
            wrong.push(format!("{name} says\n{output}instead of\n{expected}"));
        }
        assert!(!output.contains("hunter2"), "{name} shows a secret:\n{output}");
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} configurations were read");
    assert_eq!(files(&folder, "txt").len(), count, "an output without its configuration");
}

#[test]
fn every_accepted_configuration_is_accepted() {
    let paths = files(&folder("accepted"), "yaml");
    for path in &paths {
        if let Err(output) = output(path) {
            panic!("{output}");
        }
    }
    assert!(paths.len() >= 10, "only {} configurations were read", paths.len());
}

#[test]
fn addresses_for_the_questions_of_other_proxies_are_what_is_written() {
    let accepted = |name: &str| output(&folder("accepted").join(name)).expect(name);
    let config = accepted("checks.yaml");
    let [nginx, forwarded, envoy] = &config.checks[..] else { panic!("{:?}", config.checks) };
    assert!(nginx.tls.is_some() && !nginx.settings.prior_knowledge && envoy.settings.prior_knowledge);
    assert_eq!((nginx.asking.dialect, nginx.asking.path.as_str()), (Dialect::Nginx, "/check"));
    assert_eq!(nginx.asking.limit_status.map(|status| status.as_u16()), Some(429));
    assert_eq!((forwarded.asking.dialect, forwarded.asking.path.as_str()), (Dialect::Forwarded, "/may/it"));
    assert_eq!((envoy.asking.dialect, envoy.asking.path.as_str()), (Dialect::Envoy, ""));
    assert_eq!(envoy.asking.from, ["::1/128".parse().expect("a network")]);
    assert_eq!(config.environments[1].listeners, [envoy.settings.address]);

    let alone = accepted("checks-alone.yaml");
    assert!(alone.listeners.is_empty());
    assert_eq!(format!("{:?}", alone.head_maxima()), format!("{:?}", config.head_maxima()));
}

/// Half of what is written in `NAME.yaml` of `accepted` is looked at here, so that "accepted" means "understood".
#[test]
fn what_is_accepted_means_what_is_written() {
    let accepted = |name: &str| output(&folder("accepted").join(name)).expect(name);

    let config = accepted("minimal.yaml");
    assert_eq!(config.listeners[0].0.address.to_string(), "127.0.0.1:8080");
    let keys = folder("accepted").join("keys.yaml");
    assert_eq!(config.key_sources, Sources::new(vec![keys], Vec::new()), "relative to the configuration file");
    assert_eq!(config.admin.expect("the door is open by default").address.to_string(), "127.0.0.1:9901");
    assert!(config.warnings.is_empty());

    let config = accepted("variables.yaml");
    assert_eq!(config.listeners[0].0.address.port(), 8080);
    assert_eq!(config.limits[0].allowance.requests(), 250);
    assert!(config.rate_limit_fields.ietf);
    assert_eq!(config.upstream.endpoint.to_string(), "fallback:9000");

    let config = accepted("several-listeners.yaml");
    assert_eq!(config.listeners.len(), 3);
    let (settings, tls) = &config.listeners[1];
    assert_eq!(tls.as_ref().map(|tls| tls.certificates.len()), Some(2));
    assert!(settings.proxy_protocol.as_ref().is_some_and(|proxy| proxy.v1 && proxy.v2));
    assert!(config.listeners[2].0.prior_knowledge);

    let config = accepted("unix-upstream.yaml");
    assert_eq!(config.upstream.endpoint, Endpoint::Unix("/run/api.sock".into()));

    let config = accepted("written-out.yaml");
    assert!(config.admin.is_none() && config.access_log.is_none());
    assert_eq!(config.forwarding.content_bytes_max, u64::MAX, "unlimited");

    let config = accepted("environments.yaml");
    assert_eq!(config.environments.len(), 3);
    assert_eq!(config.environments[0].upstream.endpoint.to_string(), "127.0.0.1:9000", "that of the whole gateway");
    assert_eq!(config.environments[1].upstream.endpoint.to_string(), "127.0.0.1:9001");
    assert_eq!(config.environments[1].listeners, [config.listeners[1].0.address]);
    assert_eq!(config.routes[0].name, "default", "without routes there is one for everything");

    let config = accepted("routes.yaml");
    assert!(matches!(config.routes[0].access, Access::Public));
    assert_eq!(config.routes[0].limits.as_deref(), Some(&["per-address".to_owned()][..]));
    assert_eq!((config.routes[1].limits.as_ref(), config.routes[1].cost), (None, 1));
    assert_eq!((config.routes[2].methods.as_slice(), config.routes[2].cost), (&[http::Method::POST][..], 10));
    assert_eq!(config.routes[4].limits.as_deref(), Some(&[][..]), "no limit is not every limit");
    assert_eq!(config.routes[5].permission.as_ref().map(Permission::as_str), Some("*"));

    let cors = accepted("cors.yaml").cors.expect("it is there");
    assert_eq!(cors.origins.map(|origins| origins.len()), Some(2));
    assert!(cors.credentials && cors.preflight);
    let cors = accepted("cors-any.yaml").cors.expect("it is there");
    assert!(cors.origins.is_none() && !cors.credentials && !cors.preflight);

    let webhooks = accepted("webhooks.yaml").webhooks;
    assert!(webhooks.secrets.is_none(), "a variable may say `off`");
    assert_eq!((webhooks.tolerance.as_secs(), webhooks.content_bytes_max), (60, 65_536));
    assert_eq!(webhooks.schemes.names().collect::<Vec<_>>(), ["versioned", "semicolons", "public", "both"]);
    let secrets = accepted("webhook-secrets.yaml").webhooks.secrets.expect("a file");
    assert_eq!(secrets.path(), folder("accepted").join("hooks/secrets.yaml"), "relative to the configuration file");

    let config = accepted("tokens.yaml");
    let tokens = config.tokens.expect("they are there");
    assert_eq!((tokens.algorithm, tokens.keys), (Algorithm::Es256, folder("accepted").join("token-keys")));
    assert_eq!((tokens.refresh_lifetime.as_secs(), tokens.leeway.as_secs()), (30 * 24 * 3600, 0));
    let [url, file] = &config.issuers[..] else { panic!("two issuers") };
    assert!(matches!(&url.jwks, JwksSource::Url(url) if url.as_str() == "https://id.example.com/keys?tenant=1"));
    assert_eq!((url.types.names.as_slice(), url.types.absent), (&["at+jwt".to_owned()][..], false));
    assert_eq!(url.algorithms, [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256]);
    assert_eq!(file.jwks, JwksSource::File(folder("accepted").join("jwks.json")));
    assert!(file.types.absent && file.types.names == ["at+jwt", "JWT"] && file.leeway.is_zero());
    let tokens = accepted("tokens-short.yaml").tokens.expect("they are there");
    assert_eq!((tokens.issuer.as_str(), tokens.audience.as_str()), ("keygate", "keygate"));

    let config = accepted("issuers-without-tls.yaml");
    assert_eq!(config.issuers[0].leeway.as_secs(), 5, "also where no tokens are made");
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("yaml:7:11: issuers[0].jwks: has no TLS"), "{warnings:?}");

    let config = accepted("upstream-unverified.yaml");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].to_string().contains("upstream-unverified.yaml:4:24: upstream.tls.verify: "));
}

#[test]
fn traces_mean_what_is_written() {
    let config = output(&folder("accepted").join("traces.yaml")).expect("it is good");
    let traces = config.traces.expect("they are there");
    assert_eq!(traces.headers, Some(folder("accepted").join("otlp.headers")), "relative to the configuration file");
    assert!(traces.sampling.ratio == 0.25 && !traces.sampling.follows_parent && traces.sampling.shows_key_ids);
    assert!(traces.resource.contains(&("service.name".to_owned(), "orders".to_owned())), "{:?}", traces.resource);
    assert_eq!((traces.interval.as_secs(), traces.timeout.as_secs()), (5, 10));
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("traces.endpoint: has no TLS"), "{warnings:?}");
}

/// What nobody reads a file for: the file itself.
#[test]
fn a_file_that_cannot_be_read_says_so() {
    let missing = Config::load(Path::new("no/such/keygate.yaml"), &variable).expect_err("there is none").to_string();
    assert_eq!(missing, "no/such/keygate.yaml: cannot be opened: No such file or directory (os error 2)");
    let folder = Config::load(Path::new("tests"), &variable).expect_err("a folder is no file").to_string();
    assert_eq!(folder, "tests: cannot be read: Is a directory (os error 21)");
}

const EXAMPLE: &str = include_str!("../config.example.yaml");

/// The lists that are empty by default.
const LISTS: [&str; 8] = [
    "environments: []",
    "issuers: []",
    "routes: []",
    "roles: []",
    "  each: []",
    "  schemes: []",
    "limits: []",
    "  probes: []",
];

/// The example with every field that is absent by default taken out of its comment.
fn example_with_everything() -> String {
    let (_introduction, fields) = EXAMPLE.split_once("\n\n# Where clients connect").expect("the first field");
    let lines = fields.lines().skip(1).map(|line| match line.strip_prefix('#') {
        Some(field) if field.trim_start_matches(' ').starts_with("- ") || names_a_field(line, field) => field,
        Some(_) | None => line,
    });
    // A list that is empty by default stands there twice.
    let lines = lines.filter(|line| !LISTS.contains(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// `#name:` and `#  name:` begin fields, `# A sentence: like this` does not.
fn names_a_field(line: &str, field: &str) -> bool {
    let name = field.trim_start_matches(' ');
    let letters = name.bytes().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    let letters = letters.count();
    let one_space = line.starts_with("# ") && !line.starts_with("#  ");
    letters > 0 && name[letters..].starts_with(':') && !one_space
}

#[test]
fn the_example_holds_every_default() {
    let folder = Path::new("");
    let example = Config::parse("config.example.yaml", EXAMPLE.to_owned(), folder, &|_| None).expect("it is good");
    let minimal = "listen: 127.0.0.1:8080\nupstream: http://127.0.0.1:9000\nkeys: { file: keys.yaml }\n";
    let minimal = Config::parse("minimal.yaml", minimal.to_owned(), folder, &|_| None).expect("it is good");
    assert_eq!(format!("{example:#?}"), format!("{minimal:#?}"), "a default differs from what the example says");
}

#[test]
fn the_example_holds_every_field() {
    let text = example_with_everything();
    let mut document = keygate::document::Document::parse("everything", text.clone()).expect("it is YAML");
    let schema = schema();
    assert_eq!(document.check(&schema).to_string(), "", "a commented field is wrong");

    let everything: Value = serde_yaml::from_str(&text).expect("it is YAML");
    let mut missing = Vec::new();
    let count = compare(&schema, &schema, &everything, "", &mut missing);
    assert!(missing.is_empty(), "not in config.example.yaml: {missing:?}");
    assert!(count > 90, "only {count} fields were compared");
}

/// Whoever copies an example has a limit on guesses, where none is the default.
#[test]
fn the_examples_recommend_a_limit_on_guesses_that_is_good() {
    let readme = include_str!("../README.md");
    let (_, fuller) = readme.split_once("A fuller file:\n\n```yaml\n").expect("the fuller file");
    let (fuller, _) = fuller.split_once("```").expect("its end");
    let everything: Value = serde_yaml::from_str(&example_with_everything()).expect("it is YAML");
    let minimal = "listen: 127.0.0.1:8080\nupstream: http://127.0.0.1:9000\nkeys: { file: keys.yaml }\n";
    let example = format!("{minimal}limits: {}\n", everything["limits"]);
    for (name, text) in [("README.md", fuller), ("config.example.yaml", &example)] {
        let config = Config::parse(name, text.to_owned(), Path::new(""), &|_| None).expect("it is good");
        let guesses = config.limits.iter().filter(|limit| limit.counts == Counts::FailuresOfAddress);
        let guesses: Vec<_> = guesses.map(|limit| (limit.name.as_str(), limit.allowance.requests())).collect();
        assert_eq!(guesses, [("guesses", 20)], "{name}");
        assert!(config.warnings.is_empty() && config.limits.len() == 2, "{name}");
    }
}

#[test]
fn one_address_may_have_half_of_the_requests_in_flight_unless_the_operator_says_otherwise() {
    let minimal = "listen: 127.0.0.1:8080\nupstream: http://127.0.0.1:9000\nkeys: { file: keys.yaml }\n";
    for (maxima, all, of_one) in [
        ("{}", 10_000, 5_000),
        ("{ in_flight: 101 }", 101, 51),
        ("{ in_flight: 1 }", 1, 1),
        ("{ in_flight: 100, in_flight_per_address: 7 }", 100, 7),
        ("{ in_flight: 100, in_flight_per_address: 100 }", 100, 100),
    ] {
        let text = format!("{minimal}maxima: {maxima}\n");
        let config = Config::parse("places.yaml", text, Path::new(""), &|_| None).expect("it is good");
        assert_eq!((config.in_flight_max, config.in_flight_per_address_max), (all, of_one), "{maxima}");
    }
}

/// Providers tell how they sign by an example; the schemes that we tell operators to write must take it.
#[test]
fn the_schemes_of_the_example_take_what_their_providers_sign() {
    let mut webhooks =
        serde_yaml::from_str::<Value>(&example_with_everything()).expect("it is YAML")["webhooks"].take();
    webhooks["secrets"] = "off".into();
    let minimal = "listen: 127.0.0.1:8080\nupstream: http://127.0.0.1:9000\nkeys: { file: keys.yaml }\n";
    let text = format!("{minimal}webhooks: {webhooks}\n");
    let config = Config::parse("example.yaml", text, Path::new(""), &|_| None).expect("it is good");
    assert_eq!(config.webhooks.schemes.names().count(), 4);

    // Published by Standard Webhooks (in its libraries' tests) and in GitHub's documentation. The others are Python's:
    // `hmac.new(b"whsec_new_0123456789abcdef", b'1767225600.{"amount":1250,"id":"evt_1"}', sha256).hexdigest()`, and of
    // `b'{"amount":1250,"id":"evt_1"}'` alone with `b"plain-secret-0123456789"`.
    let standard = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let stripe = "t=1767225600,v1=fffdfa1995c5b294e55192288cf7837cc3ad041f80747455e5560953e5531a05,v0=0123";
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let plain = "c9b46094d70fba974127e83d02b79c35d42e5db53bbc3f24177f91f5b73e0816";
    let event = r#"{"amount":1250,"id":"evt_1"}"#;
    let schemes = &config.webhooks.schemes;
    let check = |scheme: &str, secret: &str, lines: &[(&str, &str)], body: &str, sent: u64| {
        passes(schemes, scheme, secret, lines, body, sent);
    };
    check("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &standard, r#"{"test": 2432232314}"#, 1_614_265_330);
    check("stripe", "whsec_new_0123456789abcdef", &[("Stripe-Signature", stripe)], event, 1_767_225_600);
    check("github", "It's a Secret to Everybody", &[("X-Hub-Signature-256", github)], "Hello, World!", 0);
    check("plain", "plain-secret-0123456789", &[("X-Signature", plain)], event, 0);

    // Published in Slack's documentation.
    let config = output(&folder("accepted").join("webhooks.yaml")).expect("it is good");
    let lines = [
        ("X-Versioned-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("X-Versioned-Request-Timestamp", "1531420618"),
    ];
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
                96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let schemes = &config.webhooks.schemes;
    passes(schemes, "versioned", "8f742231b10e8888abcd99yyyzzz85a5", &lines, body, 1_531_420_618);
}

/// Holds that a delivery passes, and one byte more of it does not.
#[track_caller]
fn passes(schemes: &Schemes, scheme: &str, secret: &str, lines: &[(&str, &str)], body: &str, sent_s: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SecretsFile::new(folder.path().join("secrets.yaml"));
    let text = format!("- {{ provider: {scheme}, secrets: [\"{secret}\"] }}\n");
    std::fs::write(file.path(), text).expect("the file can be written");
    let secrets = file.read(schemes).expect("it is good");
    let webhooks = Webhooks::new(schemes.clone(), Duration::from_secs(300), secrets, Arc::new(Replays::new()));
    let line = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
    };
    let fields: HeaderMap = lines.iter().map(line).collect();
    let now = Moment { unix_ns: sent_s * 1_000_000_000, monotonic_ns: 0 };
    let verify = |body: &str| webhooks.verify(scheme, "", "", &fields, body.as_bytes(), now).map(Verified::keep);
    assert_eq!(verify(&format!("{body} ")), Err(SignatureError::Mismatch), "{scheme}");
    assert_eq!(verify(body), Ok(()), "{scheme}");
}

/// Says which fields of the schema are not in the example, and how many are.
fn compare(root: &Value, schema: &Value, example: &Value, path: &str, missing: &mut Vec<String>) -> usize {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return compare(root, target, example, path, missing);
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        if example.is_string() && path.ends_with("s.upstream") {
            // The long form is the one at the root.
            return 1;
        }
        // The richest form is the one the example shows.
        let mapping = branches.iter().find(|branch| branch["$ref"].is_string() || branch["type"] == "object");
        return mapping.map_or(1, |branch| compare(root, branch, example, path, missing));
    }
    if let Some(items) = schema.get("items") {
        // What one item has need not stand in the others.
        let shown = example.as_array().map(Vec::as_slice).unwrap_or_default();
        if shown.iter().any(|item| !item.is_object()) {
            return compare(root, items, &example[0], path, missing);
        }
        let all = shown.iter().rev().filter_map(Value::as_object).flatten();
        let merged: serde_json::Map<String, Value> = all.map(|(name, value)| (name.clone(), value.clone())).collect();
        return compare(root, items, &Value::Object(merged), path, missing);
    }
    let Some(properties) = schema["properties"].as_object() else { return 1 };
    let mut count = 0;
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        assert!(!describe(root, property).is_empty(), "{path} has no description");
        match example.get(name) {
            Some(example) => count += compare(root, property, example, &path, missing),
            None => missing.push(path),
        }
    }
    count
}

fn describe<'a>(root: &'a Value, schema: &'a Value) -> &'a str {
    match (schema["description"].as_str(), schema["$ref"].as_str()) {
        (Some(description), _) => description,
        (None, Some(reference)) => {
            root.pointer(reference.trim_start_matches('#')).map_or("", |target| describe(root, target))
        }
        (None, None) => "",
    }
}

#[test]
fn the_schema_is_for_editors() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "keygate");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["upstream", "keys"]));
    assert_eq!(schema["then"]["required"][0], "listen", "where there is no `check`");
    assert_eq!(schema["properties"]["timeouts"]["default"]["connect"], "5s");
    assert!(!schema.to_string().contains("null"), "a field without a value must be an error in an editor too");
}
