//! `keygate users`: the users of the store.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::Configured;
use super::store::{Store, StoreOf};
use super::table::{or_dash, write_table};
use crate::keys::database::{DatabaseError, NewUser, Page, UserFilter, UserRecord, Writer};
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
    /// Makes a user, without a password
    Create(Box<CreateArguments>),
    /// Lists all users
    List(ListArguments),
    /// Switches a user off, and all keys of the user with it
    Disable(OneArguments),
    /// Switches a user on
    Enable(OneArguments),
    /// Deletes a user, and revokes all keys of the user
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
    /// Named set of permissions; can be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
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

type Operation = fn(&Writer<'_>, &str) -> Result<UserRecord, DatabaseError>;

/// Does what `arguments` say, at `now`.
///
/// # Errors
///
/// Whatever is wrong, in words for the operator.
pub fn run(
    arguments: &UsersArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        UsersCommand::Create(arguments) => create(arguments, out, now, store_of)?,
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

fn create(arguments: &CreateArguments, out: &mut dyn Write, now: Moment, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::make(store_of(&arguments.configured.config)?)?;
    let user = NewUser {
        id: arguments.id.clone().map_or_else(|| random_id_of("user"), Ok)?,
        login: arguments.login.clone(),
        name: arguments.name.clone(),
        tenant: arguments.tenant.clone(),
        permissions: arguments.permissions.clone(),
        roles: arguments.roles.clone(),
        ..NewUser::default()
    };
    let (user, in_force) = store.write(now, move |writer| writer.create_user(user))?;
    if arguments.json {
        writeln!(out, "{}", json!(user))?;
    } else {
        writeln!(out, "The user {} has the id {}.", user.login, user.id)?;
    }
    out.flush()?;
    in_force.check()
}

fn list(arguments: &ListArguments, out: &mut dyn Write, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let mut users = Vec::new();
    let mut page = Page::first(Page::LIMIT_MAX);
    loop {
        let (more, next) = store.read(move |reader| reader.users(&UserFilter::default(), page))?;
        users.extend(more);
        if next.is_none() {
            break;
        }
        page.cursor = next;
    }
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

    use clap::Parser;
    use serde_json::Value;

    use super::super::keys::{self, KeysArguments};
    use super::super::store::store_of;
    use super::*;

    #[derive(Debug, Parser)]
    enum Program {
        Users(UsersArguments),
        Keys(KeysArguments),
    }

    /// 2026-11-22T00:00:00Z
    const NOW: Moment = Moment { unix_ns: 1_795_305_600_000_000_000, monotonic_ns: 0 };

    fn try_run(config: &str, words: &str) -> anyhow::Result<String> {
        let words = format!("keygate {words} --config {config}");
        let mut out = Vec::new();
        let store_of: StoreOf<'_> = &|config| store_of(config, &|_| None);
        match Program::try_parse_from(words.split(' '))? {
            Program::Users(arguments) => run(&arguments, &mut out, NOW, store_of)?,
            Program::Keys(arguments) => keys::run(&arguments, &mut &b""[..], &mut out, NOW, store_of)?,
        };
        Ok(String::from_utf8(out)?)
    }

    fn with_store() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.yaml");
        fs::write(&path, "keys: {database: k.db}\n").unwrap();
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
        let (directory, config) = with_store();
        for words in ["users list", "users disable a", "users enable a", "users delete a"] {
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
                "keys create --user bob",
                "`--user`: no user of the store has this id or login; `keygate users list` shows all",
            ),
        ] {
            assert_eq!(try_run(&config, words).unwrap_err().to_string(), expected, "{words}");
        }
        assert_eq!(try_run(&config, "keys list --json").unwrap(), "[]\n", "no key was made");
        assert!(try_run(&config, "users create").is_err());
    }
}
