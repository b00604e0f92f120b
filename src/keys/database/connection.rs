//! The thread that owns the connection, and how others have work done by it.
//!
//! SQLite blocks, for milliseconds when a commit waits for the disk and for seconds when another process writes. So
//! one thread of its own does it all, one job after the other. Whoever waits for an answer may go away: a write that was
//! handed over is done whether or not anybody still waits.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::changes::Snapshot;
use super::error::DatabaseError;
use super::schema::{self, Inode};
use super::transaction::{By, Reader, Writer};
use crate::moment::Moment;

/// Jobs that may wait. More of them would wait longer than anybody does.
const JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce(&Open) + Send>;

/// The writable store of keys, users, logins and sessions: an SQLite file.
///
/// A handle; all its clones are the same store. The file is closed when the last one is dropped.
///
/// What is done is a function that is given a [`Reader`] or a [`Writer`], and is one transaction: [`Database::read`] and
/// [`Database::write`] for asynchronous callers, [`Database::read_blocking`] and [`Database::write_blocking`] for
/// threads that may wait. Such a function must not wait for the store itself: it is the store that runs it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has.
struct Open {
    reader: Reader,
    path: PathBuf,
    inode: Inode,
}

impl Database {
    /// Opens the store at `path`: makes it if it is not there (mode 0600; the directory must be there), and brings it to
    /// the newest schema. Blocks.
    ///
    /// # Errors
    ///
    /// If the file cannot be made or opened, belongs to another program, or was written by a newer keygate.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::start(path, schema::open(path)?)
    }

    /// As [`Database::open`], but makes no store.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoStore`], or as [`Database::open`].
    pub fn open_existing(path: &Path) -> Result<Self, DatabaseError> {
        Self::start(path, schema::open_existing(path)?)
    }

    /// Reads all keys of the store at `path` without a change to it: neither makes it nor brings it to another schema.
    /// `None` if it is not there, or holds nothing yet. Blocks.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, belongs to another program, or was written by a newer keygate.
    pub fn inspect(path: &Path) -> Result<Option<Snapshot>, DatabaseError> {
        let Some(connection) = schema::open_unchanged(path)? else { return Ok(None) };
        let reader = Reader::new(connection);
        let _transaction = reader.begin(TransactionBehavior::Deferred)?;
        reader.snapshot().map(Some)
    }

    fn start(path: &Path, (connection, inode): (Connection, Inode)) -> Result<Self, DatabaseError> {
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let open = Open { reader: Reader::new(connection), path: path.to_owned(), inode };
        let thread =
            thread::Builder::new().name("store".to_owned()).spawn(move || work(&open, &waiting)).map_err(|source| {
                DatabaseError::File { what: "there is no thread for it", path: path.to_owned(), source }
            })?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), jobs: Some(jobs), thread: Some(thread) }) })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Has `what` read the store, at one moment: nothing that is written meanwhile is seen.
    ///
    /// # Errors
    ///
    /// What `what` says, or that the store cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Reader) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        self.hand_over(move |open| drop(answer.send(open.read(what))))?;
        answered.await.map_err(|_| DatabaseError::Closed)?
    }

    /// Has `what` change the store: all of it or, if it says no, nothing. Returns when it is on the disk.
    ///
    /// The future may be dropped; the write is done nevertheless.
    ///
    /// # Errors
    ///
    /// What `what` says, or that the store cannot be written.
    pub async fn write<T: Send + 'static>(
        &self,
        by: By,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        self.hand_over(move |open| drop(answer.send(open.write(by, now, what))))?;
        answered.await.map_err(|_| DatabaseError::Closed)?
    }

    /// As [`Database::read`], for a thread that may wait: also for a place in the queue. So what has to be read, that
    /// something be in force, is read however many others ask.
    ///
    /// # Errors
    ///
    /// As [`Database::read`], but for [`DatabaseError::Full`].
    pub fn read_blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Reader) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = sync_channel(1);
        self.hand_over_in_turn(move |open| drop(answer.send(open.read(what))))?;
        answered.recv().map_err(|_| DatabaseError::Closed)?
    }

    /// As [`Database::write`], for a thread that may wait: also for a place in the queue.
    ///
    /// # Errors
    ///
    /// As [`Database::write`], but for [`DatabaseError::Full`].
    pub fn write_blocking<T: Send + 'static>(
        &self,
        by: By,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = sync_channel(1);
        self.hand_over_in_turn(move |open| drop(answer.send(open.write(by, now, what))))?;
        answered.recv().map_err(|_| DatabaseError::Closed)?
    }

    /// Blocks until there is a place.
    fn hand_over_in_turn(&self, job: impl FnOnce(&Open) + Send + 'static) -> Result<(), DatabaseError> {
        self.jobs()?.send(Box::new(job)).map_err(|_| DatabaseError::Closed)
    }

    fn hand_over(&self, job: impl FnOnce(&Open) + Send + 'static) -> Result<(), DatabaseError> {
        self.jobs()?.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => DatabaseError::Full,
            TrySendError::Disconnected(_) => DatabaseError::Closed,
        })
    }

    fn jobs(&self) -> Result<&SyncSender<Job>, DatabaseError> {
        self.inner.jobs.as_ref().ok_or(DatabaseError::Closed)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// Waits until everything that was handed over is done and the file is closed.
impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            // The last handle may have been inside a job.
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn work(open: &Open, waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        // A job that panics is its caller's loss alone: the transaction is rolled back when it is dropped, and whoever
        // waits is told that there is no answer.
        let _ = catch_unwind(AssertUnwindSafe(|| job(open)));
    }
}

impl Open {
    fn read<T>(&self, what: impl FnOnce(&Reader) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        self.in_place()?;
        let _transaction = self.reader.begin(TransactionBehavior::Deferred)?;
        what(&self.reader)
    }

    fn write<T>(
        &self,
        by: By,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.in_place()?;
        let transaction = self.reader.begin(TransactionBehavior::Immediate)?;
        let value = what(&Writer::new(&self.reader, by, now))?;
        transaction.commit()?;
        Ok(value)
    }

    /// A file that was replaced goes on living under our feet, and what is written to it dies with this process.
    fn in_place(&self) -> Result<(), DatabaseError> {
        if schema::inode_of(&self.path) == Some(self.inode) {
            Ok(())
        } else {
            Err(DatabaseError::Replaced(self.path.clone()))
        }
    }
}
