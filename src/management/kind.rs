//! The kinds of values that a request may hold: what is let through, and what the document says of it.
//!
//! Each kind is one line of [`Kind::admits`] and one of [`Kind::schema`], which say the same: the second in JSON Schema
//! (draft 2020-12), the first in Rust. The store has rules of its own, which are no stricter than these but for
//! what looks like a plain key, and dates that contradict each other.

use std::sync::LazyLock;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};

use crate::identity::password::{self, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
use crate::keys::entry::{METADATA_MAX, NAME_BYTES_MAX, NETWORKS_MAX, RATE_LIMIT_MAX, TEXT_CHARS_MAX};
use crate::keys::plain::carries_a_plain_key;

/// Characters a permission may have. With [`PERMISSIONS_MAX`] of them, all together fit into one field
/// ([`crate::keys::entry::PERMISSIONS_BYTES_MAX`]).
const PERMISSION_CHARS_MAX: usize = 63;

/// Permissions a key or a user may have; roles too. For more there are roles and wildcards.
const PERMISSIONS_MAX: usize = 64;

/// Characters of a cursor.
const CURSOR_CHARS: usize = 16;

/// A kind of value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A name for machines.
    Word,
    /// A name for machines that can stand in a path.
    Id,
    /// What somebody may do.
    Permission,
    /// A text for people, on one line.
    Line,
    /// A value of the metadata.
    Note,
    /// What somebody logs in with.
    Password,
    /// A part of a name, to look for.
    Part,
    /// An instant (RFC 3339).
    Instant,
    /// A network, as address and length of its prefix.
    Network,
    /// A whole number.
    Number(u64, u64),
    /// Yes or no.
    Truth,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// Where a list goes on.
    Cursor,
    /// At most so many of one kind.
    List(&'static Self, usize),
    /// Notes by name.
    Metadata,
}

/// Permissions.
pub(super) const PERMISSIONS: Kind = Kind::List(&Kind::Permission, PERMISSIONS_MAX);
/// Roles.
pub(super) const ROLES: Kind = Kind::List(&Kind::Word, PERMISSIONS_MAX);
/// Networks.
pub(super) const NETWORKS: Kind = Kind::List(&Kind::Network, NETWORKS_MAX);
/// Requests per window.
pub(super) const RATE_LIMIT: Kind = Kind::Number(1, RATE_LIMIT_MAX);

/// One wrong value: its place behind the place of the whole (`/permissions/2`), and what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) place: String,
    pub(super) message: String,
}

impl Kind {
    /// Adds what is wrong with `value` to `wrongs`. A whole number that is written with a fraction of zero is what JSON
    /// Schema takes for one, and is put right.
    pub(super) fn check(self, place: &str, value: &mut Value, wrongs: &mut Vec<Wrong>) {
        let right = match (self, &mut *value) {
            (Self::List(kind, most), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    kind.check(&format!("{place}/{index}"), item, wrongs);
                }
                items.len() <= most
            }
            (Self::Metadata, Value::Object(members)) => {
                for (name, note) in members.iter_mut() {
                    check_note(place, name, note, wrongs);
                }
                members.len() <= METADATA_MAX
            }
            (Self::Number(least, most), Value::Number(number)) => {
                let whole = number.as_u64().or_else(|| number.as_f64().and_then(whole));
                if let Some(whole) = whole {
                    *value = whole.into();
                }
                whole.is_some_and(|whole| (least..=most).contains(&whole))
            }
            (Self::Truth, Value::Bool(_)) => true,
            (_, Value::String(text)) => self.admits(text),
            (_, _) => false,
        };
        if !right {
            wrongs.push(Wrong { place: place.to_owned(), message: format!("must be {}", self.words()) });
        }
    }

    /// The value that stands in a query or a field as `text`.
    pub(super) fn value_of(self, text: &str) -> Value {
        match self {
            Self::Number(..) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
            }
            Self::Truth => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            Self::Number(..)
            | Self::Word
            | Self::Id
            | Self::Permission
            | Self::Line
            | Self::Note
            | Self::Password
            | Self::Part
            | Self::Instant
            | Self::Network
            | Self::Choice(_)
            | Self::Cursor
            | Self::List(..)
            | Self::Metadata => text.into(),
        }
    }

    /// Says whether a text is of this kind.
    pub(super) fn admits(self, text: &str) -> bool {
        let chars = || text.chars().count();
        match self {
            Self::Word => is_word(text, NAME_BYTES_MAX),
            Self::Id => is_id(text),
            Self::Permission => is_word(text, PERMISSION_CHARS_MAX),
            Self::Line => (1..=TEXT_CHARS_MAX).contains(&chars()) && !text.chars().any(char::is_control),
            Self::Note => chars() <= TEXT_CHARS_MAX && !text.contains('\0'),
            Self::Password => password::check(text).is_ok(),
            Self::Part => (1..=NAME_BYTES_MAX).contains(&chars()) && !text.chars().any(char::is_control),
            Self::Instant => instant_of(text).is_some(),
            Self::Network => network_of(text).is_some(),
            Self::Choice(words) => words.contains(&text),
            Self::Cursor => cursor_of(text).is_some(),
            Self::Number(..) | Self::Truth | Self::List(..) | Self::Metadata => false,
        }
    }

    /// What is right, after "must be".
    fn words(self) -> String {
        match self {
            Self::Word => format!("1 to {NAME_BYTES_MAX} visible ASCII characters without spaces"),
            Self::Id => format!(
                "1 to {NAME_BYTES_MAX} letters, digits and `._~:@-` (ASCII), with a letter or a digit at the beginning"
            ),
            Self::Permission => format!("1 to {PERMISSION_CHARS_MAX} visible ASCII characters without spaces"),
            Self::Line => format!("1 to {TEXT_CHARS_MAX} characters on one line"),
            Self::Note => format!("a text of at most {TEXT_CHARS_MAX} characters, without NUL"),
            Self::Password => {
                format!(
                    "{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters, without line ends or other control characters"
                )
            }
            Self::Part => format!("1 to {NAME_BYTES_MAX} characters on one line"),
            Self::Instant => "an instant of the years 2000 to 8999 like 2027-01-31T00:00:00Z (RFC 3339)".to_owned(),
            Self::Network => "a network like 192.0.2.0/24 or 2001:db8::/32".to_owned(),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Truth => "true or false".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Cursor => "the `next` of the page before, unchanged".to_owned(),
            Self::List(_, most) => format!("a list of at most {most}"),
            Self::Metadata => format!("an object of at most {METADATA_MAX} texts"),
        }
    }

    /// What the document says.
    pub(super) fn schema(self) -> Schema {
        let string = || ObjectBuilder::new().schema_type(Type::String);
        let text = |least: usize, most: usize, pattern: &str| {
            string().min_length(Some(least)).max_length(Some(most)).pattern(Some(pattern)).build()
        };
        match self {
            Self::Word => text(1, NAME_BYTES_MAX, "^[!-~]+$").into(),
            Self::Id => text(1, NAME_BYTES_MAX, "^[A-Za-z0-9][A-Za-z0-9._~:@-]*$").into(),
            Self::Permission => text(1, PERMISSION_CHARS_MAX, "^[!-~]+$").into(),
            Self::Line => text(1, TEXT_CHARS_MAX, ONE_LINE).into(),
            Self::Note => string().max_length(Some(TEXT_CHARS_MAX)).pattern(Some("^[^\\u0000]*$")).build().into(),
            Self::Password => string()
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
                .write_only(true)
                .min_length(Some(PASSWORD_CHARS_MIN))
                .max_length(Some(PASSWORD_CHARS_MAX))
                .pattern(Some(ONE_LINE))
                .build()
                .into(),
            Self::Part => text(1, NAME_BYTES_MAX, ONE_LINE).into(),
            Self::Instant => string()
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
                .pattern(Some(INSTANT))
                .examples(["2027-01-31T00:00:00Z"])
                .build()
                .into(),
            Self::Network => AnyOfBuilder::new()
                .item(string().pattern(Some(NETWORK_4.as_str())).examples(["192.0.2.0/24"]))
                .item(string().pattern(Some(NETWORK_6.as_str())).examples(["2001:db8::/32"]))
                .build()
                .into(),
            Self::Number(least, most) => {
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most)).build().into()
            }
            Self::Truth => Object::with_type(Type::Boolean).into(),
            Self::Choice(words) => string().enum_values(Some(words.iter().copied())).build().into(),
            Self::Cursor => text(CURSOR_CHARS, CURSOR_CHARS, "^[0-7][0-9a-f]{15}$").into(),
            Self::List(kind, most) => {
                ArrayBuilder::new().items(RefOr::T(kind.schema())).max_items(Some(most)).build().into()
            }
            Self::Metadata => ObjectBuilder::new()
                .property_names(Some(Self::Word.schema()))
                .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Self::Note.schema()))))
                .max_properties(Some(METADATA_MAX))
                .build()
                .into(),
        }
    }

    /// The same, or nothing.
    pub(super) fn schema_or_null(self) -> Schema {
        let mut schema = self.schema();
        if let Schema::Object(object) = &mut schema
            && let SchemaType::Type(kind) = object.schema_type.clone()
        {
            object.schema_type = SchemaType::from_iter([kind, Type::Null]);
            return schema;
        }
        AnyOfBuilder::new().item(RefOr::T(schema)).item(Object::with_type(Type::Null)).build().into()
    }
}

const ONE_LINE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";

const INSTANT: &str = "^[2-8][0-9]{3}-[01][0-9]-[0-3][0-9]T[012][0-9]:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-][012][0-9]:[0-5][0-9])$";

static NETWORK_4: LazyLock<String> = LazyLock::new(|| {
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!("^{byte}([.]{byte}){{3}}/(3[0-2]|[12]?[0-9])$")
});

static NETWORK_6: LazyLock<String> = LazyLock::new(|| {
    let h = "[0-9A-Fa-f]{1,4}";
    let forms = [
        format!("({h}:){{7}}{h}"),
        format!("({h}:){{1,7}}:"),
        format!("({h}:){{1,6}}:{h}"),
        format!("({h}:){{1,5}}(:{h}){{1,2}}"),
        format!("({h}:){{1,4}}(:{h}){{1,3}}"),
        format!("({h}:){{1,3}}(:{h}){{1,4}}"),
        format!("({h}:){{1,2}}(:{h}){{1,5}}"),
        format!("{h}:(:{h}){{1,6}}"),
        format!(":(:{h}){{1,7}}"),
        "::".to_owned(),
    ];
    format!("^({})/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$", forms.join("|"))
});

fn check_note(place: &str, name: &str, note: &mut Value, wrongs: &mut Vec<Wrong>) {
    if !Kind::Word.admits(name) {
        let message = format!("must have names of {}", Kind::Word.words());
        wrongs.push(Wrong { place: place.to_owned(), message });
        return;
    }
    // A name that is no secret can be shown.
    let shown = if carries_a_plain_key(name) { place.to_owned() } else { format!("{place}/{}", escaped(name)) };
    Kind::Note.check(&shown, note, wrongs);
}

/// A name as a part of a JSON pointer (RFC 6901, section 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn is_word(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_id(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:@-".contains(&byte);
    is_word(text, NAME_BYTES_MAX) && text.bytes().all(inner) && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// Reads an instant. The pattern first: jiff reads more than RFC 3339 writes.
fn instant_of(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let (head, tail) = bytes.split_at_checked("2027-01-31T00:00:00".len())?;
    let shaped = head.iter().zip(b"9999-99-99T99:99:99").all(|(byte, model)| match model {
        b'9' => byte.is_ascii_digit(),
        _ => byte == model,
    });
    // Leap seconds come at times that nobody knows beforehand, and instants here do not count them.
    let in_range = matches!(head[0], b'2'..=b'8') && head[17] != b'6';
    let (fraction, offset) = tail.split_at(tail.iter().position(|byte| !matches!(byte, b'.' | b'0'..=b'9'))?);
    let fraction_right = match fraction {
        [] => true,
        [b'.', digits @ ..] => (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let offset_right = match offset {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let hour = matches!((h1, h2), (b'0' | b'1', b'0'..=b'9') | (b'2', b'0'..=b'3'));
            hour && matches!((m1, m2), (b'0'..=b'5', b'0'..=b'9'))
        }
        _ => false,
    };
    if shaped && in_range && fraction_right && offset_right { text.parse().ok() } else { None }
}

/// Reads a network, written without zeros in front and without an IPv4 address in IPv6.
fn network_of(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok()?;
    let (address, length) = text.split_once('/')?;
    let plain = match network {
        IpNet::V4(network) => address == network.addr().to_string(),
        IpNet::V6(_) => !address.contains('.'),
    };
    (plain && length == network.prefix_len().to_string()).then_some(network)
}

/// A place in a list as it is handed out: nothing to make sense of, and nothing to count with.
pub(super) fn cursor_to(place: &str) -> Option<String> {
    place.parse::<i64>().ok().filter(|place| *place >= 0).map(|place| format!("{place:0CURSOR_CHARS$x}"))
}

/// The way back.
pub(super) fn cursor_of(text: &str) -> Option<String> {
    let digits = text.len() == CURSOR_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let place = if digits { i64::from_str_radix(text, 16).ok() } else { None };
    place.map(|place| place.to_string())
}

/// `number` if it is a whole one that floating point has not rounded.
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and below 2^53")]
    (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, good: &[&str], bad: &[&str]) {
        assert_eq!(good.iter().filter(|text| !kind.admits(text)).collect::<Vec<_>>(), Vec::<&&str>::new(), "{kind:?}");
        assert_eq!(bad.iter().filter(|text| kind.admits(text)).collect::<Vec<_>>(), Vec::<&&str>::new(), "{kind:?}");
    }

    #[test]
    fn instants_are_those_of_rfc_3339() {
        let good = [
            "2027-01-31T00:00:00Z",
            "2000-01-01T00:00:00+23:59",
            "8999-12-31T23:59:59.999999999-23:59",
            "2028-02-29T12:34:56.7-00:00",
        ];
        let bad = [
            "",
            "2027-01-31",
            "2027-01-31T00:00:00",
            "2027-01-31T00:00Z",
            "2027-01-31 00:00:00Z",
            "2027-01-31t00:00:00z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T23:59:60Z",
            "2027-01-31T00:00:00.Z",
            "2027-01-31T00:00:00.0123456789Z",
            "2027-01-31T00:00:00+24:00",
            "2027-01-31T00:00:00+0100",
            "2027-01-31T00:00:00Z[UTC]",
            "2027-01-31T00:00:00Z\n",
            "1999-12-31T00:00:00Z",
            "9000-01-01T00:00:00Z",
            "2027-01-31T00:00:0\u{e9}Z",
        ];
        check(Kind::Instant, &good, &bad);
    }

    #[test]
    fn networks_are_written_in_one_way() {
        let good =
            ["0.0.0.0/0", "192.0.2.1/32", "10.0.0.0/8", "::/0", "2001:DB8::1/128", "1:2:3:4:5:6:7:8/64", "1::8/9"];
        let bad = [
            "",
            "10.0.0.1",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "010.0.0.0/8",
            "10.0.0/8",
            "::/129",
            "::/064",
            "::ffff:10.0.0.0/104",
            "1:2:3:4:5:6:7/64",
            "fe80::%eth0/64",
            "10.0.0.0/8 ",
            "10.0.0.0/255.0.0.0",
        ];
        check(Kind::Network, &good, &bad);
    }

    #[test]
    fn texts_have_their_bounds() {
        let (word, line) = ("x".repeat(NAME_BYTES_MAX), "\u{e9}".repeat(TEXT_CHARS_MAX));
        check(Kind::Word, &["!", "~a", &word], &["", "a b", "\u{e9}", "a\n", &format!("{word}x")]);
        check(
            Kind::Id,
            &["0", "a.b_c~d:e@f-g", &word],
            &["", ".", "..", "-a", "a/b", "a%b", "a?b", &format!("{word}x")],
        );
        check(Kind::Permission, &[&word[..63]], &["", &word[..64]]);
        check(Kind::Line, &[" ", &line], &["", "a\tb", "\u{7f}", "\u{85}", &format!("{line}x")]);
        check(Kind::Note, &["", "a\r\nb", &line], &["\0", &format!("{line}x")]);
        let password = "\u{1f43b}".repeat(PASSWORD_CHARS_MAX);
        check(
            Kind::Password,
            &["eight ch", &password],
            &["", "seven c", "two\nlines", "\u{85}2345678", &format!("{password}x")],
        );
        check(Kind::Choice(&["a", "b"]), &["a", "b"], &["", "A", "ab"]);
    }

    /// All permissions that are let through fit into the field in which they travel.
    #[test]
    fn no_permissions_are_too_many_for_the_store() {
        let all = PERMISSIONS_MAX * (PERMISSION_CHARS_MAX + 1) - 1;
        assert!(all <= crate::keys::entry::PERMISSIONS_BYTES_MAX, "{all}");
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for place in ["0", "17", &i64::MAX.to_string()] {
            let cursor = cursor_to(place).expect("a cursor");
            assert_eq!(cursor_of(&cursor).as_deref(), Some(place));
        }
        check(Kind::Cursor, &["7fffffffffffffff"], &["", "8000000000000000", "000000000000001A", "+000000000000001"]);
    }

    #[test]
    fn whole_numbers_are_what_json_schema_takes_for_them() {
        for (value, expected) in
            [("5", Some(5)), ("5.0", Some(5)), ("1e1", Some(10)), ("5.5", None), ("11", None), ("-0.0", None)]
        {
            let mut value: Value = serde_json::from_str(value).expect("JSON");
            let mut wrongs = Vec::new();
            Kind::Number(1, 10).check("", &mut value, &mut wrongs);
            assert_eq!(wrongs.is_empty().then(|| value.as_u64()).flatten(), expected, "{value}");
        }
    }
}
