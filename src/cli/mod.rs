//! The command line.
//!
//! Every command ends with 0 (done), 1 (it did not work, or what was checked is invalid) or 2 (the command itself was
//! misspelt); `run` ends with 78 if its configuration is invalid. What was asked for goes to standard output, everything else to standard error. No secret is ever read
//! from an argument: arguments stand in the shell's history and in the process list.
//!
//! Never in this part: what needs the whole program (`run`, `demo`, `check`). The `app` part does that.

pub mod keys;
pub mod users;
pub mod logins;
pub mod sessions;

pub mod store;

mod password;
mod table;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config;

/// Lets in only requests whose credentials allow them.
#[derive(Debug, Parser)]
#[command(name = "keygate", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Run(Configured),
    /// Run the gateway with a small upstream, a certificate and a key made for the occasion.
    Demo {
        /// Where to listen; another port is taken if this one is not free.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
        /// Where the admin door is.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
        admin: SocketAddr,
    },
    /// Load everything a configuration names, and print every problem at once.
    Check(Configured),
    /// Make, hash and list API keys, and change those of the store.
    Keys(keys::KeysArguments),
    /// Make, list and switch users of the store, and set their passwords.
    Users(users::UsersArguments),
    /// List and end logins of users.
    Logins(logins::LoginsArguments),
    /// List and revoke sessions of customers.
    Sessions(sessions::SessionsArguments),
    /// Make a running gateway send its clients elsewhere, and serve on until it gets a signal; for `preStop`.
    Drain {
        /// Address of the admin door; its port says which gateway of this machine or pod is meant.
        #[arg(long, value_name = "ADDRESS", env = "KEYGATE_ADMIN", default_value = "127.0.0.1:9901")]
        admin: SocketAddr,
    },
    /// Ask a running gateway whether it is ready; for container health checks. A `probe` of its admin door.
    Healthcheck {
        /// Address of the admin door.
        #[arg(long, value_name = "ADDRESS", env = "KEYGATE_ADMIN", default_value = "127.0.0.1:9901")]
        admin: SocketAddr,
        /// What to ask for.
        #[arg(long, default_value = "/readyz")]
        path: String,
        /// How long to wait, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
    },
    /// Ask somebody else, such as the API beside it, whether all is well: GET, and a status of 200 to 299.
    Probe {
        /// What to ask: `http://host:port/path` or `unix:/run/api.sock:/path`.
        url: String,
        /// How long to wait, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
    },
    /// Wait until a running gateway is ready, or somebody else answers well; for whatever must not start before.
    Wait {
        /// What to ask, as with `probe`. Absent: whether the gateway is ready.
        url: Option<String>,
        /// Address of the admin door.
        #[arg(long, value_name = "ADDRESS", env = "KEYGATE_ADMIN", default_value = "127.0.0.1:9901")]
        admin: SocketAddr,
        /// How long to wait, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
        timeout: u64,
    },
    /// About the configuration itself.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command.
    Man {
        /// A folder that is there.
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct Configured {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "KEYGATE_CONFIG", default_value = "keygate.yaml")]
    pub config: PathBuf,
}

/// Reads the command line. A misspelt one ends the process with 2, as does `--help` with 0.
#[must_use]
pub fn parse() -> Command {
    Arguments::parse().command
}

/// Prints the JSON Schema of the configuration.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn schema(out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &config::schema())?;
    writeln!(out)?;
    Ok(())
}

/// Prints the completions of a shell.
///
/// # Errors
///
/// If `out` cannot be written.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keygate", &mut script);
    out.write_all(&script)?;
    Ok(())
}

/// Writes `keygate.1`, `keygate-run.1` and so on into a folder.
///
/// # Errors
///
/// If one of them cannot be written; what was written before it stays.
pub fn manual(directory: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Arguments::command(), directory)
        .with_context(|| format!("no manual pages in {}", directory.display()))
}
