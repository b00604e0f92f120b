//! Words that a route takes from the path of a request: `{tenant_id}` in its configuration is what stands there.
//!
//! Paths have one spelling by then (see [`super::path`]). What is percent-encoded in it is a word of its own and is
//! decoded here; what is then no text stays as it was written, and is nobody's name.

use std::borrow::Cow;

use super::pattern::{Pattern, parameters};

/// A word, or the parameter of the path that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The same for every request.
    Fixed(String),
    /// The parameter of this name.
    Parameter(String),
}

/// A parameter is asked for that not every path of the route has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{{{0}}}` is no parameter of every path of this route")]
pub struct NoParameter(pub String);

impl Word {
    /// Reads `{parameter}` or a word, for a route with these patterns.
    ///
    /// # Errors
    ///
    /// [`NoParameter`].
    pub fn parse(text: &str, patterns: &[Pattern]) -> Result<Self, NoParameter> {
        let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return Ok(Self::Fixed(text.to_owned()));
        };
        if patterns.iter().all(|pattern| pattern.parameters().any(|known| known == name)) {
            Ok(Self::Parameter(name.to_owned()))
        } else {
            Err(NoParameter(name.to_owned()))
        }
    }

    /// What it is in this path, which one of the `patterns` fits.
    #[must_use]
    pub fn of<'t>(&'t self, patterns: &'t [Pattern], path: &'t str) -> Cow<'t, str> {
        match self {
            Self::Fixed(word) => Cow::Borrowed(word),
            Self::Parameter(name) => {
                let values = patterns.iter().find_map(|pattern| parameters(pattern, path)).unwrap_or_default();
                let value = values.into_iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
                decoded(value)
            }
        }
    }
}

/// Text without percent-encoding (RFC 3986, section 2.1); as it is if that gives no text.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (digit(behind.first()), digit(behind.get(1))) else {
            return Cow::Borrowed(text);
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
        rest = behind.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_fixed_or_comes_from_the_path() {
        let patterns = ["/v1/{kind}/{tenant}", "/v2/{tenant}/{*rest}"].map(|text| Pattern::parse(text).unwrap());
        let word = |text| Word::parse(text, &patterns);
        assert_eq!(word("acme"), Ok(Word::Fixed("acme".to_owned())));
        assert_eq!(word("{kind}"), Err(NoParameter("kind".to_owned())), "the second path has none");
        let tenant = word("{tenant}").unwrap();
        for (path, expected) in [
            ("/v1/hooks/acme", "acme"),
            ("/v2/acme/a/b", "acme"),
            ("/v1/hooks/a%20b%C3%A9", "a b\u{e9}"),
            ("/v1/hooks/%FF", "%FF"),
            ("/v1/hooks/%2", "%2"),
        ] {
            assert_eq!(tenant.of(&patterns, path), expected, "{path}");
        }
    }
}
