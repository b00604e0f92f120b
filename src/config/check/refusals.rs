//! Rules of refusals: which templates can be filled in, which fields can be sent.

use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

use super::Checker;
use super::operations::within;
use crate::config::file::{self, File};
use crate::document::Path;
use crate::gateway::refusal::{BadTemplate, Challenge, Refusals, Wish, Wishes};
use crate::gateway::rejection::Reason;

/// Fields that frame a response, or that only we can know.
const NOT_YOURS: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "trailer",
    "connection",
    "keep-alive",
    "upgrade",
    "www-authenticate",
    "retry-after",
    "date",
    "allow",
];

/// Reasons for which no refusal is written: hyper answers, or nobody is there.
const SHAPELESS: [Reason; 4] = [Reason::HeadTimeout, Reason::HeadMalformed, Reason::TargetTooLong, Reason::ClientGone];

impl Checker<'_> {
    /// How refusals look, or nothing if something of it cannot be used.
    pub(super) fn refusals(&mut self, file: &File) -> Option<Refusals> {
        let written = &file.refusals;
        let path = Path::root().field("refusals");
        let content_type = media_type(&written.content_type);
        if content_type.is_none() {
            self.refuse(&path.field("content_type"), "is not a media type; write for example `application/json`");
        }
        let mut places: HashMap<Reason, Path> = HashMap::new();
        let mut each = HashMap::new();
        for (index, refusal) in written.each.iter().enumerate() {
            let place = self.document.item(&path.field("each"), index);
            let wish = self.wish(refusal, &place);
            for (index, word) in refusal.reasons.iter().enumerate() {
                let Some(reason) = Reason::of_word(word) else { continue };
                let at = self.document.item(&place.field("reasons"), index);
                if SHAPELESS.contains(&reason) {
                    self.refuse(
                        &at,
                        "cannot be shaped: keygate answers before there is a request, or nobody is left to answer",
                    );
                }
                if let Some(earlier) = places.insert(reason, place.clone()) {
                    self.refuse(&at, format!("is shaped by `{earlier}` already; name each reason once"));
                }
                each.insert(reason, wish.clone());
            }
        }
        let (challenge, token_challenge) = challenges(file);
        let wishes =
            Wishes { body: written.body.clone(), content_type: content_type?, each, challenge, token_challenge };
        match Refusals::new(&wishes) {
            Ok(refusals) => Some(refusals),
            Err(bad) => {
                let mut told = Vec::new();
                for BadTemplate { reason, path: inside, error } in bad {
                    let whole = reason.and_then(|reason| places.get(&reason)).unwrap_or(&path).field("body");
                    let at = within(&whole, &inside);
                    if !told.contains(&at) {
                        self.refuse(&at, error.to_string());
                        told.push(at);
                    }
                }
                None
            }
        }
    }

    fn wish(&mut self, written: &file::Refusal, path: &Path) -> Wish {
        let mut fields = Vec::new();
        for (index, field) in written.fields.iter().enumerate() {
            let path = self.document.item(&path.field("fields"), index);
            let name = HeaderName::from_bytes(field.name.as_bytes());
            match (name, HeaderValue::from_str(&field.value)) {
                (Ok(CONTENT_TYPE), _) => {
                    self.refuse(&path.field("name"), "cannot be set here; write `refusals.content_type`");
                }
                (Ok(name), _) if NOT_YOURS.contains(&name.as_str()) => {
                    self.refuse(&path.field("name"), "cannot be set here: keygate itself writes it where it belongs");
                }
                (Ok(name), Ok(value)) => fields.push((name, value)),
                (Err(_), _) => {
                    self.refuse(&path.field("name"), "is not the name of a field; write for example `X-Docs`");
                }
                (_, Err(_)) => self.refuse(
                    &path.field("value"),
                    "cannot be the value of a field: no line breaks or other control characters",
                ),
            }
        }
        let status = written.status.and_then(|status| StatusCode::from_u16(status).ok());
        Wish { status, body: written.body.clone(), fields }
    }
}

/// A media type, possibly with parameters (RFC 9110, section 8.3.1).
fn media_type(text: &str) -> Option<HeaderValue> {
    let token = |text: &str| HeaderName::from_bytes(text.as_bytes()).is_ok();
    let (kind, subtype) = text.split(';').next()?.trim_end().split_once('/')?;
    (token(kind) && token(subtype)).then(|| HeaderValue::from_str(text).ok())?
}

/// The challenges of a 401: the usual one, and that for a token.
fn challenges(file: &File) -> (Challenge, Challenge) {
    let bearer_alone = file.credentials.api_key.bearer && file.credentials.api_key.fields.is_empty();
    match file.refusals.challenge {
        Some(file::Challenge::ApiKey) => (Challenge::ApiKey, Challenge::ApiKey),
        Some(file::Challenge::Bearer) => (Challenge::Bearer, Challenge::Bearer),
        None if bearer_alone => (Challenge::Bearer, Challenge::Bearer),
        None => (Challenge::ApiKey, Challenge::Bearer),
    }
}
