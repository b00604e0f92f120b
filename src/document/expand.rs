//! Variables in text: `${NAME}` and `${NAME:-default}`, where the default may hold variables too.

use super::Fault;
use super::node::Node;
use super::path::Path;
use super::place::Aim;

/// Replaces the references in every text of the tree.
pub(super) fn expand(root: &mut Node, variable: &dyn Fn(&str) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    expand_node(root, &Path::root(), variable, &mut faults);
    faults
}

fn expand_node(node: &mut Node, path: &Path, variable: &dyn Fn(&str) -> Option<String>, faults: &mut Vec<Fault>) {
    match node {
        Node::Null | Node::Boolean(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_) | Node::SetAside => {}
        Node::Text { text, expanded } => match expand_text(text, variable) {
            Ok(None) => {}
            Ok(Some((replaced, from_variable))) => {
                *text = replaced.into();
                *expanded = from_variable;
            }
            Err(message) => faults.push(Fault { path: path.clone(), aim: Aim::Value, message }),
        },
        Node::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_node(item, &path.index(index), variable, faults);
            }
        }
        Node::Map(fields) => {
            for (name, value) in fields {
                expand_node(value, &path.field(name), variable, faults);
            }
        }
    }
}

/// The text with its references replaced, and whether there was one; nothing if there is nothing to replace.
fn expand_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<(String, bool)>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let (mut result, mut rest, mut from_variable) = (String::with_capacity(text.len()), text, false);
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &reference[2..];
            continue;
        }
        let Some(end) = end_of(reference) else {
            return Err(
                "a variable begins with `${` and ends nowhere; write `${NAME}`, or `$${` for `${` itself".into()
            );
        };
        result.push_str(before);
        result.push_str(&value_of(&reference[2..end], variable)?);
        from_variable = true;
        rest = &reference[end + 1..];
    }
    result.push_str(rest);
    Ok(Some((result, from_variable)))
}

/// Where the reference ends that `text` begins with. A default may hold references itself.
fn end_of(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if text[..index].ends_with('$') => depth += 1,
            b'}' if depth == 1 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn value_of(reference: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(
            "what stands in `${…}` is not the name of a variable; write `${NAME}`, `${NAME:-default}`, or `$${` \
                    for `${` itself"
                .into(),
        );
    }
    match (variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (Some(_) | None, Some(default)) => {
            Ok(expand_text(default, variable)?.map_or_else(|| default.to_owned(), |(expanded, _)| expanded))
        }
        (None, None) => {
            Err(format!("the environment variable `{name}` is not set; set it, or write `${{{name}:-default}}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("api.internal".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("a: b\n${HOST}".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expanded = expand_text(text, &variable).expect(text);
        assert_eq!(expanded.map_or_else(|| text.to_owned(), |(text, _)| text), expected, "{text}");
    }

    #[test]
    fn references_are_replaced_by_values_and_defaults() {
        check("http://${HOST}:80", "http://api.internal:80");
        check("${HOST}${HOST}", "api.internalapi.internal");
        check("${NONE:-x}", "x");
        check("${NONE:-}", "");
        check("${EMPTY:-x}", "x");
        check("${EMPTY}", "");
        check("${HOST:-x}", "api.internal");
        check("${NONE:-${HOST}}", "api.internal");
        check("${NONE:-http://${NONE:-${HOST}:80}/}!", "http://api.internal:80/!");
    }

    #[test]
    fn what_is_not_a_reference_stays() {
        check("$HOST costs $5", "$HOST costs $5");
        check("$${HOST}", "${HOST}");
        check("$${HOST} ${HOST}", "${HOST} api.internal");
    }

    #[test]
    fn the_value_of_a_variable_is_not_read_again() {
        check("${TRICK}", "a: b\n${HOST}");
    }

    #[test]
    fn a_reference_to_nothing_is_a_problem() {
        for text in ["${NONE}", "${", "${HOST", "${}", "${1A}", "${A B}", "${A-x}"] {
            assert!(expand_text(text, &variable).is_err(), "{text}");
        }
    }
}
