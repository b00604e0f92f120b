//! What is written through `Live` is in force when the write returns, and whether or not anybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::keys::State;
use crate::keys::database::{Changed, Live};

/// Counts how often something was put in force; waits for `go` each time.
fn counting(go: &Arc<Notify>) -> (Changed, Arc<AtomicUsize>) {
    let (go, count) = (Arc::clone(go), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let changed: Changed = Arc::new(move || {
        let (go, count) = (Arc::clone(&go), Arc::clone(&counted));
        Box::pin(async move {
            go.notified().await;
            count.fetch_add(1, Ordering::SeqCst);
        })
    });
    (changed, count)
}

#[test]
fn a_write_returns_when_it_is_in_force_and_is_done_to_its_end_also_for_nobody() {
    let store = Fixture::new();
    store.create(entry("key_1"));
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let go = Arc::new(Notify::new());
    let (changed, count) = counting(&go);
    let live = control.block_on(async { Live::new(store.database.clone(), changed) });

    // A worker of the data plane: a runtime of its own, that nothing is left behind on.
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    worker.block_on(async {
        let write = live.write(By::gateway("user_1"), at(1), |store| store.revoke_key("key_1"));
        assert!(timeout(Duration::from_millis(100), write).await.is_err(), "returned before it was in force");
        assert_eq!(live.read(|store| store.key("key_1")).await.unwrap().state, State::Revoked, "but it is durable");
    });
    drop(worker);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    go.notify_one();
    let end = Instant::now() + Duration::from_secs(10);
    while count.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < end, "what nobody waited for was not put in force");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn what_is_refused_is_not_put_in_force() {
    let store = Fixture::new();
    let (changed, count) = counting(&Arc::new(Notify::new()));
    let live = Live::new(store.database.clone(), changed);
    let refused = live.write(By::gateway("user_1"), at(1), |store| store.revoke_key("none")).await;
    assert_eq!(refused.unwrap_err().to_string(), "there is no key with this id");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
