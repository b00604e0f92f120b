//! The store in the running process: taking what has changed in it, and writing down what keys did.
//!
//! A change reaches the road in three ways: the command that made it announces it and waits until it is in force; what the
//! management API or an operation changes is in force here, and announced to the other gateways on the same store, before it
//! answers; and twice a second somebody looks whether the file has a new revision, for whoever did neither. The road never
//! waits for the store.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::outcomes::Outcomes;
use crate::gateway::operation::Services;
use crate::identity::{Directory, Login, NotAField, Passwords, Session, Update, User, Written, WrittenSession};
use crate::keys::database::{
    Announcements, By, Changed, Changes, Database, DatabaseError, Delta, Live, LoginRecord, PURGE_MAX, Revision,
    SessionRecord, UserRecord, announce_to_others,
};
use crate::keys::{Difference, KeyStore, SecretFormat};
use crate::management::Management;
use crate::moment::Moment;
use crate::secret::Digest;

/// How often somebody looks for changes that nobody has announced.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often it is written down what keys did: one write a key and minute at most.
const USAGE_EVERY: Duration = Duration::from_secs(60);

/// The store of a process that runs.
pub(super) struct Vault {
    database: Database,
    keys: Arc<KeyStore>,
    /// Users, logins and sessions in force.
    pub(super) directory: Arc<Directory>,
    /// Where passwords are hashed and checked.
    pub(super) passwords: Arc<Passwords>,
    /// Up to where changes are in force. Held while changes are taken, so that they are taken in their order.
    taken: Mutex<Revision>,
    /// Where commands announce their changes, until somebody tends to them. Open before the first request is let in: a
    /// command that finds nobody here believes that no gateway runs.
    announcements: Mutex<Option<Announcements>>,
    /// The socket at which that is.
    socket: Option<PathBuf>,
    /// How taking changes went.
    pub(super) outcomes: Outcomes,
}

impl Vault {
    /// Opens the store at `path`, which is made if it is not there, and puts what is in it in force. Blocks; to be called on a
    /// tokio runtime.
    pub(super) fn open(path: &Path, keys: &Arc<KeyStore>) -> anyhow::Result<Arc<Self>> {
        let database = Database::open(path).with_context(|| format!("cannot open the store {}", path.display()))?;
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is for one lifetime only")]
        let last_used = database.read_blocking(|store| store.last_used())?;
        let keys = Arc::clone(keys);
        let announcements = Announcements::listen(path)
            .inspect_err(|error| {
                tracing::warn!("commands cannot announce changes, which take effect within a second: {error}");
            })
            .ok();
        let socket = announcements.as_ref().map(|announcements| announcements.path().to_owned());
        let vault = Self {
            database,
            socket,
            keys,
            directory: Arc::new(Directory::new()),
            passwords: Arc::new(Passwords::start().context("there is no thread for passwords")?),
            taken: Mutex::new(Revision(0)),
            announcements: Mutex::new(announcements),
            outcomes: Outcomes::default(),
        };
        vault.take_changes().with_context(|| format!("cannot read the store {}", path.display()))?;
        vault.keys.recall_last_used(&last_used);
        Ok(Arc::new(vault))
    }

    /// The path it was opened by.
    pub(super) fn path(&self) -> &Path {
        self.database.path()
    }

    /// Takes what has changed, and says up to which revision everything is in force. Blocks.
    pub(super) fn take(&self) -> Revision {
        match self.take_changes() {
            Ok(Taken { revision, news: false, .. }) => {
                self.outcomes.nothing_new();
                revision
            }
            Ok(Taken { revision, keys: Difference { added, changed, removed }, .. }) => {
                self.outcomes.succeeded();
                if added + changed + removed > 0 {
                    tracing::info!(added, changed, removed, "the store's changes are in force");
                }
                revision
            }
            Err(error) => {
                self.outcomes.failed("store", &error);
                *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    fn take_changes(&self) -> Result<Taken, DatabaseError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *taken;
        let changes = self.database.read_blocking(move |store| store.changes_since(since))?;
        let Changes { revision, whole, keys, users, logins, sessions, unusable } = changes;
        for unusable in &unusable {
            let (kind, id) = (unusable.kind, &unusable.id);
            tracing::error!(id, "a {kind} of the store cannot be understood, and opens nothing");
        }
        let (keys, clashes) = self.keys.change(keys, whole);
        for clash in clashes {
            tracing::error!("a key of the store opens nothing: {clash}");
        }
        self.directory.change(update(whole, users, logins, sessions));
        *taken = revision;
        Ok(Taken { revision, news: revision != since, keys })
    }

    /// Writes down what keys did since the last time. What cannot be written is lost, and the log says so.
    pub(super) async fn write_usage(&self) {
        let batch = self.keys.drain_usage();
        if batch.is_empty() {
            return;
        }
        let by = By::cli("keygate");
        if let Err(error) = self.database.write(by, Moment::now(), move |store| store.record_usage(&batch)).await {
            tracing::warn!("the usage of keys was not written down: {error}");
        }
    }

    /// Takes out of the store what is over.
    async fn purge(&self) {
        loop {
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is for one lifetime only")]
            let purged = self.database.write(By::cli("keygate"), Moment::now(), |store| store.purge()).await;
            match purged {
                Ok(purged) if purged >= PURGE_MAX => {}
                Ok(purged) => return tracing::debug!(purged, "took what is over out of the store"),
                Err(error) => return tracing::warn!("what is over was not taken out of the store: {error}"),
            }
        }
    }

    /// Takes changes as they are announced or found, and writes down usage, for as long as the process lives.
    pub(super) async fn tend(self: Arc<Self>) {
        let announced = Arc::clone(&self);
        let listening = async move {
            let announcements = announced.announcements.lock().unwrap_or_else(PoisonError::into_inner).take();
            match announcements {
                Some(announcements) => announcements.serve(|_| Arc::clone(&announced).take_aside()).await,
                None => std::future::pending::<()>().await,
            }
        };
        let mut look = interval(LOOK_EVERY);
        let mut usage = interval(USAGE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        usage.set_missed_tick_behavior(MissedTickBehavior::Delay);
        usage.reset();
        let looking = async {
            loop {
                tokio::select! {
                    _ = look.tick() => {
                        Arc::clone(&self).take_aside().await;
                    }
                    _ = usage.tick() => {
                        self.write_usage().await;
                        self.purge().await;
                    }
                }
            }
        };
        tokio::join!(listening, looking);
    }

    /// The store as requests read and write it. To be called on the runtime of the control plane.
    pub(super) fn live(self: &Arc<Self>) -> Live {
        let vault = Arc::clone(self);
        let changed: Changed = Arc::new(move || {
            let vault = Arc::clone(&vault);
            Box::pin(async move {
                let revision = Arc::clone(&vault).take_aside().await;
                vault.tell_others(revision).await;
            })
        });
        Live::new(self.database.clone(), changed)
    }

    /// Tells the other gateways on the same store that there is something new, and waits until they have taken it.
    async fn tell_others(self: Arc<Self>, revision: Revision) {
        let telling = tokio::task::spawn_blocking(move || {
            let own = self.socket.as_deref().unwrap_or(Path::new(""));
            announce_to_others(self.path(), revision, own)
        });
        if let Ok(Err(error)) = telling.await {
            tracing::warn!("another gateway looks for changes by itself, within a second: {error}");
        }
    }

    /// What the gateway's own operations work with. To be called on the runtime of the control plane.
    pub(super) fn services(self: &Arc<Self>) -> Services {
        Services {
            store: self.live(),
            passwords: Arc::clone(&self.passwords),
            directory: Arc::clone(&self.directory),
            keys: Arc::clone(&self.keys),
        }
    }

    /// What the management API works with.
    pub(super) fn management(
        self: &Arc<Self>,
        credential: Digest,
        format: &Arc<ArcSwap<SecretFormat>>,
        environments: &Arc<ArcSwap<Vec<String>>>,
    ) -> Management {
        Management {
            live: self.live(),
            keys: Arc::clone(&self.keys),
            format: Arc::clone(format),
            environments: Arc::clone(environments),
            credential,
            passwords: Arc::clone(&self.passwords),
        }
    }

    /// Takes what has changed on a thread that may wait.
    pub(super) async fn take_aside(self: Arc<Self>) -> Revision {
        tokio::task::spawn_blocking(move || self.take()).await.unwrap_or(Revision(0))
    }
}

/// What came of taking changes.
struct Taken {
    /// Up to where changes are in force.
    revision: Revision,
    /// Whether anything was changed.
    news: bool,
    /// What was changed of the keys.
    keys: Difference,
}

/// What the store says of users, logins and sessions, as the road takes it. Who cannot travel in a field opens nothing.
fn update(
    whole: bool,
    users: Delta<UserRecord, String>,
    logins: Delta<LoginRecord, String>,
    sessions: Delta<(Digest, SessionRecord), Digest>,
) -> Update {
    let mut update = Update {
        whole,
        users_gone: users.removals,
        logins: logins.upserts.into_iter().map(login_of).collect(),
        logins_gone: logins.removals,
        sessions_gone: sessions.removals,
        ..Update::default()
    };
    for record in users.upserts {
        let id = record.id.clone();
        match user_of(record) {
            Ok(user) => update.users.push(user),
            Err(error) => {
                tracing::error!(id, "a user of the store opens nothing: {error}");
                update.users_gone.push(id);
            }
        }
    }
    for (digest, record) in sessions.upserts {
        let id = record.id.clone();
        match session_of(record) {
            Ok(session) => update.sessions.push((digest, session)),
            Err(error) => {
                tracing::error!(id, "a session of the store opens nothing: {error}");
                update.sessions_gone.push(digest);
            }
        }
    }
    update
}

fn user_of(record: UserRecord) -> Result<User, NotAField> {
    let UserRecord { id, tenant, permissions, roles, enabled, .. } = record;
    User::new(Written { id, tenant, permissions, roles, enabled })
}

fn login_of(record: LoginRecord) -> Login {
    Login { id: record.id.into(), user: record.user.into(), expires_s: seconds(record.expires) }
}

fn session_of(record: SessionRecord) -> Result<Session, NotAField> {
    let SessionRecord { id, tenant, environment, customer, expires, .. } = record;
    Session::new(WrittenSession { id, tenant, environment, customer, expires_s: seconds(expires) })
}

/// Whole seconds since the Unix epoch, rounded down.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::database::{NewLogin, NewSession, NewUser, Refreshed, Writer, announce};
    use crate::secret::Digest;

    /// A user with a login and a session, each of which is named as its token.
    fn fill(store: &Writer<'_>) -> Result<(), DatabaseError> {
        let end = Timestamp::from_second(4_000_000_000).unwrap();
        let roles = vec!["auditor".to_owned()];
        store.create_user(NewUser { id: "u1".into(), login: "alice".into(), roles, ..NewUser::default() })?;
        let (id, user) = ("l1".to_owned(), "u1".to_owned());
        store.create_login(NewLogin { id, user, refresh: Digest::of(b"l1"), expires: end, verified: None })?;
        let (id, digest, customer) = ("s1".to_owned(), Digest::of(b"s1"), "c1".to_owned());
        let session = NewSession { id, digest, tenant: Some("acme".into()), environment: None, customer, expires: end };
        store.create_session(session).map(drop)
    }

    fn vault() -> (tempfile::TempDir, Arc<Vault>) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(&directory.path().join("k.db"), &Arc::new(KeyStore::new())).unwrap();
        (directory, vault)
    }

    /// Whether the user is switched on, and whether the login and the session are there.
    fn found(vault: &Vault) -> (Option<bool>, bool, bool) {
        let directory = &vault.directory;
        let session = directory.session(&Digest::of(b"s1"));
        (directory.user("u1").map(|user| user.enabled), directory.login("l1").is_some(), session.is_some())
    }

    #[tokio::test]
    async fn what_is_written_is_in_force_when_the_write_returns() {
        let (_directory, vault) = vault();
        let live = vault.live();
        let now = Moment::now();
        let by = || By::gateway("u1");
        live.write(by(), now, fill).await.unwrap();
        assert_eq!(found(&vault), (Some(true), true, true));
        assert_eq!(&*vault.directory.user("u1").unwrap().roles[0], "auditor");
        assert_eq!(vault.directory.login("l1").unwrap().expires_s, 4_000_000_000);
        let session = vault.directory.session(&Digest::of(b"s1")).unwrap();
        assert_eq!(
            (session.tenant_value.as_ref().unwrap(), &session.customer_value),
            (&"acme".parse().unwrap(), &"c1".parse().unwrap())
        );

        let sooner = Timestamp::from_second(3_000_000_000).unwrap();
        let refreshed = live
            .write(by(), now, move |store| store.refresh_login("l1", &Digest::of(b"l1"), Digest::of(b"next"), sooner))
            .await;
        assert!(matches!(refreshed, Ok(Refreshed::Renewed(_))));
        assert_eq!(vault.directory.login("l1").unwrap().expires_s, 3_000_000_000);
        live.write(by(), now, |store| store.disable_user("u1")).await.unwrap();
        assert_eq!(found(&vault), (Some(false), false, true));
        live.write(by(), now, |store| store.revoke_session("s1")).await.unwrap();
        live.write(by(), now, |store| store.delete_user("u1")).await.unwrap();
        assert_eq!(found(&vault), (None, false, false));
    }

    /// A refresh token that comes again has ended the login on every side when the answer is given.
    #[tokio::test]
    async fn a_reused_refresh_token_is_out_of_force_when_the_write_returns() {
        let (_directory, vault) = vault();
        let live = vault.live();
        live.write(By::gateway("u1"), Moment::now(), fill).await.unwrap();
        let end = Timestamp::from_second(4_000_000_000).unwrap();
        let again = move |store: &Writer<'_>| store.refresh_login("l1", &Digest::of(b"old"), Digest::of(b"next"), end);
        assert_eq!(live.write(By::gateway("u1"), Moment::now(), again).await.unwrap(), Refreshed::Reused);
        assert_eq!(found(&vault), (Some(true), false, true));
    }

    /// As commands do it: another handle of the file, and an announcement.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_command_writes_is_in_force_when_it_has_been_announced() {
        let (directory, vault) = vault();
        let path = directory.path().join("k.db");
        let tending = tokio::spawn(Arc::clone(&vault).tend());
        let commands = tokio::task::spawn_blocking(move || {
            let database = Database::open_existing(&path).unwrap();
            let mut seen = Vec::new();
            for step in [
                fill,
                |store: &Writer<'_>| store.end_login("l1").map(drop),
                |store: &Writer<'_>| store.delete_user("u1"),
            ] {
                let write = move |store: &Writer<'_>| {
                    step(store)?;
                    store.revision()
                };
                let revision = database.write_blocking(By::cli("test"), Moment::now(), write).unwrap();
                assert_eq!(announce(&path, revision).unwrap().gateways, 1);
                seen.push(found(&vault));
            }
            seen
        });
        let seen = commands.await.unwrap();
        assert_eq!(seen, [(Some(true), true, true), (Some(true), false, true), (None, false, true)]);
        tending.abort();
    }

    #[tokio::test]
    async fn what_is_there_at_the_start_is_in_force_and_what_is_over_is_taken_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let database = Database::open(&path).unwrap();
        database.write_blocking(By::cli("test"), Moment::now(), fill).unwrap();
        let over = |store: &Writer<'_>| {
            let (id, digest, customer) = ("s2".to_owned(), Digest::of(b"s2"), "c1".to_owned());
            let expires = Timestamp::from_second(1).unwrap();
            store.create_session(NewSession { id, digest, tenant: None, environment: None, customer, expires })
        };
        database.write_blocking(By::cli("test"), Moment::now(), over).unwrap();
        let vault = Vault::open(&path, &Arc::new(KeyStore::new())).unwrap();
        assert_eq!(found(&vault), (Some(true), true, true));
        vault.purge().await;
        let left = database.read_blocking(|store| store.sessions(&Default::default(), Default::default())).unwrap().0;
        assert_eq!(left.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["s1"]);
    }
}
