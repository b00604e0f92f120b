//! The messages of OTLP, as its `.proto` files number their fields (opentelemetry-proto 1.x: `collector/trace/v1`,
//! `trace/v1`, `common/v1`, `resource/v1`). Only the fields that are sent or read are here; the numbers never change.
//!
//! `prost` does the encoding. The crate `opentelemetry-proto` has the same structures, and brings OpenTelemetry's SDK with
//! them, of which nothing would be used.

use prost::{Message, Oneof};

use crate::telemetry::traces::{self, Value};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Held", tags = "1, 3")]
    value: Option<Held>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Held {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// What the collector answers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// That it took only a part.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
}

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const KINDS: [i32; 2] = [2, 3];

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: i32 = 2;

/// Sampled, and it is known whether the parent is in another program (`SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`).
const FLAGS: u32 = 0x101;

/// The parent is in another program (`SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`).
const REMOTE: u32 = 0x200;

/// A batch, written for the wire. `resource` says what made the spans.
pub(super) fn encode(resource: &[(String, String)], spans: Vec<traces::Span>) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, value)| attribute(key, Held::Text(value.clone()))).collect();
    let scope = Scope { name: "keygate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = spans.into_iter().map(span).collect();
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn span(span: traces::Span) -> Span {
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        Value::Text(text) => attribute(key, Held::Text(text)),
        Value::Number(number) => attribute(key, Held::Number(number)),
    });
    Span {
        trace_id: span.trace.0.to_be_bytes().to_vec(),
        span_id: span.id.0.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name,
        kind: KINDS[span.kind as usize],
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns,
        attributes: attributes.collect(),
        status: span.failed.then_some(Status { code: STATUS_ERROR }),
        flags: if span.parent_is_remote { FLAGS | REMOTE } else { FLAGS },
    }
}

fn attribute(key: &str, value: Held) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
