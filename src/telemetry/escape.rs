//! Which letters must not reach a log as they are.

/// Whether a letter could end a line, move the cursor of a terminal, or change the order in which a line is read: all
/// controls (C0, DEL, C1), the separators of lines and paragraphs, and the marks of Unicode's bidirectional algorithm.
pub(super) const fn is_dangerous(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}
