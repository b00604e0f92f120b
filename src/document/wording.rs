//! The words in which problems with the structure are told.

use serde_json::Value;

use super::suggest::suggestion;

/// What is said of a field that must be there and is not.
pub(super) const MISSING: &str = "is missing, and has no default";

/// What is said of a field that nobody knows.
pub(super) fn unknown_field(field: &str, known: &[&str]) -> String {
    if let Some(meant) = suggestion(field, known.iter().copied()) {
        return format!("unknown field; did you mean `{meant}`?");
    }
    if known.is_empty() {
        return "unknown field".to_owned();
    }
    format!("unknown field; there are {}", listed(known, "and"))
}

/// "`a`, `b` or `c`".
pub(super) fn one_of(words: &[&str]) -> String {
    listed(words, "or")
}

fn listed(words: &[&str], last: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    joined(&words, last)
}

fn joined(words: &[String], last: &str) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Whether a schema wants text that could look like a number.
pub(super) fn is_plain_text(schema: &Value) -> bool {
    has_type(schema, "string") && schema.get("format").is_none() || !words(schema).is_empty()
}

/// Whether a schema allows this type.
pub(super) fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// The words a schema allows, if it allows only some.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    schema.get("const").into_iter().chain(listed).filter_map(Value::as_str).collect()
}

/// What some schemas want, in words.
pub(super) fn wanted(branches: &[&Value]) -> String {
    let mut wishes: Vec<String> = Vec::new();
    for branch in branches {
        for wish in wishes_of(branch) {
            if !wishes.contains(&wish) {
                wishes.push(wish);
            }
        }
    }
    joined(&wishes, "or")
}

fn wishes_of(schema: &Value) -> Vec<String> {
    let words = words(schema);
    if !words.is_empty() {
        return words.iter().map(|word| format!("`{word}`")).collect();
    }
    let of_format = match schema.get("format").and_then(Value::as_str) {
        Some("human-duration") => Some("a duration such as `30s`"),
        Some("byte-size") => Some("a size such as `10MiB`"),
        Some("socket-address") => Some("an address such as `127.0.0.1:8080`"),
        Some("network") => Some("a network such as `10.0.0.0/8`"),
        Some("http-field-name") => Some("the name of an HTTP field"),
        Some("service-url") => Some("a URL such as `http://127.0.0.1:9000`"),
        Some(_) | None => None,
    };
    if let Some(wish) = of_format {
        return vec![wish.to_owned()];
    }
    let example = schema.get("examples").and_then(|examples| examples.get(0)).and_then(Value::as_object);
    if let Some(example) = example {
        let fields: Vec<String> = example.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        return vec![format!("a mapping such as `{{ {} }}`", fields.join(", ").replace('"', ""))];
    }
    let kinds = [
        ("string", "text"),
        ("integer", "a whole number"),
        ("number", "a number"),
        ("boolean", "`true` or `false`"),
        ("array", "a list"),
        ("object", "a mapping"),
    ];
    kinds.iter().filter(|(name, _)| has_type(schema, name)).map(|(_, wish)| (*wish).to_owned()).collect()
}

/// A bound without a fraction that it does not have.
pub(super) fn whole(bound: &Value) -> String {
    bound.as_f64().map_or_else(|| bound.to_string(), |bound| format!("{bound}"))
}
