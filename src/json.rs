//! JSON that can be read in one way only (RFC 8259, and stricter where that lets readers choose).
//!
//! A member that stands twice is refused: which of the two counts depends on the reader, and somebody who looked at the
//! request before us may have seen the other one. So is what is nested deeper than any request needs.
//!
//! Never in this file: a message that repeats what was read. It may be a secret.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

/// Lists and objects within one another. The deepest request has three, claims of tokens have seldom more than four.
const DEPTH_MAX: usize = 8;

/// Why content is not JSON that can be read in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// It is no text.
    #[error("the content is not UTF-8; send JSON in UTF-8 (RFC 8259, section 8.1)")]
    Encoding,
    /// It is no JSON.
    #[error("the content is not JSON (RFC 8259): line {line}, column {column}")]
    Syntax {
        /// Where it stops being JSON, counted from 1.
        line: usize,
        /// In that line, counted from 1.
        column: usize,
    },
    /// Readers may disagree about it.
    #[error("a member stands twice in one object; send each once")]
    Twice,
    /// Nobody needs it so deep.
    #[error("the content is nested more than {DEPTH_MAX} deep")]
    Deep,
}

/// Reads the one value that `content` is.
///
/// # Errors
///
/// [`NotJson`], also for a member that stands twice and for more than 8 levels.
pub fn read(content: &[u8]) -> Result<Value, NotJson> {
    let text = std::str::from_utf8(content).map_err(|_| NotJson::Encoding)?;
    let fault = Cell::new(None);
    let mut deserializer = Deserializer::from_str(text);
    let value = Strict { depth: 0, fault: &fault }.deserialize(&mut deserializer);
    value
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| fault.get().unwrap_or_else(|| NotJson::Syntax { line: error.line(), column: error.column() }))
}

/// Reads a value that stands `depth` deep. `fault` says what the message of an error may not be asked for.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    fault: &'a Cell<Option<NotJson>>,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, fault: NotJson) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            Err(self.refuse(NotJson::Deep))
        } else {
            Ok(Self { depth: self.depth + 1, ..self })
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inside)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(self.refuse(NotJson::Twice));
            }
            members.insert(name, object.next_value_seed(inside)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_be_read_in_one_way_is_read() {
        let text = r#" {"a": [1, -2, 3.5, true, null, "x\u00e9"], "b": {"a": {}}} "#;
        assert_eq!(read(text.as_bytes()), Ok(json!({"a": [1, -2, 3.5, true, null, "x\u{e9}"], "b": {"a": {}}})));
        assert_eq!(read(b"18446744073709551615"), Ok(json!(u64::MAX)));
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (content, expected) in [
            (&b"{\"a\":\"\xff\"}"[..], NotJson::Encoding),
            (b"", NotJson::Syntax { line: 1, column: 0 }),
            (b"{\"a\":1} x", NotJson::Syntax { line: 1, column: 9 }),
            (b"{a:1}", NotJson::Syntax { line: 1, column: 2 }),
            (b"[1,]", NotJson::Syntax { line: 1, column: 4 }),
            (b"\"\\ud800\"", NotJson::Syntax { line: 1, column: 8 }),
            (b"1e999", NotJson::Syntax { line: 1, column: 5 }),
            (b"NaN", NotJson::Syntax { line: 1, column: 1 }),
            (b"\xef\xbb\xbf{}", NotJson::Syntax { line: 1, column: 1 }),
            (b"{\"a\":1,\"a\":1}", NotJson::Twice),
            (b"{\"a\":1,\"\\u0061\":1}", NotJson::Twice),
            (b"[{\"m\":{\"a\":1,\"a\":2}}]", NotJson::Twice),
            (b"[[[[[[[[[]]]]]]]]]", NotJson::Deep),
        ] {
            assert_eq!(read(content), Err(expected), "{}", String::from_utf8_lossy(content));
        }
        assert_eq!(read("[".repeat(60_000).as_bytes()), Err(NotJson::Deep));
        assert!(read(b"[[[[[[[[]]]]]]]]").is_ok());
    }
}
