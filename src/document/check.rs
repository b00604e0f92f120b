//! The structure of a document against a JSON Schema: every mistake at once, in an operator's words.
//!
//! Only what the schemas of this program use is understood, see [`super::Document::check`]. `pattern` is for editors:
//! where we set it, a format says the same and has better words.

use serde_json::Value;

use super::Fault;
use super::format::complaint;
use super::node::Node;
use super::path::Path;
use super::place::Aim;
use super::suggest::suggestion;
use super::wording::{MISSING, has_type, is_plain_text, one_of, unknown_field, wanted, whole, words};

/// The end of advice that is good for fields with a default only.
const LEAVE_OUT: &str = ", or leave the field out";

/// More problems than this are not listed: nobody reads them, and each costs memory.
const FAULTS_MAX: usize = 100;

/// A chain of references in a schema is never longer.
const REFERENCES_MAX: usize = 16;

/// Checks the tree against the schema. Expanded text becomes what the schema wants, where it can.
pub(super) fn check(root: &mut Node, schema: &Value, values_shown: bool) -> Vec<Fault> {
    let mut checker = Checker { schema, values_shown, faults: Vec::new() };
    checker.node(root, schema, &Path::root());
    let mut faults = checker.faults;
    if faults.len() > FAULTS_MAX {
        faults.truncate(FAULTS_MAX);
        let message = format!("there are more problems; these are {FAULTS_MAX} of them");
        faults.insert(0, Fault { path: Path::root(), aim: Aim::Value, message });
    }
    faults
}

struct Checker<'s> {
    /// The whole schema, for references.
    schema: &'s Value,
    values_shown: bool,
    faults: Vec<Fault>,
}

impl<'s> Checker<'s> {
    fn node(&mut self, node: &mut Node, schema: &'s Value, path: &Path) {
        if self.faults.len() > FAULTS_MAX {
            return;
        }
        if matches!(node, Node::SetAside) {
            return;
        }
        let schema = self.resolved(schema);
        if matches!(node, Node::Null) && !self.branches(schema).iter().any(|branch| accepts(branch, node)) {
            return self.fault(path, format!("has no value; write one{LEAVE_OUT}"));
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.node(node, part, path);
        }
        if schema.get("anyOf").or_else(|| schema.get("oneOf")).is_some() {
            return self.choice(node, &self.branches(schema), path);
        }
        if !accepts(schema, node) && !retype(node, schema) {
            return self.fault(path, self.mismatch(node, &[schema]));
        }
        self.value(node, schema, path);
    }

    /// A value whose kind fits.
    fn value(&mut self, node: &mut Node, schema: &'s Value, path: &Path) {
        match node {
            Node::Null | Node::Boolean(_) | Node::SetAside => {}
            #[expect(clippy::cast_precision_loss, reason = "bounds in schemas are far below 2^53")]
            Node::Unsigned(value) => self.bounds(*value as f64, schema, path),
            #[expect(clippy::cast_precision_loss, reason = "bounds in schemas are far below 2^53")]
            Node::Signed(value) => self.bounds(*value as f64, schema, path),
            Node::Float(value) => self.bounds(*value, schema, path),
            Node::Text { text, expanded } => {
                if let Some(message) = self.text(text, *expanded, schema) {
                    self.fault(path, message);
                }
            }
            Node::List(items) => {
                self.length(items.len(), schema, path);
                if let Some(each) = schema.get("items") {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.node(item, each, &path.index(index));
                    }
                }
            }
            Node::Map(fields) => self.fields(fields, schema, path),
        }
    }

    fn fields(&mut self, fields: &mut [(Box<str>, Node)], schema: &'s Value, path: &Path) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (name, value) in fields.iter_mut() {
            let property = properties.and_then(|properties| properties.get(&**name));
            match (property, others) {
                (Some(property), _) => {
                    let (path, before) = (path.field(name), self.faults.len());
                    self.node(value, property, &path);
                    if required.iter().any(|required| *required == **name) {
                        self.cannot_be_left_out(before, &path);
                    }
                }
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
                    let message = unknown_field(name, &known);
                    self.faults.push(Fault { path: path.field(name), aim: Aim::Name { nth: 0 }, message });
                }
                (None, Some(other)) => self.node(value, other, &path.field(name)),
                (None, None) => {}
            }
        }
        for name in required.iter().filter_map(Value::as_str) {
            if !fields.iter().any(|(other, _)| **other == *name) {
                self.fault(&path.field(name), MISSING);
            }
        }
    }

    /// Takes back the advice to leave out a required field, in the faults that are new since there were `before`.
    fn cannot_be_left_out(&mut self, before: usize, path: &Path) {
        for fault in self.faults.iter_mut().skip(before).filter(|fault| fault.path == *path) {
            if let Some(message) = fault.message.strip_suffix(LEAVE_OUT) {
                fault.message = message.to_owned();
            }
        }
    }

    fn length(&mut self, length: usize, schema: &Value, path: &Path) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        if length == 0 && bound("minItems").is_some_and(|least| least > 0) {
            self.fault(path, format!("is an empty list; write at least one item{LEAVE_OUT}"));
        } else if let Some(least) = bound("minItems").filter(|least| length < *least) {
            self.fault(path, format!("must have at least {least} items"));
        } else if let Some(most) = bound("maxItems").filter(|most| length > *most) {
            self.fault(path, format!("must have at most {most} items"));
        }
    }

    fn bounds(&mut self, value: f64, schema: &Value, path: &Path) {
        let bound = |name: &str| schema.get(name).filter(|bound| bound.as_f64().is_some());
        let most_of_type = largest(schema.get("format").and_then(Value::as_str).unwrap_or_default()).map(Value::from);
        let least = bound("minimum");
        let most = bound("maximum").or(most_of_type.as_ref());
        if let Some(least) = least.filter(|least| least.as_f64().is_some_and(|least| value < least)) {
            self.fault(path, format!("must be at least {}", whole(least)));
        }
        if let Some(most) = most.filter(|most| most.as_f64().is_some_and(|most| value > most)) {
            self.fault(path, format!("must be at most {}", whole(most)));
        }
    }

    /// What is wrong with a text, if anything.
    fn text(&self, text: &str, expanded: bool, schema: &Value) -> Option<String> {
        let words = words(schema);
        if !words.is_empty() {
            return (!words.contains(&text)).then(|| self.no_word(text, expanded, &words));
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        if text.trim().is_empty() && bound("minLength").is_some() {
            return Some(format!("is empty; write a value{LEAVE_OUT}"));
        }
        if let Some(most) = bound("maxLength").filter(|most| text.chars().count() > *most) {
            return Some(format!("must not be longer than {most} characters"));
        }
        let complaint = complaint(schema.get("format")?.as_str()?, text)?;
        Some(match self.shown(text, expanded) {
            Some(shown) => format!("{shown} {complaint}"),
            None => complaint,
        })
    }

    fn no_word(&self, text: &str, expanded: bool, words: &[&str]) -> String {
        let known = one_of(words);
        if text.is_empty() {
            return format!("is empty; write {known}");
        }
        match (self.shown(text, expanded), suggestion(text, words.iter().copied())) {
            (Some(shown), Some(meant)) if words.len() > 2 => {
                format!("{shown} is not {known}; did you mean `{meant}`?")
            }
            (Some(shown), _) => format!("{shown} is not {known}"),
            (None, _) => format!("must be {known}"),
        }
    }

    /// The text, if it may be shown.
    fn shown(&self, text: &str, expanded: bool) -> Option<String> {
        const CHARS_MAX: usize = 60;
        let shown = self.values_shown && !expanded && text.chars().count() <= CHARS_MAX;
        shown.then(|| format!("`{}`", text.escape_debug()))
    }

    /// A value that may have one of several shapes.
    fn choice(&mut self, node: &mut Node, branches: &[&'s Value], path: &Path) {
        let fitting: Vec<&'s Value> = branches.iter().copied().filter(|branch| accepts(branch, node)).collect();
        if let [only] = fitting.as_slice() {
            let tried = self.tried(node, only, path);
            if !tried.is_empty() && branches.iter().any(|branch| retype(node, branch)) {
                return self.choice(node, branches, path);
            }
            return match node {
                Node::Text { text, expanded } if !tried.is_empty() && !words(only).is_empty() => {
                    self.fault(path, self.no_choice(text, *expanded, branches));
                }
                Node::Null
                | Node::Boolean(_)
                | Node::Unsigned(_)
                | Node::Signed(_)
                | Node::Float(_)
                | Node::Text { .. }
                | Node::List(_)
                | Node::Map(_)
                | Node::SetAside => self.faults.extend(tried),
            };
        }
        let mut best: Option<Vec<Fault>> = None;
        for branch in &fitting {
            let tried = self.tried(node, branch, path);
            if best.as_ref().is_none_or(|best| tried.len() < best.len()) {
                best = Some(tried);
            }
        }
        match best {
            Some(faults) if faults.is_empty() => {}
            Some(faults) if matches!(node, Node::Map(_) | Node::List(_)) => self.faults.extend(faults),
            Some(_) | None => {
                if branches.iter().any(|branch| retype(node, branch)) {
                    return self.choice(node, branches, path);
                }
                let message = match node {
                    Node::Text { text, expanded } if !fitting.is_empty() => self.no_choice(text, *expanded, &fitting),
                    Node::Text { .. }
                    | Node::Null
                    | Node::Boolean(_)
                    | Node::Unsigned(_)
                    | Node::Signed(_)
                    | Node::Float(_)
                    | Node::List(_)
                    | Node::Map(_)
                    | Node::SetAside => self.mismatch(node, branches),
                };
                self.fault(path, message);
            }
        }
    }

    /// Text that is none of several things that text can be here.
    fn no_choice(&self, text: &str, expanded: bool, fitting: &[&Value]) -> String {
        let all: Vec<&str> = fitting.iter().flat_map(|branch| words(branch)).collect();
        if fitting.iter().all(|branch| !words(branch).is_empty()) {
            return self.no_word(text, expanded, &all);
        }
        let wanted = wanted(fitting);
        if text.is_empty() {
            return format!("is empty; write {wanted}");
        }
        match self.shown(text, expanded) {
            Some(shown) => format!("{shown} is not {wanted}"),
            None => format!("must be {wanted}"),
        }
    }

    fn tried(&self, node: &mut Node, schema: &'s Value, path: &Path) -> Vec<Fault> {
        let mut trial = Self { schema: self.schema, values_shown: self.values_shown, faults: Vec::new() };
        trial.node(node, schema, path);
        trial.faults
    }

    fn mismatch(&self, node: &Node, branches: &[&Value]) -> String {
        let hint = match node {
            Node::Boolean(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_)
                if branches.iter().all(|branch| is_plain_text(branch)) =>
            {
                "; put it into quotes"
            }
            Node::Map(_) if branches.iter().all(|branch| has_type(branch, "array")) => "; begin each item with `- `",
            Node::Null
            | Node::Boolean(_)
            | Node::Unsigned(_)
            | Node::Signed(_)
            | Node::Float(_)
            | Node::Text { .. }
            | Node::List(_)
            | Node::Map(_)
            | Node::SetAside => "",
        };
        format!("expected {}, found {}{hint}", wanted(branches), node.kind())
    }

    fn fault(&mut self, path: &Path, message: impl Into<String>) {
        self.faults.push(Fault { path: path.clone(), aim: Aim::Value, message: message.into() });
    }

    /// Follows `$ref`.
    fn resolved(&self, mut schema: &'s Value) -> &'s Value {
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer)) else {
                break;
            };
            schema = target;
        }
        schema
    }

    /// All the shapes among which a schema lets one choose; the schema itself if it has but one.
    fn branches(&self, schema: &'s Value) -> Vec<&'s Value> {
        let schema = self.resolved(schema);
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            Some(branches) => branches.iter().flat_map(|branch| self.branches(branch)).collect(),
            None => vec![schema],
        }
    }
}

/// Whether the kind of `node` is one that `schema` allows. A schema that says nothing allows everything.
fn accepts(schema: &Value, node: &Node) -> bool {
    let words_only = schema.get("type").is_none() && !words(schema).is_empty();
    let any = schema.get("type").is_none() && !words_only;
    match node {
        Node::Null => any || has_type(schema, "null"),
        Node::Boolean(_) => any || has_type(schema, "boolean"),
        Node::Unsigned(_) | Node::Signed(_) => any || has_type(schema, "integer") || has_type(schema, "number"),
        Node::Float(_) => any || has_type(schema, "number"),
        Node::Text { .. } => any || words_only || has_type(schema, "string"),
        Node::List(_) => any || has_type(schema, "array"),
        Node::Map(_) => any || has_type(schema, "object"),
        Node::SetAside => true,
    }
}

/// Makes a number or a boolean of text that came out of a variable, if the schema wants one; says whether it did.
fn retype(node: &mut Node, schema: &Value) -> bool {
    let Node::Text { text, expanded: true } = &*node else { return false };
    let wants = |name| has_type(schema, name);
    let text = text.trim();
    let retyped = if let (true, Ok(value)) = (wants("integer") || wants("number"), text.parse()) {
        Node::Unsigned(value)
    } else if let (true, Ok(value)) = (wants("integer") || wants("number"), text.parse()) {
        Node::Signed(value)
    } else if let (true, Ok(value)) = (wants("number"), text.parse()) {
        Node::Float(value)
    } else if let (true, Ok(value)) = (wants("boolean"), text.parse()) {
        Node::Boolean(value)
    } else {
        return false;
    };
    *node = retyped;
    true
}

/// The largest value of an integer type.
fn largest(format: &str) -> Option<u64> {
    match format {
        "uint8" => Some(u8::MAX.into()),
        "uint16" => Some(u16::MAX.into()),
        "uint32" => Some(u32::MAX.into()),
        "int32" => Some(2_147_483_647),
        _ => None,
    }
}
