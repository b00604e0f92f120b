//! Files that change as Kubernetes, editors and careful writers change them: keys, certificates and configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::gate::{Gate, key_file, make_certificate};
use crate::key::{TestKey, key};
use crate::upstream::Upstream;

/// Files by their names.
type Files = Vec<(&'static str, String)>;

/// A folder as the kubelet mounts it (`AtomicWriter`, in five steps).
struct Mount {
    path: PathBuf,
    round: usize,
}

impl Mount {
    fn new(path: PathBuf, files: &Files) -> Self {
        fs::create_dir(&path).unwrap();
        let mut mount = Self { path, round: 0 };
        mount.swap(files);
        mount
    }

    fn swap(&mut self, files: &Files) {
        self.round += 1;
        let folder = format!("..2026_11_22_{}", self.round);
        fs::create_dir(self.path.join(&folder)).unwrap();
        for (name, content) in files {
            fs::write(self.path.join(&folder).join(name), content).unwrap();
        }
        let (data, aside) = (self.path.join("..data"), self.path.join("..data_tmp"));
        let before = fs::read_link(&data).ok();
        symlink(&folder, &aside).unwrap();
        fs::rename(aside, data).unwrap();
        for (name, _) in files.iter().filter(|(name, _)| fs::symlink_metadata(self.path.join(name)).is_err()) {
            symlink(Path::new("..data").join(name), self.path.join(name)).unwrap();
        }
        for link in fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().path()) {
            let name = link.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                fs::remove_file(link).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.path.join(before)).unwrap();
        }
    }

    /// The volume is gone, and comes back with other files.
    fn away(&self) {
        fs::remove_dir_all(&self.path).unwrap();
    }

    fn back(&mut self, files: &Files) {
        fs::create_dir(&self.path).unwrap();
        self.swap(files);
    }
}

/// What changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Keys,
    Certificates,
    Configuration,
}

/// What all the files of a test are made from.
struct World {
    upstream: Upstream,
    /// Good in every round.
    always: TestKey,
    /// Whether that key is in the other file each time, which only a swap of both at once bears.
    moves: bool,
    /// Each good in one round.
    keys: Vec<TestKey>,
    certificates: Vec<[String; 2]>,
}

const ROUNDS: usize = 24;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = |round: usize| {
            make_certificate(folder.path(), "tls", &[&format!("round-{round}.example"), "localhost"]);
            ["tls.crt", "tls.key"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
        };
        Self {
            upstream: Upstream::hello(),
            always: key("always"),
            moves: true,
            keys: (0..ROUNDS).map(|round| key(&format!("round-{round}"))).collect(),
            certificates: (0..ROUNDS).map(certificate).collect(),
        }
    }

    /// The good files of a round.
    fn files(&self, part: Part, round: usize) -> Files {
        match part {
            Part::Keys => {
                let (always, own) = (self.always.clone(), self.keys[round].clone());
                let (one, other) = if self.moves && round.is_multiple_of(2) {
                    (vec![always, own], vec![])
                } else {
                    (vec![own], vec![always])
                };
                vec![("one.yaml", key_file(&one)), ("other.yaml", key_file(&other))]
            }
            Part::Certificates => {
                let [certificate, key] = self.certificates[round].clone();
                vec![("tls.crt", certificate), ("tls.key", key)]
            }
            Part::Configuration => {
                let pair = "{ certificate: ../tls/tls.crt, key: ../tls/tls.key }";
                let text = format!(
                    "listen:\n  - 127.0.0.1:0\n  - {{ address: 127.0.0.2:0, tls: {{ certificates: [{pair}] }} }}\n\
                     upstream: {}\nkeys: {{ directory: ../keys }}\nadmin: {{ listen: 127.0.0.1:0 }}\n\
                     log: {{ format: json }}\n\
                     limits: [{{ name: per-key, per: key, requests: {}, window: 1h }}]\n",
                    self.upstream,
                    1_000_000 + round
                );
                vec![("keygate.yaml", text)]
            }
        }
    }

    /// Files that are no good, made from those of a round.
    fn broken(&self, part: Part, round: usize) -> Vec<(&'static str, Files)> {
        let good = self.files(part, round);
        let with_first = |content: &str| {
            let mut files = good.clone();
            content.clone_into(&mut files[0].1);
            files
        };
        let mut all = vec![
            ("empty", with_first("")),
            ("cut in the middle", with_first(&good[0].1[..good[0].1.len() - 8])),
            ("something else", with_first("{ not: [what, it, should, be }")),
            ("gone", good[1..].to_vec()),
        ];
        if part == Part::Certificates {
            let mut half = self.files(part, round + 1);
            half[1] = good[1].clone();
            all.push(("half of a pair", half));
            all.push(("without its key", good[..1].to_vec()));
        }
        if part == Part::Keys {
            // One file of two is no mistake: it may be meant. None is.
            all[3] = ("gone", Vec::new());
        }
        all
    }
}

impl Part {
    const fn folder(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Certificates => "tls",
            Self::Configuration => "config",
        }
    }

    /// Its label in the metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Keys => "\"keys\"",
            Self::Certificates => "\"certificates\"",
            Self::Configuration => "\"configuration\"",
        }
    }

    /// Whether the files of this round are in force, and no others.
    fn is_in_force(self, gate: &Gate, world: &World, round: usize) -> bool {
        let answered = gate.get("/", &[world.always.field()]);
        assert_eq!(answered.status, 200, "whatever happens");
        match self {
            Self::Keys => {
                let status = |round: usize| gate.get("/", &[world.keys[round].field()]).status;
                status(round) == 200 && (round == 0 || status(round - 1) == 401)
            }
            Self::Certificates => {
                let name = format!("\"round-{round}.example\"");
                gate.metric("keygate_certificate_expiry_timestamp_seconds", &[&name]) > 0.0
            }
            Self::Configuration => answered.number("x-ratelimit-limit") == 1_000_000 + round as u64,
        }
    }
}

/// A gateway whose files are in three mounts.
fn mounted(world: &World) -> (Gate, [Mount; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let mounts = [Part::Keys, Part::Certificates, Part::Configuration]
        .map(|part| Mount::new(directory.path().join(part.folder()), &world.files(part, 0)));
    let mut gate = Gate::run(directory, Path::new("config/keygate.yaml"), &[]);
    for key in world.keys.iter().chain([&world.always]) {
        gate.watch_for(key);
    }
    (gate, mounts)
}

/// Waits until the files of a round are in force.
#[track_caller]
fn takes(part: Part, gate: &Gate, world: &World, round: usize, row: &str) {
    gate.eventually(row, |gate| part.is_in_force(gate, world, round));
    gate.eventually(row, |gate| gate.metric("keygate_reload_failing", &[part.label()]) == 0.0);
}

/// Waits until it is told that what is there now is no good, and that what was good stays.
#[track_caller]
fn keeps(part: Part, gate: &Gate, world: &World, round: usize, (row, last_success_s): (&str, f64)) {
    gate.eventually(row, |gate| gate.metric("keygate_reload_failing", &[part.label()]) == 1.0);
    assert!(part.is_in_force(gate, world, round), "{row}");
    let success = gate.metric("keygate_reload_last_success_timestamp_seconds", &[part.label()]);
    assert_eq!(success, last_success_s, "{row}");
}

fn last_success_s(part: Part, gate: &Gate) -> f64 {
    gate.metric("keygate_reload_last_success_timestamp_seconds", &[part.label()])
}

/// The kubelet's way, with good files and bad ones.
fn every_swap_is_taken_or_refused(part: Part) {
    let world = World::new();
    let (gate, mut mounts) = mounted(&world);
    let mount = mounts.iter_mut().find(|mount| mount.path.ends_with(part.folder())).unwrap();
    takes(part, &gate, &world, 0, "at the start");
    mount.swap(&world.files(part, 1));
    takes(part, &gate, &world, 1, "a swap");
    mount.swap(&world.files(part, 2));
    mount.swap(&world.files(part, 3));
    takes(part, &gate, &world, 3, "two swaps in a row");

    let mut round = 3;
    for (row, files) in world.broken(part, round) {
        let success = last_success_s(part, &gate);
        let failed = gate.metric("keygate_reloads_total", &[part.label(), "\"failed\""]);
        mount.swap(&files);
        keeps(part, &gate, &world, round, (row, success));
        assert_eq!(
            gate.metric("keygate_reloads_total", &[part.label(), "\"failed\""]),
            failed + 1.0,
            "{row}: told once"
        );
        round += 1;
        mount.swap(&world.files(part, round));
        takes(part, &gate, &world, round, row);
    }
    for _ in 0..2 {
        let success = last_success_s(part, &gate);
        mount.away();
        keeps(part, &gate, &world, round, ("the volume is gone", success));
        round += 1;
        mount.back(&world.files(part, round));
        takes(part, &gate, &world, round, "the volume is back");
        round += 1;
        mount.swap(&world.files(part, round));
        takes(part, &gate, &world, round, "a swap in another volume");
    }
    assert!(round < ROUNDS);
}

#[test]
fn every_swap_of_keys_is_taken_or_refused() {
    every_swap_is_taken_or_refused(Part::Keys);
}

#[test]
fn every_swap_of_a_certificate_is_taken_or_refused() {
    every_swap_is_taken_or_refused(Part::Certificates);
}

#[test]
fn every_swap_of_the_configuration_is_taken_or_refused() {
    every_swap_is_taken_or_refused(Part::Configuration);
}

/// A way to write a file anew.
type Way<'w> = &'w dyn Fn(&Path, &str);

/// The ways of editors and careful writers, each with good files and bad ones.
#[test]
fn every_way_to_write_a_file_is_taken_or_refused() {
    let in_place = |file: &Path, content: &str| fs::write(file, content).unwrap();
    let renamed = |file: &Path, content: &str| {
        let aside = file.with_extension("new");
        fs::write(&aside, content).unwrap();
        fs::rename(aside, file).unwrap();
    };
    let with_backup = |file: &Path, content: &str| {
        let backup = file.with_extension("bak");
        fs::rename(file, &backup).unwrap();
        fs::write(file, content).unwrap();
        fs::remove_file(backup).unwrap();
    };
    let ways: [(&str, Way<'_>); 3] =
        [("written in place", &in_place), ("renamed over it", &renamed), ("with a backup", &with_backup)];

    let world = World { moves: false, ..World::new() };
    let (gate, mounts) = mounted(&world);
    for (part, mount) in [Part::Keys, Part::Certificates, Part::Configuration].into_iter().zip(&mounts) {
        // From now on it is a plain folder.
        fs::remove_dir_all(&mount.path).unwrap();
        fs::create_dir(&mount.path).unwrap();
        // Between two files a busy machine may pause for longer than keygate waits: each must be good by itself. So
        // what is always good comes first, and is not written again.
        let write = |way: Way<'_>, files: &Files| {
            for (name, content) in files.iter().rev() {
                let file = mount.path.join(name);
                if fs::read_to_string(&file).ok().as_ref() != Some(content) {
                    way(&file, content);
                }
            }
        };
        write(&renamed, &world.files(part, 1));
        takes(part, &gate, &world, 1, "plain files");
        let mut round = 1;
        for (row, way) in ways {
            round += 1;
            write(way, &world.files(part, round));
            takes(part, &gate, &world, round, row);
            for (broken, files) in &world.broken(part, round)[..3] {
                write(way, files);
                let row = format!("{broken}, {row}");
                keeps(part, &gate, &world, round, (&row, last_success_s(part, &gate)));
                round += 1;
                write(way, &world.files(part, round));
                takes(part, &gate, &world, round, &row);
            }
        }
    }
}

/// Whoever reads two files while they are swapped must not take one from before and one from after it: then a key that
/// moves to the other file is nowhere for a moment, or twice, and a certificate has another's key.
#[test]
fn files_that_are_swapped_together_are_read_together() {
    let world = World::new();
    let (gate, [mut keys, mut certificates, _]) = mounted(&world);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = gate.client();
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.request("GET", "/", &[world.always.field()], b"").status, 200);
            }
        });
        for round in 0..300 {
            keys.swap(&world.files(Part::Keys, round % ROUNDS));
            certificates.swap(&world.files(Part::Certificates, round % ROUNDS));
            std::thread::sleep(Duration::from_millis(7));
        }
        done.store(true, Ordering::Relaxed);
    });
    let last = 299 % ROUNDS;
    for part in [Part::Keys, Part::Certificates] {
        takes(part, &gate, &world, last, "the last swap");
        assert_eq!(gate.metric("keygate_reloads_total", &[part.label(), "\"failed\""]), 0.0, "{}", gate.stderr());
    }
}
