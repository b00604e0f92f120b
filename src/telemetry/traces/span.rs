//! One span, before anybody has written it down for the wire.

use super::{SpanId, TraceId};

/// Bytes that one text of a span has at most; what is longer is cut. Paths may be much longer than is useful.
const TEXT_BYTES_MAX: usize = 1024;

/// On which side of a call a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that one is in another program.
    pub parent_is_remote: bool,
    /// On which side of a call it stands.
    pub kind: Kind,
    /// What it is called; few different names.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Whether what it stands for went wrong.
    pub failed: bool,
    /// What else is known, by names of OpenTelemetry's semantic conventions or, with `keygate.`, ours.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Span {
    /// A span that took no time.
    #[must_use]
    pub fn new(trace: TraceId, id: SpanId, kind: Kind, name: String) -> Self {
        let (parent, parent_is_remote, failed) = (None, false, false);
        let (start_ns, end_ns, attributes) = (0, 0, Vec::new());
        Self { trace, id, parent, parent_is_remote, kind, name, start_ns, end_ns, failed, attributes }
    }

    /// Adds a text, cut where it is too long.
    pub fn text(&mut self, name: &'static str, text: &str) {
        let shown = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text);
        self.attributes.push((name, Value::Text(shown.to_owned())));
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, number: impl Into<i64>) {
        self.attributes.push((name, Value::Number(number.into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut span = Span::new(TraceId(1), SpanId(1), Kind::Server, "GET".to_owned());
        span.text("url.path", &"é".repeat(1000));
        span.text("url.scheme", "https");
        let expected = [("url.path", Value::Text("é".repeat(512))), ("url.scheme", Value::Text("https".to_owned()))];
        assert_eq!(span.attributes, expected);
    }
}
