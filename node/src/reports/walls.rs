//! The clock on a branch's wall: which hour it shows, and what lies in each of its hours.
//!
//! Whatever spans several hours is known by its two ends. What lies within an hour is what lies before the one end less
//! what lies before the other; so a million spans are counted by the hours in which they begin and end, without a look
//! at each hour of each span.

use std::collections::BTreeMap;

use carrel_domain::catalog::Catalog;
use carrel_domain::id::AreaId;
use carrel_domain::time::{DAY_US, Interval, SECOND_US, Timestamp};
use jiff::tz::TimeZone;

use crate::calendar::{self, DATES_MAX, ExpandError};
use crate::reports::Question;

const DAY_S: i64 = 86_400;

/// Seconds in each hour of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours([i64; 24]);

/// Spans, by the hour of the day in which one of their two ends lies, in seconds on the wall since any midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub hour: u8,
    pub count: i64,
    /// Of the ends themselves.
    pub sum_s: i64,
    /// Of what they are after the full hour.
    pub rest_sum_s: i64,
}

impl Hours {
    #[must_use]
    pub fn of(&self, hour: u8) -> i64 {
        self.0.get(usize::from(hour)).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn sum(&self) -> i64 {
        self.0.iter().sum()
    }

    /// What lies before these ends. Beginnings are taken away again.
    pub fn add(&mut self, ends: Ends, sign: i64) {
        let Ends { hour, count, sum_s, rest_sum_s } = ends;
        let days = (sum_s - count * 3_600 * i64::from(hour) - rest_sum_s) / DAY_S;
        for (before, seconds) in (0_u8..).zip(&mut self.0) {
            let on_the_day = match before.cmp(&hour) {
                std::cmp::Ordering::Less => 3_600 * count,
                std::cmp::Ordering::Equal => rest_sum_s,
                std::cmp::Ordering::Greater => 0,
            };
            *seconds += sign * (days * 3_600 + on_the_day);
        }
    }

    /// From one second on the wall to another.
    pub fn add_span(&mut self, start_s: i64, end_s: i64) {
        self.add(Ends::at(end_s), 1);
        self.add(Ends::at(start_s), -1);
    }

    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, seconds)| *sum += seconds);
    }
}

impl Ends {
    #[must_use]
    pub fn at(second: i64) -> Self {
        Self { hour: hour_of(second), count: 1, sum_s: second, rest_sum_s: second.rem_euclid(3_600) }
    }
}

#[must_use]
pub fn hour_of(second: i64) -> u8 {
    u8::try_from(second.rem_euclid(DAY_S) / 3_600).unwrap_or_default()
}

/// How far a zone is ahead of UTC, from an instant on until the next one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Vec<(Timestamp, i64)>);

impl Offsets {
    /// # Errors
    /// If the zone is unknown here.
    pub fn of(zone: &str, interval: Interval) -> Result<Self, ExpandError> {
        let zone = calendar::zone(zone)?;
        // What starts before may reach into it.
        let (from, to) = (interval.start().plus_us(-2 * DAY_US), interval.end());
        let mut offsets = vec![(Timestamp(i64::MIN), offset_s(&zone, from))];
        if let Ok(start) = jiff::Timestamp::from_microsecond(from.0) {
            for change in zone.following(start) {
                let at = Timestamp(change.timestamp().as_microsecond());
                if at >= to {
                    break;
                }
                offsets.push((at, i64::from(change.offset().seconds())));
            }
        }
        Ok(Self(offsets))
    }

    #[must_use]
    pub fn at(&self, instant: Timestamp) -> i64 {
        let place = self.0.partition_point(|(from, _)| *from <= instant);
        self.0[place.saturating_sub(1)].1
    }

    /// Each with the instant from which on it is in force; the first one always was.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Timestamp, i64)> + '_ {
        self.0.iter().copied()
    }
}

fn offset_s(zone: &TimeZone, at: Timestamp) -> i64 {
    let at = jiff::Timestamp::from_microsecond(at.0);
    at.map_or(0, |at| i64::from(zone.to_offset(at).seconds()))
}

/// Of every branch by its zone, so that each zone is looked up once.
///
/// # Errors
/// If the zone of a branch is unknown here.
pub fn offsets(catalog: &Catalog, question: &Question) -> Result<BTreeMap<String, Offsets>, ExpandError> {
    let mut found = BTreeMap::new();
    for (_, branch) in catalog.every_branch().filter(|(id, _)| question.covers(*id)) {
        let zone = branch.time_zone.as_str();
        if !found.contains_key(zone) {
            found.insert(zone.to_owned(), Offsets::of(zone, question.interval)?);
        }
    }
    Ok(found)
}

/// When a seat of each area is open, by the hours that are in force now.
///
/// # Errors
/// If the zone of a branch is unknown here, or the interval lies where no calendar reaches.
pub fn open(catalog: &Catalog, question: &Question) -> Result<BTreeMap<AreaId, Hours>, ExpandError> {
    let mut found: BTreeMap<AreaId, Hours> = BTreeMap::new();
    let (from, to) = (question.interval.start(), question.interval.end());
    for (id, branch) in catalog.branches().filter(|(id, _)| question.covers(*id)) {
        let offsets = Offsets::of(branch.time_zone.as_str(), question.interval)?;
        let date = |at: Timestamp| carrel_domain::time::Date(i32::try_from((at.0).div_euclid(DAY_US)).unwrap_or(0));
        // On the wall it may be the day before, or the next.
        let (mut next, last) = (date(from).0 - 1, date(to).0 + 1);
        while next <= last {
            let until = last.min(next + DATES_MAX as i32 - 1);
            let dates = carrel_domain::time::Date(next)..=carrel_domain::time::Date(until);
            for day in calendar::expand(catalog, id, dates)? {
                let mut usual = Hours::default();
                let add = |hours: &mut Hours, open: &[Interval]| {
                    let within = open.iter().filter_map(|open| open.intersection(question.interval));
                    for open in within {
                        let offset = offsets.at(open.start());
                        let second = |at: Timestamp| at.0.div_euclid(SECOND_US) + offset;
                        hours.add_span(second(open.start()), second(open.end()));
                    }
                };
                add(&mut usual, &day.open);
                for area in branch.areas() {
                    let hours = found.entry(area).or_default();
                    match day.area_open.get(&area) {
                        Some(open) => add(hours, open),
                        None => hours.add_all(&usual),
                    }
                }
            }
            next = until + 1;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_each_hour_follows_from_the_ends() {
        let at = |day: i64, hour: i64, minute: i64| day * DAY_S + hour * 3_600 + minute * 60;
        let mut hours = Hours::default();
        hours.add_span(at(3, 9, 40), at(3, 11, 15));
        assert_eq!([8, 9, 10, 11, 12].map(|hour| hours.of(hour) / 60), [0, 20, 60, 15, 0]);
        // Through midnight, and a whole day and more.
        hours = Hours::default();
        hours.add_span(at(3, 23, 0), at(4, 0, 30));
        assert_eq!([22, 23, 0, 1].map(|hour| hours.of(hour) / 60), [0, 60, 30, 0]);
        hours = Hours::default();
        hours.add_span(at(0, 10, 0), at(2, 10, 0));
        assert!((0..24).all(|hour| hours.of(hour) == 7_200), "{hours:?}");
        // Many at once, as they are counted elsewhere.
        let spans = [(at(0, 9, 10), at(0, 12, 50)), (at(7, 9, 30), at(8, 12, 5))];
        let (mut one_by_one, mut at_once) = (Hours::default(), Hours::default());
        spans.iter().for_each(|(start, end)| one_by_one.add_span(*start, *end));
        let together = |hour, ends: [i64; 2]| Ends {
            hour,
            count: 2,
            sum_s: ends.iter().sum(),
            rest_sum_s: ends.iter().map(|end| end % 3_600).sum(),
        };
        at_once.add(together(12, spans.map(|span| span.1)), 1);
        at_once.add(together(9, spans.map(|span| span.0)), -1);
        assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn the_wall_goes_with_the_season() {
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().expect("an instant").as_microsecond());
        let year = Interval::new(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")).expect("in order");
        let berlin = Offsets::of("Europe/Berlin", year).expect("it is everywhere");
        assert_eq!(berlin.at(at("2026-01-01T12:00:00Z")), 3_600);
        assert_eq!(berlin.at(at("2026-03-29T00:59:59Z")), 3_600);
        assert_eq!(berlin.at(at("2026-03-29T01:00:00Z")), 7_200);
        assert_eq!(berlin.at(at("2026-12-01T12:00:00Z")), 3_600);
        assert_eq!(berlin.iter().count(), 3);
        assert!(Offsets::of("Moon/Tycho", year).is_err());
    }
}
