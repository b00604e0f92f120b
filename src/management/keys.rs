//! `/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

use super::Management;
use super::answer::{Day, Key, KeyWithSecret, Page, RotatedKey, Shown, Usage, created, replayed};
use super::kind::Wrong;
use super::refusal::{Code, Problem};
use super::request::{Content, Id, Optional, Query, idempotency_key};
use super::told::{KeyChange, KeyQuery, KeyRotation, NewKey, UsageQuery, page_of};
use crate::keys::database::{Created, DatabaseError, KeyFilter, KeyPatch, KeyRecord, Reader, Rotation};
use crate::keys::{Entry, Origin};
use crate::moment::Moment;
use crate::secret::{Digest, NoRandomness, Secret};

/// Seconds for which a rotated key lives on, unless the request says otherwise: a day.
const OVERLAP_S: u64 = 86_400;

/// Days of usage, unless the request says otherwise.
const USAGE_DAYS: i64 = 30;

/// Lists keys, oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys", params(KeyQuery),
    responses((status = 200, description = "A page of keys", body = Page<Key>)))]
pub(super) async fn list_keys(
    State(management): State<Management>,
    Query(query): Query<KeyQuery>,
) -> Result<Json<Page<Key>>, Problem> {
    let page = page_of(query.limit, query.cursor);
    let KeyQuery { state, environment, tenant, user, lineage, text, .. } = query;
    let states = state.into_iter().collect();
    known_environment(&management, environment.as_deref()).map_err(|wrong| Problem::of_query(vec![wrong]))?;
    let filter = KeyFilter { states, environment, tenant, user, lineage, text, ..KeyFilter::default() };
    let (records, next) = management.read(move |store| store.keys(&filter, page)).await?;
    let now = Moment::now();
    Ok(Json(Page::new(records.into_iter().map(|record| shown(&management, record, now)).collect(), next)))
}

/// Makes a key. Its secret is in the answer, and nowhere else.
///
/// With `Idempotency-Key`, the same request makes one key however often it comes, for 24 hours. The secret is in the
/// first answer alone; who has lost it rotates the key.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKey,
    responses(
        (status = 201, description = "The key, and its secret", body = KeyWithSecret),
        (status = 200, description = "The key that the same request has made before", body = KeyWithSecret),
        (status = 409, description = "The id is taken, dates contradict each other, or `Idempotency-Key` was used"),
    ))]
pub(super) async fn create_key(
    State(management): State<Management>,
    fields: HeaderMap,
    Content { told, canonical }: Content<NewKey>,
) -> Result<Response, Problem> {
    let now = Moment::now();
    let token = idempotency_key(&fields)?;
    known_environment(&management, told.environment.as_deref()).map_err(|wrong| Problem::of_content(vec![wrong]))?;
    if told.id.as_deref().is_some_and(|id| is_of_a_file(&management, id)) {
        return Err(taken_by_a_file());
    }
    let chosen = told.id.is_some();
    let secret = generate(&management, told.environment.as_deref())?;
    let digest = secret.digest();
    let entry = entry_of(&management, told, &secret)?;
    let request = Digest::of(canonical.as_bytes());
    let made = management
        .write(now, move |store| {
            let entry = with_known_user(store, entry)?;
            match token {
                Some(token) => store.create_key_once(entry, &token, &request),
                None => store.create_key(entry).map(Created::Now),
            }
        })
        .await
        .map_err(deleted_since)?;
    match made {
        Created::Earlier(record) => {
            Ok(replayed(KeyWithSecret { key: shown(&management, record, now), secret: Shown(None) }))
        }
        Created::Now(record) => {
            if chosen {
                in_force_or_undone(&management, &record, &digest).await?;
            }
            let key = shown(&management, record, now);
            let location = key.location();
            Ok(created(&location, KeyWithSecret { key, secret: Shown(Some(secret)) }))
        }
    }
}

/// Shows a key.
#[utoipa::path(get, path = "/keys/{id}", tag = "keys", responses((status = 200, description = "The key", body = Key)))]
pub(super) async fn get_key(State(management): State<Management>, Id(id): Id) -> Result<Json<Key>, Problem> {
    let record = management.read(move |store| store.key(&id)).await?;
    Ok(Json(shown(&management, record, Moment::now())))
}

/// Changes a key. What is left out stays as it is, and null takes it away.
#[utoipa::path(patch, path = "/keys/{id}", tag = "keys", request_body = KeyChange,
    responses(
        (status = 200, description = "The key as it is now", body = Key),
        (status = 409, description = "Dates contradict each other"),
    ))]
pub(super) async fn update_key(
    State(management): State<Management>,
    Id(id): Id,
    Content { told, .. }: Content<KeyChange>,
) -> Result<Json<Key>, Problem> {
    let KeyChange { name, permissions, roles, expires, not_before, rate_limit, allowed_networks, metadata } = told;
    let patch = KeyPatch { name, permissions, roles, rate_limit, expires, not_before, allowed_networks, metadata };
    let now = Moment::now();
    let record = management.write(now, move |store| store.update_key(&id, patch)).await?;
    Ok(Json(shown(&management, record, now)))
}

/// Deletes a key with its usage.
///
/// Whoever only wants it to open nothing revokes it, and still sees what it was.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", responses((status = 204, description = "The key is gone")))]
pub(super) async fn delete_key(State(management): State<Management>, Id(id): Id) -> Result<StatusCode, Problem> {
    management.write(Moment::now(), move |store| store.delete_key(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a successor of a key.
///
/// It has all that the key has but its id and its secret. Both are good until the overlap is over, and limits count them
/// together.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", request_body = KeyRotation,
    responses(
        (status = 201, description = "The successor, its secret, and the key", body = RotatedKey),
        (status = 409, description = "The key is not good now, was rotated already, or dates contradict each other"),
    ))]
pub(super) async fn rotate_key(
    State(management): State<Management>,
    Id(id): Id,
    Optional(told): Optional<KeyRotation>,
) -> Result<Response, Problem> {
    let now = Moment::now();
    let environment = management.read({
        let id = id.clone();
        move |store| Ok(store.key(&id)?.environment)
    });
    let secret = generate(&management, environment.await?.as_deref())?;
    let rotation = Rotation {
        id: new_id(&management)?,
        digest: secret.digest(),
        prefix: Some(secret.display_prefix()),
        overlap: Duration::from_secs(told.overlap_seconds.unwrap_or(OVERLAP_S)),
        expires: told.expires,
    };
    let (successor, predecessor) = management.write(now, move |store| store.rotate_key(&id, rotation)).await?;
    let (key, predecessor) = (shown(&management, successor, now), shown(&management, predecessor, now));
    let location = key.location();
    Ok(created(&location, RotatedKey { key, secret: Shown(Some(secret)), predecessor }))
}

/// Ends a key for good. One that is revoked already stays as it is.
#[utoipa::path(post, path = "/keys/{id}/revoke", tag = "keys",
    responses((status = 200, description = "The key as it is now", body = Key)))]
pub(super) async fn revoke_key(State(management): State<Management>, Id(id): Id) -> Result<Json<Key>, Problem> {
    let now = Moment::now();
    let record = management.write(now, move |store| store.revoke_key(&id)).await?;
    Ok(Json(shown(&management, record, now)))
}

/// Switches a key on.
#[utoipa::path(post, path = "/keys/{id}/activate", tag = "keys",
    responses(
        (status = 200, description = "The key as it is now", body = Key),
        (status = 409, description = "The key is revoked, which is final"),
    ))]
pub(super) async fn activate_key(State(management): State<Management>, Id(id): Id) -> Result<Json<Key>, Problem> {
    let now = Moment::now();
    let record = management.write(now, move |store| store.activate_key(&id)).await?;
    Ok(Json(shown(&management, record, now)))
}

/// Switches a key off, until it is switched on again.
#[utoipa::path(post, path = "/keys/{id}/deactivate", tag = "keys",
    responses(
        (status = 200, description = "The key as it is now", body = Key),
        (status = 409, description = "The key is revoked, which is final"),
    ))]
pub(super) async fn deactivate_key(State(management): State<Management>, Id(id): Id) -> Result<Json<Key>, Problem> {
    let now = Moment::now();
    let record = management.write(now, move |store| store.deactivate_key(&id)).await?;
    Ok(Json(shown(&management, record, now)))
}

/// Says how much a key was used, day by day.
///
/// Of the requests, those of the last minute may be missing.
#[utoipa::path(get, path = "/keys/{id}/usage", tag = "keys", params(UsageQuery),
    responses((status = 200, description = "What the key did", body = Usage)))]
pub(super) async fn get_key_usage(
    State(management): State<Management>,
    Id(id): Id,
    Query(UsageQuery { since }): Query<UsageQuery>,
) -> Result<Json<Usage>, Problem> {
    let month = SignedDuration::from_hours(24 * USAGE_DAYS);
    let since = since.unwrap_or_else(|| Timestamp::now().checked_sub(month).unwrap_or(Timestamp::UNIX_EPOCH));
    let (record, days) = management.read(move |store| Ok((store.key(&id)?, store.usage(&id, since)?))).await?;
    let days: Vec<Day> = days.into_iter().map(Day::from).collect();
    let last_used = last_used(&management, &record);
    Ok(Json(Usage::new(record.id, last_used, days)))
}

/// A key of the store as it is answered.
fn shown(management: &Management, record: KeyRecord, now: Moment) -> Key {
    let last_used = last_used(management, &record);
    Key::new(KeyRecord { last_used, ..record }, now)
}

/// When a key was last used: as the store has it, which is written to once a minute, or as the road has noted since.
fn last_used(management: &Management, record: &KeyRecord) -> Option<Timestamp> {
    let in_force = management.keys.find_by_id(&record.id).filter(|key| key.origin == Origin::Database);
    let seconds = in_force.map(|key| key.usage.last_used_s()).filter(|seconds| *seconds > 0);
    let noted = seconds.and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    record.last_used.max(noted)
}

/// A key of an environment that is not there would open nothing, and nobody would know why.
fn known_environment(management: &Management, environment: Option<&str>) -> Result<(), Wrong> {
    let known = management.environments.load();
    match environment {
        Some(name) if !known.is_empty() && !known.iter().any(|known| known == name) => {
            let message = format!("must be an environment of this keygate: {}", known.join(", "));
            Err(Wrong { place: "/environment".to_owned(), message })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a key file has a key with this id. Those of the store are the store's own business.
fn is_of_a_file(management: &Management, id: &str) -> bool {
    management.keys.find_by_id(id).is_some_and(|key| key.origin == Origin::File)
}

fn taken_by_a_file() -> Problem {
    Problem::new(Code::IdTaken, "A key from a key file has this id. Choose another one.")
}

fn entry_of(management: &Management, told: NewKey, secret: &Secret) -> Result<Entry, Problem> {
    let id = told.id.map_or_else(|| new_id(management), Ok)?;
    Ok(Entry {
        name: told.name,
        prefix: Some(secret.display_prefix()),
        tenant: told.tenant,
        user: told.user,
        environment: told.environment,
        permissions: told.permissions,
        roles: told.roles,
        expires: told.expires,
        not_before: told.not_before,
        rate_limit: told.rate_limit,
        allowed_networks: told.allowed_networks,
        metadata: told.metadata,
        ..Entry::new(&id, secret.digest())
    })
}

/// A user of the store may be named by login; one whom the store does not know is one whom the API keeps elsewhere.
fn with_known_user(store: &Reader, mut entry: Entry) -> Result<Entry, DatabaseError> {
    if let Some(user) = &mut entry.user {
        match store.user_by_id_or_login(user) {
            Ok(known) => *user = known.id,
            Err(DatabaseError::NoUser) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entry)
}

fn generate(management: &Management, environment: Option<&str>) -> Result<Secret, Problem> {
    management.format.load().generate(environment).map_err(|error| no_randomness(&error))
}

fn new_id(management: &Management) -> Result<String, Problem> {
    management.format.load().random_id().map_err(|error| no_randomness(&error))
}

pub(super) fn no_randomness(error: &NoRandomness) -> Problem {
    tracing::error!(%error, "The management API cannot make a secret or an id");
    Problem::new(Code::StoreFailed, "Look into the log of keygate.")
}

/// The key of an earlier request may have been deleted. That is no reason to make another one.
fn deleted_since(problem: Problem) -> Problem {
    if problem.code() == Code::NoKey {
        Problem::new(Code::DeletedSince, "Send another `Idempotency-Key` to make a new key.")
    } else {
        problem
    }
}

/// A key file with the id that was chosen may have been loaded in the meantime, and its key stays in force then: the new
/// key is taken back.
async fn in_force_or_undone(management: &Management, record: &KeyRecord, digest: &Digest) -> Result<(), Problem> {
    if management.keys.find(digest).is_some_and(|key| key.id() == record.id) {
        return Ok(());
    }
    let id = record.id.clone();
    let undone = management.write(Moment::now(), move |store| store.delete_key(&id)).await;
    match undone {
        // Somebody has deleted it in the meantime: it was there.
        Err(problem) if problem.code() == Code::NoKey => Ok(()),
        Err(problem) => Err(problem),
        Ok(()) => Err(taken_by_a_file()),
    }
}
