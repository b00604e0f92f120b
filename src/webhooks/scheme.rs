//! A description that was found good.
//!
//! It is checked once, when a [`Scheme`] is made of it: what cannot be told apart, or would protect nothing, does not
//! become one.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderName;

use super::description::{Description, KINDS_MAX, Kind, LabelEnd, Place, Replay, SecretForm, Separator};
use super::encoding::Written;
use super::signed::{Hole, Signed};

/// Characters that the name of a scheme may have.
pub const NAME_CHARS_MAX: usize = 64;

/// Characters that a label, or the prefix of secrets, may have.
pub const LABEL_CHARS_MAX: usize = 32;

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The way to the field, as it is written in a configuration, such as `signature.kinds[1].label`.
    pub field: String,
    /// What is wrong, as the end of a sentence that begins with the field.
    pub message: String,
}

/// How one provider signs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub(super) name: String,
    pub(super) field: HeaderName,
    pub(super) separator: Option<Separator>,
    pub(super) label_end: LabelEnd,
    pub(super) kinds: Vec<Kind>,
    pub(super) timestamp: Option<Place>,
    pub(super) id: Option<Place>,
    pub(super) signed: Signed,
    pub(super) replay: Replay,
}

impl Scheme {
    /// Checks a description.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn new(description: Description) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        faults.name(&description.name);
        faults.kinds(&description.kinds);
        faults.secret_forms(&description.kinds);
        faults.members(&description);
        faults.places(&description);
        let signed = faults.signed(&description);
        let replay = faults.replay(&description);
        let (Some(signed), true) = (signed, faults.0.is_empty()) else { return Err(faults.0) };
        let Description { name, field, separator, label_end, kinds, timestamp, id, signed: _, replay: _ } = description;
        Ok(Self { name, field, separator, label_end, kinds, timestamp, id, signed, replay })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether members of its field have labels.
    pub(super) fn is_labelled(&self) -> bool {
        self.kinds.iter().any(|kind| kind.label.is_some())
    }
}

/// All schemes of a configuration, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schemes(Arc<[Scheme]>);

impl Schemes {
    /// These schemes. Of two with the same name, the first is found.
    #[must_use]
    pub fn new(schemes: Vec<Scheme>) -> Self {
        Self(schemes.into())
    }

    /// The scheme of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Scheme> {
        self.0.iter().find(|scheme| scheme.name == name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Scheme::name)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a text can be the name of a scheme: it stands in paths, and in files.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether a text can be a label: it must end where the label does.
fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
    (1..=LABEL_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

const NO_LABEL: &str = "must be 1 to 32 letters, digits, `-`, `_` or `.`";

/// What was found wrong so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault { field: field.into(), message: message.into() });
    }

    fn name(&mut self, name: &str) {
        if !is_name(name) {
            self.push("name", format!("must be 1 to {NAME_CHARS_MAX} lower case letters, digits, `-` or `_`"));
        }
    }

    fn kinds(&mut self, kinds: &[Kind]) {
        if !(1..=KINDS_MAX).contains(&kinds.len()) {
            self.push("signature.kinds", format!("must have 1 to {KINDS_MAX} items"));
        }
        let mut labels = HashSet::new();
        for (index, kind) in kinds.iter().enumerate() {
            match &kind.label {
                None if kinds.len() > 1 => {
                    self.push(
                        format!("signature.kinds[{index}].label"),
                        "is missing; kinds of signatures are told apart by labels",
                    );
                }
                None => {}
                Some(label) if !is_label(label) => self.push(format!("signature.kinds[{index}].label"), NO_LABEL),
                Some(label) if !labels.insert(label) => {
                    self.push(
                        format!("signature.kinds[{index}].label"),
                        "is the label of an earlier kind; labels must differ",
                    );
                }
                Some(_) => {}
            }
        }
    }

    /// A public key is known to everybody. Taken for the secret of an HMAC, it would let everybody sign; so a secret has
    /// one form, and a form belongs to secrets or to public keys.
    fn secret_forms(&mut self, kinds: &[Kind]) {
        for (index, kind) in kinds.iter().enumerate() {
            let SecretForm { prefix, written } = &kind.secrets;
            if prefix.chars().count() > LABEL_CHARS_MAX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
                let message = format!("must have at most {LABEL_CHARS_MAX} visible ASCII characters");
                self.push(format!("signature.kinds[{index}].secret_prefix"), message);
            }
            if *written == Written::Text && !prefix.is_empty() {
                let message = "has no effect where secrets are text: whatever they begin with belongs to them";
                self.push(format!("signature.kinds[{index}].secret_prefix"), message);
            }
            if *written == Written::Text && kind.algorithm.is_public() {
                let message = "must be `base64` or `hex` with this algorithm, whose public keys are 32 bytes";
                self.push(format!("signature.kinds[{index}].secrets"), message);
            }
            for (earlier, other) in kinds[..index].iter().enumerate() {
                let theirs = &other.secrets;
                let apart = !prefix.starts_with(&theirs.prefix) && !theirs.prefix.starts_with(prefix.as_str());
                let alike = kind.secrets == *theirs && kind.algorithm.is_public() == other.algorithm.is_public();
                if !apart && !alike {
                    let message = format!(
                        "does not tell these secrets from those of `signature.kinds[{earlier}]`; give them prefixes of which none \
                         begins with the other"
                    );
                    self.push(format!("signature.kinds[{index}].secret_prefix"), message);
                    break;
                }
            }
        }
    }

    /// What is in the field of the signatures must be told apart in it.
    fn members(&mut self, description: &Description) {
        let Description { separator, label_end, kinds, .. } = description;
        let labelled = kinds.iter().any(|kind| kind.label.is_some());
        if labelled && separator.is_some_and(|separator| separator.character() == label_end.character()) {
            self.push("signature.label_end", "must be another character than `separator`");
        }
        let mut labels: HashSet<&str> = kinds.iter().filter_map(|kind| kind.label.as_deref()).collect();
        for (name, place) in [("timestamp", &description.timestamp), ("id", &description.id)] {
            let Some(Place::Member(label)) = place else { continue };
            let field = format!("{name}.member");
            if !is_label(label) {
                self.push(field, NO_LABEL);
            } else if separator.is_none() {
                self.push(field, "stands in the field of the signatures, which has but one member without `separator`");
            } else if !labelled {
                self.push(field, "cannot be told from signatures without labels; give those a `label`");
            } else if !labels.insert(label) {
                self.push(field, "is a label that something else has; labels must differ");
            }
        }
    }

    fn places(&mut self, description: &Description) {
        let mut names = vec![&description.field];
        for (name, place) in [("timestamp", &description.timestamp), ("id", &description.id)] {
            let Some(Place::Field(field)) = place else { continue };
            if names.contains(&field) {
                self.push(format!("{name}.field"), "is the field of something else; names must differ");
            }
            names.push(field);
        }
    }

    fn signed(&mut self, description: &Description) -> Option<Signed> {
        let signed = match Signed::parse(&description.signed) {
            Ok(signed) => signed,
            Err(error) => {
                self.push("signed", error.to_string());
                return None;
            }
        };
        let parts = [
            ("timestamp", Hole::Timestamp, description.timestamp.is_some()),
            ("id", Hole::Id, description.id.is_some()),
        ];
        for (name, hole, there) in parts {
            if signed.has(hole) && !there {
                self.push("signed", format!("has `{{{name}}}` in it, and `{name}` does not say where that stands"));
            }
            if there && !signed.has(hole) {
                let message = format!("is not signed, so anybody can change it; put `{{{name}}}` into `signed`");
                self.push(name, message);
            }
        }
        Some(signed)
    }

    fn replay(&mut self, description: &Description) -> Replay {
        let (has_id, has_time) = (description.id.is_some(), description.timestamp.is_some());
        match description.replay {
            Some(Replay::Id) if !has_id => {
                self.push("replay", "cannot be `id`, because `id` does not say where that stands");
            }
            Some(Replay::Content) if !has_time => {
                self.push("replay", "cannot be `content` without `timestamp`: two deliveries may be equal by right");
            }
            Some(Replay::Id | Replay::Content | Replay::Off) | None => {}
        }
        description.replay.unwrap_or(match (has_id, has_time) {
            (true, _) => Replay::Id,
            (false, true) => Replay::Content,
            (false, false) => Replay::Off,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::super::description::Algorithm;
    use super::super::tests::{kind, list, plain, standard};
    use super::*;

    fn name(text: &'static str) -> HeaderName {
        HeaderName::from_static(text)
    }

    /// Each fault as `field: the beginning of its message`.
    #[track_caller]
    fn refused(description: Description, expected: &[&str]) {
        let shown = format!("{description:?}");
        let faults = Scheme::new(description).expect_err(&shown);
        let faults: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault}, not {expected}");
        }
    }

    #[test]
    fn a_delivery_is_recognised_by_what_there_is() {
        let replay = |description| Scheme::new(description).unwrap().replay;
        assert_eq!(replay(standard()), Replay::Id);
        assert_eq!(replay(list()), Replay::Content);
        assert_eq!(replay(plain()), Replay::Off);
        assert_eq!(replay(Description { replay: Some(Replay::Content), ..standard() }), Replay::Content);
        assert_eq!(replay(Description { replay: Some(Replay::Off), ..list() }), Replay::Off);
        refused(Description { replay: Some(Replay::Id), ..list() }, &["replay: cannot be `id`"]);
        refused(Description { replay: Some(Replay::Content), ..plain() }, &["replay: cannot be `content`"]);
    }

    #[test]
    fn a_name_fits_into_a_path() {
        for wrong in ["", "A", "a b", "a/b", "a.b", "\u{e9}", &"x".repeat(NAME_CHARS_MAX + 1)] {
            refused(Description { name: wrong.into(), ..plain() }, &["name: must be 1 to 64"]);
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let kinds = |kinds: Vec<Kind>| Description { kinds, ..plain() };
        refused(kinds(vec![]), &["signature.kinds: must have 1 to 8"]);
        let nine: Vec<_> = (0..=KINDS_MAX).map(|index| kind(Some(&format!("v{index}")))).collect();
        refused(kinds(nine), &["signature.kinds: must have 1 to 8"]);
        refused(kinds(vec![kind(Some("v1")), kind(None)]), &["signature.kinds[1].label: is missing"]);
        refused(kinds(vec![kind(Some("v1")), kind(Some("v1"))]), &["signature.kinds[1].label: is the label of"]);
        for wrong in ["", "a=b", "a b", "a,b", &"x".repeat(LABEL_CHARS_MAX + 1)] {
            refused(kinds(vec![kind(Some(wrong))]), &["signature.kinds[0].label: must be 1 to 32"]);
        }
    }

    #[test]
    fn members_of_a_field_are_told_apart() {
        let member = |label: &str| Some(Place::Member(label.into()));
        refused(
            Description { label_end: LabelEnd::Comma, ..list() },
            &["signature.label_end: must be another character"],
        );
        refused(
            Description { separator: None, ..list() },
            &["timestamp.member: stands in the field of the signatures"],
        );
        refused(
            Description { kinds: vec![kind(None)], ..list() },
            &["timestamp.member: cannot be told from signatures without labels"],
        );
        refused(Description { timestamp: member("v1"), ..list() }, &["timestamp.member: is a label that"]);
        refused(Description { timestamp: member("t="), ..list() }, &["timestamp.member: must be 1 to 32"]);
        let signed = "{id}.{timestamp}.{body}".to_owned();
        refused(Description { id: member("t"), signed, ..list() }, &["id.member: is a label that"]);
        // Without labels there is nothing that a label could end with.
        let description = Description { separator: Some(Separator::Comma), label_end: LabelEnd::Comma, ..plain() };
        assert!(Scheme::new(description).is_ok());
    }

    #[test]
    fn fields_are_told_apart() {
        let field = |text| Some(Place::Field(name(text)));
        let signature = Description { timestamp: field("webhook-signature"), ..standard() };
        refused(signature, &["timestamp.field: is the field of something else"]);
        refused(
            Description { id: field("webhook-timestamp"), ..standard() },
            &["id.field: is the field of something else"],
        );
    }

    #[test]
    fn what_is_told_is_signed_and_what_is_signed_is_told() {
        let signed = |signed: &str| Description { signed: signed.into(), ..standard() };
        refused(signed("{timestamp}.{body}"), &["id: is not signed"]);
        refused(signed("{body}"), &["timestamp: is not signed", "id: is not signed"]);
        refused(signed("{id}.{timestamp}"), &["signed: must have `{body}`"]);
        refused(Description { signed: "{id}.{body}".into(), ..plain() }, &["signed: has `{id}` in it, and"]);
    }

    /// Everybody may know a public key, and with it could make an HMAC.
    #[test]
    fn a_public_key_is_never_taken_for_a_secret() {
        let of = |first: SecretForm, second: SecretForm| {
            let mut description = standard();
            description.kinds[0].secrets = first;
            description.kinds[1].secrets = second;
            description
        };
        let form = |prefix: &str, written| SecretForm { prefix: prefix.into(), written };
        let apart = "signature.kinds[1].secret_prefix: does not tell these secrets from those of `signature.kinds[0]`";
        for (first, second) in [("", ""), ("", "whpk_"), ("whsec_", ""), ("wh", "whpk_"), ("whpk_", "wh"), ("k_", "k_")]
        {
            refused(of(form(first, Written::Base64), form(second, Written::Base64)), &[apart]);
        }
        refused(of(form("", Written::Text), form("whpk_", Written::Base64)), &[apart]);
        assert!(Scheme::new(of(form("a_", Written::Hex), form("b_", Written::Base64))).is_ok());

        let two = |first: Kind, second: Kind| Description { kinds: vec![first, second], ..plain() };
        let sha512 = Kind { algorithm: Algorithm::HmacSha512, ..kind(Some("v2")) };
        assert!(Scheme::new(two(kind(Some("v1")), sha512.clone())).is_ok(), "the same secrets for both");
        let hex = Kind { secrets: form("", Written::Hex), ..sha512 };
        refused(two(kind(Some("v1")), hex), &[apart]);
    }

    #[test]
    fn a_secret_can_be_read_as_it_is_described() {
        let with = |secrets, algorithm| {
            let kinds = vec![Kind { secrets, algorithm, ..kind(None) }];
            Description { kinds, ..plain() }
        };
        let form = |prefix: &str, written| SecretForm { prefix: prefix.into(), written };
        let prefix = "signature.kinds[0].secret_prefix";
        let text = with(form("whsec_", Written::Text), Algorithm::HmacSha256);
        refused(text, &[&format!("{prefix}: has no effect where secrets are text")]);
        let public = with(form("", Written::Text), Algorithm::Ed25519);
        refused(public, &["signature.kinds[0].secrets: must be `base64` or `hex`"]);
        for wrong in ["a b", "\u{e9}", &"x".repeat(LABEL_CHARS_MAX + 1)] {
            let description = with(form(wrong, Written::Hex), Algorithm::HmacSha256);
            refused(description, &[&format!("{prefix}: must have at most 32")]);
        }
    }
}
