//! Days and weeks around a change: every half hour is there once, and counts for the day that the wall says.

use std::collections::BTreeMap;

use carrel_domain::catalog::Policy;
use carrel_domain::refusal::Refusal;
use carrel_domain::time::{DAY_US, Date, Timestamp};
use jiff::tz::TimeZone;

use crate::library::{
    ALWAYS, ALWAYS_TOO, AMY, BEN, BY_DAY, Library, ZONES, after, changes, generous, wall, zone_named,
};

const HALF_HOUR: i64 = 30;

/// The instants at which local dates begin, found minute by minute on the clock on the wall.
fn days(zone: &TimeZone, from: Timestamp, to: Timestamp) -> BTreeMap<Date, Timestamp> {
    let mut found = BTreeMap::new();
    let (mut before, _) = wall(zone, from);
    let mut instant = from;
    while instant < to {
        let (date, _) = wall(zone, instant);
        if date != before {
            assert!(before < date, "no date comes twice");
            found.insert(date, instant);
            before = date;
        }
        instant = after(instant, 1);
    }
    found
}

/// Each zone, each change of it, and what is to be told if something is wrong there.
fn around_every_change(look: impl Fn(&str, &TimeZone, Timestamp, &str)) {
    for name in ZONES {
        let zone = zone_named(name);
        let found = changes(&zone);
        // Whatever the data of the zones says in years to come: it goes on.
        assert!(found.len() >= 2, "{name}");
        for change in found {
            look(name, &zone, change, &format!("{name} at {}", change.0 / 1_000_000));
        }
    }
}

fn starts(from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(from), |start| Some(after(*start, HALF_HOUR))).take_while(move |start| *start < to)
}

#[test]
fn every_half_hour_is_there_once() {
    around_every_change(|name, zone, change, what| {
        let rules = Policy { grid_minutes: 30, min_minutes: 30, ..generous() };
        let mut library = Library::open(&[name], "Main", rules, change.plus_us(-4 * DAY_US));
        let days: Vec<_> = days(zone, change.plus_us(-2 * DAY_US), change.plus_us(2 * DAY_US)).into_iter().collect();
        assert!((3..=4).contains(&days.len()), "{what}: {days:?}");
        let mut minutes_by_day = 0;
        for pair in days.windows(2) {
            let [(_, first), (_, next)] = pair else { unreachable!("a window of two") };
            for start in starts(*first, *next) {
                // Whoever is first has it, and nobody after that; a start between two slots is none.
                let booked = library.reserve(AMY, 0, ALWAYS, start, HALF_HOUR);
                assert!(booked.is_ok(), "{what}, {start:?}: {booked:?}");
                assert_eq!(library.reserve(BEN, 0, ALWAYS, start, HALF_HOUR), Err(Refusal::SeatTaken), "{what}");
                let between = library.reserve(BEN, 0, ALWAYS_TOO, after(start, 15), HALF_HOUR);
                assert_eq!(between, Err(Refusal::OffGrid { grid_minutes: 30 }), "{what}, {start:?}");
                // Where it opens at eight and closes at eight, both by the wall.
                let by_day = library.reserve(BEN, 0, BY_DAY, start, HALF_HOUR);
                let (_, minute) = wall(zone, start);
                if (8 * 60..20 * 60).contains(&minute) {
                    assert!(by_day.is_ok(), "{what}, {start:?}: {by_day:?}");
                    minutes_by_day += HALF_HOUR;
                } else {
                    assert_eq!(by_day, Err(Refusal::Closed), "{what}, {start:?}");
                }
            }
        }
        assert_eq!(minutes_by_day, 12 * 60 * (days.len() as i64 - 1), "{what}: twelve hours a day");
    });
}

#[test]
fn a_quota_of_a_day_is_of_the_day_on_the_wall() {
    around_every_change(|name, zone, change, what| {
        let of_minutes = Policy { max_minutes_per_day: 4 * 30, ..generous() };
        let of_starts = Policy { max_per_day: 4, ..generous() };
        let too_much = [
            (of_minutes, Refusal::TooManyMinutes { max_per_day: 120, left: 0 }),
            (of_starts, Refusal::TooManyOnDay { max: 4 }),
        ];
        for (rules, refusal) in too_much {
            let mut library = Library::open(&[name], "Main", rules, change.plus_us(-4 * DAY_US));
            let days: Vec<_> =
                days(zone, change.plus_us(-2 * DAY_US), change.plus_us(2 * DAY_US)).into_iter().collect();
            for pair in days.windows(2) {
                let [(_, first), (_, next)] = pair else { unreachable!("a window of two") };
                // The first hour of a day and its last: taken for the neighbour's, they would be too much there.
                for start in [*first, after(*first, 30), after(*next, -60), after(*next, -30)] {
                    let booked = library.reserve(AMY, 0, ALWAYS, start, HALF_HOUR);
                    assert!(booked.is_ok(), "{what}, {start:?}: {booked:?}");
                }
                for start in [after(*first, 60), after(*next, -90)] {
                    let more = library.reserve(AMY, 0, ALWAYS, start, HALF_HOUR);
                    assert_eq!(more, Err(refusal), "{what}, {start:?}");
                }
            }
        }
    });
}

#[test]
fn a_quota_of_a_week_goes_from_monday_to_sunday_on_the_wall() {
    around_every_change(|name, zone, change, what| {
        let days = days(zone, change.plus_us(-9 * DAY_US), change.plus_us(10 * DAY_US));
        // 1970-01-01 was a Thursday.
        let monday_of = |date: Date| date.plus_days(-(date.0 + 3).rem_euclid(7));
        let (date, _) = wall(zone, change);
        let (monday, next_monday) = (days[&monday_of(date)], days[&monday_of(date).plus_days(7)]);
        let of_minutes = Policy { max_minutes_per_week: 4 * 30, ..generous() };
        let of_starts = Policy { max_per_week: 4, ..generous() };
        let too_much = [
            (of_minutes, Refusal::TooManyMinutesInWeek { max_per_week: 120, left: 0 }),
            (of_starts, Refusal::TooManyInWeek { max: 4 }),
        ];
        for (rules, refusal) in too_much {
            let mut library = Library::open(&[name], "Main", rules, monday.plus_us(-2 * DAY_US));
            let within = [monday, after(monday, 30), after(next_monday, -60), after(next_monday, -30)];
            let beyond = [after(monday, -30), next_monday];
            for start in within.into_iter().chain(beyond) {
                let booked = library.reserve(AMY, 0, ALWAYS, start, HALF_HOUR);
                assert!(booked.is_ok(), "{what}, {start:?}: {booked:?}");
            }
            for start in [after(monday, 60), after(next_monday, -90)] {
                let more = library.reserve(AMY, 0, ALWAYS, start, HALF_HOUR);
                assert_eq!(more, Err(refusal), "{what}, {start:?}");
            }
        }
    });
}
