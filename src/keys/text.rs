//! The text of a key file that was fetched, and what it says.

use super::entry::Entry;
use super::{file, map};
use crate::document::{Problem, Problems};

/// A key file that was fetched.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) shape: Shape,
}

/// How a file says whose a secret is.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A list of keys ([`mod@file`]).
    List,
    /// A mapping from digest to key ([`map`]).
    Map,
}

impl Text {
    pub(super) fn entries(&self, good: fn(&[Entry]) -> bool) -> Result<Vec<Entry>, Problems> {
        match self.shape {
            Shape::List => file::read(&self.name, &self.text, good),
            Shape::Map => map::entries(&self.name, &self.text),
        }
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self.shape, Shape::List)
    }

    /// The problems of a list in which an id or a secret occurs twice. It is read once more, to say where.
    pub(super) fn repetitions(&self) -> Problems {
        let unexplained = || Problem::of_file(&self.name, "has an id or a secret twice").into();
        self.entries(file::differ).err().unwrap_or_else(unexplained)
    }

    pub(super) fn problem(&self, index: usize, field: &str, message: &str) -> Problem {
        match self.shape {
            Shape::List => file::problem_at(&self.name, &self.text, index, field, message),
            Shape::Map => map::problem_at(&self.name, &self.text, index, field, message),
        }
    }
}
