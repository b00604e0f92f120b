//! The store of a process that runs: what is written through it is in force when the write returns.
//!
//! ```text
//! management API, operations -> Live::write(by, now, |store| ...) -> on the disk -> `changed` -> the next request meets it
//! ```

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::connection::Database;
use super::error::DatabaseError;
use super::transaction::{By, Reader, Writer};
use crate::moment::Moment;

/// Puts in force what was written to the store: when the future is done, the next request of any client meets it.
pub type Changed = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The store, and how what is written to it comes into force. A handle; all its clones are the same.
#[derive(Clone)]
pub struct Live {
    database: Database,
    changed: Changed,
    /// Where writes are done to their end.
    control: Handle,
}

impl Live {
    /// Joins the two. Must be called on the tokio runtime on which writes shall be done to their end; it has to outlive
    /// whoever waits for one.
    ///
    /// # Panics
    ///
    /// If there is no such runtime.
    #[must_use]
    pub fn new(database: Database, changed: Changed) -> Self {
        Self { database, changed, control: Handle::current() }
    }

    /// Has `what` read the store, at one moment.
    ///
    /// # Errors
    ///
    /// As [`Database::read`].
    pub async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Reader) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.database.read(what).await
    }

    /// Has `what` change the store, and puts the change in force. Both are done to their end, also if this future is
    /// dropped: nobody need wait for a revocation to have it.
    ///
    /// # Errors
    ///
    /// As [`Database::write`].
    pub async fn write<T: Send + 'static>(
        &self,
        by: By,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (database, changed) = (self.database.clone(), Arc::clone(&self.changed));
        let written = self.control.spawn(async move {
            let value = database.write(by, now, what).await?;
            changed().await;
            Ok(value)
        });
        // It ends early only if it panics, or with the process.
        written.await.unwrap_or(Err(DatabaseError::Closed))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("database", &self.database).finish_non_exhaustive()
    }
}
