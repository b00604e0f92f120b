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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::description::Description;
    use super::super::tests::{list, plain, standard};
    use super::*;

    const SIGNATURE: &str = "c9b46094d70fba974127e83d02b79c35d42e5db53bbc3f24177f91f5b73e0816";
    const BASE64: &str = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    const MISSING: SignatureError = SignatureError::Missing(Part::Signature);
    const MALFORMED: SignatureError = SignatureError::Malformed(Part::Signature);
    const NO_TIME: SignatureError = SignatureError::Missing(Part::Timestamp);
    const BAD_TIME: SignatureError = SignatureError::Malformed(Part::Timestamp);
    const NO_ID: SignatureError = SignatureError::Missing(Part::Id);
    const BAD_ID: SignatureError = SignatureError::Malformed(Part::Id);

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            fields.append(HeaderName::try_from(*name).unwrap(), value);
        }
        fields
    }

    #[track_caller]
    fn refused(description: Description, lines: &[(&str, &str)], expected: SignatureError) {
        let scheme = Scheme::new(description).unwrap();
        assert_eq!(read(&scheme, &fields(lines)).unwrap_err(), expected, "{lines:?}");
    }

    #[test]
    fn what_a_delivery_says_is_read() {
        let scheme = Scheme::new(list()).unwrap();
        let lines = fields(&[("x-signature", &format!("v1={SIGNATURE},v0=zz,t=17,v1={SIGNATURE},x="))]);
        let told = read(&scheme, &lines).unwrap();
        assert_eq!((told.timestamp, told.id), (Some(("17", 17)), None));
        assert_eq!(told.signatures[0].len(), 2);
        assert_eq!(told.signatures[0][0][..2], [0xc9, 0xb4]);

        let scheme = Scheme::new(standard()).unwrap();
        let longest = "x".repeat(ID_CHARS_MAX);
        let lines =
            [("webhook-signature", &*format!("v1,{BASE64}")), ("webhook-id", &longest), ("webhook-timestamp", "0")];
        let lines = fields(&lines);
        let told = read(&scheme, &lines).unwrap();
        assert_eq!((told.timestamp, told.id), (Some(("0", 0)), Some(&*longest)));
        assert_eq!((told.signatures[0].len(), told.signatures[1].len()), (1, 0));
    }

    #[test]
    fn a_field_of_signatures_that_can_be_read_in_two_ways_is_refused() {
        let check = |value: &str, expected| refused(list(), &[("x-signature", value)], expected);
        check("", MALFORMED);
        check("t=17", MISSING);
        check(&format!("t=17,v2={SIGNATURE}"), MISSING);
        check(&format!("t=17,v1={}", &SIGNATURE[1..]), MALFORMED);
        check(&format!("t=17,v1={SIGNATURE}0"), MALFORMED);
        check("t=17,v1=", MALFORMED);
        check("t=17,v1", MALFORMED);
        check(&format!("t=17,v1={SIGNATURE},"), MALFORMED);
        check(&format!(",t=17,v1={SIGNATURE}"), MALFORMED);
        check(&format!("t=17,={SIGNATURE},v1={SIGNATURE}"), MALFORMED);
        check(&format!("t=17, v1={SIGNATURE}"), MALFORMED);
        check(&format!("t=17,v1= {SIGNATURE}"), MALFORMED);
        check(&format!("t=17\tv1={SIGNATURE}"), MALFORMED);
        check(&format!("t=17,v1={SIGNATURE},x=\u{e9}"), MALFORMED);
        // A good one does not make up for one that is none.
        check(&format!("t=17,v1={SIGNATURE},v1=zz"), MALFORMED);
        check(&format!("t=17,t=17,v1={SIGNATURE}"), BAD_TIME);
        check(&format!("t=,v1={SIGNATURE}"), BAD_TIME);
        check(&format!("v1={SIGNATURE}"), NO_TIME);

        refused(plain(), &[], MISSING);
        refused(plain(), &[("x-signature", SIGNATURE), ("X-Signature", SIGNATURE)], MALFORMED);
        refused(plain(), &[("x-signature", &format!("sha256={SIGNATURE}"))], MALFORMED);
        refused(plain(), &[("x-signature", &format!("{SIGNATURE},{SIGNATURE}"))], MALFORMED);
        refused(plain(), &[("x-signature", BASE64)], MALFORMED);
    }

    #[test]
    fn a_time_is_decimal_digits_and_nothing_else() {
        for wrong in
            ["", "+17", "-17", "017", "00", "1.7e9", "17.0", "0x11", "17 ", "1_7", "\u{661}", "1234567890123", "now"]
        {
            let lines =
                [("webhook-signature", &*format!("v1,{BASE64}")), ("webhook-id", "i"), ("webhook-timestamp", wrong)];
            refused(standard(), &lines, BAD_TIME);
        }
        assert_eq!(seconds("999999999999"), Some(999_999_999_999));
    }

    #[test]
    fn fields_of_their_own_must_be_there_once() {
        let (id, time, signature) =
            (("webhook-id", "i"), ("webhook-timestamp", "17"), ("webhook-signature", &*format!("v1,{BASE64}")));
        refused(standard(), &[id, signature], NO_TIME);
        refused(standard(), &[time, signature], NO_ID);
        refused(standard(), &[id, time], MISSING);
        refused(standard(), &[id, time, time, signature], BAD_TIME);
        refused(standard(), &[id, id, time, signature], BAD_ID);
        refused(standard(), &[id, time, signature, signature], MALFORMED);
        for wrong in ["", "a.b", "a b", "\u{e9}", &"x".repeat(ID_CHARS_MAX + 1)] {
            refused(standard(), &[("webhook-id", wrong), time, signature], BAD_ID);
        }
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        let many = |count: usize| format!("t=17{}", format!(",v1={SIGNATURE}").repeat(count));
        let read_of = |value: &str| read(&Scheme::new(list()).unwrap(), &fields(&[("x-signature", value)])).map(drop);
        assert_eq!(read_of(&many(SIGNATURES_MAX)), Ok(()));
        assert_eq!(read_of(&many(SIGNATURES_MAX + 1)), Err(MALFORMED));
        let others = |count: usize| format!("{}{}", many(1), ",x=".repeat(count));
        assert_eq!(read_of(&others(MEMBERS_MAX - 2)), Ok(()));
        assert_eq!(read_of(&others(MEMBERS_MAX - 1)), Err(MALFORMED));
        let padded = |bytes: usize| format!("{},x={}", many(1), "y".repeat(bytes - many(1).len() - 3));
        assert_eq!(read_of(&padded(FIELD_BYTES_MAX)), Ok(()));
        assert_eq!(read_of(&padded(FIELD_BYTES_MAX + 1)), Err(MALFORMED));
        // Of all kinds together.
        let public = "A".repeat(86);
        let mixed = format!("{}v1a,{public}==", format!("v1,{BASE64} ").repeat(SIGNATURES_MAX));
        refused(
            standard(),
            &[("webhook-id", "i"), ("webhook-timestamp", "17"), ("webhook-signature", &mixed)],
            MALFORMED,
        );
    }
}
