//! The document that describes the API (OpenAPI 3.1), and is right about it.
//!
//! Paths, methods and answers stand beside the functions that serve them; members stand in their tables
//! ([`super::shape`]). What holds for many operations alike is added here, by rules: which refusals there are, which
//! fields stand in answers, and who may ask.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Schema};

use super::ROOT;
use super::kind::Kind;
use super::refusal::{Code, Mistake, Problem};

const SCHEME: &str = "admin_token";
const PROBLEM_JSON: &str = "application/problem+json";

/// What the document begins with.
pub(super) fn opening() -> OpenApi {
    let info = InfoBuilder::new()
        .title("keygate management API")
        .version("1")
        .description(Some(
            "Keys and users of a keygate: made, listed, changed and ended; logins and sessions: listed and ended. Every write is durable, and in force on the \
             next request, before it is answered. A secret is shown once. Refusals are problem documents (RFC 9457) with \
             a stable `code`; what is refused changes nothing.",
        ))
        .build();
    let tag = |name: &str, about: &str| TagBuilder::new().name(name).description(Some(about)).build();
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The admin token of this keygate")).build();
    OpenApiBuilder::new()
        .info(info)
        .tags(Some([
            tag("keys", "API keys"),
            tag("users", "Users, for whom keys stand"),
            tag("logins", "Logins of users"),
            tag("sessions", "Sessions of customers"),
            tag("audit", "Who did what, and when"),
            tag("document", "This document"),
        ]))
        .security(Some([SecurityRequirement::new(SCHEME, Vec::<String>::new())]))
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(SCHEME, SecurityScheme::Http(scheme))
                .schema("Problem", Problem::schema())
                .schema("Mistake", Mistake::schema())
                .schema("Code", Code::schema())
                .build(),
        ))
        .build()
}

/// Adds what holds for all operations, and the document itself.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            complete_operation(path, operation);
        }
    }
    document.paths.paths.insert(format!("{ROOT}/openapi.json"), itself());
}

fn complete_operation(path: &str, operation: &mut Operation) {
    let named = path.contains("{id}");
    let told = operation.request_body.is_some();
    let asked = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let parameters = operation.parameters.get_or_insert_default();
    if named {
        parameters.insert(0, RefOr::T(parameter("id", ParameterIn::Path, Kind::Word, "Its id")));
    }
    if operation.operation_id.as_deref() == Some("create_key") {
        let about = "Any text that is another one for each key that shall be made, such as a random UUID";
        parameters.push(RefOr::T(parameter("Idempotency-Key", ParameterIn::Header, Kind::Word, about)));
    }
    if operation.operation_id.as_deref() == Some("rotate_key")
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        body.required = Some(Required::False);
    }
    for (status, about, there) in [
        ("400", "The request cannot be read, or its query is wrong", told || asked),
        ("401", "There is no credential, or a wrong one", true),
        ("404", "There is nothing of this id", named),
        ("413", "The content has more than 64 KiB", told),
        ("415", "The content is not `application/json`", told),
        ("422", "The content is not as this document says, or carries what looks like a secret", told),
        ("429", "There were too many wrong credentials; wait", true),
        ("500", "The store cannot be used", true),
        ("503", "The store is busy, or too many passwords are being hashed; try again", true),
    ] {
        if there {
            operation.responses.responses.insert(status.to_owned(), RefOr::T(Response::new(about)));
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            complete_response(status, response);
        }
    }
}

/// Adds the fields of an answer, and the content of a refusal.
fn complete_response(status: &str, response: &mut Response) {
    let mut field = |name: &str, header: Header| drop(response.headers.insert(name.to_owned(), RefOr::T(header)));
    field("Cache-Control", header("Nobody keeps an answer", ObjectBuilder::new().enum_values(Some(["no-store"]))));
    match status {
        "200" if response.description.contains("before") => {
            let replayed = ObjectBuilder::new().enum_values(Some(["true"]));
            field("Idempotency-Replayed", header("The key was made by an earlier request", replayed));
        }
        "201" => field("Location", header("Where it is", ObjectBuilder::new().pattern(Some(format!("^{ROOT}/"))))),
        "401" => {
            field("WWW-Authenticate", header("The scheme (RFC 6750)", ObjectBuilder::new().pattern(Some("^Bearer"))));
        }
        "429" | "503" => {
            let seconds = ObjectBuilder::new().pattern(Some("^[0-9]+$"));
            field("Retry-After", header("Seconds after which to try again", seconds));
        }
        _ => {}
    }
    if status.starts_with(['4', '5']) {
        let example = json!({
            "type": "about:blank", "title": "There is no such key", "status": 404, "code": "no_key",
            "detail": "List the keys to find its id."
        });
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
        let content = if status == "404" { content.example(Some(example)) } else { content };
        response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(content.build()));
    }
}

fn header(about: &str, schema: ObjectBuilder) -> Header {
    let schema: Schema = schema.schema_type(Type::String).build().into();
    HeaderBuilder::new().description(Some(about)).schema(Some(schema)).build()
}

fn parameter(name: &str, place: ParameterIn, kind: Kind, about: &str) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(about))
        .schema(Some(kind.schema()))
        .build()
}

/// The operation that answers with this document. It needs no credential: there is no secret in it.
fn itself() -> PathItem {
    let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::Object).build())).build();
    let mut response = ResponseBuilder::new().description("This document").content("application/json", content).build();
    complete_response("200", &mut response);
    let operation = OperationBuilder::new()
        .operation_id(Some("get_openapi"))
        .summary(Some("Shows this document."))
        .tag("document")
        .securities(Some(Vec::<SecurityRequirement>::new()))
        .response("200", response);
    PathItem::new(HttpMethod::Get, operation)
}
