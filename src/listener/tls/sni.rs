//! Which certificate a client is shown: by the name it asks for (RFC 6066, section 3).
//!
//! The exact name wins over a wildcard, and a wildcard covers exactly one label (RFC 6125, section 6.4.3). Several
//! certificates may have the same name, such as one with an ECDSA key and one with an RSA key; then the first whose key
//! the client can verify is shown. A client that names nobody we know gets the first certificate of all.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// Certificates by the names in them.
pub(super) struct BySni {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Without the `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The first of all, and all that have its first name.
    default: Vec<Arc<CertifiedKey>>,
}

impl BySni {
    pub(super) fn new(pairs: &[Arc<Pair>]) -> Self {
        let mut exact: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut wildcard: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for pair in pairs {
            for name in pair.names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(Arc::clone(pair.certified()));
            }
        }
        let first = pairs.first();
        let default = pairs.iter().filter(|pair| first.is_some_and(|first| first.name() == pair.name()));
        Self { exact, wildcard, default: default.map(|pair| Arc::clone(pair.certified())).collect() }
    }

    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(by_wildcard)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let candidates = match name {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => self.named(&name.to_ascii_lowercase()),
            Some(name) => self.named(name),
            None => None,
        };
        let candidates = candidates.unwrap_or(&self.default);
        let verifiable = candidates.iter().find(|candidate| candidate.key.choose_scheme(schemes).is_some());
        verifiable.or(candidates.first()).cloned()
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

impl fmt::Debug for BySni {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BySni").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::tests::certificates::Folder;

    #[track_caller]
    fn check(row: &str, store: &BySni, name: Option<&str>, schemes: &[SignatureScheme], expected: &Arc<Pair>) {
        let chosen = store.choose(name, schemes).expect(row);
        assert!(Arc::ptr_eq(&chosen, expected.certified()), "{row}");
    }

    #[test]
    fn the_name_decides_then_the_key() {
        let folder = Folder::new();
        let pair = |file, names: &[&str]| Arc::new(Pair::read(&folder.pair(file, names)).unwrap());
        let first = pair("first", &["a.example", "*.example"]);
        let exact = pair("exact", &["b.example"]);
        let rsa = Arc::new(Pair::read(&folder.rsa_pair("rsa", &["b.example"])).unwrap());
        let store = BySni::new(&[Arc::clone(&first), Arc::clone(&exact), Arc::clone(&rsa)]);

        let ecdsa = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
        check("exact", &store, Some("b.example"), &ecdsa, &exact);
        check("exact over wildcard", &store, Some("a.example"), &ecdsa, &first);
        check("upper case", &store, Some("B.Example"), &ecdsa, &exact);
        check("wildcard", &store, Some("c.example"), &ecdsa, &first);
        check("no name", &store, None, &ecdsa, &first);
        check("unknown name", &store, Some("b.test"), &ecdsa, &first);
        check("only RSA", &store, Some("b.example"), &[SignatureScheme::RSA_PSS_SHA256], &rsa);
        check("neither", &store, Some("b.example"), &[SignatureScheme::ED448], &exact);

        assert!(store.named("x.c.example").is_none(), "a wildcard covers one label");
        assert!(store.named("example").is_none(), "a wildcard covers one label, not none");
    }
}
