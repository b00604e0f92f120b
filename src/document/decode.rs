//! From the tree to values, with errors that never show one.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, EnumAccess, Expected, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde_path_to_error::Segment;

use super::Fault;
use super::node::Node;
use super::path::{Path, Step};
use super::place::Aim;

/// Decodes the tree.
pub(super) fn decode<T: DeserializeOwned>(root: &Node) -> Result<T, Fault> {
    if let Ok(value) = T::deserialize(Decoder(root)) {
        return Ok(value);
    }
    // Keeping the path costs time for every value, so it is only kept once we know that somebody will read it.
    serde_path_to_error::deserialize(Decoder(root)).map_err(|error| {
        let outer = path_of(root, error.path());
        let DecodeError { message, field } = error.into_inner();
        let (path, aim) = match field {
            None => (outer, Aim::Value),
            // An unknown name is refused while it is read, and is already the end of the path; a missing one is not.
            Some(name) if outer.ends_with(&name) => (outer, Aim::Name { nth: 0 }),
            Some(name) => (outer.field(&name), Aim::Name { nth: 0 }),
        };
        Fault { path, aim, message }
    })
}

/// The path in the document. Items that were set aside do not count for serde, but they do for an operator.
fn path_of(root: &Node, path: &serde_path_to_error::Path) -> Path {
    let mut node = Some(root);
    path.iter().fold(Path::root(), |path, segment| match segment {
        Segment::Seq { index } => {
            let index = node.map_or(*index, |node| node.item(*index));
            node = node.and_then(|node| node.at(&[Step::Index(index)]));
            path.index(index)
        }
        Segment::Map { key: name } | Segment::Enum { variant: name } => {
            node = node.and_then(|node| node.at(&[Step::Field(name.clone())]));
            path.field(name)
        }
        Segment::Unknown => path,
    })
}

/// What serde has to say, with values taken out.
#[derive(Debug)]
struct DecodeError {
    message: String,
    /// The field that is missing or unknown.
    field: Option<String>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), field: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected {}", super::wording::one_of(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { message: super::wording::unknown_field(field, expected), field: Some(field.to_owned()) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { message: super::wording::MISSING.to_owned(), field: Some(field.to_owned()) }
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a mapping",
        Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "something else",
    }
}

/// A node, ready to be decoded.
#[derive(Clone, Copy)]
struct Decoder<'de>(&'de Node);

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Node::Null | Node::SetAside => visitor.visit_unit(),
            Node::Boolean(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text { text, .. } => visitor.visit_borrowed_str(text),
            Node::List(items) => {
                let items = items.iter().filter(|node| !matches!(node, Node::SetAside));
                let mut items = SeqDeserializer::new(items.map(Decoder));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Node::Map(fields) => {
                let fields = fields.iter().filter(|(_, node)| !matches!(node, Node::SetAside));
                let mut fields = MapDeserializer::new(fields.map(|(name, node)| (&**name, Decoder(node))));
                let value = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| value)
            }
        }
    }

    /// Writing nothing is not leaving out: the inner type gets to see that there is nothing, and refuses it.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Node::Text { text, .. } => visitor.visit_enum(StrDeserializer::new(text)),
            Node::Map(fields) if fields.len() == 1 => visitor.visit_enum(Variant(&fields[0])),
            Node::Null
            | Node::Boolean(_)
            | Node::Unsigned(_)
            | Node::Signed(_)
            | Node::Float(_)
            | Node::List(_)
            | Node::Map(_)
            | Node::SetAside => Err(serde::de::Error::custom("expected text, or a mapping with exactly one field")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, DecodeError> for Decoder<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A mapping with one field, whose name chooses among several shapes.
struct Variant<'de>(&'de (Box<str>, Node));

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Decoder<'de>;

    fn variant_seed<S>(self, seed: S) -> Result<(S::Value, Decoder<'de>), DecodeError>
    where
        S: serde::de::DeserializeSeed<'de>,
    {
        let name = seed.deserialize(StrDeserializer::<DecodeError>::new(&self.0.0))?;
        Ok((name, Decoder(&self.0.1)))
    }
}

impl<'de> VariantAccess<'de> for Decoder<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        <()>::deserialize(self)
    }

    fn newtype_variant_seed<S>(self, seed: S) -> Result<S::Value, DecodeError>
    where
        S: serde::de::DeserializeSeed<'de>,
    {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }
}
