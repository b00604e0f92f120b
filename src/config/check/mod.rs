//! What goes together with what: the rules that a schema cannot say, and the way from the shape to the values.
//!
//! One file a topic. A rule that is broken is noted and the check goes on, so that an operator sees everything at once.
//! Nothing is said about a field whose structure is faulty: its problem has been told already.

mod asking;
mod doors;
mod fields;
mod keys;
mod limits;
mod operations;
mod policy;
mod refusals;
mod listen;
mod tokens;
mod traces;
mod upstream;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use super::file::File;
use super::file::shapes::OFF;
use super::values::{Config, NamedFiles};
use crate::document::duration::HumanDuration;
use crate::document::{Document, Path, Problem, Problems};

/// Checks all rules. `problems` are those of the structure.
pub(super) fn check(
    document: &Document,
    file: &File,
    folder: &std::path::Path,
    problems: Problems,
) -> Result<Config, Problems> {
    let (warnings, named_files) = (Problems::new(), NamedFiles::default());
    let mut checker = Checker { document, folder, problems, warnings, named_files };
    let config = checker.config(file);
    let Checker { mut problems, mut warnings, named_files, .. } = checker;
    problems.sort();
    problems.into_result()?;
    warnings.sort();
    // Every value that could not be made has left a problem behind.
    let config = config.ok_or_else(|| document.problem(&Path::root(), "cannot be used"))?;
    Ok(Config { warnings: warnings.into_iter().collect(), named_files, ..config })
}

struct Checker<'a> {
    document: &'a Document,
    folder: &'a std::path::Path,
    problems: Problems,
    warnings: Problems,
    named_files: NamedFiles,
}

impl Checker<'_> {
    /// What was found good, or nothing if a part of it was not.
    fn config(&mut self, file: &File) -> Option<Config> {
        let shared = self.shared_settings(file);
        let listeners = self.listeners(file, &shared);
        let checks = self.checks(file, &shared);
        self.addresses(file);
        let upstream = self.upstream(file, &file.upstream, &Path::root().field("upstream"));
        let key_sources = self.key_sources(&file.keys);
        let database = self.database(&file.keys);
        let admin = self.admin(file);
        let probes = self.probes(file);
        let secret_format = self.secret_format(&file.keys.format, &file.environments);
        let limits = self.limits(&file.limits);
        let environments = self.environments(file, upstream.as_ref());
        let routes = self.routes(file);
        let roles = self.roles(&file.roles);
        let cors = self.cors(file.cors.as_ref());
        let refusals = self.refusals(file);
        let forwarding = self.forwarding(file);
        let webhooks = self.webhooks(file);
        let shutdown = self.shutdown(file);
        let tokens = self.tokens(file);
        let issuers = self.issuers(file);
        let traces = self.traces(file);
        let access_log = self.access_log(&file.log, &key_sources);

        let upstream = upstream?;
        let (places, forwarding) = forwarding?;
        Some(Config {
            listeners,
            checks,
            upstream,
            key_sources,
            database,
            secret_format,
            places,
            tokens,
            issuers,
            in_flight_max: usize::try_from(file.maxima.in_flight).unwrap_or(usize::MAX),
            in_flight_per_address_max: listen::in_flight_per_address_max(&file.maxima),
            environments,
            routes,
            roles,
            cors,
            refusals: refusals?,
            webhooks,
            limits,
            rate_limit_fields: limits::rate_limit_fields(&file.rate_limit_fields),
            forwarding,
            admin,
            probes,
            workers: doors::workers(file.workers),
            shutdown,
            log_level: doors::log_level(file.log.level),
            log_format: doors::log_format(file.log.format),
            access_log,
            traces,
            warnings: Vec::new(),
            named_files: NamedFiles::default(),
        })
    }

    /// A timeout, which is never zero.
    fn positive(&mut self, duration: HumanDuration, path: &Path) -> Duration {
        if duration.get().is_zero() {
            self.refuse(path, "must be longer than `0s`; it cannot be switched off");
        }
        duration.get()
    }

    /// Resolves the path of a file that an operator wrote at `path`, and remembers where.
    fn named_file(&mut self, written: &std::path::Path, path: &Path) -> PathBuf {
        let file = self.folder.join(written);
        self.named_files.0.push((file.clone(), self.document.problem(path, "")));
        file
    }

    /// The same for a file that may be `off`.
    fn optional_file(&mut self, written: &std::path::Path, path: &Path) -> Option<PathBuf> {
        (written != std::path::Path::new(OFF)).then(|| self.named_file(written, path))
    }

    /// Notes a problem with the value at `path`, unless something was wrong there before.
    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        if let Some(problem) = self.unless_faulty(path, message) {
            self.problems.push(problem);
        }
    }

    /// Notes something that is allowed, and dangerous.
    fn warn(&mut self, path: &Path, message: impl Into<String>) {
        if let Some(problem) = self.unless_faulty(path, message) {
            self.warnings.push(problem);
        }
    }

    fn unless_faulty(&self, path: &Path, message: impl Into<String>) -> Option<Problem> {
        (!self.document.is_faulty(path)).then(|| self.document.problem(path, message))
    }
}
