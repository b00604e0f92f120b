//! Rules of key sources and of the format of new secrets.

use std::path::PathBuf;

use super::Checker;
use crate::config::file::{self, Environment, KeyFormat, KeyIds, KeyShape, Keys};
use crate::document::Path;
use crate::keys::{Development, Entry, Ids, SecretFormat, Sources};
use crate::secret::Digest;

impl Checker<'_> {
    pub(super) fn key_sources(&mut self, keys: &Keys) -> Sources {
        let path = Path::root().field("keys");
        let map = self.optional_file(&keys.map, &path.field("map"));
        let files = keys.file.is_some() || !keys.files.is_empty() || keys.directory.is_some() || map.is_some();
        if !files && keys.database.is_none() {
            self.refuse(&path, "names no source; write `file`, `files`, `directory`, `map` or `database`");
        }
        let list = path.field("files");
        let one = keys.file.iter().map(|file| (file, path.field("file")));
        let many = keys.files.iter().enumerate().map(|(index, file)| (file, self.document.item(&list, index)));
        let mut files = Vec::new();
        let named: Vec<_> = one.chain(many).collect();
        for (file, path) in named {
            let file = self.named_file(file, &path);
            if files.contains(&file) {
                self.refuse(&path, "names a file that was named before");
            }
            files.push(file);
        }
        let directory = keys.directory.as_ref().map(|directory| self.named_file(directory, &path.field("directory")));
        let development = self.development(keys.development.as_ref(), &path.field("development"));
        Sources::new(files, directory.into_iter().collect())
            .with_maps(map.into_iter().collect())
            .with_development(development)
    }

    fn development(&mut self, written: Option<&file::Development>, path: &Path) -> Development {
        let Some(written) = written else { return Development::default() };
        let list = path.field("keys");
        let mut keys = Vec::new();
        for (index, key) in written.keys.iter().enumerate() {
            let path = self.document.item(&list, index);
            let Some(digest) = Digest::from_hex(&key.sha256) else {
                self.refuse(&path.field("sha256"), "must be a SHA-256: 64 hexadecimal digits");
                continue;
            };
            let entry = Entry { tenant: key.tenant.clone(), user: key.user.clone(), ..Entry::new(&key.id, digest) };
            for fault in entry.faults() {
                self.refuse(&path.field(&fault.field), fault.message);
            }
            keys.push(entry);
        }
        if written.admit {
            self.warn(&path.field("admit"), "admits keys that everybody knows; this is no place for data of anybody");
        }
        Development { admit: written.admit, keys }
    }

    /// The store, whose folder must be there.
    pub(super) fn database(&mut self, keys: &Keys) -> Option<PathBuf> {
        let path = Path::root().field("keys").field("database");
        let file = self.named_file(keys.database.as_ref()?, &path);
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        if !folder.is_dir() {
            self.refuse(&path, format!("is to be made in {}, which is no folder; make it first", folder.display()));
        }
        Some(file)
    }

    pub(super) fn secret_format(&mut self, written: &KeyFormat, environments: &[Environment]) -> SecretFormat {
        let path = Path::root().field("keys").field("format");
        let branded = SecretFormat::base62(&written.brand).unwrap_or_else(|error| {
            self.refuse(&path.field("brand"), error.to_string());
            SecretFormat::default()
        });
        let format = match written.shape {
            KeyShape::Base62 => branded,
            KeyShape::Hex64 => SecretFormat::hex64(),
        };
        let mut format = format.with_ids(match written.ids {
            KeyIds::Key => Ids::Word,
            KeyIds::Uuid => Ids::Uuid,
        });
        let prefixes = path.field("prefixes");
        if written.shape == KeyShape::Hex64 && !written.prefixes.is_empty() {
            self.refuse(&prefixes, "have no effect with `shape: hex64`, which has no prefix");
        }
        for (environment, prefix) in &written.prefixes {
            match format.clone().with_prefix(environment, prefix) {
                Ok(extended) => format = extended,
                Err(error) => self.refuse(&prefixes.field(environment), error.to_string()),
            }
        }
        for environment in environments {
            let Some(prefix) = &environment.key_prefix else { continue };
            // A prefix that no secret of ours can have is one of keys that are made elsewhere.
            if let Ok(extended) = format.clone().with_prefix_unless_given(&environment.name, prefix) {
                format = extended;
            }
        }
        format
    }
}
