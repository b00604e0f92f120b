//! Patterns of paths, and the table that finds the most specific one.
//!
//! A pattern is a path in which a segment may be a parameter, `/v1/orders/{id}`, and the last one a rest,
//! `/v1/{*rest}`. Segment by segment from the left, text is more specific than a parameter and a parameter more than a
//! rest. A pattern that has no value for the request's method is passed over for a less specific one that has, unless it
//! is closed: then its paths have no other methods than its own.
//!
//! The table is a tree of segments, built once. Finding a path costs a look-up a segment, however many patterns there
//! are.
//!
//! Never in this file: what a pattern leads to.

use std::collections::HashMap;

use http::Method;

/// Segments a path may have to be looked at. More is no path of any API, and bounds the work of a look-up.
const SEGMENTS_MAX: usize = 64;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with a slash, or has an empty segment, or one that paths never have.
    #[error("a pattern is a path such as `/v1/orders/{{id}}`, in the form in which paths are matched: {0}")]
    Path(&'static str),
    /// Braces are not around a whole segment, or hold no name.
    #[error("a parameter is a whole segment: `{{name}}`, or `{{*name}}` at the end")]
    Parameter,
    /// A name occurs twice.
    #[error("the parameter `{0}` occurs twice")]
    Twice(String),
}

/// A pattern, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Parameter(String),
    Rest(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::Path("it begins with a slash"))?;
        let mut segments = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let segment = read_segment(part, last)?;
            if let Segment::Parameter(name) | Segment::Rest(name) = &segment {
                if names.contains(&name.as_str()) {
                    return Err(PatternError::Twice(name.clone()));
                }
                names.push(part.trim_matches(['{', '}', '*']));
            }
            segments.push(segment);
        }
        Ok(Self { segments })
    }

    /// The pattern of every path.
    #[must_use]
    pub fn everything() -> Self {
        Self { segments: vec![Segment::Rest("rest".to_owned())] }
    }

    /// The names of its parameters, from the left.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }
}

fn read_segment(part: &str, last: bool) -> Result<Segment, PatternError> {
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (rest, name) = name.strip_prefix('*').map_or((false, name), |name| (true, name));
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return match (named, rest, last) {
            (true, true, true) => Ok(Segment::Rest(name.to_owned())),
            (true, false, _) => Ok(Segment::Parameter(name.to_owned())),
            _ => Err(PatternError::Parameter),
        };
    }
    // `*` and `:id` are parameters in other programs; a path that really has them is hardly meant.
    if part.contains(['{', '}', '*']) || part.starts_with(':') {
        return Err(PatternError::Parameter);
    }
    if part.is_empty() && !last {
        return Err(PatternError::Path("it has no empty segment but the last"));
    }
    if !super::path::normal_form(&format!("/{part}")).is_ok_and(|normal| normal[1..] == *part) {
        return Err(PatternError::Path(
            "it has no dot segments, and escapes only where they are needed, such as `%20`",
        ));
    }
    // No request would ever take such a route: its path could be read as another one's.
    if super::path::careless_reading(&format!("/{part}")) != Ok(None) {
        return Err(PatternError::Path(
            "servers disagree about `;`, `%25`, `%3F`, `%23`, and dots and spaces at the end",
        ));
    }
    Ok(Segment::Text(part.to_owned()))
}

/// What a path was found to be, and the values of its parameters from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// A pattern with a value for the method.
    Value(T),
    /// Patterns fit, but none has a value for the method.
    OtherMethods,
    /// A closed pattern fits and has no value for the method, nor has one that is more specific.
    Closed,
    /// No pattern fits.
    Nothing,
}

/// Values by pattern and method.
#[derive(Clone, Debug)]
pub struct Table<T> {
    root: Node<T>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    text: HashMap<Box<str>, Self>,
    parameter: Option<Box<Self>>,
    here: Methods<T>,
    rest: Methods<T>,
}

/// Values by method. A handful at most: a list is faster than a map.
#[derive(Clone, Debug)]
struct Methods<T> {
    each: Vec<(Method, T)>,
    any: Option<T>,
    closed: bool,
}

impl<T> Default for Methods<T> {
    fn default() -> Self {
        Self { each: Vec::new(), any: None, closed: false }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { text: HashMap::new(), parameter: None, here: Methods::default(), rest: Methods::default() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T: Copy> Methods<T> {
    fn of(&self, method: &Method) -> Option<T> {
        self.each.iter().find(|(each, _)| each == method).map(|(_, value)| *value).or(self.any)
    }

    const fn is_empty(&self) -> bool {
        self.each.is_empty() && self.any.is_none()
    }

    /// Adds a value; gives back the one that was there for the same method.
    fn insert(&mut self, method: Option<Method>, value: T) -> Option<T> {
        match method {
            None => self.any.replace(value),
            Some(method) => match self.each.iter_mut().find(|(each, _)| *each == method) {
                Some((_, old)) => Some(std::mem::replace(old, value)),
                None => {
                    self.each.push((method, value));
                    None
                }
            },
        }
    }
}

impl<T: Copy> Table<T> {
    /// Adds a value for a pattern and a method, or for every method that has none of its own.
    ///
    /// # Errors
    ///
    /// The value that stands there already: two patterns that differ only in the names of their parameters are one.
    pub fn insert(&mut self, pattern: &Pattern, method: Option<Method>, value: T) -> Result<(), T> {
        self.methods(pattern).insert(method, value).map_or(Ok(()), Err)
    }

    /// Closes a pattern: methods that it has no value for are not looked for in less specific ones.
    pub fn close(&mut self, pattern: &Pattern) {
        self.methods(pattern).closed = true;
    }

    fn methods(&mut self, pattern: &Pattern) -> &mut Methods<T> {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            match segment {
                Segment::Text(text) => node = node.text.entry(text.as_str().into()).or_default(),
                Segment::Parameter(_) => node = node.parameter.get_or_insert_default(),
                Segment::Rest(_) => return &mut node.rest,
            }
        }
        &mut node.here
    }

    /// Finds the most specific pattern that fits a path in its normal form and has a value for `method`.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Found<T> {
        let mut search = Search { method, other_methods: false, closed: false };
        let path = path.strip_prefix('/').unwrap_or(path);
        match search.below(&self.root, Some(path), SEGMENTS_MAX) {
            Some(value) => Found::Value(value),
            None if search.closed => Found::Closed,
            None if search.other_methods => Found::OtherMethods,
            None => Found::Nothing,
        }
    }
}

/// One look-up.
struct Search<'m> {
    method: &'m Method,
    other_methods: bool,
    /// A closed pattern was met: the search is over.
    closed: bool,
}

impl Search<'_> {
    /// Looks below `node` for what is left of the path; `None` is left when the path ends here.
    fn below<T: Copy>(&mut self, node: &Node<T>, left: Option<&str>, segments_left: usize) -> Option<T> {
        let Some(left) = left else { return self.value(&node.here) };
        if segments_left == 0 {
            return None;
        }
        let (segment, behind) = match left.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (left, None),
        };
        let text = node.text.get(segment);
        let parameter = node.parameter.as_deref().filter(|_| !segment.is_empty());
        for child in [text, parameter].into_iter().flatten() {
            let value = self.below(child, behind, segments_left - 1);
            if value.is_some() || self.closed {
                return value;
            }
        }
        self.value(&node.rest)
    }

    fn value<T: Copy>(&mut self, methods: &Methods<T>) -> Option<T> {
        let value = methods.of(self.method);
        self.other_methods |= value.is_none() && !methods.is_empty();
        self.closed |= value.is_none() && methods.closed;
        value
    }
}

/// The values of a pattern's parameters in a path, by name; `None` if it does not fit.
#[must_use]
pub fn parameters<'p>(pattern: &'p Pattern, path: &'p str) -> Option<Vec<(&'p str, &'p str)>> {
    let mut left = Some(path.strip_prefix('/').unwrap_or(path));
    let mut values = Vec::new();
    for segment in &pattern.segments {
        let rest = left?;
        let (this, behind) = rest.split_once('/').map_or((rest, None), |(this, behind)| (this, Some(behind)));
        match segment {
            Segment::Text(text) if text == this => {}
            Segment::Parameter(name) if !this.is_empty() => values.push((name.as_str(), this)),
            Segment::Text(_) | Segment::Parameter(_) => return None,
            Segment::Rest(name) => {
                values.push((name.as_str(), rest));
                return Some(values);
            }
        }
        left = behind;
    }
    left.is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[(&str, &str)]) -> Table<usize> {
        let mut table = Table::default();
        for (value, (method, pattern)) in patterns.iter().enumerate() {
            let method = (*method != "*").then(|| Method::from_bytes(method.as_bytes()).expect("a method"));
            table.insert(&Pattern::parse(pattern).expect(pattern), method, value).expect(pattern);
        }
        table
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let table = table(&[
            ("*", "/{*rest}"),
            ("*", "/v1/orders"),
            ("*", "/v1/orders/{id}"),
            ("*", "/v1/orders/new"),
            ("*", "/v1/{kind}/new"),
            ("*", "/v1/orders/{id}/lines/{*rest}"),
            ("*", "/"),
        ]);
        for (path, expected) in [
            ("/", 6),
            ("/v2", 0),
            ("/v1/orders", 1),
            ("/v1/orders/", 0),
            ("/v1/orders/7", 2),
            ("/v1/orders/new", 3),
            ("/v1/users/new", 4),
            ("/v1/users/7", 0),
            ("/v1/orders/7/lines/a/b", 5),
            ("/v1/orders/7/lines/", 5),
            ("/v1/orders/7/lines", 0),
        ] {
            assert_eq!(table.find(&Method::GET, path), Found::Value(expected), "{path}");
        }
    }

    #[test]
    fn a_pattern_without_the_method_makes_way_for_a_less_specific_one() {
        let table = table(&[("POST", "/keys"), ("*", "/{*rest}"), ("GET", "/{name}")]);
        assert_eq!(table.find(&Method::POST, "/keys"), Found::Value(0));
        assert_eq!(table.find(&Method::GET, "/keys"), Found::Value(2));
        assert_eq!(table.find(&Method::DELETE, "/keys"), Found::Value(1));
    }

    #[test]
    fn a_closed_pattern_makes_way_for_none() {
        let mut table = table(&[("POST", "/keys/{id}"), ("GET", "/keys/new"), ("*", "/{*rest}"), ("POST", "/a/b")]);
        for closed in ["/keys/{id}", "/a/b"] {
            table.close(&Pattern::parse(closed).expect("good"));
        }
        assert_eq!(table.find(&Method::POST, "/keys/7"), Found::Value(0));
        assert_eq!(table.find(&Method::GET, "/keys/7"), Found::Closed);
        assert_eq!(table.find(&Method::GET, "/keys/new"), Found::Value(1));
        assert_eq!(table.find(&Method::POST, "/keys/new"), Found::Value(0), "a more specific one is passed over");
        assert_eq!(table.find(&Method::PUT, "/keys/new"), Found::Closed);
        assert_eq!(table.find(&Method::PUT, "/keys/7/more"), Found::Value(2), "another path");
        assert_eq!(table.find(&Method::GET, "/a/b"), Found::Closed);
    }

    #[test]
    fn another_method_and_nothing_at_all_are_told_apart() {
        let table = table(&[("POST", "/keys"), ("GET", "/users/{id}")]);
        assert_eq!(table.find(&Method::GET, "/keys"), Found::OtherMethods);
        assert_eq!(table.find(&Method::GET, "/users/"), Found::Nothing);
        assert_eq!(table.find(&Method::GET, "/else"), Found::Nothing);
    }

    #[test]
    fn patterns_that_differ_only_in_names_are_one() {
        let mut table = table(&[("GET", "/a/{x}")]);
        assert_eq!(table.insert(&Pattern::parse("/a/{y}").expect("good"), Some(Method::GET), 7), Err(0));
        assert_eq!(table.insert(&Pattern::parse("/a/{y}").expect("good"), Some(Method::POST), 7), Ok(()));
    }

    #[test]
    fn parameters_have_their_values() {
        let pattern = Pattern::parse("/v1/{provider}/hooks/{*rest}").expect("good");
        let values = Some(vec![("provider", "stripe"), ("rest", "a/b")]);
        assert_eq!(parameters(&pattern, "/v1/stripe/hooks/a/b"), values);
        for other in ["/", "/v1/stripe", "/v2/stripe/hooks/a", "/v1//hooks/a", "/v1/stripe/hooks"] {
            assert_eq!(parameters(&pattern, other), None, "{other}");
        }
        assert_eq!(pattern.parameters().collect::<Vec<_>>(), ["provider", "rest"]);
    }

    #[test]
    fn a_bad_pattern_is_told_why() {
        for bad in ["", "a", "//", "/a//b", "/a/../b", "/%61", "/{", "/{}", "/a{b}", "/{*rest}/b", "/{a}/{a}", "/{a b}"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    /// Prints what a look-up costs with 10, 1,000 and 10,000 routes. A measurement, for a release build:
    /// `cargo test --release --lib -- --ignored --nocapture what_a_look_up_costs`.
    #[test]
    #[ignore = "measures; says nothing in a debug build"]
    fn what_a_look_up_costs() {
        const ASKED: usize = 10;
        const ROUNDS: usize = 20_000;
        let pattern = |route: usize| format!("/api/v{}/service-{route}/items/{{id}}", route % 3);
        for routes in [10, 1_000, 10_000] {
            let mut table = Table::default();
            for route in 0..routes {
                table.insert(&Pattern::parse(&pattern(route)).expect("a pattern"), None, route).expect("no other");
            }
            // The routes that are asked for are the same number each time, spread over all of them.
            let asked: Vec<(usize, String)> = (0..ASKED)
                .map(|number| number * (routes / ASKED))
                .map(|route| (route, pattern(route).replace("{id}", "4711")))
                .collect();
            let best = (0..15).map(|_| {
                let start = std::time::Instant::now();
                for _ in 0..ROUNDS {
                    for (route, path) in &asked {
                        assert!(std::hint::black_box(&table).find(&Method::GET, path) == Found::Value(*route));
                    }
                }
                start.elapsed().as_secs_f64() * 1e9 / (ROUNDS * ASKED) as f64
            });
            println!("{routes:>6} routes: {:.1} ns a look-up", best.fold(f64::INFINITY, f64::min));
        }
    }
}
