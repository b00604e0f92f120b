//! Which of several worlds a request is for, production or sandbox say: decided by the host it names and the address it
//! came in at, never by the key.
//!
//! Each environment has its own upstream and its own keys. A key of another environment is unknown here, so that nobody
//! learns that it exists.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::uri::Authority;

use super::upstream::Upstream;
use crate::keys::Key;

/// No environment answers under this host.
#[derive(Debug, thiserror::Error)]
#[error("no environment has this host")]
pub struct Misdirected;

/// One environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name; `None` for the only one of a gateway that knows no environments.
    pub name: Option<Arc<str>>,
    /// How its secrets begin, if that tells them from those of others.
    pub key_prefix: Option<String>,
    /// Where its requests lead.
    pub upstream: Arc<Upstream>,
}

impl Environment {
    /// Says whether a key is one of this environment's.
    #[must_use]
    pub fn accepts(&self, key: &Key, secret: &[u8]) -> bool {
        let prefix = self.key_prefix.as_ref().is_none_or(|prefix| secret.starts_with(prefix.as_bytes()));
        prefix && (self.name.is_none() || key.environment().is_none_or(|own| self.name.as_ref() == Some(own)))
    }
}

/// All environments, and how they are told apart.
#[derive(Clone, Debug, Default)]
pub struct Environments {
    all: Vec<Environment>,
    by_host: HashMap<String, usize>,
    by_suffix: Vec<(String, usize)>,
    by_listener: HashMap<SocketAddr, usize>,
    anywhere: Option<usize>,
}

/// Two environments cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} belongs to two environments")]
pub struct Ambiguous(pub String);

impl Environments {
    /// Adds an environment that answers under `hosts` (`api.example.com`, `*.example.com`) and at `listeners`; without
    /// either it answers wherever no other does.
    ///
    /// # Errors
    ///
    /// [`Ambiguous`] if another one answers there already.
    pub fn add(
        &mut self,
        environment: Environment,
        hosts: &[String],
        listeners: &[SocketAddr],
    ) -> Result<(), Ambiguous> {
        let index = self.all.len();
        for host in hosts {
            let host = host.to_ascii_lowercase();
            let taken = match host.strip_prefix('*') {
                Some(suffix) => {
                    let taken = self.by_suffix.iter().any(|(other, _)| other == suffix);
                    self.by_suffix.push((suffix.to_owned(), index));
                    taken
                }
                None => self.by_host.insert(host.clone(), index).is_some(),
            };
            if taken {
                return Err(Ambiguous(host));
            }
        }
        // The longest suffix is the most specific.
        self.by_suffix.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        for listener in listeners {
            if self.by_listener.insert(*listener, index).is_some() {
                return Err(Ambiguous(listener.to_string()));
            }
        }
        if hosts.is_empty() && listeners.is_empty() && self.anywhere.replace(index).is_some() {
            return Err(Ambiguous("every host".to_owned()));
        }
        self.all.push(environment);
        Ok(())
    }

    /// Finds the environment of a request: by its host, else by the address it came in at, else the one that answers
    /// anywhere.
    ///
    /// # Errors
    ///
    /// [`Misdirected`] if there is none (RFC 9110, section 15.5.20).
    pub fn find(&self, authority: Option<&Authority>, listener: SocketAddr) -> Result<&Environment, Misdirected> {
        let by_host = || {
            if self.by_host.is_empty() && self.by_suffix.is_empty() {
                return None;
            }
            let host = authority?.host().to_ascii_lowercase();
            let host = host.strip_suffix('.').unwrap_or(&host);
            let exact = self.by_host.get(host).copied();
            exact.or_else(|| self.by_suffix.iter().find(|(suffix, _)| host.ends_with(suffix)).map(|(_, index)| *index))
        };
        let index = by_host().or_else(|| self.at_listener(listener)).or(self.anywhere);
        index.and_then(|index| self.all.get(index)).ok_or(Misdirected)
    }

    /// The environment of a listening address, which may stand for every address of its port.
    fn at_listener(&self, listener: SocketAddr) -> Option<usize> {
        let port = listener.port();
        let every = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
        std::iter::once(listener).chain(every).find_map(|address| self.by_listener.get(&address).copied())
    }

    /// Every environment.
    pub fn iter(&self) -> impl Iterator<Item = &Environment> {
        self.all.iter()
    }
}
