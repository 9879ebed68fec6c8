//! How much of a node's time goes into telling people why not, and what instead. In a full house that takes longer than
//! deciding did, and in a rush most are refused: beyond its share they are told the rule that refused them, and that is
//! all.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of every second, of one thread.
const SHARE_PER_SECOND: Duration = Duration::from_millis(250);
/// What is saved up while nobody is refused.
const SAVED_MAX: Duration = Duration::from_millis(500);

static ALLOWANCE: Mutex<Allowance> = Mutex::new(Allowance::full());

#[derive(Debug)]
struct Allowance {
    saved: Duration,
    /// The last one may take longer than what was left: that is earned first.
    owed: Duration,
    at: Option<Instant>,
}

impl Allowance {
    const fn full() -> Self {
        Self { saved: SAVED_MAX, owed: Duration::ZERO, at: None }
    }

    /// Whether there is any left, with what has come in since the last look.
    fn has_some(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let earned = since.min(Duration::from_secs(60)).mul_f64(SHARE_PER_SECOND.as_secs_f64());
        self.saved = SAVED_MAX.min(self.saved + earned.saturating_sub(self.owed));
        self.owed = self.owed.saturating_sub(earned);
        !self.saved.is_zero()
    }

    fn spend(&mut self, spent: Duration) {
        self.owed += spent.saturating_sub(self.saved);
        self.saved = self.saved.saturating_sub(spent);
    }
}

/// The explanation, if there is time for one.
pub fn explain<T>(explanation: impl FnOnce() -> T) -> Option<T> {
    let allowance = || ALLOWANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    if !allowance().has_some(began) {
        return None;
    }
    let explained = explanation();
    allowance().spend(began.elapsed());
    Some(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_of_refusals_gets_its_share_and_no_more() {
        let began = Instant::now();
        let mut allowance = Allowance::full();
        // Three milliseconds for each of five thousand people who come within ten seconds.
        let explained = (0..5_000).filter(|number| {
            let is_explained = allowance.has_some(began + Duration::from_millis(2 * number));
            if is_explained {
                allowance.spend(Duration::from_millis(3));
            }
            is_explained
        });
        let explained = explained.count();
        // Half a second saved, and a quarter of ten.
        assert!((900..1_100).contains(&explained), "{explained}");
    }
}
