//! Instants, intervals and local dates. There is no clock here: time comes with the log entry.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub const SECOND_US: i64 = 1_000_000;
pub const MINUTE_US: i64 = 60 * SECOND_US;
pub const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// 0001-01-01 and 9999-12-31: what a protobuf timestamp can say.
    pub const MIN: Self = Self(-62_135_596_800 * SECOND_US);
    pub const MAX: Self = Self(253_402_300_799 * SECOND_US);

    #[must_use]
    pub const fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    #[must_use]
    pub const fn plus_minutes(self, minutes: u32) -> Self {
        self.plus_us(minutes as i64 * MINUTE_US)
    }

    #[must_use]
    pub const fn minus_minutes(self, minutes: u32) -> Self {
        self.plus_us(-(minutes as i64 * MINUTE_US))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// Half-open and never empty: the start belongs to it, the end does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(Timestamp, Timestamp)", into = "(Timestamp, Timestamp)")]
pub struct Interval {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IntervalError {
    #[error("it ends at or before its start")]
    Empty,
    #[error("it does not start and end on a whole minute")]
    NotWholeMinutes,
    #[error("it lies outside the years 1 to 9999")]
    OutOfRange,
}

impl Interval {
    /// # Errors
    /// `IntervalError::Empty` unless `start < end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, IntervalError> {
        if start < end { Ok(Self { start, end }) } else { Err(IntervalError::Empty) }
    }

    /// An interval as people ask for it.
    ///
    /// # Errors
    /// Also if it is not made of whole minutes, or lies where no calendar reaches.
    pub fn of_minutes(start: Timestamp, end: Timestamp) -> Result<Self, IntervalError> {
        if start < Timestamp::MIN || end > Timestamp::MAX {
            return Err(IntervalError::OutOfRange);
        }
        if start.0 % MINUTE_US != 0 || end.0 % MINUTE_US != 0 {
            return Err(IntervalError::NotWholeMinutes);
        }
        Self::new(start, end)
    }

    #[must_use]
    pub const fn start(self) -> Timestamp {
        self.start
    }

    #[must_use]
    pub const fn end(self) -> Timestamp {
        self.end
    }

    #[must_use]
    pub const fn length_us(self) -> i64 {
        self.end.0.saturating_sub(self.start.0)
    }

    #[must_use]
    pub const fn minutes(self) -> i64 {
        self.length_us() / MINUTE_US
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    #[must_use]
    pub fn contains(self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }

    /// Longer by so much on both sides.
    pub(crate) fn widened(self, by_us: i64) -> Self {
        Self { start: self.start.plus_us(-by_us), end: self.end.plus_us(by_us) }
    }

    /// What both have in common, if anything.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }
}

impl TryFrom<(Timestamp, Timestamp)> for Interval {
    type Error = IntervalError;

    fn try_from((start, end): (Timestamp, Timestamp)) -> Result<Self, IntervalError> {
        Self::new(start, end)
    }
}

impl From<Interval> for (Timestamp, Timestamp) {
    fn from(interval: Interval) -> Self {
        (interval.start, interval.end)
    }
}

/// A local date, as days since 1970-01-01. Which instants it covers is the branch's business: see `calendar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Date(pub i32);

impl Date {
    #[must_use]
    pub const fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }
}
