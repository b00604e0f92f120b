//! Rules of the admin door, the workers, the end of the process and the logs.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::Checker;
use crate::config::file::{Admin, File, Log, LogFormat, LogLevel, Workers};
use crate::config::values::Shutdown;
use crate::document::Path;
use crate::telemetry::{access_log, log};

/// The word for standard output.
const STDOUT: &str = "stdout";

pub(super) const fn admin(admin: &Admin) -> Option<SocketAddr> {
    match admin {
        Admin::Off => None,
        Admin::On(door) => Some(door.listen),
    }
}

pub(super) fn workers(workers: Workers) -> Option<NonZeroUsize> {
    match workers {
        Workers::Auto => None,
        Workers::Number(number) => Some(number.into()),
    }
}

pub(super) const fn log_level(level: LogLevel) -> log::Level {
    match level {
        LogLevel::Off => log::Level::Off,
        LogLevel::Error => log::Level::Error,
        LogLevel::Warn => log::Level::Warn,
        LogLevel::Info => log::Level::Info,
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Trace => log::Level::Trace,
    }
}

pub(super) const fn log_format(format: LogFormat) -> log::Format {
    match format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    }
}

impl Checker<'_> {
    pub(super) fn shutdown(&mut self, file: &File) -> Shutdown {
        let path = Path::root().field("shutdown").field("timeout");
        let timeout = file.shutdown.timeout.get();
        if timeout.is_zero() {
            self.refuse(&path, "must be longer than `0s`; requests that have begun need some time to finish");
        }
        Shutdown { delay: file.shutdown.delay.get(), timeout }
    }

    pub(super) fn access_log(&self, log: &Log) -> Option<access_log::Options> {
        let access = &log.access;
        access.enabled.then(|| access_log::Options {
            format: match access.format {
                LogFormat::Text => access_log::Format::Text,
                LogFormat::Json => access_log::Format::Json,
            },
            destination: match access.output.as_str() {
                STDOUT => access_log::Destination::Stdout,
                file => access_log::Destination::File(self.folder.join(file)),
            },
        })
    }
}
