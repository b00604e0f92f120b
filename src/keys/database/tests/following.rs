//! Who follows the changes of users, logins and sessions knows who is there, against a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::keys::database::{Changes, LoginRecord, NewLogin, NewSession, NewUser, Revision, SessionRecord, UserRecord};

/// One of the things that can happen.
#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Switch(u8, bool),
    Password(u8),
    Begin(u8, u8),
    /// With the token that is good, or not.
    Refresh(u8, bool),
    End(u8),
    Open(u8),
    Revoke(u8),
    Forget,
    /// The reader looks at what is new.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let (user, login, session) = (0..3_u8, 0..4_u8, 0..3_u8);
    prop_oneof![
        2 => user.clone().prop_map(Step::Join),
        1 => user.clone().prop_map(Step::Leave),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, on)| Step::Switch(user, on)),
        1 => user.clone().prop_map(Step::Password),
        4 => (login.clone(), user).prop_map(|(login, user)| Step::Begin(login, user)),
        2 => (login.clone(), any::<bool>()).prop_map(|(login, good)| Step::Refresh(login, good)),
        1 => login.prop_map(Step::End),
        2 => session.clone().prop_map(Step::Open),
        1 => session.prop_map(Step::Revoke),
        1 => Just(Step::Forget),
        3 => Just(Step::Look),
    ]
}

fn name(kind: &str, number: u8) -> String {
    format!("{kind}{number}")
}

/// The model: users with whether they are on, logins with their user, sessions.
#[derive(Default)]
struct Model {
    users: BTreeMap<String, bool>,
    logins: BTreeMap<String, String>,
    sessions: BTreeSet<String>,
}

impl Model {
    fn end_all(&mut self, user: &str) {
        self.logins.retain(|_, of| of != user);
    }

    /// Says whether the step is allowed, and takes it if so.
    fn take(&mut self, step: &Step) -> bool {
        match *step {
            Step::Join(user) => match self.users.entry(name("u", user)) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(true);
                    true
                }
                std::collections::btree_map::Entry::Occupied(_) => false,
            },
            Step::Leave(user) => {
                self.end_all(&name("u", user));
                self.users.remove(&name("u", user)).is_some()
            }
            Step::Switch(user, on) => {
                if !on {
                    self.end_all(&name("u", user));
                }
                self.users.get_mut(&name("u", user)).map(|enabled| *enabled = on).is_some()
            }
            Step::Password(user) => {
                self.end_all(&name("u", user));
                self.users.contains_key(&name("u", user))
            }
            Step::Begin(login, user) => {
                let (login, user) = (name("l", login), name("u", user));
                let allowed = self.users.get(&user) == Some(&true) && !self.logins.contains_key(&login);
                if allowed {
                    self.logins.insert(login, user);
                }
                allowed
            }
            Step::Refresh(login, good) => {
                if !good {
                    self.logins.remove(&name("l", login));
                }
                true
            }
            Step::End(login) => self.logins.remove(&name("l", login)).is_some(),
            Step::Open(session) => self.sessions.insert(name("s", session)),
            Step::Revoke(session) => self.sessions.remove(&name("s", session)),
            Step::Forget | Step::Look => true,
        }
    }
}

fn take(store: &Fixture, step: &Step) -> Result<(), DatabaseError> {
    let step = step.clone();
    store.try_write(0, move |store| match step {
        Step::Join(user) => {
            let id = name("u", user);
            store.create_user(NewUser { login: id.clone(), id, ..NewUser::default() }).map(drop)
        }
        Step::Leave(user) => store.delete_user(&name("u", user)),
        Step::Switch(user, true) => store.enable_user(&name("u", user)).map(drop),
        Step::Switch(user, false) => store.disable_user(&name("u", user)).map(drop),
        Step::Password(user) => store.set_password_hash(&name("u", user), Some("hash")),
        Step::Begin(login, user) => {
            let (id, user) = (name("l", login), name("u", user));
            let refresh = digest("token");
            store.create_login(NewLogin { id, user, refresh, expires: time(60), verified: None }).map(drop)
        }
        Step::Refresh(login, good) => {
            let presented = digest(if good { "token" } else { "another" });
            store.refresh_login(&name("l", login), &presented, digest("token"), time(90)).map(drop)
        }
        Step::End(login) => store.end_login(&name("l", login)).map(drop),
        Step::Open(session) => {
            let id = name("s", session);
            let digest = digest(&id);
            let customer = "c".to_owned();
            let session = NewSession { id, digest, tenant: None, environment: None, customer, expires: time(60) };
            store.create_session(session).map(drop)
        }
        Step::Revoke(session) => store.revoke_session(&name("s", session)).map(drop),
        Step::Forget => store.forget_removals(1),
        Step::Look => Ok(()),
    })
}

/// What a reader knows that does as it is told.
#[derive(Debug, Default, PartialEq)]
struct Known {
    users: BTreeMap<String, UserRecord>,
    logins: BTreeMap<String, LoginRecord>,
    sessions: BTreeMap<Digest, SessionRecord>,
}

impl Known {
    fn take(&mut self, changes: Changes) {
        if changes.whole {
            *self = Self::default();
        }
        self.users.extend(changes.users.upserts.into_iter().map(|user| (user.id.clone(), user)));
        self.logins.extend(changes.logins.upserts.into_iter().map(|login| (login.id.clone(), login)));
        self.sessions.extend(changes.sessions.upserts);
        self.users.retain(|id, _| !changes.users.removals.contains(id));
        self.logins.retain(|id, _| !changes.logins.removals.contains(id));
        self.sessions.retain(|digest, _| !changes.sessions.removals.contains(digest));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens: a reader that takes only the changes knows the same as one that takes everything, and both know
    /// what the model says.
    #[test]
    fn who_follows_the_changes_knows_who_is_there(steps in proptest::collection::vec(step(), 1..60)) {
        let store = Fixture::new();
        let (mut model, mut known, mut revision) = (Model::default(), Known::default(), Revision(0));
        for step in steps.iter().chain([&Step::Look]) {
            let allowed = model.take(step);
            prop_assert_eq!(take(&store, step).is_ok(), allowed, "{:?}", step);
            if !matches!(step, Step::Look) {
                continue;
            }
            let changes = store.database.read_blocking(move |store| store.changes_since(revision)).unwrap();
            revision = changes.revision;
            known.take(changes);
            let all = store.database.read_blocking(|store| store.changes_since(Revision(u64::MAX))).unwrap();
            prop_assert!(all.whole);
            let mut everything = Known::default();
            everything.take(all);
            prop_assert_eq!(&known, &everything);
            let users: BTreeMap<_, _> = known.users.iter().map(|(id, user)| (id.clone(), user.enabled)).collect();
            prop_assert_eq!(&users, &model.users);
            let logins: BTreeMap<_, _> =
                known.logins.iter().map(|(id, login)| (id.clone(), login.user.clone())).collect();
            prop_assert_eq!(&logins, &model.logins);
            let sessions: BTreeSet<_> = known.sessions.values().map(|session| session.id.clone()).collect();
            prop_assert_eq!(&sessions, &model.sessions);
        }
    }
}

#[test]
fn who_cannot_be_understood_is_not_there() {
    let store = Fixture::new();
    for step in [Step::Join(1), Step::Join(2), Step::Begin(1, 1), Step::Open(1)] {
        take(&store, &step).unwrap();
    }
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    let far = i64::MAX;
    for sql in [
        "UPDATE users SET metadata = '{\"a\": 7}', revision = 5 WHERE id = 'u1'".to_owned(),
        format!("UPDATE logins SET expires_us = {far}, revision = 5"),
        format!("UPDATE sessions SET created_us = {far}, revision = 5"),
        "UPDATE counter SET revision = 5".to_owned(),
    ] {
        by_hand.execute(&sql, []).unwrap();
    }
    let since = |since| store.database.read_blocking(move |store| store.changes_since(Revision(since))).unwrap();
    let changes = since(4);
    assert_eq!(
        changes.unusable.iter().map(|one| (one.kind, one.id.as_str())).collect::<Vec<_>>(),
        [("user", "u1"), ("login", "l1"), ("session", "s1")]
    );
    assert_eq!((changes.users.removals, changes.logins.removals), (vec!["u1".to_owned()], vec!["l1".to_owned()]));
    assert!(changes.sessions.removals == [digest("s1")]);
    let all = since(99);
    assert_eq!((all.users.upserts.len(), all.logins.upserts.len(), all.sessions.upserts.len()), (1, 0, 0));
    let ended = store.write(0, |store| store.end_logins_of("u1"));
    assert_eq!(ended, 1, "and can be ended");
}
