//! Rules of key sources and of the format of new secrets.

use super::Checker;
use crate::config::file::{KeyFormat, KeyShape, Keys};
use crate::config::values::{KeyShapeValue, KeysValues};
use crate::document::Path;

/// The most characters of a brand or a prefix.
const PREFIX_CHARS_MAX: usize = 32;

impl Checker<'_> {
    pub(super) fn keys(&mut self, keys: &Keys) -> KeysValues {
        let path = Path::root().field("keys");
        if keys.file.is_none() && keys.files.is_empty() && keys.directory.is_none() {
            self.refuse(&path, "names no source; write `file`, `files` or `directory`");
        }
        let list = path.field("files");
        let one = keys.file.iter().map(|file| (file, path.field("file")));
        let many = keys.files.iter().enumerate().map(|(index, file)| (file, self.document.item(&list, index)));
        let mut files = Vec::new();
        let named: Vec<_> = one.chain(many).collect();
        for (file, path) in named {
            let file = self.path(file);
            if files.contains(&file) {
                self.refuse(&path, "names a file that was named before");
            }
            files.push(file);
        }
        self.key_format(&keys.format, &path.field("format"));
        KeysValues {
            files,
            directory: keys.directory.as_ref().map(|directory| self.path(directory)),
            brand: keys.format.brand.clone(),
            prefixes: keys.format.prefixes.clone(),
            shape: match keys.format.shape {
                KeyShape::Base62 => KeyShapeValue::Base62,
                KeyShape::Hex64 => KeyShapeValue::Hex64,
            },
        }
    }

    fn key_format(&mut self, format: &KeyFormat, path: &Path) {
        if !format.brand.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            self.refuse(&path.field("brand"), "must be letters and digits (ASCII)");
        }
        if format.shape == KeyShape::Hex64 && !format.prefixes.is_empty() {
            self.refuse(&path.field("prefixes"), "have no effect with `shape: hex64`, which has no prefix");
        }
        for (environment, prefix) in &format.prefixes {
            let path = path.field("prefixes").field(environment);
            let characters = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !characters || !(2..=PREFIX_CHARS_MAX).contains(&prefix.len()) || !prefix.ends_with('_') {
                self.refuse(&path, "must be 2 to 32 letters, digits and `_`, with `_` at its end, such as `pk_test_`");
            }
        }
    }
}
