//! Content that somebody has to see all of: to know whether it is signed, or to do what it asks for.
//!
//! It is small, comes within one timeout as a whole, and all of it together has a budget: many who send a little each
//! cannot fill the memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::arriving::Arriving;
use super::body::RequestBody;
use super::progress::Patience;
use super::upload::UploadFailure;

/// Bytes that are held whole at once, by all requests of a process together.
pub const HELD_BYTES_MAX: u64 = 256 << 20;

/// The content of a request: as it comes, or read whole because somebody had to see all of it first.
#[derive(Debug)]
pub enum Content {
    /// As it comes from the client.
    Coming(Arriving),
    /// All of it.
    Whole(Held),
}

/// Content that is there, with its share of the budget.
pub struct Held {
    bytes: Bytes,
    _share: Share,
}

impl Held {
    /// The content.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Takes the content out, to be sent on.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// What is left for content that is held whole.
#[derive(Debug)]
pub struct Budget {
    left_bytes: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { left_bytes: AtomicU64::new(bytes) }
    }

    fn take(&self, bytes: u64) -> bool {
        self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// What was taken out of a budget. Given back when it is dropped.
struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64) -> bool {
        let granted = self.budget.take(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left_bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why content is not there whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWhole {
    /// It ended early.
    Upload(UploadFailure),
    /// So much content of others is held that there is no room for this.
    Crowded,
}

/// Reads all of the client's content: at most `bytes_max` of it, within `time_max`.
///
/// # Errors
///
/// [`NotWhole`].
pub async fn whole(
    arriving: Arriving,
    version: Version,
    bytes_max: u64,
    time_max: Duration,
    budget: &Arc<Budget>,
) -> Result<Held, NotWhole> {
    // All of it comes within one time, so nothing has to be asked of its parts.
    let patience = Patience { pause: time_max, rate_min: 0 };
    let mut body = RequestBody::streaming(arriving, version, bytes_max, patience);
    let upload = body.upload();
    let failure =
        || NotWhole::Upload(upload.as_ref().and_then(|upload| upload.failure()).unwrap_or(UploadFailure::Broken));
    let mut share = Share { budget: Arc::clone(budget), bytes: 0 };
    let reading = async {
        let mut parts: Vec<Bytes> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(part) = frame.map_err(|_| failure())?.into_data() else { continue };
            if !share.grow(part.len() as u64) {
                return Err(NotWhole::Crowded);
            }
            parts.push(part);
        }
        Ok(joined(parts))
    };
    let read = timeout(time_max, reading).await;
    let bytes = read.unwrap_or(Err(NotWhole::Upload(UploadFailure::Stalled)))?;
    Ok(Held { bytes, _share: share })
}

/// One part is not copied.
fn joined(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in &parts {
        all.extend_from_slice(part);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn_and_gets_everything_back() {
        let budget = Arc::new(Budget::new(10));
        let share = || Share { budget: Arc::clone(&budget), bytes: 0 };
        let (mut one, mut other) = (share(), share());
        assert!(one.grow(6) && other.grow(4) && !one.grow(1));
        drop(other);
        assert!(one.grow(4) && !one.grow(1));
        drop(one);
        assert!(budget.take(10) && !budget.take(1));
    }

    #[test]
    fn parts_are_joined_in_their_order() {
        assert_eq!(joined(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]), "abc");
        assert_eq!(joined(Vec::new()), "");
    }
}
