//! Logins: what a refresh token is good for, and what ends a login.

use std::sync::{Arc, Barrier};
use std::thread;

use super::*;
use crate::keys::database::{
    AuditFilter, LOGINS_PER_USER_MAX, LoginFilter, LoginRecord, NewLogin, NewUser, Page, Refreshed,
};

/// A login of `user`, for an hour, whose first refresh token is its id.
fn new(id: &str, user: &str) -> NewLogin {
    NewLogin { id: id.into(), user: user.into(), refresh: digest(id), expires: time(3600), verified: None }
}

/// A store with a user of this id.
fn with_user(id: &'static str) -> Fixture {
    let store = Fixture::new();
    add_user(&store, id);
    store
}

fn add_user(store: &Fixture, id: &'static str) {
    store.write(0, move |store| store.create_user(NewUser { id: id.into(), login: id.into(), ..NewUser::default() }));
}

fn refresh(store: &Fixture, seconds: u64, id: &'static str, presented: &str, next: &str) -> Refreshed {
    let (presented, next) = (digest(presented), digest(next));
    store.write(seconds, move |store| store.refresh_login(id, &presented, next, time(seconds + 3600)))
}

/// The ids of all logins that there are.
fn ids(store: &Fixture, filter: LoginFilter) -> Vec<String> {
    let (logins, _) = store.database.read_blocking(move |store| store.logins(&filter, Page::default())).unwrap();
    logins.into_iter().map(|login| login.id).collect()
}

fn all(store: &Fixture) -> Vec<String> {
    ids(store, LoginFilter::default())
}

/// What was done to logins, with why.
fn trail(store: &Fixture) -> Vec<String> {
    let logins = AuditFilter { kind: Some("login".into()), ..AuditFilter::default() };
    let (lines, _) = store.database.read_blocking(move |store| store.audit(&logins, Page::first(1000))).unwrap();
    let because = |line: &crate::keys::database::AuditRecord| line.details["because"].as_str().map(str::to_owned);
    lines
        .iter()
        .map(|line| format!("{} {} {}", line.action, line.subject, because(line).unwrap_or_default()).trim().to_owned())
        .collect()
}

#[test]
fn a_login_is_renewed_by_each_refresh_token_once() {
    let store = with_user("alice");
    let made = store.write(0, |store| store.create_login(new("l1", "alice")));
    let expected = LoginRecord {
        id: "l1".into(),
        user: "alice".into(),
        created: time(0),
        refreshed: None,
        expires: time(3600),
        revision: made.revision,
    };
    assert_eq!(made, expected);
    let Refreshed::Renewed(renewed) = refresh(&store, 60, "l1", "l1", "second") else { panic!("not renewed") };
    assert!(renewed.revision > made.revision, "readers hear of the new end");
    assert_eq!((renewed.refreshed, renewed.expires, renewed.created), (Some(time(60)), time(3660), time(0)));
    assert!(matches!(refresh(&store, 120, "l1", "second", "third"), Refreshed::Renewed(_)));
    assert_eq!(trail(&store), ["create l1"], "refreshes are not audited one by one");
}

/// RFC 9700, section 4.14.2: of a thief and the owner one comes second, and nobody knows which.
#[test]
fn a_refresh_token_that_comes_again_ends_the_login() {
    for again in ["l1", "second", "never given out"] {
        let store = with_user("alice");
        store.write(0, |store| store.create_login(new("l1", "alice")));
        refresh(&store, 1, "l1", "l1", "second");
        refresh(&store, 2, "l1", "second", "third");
        assert_eq!(refresh(&store, 3, "l1", again, "fourth"), Refreshed::Reused, "{again}");
        assert_eq!(all(&store), [""; 0], "{again}");
        for token in ["third", "fourth", again] {
            assert_eq!(refresh(&store, 4, "l1", token, "x"), Refreshed::Gone, "{again}");
        }
        assert_eq!(trail(&store), ["create l1", "reuse l1 refresh_token_reused"], "{again}");
    }
}

#[test]
fn of_many_who_refresh_with_one_token_at_once_one_goes_on_and_the_login_ends() {
    let store = with_user("alice");
    store.write(0, |store| store.create_login(new("l1", "alice")));
    let start = Arc::new(Barrier::new(64));
    let outcomes: Vec<Refreshed> = thread::scope(|scope| {
        let attempts: Vec<_> = (0..64)
            .map(|number| {
                let (start, store) = (Arc::clone(&start), &store);
                scope.spawn(move || {
                    start.wait();
                    refresh(store, 1, "l1", "l1", &format!("next {number}"))
                })
            })
            .collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    let count = |which: fn(&Refreshed) -> bool| outcomes.iter().filter(|outcome| which(outcome)).count();
    let counts = (
        count(|outcome| matches!(outcome, Refreshed::Renewed(_))),
        count(|outcome| *outcome == Refreshed::Reused),
        count(|outcome| *outcome == Refreshed::Gone),
    );
    assert_eq!(counts, (1, 1, 62));
    assert_eq!(all(&store), [""; 0]);
}

#[test]
fn a_login_that_is_over_is_not_renewed() {
    let store = with_user("alice");
    store.write(0, |store| store.create_login(new("l1", "alice")));
    assert!(matches!(refresh(&store, 3599, "l1", "l1", "second"), Refreshed::Renewed(_)));
    assert_eq!(refresh(&store, 3599 + 3600, "l1", "second", "third"), Refreshed::Gone);
    assert_eq!(refresh(&store, 0, "none", "none", "x"), Refreshed::Gone);
}

#[test]
fn only_a_user_who_is_there_and_switched_on_is_logged_in() {
    let store = with_user("alice");
    assert_eq!(store.refused(0, |store| store.create_login(new("l1", "bob"))), "there is no such user");
    store.write(0, |store| store.disable_user("alice"));
    assert_eq!(store.refused(0, |store| store.create_login(new("l1", "alice"))), "the user is switched off");
}

/// Checking a password takes time, in which somebody may change it.
#[test]
fn a_password_that_was_changed_meanwhile_makes_no_login() {
    let store = with_user("alice");
    let verified = |hash: &str| NewLogin { verified: Some(hash.into()), ..new("l1", "alice") };
    let error = "the password of the user was changed in the meantime";
    assert_eq!(store.refused(0, move |store| store.create_login(verified("a"))), error, "there is none any more");
    store.write(0, |store| store.set_password_hash("alice", Some("b")));
    assert_eq!(store.refused(0, move |store| store.create_login(verified("a"))), error);
    store.write(0, move |store| store.create_login(verified("b")));
}

/// Whatever takes the user's word away takes the logins along, in the same step.
#[test]
fn a_change_of_the_user_ends_all_logins_of_the_user_and_no_other() {
    type Change = fn(&Writer<'_>) -> Result<(), DatabaseError>;
    let changes: [(&str, Change, &str); 5] = [
        ("disabled", |store| store.disable_user("alice").map(drop), "user_disabled"),
        ("deleted", |store| store.delete_user("alice"), "user_deleted"),
        ("password", |store| store.set_password_hash("alice", Some("hash")), "password_changed"),
        ("no password", |store| store.set_password_hash("alice", None), "password_changed"),
        ("asked", |store| store.end_logins_of("alice").map(drop), "asked"),
    ];
    for (name, change, because) in changes {
        let store = with_user("alice");
        add_user(&store, "bob");
        for (id, user) in [("l1", "alice"), ("l2", "alice"), ("l3", "bob")] {
            store.write(0, move |store| store.create_login(new(id, user)));
        }
        let before = store.database.read_blocking(Reader::revision).unwrap();
        store.write(1, change);
        assert_eq!(all(&store), ["l3"], "{name}");
        assert_eq!(trail(&store)[3..], [format!("end l1 {because}"), format!("end l2 {because}")], "{name}");
        let changes = store.database.read_blocking(move |store| store.changes_since(before)).unwrap();
        assert_eq!(changes.logins.removals, ["l1", "l2"], "{name}: readers hear of it");
        assert_eq!(changes.revision.0, before.0 + 1, "{name}: one step");
        assert_eq!(refresh(&store, 2, "l1", "l1", "x"), Refreshed::Gone, "{name}");
        assert!(matches!(refresh(&store, 2, "l3", "l3", "x"), Refreshed::Renewed(_)), "{name}");
    }
}

#[test]
fn switching_a_user_on_again_brings_no_login_back() {
    let store = with_user("alice");
    store.write(0, |store| store.create_login(new("l1", "alice")));
    store.write(1, |store| store.disable_user("alice"));
    store.write(2, |store| store.enable_user("alice"));
    assert_eq!(all(&store), [""; 0]);
    store.write(3, |store| store.create_login(new("l2", "alice")));
    store.write(4, |store| store.enable_user("alice"));
    assert_eq!(all(&store), ["l2"], "what changes nothing ends nothing");
}

/// Somebody has switched the user off with another program, which knows nothing of logins.
#[test]
fn a_login_of_a_user_who_is_off_is_not_renewed_however_that_came_about() {
    let store = with_user("alice");
    store.write(0, |store| store.create_login(new("l1", "alice")));
    let by_hand = rusqlite::Connection::open(store.path()).unwrap();
    by_hand.execute("UPDATE users SET enabled = 0", []).unwrap();
    assert_eq!(refresh(&store, 1, "l1", "l1", "x"), Refreshed::Gone);
    assert_eq!(all(&store), [""; 0]);
}

#[test]
fn one_login_too_many_ends_the_oldest_that_is_not_over() {
    let store = with_user("alice");
    add_user(&store, "bob");
    store.write(0, |store| store.create_login(NewLogin { expires: time(10), ..new("short", "alice") }));
    store.write(0, |store| store.create_login(new("of bob", "bob")));
    store.write(20, |store| {
        for number in 0..LOGINS_PER_USER_MAX {
            store.create_login(new(&format!("l{number}"), "alice"))?;
        }
        Ok(())
    });
    assert_eq!(trail(&store).len(), 2 + LOGINS_PER_USER_MAX, "one that is over takes nobody's place");
    store.write(30, |store| store.create_login(new("one more", "alice")));
    assert_eq!(trail(&store)[2 + LOGINS_PER_USER_MAX..], ["end l0 too_many_logins", "create one more"]);
    let of_alice = LoginFilter { user: Some("alice".into()), live_at: Some(at(30)) };
    let live = ids(&store, of_alice);
    assert_eq!((live.len(), live[0].as_str()), (LOGINS_PER_USER_MAX, "l1"));
}

#[test]
fn a_login_is_ended_by_name_and_only_once() {
    let store = with_user("alice");
    store.write(0, |store| store.create_login(new("l1", "alice")));
    assert_eq!(store.write(1, |store| store.end_login("l1")).user, "alice");
    assert_eq!(store.refused(1, |store| store.end_login("l1")), "there is no login with this id");
    assert_eq!(store.write(1, |store| store.end_logins_of("alice")), 0);
    assert_eq!(trail(&store), ["create l1", "end l1 asked"]);
}

#[test]
fn logins_are_listed_in_pages_and_by_filter() {
    let store = with_user("alice");
    add_user(&store, "bob");
    for (id, user, end) in [("l1", "alice", 10), ("l2", "bob", 100), ("l3", "alice", 100), ("l4", "alice", 100)] {
        store.write(0, move |store| store.create_login(NewLogin { expires: time(end), ..new(id, user) }));
    }
    let of =
        |user: Option<&str>, seconds: Option<u64>| LoginFilter { user: user.map(Into::into), live_at: seconds.map(at) };
    for (filter, expected) in [
        (of(None, None), &["l1", "l2", "l3", "l4"][..]),
        (of(Some("alice"), None), &["l1", "l3", "l4"]),
        (of(None, Some(9)), &["l1", "l2", "l3", "l4"]),
        (of(None, Some(10)), &["l2", "l3", "l4"]),
        (of(Some("bob"), Some(100)), &[]),
    ] {
        assert_eq!(ids(&store, filter.clone()), expected, "{filter:?}");
    }
    let page = |page| store.database.read_blocking(move |store| store.logins(&LoginFilter::default(), page)).unwrap();
    let (first, next) = page(Page::first(3));
    let (rest, end) = page(Page { cursor: next, ..Page::first(3) });
    assert_eq!((first.len(), rest.len(), rest[0].id.as_str(), end), (3, 1, "l4", None));
}

/// The audit trail and the records are shown to people who must not be able to go on with the login.
#[test]
fn no_refresh_token_is_shown() {
    let store = with_user("alice");
    let made = store.write(0, |store| store.create_login(new("l1", "alice")));
    let (lines, _) =
        store.database.read_blocking(|store| store.audit(&AuditFilter::default(), Page::default())).unwrap();
    let hex = digest("l1").to_hex();
    let shown = format!("{made:?}{lines:?}{}", serde_json::json!([made, lines]));
    assert!(!shown.contains(&hex) && !shown.contains("refresh_token\""), "{shown}");
}
