//! The upstreams in the running process: each other settings once, and the same over reloads.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, RouteSettings};
use crate::document::{Problem, Problems};
use crate::gateway::upstream::{Settings, TlsError, Upstream};

/// The upstreams of a configuration. Equal settings are one upstream, over reloads too: its connections are kept.
#[derive(Clone)]
pub(super) struct Upstreams(Vec<Arc<Upstream>>);

impl Upstreams {
    /// Prepares every upstream of the configuration at `path`.
    ///
    /// # Errors
    ///
    /// What is wrong with the files of TLS to them.
    pub(super) fn of(config: &Config, path: &Path, workers: usize) -> Result<Self, Problems> {
        let mut upstreams = Self(Vec::new());
        let mut problems = Problems::new();
        let of_environments = config.environments.iter().map(|environment| &environment.upstream);
        let of_routes = config.routes.iter().filter_map(RouteSettings::upstream);
        for settings in of_environments.chain(of_routes) {
            if upstreams.0.iter().any(|known| known.settings() == settings) {
                continue;
            }
            match Upstream::new(settings.clone(), workers) {
                Ok(upstream) => upstreams.0.push(upstream),
                Err(error) => problems.push(problem_with_tls(config, path, &error)),
            }
        }
        problems.into_result()?;
        Ok(upstreams)
    }

    /// Takes the place of `earlier`, and keeps those of it that are the same.
    pub(super) fn succeed(&mut self, earlier: &Self) {
        for upstream in &mut self.0 {
            if let Some(same) = earlier.0.iter().find(|earlier| earlier.is_as(upstream)) {
                *upstream = Arc::clone(same);
            }
        }
    }

    /// Every upstream.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.iter()
    }

    /// The upstream of these settings. Every upstream that the configuration names is here.
    pub(super) fn get(&self, settings: &Settings) -> Arc<Upstream> {
        let known = self.0.iter().find(|upstream| upstream.settings() == settings);
        Arc::clone(known.unwrap_or(&self.0[0]))
    }
}

/// What is wrong with TLS to an upstream, at the field that names the file.
pub(super) fn problem_with_tls(config: &Config, path: &Path, error: &TlsError) -> Problem {
    match error {
        TlsError::File { path, reason } => config.problem_with_file(
            &["upstream", "environments", "routes"],
            path,
            &format!("cannot be used: {reason}"),
        ),
        TlsError::ServerName(_) | TlsError::Rustls(_) => {
            let problem = Problem::of_file(&path.display().to_string(), error.to_string());
            Problem { field: "upstream.tls".to_owned(), ..problem }
        }
    }
}
