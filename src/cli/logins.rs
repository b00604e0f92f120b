//! `keygate logins`: who is logged in.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::Configured;
use super::store::{Store, StoreOf};
use super::table::{or_dash, write_table};
use crate::keys::database::LoginFilter;
use crate::moment::Moment;

/// Lists and ends logins of users of the store.
#[derive(Debug, clap::Args)]
pub struct LoginsArguments {
    #[command(subcommand)]
    command: LoginsCommand,
}

/// What to do with logins.
#[derive(Debug, clap::Subcommand)]
enum LoginsCommand {
    /// Lists the logins that are neither ended nor over
    List(ListArguments),
    /// Ends a login: its access tokens and its refresh token open nothing any more
    End(EndArguments),
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Lists the logins of this user alone, by id or login
    #[arg(long, value_name = "ID_OR_LOGIN")]
    user: Option<String>,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct EndArguments {
    /// Id of the login
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
    arguments: &LoginsArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        LoginsCommand::List(arguments) => list(arguments, out, now, store_of)?,
        LoginsCommand::End(arguments) => end(arguments, out, now, store_of)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &ListArguments, out: &mut dyn Write, now: Moment, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let user = arguments.user.clone();
    let user = user.map(|user| store.read(move |reader| Ok(reader.user_by_id_or_login(&user)?.id))).transpose()?;
    let filter = LoginFilter { user, live_at: Some(now) };
    let logins = store.read_all(move |reader, page| reader.logins(&filter, page))?;
    if arguments.json {
        writeln!(out, "{:#}", json!(logins))?;
        return Ok(());
    }
    let header = ["ID", "USER", "CREATED", "REFRESHED", "EXPIRES"].map(str::to_owned);
    let rows = logins.iter().map(|login| {
        [
            login.id.clone(),
            login.user.clone(),
            login.created.to_string(),
            or_dash(login.refreshed.map(|time| time.to_string()).as_deref()),
            login.expires.to_string(),
        ]
    });
    write_table(out, &std::iter::once(header).chain(rows).collect::<Vec<_>>())?;
    Ok(())
}

fn end(arguments: &EndArguments, out: &mut dyn Write, now: Moment, store_of: StoreOf<'_>) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let id = arguments.id.clone();
    let (login, in_force) = store.write(now, move |writer| writer.end_login(&id))?;
    if arguments.json {
        writeln!(out, "{}", json!(login))?;
    } else {
        writeln!(out, "The login {} is ended.", login.id)?;
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
    use crate::keys::database::{By, Database, NewLogin, NewUser};
    use crate::secret::Digest;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        logins: LoginsArguments,
    }

    /// 2026-11-22T00:00:00Z
    const NOW: Moment = Moment { unix_ns: 1_795_305_600_000_000_000, monotonic_ns: 0 };

    fn try_run(directory: &Path, words: &str) -> anyhow::Result<String> {
        let words = format!("logins {words} --config {}", directory.join("keygate.yaml").display());
        let mut out = Vec::new();
        let program = Program::try_parse_from(words.split(' '))?;
        run(&program.logins, &mut out, NOW, &|config| store_of(config, &|_| None))?;
        Ok(String::from_utf8(out)?)
    }

    /// A store with three logins, one of which is over.
    fn with_logins() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("keygate.yaml"), "keys: {database: k.db}\n").unwrap();
        let database = Database::open(&directory.path().join("k.db")).unwrap();
        database
            .write_blocking(By::cli("test"), NOW, |store| {
                for (id, login) in [("u1", "alice"), ("u2", "bob")] {
                    store.create_user(NewUser { id: id.into(), login: login.into(), ..NewUser::default() })?;
                }
                for (id, user, expires) in
                    [("l1", "u1", "2026-11-29"), ("l2", "u2", "2026-11-23"), ("l3", "u1", "2026-11-22")]
                {
                    store.create_login(NewLogin {
                        id: id.into(),
                        user: user.into(),
                        refresh: Digest::of(id.as_bytes()),
                        expires: format!("{expires}T00:00:00Z").parse().unwrap(),
                        verified: None,
                    })?;
                }
                let (presented, next) = (Digest::of(b"l2"), Digest::of(b"next"));
                store.refresh_login("l2", &presented, next, "2026-11-30T00:00:00Z".parse().unwrap()).map(drop)
            })
            .unwrap();
        directory
    }

    #[test]
    fn logins_are_listed_and_ended() {
        let directory = with_logins();
        let ran = |words: &str| try_run(directory.path(), words).unwrap();
        let head = "ID  USER  CREATED               REFRESHED             EXPIRES\n";
        let l1 = "l1  u1    2026-11-22T00:00:00Z  -                     2026-11-29T00:00:00Z\n";
        let l2 = "l2  u2    2026-11-22T00:00:00Z  2026-11-22T00:00:00Z  2026-11-30T00:00:00Z\n";
        assert_eq!(ran("list"), format!("{head}{l1}{l2}"), "what is over is not there");
        let head = head.replace("REFRESHED             ", "REFRESHED  ");
        assert_eq!(ran("list --user alice"), format!("{head}{}", l1.replace("-                     ", "-          ")));
        let listed: Value = serde_json::from_str(&ran("list --user u2 --json")).unwrap();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &"l2".into()));
        assert_eq!(ran("end l1"), "The login l1 is ended.\n");
        let ended: Value = serde_json::from_str(&ran("end l2 --json")).unwrap();
        assert_eq!((&ended["id"], &ended["user"]), (&"l2".into(), &"u2".into()));
        assert_eq!(ran("list --json"), "[]\n");
    }

    #[test]
    fn what_is_not_there_is_refused_in_words() {
        let directory = with_logins();
        for (words, expected) in
            [("end none", "there is no login with this id"), ("list --user none", "there is no such user")]
        {
            assert_eq!(try_run(directory.path(), words).unwrap_err().to_string(), expected, "{words}");
        }
        let empty = tempfile::tempdir().unwrap();
        fs::write(empty.path().join("keygate.yaml"), "keys: {database: k.db}\n").unwrap();
        for words in ["list", "end l1"] {
            assert!(try_run(empty.path(), words).unwrap_err().to_string().starts_with("there is no store at"));
        }
        assert!(!empty.path().join("k.db").exists());
    }
}
