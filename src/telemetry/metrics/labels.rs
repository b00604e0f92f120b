//! The values that labels can have: closed lists, and names that are interned and capped.
//!
//! Never in this file: anything a client chooses. A method is one of nine or `OTHER`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;

/// Different names of routes that are told apart while the process lives, `none` and `other` among them.
pub const ROUTES_MAX: usize = 512;

/// The label value of everything beyond a cap.
pub(super) const OTHER: &str = "other";

/// A route in a metric. Small and `Copy`: the road carries it instead of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteLabel(pub(super) u32);

impl RouteLabel {
    /// No route: the request was refused before one was found. The label value is `none`.
    pub const NONE: Self = Self(0);

    /// A route beyond [`ROUTES_MAX`]. The label value is `other`.
    pub const OTHER: Self = Self(1);

    /// The names which exist from the start, in the order of the constants above.
    pub(super) const FIRST: [&'static str; 2] = ["none", OTHER];
}

/// Names that got a number, up to a cap.
///
/// A number is never given to a second name: a counter must not change what it counts.
pub(super) struct Names {
    table: Mutex<Table>,
    max: usize,
    other: u32,
}

/// The names by number, and back.
struct Table {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// Starts with the names `first`; `other` is the number of what comes after `max` names.
    pub(super) fn new(first: &[&str], max: usize, other: u32) -> Self {
        let table = Mutex::new(Table { numbers: HashMap::new(), names: Vec::new() });
        let names = Self { table, max, other };
        for name in first {
            names.number(name);
        }
        names
    }

    /// The number of `name`, new or old.
    pub(super) fn number(&self, name: &str) -> u32 {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = table.numbers.get(name) {
            return *number;
        }
        let next = table.names.len();
        let Ok(number) = u32::try_from(next) else { return self.other };
        if next >= self.max {
            return self.other;
        }
        let name: Arc<str> = name.into();
        table.names.push(Arc::clone(&name));
        table.numbers.insert(name, number);
        number
    }

    /// All names; the index is the number.
    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).names.clone()
    }
}

/// Makes a closed list of label values: an enum, its texts, and its number of values.
macro_rules! closed_list {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$of])* $variant,)+ }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value of the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The place in [`Self::ALL`].
            pub(super) const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

closed_list! {
    /// Who wrote the response.
    Source {
        /// The upstream did; keygate passed it on.
        Upstream => "upstream",
        /// Keygate did: a refusal, an operation of its own, or an upstream that failed.
        Keygate => "keygate",
        /// Keygate did, to a proxy that asked whether the request may pass.
        Check => "check",
    }
}

closed_list! {
    /// The method of a request: the nine of RFC 9110, section 9.3, and RFC 5789, or everything else together.
    MethodLabel {
        /// `GET`
        Get => "GET",
        /// `HEAD`
        Head => "HEAD",
        /// `POST`
        Post => "POST",
        /// `PUT`
        Put => "PUT",
        /// `DELETE`
        Delete => "DELETE",
        /// `CONNECT`
        Connect => "CONNECT",
        /// `OPTIONS`
        Options => "OPTIONS",
        /// `TRACE`
        Trace => "TRACE",
        /// `PATCH`
        Patch => "PATCH",
        /// Any other method, whatever its name.
        Other => "OTHER",
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

closed_list! {
    /// An end of a tunnel: where bytes come from.
    TunnelSide {
        /// The client.
        Client => "client",
        /// The upstream.
        Upstream => "upstream",
    }
}

closed_list! {
    /// How a tunnel ended.
    TunnelEnd {
        /// Both ends had said their last.
        Closed => "closed",
        /// One of them was gone.
        Broken => "broken",
        /// Nothing had moved for too long.
        Idle => "idle",
        /// The client had not taken what was sent to it for too long.
        Stalled => "stalled",
        /// What it began with would not be let through any more: a key was revoked, say.
        Forbidden => "forbidden",
        /// keygate itself had to end, or the client's connection was cut.
        Cut => "cut",
    }
}

closed_list! {
    /// How a client's connection is carried.
    ConnectionKind {
        /// In the clear.
        Http => "http",
        /// In TLS.
        Https => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let names = Names::new(&RouteLabel::FIRST, 8, RouteLabel::OTHER.0);
        let orders = names.number("orders");
        assert_ne!(names.number("users"), orders);
        assert_eq!(names.number("orders"), orders);
        assert_eq!(names.all()[orders as usize].as_ref(), "orders");
    }

    #[test]
    fn names_beyond_the_cap_are_other_and_those_before_stay() {
        let names = Names::new(&RouteLabel::FIRST, 4, RouteLabel::OTHER.0);
        let (a, b) = (names.number("a"), names.number("b"));
        assert_eq!(names.number("c"), RouteLabel::OTHER.0);
        assert_eq!((names.number("a"), names.number("b")), (a, b));
        assert_eq!(names.all().len(), 4);
    }

    /// A route that somebody calls `other` or `none` would otherwise yield the same series twice in one scrape.
    #[test]
    fn the_names_of_the_constants_cannot_be_given_twice() {
        let names = Names::new(&RouteLabel::FIRST, 8, RouteLabel::OTHER.0);
        assert_eq!(names.number("none"), RouteLabel::NONE.0);
        assert_eq!(names.number("other"), RouteLabel::OTHER.0);
    }

    #[test]
    fn methods_that_clients_invent_share_one_label() {
        let invented = Method::from_bytes(b"BREW").expect("a token");
        assert_eq!(MethodLabel::from(&invented).as_str(), "OTHER");
        let lower_case = Method::from_bytes(b"get").expect("a token");
        assert_eq!(MethodLabel::from(&lower_case).as_str(), "OTHER");
        assert_eq!(MethodLabel::from(&Method::PATCH).as_str(), "PATCH");
    }

    #[test]
    fn numbers_are_places_in_the_list() {
        for (place, method) in MethodLabel::ALL.iter().enumerate() {
            assert_eq!(method.index(), place);
        }
        assert_eq!(MethodLabel::ALL.len(), 10);
    }
}
