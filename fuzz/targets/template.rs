//! Templates: whatever stands in a shape and whatever fills it, what comes out is JSON and says just that.
//!
//! The shape is what stands before the first empty line; the rest fills it in.

use keygate::template::{Template, Value, names_in};
use serde_json::{Map, Value as Json};

pub const WORDS: &[&str] = &[
    "{{code}}",
    "{{ seconds }}",
    "{{nothing?}}",
    "{{code?}}",
    "{{words}}",
    "{{",
    "}}",
    "{",
    "}",
    "\"a\":",
    "[",
    "]",
    ",",
    "\\u0000",
    "\\\"",
    "null",
    "1e9",
    "-0.0",
    "\n\n",
    "\"",
    "\\",
    "\u{2028}",
    "{{seconds?}}",
];

const NAMES: &[&str] = &["code", "seconds", "nothing", "words"];

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (shape, value) = text.split_once("\n\n").unwrap_or((text, "say \"no\""));
    let Ok(shape) = serde_json::from_str::<Json>(shape) else { return };
    let Ok(template) = Template::read(&shape, NAMES) else { return };
    let words: Vec<&str> = value.split(' ').collect();
    let filled = template.fill(&|index| match index {
        0 => value.into(),
        1 => Value::Number(30),
        2 => Value::Absent,
        _ => Value::Words(words.iter().map(|word| (*word).into()).collect()),
    });
    let read: Json = serde_json::from_str(&filled).unwrap_or_else(|error| panic!("{filled} is not JSON: {error}"));
    let expected = expected(&shape, value);
    assert_eq!(read.to_string(), printed(&expected), "{shape}");
    for (index, name) in NAMES.iter().enumerate() {
        assert_eq!(template.asks_for(index), names_in(&shape).contains(name), "{name} in {shape}");
    }
}

/// Printed, read and printed: numbers look the same afterwards.
fn printed(json: &Json) -> String {
    serde_json::from_str::<Json>(&json.to_string()).expect("JSON").to_string()
}

/// The shape filled in on the tree, without any text in between.
fn expected(shape: &Json, value: &str) -> Json {
    match shape {
        Json::Object(members) => {
            let kept = members.iter().filter_map(|(name, member)| Some((name.clone(), member_of(member, value)?)));
            Json::Object(kept.collect::<Map<_, _>>())
        }
        Json::Array(items) => items.iter().map(|item| expected(item, value)).collect(),
        Json::String(text) => match whole(text) {
            Some(name) => json_of(name, value),
            None => Json::String(inside(text, value)),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) => shape.clone(),
    }
}

/// A member; none if it is left out.
fn member_of(member: &Json, value: &str) -> Option<Json> {
    let name = member.as_str().and_then(whole).and_then(|name| name.trim_end().strip_suffix('?'));
    match name.map(|name| json_of(name, value)) {
        Some(Json::Null) => None,
        Some(filled) => Some(filled),
        None => Some(expected(member, value)),
    }
}

fn whole(text: &str) -> Option<&str> {
    text.strip_prefix("{{")?.strip_suffix("}}").filter(|name| !name.contains("{{"))
}

fn json_of(name: &str, value: &str) -> Json {
    match name.trim() {
        "code" => value.into(),
        "seconds" => 30.into(),
        "words" => value.split(' ').collect(),
        _ => Json::Null,
    }
}

fn inside(text: &str, value: &str) -> String {
    let mut pieces = text.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").expect("closed");
        filled += match name.trim() {
            "code" | "words" => value,
            "seconds" => "30",
            _ => "",
        };
        filled += rest;
    }
    filled
}
