//! Traces in the running process: who makes spans, and who sends them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::otlp::{Exporter, Headers, Settings};
use crate::outbound::Connector;
use crate::secret::random_uuid;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;

/// How long the last spans may take.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// What is needed to reach the collector, read and found good.
pub(super) struct Reach {
    connector: Connector,
    headers: Headers,
}

/// Who makes spans, and who will send them.
pub(super) struct Traces {
    /// What they were made by.
    pub(super) settings: Settings,
    /// Takes spans from the road.
    pub(super) tracer: Arc<Tracer>,
    /// Waits for the runtime of the control plane.
    exporter: Mutex<Option<Exporter>>,
}

/// Who sends spans, at work.
pub(super) struct Exporting {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Reach {
    /// Reads the files that the configuration names for it; none if there are no traces. Blocks.
    ///
    /// # Errors
    ///
    /// Every problem with them.
    pub(super) fn load(config: &Config) -> Result<Option<Self>, Problems> {
        let Some(settings) = &config.traces else { return Ok(None) };
        let problem = |file: &Path, what: &str| config.problem_with_file(&["traces"], file, what);
        let connector = match &settings.authorities {
            Some(file) => Connector::believing_file(file).map_err(|what| problem(file, &what)),
            None => Connector::new().map_err(|error| Problem::of_file("traces", error.to_string())),
        };
        let headers = match &settings.headers {
            Some(file) => Headers::read(file).map_err(|what| problem(file, &what)),
            None => Ok(Headers::default()),
        };
        match (connector, headers) {
            (Ok(connector), Ok(headers)) => Ok(Some(Self { connector, headers })),
            (connector, headers) => Err([connector.err(), headers.err()].into_iter().flatten().collect()),
        }
    }
}

impl Traces {
    /// Opens the queue, and shows in the metrics what becomes of spans; none if the configuration has no traces.
    pub(super) fn open(config: &Config, reach: Option<Reach>, metrics: &Metrics) -> Option<Self> {
        let (mut settings, Reach { connector, headers }) = config.traces.clone().zip(reach)?;
        let (tracer, spans) = Tracer::new(settings.sampling);
        tracer.export(metrics);
        let written = settings.clone();
        if let Ok(instance) = random_uuid() {
            settings.resource.push(("service.instance.id".to_owned(), instance));
        }
        let exporter = Mutex::new(Some(Exporter::new(settings, connector, headers, spans)));
        Some(Self { settings: written, tracer, exporter })
    }

    /// Begins to send, on the runtime of the control plane; once.
    pub(super) fn start(&self) -> Option<Exporting> {
        let exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (stop, stopped) = watch::channel(false);
        Some(Exporting { stop, task: tokio::spawn(exporter.run(stopped)) })
    }
}

impl Exporting {
    /// Sends what is left, for at most five seconds.
    pub(super) async fn end(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(LAST_SPANS, &mut self.task).await.is_err() {
            tracing::warn!("the last spans were not taken in time");
            self.task.abort();
        }
    }
}
