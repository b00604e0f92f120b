//! The tree of a document: what the parser understood, nothing interpreted yet.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::path::{Path, Step};
use super::place::Place;
use super::problem::{Problem, Problems};

/// One value of a document.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Text. `expanded` says that a variable had a part in it.
    Text {
        text: Box<str>,
        expanded: bool,
    },
    List(Vec<Self>),
    /// Fields in the order of the document. Names are unique once [`Node::duplicates`] was found empty.
    Map(Vec<(Box<str>, Self)>),
    /// A field or an item that was found faulty and is no longer looked at: what decodes finds it left out.
    SetAside,
}

impl Node {
    /// What this is called in a problem.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "a boolean",
            Self::Unsigned(_) | Self::Signed(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text { expanded: true, .. } => "text that came out of a variable",
            Self::Text { expanded: false, .. } => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::SetAside => "something faulty",
        }
    }

    /// The value at a path, if there is one.
    pub(super) fn at(&self, steps: &[Step]) -> Option<&Self> {
        let Some((step, rest)) = steps.split_first() else { return Some(self) };
        let inner = match (self, step) {
            (Self::Map(fields), Step::Field(name)) => &fields.iter().find(|(other, _)| **other == **name)?.1,
            (Self::List(items), Step::Index(index)) => items.get(*index)?,
            (_, Step::Field(_) | Step::Index(_)) => return None,
        };
        inner.at(rest)
    }

    /// The index of the item that is at `index` once those set aside are left out.
    pub(super) fn item(&self, index: usize) -> usize {
        let Self::List(items) = self else { return index };
        let left = items.iter().enumerate().filter(|(_, item)| !matches!(item, Self::SetAside));
        left.map(|(position, _)| position).nth(index).unwrap_or(index)
    }

    /// Sets aside the value at a path, or the nearest one around it that is left; says whether it is aside now. The whole
    /// document cannot be set aside.
    pub(super) fn set_aside(&mut self, steps: &[Step]) -> bool {
        let Some((step, rest)) = steps.split_first() else { return false };
        let inner = match (self, step) {
            (Self::Map(fields), Step::Field(name)) => {
                fields.iter_mut().find(|(other, _)| **other == **name).map(|(_, value)| value)
            }
            (Self::List(items), Step::Index(index)) => items.get_mut(*index),
            (_, Step::Field(_) | Step::Index(_)) => None,
        };
        match inner {
            None => false,
            // Whatever is inside of it is aside with it.
            Some(Self::SetAside) => !rest.is_empty(),
            Some(inner) => {
                if !inner.set_aside(rest) {
                    *inner = Self::SetAside;
                }
                true
            }
        }
    }

    /// Every field name that occurs more than once in its mapping: its path, and which occurrence it is.
    pub(super) fn duplicates(&self) -> Vec<(Path, usize)> {
        let mut found = Vec::new();
        self.find_duplicates(&mut Vec::new(), &mut found);
        found
    }

    fn find_duplicates<'a>(&'a self, way: &mut Vec<Way<'a>>, found: &mut Vec<(Path, usize)>) {
        match self {
            Self::Null
            | Self::Boolean(_)
            | Self::Unsigned(_)
            | Self::Signed(_)
            | Self::Float(_)
            | Self::Text { .. }
            | Self::SetAside => {}
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    way.push(Way::Index(index));
                    item.find_duplicates(way, found);
                    way.pop();
                }
            }
            Self::Map(fields) => {
                let repeated = repeated(fields);
                for (position, (name, value)) in fields.iter().enumerate() {
                    way.push(Way::Field(name));
                    if let Some(nth) = repeated.get(&position) {
                        found.push((path_of(way), *nth));
                    }
                    value.find_duplicates(way, found);
                    way.pop();
                }
            }
        }
    }
}

/// A step, borrowed: paths are built for the few values that have a problem, not for all.
enum Way<'a> {
    Field(&'a str),
    Index(usize),
}

fn path_of(way: &[Way<'_>]) -> Path {
    way.iter().fold(Path::root(), |path, step| match step {
        Way::Field(name) => path.field(name),
        Way::Index(index) => path.index(*index),
    })
}

/// Positions of the fields whose name occurred before, with how often it did.
fn repeated(fields: &[(Box<str>, Node)]) -> HashMap<usize, usize> {
    let names_differ = fields.len() <= 16
        && fields.iter().enumerate().all(|(at, (name, _))| fields[..at].iter().all(|(earlier, _)| earlier != name));
    if names_differ {
        return HashMap::new();
    }
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(fields.len());
    let mut repeated = HashMap::new();
    for (position, (name, _)) in fields.iter().enumerate() {
        let times = seen.entry(name).or_default();
        if *times > 0 {
            repeated.insert(position, *times);
        }
        *times += 1;
    }
    repeated
}

/// Parses the only document in `text`.
pub(super) fn parse(name: &str, text: &str) -> Result<Node, Problems> {
    let whole = |message: &str| Problems::from(Problem::new(name, Place::START, "", message));
    let builder = Builder::new(text);
    match builder.deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(Node::Null) => Err(whole("the document is empty")),
        Ok(node) => Ok(node),
        Err(error) => {
            let problem = if let Some(message) = builder.refused.take() {
                Problem::new(name, Place::of(&error, text), "", &message)
            } else if let Some(place) = second_document(text) {
                Problem::new(name, place, "", "a second document begins here; a file holds only one")
            } else {
                Problem::new(name, Place::of(&error, text), "", &explanation(&error, text))
            };
            Err(problem.into())
        }
    }
}

/// Where a second document begins, if the first one is fine and there is one.
fn second_document(text: &str) -> Option<Place> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let first = documents.next()?;
    IgnoredAny::deserialize(first).ok()?;
    let second = documents.next()?;
    // Asks for something that no document is, so that the answer is an error with a place.
    match second.deserialize_any(NoDocument) {
        Ok(never) => match never {},
        Err(error) => Some(Place::of(&error, text)),
    }
}

enum Never {}

struct NoDocument;

impl Visitor<'_> for NoDocument {
    type Value = Never;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the end")
    }
}

/// The parser's own words, without the place (the problem has it) and without any value.
fn explanation(error: &serde_yaml::Error, text: &str) -> String {
    let words = error.to_string();
    if words.contains("invalid type:") || words.contains("invalid value:") {
        return "a value does not fit its tag, or a field name is not text; `{{...}}` must be in quotes".to_owned();
    }
    let (what, context) = words.split_once(", ").unwrap_or((&words, ""));
    let what = what.split(" at line ").next().unwrap_or(what);
    let line = text.lines().nth(Place::of(error, text).line - 1).unwrap_or_default();
    if context.contains("flow") && line.contains("${") {
        return format!("is not YAML: {what}; between `{{` and `}}` or `[` and `]`, text with a variable needs quotes");
    }
    if line.starts_with('\t')
        || words.contains("cannot start any token") && line.trim_start_matches(' ').starts_with('\t')
    {
        return "is not YAML: lines are indented with spaces, not with tabs".to_owned();
    }
    let context = PARSER_WORDS.iter().fold(context.to_owned(), |context, (word, ours)| context.replace(word, ours));
    if context.is_empty() { format!("is not YAML: {what}") } else { format!("is not YAML: {what}, {context}") }
}

/// Words of the parser, and what they mean to those who do not know how YAML is specified.
const PARSER_WORDS: [(&str, &str); 5] = [
    ("flow sequence", "list in brackets"),
    ("flow mapping", "mapping in braces"),
    ("block mapping", "mapping"),
    ("block sequence", "list"),
    ("block collection", "list"),
];

/// Builds nodes from what the parser reports. Nothing it says contains a value.
struct Builder {
    /// Aliases can make a small text large: no more nodes than bytes, roughly.
    nodes_left: Cell<usize>,
    /// Why the builder itself refused the document; the parser's error then only gives the place.
    refused: RefCell<Option<String>>,
}

/// A short document may repeat itself by aliases up to this many values.
const NODES_MIN: usize = 10_000;

impl Builder {
    fn new(text: &str) -> Self {
        Self { nodes_left: Cell::new(text.len().max(NODES_MIN)), refused: RefCell::new(None) }
    }

    fn refuse<E: serde::de::Error>(&self, message: &str) -> E {
        self.refused.borrow_mut().get_or_insert_with(|| message.to_owned());
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for &Builder {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.nodes_left.get().checked_sub(1) {
            Some(left) => self.nodes_left.set(left),
            None => return Err(self.refuse("its aliases repeat too much")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Builder {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Boolean(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or(Node::Signed(value), Node::Unsigned))
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Node, E> {
        Err(self.refuse("this number is too large; if it is text, put it into quotes"))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Node, E> {
        Err(self.refuse("this number is too small; if it is text, put it into quotes"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text { text: value.into(), expanded: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(name) = fields.next_key_seed(Name(self))? {
            map.push((name, fields.next_value_seed(self)?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(self.refuse("a tag (`!name`) has no meaning here; leave it out, or put the text into quotes"))
    }
}

/// The name of a field.
struct Name<'a>(&'a Builder);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Box<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Box<str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Box<str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Box<str>, E> {
        if value == "<<" {
            return Err(self.0.refuse("merging (`<<`) has no meaning here; write the fields out"));
        }
        Ok(value.into())
    }
}
