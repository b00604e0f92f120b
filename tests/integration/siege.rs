//! A gateway under attack, and a well-behaved client that goes on asking meanwhile: what the attack may cost the gateway, and
//! how long the client may wait.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::encrypted::{Duplex, Tls, plain};
use crate::gate::Gate;
use crate::guards::connect_from;
use crate::key::TestKey;

/// What the memory of the gateway may grow by in an attack, if nothing else is said.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// How long nine of ten answers to a well-behaved client may take meanwhile, on connections that it has and on new ones.
const ANSWER_MAX: Duration = Duration::from_millis(1500);

/// How long any of them may take.
const SLOWEST_ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where nine of ten answers took longer than this right before, the machine is too slow for these times.
const SLOW_MACHINE: Duration = Duration::from_millis(75);

/// The share of a processor that what the test itself asks meanwhile may take: the well-behaved client's requests, and the
/// page of metrics up to a hundred times a second.
const SHARE_OF_THE_TEST: f64 = 0.5;

/// One side of the well-behaved client: how long its answers took, sorted.
type Times = Vec<Duration>;

/// A gateway that is about to be attacked.
pub(crate) struct Siege<'g> {
    gate: &'g Gate,
    alice: &'g TestKey,
    tls: Option<Tls>,
    memory_bytes_max: u64,
}

impl<'g> Siege<'g> {
    /// Its well-behaved client speaks plain HTTP/1.1.
    pub(crate) fn of(gate: &'g Gate, alice: &'g TestKey) -> Self {
        Self { gate, alice, tls: None, memory_bytes_max: MEMORY_BYTES_MAX }
    }

    /// Its well-behaved client speaks HTTP/1.1 over TLS.
    pub(crate) fn of_tls(gate: &'g Gate, alice: &'g TestKey) -> Self {
        Self { tls: Some(Tls::to(gate, "http/1.1")), ..Self::of(gate, alice) }
    }

    /// Its memory may grow by so much.
    pub(crate) fn growing(self, memory_bytes_max: u64) -> Self {
        Self { memory_bytes_max, ..self }
    }

    /// Attacks, prints what came of it and checks the bounds. `processor_max` says how much processor time the attack may
    /// cost, by what it did.
    #[track_caller]
    pub(crate) fn withstands<T>(
        &self,
        name: &str,
        processor_max: impl FnOnce(&T) -> Duration,
        attack: impl FnOnce() -> T,
    ) -> T {
        let usual = nine_of_ten(&self.undisturbed());
        let (memory_before, busy_before) = (self.gate.memory_bytes(), self.gate.processor_time());
        let (over, begun) = (AtomicBool::new(false), Instant::now());
        let (done, peak, [kept, fresh]) = thread::scope(|scope| {
            let honest = scope.spawn(|| self.ask_until(&over));
            let watching = scope.spawn(|| self.peak_until(&over));
            // It is over for the others, too, when the attack panics.
            let _over = Over(&over);
            let done = attack();
            over.store(true, Ordering::SeqCst);
            (done, watching.join().unwrap(), honest.join().unwrap())
        });
        let (took, spent) = (begun.elapsed(), self.gate.processor_time() - busy_before);
        let grown = peak.saturating_sub(memory_before);
        println!(
            "{name}: {} KiB more memory, {spent:?} of processor time in {took:?}; undisturbed {usual:?}",
            grown >> 10
        );
        assert!(grown < self.memory_bytes_max, "{name}: {} MiB more memory", grown >> 20);
        let slower = (usual.as_secs_f64() / SLOW_MACHINE.as_secs_f64()).max(1.0);
        for (times, whose) in [(kept, "a connection that it has"), (fresh, "a new one each time")] {
            let (most, slowest) = (nine_of_ten(&times), times[times.len() - 1]);
            println!("    on {whose}: nine of ten of {} answers within {most:?}, all within {slowest:?}", times.len());
            // Of few answers nine of ten are all of them.
            let most_max = if times.len() < 10 { SLOWEST_ANSWER_MAX } else { ANSWER_MAX };
            assert!(most < most_max.mul_f64(slower), "{name}, on {whose}: answers took {most:?}");
            assert!(slowest < SLOWEST_ANSWER_MAX.mul_f64(slower), "{name}, on {whose}: an answer took {slowest:?}");
        }
        let processor_max = processor_max(&done) + took.mul_f64(SHARE_OF_THE_TEST);
        assert!(spent < processor_max, "{name}: {spent:?} of processor time, and {processor_max:?} is the most");
        done
    }

    /// Answers before the attack.
    fn undisturbed(&self) -> Times {
        let mut times: Times = (0..20).map(|_| self.ask(&mut self.connect())).collect();
        times.sort_unstable();
        times
    }

    /// Asks by turns on a connection that is there and on a new one.
    fn ask_until(&self, over: &AtomicBool) -> [Times; 2] {
        let (mut kept, mut kept_since, mut times) = (self.connect(), Instant::now(), [Vec::new(), Vec::new()]);
        // An attack may be over before this begins.
        while times[0].is_empty() || !over.load(Ordering::SeqCst) {
            // Where the machine was busy for as long as a connection may be idle, it is closed, and rightly.
            if kept_since.elapsed() > Duration::from_millis(500) {
                kept = self.connect();
            }
            times[0].push(self.ask(&mut kept));
            kept_since = Instant::now();
            let begun = Instant::now();
            self.ask(&mut self.connect());
            times[1].push(begun.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        times
    }

    fn connect(&self) -> Client<Box<dyn Duplex>> {
        match &self.tls {
            Some(tls) => Client::on(Box::new(tls.connect())),
            None => Client::on(Box::new(plain(self.gate.address))),
        }
    }

    #[track_caller]
    fn ask(&self, client: &mut Client<Box<dyn Duplex>>) -> Duration {
        let begun = Instant::now();
        assert_eq!(client.request("GET", "/", &[self.alice.field()], b"").status, 200);
        begun.elapsed()
    }

    fn peak_until(&self, over: &AtomicBool) -> u64 {
        let mut peak = 0;
        while !over.load(Ordering::SeqCst) {
            peak = peak.max(self.gate.memory_bytes());
            thread::sleep(Duration::from_millis(10));
        }
        peak
    }
}

/// Says that it is over when it is dropped.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn nine_of_ten(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 9).div_ceil(10) - 1]
}

/// Connections in a crowd.
pub(crate) const CROWD: u16 = 2000;

/// What the memory of the gateway may grow by for a crowd: 56 KiB for each, with a request in flight and its connection to the
/// upstream. Half of it was measured in a debug build.
pub(crate) const CROWD_BYTES_MAX: u64 = CROWD as u64 * 56 * 1024;

/// A crowd of connections, each from an address of its own. It does not come all at once: the upstream of a test is soon at the
/// end of its backlog, and whoever finds none waits for a second.
pub(crate) fn crowd(to: SocketAddr) -> impl Iterator<Item = TcpStream> {
    (0..CROWD).map(move |number| {
        if number % 50 == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        let [high, low] = number.to_be_bytes();
        connect_from(&format!("127.2.{high}.{low}"), to)
    })
}

/// Lets this process open as many files as a crowd takes on both sides of a gateway, and with it the gateways that it starts
/// from now on.
pub(crate) fn room_for_a_crowd() {
    static ONCE: Once = Once::new();
    const FILES_MIN: u64 = 4 * CROWD as u64;
    ONCE.call_once(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let [soft, hard] = [0, 1].map(|index| line.split_whitespace().nth(index).unwrap().parse().unwrap_or(u64::MAX));
        assert!(
            hard >= FILES_MIN,
            "{FILES_MIN} open files are needed, and {hard} are the most that may be (ulimit -Hn)"
        );
        if soft < FILES_MIN {
            let (process, limit) = (format!("--pid={}", std::process::id()), format!("--nofile={FILES_MIN}:"));
            assert!(Command::new("prlimit").args([process, limit]).status().unwrap().success());
        }
    });
}
