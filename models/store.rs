//! A reload and a revocation against look-ups: nobody who stays is missing for an instant, and nobody who went is found.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::keys::database::Delta;
use crate::keys::entry::Entry;
use crate::keys::key::{Key, Origin};
use crate::keys::set::KeySet;
use crate::keys::store::KeyStore;
use crate::secret::Digest;

pub const MODELS: &[(&str, fn())] = &[
    ("a key that stays is found throughout a reload", reload),
    ("a key whose secret changes is found by one of the two", rotation),
    ("a key that was revoked is found by nobody afterwards", revoke),
    ("what a reload takes out is found by nobody afterwards", taken_out),
    ("files and database change at once, and each has what is its own", writers),
];

fn digest(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

fn key(id: &str, secret: &str, name: &str) -> Key {
    let entry = Entry { name: Some(name.into()), ..Entry::new(id, digest(secret)) };
    Key::new(entry).expect("a good key")
}

fn set(keys: &[(&str, &str, &str)]) -> KeySet {
    let mut set = KeySet::new();
    for (id, secret, name) in keys {
        set.insert(key(id, secret, name)).expect("each once");
    }
    set
}

fn store(keys: &[(&str, &str, &str)]) -> Arc<KeyStore> {
    let store = Arc::new(KeyStore::new());
    store.apply_from(Origin::File, set(keys)).expect("no clash");
    store
}

/// Runs `look` over and over beside `change`, and once more when that has returned. `look` is told whether it has.
fn beside(change: impl FnOnce() + Send + 'static, look: impl Fn(bool) + Send + Clone + 'static) {
    let done = Arc::new(AtomicBool::new(false));
    let lookers: Vec<_> = (0..2)
        .map(|_| {
            let (done, look) = (Arc::clone(&done), look.clone());
            thread::spawn(move || {
                for _ in 0..3 {
                    let over = done.load(Ordering::SeqCst);
                    look(over);
                }
            })
        })
        .collect();
    change();
    done.store(true, Ordering::SeqCst);
    look(true);
    lookers.into_iter().for_each(|looker| looker.join().expect("no panic"));
}

fn reload() {
    let store = store(&[("1", "a", "old"), ("2", "b", "old")]);
    let changed = Arc::clone(&store);
    let change =
        move || drop(changed.apply_from(Origin::File, set(&[("3", "c", "new"), ("1", "a", "new"), ("2", "b", "old")])));
    beside(change, move |over| {
        assert_eq!(store.find(&digest("b")).expect("it stays").name(), "old");
        let found = store.find(&digest("a")).expect("it stays");
        assert!(!over || found.name() == "new");
    });
}

fn rotation() {
    let store = store(&[("1", "a", "x")]);
    let changed = Arc::clone(&store);
    let change = move || drop(changed.apply_from(Origin::File, set(&[("1", "b", "x")])));
    beside(change, move |over| {
        let former = store.find(&digest("a")).is_some();
        assert!(former || store.find(&digest("b")).is_some(), "for an instant there is no key");
        assert!(!(over && former), "the former secret is still good");
    });
}

fn revoke() {
    let store = store(&[("1", "a", "x"), ("2", "b", "x")]);
    let changed = Arc::clone(&store);
    let change = move || assert_eq!(changed.remove(&digest("a")).removed, 1);
    beside(change, move |over| {
        assert!(store.find(&digest("b")).is_some());
        assert!(store.find(&digest("a")).is_none() || !over, "it is revoked");
    });
}

fn taken_out() {
    let store = store(&[("1", "a", "x"), ("2", "b", "x")]);
    let changed = Arc::clone(&store);
    let change = move || drop(changed.apply_from(Origin::File, set(&[("2", "b", "x")])));
    beside(change, move |over| {
        assert!(store.find(&digest("b")).is_some());
        assert!(store.find(&digest("a")).is_none() || !over, "it is gone");
    });
}

fn writers() {
    let store = store(&[("1", "a", "x")]);
    let database = Arc::clone(&store);
    // The database wants a key of its own, and one whose id the file is about to take.
    let writer = thread::spawn(move || {
        let upserts = vec![("4", "d"), ("2", "e")];
        let upserts = upserts.into_iter().map(|(id, secret)| {
            let mut key = key(id, secret, "x");
            key.origin = Origin::Database;
            key
        });
        database.change(Delta { upserts: upserts.collect(), removals: Vec::new() }, false).1.len()
    });
    let refused = store.apply_from(Origin::File, set(&[("1", "a", "x"), ("2", "b", "x")])).is_err();
    let clashes = writer.join().expect("no panic");
    assert_eq!(usize::from(refused) + clashes, 1, "one of the two has the id");
    assert!(store.find(&digest("a")).is_some() && store.find(&digest("d")).is_some());
    let (of_file, of_database) = (store.find(&digest("b")), store.find(&digest("e")));
    assert_eq!((of_file.is_some(), of_database.is_some()), (!refused, refused));
    let named = store.find_by_id("2").expect("somebody has it");
    assert!(of_file.or(of_database).is_some_and(|found| Arc::ptr_eq(&found, &named)));
}
