//! `keygate users`: the users of the store.
//!
//! A password comes in on standard input, never by an argument.

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::json;

use super::Configured;
use super::password::read_password;
use super::store::{Store, StoreOf};
use super::table::{or_dash, write_table};
use crate::identity::password;
use crate::keys::database::{DatabaseError, NewUser, UserFilter, UserRecord, Writer};
use crate::moment::Moment;
use crate::secret::random_id_of;

/// Makes, lists and switches users of the store.
#[derive(Debug, clap::Args)]
pub struct UsersArguments {
    #[command(subcommand)]
    command: UsersCommand,
}

/// What to do with users.
#[derive(Debug, clap::Subcommand)]
enum UsersCommand {
    /// Makes a user, with the password on standard input, or with none
    Create(Box<CreateArguments>),
    /// Sets the password of a user, and ends all logins of the user
    SetPassword(PasswordArguments),
    /// Lists all users
    List(ListArguments),
    /// Switches a user off, and all keys of the user with it; ends all logins of the user
    Disable(OneArguments),
    /// Switches a user on
    Enable(OneArguments),
    /// Deletes a user, revokes all keys of the user and ends all logins
    Delete(OneArguments),
}

#[derive(Debug, clap::Args)]
struct CreateArguments {
    /// Name to log in with, unique among all users
    #[arg(long)]
    login: String,
    /// Public name of the user for machines, unique among all users [default: random]
    #[arg(long)]
    id: Option<String>,
    /// Name of the user for people
    #[arg(long)]
    name: Option<String>,
    /// Tenant of the user
    #[arg(long)]
    tenant: Option<String>,
    /// What the user may do, such as `orders:read`; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Named set of permissions, one of the configuration's `roles`; can be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Reads the password from standard input, all of it but a line end behind it: 8 to 256 characters
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct OneArguments {
    /// Id or login of the user
    #[arg(value_name = "ID_OR_LOGIN")]
    user: String,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct PasswordArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Reads the password from standard input, all of it but a line end behind it: 8 to 256 characters
    #[arg(long, required = true)]
    password_stdin: bool,
}

type Operation = fn(&Writer<'_>, &str) -> Result<UserRecord, DatabaseError>;

/// Does what `arguments` say, at `now`. `input` is read for a password alone.
///
/// # Errors
///
/// Whatever is wrong, in words for the operator; never a password.
pub fn run(
    arguments: &UsersArguments,
    input: &mut dyn Read,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        UsersCommand::Create(arguments) => create(arguments, input, out, now, store_of)?,
        UsersCommand::SetPassword(arguments) => set_password(arguments, input, out, now, store_of)?,
        UsersCommand::List(arguments) => list(arguments, out, store_of)?,
        UsersCommand::Disable(arguments) => {
            change(arguments, ("disabled", |writer, id| writer.disable_user(id)), out, now, store_of)?;
        }
        UsersCommand::Enable(arguments) => {
            change(arguments, ("enabled", |writer, id| writer.enable_user(id)), out, now, store_of)?;
        }
        UsersCommand::Delete(arguments) => change(arguments, ("deleted", deleted), out, now, store_of)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(
    arguments: &CreateArguments,
    input: &mut dyn Read,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let settings = store_of(&arguments.configured.config)?;
    settings.check_roles(&arguments.roles)?;
    // Before there is a user: one without the password that was meant would be no use.
    let password = if arguments.password_stdin { Some(read_password(input)?) } else { None };
    let hash = password.map(|password| password::hash(&password)).transpose()?;
    let store = Store::make(settings)?;
    let user = NewUser {
        id: arguments.id.clone().map_or_else(|| random_id_of("user"), Ok)?,
        login: arguments.login.clone(),
        name: arguments.name.clone(),
        tenant: arguments.tenant.clone(),
        permissions: arguments.permissions.clone(),
        roles: arguments.roles.clone(),
        ..NewUser::default()
    };
    let (user, in_force) = store.write(now, move |writer| {
        let user = writer.create_user(user)?;
        match hash {
            Some(hash) => with_password(writer, &user.id, &hash),
            None => Ok(user),
        }
    })?;
    if arguments.json {
        writeln!(out, "{}", json!(user))?;
    } else {
        writeln!(out, "The user {} has the id {}.", user.login, user.id)?;
    }
    out.flush()?;
    in_force.check()
}

fn set_password(
    arguments: &PasswordArguments,
    input: &mut dyn Read,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let OneArguments { user, configured, json } = &arguments.one;
    let store = Store::open(&configured.config, store_of)?;
    let hash = password::hash(&read_password(input)?)?;
    let user = user.clone();
    let (user, in_force) = store.write(now, move |writer| {
        let id = writer.user_by_id_or_login(&user)?.id;
        with_password(writer, &id, &hash)
    })?;
    if *json {
        writeln!(out, "{}", json!(user))?;
    } else {
        writeln!(out, "The user {} has a new password. All logins of the user are ended.", user.login)?;
    }
    out.flush()?;
    in_force.check()
}

/// Sets the password of a user, and returns what the user is then.
fn with_password(writer: &Writer<'_>, id: &str, hash: &str) -> Result<UserRecord, DatabaseError> {
    writer.set_password_hash(id, Some(hash))?;
    writer.user(id)
}

fn list(arguments: &ListArguments, out: &mut dyn Write, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let users = store.read_all(|reader, page| reader.users(&UserFilter::default(), page))?;
    if arguments.json {
        writeln!(out, "{:#}", json!(users))?;
        return Ok(());
    }
    let header = ["ID", "LOGIN", "NAME", "STATE", "TENANT", "ROLES"].map(str::to_owned);
    let rows = users.iter().map(|user| {
        [
            user.id.clone(),
            user.login.clone(),
            or_dash(user.name.as_deref()),
            if user.enabled { "enabled" } else { "disabled" }.to_owned(),
            or_dash(user.tenant.as_deref()),
            if user.roles.is_empty() { or_dash(None) } else { user.roles.join(" ") },
        ]
    });
    write_table(out, &std::iter::once(header).chain(rows).collect::<Vec<_>>())?;
    Ok(())
}

fn change(
    arguments: &OneArguments,
    (word, operation): (&str, Operation),
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let user = arguments.user.clone();
    let (user, in_force) = store.write(now, move |writer| {
        let id = writer.user_by_id_or_login(&user)?.id;
        operation(writer, &id)
    })?;
    if arguments.json {
        writeln!(out, "{}", json!(user))?;
    } else {
        writeln!(out, "The user {} is {word}.", user.login)?;
    }
    out.flush()?;
    in_force.check()
}

/// Deletes a user, and returns what the user was.
fn deleted(writer: &Writer<'_>, id: &str) -> Result<UserRecord, DatabaseError> {
    let user = writer.user(id)?;
    writer.delete_user(id)?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use serde_json::Value;
    use zeroize::Zeroizing;

    use super::super::keys::{self, KeysArguments};
    use super::super::store::store_of;
    use super::*;
    use crate::identity::Passwords;
    use crate::keys::database::Database;

    #[derive(Debug, Parser)]
    enum Program {
        Users(UsersArguments),
        Keys(KeysArguments),
    }

    /// 2026-11-22T00:00:00Z
    const NOW: Moment = Moment { unix_ns: 1_795_305_600_000_000_000, monotonic_ns: 0 };

    fn try_run(config: &str, words: &str) -> anyhow::Result<String> {
        try_run_with(config, words, "")
    }

    fn try_run_with(config: &str, words: &str, input: &str) -> anyhow::Result<String> {
        let words = format!("keygate {words} --config {config}");
        let mut out = Vec::new();
        let store_of: StoreOf<'_> = &|config| store_of(config, &|_| None);
        match Program::try_parse_from(words.split(' '))? {
            Program::Users(arguments) => run(&arguments, &mut input.as_bytes(), &mut out, NOW, store_of)?,
            Program::Keys(arguments) => keys::run(&arguments, &mut &b""[..], &mut out, NOW, store_of)?,
        };
        Ok(String::from_utf8(out)?)
    }

    fn with_store() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.yaml");
        let roles = "roles: [{name: admin, permissions: ['*']}, {name: auditor, permissions: ['*:read']}]";
        fs::write(&path, format!("keys: {{database: k.db}}\n{roles}\n")).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (directory, path)
    }

    #[test]
    fn a_user_is_made_listed_switched_and_deleted_with_all_keys() {
        let (_directory, config) = with_store();
        let ran = |words: &str| try_run(&config, words).unwrap();
        let made = ran("users create --login alice --name Alice --tenant acme --role admin --role auditor --json");
        let made: Value = serde_json::from_str(&made).unwrap();
        let id = made["id"].as_str().unwrap();
        assert!(id.starts_with("user_"));
        assert_eq!((&made["enabled"], &made["has_password"]), (&Value::Bool(true), &Value::Bool(false)));
        assert_eq!(
            ran("users list"),
            format!(
                "ID{0}LOGIN  NAME   STATE    TENANT  ROLES\n{id}  alice  Alice  enabled  acme    admin auditor\n",
                " ".repeat(id.len())
            )
        );
        ran("keys create --id key_1 --user ALICE");
        ran("keys create --id key_2");
        let keys = || -> Value { serde_json::from_str(&ran("keys list --json")).unwrap() };
        assert_eq!((&keys()[0]["user"], &keys()[1]["user"]), (&Value::from(id), &Value::Null));
        assert_eq!(ran("users disable alice"), "The user alice is disabled.\n");
        assert_eq!((&keys()[0]["standing"], &keys()[1]["standing"]), (&"inactive".into(), &"active".into()));
        assert_eq!(ran(&format!("users enable {id}")), "The user alice is enabled.\n");
        assert_eq!(keys()[0]["standing"], "active");
        assert_eq!(ran("users delete alice"), "The user alice is deleted.\n");
        assert_eq!(keys()[0]["state"], "revoked");
        assert_eq!(ran("users list --json"), "[]\n");
    }

    #[test]
    fn only_making_a_user_makes_a_store() {
        const SET_PASSWORD: &str = "users set-password a --password-stdin";
        let (directory, config) = with_store();
        for words in ["users list", "users disable a", "users enable a", "users delete a", SET_PASSWORD] {
            let error = try_run(&config, words).unwrap_err().to_string();
            assert_eq!(error, format!("there is no store at {}", directory.path().join("k.db").display()), "{words}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        try_run(&config, "users create --login alice").unwrap();
        assert!(directory.path().join("k.db").exists());
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let (_directory, config) = with_store();
        try_run(&config, "users create --login alice").unwrap();
        for (words, expected) in [
            ("users create --login Alice", "another user has the same id or login"),
            ("users create --login \u{e9}", "login: must be 1 to 128 visible ASCII characters without spaces"),
            ("users disable bob", "there is no such user"),
            (
                "users create --login bob --role admin --role adimn",
                "`--role`: the configuration has no such role; did you mean `admin`?",
            ),
            (
                "keys create --user bob",
                "`--user`: no user of the store has this id or login; `keygate users list` shows all",
            ),
        ] {
            assert_eq!(try_run(&config, words).unwrap_err().to_string(), expected, "{words}");
        }
        assert_eq!(try_run(&config, "keys list --json").unwrap(), "[]\n", "no key was made");
        assert!(try_run(&config, "users create").is_err());
        fs::write(&config, "keys: {database: k.db}\n").unwrap();
        let error = try_run(&config, "users create --login bob --role admin").unwrap_err().to_string();
        assert_eq!(error, "`--role` has nothing to name: the configuration has no `roles`");
        try_run(&config, "users create --login bob").unwrap();
    }

    /// What is stored of the password of alice.
    fn stored(config: &str) -> Option<String> {
        let store = Database::open_existing(&Path::new(config).with_file_name("k.db")).unwrap();
        store.read_blocking(|store| store.user_and_hash_by_login("alice")).unwrap().unwrap().1
    }

    async fn is_good(password: &str, stored: Option<String>) -> bool {
        let passwords = Passwords::start().unwrap();
        passwords.verify(Zeroizing::new(password.to_owned()), stored).await.unwrap().good
    }

    #[tokio::test]
    async fn a_password_comes_in_on_standard_input_and_is_stored_as_a_hash() {
        let (_directory, config) = with_store();
        let made =
            try_run_with(&config, "users create --login alice --password-stdin --json", "first secret\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&made).unwrap()["has_password"], true);
        assert!(!made.contains("secret") && !made.contains("argon2"), "{made}");
        assert!(is_good("first secret", stored(&config)).await);
        let set = try_run_with(&config, "users set-password alice --password-stdin", "second secret").unwrap();
        assert_eq!(set, "The user alice has a new password. All logins of the user are ended.\n");
        assert!(is_good("second secret", stored(&config)).await);
        assert!(!is_good("first secret", stored(&config)).await);
    }

    #[test]
    fn a_password_that_is_refused_changes_nothing() {
        let (directory, config) = with_store();
        let short = "the password must have at least 8 characters";
        let create = "users create --login alice --password-stdin";
        let set = "users set-password alice --password-stdin";
        for (input, expected) in [("", "there is no password on standard input"), ("1234567\n", short)] {
            assert_eq!(try_run_with(&config, create, input).unwrap_err().to_string(), expected);
            assert!(!directory.path().join("k.db").exists());
        }
        try_run(&config, "users create --login alice").unwrap();
        assert_eq!(try_run_with(&config, set, "1234567\n").unwrap_err().to_string(), short);
        assert_eq!(stored(&config), None);
        let nobody = "users set-password bob --password-stdin";
        assert_eq!(try_run_with(&config, nobody, "long enough").unwrap_err().to_string(), "there is no such user");
        let without = try_run_with(&config, "users set-password alice", "long enough").unwrap_err().to_string();
        assert!(without.contains("--password-stdin"), "{without}");
    }
}
