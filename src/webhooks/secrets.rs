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
use crate::mount::folder_of;
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
        folder_of(&self.0).to_owned()
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

#[cfg(test)]
mod tests {
    use super::super::description::{Algorithm, Description, SecretForm};
    use super::super::encoding::Written as Spelling;
    use super::super::tests::{kind, list, plain, standard};
    use super::*;

    fn schemes() -> Schemes {
        let hex = Kind { secrets: SecretForm { prefix: String::new(), written: Spelling::Hex }, ..kind(None) };
        let public = Kind { algorithm: Algorithm::Ed25519, ..hex.clone() };
        let descriptions = [
            plain(),
            list(),
            standard(),
            Description { name: "hex".into(), kinds: vec![hex], ..plain() },
            Description { name: "public".into(), kinds: vec![public], ..plain() },
        ];
        Schemes::new(descriptions.map(|description| Scheme::new(description).unwrap()).into())
    }

    /// What is said of a text, with the file's name cut off.
    fn problems(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.yaml");
        fs::write(&path, text).unwrap();
        let Err(problems) = SecretsFile::new(path).read(&schemes()) else { return Vec::new() };
        let folder = format!("{}/secrets.yaml:", folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    #[track_caller]
    fn refused(text: &str, expected: &[&str]) {
        let problems = problems(text);
        assert_eq!(problems, expected, "{text}");
        let said = problems.concat();
        for secret in ["hunter2", "whsk_MfKQ", "0123456789", "MfKQ9r8", "AAAAAA"] {
            assert!(!said.contains(secret), "{said}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = "
- { provider: plain, tenant: acme, environment: live, secrets: [0123456789abcdef, 'another one, with spaces: #'] }
- { provider: plain, tenant: acme, secrets: [0123456789abcdef] }
- { provider: plain, environment: live, secrets: [0123456789abcdef] }
- { provider: list, tenant: acme, environment: live, secrets: [0123456789abcdef] }
- { provider: standard, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo] }
";
        assert_eq!(problems(text), Vec::<String>::new());
        let secrets = super::super::tests::parse(&schemes(), text).unwrap();
        assert_eq!(secrets.len(), 5);
        let counts = |provider: &str, tenant: &str, environment: &str| {
            let candidates = secrets.of(&owner(provider, tenant, environment)).unwrap();
            candidates.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts("plain", "acme", "live"), [2]);
        assert_eq!(counts("standard", "", ""), [1, 1], "each for the kind that its prefix names");
        assert!(secrets.of(&owner("plain", "", "")).is_none());
        assert!(super::super::tests::parse(&schemes(), "[]").unwrap().is_empty(), "no secrets, as it was written");
    }

    #[test]
    fn a_file_that_says_nothing_is_refused() {
        refused("", &["1:1: the document is empty"]);
        refused("# - provider: plain\n", &["1:1: the document is empty"]);
        refused("plain\n", &["1:1: expected a list, found text"]);
        refused("secrets: []\n", &["1:1: expected a list, found a mapping; begin each item with `- `"]);
    }

    #[test]
    fn a_wrong_structure_is_refused_with_its_place() {
        refused(
            "- provider: plain\n  tennant: acme\n  secrets: hunter2\n- tenant: acme\n- {provider: plain, secrets: []}\n",
            &[
                "2:3: [0].tennant: unknown field; did you mean `tenant`?",
                "3:12: [0].secrets: expected a list, found text",
                "4:3: [1].provider: is missing, and has no default",
                "4:3: [1].secrets: is missing, and has no default",
                "5:21: [2].secrets: is an empty list; write at least one item",
            ],
        );
        refused(
            "- provider: plain\n  secrets: [01234567890123456, {a: b}, null]\n",
            &[
                "2:33: [0].secrets[1]: expected text, found a mapping",
                "2:40: [0].secrets[2]: has no value; write one, or leave the field out",
            ],
        );
        let many = ["0123456789abcdef"; SECRETS_MAX + 1].join(", ");
        refused(
            &format!("- {{provider: plain, secrets: [{many}]}}\n"),
            &["1:21: [0].secrets: must have at most 4 items"],
        );
        refused(
            "- {provider: plain, provider: list, secrets: [0123456789abcdef]}\n",
            &["1:21: [0].provider: occurs twice; the first is at line 1"],
        );
    }

    #[test]
    fn a_provider_that_nobody_described_is_refused() {
        let text = |provider: &str| format!("- {{provider: {provider}, secrets: [0123456789abcdef]}}\n");
        let no_scheme = "1:14: [0].provider: is the name of no scheme under `webhooks.schemes`";
        refused(&text("pain"), &[&format!("{no_scheme}; did you mean `plain`?")]);
        refused(&text("elsewhere"), &[no_scheme]);
    }

    #[test]
    fn a_tenant_and_environment_stand_there_once() {
        refused(
            "- {provider: plain, tenant: a, secrets: [0123456789abcdef]}\n- {provider: list, tenant: a, secrets: [0123456789abcdef]}\n\
             - {provider: plain, tenant: a, secrets: [0123456789abcdef]}\n",
            &["3:4: [2]: is for the same tenant and environment as the one at line 1; put both lists into one"],
        );
        let word = "must be 1 to 128 visible ASCII characters without spaces";
        refused(
            "- {provider: plain, tenant: a b, environment: '', secrets: [0123456789abcdef]}\n",
            &[&format!("1:29: [0].tenant: {word}"), &format!("1:47: [0].environment: {word}")],
        );
    }

    #[test]
    fn a_secret_that_its_provider_could_not_sign_with_is_refused() {
        let check = |provider: &str, secret: &str, expected: &str| {
            let text = format!("- provider: {provider}\n  secrets:\n    - {secret}\n");
            refused(&text, &[&format!("3:7: [0].secrets[0]: {expected}")]);
        };
        let short = "is too short: an HMAC needs at least 16 bytes of secret";
        check("plain", "0123456789hunt", short);
        check("plain", "''", short);
        check(
            "plain",
            "' 0123456789abcdef'",
            "has spaces or line ends around it, or other characters that cannot be seen",
        );
        check(
            "plain",
            "\"0123456789abcdef\\n\"",
            "has spaces or line ends around it, or other characters that cannot be seen",
        );
        check("plain", &"x".repeat(513), "is too long: at most 512 bytes of secret are used");
        check("hex", "0123456789abcdef0123456789abcdeg", "is not hexadecimal digits");
        check("hex", "0123456789abcdef", short);
        check(
            "standard",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "must begin with `whsec_` or `whpk_`, as the scheme says",
        );
        check(
            "standard",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "must begin with `whsec_` or `whpk_`, as the scheme says",
        );
        check("standard", "whsec_MfKQ9r8G*YqrTwjUPD8ILPZIo2LaLaSw", "is not base64 behind `whsec_`");
        check("standard", "whsec_MfKQ9r8G", short);
        check("standard", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "is no public key: those of Ed25519 have 32 bytes");
        let placeholder = format!("whpk_{}=", "A".repeat(43));
        check("standard", &placeholder, "is a public key under which anybody can sign; is it a placeholder?");
        check("public", &"0".repeat(64), "is a public key under which anybody can sign; is it a placeholder?");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        refused(
            "- {provider: plain, tenant: a, secrets: [hunter2]}\n- {provider: lits, secrets: [0123456789abcdef]}\n\
             - {provider: plain, tennant: a, secrets: [hunter2, whsec_hunter2]}\n",
            &[
                "1:42: [0].secrets[0]: is too short: an HMAC needs at least 16 bytes of secret",
                "2:14: [1].provider: is the name of no scheme under `webhooks.schemes`; did you mean `list`?",
                "3:21: [2].tennant: unknown field; did you mean `tenant`?",
                "3:43: [2].secrets[0]: is too short: an HMAC needs at least 16 bytes of secret",
                "3:52: [2].secrets[1]: is too short: an HMAC needs at least 16 bytes of secret",
            ],
        );
    }

    #[test]
    fn equal_fingerprints_mean_that_nothing_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = SecretsFile::new(folder.path().join("secrets.yaml"));
        let fingerprint = |text: &str| {
            fs::write(file.path(), text).unwrap();
            file.load().unwrap().fingerprint()
        };
        let first = fingerprint("[]");
        assert!(first == fingerprint("[]") && first != fingerprint("[] "));
        assert_eq!(file.watched_directory(), folder.path());
        assert_eq!(SecretsFile::new("secrets.yaml".into()).watched_directory(), FilePath::new("."));
        assert_eq!(format!("{:?} {first:?}", file.load().unwrap()).matches("[]").count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &FilePath, expected: &str| {
            let problems = SecretsFile::new(path.to_owned()).load().unwrap_err().to_string();
            assert_eq!(problems, format!("{}: {expected}", path.display()));
        };
        check(&folder.path().join("none.yaml"), "cannot be opened: No such file or directory (os error 2)");
        check(folder.path(), "is not a regular file");
        let path = folder.path().join("secrets.yaml");
        fs::write(&path, b"\xff").unwrap();
        check(&path, "is not UTF-8 text");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        check(&path, "is larger than 8MiB, the most that is read");
    }
}
