//! The gateway of each worker: what all share, and a desk of its own.

use std::path::Path;
use std::sync::Arc;

use super::assembly::Assembly;
use super::state::State;
use crate::gateway::Gateway;
use crate::gateway::content::{Budget, HELD_BYTES_MAX};
use crate::gateway::correlation::Names;
use crate::gateway::desk::Desk;
use crate::gateway::room::Room;
use crate::listener::Settings;
use crate::telemetry::log::LogControl;

/// Makes a gateway for each worker.
pub(super) fn gateways(state: &State) -> Vec<Arc<Gateway>> {
    let directory = state.vault.as_ref().map(|vault| Arc::clone(&vault.directory)).unwrap_or_default();
    let services = state.vault.as_ref().map(|vault| Arc::new(vault.services()));
    let budget = Arc::new(Budget::new(HELD_BYTES_MAX));
    let room = Arc::new(Room::new(state.workers));
    let gateway = |worker: usize| {
        let desk = Arc::new(Desk {
            worker,
            shard: state.metrics.shard(worker),
            access_log: state.access_log.clone(),
            tracer: state.traces.as_ref().map(|traces| Arc::clone(&traces.tracer)),
            names: Names::new(),
            room: Arc::clone(&room),
        });
        Arc::new(Gateway {
            policy: Arc::clone(&state.policy),
            keys: Arc::clone(&state.keys),
            directory: Arc::clone(&directory),
            services: services.clone(),
            budget: Arc::clone(&budget),
            draining: Arc::clone(&state.draining),
            desk,
        })
    };
    (0..state.workers).map(gateway).collect()
}

/// The gateway of the configuration at `path`, and the settings of its first listening address, for whoever serves
/// connections by [`crate::listener::serve`] in a process of its own, such as the fuzz targets.
///
/// No socket is opened, no file followed, and nothing said to a log.
///
/// # Errors
///
/// As `keygate run`: every problem of every file.
pub fn gateway_of(path: &Path) -> anyhow::Result<(Arc<Gateway>, Settings)> {
    let assembly = Assembly::load(path).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let state = State::new(path, assembly, LogControl::silent())?;
    let door = state.doors.first().zip(gateways(&state).into_iter().next());
    let (door, gateway) = door.ok_or_else(|| anyhow::anyhow!("no listening address"))?;
    Ok((gateway, Settings::clone(&door.settings.load())))
}
