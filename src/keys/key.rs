//! One key: whom it stands for, what it may do, and for how long.
//!
//! A source (a YAML file today) hands over [`Entry`]s, as an operator wrote them. [`Key::new`] checks an entry and works
//! out everything the road would otherwise have to work out at each request: the values of the identity fields, and
//! the numbers under which limits count.
//!
//! Never in this file: the secret. A [`Key`] may be printed: of its digest nothing is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use ipnet::IpNet;
use jiff::Timestamp;

use super::entry::{Entry, Fault, State};
use super::sharing::{Grant, Holder, Sharing};
use super::standing::Standing;
use crate::moment::Moment;
use crate::secret::{Digest, counted_as};

/// The identity of a key as field values, made once and only cloned (a reference count) at each request.
///
/// `None` means that the key has no such thing, and that the upstream gets no such field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityValues<'k> {
    /// The id of the key.
    pub key_id: &'k HeaderValue,
    /// The tenant.
    pub tenant: Option<&'k HeaderValue>,
    /// The user.
    pub user: Option<&'k HeaderValue>,
    /// The environment.
    pub environment: Option<&'k HeaderValue>,
    /// The permissions, with one space between any two.
    pub permissions: Option<&'k HeaderValue>,
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
///
/// There may be millions, so most of what a key can have is behind a pointer that it has in any case, and many keys share
/// it; what a text and the value of a field say is there once, as the value.
#[derive(Clone, Debug)]
pub struct Key {
    digest: Digest,
    id: HeaderValue,
    /// See [`Key::lineage_hash`].
    lineage_hash: u128,
    grant: Option<Arc<Grant>>,
    holder: Option<Arc<Holder>>,
    dates: Option<Box<Dates>>,
    notes: Option<Box<Notes>>,
    /// What it did. The key that takes its place after a change goes on with the same, see
    /// [`super::store::KeyStore::apply`].
    pub usage: Arc<Usage>,
    rate_limit: Option<NonZeroU32>,
    /// What the operator has decided about it.
    pub state: State,
    /// Which kind of source it came from.
    pub origin: Origin,
}

/// Moments in the life of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Dates {
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    not_before: Option<Timestamp>,
    retires: Option<Timestamp>,
}

/// What few keys have, or what nobody asks for on the road.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Notes {
    /// Where it is another one than the id.
    name: Option<Box<str>>,
    prefix: Option<Box<str>>,
    /// Where it is another one than the id.
    lineage: Option<Box<str>>,
    allowed_networks: Box<[IpNet]>,
    metadata: BTreeMap<String, String>,
}

impl Key {
    /// Checks `entry` and works out what the road needs.
    ///
    /// # Errors
    ///
    /// All faults of the entry at once, in the order of its fields.
    pub fn new(entry: Entry) -> Result<Self, Vec<Fault>> {
        Self::sharing(entry, &mut Sharing::default())
    }

    /// Like [`Key::new`], for one of many: what is alike is shared with the others.
    pub(super) fn sharing(entry: Entry, sharing: &mut Sharing) -> Result<Self, Vec<Fault>> {
        let faults = entry.faults();
        if faults.is_empty() { Self::of_checked(entry, sharing) } else { Err(faults) }
    }

    /// Like [`Key::sharing`], for an entry whose [`Entry::faults`] were looked at already.
    pub(super) fn of_checked(entry: Entry, sharing: &mut Sharing) -> Result<Self, Vec<Fault>> {
        // Every string is visible ASCII by now, so none of them can fail to become a value; if one did, the entry would
        // be refused rather than the field be left out.
        Self::made_of(entry, sharing)
            .map_err(|_| vec![Fault { field: "id".to_owned(), message: "cannot travel in a field".to_owned() }])
    }

    fn made_of(mut entry: Entry, sharing: &mut Sharing) -> Result<Self, InvalidHeaderValue> {
        let (grant, holder) = (sharing.grant_of(&mut entry)?, sharing.holder_of(&mut entry)?);
        let dates =
            Dates { created: entry.created, expires: entry.expires, not_before: entry.not_before, retires: None };
        let other_than_id = |text: &String| *text != entry.id;
        let notes = Notes {
            name: entry.name.filter(other_than_id).map(Into::into),
            prefix: entry.prefix.map(Into::into),
            lineage: entry.lineage.filter(other_than_id).map(Into::into),
            allowed_networks: entry.allowed_networks.into(),
            metadata: entry.metadata,
        };
        Ok(Self {
            digest: entry.digest,
            lineage_hash: counted_as(notes.lineage.as_deref().unwrap_or(&entry.id)),
            id: HeaderValue::from_str(&entry.id)?,
            grant,
            holder,
            dates: boxed_unless_default(dates),
            notes: boxed_unless_default(notes),
            usage: Arc::default(),
            // A limit that is larger than any that can be granted was refused as a fault.
            rate_limit: entry.rate_limit.and_then(|limit| NonZeroU32::new(u32::try_from(limit).unwrap_or(u32::MAX))),
            state: entry.state,
            origin: Origin::File,
        })
    }

    /// The same key with the end that a rotation has given it.
    pub(super) fn retiring(mut self, retires: Option<Timestamp>) -> Self {
        if retires.is_some() || self.dates.is_some() {
            self.dates.get_or_insert_default().retires = retires;
        }
        self
    }

    /// The SHA-256 of its secret. Prints nothing of itself.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its public name for machines; unique among all keys.
    #[must_use]
    pub fn id(&self) -> &str {
        text_of(&self.id)
    }

    /// [`Key::id`], as quick as can be.
    pub(super) fn id_bytes(&self) -> &[u8] {
        self.id.as_bytes()
    }

    /// Its name for people. The id, if none was given.
    #[must_use]
    pub fn name(&self) -> &str {
        self.noted(|notes| notes.name.as_deref()).unwrap_or_else(|| self.id())
    }

    /// The first characters of the secret, so that its owner recognises it.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.noted(|notes| notes.prefix.as_deref())
    }

    /// The tenant it acts in.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.identity().tenant.map(text_of)
    }

    /// The user it stands for.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.holder.as_ref().map(|holder| text_of(&holder.value))
    }

    /// The environment it is bound to.
    #[must_use]
    pub fn environment(&self) -> Option<&Arc<str>> {
        self.grant.as_ref()?.environment.as_ref()
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> &[Arc<str>] {
        self.grant.as_ref().map_or(&[], |grant| &grant.permissions)
    }

    /// The sets of permissions it has beside its own.
    #[must_use]
    pub fn roles(&self) -> &[Arc<str>] {
        self.grant.as_ref().map_or(&[], |grant| &grant.roles)
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.dates.as_ref()?.created
    }

    /// The first instant at which it is no longer good.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.dates.as_ref()?.expires
    }

    /// The first instant at which it is good.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.dates.as_ref()?.not_before
    }

    /// The end that a rotation has given it, after which its successor alone is good; [`Key::expires`] is no later. `None`
    /// if it was not rotated.
    #[must_use]
    pub fn retires(&self) -> Option<Timestamp> {
        self.dates.as_ref()?.retires
    }

    /// The chain of rotations it belongs to; the id of the first key of the chain. Its own id, if none was given.
    #[must_use]
    pub fn lineage(&self) -> &str {
        self.noted(|notes| notes.lineage.as_deref()).unwrap_or_else(|| self.id())
    }

    /// Requests per window of the per-key limit that were granted to this key. `None` means the default of the limit.
    #[must_use]
    pub fn rate_limit(&self) -> Option<u64> {
        self.rate_limit.map(|limit| limit.get().into())
    }

    /// Networks from which it may be used. Empty means from everywhere.
    #[must_use]
    pub fn allowed_networks(&self) -> &[IpNet] {
        self.notes.as_ref().map_or(&[], |notes| &notes.allowed_networks)
    }

    /// The lineage as limits count it: the first 16 bytes of its SHA-256.
    #[must_use]
    pub const fn lineage_hash(&self) -> u128 {
        self.lineage_hash
    }

    /// The user as limits count it: the first 16 bytes of its SHA-256.
    #[must_use]
    pub fn user_hash(&self) -> Option<u128> {
        self.holder.as_ref().map(|holder| holder.hash)
    }

    /// What the upstream is told.
    #[must_use]
    pub fn identity(&self) -> IdentityValues<'_> {
        let grant = self.grant.as_deref();
        IdentityValues {
            key_id: &self.id,
            tenant: grant.and_then(|grant| grant.tenant.as_ref()),
            user: self.holder.as_ref().map(|holder| &holder.value),
            environment: grant.and_then(|grant| grant.environment_value.as_ref()),
            permissions: grant.and_then(|grant| grant.permissions_value.as_ref()),
        }
    }

    /// Says whether the key is good at `now`, by the wall clock; see [`Standing::of`].
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        Standing::of(self.state, self.not_before(), self.expires(), now)
    }

    /// Says whether the key may be used from `address`.
    ///
    /// An IPv4 address in an IPv6 coat (`::ffff:192.0.2.1`) counts as the IPv4 address it is.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let (address, networks) = (address.to_canonical(), self.allowed_networks());
        networks.is_empty() || networks.iter().any(|network| network.contains(&address))
    }

    /// Notes a use at `now`, and counts it. The time of last use never goes back, whatever order requests end in.
    pub fn used(&self, now: Moment) {
        self.usage.requests.fetch_add(1, Ordering::Relaxed);
        self.usage.recorded(now.unix_seconds());
    }

    fn noted<'k>(&'k self, what: impl FnOnce(&'k Notes) -> Option<&'k str>) -> Option<&'k str> {
        self.notes.as_deref().and_then(what)
    }
}

/// Everything but `usage`, which is not what an operator wrote. Written out so that a new field is not forgotten.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // The hash of the lineage follows from the lineage, which is the id or one of the notes.
        let Self { digest, id, lineage_hash: _, grant, holder, dates, notes, usage: _, rate_limit, state, origin } =
            self;
        *digest == other.digest
            && *id == other.id
            && *grant == other.grant
            && *holder == other.holder
            && *dates == other.dates
            && *notes == other.notes
            && *rate_limit == other.rate_limit
            && *state == other.state
            && *origin == other.origin
    }
}

/// What is as it is by default takes no memory.
fn boxed_unless_default<T: Default + PartialEq>(value: T) -> Option<Box<T>> {
    (value != T::default()).then(|| Box::new(value))
}

/// The text of a value that was made of visible ASCII.
fn text_of(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((key.id(), key.name(), key.lineage()), ("key_1", "key_1", "key_1"));
        assert_eq!(key.state, State::Active);
        assert_eq!(key.lineage_hash(), counted_as("key_1"));
        assert_eq!(key.user_hash(), None);
        assert_eq!(key.usage.last_used_s(), 0);
        assert_eq!(key.identity().key_id, "key_1");
        assert_eq!(key.identity().permissions, None, "no permissions: no field");
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
        assert_eq!(key.identity().tenant.unwrap(), "acme");
        assert_eq!(key.identity().user.unwrap(), "alice@example.com");
        assert_eq!(key.identity().environment.unwrap(), "live");
        assert_eq!(key.identity().permissions.unwrap(), "orders:read orders:write");
        assert_eq!(key.user_hash(), Some(counted_as("alice@example.com")));
    }

    #[test]
    fn a_rotated_key_is_counted_with_its_predecessor() {
        let first = Key::new(entry()).unwrap();
        let second =
            Key::new(Entry { lineage: Some("key_1".into()), ..Entry::new("key_2", Digest::of(b"2")) }).unwrap();
        assert_eq!(first.lineage_hash(), second.lineage_hash());
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

    /// The memory of a key that has an id and a digest, as an allocator without overhead would see it. `jemalloc` has
    /// blocks of 160 bytes, and the next size is 192: a field more costs every key those 32.
    #[test]
    fn a_key_is_small() {
        let counts_of_an_arc = 2 * size_of::<usize>();
        let (key, usage) = (size_of::<Key>() + counts_of_an_arc, size_of::<Usage>() + counts_of_an_arc);
        assert!(key <= 160 && usage <= 32, "{key} and {usage} bytes");
        let key = Key::new(entry()).unwrap();
        assert!(key.grant.is_none() && key.holder.is_none() && key.dates.is_none() && key.notes.is_none());
        let named_as_it_is_called = Entry { name: Some("key_1".into()), lineage: Some("key_1".into()), ..entry() };
        assert_eq!(Key::new(named_as_it_is_called).unwrap().notes, None, "what the id says is not said again");
    }

    #[test]
    fn keys_that_differ_in_anything_are_not_equal() {
        let whole = Entry {
            name: Some("n".into()),
            prefix: Some("p".into()),
            tenant: Some("t".into()),
            user: Some("u".into()),
            environment: Some("e".into()),
            permissions: vec!["a:b".into()],
            roles: vec!["r".into()],
            created: second(1),
            expires: second(3),
            not_before: second(2),
            lineage: Some("l".into()),
            rate_limit: Some(1),
            allowed_networks: vec!["192.0.2.0/24".parse().unwrap()],
            metadata: BTreeMap::from([("m".into(), "x".into())]),
            ..entry()
        };
        let key = Key::new(whole.clone()).unwrap();
        assert_eq!(key, Key::new(whole.clone()).unwrap());
        assert_eq!(
            (key.tenant(), key.user(), key.environment().map(|name| &**name)),
            (Some("t"), Some("u"), Some("e"))
        );
        assert_eq!((key.name(), key.lineage(), key.prefix(), key.rate_limit()), ("n", "l", Some("p"), Some(1)));
        assert_eq!((key.created(), key.not_before(), key.expires()), (second(1), second(2), second(3)));
        for other in [
            Entry { id: "key_2".into(), ..whole.clone() },
            Entry { digest: Digest::of(b"other"), ..whole.clone() },
            Entry { name: None, ..whole.clone() },
            Entry { prefix: None, ..whole.clone() },
            Entry { tenant: None, ..whole.clone() },
            Entry { user: None, ..whole.clone() },
            Entry { environment: None, ..whole.clone() },
            Entry { permissions: Vec::new(), ..whole.clone() },
            Entry { roles: Vec::new(), ..whole.clone() },
            Entry { state: State::Inactive, ..whole.clone() },
            Entry { created: None, ..whole.clone() },
            Entry { expires: None, ..whole.clone() },
            Entry { not_before: None, ..whole.clone() },
            Entry { lineage: None, ..whole.clone() },
            Entry { rate_limit: None, ..whole.clone() },
            Entry { allowed_networks: Vec::new(), ..whole.clone() },
            Entry { metadata: BTreeMap::new(), ..whole.clone() },
        ] {
            assert_ne!(key, Key::new(other.clone()).unwrap(), "{other:?}");
        }
        assert_ne!(key, key.clone().retiring(second(3)));
        assert_ne!(key, Key { origin: Origin::Database, ..key.clone() });
    }
}
