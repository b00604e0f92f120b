//! Reads what a delivery says of itself, out of the fields of its request.
//!
//! Strictly: what can be read in two ways is refused. Nothing here depends on a secret, so nothing here can tell one.

use http::{HeaderMap, HeaderName};

use super::description::{Place, Separator};
use super::error::{Part, SignatureError};
use super::scheme::Scheme;

/// Bytes that a field of a delivery may have.
pub const FIELD_BYTES_MAX: usize = 4096;

/// Members that the field of the signatures may have.
pub const MEMBERS_MAX: usize = 32;

/// Signatures that are looked at. With the secrets of a tenant this bounds what one delivery can cost.
pub const SIGNATURES_MAX: usize = 8;

/// Characters that an id may have.
pub const ID_CHARS_MAX: usize = 256;

/// Digits that a time may have: seconds since 1970 until the year 33658.
const TIMESTAMP_DIGITS_MAX: usize = 12;

/// What a delivery says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    /// When it was sent, as it stands there, and in seconds since 1970.
    pub(super) timestamp: Option<(&'a str, u64)>,
    /// Its id.
    pub(super) id: Option<&'a str>,
    /// Its signatures of each kind of the scheme; one at least.
    pub(super) signatures: Vec<Vec<Vec<u8>>>,
}

/// Reads what a delivery says of itself.
pub(super) fn read<'a>(scheme: &Scheme, fields: &'a HeaderMap) -> Result<Told<'a>, SignatureError> {
    let members = members(scheme, fields)?;
    let timestamp = find(scheme.timestamp.as_ref(), fields, members.timestamp, Part::Timestamp)?;
    let id = find(scheme.id.as_ref(), fields, members.id, Part::Id)?;
    let timestamp = match timestamp {
        Some(text) => Some((text, seconds(text).ok_or(SignatureError::Malformed(Part::Timestamp))?)),
        None => None,
    };
    if id.is_some_and(|id| !is_id(id) || !scheme.signed.separates(id)) {
        return Err(SignatureError::Malformed(Part::Id));
    }
    if members.signatures.iter().all(Vec::is_empty) {
        return Err(SignatureError::Missing(Part::Signature));
    }
    Ok(Told { timestamp, id, signatures: members.signatures })
}

/// What stands in the field of the signatures.
struct Members<'a> {
    timestamp: Option<&'a str>,
    id: Option<&'a str>,
    signatures: Vec<Vec<Vec<u8>>>,
}

fn members<'a>(scheme: &Scheme, fields: &'a HeaderMap) -> Result<Members<'a>, SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Malformed(Part::Signature);
    let value = only(fields, &scheme.field, Part::Signature)?;
    let mut found = Members { timestamp: None, id: None, signatures: vec![Vec::new(); scheme.kinds.len()] };
    let mut signatures = 0;
    let separator = scheme.separator.map(Separator::character);
    for (index, member) in value.split(|character| Some(character) == separator).enumerate() {
        if index == MEMBERS_MAX || !is_visible(member) {
            return Err(MALFORMED);
        }
        let (label, value) = match scheme.is_labelled() {
            true => member.split_once(scheme.label_end.character()).ok_or(MALFORMED)?,
            false => ("", member),
        };
        let mut kinds = scheme.kinds.iter().zip(&mut found.signatures);
        if let Some((kind, of_kind)) = kinds.find(|(kind, _)| kind.label.as_deref().unwrap_or_default() == label) {
            signatures += 1;
            let signature = kind.encoding.decode(value, kind.algorithm.signature_bytes());
            of_kind.push(signature.filter(|_| signatures <= SIGNATURES_MAX).ok_or(MALFORMED)?);
        } else if is_member(scheme.timestamp.as_ref(), label) {
            once(&mut found.timestamp, value, Part::Timestamp)?;
        } else if is_member(scheme.id.as_ref(), label) {
            once(&mut found.id, value, Part::Id)?;
        } else if label.is_empty() {
            return Err(MALFORMED);
        }
    }
    Ok(found)
}

/// The value of a field that must be there once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName, part: Part) -> Result<&'a str, SignatureError> {
    let mut values = fields.get_all(name).iter();
    let value = values.next().ok_or(SignatureError::Missing(part))?;
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= FIELD_BYTES_MAX);
    text.filter(|_| values.next().is_none()).ok_or(SignatureError::Malformed(part))
}

/// What stands at a place: in a field, or in the member that was found.
fn find<'a>(
    place: Option<&Place>,
    fields: &'a HeaderMap,
    member: Option<&'a str>,
    part: Part,
) -> Result<Option<&'a str>, SignatureError> {
    match place {
        None => Ok(None),
        Some(Place::Field(name)) => only(fields, name, part).map(Some),
        Some(Place::Member(_)) => member.map(Some).ok_or(SignatureError::Missing(part)),
    }
}

fn is_member(place: Option<&Place>, label: &str) -> bool {
    matches!(place, Some(Place::Member(own)) if own == label)
}

/// Two of them would be one for us and the other for somebody else.
fn once<'a>(slot: &mut Option<&'a str>, value: &'a str, part: Part) -> Result<(), SignatureError> {
    if slot.replace(value).is_some() { Err(SignatureError::Malformed(part)) } else { Ok(()) }
}

/// Seconds since 1970: decimal digits alone, no zero in front, no sign.
fn seconds(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = (1..=TIMESTAMP_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { text.parse().ok() } else { None }
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len()) && is_visible(text)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
