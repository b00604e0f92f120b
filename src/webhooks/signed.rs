//! What is signed: a template of `{id}`, `{timestamp}` and `{body}`.
//!
//! A signature covers bytes, not values. If the same bytes could be read as another id, another time and another body,
//! whoever overhears one delivery could send it anew with a time of their own. So an id ends where the text beside it
//! begins, and may hold no character of that text; a timestamp is digits, and one that is cut elsewhere is far from now.

use std::fmt;

/// Bytes that the text of a template may have: a separator, a version, a constant.
const TEXT_BYTES_MAX: usize = 256;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pieces: Vec<Piece>,
}

/// One piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Hole(Hole),
}

/// What stands between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    Id,
    Timestamp,
    Body,
}

/// Why a text says not what is signed. `Display` goes on after the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The body is not signed.
    #[error("must have `{{body}}` in it: what is not signed, anybody on the way can change")]
    NoBody,
    /// Something is signed twice.
    #[error("has {0} in it twice; once is enough")]
    Twice(&'static str),
    /// Braces around something else.
    #[error("knows `{{id}}`, `{{timestamp}}` and `{{body}}`; braces are for nothing else")]
    Unknown,
    /// Nobody could tell where the id ends.
    #[error("needs text between `{{id}}` and what stands beside it, such as `.`: nobody could tell where the id ends")]
    Endless,
    /// More text than any provider needs.
    #[error("has more than {TEXT_BYTES_MAX} bytes of text in it")]
    TooLong,
}

impl Hole {
    const ALL: [Self; 3] = [Self::Id, Self::Timestamp, Self::Body];

    const fn written(self) -> &'static str {
        match self {
            Self::Id => "`{id}`",
            Self::Timestamp => "`{timestamp}`",
            Self::Body => "`{body}`",
        }
    }
}

impl Signed {
    /// Understands a template, such as `{timestamp}.{body}`.
    ///
    /// # Errors
    ///
    /// [`SignedError`] if the body is not in it, anything but text is in it twice, braces are around anything else, or
    /// an id stands beside something else without text between them.
    pub fn parse(text: &str) -> Result<Self, SignedError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, behind) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            if behind.is_empty() {
                break;
            }
            let (hole, after) = hole_at(behind).ok_or(SignedError::Unknown)?;
            if pieces.contains(&Piece::Hole(hole)) {
                return Err(SignedError::Twice(hole.written()));
            }
            pieces.push(Piece::Hole(hole));
            rest = after;
        }
        let signed = Self { pieces };
        if !signed.has(Hole::Body) {
            return Err(SignedError::NoBody);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(SignedError::TooLong);
        }
        let beside = |pair: &[Piece]| matches!(pair, [Piece::Hole(one), Piece::Hole(other)] if *one == Hole::Id || *other == Hole::Id);
        if signed.pieces.windows(2).any(beside) { Err(SignedError::Endless) } else { Ok(signed) }
    }

    /// Whether this is signed.
    pub(super) fn has(&self, hole: Hole) -> bool {
        self.pieces.contains(&Piece::Hole(hole))
    }

    /// Whether an id can be told from the text beside it.
    pub(super) fn separates(&self, id: &str) -> bool {
        let with_id = |pair: &[Piece]| match pair {
            [Piece::Hole(Hole::Id), Piece::Text(text)] | [Piece::Text(text), Piece::Hole(Hole::Id)] => {
                id.contains(|character| text.contains(character))
            }
            _ => false,
        };
        !self.pieces.windows(2).any(with_id)
    }

    /// What is signed of one delivery, piece by piece.
    pub(super) fn pieces<'a>(&'a self, id: &'a str, timestamp: &'a str, body: &'a [u8]) -> Vec<&'a [u8]> {
        let filled = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Hole(Hole::Id) => id.as_bytes(),
            Piece::Hole(Hole::Timestamp) => timestamp.as_bytes(),
            Piece::Hole(Hole::Body) => body,
        });
        filled.collect()
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => formatter.write_str(text),
            Piece::Hole(hole) => formatter.write_str(hole.written().trim_matches('`')),
        })
    }
}

/// The hole that `text` begins with, and what follows it.
fn hole_at(text: &str) -> Option<(Hole, &str)> {
    Hole::ALL.into_iter().find_map(|hole| Some((hole, text.strip_prefix(hole.written().trim_matches('`'))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_put_together_as_it_is_written() {
        let check = |template: &str, expected: &str| {
            let signed = Signed::parse(template).unwrap();
            assert_eq!(signed.pieces("i", "17", b"{}").concat(), expected.as_bytes(), "{template}");
            assert_eq!(signed.to_string(), template);
        };
        check("{body}", "{}");
        check("{timestamp}.{body}", "17.{}");
        check("{id}.{timestamp}.{body}", "i.17.{}");
        check("v0:{timestamp}:{body}", "v0:17:{}");
        check("{timestamp}{body}", "17{}");
        check("{body}\n{id}", "{}\ni");
    }

    #[test]
    fn what_says_not_what_is_signed_is_refused() {
        let check = |template: &str, expected: SignedError| {
            assert_eq!(Signed::parse(template), Err(expected), "{template}");
        };
        check("", SignedError::NoBody);
        check("{id}.{timestamp}", SignedError::NoBody);
        check("{body}{body}", SignedError::Twice("`{body}`"));
        check("{id}.{id}.{body}", SignedError::Twice("`{id}`"));
        check("{Body}", SignedError::Unknown);
        check("{ body }", SignedError::Unknown);
        check("{body", SignedError::Unknown);
        check("body}", SignedError::Unknown);
        check("{{body}}", SignedError::Unknown);
        check("{url}{body}", SignedError::Unknown);
        check("{id}{body}", SignedError::Endless);
        check("{timestamp}{id}.{body}", SignedError::Endless);
        check("{body}.{timestamp}{id}", SignedError::Endless);
        check(&format!("{}{{body}}", "x".repeat(TEXT_BYTES_MAX)), SignedError::TooLong);
    }

    /// Else `a.1` at 700 with the body `900.x` would be `a` at 1 with the body `700.900.x`, under the same signature.
    #[test]
    fn an_id_ends_where_the_text_beside_it_begins() {
        let signed = Signed::parse("{id}.{timestamp}.{body}").unwrap();
        assert!(signed.separates("msg_1") && signed.separates("a:b"));
        assert!(!signed.separates("msg.1") && !signed.separates(".") && !signed.separates("msg_1."));
        let signed = Signed::parse("v1::{id}--{body}").unwrap();
        for (id, separated) in [("a", true), ("a:b", false), ("a-", false), ("v", false), ("1", false), ("a.b", true)] {
            assert_eq!(signed.separates(id), separated, "{id}");
        }
    }
}
