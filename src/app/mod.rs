//! Wiring: the only part that knows all the others.
//!
//! ```text
//! assembly   configuration → everything it names, loaded and checked
//! state      what lives as long as the process: keys, limits, metrics, the policy in force
//! vault      the store of keys: taking what has changed in it
//! gateways   the road, as each worker walks it
//! workers    the data plane: one single-threaded runtime a worker
//! control    the control plane: signals, reloads, the admin door, sweeping
//! meters     what the control plane shows in the metrics
//! outcomes   how reloads went
//! demo       everything for a first look
//! ```

mod assembly;
mod control;
mod demo;
mod gateways;
mod meters;
mod outcomes;
mod renewal;
mod state;
mod traces;
mod trust;
mod vault;
mod workers;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::store::StoreSettings;
use crate::cli::{self, Command, ConfigCommand, Configured};
use crate::moment::Moment;
use crate::probes;
use crate::telemetry::log;

use assembly::Assembly;
use demo::Demo;

pub use gateways::gateway_of;

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match execute(cli::parse()) {
        Ok(code) => code,
        // Whoever reads our output has had enough of it: `keygate keys list | head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "keygate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match command {
        Command::Run(Configured { config }) => run(&config),
        Command::Demo { listen, admin } => {
            let demo = Demo::prepare(listen, admin, &mut out)?;
            run(&demo.configuration())
        }
        Command::Check(Configured { config }) => check(&config, &mut out),
        Command::Keys(arguments) => cli::keys::run(&arguments, &mut io::stdin(), &mut out, Moment::now(), &store_of),
        Command::Users(arguments) => cli::users::run(&arguments, &mut io::stdin(), &mut out, Moment::now(), &store_of),
        Command::Logins(arguments) => cli::logins::run(&arguments, &mut out, Moment::now(), &store_of),
        Command::Sessions(arguments) => cli::sessions::run(&arguments, &mut out, Moment::now(), &store_of),
        Command::Healthcheck { admin, path, timeout } => {
            probes::healthcheck(admin, &path, Duration::from_secs(timeout)).map_err(anyhow::Error::msg)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Schema) => {
            cli::schema(&mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            cli::completions(shell, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The store that a configuration names.
fn store_of(config: &Path) -> anyhow::Result<StoreSettings> {
    cli::store::store_of(config, &|name| std::env::var(name).ok())
}

/// Runs the gateway until it is told to end.
fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let assembly = match Assembly::load(path) {
        Ok(assembly) => assembly,
        Err(problems) => return invalid(&problems, &mut io::stderr()),
    };
    let log = log::init(assembly.config.log_level, assembly.config.log_format)
        .map_err(anyhow::Error::msg)
        .context("no log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(control::run(path, assembly, log))
}

/// Loads all that the configuration names and says what is wrong with it.
fn check(path: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match Assembly::check(path) {
        Ok(assembly) => {
            for warning in &assembly.config.warnings {
                writeln!(out, "{warning} (a warning)")?;
            }
            writeln!(
                out,
                "{}: valid; {} keys, {} listeners",
                path.display(),
                assembly.keys.len(),
                assembly.doors.len()
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => invalid(&problems, out),
    }
}

fn invalid(problems: &dyn fmt::Display, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    writeln!(out, "{}", problems.to_string().trim_end())?;
    Ok(ExitCode::FAILURE)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
