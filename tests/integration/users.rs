//! Users, their passwords, their logins, and sessions of customers: on the command line and over the management API, with
//! and without a gateway that runs.

use std::fs;
use std::path::Path;

use keygate::identity::Passwords;
use keygate::keys::database::{By, Database, NewLogin, NewSession};
use keygate::moment::Moment;
use keygate::secret::Digest;
use serde_json::{Value, json};

use crate::command_line::{keygate, said};
use crate::gate::gate;
use crate::management::{ask, managed};
use crate::upstream::Upstream;

const PASSWORD: &str = "violins under the bridge";

/// Runs a command that must succeed: what it said.
#[track_caller]
fn ran(at: &Path, words: &str, input: &str) -> String {
    let words: Vec<&str> = words.split(' ').chain(["--config", "keygate.yaml"]).collect();
    let output = keygate(at, &words, input);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must not: why it did not.
#[track_caller]
fn refused(at: &Path, words: &str, input: &str) -> String {
    let words: Vec<&str> = words.split(' ').chain(["--config", "keygate.yaml"]).collect();
    let output = keygate(at, &words, input);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{words:?}");
    String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
}

#[track_caller]
fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Whether this is the password of the user with this login.
fn is_good(store: &Path, login: &'static str, password: &str) -> bool {
    let database = Database::open_existing(store).unwrap();
    let (_, stored) = database.read_blocking(move |store| store.user_and_hash_by_login(login)).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let password = zeroize::Zeroizing::new(password.to_owned());
    runtime.block_on(async { Passwords::start().unwrap().verify(password, stored).await.unwrap().good })
}

/// Begins a login of `user` and a session, as the gateway does.
fn begin(store: &Path, user: &str, login: &'static str, session: &'static str) {
    let (database, user) = (Database::open_existing(store).unwrap(), user.to_owned());
    let expires = "2999-01-01T00:00:00Z".parse().unwrap();
    let both = database.write_blocking(By::gateway(&user.clone()), Moment::now(), move |store| {
        let refresh = Digest::of(login.as_bytes());
        store.create_login(NewLogin { id: login.to_owned(), user, refresh, expires, verified: None })?;
        let (id, digest, customer) = (session.to_owned(), Digest::of(session.as_bytes()), "c1".to_owned());
        store.create_session(NewSession {
            id,
            digest,
            tenant: Some("acme".into()),
            environment: None,
            customer,
            expires,
        })
    });
    both.unwrap();
}

/// The same commands do the same whether a gateway runs or not.
#[test]
fn commands_manage_passwords_logins_and_sessions_with_and_without_a_gateway() {
    let upstream = Upstream::hello();
    let alone = tempfile::tempdir().unwrap();
    let config = "keys: { database: keygate.db }\nroles: [{ name: owner, permissions: [\"*\"] }]\n";
    fs::write(alone.path().join("keygate.yaml"), config).unwrap();
    let gate = gate(&upstream).with(config).secret(PASSWORD).start();
    for at in [alone.path(), gate.file("").as_path()] {
        let store = at.join("keygate.db");
        let create = "users create --login ada --name Ada --role owner --password-stdin --json";
        let ada = as_json(&ran(at, create, &format!("{PASSWORD}\n")));
        assert_eq!((&ada["has_password"], &ada["roles"]), (&json!(true), &json!(["owner"])));
        let id = ada["id"].as_str().unwrap();
        assert!(is_good(&store, "ada", PASSWORD) && !is_good(&store, "ada", "violins"));

        begin(&store, id, "l1", "s1");
        let logins = || as_json(&ran(at, "logins list --json", ""));
        assert_eq!((&logins()[0]["id"], &logins()[0]["user"]), (&json!("l1"), &json!(id)));
        assert_eq!(ran(at, "logins end l1", ""), "The login l1 is ended.\n");
        assert_eq!(logins(), json!([]));
        assert!(ran(at, "sessions list --customer c1", "").contains("s1  c1"));
        assert_eq!(as_json(&ran(at, "sessions revoke s1 --json", ""))["tenant"], "acme");
        assert_eq!(as_json(&ran(at, "sessions list --json", "")), json!([]));

        begin(&store, id, "l2", "s2");
        let set = ran(at, "users set-password ada --password-stdin", "cellos over the river");
        assert_eq!(set, "The user ada has a new password. All logins of the user are ended.\n");
        assert!(is_good(&store, "ada", "cellos over the river") && !is_good(&store, "ada", PASSWORD));
        assert_eq!(logins(), json!([]));
        begin(&store, id, "l3", "s3");
        ran(at, "users disable ada", "");
        assert_eq!(logins(), json!([]));
        ran(at, "users delete ada", "");
        assert_eq!(as_json(&ran(at, "users list --json", "")), json!([]));

        for file in fs::read_dir(at).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
            let bytes = fs::read(&file).unwrap();
            let found = bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
            assert!(!found, "the password is in {}", file.display());
        }
    }
    assert!(!gate.stderr().contains("ERROR"), "{}", gate.stderr());
}

#[test]
fn what_is_wrong_is_refused_in_words_and_makes_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let config = "keys: { database: keygate.db }\nroles: [{ name: owner, permissions: [\"*\"] }]\n";
    fs::write(at.join("keygate.yaml"), config).unwrap();
    for (words, input, expected) in [
        ("users create --login ada --password-stdin", "", "keygate: there is no password on standard input"),
        (
            "users create --login ada --password-stdin",
            "short\n",
            "keygate: the password must have at least 8 characters",
        ),
        (
            "users create --login ada --role onwer",
            "",
            "keygate: `--role`: the configuration has no such role; did you mean `owner`?",
        ),
    ] {
        assert_eq!(refused(at, words, input), expected, "{words}");
    }
    for words in [
        "users set-password ada --password-stdin",
        "logins list",
        "logins end l1",
        "sessions list",
        "sessions revoke s1",
    ] {
        let refused = refused(at, words, PASSWORD);
        assert!(refused.starts_with("keygate: there is no store at"), "{words}: {refused}");
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), 1);
    ran(at, "users create --login ada", "");
    for (words, expected) in [
        ("users set-password bob --password-stdin", "keygate: there is no such user"),
        ("logins end l1", "keygate: there is no login with this id"),
        ("sessions revoke s1", "keygate: there is no session with this id"),
    ] {
        assert_eq!(refused(at, words, PASSWORD), expected, "{words}");
    }
    let without = keygate(at, &["users", "set-password", "ada"], PASSWORD);
    assert_eq!(without.status.code(), Some(2), "a password is never an argument");
}

/// What commands and the management API do is one thing: each sees at once what the other did.
#[test]
fn the_management_api_and_the_command_line_see_each_other() {
    let upstream = Upstream::hello();
    let gate = managed(&upstream).secret(PASSWORD).start();
    let (at, store) = (gate.file(""), gate.file("keygate.db"));
    let told = json!({ "login": "ada", "id": "u1", "password": PASSWORD });
    assert_eq!(ask(&gate, "POST", "/api/v1/users", Some(&told)).json()["has_password"], true);
    assert!(is_good(&store, "ada", PASSWORD));
    begin(&store, "u1", "l1", "s1");
    let ids = |path: &str| {
        let page = ask(&gate, "GET", path, None).json();
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (ids("/api/v1/logins?user=u1"), ids("/api/v1/sessions")),
        (vec!["l1".to_owned()], vec!["s1".to_owned()])
    );
    ran(&at, "logins end l1", "");
    ran(&at, "sessions revoke s1", "");
    assert_eq!((ids("/api/v1/logins"), ids("/api/v1/sessions")), (vec![], vec![]));

    begin(&store, "u1", "l2", "s2");
    let another = json!({ "password": "cellos over the river" });
    assert_eq!(ask(&gate, "PUT", "/api/v1/users/u1/password", Some(&another)).status, 200);
    assert_eq!(as_json(&ran(&at, "logins list --json", "")), json!([]));
    assert_eq!(ask(&gate, "DELETE", "/api/v1/sessions/s2", None).status, 204);
    assert_eq!(as_json(&ran(&at, "sessions list --json", "")), json!([]));
    let trail = ask(&gate, "GET", "/api/v1/audit?kind=login", None).json();
    let lines: Vec<_> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            [&line["channel"], &line["action"], &line["subject"]]
                .map(|word| word.as_str().unwrap_or_default())
                .join(" ")
        })
        .collect();
    assert_eq!(lines, ["gateway create l1", "cli end l1", "gateway create l2", "api end l2"]);
}

#[test]
fn the_help_says_where_a_password_comes_from() {
    let at = Path::new(".");
    for (words, expected) in [
        (&["users", "create", "--help"][..], "--password-stdin"),
        (&["users", "set-password", "--help"], "Reads the password from standard input"),
        (&["logins", "--help"], "Ends a login"),
        (&["sessions", "--help"], "Ends a session"),
        (&["--help"], "List and revoke sessions of customers"),
    ] {
        let output = keygate(at, words, "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(expected), "{words:?}: {text}");
    }
}
