//! What goes together with what: the rules that a schema cannot say, and the way from the shape to the values.
//!
//! One file a topic. A rule that is broken is noted and the check goes on, so that an operator sees everything at once.
//! Nothing is said about a field whose structure is faulty: its problem has been told already.

mod doors;
mod fields;
mod keys;
mod limits;
mod listen;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use super::file::{BodyMaximum, File, Workers};
use super::values::{Config, ListenerMaxima, ListenerTimeouts, RoadValues, ShutdownValues};
use crate::document::duration::HumanDuration;
use crate::document::{Document, Path, Problem, Problems};

/// Checks all rules. `problems` are those of the structure.
pub(super) fn check(
    document: &Document,
    file: &File,
    folder: &std::path::Path,
    problems: Problems,
) -> Result<Config, Problems> {
    let mut checker = Checker { document, folder, problems, warnings: Problems::new() };
    let config = checker.config(file);
    let Checker { mut problems, mut warnings, .. } = checker;
    problems.sort();
    problems.into_result()?;
    warnings.sort();
    // Every value that could not be made has left a problem behind.
    let config = config.ok_or_else(|| document.problem(&Path::root(), "cannot be used"))?;
    Ok(Config { warnings: warnings.into_iter().collect(), ..config })
}

struct Checker<'a> {
    document: &'a Document,
    folder: &'a std::path::Path,
    problems: Problems,
    warnings: Problems,
}

impl Checker<'_> {
    fn config(&mut self, file: &File) -> Option<Config> {
        let root = Path::root();
        let timeouts = self.timeouts(file);
        let maxima = self.maxima(file);
        let body_bytes_max = self.body(&file.maxima.body);
        let request_body_timeout =
            self.positive(file.timeouts.request_body, &root.field("timeouts").field("request_body"));
        let listeners = self.listeners(&file.listen, timeouts, maxima);
        let admin = self.admin(&file.admin);
        self.addresses(file);
        let upstream = self.upstream(file);
        let keys = self.keys(&file.keys);
        let limits = self.limits(&file.limits);
        let fields = self.fields(file);
        let shutdown = self.shutdown(file);
        let log = self.log(&file.log);
        let workers = match file.workers {
            Workers::Auto => None,
            Workers::Number(number) => Some(number.into()),
        };

        let (api_key, identity_fields, forwarding) = fields?;
        let rate_limit_fields = Self::rate_limit_fields(&file.rate_limit_fields);
        let road = RoadValues {
            api_key,
            identity_fields,
            forwarding,
            rate_limit_fields,
            body_bytes_max,
            request_body_timeout,
        };
        let (upstream, warnings) = (upstream?, Vec::new());
        Some(Config { listeners, upstream, keys, limits, road, admin, workers, shutdown, log, warnings })
    }

    fn timeouts(&mut self, file: &File) -> ListenerTimeouts {
        let (timeouts, path) = (&file.timeouts, Path::root().field("timeouts"));
        ListenerTimeouts {
            tls_handshake: self.positive(timeouts.tls_handshake, &path.field("tls_handshake")),
            request_head: self.positive(timeouts.request_head, &path.field("request_head")),
            idle: self.positive(timeouts.idle, &path.field("idle")),
            write: self.positive(timeouts.write, &path.field("write")),
        }
    }

    fn maxima(&mut self, file: &File) -> ListenerMaxima {
        let maxima = &file.maxima;
        let head_bytes = u32::try_from(maxima.head.get()).unwrap_or(u32::MAX);
        if !(HEAD_BYTES_MIN..=HEAD_BYTES_MAX).contains(&head_bytes) {
            let path = Path::root().field("maxima").field("head");
            self.refuse(&path, "must be from `8KiB` to `1MiB`");
        }
        ListenerMaxima {
            head_bytes,
            fields: usize::try_from(maxima.fields).unwrap_or(usize::MAX),
            connections: usize::try_from(maxima.connections).unwrap_or(usize::MAX),
            streams: maxima.streams,
        }
    }

    fn body(&mut self, body: &BodyMaximum) -> Option<u64> {
        match body {
            BodyMaximum::Unlimited => None,
            BodyMaximum::Bytes(bytes) => {
                if bytes.get() == 0 {
                    let path = Path::root().field("maxima").field("body");
                    self.refuse(&path, "would refuse every body; write a size such as `10MiB`, or `unlimited`");
                }
                Some(bytes.get())
            }
        }
    }

    fn shutdown(&mut self, file: &File) -> ShutdownValues {
        let path = Path::root().field("shutdown").field("timeout");
        let timeout = file.shutdown.timeout.get();
        if timeout.is_zero() {
            self.refuse(&path, "must be longer than `0s`; requests that have begun need some time to finish");
        }
        ShutdownValues { delay: file.shutdown.delay.get(), timeout }
    }

    /// A timeout, which is never zero.
    fn positive(&mut self, duration: HumanDuration, path: &Path) -> Duration {
        if duration.get().is_zero() {
            self.refuse(path, "must be longer than `0s`; it cannot be switched off");
        }
        duration.get()
    }

    /// Resolves a path that an operator wrote.
    fn path(&self, written: &std::path::Path) -> PathBuf {
        self.folder.join(written)
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

/// The HTTP/1.1 parser needs this much to work.
const HEAD_BYTES_MIN: u32 = 8 * 1024;

/// A larger head is an attack.
const HEAD_BYTES_MAX: u32 = 1024 * 1024;
