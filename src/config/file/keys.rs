//! Where keys come from, and how new ones look.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::keys::SecretFormat;

/// Where the keys are. All sources together are one set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "file": "keys.yaml" }]))]
pub(in crate::config) struct Keys {
    /// A key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) file: Option<PathBuf>,
    /// Several key files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::paths")]
    pub(in crate::config) files: Vec<PathBuf>,
    /// A folder; every `.yaml` and `.yml` file directly in it is a key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) directory: Option<PathBuf>,
    /// A key map, as other programs have it: a mapping from the SHA-256 of each secret to `tenant_id`, `user_id`,
    /// `environment_id`, `name` and `is_active`. `off`: there is none.
    #[serde(default = "shapes::off")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) map: PathBuf,
    /// Keys that everybody knows because they stand in documents, for setups in which nothing is at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::config) development: Option<Development>,
    /// The store: a file in which keys and users are made and changed by command line and management API. It is made if it
    /// is not there; its folder must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::path")]
    pub(in crate::config) database: Option<PathBuf>,
    /// How new secrets look (`keygate keys create`). Has no influence on which secrets are accepted.
    #[serde(default)]
    pub(in crate::config) format: KeyFormat,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            file: None,
            files: Vec::new(),
            directory: None,
            map: shapes::off(),
            development: None,
            database: None,
            format: KeyFormat::default(),
        }
    }
}

/// Keys that everybody knows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Development {
    /// Whether they open the gate. If not, nothing with one of their secrets does, whatever file names it.
    #[serde(default)]
    pub(in crate::config) admit: bool,
    /// The keys.
    #[schemars(length(min = 1, max = 16))]
    pub(in crate::config) keys: Vec<DevelopmentKey>,
}

/// A key that everybody knows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DevelopmentKey {
    /// The SHA-256 of its secret, in hexadecimal digits.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) sha256: String,
    /// Its public name for machines; the upstream learns it.
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) id: String,
    /// The tenant it acts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) tenant: Option<String>,
    /// The user it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::text")]
    pub(in crate::config) user: Option<String>,
}

/// How new secrets look.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct KeyFormat {
    /// The first word of a secret: `<brand>_<environment>_...`. Letters and digits.
    #[schemars(length(min = 1, max = SecretFormat::BRAND_CHARS_MAX))]
    pub(in crate::config) brand: String,
    /// Whole prefixes for environments that need another one, for example `sandbox: pk_test_`.
    pub(in crate::config) prefixes: BTreeMap<String, String>,
    /// What stands behind the prefix.
    pub(in crate::config) shape: KeyShape,
    /// How the ids of new keys look, which are no secrets.
    pub(in crate::config) ids: KeyIds,
}

impl Default for KeyFormat {
    fn default() -> Self {
        Self {
            brand: SecretFormat::BRAND.to_owned(),
            prefixes: BTreeMap::new(),
            shape: KeyShape::default(),
            ids: KeyIds::default(),
        }
    }
}

/// What stands behind the prefix of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum KeyShape {
    /// 32 random letters and digits and 6 that check them.
    #[default]
    Base62,
    /// 64 hexadecimal digits, and no prefix at all.
    Hex64,
}

/// How the ids of new keys look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum KeyIds {
    /// `key_` and 20 letters and digits.
    #[default]
    Key,
    /// A random UUID (RFC 9562).
    Uuid,
}
