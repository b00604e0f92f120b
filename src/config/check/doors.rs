//! Rules of the admin door and the logs.

use super::Checker;
use crate::config::file::{Admin, Log, LogFormat, LogLevel};
use crate::config::values::{AccessOutput, AdminValues, FormatValue, LevelValue, LogValues};

/// The word for standard output.
const STDOUT: &str = "stdout";

impl Checker<'_> {
    #[expect(clippy::unused_self, reason = "stands in a row with the checks of the other parts")]
    pub(super) fn admin(&self, admin: &Admin) -> Option<AdminValues> {
        match admin {
            Admin::Off => None,
            Admin::On(door) => Some(AdminValues { address: door.listen }),
        }
    }

    pub(super) fn log(&self, log: &Log) -> LogValues {
        let output = || match log.access.output.as_str() {
            STDOUT => AccessOutput::Stdout,
            file => AccessOutput::File(self.path(std::path::Path::new(file))),
        };
        LogValues {
            level: match log.level {
                LogLevel::Off => LevelValue::Off,
                LogLevel::Error => LevelValue::Error,
                LogLevel::Warn => LevelValue::Warn,
                LogLevel::Info => LevelValue::Info,
                LogLevel::Debug => LevelValue::Debug,
                LogLevel::Trace => LevelValue::Trace,
            },
            format: format(log.format),
            access: log.access.enabled.then(|| (output(), format(log.access.format))),
        }
    }
}

const fn format(format: LogFormat) -> FormatValue {
    match format {
        LogFormat::Text => FormatValue::Text,
        LogFormat::Json => FormatValue::Json,
    }
}
