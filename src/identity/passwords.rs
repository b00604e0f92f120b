//! Whose password is hashed when: a few threads of the lowest priority, and a bounded queue.
//!
//! A password is a thousand times the work of any other request, so it never happens on the threads that serve those. Who
//! comes when many wait is told to come again, but not at once: whoever is answered at once asks again at once. Nothing is
//! done for whoever has left.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::password::{Busy, Checked, HashError, Memory, check};
use crate::priority::step_back;

/// Passwords that may wait for a thread. The last of them waits for about a second, if the processors have nothing else
/// to do.
pub const WAITING_MAX: usize = 32;

/// How long anybody waits. Where others leave the threads no time, that is said and not kept waiting for.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long anybody waits for a place.
pub const PLACE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many wait for a place at once; each holds a connection or a stream, and its small request.
pub const PLACE_WAITERS_MAX: usize = 4096;

/// How long a thread keeps its memory when there is nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// Hashes and checks passwords, on threads of its own. They end when this is dropped.
pub struct Passwords {
    desk: Arc<Desk>,
    places: Semaphore,
    waiters: Semaphore,
    place_wait: Duration,
    wait: Duration,
}

/// A place among those who log in, until it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Place<'p> {
    _permit: SemaphorePermit<'p>,
}

impl Passwords {
    /// Starts the threads: one for each two processors, at least one.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads((processors / 2).max(1))
    }

    fn with_threads(threads: usize) -> io::Result<Self> {
        let service = Self {
            desk: Arc::default(),
            places: Semaphore::new(WAITING_MAX),
            waiters: Semaphore::new(PLACE_WAITERS_MAX),
            place_wait: PLACE_WAIT_MAX,
            wait: WAIT_MAX,
        };
        for number in 0..threads {
            let desk = Arc::clone(&service.desk);
            thread::Builder::new().name(format!("passwords-{number}")).spawn(move || work(&desk))?;
        }
        Ok(service)
    }

    /// Takes one of [`WAITING_MAX`] places, in the order in which they were asked for. To be taken before anything is done
    /// for a login, so that those for whom there is no time cost little but their answer: not the store's time either, and
    /// no more than one answer a second for each connection or stream.
    ///
    /// # Errors
    ///
    /// [`Busy`] if all are taken for [`PLACE_WAIT_MAX`], or at once if [`PLACE_WAITERS_MAX`] wait already.
    pub async fn place(&self) -> Result<Place<'_>, Busy> {
        if let Ok(permit) = self.places.try_acquire() {
            return Ok(Place { _permit: permit });
        }
        let _waiter = self.waiters.try_acquire().map_err(|_| Busy)?;
        let permit = timeout(self.place_wait, self.places.acquire()).await;
        permit.map_err(|_| Busy)?.map(|permit| Place { _permit: permit }).map_err(|_| Busy)
    }

    /// Checks a password against what is `stored` of it. `None` is a user who is not there, or has none: that takes as
    /// long, and the answer is no. So is it for a hash that cannot be understood.
    ///
    /// Nothing is done for a future that has been dropped.
    ///
    /// # Errors
    ///
    /// [`Busy`] if [`WAITING_MAX`] wait already, or after [`WAIT_MAX`].
    pub async fn verify(&self, password: Zeroizing<String>, stored: Option<String>) -> Result<Checked, Busy> {
        let (answer, answered) = oneshot::channel();
        self.desk.put(Job { password, task: Task::Verify(stored, answer) })?;
        timeout(self.wait, answered).await.map_err(|_| Busy)?.map_err(|_| Busy)
    }

    /// Hashes a password. The answer is a PHC string, which says itself how it was made.
    ///
    /// # Errors
    ///
    /// [`HashError`].
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashError> {
        check(&password)?;
        let (answer, answered) = oneshot::channel();
        self.desk.put(Job { password, task: Task::Hash(answer) })?;
        timeout(self.wait, answered).await.map_err(|_| Busy)?.unwrap_or(Err(HashError::Failed))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.desk.queue().closed = true;
        self.desk.something.notify_all();
    }
}

/// Where passwords wait for a thread.
#[derive(Default)]
struct Desk {
    queue: Mutex<Queue>,
    something: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    password: Zeroizing<String>,
    task: Task,
}

enum Task {
    Verify(Option<String>, oneshot::Sender<Checked>),
    Hash(oneshot::Sender<Result<String, HashError>>),
}

impl Job {
    /// Whether anybody waits for the answer.
    fn is_wanted(&self) -> bool {
        match &self.task {
            Task::Verify(_, answer) => !answer.is_closed(),
            Task::Hash(answer) => !answer.is_closed(),
        }
    }

    fn done(self, memory: &mut Memory) {
        // Whoever waited may have left by now.
        match self.task {
            Task::Verify(stored, answer) => drop(answer.send(memory.verify(&self.password, stored.as_deref()))),
            Task::Hash(answer) => drop(answer.send(memory.hash(&self.password))),
        }
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: Job) -> Result<(), Busy> {
        let mut queue = self.queue();
        if queue.jobs.len() >= WAITING_MAX {
            queue.jobs.retain(Job::is_wanted);
        }
        if queue.jobs.len() >= WAITING_MAX {
            return Err(Busy);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.something.notify_one();
        Ok(())
    }

    /// The next job that somebody waits for; `None` at the end. `memory` is given back while there is nothing to do.
    fn take(&self, memory: &mut Memory) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            while let Some(job) = queue.jobs.pop_front() {
                if job.is_wanted() {
                    return Some(job);
                }
            }
            if queue.closed {
                return None;
            }
            let (woken, waited) = self.something.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if waited.timed_out() && !memory.is_empty() {
                drop(queue);
                *memory = Memory::default();
                queue = self.queue();
            }
        }
    }
}

fn work(desk: &Desk) {
    step_back();
    let mut memory = Memory::default();
    while let Some(job) = desk.take(&mut memory) {
        // A job that panics is its caller's loss alone, who is told that there is no answer.
        let _ = catch_unwind(AssertUnwindSafe(|| job.done(&mut memory)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn text(password: &str) -> Zeroizing<String> {
        Zeroizing::new(password.to_owned())
    }

    async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
        let start = Instant::now();
        let value = work.await;
        (value, start.elapsed())
    }

    #[tokio::test]
    async fn a_password_is_hashed_and_checked() {
        let passwords = Passwords::with_threads(1).unwrap();
        let stored = passwords.hash(text("correct horse")).await.unwrap();
        for (password, stored, good) in [
            ("correct horse", Some(stored.clone()), true),
            ("correct", Some(stored), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(
                passwords.verify(text(password), stored).await,
                Ok(Checked { good, outdated: false }),
                "{password}"
            );
        }
        let error = passwords.hash(text("short")).await.unwrap_err().to_string();
        assert_eq!(error, "the password must have at least 8 characters");
    }

    /// Whether somebody is there must not be told by the clock. The fastest of several, and a wide margin: the machine has
    /// other things to do.
    #[tokio::test]
    async fn nobody_takes_as_long_as_somebody() {
        let passwords = Passwords::with_threads(1).unwrap();
        let somebody = passwords.hash(text("correct horse")).await.unwrap();
        let stored = [Some(somebody), None, Some("not a hash".to_owned())];
        let mut fastest = [Duration::MAX; 3];
        // In turns, so that what else the machine does meets all of them.
        for _ in 0..15 {
            for (best, stored) in fastest.iter_mut().zip(&stored) {
                *best = (*best).min(timed(passwords.verify(text("a guess"), stored.clone())).await.1);
            }
        }
        for other in &fastest[1..] {
            assert!(*other * 2 > fastest[0] && *other < fastest[0] * 2, "{fastest:?}");
        }
    }

    #[tokio::test]
    async fn more_than_may_wait_are_sent_away() {
        // Without a thread nothing is taken off the queue.
        let passwords = Arc::new(Passwords::with_threads(0).unwrap());
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let passwords = Arc::clone(&passwords);
                tokio::spawn(async move { passwords.verify(text("a guess"), None).await })
            })
            .collect();
        while passwords.desk.queue().jobs.len() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.verify(text("a guess"), None).await, Err(Busy));
        assert!(matches!(passwords.hash(text("long enough")).await, Err(HashError::Busy(Busy))));

        // One of them leaves, and has left a place.
        let leaver = &waiting[7];
        leaver.abort();
        while !leaver.is_finished() {
            tokio::task::yield_now().await;
        }
        let next = passwords.verify(text("a guess"), None);
        assert!(timeout(Duration::from_millis(50), next).await.is_err(), "waits");
        for one in waiting {
            one.abort();
        }
    }

    /// Takes all places.
    async fn full(passwords: &Passwords) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        for _ in 0..WAITING_MAX {
            places.push(passwords.place().await.unwrap());
        }
        places
    }

    #[tokio::test]
    async fn a_place_is_waited_for_but_not_for_ever() {
        let mut passwords = Passwords::with_threads(1).unwrap();
        passwords.place_wait = Duration::from_millis(20);
        let places = full(&passwords).await;
        let (refused, waited) = timed(passwords.place()).await;
        assert_eq!(refused.map(drop), Err(Busy));
        assert!(waited >= passwords.place_wait, "{waited:?}");
        drop(places);
        assert!(passwords.place().await.is_ok());
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_who_waits_and_more_do_not_wait() {
        let mut passwords = Passwords::with_threads(1).unwrap();
        passwords.place_wait = Duration::from_secs(3600);
        let mut places = full(&passwords).await;
        let leaving = async { drop(places.pop()) };
        let (place, ()) = tokio::join!(passwords.place(), leaving);
        assert!(place.is_ok());
        let _waiters = passwords.waiters.try_acquire_many(u32::try_from(PLACE_WAITERS_MAX).unwrap()).unwrap();
        assert_eq!(passwords.place().await.map(drop), Err(Busy));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let mut passwords = Passwords::with_threads(0).unwrap();
        passwords.wait = Duration::from_millis(1);
        assert_eq!(passwords.verify(text("a guess"), None).await, Err(Busy));
        assert!(matches!(passwords.hash(text("long enough")).await, Err(HashError::Busy(Busy))));
        assert!(passwords.desk.queue().jobs.iter().all(|job| !job.is_wanted()));
    }

    #[tokio::test]
    async fn nothing_is_done_for_whoever_has_left() {
        let passwords = Passwords::with_threads(0).unwrap();
        for _ in 0..WAITING_MAX {
            let left = passwords.verify(text("a guess"), None);
            assert!(timeout(Duration::ZERO, left).await.is_err());
        }
        let desk = Arc::clone(&passwords.desk);
        let last = passwords.verify(text("a guess"), Some("the last".to_owned()));
        let taken = async {
            tokio::task::yield_now().await;
            assert!(desk.queue().jobs.iter().any(Job::is_wanted), "whoever has left takes up a place");
            let job = desk.take(&mut Memory::default()).unwrap();
            matches!(job.task, Task::Verify(Some(stored), _) if stored == "the last")
        };
        let (last, is_the_last) = tokio::join!(last, taken);
        assert!(is_the_last);
        assert_eq!(last, Err(Busy), "whose thread breaks off is not left waiting");
        assert!(desk.queue().jobs.is_empty());
    }

    #[tokio::test]
    async fn the_threads_end_with_the_service() {
        let passwords = Passwords::with_threads(2).unwrap();
        passwords.verify(text("a guess"), None).await.unwrap();
        let desk = Arc::clone(&passwords.desk);
        drop(passwords);
        let end = Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&desk) > 1 {
            assert!(Instant::now() < end, "a thread lives on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
