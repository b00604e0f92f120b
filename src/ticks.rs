//! Deadlines that nearly never come: how long an upstream may take to answer, say.
//!
//! A timer of the runtime is exact to the millisecond, and costs a request two looks at the clock and two changes of the
//! runtime's wheel. A [`Deadline`] is exact to [`TICK`], and costs a place in a list: one task for each thread looks at
//! the clock, and at the list, once each tick for as long as there is something in it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How often a thread looks for deadlines that have come. None comes later than two of these after its time, or earlier than
/// it by more than the thread was held up.
const TICK: Duration = Duration::from_millis(25);

/// For how many ticks a thread goes on looking when it has no deadlines: one that is busy has one again at once.
const IDLE_TICKS_MAX: u32 = 80;

thread_local! {
    static TICKS: RefCell<Ticks> = RefCell::new(Ticks::new());
    /// Whether [`look`] runs on this thread. Not a part of [`Ticks`]: it ends with its runtime, whoever holds those.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// The deadlines of this thread.
struct Ticks {
    /// Tells this thread's list from that of any other.
    id: u64,
    started: Instant,
    /// The last tick.
    now: u64,
    places: Vec<Option<Waiting>>,
    free: Vec<usize>,
}

/// A deadline that somebody waits for.
struct Waiting {
    at: u64,
    waker: Waker,
}

impl Ticks {
    fn new() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            started: Instant::now(),
            now: 0,
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Looks at the clock.
    fn tick(&mut self) {
        self.now = ticks_of(self.started.elapsed());
    }

    fn take(&mut self, at: u64, waker: Waker) -> usize {
        let waiting = Some(Waiting { at, waker });
        match self.free.pop() {
            Some(place) => {
                self.places[place] = waiting;
                place
            }
            None => {
                self.places.push(waiting);
                self.places.len() - 1
            }
        }
    }

    /// What stood there is for the caller to drop, who then holds no list: a waker may be the last of its task.
    fn leave(&mut self, place: usize) -> Option<Waiting> {
        let waiting = self.places.get_mut(place).and_then(Option::take);
        if waiting.is_some() {
            self.free.push(place);
        }
        waiting
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Wakes those whose time has come. They leave by themselves.
    fn wake(&self) {
        for waiting in self.places.iter().flatten().filter(|waiting| waiting.at <= self.now) {
            waiting.waker.wake_by_ref();
        }
    }
}

/// Whole ticks in a time.
fn ticks_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

/// Says that [`look`] runs, until it ends or is dropped.
struct Looking;

impl Looking {
    /// Nothing if it runs already.
    fn begin() -> Option<Self> {
        // Not `then_some`: one that is made and not wanted would say, when it is dropped, that nobody looks.
        (!LOOKING.replace(true)).then(|| Self)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        LOOKING.set(false);
    }
}

/// Looks for deadlines that have come, until there were none for a while.
async fn look(_looking: Looking) {
    let mut idle = 0;
    while idle < IDLE_TICKS_MAX {
        tokio::time::sleep(TICK).await;
        TICKS.with_borrow_mut(|ticks| {
            ticks.tick();
            ticks.wake();
            idle = if ticks.is_empty() { idle + 1 } else { 0 };
            if idle == IDLE_TICKS_MAX {
                ticks.places = Vec::new();
                ticks.free = Vec::new();
            }
        });
    }
}

/// A moment at which waiting ends.
#[derive(Debug)]
struct Deadline {
    after: Duration,
    /// The thread whose list it stands in, the place there, and the tick.
    place: Option<(u64, usize, u64)>,
}

impl Deadline {
    const fn after(after: Duration) -> Self {
        Self { after, place: None }
    }

    /// Ready once it has come. The time begins with the first call.
    fn poll_come(&mut self, context: &Context<'_>) -> Poll<()> {
        TICKS.with_borrow_mut(|ticks| match self.place {
            None => {
                if let Some(looking) = Looking::begin() {
                    ticks.tick();
                    tokio::spawn(look(looking));
                }
                // What has passed of this tick, and what is more than whole ticks.
                let at = ticks.now.saturating_add(ticks_of(self.after)).saturating_add(2);
                self.place = Some((ticks.id, ticks.take(at, context.waker().clone()), at));
                Poll::Pending
            }
            Some((id, place, at)) if id == ticks.id => {
                if ticks.now >= at {
                    return Poll::Ready(());
                }
                if let Some(Some(waiting)) = ticks.places.get_mut(place)
                    && !waiting.waker.will_wake(context.waker())
                {
                    waiting.waker.clone_from(context.waker());
                }
                Poll::Pending
            }
            // On another thread it begins anew.
            Some(_) => {
                self.place = None;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some((id, place, _)) = self.place else { return };
        // Fails only while the thread ends, and then there is no list any more.
        let left = TICKS.try_with(|ticks| {
            let mut ticks = ticks.borrow_mut();
            if ticks.id == id { ticks.leave(place) } else { None }
        });
        drop(left);
    }
}

/// Waits for `future`, but not for much longer than `time`; `None` if it took longer. To be polled on one thread.
pub async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    let mut deadline = Deadline::after(time);
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll_come(context).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    const TIME: Duration = Duration::from_millis(120);

    #[tokio::test]
    async fn a_deadline_comes_after_its_time_and_soon_after_it() {
        let began = Instant::now();
        assert_eq!(within(TIME, pending::<()>()).await, None);
        assert!(began.elapsed() >= TIME, "{:?}", began.elapsed());
        assert!(began.elapsed() < TIME + 2 * TICK + Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_comes_in_time_is_returned_and_leaves_nothing_behind() {
        assert_eq!(within(Duration::ZERO, ready(1)).await, Some(1));
        let slow = async {
            tokio::time::sleep(TICK).await;
            2
        };
        assert_eq!(within(Duration::from_secs(60), slow).await, Some(2));
        TICKS.with_borrow(|ticks| assert!(ticks.is_empty()));
    }

    #[test]
    fn one_looks_for_all() {
        let first = Looking::begin();
        assert!(first.is_some());
        assert!(Looking::begin().is_none());
        assert!(Looking::begin().is_none(), "who was told so has changed nothing");
        drop(first);
        assert!(Looking::begin().is_some());
    }

    #[test]
    fn a_thread_that_gets_another_runtime_has_deadlines_again() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let waiting = async { tokio::time::timeout(Duration::from_secs(5), within(TICK, pending::<()>())).await };
            assert_eq!(runtime.block_on(waiting), Ok(None));
        }
    }

    #[tokio::test]
    async fn each_of_many_deadlines_comes_at_its_own_time_and_places_are_used_again() {
        let began = Instant::now();
        let each = (0..100).map(|number| {
            tokio::spawn(async move {
                let time = TICK * (number % 4);
                assert_eq!(within(time, pending::<()>()).await, None);
                assert!(began.elapsed() >= time);
            })
        });
        let tasks: Vec<_> = each.collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(within(TICK, pending::<()>()).await, None);
        TICKS.with_borrow(|ticks| {
            assert!(ticks.is_empty());
            assert_eq!(ticks.places.len(), 100, "one place for each that waited at the same time");
        });
    }
}
