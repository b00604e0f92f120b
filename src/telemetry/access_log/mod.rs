//! One line for each request.
//!
//! A worker formats its line into a buffer of its own and goes on. One thread takes the full buffers, leaves empty ones
//! in their place, and writes. The lock of a buffer is held by that thread only for the exchange, so that a slow disk or a
//! reader that has stopped reading costs lines, which are counted, and never time on the road.
//!
//! Never in this file: the query string, a credential, a field of the request. [`AccessLine`] is all there is.

mod line;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use line::{AccessLine, protocol_name};
use writer::Writer;

use crate::telemetry::metrics::{Family, Kind, Metrics};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// The same names as `name=value`, values in quotes where they need them.
    Text,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// The end of a file, which is made if it is not there, for its owner and group only.
    File(PathBuf),
}

/// What an access log is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How a line looks.
    pub format: Format,
    /// Where the lines go.
    pub destination: Destination,
}

/// How long dropping an [`AccessLog`] waits for the last lines.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The access log of this process.
///
/// Dropping it writes what is there, for at most five seconds.
pub struct AccessLog {
    format: Format,
    writer: Writer,
}

impl AccessLog {
    /// Opens the destination and starts the thread that writes what `workers` hand it; at least one.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or the thread cannot be started.
    pub fn open(options: Options, workers: usize) -> io::Result<Arc<Self>> {
        let writer = Writer::start(options.destination, workers.max(1))?;
        Ok(Arc::new(Self { format: options.format, writer }))
    }

    /// Takes a line, or drops it if the destination has not kept up or the log is closed. Waits for nothing, and
    /// allocates only while the buffer of `worker` grows to its size.
    pub fn write(&self, worker: usize, line: &AccessLine<'_>) {
        self.writer.append(worker, |buffer| line.append_to(buffer, self.format));
    }

    /// Waits until everything that was written before has reached the destination, for at most `wait`; says whether it
    /// has.
    pub fn flush(&self, wait: Duration) -> bool {
        self.writer.flush(Instant::now() + wait)
    }

    /// Writes what is there, for at most `wait`, and takes no line any more; says whether everything was written.
    pub fn close(&self, wait: Duration) -> bool {
        self.writer.close(Instant::now() + wait)
    }

    /// Lines that were dropped because the destination did not keep up or could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Opens the file by its name again, after it was renamed away. Lines that were written before go to the old file;
    /// if the new one cannot be opened, the old one stays in use and the log says so. Returns at once.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Exports the number of dropped lines as `keygate_access_log_dropped_total`.
    pub fn export(self: &Arc<Self>, metrics: &Metrics) {
        let family = Family {
            name: "keygate_access_log_dropped_total",
            help: "Lines of the access log that were dropped because they could not be written in time.",
            kind: Kind::Counter,
            labels: &[],
        };
        let log = Arc::downgrade(self);
        metrics
            .reader(family, move || log.upgrade().map(|log| (Vec::new(), log.dropped() as f64)).into_iter().collect());
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(CLOSE_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::telemetry::metrics::Words;

    const WAIT: Duration = Duration::from_secs(20);

    fn open(path: &std::path::Path) -> Arc<AccessLog> {
        let destination = Destination::File(path.to_owned());
        AccessLog::open(Options { format: Format::Json, destination }, 2).expect("opens")
    }

    #[test]
    fn dropping_the_log_writes_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        fs::write(&path, "old\n").expect("writes");
        let log = open(&path);
        for worker in [0, 1, 2] {
            log.write(worker, &line::tests::example());
        }
        drop(log);
        let text = fs::read_to_string(&path).expect("reads");
        assert!(text.starts_with("old\n{"), "a file is appended to");
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn a_new_file_is_not_for_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let _log = open(&path);
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o007, 0);
    }

    #[test]
    fn a_file_that_was_renamed_away_is_left_behind_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = open(&path);
        log.write(0, &AccessLine { path: "/first", ..line::tests::example() });
        fs::rename(&path, &old).expect("renames");
        log.reopen();
        assert!(log.flush(WAIT));
        log.write(1, &AccessLine { path: "/second", ..line::tests::example() });
        assert!(log.flush(WAIT));

        let (old, new) = (fs::read_to_string(old).expect("reads"), fs::read_to_string(path).expect("reads"));
        assert!(old.contains("/first") && !old.contains("/second"));
        assert!(new.contains("/second") && !new.contains("/first"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_stays_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = open(&path);
        fs::rename(&path, &old).expect("renames");
        fs::create_dir(&path).expect("in the way");
        log.reopen();
        assert!(log.flush(WAIT));
        log.write(0, &line::tests::example());
        assert!(log.flush(WAIT));
        assert_eq!(fs::read_to_string(old).expect("reads").lines().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let destination = Destination::File(folder.path().join("missing/access.log"));
        assert!(AccessLog::open(Options { format: Format::Text, destination }, 1).is_err());
    }

    #[test]
    fn dropped_lines_are_a_metric() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = open(&folder.path().join("access.log"));
        let metrics = Metrics::new(1, Words::default());
        log.export(&metrics);
        assert!(log.close(WAIT));
        log.write(0, &line::tests::example());
        let text = String::from_utf8(metrics.render()).expect("UTF-8");
        assert!(text.contains("\nkeygate_access_log_dropped_total 1\n"), "{text}");
    }
}
