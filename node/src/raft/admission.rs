//! How many requests are taken on at once. Who finds no place is told so at once, instead of waiting behind thousands.
//!
//! How many are too many depends on the machine: the same queue is a tenth of a second on one and a minute on another.
//! So the bound follows how long requests take, as a sender's window follows a network: it shrinks while they take too
//! long or are refused further on, by a part for each such time, and grows by little while they do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a person still takes for an answer at once. A request that took longer has mostly waited.
const SLOW_AFTER: Duration = Duration::from_millis(500);
/// Never fewer: they share one sync of the log.
const LEAST: usize = 64;
/// Requests that end quickly for each place more.
const QUICK_PER_PLACE: usize = 4;

#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

/// Plain counters: one that is out of date for a moment decides about a request more or less.
#[derive(Debug)]
struct Shared {
    taken: AtomicUsize,
    limit: AtomicUsize,
    most: usize,
    /// Requests that have ended since the limit last shrank, or quick ones since it last grew.
    ended_since_cut: AtomicUsize,
    quick_since_growth: AtomicUsize,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Shared>);

impl Admission {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(most),
            most,
            ended_since_cut: AtomicUsize::new(0),
            quick_since_growth: AtomicUsize::new(0),
        }))
    }

    pub fn enter(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.0));
        let before = self.0.taken.fetch_add(1, Ordering::Relaxed);
        (before < self.limit()).then_some(place)
    }

    pub fn has_room(&self) -> bool {
        self.taken() < self.limit()
    }

    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// At present.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// A request has ended after so long.
    pub fn took(&self, time: Duration) {
        if time > SLOW_AFTER {
            return self.too_much();
        }
        let shared = &self.0;
        shared.ended_since_cut.fetch_add(1, Ordering::Relaxed);
        let limit = self.limit();
        // A bound that nobody comes near says nothing about what would be too much.
        if limit < shared.most
            && self.taken() * 2 >= limit
            && shared.quick_since_growth.fetch_add(1, Ordering::Relaxed) >= QUICK_PER_PLACE
        {
            shared.quick_since_growth.store(0, Ordering::Relaxed);
            shared.limit.store(limit + 1, Ordering::Relaxed);
        }
    }

    /// A request took too long, or was refused further on. Of all that were under way together one counts.
    pub fn too_much(&self) {
        let shared = &self.0;
        let limit = self.limit();
        if shared.ended_since_cut.fetch_add(1, Ordering::Relaxed) >= limit.min(self.taken()) {
            shared.ended_since_cut.store(0, Ordering::Relaxed);
            shared.limit.store((limit - limit / 4).max(LEAST.min(shared.most)), Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_also_by_those_who_got_none() {
        let admission = Admission::new(1);
        let first = admission.enter();
        assert!(first.is_some());
        assert!(admission.enter().is_none() && !admission.has_room());
        drop(first);
        assert_eq!(admission.taken(), 0);
        assert!(admission.enter().is_some());
    }

    /// So many a second, one after the other, and whoever finds a place waits behind those before.
    fn flooded(admission: &Admission, per_second: usize, rounds: usize) -> Duration {
        let mut waiting = std::collections::VecDeque::new();
        let mut last = Duration::ZERO;
        for _ in 0..rounds {
            // More come than can be done.
            while let Some(place) = admission.enter() {
                waiting.push_back((place, waiting.len()));
            }
            let Some((place, ahead)) = waiting.pop_front() else { return last };
            last = Duration::from_secs(1) * u32::try_from(ahead + 1).expect("few") / per_second as u32;
            admission.took(last);
            drop(place);
        }
        last
    }

    #[test]
    fn on_a_slow_machine_few_wait_and_on_a_fast_one_many() {
        let slow = Admission::new(2048);
        let waited = flooded(&slow, 400, 20_000);
        assert!(waited < Duration::from_millis(700), "{waited:?}");
        assert!((100..300).contains(&slow.limit()), "{}", slow.limit());

        let fast = Admission::new(2048);
        flooded(&fast, 10_000, 20_000);
        assert_eq!(fast.limit(), 2048);
    }

    #[test]
    fn it_grows_again_only_when_there_is_need() {
        let admission = Admission::new(2048);
        for _ in 0..100_000 {
            admission.too_much();
        }
        assert_eq!(admission.limit(), LEAST);
        for _ in 0..10_000 {
            admission.took(Duration::from_millis(5));
        }
        assert_eq!(admission.limit(), LEAST, "nobody was there");
        flooded(&admission, 10_000, 20_000);
        assert_eq!(admission.limit(), 2048);
    }
}
