//! One key: whom it stands for, what it may do, and for how long.
//!
//! A source (a YAML file today) hands over [`Entry`]s, as an operator wrote them. [`Key::new`] checks an entry and works
//! out everything the road would otherwise have to work out at each request: the values of the identity fields, and
//! the numbers under which limits count.
//!
//! Never in this file: the secret, nor its digest. A [`Key`] may be printed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use ipnet::IpNet;
use jiff::Timestamp;

use super::entry::{Entry, Fault, State};
use crate::moment::Moment;
use crate::secret::counted_as;

/// Whether a key is good at a moment, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// Active, and within its dates.
    Good,
    /// Switched off by the operator.
    Inactive,
    /// Dead for good.
    Revoked,
    /// `expires` is now or in the past.
    Expired,
    /// `not_before` is in the future.
    NotYetValid,
}

impl Standing {
    /// What comes of the operator's decision and the dates at `now`, by the wall clock.
    ///
    /// The decision goes first: a key that is revoked and expired is revoked. A key is good at its `not_before` and no
    /// longer good at its `expires`.
    #[must_use]
    pub fn of(state: State, not_before: Option<Timestamp>, expires: Option<Timestamp>, now: Moment) -> Self {
        match state {
            State::Revoked => return Self::Revoked,
            State::Inactive => return Self::Inactive,
            State::Active => {}
        }
        let now_ns = i128::from(now.unix_ns);
        if expires.is_some_and(|expires| expires.as_nanosecond() <= now_ns) {
            return Self::Expired;
        }
        if not_before.is_some_and(|not_before| not_before.as_nanosecond() > now_ns) {
            return Self::NotYetValid;
        }
        Self::Good
    }

    /// Every standing, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Good, Self::Inactive, Self::Revoked, Self::Expired, Self::NotYetValid];

    /// The word that stands for it in tables and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "active",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

/// The identity of a key as field values, made once and only cloned (a reference count) at each request.
///
/// `None` means that the key has no such thing, and that the upstream gets no such field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityValues {
    /// The id of the key.
    pub key_id: HeaderValue,
    /// The tenant.
    pub tenant: Option<HeaderValue>,
    /// The user.
    pub user: Option<HeaderValue>,
    /// The environment.
    pub environment: Option<HeaderValue>,
    /// The permissions, with one space between any two.
    pub permissions: Option<HeaderValue>,
}

/// Which kind of source a key came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A key file.
    #[default]
    File,
    /// The database.
    Database,
}

/// What a key did. Apart from the key itself: it is written at each request, by all cores, and what the road reads of the
/// key should stay undisturbed in their caches.
#[derive(Debug, Default)]
pub struct Usage {
    /// See [`Usage::last_used_s`].
    last_used_s: AtomicU64,
    /// Requests that nobody has taken yet.
    requests: AtomicU64,
}

impl Usage {
    /// When the key was last used, in whole seconds since the Unix epoch. 0 means never.
    #[must_use]
    pub fn last_used_s(&self) -> u64 {
        self.last_used_s.load(Ordering::Relaxed)
    }

    /// Notes when the key was last used, without counting a request. The time never goes back.
    pub fn recorded(&self, seconds: u64) {
        // Most requests fall into a second that is already noted: reading leaves the cache line as it is.
        if self.last_used_s() < seconds {
            self.last_used_s.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Takes the requests that were counted since this was last called.
    pub(super) fn take_requests(&self) -> u64 {
        // Most keys did nothing, and need not be written to.
        if self.requests.load(Ordering::Relaxed) == 0 { 0 } else { self.requests.swap(0, Ordering::Relaxed) }
    }
}

/// A key: everything about it but its secret.
#[derive(Debug)]
pub struct Key {
    /// Its public name for machines; unique among all keys.
    pub id: Arc<str>,
    /// Its name for people. The id, if none was given.
    pub name: String,
    /// The first characters of the secret, so that its owner recognises it.
    pub prefix: Option<String>,
    /// The tenant it acts in.
    pub tenant: Option<Arc<str>>,
    /// The user it stands for.
    pub user: Option<Arc<str>>,
    /// The environment it is bound to.
    pub environment: Option<Arc<str>>,
    /// What it may do.
    pub permissions: Vec<Arc<str>>,
    /// The sets of permissions it has beside its own.
    pub roles: Vec<Arc<str>>,
    /// What the operator has decided about it.
    pub state: State,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The first instant at which it is no longer good.
    pub expires: Option<Timestamp>,
    /// The first instant at which it is good.
    pub not_before: Option<Timestamp>,
    /// The chain of rotations it belongs to; the id of the first key of the chain. Its own id, if none was given.
    pub lineage: Arc<str>,
    /// Requests per window of the per-key limit that were granted to this key. `None` means the default of the limit.
    pub rate_limit: Option<u64>,
    /// Networks from which it may be used. Empty means from everywhere.
    pub allowed_networks: Vec<IpNet>,
    /// What the operator notes about it. Keygate does nothing with it.
    pub metadata: BTreeMap<String, String>,
    /// The end that a rotation has given it, after which its successor alone is good; `expires` is no later. `None` if
    /// it was not rotated.
    pub retires: Option<Timestamp>,
    /// Which kind of source it came from.
    pub origin: Origin,
    /// What it did. The key that takes its place after a change goes on with the same, see
    /// [`super::store::KeyStore::apply`].
    pub usage: Arc<Usage>,
    /// The lineage as limits count it: the first 16 bytes of its SHA-256.
    pub lineage_hash: u128,
    /// The user as limits count it: the first 16 bytes of its SHA-256.
    pub user_hash: Option<u128>,
    /// What the upstream is told.
    pub identity: IdentityValues,
}

impl Key {
    /// Checks `entry` and works out what the road needs.
    ///
    /// # Errors
    ///
    /// All faults of the entry at once, in the order of its fields.
    pub fn new(entry: Entry) -> Result<Self, Vec<Fault>> {
        let faults = entry.faults();
        if faults.is_empty() { Self::of_checked(entry) } else { Err(faults) }
    }

    /// Like [`Key::new`], for an entry whose [`Entry::faults`] were looked at already.
    pub(super) fn of_checked(entry: Entry) -> Result<Self, Vec<Fault>> {
        // Every string below is visible ASCII by now, so none of these values can fail; if one did, the entry would
        // be refused rather than the field be left out.
        let identity = IdentityValues::of(&entry)
            .map_err(|_| vec![Fault { field: "id".to_owned(), message: "cannot travel in a field".to_owned() }])?;
        let id: Arc<str> = entry.id.into();
        let lineage: Arc<str> = entry.lineage.map_or_else(|| Arc::clone(&id), Into::into);
        Ok(Self {
            name: entry.name.unwrap_or_else(|| id.as_ref().to_owned()),
            prefix: entry.prefix,
            tenant: entry.tenant.map(Into::into),
            user_hash: entry.user.as_deref().map(counted_as),
            user: entry.user.map(Into::into),
            environment: entry.environment.map(Into::into),
            permissions: entry.permissions.into_iter().map(Into::into).collect(),
            roles: entry.roles.into_iter().map(Into::into).collect(),
            state: entry.state,
            created: entry.created,
            expires: entry.expires,
            not_before: entry.not_before,
            lineage_hash: counted_as(&lineage),
            lineage,
            rate_limit: entry.rate_limit,
            allowed_networks: entry.allowed_networks,
            metadata: entry.metadata,
            retires: None,
            origin: Origin::File,
            usage: Arc::default(),
            identity,
            id,
        })
    }

    /// Says whether the key is good at `now`, by the wall clock; see [`Standing::of`].
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        Standing::of(self.state, self.not_before, self.expires, now)
    }

    /// Says whether the key may be used from `address`.
    ///
    /// An IPv4 address in an IPv6 coat (`::ffff:192.0.2.1`) counts as the IPv4 address it is.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_networks.is_empty() || self.allowed_networks.iter().any(|network| network.contains(&address))
    }

    /// Notes a use at `now`, and counts it. The time of last use never goes back, whatever order requests end in.
    pub fn used(&self, now: Moment) {
        self.usage.requests.fetch_add(1, Ordering::Relaxed);
        self.usage.recorded(now.unix_seconds());
    }
}

/// Everything but `usage`, which is not what an operator wrote. Written out so that a new field is not forgotten.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            id,
            name,
            prefix,
            tenant,
            user,
            environment,
            permissions,
            roles,
            state,
            created,
            expires,
            not_before,
            lineage,
            rate_limit,
            allowed_networks,
            metadata,
            retires,
            origin,
            usage: _,
            lineage_hash: _,
            user_hash: _,
            identity: _,
        } = self;
        *id == other.id
            && *name == other.name
            && *prefix == other.prefix
            && *tenant == other.tenant
            && *user == other.user
            && *environment == other.environment
            && *permissions == other.permissions
            && *roles == other.roles
            && *state == other.state
            && *created == other.created
            && *expires == other.expires
            && *not_before == other.not_before
            && *lineage == other.lineage
            && *rate_limit == other.rate_limit
            && *allowed_networks == other.allowed_networks
            && *metadata == other.metadata
            && *retires == other.retires
            && *origin == other.origin
    }
}

impl IdentityValues {
    fn of(entry: &Entry) -> Result<Self, http::header::InvalidHeaderValue> {
        let value = |text: &Option<String>| text.as_deref().map(HeaderValue::from_str).transpose();
        let permissions = (!entry.permissions.is_empty()).then(|| entry.permissions.join(" "));
        Ok(Self {
            key_id: HeaderValue::from_str(&entry.id)?,
            tenant: value(&entry.tenant)?,
            user: value(&entry.user)?,
            environment: value(&entry.environment)?,
            permissions: value(&permissions)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Digest;

    fn entry() -> Entry {
        Entry::new("key_1", Digest::of(b"secret"))
    }

    fn at(seconds: u64) -> Moment {
        Moment { unix_ns: seconds * 1_000_000_000, monotonic_ns: 0 }
    }

    fn second(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn an_entry_with_id_and_digest_alone_is_a_key() {
        let key = Key::new(entry()).unwrap();
        assert_eq!((&*key.id, key.name.as_str(), &*key.lineage), ("key_1", "key_1", "key_1"));
        assert_eq!(key.state, State::Active);
        assert_eq!(key.lineage_hash, counted_as("key_1"));
        assert_eq!(key.user_hash, None);
        assert_eq!(key.usage.last_used_s(), 0);
        assert_eq!(key.identity.key_id, "key_1");
        assert_eq!(key.identity.permissions, None, "no permissions: no field");
    }

    #[test]
    fn the_upstream_is_told_who_it_is() {
        let key = Key::new(Entry {
            tenant: Some("acme".into()),
            user: Some("alice@example.com".into()),
            environment: Some("live".into()),
            permissions: vec!["orders:read".into(), "orders:write".into()],
            ..entry()
        })
        .unwrap();
        assert_eq!(key.identity.tenant.as_ref().unwrap(), "acme");
        assert_eq!(key.identity.user.as_ref().unwrap(), "alice@example.com");
        assert_eq!(key.identity.environment.as_ref().unwrap(), "live");
        assert_eq!(key.identity.permissions.as_ref().unwrap(), "orders:read orders:write");
        assert_eq!(key.user_hash, Some(counted_as("alice@example.com")));
    }

    #[test]
    fn a_rotated_key_is_counted_with_its_predecessor() {
        let first = Key::new(entry()).unwrap();
        let second =
            Key::new(Entry { lineage: Some("key_1".into()), ..Entry::new("key_2", Digest::of(b"2")) }).unwrap();
        assert_eq!(first.lineage_hash, second.lineage_hash);
    }

    #[test]
    fn a_key_is_good_from_its_not_before_until_its_expires() {
        let dated = Entry { not_before: second(100), expires: second(200), ..entry() };
        for (row, state, now, expected) in [
            ("a second too early", State::Active, 99, Standing::NotYetValid),
            ("the first instant", State::Active, 100, Standing::Good),
            ("the last whole second", State::Active, 199, Standing::Good),
            ("the end is not included", State::Active, 200, Standing::Expired),
            ("long after", State::Active, 9_999, Standing::Expired),
            ("switched off goes before dates", State::Inactive, 150, Standing::Inactive),
            ("revoked goes before expired", State::Revoked, 300, Standing::Revoked),
        ] {
            let key = Key::new(Entry { state, ..dated.clone() }).unwrap();
            assert_eq!(key.standing(at(now)), expected, "{row}");
        }
        assert_eq!(Key::new(entry()).unwrap().standing(at(0)), Standing::Good, "no dates: always");
    }

    #[test]
    fn the_last_nanosecond_before_the_end_is_still_good() {
        let key = Key::new(Entry { expires: second(200), ..entry() }).unwrap();
        assert_eq!(key.standing(Moment { unix_ns: 199_999_999_999, monotonic_ns: 0 }), Standing::Good);
        assert_eq!(key.standing(Moment { unix_ns: u64::MAX, monotonic_ns: 0 }), Standing::Expired);
    }

    #[test]
    fn a_key_bound_to_networks_works_from_nowhere_else() {
        let key = Key::new(Entry {
            allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..entry()
        })
        .unwrap();
        for (address, allowed) in [
            ("192.0.2.77", true),
            ("192.0.3.1", false),
            ("::ffff:192.0.2.77", true),
            ("::ffff:192.0.3.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(key.allows_address(address.parse().unwrap()), allowed, "{address}");
        }
        assert!(Key::new(entry()).unwrap().allows_address("203.0.113.9".parse().unwrap()), "unbound: from everywhere");
    }

    #[test]
    fn the_time_of_last_use_never_goes_back() {
        let key = Key::new(entry()).unwrap();
        for seconds in [5, 9, 7] {
            key.used(at(seconds));
        }
        assert_eq!(key.usage.last_used_s(), 9);
        assert_eq!((key.usage.take_requests(), key.usage.take_requests()), (3, 0), "and each use counts once");
    }

    #[test]
    fn a_key_prints_no_digest() {
        let entry = entry();
        let hex = entry.digest.to_hex();
        let printed = format!("{entry:?} {:?}", Key::new(entry.clone()).unwrap());
        assert!(!printed.contains(&hex[..8]));
    }
}
