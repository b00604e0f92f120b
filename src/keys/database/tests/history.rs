//! What was, and what has changed since: the audit trail, usage, revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::keys::database::{AuditFilter, Changes, KeyPatch, KeyUsage, NewUser, Page, Revision, Rotation};
use crate::keys::entry::State;
use crate::keys::{Key, KeySet, KeyStore, Origin};

#[test]
fn the_audit_trail_says_who_did_what_when_and_by_which_way() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    store.database.write_blocking(By::cli("root"), at(60), |store| store.revoke_key("key_1")).unwrap();
    let list = |filter: AuditFilter| {
        let (lines, _) = store.database.read_blocking(move |store| store.audit(&filter, Page::default())).unwrap();
        lines
            .iter()
            .map(|line| format!("{} {} {} {} {}", line.at, line.actor, line.channel, line.action, line.subject))
            .collect::<Vec<_>>()
    };
    let created = "2026-11-22T00:00:00Z alice api create key_1".to_owned();
    let revoked = "2026-11-22T00:01:00Z root cli revoke key_1".to_owned();
    assert_eq!(list(AuditFilter::default()), [created.clone(), revoked.clone()]);
    assert_eq!(list(AuditFilter { actor: Some("root".into()), ..Default::default() }), std::slice::from_ref(&revoked));
    assert_eq!(
        list(AuditFilter { action: Some("create".into()), ..Default::default() }),
        std::slice::from_ref(&created)
    );
    assert_eq!(list(AuditFilter { since: Some(time(60)), ..Default::default() }), [revoked]);
    assert_eq!(list(AuditFilter { until: Some(time(60)), ..Default::default() }), [created]);
    assert!(list(AuditFilter { subject: Some("key_2".into()), ..Default::default() }).is_empty());
    assert!(list(AuditFilter { kind: Some("user".into()), ..Default::default() }).is_empty());
}

#[test]
fn the_file_itself_refuses_to_change_the_audit_trail() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    for sql in [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit",
        "REPLACE INTO audit VALUES (1, 0, 0, 'a', 'a', 'a', 'a', 'a', '{}')",
    ] {
        let error = by_hand.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    by_hand.execute("INSERT INTO audit VALUES (NULL, 0, 0, 'a', 'a', 'a', 'a', 'a', '{}')", []).unwrap();
}

#[test]
fn usage_adds_up_by_day_and_last_use_never_goes_back() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    let used = |key: &str, seconds: u64, requests| KeyUsage { key: key.into(), last_used_s: NOW_S + seconds, requests };
    let day = 86_400;
    let batch = vec![used("key_1", 10, 5), used("of_a_file", 20, 7)];
    store.write(30, move |store| store.record_usage(&batch));
    let batch = vec![used("key_1", day - 1, 2), used("key_1", day, 4), used("key_1", 5, 1)];
    store.write(day, move |store| store.record_usage(&batch));
    let (key, days, since, all) = store
        .database
        .read_blocking(move |store| {
            let since = store.usage("key_1", time(day + 3600))?;
            Ok((store.key("key_1")?, store.usage("key_1", time(0))?, since, store.last_used()?))
        })
        .unwrap();
    assert_eq!(key.last_used, Some(time(day)));
    assert_eq!(days.iter().map(|day| (day.day, day.requests)).collect::<Vec<_>>(), [(time(0), 8), (time(day), 4)]);
    assert_eq!(since.len(), 1, "from the whole day on");
    assert_eq!(all, [("key_1".to_owned(), NOW_S + day), ("of_a_file".to_owned(), NOW_S + 20)]);
    let after = store.database.read_blocking(|store| Ok((store.revision()?, store.snapshot()?))).unwrap();
    assert_eq!(after.0, Revision(1), "usage is no change of a key");
    assert_eq!(after.1.keys[0].usage.last_used_s(), NOW_S + day, "and is known after a restart");

    store.write(401 * day, |store| store.record_usage(&[]));
    assert_eq!(store.database.read_blocking(move |store| store.usage("key_1", time(0))).unwrap().len(), 1);
}

#[test]
fn a_reader_takes_only_what_has_changed() {
    let store = Fixture::new();
    for id in ["a", "b", "c"] {
        store.create(entry(id));
    }
    let start = store.database.read_blocking(Reader::snapshot).unwrap();
    assert_eq!((start.revision, start.keys.len()), (Revision(3), 3));
    let since = |revision| store.database.read_blocking(move |store| store.changes_since(revision)).unwrap();
    let ids = |changes: &Changes| changes.keys.upserts.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>();
    let none = since(start.revision);
    assert!(none.keys.upserts.is_empty() && none.keys.removals.is_empty() && !none.whole);

    store.write(1, |store| store.revoke_key("b"));
    store.write(2, |store| store.delete_key("c"));
    let changes = since(start.revision);
    assert_eq!((changes.revision, ids(&changes), changes.whole), (Revision(5), vec!["b".to_owned()], false));
    assert!(changes.keys.removals == [digest("c")]);

    let again = Entry { digest: digest("c"), ..entry("d") };
    store.create(again);
    let changes = since(start.revision);
    assert_eq!(ids(&changes), ["b", "d"]);
    assert!(changes.keys.removals.is_empty(), "the secret belongs to another key now");
    assert!(since(Revision(99)).whole, "a revision of another store");
}

#[test]
fn who_has_missed_too_many_deletions_takes_all_keys_anew() {
    let store = Fixture::new();
    for id in ["a", "b", "c", "d"] {
        store.create(entry(id));
    }
    for id in ["a", "b", "c"] {
        store.write(0, move |store| store.delete_key(id));
    }
    store.write(0, |store| store.forget_removals(2));
    let since = |revision| store.database.read_blocking(move |store| store.changes_since(Revision(revision))).unwrap();
    let old = since(4);
    assert_eq!((old.whole, old.keys.upserts.len(), old.keys.removals.len()), (true, 1, 0));
    let young = since(5);
    assert_eq!((young.whole, young.keys.upserts.len(), young.keys.removals.len()), (false, 0, 2));
}

#[test]
fn a_key_that_cannot_be_understood_opens_nothing() {
    let store = Fixture::new();
    store.create(Entry { allowed_networks: vec!["192.0.2.0/24".parse().unwrap()], ..entry("a") });
    store.create(entry("b"));
    store.create(entry("c"));
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    by_hand.execute("UPDATE keys SET allowed_networks = '[\"everywhere\"]', revision = 4 WHERE id = 'a'", []).unwrap();
    by_hand.execute("UPDATE keys SET tenant = 'a b', revision = 4 WHERE id = 'b'", []).unwrap();
    by_hand.execute("UPDATE counter SET revision = 4", []).unwrap();
    let (snapshot, changes) =
        store.database.read_blocking(|store| Ok((store.snapshot()?, store.changes_since(Revision(3))?))).unwrap();
    assert_eq!((snapshot.keys.len(), snapshot.unusable), (1, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((changes.keys.upserts.len(), changes.keys.removals.len()), (0, 2));
    assert_eq!(
        store.refused(0, |store| store.key("a")),
        "the store holds something that cannot be understood, in the row of a"
    );
    for sql in ["UPDATE keys SET state = 'x'", "UPDATE keys SET digest = x'00'", "UPDATE keys SET roles = '{}'"] {
        assert!(by_hand.execute(sql, []).is_err(), "{sql}");
    }
}

/// One of the things that can happen to a store.
#[derive(Clone, Debug)]
enum Step {
    Create(u8, Option<u8>),
    Delete(u8),
    Switch(u8, State),
    Rename(u8, u8),
    Rotate(u8, u8),
    User(u8, bool),
    Forget,
    /// The reader looks at what is new.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_u8;
    let state = prop_oneof![Just(State::Active), Just(State::Inactive), Just(State::Revoked)];
    prop_oneof![
        3 => (key.clone(), proptest::option::of(0..2_u8)).prop_map(|(key, user)| Step::Create(key, user)),
        3 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), state).prop_map(|(key, state)| Step::Switch(key, state)),
        1 => (key.clone(), 0..3_u8).prop_map(|(key, name)| Step::Rename(key, name)),
        1 => (key.clone(), key).prop_map(|(from, to)| Step::Rotate(from, to)),
        1 => (0..2_u8, any::<bool>()).prop_map(|(user, enabled)| Step::User(user, enabled)),
        1 => Just(Step::Forget),
        3 => Just(Step::Look),
    ]
}

/// A key as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Modelled {
    state: State,
    user: Option<u8>,
    name: Option<u8>,
    rotated: bool,
}

/// What should come of the steps, written down as simply as possible.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u8, Modelled>,
    successors: BTreeMap<u8, u8>,
    disabled: [bool; 2],
}

impl Model {
    /// Says whether the step is allowed, and takes it if so.
    fn take(&mut self, step: &Step) -> bool {
        match *step {
            Step::Create(key, user) => {
                let new = Modelled { state: State::Active, user, name: None, rotated: false };
                if self.keys.contains_key(&key) {
                    return false;
                }
                self.keys.insert(key, new);
                true
            }
            Step::Delete(key) => {
                self.successors.retain(|from, to| *from != key && *to != key);
                self.keys.remove(&key).is_some()
            }
            Step::Switch(key, state) => match self.keys.get_mut(&key) {
                Some(key) if key.state != State::Revoked || state == State::Revoked => {
                    key.state = state;
                    true
                }
                Some(_) | None => false,
            },
            Step::Rename(key, name) => self.keys.get_mut(&key).map(|key| key.name = Some(name)).is_some(),
            Step::Rotate(from, to) => {
                let Some(old) = self.keys.get(&from).cloned() else { return false };
                let good = self.effective(&old) == State::Active;
                if !good || self.successors.contains_key(&from) || self.keys.contains_key(&to) {
                    return false;
                }
                self.keys.insert(to, Modelled { rotated: false, ..old });
                self.keys.entry(from).and_modify(|key| key.rotated = true);
                self.successors.insert(from, to);
                true
            }
            Step::User(user, enabled) => {
                self.disabled[usize::from(user)] = !enabled;
                true
            }
            Step::Forget | Step::Look => true,
        }
    }

    fn effective(&self, key: &Modelled) -> State {
        let disabled = key.user.is_some_and(|user| self.disabled[usize::from(user)]);
        if disabled && key.state == State::Active { State::Inactive } else { key.state }
    }
}

fn name_of(key: u8) -> String {
    format!("k{key}")
}

fn take(store: &Fixture, step: &Step) -> Result<(), DatabaseError> {
    let step = step.clone();
    store.try_write(0, move |store| match step {
        Step::Create(key, user) => {
            let user = user.map(|user| format!("u{user}"));
            store.create_key(Entry { user, ..entry(&name_of(key)) }).map(drop)
        }
        Step::Delete(key) => store.delete_key(&name_of(key)),
        Step::Switch(key, State::Active) => store.activate_key(&name_of(key)).map(drop),
        Step::Switch(key, State::Inactive) => store.deactivate_key(&name_of(key)).map(drop),
        Step::Switch(key, State::Revoked) => store.revoke_key(&name_of(key)).map(drop),
        Step::Rename(key, name) => {
            let patch = KeyPatch { name: Some(Some(format!("n{name}"))), ..KeyPatch::default() };
            store.update_key(&name_of(key), patch).map(drop)
        }
        Step::Rotate(from, to) => {
            let overlap = std::time::Duration::from_secs(60);
            let (id, digest) = (name_of(to), digest(&name_of(to)));
            store.rotate_key(&name_of(from), Rotation { id, digest, prefix: None, overlap, expires: None }).map(drop)
        }
        Step::User(user, true) => store.enable_user(&format!("u{user}")).map(drop),
        Step::User(user, false) => store.disable_user(&format!("u{user}")).map(drop),
        Step::Forget => store.forget_removals(1),
        Step::Look => Ok(()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens to the store: a reader that takes only the changes knows the same as one that reads everything,
    /// and both know what the model says.
    #[test]
    fn who_follows_the_changes_knows_what_is_there(steps in proptest::collection::vec(step(), 1..50)) {
        let store = Fixture::new();
        let mut model = Model::default();
        store.write(0, |store| (0..2).try_for_each(|user| {
            store.create_user(NewUser { id: format!("u{user}"), login: format!("l{user}"), ..NewUser::default() }).map(drop)
        }));
        let road = KeyStore::new();
        let mut known = Revision(0);
        for step in steps.iter().chain([&Step::Look]) {
            let before = store.database.read_blocking(Reader::revision).unwrap();
            let allowed = model.take(step);
            prop_assert_eq!(take(&store, step).is_ok(), allowed, "{:?}", step);
            let after = store.database.read_blocking(Reader::revision).unwrap();
            prop_assert!(after >= before && (allowed || after == before));
            if !matches!(step, Step::Look) {
                continue;
            }
            let since = known;
            let changes = store.database.read_blocking(move |store| store.changes_since(since)).unwrap();
            known = changes.revision;
            let (_, clashes) = road.change(changes.keys, changes.whole);
            prop_assert!(clashes.is_empty());

            let all = KeyStore::new();
            let snapshot = store.database.read_blocking(Reader::snapshot).unwrap();
            let mut set = KeySet::new();
            for key in snapshot.keys {
                set.insert(key).unwrap();
            }
            all.apply_from(Origin::Database, set).unwrap();
            prop_assert_eq!((road.len(), all.len()), (model.keys.len(), model.keys.len()));
            for (name, modelled) in &model.keys {
                let id = name_of(*name);
                let digest = digest(&id);
                let found: Option<Arc<Key>> = road.find(&digest);
                prop_assert_eq!(&found, &all.find(&digest));
                let key = found.unwrap();
                prop_assert_eq!(key.id(), id.as_str());
                prop_assert_eq!(key.state, model.effective(modelled));
                prop_assert_eq!(key.retires().is_some(), modelled.rotated);
                let expected = modelled.name.map_or(id, |name| format!("n{name}"));
                prop_assert_eq!(key.name(), expected);
            }
        }
    }
}
