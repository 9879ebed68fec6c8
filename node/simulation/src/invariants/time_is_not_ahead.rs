//! One wrong clock never makes the log's time run ahead: nothing expires before its time.

use crate::invariants::{Invariant, Sight};

/// What it costs to read clocks over slow ways: half of the slowest reading that is used, and how far right clocks are
/// apart.
const AHEAD_MAX_US: i64 = 300_000;

#[derive(Default)]
pub struct TimeIsNotAhead;

impl Invariant for TimeIsNotAhead {
    fn name(&self) -> &'static str {
        "time is not ahead"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Applied { index, time_us, true_time_us, .. } = sight else { return Ok(()) };
        let ahead_us = time_us - true_time_us;
        if ahead_us <= AHEAD_MAX_US {
            Ok(())
        } else {
            Err(format!("entry {index} is {ahead_us} µs ahead of its time"))
        }
    }
}
