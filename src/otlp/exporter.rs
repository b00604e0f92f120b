//! When batches are sent, and when again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::message::encode;
use super::post::{PostError, Poster};
use super::settings::{Headers, Settings};
use crate::outbound::Connector;
use crate::telemetry::traces::{Counts, Span, Spans};

/// Spans of one batch, or little more.
const BATCH_SPANS: usize = 512;

/// How often a batch is sent at most.
const ATTEMPTS_MAX: u32 = 3;

/// How long to wait before the second attempt; before the third twice as long.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest that a collector can make us wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Empties the queue of spans towards a collector.
#[derive(Debug)]
pub struct Exporter {
    spans: Spans,
    counts: Arc<Counts>,
    poster: Poster,
    headers: Headers,
    headers_file: Option<PathBuf>,
    interval: Duration,
    resource: Vec<(String, String)>,
    /// Why spans were not taken last, so that it is said once and not for every batch.
    problem: Option<String>,
    /// What is wrong with the file of headers, likewise.
    stale: Option<String>,
}

impl Exporter {
    /// An exporter of these spans.
    #[must_use]
    pub fn new(settings: Settings, connector: Connector, headers: Headers, spans: Spans) -> Self {
        Self {
            counts: Arc::clone(&spans.counts),
            spans,
            poster: Poster::new(connector, settings.endpoint, settings.timeout),
            headers,
            headers_file: settings.headers,
            interval: settings.interval,
            resource: settings.resource,
            problem: None,
            stale: None,
        }
    }

    /// Sends what there is every now and then, until `stop` is true and the queue is empty. Then each batch has one
    /// attempt; bound it all the same.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(self.interval) => false,
                () = self.spans.crowded() => false,
            };
            loop {
                let batch = self.spans.take(BATCH_SPANS);
                if batch.is_empty() {
                    break;
                }
                self.deliver(batch, &mut stop).await;
            }
            if stopping {
                return;
            }
        }
    }

    /// Sends a batch until it is taken, or there is no use in it any more.
    async fn deliver(&mut self, batch: Vec<Span>, stop: &mut watch::Receiver<bool>) {
        self.renew_headers().await;
        let count = batch.len() as u64;
        let content = Bytes::from(encode(&self.resource, batch));
        for attempt in 1..=ATTEMPTS_MAX {
            let error = match self.poster.post(&self.headers, content.clone()).await {
                Ok(rejected) => return self.taken(count, rejected.min(count)),
                Err(error) => error,
            };
            let stopping = *stop.borrow();
            let Some(wait) = error.retry().filter(|_| attempt < ATTEMPTS_MAX && !stopping) else {
                return self.not_taken(count, &error);
            };
            let wait = wait.unwrap_or(BACKOFF * attempt).min(BACKOFF_MAX);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn taken(&mut self, count: u64, rejected: u64) {
        self.counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
        self.counts.rejected.fetch_add(rejected, Ordering::Relaxed);
        if self.problem.take().is_some() {
            tracing::info!("spans are taken again");
        }
    }

    fn not_taken(&mut self, count: u64, error: &PostError) {
        self.counts.dropped_by_export.fetch_add(count, Ordering::Relaxed);
        complain(&mut self.problem, format!("spans were not taken: {error}"));
    }

    /// Reads the fields again: a token may have been replaced. If they are not good, the last good ones are sent.
    async fn renew_headers(&mut self) {
        let Some(file) = self.headers_file.clone() else { return };
        let shown = file.display().to_string();
        match tokio::task::spawn_blocking(move || Headers::read(&file)).await {
            Ok(Ok(headers)) => {
                self.headers = headers;
                if self.stale.take().is_some() {
                    tracing::info!("the fields that spans are sent with are read again");
                }
            }
            Ok(Err(problem)) => {
                let said = format!("spans are sent with the fields as they were: {shown} {problem}");
                complain(&mut self.stale, said);
            }
            Err(_) => {}
        }
    }
}

/// Says what is wrong, unless that was said last.
fn complain(last: &mut Option<String>, problem: String) {
    if last.as_ref() != Some(&problem) {
        tracing::warn!("{problem}");
        *last = Some(problem);
    }
}
