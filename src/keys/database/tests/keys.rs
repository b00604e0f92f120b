//! Keys: made, found, listed, changed, switched, deleted; and asked for twice.

use std::collections::BTreeMap;

use super::*;
use crate::keys::Standing;
use crate::keys::database::{AuditFilter, Created, Cursor, KeyFilter, KeyPatch, KeyUsage, NewUser, Page, Rotation};
use crate::keys::entry::State;

fn full(id: &str) -> Entry {
    Entry {
        name: Some("Orders: \"live\" \u{1f511}".into()),
        prefix: Some("kg_live_0123abcd".into()),
        tenant: Some("acme".into()),
        user: Some("alice".into()),
        environment: Some("live".into()),
        permissions: vec!["orders:read".into(), "orders:*".into()],
        roles: vec!["auditor".into()],
        expires: Some(time(3600)),
        not_before: Some(time(10)),
        rate_limit: Some(600),
        allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        metadata: BTreeMap::from([("team".into(), "billing".into())]),
        ..entry(id)
    }
}

#[test]
fn a_key_is_read_back_as_it_was_made() {
    let store = Fixture::new();
    let made = store.create(full("key_1"));
    let expected = KeyRecord {
        id: "key_1".into(),
        name: Some("Orders: \"live\" \u{1f511}".into()),
        prefix: Some("kg_live_0123abcd".into()),
        tenant: Some("acme".into()),
        user: Some("alice".into()),
        environment: Some("live".into()),
        permissions: vec!["orders:read".into(), "orders:*".into()],
        roles: vec!["auditor".into()],
        state: State::Active,
        user_disabled: false,
        created: time(0),
        updated: time(0),
        expires: Some(time(3600)),
        not_before: Some(time(10)),
        lineage: "key_1".into(),
        successor: None,
        retires: None,
        rate_limit: Some(600),
        allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        metadata: BTreeMap::from([("team".into(), "billing".into())]),
        last_used: None,
        revision: crate::keys::database::Revision(1),
    };
    assert_eq!(made, expected);
    let again = Database::open(store.path()).unwrap();
    assert_eq!(again.read_blocking(|store| store.key("key_1")).unwrap(), expected, "another process sees the same");
}

#[test]
fn what_the_road_gets_is_what_a_key_file_would_give() {
    let store = Fixture::new();
    store.create(full("key_1"));
    let mut snapshot = store.database.read_blocking(Reader::snapshot).unwrap();
    let key = snapshot.keys.pop().unwrap();
    assert!(*key.digest() == digest("key_1"));
    let mut of_file = crate::keys::Key::new(Entry { created: Some(time(0)), ..full("key_1") }).unwrap();
    assert_ne!(key, of_file, "they come from elsewhere");
    of_file.origin = crate::keys::Origin::Database;
    assert_eq!(key, of_file);
    assert_ne!(key.retiring(Some(time(0))), of_file);
}

#[test]
fn ids_and_secrets_are_unique_and_faults_are_listed() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    assert_eq!(store.refused(0, |store| store.create_key(entry("key_1"))), "another key has the same id");
    let other = Entry { digest: digest("key_1"), ..entry("key_2") };
    assert_eq!(store.refused(0, |store| store.create_key(other)), "another key has the same secret");
    let bad = Entry { tenant: Some("a b".into()), rate_limit: Some(0), ..entry("key_2") };
    assert_eq!(
        store.refused(0, |store| store.create_key(bad)),
        "tenant: must be 1 to 128 visible ASCII characters without spaces; \
         rate_limit: must be from 1 to 1000000000 requests per window"
    );
    assert_eq!(store.database.read_blocking(|store| store.count_keys(&KeyFilter::default())).unwrap(), 1);
}

#[test]
fn a_change_is_all_or_nothing() {
    let store = Fixture::new();
    let error = store.refused(0, |store| {
        store.create_key(entry("key_1"))?;
        store.create_key(entry("key_1"))
    });
    assert_eq!(error, "another key has the same id");
    let left = store.database.read_blocking(|store| {
        Ok((store.count_keys(&KeyFilter::default())?, store.audit(&AuditFilter::default(), Page::default())?.0.len()))
    });
    assert_eq!(left.unwrap(), (0, 0), "neither the key nor its line in the audit trail");
}

#[test]
fn an_unknown_key_is_said_to_be_unknown_and_not_repeated() {
    let store = Fixture::new();
    let secret = "xy_live_4eC39HqLyjWDarjtT1zdp7dc";
    for error in [
        store.refused(0, move |store| store.revoke_key(secret)),
        store.refused(0, move |store| store.delete_key(secret)),
        store.refused(0, move |store| store.update_key(secret, KeyPatch::default())),
        store.refused(0, move |store| store.key(secret)),
    ] {
        assert_eq!(error, "there is no key with this id");
    }
}

#[test]
fn pages_hold_every_key_once_also_when_others_come_and_go() {
    let store = Fixture::new();
    store.write(0, |store| (0..25).try_for_each(|number| store.create_key(entry(&format!("k{number}"))).map(drop)));
    let page = |cursor: Option<Cursor>| {
        let page = Page { cursor, ..Page::first(10) };
        store.database.read_blocking(move |store| store.keys(&KeyFilter::default(), page)).unwrap()
    };
    let (first, next) = page(None);
    store.write(1, |store| {
        store.delete_key("k3")?;
        store.delete_key("k12")?;
        store.create_key(entry("new")).map(drop)
    });
    let (second, next) = page(Some(next.unwrap().to_string().parse().unwrap()));
    let (third, end) = page(next);
    assert_eq!(end, None);
    let ids: Vec<String> = [first, second, third].concat().into_iter().map(|key| key.id).collect();
    let expected = (0..25).filter(|number| *number != 12).map(|number| format!("k{number}"));
    assert_eq!(ids, expected.chain(["new".to_owned()]).collect::<Vec<_>>());

    let odd = |limit, skip| {
        let page = Page { limit, skip, cursor: None };
        store.database.read_blocking(move |store| store.keys(&KeyFilter::default(), page)).unwrap().0.len()
    };
    assert_eq!((odd(0, 0), odd(u32::MAX, 0), odd(10, 20), odd(10, u32::MAX)), (1, 24, 4, 0));
}

#[test]
fn filters_let_through_what_fits_all_of_them() {
    let store = Fixture::new();
    store.create(full("key_1"));
    store.create(Entry { environment: Some("test".into()), name: Some("100%".into()), ..full("key_2") });
    store.create(Entry { user: Some("bob".into()), lineage: Some("key_1".into()), ..full("key_3") });
    store.write(0, |store| store.revoke_key("key_3"));
    let all = KeyFilter::default;
    let some = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (all(), "key_1 key_2 key_3"),
        (KeyFilter { states: vec![State::Active], ..all() }, "key_1 key_2"),
        (KeyFilter { states: vec![State::Revoked], ..all() }, "key_3"),
        (KeyFilter { environment: some("test"), ..all() }, "key_2"),
        (KeyFilter { tenant: some("acme"), user: some("alice"), ..all() }, "key_1 key_2"),
        (KeyFilter { user: some("Bob"), ..all() }, ""),
        (KeyFilter { lineage: some("key_1"), ..all() }, "key_1 key_3"),
        (KeyFilter { text: some("ORDERS"), ..all() }, "key_1 key_3"),
        (KeyFilter { text: some("0%"), ..all() }, "key_2"),
        (KeyFilter { text: some("%"), ..all() }, "key_2"),
        (KeyFilter { text: some("_2"), ..all() }, "key_2"),
        (KeyFilter { text: some("y_"), ..all() }, "key_1 key_2 key_3"),
        (KeyFilter { text: some("\\"), ..all() }, ""),
        (KeyFilter { text: some("' OR 1=1 --"), ..all() }, ""),
    ] {
        let row = format!("{filter:?}");
        let (found, count) = store
            .database
            .read_blocking(move |store| Ok((store.keys(&filter, Page::default())?.0, store.count_keys(&filter)?)))
            .unwrap();
        let ids: Vec<&str> = found.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids.join(" "), expected, "{row}");
        assert_eq!(count, found.len() as u64, "{row}");
    }
}

#[test]
fn keys_are_listed_by_the_standing_that_they_are_shown_with() {
    let store = Fixture::new();
    let user = |id: &str| NewUser { id: id.into(), login: id.into(), ..NewUser::default() };
    store.write(0, move |store| {
        store.create_user(user("on"))?;
        store.create_user(user("off"))?;
        store.disable_user("off")
    });
    let dates = [(None, None), (Some(10), None), (None, Some(20)), (Some(10), Some(20)), (Some(19), Some(20))];
    for (number, (not_before, expires)) in dates.into_iter().enumerate() {
        for user in ["on", "off", "elsewhere"] {
            for state in State::ALL {
                let entry = entry(&format!("{user}_{number}_{}", state.name()));
                let (not_before, expires) = (not_before.map(time), expires.map(time));
                store.create(Entry { user: Some(user.to_owned()), state, not_before, expires, ..entry });
            }
        }
    }
    let mut seen = 0;
    for seconds in [0, 9, 10, 11, 19, 20, 21, 30, 31] {
        for standings in [&Standing::ALL[..1], &Standing::ALL[1..2], &Standing::ALL[2..], &[]] {
            let (all, found, count) = store
                .database
                .read_blocking(move |store| {
                    let filter =
                        KeyFilter { standings: Some((standings.to_vec(), at(seconds))), ..KeyFilter::default() };
                    let all = store.keys(&KeyFilter::default(), Page::default())?.0;
                    Ok((all, store.keys(&filter, Page::default())?.0, store.count_keys(&filter)?))
                })
                .unwrap();
            let expected: Vec<_> = all.iter().filter(|key| standings.contains(&key.standing(at(seconds)))).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{standings:?} after {seconds} s");
            assert_eq!(count, found.len() as u64);
            seen += found.len();
        }
    }
    assert_eq!(seen, 9 * dates.len() * 9, "each key has one standing at a time");
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let store = Fixture::new();
    let before = store.create(full("key_1"));
    let patch = KeyPatch {
        name: Some(None),
        permissions: Some(vec!["a:b".into()]),
        rate_limit: Some(Some(7)),
        expires: Some(None),
        ..KeyPatch::default()
    };
    let after = store.write(5, |store| store.update_key("key_1", patch));
    let expected = KeyRecord {
        name: None,
        permissions: vec!["a:b".into()],
        rate_limit: Some(7),
        expires: None,
        updated: time(5),
        revision: after.revision,
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert!(after.revision > before.revision);

    let same = store.write(9, |store| store.update_key("key_1", KeyPatch { name: Some(None), ..KeyPatch::default() }));
    assert_eq!(same, expected, "a patch that changes nothing is no change");
    let bad = KeyPatch { roles: Some(vec!["a b".into()]), name: Some(Some("x".into())), ..KeyPatch::default() };
    assert!(store.refused(9, |store| store.update_key("key_1", bad)).starts_with("roles[0]: must be"));
    assert_eq!(store.key("key_1"), expected);

    let (lines, _) =
        store.database.read_blocking(|store| store.audit(&AuditFilter::default(), Page::default())).unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].details["rate_limit"], serde_json::json!({ "from": 600, "to": 7 }));
    assert!(lines[1].details.get("roles").is_none());
}

#[test]
fn revoked_is_final_and_everything_else_is_not() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    assert_eq!(store.write(1, |store| store.deactivate_key("key_1")).state, State::Inactive);
    assert_eq!(store.write(2, |store| store.activate_key("key_1")).state, State::Active);
    let revoked = store.write(3, |store| store.revoke_key("key_1"));
    assert_eq!(revoked.state, State::Revoked);
    assert_eq!(store.refused(4, |store| store.activate_key("key_1")), "the key is revoked, which is final");
    assert_eq!(store.refused(4, |store| store.deactivate_key("key_1")), "the key is revoked, which is final");
    assert_eq!(store.write(4, |store| store.revoke_key("key_1")), revoked, "revoking twice is revoking once");
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    let error = by_hand.execute("UPDATE keys SET state = 'active'", []).unwrap_err().to_string();
    assert!(error.contains("stays revoked"), "{error}");
}

#[test]
fn a_deleted_key_is_gone_with_its_usage_and_its_secret_can_be_used_again() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    let batch = vec![KeyUsage { key: "key_1".into(), last_used_s: NOW_S, requests: 3 }];
    store.write(0, move |store| store.record_usage(&batch));
    store.write(1, |store| store.delete_key("key_1"));
    let usage = store.database.read_blocking(|store| Ok((store.usage("key_1", time(0))?, store.last_used()?)));
    assert_eq!(usage.unwrap(), (vec![], vec![]));
    assert_eq!(store.create(entry("key_1")).last_used, None);
}

#[test]
fn the_same_request_twice_is_one_key() {
    let store = Fixture::new();
    let (request, other) = (digest("request"), digest("other"));
    let ask = |seconds, actor: &str, id: &str, request| {
        let entry = entry(id);
        let what = move |store: &Writer<'_>| store.create_key_once(entry, "token-1", &request);
        store.database.write_blocking(By::api(actor), at(seconds), what)
    };
    let Created::Now(first) = ask(0, "alice", "key_1", request).unwrap() else { panic!("it is the first") };
    let later = 24 * 3600;
    assert_eq!(ask(later - 1, "alice", "key_2", request).unwrap(), Created::Earlier(first));
    assert!(matches!(ask(1, "alice", "key_2", other), Err(DatabaseError::AnotherRequest)));
    assert!(matches!(ask(1, "bob", "key_2", other), Ok(Created::Now(_))), "tokens are the actor's own");
    assert!(matches!(ask(later, "alice", "key_3", other), Ok(Created::Now(_))), "after 24 h it is forgotten");

    store.write(0, |store| store.delete_key("key_3"));
    assert!(matches!(ask(later + 1, "alice", "key_4", other), Err(DatabaseError::NoKey)), "deleted is deleted");
}

#[test]
fn a_request_that_was_refused_may_come_again() {
    let store = Fixture::new();
    let request = digest("request");
    let bad = Entry { tenant: Some("a b".into()), ..entry("key_1") };
    store.refused(0, move |store| store.create_key_once(bad, "token", &request));
    let good = store.write(0, move |store| store.create_key_once(entry("key_1"), "token", &request));
    assert!(matches!(good, Created::Now(_)));
}

/// The key that somebody sees who asks for "my key".
#[test]
fn the_current_key_of_a_user_is_the_newest_that_is_good_and_not_rotated() {
    let store = Fixture::new();
    let current = |environment: Option<&'static str>, seconds| {
        let found = move |store: &Reader| store.current_key_of_user("user_1", environment, at(seconds));
        store.database.read_blocking(found).unwrap().map(|key| key.id)
    };
    let of = |id: &str, environment: Option<&str>| Entry {
        user: Some("user_1".into()),
        environment: environment.map(Into::into),
        ..entry(id)
    };
    assert_eq!(current(None, 0), None);
    store.create(of("anywhere", None));
    store.create(of("live_1", Some("live")));
    store.create(Entry { expires: Some(time(50)), ..of("live_2", Some("live")) });
    store.create(Entry { not_before: Some(time(90)), ..of("later", Some("live")) });
    store.create(of("test", Some("test")));
    store.create(Entry { user: Some("user_2".into()), ..entry("other") });
    for (environment, seconds, expected) in [
        (None, 0, "test"),
        (Some("test"), 0, "test"),
        (Some("live"), 0, "live_2"),
        (Some("live"), 50, "live_1"),
        (Some("live"), 90, "later"),
        (Some("elsewhere"), 0, "anywhere"),
    ] {
        assert_eq!(current(environment, seconds).as_deref(), Some(expected), "{environment:?} at {seconds}");
    }
    let overlap = std::time::Duration::from_secs(10);
    let next = Rotation { id: "test_2".into(), digest: digest("test_2"), prefix: None, overlap, expires: None };
    store.write(0, |store| store.rotate_key("test", next));
    assert_eq!(current(Some("test"), 0).as_deref(), Some("test_2"), "not the one that retires");
    store.write(0, |store| store.deactivate_key("test_2"));
    assert_eq!(current(Some("test"), 0).as_deref(), Some("anywhere"));

    let alice = NewUser { id: "user_1".into(), login: "alice".into(), ..NewUser::default() };
    store.write(0, |store| store.create_user(alice));
    assert!(current(None, 0).is_some());
    store.write(0, |store| store.disable_user("user_1"));
    assert_eq!(current(None, 0), None, "switched off with the user");
}
