//! The same cases, put to other gateways: `make compare`. `docs/conformance.md` has the table, and says how it is judged.
//!
//! The cases hold keygate's promises. What another gateway does differently is a fault only if harm comes of it, so
//! differences are told apart by what arrived at the upstream.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::book::{self, Case};
use crate::judge::judge;
use crate::paths::{Demand, demands, plainly_demands};
use crate::peer::Program;
use crate::recorder::Arrived;
use crate::told;
use crate::world::{Ending, Seen, World};

/// Gateways of one kind that are asked at once, each with an upstream of its own. Much of the time is waiting.
const LANES: usize = 8;

/// Fields whose values only the gateway may have written.
const RESERVED: &[&str] = &[
    "x-auth-user",
    "x-auth-key",
    "x-auth-tenant",
    "x-keygate-user",
    "x-keygate-key-id",
    "x-keygate-permissions",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-request-id",
    "host",
];

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All of it is as the case says.
    Passed,
    /// Stricter, another status, another harmless form of what arrives, or another limit.
    Other,
    /// Something was taken that should have been refused or removed, and no harm came of it in this form.
    Lenient,
    /// Something arrived that must not: without the right to it, in somebody else's name, or unseen by the gateway.
    Through,
}

#[test]
#[ignore = "puts every case to nginx, HAProxy and Caddy as well: `make compare`"]
fn the_same_cases_put_to_other_gateways() {
    let cases = book::all();
    let mut names = vec![format!("keygate {}", env!("CARGO_PKG_VERSION"))];
    let mut outcomes = vec![put(&cases, World::open)];
    for program in [Program::Nginx, Program::HAProxy, Program::Caddy] {
        names.push(program.version());
        outcomes.push(put(&cases, || World::of(program)));
    }
    let table = table(&cases, &names, &outcomes);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("table.md"), &table).unwrap();
    for (name, outcomes) in names.iter().zip(&outcomes) {
        let file = folder.join(format!("{}.txt", name.split(' ').next().unwrap_or_default().to_lowercase()));
        std::fs::write(file, details(&cases, outcomes)).unwrap();
    }
    println!("\n{table}\nEach difference, by its kind and case: {}", folder.display());
    assert!(outcomes[0].iter().all(|(outcome, _)| *outcome == Outcome::Passed), "keygate: see keygate.txt");
}

/// Puts every case, and keeps what came of it and how it is told.
fn put(cases: &[Case], open: impl Fn() -> World + Sync) -> Vec<(Outcome, String)> {
    let outcomes = Mutex::new(vec![(Outcome::Passed, String::new()); cases.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let world = open();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { break };
                    let seen = world.ask(case);
                    if let Err(fault) = judge(case, &seen) {
                        let (outcome, harm) = difference(case, &seen);
                        let fault = if harm.is_empty() { fault } else { format!("{harm}; {fault}") };
                        outcomes.lock().unwrap()[number] = (outcome, told(case, &fault, &seen));
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// What kind of difference it is, and which harm.
fn difference(case: &Case, seen: &Seen) -> (Outcome, String) {
    if !seen.others_served {
        return (Outcome::Through, "somebody else's request was not served".to_owned());
    }
    let harms = seen.arrived.iter().filter_map(|arrived| harm(arrived, seen));
    if let Some(harm) = harms.chain(intruder(case, seen)).next() {
        return (Outcome::Through, harm);
    }
    let served = |statuses: &[u16]| statuses.iter().any(|status| *status < 400);
    let statuses: Vec<_> = seen.answers.iter().map(|answer| answer.status).collect();
    let more_served = statuses.iter().filter(|status| **status < 400).count()
        > case.want.answers.iter().filter(|wanted| served(wanted)).count();
    // Where the head or the framing is unclear, nobody can say where the next request begins.
    let unclear = ["chunks", "lengths", "lines", "fields"].contains(&case.file.as_str());
    let stays_open = unclear && case.want.closed && seen.ending == Ending::Open && statuses.contains(&400);
    let only_a_limit = case.want.answers.iter().flatten().all(|status| matches!(status, 414 | 431));
    let dirty = seen.arrived.iter().any(|arrived| !clean(arrived));
    let outcome = if !dirty && (only_a_limit || left_open(case, seen)) {
        Outcome::Other
    } else if dirty || more_served || stays_open {
        Outcome::Lenient
    } else {
        Outcome::Other
    };
    (outcome, String::new())
}

/// Whether the standards leave it open, or demand nothing: what keygate refuses there, another may take.
fn left_open(case: &Case, seen: &Seen) -> bool {
    // Unfolded (RFC 9112, section 5.2); by the chunks, if the connection ends behind it (section 6.3).
    let unfolded = case.entry.starts_with("A folded line");
    let by_chunks = case.entry.starts_with("Both framings") && seen.answers.len() == 1 && seen.ending == Ending::Closed;
    // A higher minor version is read as the highest one that is known (RFC 9110, section 2.5).
    let higher = case.title.ends_with("HTTP/1.2");
    // How a path is spelled, as long as nobody finds another in it.
    unfolded || by_chunks || higher || case.file == "paths"
}

/// Which harm it does that this arrived.
fn harm(arrived: &Arrived, seen: &Seen) -> Option<String> {
    let (line, head) = (arrived.line(), &arrived.head);
    let method = line.split(' ').next().unwrap_or_default();
    if method == "CONNECT" || arrived.values("upgrade").iter().any(|value| value.to_lowercase().contains("h2c")) {
        return Some(format!("a tunnel: {line}"));
    }
    if head.contains(&0) || head.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n') {
        return Some("NUL or a bare CR in the head".to_owned());
    }
    if arrived
        .fault
        .as_ref()
        .is_some_and(|fault| fault.contains("ambiguous") || fault.contains("chunk") || fault.contains("framing"))
    {
        return Some("wrong framing".to_owned());
    }
    let written =
        arrived.values("x-forwarded-for") == [seen.from.to_string()] && arrived.values("x-request-id").len() == 1;
    if !written {
        return Some(format!("the gateway has not seen {line}, or did not write its fields"));
    }
    for (name, value) in arrived.fields() {
        let plain = name.replace('_', "-");
        // Hosts are named by clients, and a good one may have the word in it.
        let by_client = if plain.ends_with("host") { value == "evil" } else { value.contains("evil") };
        if RESERVED.contains(&plain.as_str()) && (by_client || name != plain && name != "x_auth_tenant") {
            return Some(format!("forged: {name}"));
        }
    }
    if arrived.values("x-forwarded-proto") != ["http"] {
        return Some("forged: x-forwarded-proto".to_owned());
    }
    if !arrived.values("x-api-key").is_empty() {
        return Some("the key goes on".to_owned());
    }
    let may = may(arrived);
    (may < plainly_demands(&arrived.target())).then(|| format!("{line} for one who may {may:?}"))
}

/// A request that reached a guarded route although it proved nothing.
fn intruder(case: &Case, seen: &Seen) -> Option<String> {
    let unproven = case.want.answers.iter().any(|wanted| matches!(wanted[..], [401 | 403]));
    let guarded = seen.arrived.iter().filter(|arrived| arrived.complete && may(arrived) > Demand::Nothing).count();
    (unproven && guarded > case.want.arrivals.len()).then(|| "a guarded route was reached".to_owned())
}

/// What is allowed to whom this arrived for.
fn may(arrived: &Arrived) -> Demand {
    match arrived.values("x-auth-user").first().map(String::as_str) {
        Some("u-admin") => Demand::Admin,
        Some("u-items") => Demand::Key,
        _ => Demand::Nothing,
    }
}

/// Whether no server, however it reads paths, finds one in it that demands more.
fn in_order(arrived: &Arrived) -> bool {
    may(arrived) >= demands(&arrived.target())
}

/// Whether nothing arrived that must end at a gateway.
fn clean(arrived: &Arrived) -> bool {
    let gone = ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings"];
    // Names that begin so are keygate's own; others reserve those that are listed above.
    let of_keygate = |name: &str| name.starts_with("x-keygate-");
    let marked =
        |(name, value): (String, String)| !of_keygate(&name) && (name + &value).to_lowercase().contains("evil");
    let disguised = ["content_length", "transfer_encoding"].iter().any(|name| !arrived.values(name).is_empty());
    arrived.fault.is_none()
        && in_order(arrived)
        && gone.iter().all(|name| arrived.values(name).is_empty())
        && !arrived.fields().into_iter().any(marked)
        && !arrived.line().contains("smuggled")
        && !disguised
        && arrived.trailers.is_empty()
}

const KINDS: [Outcome; 3] = [Outcome::Through, Outcome::Lenient, Outcome::Other];

/// A row for each file of cases: what passed, and of the rest how much is of which kind.
fn table(cases: &[Case], names: &[String], outcomes: &[Vec<(Outcome, String)>]) -> String {
    let mut text = "| cases | number |".to_owned();
    names.iter().for_each(|name| _ = write!(text, " {name} |"));
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(names.len()));
    let mut files: Vec<_> = cases.iter().map(|case| case.file.as_str()).collect();
    files.dedup();
    for file in files.into_iter().map(Some).chain([None]) {
        let of_file = |case: &&Case| file.is_none_or(|file| case.file == file);
        _ = write!(text, "\n| {} | {} |", file.unwrap_or("all"), cases.iter().filter(of_file).count());
        for outcomes in outcomes {
            let here: Vec<_> =
                cases.iter().zip(outcomes).filter(|(case, _)| of_file(case)).map(|(_, (outcome, _))| outcome).collect();
            let count = |kind: Outcome| here.iter().filter(|outcome| ***outcome == kind).count();
            let (passed, kinds) = (count(Outcome::Passed), KINDS.map(count));
            _ = write!(text, " {passed} / {}", here.len() - passed);
            if passed < here.len() {
                _ = write!(text, " ({}, {}, {})", kinds[0], kinds[1], kinds[2]);
            }
            text.push_str(" |");
        }
    }
    text + "\n"
}

/// How often each entry came out differently, then each case of it.
fn details(cases: &[Case], outcomes: &[(Outcome, String)]) -> String {
    let mut text = String::new();
    for kind in KINDS {
        let of_kind: Vec<_> = cases.iter().zip(outcomes).filter(|(_, (outcome, _))| *outcome == kind).collect();
        let mut entries: BTreeMap<_, usize> = BTreeMap::new();
        of_kind.iter().for_each(|(case, _)| *entries.entry((&case.file, case.line, &case.entry)).or_default() += 1);
        _ = writeln!(text, "\n# {kind:?}: {}\n", of_kind.len());
        entries.iter().for_each(|((file, line, entry), count)| _ = writeln!(text, "{count:5}  {file}:{line}: {entry}"));
        text.push('\n');
        of_kind.iter().for_each(|(_, (_, told))| _ = writeln!(text, "{told}"));
    }
    text
}
