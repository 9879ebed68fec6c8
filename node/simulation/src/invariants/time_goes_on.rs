//! The log's time goes on with every entry, on every replica and from one leader to the next.

use std::collections::BTreeMap;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct TimeGoesOn {
    times: BTreeMap<u64, i64>,
}

impl Invariant for TimeGoesOn {
    fn name(&self) -> &'static str {
        "time goes on"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Applied { index, time_us, .. } = sight else { return Ok(()) };
        self.times.insert(*index, *time_us);
        let earlier = self.times.range(..index).next_back().filter(|(_, time)| *time >= time_us);
        let later = self.times.range(index + 1..).next().filter(|(_, time)| *time <= time_us);
        match earlier.or(later) {
            None => Ok(()),
            Some((other, time)) => Err(format!("entry {index} is of {time_us} µs, entry {other} of {time} µs")),
        }
    }
}
