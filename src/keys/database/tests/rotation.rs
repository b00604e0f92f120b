//! Rotation: N7, and what must not be possible with it.

use std::time::Duration;

use super::*;
use crate::keys::Standing;
use crate::keys::State;
use crate::keys::database::{AuditFilter, KeyFilter, KeyPatch, Page, Rotation};

const DAY: u64 = 86_400;

fn rotation(id: &str, overlap_s: u64) -> Rotation {
    Rotation {
        id: id.to_owned(),
        digest: digest(id),
        prefix: Some("kg_new".into()),
        overlap: Duration::from_secs(overlap_s),
        expires: None,
    }
}

#[test]
fn both_keys_are_good_until_the_predecessor_retires() {
    let store = Fixture::new();
    let first = store.create(Entry { permissions: vec!["a:b".into()], rate_limit: Some(5), ..entry("key_1") });
    let (successor, predecessor) = store.write(100, |store| store.rotate_key("key_1", rotation("key_2", DAY)));
    assert_eq!(
        successor,
        KeyRecord {
            id: "key_2".into(),
            prefix: Some("kg_new".into()),
            created: time(100),
            updated: time(100),
            revision: successor.revision,
            ..first.clone()
        },
        "all that the key had, and its lineage"
    );
    assert_eq!(
        predecessor,
        KeyRecord {
            successor: Some("key_2".into()),
            retires: Some(time(100 + DAY)),
            expires: Some(time(100 + DAY)),
            updated: time(100),
            revision: successor.revision,
            ..first
        }
    );
    for (seconds, old) in [(100, Standing::Good), (99 + DAY, Standing::Good), (100 + DAY, Standing::Expired)] {
        assert_eq!(predecessor.standing(at(seconds)), old);
        assert_eq!(successor.standing(at(seconds)), Standing::Good);
    }
    let snapshot = store.database.read_blocking(Reader::snapshot).unwrap();
    let (old, new) = (&snapshot.keys[0], &snapshot.keys[1]);
    assert_eq!(old.lineage_hash(), new.lineage_hash(), "limits count both as one");
    assert_eq!((old.retires(), new.retires()), (Some(time(100 + DAY)), None));
}

#[test]
fn a_predecessor_never_lives_longer_than_it_would_have() {
    let store = Fixture::new();
    store.create(Entry { expires: Some(time(500)), ..entry("key_1") });
    let (successor, predecessor) = store.write(100, |store| store.rotate_key("key_1", rotation("key_2", DAY)));
    assert_eq!((predecessor.expires, predecessor.retires), (Some(time(500)), Some(time(500))));
    assert_eq!(successor.expires, Some(time(500)), "the same end, unless another is given");

    let longer = Rotation { expires: Some(time(90 * DAY)), ..rotation("key_3", 0) };
    let (successor, predecessor) = store.write(100, |store| store.rotate_key("key_2", longer));
    assert_eq!(successor.expires, Some(time(90 * DAY)));
    assert_eq!(predecessor.standing(at(100)), Standing::Revoked, "no overlap: dead at once, and for good");

    let extend = |expires| KeyPatch { expires: Some(expires), ..KeyPatch::default() };
    for expires in [None, Some(time(501))] {
        let error = store.refused(100, move |store| store.update_key("key_1", extend(expires)));
        assert!(error.starts_with("expires: must not be later than the end"), "{error}");
    }
    let shorter = store.write(100, move |store| store.update_key("key_1", extend(Some(time(400)))));
    assert_eq!(shorter.expires, Some(time(400)));
}

#[test]
fn a_chain_of_rotations_is_one_lineage() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    for number in 1..5 {
        let (id, next) = (format!("key_{number}"), format!("key_{}", number + 1));
        let (successor, _) = store.write(number, move |store| store.rotate_key(&id, rotation(&next, DAY)));
        assert_eq!(successor.lineage, "key_1");
    }
    let lineage = KeyFilter { lineage: Some("key_1".into()), ..KeyFilter::default() };
    assert_eq!(store.database.read_blocking(move |store| store.count_keys(&lineage)).unwrap(), 5);
}

#[test]
fn only_a_good_key_is_rotated_and_only_once() {
    let store = Fixture::new();
    store.create(Entry { expires: Some(time(10)), ..entry("expired") });
    store.create(Entry { not_before: Some(time(90)), ..entry("early") });
    for id in ["revoked", "inactive", "rotated"] {
        store.create(entry(id));
    }
    store.write(0, |store| {
        store.revoke_key("revoked")?;
        store.deactivate_key("inactive")?;
        store.rotate_key("rotated", rotation("successor", DAY)).map(drop)
    });
    let only_good = |what: &str| format!("only a key that is good now can be rotated; this one is {what}");
    for (id, expected) in [
        ("none", "there is no key with this id".to_owned()),
        ("expired", only_good("expired")),
        ("early", only_good("not_yet_valid")),
        ("revoked", only_good("revoked")),
        ("inactive", only_good("inactive")),
        ("rotated", "the key was rotated already; rotate its successor, successor".to_owned()),
    ] {
        let error = store.refused(20, move |store| store.rotate_key(id, rotation("new", DAY)));
        assert_eq!(error, expected, "{id}");
    }
    let too_long = rotation("new", 367 * DAY);
    let error = store.refused(20, move |store| store.rotate_key("successor", too_long));
    assert_eq!(error, "overlap: must be at most 366 days");
    let same_secret = Rotation { digest: digest("rotated"), ..rotation("new", DAY) };
    let error = store.refused(20, move |store| store.rotate_key("successor", same_secret));
    assert_eq!(error, "another key has the same secret");
    assert_eq!(store.key("successor").successor, None, "what was refused has changed nothing");
}

#[test]
fn without_its_successor_a_key_can_be_rotated_again() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    store.write(0, |store| store.rotate_key("key_1", rotation("key_2", DAY)));
    let before = store.key("key_1").revision;
    store.write(1, |store| store.delete_key("key_2"));
    let key = store.key("key_1");
    assert_eq!((key.successor, key.retires), (None, Some(time(DAY))));
    assert!(key.revision > before, "readers hear of it");
    let (_, predecessor) = store.write(2, |store| store.rotate_key("key_1", rotation("key_3", 2 * DAY)));
    assert_eq!(predecessor.expires, Some(time(DAY)), "the first end stays the end");
}

/// No overlap is no rotation with a short one: the old secret is known to be out.
#[test]
fn without_an_overlap_the_predecessor_is_revoked_in_the_same_step() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    let (successor, predecessor) = store.write(100, |store| store.rotate_key("key_1", rotation("key_2", 0)));
    assert_eq!((predecessor.state, predecessor.retires), (State::Revoked, Some(time(100))));
    assert_eq!((successor.state, successor.lineage.as_str()), (State::Active, "key_1"));
    assert_eq!(predecessor.revision, successor.revision);
    assert_eq!(store.refused(100, |store| store.activate_key("key_1")), "the key is revoked, which is final");
    let road = store.database.read_blocking(Reader::snapshot).unwrap().keys;
    let standings: Vec<_> = road.iter().map(|key| key.standing(at(100))).collect();
    assert_eq!(standings, [Standing::Revoked, Standing::Good]);
    assert_eq!(road[0].lineage_hash(), road[1].lineage_hash(), "what was spent stays spent");
    let trail = store.database.read_blocking(|store| store.audit(&AuditFilter::default(), Page::default())).unwrap().0;
    let trail: Vec<_> = trail.iter().map(|line| format!("{} {}", line.action, line.subject)).collect();
    assert_eq!(trail, ["create key_1", "rotate key_1", "revoke key_1"]);
}
