//! Rules of environments, routes, roles and browsers.

use std::collections::HashMap;

use http::{HeaderValue, Method};

use super::Checker;
use crate::config::file::{self, File, Origins};
use crate::config::values::{DestinationSettings, EnvironmentSettings, RouteSettings};
use crate::document::Path;
use crate::gateway::cors::Cors;
use crate::gateway::pattern::{Pattern, Table};
use crate::gateway::permission::{Permission, Roles};
use crate::gateway::route::{Accepted, Access};
use crate::gateway::upstream;

/// The route of a configuration that names none.
const DEFAULT_ROUTE: &str = "default";

const NO_ORIGIN: &str = "is not an origin; write for example `https://app.example.com`, without a path and without `*`, \
                         or `origins: any` for all";

impl Checker<'_> {
    /// The environments; where none is named, the one that everything belongs to.
    pub(super) fn environments(
        &mut self,
        file: &File,
        upstream: Option<&upstream::Settings>,
    ) -> Vec<EnvironmentSettings> {
        let list = Path::root().field("environments");
        if file.environments.is_empty() {
            let everything = |upstream: &upstream::Settings| EnvironmentSettings {
                name: None,
                hosts: Vec::new(),
                listeners: Vec::new(),
                key_prefix: None,
                upstream: upstream.clone(),
            };
            return upstream.map(everything).into_iter().collect();
        }
        let mut taken: HashMap<String, Path> = HashMap::new();
        let mut everywhere = None;
        let mut environments = Vec::new();
        for (index, written) in file.environments.iter().enumerate() {
            let path = self.document.item(&list, index);
            self.once(&mut taken, format!("name {}", written.name), &path.field("name"));
            for (index, host) in written.hosts.iter().enumerate() {
                let path = self.document.item(&path.field("hosts"), index);
                self.host(host, true, &path);
                self.once(&mut taken, format!("host {}", host.to_ascii_lowercase()), &path);
            }
            for (index, listener) in written.listeners.iter().enumerate() {
                let path = self.document.item(&path.field("listeners"), index);
                let listens = file.listen.iter().any(|known| known.address == *listener);
                if !listens && !file.check.iter().any(|known| known.listen == *listener) {
                    self.refuse(&path, "is none of the addresses under `listen` or `check`");
                }
                self.once(&mut taken, format!("listener {listener}"), &path);
            }
            if written.hosts.is_empty()
                && written.listeners.is_empty()
                && let Some(earlier) = everywhere.replace(index)
            {
                let message = format!(
                    "has neither `hosts` nor `listeners`, like `environments[{earlier}]`; only one can answer where no \
                     other does"
                );
                self.refuse(&path, message);
            }
            let own = written.upstream.as_ref().map(|own| self.upstream(file, own, &path.field("upstream")));
            let Some(upstream) = own.unwrap_or_else(|| upstream.cloned()) else { continue };
            environments.push(EnvironmentSettings {
                name: Some(written.name.clone()),
                hosts: written.hosts.clone(),
                listeners: written.listeners.clone(),
                key_prefix: written.key_prefix.clone(),
                upstream,
            });
        }
        environments
    }

    /// Refuses what two environments claim.
    fn once(&mut self, taken: &mut HashMap<String, Path>, what: String, path: &Path) {
        match taken.get(&what) {
            Some(earlier) => {
                let message = format!("stands at `{earlier}` already; nobody could tell the two apart");
                self.refuse(path, message);
            }
            None => {
                taken.insert(what, path.clone());
            }
        }
    }

    /// A host without a port; with `wildcard` also `*.` in front.
    fn host(&mut self, host: &str, wildcard: bool, path: &Path) {
        let name = if wildcard { host.strip_prefix("*.").unwrap_or(host) } else { host };
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if !(name.split('.').all(label) || name.starts_with('[') && name.ends_with(']')) {
            let message = match (wildcard, host.starts_with('*')) {
                (true, _) => "is not a host; write for example `api.example.com` or `*.example.com`, without a port",
                (false, true) => "must be a whole host here, without `*`; write for example `api.example.com`",
                (false, false) => "is not a host; write for example `api.example.com`, without a port",
            };
            self.refuse(path, message);
        }
    }

    /// The routes that are good; where none is named, the one that takes everything.
    pub(super) fn routes(&mut self, file: &File) -> Vec<RouteSettings> {
        if file.routes.is_empty() {
            return vec![RouteSettings {
                name: DEFAULT_ROUTE.to_owned(),
                hosts: Vec::new(),
                methods: Vec::new(),
                patterns: vec![Pattern::everything()],
                access: Access::Credentials(Accepted::API_KEY),
                permission: None,
                limits: None,
                cost: 1,
                destination: DestinationSettings::Upstream(None),
                websocket: false,
            }];
        }
        let list = Path::root().field("routes");
        let mut tables: HashMap<String, Table<usize>> = HashMap::new();
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut routes = Vec::new();
        for (index, written) in file.routes.iter().enumerate() {
            let path = self.document.item(&list, index);
            if let Some(earlier) = names.insert(&written.name, index) {
                self.refuse(
                    &path.field("name"),
                    format!("is the name of `routes[{earlier}]` already; names must differ"),
                );
            }
            let Some(route) = self.route(file, written, &path) else { continue };
            self.same_requests(&mut tables, &route, index, &path);
            routes.push(route);
        }
        routes
    }

    fn route(&mut self, file: &File, written: &file::Route, path: &Path) -> Option<RouteSettings> {
        let mut patterns = Vec::new();
        for (index, text) in written.paths.iter().enumerate() {
            match Pattern::parse(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => self.refuse(&self.document.item(&path.field("paths"), index), error.to_string()),
            }
        }
        for (index, host) in written.hosts.iter().enumerate() {
            self.host(host, false, &self.document.item(&path.field("hosts"), index));
        }
        for (index, name) in written.limits.iter().flatten().enumerate() {
            if !file.limits.iter().any(|limit| limit.name == *name) {
                let known = file.limits.iter().map(|limit| limit.name.as_str());
                let hint = crate::document::suggestion(name, known).map(|near| format!("; did you mean `{near}`?"));
                let message = format!("is not the name of a limit under `limits`{}", hint.unwrap_or_default());
                self.refuse(&self.document.item(&path.field("limits"), index), message);
            }
        }
        let permission = match written.permission.as_deref().map(Permission::parse) {
            Some(Err(error)) => {
                self.refuse(&path.field("permission"), error.to_string());
                None
            }
            Some(Ok(permission)) => Some(permission),
            None => None,
        };
        let access = self.access(file, written, &patterns, path);
        let holders = matches!(&access, Some(Access::Credentials(accepted)) if accepted.api_key || accepted.token);
        if permission.is_some() && access.is_some() && !holders {
            let message = "cannot be demanded here: only keys and tokens hold permissions";
            self.refuse(&path.field("permission"), message);
        }
        let destination = if written.operation.is_some() {
            self.operation(file, written, &patterns, path)
                .map(|operation| DestinationSettings::Operation(operation.into()))
        } else {
            Some(DestinationSettings::Upstream(None))
        };
        self.upgrade(file, written, path);
        let upstream = match &written.upstream {
            Some(own) => Some(self.upstream(file, own, &path.field("upstream"))?),
            None => None,
        };
        Some(RouteSettings {
            name: written.name.clone(),
            hosts: written.hosts.clone(),
            methods: written.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok()).collect(),
            patterns,
            access: access?,
            permission,
            limits: written.limits.clone(),
            cost: written.cost,
            destination: match (destination?, upstream) {
                (DestinationSettings::Upstream(_), upstream) => DestinationSettings::Upstream(upstream.map(Box::new)),
                (operation @ DestinationSettings::Operation(_), _) => operation,
            },
            websocket: written.upgrade.contains(&file::Upgrade::Websocket),
        })
    }

    /// Refuses to offer another protocol where it cannot be had.
    fn upgrade(&mut self, file: &File, written: &file::Route, path: &Path) {
        if written.upgrade.is_empty() {
            return;
        }
        let at = path.field("upgrade");
        if written.operation.is_some() {
            self.refuse(&at, "has no effect with `operation`: no upstream is asked");
        }
        if written.access.0.contains(&file::AccessKind::Webhook) {
            self.refuse(&at, "has no effect with `access: webhook`: a handshake has no content that could be signed");
        }
        if !written.methods.is_empty() && !written.methods.iter().any(|method| method == "GET") {
            self.refuse(&at, "has no effect: WebSocket begins with GET, which is not among `methods`");
        }
        let own = written.upstream.iter();
        let environments = file.environments.iter().map(|environment| environment.upstream.as_ref());
        let shared = environments.map(|own| own.unwrap_or(&file.upstream));
        let mut led_to: Vec<_> = if written.upstream.is_some() { own.collect() } else { shared.collect() };
        if led_to.is_empty() {
            led_to.push(&file.upstream);
        }
        if led_to.iter().any(|upstream| upstream.protocol == file::Protocol::Http2) {
            self.refuse(&at, "leads to an upstream with `protocol: http2`; WebSocket needs one that speaks HTTP/1.1");
        }
    }

    /// Refuses two routes for the very same requests: nobody could tell which one is taken.
    fn same_requests(
        &mut self,
        tables: &mut HashMap<String, Table<usize>>,
        route: &RouteSettings,
        index: usize,
        path: &Path,
    ) {
        let any_host = [String::new()];
        let hosts = if route.hosts.is_empty() { &any_host[..] } else { &route.hosts[..] };
        for host in hosts {
            let table = tables.entry(host.to_ascii_lowercase()).or_default();
            for (number, pattern) in route.patterns.iter().enumerate() {
                let all: Vec<_> = match route.methods.is_empty() {
                    true => vec![None],
                    false => route.methods.iter().cloned().map(Some).collect(),
                };
                for method in all {
                    if let Err(earlier) = table.insert(pattern, method, index) {
                        let message = match earlier == index {
                            true => {
                                "is for the same requests as an earlier path of this route; once is enough".to_owned()
                            }
                            false => format!("is for the same requests as `routes[{earlier}]`; one of the two must go"),
                        };
                        self.refuse(&self.document.item(&path.field("paths"), number), message);
                        return;
                    }
                }
            }
        }
    }

    /// The roles that are good.
    pub(super) fn roles(&mut self, written: &[file::Role]) -> Roles {
        let list = Path::root().field("roles");
        let mut roles = HashMap::new();
        for (index, role) in written.iter().enumerate() {
            let path = self.document.item(&list, index);
            let mut permissions = Vec::new();
            for (index, text) in role.permissions.iter().enumerate() {
                match Permission::parse(text) {
                    Ok(permission) => permissions.push(permission),
                    Err(error) => {
                        self.refuse(&self.document.item(&path.field("permissions"), index), error.to_string());
                    }
                }
            }
            if let Some(earlier) = written[..index].iter().position(|earlier| earlier.name == role.name) {
                let message = format!("is the name of `roles[{earlier}]` already; names must differ");
                self.refuse(&path.field("name"), message);
            }
            roles.insert(role.name.clone(), permissions);
        }
        Roles::new(roles)
    }

    /// What browsers may do.
    pub(super) fn cors(&mut self, written: Option<&file::Cors>) -> Option<Cors> {
        let written = written?;
        let path = Path::root().field("cors");
        let origins = match &written.origins {
            Origins::Any => {
                if written.credentials {
                    let message =
                        "cannot be `true` with `origins: any`; name the origins that are trusted with cookies";
                    self.refuse(&path.field("credentials"), message);
                }
                None
            }
            Origins::These(list) => {
                let mut values = Vec::new();
                for (index, origin) in list.iter().enumerate() {
                    let path = self.document.item(&path.field("origins"), index);
                    match origin_of(origin) {
                        Some(value) => values.push(value),
                        None => self.refuse(&path, NO_ORIGIN),
                    }
                }
                Some(values)
            }
        };
        Some(Cors { origins, credentials: written.credentials, preflight: written.preflight })
    }
}

/// An origin as browsers write it: scheme, host, and port where it is not the scheme's own (RFC 6454, section 6.2).
fn origin_of(text: &str) -> Option<HeaderValue> {
    let url = url::Url::parse(text).ok()?;
    (url.origin().ascii_serialization() == text && !text.contains('*')).then(|| HeaderValue::from_str(text).ok())?
}
