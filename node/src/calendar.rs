//! Opening hours on the clock on the wall, expanded to instants. The only place that knows time zones.
//!
//! A local day goes from its first instant to the first instant of the next date: 23, 24 or 25 hours, and never a gap
//! or an overlap between two days. Clocks are changed in the night, and then a time on the wall may not exist, or exist
//! twice. A time that is skipped stands for the end of the gap, whether something opens or closes then. A time that
//! comes twice stands for the earlier instant where something opens and for the later where it closes: the door is
//! open whenever the sign on it could be read as open.

use std::ops::RangeInclusive;

use carrel_domain::calendar::{DAYS_BEHIND, DAYS_BEYOND_WINDOW, Day};
use carrel_domain::catalog::{Catalog, MINUTES_PER_DAY, Span};
use carrel_domain::id::BranchId;
use carrel_domain::time::{Date, Interval, Timestamp};
use jiff::ToSpan;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use thiserror::Error;

/// Longest range of dates at once: the longest booking window and what is kept around it.
pub const DATES_MAX: usize = 365 + (DAYS_BEHIND + DAYS_BEYOND_WINDOW) as usize + 1;

#[derive(Debug, Error)]
pub enum ExpandError {
    #[error("there is no time zone '{0}'")]
    NoSuchZone(String),
    #[error("{0} days are more than the {DATES_MAX} that are expanded at once")]
    TooManyDates(i64),
    #[error("the calendar does not reach {0}")]
    OutOfReach(civil::Date),
}

/// The days of a branch. A date that its time zone skipped altogether has no day.
///
/// # Errors
/// If the time zone is unknown here, or the dates are too many or too far away.
pub fn expand(catalog: &Catalog, branch: BranchId, dates: RangeInclusive<Date>) -> Result<Vec<Day>, ExpandError> {
    let branch = catalog.branch(branch);
    let zone = zone(branch.time_zone.as_str())?;
    let (first, last) = (dates.start().0, dates.end().0);
    let count = i64::from(last) - i64::from(first) + 1;
    if count > DATES_MAX as i64 {
        return Err(ExpandError::TooManyDates(count));
    }
    let mut days = Vec::with_capacity(count.max(0) as usize);
    for date in (first..=last).map(Date) {
        let local = civil_date(date);
        let tomorrow = local.tomorrow().map_err(|_| ExpandError::OutOfReach(local))?;
        let midnight = |date: civil::Date| instant(&zone, date.at(0, 0, 0, 0), Twice::Earlier);
        let (start, end) = (midnight(local)?, midnight(tomorrow)?);
        let Ok(span) = Interval::new(start, end) else { continue };
        let own_hours = branch.areas().filter_map(|id| Some((id, catalog.area(id).hours.as_ref()?)));
        let area_open = own_hours.map(|(id, hours)| Ok((id, open(&zone, local, span, hours.on(date))?)));
        days.push(Day {
            date,
            span,
            grid_origin: start,
            open: open(&zone, local, span, branch.hours.on(date))?,
            area_open: area_open.collect::<Result<_, ExpandError>>()?,
            meals: open(&zone, local, span, &branch.meals)?,
        });
    }
    Ok(days)
}

/// A time zone by its IANA name.
///
/// # Errors
/// If there is none of that name, neither on this system nor built in.
pub fn zone(name: &str) -> Result<TimeZone, ExpandError> {
    // "Etc/Unknown" is found, and behaves like UTC without being it.
    let found = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    found.ok_or_else(|| ExpandError::NoSuchZone(name.to_owned()))
}

/// The date as jiff knows it; dates out of its reach become its first or last.
#[must_use]
pub fn civil_date(date: Date) -> civil::Date {
    // Twice as far as jiff reaches, and within what a jiff span holds.
    let days = date.0.clamp(-7_000_000, 7_000_000);
    EPOCH.saturating_add(days.days())
}

#[must_use]
pub fn domain_date(date: civil::Date) -> Date {
    Date((date - EPOCH).get_days())
}

/// "2027-01-31" and no other form.
#[must_use]
pub fn parse_date(text: &str) -> Option<Date> {
    let date: civil::Date = text.parse().ok()?;
    (date.to_string() == text).then(|| domain_date(date))
}

const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// Which instant a time on the wall means that comes twice.
#[derive(Clone, Copy)]
enum Twice {
    Earlier,
    Later,
}

/// Spans of one local date as intervals, in order, within the day; those that touch are one.
fn open(zone: &TimeZone, date: civil::Date, day: Interval, spans: &[Span]) -> Result<Vec<Interval>, ExpandError> {
    let mut open: Vec<Interval> = Vec::with_capacity(spans.len());
    for span in spans {
        let start = match span.open_minute {
            0 => day.start(),
            minute => instant(zone, at_minute(date, minute), Twice::Earlier)?,
        };
        let end = match span.close_minute {
            MINUTES_PER_DAY => day.end(),
            minute => instant(zone, at_minute(date, minute), Twice::Later)?,
        };
        // A span that lies in a gap is nothing; where midnight comes twice, a time may belong to the other day.
        let Some(span) = Interval::new(start, end).ok().and_then(|span| span.intersection(day)) else { continue };
        // A gap pulls two spans together, and a fold makes the earlier one reach into the later.
        match open.last_mut() {
            Some(last) if span.start() <= last.end() => {
                *last = Interval::new(last.start().min(span.start()), last.end().max(span.end()))
                    .expect("the union of two intervals is not empty");
            }
            _ => open.push(span),
        }
    }
    Ok(open)
}

fn at_minute(date: civil::Date, minute: u16) -> civil::DateTime {
    date.at(0, 0, 0, 0).saturating_add(i64::from(minute).minutes())
}

fn instant(zone: &TimeZone, local: civil::DateTime, twice: Twice) -> Result<Timestamp, ExpandError> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let found = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { before: _, after } => {
            // Read with the offset that comes after it, a time in a gap lies before the gap.
            let before_gap = after.to_timestamp(local).ok();
            before_gap.and_then(|before_gap| {
                zone.following(before_gap).find(|change| change.offset() == after).map(|change| change.timestamp())
            })
        }
        AmbiguousOffset::Fold { before, after } => match twice {
            Twice::Earlier => before.to_timestamp(local).ok(),
            Twice::Later => after.to_timestamp(local).ok(),
        },
    };
    found.map(|found| Timestamp(found.as_microsecond())).ok_or(ExpandError::OutOfReach(local.date()))
}
