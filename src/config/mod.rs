//! The configuration: the YAML shape, its checks, and the settings that the parts take.
//!
//! ```text
//! text → document → structure (JSON Schema) → file.rs shapes → check → Config
//! ```
//!
//! The shape is what an operator may write; a [`Config`] is what the program runs on, with every default filled in,
//! every path resolved and every rule held. Reading reports all problems at once: a faulty field is set aside, and what
//! is left is still checked.
//!
//! Only `main`, `app`, `cli` and `reload` name this part; they hand each part its own values. Never in this part: the
//! contents of certificates and key files. The parts that use them read them.

mod check;
mod file;
mod values;

use std::path::Path;

use serde_json::{Value, json};

pub use self::values::{
    AdminDoor, CheckSettings, Config, DestinationSettings, EnvironmentSettings, NamedLimit, Probe, RouteSettings,
    Shutdown, WebhookSettings,
};

use crate::document::{Document, Path as DocumentPath, Problems, schema_of};

/// A configuration file is never larger: 1 MiB.
const BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads the configuration file at `path`. Relative paths in it are relative to its folder. `variable` answers for
    /// the environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of its lines, under the name `path`.
    pub fn load(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::from_document(Document::read(path, BYTES_MAX)?, folder, variable)
    }

    /// Takes the configuration from `text`, which problems call `name`. Relative paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(
        name: &str,
        text: String,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::from_document(Document::parse(name, text)?, folder, variable)
    }

    fn from_document(
        document: Document,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        let mut document = document.showing_values();
        let mut problems = document.expand(variable);
        let asked = document.has(&DocumentPath::root().field(file::INSTEAD_OF_LISTEN));
        problems.extend(document.check(&structure(!asked)));
        if problems.is_empty() {
            // Strictly: here nothing may be left out.
            let file = document.decode::<file::File>()?;
            return check::check(&document, &file, folder, problems);
        }
        match document.decode_rest::<file::File>() {
            Some(file) => check::check(&document, &file, folder, problems),
            // Not a mapping at all, and that has been said.
            None => Err(problems),
        }
    }
}

/// The JSON Schema (draft 2020-12) of the configuration, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = structure(false);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("if".to_owned(), json!({ "not": { "required": [file::INSTEAD_OF_LISTEN] } }));
        schema.insert("then".to_owned(), json!({ "required": [file::LISTEN] }));
    }
    schema
}

/// The schema of a file in which `listen` must stand, or need not.
fn structure(listens: bool) -> Value {
    let mut schema = schema_of::<file::File>();
    let required = file::REQUIRED.into_iter().filter(|name| listens || *name != file::LISTEN);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), "keygate".into());
        schema.insert("required".to_owned(), required.collect());
    }
    for name in file::REQUIRED {
        if let Some(property) = schema.pointer_mut(&format!("/properties/{name}")).and_then(Value::as_object_mut) {
            property.remove("default");
        }
    }
    schema
}
