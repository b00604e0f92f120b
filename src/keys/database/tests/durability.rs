//! What is stored stays stored, whoever else writes and whoever dies.
//!
//! Other processes are this test program once more, told by a variable what to be.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::keys::database::{AuditFilter, KeyFilter, Page, Revision};

const STORE: &str = "KEYGATE_TEST_STORE";
const WORD: &str = "KEYGATE_TEST_WORD";

/// Not a test: what another process does. Makes keys, and says each one's id as soon as it is stored.
#[test]
#[ignore = "the other process of the tests below"]
fn other_process() {
    let (Ok(path), Ok(word)) = (std::env::var(STORE), std::env::var(WORD)) else { return };
    let database = Database::open(&PathBuf::from(path)).unwrap();
    for number in 0..40 {
        let id = format!("{word}-{number}");
        let made = id.clone();
        database.write_blocking(By::cli(&word), at(0), move |store| store.create_key(entry(&made))).unwrap();
        let mut out = io::stdout();
        writeln!(out, "stored {id}").unwrap();
        out.flush().unwrap();
    }
}

fn start(path: &Path, word: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keys::database::tests::durability::other_process", "--ignored", "--nocapture"])
        .env(STORE, path)
        .env(WORD, word)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids that a process says, as it says them.
fn said(child: &mut Child) -> impl Iterator<Item = String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| Some(line.split_once("stored ")?.1.to_owned()))
}

/// Issue 3: SIGKILL after the answer loses nothing. The process is killed when the id of a key was read, most often in
/// the middle of the next write.
#[test]
fn what_was_answered_survives_a_kill() {
    let fixture = Fixture::new();
    let mut stored = 0;
    for round in 0..25 {
        let mut child = start(fixture.path(), &format!("r{round}"));
        let ids: Vec<String> = said(&mut child).take(1 + round % 4).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ids.len(), 1 + round % 4, "the other process did not run");
        stored += ids.len();
        let database = Database::open(fixture.path()).unwrap();
        for id in ids {
            let subject = AuditFilter { subject: Some(id.clone()), ..AuditFilter::default() };
            let (key, lines) = database
                .read_blocking(move |store| Ok((store.key(&id)?, store.audit(&subject, Page::default())?.0)))
                .unwrap();
            assert_eq!((lines.len(), lines[0].revision), (1, key.revision), "the key and its line, or neither");
        }
    }
    let (keys, Revision(revision)) = fixture
        .database
        .read_blocking(|store| Ok((store.count_keys(&KeyFilter::default())?, store.revision()?)))
        .unwrap();
    assert!(keys >= stored as u64);
    assert_eq!(keys, revision, "every write that is there has a number, and no number is missing");
}

#[test]
fn processes_that_write_at_once_wait_for_one_another() {
    let fixture = Fixture::new();
    let mut children = [start(fixture.path(), "a"), start(fixture.path(), "b")];
    for number in 0..20 {
        fixture.create(entry(&format!("c-{number}")));
    }
    for child in &mut children {
        assert_eq!(said(child).count(), 40);
        assert!(child.wait().unwrap().success());
    }
    let (keys, changes) = fixture
        .database
        .read_blocking(|store| Ok((store.count_keys(&KeyFilter::default())?, store.changes_since(Revision(0))?)))
        .unwrap();
    assert_eq!((keys, changes.revision, changes.keys.upserts.len()), (100, Revision(100), 100));
}

#[test]
fn a_write_of_another_process_is_seen_by_its_revision() {
    let fixture = Fixture::new();
    let revision = || fixture.database.read_blocking(Reader::revision).unwrap();
    let before = revision();
    let other = Database::open(fixture.path()).unwrap();
    other.write_blocking(By::cli("b"), at(0), |store| store.create_key(entry("key_1"))).unwrap();
    assert!(revision() > before);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_done_nevertheless() {
    let fixture = Fixture::new();
    let write = fixture.database.write(By::api("a"), at(0), |store| {
        thread::sleep(Duration::from_millis(50));
        store.create_key(entry("key_1"))
    });
    assert!(tokio::time::timeout(Duration::from_millis(5), write).await.is_err(), "given up");
    assert_eq!(fixture.database.read(|store| store.key("key_1")).await.unwrap().id, "key_1");
}

#[test]
fn a_job_that_panics_is_rolled_back_and_hurts_nobody_else() {
    let fixture = Fixture::new();
    let what = |store: &Writer<'_>| -> Result<(), DatabaseError> {
        store.create_key(entry("key_1"))?;
        panic!("on purpose")
    };
    assert!(matches!(fixture.try_write(0, what), Err(DatabaseError::Closed)));
    assert_eq!(fixture.refused(0, |store| store.key("key_1")), "there is no key with this id");
    fixture.create(entry("key_1"));
}

#[test]
fn more_work_than_can_wait_is_refused_and_what_waits_is_done() {
    let fixture = Fixture::new();
    let slow = fixture.database.clone();
    let blocked = thread::spawn(move || {
        slow.read_blocking(|_| {
            thread::sleep(Duration::from_millis(300));
            Ok(())
        })
    });
    thread::sleep(Duration::from_millis(50));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut full, mut waiting) = (0, Vec::new());
    for _ in 0..1200 {
        let mut read = Box::pin(fixture.database.read(Reader::revision));
        // Polled once, so that it is handed over.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match read.as_mut().poll(&mut context) {
            std::task::Poll::Ready(answer) => full += usize::from(matches!(answer, Err(DatabaseError::Full))),
            std::task::Poll::Pending => waiting.push(read),
        }
    }
    assert_eq!((full, waiting.len()), (176, 1024));
    // A thread that may wait waits for a place.
    fixture.database.read_blocking(Reader::revision).unwrap();
    for read in waiting {
        runtime.block_on(read).unwrap();
    }
    blocked.join().unwrap().unwrap();
}

#[test]
fn a_store_whose_file_was_replaced_says_so_instead_of_losing_writes() {
    let fixture = Fixture::new();
    let path = fixture.path().to_owned();
    std::fs::rename(&path, fixture.directory.path().join("away.db")).unwrap();
    let words = "was removed or replaced while it was open; start keygate anew";
    assert!(fixture.refused(0, |store| store.create_key(entry("a"))).ends_with(words));
    std::fs::copy(fixture.directory.path().join("away.db"), &path).unwrap();
    assert!(fixture.refused(0, |store| store.create_key(entry("a"))).ends_with(words));
}

#[test]
fn the_file_is_closed_when_the_last_handle_is_dropped() {
    let fixture = Fixture::new();
    fixture.create(entry("key_1"));
    let Fixture { directory, database } = fixture;
    let (clone, path) = (database.clone(), database.path().to_owned());
    drop(database);
    clone.read_blocking(|store| store.key("key_1")).unwrap();
    drop(clone);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["k.db"], "nothing is left in the log");
    assert!(path.exists());
}

/// A writer that holds on for a while: everybody else waits, and then goes on.
#[test]
fn a_writer_waits_for_another_one() {
    let fixture = Fixture::new();
    let other = rusqlite::Connection::open(fixture.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        let writer = scope.spawn(|| fixture.create(entry("key_1")));
        thread::sleep(Duration::from_millis(200));
        fixture_is_readable(&Database::open(fixture.path()).unwrap());
        other.execute_batch("COMMIT").unwrap();
        writer.join().unwrap();
    });
    assert!(start.elapsed() >= Duration::from_millis(200));
}

fn fixture_is_readable(database: &Database) {
    assert_eq!(database.read_blocking(|store| store.count_keys(&KeyFilter::default())).unwrap(), 0);
}

#[test]
fn nothing_prints_a_digest_and_the_file_holds_no_secret() {
    let fixture = Fixture::new();
    let secret = crate::keys::SecretFormat::default().generate(Some("live")).unwrap();
    let made = Entry { prefix: Some(secret.display_prefix()), digest: secret.digest(), ..entry("key_1") };
    let record = fixture.create(made.clone());
    let hex = secret.digest().to_hex();
    let (snapshot, changes) =
        fixture.database.read_blocking(|store| Ok((store.snapshot()?, store.changes_since(Revision(0))?))).unwrap();
    let error = fixture.try_write(0, move |store| store.create_key(Entry { id: "key_2".into(), ..made })).unwrap_err();
    let printed = format!("{record:?} {snapshot:?} {changes:?} {error:?} {error} {:?}", fixture.database);
    let bytes = secret.digest().bytes().map(|byte| byte.to_string()).join(", ");
    for digest in [&hex[..8], &hex[..8].to_uppercase(), &bytes[..20], secret.expose()] {
        assert!(!printed.contains(digest), "{printed}");
    }
    let Fixture { directory, database } = fixture;
    drop(database);
    let file = std::fs::read(directory.path().join("k.db")).unwrap();
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    assert!(holds(secret.digest().bytes()), "the digest as it is");
    assert!(!holds(secret.expose().as_bytes()) && !holds(hex.as_bytes()));
}
