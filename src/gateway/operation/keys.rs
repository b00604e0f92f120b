//! Keys in the hands of their owners: made, listed, shown, regenerated, deleted.
//!
//! Nobody acts in a tenant that is not the caller's own, or sees one; who is bound to none, and is a user, may name one.
//! Nobody gives more than they hold: not a permission, nor a longer life, nor a network, nor a request a minute more.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::answer::{KeyShown, KeyTemplate, done, with_json};
use super::error::OperationError;
use super::shape::{Input, Kind, Shape, TEXT_CHARS_MAX, Told};
use super::{Call, Caller};
use crate::gateway::authentication::AuthenticationError;
use crate::gateway::authorization::{AuthorizationError, allows};
use crate::gateway::body::ResponseBody;
use crate::gateway::parameter::Word;
use crate::gateway::permission::Permission;
use crate::gateway::rejection::Rejection;
use crate::gateway::route::Counts;
use crate::keys::database::{DatabaseError, KeyFilter, KeyRecord, Page, Reader, Rotation};
use crate::keys::{Entry, SecretFormat, Standing, State};
use crate::moment::Moment;
use crate::secret::Secret;
use crate::template::{Template, TemplateError, Value};

/// What [`CreateKey`] can be told; notes besides.
pub const CREATE_INPUTS: &[Input] = &[
    Input { name: "name", kind: Kind::Text(128), required: true },
    Input { name: "permissions", kind: Kind::Words, required: false },
    Input { name: "expires_at", kind: Kind::Time, required: false },
];

/// What [`ListKeys`] can be told.
pub const LIST_INPUTS: &[Input] = &[
    Input { name: "limit", kind: Kind::Number(1, 1000), required: false },
    Input { name: "offset", kind: Kind::Number(0, 1_000_000), required: false },
    Input { name: "state", kind: Kind::Text(TEXT_CHARS_MAX), required: false },
];

/// What [`ListKeys`] can answer.
pub const LIST_NAMES: &[&str] = &["items", "total", "limit", "offset"];

/// Keys on a page, where the client does not say.
const PAGE: u64 = 50;

/// Keys that are looked through for the key of a user.
const OWN_KEYS_MAX: u32 = 1000;

/// Makes a key.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// What it is told.
    pub request: Shape,
    /// The values that notes may have, where not all do.
    pub notes: BTreeMap<String, Vec<String>>,
    /// In which tenant; `None`: in the caller's.
    pub tenant: Option<Word>,
    /// In which environment; `None`: in the caller's, or that of the request.
    pub environment: Option<String>,
    /// Whether it is the caller's: it carries the user, and dies with the user.
    pub owned: bool,
    /// Keys a tenant may have that are neither revoked nor deleted.
    pub keys_max: u64,
    /// What is answered.
    pub response: KeyTemplate,
    /// With which status.
    pub status: StatusCode,
}

/// Lists the keys of the caller's tenant and environment.
#[derive(Clone, Debug)]
pub struct ListKeys {
    /// What it is told in the query.
    pub query: Shape,
    /// What is said of each key.
    pub item: KeyTemplate,
    /// What is answered.
    pub response: Template,
    /// With which status.
    pub status: StatusCode,
}

/// Shows or regenerates the key of the caller.
#[derive(Clone, Debug)]
pub struct OwnKey {
    /// What is answered.
    pub response: KeyTemplate,
    /// With which status.
    pub status: StatusCode,
}

/// Deletes a key of the caller's tenant.
#[derive(Clone, Debug)]
pub struct DeleteKey {
    /// Which one.
    pub id: Word,
}

impl CreateKey {
    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let told = call.told(&self.request)?;
        let caller = call.caller();
        let tenant = self.tenant(call, &caller)?;
        let (entry, secret) = self.entry(call, &caller, tenant.clone(), &told)?;
        let alive = vec![State::Active, State::Inactive];
        let (keys_max, filter) = (self.keys_max, KeyFilter { states: alive, ..tenant_alone(tenant, None) });
        let made = call.write(move |store| {
            if store.count_keys(&filter)? >= keys_max {
                return Ok(None);
            }
            store.create_key(entry).map(Some)
        });
        let record = made.await?.ok_or(OperationError::TooManyKeys)?;
        let shown =
            KeyShown { record: &record, secret: Some(secret.expose()), last_used_s: 0, rate_limit: granted(call) };
        Ok(with_json(self.status, self.response.fill(shown, call.now)))
    }

    /// The tenant it is for, if the caller may act there.
    fn tenant(&self, call: &Call<'_>, caller: &Caller<'_>) -> Result<Option<String>, OperationError> {
        let Some(word) = &self.tenant else { return Ok(caller.tenant.clone()) };
        let route = call.admission.permit().route();
        let named = word.of(&route.patterns, call.path()).into_owned();
        let everywhere = caller.tenant.is_none() && caller.principal.user().is_some();
        if everywhere || caller.tenant.as_ref() == Some(&named) {
            Ok(Some(named))
        } else {
            Err(OperationError::Tenant(route.permission.clone()))
        }
    }

    fn entry(
        &self,
        call: &Call<'_>,
        caller: &Caller<'_>,
        tenant: Option<String>,
        told: &Told,
    ) -> Result<(Entry, Secret), Rejection> {
        let permissions = told.words("permissions").unwrap_or_default().to_vec();
        for (index, text) in permissions.iter().enumerate() {
            let permission = Permission::parse(text)
                .map_err(|error| OperationError::Invalid(format!("permission {index} is none: {error}")))?;
            if !allows(&call.policy.roles, caller.principal, text) {
                return Err(AuthorizationError::PermissionMissing(permission).into());
            }
        }
        let metadata: BTreeMap<String, String> =
            told.metadata().map(|(note, value)| (note.to_owned(), value.to_owned())).collect();
        for (note, values) in &self.notes {
            if metadata.get(note).is_some_and(|value| !values.contains(value)) {
                let what = format!("`{note}` must be one of {}", values.join(", "));
                return Err(OperationError::Invalid(what).into());
            }
        }
        let expires = told.time("expires_at");
        if expires.is_some_and(|expires| expires <= at(call.now)) {
            return Err(OperationError::Invalid("the key would have expired already".to_owned()).into());
        }
        let creator = caller.principal.key();
        let of_creator = creator.and_then(|key| key.expires());
        let environment = self.environment.clone().or_else(|| caller.environment.clone());
        let secret = call.policy.secret_format.generate(environment.as_deref()).map_err(OperationError::from)?;
        let id = call.policy.secret_format.random_id().map_err(OperationError::from)?;
        let entry = Entry {
            name: told.text("name").map(str::to_owned),
            prefix: Some(secret.display_prefix()),
            tenant,
            // Others' users may have the ids of ours, and are not switched off here.
            user: caller
                .user
                .clone()
                .filter(|_| self.owned && (creator.is_some() || caller.principal.login().is_some())),
            environment,
            permissions,
            expires: expires.into_iter().chain(of_creator).min(),
            // Less than others have is handed on; more was granted to that one key.
            rate_limit: creator
                .and_then(|key| key.rate_limit())
                .filter(|own| granted(call).is_none_or(|usual| *own < usual)),
            allowed_networks: creator.map(|key| key.allowed_networks().to_vec()).unwrap_or_default(),
            metadata,
            ..Entry::new(&id, secret.digest())
        };
        Ok((entry, secret))
    }
}

impl ListKeys {
    /// Reads the template of what is answered around the keys.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], with the path inside the shape.
    pub fn response(shape: &Json) -> Result<Template, (String, TemplateError)> {
        Template::read(shape, LIST_NAMES)
    }

    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let query = call.target.path_and_query.query().unwrap_or_default();
        let told = self.query.take_query(query).map_err(OperationError::Invalid)?;
        let limit = told.number("limit").unwrap_or(PAGE);
        let offset = told.number("offset").unwrap_or(0);
        let standings = told.text("state").map(|word| self.standings(word)).transpose()?;
        let caller = call.caller();
        let standings = standings.map(|standings| (standings, call.now));
        let filter = KeyFilter { standings, ..tenant_alone(caller.tenant, caller.environment) };
        let page = Page {
            limit: u32::try_from(limit).unwrap_or(Page::LIMIT_MAX),
            skip: u32::try_from(offset).unwrap_or(u32::MAX),
            cursor: None,
        };
        let read =
            call.services.store.read(move |store| Ok((store.keys(&filter, page)?.0, store.count_keys(&filter)?)));
        let (records, total) = read.await.map_err(OperationError::from)?;
        let items: Vec<String> = records.iter().map(|record| self.item.fill(shown(call, record), call.now)).collect();
        let items = format!("[{}]", items.join(","));
        let content = self.response.fill(&|index| match LIST_NAMES.get(index).copied() {
            Some("items") => Value::Json(items.as_str().into()),
            Some("total") => Value::Number(total),
            Some("limit") => Value::Number(limit),
            Some("offset") => Value::Number(offset),
            Some(_) | None => Value::Absent,
        });
        Ok(with_json(self.status, content))
    }

    /// What a word stands for that keys are shown with: the same ones are listed by it.
    fn standings(&self, word: &str) -> Result<Vec<Standing>, OperationError> {
        let standings = self.item.standings_of(word);
        if standings.is_empty() {
            return Err(OperationError::Invalid("there is no such state".to_owned()));
        }
        Ok(standings)
    }
}

impl OwnKey {
    pub(super) async fn show(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let (user, environment, now) = (owner(call)?, call.caller().environment, call.now);
        let read = call.services.store.read(move |store| own(store, &user, environment.as_deref(), now));
        let record = read.await.map_err(OperationError::from)?.ok_or(OperationError::NoKey)?;
        Ok(with_json(self.status, self.response.fill(shown(call, &record), call.now)))
    }

    pub(super) async fn regenerate(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let (user, environment, now) = (owner(call)?, call.caller().environment, call.now);
        let format = call.policy.secret_format.clone();
        let written = call.write(move |store| {
            let key = store.current_key_of_user(&user, environment.as_deref(), now)?.ok_or(DatabaseError::NoKey)?;
            let Ok((secret, rotation)) = successor(&format, key.environment.as_deref()) else { return Ok(None) };
            let (successor, _) = store.rotate_key(&key.id, rotation)?;
            // An earlier rotation may have let others live on for a while. They are no newer than the key that is gone.
            let states = vec![State::Active, State::Inactive];
            let chain = KeyFilter { lineage: Some(successor.lineage.clone()), states, ..KeyFilter::default() };
            let (alive, _) = store.keys(&chain, Page::first(OWN_KEYS_MAX))?;
            for other in alive.iter().filter(|other| other.id != successor.id) {
                store.revoke_key(&other.id)?;
            }
            Ok(Some((successor, secret)))
        });
        let none = || OperationError::Unavailable("the operating system gives no random bytes".to_owned());
        let (record, secret) = written.await?.ok_or_else(none)?;
        let shown =
            KeyShown { record: &record, secret: Some(secret.expose()), last_used_s: 0, rate_limit: granted(call) };
        Ok(with_json(self.status, self.response.fill(shown, call.now)))
    }
}

impl DeleteKey {
    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let route = call.admission.permit().route();
        let id = self.id.of(&route.patterns, call.path()).into_owned();
        let Caller { tenant, environment, .. } = call.caller();
        let deleted = call.write(move |store| {
            let key = store.key(&id)?;
            // What others have is not there.
            let here = key.tenant == tenant && (environment.is_none() || key.environment == environment);
            if here { store.delete_key(&id) } else { Err(DatabaseError::NoKey) }
        });
        deleted.await?;
        Ok(done())
    }
}

/// The user whose key it is about: one of ours. Others' users may have the same ids.
fn owner(call: &Call<'_>) -> Result<String, AuthenticationError> {
    let ours = call.principal().login().and(call.principal().user());
    ours.map(|user| user.id.to_string()).ok_or(AuthenticationError::TokenNotAccepted)
}

/// The key of a user: the one that is good, else the newest that is not dead.
fn own(store: &Reader, user: &str, environment: Option<&str>, now: Moment) -> Result<Option<KeyRecord>, DatabaseError> {
    if let Some(key) = store.current_key_of_user(user, environment, now)? {
        return Ok(Some(key));
    }
    let filter = KeyFilter {
        user: Some(user.to_owned()),
        environment: environment.map(str::to_owned),
        states: vec![State::Active, State::Inactive],
        ..KeyFilter::default()
    };
    let (keys, _) = store.keys(&filter, Page::first(OWN_KEYS_MAX))?;
    Ok(keys.into_iter().rev().find(|key| key.successor.is_none() && key.standing(now) != Standing::Revoked))
}

fn successor(
    format: &SecretFormat,
    environment: Option<&str>,
) -> Result<(Secret, Rotation), crate::secret::NoRandomness> {
    let secret = format.generate(environment)?;
    let rotation = Rotation {
        id: format.random_id()?,
        digest: secret.digest(),
        prefix: Some(secret.display_prefix()),
        overlap: std::time::Duration::ZERO,
        expires: None,
    };
    Ok((secret, rotation))
}

/// The keys of exactly this tenant, be it none, and of this environment or of all.
fn tenant_alone(tenant: Option<String>, environment: Option<String>) -> KeyFilter {
    KeyFilter { without_tenant: tenant.is_none(), tenant, environment, ..KeyFilter::default() }
}

/// A key with what is known of it in memory, which is newer than the store.
fn shown<'k>(call: &Call<'_>, record: &'k KeyRecord) -> KeyShown<'k> {
    let last_used_s = call.services.keys.find_by_id(&record.id).map_or(0, |key| key.usage.last_used_s());
    KeyShown { record, secret: None, last_used_s, rate_limit: granted(call) }
}

/// What a key may do in a window where nothing else was granted to it.
fn granted(call: &Call<'_>) -> Option<u64> {
    let limits = call.policy.unauthenticated.iter();
    limits.filter(|limit| limit.counts == Counts::Key).map(|limit| limit.allowance.requests()).next()
}

fn at(now: Moment) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(now.unix_ns)).unwrap_or(Timestamp::MAX)
}
