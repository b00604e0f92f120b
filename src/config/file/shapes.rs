//! Schemas of single values, and the visitor for "this text, or that mapping".

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::gateway::rejection::Reason;

/// A file or folder; relative to the folder of the configuration file.
pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1 })
}

/// The word that stands in the place of a path where there is no file. A file of this name is `./off`.
pub(in crate::config) const OFF: &str = "off";

/// The path that stands for no file.
pub(super) fn off() -> PathBuf {
    PathBuf::from(OFF)
}

/// A list of such paths.
pub(super) fn paths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "minItems": 1, "maxItems": 1024, "items": { "type": "string", "minLength": 1 } })
}

/// Text that is not empty.
pub(super) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 1024 })
}

/// The URL of the upstream. What it must be in detail, `check` says.
pub(super) fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "service-url", "minLength": 1, "maxLength": 1024 })
}

/// An IP address with a port.
pub(super) fn socket_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "socket-address", "minLength": 1 })
}

/// The name of an HTTP field.
pub(super) fn field_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "http-field-name", "minLength": 1, "maxLength": 64 })
}

/// Some such names.
pub(super) fn field_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 8,
        "items": { "type": "string", "format": "http-field-name", "minLength": 1, "maxLength": 64 }
    })
}

/// Networks, possibly none.
pub(super) fn networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 1024,
        "items": { "type": "string", "format": "network", "minLength": 1 }
    })
}

/// Networks, at least one.
pub(super) fn some_networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 1024,
        "items": { "type": "string", "format": "network", "minLength": 1 }
    })
}

/// Hosts without ports, possibly none.
pub(super) fn hosts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 256, "items": { "type": "string", "minLength": 1, "maxLength": 255 } })
}

/// Listening addresses, possibly none.
pub(super) fn socket_addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64,
        "items": { "type": "string", "format": "socket-address", "minLength": 1 }
    })
}

/// Patterns of paths, at least one.
pub(super) fn patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 256,
        "items": { "type": "string", "minLength": 1, "maxLength": 1024 }
    })
}

/// Methods, possibly none.
pub(super) fn methods(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 16, "items": { "enum": METHODS } })
}

/// The methods that a route can be for: all that are registered but `CONNECT`, which is for no gateway.
pub(super) const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Words, possibly none.
pub(super) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 256, "items": { "type": "string", "minLength": 1, "maxLength": 128 } })
}

/// Reasons of refusals, at least one.
pub(super) fn reasons(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "minItems": 1, "items": { "enum": Reason::WORDS } })
}

/// Whatever JSON can say.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!(true)
}

/// What can be written as text instead of as a mapping. No buffering: errors inside the mapping keep their place.
pub(super) trait FromText: Sized {
    /// What is expected, for an error.
    const EXPECTED: &'static str;

    /// Understands the text; nothing if it is not understood.
    fn from_text(text: &str) -> Option<Self>;
}

/// Takes text, or the mapping `M`.
pub(super) struct TextOrMap<T, M>(PhantomData<(T, M)>);

impl<T, M> TextOrMap<T, M> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T, M> Visitor<'de> for TextOrMap<T, M>
where
    T: FromText + From<M>,
    M: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(T::from)
    }
}

/// For types whose text form is one word and whose other form is a list of text.
pub(super) fn list_or_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromText + From<Vec<String>>,
{
    struct ListOrText<T>(PhantomData<T>);

    impl<'de, T: FromText + From<Vec<String>>> Visitor<'de> for ListOrText<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(T::EXPECTED)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            T::from_text(text).ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<String>()? {
                list.push(item);
            }
            Ok(T::from(list))
        }
    }

    deserializer.deserialize_any(ListOrText(PhantomData))
}

/// For types whose text form is one word and whose other form is a number.
pub(super) fn number_or_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromText + From<u64>,
{
    struct NumberOrText<T>(PhantomData<T>);

    impl<T: FromText + From<u64>> Visitor<'_> for NumberOrText<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(T::EXPECTED)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            T::from_text(text).ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
        }

        fn visit_u64<E>(self, number: u64) -> Result<T, E> {
            Ok(T::from(number))
        }
    }

    deserializer.deserialize_any(NumberOrText(PhantomData))
}
