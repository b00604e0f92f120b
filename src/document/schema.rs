//! JSON Schemas of the shapes that documents have.

use serde_json::Value;

/// The JSON Schema (draft 2020-12) of `T`, as a document must be to decode into it.
///
/// `null` is taken out everywhere: a field without a value never counts as left out.
#[must_use]
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    without_null(&mut schema);
    schema
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(fields) => {
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            fields.values_mut().for_each(without_null);
            without_null_branch(fields);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns `anyOf: [X, null]` into X; what stands beside `anyOf` (a description of the field) wins over what X says.
fn without_null_branch(fields: &mut serde_json::Map<String, Value>) {
    let Some(Value::Array(branches)) = fields.get_mut("anyOf") else { return };
    let all = branches.len();
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    if branches.len() == all {
        return;
    }
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        fields.remove("anyOf");
        for (name, value) in only {
            fields.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    struct Inner {
        #[expect(dead_code, reason = "only its schema is looked at")]
        word: Option<String>,
    }

    #[derive(schemars::JsonSchema)]
    struct Outer {
        /// What it is for.
        #[expect(dead_code, reason = "only its schema is looked at")]
        inner: Option<Inner>,
    }

    #[test]
    fn nothing_is_no_value_in_a_schema() {
        let schema = schema_of::<Outer>();
        assert!(!schema.to_string().contains("null"), "{schema:#}");
        assert_eq!(schema["properties"]["inner"]["$ref"], "#/$defs/Inner");
        assert_eq!(schema["properties"]["inner"]["description"], "What it is for.");
        assert_eq!(schema["$defs"]["Inner"]["properties"]["word"]["type"], "string");
    }
}
