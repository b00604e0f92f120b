//! `keygate sessions`: which customers have a session.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::Configured;
use super::store::{Store, StoreOf};
use super::table::{or_dash, write_table};
use crate::keys::database::SessionFilter;
use crate::moment::Moment;

/// Lists and revokes sessions of customers.
#[derive(Debug, clap::Args)]
pub struct SessionsArguments {
    #[command(subcommand)]
    command: SessionsCommand,
}

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
enum SessionsCommand {
    /// Lists the sessions that are neither revoked nor over
    List(ListArguments),
    /// Ends a session: its token opens nothing any more
    Revoke(RevokeArguments),
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Lists the sessions of this customer alone
    #[arg(long)]
    customer: Option<String>,
    /// Lists the sessions of this tenant alone
    #[arg(long)]
    tenant: Option<String>,
    /// Lists the sessions of this environment alone
    #[arg(long)]
    environment: Option<String>,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RevokeArguments {
    /// Id of the session
    id: String,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Does what `arguments` say, at `now`.
///
/// # Errors
///
/// Whatever is wrong, in words for the operator.
pub fn run(
    arguments: &SessionsArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        SessionsCommand::List(arguments) => list(arguments, out, now, store_of)?,
        SessionsCommand::Revoke(arguments) => revoke(arguments, out, now, store_of)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &ListArguments, out: &mut dyn Write, now: Moment, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let ListArguments { customer, tenant, environment, .. } = arguments;
    let filter = SessionFilter {
        tenant: tenant.clone(),
        environment: environment.clone(),
        customer: customer.clone(),
        live_at: Some(now),
    };
    let sessions = store.read_all(move |reader, page| reader.sessions(&filter, page))?;
    if arguments.json {
        writeln!(out, "{:#}", json!(sessions))?;
        return Ok(());
    }
    let header = ["ID", "CUSTOMER", "TENANT", "ENVIRONMENT", "CREATED", "EXPIRES"].map(str::to_owned);
    let rows = sessions.iter().map(|session| {
        [
            session.id.clone(),
            session.customer.clone(),
            or_dash(session.tenant.as_deref()),
            or_dash(session.environment.as_deref()),
            session.created.to_string(),
            session.expires.to_string(),
        ]
    });
    write_table(out, &std::iter::once(header).chain(rows).collect::<Vec<_>>())?;
    Ok(())
}

fn revoke(arguments: &RevokeArguments, out: &mut dyn Write, now: Moment, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let id = arguments.id.clone();
    let (session, in_force) = store.write(now, move |writer| writer.revoke_session(&id))?;
    if arguments.json {
        writeln!(out, "{}", json!(session))?;
    } else {
        writeln!(out, "The session {} is revoked.", session.id)?;
    }
    out.flush()?;
    in_force.check()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use serde_json::Value;

    use super::super::store::store_of;
    use super::*;
    use crate::keys::database::{By, Database, NewSession};
    use crate::secret::Digest;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        sessions: SessionsArguments,
    }

    /// 2026-11-22T00:00:00Z
    const NOW: Moment = Moment { unix_ns: 1_795_305_600_000_000_000, monotonic_ns: 0 };

    fn try_run(directory: &Path, words: &str) -> anyhow::Result<String> {
        let words = format!("sessions {words} --config {}", directory.join("keygate.yaml").display());
        let mut out = Vec::new();
        let program = Program::try_parse_from(words.split(' '))?;
        run(&program.sessions, &mut out, NOW, &|config| store_of(config, &|_| None))?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn sessions_are_listed_and_revoked() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("keygate.yaml"), "keys: {database: k.db}\n").unwrap();
        assert!(try_run(directory.path(), "list").unwrap_err().to_string().starts_with("there is no store at"));
        let database = Database::open(&directory.path().join("k.db")).unwrap();
        for (id, tenant, customer, day) in
            [("s1", Some("acme"), "c1", 23), ("s2", None, "c2", 23), ("s3", None, "c1", 22)]
        {
            let session = NewSession {
                id: id.into(),
                digest: Digest::of(id.as_bytes()),
                tenant: tenant.map(Into::into),
                environment: tenant.map(|_| "live".into()),
                customer: customer.into(),
                expires: format!("2026-11-{day}T00:00:00Z").parse().unwrap(),
            };
            database.write_blocking(By::cli("test"), NOW, |store| store.create_session(session)).unwrap();
        }
        let ran = |words: &str| try_run(directory.path(), words).unwrap();
        assert_eq!(
            ran("list"),
            "ID  CUSTOMER  TENANT  ENVIRONMENT  CREATED               EXPIRES\n\
             s1  c1        acme    live         2026-11-22T00:00:00Z  2026-11-23T00:00:00Z\n\
             s2  c2        -       -            2026-11-22T00:00:00Z  2026-11-23T00:00:00Z\n",
            "what is over is not there"
        );
        for (words, expected) in [
            ("list --customer c2 --json", &["s2"][..]),
            ("list --tenant acme --json", &["s1"]),
            ("list --environment live --json", &["s1"]),
            ("list --environment test --json", &[]),
        ] {
            let listed: Value = serde_json::from_str(&ran(words)).unwrap();
            let ids: Vec<_> =
                listed.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap()).collect();
            assert_eq!(ids, expected, "{words}");
        }
        assert_eq!(ran("revoke s1"), "The session s1 is revoked.\n");
        let revoked: Value = serde_json::from_str(&ran("revoke s2 --json")).unwrap();
        assert_eq!((&revoked["id"], &revoked["customer"]), (&"s2".into(), &"c2".into()));
        assert_eq!(ran("list --json"), "[]\n");
        let error = try_run(directory.path(), "revoke s1").unwrap_err().to_string();
        assert_eq!(error, "there is no session with this id");
    }
}
