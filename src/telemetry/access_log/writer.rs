//! The buffers of the workers, and the thread that empties them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Destination;

/// Bytes in a buffer at which the thread is woken, which otherwise looks every [`INTERVAL`].
const WAKE_BYTES: usize = 32 * 1024;

/// Bytes a buffer may hold. With four hundred bytes a line this is a tenth of a second of 26 000 requests a second.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that an emptied buffer keeps.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// How long a line waits at most before the thread looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long the thread waits before it tries again to write to a destination that takes nothing at the moment.
const RETRY: Duration = Duration::from_millis(5);

/// The buffers, and the thread that empties them.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What workers and thread have in common.
struct Shared {
    buffers: Vec<Slot>,
    dropped: AtomicU64,
    reopen: AtomicBool,
    /// Nobody waits for what is still to be written: the thread gives up as soon as the destination takes nothing.
    abandoned: AtomicBool,
    rounds: Mutex<Rounds>,
    round_ended: Condvar,
}

/// A buffer with cache lines of its own.
#[repr(align(128))]
struct Slot(Mutex<Buffer>);

/// The lines of one worker that are still to be taken.
struct Buffer {
    bytes: Vec<u8>,
    /// Nobody will come for more.
    closed: bool,
}

/// How many times the buffers have been emptied, and how many times they should be.
#[derive(Default)]
struct Rounds {
    wanted: u64,
    done: u64,
    /// The next round is the last.
    last: bool,
}

impl Writer {
    /// Opens the destination and starts the thread.
    pub(super) fn start(destination: Destination, workers: usize) -> io::Result<Self> {
        let output = Output::open(destination)?;
        Self::start_with(output, workers)
    }

    /// Starts the thread for a destination that is open.
    fn start_with(output: Output, workers: usize) -> io::Result<Self> {
        let slot = || Slot(Mutex::new(Buffer { bytes: Vec::with_capacity(2 * WAKE_BYTES), closed: false }));
        let shared = Arc::new(Shared {
            buffers: (0..workers).map(|_| slot()).collect(),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            rounds: Mutex::default(),
            round_ended: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("access-log".to_owned()).spawn(move || shared.run(output))?
        };
        Ok(Self { shared, thread })
    }

    /// Lets `format` append a line to the buffer of `worker`.
    pub(super) fn append(&self, worker: usize, format: impl FnOnce(&mut Vec<u8>)) {
        let slot = &self.shared.buffers[worker % self.shared.buffers.len()];
        let mut buffer = slot.lock();
        let before = buffer.bytes.len();
        if buffer.closed || before >= BUFFER_BYTES_MAX {
            drop(buffer);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        format(&mut buffer.bytes);
        let after = buffer.bytes.len();
        drop(buffer);
        if before < WAKE_BYTES && after >= WAKE_BYTES {
            self.thread.thread().unpark();
        }
    }

    /// Waits until what was appended before is written, until `deadline` at most; says whether it is.
    pub(super) fn flush(&self, deadline: Instant) -> bool {
        self.round(false, deadline)
    }

    /// Like [`Writer::flush`], and the last: what is appended later is dropped, and what cannot be written until
    /// `deadline` is given up as soon as the thread notices.
    pub(super) fn close(&self, deadline: Instant) -> bool {
        let written = self.round(true, deadline);
        if !written {
            self.shared.abandoned.store(true, Ordering::Relaxed);
            self.thread.thread().unpark();
        }
        written
    }

    /// Lines that did not reach the destination.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Has the file opened again after the next round.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Asks for a round that begins after now, and waits for its end.
    fn round(&self, last: bool, deadline: Instant) -> bool {
        let mut rounds = self.shared.rounds();
        rounds.last |= last;
        if self.thread.is_finished() {
            // It ended after its last round; if it did not, it has panicked.
            return rounds.done == u64::MAX;
        }
        rounds.wanted += 1;
        let goal = rounds.wanted;
        self.thread.thread().unpark();
        while rounds.done < goal {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return false;
            };
            let (again, _) = self.shared.round_ended.wait_timeout(rounds, left).unwrap_or_else(PoisonError::into_inner);
            rounds = again;
        }
        true
    }
}

impl Slot {
    /// The buffer; a panic while formatting leaves at worst half a line in it.
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The thread: round after round until one is the last.
    fn run(&self, mut output: Output) {
        let mut spare = Vec::with_capacity(2 * WAKE_BYTES);
        loop {
            let (goal, last) = {
                let rounds = self.rounds();
                (rounds.wanted, rounds.last)
            };
            for slot in &self.buffers {
                let mut buffer = slot.lock();
                mem::swap(&mut buffer.bytes, &mut spare);
                buffer.closed |= last;
                drop(buffer);

                let lost = output.write(&spare, &self.abandoned);
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                spare.clear();
                spare.shrink_to(KEPT_BYTES_MAX);
            }
            if self.reopen.swap(false, Ordering::Relaxed) {
                output.reopen();
            }

            let mut rounds = self.rounds();
            rounds.done = goal;
            if last {
                // Whoever asked while the last round was under way has nothing to wait for.
                rounds.done = u64::MAX;
            }
            let more = rounds.wanted > rounds.done || rounds.last;
            drop(rounds);
            self.round_ended.notify_all();
            if last {
                return;
            }
            if !more {
                thread::park_timeout(INTERVAL);
            }
        }
    }

    /// The rounds; nothing that holds this lock can panic half-way.
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open destination.
struct Output {
    destination: Destination,
    sink: Box<dyn Write + Send>,
    /// An error has cut a line in two; the next one must not be its continuation.
    torn: bool,
    /// The last attempt failed, and the log has been told.
    failing: bool,
}

impl Output {
    /// Opens a destination.
    fn open(destination: Destination) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match &destination {
            // The descriptor itself: std's handle has a buffer of its own, which keeps lines back after an error.
            Destination::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Destination::File(path) => Box::new(open_file(path)?),
        };
        Ok(Self { destination, sink, torn: false, failing: false })
    }

    /// Opens the file by its name again; on an error the old one stays.
    fn reopen(&mut self) {
        match Self::open(self.destination.clone()) {
            Ok(opened) => *self = opened,
            Err(error) => tracing::error!(%error, "The access log cannot be opened again; the old file stays in use"),
        }
    }

    /// Writes whole lines and says how many of them were lost.
    fn write(&mut self, lines: &[u8], abandoned: &AtomicBool) -> u64 {
        let mut rest = lines;
        match self.try_write(&mut rest, abandoned) {
            Ok(()) => {
                if mem::take(&mut self.failing) {
                    tracing::info!("The access log is written again");
                }
                0
            }
            Err(error) => {
                // Since nothing follows the last line break, every line break in the rest is a line lost.
                let written = lines.len() - rest.len();
                self.torn = written.checked_sub(1).map_or(self.torn, |last| lines[last] != b'\n');
                if !mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "The access log cannot be written; lines are dropped");
                }
                rest.iter().filter(|byte| **byte == b'\n').count() as u64
            }
        }
    }

    /// Writes until nothing is left or an error happens; `rest` is what was not written.
    fn try_write(&mut self, rest: &mut &[u8], abandoned: &AtomicBool) -> io::Result<()> {
        if rest.is_empty() {
            return Ok(());
        }
        if self.torn {
            let mut line_break: &[u8] = b"\n";
            write_some(self.sink.as_mut(), &mut line_break, abandoned)?;
            self.torn = false;
        }
        while !rest.is_empty() {
            write_some(self.sink.as_mut(), rest, abandoned)?;
        }
        self.sink.flush()
    }
}

/// Writes a part of `rest` and waits while the destination takes nothing.
fn write_some(sink: &mut dyn Write, rest: &mut &[u8], abandoned: &AtomicBool) -> io::Result<()> {
    loop {
        match sink.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *rest = rest.get(written..).unwrap_or_default();
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !abandoned.load(Ordering::Relaxed) => {
                thread::park_timeout(RETRY);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a file to append to. A new one is for its owner and group only: it says who asked for what, and when.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination that does what the test says.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<PipeState>>);

    #[derive(Default)]
    struct PipeState {
        taken: Vec<u8>,
        /// What the next calls answer, before anything is taken.
        errors: Vec<io::ErrorKind>,
        /// Takes so many bytes and then nothing.
        room: Option<usize>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if let Some(error) = state.errors.pop() {
                return Err(error.into());
            }
            let room = state.room.unwrap_or(usize::MAX);
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(room).min(1000);
            state.taken.extend_from_slice(&bytes[..taken]);
            state.room = state.room.map(|room| room - taken);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn writer(&self, workers: usize) -> Writer {
            let sink = Box::new(self.clone());
            let output = Output { destination: Destination::Stdout, sink, torn: false, failing: false };
            Writer::start_with(output, workers).expect("a thread")
        }

        fn set(&self, room: Option<usize>) {
            self.0.lock().unwrap().room = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().taken.clone()).expect("UTF-8")
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn append(writer: &Writer, worker: usize, line: &str) {
        writer.append(worker, |buffer| buffer.extend_from_slice(line.as_bytes()));
    }

    #[test]
    fn every_line_of_every_worker_is_written_once_and_in_the_order_of_its_worker() {
        let pipe = Pipe::default();
        let writer = pipe.writer(4);
        thread::scope(|scope| {
            for worker in 0..4 {
                let writer = &writer;
                scope.spawn(move || (0..5000).for_each(|n| append(writer, worker, &format!("{worker} {n}\n"))));
            }
        });
        assert!(writer.close(soon()));
        assert_eq!(writer.dropped(), 0);

        let text = pipe.text();
        for worker in 0..4 {
            let start = format!("{worker} ");
            let numbers: Vec<usize> =
                text.lines().filter_map(|line| line.strip_prefix(&start)).map(|n| n.parse().expect("whole")).collect();
            assert!(numbers.into_iter().eq(0..5000), "worker {worker}");
        }
        assert_eq!(text.lines().count(), 20_000);
    }

    #[test]
    fn a_line_is_written_without_being_asked_for() {
        let pipe = Pipe::default();
        let writer = pipe.writer(1);
        append(&writer, 0, "hello\n");
        let deadline = soon();
        while pipe.text() != "hello\n" {
            assert!(Instant::now() < deadline, "nothing came");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The road never waits: a destination that has stopped costs lines, all of which are counted, and bounded memory.
    #[test]
    fn a_destination_that_takes_nothing_costs_lines_and_not_time() {
        let pipe = Pipe::default();
        pipe.set(Some(0));
        let writer = pipe.writer(1);
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..5000 {
            append(&writer, 0, &line);
        }
        assert!(writer.shared.buffers[0].lock().bytes.len() <= BUFFER_BYTES_MAX + line.len());
        assert!(writer.dropped() > 0);
        assert!(!writer.flush(Instant::now() + Duration::from_millis(20)), "nothing can be written");

        pipe.set(None);
        assert!(writer.close(soon()));
        assert_eq!(pipe.text().lines().count() as u64 + writer.dropped(), 5000);
        assert!(pipe.text().lines().all(|line| line.len() == 999));
    }

    #[test]
    fn closing_gives_up_at_its_deadline() {
        let pipe = Pipe::default();
        pipe.set(Some(0));
        let writer = pipe.writer(1);
        append(&writer, 0, "never\n");
        let start = Instant::now();
        assert!(!writer.close(start + Duration::from_millis(50)));
        assert!(start.elapsed() < Duration::from_secs(10));

        let deadline = soon();
        while !writer.thread.is_finished() {
            assert!(Instant::now() < deadline, "the thread has not given up");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(writer.dropped(), 1);
        append(&writer, 0, "too late\n");
        assert_eq!(writer.dropped(), 2, "a closed log counts what it does not take");
    }

    #[test]
    fn an_error_costs_the_lines_it_hit_and_no_line_continues_another() {
        let pipe = Pipe::default();
        let mut output =
            Output { destination: Destination::Stdout, sink: Box::new(pipe.clone()), torn: false, failing: false };
        let goes_on = AtomicBool::new(false);

        pipe.0.lock().unwrap().errors = vec![io::ErrorKind::StorageFull];
        assert_eq!(output.write(b"a\nb\n", &goes_on), 2);
        assert_eq!(output.write(b"c\n", &goes_on), 0);

        // The destination takes "d" and half of "ee", and is then given up.
        pipe.set(Some(3));
        assert_eq!(output.write(b"d\nee\nf\n", &AtomicBool::new(true)), 2);
        pipe.set(None);
        pipe.0.lock().unwrap().errors = vec![io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
        assert_eq!(output.write(b"g\n", &goes_on), 0);
        assert_eq!(pipe.text(), "c\nd\ne\ng\n");
    }
}
