//! The shape of what a request says: its members, one line each.
//!
//! The same line is what is checked and what the document says, so the two cannot drift apart. What has been checked is
//! then read into a struct with fields of the same names.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::kind::{Kind, Wrong};

/// Whether a member must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It must.
    Required,
    /// It may be left out.
    Optional,
    /// It may be left out, or be null: there shall be no such thing.
    Nullable,
}

/// One member of an object, or one parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// What it means, for the document. What happens when it is left out, too.
    pub(super) about: &'static str,
}

impl Member {
    pub(super) const fn required(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, presence: Presence::Required, about }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, presence: Presence::Optional, about }
    }

    pub(super) const fn nullable(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, presence: Presence::Nullable, about }
    }
}

/// What a request says, as a struct that can be made of its members.
pub(super) trait Shaped: DeserializeOwned {
    /// What it is, for the document.
    const ABOUT: &'static str;
    /// Every member.
    const MEMBERS: &'static [Member];
    /// A whole example, as JSON; none for queries.
    const EXAMPLE: &'static str = "";
}

/// Checks `value`, and says everything that is wrong with it.
pub(super) fn check<T: Shaped>(value: &mut Value) -> Result<(), Vec<Wrong>> {
    let mut wrongs = Vec::new();
    let Value::Object(members) = value else {
        return Err(vec![Wrong { place: String::new(), message: "must be an object".to_owned() }]);
    };
    if members.keys().any(|name| !T::MEMBERS.iter().any(|member| member.name == name)) {
        // Its name is not repeated: it may be a secret in the wrong place.
        wrongs.push(Wrong { place: String::new(), message: format!("must have no members but {}", names::<T>()) });
    }
    for member in T::MEMBERS {
        match members.get_mut(member.name) {
            None if member.presence == Presence::Required => {
                wrongs.push(Wrong { place: format!("/{}", member.name), message: "must be there".to_owned() });
            }
            None => {}
            Some(Value::Null) if member.presence == Presence::Nullable => {}
            Some(value) => member.kind.check(&format!("/{}", member.name), value, &mut wrongs),
        }
    }
    if wrongs.is_empty() { Ok(()) } else { Err(wrongs) }
}

/// The names of all members, for people.
pub(super) fn names<T: Shaped>() -> String {
    T::MEMBERS.iter().map(|member| format!("`{}`", member.name)).collect::<Vec<_>>().join(", ")
}

/// Reads what [`check`] has let through.
pub(super) fn read<T: Shaped>(value: Value) -> Result<T, Vec<Wrong>> {
    // Its message may repeat the value.
    serde_json::from_value(value)
        .map_err(|_| vec![Wrong { place: String::new(), message: "must be as the document says".to_owned() }])
}

/// What the document says of content of this shape.
pub(super) fn schema<T: Shaped>() -> RefOr<Schema> {
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(T::ABOUT))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    for member in T::MEMBERS {
        let schema = match member.presence {
            Presence::Required | Presence::Optional => member.kind.schema(),
            Presence::Nullable => member.kind.schema_or_null(),
        };
        object = object.property(member.name, described(schema, member.about));
        if member.presence == Presence::Required {
            object = object.required(member.name);
        }
    }
    let example: Option<Value> = serde_json::from_str(T::EXAMPLE).ok();
    RefOr::T(Schema::Object(object.examples(example).build()))
}

/// What the document says of a query of this shape.
pub(super) fn parameters<T: Shaped>() -> Vec<Parameter> {
    T::MEMBERS.iter().map(parameter).collect()
}

fn parameter(member: &Member) -> Parameter {
    let required = if member.presence == Presence::Required { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(member.name)
        .parameter_in(ParameterIn::Query)
        .required(required)
        .description(Some(member.about))
        .schema(Some(member.kind.schema()))
        .build()
}

fn described(mut schema: Schema, about: &str) -> Schema {
    let about = Some(about.to_owned());
    if let Schema::Object(object) = &mut schema {
        object.description = about;
    } else if let Schema::Array(array) = &mut schema {
        array.description = about;
    } else if let Schema::AnyOf(any) = &mut schema {
        any.description = about;
    }
    schema
}

/// Tells a member that is null from one that is left out: `Some(None)` from `None`.
pub(super) fn some<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The members of a query, each at most once.
pub(super) fn read_query<T: Shaped>(query: &str) -> Result<T, Vec<Wrong>> {
    let mut members = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(text)) = (decoded(name), decoded(text)) else {
            let message = "must be UTF-8 and percent-encoded (RFC 3986, section 2.1)".to_owned();
            return Err(vec![Wrong { place: String::new(), message }]);
        };
        let kind = T::MEMBERS.iter().find(|member| member.name == name).map(|member| member.kind);
        let value = kind.map_or(Value::Null, |kind| kind.value_of(&text));
        if members.insert(name, value).is_some() {
            let message = "must have each parameter once".to_owned();
            return Err(vec![Wrong { place: String::new(), message }]);
        }
    }
    let mut value = Value::Object(members);
    check::<T>(&mut value)?;
    read(value)
}

/// Undoes `application/x-www-form-urlencoded`. `None` if it cannot be undone.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
