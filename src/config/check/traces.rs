//! Rules of traces: an endpoint that can be asked.

use std::time::Duration;

use url::Url;

use super::Checker;
use crate::config::file::{File, Parent};
use crate::document::Path;
use crate::otlp::Settings;
use crate::telemetry::traces::Sampling;

/// What the resource says of keygate itself.
const SERVICE_NAME: &str = "service.name";

impl Checker<'_> {
    /// Where spans go, and which; none if there are none.
    pub(super) fn traces(&mut self, file: &File) -> Option<Settings> {
        let written = file.traces.as_ref()?;
        let path = Path::root().field("traces");
        let endpoint = url_of_collector(&written.endpoint);
        if let Err(message) = &endpoint {
            self.refuse(&path.field("endpoint"), message);
        }
        self.between(written.interval, Duration::from_millis(100)..=Duration::from_secs(60), &path.field("interval"));
        self.between(written.timeout, Duration::from_millis(1)..=Duration::from_secs(60), &path.field("timeout"));
        let headers = written.headers_file.as_ref().map(|named| self.named_file(named, &path.field("headers_file")));
        let authorities = written.ca.as_ref().map(|named| self.named_file(named, &path.field("ca")));
        if let Some(key) = written.resource.keys().find(|key| key.is_empty() || *key == SERVICE_NAME) {
            let message = format!("has the attribute `{key}`; write `service_name` for the name, and no empty ones");
            self.refuse(&path.field("resource"), message);
        }
        let own = [(SERVICE_NAME, written.service_name.as_str()), ("service.version", env!("CARGO_PKG_VERSION"))];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let more = written.resource.iter().map(|(name, value)| (name.clone(), value.clone()));
        let endpoint = endpoint.ok()?;
        if endpoint.scheme() == "http" && headers.is_some() && !super::tokens::is_this_machine(&endpoint) {
            self.warn(&path.field("endpoint"), "has no TLS: anybody on the way can read the fields of `headers_file`");
        }
        Some(Settings {
            endpoint,
            headers,
            authorities,
            timeout: written.timeout.get(),
            interval: written.interval.get(),
            sampling: Sampling {
                ratio: written.ratio,
                follows_parent: written.parent == Parent::Follow,
                shows_key_ids: written.key_id,
            },
            resource: own.into_iter().chain(more).collect(),
        })
    }
}

/// Understands the URL of a collector. The messages do not repeat it: it could hold a password.
fn url_of_collector(text: &str) -> Result<Url, String> {
    if !(text.starts_with("https://") || text.starts_with("http://")) {
        return Err("is no URL that begins with `https://` or `http://`".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; put an `Authorization` into `headers_file`".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment: it is never sent".to_owned());
    }
    if url.port_or_known_default().is_none_or(|port| port == 0) {
        return Err("must not have the port 0".to_owned());
    }
    if url.path() == "/" {
        return Err("has no path; write the whole URL, such as `http://127.0.0.1:4318/v1/traces`".to_owned());
    }
    Ok(url)
}
