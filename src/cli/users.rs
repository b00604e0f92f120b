//! `keygate users`: the users of the store.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::Configured;
use super::store::{Store, StoreOf};
use super::table::{or_dash, write_table};
use crate::keys::database::{DatabaseError, NewUser, Page, UserFilter, UserRecord, Writer};
use crate::keys::random_id_of;
use crate::moment::Moment;

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
    let store = Store::open(&arguments.configured.config, store_of)?;
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
