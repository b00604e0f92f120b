//! Rules of access and operations: what goes with what, and shapes that can be read and filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::Checker;
use crate::config::file::{self, AccessKind, File, operations};
use crate::document::Path;
use crate::gateway::operation::keys::{CREATE_INPUTS, CreateKey, DeleteKey, LIST_INPUTS, ListKeys, OwnKey};
use crate::gateway::operation::login::{LOGIN_INPUTS, Login, REFRESH_INPUTS, Refresh, response};
use crate::gateway::operation::session::CreateSession;
use crate::gateway::operation::shape::{Input, Shape};
use crate::gateway::operation::{Operation, answer::KeyTemplate};
use crate::gateway::parameter::Word;
use crate::gateway::pattern::Pattern;
use crate::gateway::route::{Accepted, Access, Signed};
use crate::keys::Standing;
use crate::template::names_in;

/// The longest session.
const SESSION_MAX: Duration = Duration::from_secs(30 * 86_400);

impl Checker<'_> {
    /// What a route asks for.
    pub(super) fn access(
        &mut self,
        file: &File,
        written: &file::Route,
        patterns: &[Pattern],
        path: &Path,
    ) -> Option<Access> {
        let (kinds, at) = (&written.access.0, path.field("access"));
        let has = |kind: AccessKind| kinds.contains(&kind);
        if written.webhook.is_some() && !has(AccessKind::Webhook) {
            self.refuse(&path.field("webhook"), "has no effect without `access: webhook`");
        }
        if has(AccessKind::Public) {
            return Some(Access::Public);
        }
        if has(AccessKind::Webhook) {
            return self.signed(file, written, patterns, path);
        }
        let accepted = Accepted {
            api_key: has(AccessKind::ApiKey),
            token: has(AccessKind::Token),
            session: has(AccessKind::Session),
        };
        if accepted.token && !has_tokens(file) {
            self.refuse(&at, "accepts tokens, but nobody makes any: write `tokens`, or `issuers` that you believe");
        }
        if accepted.session && file.credentials.session.fields.is_empty() {
            self.refuse(&at, "accepts sessions, but they travel nowhere: write `credentials.session.fields`");
        }
        (accepted != Accepted::default()).then_some(Access::Credentials(accepted))
    }

    fn signed(&mut self, file: &File, written: &file::Route, patterns: &[Pattern], path: &Path) -> Option<Access> {
        let Some(webhook) = &written.webhook else {
            let message = "needs `webhook`, with `scheme`, `tenant` and `environment` of its deliveries";
            self.refuse(&path.field("access"), message);
            return None;
        };
        let path = path.field("webhook");
        let scheme = self.word(&webhook.scheme, patterns, &path.field("scheme"));
        if let Some(Word::Fixed(name)) = &scheme
            && !file.webhooks.schemes.iter().any(|scheme| scheme.name == *name)
        {
            let known = file.webhooks.schemes.iter().map(|scheme| scheme.name.as_str());
            let hint = crate::document::suggestion(name, known).map(|near| format!("; did you mean `{near}`?"));
            let message = format!("is not the name of a scheme under `webhooks.schemes`{}", hint.unwrap_or_default());
            self.refuse(&path.field("scheme"), message);
        }
        let tenant = self.word(&webhook.tenant, patterns, &path.field("tenant"));
        let environment = self.word(&webhook.environment, patterns, &path.field("environment"));
        let signed = Signed { scheme: scheme?, tenant: tenant?, environment: environment? };
        Some(Access::Signature(signed.into()))
    }

    /// What the gateway does itself at the end of a route.
    pub(super) fn operation(
        &mut self,
        file: &File,
        route: &file::Route,
        patterns: &[Pattern],
        path: &Path,
    ) -> Option<Operation> {
        let (written, path) = (route.operation.as_ref()?, path.field("operation"));
        if route.upstream.is_some() {
            self.refuse(&path, "cannot be done where there is an `upstream`; leave one of the two out");
        }
        self.access_of_operation(file, route, written, &path);
        match written {
            operations::Operation::Login(tokens) => {
                let (path, status) = (path.field("login"), status(tokens.status));
                let request = self.request(&tokens.request, LOGIN_INPUTS, &path.field("request"));
                let response = self.filled(response(&tokens.response), &path.field("response"));
                self.must_show(&tokens.response, "access_token", &path.field("response"));
                Some(Operation::Login(Login::new(request?, response?, status)))
            }
            operations::Operation::Refresh(tokens) => {
                let (path, status) = (path.field("refresh"), status(tokens.status));
                let request = self.request(&tokens.request, REFRESH_INPUTS, &path.field("request"));
                let response = self.filled(response(&tokens.response), &path.field("response"));
                self.must_show(&tokens.response, "access_token", &path.field("response"));
                self.must_show(&tokens.response, "refresh_token", &path.field("response"));
                Some(Operation::Refresh(Refresh::new(request?, response?, status)))
            }
            operations::Operation::Logout(_) => Some(Operation::Logout),
            operations::Operation::Jwks(_) => Some(Operation::Jwks),
            operations::Operation::CreateKey(create) => {
                self.create_key(file, create, patterns, &path.field("create_key"))
            }
            operations::Operation::ListKeys(list) => self.list_keys(list, &path.field("list_keys")),
            operations::Operation::GetOwnKey(own) => {
                let path = path.field("get_own_key");
                self.must_not_show(&own.response, "secret", &path.field("response"));
                self.own_key(own, &path).map(Operation::GetOwnKey)
            }
            operations::Operation::RegenerateOwnKey(own) => {
                let path = path.field("regenerate_own_key");
                self.must_show(&own.response, "secret", &path.field("response"));
                self.own_key(own, &path).map(Operation::RegenerateOwnKey)
            }
            operations::Operation::DeleteKey(delete) => {
                let id = self.parameter(&delete.id, patterns, &path.field("delete_key").field("id"))?;
                Some(Operation::DeleteKey(DeleteKey { id }))
            }
            operations::Operation::CreateSession(create) => {
                self.create_session(create, patterns, &path.field("create_session"))
            }
        }
    }

    /// Who may ask for an operation depends on what it does.
    fn access_of_operation(&mut self, file: &File, route: &file::Route, written: &operations::Operation, path: &Path) {
        let (kinds, of_token) = (&route.access.0, [AccessKind::Token]);
        let holders = [AccessKind::ApiKey, AccessKind::Token];
        let (right, needed, own_tokens) = match written {
            operations::Operation::Login(_) | operations::Operation::Refresh(_) | operations::Operation::Jwks(_) => {
                (kinds.as_slice() == [AccessKind::Public], "`access: public`", true)
            }
            operations::Operation::Logout(_) => (kinds.as_slice() == of_token, "`access: token`", true),
            operations::Operation::GetOwnKey(_) | operations::Operation::RegenerateOwnKey(_) => {
                (kinds.as_slice() == of_token, "`access: token`", false)
            }
            operations::Operation::CreateKey(_)
            | operations::Operation::ListKeys(_)
            | operations::Operation::DeleteKey(_)
            | operations::Operation::CreateSession(_) => {
                let right = !kinds.is_empty() && kinds.iter().all(|kind| holders.contains(kind));
                (right, "`access: api_key`, `token` or both", false)
            }
        };
        if !right {
            self.refuse(path, format!("needs {needed} on its route"));
        }
        if own_tokens && file.tokens.is_none() {
            self.refuse(path, "needs `tokens`, which says how they are made");
        }
        if file.keys.database.is_none() {
            self.refuse(path, "needs `keys.database`, in which users and keys are kept");
        }
    }

    fn create_key(
        &mut self,
        file: &File,
        written: &operations::CreateKey,
        patterns: &[Pattern],
        path: &Path,
    ) -> Option<Operation> {
        let known: Vec<&str> = file.environments.iter().map(|environment| environment.name.as_str()).collect();
        if let Some(environment) = &written.environment
            && !known.is_empty()
            && !known.contains(&environment.as_str())
        {
            let message = format!("is none of the environments: {}; its keys would open nothing", known.join(", "));
            self.refuse(&path.field("environment"), message);
        }
        for note in written.notes.keys().filter(|note| !asks_for(&written.request, &format!("metadata.{note}"))) {
            let message = format!("has no effect: `request` has no `{{{{metadata.{note}}}}}`");
            self.refuse(&path.field("notes").field(note), message);
        }
        self.must_show(&written.response, "secret", &path.field("response"));
        let request = self.request(&written.request, CREATE_INPUTS, &path.field("request"));
        let response = self.key_template(&written.response, &written.states, path, "response");
        let tenant = written.tenant.as_deref().map(|tenant| self.word(tenant, patterns, &path.field("tenant")));
        let tenant = match tenant {
            Some(None) => return None,
            Some(tenant) => tenant,
            None => None,
        };
        Some(Operation::CreateKey(CreateKey {
            request: request?,
            notes: written.notes.clone(),
            tenant,
            environment: written.environment.clone(),
            owned: written.owned,
            keys_max: written.keys_max,
            response: response?,
            status: status(written.status),
        }))
    }

    fn list_keys(&mut self, written: &operations::ListKeys, path: &Path) -> Option<Operation> {
        let query = self.request(&written.query, LIST_INPUTS, &path.field("query"));
        let item = self.key_template(&written.item, &written.states, path, "item");
        self.must_not_show(&written.item, "secret", &path.field("item"));
        self.must_show(&written.response, "items", &path.field("response"));
        let response = self.filled(ListKeys::response(&written.response), &path.field("response"));
        Some(Operation::ListKeys(ListKeys {
            query: query?,
            item: item?,
            response: response?,
            status: status(written.status),
        }))
    }

    fn own_key(&mut self, written: &operations::OwnKey, path: &Path) -> Option<OwnKey> {
        let response = self.key_template(&written.response, &written.states, path, "response")?;
        Some(OwnKey { response, status: status(written.status) })
    }

    fn create_session(
        &mut self,
        written: &operations::CreateSession,
        patterns: &[Pattern],
        path: &Path,
    ) -> Option<Operation> {
        let customer = self.parameter(&written.customer, patterns, &path.field("customer"));
        let lifetime = written.lifetime.get();
        if !(Duration::from_secs(1)..=SESSION_MAX).contains(&lifetime) {
            self.refuse(&path.field("lifetime"), "must be `1s` to `30d`");
        }
        self.must_show(&written.response, "token", &path.field("response"));
        let response = self.filled(CreateSession::response(&written.response), &path.field("response"));
        let (customer, response, status) = (customer?, response?, status(written.status));
        Some(Operation::CreateSession(CreateSession { customer, lifetime, response, status }))
    }

    /// Refuses a template without what its reader is there for: it is shown nowhere else.
    fn must_show(&mut self, shape: &Value, name: &str, path: &Path) {
        if !asks_for(shape, name) {
            self.refuse(path, format!("does not show `{{{{{name}}}}}`, which nobody could learn otherwise"));
        }
    }

    /// Refuses a template with what is not there any more.
    fn must_not_show(&mut self, shape: &Value, name: &str, path: &Path) {
        if asks_for(shape, name) {
            self.refuse(path, format!("cannot show `{{{{{name}}}}}`, which is known only where it is made"));
        }
    }

    /// A parameter of the path: another one for each request.
    fn parameter(&mut self, text: &str, patterns: &[Pattern], path: &Path) -> Option<Word> {
        let word = self.word(text, patterns, path)?;
        if let Word::Fixed(word) = &word {
            self.refuse(path, format!("must be a parameter of the path; write `{{{word}}}` if that is its name"));
        }
        Some(word)
    }

    fn word(&mut self, text: &str, patterns: &[Pattern], path: &Path) -> Option<Word> {
        Word::parse(text, patterns).map_err(|error| self.refuse(path, error.to_string())).ok()
    }

    fn request(&mut self, shape: &Value, inputs: &[Input], path: &Path) -> Option<Shape> {
        self.filled(Shape::read(shape, inputs), path)
    }

    fn key_template(
        &mut self,
        shape: &Value,
        states: &BTreeMap<String, String>,
        path: &Path,
        field: &str,
    ) -> Option<KeyTemplate> {
        let known = Standing::ALL.map(Standing::name);
        for state in states.keys().filter(|state| !known.contains(&state.as_str())) {
            let message = format!("is no state of a key; there are {}", known.join(", "));
            self.refuse(&path.field("states").field(state), message);
        }
        self.filled(KeyTemplate::read(shape, states), &path.field(field))
    }

    /// What was read, or a problem at the place inside the shape.
    fn filled<T, E: std::fmt::Display>(&mut self, read: Result<T, (String, E)>, path: &Path) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err((inside, error)) => {
                self.refuse(&within(path, &inside), error.to_string());
                None
            }
        }
    }
}

/// The path of a place inside a shape, which is written `a.b.0`.
pub(super) fn within(path: &Path, inside: &str) -> Path {
    inside
        .split('.')
        .filter(|step| !step.is_empty())
        .fold(path.clone(), |at, step| step.parse().map_or_else(|_| at.field(step), |index| at.index(index)))
}

/// Whether a shape asks for a name, be it optional.
fn asks_for(shape: &Value, name: &str) -> bool {
    names_in(shape).iter().any(|asked| asked.strip_suffix('?').unwrap_or(asked) == name)
}

/// Whether anybody's tokens are believed.
pub(super) const fn has_tokens(file: &File) -> bool {
    file.tokens.is_some() || !file.issuers.is_empty()
}

/// The schema lets nothing else through.
fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}
