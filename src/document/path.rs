//! The way to one value of a document: `limits[0].requests`.

use std::fmt;

/// The way from the top of a document to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// One step of a path: into a mapping or into a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Index(usize),
}

impl Path {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The field `name` of the mapping at this path.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.with(Step::Field(name.to_owned()))
    }

    /// The item `index`, counted from zero, of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether one of the two leads to the other, or both are the same.
    pub(super) fn touches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other)
    }

    pub(super) fn ends_with(&self, name: &str) -> bool {
        matches!(self.0.last(), Some(Step::Field(last)) if last == name)
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Field(name) => {
                    if position > 0 {
                        formatter.write_str(".")?;
                    }
                    write_name(formatter, name)?;
                }
            }
        }
        Ok(())
    }
}

/// Longer names than this are not shown: a key pasted in front of a colon is a field name to YAML.
const NAME_CHARS_MAX: usize = 31;

fn write_name(formatter: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let chars = name.chars().count();
    if chars > NAME_CHARS_MAX {
        write!(formatter, "({chars} characters)")
    } else {
        write!(formatter, "{}", name.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_expression_an_operator_would_write() {
        assert_eq!(Path::root().to_string(), "");
        assert_eq!(Path::root().field("limits").index(3).field("name").to_string(), "limits[3].name");
        assert_eq!(Path::root().index(0).to_string(), "[0]");
    }

    #[test]
    fn a_name_as_long_as_a_key_is_not_shown() {
        let path = Path::root().field("keys").field("kg_live_0123456789abcdefghijABCDEFGHIJxx");
        assert_eq!(path.to_string(), "keys.(40 characters)");
        assert_eq!(Path::root().field("a\nb").to_string(), "a\\nb");
    }
}
