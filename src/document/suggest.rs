//! "Did you mean …?"

/// The word among `known` that somebody who wrote `written` most likely meant, if one is near enough.
///
/// Near enough is a third of the letters changed, added, lost or swapped with their neighbour, or one word being the
/// beginning of the other; case and the difference between `-` and `_` do not count.
#[must_use]
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = folded(written);
    if written.len() > LETTERS_MAX {
        return None;
    }
    let near = known.into_iter().filter_map(|word| {
        let folded = folded(word);
        let distance = distance(&written, &folded);
        let allowed = (written.len().max(folded.len()) / 3).max(1);
        let near = distance <= allowed && distance < folded.len();
        (near || is_beginning(&written, &folded)).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Longer words are nobody's misspelling, and would cost time.
const LETTERS_MAX: usize = 40;

/// Whether one is the beginning of the other, and long enough for that to be no accident.
fn is_beginning(one: &[char], other: &[char]) -> bool {
    one.len().min(other.len()) >= 4 && (one.starts_with(other) || other.starts_with(one))
}

fn folded(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|letter| if letter == '-' { '_' } else { letter }).collect()
}

/// How many letters must be changed, added, removed or swapped with their neighbour to get from `a` to `b` (optimal
/// string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_the_word_that_was_meant() {
        let known = ["listen", "upstream", "keys", "limits", "trusted_proxies"];
        let check = |written, expected: Option<&str>| assert_eq!(suggestion(written, known), expected, "{written}");
        check("upsteam", Some("upstream"));
        check("lisetn", Some("listen"));
        check("key", Some("keys"));
        check("Limits", Some("limits"));
        check("trusted-proxies", Some("trusted_proxies"));
        check("trustedproxies", Some("trusted_proxies"));
        check("trusted", Some("trusted_proxies"));
        check("banana", None);
        check("", None);
        check(&"x".repeat(100), None);
    }
}
