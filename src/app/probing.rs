//! Questions to the upstream that come by the admin door: whether it is there, and what it says at paths that the operator
//! has chosen.
//!
//! They go over connections of their own, so that they are answered by the upstream as it is now and take nothing from
//! requests.

use std::sync::Arc;

use axum::Router;
use http::StatusCode;

use super::state::State;
use crate::probes;

/// What the admin door answers without a credential.
pub(super) fn router(state: &Arc<State>) -> Router {
    let (reached, asked) = (Arc::clone(state), Arc::clone(state));
    let reach = move || reach(Arc::clone(&reached));
    let ask = move |name| ask(Arc::clone(&asked), name);
    probes::router(Arc::clone(&state.metrics), state.readiness.clone(), reach).merge(probes::upstream_router(ask))
}

/// Whether every upstream takes a connection; if not, which one does not, and why.
async fn reach(state: Arc<State>) -> Result<(), String> {
    for upstream in state.upstreams().iter() {
        let endpoint = &upstream.settings().endpoint;
        upstream.reach().await.map_err(|error| format!("{endpoint}: {error}"))?;
    }
    Ok(())
}

/// What the upstream says to the probe of this name; nothing if there is none.
async fn ask(state: Arc<State>, name: String) -> Option<Result<StatusCode, String>> {
    let (probed, path) = {
        let current = state.current();
        let probe = current.probes.iter().find(|probe| probe.name == name)?;
        (Arc::clone(&current.probed), probe.path.clone())
    };
    Some(probed.ask(&path).await.map_err(|error| error.to_string()))
}
