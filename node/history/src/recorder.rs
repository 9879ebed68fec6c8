//! Writes down what many clients see at once, on one clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::call::{Attempt, Listing, Look, Request};

/// Everything that was seen, in no particular order.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    pub looks: Vec<Look>,
    pub listings: Vec<Listing>,
}

/// Cheap to clone; clones write into the same history.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    requests: Arc<AtomicU64>,
    history: Arc<Mutex<History>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { began: Instant::now(), requests: Arc::default(), history: Arc::default() }
    }
}

impl Recorder {
    /// Taken before a call is sent, and after its answer is there.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros())
            .expect("a recording is shorter than five hundred thousand years")
    }

    #[must_use]
    pub fn next_request(&self) -> Request {
        Request(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    pub fn attempt(&self, attempt: Attempt) {
        self.write(|history| history.attempts.push(attempt));
    }

    pub fn look(&self, look: Look) {
        self.write(|history| history.looks.push(look));
    }

    pub fn listing(&self, listing: Listing) {
        self.write(|history| history.listings.push(listing));
    }

    /// So far.
    #[must_use]
    pub fn history(&self) -> History {
        self.write(|history| history.clone())
    }

    fn write<R>(&self, change: impl FnOnce(&mut History) -> R) -> R {
        change(&mut self.history.lock().expect("nothing panics while holding it"))
    }
}
