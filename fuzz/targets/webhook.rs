//! Signatures of webhooks: what passes was signed, for these bytes, at that time, and passes once.
//!
//! The first line is a letter for the scheme (`p`, `l`, `s`); fields follow, an empty line, the body. `$SIG` in a field
//! becomes the right signature of what a strict reader makes of the rest.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use keygate::moment::Moment;
use keygate::webhooks::{
    Algorithm, Contents, Description, Encoding, Kind, LabelEnd, Place, Replays, Scheme, Schemes, SecretForm,
    SecretsFile, Separator, SignatureError, Webhooks, Written,
};

use super::fields_of;

pub const WORDS: &[&str] = &[
    "$SIG",
    "x-signature: ",
    "webhook-signature: ",
    "webhook-id: ",
    "webhook-timestamp: ",
    "t=1767225600",
    "v1=$SIG",
    "v1,$SIG",
    ",",
    " ",
    "\n",
    "\n\n",
    "1767225600",
    "1767225901",
    "+1767225600",
    "01767225600",
    "msg_1",
    ".",
    "v1a,",
    "p\n",
    "l\n",
    "s\n",
];

/// 2026-01-01T00:00:00Z
const NOW_S: u64 = 1_767_225_600;
const TOLERANCE_S: u64 = 300;
const SECRET: &str = "whsec_new_0123456789abcdef";
const OTHER: &str = "whsec_old_0123456789abcdef";

fn schemes() -> Schemes {
    let kind = |label: Option<&str>, encoding| Kind {
        label: label.map(str::to_owned),
        algorithm: Algorithm::HmacSha256,
        encoding,
        secrets: SecretForm { prefix: String::new(), written: Written::Text },
    };
    let name = HeaderName::from_static;
    let plain = Description {
        name: "p".into(),
        field: name("x-signature"),
        separator: None,
        label_end: LabelEnd::Equals,
        kinds: vec![kind(None, Encoding::Hex)],
        timestamp: None,
        id: None,
        signed: "{body}".into(),
        replay: None,
    };
    let list = Description {
        name: "l".into(),
        separator: Some(Separator::Comma),
        kinds: vec![kind(Some("v1"), Encoding::Hex)],
        timestamp: Some(Place::Member("t".into())),
        signed: "{timestamp}.{body}".into(),
        ..plain.clone()
    };
    let standard = Description {
        name: "s".into(),
        field: name("webhook-signature"),
        separator: Some(Separator::Space),
        label_end: LabelEnd::Comma,
        kinds: vec![kind(Some("v1"), Encoding::Base64)],
        timestamp: Some(Place::Field(name("webhook-timestamp"))),
        id: Some(Place::Field(name("webhook-id"))),
        signed: "{id}.{timestamp}.{body}".into(),
        ..plain.clone()
    };
    Schemes::new([plain, list, standard].map(|description| Scheme::new(description).expect("good")).into())
}

/// A gate that knows this secret, with a memory of deliveries that is each input's own.
fn webhooks(secret: &str, file: &OnceLock<Contents>) -> Webhooks {
    let contents = file.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secrets.yaml");
        let lines = ["p", "l", "s"].map(|provider| format!("- {{ provider: {provider}, secrets: [{secret}] }}\n"));
        std::fs::write(&path, lines.concat()).expect("a file");
        SecretsFile::new(path).load().expect("a file of secrets")
    });
    let schemes = schemes();
    let secrets = contents.parse(&schemes).expect("secrets");
    Webhooks::new(schemes, Duration::from_secs(TOLERANCE_S), secrets, Arc::new(Replays::new()))
}

pub fn check(data: &[u8]) {
    static RIGHT: OnceLock<Contents> = OnceLock::new();
    static WRONG: OnceLock<Contents> = OnceLock::new();
    let (first, rest) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let scheme = match first {
        b"l" => "l",
        b"s" => "s",
        _ => "p",
    };
    let (fields, body) = fields_of(rest.get(1..).unwrap_or_default());
    let told = Told::of(scheme, &fields);
    let fields = signed(&fields, &told, scheme, body);
    let webhooks = webhooks(SECRET, &RIGHT);
    let at = |seconds: u64| Moment { unix_ns: seconds * 1_000_000_000, monotonic_ns: seconds * 1_000_000_000 };

    let verified = webhooks.verify(scheme, "", "", &fields, body, at(NOW_S));
    assert_eq!(
        webhooks.check_fields(scheme, &fields).is_err(),
        matches!(
            verified,
            Err(SignatureError::Missing(_) | SignatureError::Malformed(_) | SignatureError::UnknownScheme)
        ),
        "what can be said before the body is there is said then"
    );
    let Ok(verified) = verified else { return };
    verified.keep();
    let content = told.content(scheme, body).expect("signed without what is signed");
    let written = fields.get(if scheme == "s" { "webhook-signature" } else { "x-signature" }).expect("a signature");
    let signature = signature(scheme, &content);
    let holds = written.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(&signature.to_ascii_lowercase()));
    assert!(holds, "nobody signed this: {fields:?}");

    let again = webhooks.verify(scheme, "", "", &fields, body, at(NOW_S)).err();
    assert_eq!(again.is_some(), scheme != "p", "a second time: {again:?}");
    let other = [body, b"x"].concat();
    assert!(
        matches!(webhooks.verify(scheme, "", "", &fields, &other, at(NOW_S)), Err(SignatureError::Mismatch)),
        "other bytes"
    );
    let another = self::webhooks(OTHER, &WRONG).verify(scheme, "", "", &fields, body, at(NOW_S));
    assert!(matches!(another, Err(SignatureError::Mismatch)), "another secret");
    if scheme != "p" {
        let sent: u64 = told.timestamp.parse().expect("a time");
        assert!(sent.abs_diff(NOW_S) <= TOLERANCE_S, "{sent}");
        for elsewhen in [sent + TOLERANCE_S + 1, sent - TOLERANCE_S - 1] {
            let verdict = webhooks.verify(scheme, "", "", &fields, body, at(elsewhen));
            assert!(matches!(verdict, Err(SignatureError::TooOld | SignatureError::TooNew)), "{elsewhen}: {verdict:?}");
        }
    }
}

/// What a delivery says of itself, read strictly.
struct Told {
    id: String,
    timestamp: String,
}

impl Told {
    fn of(scheme: &str, fields: &HeaderMap) -> Self {
        let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let timestamp = match scheme {
            "l" => {
                let field = text("x-signature");
                let times: Vec<_> = field.split(',').filter_map(|member| member.trim().strip_prefix("t=")).collect();
                times.first().copied().unwrap_or_default().to_owned()
            }
            _ => text("webhook-timestamp"),
        };
        Self { id: text("webhook-id"), timestamp }
    }

    /// What is signed; none if there is nothing that could be.
    fn content(&self, scheme: &str, body: &[u8]) -> Option<Vec<u8>> {
        let digits = !self.timestamp.is_empty() && self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let before = match scheme {
            "p" => String::new(),
            "l" => format!("{}.", Some(&self.timestamp).filter(|_| digits)?),
            _ => format!(
                "{}.{}.",
                Some(&self.id).filter(|id| !id.is_empty())?,
                Some(&self.timestamp).filter(|_| digits)?
            ),
        };
        Some([before.as_bytes(), body].concat())
    }
}

fn signature(scheme: &str, content: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), content);
    if scheme == "s" {
        return base64::engine::general_purpose::STANDARD.encode(tag);
    }
    tag.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The fields with every `$SIG` filled in.
fn signed(fields: &HeaderMap, told: &Told, scheme: &str, body: &[u8]) -> HeaderMap {
    let Some(content) = told.content(scheme, body) else { return fields.clone() };
    let signature = signature(scheme, &content);
    let fill = |value: &HeaderValue| match value.to_str() {
        Ok(text) => HeaderValue::try_from(text.replace("$SIG", &signature)).unwrap_or_else(|_| value.clone()),
        Err(_) => value.clone(),
    };
    let mut filled = HeaderMap::new();
    for (name, value) in fields {
        filled.append(name, fill(value));
    }
    filled
}
