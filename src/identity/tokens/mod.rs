//! Tokens: JSON Web Tokens (RFC 7519) that this gateway makes, and those of others that it believes.
//!
//! ```text
//! verify    known? → compact → issuer → key → signature → type, audience, times → user
//! issue     claims → the key that signs now → compact
//! ```
//!
//! A token is believed for its signature alone, so nothing of it is looked at before that but who claims to have made it
//! and with which key. The algorithm is that of the key (RFC 8725, section 3.1).
//!
//! What is in force, keys and what was verified with them, is one value that is swapped whole: a token that was remembered
//! is forgotten with the keys that were there when it was verified.
//!
//! Never in this part: whether a login is still alive, and whether a refresh token was used before.
//!
//! The modules below are declared in the order in which they are best read.

mod settings;

mod compact;
mod claims;
mod cache;

mod own;
mod keyring;
mod schedule;
mod key_files;
mod signing_key;

mod foreign;
mod follow;
mod fetch;
mod jwk;

mod verifier;
mod algorithm;
mod error;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;

pub use self::algorithm::Algorithm;
pub use self::compact::{TOKEN_BYTES_MAX, looks_like_token};
pub use self::error::{FileProblem, IssueError, TokenError};
pub use self::settings::{ClaimName, ClaimNames, IssuerSettings, JwksSource, TokenSettings, TokenTypes};

use self::cache::Cache;
use self::claims::End;
use self::compact::Compact;
use self::fetch::Client;
use self::foreign::{Early, Foreign, ForeignKeys};
use self::jwk::NotASet;
use self::keyring::Ring;
use self::own::Own;
use super::user::User;
use crate::moment::Moment;
use crate::secret::{Digest, Secret};

/// Whom an access token is made for.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The user: `sub`.
    pub user: &'a str,
    /// The login: `sid`.
    pub login: &'a str,
    /// The tenant that the user is bound to, if it is.
    pub tenant: Option<&'a str>,
    /// Its roles.
    pub roles: &'a [Arc<str>],
    /// Its permissions.
    pub permissions: &'a [Arc<str>],
}

/// An access token that was just made.
#[derive(Debug)]
pub struct Issued {
    /// The token, to be given to its user.
    pub token: Secret,
    /// When it expires, in whole seconds since the Unix epoch.
    pub expires_s: u64,
}

/// A refresh token that was just made.
#[derive(Debug)]
pub struct IssuedRefresh {
    /// The token, to be given to its user.
    pub token: Secret,
    /// What is kept of it.
    pub digest: Digest,
    /// When it expires, in whole seconds since the Unix epoch.
    pub expires_s: u64,
}

/// Who has made a token that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// This gateway, for this login. Whether the login is still alive, the token does not know.
    Own {
        /// Its `sid`.
        login: Arc<str>,
    },
    /// Somebody else: its `iss`.
    Foreign(Arc<str>),
}

/// An access token that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who has made it.
    pub issuer: Issuer,
    /// Whom it stands for, as its claims say.
    pub user: Arc<User>,
    /// When it expires, in whole seconds since the Unix epoch, rounded down. The leeway is not in it.
    pub expires_s: u64,
}

/// A refresh token that was found good. Whether it was used before, its text does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Its `sub`.
    pub user: Arc<str>,
    /// Its `sid`.
    pub login: Arc<str>,
    /// What was kept of it when it was made.
    pub digest: Digest,
    /// When it expires, in whole seconds since the Unix epoch. The leeway is not in it.
    pub expires_s: u64,
}

/// The tokens of this gateway and of the issuers it believes; shared by all threads.
#[derive(Debug)]
pub struct Tokens {
    own: Option<Own>,
    /// For tokens of ours with keys that we do not know.
    early: Early,
    issuers: Vec<Foreign>,
    /// Where in `issuers` each stands.
    by_name: HashMap<String, usize>,
    /// For issuers whose keys are at a URL.
    client: Option<Client>,
    in_force: ArcSwap<InForce>,
    /// Held by whoever makes what is in force anew from what was.
    changing: Mutex<()>,
    /// Held by whoever reads the signing keys, so that none is replaced by what was read before it.
    tending: Mutex<()>,
}

/// Keys, and what was verified with them.
#[derive(Debug)]
struct InForce {
    own: Option<Arc<Ring>>,
    /// In the order of the issuers.
    foreign: Vec<Arc<ForeignKeys>>,
    cache: Cache,
}

impl Tokens {
    /// Reads the signing keys, and makes the directory and the first key if there is none. Reads the keys of issuers that
    /// are in files; those at URLs come with [`Tokens::follow`]. Blocks: it waits for the disk.
    ///
    /// # Errors
    ///
    /// Every file and directory that cannot be used.
    pub fn open(
        own: Option<TokenSettings>,
        issuers: Vec<IssuerSettings>,
        now: Moment,
    ) -> Result<Self, Vec<FileProblem>> {
        let mut problems = Vec::new();
        let ring = own.as_ref().and_then(|settings| first_ring(settings, now).map_err(|one| problems.push(one)).ok());
        let issuers: Vec<_> = issuers.into_iter().map(Foreign::new).collect();
        let mut foreign = Vec::with_capacity(issuers.len());
        for issuer in &issuers {
            match first_keys(issuer) {
                Ok(keys) => foreign.push(Arc::new(keys)),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let by_url = |issuer: &Foreign| matches!(issuer.settings.jwks, JwksSource::Url(_));
        let client = issuers.iter().any(by_url).then(Client::new).transpose().unwrap_or_else(|error| {
            tracing::error!("the keys of issuers cannot be fetched: {error}");
            None
        });
        let by_name = issuers.iter().enumerate();
        Ok(Self {
            by_name: by_name.map(|(index, issuer)| (issuer.settings.issuer.clone(), index)).collect(),
            own: own.map(Own::new),
            early: Early::default(),
            issuers,
            client,
            in_force: ArcSwap::from_pointee(InForce { own: ring.map(Arc::new), foreign, cache: Cache::new() }),
            changing: Mutex::new(()),
            tending: Mutex::new(()),
        })
    }

    /// Whether [`Tokens::open`] would find what it needs. Makes nothing and changes nothing. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Tokens::open`].
    pub fn check(own: Option<&TokenSettings>, issuers: &[IssuerSettings]) -> Result<(), Vec<FileProblem>> {
        let of_ours = own.and_then(|settings| keyring::check(settings).err());
        let of_issuers = issuers.iter().filter_map(|issuer| first_keys(&Foreign::new(issuer.clone())).err());
        let problems: Vec<_> = of_ours.into_iter().chain(of_issuers).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Takes the place of `earlier` and keeps what it knows of issuers that are the same, so that nobody's keys are
    /// missing while they are fetched anew.
    pub fn succeed(&mut self, earlier: &Self) {
        let known = earlier.in_force.load_full();
        let issuers = &self.issuers;
        self.change(|next| {
            for (issuer, keys) in issuers.iter().zip(&mut next.foreign) {
                let same = earlier.issuers.iter().position(|other| other.settings == issuer.settings);
                if let Some(same) = same.and_then(|index| known.foreign.get(index))
                    && matches!(issuer.settings.jwks, JwksSource::Url(_))
                {
                    *keys = Arc::clone(same);
                }
            }
        });
    }

    /// Makes an access token (RFC 9068).
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue_access(&self, holder: &Holder<'_>, now: Moment) -> Result<Issued, IssueError> {
        let in_force = self.in_force.load();
        let (own, ring) = self.own.as_ref().zip(in_force.own.as_ref()).ok_or(IssueError::NotConfigured)?;
        own.issue_access(ring, holder, now)
    }

    /// Makes a refresh token. It says who and which login, and nothing else.
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue_refresh(&self, user: &str, login: &str, now: Moment) -> Result<IssuedRefresh, IssueError> {
        let in_force = self.in_force.load();
        let (own, ring) = self.own.as_ref().zip(in_force.own.as_ref()).ok_or(IssueError::NotConfigured)?;
        own.issue_refresh(ring, user, login, now)
    }

    /// Says whom an access token stands for. Quick for a token that was seen before. Never waits.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: Moment) -> Result<Arc<Verified>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (digest, now_s) = (Digest::of(token.as_bytes()), now.unix_seconds());
        let in_force = self.in_force.load();
        if let Some(known) = in_force.cache.get(&digest, now_s) {
            return known;
        }
        let (verified, end) = self.verify_unknown(&in_force, token, now)?;
        let verified = Arc::new(verified);
        in_force.cache.put(digest, Arc::clone(&verified), end.over_s, now_s);
        Ok(verified)
    }

    fn verify_unknown(&self, in_force: &InForce, token: &str, now: Moment) -> Result<(Verified, End), TokenError> {
        let (token, now_s) = (Compact::read(token)?, now.unix_seconds());
        let issuer = token.issuer()?;
        if let Some((own, ring)) = self.own_named(issuer, in_force) {
            return heard(own.verify(ring, &token, now_s), &self.early, now);
        }
        let index = *self.by_name.get(issuer).ok_or(TokenError::UnknownIssuer)?;
        let (foreign, keys) =
            self.issuers.get(index).zip(in_force.foreign.get(index)).ok_or(TokenError::UnknownIssuer)?;
        heard(foreign.verify(keys, &token, now_s), &foreign.early, now)
    }

    /// Says what a refresh token of ours stands for.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify_refresh(&self, token: &str, now: Moment) -> Result<Refresh, TokenError> {
        let in_force = self.in_force.load();
        let compact = Compact::read(token)?;
        let (own, ring) = self.own_named(compact.issuer()?, &in_force).ok_or(TokenError::UnknownIssuer)?;
        let digest = Digest::of(token.as_bytes());
        heard(own.verify_refresh(ring, &compact, digest, now.unix_seconds()), &self.early, now)
    }

    /// Ourselves and our keys, if that is our name.
    fn own_named<'a>(&'a self, issuer: &str, in_force: &'a InForce) -> Option<(&'a Own, &'a Ring)> {
        let own = self.own.as_ref().filter(|own| own.settings.issuer == issuer);
        own.zip(in_force.own.as_deref())
    }

    /// The public keys by which others can verify our tokens: a JWK Set (RFC 7517, section 5), `application/jwk-set+json`.
    /// None is in it where tokens are made with a secret, or not at all.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        let in_force = self.in_force.load();
        in_force.own.as_ref().map_or(Bytes::from_static(br#"{"keys":[]}"#), |ring| ring.jwks())
    }

    /// Reads the signing keys again, makes the successor when it is time, and deletes keys whose tokens have all expired.
    /// To be called every half minute or so. Blocks: it waits for the disk.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong; for the log. The keys that were good stay in force.
    pub fn tend(&self, now: Moment) -> Result<(), FileProblem> {
        let Some(own) = &self.own else { return Ok(()) };
        let _alone = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        let tended = keyring::tend(&own.settings, now.unix_seconds());
        let current = self.in_force.load_full();
        let other = tended.ring.filter(|ring| current.own.as_ref().is_none_or(|known| !known.is_as(ring)));
        if let Some(ring) = other {
            // Without a key that signs, nobody could sign in any more: what was good is better.
            if ring.signer(now.unix_seconds()).is_none() {
                let missing = || FileProblem::new(&own.settings.keys, "holds no key that could sign");
                return Err(tended.problem.unwrap_or_else(missing));
            }
            let ring = Arc::new(ring);
            self.change(|next| next.own = Some(ring));
        }
        tended.problem.map_or(Ok(()), Err)
    }

    /// Forgets the tokens that were verified and have expired; says how many. To be called every half minute or so.
    pub fn sweep(&self, now: Moment) -> usize {
        self.in_force.load().cache.sweep(now.unix_seconds())
    }

    /// Puts the keys of a JWK Set in force, if they are others than before.
    fn take_keys(&self, issuer: &Foreign, index: usize, document: &[u8]) -> Result<(), NotASet> {
        let current = self.in_force.load_full();
        let Some(known) = current.foreign.get(index) else { return Ok(()) };
        if let Some(keys) = issuer.keys(document, known)? {
            let keys = Arc::new(keys);
            self.change(|next| {
                if let Some(place) = next.foreign.get_mut(index) {
                    *place = keys;
                }
            });
        }
        Ok(())
    }

    /// Swaps what is in force for something else, with nothing remembered.
    fn change(&self, change: impl FnOnce(&mut InForce)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.in_force.load_full();
        let mut next = InForce { own: current.own.clone(), foreign: current.foreign.clone(), cache: Cache::new() };
        change(&mut next);
        self.in_force.store(Arc::new(next));
    }
}

/// Wishes for keys to be read again if a token names an unknown one.
fn heard<T>(verdict: Result<T, TokenError>, early: &Early, now: Moment) -> Result<T, TokenError> {
    if matches!(verdict, Err(TokenError::UnknownKey)) {
        early.wish(now);
    }
    verdict
}

/// The signing keys as they are at the start, at least one that signs.
fn first_ring(settings: &TokenSettings, now: Moment) -> Result<Ring, FileProblem> {
    key_files::prepare(&settings.keys)?;
    let tended = keyring::tend(settings, now.unix_seconds());
    let ring = tended.ring.filter(|ring| ring.signer(now.unix_seconds()).is_some());
    match (ring, tended.problem) {
        (Some(ring), None) => Ok(ring),
        (Some(ring), Some(problem)) => {
            tracing::warn!("the signing keys are good, but cannot be tended: {problem}");
            Ok(ring)
        }
        (None, Some(problem)) => Err(problem),
        (None, None) => Err(FileProblem::new(&settings.keys, "holds no key that could sign")),
    }
}

/// The keys of an issuer as they are at the start: those of a file, or none.
fn first_keys(issuer: &Foreign) -> Result<ForeignKeys, FileProblem> {
    let JwksSource::File(file) = &issuer.settings.jwks else { return Ok(ForeignKeys::default()) };
    let document = foreign::read_file(file)?;
    let keys = issuer.keys(&document, &ForeignKeys::default());
    keys.map(Option::unwrap_or_default).map_err(|error| FileProblem::new(file, error.to_string()))
}

#[cfg(test)]
mod tests;
