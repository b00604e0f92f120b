//! The store of keys in the running process: taking what has changed in it, and writing down what keys did.
//!
//! A change reaches the road in three ways: the command that made it announces it and waits until it is in force; the
//! management API does the same; and twice a second somebody looks whether the file has a new revision, for whoever did
//! neither. The road never waits for the store.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use super::outcomes::Outcomes;
use crate::keys::database::{Announcements, By, Database, DatabaseError, Revision};
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
    /// Up to where changes are in force. Held while changes are taken, so that they are taken in their order.
    taken: Mutex<Revision>,
    /// Where commands announce their changes, until somebody tends to them. Open before the first request is let in: a
    /// command that finds nobody here believes that no gateway runs.
    announcements: Mutex<Option<Announcements>>,
    /// How taking changes went.
    pub(super) outcomes: Outcomes,
}

impl Vault {
    /// Opens the store at `path`, which is made if it is not there, and puts its keys in force. Blocks; to be called on a
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
        let vault = Self {
            database,
            keys,
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
            Ok((revision, difference)) => {
                if difference.is_empty() {
                    self.outcomes.nothing_new();
                } else {
                    self.outcomes.succeeded();
                    let Difference { added, changed, removed } = difference;
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

    fn take_changes(&self) -> Result<(Revision, Difference), DatabaseError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *taken;
        let changes = self.database.read_blocking(move |store| store.changes_since(since))?;
        let revision = changes.revision;
        for id in &changes.unusable {
            tracing::error!(key_id = id, "a key of the store cannot be understood, and opens nothing");
        }
        let (difference, clashes) = self.keys.change(changes);
        for clash in clashes {
            tracing::error!("a key of the store opens nothing: {clash}");
        }
        *taken = revision;
        Ok((revision, difference))
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
                    _ = usage.tick() => self.write_usage().await,
                }
            }
        };
        tokio::join!(listening, looking);
    }

    /// What the management API works with.
    pub(super) fn management(
        self: &Arc<Self>,
        credential: Digest,
        format: &Arc<ArcSwap<SecretFormat>>,
        environments: &Arc<ArcSwap<Vec<String>>>,
    ) -> Management {
        let vault = Arc::clone(self);
        Management {
            database: self.database.clone(),
            keys: Arc::clone(&self.keys),
            format: Arc::clone(format),
            environments: Arc::clone(environments),
            credential,
            changed: Arc::new(move || {
                let taking = Arc::clone(&vault).take_aside();
                Box::pin(async move {
                    taking.await;
                })
            }),
        }
    }

    /// Takes what has changed on a thread that may wait.
    pub(super) async fn take_aside(self: Arc<Self>) -> Revision {
        tokio::task::spawn_blocking(move || self.take()).await.unwrap_or(Revision(0))
    }
}
