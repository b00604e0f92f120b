//! Where one worker's records go.

use std::sync::Arc;

use super::correlation::Names;
use super::room::Room;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Shard;
use crate::telemetry::traces::Tracer;

/// What one worker writes its records to.
pub struct Desk {
    /// Which worker this is.
    pub worker: usize,
    /// Its share of the metrics.
    pub shard: Arc<Shard>,
    /// The access log, if there is one.
    pub access_log: Option<Arc<AccessLog>>,
    /// Who takes spans, if somebody does.
    pub tracer: Option<Arc<Tracer>>,
    /// Where names of requests come from.
    pub names: Names,
    /// Room for requests, the same for all workers.
    pub room: Arc<Room>,
}

impl Desk {
    /// Whether anybody is told what requests ask for.
    #[must_use]
    pub const fn tells_targets(&self) -> bool {
        self.access_log.is_some() || self.tracer.is_some()
    }
}
