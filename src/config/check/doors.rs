//! Rules of the admin door, the workers, the end of the process and the logs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr as _;

use http::uri::PathAndQuery;

use super::Checker;
use crate::config::file::{Admin, File, Log, LogFormat, LogLevel, Workers};
use crate::config::values::{AdminDoor, Probe, Shutdown};
use crate::document::Path;
use crate::keys::Sources;
use crate::telemetry::{access_log, log};

/// The word for standard output.
const STDOUT: &str = "stdout";

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
    /// Where operators connect, and by which token they manage keys.
    pub(super) fn admin(&mut self, file: &File) -> Option<AdminDoor> {
        let Admin::On(door) = &file.admin else { return None };
        let path = Path::root().field("admin").field("token_file");
        let token_file = door.token_file.as_ref().map(|token_file| self.named_file(token_file, &path));
        if token_file.is_some() && file.keys.database.is_none() {
            self.refuse(&path, "has no effect without a store to manage; write `database` below `keys`");
        }
        Some(AdminDoor { address: door.listen, token_file })
    }

    /// What the upstream can be asked through the admin door.
    pub(super) fn probes(&mut self, file: &File) -> Vec<Probe> {
        let Admin::On(door) = &file.admin else { return Vec::new() };
        let list = Path::root().field("admin").field("probes");
        let mut probes = Vec::new();
        for (index, probe) in door.probes.iter().enumerate() {
            let place = self.document.item(&list, index);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
            if !probe.name.bytes().all(is_plain) {
                self.refuse(&place.field("name"), "has other characters than lower case letters, digits, `-` and `_`");
            }
            if let Some(earlier) = door.probes[..index].iter().position(|earlier| earlier.name == probe.name) {
                let message = format!("is the name of `admin.probes[{earlier}]` already; names must differ");
                self.refuse(&place.field("name"), message);
            }
            match PathAndQuery::from_str(&probe.path) {
                Ok(path) if probe.path.starts_with('/') => probes.push(Probe { name: probe.name.clone(), path }),
                Ok(_) | Err(_) => self.refuse(&place.field("path"), "is not a path; write for example `/healthz`"),
            }
        }
        probes
    }

    pub(super) fn shutdown(&mut self, file: &File) -> Shutdown {
        let path = Path::root().field("shutdown").field("timeout");
        let timeout = file.shutdown.timeout.get();
        if timeout.is_zero() {
            self.refuse(&path, "must be longer than `0s`; requests that have begun need some time to finish");
        }
        Shutdown { delay: file.shutdown.delay.get(), timeout }
    }

    pub(super) fn access_log(&mut self, log: &Log, key_sources: &Sources) -> Option<access_log::Options> {
        let access = &log.access;
        if !access.enabled {
            return None;
        }
        let destination = match access.output.as_str() {
            STDOUT => access_log::Destination::Stdout,
            file => access_log::Destination::File(self.folder.join(file)),
        };
        if let access_log::Destination::File(file) = &destination
            && self.reads(file, key_sources)
        {
            let path = Path::root().field("log").field("access").field("output");
            self.refuse(&path, "names a file that keygate reads, and the log would destroy it; name another one");
        }
        let format = match access.format {
            LogFormat::Text => access_log::Format::Text,
            LogFormat::Json => access_log::Format::Json,
        };
        Some(access_log::Options { format, destination })
    }

    /// Whether `file` is the configuration itself, or a file that it names. To be asked after all of them were named.
    fn reads(&self, file: &std::path::Path, key_sources: &Sources) -> bool {
        let file = resolved(file);
        let named = self.named_files.0.iter().map(|(named, _)| named.as_path());
        let configuration = std::path::Path::new(self.document.name());
        named.chain([configuration]).any(|read| resolved(read) == file) || key_sources.would_list(&file, resolved)
    }
}

/// A path without links, as far as it exists; two of them are the same file if they are the same.
fn resolved(path: &std::path::Path) -> PathBuf {
    let in_its_folder = || {
        let (folder, name) = (path.parent()?, path.file_name()?);
        let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
        Some(folder.canonicalize().ok()?.join(name))
    };
    path.canonicalize().ok().or_else(in_its_folder).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::Config;

    /// Says whether a configuration with this access log is refused, in a folder with keys and a certificate.
    fn is_refused(output: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir(inside("more")).unwrap();
        for name in ["keys.yaml", "more/others.yaml", "tls.crt", "tls.key"] {
            fs::write(inside(name), "").unwrap();
        }
        std::os::unix::fs::symlink("keys.yaml", inside("link.log")).unwrap();
        let text = format!(
            "listen:\n  address: 127.0.0.1:0\n  tls: {{ certificates: [{{ certificate: tls.crt, key: tls.key }}] }}\n\
             upstream: http://127.0.0.1:9000\nkeys: {{ file: keys.yaml, directory: more }}\n\
             log: {{ access: {{ output: '{output}' }} }}\n"
        );
        fs::write(inside("keygate.yaml"), text).unwrap();
        match Config::load(&inside("keygate.yaml"), &|_| None) {
            Ok(_) => false,
            Err(problems) => {
                let said = problems.to_string();
                assert!(said.contains(":6:") && said.contains("log.access.output: names a file"), "{output}: {said}");
                true
            }
        }
    }

    #[test]
    fn the_access_log_is_no_file_that_is_read() {
        for output in [
            "keygate.yaml",
            "./keygate.yaml",
            "more/../keys.yaml",
            "keys.yaml",
            "link.log",
            "tls.crt",
            "tls.key",
            "more/others.yaml",
            "more/not-yet.yml",
        ] {
            assert!(is_refused(output), "{output}");
        }
        for output in ["access.log", "more/access.log", "nowhere/access.log", "stdout", "/dev/null"] {
            assert!(!is_refused(output), "{output}");
        }
    }
}
