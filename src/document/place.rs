//! Where values stand in the text.
//!
//! The parser tells places in its errors only. So we walk through the text a second time and refuse every scalar and
//! every field name; each refusal comes back with its line and column, and the walk goes on after it.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::node::Node;
use super::path::{Path, Step};

/// A line and a column, both counted from one; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// The very first character.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place of the character after the first `count` bytes, which must be UTF-8 as far as columns go.
    pub(super) fn after(bytes: &[u8], count: usize) -> Self {
        let before = &bytes[..count.min(bytes.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        Self { line, column }
    }

    /// The place of an error of the parser in `text`.
    pub(super) fn of(error: &serde_yaml::Error, text: &str) -> Self {
        let Some(at) = error.location() else { return Self::START };
        let counted = Self { line: at.line(), column: at.column() };
        Lines::of(text).map_or(counted, |lines| lines.place(counted))
    }

    /// Reads the place at the end of an error's words. The error itself has it as numbers, but behind a type which the
    /// walk cannot name. A test holds this to what the parser writes.
    fn from_words(words: &str) -> Self {
        // Nothing follows an error at the very first character.
        let Some((_, place)) = words.rsplit_once(" at line ") else { return Self::START };
        let numbers = place.split_once(" column ").map(|(line, column)| (line.parse(), column.parse()));
        match numbers {
            Some((Ok(line), Ok(column))) => Self { line, column },
            Some(_) | None => Self::START,
        }
    }
}

/// Where the parser's lines begin, counted by line feeds as editors and `grep -n` do: the parser ends a line also at a bare
/// carriage return and at three characters of Unicode (YAML 1.1, section 5.4).
struct Lines(Vec<Place>);

impl Lines {
    /// Nothing if both count the same in `text`.
    fn of(text: &str) -> Option<Self> {
        let ends_line = |at: usize, character: char| match character {
            '\r' => !text[at + 1..].starts_with('\n'),
            '\u{85}' | '\u{2028}' | '\u{2029}' => true,
            _ => false,
        };
        if !text.char_indices().any(|(at, character)| ends_line(at, character)) {
            return None;
        }
        let mut here = Place::START;
        let mut starts = vec![here];
        for (at, character) in text.char_indices() {
            here.column += 1;
            if character == '\n' {
                here = Place { line: here.line + 1, column: 1 };
                starts.push(here);
            } else if ends_line(at, character) {
                starts.push(here);
            }
        }
        Some(Self(starts))
    }

    fn place(&self, counted: Place) -> Place {
        let Some(start) = self.0.get(counted.line.saturating_sub(1)).or(self.0.last()) else { return counted };
        Place { line: start.line, column: start.column + counted.column.saturating_sub(1) }
    }
}

/// Which end of a field a problem is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// Its value; for a mapping or a list that is a field, its name.
    Value,
    /// Its name; the occurrence `nth` of it, counted from zero, where it occurs more than once.
    Name { nth: usize },
}

/// The places of a tree, in its shape.
#[derive(Debug)]
pub(super) enum Places {
    Scalar(Place),
    List(Vec<Self>),
    Map(Vec<(Place, Self)>),
}

impl Places {
    /// Walks through `text`, whose tree is `root`.
    pub(super) fn collect(text: &str, root: &Node) -> Self {
        let walked = Walk(root).deserialize(serde_yaml::Deserializer::from_str(text));
        let mut places = walked.unwrap_or(Self::Scalar(Place::START));
        if let Some(lines) = Lines::of(text) {
            places.count_by(&lines);
        }
        places
    }

    fn count_by(&mut self, lines: &Lines) {
        match self {
            Self::Scalar(place) => *place = lines.place(*place),
            Self::List(items) => items.iter_mut().for_each(|item| item.count_by(lines)),
            Self::Map(fields) => {
                for (name, value) in fields {
                    *name = lines.place(*name);
                    value.count_by(lines);
                }
            }
        }
    }

    /// Where the value at `path` is, or the nearest one around it that exists.
    pub(super) fn find(&self, root: &Node, path: &Path, aim: Aim) -> Place {
        let (mut places, mut node) = (self, root);
        let mut place = self.first().unwrap_or(Place::START);
        let mut steps = path.steps().iter().peekable();

        while let Some(step) = steps.next() {
            let nth = match aim {
                Aim::Name { nth } if steps.peek().is_none() => nth,
                Aim::Name { .. } | Aim::Value => 0,
            };
            let Some((name, inner, value)) = places.step(node, step, nth) else { return place };
            place = name.or_else(|| inner.first()).unwrap_or(place);
            (places, node) = (inner, value);
            if let (Self::Scalar(scalar), Aim::Value) = (places, aim)
                && !matches!(node, Node::Null)
            {
                place = *scalar;
            }
        }
        place
    }

    /// The inner places and node one step further, with the place of the field's name if the step is a field.
    fn step<'a>(&'a self, node: &'a Node, step: &Step, nth: usize) -> Option<(Option<Place>, &'a Self, &'a Node)> {
        match (self, node, step) {
            (Self::Map(places), Node::Map(fields), Step::Field(name)) => {
                let mut named = fields.iter().enumerate().filter(|(_, (other, _))| **other == **name);
                let (position, (_, value)) = named.clone().nth(nth).or_else(|| named.next_back())?;
                let (place, inner) = places.get(position)?;
                Some((Some(*place), inner, value))
            }
            (Self::List(places), Node::List(items), Step::Index(index)) => {
                Some((None, places.get(*index)?, items.get(*index)?))
            }
            (Self::Map(_) | Self::List(_) | Self::Scalar(_), _, _) => None,
        }
    }

    fn first(&self) -> Option<Place> {
        match self {
            Self::Scalar(place) => Some(*place),
            Self::List(items) => items.iter().find_map(Self::first),
            Self::Map(fields) => fields.first().map(|(place, _)| *place),
        }
    }
}

/// Walks through the part of the text that became this node.
struct Walk<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Places;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Places, D::Error> {
        match self.0 {
            Node::List(items) => deserializer.deserialize_seq(WalkList(items)),
            Node::Map(fields) => deserializer.deserialize_map(WalkMap(fields)),
            Node::Null
            | Node::Boolean(_)
            | Node::Unsigned(_)
            | Node::Signed(_)
            | Node::Float(_)
            | Node::Text { .. }
            | Node::SetAside => Here.deserialize(deserializer).map(Places::Scalar),
        }
    }
}

struct WalkList<'a>(&'a [Node]);

impl<'de> Visitor<'de> for WalkList<'_> {
    type Value = Places;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Places, A::Error> {
        let mut places = Vec::with_capacity(self.0.len());
        for node in self.0 {
            if let Some(place) = items.next_element_seed(Walk(node))? {
                places.push(place);
            }
        }
        Ok(Places::List(places))
    }
}

struct WalkMap<'a>(&'a [(Box<str>, Node)]);

impl<'de> Visitor<'de> for WalkMap<'_> {
    type Value = Places;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Places, A::Error> {
        let mut places = Vec::with_capacity(self.0.len());
        for (_, node) in self.0 {
            if let Some(name) = fields.next_key_seed(Here)? {
                places.push((name, fields.next_value_seed(Walk(node))?));
            }
        }
        Ok(Places::Map(places))
    }
}

/// Refuses one scalar to learn its place.
struct Here;

impl<'de> DeserializeSeed<'de> for Here {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        match deserializer.deserialize_str(self) {
            Ok(never) => match never {},
            Err(refusal) => Ok(Place::from_words(&refusal.to_string())),
        }
    }
}

enum Never {}

impl Visitor<'_> for Here {
    type Value = Never;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nothing")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Never, E> {
        Err(E::custom("here"))
    }
}
