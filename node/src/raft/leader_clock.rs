//! The time that goes into the log, as pure arithmetic: no clock is read here.
//!
//! It begins at the median of a majority's clocks and from there follows the leader's own monotonic clock. Later
//! measurements never make it step: it runs up to a tenth faster or slower until it is where they say. So it never goes
//! back, and one wrong clock of three, even the leader's own, moves nothing.

/// Without a measurement of a majority for so long, nothing is stamped: who cannot reach a majority does not lead, and
/// a clock that drifts unobserved must not end anybody's reservation.
const MEASUREMENT_VALID_US: i64 = 2_000_000;

/// Corrections change the speed of time by at most this part.
const SLEW_DIVISOR: i64 = 10;

/// All instants are microseconds of this process's monotonic clock, from an origin that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderClock {
    /// At this instant ...
    since_us: i64,
    /// ... it was this time.
    time_us: i64,
    /// What the time would be at instant zero by the last measurement.
    offset_us: i64,
    measured_us: i64,
}

impl LeaderClock {
    /// `offset_us`: the median of what clocks show, less this process's instant. The log's time so far is the least it
    /// begins with, for what was stamped cannot be taken back.
    #[must_use]
    pub fn begin(now_us: i64, offset_us: i64, log_time_us: i64) -> Self {
        let time_us = now_us.saturating_add(offset_us).max(log_time_us);
        Self { since_us: now_us, time_us, offset_us, measured_us: now_us }
    }

    /// A new measurement.
    pub fn correct(&mut self, now_us: i64, offset_us: i64) {
        self.time_us = self.time_at(now_us);
        self.since_us = now_us;
        self.offset_us = offset_us;
        self.measured_us = now_us;
    }

    /// The time to stamp, unless the last measurement is too old.
    #[must_use]
    pub fn now(&self, now_us: i64) -> Option<i64> {
        (now_us.saturating_sub(self.measured_us) <= MEASUREMENT_VALID_US).then(|| self.time_at(now_us))
    }

    fn time_at(&self, now_us: i64) -> i64 {
        let elapsed_us = now_us.saturating_sub(self.since_us).max(0);
        let unhurried_us = self.time_us.saturating_add(elapsed_us);
        let error_us = now_us.saturating_add(self.offset_us).saturating_sub(unhurried_us);
        let slew_us = elapsed_us / SLEW_DIVISOR;
        unhurried_us.saturating_add(error_us.clamp(-slew_us, slew_us))
    }
}

/// The median; of two in the middle the earlier. A time too late ends reservations that cannot be given back, a time
/// too early only waits.
#[must_use]
pub fn median(mut offsets_us: Vec<i64>) -> Option<i64> {
    offsets_us.sort_unstable();
    offsets_us.get(offsets_us.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    #[test]
    fn it_follows_the_monotonic_clock_and_stops_without_measurements() {
        let clock = LeaderClock::begin(0, 100 * SECOND_US, 0);
        assert_eq!(clock.now(0), Some(100 * SECOND_US));
        assert_eq!(clock.now(2 * SECOND_US), Some(102 * SECOND_US));
        assert_eq!(clock.now(2 * SECOND_US + 1), None);
    }

    #[test]
    fn a_correction_is_slewed_by_a_tenth_and_never_stepped() {
        let mut clock = LeaderClock::begin(0, 100 * SECOND_US, 0);
        clock.correct(SECOND_US, 101 * SECOND_US);
        assert_eq!(clock.now(SECOND_US), Some(101 * SECOND_US));
        assert_eq!(clock.now(2 * SECOND_US), Some(102 * SECOND_US + SECOND_US / 10));
        for second in 2..=10 {
            clock.correct(second * SECOND_US, 101 * SECOND_US);
        }
        assert_eq!(clock.now(10 * SECOND_US), Some(110 * SECOND_US + 9 * SECOND_US / 10));
        clock.correct(11 * SECOND_US, 101 * SECOND_US);
        assert_eq!(clock.now(12 * SECOND_US), Some(113 * SECOND_US), "arrived, and no further");
    }

    #[test]
    fn it_never_goes_back_even_if_every_clock_does() {
        let mut clock = LeaderClock::begin(0, 100 * SECOND_US, 0);
        let mut before = clock.now(0).expect("measured");
        for step in 1..2_000 {
            let now = step * 10_000;
            if step % 50 == 0 {
                clock.correct(now, if step % 100 == 0 { -1_000 * SECOND_US } else { 1_000 * SECOND_US });
            }
            let time = clock.now(now).expect("measured");
            let passed = time - before;
            assert!((9_000..=11_000).contains(&passed), "{passed} us in 10,000");
            before = time;
        }
    }

    #[test]
    fn it_does_not_begin_before_what_is_in_the_log() {
        let clock = LeaderClock::begin(0, 100 * SECOND_US, 500 * SECOND_US);
        assert_eq!(clock.now(0), Some(500 * SECOND_US));
        assert_eq!(clock.now(SECOND_US), Some(500 * SECOND_US + 9 * SECOND_US / 10));
    }

    #[test]
    fn one_wrong_clock_of_three_is_outvoted_and_of_two_the_earlier_counts() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![5]), Some(5));
        assert_eq!(median(vec![9_000_000, 1]), Some(1));
        assert_eq!(median(vec![9_000_000, 2, 1]), Some(2));
        assert_eq!(median(vec![-9_000_000, 2, 1]), Some(1));
    }
}
