//! Times as people type them: an instant, or the clock on the branch's wall.

use std::fmt;
use std::str::FromStr;

use carrel_proto::v1;
use jiff::civil::{self, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, ToSpan};
use tonic::Code;

use super::context::Context;
use super::errors::Failure;

/// A time as typed, and what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Moment {
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Meaning {
    Instant(Timestamp),
    /// On a date in the branch's zone.
    Local(DateTime),
    /// Today in the branch's zone.
    Today(civil::Time),
    /// 24:00: the end of today in the branch's zone.
    EndOfToday,
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let meaning = clock(text).or_else(|| date_and_time(text)).ok_or(
            "write a time as HH:MM (today), 2027-03-01T10:00 (both in the branch's zone) or 2027-03-01T10:00:00+01:00",
        )?;
        Ok(Moment { text: text.to_owned(), meaning })
    }
}

/// As it was typed, for a command to type next.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The interval that `--from` and `--to` mean in a branch. Asks the cluster for the zone only if they need one.
pub(super) async fn interval(
    context: &Context,
    branch: &str,
    from: &Moment,
    to: &Moment,
) -> Result<v1::Interval, Failure> {
    if !branch.is_empty() {
        context.is_about(branch);
    }
    let zone = if from.needs_zone() || to.needs_zone() { context.zone_of(branch).await? } else { TimeZone::UTC };
    resolve(from, to, &zone, Timestamp::now())
}

/// The instant that a moment means in a branch; midnight is the one to come.
pub(super) async fn moment(
    context: &Context,
    branch: &str,
    moment: &Moment,
) -> Result<prost_types::Timestamp, Failure> {
    if !branch.is_empty() {
        context.is_about(branch);
    }
    let zone = if moment.needs_zone() { context.zone_of(branch).await? } else { TimeZone::UTC };
    let instant = instant(as_end(moment.meaning), &zone, Timestamp::now());
    instant.map(to_wire).map_err(|why| nonexistent(moment, &zone, why))
}

/// The instant that a moment means in a branch as a begin: midnight is the one that was.
pub(super) async fn start(context: &Context, branch: &str, moment: &Moment) -> Result<prost_types::Timestamp, Failure> {
    let zone = if moment.needs_zone() { context.zone_of(branch).await? } else { TimeZone::UTC };
    instant(moment.meaning, &zone, Timestamp::now()).map(to_wire).map_err(|why| nonexistent(moment, &zone, why))
}

/// So many minutes later or, if it is less than nothing, earlier.
pub(super) fn later(time: prost_types::Timestamp, minutes: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.seconds.saturating_add(minutes.saturating_mul(60)), nanos: time.nanos }
}

/// The date so many days before, on a wall of that zone.
pub(super) fn shown_days_before(time: prost_types::Timestamp, days: i64, zone: &TimeZone) -> Option<String> {
    let date = from_wire(&time)?.to_zoned(zone.clone()).date();
    Some(date.checked_sub(Span::new().try_days(days).ok()?).ok()?.to_string())
}

/// In so many days from now, for what no branch has a clock for.
pub(super) fn days_from_now(days: u16) -> prost_types::Timestamp {
    // Nobody counts days in fractions of a second, and the cluster knows none finer than a microsecond.
    let seconds = Timestamp::now().as_second() + 86_400 * i64::from(days);
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// The same time on the wall, so many steps later.
pub(super) fn moved(interval: v1::Interval, step: Span, times: i64, zone: &TimeZone) -> Result<v1::Interval, Failure> {
    let later = |time: Option<prost_types::Timestamp>| -> Result<_, Failure> {
        let beyond = || Failure::Usage("the last of these times is beyond the calendar".into());
        let instant = time.as_ref().and_then(from_wire).ok_or_else(beyond)?;
        if times == 0 {
            return Ok(Some(to_wire(instant)));
        }
        let wall = zone.to_datetime(instant);
        let span = step.checked_mul(times).map_err(|_| beyond())?;
        let wall = wall.checked_add(span).map_err(|_| beyond())?;
        if wall.time() == civil::Time::midnight() {
            // Where the clocks skip midnight, a day begins and the one before ends with what comes after it.
            return Ok(Some(to_wire(wall.date().to_zoned(zone.clone()).map_err(|_| beyond())?.timestamp())));
        }
        // Another time of that night is not what was asked for.
        let found = local(wall, zone).map_err(|why| nonexistent(&wall.strftime("%Y-%m-%d %H:%M"), zone, why))?;
        Ok(Some(to_wire(found)))
    };
    Ok(v1::Interval { start_time: later(interval.start_time)?, end_time: later(interval.end_time)? })
}

/// Nothing ends at the first moment of today: as an end, midnight is the one to come.
fn as_end(meaning: Meaning) -> Meaning {
    match meaning {
        Meaning::Today(time) if time == civil::Time::midnight() => Meaning::EndOfToday,
        meaning => meaning,
    }
}

fn resolve(from: &Moment, to: &Moment, zone: &TimeZone, now: Timestamp) -> Result<v1::Interval, Failure> {
    let start = instant(from.meaning, zone, now).map_err(|why| nonexistent(from, zone, why))?;
    let end = instant(as_end(to.meaning), zone, now).map_err(|why| nonexistent(to, zone, why))?;
    Ok(v1::Interval { start_time: Some(to_wire(start)), end_time: Some(to_wire(end)) })
}

impl Moment {
    pub(super) fn needs_zone(&self) -> bool {
        !matches!(self.meaning, Meaning::Instant(_))
    }
}

/// Why a local time is no instant.
#[derive(Clone, Copy, Debug)]
enum Nonexistent {
    /// The clocks go from before it to after it.
    Skipped {
        resumes: civil::Time,
    },
    OutOfRange,
}

fn instant(meaning: Meaning, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, Nonexistent> {
    let today = now.to_zoned(zone.clone()).date();
    let out_of_range = |_| Nonexistent::OutOfRange;
    match meaning {
        Meaning::Instant(instant) => Ok(instant),
        Meaning::Today(time) => local(today.to_datetime(time), zone),
        Meaning::Local(datetime) => local(datetime, zone),
        Meaning::EndOfToday => {
            let tomorrow = today.checked_add(1.day()).map_err(out_of_range)?;
            // Where the clocks skip midnight, the day ends when the next one begins.
            Ok(tomorrow.to_zoned(zone.clone()).map_err(out_of_range)?.timestamp())
        }
    }
}

/// A doubled hour means the first of the two; a skipped one means nothing.
fn local(datetime: DateTime, zone: &TimeZone) -> Result<Timestamp, Nonexistent> {
    let ambiguous = zone.to_ambiguous_zoned(datetime);
    let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    // In a gap the later reading shows the time after the clocks went forward by as much as was missing.
    let instant = ambiguous.earlier().map_err(|_| Nonexistent::OutOfRange)?;
    if !skipped {
        return Ok(instant.timestamp());
    }
    let resumes =
        zone.following(instant.timestamp()).next().map(|change| change.timestamp().to_zoned(zone.clone()).time());
    Err(Nonexistent::Skipped { resumes: resumes.unwrap_or(datetime.time()) })
}

fn nonexistent(moment: &impl fmt::Display, zone: &TimeZone, why: Nonexistent) -> Failure {
    let zone = zone.iana_name().unwrap_or("the branch's zone");
    let message = match why {
        Nonexistent::Skipped { resumes } => format!(
            "{moment} does not exist in {zone}: the clocks skip it; the first time after the change is {}",
            resumes.strftime("%H:%M")
        ),
        Nonexistent::OutOfRange => format!("{moment} is beyond the calendar; use a year between 1 and 9998"),
    };
    Failure::refused(Code::InvalidArgument, "LOCAL_TIME_NONEXISTENT", message)
}

/// `9:30`, `09:30` or `24:00`.
fn clock(text: &str) -> Option<Meaning> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str, lengths: &[usize]| {
        (lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let (hour, minute): (i8, i8) = (digits(hour, &[1, 2])?, digits(minute, &[2])?);
    if (hour, minute) == (24, 0) {
        return Some(Meaning::EndOfToday);
    }
    civil::Time::new(hour, minute, 0, 0).ok().map(Meaning::Today)
}

fn date_and_time(text: &str) -> Option<Meaning> {
    // Both parsers take more than RFC 3339 does: a bare date and a name of a zone among them.
    if !text.is_ascii()
        || text.as_bytes().get(10).is_none_or(|at| !matches!(at, b'T' | b't' | b' '))
        || text.contains('[')
    {
        return None;
    }
    let instant = text.parse().map(Meaning::Instant);
    instant.or_else(|_| text.parse().map(Meaning::Local)).ok()
}

/// Instants on the wire have a second and a never negative part of one.
fn to_wire(instant: Timestamp) -> prost_types::Timestamp {
    let nanoseconds = instant.as_nanosecond();
    let (seconds, nanos) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).expect("an instant is within the years -9999 to 9999"),
        nanos: i32::try_from(nanos).expect("a remainder is less than a second"),
    }
}

fn from_wire(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// `2027-03-01 10:00 CET`; nothing if unset.
pub(super) fn shown(time: Option<&prost_types::Timestamp>, zone: &TimeZone) -> String {
    time.and_then(from_wire).map(|instant| shown_moment(instant, zone)).unwrap_or_default()
}

pub(super) fn shown_moment(instant: Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// `10:00:30 CET`, of what does not last; nothing if unset.
pub(super) fn shown_second(time: Option<&prost_types::Timestamp>, zone: &TimeZone) -> String {
    time.and_then(from_wire).map(|instant| shown_clock_of(instant, zone)).unwrap_or_default()
}

/// `2027-03-01`; nothing if unset.
pub(super) fn shown_date(time: Option<&prost_types::Timestamp>, zone: &TimeZone) -> String {
    time.and_then(from_wire).map(|instant| instant.to_zoned(zone.clone()).date().to_string()).unwrap_or_default()
}

/// `10:00:30 CET`
pub(super) fn shown_clock_of(instant: Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned(zone.clone()).strftime("%H:%M:%S %Z").to_string()
}

/// `10:00`; nothing if unset.
pub(super) fn shown_clock(time: Option<&prost_types::Timestamp>, zone: &TimeZone) -> String {
    time.and_then(from_wire)
        .map(|instant| instant.to_zoned(zone.clone()).strftime("%H:%M").to_string())
        .unwrap_or_default()
}

/// `2027-03-01 10:00–12:00 CET`, with the second date only if it is another.
pub(super) fn shown_interval(
    start: Option<&prost_types::Timestamp>,
    end: Option<&prost_types::Timestamp>,
    zone: &TimeZone,
) -> String {
    let (Some(start), Some(end)) = (start.and_then(from_wire), end.and_then(from_wire)) else { return String::new() };
    let (start, end) = (start.to_zoned(zone.clone()), end.to_zoned(zone.clone()));
    let ends_at_midnight = end.time() == civil::Time::midnight() && start.date().tomorrow().ok() == Some(end.date());
    let from = start.strftime("%Y-%m-%d %H:%M");
    if start.date() == end.date() {
        format!("{from}–{}", end.strftime("%H:%M %Z"))
    } else if ends_at_midnight {
        format!("{from}–24:00 {}", start.strftime("%Z"))
    } else {
        format!("{from} – {}", end.strftime("%Y-%m-%d %H:%M %Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("the zone is known")
    }

    /// What two typed times mean in Berlin at some instant, in UTC.
    fn meant(from: &str, to: &str, now: &str) -> Result<(String, String), Failure> {
        let now = now.parse().expect("an instant");
        let interval = resolve(&moment(from), &moment(to), &berlin(), now)?;
        let text = |time: Option<prost_types::Timestamp>| from_wire(&time.expect("set")).expect("in range").to_string();
        Ok((text(interval.start_time), text(interval.end_time)))
    }

    fn utc(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_clock_time_is_today_in_the_branch() {
        // Half past eleven at night in UTC is already tomorrow in Berlin.
        let meant = meant("9:30", "11:00", "2027-03-01T23:30:00Z").expect("both exist");
        assert_eq!(meant, utc("2027-03-02T08:30:00Z", "2027-03-02T10:00:00Z"));
    }

    #[test]
    fn midnight_as_an_end_is_the_one_to_come() {
        for end in ["24:00", "00:00", "0:00"] {
            let meant = meant("22:00", end, "2027-03-01T12:00:00Z").expect("both exist");
            assert_eq!(meant, utc("2027-03-01T21:00:00Z", "2027-03-01T23:00:00Z"), "{end}");
        }
        let from_midnight = meant("00:00", "01:00", "2027-03-01T12:00:00Z").expect("both exist");
        assert_eq!(from_midnight, utc("2027-02-28T23:00:00Z", "2027-03-01T00:00:00Z"));
    }

    #[test]
    fn an_end_before_the_start_is_for_the_rules_to_refuse() {
        let meant = meant("12:00", "10:00", "2027-03-01T12:00:00Z").expect("both exist");
        assert_eq!(meant, utc("2027-03-01T11:00:00Z", "2027-03-01T09:00:00Z"));
    }

    #[test]
    fn an_hour_that_the_clocks_skip_does_not_exist() {
        for (from, to) in [("02:30", "04:00"), ("2027-03-28T02:00", "04:00"), ("01:00", "02:59")] {
            let Err(Failure::Refused { refusal, .. }) = meant(from, to, "2027-03-28T00:00:00Z") else {
                panic!("{from} to {to} exists")
            };
            assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "LOCAL_TIME_NONEXISTENT"));
            assert!(refusal.message.contains("Europe/Berlin"), "{refusal}");
            assert!(refusal.message.ends_with("is 03:00"), "{refusal}");
        }
        assert!(meant("01:59", "03:00", "2027-03-28T00:00:00Z").is_ok());
    }

    /// Over every change of the clocks from 2024 to 2028.
    #[test]
    fn a_series_stays_at_its_time_on_the_wall() {
        let instant = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let end = instant("2028-12-31T00:00:00Z");
        for name in [
            "Europe/Berlin",
            "America/New_York",
            "America/Santiago",
            "Australia/Lord_Howe",
            "Pacific/Auckland",
            "Africa/Casablanca",
            "Africa/Cairo",
        ] {
            let zone = TimeZone::get(name).expect("a zone");
            let changes = zone.following(instant("2024-01-01T00:00:00Z")).map(|change| change.timestamp());
            let mut count = 0;
            for change in changes.take_while(|change| *change < end) {
                let week_before = zone.to_datetime(change).date().checked_sub(8.days()).expect("a date");
                let first = [9, 11].map(|hour| {
                    let wall = week_before.at(hour, 30, 0, 0);
                    to_wire(wall.to_zoned(zone.clone()).expect("an ordinary morning").timestamp())
                });
                let first = v1::Interval { start_time: Some(first[0]), end_time: Some(first[1]) };
                for (step, times) in [(1.day(), 16), (1.week(), 3)] {
                    for time in 0..times {
                        let one = moved(first, step, time, &zone).expect("nothing is skipped in the morning");
                        let wall = |time: Option<prost_types::Timestamp>| {
                            zone.to_datetime(time.as_ref().and_then(from_wire).expect("an instant"))
                        };
                        let date = week_before.checked_add(step.checked_mul(time).expect("weeks")).expect("a date");
                        let expected = (date.at(9, 30, 0, 0), date.at(11, 30, 0, 0));
                        assert_eq!((wall(one.start_time), wall(one.end_time)), expected, "{name}");
                    }
                }
                count += 1;
            }
            assert!(count >= 10, "{name} changes its clocks twice a year");
        }
    }

    #[test]
    fn a_series_through_a_skipped_hour_is_not_quietly_at_another() {
        let first = |from: &str, to: &str| {
            resolve(&moment(from), &moment(to), &berlin(), "2027-03-21T00:00:00Z".parse().expect("an instant"))
                .expect("an ordinary night")
        };
        let Err(Failure::Refused { refusal, .. }) = moved(first("02:30", "04:00"), 1.week(), 1, &berlin()) else {
            panic!("there is no half past two a week later")
        };
        assert_eq!(refusal.reason, "LOCAL_TIME_NONEXISTENT");
        assert!(refusal.message.starts_with("2027-03-28 02:30 does not exist in Europe/Berlin"), "{refusal}");
        assert!(moved(first("01:30", "04:00"), 1.week(), 1, &berlin()).is_ok());
        assert!(moved(first("02:30", "04:00"), 1.week(), 2, &berlin()).is_ok());

        // Where midnight is what is skipped, the evening before ends as the day does.
        let (santiago, now) = (TimeZone::get("America/Santiago").expect("a zone"), "2024-08-31T12:00:00Z");
        let now = now.parse().expect("an instant");
        let evening = resolve(&moment("22:00"), &moment("24:00"), &santiago, now).expect("an ordinary evening");
        let later = moved(evening, 1.week(), 1, &santiago).expect("it ends");
        assert_eq!(from_wire(&later.end_time.expect("set")), Some("2024-09-08T04:00:00Z".parse().expect("an instant")));
    }

    #[test]
    fn of_a_doubled_hour_the_first_is_meant() {
        let meant = meant("02:30", "03:00", "2027-10-31T12:00:00Z").expect("both exist");
        assert_eq!(meant, utc("2027-10-31T00:30:00Z", "2027-10-31T02:00:00Z"));
    }

    #[test]
    fn an_instant_needs_no_zone() {
        let typed = moment("2027-03-01T10:00:00.5+01:00");
        assert!(!typed.needs_zone());
        assert_eq!(typed.meaning, Meaning::Instant("2027-03-01T09:00:00.5Z".parse().expect("an instant")));
        assert!(moment("2027-03-01T10:00").needs_zone());
    }

    #[test]
    fn what_is_no_time_is_not_taken() {
        for text in ["", "soon", "25:00", "24:01", "10:60", "10", "10:5", "-1:00", "10:00:00", "2027-03-01", "10:00Z"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        for text in ["2027-02-30T10:00:00Z", "2027-03-01T25:00:00Z", "2027-03-01T10:00:00+01:00[Europe/Berlin]", "ä:00"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_are_shown_as_short_as_they_can_be() {
        let shown = |start: &str, end: &str| {
            let wire = |text: &str| to_wire(text.parse().expect("an instant"));
            shown_interval(Some(&wire(start)), Some(&wire(end)), &berlin())
        };
        assert_eq!(shown("2027-03-01T09:00:00Z", "2027-03-01T11:00:00Z"), "2027-03-01 10:00–12:00 CET");
        assert_eq!(shown("2027-03-01T20:00:00Z", "2027-03-01T23:00:00Z"), "2027-03-01 21:00–24:00 CET");
        assert_eq!(shown("2027-03-01T20:00:00Z", "2027-03-02T01:00:00Z"), "2027-03-01 21:00 – 2027-03-02 02:00 CET");
    }

    #[test]
    fn days_from_now_are_whole_seconds() {
        let (now, then) = (Timestamp::now().as_second(), days_from_now(7));
        assert_eq!(then.nanos, 0);
        assert!((0..2).contains(&(then.seconds - now - 7 * 86_400)), "{}", then.seconds - now);
    }

    #[test]
    fn instants_before_1970_survive_the_wire() {
        let instant: Timestamp = "1969-12-31T23:59:59.25Z".parse().expect("an instant");
        let wire = to_wire(instant);
        assert_eq!((wire.seconds, wire.nanos), (-1, 250_000_000));
        assert_eq!(from_wire(&wire), Some(instant));
    }
}
