//! The file of secrets: what each provider signs with, for each tenant and environment.
//!
//! ```yaml
//! - provider: acme
//!   tenant: tenant-1
//!   environment: live
//!   secrets: [the new one, the old one]
//! ```
//!
//! Reading has two steps, so that a look costs no parsing: [`SecretsFile::load`] fetches the text and knows its
//! fingerprint; [`Contents::parse`] makes [`Secrets`] of it. It is all or nothing: with one problem, the caller keeps
//! what it has.
//!
//! No problem repeats a value, and nothing here prints one.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::description::Kind;
use super::material::{Candidates, Material};
use super::owner;
use super::scheme::{Scheme, Schemes};
use crate::document::{Document, Path, Problem, Problems, schema_of, size, suggestion};
use crate::secret::{Digest, DigestState};

/// Bytes that the file may have: some 50,000 tenants.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Secrets that one tenant may have for one scheme: the one in use, the one before, and as many again.
pub const SECRETS_MAX: usize = 4;

/// Where the secrets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsFile(PathBuf);

/// The SHA-256 of the file. Equal fingerprints: nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// It is made of secrets, and whoever has it can test guesses.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fingerprint")
    }
}

/// The text of the file at one moment.
pub struct Contents {
    name: String,
    text: Zeroizing<String>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contents").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SecretsFile {
    /// The file at `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &FilePath {
        &self.0
    }

    /// The directory in which something happens when the file changes.
    #[must_use]
    pub fn watched_directory(&self) -> PathBuf {
        match self.0.parent() {
            Some(parent) if parent != FilePath::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        }
    }

    /// Fetches and parses it: [`SecretsFile::load`], then [`Contents::parse`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(&self, schemes: &Schemes) -> Result<Secrets, Problems> {
        self.load()?.parse(schemes)
    }

    /// Fetches its text.
    ///
    /// # Errors
    ///
    /// One problem, if it is missing, unreadable, no file, larger than [`FILE_BYTES_MAX`], or not UTF-8.
    pub fn load(&self) -> Result<Contents, Problems> {
        let name = self.0.display().to_string();
        let problem = |message: String| Problems::from(Problem::of_file(&name, message));
        // Before it is opened: opening a named pipe would wait for a writer.
        let metadata = fs::metadata(&self.0).map_err(|error| problem(format!("cannot be opened: {error}")))?;
        if !metadata.is_file() {
            return Err(problem("is not a regular file".to_owned()));
        }
        let file = File::open(&self.0).map_err(|error| problem(format!("cannot be opened: {error}")))?;
        // With its whole capacity from the start: a buffer that grows leaves copies of itself behind.
        let capacity = usize::try_from(metadata.len().min(FILE_BYTES_MAX) + 1).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        // One byte more than allowed, so that a file which grows while it is read is noticed too.
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| problem(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(problem(format!("is larger than {}, the most that is read", size::display(FILE_BYTES_MAX))));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| problem("is not UTF-8 text".to_owned()))?;
        let fingerprint = Fingerprint(Sha256::digest(&bytes).into());
        Ok(Contents { name: name.clone(), text: Zeroizing::new(text.to_owned()), fingerprint })
    }
}

impl Contents {
    /// What tells these contents from others.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Makes secrets of the text, for these schemes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its line: what is no such file, a provider without a scheme, a tenant and
    /// environment that occur twice, and every secret that its provider could not sign with.
    pub fn parse(&self, schemes: &Schemes) -> Result<Secrets, Problems> {
        let mut document = Document::parse(&self.name, (*self.text).clone())?;
        let mut problems = document.check(&schema_of::<Vec<Written>>());
        let written = document.decode_rest::<Vec<Written>>().unwrap_or_default();
        let mut reader = Reader { document: &document, schemes, problems: Problems::new(), seen: HashMap::default() };
        let mut secrets = Secrets::default();
        for (index, entry) in written.into_iter().enumerate() {
            let path = document.item(&Path::root(), index);
            if let Some((owner, candidates)) = reader.entry(entry, &path) {
                secrets.0.insert(owner, candidates);
            }
        }
        problems.extend(reader.problems);
        problems.sort();
        problems.into_result()?;
        Ok(secrets)
    }
}

/// The secrets of one tenant and environment, as they are written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The name of the scheme.
    provider: String,
    /// The tenant. Absent: for requests that bear none.
    #[serde(default)]
    tenant: Option<String>,
    /// The environment. Absent: for requests that bear none.
    #[serde(default)]
    environment: Option<String>,
    /// What the provider signs with; several while one takes the place of another.
    #[schemars(length(min = 1, max = SECRETS_MAX))]
    secrets: Vec<String>,
}

/// Makes candidates of what is written, and notes what cannot be one.
struct Reader<'a> {
    document: &'a Document,
    schemes: &'a Schemes,
    problems: Problems,
    /// Where each owner stood first.
    seen: HashMap<Digest, Path, DigestState>,
}

impl Reader<'_> {
    fn entry(&mut self, written: Written, path: &Path) -> Option<(Digest, Candidates)> {
        let Written { provider, tenant, environment, secrets } = written;
        let secrets: Vec<_> = secrets.into_iter().map(Zeroizing::new).collect();
        for (name, value) in [("tenant", &tenant), ("environment", &environment)] {
            if value.as_deref().is_some_and(|value| !is_word(value)) {
                self.refuse(&path.field(name), "must be 1 to 128 visible ASCII characters without spaces");
            }
        }
        let Some(scheme) = self.schemes.find(&provider) else {
            let near = suggestion(&provider, self.schemes.names()).map(|near| format!("; did you mean `{near}`?"));
            let message = format!("is the name of no scheme under `webhooks.schemes`{}", near.unwrap_or_default());
            self.refuse(&path.field("provider"), message);
            return None;
        };
        let owner = owner(&provider, &tenant.unwrap_or_default(), &environment.unwrap_or_default());
        if let Some(earlier) = self.seen.get(&owner) {
            let line = self.document.problem(earlier, "").line;
            self.refuse(
                path,
                format!("is for the same tenant and environment as the one at line {line}; put both lists into one"),
            );
        } else {
            self.seen.insert(owner, path.clone());
        }
        Some((owner, self.candidates(scheme, &secrets, &path.field("secrets"))))
    }

    fn candidates(&mut self, scheme: &Scheme, secrets: &[Zeroizing<String>], list: &Path) -> Candidates {
        let mut candidates: Candidates = scheme.kinds.iter().map(|_| Vec::new()).collect();
        for (index, secret) in secrets.iter().enumerate() {
            let path = self.document.item(list, index);
            let mut used = false;
            for (kind, candidates) in scheme.kinds.iter().zip(&mut candidates) {
                let Some(rest) = secret.strip_prefix(kind.secrets.prefix.as_str()) else { continue };
                used = true;
                match material_of(kind, rest) {
                    Ok(material) => candidates.push(material),
                    // Kinds with secrets of the same form would all say the same.
                    Err(message) => {
                        self.refuse(&path, message);
                        break;
                    }
                }
            }
            if !used {
                let mut prefixes: Vec<_> =
                    scheme.kinds.iter().map(|kind| format!("`{}`", kind.secrets.prefix)).collect();
                prefixes.dedup();
                self.refuse(&path, format!("must begin with {}, as the scheme says", prefixes.join(" or ")));
            }
        }
        candidates
    }

    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        if !self.document.is_faulty(path) {
            self.problems.push(self.document.problem(path, message));
        }
    }
}

/// What one secret is for one kind of signatures.
fn material_of(kind: &Kind, secret: &str) -> Result<Material, String> {
    let form = &kind.secrets;
    if secret.trim() != secret || secret.chars().any(char::is_control) {
        return Err("has spaces or line ends around it, or other characters that cannot be seen".to_owned());
    }
    let behind = if form.prefix.is_empty() { String::new() } else { format!(" behind `{}`", form.prefix) };
    let bytes = form.written.decode(secret).ok_or_else(|| format!("is not {}{behind}", form.written.name()))?;
    Material::new(kind.algorithm, &bytes).map_err(|error| error.to_string())
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The secrets of all tenants and environments.
#[derive(Default)]
pub struct Secrets(HashMap<Digest, Candidates, DigestState>);

impl Secrets {
    /// For how many tenants and environments there are secrets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, owner: &Digest) -> Option<&Candidates> {
        self.0.get(owner)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secrets").field("entries", &self.len()).finish_non_exhaustive()
    }
}
