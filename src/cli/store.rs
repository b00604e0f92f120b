//! The store that a configuration names, as the command line uses it.
//!
//! A command works on the file itself, whether a gateway runs or not. After a change it tells those that run, and returns
//! when the change is in force there.
//!
//! Of the configuration only what is needed here is looked at: a key must be revocable also while something else in the
//! configuration is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::document::{Document, suggestion};
use crate::keys::database::{AnnounceError, By, Cursor, Database, DatabaseError, Page, Reader, Writer, announce};
use crate::keys::{Ids, SecretFormat};
use crate::moment::Moment;

/// Bytes of a configuration that are read.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;

/// What a configuration says about the store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The file of the store.
    pub database: PathBuf,
    /// How new secrets look.
    pub format: SecretFormat,
    /// The environments there are. Empty: any.
    pub environments: Vec<String>,
    /// The roles there are.
    pub roles: Vec<String>,
}

impl StoreSettings {
    /// Whether all these roles are there. One that is not grants nothing, and nobody would know why.
    pub(super) fn check_roles(&self, roles: &[String]) -> anyhow::Result<()> {
        let Some(unknown) = roles.iter().find(|role| !self.roles.contains(role)) else { return Ok(()) };
        if self.roles.is_empty() {
            bail!("`--role` has nothing to name: the configuration has no `roles`");
        }
        match suggestion(unknown, self.roles.iter().map(String::as_str)) {
            Some(near) => bail!("`--role`: the configuration has no such role; did you mean `{near}`?"),
            None => bail!("`--role` must be one of {}", self.roles.join(", ")),
        }
    }
}

/// Finds what the configuration at a path says about the store.
pub type StoreOf<'a> = &'a dyn Fn(&Path) -> anyhow::Result<StoreSettings>;

/// What is read of a configuration here. Everything else is somebody else's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    keys: KeysShape,
    environments: Vec<EnvironmentShape>,
    roles: Vec<RoleShape>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeysShape {
    database: Option<PathBuf>,
    format: FormatShape,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EnvironmentShape {
    name: Option<String>,
    key_prefix: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleShape {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FormatShape {
    brand: Option<String>,
    prefixes: BTreeMap<String, String>,
    shape: Option<String>,
    ids: Option<String>,
}

/// Finds what the configuration at `path` says about the store. `variable` answers for the environment.
///
/// # Errors
///
/// If the file cannot be read as YAML, or names no database.
pub fn store_of(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<StoreSettings> {
    let mut document = Document::read(path, CONFIGURATION_BYTES_MAX).map_err(anyhow::Error::msg)?;
    let problems = document.expand(variable);
    let Shape { keys: KeysShape { database, format }, environments, roles } =
        document.decode_rest().unwrap_or_default();
    let Some(database) = database else {
        if let Some(problem) = problems.iter().find(|problem| problem.field.starts_with("keys")) {
            bail!("{problem}");
        }
        bail!("{}: names no store of keys; write `database: keygate.db` below `keys:`", path.display());
    };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut secrets = match (format.shape.as_deref(), &format.brand) {
        (Some("hex64"), _) => SecretFormat::hex64(),
        (_, Some(brand)) => SecretFormat::base62(brand)?,
        (_, None) => SecretFormat::default(),
    };
    if format.ids.as_deref() == Some("uuid") {
        secrets = secrets.with_ids(Ids::Uuid);
    }
    for (environment, prefix) in &format.prefixes {
        secrets = secrets.with_prefix(environment, prefix)?;
    }
    for environment in &environments {
        if let (Some(name), Some(prefix)) = (&environment.name, &environment.key_prefix) {
            secrets = secrets.clone().with_prefix_unless_given(name, prefix).unwrap_or(secrets);
        }
    }
    let environments = environments.into_iter().filter_map(|environment| environment.name).collect();
    let roles = roles.into_iter().filter_map(|role| role.name).collect();
    Ok(StoreSettings { database: folder.join(database), format: secrets, environments, roles })
}

/// A store that was opened for a command.
pub(super) struct Store {
    pub(super) settings: StoreSettings,
    database: Database,
}

impl Store {
    /// Opens the store that the configuration names. One that is not there is not made: the path may be wrong, or the file
    /// lost.
    pub(super) fn open(config: &Path, store_of: StoreOf<'_>) -> anyhow::Result<Self> {
        let settings = store_of(config)?;
        let database = Database::open_existing(&settings.database)?;
        Ok(Self { settings, database })
    }

    /// Opens the store of these settings; makes it if it is not there.
    pub(super) fn make(settings: StoreSettings) -> anyhow::Result<Self> {
        let database = Database::open(&settings.database)?;
        Ok(Self { settings, database })
    }

    pub(super) fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Reader) -> Result<T, DatabaseError> + Send + 'static,
    ) -> anyhow::Result<T> {
        Ok(self.database.read_blocking(what)?)
    }

    /// Everything of a list, a page at a time.
    pub(super) fn read_all<T: Send + 'static>(
        &self,
        list: impl Fn(&Reader, Page) -> Result<(Vec<T>, Option<Cursor>), DatabaseError> + Clone + Send + 'static,
    ) -> anyhow::Result<Vec<T>> {
        let mut all = Vec::new();
        let mut page = Page::first(Page::LIMIT_MAX);
        loop {
            let list = list.clone();
            let (more, next) = self.read(move |reader| list(reader, page))?;
            all.extend(more);
            match next {
                Some(_) => page.cursor = next,
                None => return Ok(all),
            }
        }
    }

    /// Changes the store, and tells the gateways that run. Beside the value stands whether the change is in force: it is
    /// stored in any case, and what came of it has to be shown before anything else is said.
    pub(super) fn write<T: Send + 'static>(
        &self,
        now: Moment,
        what: impl FnOnce(&Writer<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> anyhow::Result<(T, InForce)> {
        let (value, revision) =
            self.database.write_blocking(By::cli(&actor()), now, |writer| Ok((what(writer)?, writer.revision()?)))?;
        Ok((value, InForce(announce(&self.settings.database, revision).err())))
    }
}

/// Whether a change is in force.
#[must_use]
pub(super) struct InForce(Option<AnnounceError>);

impl InForce {
    /// Fails if a gateway runs that has not taken the change.
    pub(super) fn check(self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), |error| Err(error).context("not in force yet"))
    }
}

/// Who runs this command, for the audit trail: the name by which the person logged in, and the user of the process.
fn actor() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name: String = name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(64).collect();
    let user = fs::metadata("/proc/self").map(|process| format!("uid {}", process.uid()));
    match (name.as_str(), user) {
        ("", Ok(user)) => user,
        ("", Err(_)) => "unknown".to_owned(),
        (_, Ok(user)) => format!("{name} ({user})"),
        (_, Err(_)) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> anyhow::Result<StoreSettings> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.yaml");
        fs::write(&path, text).unwrap();
        let mut settings = store_of(&path, &|name| (name == "DATA").then(|| "/srv/data".to_owned()))?;
        if let Ok(inside) = settings.database.strip_prefix(directory.path()) {
            settings.database = inside.to_owned();
        }
        Ok(settings)
    }

    #[test]
    fn the_store_is_found_also_when_the_rest_is_wrong() {
        for (text, database) in [
            ("keys: {database: keygate.db}", "keygate.db"),
            ("keys: {database: '${DATA}/keygate.db'}", "/srv/data/keygate.db"),
            ("listen: '${NOT_SET}'\nkyes: 1\nkeys:\n  database: a.db\n  files: 7", "a.db"),
        ] {
            assert_eq!(found(text).unwrap().database, Path::new(database), "{text}");
        }
    }

    #[test]
    fn secrets_look_as_the_configuration_says() {
        let format = |text: &str| found(text).unwrap().format;
        assert_eq!(format("keys: {database: a}"), SecretFormat::default());
        assert_eq!(format("keys: {database: a, format: {shape: hex64}}"), SecretFormat::hex64());
        assert_eq!(
            format("keys: {database: a, format: {brand: acme, prefixes: {sandbox: pk_test_}}}"),
            SecretFormat::base62("acme").unwrap().with_prefix("sandbox", "pk_test_").unwrap()
        );
    }

    #[test]
    fn secrets_begin_as_the_keys_of_their_environment_must() {
        let text = "keys: {database: a, format: {prefixes: {live: pk_own_}}}\n\
                    environments: [{name: live, key_prefix: pk_live_}, {name: test, key_prefix: pk_test_}]";
        let format = found(text).unwrap().format;
        for (environment, prefix) in [("live", "pk_own_"), ("test", "pk_test_")] {
            let secret = format.generate(Some(environment)).unwrap();
            assert!(secret.expose().starts_with(prefix), "{environment}");
        }
    }

    #[test]
    fn the_environments_are_those_of_the_configuration_that_can_be_read() {
        for (text, expected) in [
            ("keys: {database: a}", &[][..]),
            ("keys: {database: a}\nenvironments: [{name: live, hosts: [a.example]}, {name: test}]", &["live", "test"]),
            ("keys: {database: a}\nenvironments: [{name: [7]}, {nmae: x}, {name: live, hosts: 7}]", &["live"]),
            ("keys: {database: a}\nenvironments: 7", &[]),
        ] {
            assert_eq!(found(text).unwrap().environments, expected, "{text}");
        }
    }

    #[test]
    fn the_roles_are_those_of_the_configuration_that_can_be_read() {
        for (text, expected) in [
            ("keys: {database: a}", &[][..]),
            (
                "keys: {database: a}\nroles: [{name: owner, permissions: ['*']}, {nmae: x}, {name: auditor}]",
                &["owner", "auditor"],
            ),
            ("keys: {database: a}\nroles: 7", &[]),
        ] {
            assert_eq!(found(text).unwrap().roles, expected, "{text}");
        }
    }

    #[test]
    fn a_configuration_without_a_store_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("keys: {file: keys.yaml}", "names no store of keys; write `database: keygate.db` below `keys:`"),
            ("keys: {database: '${NOT_SET}/a.db'}", "NOT_SET"),
        ] {
            let error = found(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
