//! JSON with holes: the shape of a body as an operator writes it, to be filled in for each response.
//!
//! A string that is exactly `{{name}}` becomes the value itself, a number where it is a number; inside a longer string
//! the value is text. A member that is exactly `{{name?}}` is left out where there is no value. A template is read once, into pieces of finished JSON with holes between them, so that filling it
//! in is copying.
//!
//! Never in this file: which names there are. Whoever fills a template in says so when it is read, and a template that
//! asks for another name is refused then.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value as Json;

/// What a hole can be filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'v> {
    /// A string.
    Text(Cow<'v, str>),
    /// A number.
    Number(u64),
    /// True or false.
    Bool(bool),
    /// A list of strings; inside a longer string, with a space between any two.
    Words(Vec<Cow<'v, str>>),
    /// JSON that is finished, to stand as a whole value.
    Json(Cow<'v, str>),
    /// Nothing: `null` as a whole value, no characters inside a string.
    Absent,
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It asks for a name that nobody can fill in.
    #[error("`{{{{{name}}}}}` cannot be filled in here; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are, separated by commas.
        known: String,
    },
    /// Braces open and do not close.
    #[error("`{{{{` without `}}}}`")]
    Open,
}

/// A template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Finished JSON.
    Json(String),
    /// A whole value: the index of its name.
    Whole(usize),
    /// Text inside a string: the index of its name.
    Inside(usize),
    /// A comma, unless the object has only begun.
    Comma,
    /// A member that is left out where it has no value, with what goes before the value: its name and a colon.
    Member(String, usize),
}

impl Template {
    /// Reads a template for these names.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], with the path of the string that it is about, such as `error.message`.
    pub fn read(shape: &Json, names: &[&str]) -> Result<Self, (String, TemplateError)> {
        let mut reader = Reader { names, pieces: Vec::new(), text: String::new(), path: Vec::new() };
        match reader.value(shape) {
            Ok(()) => Ok(Self { pieces: reader.finish() }),
            Err(error) => Err((reader.path.join("."), error)),
        }
    }

    /// Says whether it asks for the name at this index.
    #[must_use]
    pub fn asks_for(&self, index: usize) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Whole(asked) | Piece::Inside(asked) | Piece::Member(_, asked) if *asked == index))
    }

    /// Fills the template in. `value` answers with the value of the name at this index.
    #[must_use]
    pub fn fill<'v>(&self, value: &dyn Fn(usize) -> Value<'v>) -> String {
        let mut text = String::with_capacity(256);
        for piece in &self.pieces {
            match piece {
                Piece::Json(json) => text.push_str(json),
                Piece::Whole(index) => value(*index).push_whole(&mut text),
                Piece::Inside(index) => value(*index).push_inside(&mut text),
                Piece::Comma => push_comma(&mut text),
                Piece::Member(before, index) => {
                    let value = value(*index);
                    if value != Value::Absent {
                        push_comma(&mut text);
                        text.push_str(before);
                        value.push_whole(&mut text);
                    }
                }
            }
        }
        text
    }
}

impl Value<'_> {
    fn push_whole(self, json: &mut String) {
        match self {
            Self::Text(found) => push_string(json, &found),
            Self::Number(number) => push_number(json, number),
            Self::Bool(truth) => json.push_str(if truth { "true" } else { "false" }),
            Self::Words(words) => {
                json.push('[');
                for (index, word) in words.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    push_string(json, word);
                }
                json.push(']');
            }
            Self::Json(finished) => json.push_str(&finished),
            Self::Absent => json.push_str("null"),
        }
    }

    fn push_inside(self, json: &mut String) {
        match self {
            Self::Text(found) => push_escaped(json, &found),
            Self::Number(number) => push_number(json, number),
            Self::Bool(truth) => json.push_str(if truth { "true" } else { "false" }),
            Self::Words(words) => push_escaped(json, &words.join(" ")),
            Self::Json(finished) => push_escaped(json, &finished),
            Self::Absent => {}
        }
    }
}

/// The names that a shape asks for, in the order in which they stand in it; those of holes that do not close, too.
#[must_use]
pub fn names_in(shape: &Json) -> Vec<&str> {
    match shape {
        Json::Object(members) => members.values().flat_map(names_in).collect(),
        Json::Array(items) => items.iter().flat_map(names_in).collect(),
        Json::String(text) => {
            let names = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            names.map(|name| name.trim_end().trim_end_matches('?').trim()).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

/// Turns a shape into pieces.
struct Reader<'n> {
    names: &'n [&'n str],
    pieces: Vec<Piece>,
    /// The JSON since the last hole.
    text: String,
    /// Where we are, for errors. Not taken back when an error passes.
    path: Vec<String>,
}

impl Reader<'_> {
    fn value(&mut self, shape: &Json) -> Result<(), TemplateError> {
        match shape {
            Json::Object(members) => {
                self.text.push('{');
                // Whether there may be nothing before a member, which is known only when the template is filled in.
                let mut open = false;
                for (number, (name, member)) in members.iter().enumerate() {
                    self.path.push(name.clone());
                    let mut before = String::new();
                    push_string(&mut before, name);
                    before.push(':');
                    if let Some(name) = optional(member) {
                        let index = self.index(name)?;
                        self.hole(Piece::Member(before, index));
                        open = true;
                    } else {
                        if open {
                            self.hole(Piece::Comma);
                        } else if number > 0 {
                            self.text.push(',');
                        }
                        self.text.push_str(&before);
                        self.value(member)?;
                        open = false;
                    }
                    self.path.pop();
                }
                self.text.push('}');
            }
            Json::Array(items) => {
                self.text.push('[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        self.text.push(',');
                    }
                    self.path.push(number.to_string());
                    self.value(item)?;
                    self.path.pop();
                }
                self.text.push(']');
            }
            Json::String(text) => self.string(text)?,
            Json::Null | Json::Bool(_) | Json::Number(_) => self.text.push_str(&shape.to_string()),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), TemplateError> {
        let whole = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        if let Some(name) = whole.filter(|name| !name.contains("{{")) {
            let index = self.index(name)?;
            self.hole(Piece::Whole(index));
            return Ok(());
        }
        self.text.push('"');
        let mut left = text;
        while let Some((before, behind)) = left.split_once("{{") {
            push_escaped(&mut self.text, before);
            let (name, rest) = behind.split_once("}}").ok_or(TemplateError::Open)?;
            let index = self.index(name)?;
            self.hole(Piece::Inside(index));
            left = rest;
        }
        push_escaped(&mut self.text, left);
        self.text.push('"');
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize, TemplateError> {
        let name = name.trim();
        self.names.iter().position(|known| *known == name).ok_or_else(|| TemplateError::Unknown {
            name: name.to_owned(),
            known: self.names.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", "),
        })
    }

    fn hole(&mut self, piece: Piece) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Json(std::mem::take(&mut self.text)));
        }
        self.pieces.push(piece);
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Json(self.text));
        }
        self.pieces
    }
}

/// The name of a member that may be left out.
fn optional(member: &Json) -> Option<&str> {
    let name = member.as_str()?.strip_prefix("{{")?.strip_suffix("}}")?.trim_end().strip_suffix('?')?;
    (!name.contains("{{")).then_some(name)
}

/// Writes a comma, unless an object has only begun.
fn push_comma(json: &mut String) {
    if !json.ends_with('{') {
        json.push(',');
    }
}

fn push_number(text: &mut String, number: u64) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{number}");
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    push_escaped(json, text);
    json.push('"');
}

/// Writes text as it stands inside a JSON string (RFC 8259, section 7).
fn push_escaped(json: &mut String, text: &str) {
    // Nearly every text is plain, and that is seen sixteen bytes at a time.
    let is_plain = |byte: &u8| (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\');
    let (chunks, rest) = text.as_bytes().as_chunks::<16>();
    let all_plain = |chunk: &[u8; 16]| chunk.iter().fold(true, |plain, byte| plain & is_plain(byte));
    if chunks.iter().all(all_plain) && rest.iter().all(is_plain) {
        return json.push_str(text);
    }
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::*;

    const NAMES: &[&str] = &["code", "seconds", "nothing"];

    fn fill(shape: &Json) -> String {
        let template = Template::read(shape, NAMES).expect("a good template");
        template.fill(&|index| match index {
            0 => "say \"no\"".into(),
            1 => Value::Number(30),
            _ => Value::Absent,
        })
    }

    #[test]
    fn holes_have_types() {
        let shape = json!({
            "error": { "code": "{{code}}", "message": "Retry after {{seconds}} seconds", "retry_after": "{{seconds}}" },
            "none": "{{nothing}}", "text": "[{{ nothing }}]", "list": [1, true, null, "{{seconds}}{{seconds}}"]
        });
        let filled: Json = serde_json::from_str(&fill(&shape)).expect("JSON");
        let expected = json!({
            "error": { "code": "say \"no\"", "message": "Retry after 30 seconds", "retry_after": 30 },
            "none": null, "text": "[]", "list": [1, true, null, "3030"]
        });
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_member_may_be_left_out() {
        for (shape, expected) in [
            (json!({ "a": "{{nothing?}}" }), "{}"),
            (json!({ "a": "{{code?}}" }), r#"{"a":"say \"no\""}"#),
            (json!({ "a": "{{nothing?}}", "b": 1 }), r#"{"b":1}"#),
            (json!({ "a": 1, "b": "{{nothing?}}", "c": { "d": "{{ nothing? }}" } }), r#"{"a":1,"c":{}}"#),
            (
                json!({ "a": "{{seconds?}}", "b": "{{nothing?}}", "c": "{{seconds ?}}", "d": 1 }),
                r#"{"a":30,"c":30,"d":1}"#,
            ),
            (json!({ "a": {}, "b": "{{seconds?}}" }), r#"{"a":{},"b":30}"#),
        ] {
            assert_eq!(fill(&shape), expected, "{shape}");
        }
        let template = Template::read(&json!({ "a": "{{nothing?}}" }), NAMES).expect("good");
        assert!(template.asks_for(2) && !template.asks_for(1));
        assert_eq!(names_in(&json!("{{nothing?}} {{ code }}")), ["nothing", "code"]);
        for elsewhere in [json!(["{{nothing?}}"]), json!({ "a": "x{{nothing?}}" }), json!("{{nothing?}}")] {
            assert!(Template::read(&elsewhere, NAMES).is_err(), "only a member can be left out: {elsewhere}");
        }
    }

    #[test]
    fn lists_and_truths_are_json_and_text() {
        let shape = json!({ "a": "{{code}}", "b": "<{{code}}>", "c": "{{seconds}}", "d": "{{nothing}}" });
        let template = Template::read(&shape, NAMES).expect("good");
        let filled = template.fill(&|index| match index {
            0 => Value::Words(vec!["x\"".into(), "y".into()]),
            1 => Value::Bool(true),
            _ => Value::Json("[{}]".into()),
        });
        assert_eq!(filled, r#"{"a":["x\"","y"],"b":"<x\" y>","c":true,"d":[{}]}"#);
        assert!(template.asks_for(2) && !Template::read(&json!("{{code}}"), NAMES).expect("good").asks_for(2));
        assert_eq!(names_in(&shape), ["code", "code", "seconds", "nothing"]);
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_its_place() {
        let (path, error) = Template::read(&json!({ "a": ["x", "{{cod}}"] }), NAMES).expect_err("unknown");
        assert_eq!(path, "a.1");
        assert_eq!(error.to_string(), "`{{cod}}` cannot be filled in here; there are `code`, `seconds`, `nothing`");
        assert_eq!(Template::read(&json!("{{code"), NAMES).expect_err("open").1, TemplateError::Open);
    }

    proptest! {
        /// Whatever a value holds, what comes out is JSON and the value comes back from it.
        #[test]
        fn no_value_breaks_out_of_its_string(value in any::<String>()) {
            let template = Template::read(&json!({ "a": "{{code}}", "b": "<{{code}}>" }), NAMES).expect("good");
            let filled = template.fill(&|_| Value::Text(Cow::Borrowed(&value)));
            let json: Json = serde_json::from_str(&filled).expect("JSON");
            assert_eq!(json, json!({ "a": value.clone(), "b": format!("<{value}>") }));
        }
    }
}
