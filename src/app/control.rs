//! The control plane: starts the workers, then waits for signals and for files that change.
//!
//! Nothing here is on the way of a request. When it fails at something (a file that does not parse, a certificate
//! without its key), what was good stays in force, the failure is logged and shown in the metrics, and serving goes on.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle as Task;

use super::assembly::Assembly;
use super::ending::{Parting, Signals};
use super::gateways::gateways;
use super::probing;
use super::state::{Applied, State};
use super::traces::Traces;
use super::workers::{Door, Worker};
use super::{exposure, meters};
use crate::gateway::Gateway;
use crate::listener::{self, Drain};
use crate::management;
use crate::probes::{self, SideDoor};
use crate::reload::Watcher;
use crate::telemetry::log::LogControl;

/// How often buckets that are full, and so say nothing, are dropped, and logins and sessions that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How long the last lines of the access log may take.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Runs the gateway to its end.
pub(super) async fn run(
    path: &Path,
    assembly: Assembly,
    log: LogControl,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    let state = State::new(path, assembly, log)?;
    meters::install(&state);
    let drain = Drain::new();
    let parting = Arc::new(Parting::new(&state, &drain));
    let (stop, stopped) = watch::channel(false);

    let admin = open_admin_door(&state, &parting).await?;
    let workers = start_workers(&state, &drain, &stopped)?;
    state.listening.met();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        workers = workers.len(),
        keys = state.keys.len(),
        pod = std::env::var("POD_NAME").ok(),
        namespace = std::env::var("POD_NAMESPACE").ok(),
        "keygate is ready"
    );

    let again = Arc::new(Notify::new());
    let exporting = state.traces.as_ref().and_then(Traces::start);
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&state)));
    let tending = state.vault.clone().map(|vault| tokio::spawn(vault.tend()));
    let watching = tokio::spawn(watch_files(Arc::clone(&state), Arc::clone(&again)));
    let exposure = tokio::spawn(exposure::watch(Arc::clone(&state)));
    let told = signals.end_or(&again).await;

    parting.finish(&mut signals, told).await;
    watching.abort();
    exposure.abort();
    if let Some(tending) = tending {
        tending.abort();
    }
    housekeeping.abort();
    let _ = stop.send(true);
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker has panicked");
        }
    }
    for door in admin {
        door.abort();
    }
    if let Some(vault) = &state.vault {
        vault.write_usage().await;
    }
    if let Some(exporting) = exporting {
        exporting.end().await;
    }
    if let Some(access_log) = &state.access_log {
        access_log.close(LAST_LINES);
    }
    tracing::info!("keygate has ended");
    Ok(ExitCode::SUCCESS)
}

/// Opens the admin door, if there is one, and the side door that belongs to it.
async fn open_admin_door(state: &Arc<State>, parting: &Arc<Parting>) -> anyhow::Result<Vec<Task<()>>> {
    let Some(address) = state.admin.as_ref().map(|admin| admin.address) else { return Ok(Vec::new()) };
    let listener = listener::bind(address, 1)
        .with_context(|| format!("cannot open the admin door at {address}; set `admin.listen` to another address"))?;
    let listener = listener.into_iter().next().context("no socket for the admin door")?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    tracing::info!(door = "admin", %address, "listening");
    let mut router = probing::router(state);
    if let (Some(vault), Some(credential)) = (&state.vault, state.credential) {
        router = router.merge(management::router(vault.management(credential, &state.format, &state.environments)));
    }
    let mut doors = vec![tokio::spawn(probes::serve(listener, router, std::future::pending()))];
    match SideDoor::open(address) {
        Ok(side_door) => {
            let parting = Arc::clone(parting);
            doors.push(tokio::spawn(side_door.serve(move || {
                parting.begin("keygate drain");
            })));
        }
        Err(error) => tracing::warn!("`keygate drain` will not reach this process; signals will: {error}"),
    }
    Ok(doors)
}

/// Binds every listening address once for each worker, and starts the workers.
fn start_workers(
    state: &Arc<State>,
    drain: &Drain,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut sockets: Vec<Vec<(StdListener, Door)>> = (0..state.workers).map(|_| Vec::new()).collect();
    for door in &state.doors {
        let bound = listener::bind(door.settings.load().address, state.workers)?;
        if let Some(address) = bound.first().and_then(|socket| socket.local_addr().ok()) {
            let name = if door.asking.is_some() { "check" } else { "gateway" };
            tracing::info!(door = name, %address, tls = door.tls.is_some(), "listening");
        }
        for (mine, socket) in sockets.iter_mut().zip(bound) {
            mine.push((socket, door.clone()));
        }
    }
    let start = |(doors, gateway): (Vec<(StdListener, Door)>, Arc<Gateway>)| {
        let index = gateway.desk.worker;
        Worker { index, doors, gateway, drain: drain.watch(), stop: stopped.clone() }
            .start()
            .context("no worker thread")
    };
    sockets.into_iter().zip(gateways(state)).map(start).collect()
}

/// Reads again whatever may have changed, for as long as the process lives.
async fn watch_files(state: Arc<State>, again: Arc<Notify>) {
    let mut watcher = Watcher::new();
    loop {
        watcher.follow(state.files());
        let forced = tokio::select! {
            () = watcher.changed() => false,
            () = again.notified() => true,
        };
        let reading = Arc::clone(&state);
        // Parsing a large key file takes seconds of pure computation.
        let applied = tokio::task::spawn_blocking(move || reading.reload(forced)).await;
        match applied {
            Ok(Applied { changed: true }) => tracing::debug!("reloaded"),
            Ok(Applied { changed: false }) => {}
            Err(error) if error.is_cancelled() => return,
            Err(error) => tracing::error!("a reload has panicked; what was good stays in force: {error}"),
        }
    }
}

/// Does what has to be done from time to time.
async fn keep_house(state: Arc<State>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let keeping = Arc::clone(&state);
        if tokio::task::spawn_blocking(move || keeping.keep_house()).await.is_err() {
            tracing::error!("keeping house has panicked");
        }
    }
}
