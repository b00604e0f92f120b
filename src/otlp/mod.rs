//! Sends spans to a collector: the OpenTelemetry protocol over HTTP, in protobuf (OTLP/HTTP 1.x).
//!
//! Nothing here is on the way of a request. Spans wait in a queue of fixed length ([`crate::telemetry::traces`]) and are
//! sent in batches; what the collector does not take within three attempts is dropped and counted.
//!
//! - [`settings`]: where to, and as whom.
//! - [`message`]: how spans look on the wire.
//! - [`post`]: one batch, sent once.
//! - [`exporter`]: when batches are sent, and when again.

mod exporter;
mod message;
mod post;
mod settings;

pub use exporter::Exporter;
pub use settings::{Headers, Settings};
