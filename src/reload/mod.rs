//! Noticing that files have changed.
//!
//! Files are watched by their *directory*: Kubernetes swaps a `..data` symlink and editors rename, and a watch on the
//! file itself goes blind after the first of these. Behind the watch stands a look at every file once a second, for
//! file systems without events. Neither decides that something has changed: they only say when it is worth reading
//! again. Whoever reads compares the content.

mod glance;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use glance::Glance;

/// How long to wait after an event for the rest of a change: writers rename, link and unlink in quick succession.
const SETTLE: Duration = Duration::from_millis(30);

/// How long a stream of events may hold back the first reading.
const SETTLE_MAX: Duration = Duration::from_millis(300);

/// How often files are looked at where no event tells of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often everything is read again although nothing seems to have changed, for file systems that neither tell nor
/// show.
const READ_EVERY: Duration = Duration::from_secs(30);

/// Watches a set of files and directories.
#[derive(Debug)]
pub struct Watcher {
    /// `None` where the system has no events to give; the looks remain.
    events: Option<RecommendedWatcher>,
    arrived: mpsc::Receiver<()>,
    /// The directories that are watched, with what tells each from another of the same name.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    paths: Vec<PathBuf>,
    /// What the files looked like before they were last worth reading. Never taken after they were read: what changes
    /// while they are read must show at the next look.
    seen: Glance,
    /// Something is watched that was not watched while it was last read.
    unread: bool,
    look: tokio::time::Interval,
    read: tokio::time::Interval,
}

impl Watcher {
    /// Starts to watch nothing. Must be called on a tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        let (arrive, arrived) = mpsc::channel(1);
        let events = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading a file is an event too, and we read. An error may mean that events were lost.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                // Full means that a change is already announced.
                let _ = arrive.try_send(());
            }
        });
        let events = events.inspect_err(|error| tracing::warn!("no file events: {error}; looking every second")).ok();
        let mut look = interval(LOOK_EVERY);
        let mut read = interval(READ_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        read.set_missed_tick_behavior(MissedTickBehavior::Delay);
        read.reset();
        Self {
            events,
            arrived,
            watched: BTreeMap::new(),
            paths: Vec::new(),
            seen: Glance::default(),
            unread: false,
            look,
            read,
        }
    }

    /// Watches `paths`, files and directories, in place of those before. If they are others, or a directory is another
    /// one of the same name, it is worth reading them at once: they may have changed before they were watched.
    pub fn follow(&mut self, paths: Vec<PathBuf>) {
        let directories = paths.iter().map(|path| directory(path));
        let wanted: BTreeMap<PathBuf, _> = directories.map(|path| (path.clone(), identity(&path))).collect();
        if paths == self.paths && wanted == self.watched {
            return;
        }
        if let Some(events) = &mut self.events {
            let watched = &self.watched;
            for (gone, _) in watched.iter().filter(|(path, identity)| wanted.get(*path) != Some(*identity)) {
                let _ = events.unwatch(gone);
            }
            let is_new = |(path, identity): &(&PathBuf, &Option<Identity>)| {
                identity.is_some() && watched.get(*path) != Some(*identity)
            };
            for (new, _) in wanted.iter().filter(is_new) {
                if let Err(error) = events.watch(new, RecursiveMode::NonRecursive) {
                    tracing::warn!(directory = %new.display(), "cannot watch: {error}; looking every second");
                }
            }
        }
        self.watched = wanted;
        self.paths = paths;
        self.unread = true;
    }

    /// Waits until it is worth reading the files again.
    pub async fn changed(&mut self) {
        if std::mem::take(&mut self.unread) {
            self.seen = Glance::of(&self.paths);
            return;
        }
        loop {
            tokio::select! {
                Some(()) = self.arrived.recv() => return self.settle().await,
                _ = self.look.tick() => {
                    let now = Glance::of(&self.paths);
                    if now != self.seen {
                        self.seen = now;
                        return;
                    }
                }
                _ = self.read.tick() => return,
            }
        }
    }

    /// Waits until no further event has come for a moment.
    async fn settle(&mut self) {
        let latest = Instant::now() + SETTLE_MAX;
        while Instant::now() < latest {
            tokio::select! {
                Some(()) = self.arrived.recv() => {}
                () = sleep(SETTLE) => break,
            }
        }
        self.seen = Glance::of(&self.paths);
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

/// What tells a directory from another one of the same name: device, inode, and when it was made where the file system
/// tells that: the inode of a directory that was removed is given to the next one.
type Identity = (u64, u64, Option<SystemTime>);

/// The directory that a path leads to; none if there is none.
fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// The directory whose events tell of `path`.
fn directory(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kubernetes swaps `..data`, every time anew.
    #[tokio::test]
    async fn every_swap_of_a_mounted_secret_is_noticed() {
        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        let swap = |round: u32| {
            fs::create_dir(at(&format!("..{round}"))).unwrap();
            fs::write(at(&format!("..{round}/keys.yaml")), round.to_string()).unwrap();
            std::os::unix::fs::symlink(format!("..{round}"), at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        swap(0);
        std::os::unix::fs::symlink("..data/keys.yaml", at("keys.yaml")).unwrap();
        let mut watcher = Watcher::new();
        watcher.follow(vec![at("keys.yaml")]);
        watcher.changed().await;
        for round in 1..5 {
            swap(round);
            let noticed = tokio::time::timeout(Duration::from_millis(900), watcher.changed()).await;
            assert!(noticed.is_ok(), "swap {round} went unnoticed");
            assert_eq!(fs::read_to_string(at("keys.yaml")).unwrap(), round.to_string());
        }
    }

    /// A file behind a symlink to another directory changes without an event in the watched one.
    #[tokio::test]
    async fn a_change_without_an_event_is_seen_at_the_next_look() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = there.path().join("keys.yaml");
        fs::write(&target, "one").unwrap();
        let link = here.path().join("keys.yaml");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut watcher = Watcher::new();
        watcher.follow(vec![link]);
        watcher.changed().await;
        fs::write(&target, "two, longer").unwrap();
        let noticed = tokio::time::timeout(Duration::from_millis(2500), watcher.changed()).await;
        assert!(noticed.is_ok());
    }

    /// An event tells of a directory, not of its name.
    #[tokio::test]
    async fn a_directory_that_was_away_is_watched_again() {
        let above = tempfile::tempdir().unwrap();
        let here = above.path().join("here");
        fs::create_dir(&here).unwrap();
        let file = here.join("keys.yaml");
        fs::write(&file, "one").unwrap();
        let mut watcher = Watcher::new();
        watcher.follow(vec![file.clone()]);
        watcher.changed().await;
        for round in 0..6 {
            fs::remove_dir_all(&here).unwrap();
            // Every other time it is back before anybody has looked, with the inode that it had.
            if round % 2 == 0 {
                watcher.changed().await;
                watcher.follow(vec![file.clone()]);
            }
            fs::create_dir(&here).unwrap();
            fs::write(&file, format!("back {round}")).unwrap();
            watcher.changed().await;
            watcher.follow(vec![file.clone()]);
            // Whatever is left of the events from before.
            while tokio::time::timeout(Duration::from_millis(1200), watcher.changed()).await.is_ok() {}
            // Without events the look would need half a second on average.
            watcher.look.reset();
            fs::write(&file, format!("changed {round}")).unwrap();
            let noticed = tokio::time::timeout(Duration::from_millis(900), watcher.changed()).await;
            assert!(noticed.is_ok(), "round {round}");
        }
    }

    /// What we read ourselves does not make us read again.
    #[tokio::test]
    async fn reading_is_not_a_change() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("keys.yaml");
        fs::write(&file, "one").unwrap();
        let mut watcher = Watcher::new();
        watcher.follow(vec![file.clone()]);
        watcher.changed().await;
        fs::read(&file).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1500), watcher.changed()).await.is_err());
    }
}
