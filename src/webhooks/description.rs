//! How one provider signs, as an operator describes it.
//!
//! A provider writes one or more signatures into a field, says when it sent the delivery and under which id, and signs
//! some of that together with the body. That is all that is known here; which provider does it how is configuration.
//!
//! Never in this file: whether a description is good. That is [`super::Scheme::new`].

use http::HeaderName;

use super::encoding::{Encoding, Written};

/// Kinds of signatures that a scheme may have.
pub const KINDS_MAX: usize = 8;

/// How one provider signs, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name, by which requests and the file of secrets ask for it.
    pub name: String,
    /// The field with the signatures.
    pub field: HeaderName,
    /// What stands between the members of that field; none if it has but one.
    pub separator: Option<Separator>,
    /// What stands between the label of a member and its value.
    pub label_end: LabelEnd,
    /// The kinds of signatures that are believed, from 1 to [`KINDS_MAX`].
    pub kinds: Vec<Kind>,
    /// Where the time stands, in seconds since 1970.
    pub timestamp: Option<Place>,
    /// Where the id of a delivery stands.
    pub id: Option<Place>,
    /// What is signed, see [`super::Signed`].
    pub signed: String,
    /// By what a delivery is recognised that was here before; none is by whatever there is.
    pub replay: Option<Replay>,
}

/// What stands between the members of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A space.
    Space,
}

impl Separator {
    pub(super) const fn character(self) -> char {
        match self {
            Self::Comma => ',',
            Self::Semicolon => ';',
            Self::Space => ' ',
        }
    }
}

/// What stands between a label and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelEnd {
    /// `=`
    Equals,
    /// `,`
    Comma,
    /// `:`
    Colon,
}

impl LabelEnd {
    pub(super) const fn character(self) -> char {
        match self {
            Self::Equals => '=',
            Self::Comma => ',',
            Self::Colon => ':',
        }
    }
}

/// One kind of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What members of this kind are labelled with; none if members have no labels.
    pub label: Option<String>,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// How its secrets are written in the file of secrets.
    pub secrets: SecretForm,
}

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104).
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519 (RFC 8032). Its "secret" here is the public key.
    Ed25519,
}

impl Algorithm {
    /// Bytes of a signature.
    pub(super) const fn signature_bytes(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha512 | Self::Ed25519 => 64,
        }
    }

    /// Whether its keys may be known to everybody.
    pub(super) const fn is_public(self) -> bool {
        matches!(self, Self::Ed25519)
    }
}

/// How secrets are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretForm {
    /// What every secret of this form begins with, and what is taken off before it is read; may be empty.
    pub prefix: String,
    /// How what follows is written.
    pub written: Written,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a field of its own.
    Field(HeaderName),
    /// In the field of the signatures, under this label.
    Member(String),
}

/// By what a delivery is recognised that was here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// By its id.
    Id,
    /// By what was signed: its time and its body.
    Content,
    /// By nothing.
    Off,
}
