//! Instants, intervals and durations.

use std::time::Duration;

use carrel_domain::time::{Interval, IntervalError, SECOND_US, Timestamp};
use carrel_proto::v1;

use crate::convert::invalid::{Invalid, Reason};

#[must_use]
pub fn to_timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.0.rem_euclid(SECOND_US) * 1_000;
    prost_types::Timestamp { seconds: at.0.div_euclid(SECOND_US), nanos: nanos as i32 }
}

/// # Errors
/// If it is not an instant of the years 1 to 9999, or finer than a microsecond.
pub fn from_timestamp(at: prost_types::Timestamp) -> Result<Timestamp, &'static str> {
    let prost_types::Timestamp { seconds, nanos } = at;
    if !(0..1_000_000_000).contains(&nanos) {
        return Err("its nanos are not within a second");
    }
    if nanos % 1_000 != 0 {
        return Err("it is finer than a microsecond");
    }
    let us = seconds.checked_mul(SECOND_US).and_then(|us| us.checked_add(i64::from(nanos) / 1_000));
    let at = us.map(Timestamp).filter(|at| (Timestamp::MIN..=Timestamp::MAX).contains(at));
    at.ok_or("it lies outside the years 1 to 9999")
}

#[must_use]
pub fn to_interval(interval: Interval) -> v1::Interval {
    v1::Interval { start_time: Some(to_timestamp(interval.start())), end_time: Some(to_timestamp(interval.end())) }
}

/// # Errors
/// If a time is missing or is none, or the interval is not made of whole minutes or is empty.
pub fn from_interval(field: &str, interval: Option<v1::Interval>) -> Result<Interval, Invalid> {
    let of = |part: &str, at: Option<prost_types::Timestamp>| {
        let at = at.ok_or("it is missing").and_then(from_timestamp);
        at.map_err(|problem| Invalid::because(Reason::Interval, format!("{field}.{part}"), problem))
    };
    let v1::Interval { start_time, end_time } =
        interval.ok_or_else(|| Invalid::because(Reason::Interval, field, "it is missing"))?;
    let (start, end) = (of("start_time", start_time)?, of("end_time", end_time)?);
    Interval::of_minutes(start, end).map_err(|problem| {
        let problem = match problem {
            IntervalError::Empty => {
                format!("it ends at or before its start: {} is not before {}", shown(start), shown(end))
            }
            IntervalError::NotWholeMinutes | IntervalError::OutOfRange => problem.to_string(),
        };
        Invalid::because(Reason::Interval, field, problem)
    })
}

/// As long as a duration may be on the wire: some ten thousand years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// # Errors
/// If it is less than nothing, or no duration at all.
pub fn from_duration(field: &str, duration: prost_types::Duration) -> Result<Duration, Invalid> {
    let prost_types::Duration { seconds, nanos } = duration;
    // Looked at before anything is made of it: the library that reads the wire reckons with the negative of it.
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds <= DURATION_SECONDS_MAX);
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let found = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    found.ok_or_else(|| Invalid::field(field, "it must not be negative, nor longer than ten thousand years"))
}

/// For sentences: "2027-01-31T09:00:00Z".
#[must_use]
pub fn shown(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // Beyond what a calendar reaches; no rule makes such a time.
        Err(_) => format!("{} s", at.0.div_euclid(SECOND_US)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_as_they_went() {
        for us in [0, 1, -1, 1_700_000_000_123_456, Timestamp::MIN.0, Timestamp::MAX.0] {
            assert_eq!(from_timestamp(to_timestamp(Timestamp(us))), Ok(Timestamp(us)));
        }
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000), (0, 999)] {
            assert!(from_timestamp(prost_types::Timestamp { seconds, nanos }).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_refused_whatever_it_is() {
        let read = |seconds, nanos| from_duration("it", prost_types::Duration { seconds, nanos });
        assert_eq!(read(0, 0).expect("no time"), Duration::ZERO);
        assert_eq!(read(1, 500_000_000).expect("a duration"), Duration::from_millis(1_500));
        for (seconds, nanos) in
            [(-1, 0), (0, -1), (i64::MIN, 0), (i64::MIN, i32::MIN), (i64::MAX, 0), (0, i32::MAX), (1, -1)]
        {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn an_interval_that_is_none_says_why() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let read = |start_time, end_time| from_interval("interval", Some(v1::Interval { start_time, end_time }));
        assert!(read(at(0), at(3_600)).is_ok());
        for (bad, field) in [
            (read(at(3_600), at(0)), "interval"),
            (read(at(0), at(0)), "interval"),
            (read(at(0), at(90)), "interval"),
            (read(None, at(90)), "interval.start_time"),
            (read(at(0), at(i64::MAX)), "interval.end_time"),
            (from_interval("interval", None), "interval"),
        ] {
            let invalid = bad.expect_err(field);
            assert_eq!((invalid.reason, invalid.fields[0].field.as_str()), (Reason::Interval, field));
        }
    }
}
