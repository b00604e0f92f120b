//! Rules of forwarding: where keys travel, what identity is told, what is written, how much is passed on for how long.
//!
//! Each field name here is taken out of requests, or written into them. So none may be one that HTTP itself needs, none
//! may end at this hop, and no two may be the same.

use http::HeaderName;

use super::Checker;
use super::operations::has_tokens;
use crate::config::file::{BodyMaximum, File};
use crate::document::Path;
use crate::gateway::client_address::TrustedProxies;
use crate::gateway::credentials::{ApiKeyFields, Places};
use crate::gateway::fields::{FieldRules, Via};
use crate::gateway::forward::Forwarding;
use crate::gateway::identity::{IdentityFields, RESERVED_PREFIX};
use crate::gateway::progress::Patience;
use crate::gateway::tunnel::TunnelTimeouts;

/// Fields that end at this hop (RFC 9110, section 7.6.1).
const CONNECTION_SPECIFIC: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that have a meaning of their own, which a key or an identity would destroy.
const MEANINGFUL: [&str; 16] = [
    "accept",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "origin",
    "proxy-authorization",
    "range",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
];

/// All names, each another one.
struct FieldNames {
    identity: IdentityFields,
    request_id: HeaderName,
    places: Places,
}

impl Checker<'_> {
    /// Both, or nothing if something of it cannot be used.
    pub(super) fn forwarding(&mut self, file: &File) -> Option<(Places, Forwarding)> {
        let (written, path) = (&file.forwarding, Path::root().field("forwarding"));
        let timeouts = Path::root().field("timeouts");
        let names = self.names(file);
        let content_bytes_max = self.body(&file.maxima.body);
        let request_body = Patience {
            pause: self.positive(file.timeouts.request_body, &timeouts.field("request_body")),
            rate_min: file.minima.request_rate.get(),
        };
        let response_body_timeout = self.positive(file.timeouts.response_body, &timeouts.field("response_body"));
        let tunnel_timeouts = TunnelTimeouts {
            idle: self.positive(file.timeouts.tunnel, &timeouts.field("tunnel")),
            write: file.timeouts.write.get(),
        };
        self.not_everybody(&written.trusted_proxies, &path.field("trusted_proxies"));
        let trusted_proxies = TrustedProxies::new(written.trusted_proxies.clone());
        let via = Via::new(&written.via).map_err(|error| self.refuse(&path.field("via"), error.to_string())).ok();

        let FieldNames { identity, request_id, places } = names?;
        let secrets: Vec<HeaderName> = places.api_key.fields.iter().chain(&places.session).cloned().collect();
        let fields = FieldRules::new(&identity, &secrets, &request_id, written.forwarded, via?, trusted_proxies);
        let forwarding = Forwarding {
            fields,
            identity,
            request_id,
            content_bytes_max,
            request_body,
            response_body_timeout,
            tunnel_timeouts,
        };
        Some((places, forwarding))
    }

    fn names(&mut self, file: &File) -> Option<FieldNames> {
        let mut names = Names { checker: self, taken: Vec::new() };
        let root = Path::root();

        let path = root.field("identity_fields");
        let identity = &file.identity_fields;
        let key_id = names.take(&identity.key_id, &path.field("key_id"));
        let tenant = names.take(&identity.tenant, &path.field("tenant"));
        let user = names.take(&identity.user, &path.field("user"));
        let environment = names.take(&identity.environment, &path.field("environment"));
        let permissions = names.take(&identity.permissions, &path.field("permissions"));
        let customer = names.take(&identity.customer, &path.field("customer"));

        let path = root.field("forwarding").field("request_id_field");
        let request_id = names.take(&file.forwarding.request_id_field, &path);

        let path = root.field("credentials").field("api_key");
        let written = &file.credentials.api_key;
        let mut fields = Vec::new();
        for (index, name) in written.fields.iter().enumerate() {
            let path = names.checker.document.item(&path.field("fields"), index);
            fields.push(names.take_for_key(name, &path));
        }
        let mut session = Vec::new();
        for (index, name) in file.credentials.session.fields.iter().enumerate() {
            let path = root.field("credentials").field("session").field("fields");
            let path = names.checker.document.item(&path, index);
            session.push(names.take_for_key(name, &path));
        }
        if written.fields.is_empty() && !written.bearer {
            let message = "lets a key travel nowhere; name a field, or write `bearer: true`";
            self.refuse(&path, message);
        }

        let fields = fields.into_iter().collect::<Option<Vec<_>>>()?;
        let (key_id, tenant, user) = (key_id?, tenant?, user?);
        let identity = IdentityFields {
            key_id,
            tenant,
            user,
            environment: environment?,
            permissions: permissions?,
            customer: customer?,
            environment_by_client: identity.environment_by_client,
        };
        let session = session.into_iter().collect::<Option<Vec<_>>>()?;
        let api_key = ApiKeyFields { fields, bearer: written.bearer };
        let places = Places { api_key, token: has_tokens(file), session };
        Some(FieldNames { identity, request_id: request_id?, places })
    }

    /// Bytes of a body; without a bound, more than there can be.
    fn body(&mut self, body: &BodyMaximum) -> u64 {
        match body {
            BodyMaximum::Unlimited => u64::MAX,
            BodyMaximum::Bytes(bytes) => {
                if bytes.get() == 0 {
                    let path = Path::root().field("maxima").field("body");
                    self.refuse(&path, "would refuse every body; write a size such as `10MiB`, or `unlimited`");
                }
                bytes.get()
            }
        }
    }
}

/// The names in use so far.
struct Names<'a, 'c> {
    checker: &'a mut Checker<'c>,
    taken: Vec<(HeaderName, Path)>,
}

impl Names<'_, '_> {
    /// Takes a name, or notes why it cannot be taken.
    fn take(&mut self, name: &str, path: &Path) -> Option<HeaderName> {
        let Ok(name) = HeaderName::try_from(name) else {
            self.checker.refuse(path, "is not the name of an HTTP field");
            return None;
        };
        if let Some(message) = objection(name.as_str()) {
            self.checker.refuse(path, message);
            return None;
        }
        if let Some((_, other)) = self.taken.iter().find(|(other, _)| same(other.as_str(), name.as_str())) {
            let message = format!("is the name of `{other}` already; names must differ");
            self.checker.refuse(path, message);
            return None;
        }
        self.taken.push((name.clone(), path.clone()));
        Some(name)
    }

    /// Takes a name for keys: additionally not one that we keep for ourselves.
    fn take_for_key(&mut self, name: &str, path: &Path) -> Option<HeaderName> {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        if lower.starts_with(RESERVED_PREFIX) {
            let message = "begins with `X-Keygate-`, which is taken out of every request before keys are looked for; \
                           choose another name";
            self.checker.refuse(path, message);
            return None;
        }
        if lower == "authorization" {
            self.checker.refuse(path, "is not read as a field of its own; write `bearer: true` instead");
            return None;
        }
        self.take(name, path)
    }
}

/// Why a name cannot be used at all.
pub(super) fn objection(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if CONNECTION_SPECIFIC.contains(&name.as_str()) {
        return Some("belongs to one connection and is never forwarded (RFC 9110, section 7.6.1); choose another name");
    }
    if name.starts_with("x-forwarded-") || name.starts_with("x-ratelimit-") {
        return Some("is a name that keygate writes itself; choose another name");
    }
    (MEANINGFUL.contains(&name.as_str()) || name == "authorization")
        .then_some("has a meaning of its own in HTTP; choose another name")
}

/// Whether an application behind us could take one name for the other: many make `_` of `-`.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.replace('_', "-").eq_ignore_ascii_case(&other.replace('_', "-"))
}
