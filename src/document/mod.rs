//! YAML documents an operator wrote: their values, and the place of every mistake in them.
//!
//! A [`Document`] is read once into a tree, from which everything else is answered: variables are expanded in it, a
//! schema is checked against it, and values are decoded from it. There is one parser, so there is one meaning.
//! The parser tells places only in its errors; a second walk which fails on purpose at each scalar collects them, and
//! happens only once there is a problem to show.
//!
//! What an operator wrote may be a secret. No problem shows a value, unless [`Document::showing_values`] was called,
//! and even then only where a schema expects one of a few words, or an address, a duration or a size. A value that
//! came out of a variable is never shown.
//!
//! Never in this file: what the fields mean. Configuration and keys have their own shapes and their own checks.

mod check;
mod decode;
pub mod duration;
mod expand;
mod format;
mod node;
mod path;
mod place;
mod problem;
mod schema;
pub mod size;
mod suggest;
mod wording;

use std::io::Read;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;

pub use self::path::Path;
pub use self::problem::{Problem, Problems};
pub use self::schema::schema_of;
pub use self::suggest::suggestion;

use self::node::Node;
use self::place::{Aim, Place, Places};

/// A YAML document in memory: one tree of values, and the means to say where each of them stands.
///
/// Purposefully without a `Debug` that shows values: they may be secrets.
pub struct Document {
    name: String,
    text: String,
    root: Node,
    places: OnceLock<Places>,
    values_shown: bool,
    /// Where problems were found so far, by [`Document::expand`] and [`Document::check`].
    faulty: Vec<Path>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Document {
    /// Reads the file at `path`, which may hold at most `bytes_max` bytes. Problems name the file as `path` does.
    ///
    /// # Errors
    ///
    /// One problem without a place if the file cannot be read or is too large; one with a place if it is not UTF-8;
    /// otherwise those of [`Document::parse`].
    pub fn read(path: &std::path::Path, bytes_max: u64) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let unplaced = |message: String| Problems::from(Problem::of_file(&name, message));

        let file = std::fs::File::open(path).map_err(|error| unplaced(format!("cannot be opened: {error}")))?;
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a file which grows while it is read is noticed too.
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| unplaced(format!("cannot be read: {error}")))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(unplaced(format!("is larger than {}, the most that is read", size::display(bytes_max))));
        }

        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&name, text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let place = Place::after(&error.into_bytes(), valid);
                Err(Problem::new(&name, place, "", "is not UTF-8 text").into())
            }
        }
    }

    /// Parses `text`; problems call the document `name`.
    ///
    /// # Errors
    ///
    /// The syntax error, an empty document, a second document, a tag, a merge key; or every field that occurs twice.
    pub fn parse(name: &str, text: String) -> Result<Self, Problems> {
        let root = node::parse(name, &text)?;
        let (places, faulty) = (OnceLock::new(), Vec::new());
        let document = Self { name: name.to_owned(), text, root, places, values_shown: false, faulty };
        let duplicates = document.duplicates();
        if duplicates.is_empty() { Ok(document) } else { Err(duplicates) }
    }

    /// Lets problems of [`Document::check`] show values where the schema expects one of a few words, an address, a
    /// duration or a size. Not for key files.
    #[must_use]
    pub fn showing_values(mut self) -> Self {
        self.values_shown = true;
        self
    }

    /// Replaces `${NAME}` and `${NAME:-default}` in every text by what `variable` answers; `$${` stands for `${`.
    ///
    /// This happens after parsing, so a variable can never add a field. The default counts when the variable is not set
    /// or is empty. Field names are left alone.
    ///
    /// Returns a problem for each variable that is not set and has no default, and for each malformed reference.
    pub fn expand(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Problems {
        let faults = expand::expand(&mut self.root, variable);
        self.set_aside(faults)
    }

    /// Checks the structure against a JSON Schema and returns every problem there is, in the order of the document.
    ///
    /// Understands `$ref` to `$defs`, `type`, `properties`, `required`, `additionalProperties`, `items`, the minima and
    /// maxima, `enum`, `const`, `anyOf`, `oneOf`, `allOf`, and the formats of this part (`human-duration`, `byte-size`,
    /// `socket-address`, `network`, `http-field-name`, and `service-url`, which is only asked for by its name). Text that came out of a variable becomes a number or a boolean
    /// where the schema wants one and it is one.
    ///
    /// Faulty values are set aside, here and in [`Document::expand`]: whatever looks at the document afterwards finds
    /// them left out, so that the rest can still be decoded and looked at. [`Document::is_faulty`] knows them.
    pub fn check(&mut self, schema: &serde_json::Value) -> Problems {
        let faults = check::check(&mut self.root, schema, self.values_shown);
        self.set_aside(faults)
    }

    /// Decodes what is left of a faulty document: mappings that miss a required field are left out as well. Only to find
    /// more problems; what comes out must never be used.
    ///
    /// Nothing if the whole document misses one. An item of a list may be at another index than in the document, see
    /// [`Document::item`].
    pub fn decode_rest<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            let fault = match decode::decode(&self.root) {
                Ok(value) => return Some(value),
                Err(fault) => fault,
            };
            if !self.leave_out(fault.path) {
                return None;
            }
        }
    }

    /// The path of the item of `list` that [`Document::decode_rest`] found at `index`.
    #[must_use]
    pub fn item(&self, list: &Path, index: usize) -> Path {
        list.index(self.root.at(list.steps()).map_or(index, |list| list.item(index)))
    }

    /// Whether a problem was found at this path, on the way to it, or inside of it.
    #[must_use]
    pub fn is_faulty(&self, path: &Path) -> bool {
        self.faulty.iter().any(|faulty| faulty.touches(path))
    }

    /// Whether there is a value at this path, be it faulty or not.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.root.at(path.steps()).is_some()
    }

    /// Decodes the document into a value, without [`Document::check`]: fast enough for 100,000 keys.
    ///
    /// A field without a value is never `None`: leaving out and writing nothing are different things.
    ///
    /// # Errors
    ///
    /// The first problem only, which is what serde can tell. It shows no value, unless a `Deserialize` implementation
    /// puts one into its message.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problems> {
        decode::decode(&self.root).map_err(|fault| self.placed(vec![fault]))
    }

    /// What problems call the document: its file, if it was read from one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A problem with the value at `path`, or with the nearest value around it if there is none.
    #[must_use]
    pub fn problem(&self, path: &Path, message: impl Into<String>) -> Problem {
        self.place_one(&Fault { path: path.clone(), aim: Aim::Value, message: message.into() })
    }

    /// A problem with the name of the field at `path`, rather than with its value.
    #[must_use]
    pub fn problem_with_name(&self, path: &Path, message: impl Into<String>) -> Problem {
        self.place_one(&Fault { path: path.clone(), aim: Aim::Name { nth: 0 }, message: message.into() })
    }

    fn duplicates(&self) -> Problems {
        let duplicates = self.root.duplicates();
        let problems = duplicates.into_iter().map(|(path, nth)| {
            let first = self.place(&path, Aim::Name { nth: 0 });
            let message = format!("occurs twice; the first is at line {}", first.line);
            self.place_one(&Fault { path, aim: Aim::Name { nth }, message })
        });
        problems.collect()
    }

    fn set_aside(&mut self, faults: Vec<Fault>) -> Problems {
        let paths: Vec<Path> = faults.iter().map(|fault| fault.path.clone()).collect();
        let problems = self.placed(faults);
        for path in paths {
            self.leave_out(path);
        }
        problems
    }

    /// Sets aside what is at `path`; says whether there was something.
    fn leave_out(&mut self, path: Path) -> bool {
        // Places first: they are found by the shape which the tree has in the text.
        self.places();
        let there = self.root.set_aside(path.steps());
        self.faulty.push(path);
        there
    }

    fn placed(&self, faults: Vec<Fault>) -> Problems {
        let mut problems: Problems = faults.into_iter().map(|fault| self.place_one(&fault)).collect();
        problems.sort();
        problems
    }

    fn place_one(&self, fault: &Fault) -> Problem {
        let place = self.place(&fault.path, fault.aim);
        Problem::new(&self.name, place, &fault.path.to_string(), &fault.message)
    }

    fn place(&self, path: &Path, aim: Aim) -> Place {
        self.places().find(&self.root, path, aim)
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::collect(&self.text, &self.root))
    }
}

/// A problem before its place is known.
#[derive(Debug)]
struct Fault {
    path: Path,
    aim: Aim,
    message: String,
}

#[cfg(test)]
mod tests;
