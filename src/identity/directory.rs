//! Where the road finds users, logins and sessions.
//!
//! Concurrent maps, as the keys have one. Only the control plane writes, by [`Directory::change`], and only what has
//! changed: what is new is put in first, then what is gone is taken out. At no instant is something missing that was there
//! before and shall be there afterwards.
//!
//! Never in this file: where all this comes from, and whether a login or a session that was found is over: whoever asks
//! has a moment to compare with.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use http::HeaderValue;

use super::user::{NotAField, User};
use crate::capacity::is_excessive;
use crate::moment::Moment;
use crate::secret::{Digest, DigestState};

/// Parts of each map, each with a lock of its own.
const SHARDS: usize = 64;

/// A login: a user who has given the password, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its name for machines.
    pub id: Arc<str>,
    /// The id of the user.
    pub user: Arc<str>,
    /// The first whole second since the Unix epoch at which it is over.
    pub expires_s: u64,
}

impl Login {
    /// Says whether it is over.
    #[must_use]
    pub const fn is_over(&self, now: Moment) -> bool {
        now.unix_seconds() >= self.expires_s
    }
}

/// A session: a customer who sees what is the customer's, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name for machines.
    pub id: Arc<str>,
    /// The tenant it acts in.
    pub tenant: Option<Arc<str>>,
    /// The environment it is bound to.
    pub environment: Option<Arc<str>>,
    /// The customer it is for.
    pub customer: Arc<str>,
    /// The tenant as the value of a field.
    pub tenant_value: Option<HeaderValue>,
    /// The environment as the value of a field.
    pub environment_value: Option<HeaderValue>,
    /// The customer as the value of a field.
    pub customer_value: HeaderValue,
    /// The first whole second since the Unix epoch at which it is over.
    pub expires_s: u64,
}

/// A session as it was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenSession {
    /// Its name for machines.
    pub id: String,
    /// The tenant it acts in.
    pub tenant: Option<String>,
    /// The environment it is bound to.
    pub environment: Option<String>,
    /// The customer it is for.
    pub customer: String,
    /// The first whole second since the Unix epoch at which it is over.
    pub expires_s: u64,
}

impl Session {
    /// Works out what the road needs.
    ///
    /// # Errors
    ///
    /// [`NotAField`] if the tenant, the environment or the customer has characters that no field may have, or none at all.
    pub fn new(written: WrittenSession) -> Result<Self, NotAField> {
        let WrittenSession { id, tenant, environment, customer, expires_s } = written;
        let value = |what, text: &str| match HeaderValue::from_str(text) {
            Ok(value) if !text.is_empty() => Ok(value),
            Ok(_) | Err(_) => Err(NotAField(what)),
        };
        Ok(Self {
            tenant_value: tenant.as_deref().map(|tenant| value("the tenant", tenant)).transpose()?,
            environment_value: environment.as_deref().map(|name| value("the environment", name)).transpose()?,
            customer_value: value("the customer", &customer)?,
            id: id.into(),
            tenant: tenant.map(Into::into),
            environment: environment.map(Into::into),
            customer: customer.into(),
            expires_s,
        })
    }

    /// Says whether it is over.
    #[must_use]
    pub const fn is_over(&self, now: Moment) -> bool {
        now.unix_seconds() >= self.expires_s
    }
}

/// What has changed.
#[derive(Debug, Default)]
pub struct Update {
    /// What is put in is all there is; everything else is gone.
    pub whole: bool,
    /// Users who are new or changed.
    pub users: Vec<User>,
    /// The ids of users who are gone.
    pub users_gone: Vec<String>,
    /// Logins that are new or changed.
    pub logins: Vec<Login>,
    /// The ids of logins that have ended.
    pub logins_gone: Vec<String>,
    /// Sessions that are new, with the SHA-256 of their tokens.
    pub sessions: Vec<(Digest, Session)>,
    /// The SHA-256 of the tokens that open nothing any more.
    pub sessions_gone: Vec<Digest>,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Users, whether or not they are switched on.
    pub users: usize,
    /// Logins.
    pub logins: usize,
    /// Sessions.
    pub sessions: usize,
}

/// All users, logins and sessions that a process knows.
pub struct Directory {
    users: DashMap<Arc<str>, Arc<User>>,
    logins: DashMap<Arc<str>, Arc<Login>>,
    sessions: DashMap<Digest, Arc<Session>, DigestState>,
    /// Held by whoever writes: two changes must not mix.
    writing: Mutex<()>,
}

impl Directory {
    /// An empty one: nobody is there.
    #[must_use]
    pub fn new() -> Self {
        Self { users: map(), logins: map(), sessions: map(), writing: Mutex::new(()) }
    }

    /// The user with this id, whether or not switched on.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<Arc<User>> {
        self.users.get(id).map(|user| Arc::clone(&user))
    }

    /// The login with this id, unless it has ended. It may be over.
    #[must_use]
    pub fn login(&self, id: &str) -> Option<Arc<Login>> {
        self.logins.get(id).map(|login| Arc::clone(&login))
    }

    /// The session whose token has this digest, unless it was revoked. It may be over.
    #[must_use]
    pub fn session(&self, digest: &Digest) -> Option<Arc<Session>> {
        self.sessions.get(digest).map(|session| Arc::clone(&session))
    }

    /// Takes on what has changed. When this returns, nothing that is gone is found any more.
    pub fn change(&self, update: Update) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Update { whole, users, users_gone, logins, logins_gone, sessions, sessions_gone } = update;
        let users = users.into_iter().map(|user| (Arc::clone(&user.id), user));
        let logins = logins.into_iter().map(|login| (Arc::clone(&login.id), login));
        exchange(&self.users, users, &users_gone.into_iter().map(Into::into).collect::<Vec<_>>(), whole);
        exchange(&self.logins, logins, &logins_gone.into_iter().map(Into::into).collect::<Vec<_>>(), whole);
        exchange(&self.sessions, sessions.into_iter(), &sessions_gone, whole);
    }

    /// Takes out logins and sessions that are over; says how many it were. Walks over all of them, a part at a time.
    pub fn sweep(&self, now: Moment) -> usize {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&self.logins, |login| login.is_over(now)) + sweep(&self.sessions, |session| session.is_over(now))
    }

    /// How many there are. What is over and not yet swept is counted, too.
    #[must_use]
    pub fn population(&self) -> Population {
        Population { users: self.users.len(), logins: self.logins.len(), sessions: self.sessions.len() }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.population().fmt(f)
    }
}

fn map<K: Eq + Hash, V, S: BuildHasher + Clone + Default>() -> DashMap<K, V, S> {
    DashMap::with_capacity_and_hasher_and_shard_amount(0, S::default(), SHARDS)
}

/// Takes out what is over, and says how much that was. Nobody else may write meanwhile.
fn sweep<K, V, S>(map: &DashMap<K, Arc<V>, S>, is_over: impl Fn(&V) -> bool) -> usize
where
    K: Eq + Hash,
    S: BuildHasher + Clone,
{
    let before = map.len();
    map.retain(|_, value| !is_over(value));
    if is_excessive(map.capacity(), before) {
        map.shrink_to_fit();
    }
    before - map.len()
}

/// Puts in first, then takes out.
fn exchange<K, V, S>(map: &DashMap<K, Arc<V>, S>, new: impl Iterator<Item = (K, V)>, gone: &[K], whole: bool)
where
    K: Eq + Hash + Clone,
    S: BuildHasher + Clone,
{
    let mut named: HashSet<K, RandomState> = HashSet::default();
    for (name, value) in new {
        if whole {
            named.insert(name.clone());
        }
        map.insert(name, Arc::new(value));
    }
    if whole {
        map.retain(|name, _| named.contains(name));
    }
    for name in gone {
        map.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::super::user::Written;
    use super::*;

    fn user(id: &str, enabled: bool) -> User {
        User::new(Written { id: id.to_owned(), enabled, ..Written::default() }).unwrap()
    }

    fn login(id: &str, expires_s: u64) -> Login {
        Login { id: id.into(), user: "u1".into(), expires_s }
    }

    /// A session whose token is its id.
    fn session(id: &str, expires_s: u64) -> (Digest, Session) {
        let written = WrittenSession { id: id.to_owned(), customer: "c".to_owned(), expires_s, ..Default::default() };
        (Digest::of(id.as_bytes()), Session::new(written).unwrap())
    }

    fn at(seconds: u64) -> Moment {
        Moment { unix_ns: seconds * 1_000_000_000, monotonic_ns: 0 }
    }

    /// Which of these are found.
    fn found(directory: &Directory, names: [&str; 6]) -> [bool; 6] {
        let [u1, u2, l1, l2, s1, s2] = names;
        [
            directory.user(u1).is_some(),
            directory.user(u2).is_some(),
            directory.login(l1).is_some(),
            directory.login(l2).is_some(),
            directory.session(&Digest::of(s1.as_bytes())).is_some(),
            directory.session(&Digest::of(s2.as_bytes())).is_some(),
        ]
    }

    #[test]
    fn the_room_of_many_sessions_is_given_back_at_the_second_sweep() {
        let directory = Directory::new();
        let many = (0..10_000).map(|number| session(&number.to_string(), 100)).chain([session("stays", 1_000)]);
        let logins = (0..10_000).map(|number| login(&number.to_string(), 100)).collect();
        directory.change(Update { sessions: many.collect(), logins, ..Update::default() });
        assert_eq!(directory.sweep(at(100)), 20_000);
        assert_eq!(directory.sweep(at(130)), 0);
        assert!(directory.sessions.capacity() < 100 && directory.logins.capacity() == 0);
        assert!(directory.session(&Digest::of(b"stays")).is_some());
    }

    const NAMES: [&str; 6] = ["u1", "u2", "l1", "l2", "s1", "s2"];

    fn filled() -> Directory {
        let directory = Directory::new();
        directory.change(Update {
            users: vec![user("u1", true), user("u2", true)],
            logins: vec![login("l1", 100), login("l2", 200)],
            sessions: vec![session("s1", 100), session("s2", 200)],
            ..Update::default()
        });
        directory
    }

    #[test]
    fn what_is_put_in_is_found_until_it_is_gone() {
        let directory = filled();
        assert_eq!(found(&directory, NAMES), [true; 6]);
        directory.change(Update {
            users: vec![user("u2", false)],
            users_gone: vec!["u1".to_owned()],
            logins: vec![login("l2", 300)],
            logins_gone: vec!["l1".to_owned(), "none".to_owned()],
            sessions_gone: vec![Digest::of(b"s1")],
            ..Update::default()
        });
        assert_eq!(found(&directory, NAMES), [false, true, false, true, false, true]);
        assert!(!directory.user("u2").unwrap().enabled);
        assert_eq!(directory.login("l2").unwrap().expires_s, 300);
        assert_eq!(directory.population(), Population { users: 1, logins: 1, sessions: 1 });
    }

    #[test]
    fn a_whole_update_leaves_nothing_else() {
        let directory = filled();
        directory.change(Update { whole: true, users: vec![user("u2", true)], ..Update::default() });
        assert_eq!(found(&directory, NAMES), [false, true, false, false, false, false]);
    }

    #[test]
    fn what_is_over_is_swept_and_can_be_told_before() {
        let directory = filled();
        let over = |now| {
            [directory.login("l1").unwrap().is_over(now), directory.session(&Digest::of(b"s1")).unwrap().is_over(now)]
        };
        assert_eq!((over(at(99)), over(at(100))), ([false; 2], [true; 2]));
        assert_eq!(directory.sweep(at(99)), 0);
        assert_eq!(directory.sweep(at(100)), 2);
        assert_eq!(found(&directory, NAMES), [true, true, false, true, false, true]);
    }

    #[test]
    fn nobody_is_missing_while_everybody_is_changed() {
        let directory = filled();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while !done.load(Ordering::Relaxed) || looks == 0 {
                    assert_eq!(found(&directory, NAMES), [true; 6]);
                    looks += 1;
                }
                looks
            });
            for round in 0..500_u64 {
                directory.change(Update {
                    whole: round % 2 == 0,
                    users: vec![user("u1", round % 3 == 0), user("u2", true)],
                    logins: vec![login("l1", round), login("l2", round)],
                    sessions: vec![session("s1", round), session("s2", round)],
                    ..Update::default()
                });
            }
            done.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }

    #[test]
    fn a_session_carries_the_values_of_its_fields() {
        let written = WrittenSession {
            id: "s1".to_owned(),
            tenant: Some("acme".to_owned()),
            environment: Some("live".to_owned()),
            customer: "cust 1".to_owned(),
            expires_s: 7,
        };
        let session = Session::new(written.clone()).unwrap();
        assert_eq!(session.tenant_value.unwrap(), "acme");
        assert_eq!(session.environment_value.unwrap(), "live");
        assert_eq!(session.customer_value, "cust 1");
        for (wrong, what) in [
            (WrittenSession { customer: String::new(), ..written.clone() }, "the customer"),
            (WrittenSession { tenant: Some("a\r\nb".to_owned()), ..written.clone() }, "the tenant"),
            (WrittenSession { environment: Some(String::new()), ..written }, "the environment"),
        ] {
            assert_eq!(Session::new(wrong), Err(NotAField(what)));
        }
    }
}
