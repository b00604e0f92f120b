//! The spans of one request that is sampled: one for all of it, and below that one for the time in which the upstream
//! was asked.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions for HTTP, or begin with `keygate.`. What they say is
//! what the access log says.
//!
//! Never in this file: a credential, the query, or any other field of the request than `traceparent`.

use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method};

use super::correlation::{Named, Names, TRACEPARENT};
use super::upstream::{Endpoint, Protocol, Upstream};
use crate::telemetry::access_log::AccessLine;
use crate::telemetry::metrics::MethodLabel;
use crate::telemetry::traces::{Kind, Span, SpanId, TraceContext, TraceId, Tracer};

/// Where a request stands in its trace.
#[derive(Debug)]
pub struct Trace {
    id: TraceId,
    parent: Option<SpanId>,
    request: SpanId,
    /// The span in which the upstream is asked. The upstream knows its id before anybody knows whether it is asked.
    asking: SpanId,
    /// The client's connection is.
    encrypted: bool,
    upstream: Option<Arc<Upstream>>,
}

/// What is known of a request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// What the access log says.
    pub line: &'a AccessLine<'a>,
    /// Its method.
    pub method: &'a Method,
    /// The host it was for, and the port.
    pub authority: Option<&'a Authority>,
    /// When the upstream was asked and when it had answered or given up, in nanoseconds from the beginning.
    pub asked_ns: Option<(u64, u64)>,
    /// When it ended, in nanoseconds from the beginning.
    pub ended_ns: u64,
}

impl Trace {
    /// Begins the trace of a request that has its name, if it is to be sampled; the upstream is told so.
    pub fn begin(
        tracer: &Tracer,
        names: &Names,
        named: &Named,
        fields: &mut HeaderMap,
        encrypted: bool,
    ) -> Option<Box<Self>> {
        let context = TraceContext::read(fields.get(TRACEPARENT)?.as_bytes())?;
        if !tracer.samples(context.trace, named.has_parent.then(|| context.is_sampled())) {
            return None;
        }
        let (request, asking) = (names.span(), names.span());
        fields.insert(TRACEPARENT, HeaderValue::try_from(context.sampled_from(asking)).ok()?);
        let parent = named.has_parent.then_some(context.span);
        Some(Box::new(Self { id: context.trace, parent, request, asking, encrypted, upstream: None }))
    }

    /// Notes whom the request is handed to.
    pub fn asks(&mut self, upstream: &Arc<Upstream>) {
        self.upstream = Some(Arc::clone(upstream));
    }

    /// The spans of the request, now that it has ended.
    #[must_use]
    pub fn spans(&self, tracer: &Tracer, ended: Ended<'_>) -> Vec<Span> {
        let asking =
            (self.upstream.as_ref().zip(ended.asked_ns)).map(|(upstream, asked)| self.asking(upstream, asked, ended));
        [self.request(tracer, ended)].into_iter().chain(asking).collect()
    }

    fn request(&self, tracer: &Tracer, ended: Ended<'_>) -> Span {
        let line = ended.line;
        let (method, called) = method(ended.method);
        let mut span = Span::new(self.id, self.request, Kind::Server, format!("{called} {}", line.route));
        (span.parent, span.parent_is_remote) = (self.parent, self.parent.is_some());
        (span.start_ns, span.end_ns) = (line.unix_ns, line.unix_ns.saturating_add(ended.ended_ns));
        span.text("http.request.method", method);
        span.text("url.scheme", if self.encrypted { "https" } else { "http" });
        span.text("url.path", path(line));
        if let Some(authority) = ended.authority {
            span.text("server.address", authority.host());
            if let Some(port) = authority.port_u16() {
                span.number("server.port", port);
            }
        }
        span.text("client.address", &line.client.to_string());
        span.text("network.protocol.version", line.protocol.trim_start_matches("HTTP/"));
        // A client that has left was sent no status.
        let status = Some(line.status).filter(|_| line.reason != Some(CLIENT_GONE));
        if let Some(status) = status {
            span.number("http.response.status_code", status);
        }
        span.text("keygate.route", line.route);
        span.text("keygate.request_id", line.request_id);
        span.text("keygate.source", line.source);
        if let Some(reason) = line.reason {
            span.text("keygate.reason", reason);
        }
        if let Some(key_id) = line.key_id.filter(|_| tracer.shows_key_ids()) {
            span.text("keygate.key.id", key_id);
        }
        // What the client did wrong is no failure of a server.
        let broke_off = line.source == UPSTREAM && line.reason.is_some();
        fail(&mut span, status.is_some_and(|status| status >= 500) || broke_off, line);
        span
    }

    fn asking(&self, upstream: &Upstream, (from_ns, to_ns): (u64, u64), ended: Ended<'_>) -> Span {
        let (line, settings) = (ended.line, upstream.settings());
        let (method, called) = method(ended.method);
        let mut span = Span::new(self.id, self.asking, Kind::Client, called.to_owned());
        span.parent = Some(self.request);
        (span.start_ns, span.end_ns) = (line.unix_ns.saturating_add(from_ns), line.unix_ns.saturating_add(to_ns));
        span.text("http.request.method", method);
        match &settings.endpoint {
            Endpoint::Tcp { host, port } => {
                let scheme = if settings.tls.is_some() { "https" } else { "http" };
                span.text("url.full", &format!("{scheme}://{}{}", settings.endpoint, path(line)));
                span.text("server.address", host);
                span.number("server.port", *port);
            }
            Endpoint::Unix(socket) => {
                span.text("server.address", &socket.display().to_string());
                span.text("network.transport", "unix");
            }
        }
        span.text("network.protocol.version", if settings.protocol == Protocol::Http2 { "2" } else { "1.1" });
        if line.source == UPSTREAM {
            span.number("http.response.status_code", line.status);
        }
        fail(&mut span, line.status >= 400 || line.reason.is_some(), line);
        span
    }
}

/// Who wrote the response, and why there was none: as the access log says it.
const UPSTREAM: &str = "upstream";
const CLIENT_GONE: &str = "client_gone";

/// Marks a span as failed, if it is, with what went wrong.
fn fail(span: &mut Span, failed: bool, line: &AccessLine<'_>) {
    span.failed = failed;
    if failed {
        span.text("error.type", line.reason.unwrap_or(&line.status.to_string()));
    }
}

/// The path, whatever the line has behind it.
fn path<'a>(line: &AccessLine<'a>) -> &'a str {
    line.path.split_once('?').map_or(line.path, |(path, _)| path)
}

/// The method as an attribute and in names of spans: what clients invent is one method.
fn method(method: &Method) -> (&'static str, &'static str) {
    let label = MethodLabel::from(method);
    if label == MethodLabel::Other { ("_OTHER", "HTTP") } else { (label.as_str(), label.as_str()) }
}
