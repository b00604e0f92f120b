//! Attacks on signatures, for each algorithm those that it invites.

use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};

use super::attacks::{Case, SIGNATURE, Subject};
use super::*;

/// Signatures that are none.
pub(super) fn signatures(subject: &Subject) -> Vec<Case> {
    let (forge, stranger) = (&subject.forge, Forge::new(subject.forge.algorithm));
    let mut cases = Vec::new();
    let mut bad = |name: &str, token: String| cases.push((name.to_owned(), token, SIGNATURE));
    let length = forge.signature(b"").len();
    for at in [0, 1, length / 2 - 1, length / 2, length - 1] {
        for bit in [1, 0x80] {
            let flipped = subject.signed_by(|message| {
                let mut signature = forge.signature(message);
                signature[at] ^= bit;
                signature
            });
            bad(&format!("bit {bit} of byte {at}"), flipped);
        }
    }
    bad("zeros", subject.signed_by(|_| vec![0; length]));
    bad("ones", subject.signed_by(|_| vec![0xff; length]));
    bad("one byte less", subject.signed_by(|message| forge.signature(message)[..length - 1].to_vec()));
    bad("half of it", subject.signed_by(|message| forge.signature(message)[..length / 2].to_vec()));
    bad("one byte", subject.signed_by(|message| forge.signature(message)[..1].to_vec()));
    bad("a zero more behind", subject.signed_by(|message| [forge.signature(message), vec![0]].concat()));
    bad("a zero more in front", subject.signed_by(|message| [vec![0], forge.signature(message)].concat()));
    bad("twice", subject.signed_by(|message| forge.signature(message).repeat(2)));
    bad("of something else", subject.signed_by(|_| forge.signature(b"something else")));
    bad(
        "of the payload alone",
        subject.signed_by(|message| {
            let at = message.iter().position(|byte| *byte == b'.').unwrap();
            forge.signature(&message[at + 1..])
        }),
    );
    bad("of a stranger", subject.signed_by(|message| stranger.signature(message)));
    // RFC 8725, section 3.10: the key that signs it is in it.
    let mut header = forge.header();
    header["jwk"] = stranger.jwk();
    bad("of a stranger who brings his key along", stranger.sign(&header.to_string(), &Subject::claims().to_string()));
    let good = subject.good();
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut claims = Subject::claims();
    claims["exp"] = json!(NOW_S + 1_000_000);
    bad("a longer life", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    // A token that is changed is never merely old: whoever answers differently to old ones would help a forger.
    claims["exp"] = json!(NOW_S - 1_000_000);
    bad("a shorter life", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    claims["aud"] = json!(1);
    bad("another audience", format!("{header}.{}.{signature}", encoded(claims.to_string().as_bytes())));
    let mut other = forge.header();
    other["typ"] = json!("JWT");
    bad("another type", format!("{}.{payload}.{signature}", encoded(other.to_string().as_bytes())));
    bad("an old token of a stranger", stranger.sign(&forge.header().to_string(), &claims.to_string()));
    for (name, sign) in special(subject.forge.algorithm) {
        bad(name, subject.signed_by(|message| sign(forge, message)));
    }
    cases
}

type Sign = fn(&Forge, &[u8]) -> Vec<u8>;

/// Signatures that only this algorithm can have.
fn special(algorithm: Algorithm) -> Vec<(&'static str, Sign)> {
    match algorithm {
        Algorithm::EdDsa => vec![
            ("S beyond the order of the group (RFC 8032, section 8.4)", |forge, message| {
                let mut signature = forge.signature(message);
                let mut carry = 0;
                for (byte, order) in signature[32..].iter_mut().zip(ED25519_ORDER) {
                    let sum = u16::from(*byte) + u16::from(order) + carry;
                    (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
                }
                signature
            }),
            ("halves changed over", |forge, message| {
                let signature = forge.signature(message);
                [&signature[32..], &signature[..32]].concat()
            }),
            ("R of no order, S of zero", |_, _| [&[1][..], &[0; 63]].concat()),
        ],
        Algorithm::Es256 => vec![
            ("DER", Forge::ecdsa_der),
            ("halves changed over", |forge, message| {
                let signature = forge.signature(message);
                [&signature[32..], &signature[..32]].concat()
            }),
            ("r of zero", |forge, message| [&[0; 32][..], &forge.signature(message)[32..]].concat()),
            ("s of zero", |forge, message| [&forge.signature(message)[..32], &[0; 32]].concat()),
            ("r of the order of the group", |_, _| [&P256_ORDER[..], &[0; 31], &[1]].concat()),
            ("r and s of the order of the group", |_, _| P256_ORDER.repeat(2)),
            ("r and s of one", |_, _| [[0; 31].as_slice(), &[1], &[0; 31], &[1]].concat()),
            ("each half with a zero in front", |forge, message| {
                let signature = forge.signature(message);
                [&[0][..], &signature[..32], &[0], &signature[32..]].concat()
            }),
        ],
        Algorithm::Rs256 => vec![
            ("SHA-512", |forge, message| forge.rsa(&RSA_PKCS1_SHA512, message)),
            ("PSS", |forge, message| forge.rsa(&RSA_PSS_SHA256, message)),
            ("one", |_, _| [&[0; 255][..], &[1]].concat()),
        ],
        Algorithm::Hs256 => vec![
            ("SHA-512", |forge, message| forge.hmac(hmac::HMAC_SHA512, message)),
            ("SHA-512, cut", |forge, message| forge.hmac(hmac::HMAC_SHA512, message)[..32].to_vec()),
            ("half a tag", |forge, message| forge.signature(message)[..16].to_vec()),
            ("no secret", |_, message| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), message).as_ref().to_vec()),
            ("a hash", |forge, message| {
                use sha2::Digest as _;
                sha2::Sha256::digest([forge.file.trim_end().as_bytes(), message].concat()).to_vec()
            }),
        ],
    }
}

/// RFC 8032, section 5.1, with its least octet first.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// SEC 2, section 2.4.2.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
