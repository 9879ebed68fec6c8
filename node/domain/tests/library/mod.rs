//! A small library to try the rules on, with the part of the edge that the rules leave out: a time zone with summer
//! time, and the expansion of opening hours to instants.

#![allow(dead_code, reason = "each test uses the part it needs")]

pub mod house;

use std::collections::BTreeMap;

use carrel_domain::calendar::Day;
use carrel_domain::catalog::{AreaDraft, BranchDraft, Draft, Hours, Policy, PolicyDraft, SeatDraft, Span};
use carrel_domain::id::BranchId;
use carrel_domain::request::{Action, Request};
use carrel_domain::state::State;
use carrel_domain::text::{Slug, Title};
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};

/// "main" in Berlin: a reading room with A1 (power), A2 (power, monitor) and A3 (accessible), and a night room with N1
/// and N2 that never closes. "annex" in London: one hall with X1 and X2.
pub fn draft() -> Draft {
    let reading_room = AreaDraft {
        id: slug("reading-room"),
        title: title("Reading Room"),
        policy: None,
        hours: None,
        seats: vec![seat("a1", &["power"], false), seat("a2", &["power", "monitor"], false), seat("a3", &[], true)],
    };
    let night = AreaDraft {
        id: slug("night"),
        title: title("Night Room"),
        policy: Some(slug("night")),
        hours: Some(weekly(0, 1440)),
        seats: vec![seat("n1", &[], false), seat("n2", &[], false)],
    };
    let hall = AreaDraft {
        id: slug("hall"),
        title: title("Hall"),
        policy: None,
        hours: None,
        seats: vec![seat("x1", &[], false), seat("x2", &[], false)],
    };
    Draft {
        policies: vec![
            PolicyDraft { id: slug("day"), rules: policy() },
            PolicyDraft { id: slug("night"), rules: Policy { max_minutes: 480, max_minutes_per_day: 480, ..policy() } },
        ],
        branches: vec![
            BranchDraft {
                id: slug("main"),
                title: title("Main Library"),
                time_zone: title("Europe/Berlin"),
                policy: slug("day"),
                hours: weekly(8 * 60, 20 * 60),
                meals: vec![Span { open_minute: 11 * 60 + 30, close_minute: 13 * 60 + 30 }],
                areas: vec![reading_room, night],
            },
            BranchDraft {
                id: slug("annex"),
                title: title("Annex"),
                time_zone: title("Europe/London"),
                policy: slug("day"),
                hours: weekly(9 * 60, 18 * 60),
                meals: Vec::new(),
                areas: vec![hall],
            },
        ],
    }
}

pub fn policy() -> Policy {
    Policy {
        grid_minutes: 30,
        min_minutes: 30,
        max_minutes: 240,
        window_days: 14,
        grace_minutes: 15,
        lead_minutes: 15,
        offer_minutes: 10,
        max_reservations: 3,
        max_minutes_per_day: 360,
        strikes_to_suspend: 3,
        strike_days: 30,
        suspension_days: 7,
        ..Policy::default()
    }
}

pub fn weekly(open_minute: u16, close_minute: u16) -> Hours {
    let day = || vec![Span { open_minute, close_minute }];
    Hours { week: [day(), day(), day(), day(), day(), day(), day()], periods: Vec::new(), exceptions: Vec::new() }
}

pub fn seat(id: &str, amenities: &[&str], accessible: bool) -> SeatDraft {
    SeatDraft {
        id: slug(id),
        label: title(&id.to_uppercase()),
        amenities: amenities.iter().map(|amenity| title(amenity)).collect(),
        accessible,
        x_cm: 100,
        y_cm: 100,
    }
}

pub fn slug(text: &str) -> Slug {
    Slug::new(text).expect("written here")
}

pub fn title(text: &str) -> Title {
    Title::new(text).expect("written here")
}

/// A zone of the European Union, which changes its clocks twice a year at 01:00 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    winter_minutes: i64,
}

pub const BERLIN: Zone = Zone { winter_minutes: 60 };
pub const LONDON: Zone = Zone { winter_minutes: 0 };

impl Zone {
    pub fn named(name: &str) -> Self {
        if name == "Europe/London" { LONDON } else { BERLIN }
    }

    fn minutes_at(self, instant: Timestamp) -> i64 {
        let changes = [date(2026, 3, 29), date(2026, 10, 25)].map(|date| i64::from(date.0) * DAY_US + 60 * MINUTE_US);
        let is_summer = changes[0] <= instant.0 && instant.0 < changes[1];
        self.winter_minutes + if is_summer { 60 } else { 0 }
    }

    /// None: the clocks skip this time. Of two instants, the earlier.
    pub fn instant(self, date: Date, minute: i64) -> Option<Timestamp> {
        let local = i64::from(date.0) * DAY_US + minute * MINUTE_US;
        [self.winter_minutes + 60, self.winter_minutes]
            .into_iter()
            .map(|offset| (offset, Timestamp(local - offset * MINUTE_US)))
            .find(|&(offset, instant)| self.minutes_at(instant) == offset)
            .map(|(_, instant)| instant)
    }

    /// The date, and the microsecond of it on the clock on the wall.
    pub fn local(self, instant: Timestamp) -> (Date, i64) {
        let local = instant.0 + self.minutes_at(instant) * MINUTE_US;
        (Date(i32::try_from(local.div_euclid(DAY_US)).expect("a date of our time")), local.rem_euclid(DAY_US))
    }

    pub fn midnight(self, date: Date) -> Timestamp {
        self.instant(date, 0).expect("no clock of Europe changes at midnight")
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
pub fn date(year: i32, month: i32, day: i32) -> Date {
    // The year is counted from March, so that a leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Date(year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468)
}

/// What the leader proposes when days of a branch are missing; none if none are.
pub fn fill(state: &State, id: BranchId) -> Option<Request> {
    let branch = state.catalog().branch(id);
    let zone = Zone::named(branch.time_zone.as_str());
    let (today, _) = zone.local(state.at().time);
    let days: Vec<Day> = state.missing_days(id, today).into_iter().map(|date| day(state, id, zone, date)).collect();
    let hours_revision = branch.hours_revision;
    (!days.is_empty()).then(|| Request::system(Action::FillCalendar { branch: id, hours_revision, days }))
}

fn day(state: &State, id: BranchId, zone: Zone, date: Date) -> Day {
    let branch = state.catalog().branch(id);
    let on_the_clock = |spans: &[Span]| -> Vec<Interval> {
        let instant = |minute: u16| zone.instant(date, i64::from(minute)).expect("nobody opens at two at night");
        let end = |minute: u16| if minute == 1440 { zone.midnight(date.plus_days(1)) } else { instant(minute) };
        spans
            .iter()
            .map(|span| Interval::new(instant(span.open_minute), end(span.close_minute)).expect("no faults"))
            .collect()
    };
    let open = |hours: &Hours| on_the_clock(hours.on(date));
    let own = branch.areas().filter_map(|area| Some((area, open(state.catalog().area(area).hours.as_ref()?))));
    let area_open: BTreeMap<_, _> = own.collect();
    let (midnight, next) = (zone.midnight(date), zone.midnight(date.plus_days(1)));
    Day {
        date,
        span: Interval::new(midnight, next).expect("a day is not empty"),
        grid_origin: midnight,
        open: open(&branch.hours),
        area_open,
        meals: on_the_clock(&branch.meals),
    }
}
