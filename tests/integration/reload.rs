//! Changing keys, certificates and configuration while requests pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::gate::{Gate, gate, key_file, make_certificate};
use crate::key::{TestKey, key};
use crate::upstream::Upstream;

/// Waits until the keys in force are so many.
#[track_caller]
fn wait_for_keys(gate: &Gate, active: f64) {
    gate.eventually("the keys are in force", |gate| gate.metric("keygate_keys", &["\"active\""]) == active);
}

#[test]
fn a_key_file_that_changes_is_in_force_within_a_second() {
    let (upstream, alice, bob) = (Upstream::hello(), key("alice"), key("bob"));
    let mut gate = gate(&upstream).key(&alice).start();
    gate.watch_for(&bob);
    assert_eq!(gate.get("/", &[bob.field()]).status, 401);

    let begun = Instant::now();
    gate.replace("keys.yaml", &key_file(&[alice.clone(), bob.clone()]));
    gate.eventually("bob is let in", |gate| gate.get("/", &[bob.field()]).status == 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    fs::write(gate.file("keys.yaml"), key_file(std::slice::from_ref(&bob))).unwrap();
    gate.eventually("alice is kept out", |gate| gate.get("/", &[alice.field()]).status == 401);
    assert_eq!(gate.get("/", &[bob.field()]).status, 200);
}

#[test]
fn another_store_is_taken_at_the_next_start_and_the_log_says_so() {
    let upstream = Upstream::hello();
    let gate = gate(&upstream).with("keys: { database: one.db }").start();
    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    let warning = "`keys.database` takes effect at the next start";
    gate.replace("keygate.yaml", &format!("{text}# the same\n"));
    gate.eventually("it is reloaded", |gate| gate.stderr().contains("the configuration was reloaded"));
    assert!(!gate.stderr().contains(warning), "{}", gate.stderr());
    gate.replace("keygate.yaml", &text.replace("one.db", "two.db"));
    gate.eventually("it is said", |gate| gate.stderr().contains(warning));
    assert!(!gate.file("two.db").exists());
}

#[test]
fn a_broken_key_file_changes_nothing_and_is_reported_once() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    let good = key_file(std::slice::from_ref(&alice));
    for (row, broken) in [
        ("truncated in the middle", good[..good.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not YAML", "keys: [".to_owned()),
        ("a misspelt field", good.replace("sha256", "sha265")),
        ("a digest that is none", good.replace(&alice.digest(), "abc")),
    ] {
        let failed = gate.metric("keygate_reloads_total", &["keys", "failed"]);
        gate.replace("keys.yaml", &broken);
        gate.eventually(row, |gate| gate.metric("keygate_reloads_total", &["keys", "failed"]) == failed + 1.0);
        assert_eq!(gate.metric("keygate_reload_failing", &["keys"]), 1.0, "{row}");
        assert_eq!(gate.get("/", &[alice.field()]).status, 200, "{row}");
    }
    fs::remove_file(gate.file("keys.yaml")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gate.get("/", &[alice.field()]).status, 200, "a missing file is a broken file");
    gate.replace("keys.yaml", &good);
    gate.eventually("it is mended", |gate| gate.metric("keygate_reload_failing", &["keys"]) == 0.0);
}

/// The four ways in which files change, many times over, while eight clients ask without pause. Nobody whose key is in
/// all of them may notice.
#[test]
fn swaps_of_every_kind_under_load_fail_no_request() {
    let (upstream, alice, bob) = (Upstream::hello(), key("alice"), key("bob"));
    let setup = gate(&upstream).key(&alice).key(&bob).with(
        "keys: { file: mount/keys.yaml }\nlimits: [{ name: per-key, per: key, requests: 1000000, window: 365d }]",
    );
    let mount = setup.directory().join("mount");
    fs::create_dir(&mount).unwrap();
    let swap = |round: usize, keys: &[TestKey]| {
        fs::create_dir(mount.join(format!("..{round}"))).unwrap();
        fs::write(mount.join(format!("..{round}/keys.yaml")), key_file(keys)).unwrap();
        symlink(format!("..{round}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if round > 0 {
            fs::remove_dir_all(mount.join(format!("..{}", round - 1))).unwrap();
        }
    };
    swap(0, &[alice.clone(), bob.clone()]);
    symlink("..data/keys.yaml", mount.join("keys.yaml")).unwrap();
    let gate = setup.start();

    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gate.client();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.request("GET", "/", &[alice.field()], b"").status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=30 {
            let with_bob = round % 2 == 0;
            let keys = if with_bob { vec![alice.clone(), bob.clone()] } else { vec![alice.clone()] };
            swap(round, &keys);
            wait_for_keys(&gate, keys.len() as f64);
            // The first request after the swap.
            assert_eq!(gate.get("/", &[bob.field()]).status, if with_bob { 200 } else { 401 }, "round {round}");
        }
        done.store(true, Ordering::Relaxed);
    });
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 100, "there was no load: {asked}");
    let remaining = gate.get("/", &[alice.field()]).number("x-ratelimit-remaining");
    assert_eq!(remaining, 1_000_000 - asked - 1, "a reload has touched the buckets");
}

#[test]
fn limits_keep_their_count_over_a_reload_of_the_configuration() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let limits = "limits: [{ name: per-key, per: key, requests: 5, window: 1h }]";
    let gate = gate(&upstream).key(&alice).with(limits).start();
    for _ in 0..3 {
        gate.get("/", &[alice.field()]);
    }
    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("requests: 5", "requests: 10"));
    gate.eventually("the new limit shows", |gate| {
        gate.get("/", &[]).status == 401 && gate.metric("keygate_reloads_total", &["configuration", "ok"]) == 1.0
    });
    let response = gate.get("/", &[alice.field()]);
    assert_eq!(response.number("x-ratelimit-limit"), 10);
    assert!(response.number("x-ratelimit-remaining") < 7, "what was spent stays spent: {response:?}");
}

#[test]
fn a_broken_configuration_keeps_the_good_one() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).start();
    gate.replace("keygate.yaml", "listen: 127.0.0.1:0\nupstrem: http://127.0.0.1:1\n");
    gate.eventually("it is reported", |gate| gate.metric("keygate_reload_failing", &["configuration"]) == 1.0);
    assert!(gate.stderr().contains("did you mean `upstream`"), "{}", gate.stderr());
    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
}

#[test]
fn another_upstream_takes_effect_without_a_failed_request() {
    let (first, second, alice) = (Upstream::hello(), Upstream::echo(), key("alice"));
    let gate = gate(&first).key(&alice).start();
    let mut client = gate.client();
    assert_eq!(client.request("POST", "/", &[alice.field()], b"x").text(), "hello");
    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace(&first.to_string(), &second.to_string()));
    gate.eventually("the second answers", |_| client.request("POST", "/", &[alice.field()], b"x").text() == "x");
    gate.signal("HUP");
    gate.eventually("SIGHUP reloads too", |gate| gate.metric("keygate_reloads_total", &["configuration", "ok"]) == 2.0);
}

#[test]
fn certificates_are_replaced_and_a_bad_pair_keeps_the_old_one() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).tls().start();
    let curl = |gate: &Gate, ca: &str| {
        let url = format!("https://localhost:{}/", gate.address.port());
        let field = format!("X-API-Key: {}", alice.secret);
        let ca = gate.file(ca);
        crate::programs::run("curl", &["-sS", "--cacert", ca.to_str().unwrap(), "-H", &field, &url])
    };
    assert_eq!(curl(&gate, "tls.crt").unwrap(), "hello");
    fs::copy(gate.file("tls.crt"), gate.file("old.crt")).unwrap();

    fs::write(gate.file("tls.key"), "not a key").unwrap();
    gate.eventually("it is reported", |gate| gate.metric("keygate_reload_failing", &["certificates"]) == 1.0);
    assert_eq!(curl(&gate, "old.crt").unwrap(), "hello", "the old pair serves on");

    make_certificate(gate.file("").as_path(), "tls", &["localhost"]);
    gate.eventually("it is replaced", |gate| gate.metric("keygate_reload_failing", &["certificates"]) == 0.0);
    gate.eventually("the new one is served", |gate| curl(gate, "tls.crt").is_ok());
    assert!(curl(&gate, "old.crt").is_err());
    assert!(gate.metric("keygate_certificate_expiry_timestamp_seconds", &[]) > 0.0);
}
