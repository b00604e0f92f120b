//! Users, and what becomes of their keys.

use super::*;
use crate::keys::Standing;
use crate::keys::database::{AuditFilter, NewUser, Page, UserFilter, UserPatch, UserRecord};
use crate::keys::entry::State;

fn user(id: &str, login: &str) -> NewUser {
    NewUser { id: id.into(), login: login.into(), ..NewUser::default() }
}

fn standing_on_the_road(store: &Fixture, id: &str) -> Standing {
    let snapshot = store.database.read_blocking(Reader::snapshot).unwrap();
    snapshot.keys.iter().find(|key| key.id() == id).unwrap().standing(at(0))
}

#[test]
fn a_user_is_found_by_id_and_by_login_in_any_case() {
    let store = Fixture::new();
    let new = NewUser {
        name: Some("Alice A.".into()),
        tenant: Some("acme".into()),
        permissions: vec!["a:b".into()],
        roles: vec!["admin".into()],
        ..user("user_1", "Alice@Example.com")
    };
    let made = store.write(0, |store| store.create_user(new));
    let found = |text: &'static str| store.database.read_blocking(move |store| store.user_by_id_or_login(text));
    assert_eq!(found("user_1").unwrap(), made);
    assert_eq!(found("alice@example.COM").unwrap(), made);
    assert_eq!((made.enabled, made.has_password, made.created), (true, false, time(0)));
    assert_eq!(found("alice").unwrap_err().to_string(), "there is no such user");
}

#[test]
fn ids_and_logins_are_unique_and_faults_are_listed() {
    let store = Fixture::new();
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    for (id, login) in [("user_1", "bob"), ("user_2", "alice"), ("user_2", "ALICE")] {
        let error = store.refused(0, move |store| store.create_user(user(id, login)));
        assert_eq!(error, "another user has the same id or login");
    }
    let error = store.refused(0, |store| store.create_user(user("user_2", "a b")));
    assert_eq!(error, "login: must be 1 to 128 visible ASCII characters without spaces");
    store.write(0, |store| store.create_user(user("user_2", "bob")));
    let taken = UserPatch { login: Some("Alice".into()), ..UserPatch::default() };
    assert_eq!(store.refused(0, |store| store.update_user("user_2", taken)), "another user has the same id or login");
    let own = UserPatch { login: Some("BOB".into()), tenant: Some(Some("acme".into())), ..UserPatch::default() };
    let changed = store.write(3, |store| store.update_user("user_2", own));
    assert_eq!((changed.login.as_str(), changed.tenant.as_deref(), changed.updated), ("BOB", Some("acme"), time(3)));
}

#[test]
fn users_are_listed_in_pages_and_by_filter() {
    let store = Fixture::new();
    store.write(0, |store| {
        for number in 0..5 {
            store.create_user(user(&format!("user_{number}"), &format!("login{number}")))?;
        }
        store.disable_user("user_3")
    });
    let list = |filter: UserFilter, page| {
        let (users, next) = store.database.read_blocking(move |store| store.users(&filter, page)).unwrap();
        (users.into_iter().map(|user: UserRecord| user.id).collect::<Vec<_>>().join(" "), next)
    };
    let (first, next) = list(UserFilter::default(), Page::first(3));
    assert_eq!(first, "user_0 user_1 user_2");
    let (rest, end) = list(UserFilter::default(), Page { cursor: next, ..Page::first(3) });
    assert_eq!((rest.as_str(), end), ("user_3 user_4", None));
    assert_eq!(list(UserFilter { enabled: Some(false), ..UserFilter::default() }, Page::default()).0, "user_3");
    let text = UserFilter { text: Some("LOGIN4".into()), ..UserFilter::default() };
    assert_eq!(list(text, Page::default()).0, "user_4");
}

#[test]
fn a_disabled_user_takes_all_keys_along_until_enabled() {
    let store = Fixture::new();
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    store.create(Entry { user: Some("user_1".into()), ..entry("key_1") });
    store.create(Entry { user: Some("user_1".into()), ..entry("key_2") });
    store.create(entry("key_3"));
    store.write(0, |store| store.revoke_key("key_2"));
    let before = store.database.read_blocking(Reader::revision).unwrap();

    store.write(1, |store| store.disable_user("user_1"));
    let key = store.key("key_1");
    assert_eq!((key.state, key.user_disabled, key.effective_state()), (State::Active, true, State::Inactive));
    assert_eq!(standing_on_the_road(&store, "key_1"), Standing::Inactive);
    assert_eq!(standing_on_the_road(&store, "key_2"), Standing::Revoked);
    assert_eq!(standing_on_the_road(&store, "key_3"), Standing::Good);
    let changes = store.database.read_blocking(move |store| store.changes_since(before)).unwrap();
    assert_eq!(changes.keys.upserts.len(), 2, "readers hear of every key of the user, and of no other");

    store.write(2, |store| store.enable_user("user_1"));
    assert_eq!(standing_on_the_road(&store, "key_1"), Standing::Good);
}

#[test]
fn a_deleted_user_leaves_revoked_keys() {
    let store = Fixture::new();
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    store.create(Entry { user: Some("user_1".into()), ..entry("key_1") });
    store.write(1, |store| store.delete_user("user_1"));
    assert_eq!(store.key("key_1").state, State::Revoked);
    store.write(2, |store| store.create_user(user("user_1", "alice")));
    assert_eq!(store.key("key_1").state, State::Revoked, "a new user of the same id gets nothing of the old one");
    let (lines, _) =
        store.database.read_blocking(|store| store.audit(&AuditFilter::default(), Page::default())).unwrap();
    let actions: Vec<_> = lines.iter().map(|line| format!("{} {} {}", line.action, line.kind, line.subject)).collect();
    assert_eq!(
        actions,
        ["create user user_1", "create key key_1", "revoke key key_1", "delete user user_1", "create user user_1"]
    );
    assert_eq!(lines[2].revision, lines[3].revision, "one step");
}

#[test]
fn the_hash_of_a_password_is_kept_and_not_shown() {
    let store = Fixture::new();
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    store.write(0, |store| store.set_password_hash("user_1", Some("$argon2id$hash")));
    let (shown, lines, hash) = store
        .database
        .read_blocking(|store| {
            let lines = store.audit(&AuditFilter::default(), Page::default())?.0;
            Ok((store.user("user_1")?, lines, store.password_hash("user_1")?))
        })
        .unwrap();
    assert!(shown.has_password);
    assert!(!format!("{shown:?}{lines:?}").contains("argon2"));
    assert_eq!(hash.as_deref(), Some("$argon2id$hash"));
    store.write(0, |store| store.set_password_hash("user_1", None));
    assert!(!store.database.read_blocking(|store| store.user("user_1")).unwrap().has_password);
    assert_eq!(store.refused(0, |store| store.set_password_hash("user_2", None)), "there is no such user");
}

#[test]
fn a_user_and_the_hash_are_read_by_login_in_one_look() {
    let store = Fixture::new();
    let found =
        |login: &'static str| store.database.read_blocking(move |store| store.user_and_hash_by_login(login)).unwrap();
    assert_eq!(found("alice"), None);
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    assert_eq!(found("ALICE").unwrap().1, None);
    store.write(0, |store| store.set_password_hash("user_1", Some("hash")));
    let (alice, hash) = found("Alice").unwrap();
    assert_eq!((alice.id.as_str(), alice.has_password, hash.as_deref()), ("user_1", true, Some("hash")));
}

/// A better hash of the same password is no other password, and must not bring an old one back.
#[test]
fn a_hash_is_renewed_only_while_it_is_the_one_that_was_checked() {
    let store = Fixture::new();
    store.write(0, |store| store.create_user(user("user_1", "alice")));
    store.write(0, |store| store.set_password_hash("user_1", Some("old")));
    let before = store.database.read_blocking(Reader::revision).unwrap();
    assert!(store.write(0, |store| store.renew_password_hash("user_1", "old", "better")));
    assert_eq!(store.database.read_blocking(Reader::revision).unwrap(), before, "nobody has to hear of it");
    store.write(0, |store| store.set_password_hash("user_1", Some("another")));
    assert!(!store.write(0, |store| store.renew_password_hash("user_1", "better", "best")));
    let hash = store.database.read_blocking(|store| store.password_hash("user_1")).unwrap();
    assert_eq!(hash.as_deref(), Some("another"));
}
