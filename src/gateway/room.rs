//! How many requests are in flight, in all workers together, and whether there is room for one more.
//!
//! Beyond the maximum a request is refused at once: who waits in a queue without end waits for nothing, and holds memory.
//!
//! Every worker has a count of its own and a fair share of the maximum. While no worker is above its share, a request
//! touches its own worker's count and reads one number that nobody writes; only a worker that needs more than its share
//! adds all counts up. The maximum holds exactly, not nearly: a count goes up before it is judged, and all of it is
//! sequentially consistent, so that of two workers that take the last place at the same time one sees the other. Only when a reload has just lowered it,
//! what is there already may hold its places besides the shares of other workers, until it is over.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The counts of all workers.
#[derive(Debug)]
pub struct Room {
    workers: Box<[Count]>,
    /// Requests that were let in above their worker's share, and are still there. While there are any, shares are no
    /// promise.
    borrowed: AtomicUsize,
}

/// As many requests are in flight as may be.
#[derive(Debug, thiserror::Error)]
#[error("as many requests are in flight as may be")]
pub struct Overloaded;

/// As many requests of one client address are in flight as may be.
#[derive(Debug, thiserror::Error)]
#[error("as many requests of one client address are in flight as may be")]
pub struct AddressOverloaded;

/// A count on cache lines of its own: workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicUsize);

/// The place of a request in flight, to be given back with [`Room::leave`].
#[derive(Debug)]
#[must_use]
pub struct Place {
    borrowed: bool,
}

impl Room {
    /// Room for the requests of so many workers, at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers.max(1)).map(|_| Count::default()).collect();
        Self { workers, borrowed: AtomicUsize::new(0) }
    }

    /// Lets in a request of this worker, unless `max` are in flight.
    pub fn enter(&self, worker: usize, max: usize) -> Option<Place> {
        let share = max / self.workers.len();
        let mine = self.count(worker).fetch_add(1, Ordering::SeqCst) + 1;
        if mine <= share && self.borrowed.load(Ordering::SeqCst) == 0 {
            return Some(Place { borrowed: false });
        }
        // Those that look at the sum from now on must not rely on their shares.
        self.borrowed.fetch_add(1, Ordering::SeqCst);
        if self.in_flight() <= max {
            return Some(Place { borrowed: true });
        }
        self.leave(worker, &Place { borrowed: true });
        None
    }

    /// Gives a place back.
    pub fn leave(&self, worker: usize, place: &Place) {
        self.count(worker).fetch_sub(1, Ordering::SeqCst);
        if place.borrowed {
            self.borrowed.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.workers.iter().map(|count| count.0.load(Ordering::SeqCst)).sum()
    }

    fn count(&self, worker: usize) -> &AtomicUsize {
        &self.workers[worker % self.workers.len()].0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn one_worker_may_have_what_the_others_do_not_use() {
        let room = Room::new(4);
        let places: Vec<Place> = (0..10).map(|_| room.enter(1, 10).unwrap()).collect();
        assert!(room.enter(1, 10).is_none() && room.enter(2, 10).is_none());
        assert_eq!(room.in_flight(), 10);
        for place in &places {
            room.leave(1, place);
        }
        assert_eq!((room.in_flight(), room.borrowed.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn a_maximum_below_the_number_of_workers_holds_too() {
        let room = Room::new(8);
        let place = room.enter(3, 1).unwrap();
        assert!(room.enter(4, 1).is_none());
        room.leave(3, &place);
        assert!(room.enter(4, 1).is_some());
    }

    #[test]
    fn a_smaller_maximum_holds_for_the_next_request() {
        let room = Room::new(2);
        let _places: Vec<Place> = (0..5).map(|_| room.enter(0, 10).unwrap()).collect();
        assert!(room.enter(0, 5).is_none());
        assert!(room.enter(0, 6).is_some());
    }

    /// Each thread counts what is in flight by its own, other, book.
    #[test]
    fn never_more_are_in_flight_than_allowed_whoever_comes_at_the_same_time() {
        const WORKERS: usize = 4;
        const MAX: usize = 10;
        let (room, inside, start) = (Room::new(WORKERS), AtomicUsize::new(0), Barrier::new(WORKERS));
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (room, inside, start) = (&room, &inside, &start);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    start.wait();
                    for round in 0..20_000 {
                        if let Some(place) = room.enter(worker, MAX) {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < MAX);
                            held.push(place);
                        }
                        if round % (worker + 2) == 0 || held.len() > worker + 2 {
                            while held.len() > round % 4 {
                                let Some(place) = held.pop() else { break };
                                inside.fetch_sub(1, Ordering::SeqCst);
                                room.leave(worker, &place);
                            }
                        }
                    }
                    for place in held {
                        inside.fetch_sub(1, Ordering::SeqCst);
                        room.leave(worker, &place);
                    }
                });
            }
        });
        assert_eq!((room.in_flight(), room.borrowed.load(Ordering::SeqCst)), (0, 0));
    }
}
