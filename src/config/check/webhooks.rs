//! Rules of webhooks: fields that reach us, and descriptions of which a scheme can be made.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;

use super::Checker;
use super::fields::{objection, same};
use crate::config::file::{self, File, WEBHOOK_SECRETS_OFF};
use crate::config::values::WebhookSettings;
use crate::document::{Path, size};
use crate::gateway::identity::RESERVED_PREFIX;
use crate::webhooks::{
    Algorithm, Description, Encoding, Kind, LabelEnd, Place, Replay, Scheme, Schemes, SecretForm, SecretsFile,
    Separator, Written,
};

/// The longest tolerance. Deliveries are remembered for twice as long.
const TOLERANCE_MAX: Duration = Duration::from_secs(86_400);

/// The largest delivery that can be allowed: it is held in memory whole, for each request at once.
const CONTENT_BYTES_MAX: u64 = 64 << 20;

impl Checker<'_> {
    pub(super) fn webhooks(&mut self, file: &File) -> WebhookSettings {
        let (written, path) = (&file.webhooks, Path::root().field("webhooks"));
        let tolerance = written.tolerance.get();
        if !(Duration::from_secs(1)..=TOLERANCE_MAX).contains(&tolerance) {
            self.refuse(&path.field("tolerance"), "must be `1s` to `1d`");
        }
        let bytes = written.content_bytes_max.get();
        if !(1..=CONTENT_BYTES_MAX).contains(&bytes) {
            let most = size::display(CONTENT_BYTES_MAX);
            self.refuse(
                &path.field("content_bytes_max"),
                format!("must be 1 byte to {most}: it is held in memory whole"),
            );
        }
        let schemes = self.schemes(file, &path.field("schemes"));
        let secrets = self.webhook_secrets(file, &path.field("secrets"));
        let content_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
        WebhookSettings { secrets, schemes, tolerance, content_bytes_max }
    }

    fn webhook_secrets(&mut self, file: &File, path: &Path) -> Option<SecretsFile> {
        let written = file.webhooks.secrets.as_str();
        if written == WEBHOOK_SECRETS_OFF {
            return None;
        }
        if file.webhooks.schemes.is_empty()
            && !self.document.is_faulty(&Path::root().field("webhooks").field("schemes"))
        {
            self.refuse(path, "has no effect without a scheme to sign by; describe one under `schemes`");
        }
        Some(SecretsFile::new(self.named_file(std::path::Path::new(written), path)))
    }

    /// The schemes that are good.
    fn schemes(&mut self, file: &File, list: &Path) -> Schemes {
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut schemes = Vec::new();
        for (index, written) in file.webhooks.schemes.iter().enumerate() {
            let path = self.document.item(list, index);
            if let Some(earlier) = names.insert(&written.name, index) {
                let message = format!("is the name of `webhooks.schemes[{earlier}]` already; names must differ");
                self.refuse(&path.field("name"), message);
            }
            schemes.extend(self.scheme(file, written, &path));
        }
        Schemes::new(schemes)
    }

    fn scheme(&mut self, file: &File, written: &file::WebhookScheme, path: &Path) -> Option<Scheme> {
        let signature = &written.signature;
        let field = self.field_of_delivery(file, &signature.field, &path.field("signature").field("field"));
        let mut place = |name: &str, place: &Option<file::WebhookPlace>| match place {
            None => Some(None),
            Some(file::WebhookPlace::Member(label)) => Some(Some(Place::Member(label.clone()))),
            Some(file::WebhookPlace::Field(field)) => {
                let path = path.field(name).field("field");
                self.field_of_delivery(file, field, &path).map(|field| Some(Place::Field(field)))
            }
        };
        let timestamp = place("timestamp", &written.timestamp);
        let id = place("id", &written.id);
        let description = Description {
            name: written.name.clone(),
            field: field?,
            separator: signature.separator.map(separator),
            label_end: label_end(signature.label_end),
            kinds: signature.kinds.iter().map(kind).collect(),
            timestamp: timestamp?,
            id: id?,
            signed: written.signed.clone(),
            replay: written.replay.map(replay),
        };
        match Scheme::new(description) {
            Ok(scheme) => Some(scheme),
            Err(faults) => {
                for fault in faults {
                    let place = self.place_in(path, &fault.field);
                    self.refuse(&place, fault.message);
                }
                None
            }
        }
    }

    /// A field that deliveries bring: one that HTTP leaves alone, and that is still there when it is looked at.
    fn field_of_delivery(&mut self, file: &File, name: &str, path: &Path) -> Option<HeaderName> {
        let identity = &file.identity_fields;
        let taken_out =
            [&identity.key_id, &identity.tenant, &identity.user, &identity.environment, &identity.permissions];
        let taken_out = taken_out.into_iter().chain(&file.credentials.api_key.fields);
        let message = if let Some(objection) = objection(name) {
            objection
        } else if name.to_ascii_lowercase().replace('_', "-").starts_with(RESERVED_PREFIX)
            || taken_out.into_iter().any(|taken| same(taken, name))
        {
            "is taken out of every request before signatures are looked for; choose another name"
        } else {
            return HeaderName::try_from(name).ok();
        };
        self.refuse(path, message);
        None
    }

    /// The path of a field of a fault, such as `signature.kinds[1].label`.
    fn place_in(&self, path: &Path, field: &str) -> Path {
        field.split('.').fold(path.clone(), |path, step| {
            match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                Some((list, index)) => {
                    let list = path.field(list);
                    index.parse().map_or(list.clone(), |index| self.document.item(&list, index))
                }
                None => path.field(step),
            }
        })
    }
}

fn kind(written: &file::WebhookKind) -> Kind {
    use file::{WebhookAlgorithm, WebhookEncoding, WebhookSecrets};
    Kind {
        label: written.label.clone(),
        algorithm: match written.algorithm {
            WebhookAlgorithm::HmacSha256 => Algorithm::HmacSha256,
            WebhookAlgorithm::HmacSha512 => Algorithm::HmacSha512,
            WebhookAlgorithm::Ed25519 => Algorithm::Ed25519,
        },
        encoding: match written.encoding {
            WebhookEncoding::Hex => Encoding::Hex,
            WebhookEncoding::Base64 => Encoding::Base64,
        },
        secrets: SecretForm {
            prefix: written.secret_prefix.clone().unwrap_or_default(),
            written: match written.secrets {
                WebhookSecrets::Text => Written::Text,
                WebhookSecrets::Hex => Written::Hex,
                WebhookSecrets::Base64 => Written::Base64,
            },
        },
    }
}

const fn separator(written: file::WebhookSeparator) -> Separator {
    match written {
        file::WebhookSeparator::Comma => Separator::Comma,
        file::WebhookSeparator::Semicolon => Separator::Semicolon,
        file::WebhookSeparator::Space => Separator::Space,
    }
}

const fn label_end(written: file::WebhookLabelEnd) -> LabelEnd {
    match written {
        file::WebhookLabelEnd::Equals => LabelEnd::Equals,
        file::WebhookLabelEnd::Comma => LabelEnd::Comma,
        file::WebhookLabelEnd::Colon => LabelEnd::Colon,
    }
}

const fn replay(written: file::WebhookReplay) -> Replay {
    match written {
        file::WebhookReplay::Id => Replay::Id,
        file::WebhookReplay::Content => Replay::Content,
        file::WebhookReplay::Off => Replay::Off,
    }
}
