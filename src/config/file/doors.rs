//! What surrounds the road: the admin door, workers, shutdown, logs.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shapes::{self, FromText, OFF, TextOrMap};
use crate::document::duration::HumanDuration;

/// The door for operators.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Admin {
    Off,
    On(AdminDoor),
}

/// Where the door for operators is. It has no TLS, and its probes and metrics ask nobody for a key: let only operators
/// reach it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct AdminDoor {
    /// The IP address and the port.
    #[schemars(schema_with = "shapes::socket_address")]
    pub(in crate::config) listen: SocketAddr,
    /// A file with the token of the management API, at least 32 characters. Absent: there is no management API. Needs
    /// `keys.database`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) token_file: Option<PathBuf>,
    /// What the upstream can be asked through this door, by whom its own address is closed to: `/probe/NAME`.
    #[schemars(length(max = 64))]
    pub(in crate::config) probes: Vec<Probe>,
}

impl Default for AdminDoor {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9901)), token_file: None, probes: Vec::new() }
    }
}

/// A question to the upstream. The answer is its status, and nothing else of it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Probe {
    /// Its name in `/probe/NAME`: lower case letters, digits, `-` and `_`.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) name: String,
    /// The path that the upstream is asked for with GET, without a key; a query may follow.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) path: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self::On(AdminDoor::default())
    }
}

impl From<AdminDoor> for Admin {
    fn from(door: AdminDoor) -> Self {
        Self::On(door)
    }
}

impl FromText for Admin {
    const EXPECTED: &'static str = "a mapping, or `off`";

    fn from_text(text: &str) -> Option<Self> {
        (text == OFF).then_some(Self::Off)
    }
}

impl<'de> Deserialize<'de> for Admin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrMap::<Self, AdminDoor>::new())
    }
}

impl Serialize for Admin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str(OFF),
            Self::On(door) => door.serialize(serializer),
        }
    }
}

impl JsonSchema for Admin {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Admin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let door = generator.subschema_for::<AdminDoor>();
        json_schema!({ "anyOf": [door, { "const": OFF }] })
    }
}

/// Threads that serve requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum Workers {
    #[default]
    Auto,
    Number(NonZeroU16),
}

/// More workers than this help nobody.
const WORKERS_MAX: u16 = 256;

impl FromText for Workers {
    const EXPECTED: &'static str = "a number from 1 to 256, or `auto`";

    fn from_text(text: &str) -> Option<Self> {
        (text == "auto").then_some(Self::Auto)
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shapes::number_or_text::<D, Counted>(deserializer).and_then(|counted| {
            let Counted(number) = counted;
            let Some(number) = number else { return Ok(Self::Auto) };
            let number = u16::try_from(number).ok().filter(|number| *number <= WORKERS_MAX).and_then(NonZeroU16::new);
            number
                .map(Self::Number)
                .ok_or_else(|| serde::de::Error::custom(format_args!("expected {}", Self::EXPECTED)))
        })
    }
}

/// A number of workers before its bounds are checked; none for `auto`.
struct Counted(Option<u64>);

impl FromText for Counted {
    const EXPECTED: &'static str = Workers::EXPECTED;

    fn from_text(text: &str) -> Option<Self> {
        Workers::from_text(text).map(|_| Self(None))
    }
}

impl From<u64> for Counted {
    fn from(number: u64) -> Self {
        Self(Some(number))
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Number(number) => number.serialize(serializer),
        }
    }
}

impl JsonSchema for Workers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": WORKERS_MAX }] })
    }
}

/// How the process ends when it is told to (SIGTERM), or is told by `keygate drain` to send clients elsewhere. A second
/// signal ends it at once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Shutdown {
    /// How long new connections are still accepted, so that load balancers can learn of the end. Counted from `keygate
    /// drain`, if that came first. `0s` is not at all; SIGINT (Ctrl-C) does not wait for it.
    pub(in crate::config) delay: HumanDuration,
    /// How long requests that have begun may then take.
    pub(in crate::config) timeout: HumanDuration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: HumanDuration::from_secs(5), timeout: HumanDuration::from_secs(30) }
    }
}

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Log {
    /// How much is said about keygate itself, on standard error.
    pub(in crate::config) level: LogLevel,
    /// How it looks.
    pub(in crate::config) format: LogFormat,
    /// One line for each request.
    pub(in crate::config) access: AccessLog,
}

/// How much is said. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LogLevel {
    /// Nothing.
    Off,
    /// Something does not work and needs somebody.
    Error,
    /// Something does not work and was got round.
    Warn,
    /// What an operator did and what came of it: started, reloaded, stopped.
    #[default]
    Info,
    /// What happens in detail.
    Debug,
    /// Everything.
    Trace,
}

/// How a line of a log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// One line for each request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct AccessLog {
    /// Whether it is written.
    pub(in crate::config) enabled: bool,
    /// How it looks.
    pub(in crate::config) format: LogFormat,
    /// Where it goes: `stdout`, or a file, which is added to.
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) output: String,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true, format: LogFormat::Json, output: "stdout".to_owned() }
    }
}
