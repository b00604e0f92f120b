//! What the document says.

use super::*;

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            operations.push((format!("{method} {path}"), operation));
        }
    }
    operations
}

#[tokio::test]
async fn it_names_every_operation() {
    let api = Api::start().await;
    let mut names: Vec<String> = operations(&api.document).into_iter().map(|(name, _)| name).collect();
    names.sort();
    let expected = [
        "delete /api/v1/keys/{id}",
        "delete /api/v1/logins/{id}",
        "delete /api/v1/sessions/{id}",
        "delete /api/v1/users/{id}",
        "get /api/v1/audit",
        "get /api/v1/keys",
        "get /api/v1/keys/{id}",
        "get /api/v1/keys/{id}/usage",
        "get /api/v1/logins",
        "get /api/v1/openapi.json",
        "get /api/v1/sessions",
        "get /api/v1/users",
        "get /api/v1/users/{id}",
        "patch /api/v1/keys/{id}",
        "patch /api/v1/users/{id}",
        "post /api/v1/keys",
        "post /api/v1/keys/{id}/activate",
        "post /api/v1/keys/{id}/deactivate",
        "post /api/v1/keys/{id}/revoke",
        "post /api/v1/keys/{id}/rotate",
        "post /api/v1/users",
        "post /api/v1/users/{id}/disable",
        "post /api/v1/users/{id}/enable",
        "put /api/v1/users/{id}/password",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn every_operation_but_one_needs_the_token_and_says_how_it_refuses() {
    let api = Api::start().await;
    assert_eq!(api.document["security"], json!([{"admin_token": []}]));
    for (name, operation) in operations(&api.document) {
        let open = name.ends_with("openapi.json");
        assert_eq!(operation.get("security"), open.then_some(&json!([])), "{name}");
        let responses = operation["responses"].as_object().expect("responses");
        assert_eq!(responses.contains_key("401") && responses.contains_key("429"), !open, "{name}");
        assert_eq!(responses.contains_key("404"), name.contains("{id}"), "{name}");
        for status in ["413", "415", "422"] {
            assert_eq!(responses.contains_key(status), operation.get("requestBody").is_some(), "{name}: {status}");
        }
        let summary = text(&operation["summary"]);
        assert!(summary.len() < 100 && !summary.contains('\n'), "{name}: {summary}");
        assert!(operation["operationId"].is_string(), "{name}");
    }
}

/// Every `$ref` leads somewhere, and everything that is sent has bounds.
#[tokio::test]
async fn what_is_sent_has_bounds() {
    let api = Api::start().await;
    let schemas = &api.document["components"]["schemas"];
    for name in ["NewKey", "KeyChange", "KeyRotation", "NewUser", "UserChange", "NewPassword"] {
        assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        for (member, schema) in schemas[name]["properties"].as_object().expect("members") {
            bounded(&format!("{name}.{member}"), schema);
        }
    }
    for (name, operation) in operations(&api.document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            bounded(&name, &parameter["schema"]);
        }
    }
    let text = api.document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(schemas[name].is_object(), "{name}");
    }
}

fn bounded(name: &str, schema: &Value) {
    let is = |kind: &str| schema["type"] == kind || schema["type"][0] == kind;
    let has = |word: &str| schema.get(word).is_some();
    if is("string") {
        assert!(has("maxLength") || has("enum") || has("format") || has("pattern"), "{name}: {schema}");
    } else if is("integer") {
        assert!(has("minimum") && has("maximum"), "{name}: {schema}");
    } else if is("array") {
        assert!(has("maxItems"), "{name}: {schema}");
        bounded(name, &schema["items"]);
    } else if is("object") {
        assert!(has("maxProperties") && has("propertyNames"), "{name}: {schema}");
        bounded(name, &schema["additionalProperties"]);
    } else if has("anyOf") {
        schema["anyOf"].as_array().expect("a list").iter().for_each(|one| bounded(name, one));
    } else {
        assert!(is("boolean") || is("null"), "{name}: {schema}");
    }
}

/// The examples are taken by the API.
#[tokio::test]
async fn its_examples_are_right() {
    let api = Api::start().await;
    let example = |name: &str| api.document["components"]["schemas"][name]["examples"][0].clone();
    let (id, _) = api.key(&example("NewKey")).await;
    api.json("PATCH", &format!("/keys/{id}"), &example("KeyChange")).await.expect(200);
    api.json("POST", &format!("/keys/{id}/rotate"), &example("KeyRotation")).await.expect(201);
    let user = api.json("POST", "/users", &example("NewUser")).await.expect(201);
    let user = format!("/users/{}", text(&user["id"]));
    api.json("PATCH", &user, &example("UserChange")).await.expect(200);
    api.json("PUT", &format!("{user}/password"), &example("NewPassword")).await.expect(200);
}
