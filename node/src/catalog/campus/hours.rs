//! Opening hours of the campus from the winter of 2026 on: terms, exams, a long summer, holidays.

use carrel_proto::v1;
use carrel_proto::v1::DayHours;
use carrel_proto::v1::day_hours::Span;
use carrel_proto::v1::hours::{DayException, Period};

use super::plan::{DayPlan, Region};

pub fn always() -> v1::Hours {
    v1::Hours { week: vec![day(Some((0, 24))); 7], periods: Vec::new(), exceptions: Vec::new() }
}

/// When people eat, on both continents.
pub fn meals() -> DayHours {
    let span = |open_minute, close_minute| Span { open_minute, close_minute };
    DayHours { spans: vec![span(12 * 60, 13 * 60 + 30), span(18 * 60, 19 * 60)] }
}

pub fn branch_hours(region: Region, weekdays: &DayPlan, saturday: &DayPlan, sunday: &DayPlan) -> v1::Hours {
    let (periods, holidays): (&[PeriodPlan], &[HolidayPlan]) = match region {
        Region::Berlin => (&BERLIN_PERIODS, &BERLIN_HOLIDAYS),
        Region::NewYork => (&NEW_YORK_PERIODS, &NEW_YORK_HOLIDAYS),
    };
    v1::Hours {
        week: week(*weekdays, *saturday, *sunday),
        periods: periods
            .iter()
            .map(|(display_name, first_date, last_date, term)| Period {
                display_name: (*display_name).to_owned(),
                first_date: (*first_date).to_owned(),
                last_date: (*last_date).to_owned(),
                week: match term {
                    Term::Exams => week(exams(*weekdays), exams(*saturday), exams(sunday.or(Some((12, 18))))),
                    Term::Summer => week(summer(*weekdays), summer(*saturday), None),
                },
            })
            .collect(),
        exceptions: holidays
            .iter()
            .map(|(display_name, date, hours)| DayException {
                display_name: (*display_name).to_owned(),
                date: (*date).to_owned(),
                hours: Some(day(*hours)),
            })
            .collect(),
    }
}

fn week(weekdays: DayPlan, saturday: DayPlan, sunday: DayPlan) -> Vec<DayHours> {
    let mut week = vec![day(weekdays); 5];
    week.extend([day(saturday), day(sunday)]);
    week
}

fn day(plan: DayPlan) -> DayHours {
    let spans = plan.map(|(open, close)| Span { open_minute: open * 60, close_minute: close * 60 });
    DayHours { spans: spans.into_iter().collect() }
}

/// An hour earlier, two later.
fn exams(plan: DayPlan) -> DayPlan {
    plan.map(|(open, close)| (open - 1, (close + 2).min(24)))
}

/// An hour later, closed by six.
fn summer(plan: DayPlan) -> DayPlan {
    plan.map(|(open, close)| (open + 1, close.min(18)))
}

enum Term {
    Exams,
    Summer,
}

type PeriodPlan = (&'static str, &'static str, &'static str, Term);

const BERLIN_PERIODS: [PeriodPlan; 3] = [
    ("Winter exams", "2027-01-25", "2027-02-20", Term::Exams),
    ("Summer exams", "2027-07-05", "2027-07-31", Term::Exams),
    ("Summer break", "2027-08-02", "2027-10-02", Term::Summer),
];

const NEW_YORK_PERIODS: [PeriodPlan; 3] = [
    ("Fall finals", "2026-12-07", "2026-12-19", Term::Exams),
    ("Spring finals", "2027-04-26", "2027-05-12", Term::Exams),
    ("Summer break", "2027-05-17", "2027-08-20", Term::Summer),
];

type HolidayPlan = (&'static str, &'static str, DayPlan);

const BERLIN_HOLIDAYS: [HolidayPlan; 16] = [
    ("Christmas Eve", "2026-12-24", Some((8, 12))),
    ("Christmas Day", "2026-12-25", None),
    ("Boxing Day", "2026-12-26", None),
    ("New Year's Eve", "2026-12-31", Some((8, 14))),
    ("New Year's Day", "2027-01-01", None),
    ("Good Friday", "2027-03-26", None),
    ("Easter Sunday", "2027-03-28", None),
    ("Easter Monday", "2027-03-29", None),
    ("Labour Day", "2027-05-01", None),
    ("Ascension Day", "2027-05-06", None),
    ("Whit Sunday", "2027-05-16", None),
    ("Whit Monday", "2027-05-17", None),
    ("Founders' Day", "2027-06-11", Some((12, 18))),
    ("Stocktaking", "2027-09-01", None),
    ("Unity Day", "2027-10-03", None),
    ("Staff meeting", "2027-11-10", Some((12, 20))),
];

const NEW_YORK_HOLIDAYS: [HolidayPlan; 12] = [
    ("Thanksgiving", "2026-11-26", None),
    ("Day after Thanksgiving", "2026-11-27", Some((10, 18))),
    ("Christmas Eve", "2026-12-24", Some((8, 13))),
    ("Christmas Day", "2026-12-25", None),
    ("New Year's Eve", "2026-12-31", Some((8, 15))),
    ("New Year's Day", "2027-01-01", None),
    ("Martin Luther King Day", "2027-01-18", None),
    ("Commencement", "2027-05-15", None),
    ("Memorial Day", "2027-05-31", None),
    ("Independence Day, observed", "2027-07-05", None),
    ("Labor Day", "2027-09-06", None),
    ("Thanksgiving", "2027-11-25", None),
];
