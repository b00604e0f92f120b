//! Wiring: the only part that knows all the others.
//!
//! ```text
//! assembly   configuration → everything it names, loaded and checked
//! state      what lives as long as the process: keys, limits, metrics, the policy in force
//! vault      the store of keys: taking what has changed in it
//! gateways   the road, as each worker walks it
//! workers    the data plane: one single-threaded runtime a worker
//! control    the control plane: reloads, the admin door, sweeping
//! ending     signals, draining, the end
//! meters     what the control plane shows in the metrics
//! outcomes   how reloads went
//! probing    questions to the upstream that come by the admin door
//! exposure   whether the upstream can be reached around us
//! demo       everything for a first look
//! ```

mod assembly;
mod control;
mod demo;
mod ending;
mod exposure;
mod gateways;
mod meters;
mod outcomes;
mod probing;
mod renewal;
mod state;
mod traces;
mod trust;
mod upstreams;
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
use crate::probes::{self, Question};
use crate::telemetry::log;

use assembly::Assembly;
use demo::Demo;
use ending::Signals;

pub use gateways::gateway_of;

/// What `run` ends with if it does not like the configuration, so that whoever starts it can tell: to start it again is of no
/// use (sysexits.h).
const EX_CONFIG: u8 = 78;

/// Where the admin door says whether the gateway is ready.
const READY: &str = "/readyz";

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
        Command::Drain { admin } => {
            probes::drain(admin).map_err(anyhow::Error::msg)?;
            writeln!(out, "draining")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck { admin, path, timeout } => {
            asked(Question::to_door(admin, &path), |question| probes::probe(&question, Duration::from_secs(timeout)))
        }
        Command::Probe { url, timeout } => {
            asked(Question::of_url(&url), |question| probes::probe(&question, Duration::from_secs(timeout)))
        }
        Command::Wait { url, admin, timeout } => {
            let question = url.map_or_else(|| Question::to_door(admin, READY), |url| Question::of_url(&url));
            asked(question, |question| probes::wait(&question, Duration::from_secs(timeout)))
        }
        Command::Config(ConfigCommand::Schema) => {
            cli::schema(&mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            cli::completions(shell, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            cli::manual(&directory)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks, if there is a question.
fn asked(
    question: Result<Question, String>,
    ask: impl FnOnce(Question) -> Result<(), String>,
) -> anyhow::Result<ExitCode> {
    question.and_then(ask).map_err(anyhow::Error::msg)?;
    Ok(ExitCode::SUCCESS)
}

/// The store that a configuration names.
fn store_of(config: &Path) -> anyhow::Result<StoreSettings> {
    cli::store::store_of(config, &|name| std::env::var(name).ok())
}

/// Runs the gateway until it is told to end.
fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        // Those that reload and sweep last: each new thread would bring a new heap of the allocator, and leave it behind.
        .thread_keep_alive(Duration::MAX)
        .enable_all()
        .build()
        .context("no runtime")?;
    let signals = runtime.block_on(async { Signals::new() }).context("cannot wait for signals")?;
    let assembly = match Assembly::load(path) {
        Ok(assembly) => assembly,
        Err(problems) => {
            invalid(&problems, &mut io::stderr())?;
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    let log = log::init(assembly.config.log_level, assembly.config.log_format)
        .map_err(anyhow::Error::msg)
        .context("no log")?;
    runtime.block_on(control::run(path, assembly, log, signals))
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
