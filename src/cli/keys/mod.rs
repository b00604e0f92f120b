//! `keygate keys`: making keys, hashing secrets, and what becomes of keys afterwards.
//!
//! Keys are in files or in the store that a configuration names (`--config`). A secret goes out on standard output and
//! comes in on standard input, never by an argument: arguments are seen by everybody on the machine, and stay in the
//! shell's history.
//!
//! Never in this file: reading from a terminal, and what the process ends with; both are the caller's.

mod change;
mod create;
mod list;
mod shown;

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use zeroize::Zeroizing;

use super::store::StoreOf;
use crate::moment::Moment;
use crate::secret::Digest;

use change::{OneArguments, RotateArguments};
use create::CreateArguments;
use list::ListArguments;

/// Bytes a secret on standard input may have. No client could send a longer one in a field.
const SECRET_BYTES_MAX: u64 = 4096;

/// Makes, lists, switches and rotates keys.
#[derive(Debug, clap::Args)]
pub struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Makes a key: prints its secret, this once, and stores it or prints its entry for a key file
    Create(Box<CreateArguments>),
    /// Reads a secret from standard input and prints its SHA-256
    Hash,
    /// Lists the keys of key files, or of the store
    List(ListArguments),
    /// Ends a key of the store for good
    Revoke(OneArguments),
    /// Switches a key of the store off, until it is activated again
    Deactivate(OneArguments),
    /// Switches a key of the store on
    Activate(OneArguments),
    /// Makes a successor of a key of the store: prints its secret, this once; the old key lives on for a while
    Rotate(RotateArguments),
    /// Deletes a key of the store with its usage
    Delete(OneArguments),
}

/// Does what `arguments` say, at `now`. `input` is read by `hash` alone; `store_of` finds the store.
///
/// # Errors
///
/// Whatever is wrong, in words for the operator; never a secret or a digest. A change was made only if this is no error,
/// or one of writing to `out`, or says itself that the change is stored.
pub fn run(
    arguments: &KeysArguments,
    input: &mut dyn Read,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        KeysCommand::Create(arguments) => create::create(arguments, out, now, store_of)?,
        KeysCommand::Hash => hash(input, out)?,
        KeysCommand::List(arguments) => list::list(arguments, out, now, store_of)?,
        KeysCommand::Revoke(arguments) => {
            change::switch(arguments, ("revoked", |writer, id| writer.revoke_key(id)), out, now, store_of)?;
        }
        KeysCommand::Deactivate(arguments) => {
            change::switch(arguments, ("inactive", |writer, id| writer.deactivate_key(id)), out, now, store_of)?;
        }
        KeysCommand::Activate(arguments) => {
            change::switch(arguments, ("active", |writer, id| writer.activate_key(id)), out, now, store_of)?;
        }
        KeysCommand::Rotate(arguments) => change::rotate(arguments, out, now, store_of)?,
        KeysCommand::Delete(arguments) => change::delete(arguments, out, now, store_of)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn hash(input: &mut dyn Read, out: &mut dyn Write) -> anyhow::Result<()> {
    // With its whole capacity from the start: a buffer that grows leaves copies of itself behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(usize::try_from(SECRET_BYTES_MAX)? + 2));
    input.take(SECRET_BYTES_MAX + 2).read_to_end(&mut secret).context("standard input cannot be read")?;

    let secret = secret.strip_suffix(b"\n").unwrap_or(&secret);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    ensure!(!secret.is_empty(), "there is no secret on standard input");
    ensure!(secret.len() as u64 <= SECRET_BYTES_MAX, "the secret is longer than {SECRET_BYTES_MAX} bytes");
    if !secret.iter().all(u8::is_ascii_graphic) {
        bail!(
            "the secret has spaces, line ends or other characters in it that no client could send: visible ASCII only"
        );
    }
    writeln!(out, "{}", Digest::of(secret).to_hex())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use serde_json::Value;

    use super::super::store::store_of;
    use super::*;
    use crate::keys::Sources;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        keys: KeysArguments,
    }

    /// 2026-11-22T00:00:00Z
    const NOW: Moment = Moment { unix_ns: 1_795_305_600_000_000_000, monotonic_ns: 0 };

    fn try_run(arguments: &[&str], input: &[u8]) -> anyhow::Result<String> {
        let program = Program::try_parse_from([&["keys"], arguments].concat())?;
        let mut out = Vec::new();
        run(&program.keys, &mut &*input, &mut out, NOW, &|config| store_of(config, &|_| None))?;
        Ok(String::from_utf8(out)?)
    }

    #[track_caller]
    fn ran(arguments: &[&str]) -> String {
        try_run(arguments, b"").unwrap()
    }

    #[track_caller]
    fn refused(arguments: &[&str], input: &[u8]) -> String {
        try_run(arguments, input).unwrap_err().to_string()
    }

    /// The line with the secret.
    fn secret_in(output: &str) -> &str {
        output.lines().find(|line| line.starts_with("    ")).unwrap().trim()
    }

    #[test]
    fn a_key_that_was_made_can_be_pasted_and_opens_the_gate() {
        let output =
            ran(&["create", "--id", "key_1", "--environment", "live", "--permission", "a:b", "--permission", "c:*"]);
        let secret = secret_in(&output);
        assert!(secret.starts_with("kg_live_"));
        let entry = &output[output.find("  - id").unwrap()..];
        let digest = Digest::of(secret.as_bytes()).to_hex();
        assert_eq!(
            entry,
            format!(
                "  - id: key_1\n    sha256: {digest}\n    prefix: {}\n    environment: live\n    permissions:\n    - a:b\n    - c:*\n    created: 2026-11-22T00:00:00Z\n",
                &secret[..16]
            )
        );
        assert_eq!(output.matches(secret).count(), 1, "shown once");
    }

    #[test]
    fn every_argument_reaches_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.yaml");
        let file = path.to_str().unwrap();
        let output = ran(&[
            "create",
            "--id",
            "key_1",
            "--name",
            "Orders: \"live\"",
            "--environment",
            "live",
            "--tenant",
            "acme",
            "--user",
            "alice",
            "--permission",
            "orders:read",
            "--role",
            "auditor",
            "--expires-at",
            "2027-01-31T00:00:00Z",
            "--rate-limit",
            "600",
            "--to",
            file,
        ]);
        assert!(output.ends_with(&format!("The key was added to {file}.\n")));
        assert!(!output.contains("sha256"));

        let set = Sources::new(vec![path], vec![]).read().unwrap();
        let key = set.iter().next().unwrap();
        assert_eq!((key.id(), key.name()), ("key_1", "Orders: \"live\""));
        assert_eq!(key.environment().map(|name| &**name), Some("live"));
        assert_eq!(key.tenant(), Some("acme"));
        assert_eq!(key.user(), Some("alice"));
        assert_eq!(key.permissions(), ["orders:read".into()]);
        assert_eq!(key.roles(), ["auditor".into()]);
        assert_eq!(key.created(), Some("2026-11-22T00:00:00Z".parse().unwrap()));
        assert_eq!(key.expires(), Some("2027-01-31T00:00:00Z".parse().unwrap()));
        assert_eq!(key.rate_limit(), Some(600));
        assert_eq!(key.prefix(), Some(&secret_in(&output)[..16]));
    }

    #[test]
    fn json_has_the_secret_once_and_the_entry_to_store() {
        let output = ran(&["create", "--hex", "--json"]);
        let value: Value = serde_json::from_str(&output).unwrap();
        let secret = value["secret"].as_str().unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(value["entry"]["sha256"], Digest::of(secret.as_bytes()).to_hex());
        assert_eq!(value["entry"]["id"], value["id"]);
        assert!(value["id"].as_str().unwrap().starts_with("key_"));
        assert_eq!(output.matches(secret).count(), 1);
    }

    #[test]
    fn the_prefix_of_the_secret_can_be_chosen() {
        assert!(
            secret_in(&ran(&["create", "--secret-prefix", "pk_test_", "--environment", "sandbox"]))
                .starts_with("pk_test_")
        );
        assert!(secret_in(&ran(&["create", "--secret-prefix", "pk_"])).starts_with("pk_"));
        assert!(secret_in(&ran(&["create"])).starts_with("kg_"));
        assert!(refused(&["create", "--secret-prefix", "p-k"], b"").starts_with("`--secret-prefix` must be"));
        assert!(refused(&["create", "--secret-prefix", "pk_", "--hex"], b"").contains("cannot be used with"));
    }

    #[test]
    fn a_key_that_cannot_be_stored_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.yaml");
        fs::write(&path, "keys: [ # flow\n]\n").unwrap();
        let mut out = Vec::new();
        let program = Program::try_parse_from(["keys", "create", "--to", path.to_str().unwrap()]).unwrap();
        let error =
            run(&program.keys, &mut &b""[..], &mut out, NOW, &|config| store_of(config, &|_| None)).unwrap_err();
        assert!(error.to_string().contains("paste the entry by hand"), "{error}");
        assert!(out.is_empty());
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys: [ # flow\n]\n");
    }

    #[test]
    fn wrong_arguments_are_refused_in_words() {
        assert_eq!(refused(&["create", "--expires-at", "2026-11-22T00:00:00Z"], b""), "`--expires-at` is in the past");
        assert_eq!(
            refused(&["create", "--tenant", "a b"], b""),
            "the key is not valid: tenant: must be 1 to 128 visible ASCII characters without spaces"
        );
        let plain = refused(&["create", "--name", "xy_live_4eC39HqLyjWDarjtT1zdp7dc"], b"");
        assert!(plain.contains("name: looks like a plain key") && !plain.contains("4eC39"), "{plain}");
        for usage in
            [&["create", "--expires-at", "tomorrow"][..], &["create", "--secret", "x"], &["hash", "x"], &["list"], &[]]
        {
            assert!(Program::try_parse_from([&["keys"], usage].concat()).is_err(), "{usage:?}");
        }
    }

    #[test]
    fn a_secret_on_standard_input_is_hashed_without_its_line_end() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
        for input in ["abc", "abc\n", "abc\r\n"] {
            assert_eq!(try_run(&["hash"], input.as_bytes()).unwrap(), abc, "{input:?}");
        }
        let longest = vec![b'x'; 4096];
        assert_eq!(
            try_run(&["hash"], &[&longest[..], b"\r\n"].concat()).unwrap(),
            Digest::of(&longest).to_hex() + "\n"
        );
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_hashed() {
        for input in ["", "\n", "\r\n"] {
            assert_eq!(refused(&["hash"], input.as_bytes()), "there is no secret on standard input");
        }
        for input in [" abc", "abc ", "a\nb", "abc\n\n", "abc\0", "\u{e9}"] {
            assert!(refused(&["hash"], input.as_bytes()).starts_with("the secret has spaces"), "{input:?}");
        }
        assert_eq!(refused(&["hash"], &[b'x'; 5000]), "the secret is longer than 4096 bytes");
    }

    fn two_keys() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (Digest::of(b"a").to_hex(), Digest::of(b"b").to_hex());
        let text = format!(
            "keys:\n  - {{id: key_1, sha256: {a}, name: Ordr\u{e9}s, prefix: kg_live_a1b2c3d4, environment: live, tenant: acme, expires: 2026-01-31T00:00:00Z}}\n  - {{id: k2, sha256: {b}, state: revoked}}\n"
        );
        fs::write(directory.path().join("keys.yaml"), text).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        (directory, path)
    }

    #[test]
    fn keys_are_listed_with_what_they_are_now_and_never_their_digest() {
        let (_directory, path) = two_keys();
        let table = ran(&["list", "--directory", &path]);
        assert_eq!(
            table,
            "ID     NAME    PREFIX            STATE    ENVIRONMENT  TENANT  EXPIRES\n\
             key_1  Ordr\u{e9}s  kg_live_a1b2c3d4  expired  live         acme    2026-01-31T00:00:00Z\n\
             k2     k2      -                 revoked  -            -       -\n"
        );
        assert_eq!(ran(&["list", &format!("{path}/keys.yaml")]), table);

        let json = ran(&["list", "--json", &format!("{path}/keys.yaml")]);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value[0]["state"], "active");
        assert_eq!(value[0]["standing"], "expired");
        assert_eq!(value[0]["expires"], "2026-01-31T00:00:00Z");
        assert_eq!(value[1]["tenant"], Value::Null);
        for digest in [Digest::of(b"a").to_hex(), Digest::of(b"b").to_hex()] {
            assert!(!json.contains(&digest[..8]) && !table.contains(&digest[..8]));
        }
    }

    #[test]
    fn a_broken_file_is_listed_by_its_problems() {
        let (directory, path) = two_keys();
        fs::write(directory.path().join("other.yaml"), "kyes: []\n").unwrap();
        let problems = refused(&["list", "--directory", &path], b"");
        assert!(problems.contains("other.yaml:1:1: kyes: unknown field; did you mean `keys`?"), "{problems}");
    }

    /// A configuration that names a store, in a directory of its own.
    fn with_store() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.yaml");
        fs::write(&path, "keys:\n  database: k.db\n  format: {prefixes: {sandbox: pk_test_}}\n").unwrap();
        let path = path.to_str().unwrap().to_owned();
        (directory, path)
    }

    fn json(arguments: &[&str]) -> Value {
        serde_json::from_str(&ran(arguments)).unwrap()
    }

    #[test]
    fn a_key_of_the_store_lives_through_everything_that_can_become_of_it() {
        let (_directory, config) = with_store();
        let config = config.as_str();
        let made = json(&[
            "create",
            "--config",
            config,
            "--environment",
            "sandbox",
            "--name",
            "Orders",
            "--permission",
            "a:b",
            "--tenant",
            "acme",
            "--expires-at",
            "2027-01-31T00:00:00Z",
            "--rate-limit",
            "600",
            "--json",
        ]);
        let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        assert!(secret.starts_with("pk_test_"), "as the configuration says");
        let expected = serde_json::json!({
            "id": id, "name": "Orders", "prefix": &secret[..16], "tenant": "acme", "user": null, "environment": "sandbox",
            "permissions": ["a:b"], "roles": [], "state": "active", "standing": "active", "user_disabled": false,
            "created": "2026-11-22T00:00:00Z", "updated": "2026-11-22T00:00:00Z", "expires": "2027-01-31T00:00:00Z",
            "not_before": null, "lineage": id, "successor": null, "retires": null, "rate_limit": 600,
            "allowed_networks": [], "metadata": {}, "last_used": null, "revision": 1,
        });
        assert_eq!(made["key"], expected);
        assert_eq!(json(&["list", "--config", config, "--json"]), Value::from(vec![expected]));

        assert_eq!(ran(&["deactivate", id, "--config", config]), format!("The key {id} is inactive.\n"));
        assert_eq!(json(&["activate", id, "--config", config, "--json"])["standing"], "active");
        let rotated = json(&["rotate", id, "--overlap", "2h", "--config", config, "--json"]);
        assert_eq!(rotated["predecessor"]["retires"], "2026-11-22T02:00:00Z");
        assert_eq!(rotated["predecessor"]["successor"], rotated["id"]);
        assert_eq!(rotated["key"]["lineage"], *id);
        assert!(rotated["secret"].as_str().unwrap().starts_with("pk_test_"));
        assert_ne!(rotated["secret"], made["secret"]);

        assert_eq!(ran(&["revoke", id, "--config", config]), format!("The key {id} is revoked.\n"));
        assert_eq!(refused(&["activate", id, "--config", config], b""), "the key is revoked, which is final");
        assert_eq!(
            json(&["delete", id, "--config", config, "--json"]),
            serde_json::json!({ "id": id, "deleted": true })
        );
        assert_eq!(refused(&["revoke", id, "--config", config], b""), "there is no key with this id");
        let list = ran(&["list", "--config", config]);
        assert!(list.contains(rotated["id"].as_str().unwrap()) && !list.contains(id), "{list}");
        assert!(!list.contains(rotated["secret"].as_str().unwrap()));
    }

    #[test]
    fn without_an_overlap_the_usual_one_is_a_day() {
        let (_directory, config) = with_store();
        ran(&["create", "--id", "key_1", "--config", &config]);
        let output = ran(&["rotate", "key_1", "--config", &config]);
        assert!(output.ends_with("It succeeds the key key_1, which is good until 2026-11-23T00:00:00Z.\n"), "{output}");
        let secret = secret_in(&output);
        assert_eq!(output.matches(secret).count(), 1, "shown once");
    }

    #[test]
    fn only_making_a_key_makes_a_store() {
        let (directory, config) = with_store();
        for step in [
            &["list"][..],
            &["revoke", "a"],
            &["deactivate", "a"],
            &["activate", "a"],
            &["rotate", "a"],
            &["delete", "a"],
        ] {
            let error = refused(&[step, &["--config", &config]].concat(), b"");
            assert_eq!(error, format!("there is no store at {}", directory.path().join("k.db").display()), "{step:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        ran(&["create", "--config", &config]);
        assert!(directory.path().join("k.db").exists());
    }

    #[test]
    fn without_an_overlap_in_force_the_old_key_is_said_to_be_good_no_longer() {
        let (_directory, config) = with_store();
        ran(&["create", "--id", "key_1", "--config", &config]);
        let output = ran(&["rotate", "key_1", "--overlap", "0s", "--config", &config]);
        assert!(output.ends_with("It succeeds the key key_1, which is no longer good.\n"), "{output}");
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_stored() {
        let (directory, config) = with_store();
        let config = config.as_str();
        ran(&["create", "--id", "first", "--config", config]);
        for (arguments, expected) in [
            (
                &["create", "--config", config, "--tenant", "a b"][..],
                "tenant: must be 1 to 128 visible ASCII characters",
            ),
            (&["create", "--config", config, "--expires-at", "2026-11-21T00:00:00Z"], "`--expires-at` is in the past"),
            (&["create", "--config", config, "--to", "keys.yaml"], "cannot be used with"),
            (&["rotate", "key_1", "--config", config, "--overlap", "tomorrow"], "tomorrow"),
            (&["rotate", "xy_live_4eC39HqLyjWDarjtT1zdp7dc", "--config", config], "there is no key with this id"),
            (&["list", "--config", "/nowhere/keygate.yaml"], "/nowhere/keygate.yaml: cannot be opened"),
        ] {
            let error = refused(arguments, b"");
            assert!(error.contains(expected) && !error.contains("4eC39"), "{arguments:?}: {error}");
        }
        assert_eq!(json(&["list", "--config", config, "--json"]).as_array().unwrap().len(), 1);
        assert!(!directory.path().join("keys.yaml").exists());
    }

    #[test]
    fn an_environment_that_does_not_exist_is_refused() {
        let (directory, config) = with_store();
        let settings = super::super::store::StoreSettings {
            database: directory.path().join("k.db"),
            format: crate::keys::SecretFormat::default(),
            environments: vec!["production".into(), "sandbox".into()],
            roles: Vec::new(),
        };
        for (environment, good) in [(Some("production"), true), (Some("prod"), false), (None, false)] {
            let mut arguments = vec!["keys", "create", "--config", &config];
            arguments.extend(environment.iter().flat_map(|environment| ["--environment", environment]));
            let program = Program::try_parse_from(arguments).unwrap();
            let ran = run(&program.keys, &mut &b""[..], &mut Vec::new(), NOW, &|_| Ok(settings.clone()));
            assert_eq!(ran.is_ok(), good, "{environment:?}");
            if let Err(error) = ran {
                assert_eq!(error.to_string(), "`--environment` must be one of production, sandbox");
            }
        }
    }

    /// A key that grants nothing because of a slip looks like one that works.
    #[test]
    fn what_would_grant_nothing_is_refused() {
        let (directory, config) = with_store();
        let roles = "roles: [{name: clerk, permissions: ['a:b']}, {name: auditor, permissions: ['a:c']}]\n";
        let with_roles = directory.path().join("roles.yaml");
        fs::write(&with_roles, format!("keys: {{database: k.db}}\n{roles}")).unwrap();
        let with_roles = with_roles.to_str().unwrap();
        let permission = "a permission is `resource:action`, `resource:*` or `*`: letters, digits, `_`, `-` and `.`";
        for (arguments, expected) in [
            (&["--permission", "orders"][..], format!("`--permission` (number 1): {permission}")),
            (&["--permission", "a:b", "--permission", "a:b:c"], format!("`--permission` (number 2): {permission}")),
            (&["--permission", "orders:re*d"], format!("`--permission` (number 1): {permission}")),
        ] {
            for place in [&[][..], &["--config", with_roles], &["--to", "never.yaml"]] {
                assert_eq!(
                    refused(&[&["create"], arguments, place].concat(), b""),
                    expected,
                    "{arguments:?} {place:?}"
                );
            }
        }
        for (config, role, expected) in [
            (with_roles, "clrek", "`--role`: the configuration has no such role; did you mean `clerk`?"),
            (with_roles, "owner", "`--role` must be one of clerk, auditor"),
            (&config, "clerk", "`--role` has nothing to name: the configuration has no `roles`"),
        ] {
            assert_eq!(refused(&["create", "--role", "clerk", "--role", role, "--config", config], b""), expected);
        }
        assert!(!directory.path().join("k.db").exists(), "nothing was made");
        let made = json(&["create", "--role", "clerk", "--role", "auditor", "--config", with_roles, "--json"]);
        assert_eq!(made["key"]["roles"], serde_json::json!(["clerk", "auditor"]));
    }

    /// A gateway is told of every change, and the command returns when the change is in force there; when it is not, the
    /// secret is shown nevertheless, and the command fails.
    #[test]
    fn a_change_is_in_force_when_the_command_returns_or_it_says_so() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU64, Ordering};

        use crate::keys::database::{Announcements, Revision};

        let (directory, config) = with_store();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let known = Arc::new(AtomicU64::new(0));
        let able = Arc::new(AtomicU64::new(u64::MAX));
        let (noted, limit) = (Arc::clone(&known), Arc::clone(&able));
        let announcements = runtime.block_on(async { Announcements::listen(&directory.path().join("k.db")).unwrap() });
        runtime.spawn(announcements.serve(move |revision| {
            let taken = revision.0.min(limit.load(Ordering::SeqCst));
            noted.store(taken, Ordering::SeqCst);
            async move { Revision(taken) }
        }));
        let steps: [&[&str]; 5] = [
            &["create", "--id", "key_1"],
            &["deactivate", "key_1"],
            &["activate", "key_1"],
            &["rotate", "key_1"],
            &["delete", "key_1"],
        ];
        for (number, step) in (1..).zip(steps) {
            ran(&[step, &["--config", &config]].concat());
            assert_eq!(known.load(Ordering::SeqCst), number, "{step:?}");
        }
        able.store(5, Ordering::SeqCst);
        let program = Program::try_parse_from(["keys", "create", "--id", "key_9", "--config", &config]).unwrap();
        let mut out = Vec::new();
        let ran = run(&program.keys, &mut &b""[..], &mut out, NOW, &|config| store_of(config, &|_| None));
        let error = format!("{:#}", ran.unwrap_err());
        assert_eq!(
            error,
            "not in force yet: the change is stored, but a running gateway could not take it; its log says why"
        );
        assert!(secret_in(&String::from_utf8(out).unwrap()).starts_with("kg_"));
    }
}
