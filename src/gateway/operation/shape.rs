//! What a client tells an operation: the shape of its content or query, as an operator writes it, and what is read by it.
//!
//! A shape is JSON in which `{{login}}` stands where the login is. Members that the shape does not have are left alone,
//! as JSON's readers do (RFC 7493, section 4.2); what it has must be there and be of its kind.
//!
//! Never in this file: a message that repeats what was told. It may be a password.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::json;

/// Characters a text may have that an operation takes.
pub const TEXT_CHARS_MAX: usize = 256;

/// Characters a password or a token may have. What is longer is neither.
pub const SECRET_CHARS_MAX: usize = 8 * 1024;

/// Texts a list may have.
const WORDS_MAX: usize = 256;

/// What begins with this is kept with the key as a note.
const METADATA: &str = "metadata.";

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of 1 to so many characters, without control characters.
    Text(usize),
    /// Text that is kept from the log and may be anything: 1 to so many characters.
    Secret(usize),
    /// A list of texts.
    Words,
    /// A time (RFC 3339).
    Time,
    /// A whole number, from and to.
    Number(u64, u64),
}

/// One thing that an operation can be told.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Its name in a shape.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whether the operation cannot do without.
    pub required: bool,
}

/// Why a shape cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Neither a mapping nor exactly one name.
    #[error("must be a mapping, or exactly one name such as `{{{{{0}}}}}`")]
    Value(String),
    /// Nobody knows the name.
    #[error("`{{{{{name}}}}}` is nothing that this operation can be told; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The name stands twice.
    #[error("`{{{{{0}}}}}` stands twice")]
    Twice(String),
    /// The operation cannot do without it.
    #[error("has no `{{{{{0}}}}}`, which this operation needs")]
    Missing(&'static str),
}

/// A shape, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    members: Vec<(String, Member)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    Object(Shape),
    Hole(Hole),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hole {
    name: String,
    kind: Kind,
    required: bool,
}

/// What was told, by the names of the shape.
#[derive(Default)]
pub struct Told {
    texts: BTreeMap<String, String>,
    words: BTreeMap<String, Vec<String>>,
    times: BTreeMap<String, Timestamp>,
    numbers: BTreeMap<String, u64>,
}

impl Told {
    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// A list of texts.
    #[must_use]
    pub fn words(&self, name: &str) -> Option<&[String]> {
        self.words.get(name).map(Vec::as_slice)
    }

    /// A time.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        self.times.get(name).copied()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    /// What is to be kept as notes, by the names of the notes.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().filter_map(|(name, text)| Some((name.strip_prefix(METADATA)?, text.as_str())))
    }
}

impl Shape {
    /// Reads a shape for these inputs. A shape may also have `{{metadata.NAME}}`, and `{{metadata.NAME?}}` for a note that
    /// may be left out.
    ///
    /// # Errors
    ///
    /// [`ShapeError`], with the path inside the shape.
    pub fn read(shape: &Json, inputs: &[Input]) -> Result<Self, (String, ShapeError)> {
        let mut reader = Reader { inputs, seen: Vec::new(), path: Vec::new() };
        let read = match shape {
            Json::Object(members) => reader.object(members),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                Err(ShapeError::Value(inputs.first().map_or("name", |input| input.name).to_owned()))
            }
        };
        let read = read.map_err(|error| (reader.path.join("."), error))?;
        let missing = inputs.iter().find(|input| input.required && !reader.seen.iter().any(|seen| seen == input.name));
        match missing {
            Some(input) => Err((String::new(), ShapeError::Missing(input.name))),
            None => Ok(read),
        }
    }

    /// Takes out of a document what the shape asks for.
    ///
    /// # Errors
    ///
    /// What is wrong, by the name of the member.
    pub fn take(&self, document: &Json) -> Result<Told, String> {
        let mut told = Told::default();
        self.take_into(document, "", &mut told)?;
        Ok(told)
    }

    /// Takes out of a query what the shape asks for.
    ///
    /// # Errors
    ///
    /// What is wrong, by the name of the parameter.
    pub fn take_query(&self, query: &str) -> Result<Told, String> {
        let mut told = Told::default();
        for (name, member) in &self.members {
            let Member::Hole(hole) = member else { continue };
            let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
            let (value, another) = (values.next(), values.next());
            if another.is_some() {
                return Err(format!("`{name}` stands twice in the query"));
            }
            match value {
                Some((_, text)) => {
                    let number = || text.parse::<u64>().map_or_else(|_| Json::from(&*text), Json::from);
                    let value = if matches!(hole.kind, Kind::Number(..)) { number() } else { Json::from(&*text) };
                    hole.take(&value, name, &mut told)?;
                }
                None if hole.required => return Err(format!("`{name}` is missing in the query")),
                None => {}
            }
        }
        Ok(told)
    }

    fn take_into(&self, document: &Json, within: &str, told: &mut Told) -> Result<(), String> {
        let Json::Object(given) = document else {
            let what = if within.is_empty() { "the content".to_owned() } else { format!("`{within}`") };
            return Err(format!("{what} must be an object"));
        };
        for (name, member) in &self.members {
            let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
            match (member, given.get(name)) {
                (Member::Object(shape), Some(inside)) => shape.take_into(inside, &path, told)?,
                (Member::Object(shape), None) => shape.take_into(&Json::Object(serde_json::Map::new()), &path, told)?,
                (Member::Hole(hole), None | Some(Json::Null)) if hole.required => {
                    return Err(format!("`{path}` is missing"));
                }
                (Member::Hole(_), None | Some(Json::Null)) => {}
                (Member::Hole(hole), Some(value)) => hole.take(value, &path, told)?,
            }
        }
        Ok(())
    }
}

impl Hole {
    fn take(&self, value: &Json, path: &str, told: &mut Told) -> Result<(), String> {
        let name = self.name.clone();
        match self.kind {
            Kind::Text(chars_max) => {
                let text = text_of(value, path, chars_max)?;
                if text.chars().any(char::is_control) {
                    return Err(format!("`{path}` must have no control characters"));
                }
                told.texts.insert(name, text.to_owned());
            }
            Kind::Secret(chars_max) => {
                told.texts.insert(name, text_of(value, path, chars_max)?.to_owned());
            }
            Kind::Words => {
                let list = value.as_array().filter(|list| list.len() <= WORDS_MAX);
                let list = list.ok_or_else(|| format!("`{path}` must be a list of at most {WORDS_MAX} texts"))?;
                let words = list
                    .iter()
                    .enumerate()
                    .map(|(index, word)| text_of(word, &format!("{path}[{index}]"), TEXT_CHARS_MAX).map(str::to_owned));
                told.words.insert(name, words.collect::<Result<_, _>>()?);
            }
            Kind::Time => {
                let time = value.as_str().and_then(|text| text.parse().ok());
                let time =
                    time.ok_or_else(|| format!("`{path}` must be a time such as 2027-01-31T00:00:00Z (RFC 3339)"))?;
                told.times.insert(name, time);
            }
            Kind::Number(from, to) => {
                let number = value.as_u64().filter(|number| (from..=to).contains(number));
                let number = number.ok_or_else(|| format!("`{path}` must be a whole number from {from} to {to}"))?;
                told.numbers.insert(name, number);
            }
        }
        Ok(())
    }
}

fn text_of<'v>(value: &'v Json, path: &str, chars_max: usize) -> Result<&'v str, String> {
    let text = value.as_str().filter(|text| (1..=chars_max).contains(&text.chars().count()));
    text.ok_or_else(|| format!("`{path}` must be a text of 1 to {chars_max} characters"))
}

/// Reads a shape.
struct Reader<'i> {
    inputs: &'i [Input],
    seen: Vec<String>,
    path: Vec<String>,
}

impl Reader<'_> {
    fn object(&mut self, members: &serde_json::Map<String, Json>) -> Result<Shape, ShapeError> {
        let mut read = Vec::new();
        for (name, member) in members {
            self.path.push(name.clone());
            let member = match member {
                Json::Object(members) => Member::Object(self.object(members)?),
                Json::String(text) => Member::Hole(self.hole(text)?),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                    return Err(ShapeError::Value(name.clone()));
                }
            };
            read.push((name.clone(), member));
            self.path.pop();
        }
        Ok(Shape { members: read })
    }

    fn hole(&mut self, text: &str) -> Result<Hole, ShapeError> {
        let value = || ShapeError::Value(self.inputs.first().map_or("name", |input| input.name).to_owned());
        let name = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).ok_or_else(value)?.trim();
        let (note, required) = name.strip_suffix('?').map_or((name, true), |name| (name, false));
        let hole = match self.inputs.iter().find(|input| input.name == name) {
            Some(input) => Hole { name: name.to_owned(), kind: input.kind, required: input.required },
            None if note.strip_prefix(METADATA).is_some_and(|note| !note.is_empty()) => {
                Hole { name: note.to_owned(), kind: Kind::Text(TEXT_CHARS_MAX), required }
            }
            None => {
                let known = self.inputs.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>();
                return Err(ShapeError::Unknown { name: name.to_owned(), known: known.join(", ") });
            }
        };
        if self.seen.contains(&hole.name) {
            return Err(ShapeError::Twice(hole.name));
        }
        self.seen.push(hole.name.clone());
        Ok(hole)
    }
}

/// Reads content as JSON that can be read in one way only.
///
/// # Errors
///
/// Why it is not.
pub fn read_json(content: &[u8]) -> Result<Json, String> {
    json::read(content).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INPUTS: &[Input] = &[
        Input { name: "login", kind: Kind::Text(8), required: true },
        Input { name: "password", kind: Kind::Secret(8), required: true },
        Input { name: "permissions", kind: Kind::Words, required: false },
        Input { name: "expires_at", kind: Kind::Time, required: false },
        Input { name: "limit", kind: Kind::Number(1, 9), required: false },
    ];

    fn shape() -> Shape {
        let shape = json!({
            "user": { "document": "{{login}}", "pass": "{{password}}" },
            "can": "{{permissions}}", "until": "{{ expires_at }}", "limit": "{{limit}}",
            "type": "{{metadata.type}}", "note": "{{metadata.note?}}"
        });
        Shape::read(&shape, INPUTS).unwrap()
    }

    #[test]
    fn what_is_told_is_found_by_the_names_of_the_operation() {
        let told = shape().take(&json!({
            "user": { "document": "ada", "pass": "s\ncret", "more": 1 }, "can": ["a:b"], "until": "2027-01-31T00:00:00Z",
            "limit": 3, "type": "private", "note": null, "unknown": {}
        }));
        let told = told.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((told.text("login"), told.text("password")), (Some("ada"), Some("s\ncret")));
        assert_eq!((told.words("permissions"), told.number("limit")), (Some(&["a:b".to_owned()][..]), Some(3)));
        assert_eq!(told.time("expires_at"), "2027-01-31T00:00:00Z".parse().ok());
        assert_eq!(told.metadata().collect::<Vec<_>>(), [("type", "private")]);
    }

    #[test]
    fn wrong_input_is_refused_by_name_and_never_repeated() {
        let good = json!({ "user": { "document": "ada", "pass": "secret" }, "type": "x" });
        let with = |pointer: &str, value: Json| {
            let mut document = good.clone();
            document["user"]["document"] = if pointer == "document" { value.clone() } else { json!("ada") };
            if pointer != "document" {
                document[pointer] = value;
            }
            document
        };
        let rows = [
            (json!([]), "the content must be an object"),
            (json!({ "user": 3 }), "`user` must be an object"),
            (json!({}), "`user.document` is missing"),
            (with("document", json!("")), "`user.document` must be a text of 1 to 8 characters"),
            (with("document", json!("nine-char")), "`user.document` must be a text of 1 to 8 characters"),
            (with("document", json!(7)), "`user.document` must be a text of 1 to 8 characters"),
            (with("document", json!("a\u{0}")), "`user.document` must have no control characters"),
            (with("can", json!("a:b")), "`can` must be a list of at most 256 texts"),
            (with("can", json!([1])), "`can[0]` must be a text of 1 to 256 characters"),
            (with("until", json!("tomorrow")), "`until` must be a time such as 2027-01-31T00:00:00Z (RFC 3339)"),
            (with("limit", json!(0)), "`limit` must be a whole number from 1 to 9"),
            (with("limit", json!(1.5)), "`limit` must be a whole number from 1 to 9"),
            (with("type", Json::Null), "`type` is missing"),
        ];
        for (document, expected) in rows {
            assert_eq!(shape().take(&document).map(|_| ()).unwrap_err(), expected, "{document}");
        }
    }

    #[test]
    fn a_query_is_read_by_the_same_shape() {
        let shape =
            Shape::read(&json!({ "limit": "{{limit}}", "q": "{{login}}", "p": "{{password}}" }), INPUTS).unwrap();
        let told = shape.take_query("q=a%20b&limit=3&p=x&other=1").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((told.text("login"), told.number("limit")), (Some("a b"), Some(3)));
        for (query, expected) in [
            ("q=a&p=x&limit=ten", "`limit` must be a whole number from 1 to 9"),
            ("q=a&q=b&p=x", "`q` stands twice in the query"),
            ("p=x", "`q` is missing in the query"),
        ] {
            assert_eq!(shape.take_query(query).map(|_| ()).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_shape_that_cannot_be_used_is_refused_with_its_place() {
        let read = |shape: Json| Shape::read(&shape, INPUTS).map(|_| ()).unwrap_err();
        assert_eq!(read(json!("x")).1, ShapeError::Value("login".to_owned()));
        assert_eq!(read(json!({ "a": { "b": 3 } })).0, "a.b");
        assert_eq!(read(json!({ "a": "{{logn}}" })).0, "a");
        assert_eq!(read(json!({ "a": "x{{login}}" })).1, ShapeError::Value("login".to_owned()));
        assert_eq!(read(json!({ "a": "{{login}}", "b": "{{login}}" })).1, ShapeError::Twice("login".to_owned()));
        assert_eq!(read(json!({ "a": "{{login}}" })), (String::new(), ShapeError::Missing("password")));
    }
}
