//! What is wrong with a document, and where.

use std::fmt;

use super::place::Place;

/// One mistake in a file an operator wrote. Shown as `file:line:column: field: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named when it was read.
    pub file: String,
    /// The line, counted from one; zero if the problem is with the file as a whole.
    pub line: usize,
    /// The column in characters, counted from one; zero if the problem is with the file as a whole.
    pub column: usize,
    /// The path of the field, for example `limits[1].requests`; empty for the document as a whole.
    pub field: String,
    /// What is wrong and what to do, in one sentence without a full stop.
    pub message: String,
}

impl Problem {
    /// A problem with a file as a whole: it is missing, unreadable, too large.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, field: String::new(), message: message.into() }
    }

    pub(super) fn new(file: &str, place: Place, field: &str, message: &str) -> Self {
        let Place { line, column } = place;
        Self { file: file.to_owned(), line, column, field: field.to_owned(), message: message.to_owned() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        formatter.write_str(": ")?;
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

/// All that is wrong, to be shown at once: one problem a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No problems yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether there is nothing wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Puts them into the order of the files' lines, without repetitions. Files keep the order of their names.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self.0.dedup();
    }

    /// Success if there are none.
    ///
    /// # Errors
    ///
    /// The problems themselves if there is at least one.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        self.0.extend(problems);
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        Self(problems.into_iter().collect())
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_its_place_first() {
        let place = Place { line: 3, column: 7 };
        assert_eq!(Problem::new("a.yaml", place, "limits[0]", "missing").to_string(), "a.yaml:3:7: limits[0]: missing");
        assert_eq!(Problem::new("a.yaml", place, "", "not YAML").to_string(), "a.yaml:3:7: not YAML");
        assert_eq!(Problem::of_file("a.yaml", "cannot be read").to_string(), "a.yaml: cannot be read");
    }

    #[test]
    fn problems_are_shown_in_the_order_of_their_lines_and_once() {
        let at = |line| Problem::new("a.yaml", Place { line, column: 1 }, "", "wrong");
        let mut problems: Problems = [at(9), at(2), at(9)].into_iter().collect();
        problems.sort();
        assert_eq!(problems.to_string(), "a.yaml:2:1: wrong\na.yaml:9:1: wrong");
        assert!(problems.into_result().is_err());
        assert!(Problems::new().into_result().is_ok());
    }
}
