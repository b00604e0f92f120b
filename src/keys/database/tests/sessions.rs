//! Sessions of customers, and taking out what is over.

use super::*;
use crate::keys::database::{
    AuditFilter, LoginFilter, NewLogin, NewSession, NewUser, Page, Revision, SessionFilter, SessionRecord,
};

/// A session of `customer`, for an hour, whose token is its id.
fn new(id: &str, customer: &str) -> NewSession {
    NewSession {
        id: id.into(),
        digest: digest(id),
        tenant: Some("acme".into()),
        environment: Some("live".into()),
        customer: customer.into(),
        expires: time(3600),
    }
}

fn ids(store: &Fixture, filter: SessionFilter) -> Vec<String> {
    let (sessions, _) = store.database.read_blocking(move |store| store.sessions(&filter, Page::default())).unwrap();
    sessions.into_iter().map(|session| session.id).collect()
}

#[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is for one lifetime only")]
fn purge(store: &Fixture, seconds: u64) -> usize {
    store.write(seconds, |store| store.purge())
}

#[test]
fn a_session_is_made_and_revoked_and_readers_hear_of_both() {
    let store = Fixture::new();
    let made = store.write(5, |store| store.create_session(new("s1", "cust_1")));
    let expected = SessionRecord {
        id: "s1".into(),
        tenant: Some("acme".into()),
        environment: Some("live".into()),
        customer: "cust_1".into(),
        created: time(5),
        expires: time(3600),
        revision: Revision(1),
    };
    assert_eq!(made, expected);
    let since = |revision| store.database.read_blocking(move |store| store.changes_since(Revision(revision))).unwrap();
    assert!(since(0).sessions.upserts == [(digest("s1"), expected.clone())]);
    assert_eq!(store.write(6, |store| store.revoke_session("s1")), expected);
    assert_eq!(store.refused(6, |store| store.revoke_session("s1")), "there is no session with this id");
    let changes = since(1);
    assert!(changes.sessions.removals == [digest("s1")] && changes.sessions.upserts.is_empty());
    let trail = store.database.read_blocking(|store| store.audit(&AuditFilter::default(), Page::default())).unwrap().0;
    let lines: Vec<_> = trail.iter().map(|line| format!("{} {} {}", line.action, line.kind, line.subject)).collect();
    assert_eq!(lines, ["create session s1", "revoke session s1"]);
    assert_eq!(trail[0].details["customer"], "cust_1");
    assert!(!format!("{made:?}{trail:?}").contains(&digest("s1").to_hex()));
}

#[test]
fn what_cannot_travel_in_a_field_is_refused_by_name() {
    let store = Fixture::new();
    let word = "must be 1 to 128 visible ASCII characters without spaces";
    for (session, fields) in [
        (new("s1", ""), &["customer"][..]),
        (new("s1", "a b"), &["customer"]),
        (
            NewSession { tenant: Some("\u{e9}".into()), environment: Some(String::new()), ..new("s1", "c") },
            &["tenant", "environment"],
        ),
    ] {
        let error = store.refused(0, move |store| store.create_session(session));
        let expected: Vec<_> = fields.iter().map(|field| format!("{field}: {word}")).collect();
        assert_eq!(error, expected.join("; "));
    }
    store.write(0, |store| store.create_session(NewSession { tenant: None, environment: None, ..new("s1", "c") }));
    assert_eq!(
        store.refused(0, |store| store.create_session(NewSession { digest: digest("s1"), ..new("s2", "c") })),
        "another key has the same secret"
    );
}

#[test]
fn sessions_are_listed_in_pages_and_by_filter() {
    let store = Fixture::new();
    store.write(0, |store| {
        store.create_session(new("s1", "c1"))?;
        store.create_session(NewSession { tenant: Some("other".into()), ..new("s2", "c1") })?;
        store.create_session(NewSession { environment: None, expires: time(10), ..new("s3", "c2") })
    });
    for (filter, expected) in [
        (SessionFilter::default(), &["s1", "s2", "s3"][..]),
        (SessionFilter { customer: Some("c1".into()), ..SessionFilter::default() }, &["s1", "s2"]),
        (SessionFilter { tenant: Some("acme".into()), ..SessionFilter::default() }, &["s1", "s3"]),
        (SessionFilter { environment: Some("live".into()), ..SessionFilter::default() }, &["s1", "s2"]),
        (SessionFilter { live_at: Some(at(10)), ..SessionFilter::default() }, &["s1", "s2"]),
    ] {
        assert_eq!(ids(&store, filter.clone()), expected, "{filter:?}");
    }
    let page =
        |page| store.database.read_blocking(move |store| store.sessions(&SessionFilter::default(), page)).unwrap();
    let (first, next) = page(Page::first(2));
    let (rest, end) = page(Page { cursor: next, ..Page::first(2) });
    assert_eq!((first.len(), rest.len(), rest[0].id.as_str(), end), (2, 1, "s3", None));
}

/// Whoever makes sessions has a key, and still must not be able to fill the disk.
#[test]
fn there_are_no_more_sessions_than_there_may_be() {
    let store = Fixture::new();
    for (id, end) in [("s1", 10), ("s2", 100), ("s3", 100)] {
        store.write(0, move |store| store.create_session(NewSession { expires: time(end), ..new(id, "c") }));
    }
    let full = "there are too many sessions; revoke some, or wait until they are over";
    let room = |most| move |store: &Writer<'_>| store.make_room(Some("another"), 1, most);
    assert_eq!(store.refused(9, room(3)), full);
    store.write(9, room(4));
    assert_eq!(ids(&store, SessionFilter::default()).len(), 3, "nothing is taken out before there is need");
    store.write(10, room(3));
    assert_eq!(ids(&store, SessionFilter::default()), ["s2", "s3"], "what is over gives way");
    assert_eq!(store.refused(10, room(2)), full);
    // One tenant has no more than its own share, and none is a tenant, too.
    let tenant = store.database.read_blocking(|store| store.session("s2")).unwrap().tenant;
    let of_one = |tenant: Option<String>, most| move |store: &Writer<'_>| store.make_room(tenant.as_deref(), most, 9);
    assert_eq!(store.refused(10, of_one(tenant.clone(), 2)), full);
    store.write(10, of_one(tenant, 3));
    store.write(10, of_one(None, 1));
}

#[test]
fn what_is_over_is_taken_out_and_nobody_needs_to_hear_of_it() {
    let store = Fixture::new();
    store.write(0, |store| {
        store.create_user(NewUser { id: "u1".into(), login: "alice".into(), ..NewUser::default() })?;
        for (id, end) in [("a", 10), ("b", 20)] {
            let (user, refresh) = ("u1".to_owned(), digest(id));
            store.create_login(NewLogin { id: id.into(), user, refresh, expires: time(end), verified: None })?;
            store.create_session(NewSession { expires: time(end), ..new(id, "c") })?;
        }
        Ok(())
    });
    let before = store.database.read_blocking(Reader::revision).unwrap();
    for (seconds, purged, left) in [(9, 0, &["a", "b"][..]), (10, 2, &["b"]), (10, 0, &["b"]), (20, 2, &[])] {
        assert_eq!(purge(&store, seconds), purged, "at {seconds}");
        assert_eq!(ids(&store, SessionFilter::default()), left, "at {seconds}");
        let logins = store.database.read_blocking(|store| store.logins(&LoginFilter::default(), Page::default()));
        assert_eq!(logins.unwrap().0.into_iter().map(|login| login.id).collect::<Vec<_>>(), left, "at {seconds}");
    }
    let changes = store.database.read_blocking(move |store| store.changes_since(before)).unwrap();
    assert_eq!(changes.revision, before);
    assert!(changes.logins.removals.is_empty() && changes.sessions.removals.is_empty());
}
