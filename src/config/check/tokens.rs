//! Rules of tokens, and of issuers whose tokens are believed.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::Checker;
use crate::config::file::{self, File, SignatureAlgorithm};
use crate::document::Path;
use crate::document::duration::HumanDuration;
use crate::identity::{Algorithm, ClaimName, ClaimNames, IssuerSettings, JwksSource, TokenSettings, TokenTypes};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The word for a token that does not name its type.
const ABSENT: &str = "absent";

impl Checker<'_> {
    /// The tokens that are made here, if any are.
    pub(super) fn tokens(&mut self, file: &File) -> Option<TokenSettings> {
        let written = file.tokens.as_ref()?;
        let path = Path::root().field("tokens");
        let rotate_every = written.rotate_every.get();
        self.between(written.rotate_every, HOUR..=Duration::MAX, &path.field("rotate_every"));
        self.between(written.access_lifetime, Duration::from_secs(1)..=DAY, &path.field("access_lifetime"));
        self.between(written.leeway, Duration::ZERO..=Duration::from_secs(300), &path.field("leeway"));
        let refresh = path.field("refresh_lifetime");
        if self.between(written.refresh_lifetime, Duration::from_secs(1)..=366 * DAY, &refresh) {
            if written.refresh_lifetime < written.access_lifetime {
                self.refuse(&refresh, "must not be shorter than `access_lifetime`: nobody would need such a token");
            } else if written.refresh_lifetime.get() > rotate_every.saturating_mul(ROTATIONS_MAX) {
                let message = format!(
                    "is longer than {ROTATIONS_MAX} times `rotate_every`: as many keys would be kept to verify with"
                );
                self.refuse(&refresh, message);
            }
        }
        let keys = self.keys_of_tokens(&written.keys, &path.field("keys"));
        let settings = TokenSettings {
            issuer: written.issuer.clone(),
            audience: written.audience.clone().unwrap_or_else(|| written.issuer.clone()),
            algorithm: algorithm(written.algorithm),
            keys,
            rotate_every,
            access_lifetime: written.access_lifetime.get(),
            refresh_lifetime: written.refresh_lifetime.get(),
            leeway: written.leeway.get(),
        };
        if settings.audience == settings.refresh_audience() {
            self.refuse(&path.field("audience"), "is that of refresh tokens; name another one");
        }
        Some(settings)
    }

    /// The directory of the signing keys. It need not be there, but the one that it is to be made in must.
    fn keys_of_tokens(&mut self, written: &std::path::Path, path: &Path) -> PathBuf {
        let directory = self.named_file(written, path);
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(std::path::Path::new("."));
        if directory.exists() && !directory.is_dir() {
            self.refuse(path, "is no directory");
        } else if !directory.exists() && !parent.is_dir() {
            self.refuse(path, format!("is to be made in {}, which is no directory; make it first", parent.display()));
        }
        directory
    }

    /// The issuers whose tokens are believed.
    pub(super) fn issuers(&mut self, file: &File) -> Vec<IssuerSettings> {
        let leeway = file.tokens.as_ref().map_or_else(file::leeway, |tokens| tokens.leeway).get();
        let list = Path::root().field("issuers");
        let mut issuers: Vec<IssuerSettings> = Vec::new();
        for (index, written) in file.issuers.iter().enumerate() {
            let path = self.document.item(&list, index);
            let name = path.field("issuer");
            if file.tokens.as_ref().is_some_and(|tokens| tokens.issuer == written.issuer) {
                self.refuse(&name, "is the one whose tokens are made here (`tokens.issuer`)");
            } else if issuers.iter().any(|other| other.issuer == written.issuer) {
                self.refuse(&name, "is the same as that of another one");
            }
            self.between(written.refresh_every, Duration::from_secs(10)..=Duration::MAX, &path.field("refresh_every"));
            let Some(jwks) = self.jwks(written, &path) else { continue };
            issuers.push(IssuerSettings {
                issuer: written.issuer.clone(),
                audiences: written.audience.clone(),
                algorithms: written.algorithms.iter().copied().map(algorithm).collect(),
                jwks,
                refresh_every: written.refresh_every.get(),
                claims: self.claims(&written.claims, &path.field("claims")),
                types: self.types(&written.types, &path.field("types")),
                leeway,
            });
        }
        issuers
    }

    /// Where the keys of an issuer are.
    fn jwks(&mut self, written: &file::Issuer, path: &Path) -> Option<JwksSource> {
        let jwks = path.field("jwks");
        if !written.jwks.contains("://") {
            let file = self.named_file(std::path::Path::new(&written.jwks), &jwks);
            if !file.is_file() {
                self.refuse(&jwks, format!("names {}, which is no file that can be read", file.display()));
            }
            return Some(JwksSource::File(file));
        }
        let url = match url_of_keys(&written.jwks) {
            Ok(url) => url,
            Err(message) => {
                self.refuse(&jwks, message);
                return None;
            }
        };
        if written.algorithms.contains(&SignatureAlgorithm::Hs256) {
            let message = "must not name `HS256` for keys at a URL: whoever sees its secret can make tokens; \
                           put it in a file";
            self.refuse(&path.field("algorithms"), message);
        }
        if url.scheme() == "http" && !is_this_machine(&url) {
            let message = "has no TLS: anybody on the way can put his own keys in, and be whoever he likes";
            self.warn(&jwks, message);
        }
        Some(JwksSource::Url(url))
    }

    fn claims(&mut self, written: &file::Claims, path: &Path) -> ClaimNames {
        let mut name = |name: Option<&String>, field: &str| {
            let name = name?;
            // RFC 6901, section 3: `~` stands only before 0 and 1.
            let escaped = name.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if name.starts_with('/') && !escaped {
                self.refuse(&path.field(field), "is no JSON Pointer (RFC 6901): write `~0` for `~`, and `~1` for `/`");
            }
            Some(ClaimName(name.clone()))
        };
        ClaimNames {
            tenant: name(written.tenant.as_ref(), "tenant"),
            roles: name(written.roles.as_ref(), "roles"),
            permissions: name(written.permissions.as_ref(), "permissions"),
        }
    }

    fn types(&mut self, written: &[String], path: &Path) -> TokenTypes {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        for (index, name) in written.iter().enumerate() {
            if !name.bytes().all(token) {
                let message = "is no subtype of `application/` (RFC 6838, section 4.2), such as `at+jwt`, nor `absent`";
                self.refuse(&path.index(index), message);
            }
        }
        let names = written.iter().filter(|name| *name != ABSENT).cloned().collect();
        TokenTypes { names, absent: written.iter().any(|name| name == ABSENT) }
    }

    /// Whether a duration is within bounds; refuses it if not.
    pub(super) fn between(
        &mut self,
        duration: HumanDuration,
        bounds: std::ops::RangeInclusive<Duration>,
        path: &Path,
    ) -> bool {
        let within = bounds.contains(&duration.get());
        if duration.get() < *bounds.start() {
            self.refuse(path, format!("must be at least `{}`", HumanDuration::from(*bounds.start())));
        } else if !within {
            self.refuse(path, format!("must be at most `{}`", HumanDuration::from(*bounds.end())));
        }
        within
    }
}

/// Keys of former periods that refresh tokens may still be signed with. The directory is read with all of them.
const ROTATIONS_MAX: u32 = 30;

const fn algorithm(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::EdDsa => Algorithm::EdDsa,
        SignatureAlgorithm::Es256 => Algorithm::Es256,
        SignatureAlgorithm::Rs256 => Algorithm::Rs256,
        SignatureAlgorithm::Hs256 => Algorithm::Hs256,
    }
}

/// Understands the URL of a JWK Set. The messages do not repeat it: it could hold a password.
fn url_of_keys(text: &str) -> Result<Url, String> {
    if !(text.starts_with("https://") || text.starts_with("http://")) {
        return Err("is neither a URL that begins with `https://` or `http://`, nor a file".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: public keys are fetched without".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment: it is never sent".to_owned());
    }
    if url.port_or_known_default().is_none_or(|port| port == 0) {
        return Err("must not have the port 0".to_owned());
    }
    Ok(url)
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
