//! Where spans go, and as whom they are sent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use crate::telemetry::traces::Sampling;

/// Bytes that the file of fields has at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What traces are made and sent by.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The whole URL, `http` or `https`, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: Url,
    /// The file of the fields that are sent along, if there are any.
    pub headers: Option<PathBuf>,
    /// PEM file of the authorities to believe; `None` believes those of the system.
    pub authorities: Option<PathBuf>,
    /// How long one attempt may take, from the name to the answer; not zero.
    pub timeout: Duration,
    /// The longest that a span waits before it is sent; not zero.
    pub interval: Duration,
    /// Which requests are sampled.
    pub sampling: Sampling,
    /// What makes the spans: attributes of the resource.
    pub resource: Vec<(String, String)>,
}

/// The fields that are sent with each batch: `Authorization`, say. They are secrets, and print nothing.
#[derive(Clone, Default, PartialEq)]
pub struct Headers(pub(super) HeaderMap);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fields", self.0.len())
    }
}

impl Headers {
    /// Reads a file of lines `name: value`. Empty lines, and those that begin with `#`, are passed over. Blocks.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, to go on after its path. It repeats nothing of the file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let length = std::fs::metadata(file).map_err(|error| format!("cannot be read: {}", error.kind()))?.len();
        if length > FILE_BYTES_MAX {
            return Err("is larger than 64 KiB".to_owned());
        }
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {}", error.kind()))?;
        Self::parse(&Zeroizing::new(text))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut fields = HeaderMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |what: &str| format!("has a line {} that {what}", number + 1);
            let field = line.split_once(':').and_then(|(name, value)| {
                let mut value = HeaderValue::try_from(value.trim()).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::try_from(name.trim()).ok()?, value))
            });
            let (name, value) = field.ok_or_else(|| refuse("is no field; write `name: value`"))?;
            if OURS.contains(&name) {
                return Err(refuse(&format!("names {name}, which keygate writes itself")));
            }
            if fields.insert(name, value).is_some() {
                return Err(refuse("names the field of an earlier one"));
            }
        }
        Ok(Self(fields))
    }
}

/// The fields that nobody else may write.
const OURS: [HeaderName; 6] = [HOST, CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, CONNECTION];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_line_by_line_and_print_nothing() {
        let headers = Headers::parse("# of the collector\nAuthorization: Bearer a:b \n\nx-tenant: acme").unwrap();
        assert_eq!(headers.0["authorization"], "Bearer a:b");
        assert_eq!(headers.0["x-tenant"], "acme");
        assert_eq!(format!("{headers:?} {:?}", headers.0["x-tenant"]), "2 fields Sensitive");
    }

    #[test]
    fn what_is_no_field_is_refused_by_its_line_and_not_repeated() {
        for (text, expected) in [
            ("hunter2", "has a line 1 that is no field"),
            ("a: b\nhunter 2: c", "has a line 2 that is no field"),
            ("a: hunter\u{7}2", "has a line 1 that is no field"),
            ("Host: hunter2", "has a line 1 that names host, which"),
            ("a: hunter2\nA: b", "has a line 2 that names the field of an earlier"),
        ] {
            let problem = Headers::parse(text).unwrap_err();
            assert!(problem.starts_with(expected) && !problem.contains("hunter"), "{text}: {problem}");
        }
    }
}
