//! The catalogue: `v1::Catalog` to `Draft` and back.
//!
//! On the way in everything is checked and every fault is told, each with its place, so that whoever wrote the
//! catalogue mends it in one go. For that, what cannot be read is replaced by a stand-in and the rest is still checked;
//! a draft with a stand-in in it never leaves this file.

use std::collections::BTreeSet;

use carrel_domain::catalog::{
    self, AMENITIES_PER_SEAT_MAX, AREAS_MAX, AreaDraft, BRANCHES_MAX, BranchDraft, Draft, EXCEPTIONS_MAX, Exception,
    Fault, Hours, PERIODS_MAX, POLICIES_MAX, Period, Place, PolicyDraft, SEATS_MAX, SeatDraft, Span,
};
use carrel_domain::text::{Slug, Title};
use carrel_domain::time::Date;
use carrel_proto::v1;

use crate::calendar;
use crate::convert::policy;

/// Farthest from the corner of an area's map.
pub const METRES_MAX: f64 = 10_000.0;

/// The draft that `catalog` describes.
///
/// # Errors
/// Everything that is wrong with it.
pub fn to_draft(catalog: &v1::Catalog) -> Result<Draft, Vec<Fault>> {
    let v1::Catalog { policies, branches } = catalog;
    let mut reading = Reading::default();
    reading.count(catalog);
    // What follows keeps a sentence for every fault, so it starts only if there can be no millions of them.
    if !reading.faults.is_empty() {
        return Err(reading.faults);
    }
    let draft = Draft {
        policies: policies.iter().enumerate().map(|(index, policy)| reading.policy(index, policy)).collect(),
        branches: branches.iter().enumerate().map(|(index, branch)| reading.branch(index, branch)).collect(),
    };
    let told = Told(reading.stood_in);
    let mut faults = reading.faults;
    faults.extend(catalog::faults(&draft).into_iter().filter(|fault| !told.covers(&fault.place)));
    if faults.is_empty() { Ok(draft) } else { Err(faults) }
}

#[must_use]
pub fn from_draft(draft: &Draft) -> v1::Catalog {
    let Draft { policies, branches } = draft;
    v1::Catalog {
        policies: policies.iter().map(from_policy).collect(),
        branches: branches.iter().map(from_branch).collect(),
    }
}

/// Places where something has been found already, so that what only follows from it is not told as well.
#[derive(Debug, Default)]
pub struct Told(pub BTreeSet<Place>);

impl Told {
    /// True if this place has been told of, or the whole that it belongs to (a place without a field). Grid, shortest
    /// and longest reservation bound each other, so that one of them that cannot be read spoils what is said of the
    /// others.
    #[must_use]
    pub fn covers(&self, place: &Place) -> bool {
        const BOUND_TOGETHER: [&str; 3] = ["grid_minutes", "min_minutes", "max_minutes"];
        let whole = Place { field: "", ..place.clone() };
        let area = Place { seat: None, ..whole.clone() };
        let branch = Place { area: None, ..area.clone() };
        let together = BOUND_TOGETHER.map(|field| Place { field, ..place.clone() });
        self.0.contains(place)
            || [&whole, &area, &branch].into_iter().any(|whole| self.0.contains(whole))
            || (together.contains(place) && together.iter().any(|other| self.0.contains(other)))
    }
}

/// Text that was refused, as it may be shown: short, and without what it was refused for.
#[must_use]
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let escaped = |c: char| if c == '\'' { String::from(c) } else { c.escape_debug().collect() };
    let mut shown: String = text.chars().take(CHARS_MAX).map(escaped).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}

#[derive(Default)]
struct Reading {
    faults: Vec<Fault>,
    /// Where the draft has a stand-in.
    stood_in: BTreeSet<Place>,
}

impl Reading {
    fn found(&mut self, place: Place, problem: String) {
        self.faults.push(Fault { place, problem });
    }

    fn count(&mut self, catalog: &v1::Catalog) {
        let areas = || catalog.branches.iter().flat_map(|branch| &branch.areas);
        for (counted, max, field) in [
            (catalog.policies.len(), POLICIES_MAX, "policies"),
            (catalog.branches.len(), BRANCHES_MAX, "branches"),
            (areas().count(), AREAS_MAX, "areas"),
            (areas().map(|area| area.seats.len()).sum(), SEATS_MAX, "seats"),
        ] {
            if counted > max {
                let place = Place { field, ..Place::default() };
                self.found(place, format!("{counted} are more than the {max} allowed"));
            }
        }
    }

    fn policy(&mut self, index: usize, policy: &v1::Policy) -> PolicyDraft {
        let place = |field| Place { policy: Some(index), field, ..Place::default() };
        let id = self.slug(place("id"), &policy.id);
        let rules = policy::to_rules(policy, |field, value| {
            u32::try_from(value).unwrap_or_else(|_| {
                self.found(place(field), format!("{value} is less than nothing"));
                self.stood_in.insert(place(field));
                0
            })
        });
        PolicyDraft { id, rules }
    }

    fn branch(&mut self, index: usize, branch: &v1::Branch) -> BranchDraft {
        let v1::Branch { id, display_name, time_zone, policy, hours, areas, meals } = branch;
        let at = Place { branch: Some(index), ..Place::default() };
        let place = |field| Place { field, ..at.clone() };
        let id = self.slug(place("id"), id);
        let title = self.title(place("display_name"), display_name);
        let time_zone = self.time_zone(place("time_zone"), time_zone);
        let policy = self.slug(place("policy"), policy);
        let hours = match hours {
            Some(hours) => self.hours(&place("hours"), hours),
            None => {
                self.found(place("hours"), "they are missing".to_owned());
                Hours { week: Default::default(), periods: Vec::new(), exceptions: Vec::new() }
            }
        };
        let areas = areas.iter().enumerate().map(|(index, area)| self.area(&at, index, area)).collect();
        let meals = meals.as_ref().map(|meals| self.spans(&place("meals"), meals)).unwrap_or_default();
        BranchDraft { id, title, time_zone, policy, hours, meals, areas }
    }

    fn area(&mut self, branch: &Place, index: usize, area: &v1::Area) -> AreaDraft {
        let v1::Area { id, display_name, policy, hours, seats } = area;
        let at = Place { area: Some(index), ..branch.clone() };
        let place = |field| Place { field, ..at.clone() };
        AreaDraft {
            id: self.slug(place("id"), id),
            title: self.title(place("display_name"), display_name),
            policy: (!policy.is_empty()).then(|| self.slug(place("policy"), policy)),
            hours: hours.as_ref().map(|hours| self.hours(&place("hours"), hours)),
            seats: seats.iter().enumerate().map(|(index, seat)| self.seat(&at, index, seat)).collect(),
        }
    }

    fn seat(&mut self, area: &Place, index: usize, seat: &v1::area::Seat) -> SeatDraft {
        let v1::area::Seat { id, label, amenities, accessible, x, y } = seat;
        let place = |field| Place { seat: Some(index), field, ..area.clone() };
        SeatDraft {
            id: self.slug(place("id"), id),
            label: self.title(place("label"), label),
            amenities: self.amenities(&place("amenities"), amenities),
            accessible: *accessible,
            x_cm: self.centimetres(place("x"), *x),
            y_cm: self.centimetres(place("y"), *y),
        }
    }

    fn amenities(&mut self, place: &Place, amenities: &[String]) -> Vec<Title> {
        if amenities.len() > AMENITIES_PER_SEAT_MAX {
            self.found(place.clone(), format!("more than {AMENITIES_PER_SEAT_MAX}"));
            return Vec::new();
        }
        let mut read = Vec::with_capacity(amenities.len());
        for amenity in amenities {
            match Title::new(amenity) {
                Ok(amenity) => read.push(amenity),
                Err(problem) => self.found(place.clone(), format!("{}: {problem}", shown(amenity))),
            }
        }
        read
    }

    fn hours(&mut self, place: &Place, hours: &v1::Hours) -> Hours {
        let v1::Hours { week, periods, exceptions } = hours;
        let week = self.week(place, week);
        for (counted, max, kind) in
            [(periods.len(), PERIODS_MAX, "periods"), (exceptions.len(), EXCEPTIONS_MAX, "exceptions")]
        {
            if counted > max {
                self.found(place.clone(), format!("{counted} {kind} are more than the {max} allowed"));
                return Hours { week, periods: Vec::new(), exceptions: Vec::new() };
            }
        }
        Hours {
            week,
            periods: periods.iter().filter_map(|period| self.period(place, period)).collect(),
            exceptions: exceptions.iter().filter_map(|exception| self.exception(place, exception)).collect(),
        }
    }

    fn period(&mut self, place: &Place, period: &v1::hours::Period) -> Option<Period> {
        let v1::hours::Period { display_name, first_date, last_date, week } = period;
        let title = self.optional_title(place, display_name);
        let first = self.date(place, first_date);
        let last = self.date(place, last_date);
        let week = self.week(place, week);
        Some(Period { title, first: first?, last: last?, week })
    }

    fn exception(&mut self, place: &Place, exception: &v1::hours::DayException) -> Option<Exception> {
        let v1::hours::DayException { display_name, date, hours } = exception;
        let title = self.optional_title(place, display_name);
        let date = self.date(place, date);
        let spans = hours.as_ref().map(|hours| self.spans(place, hours)).unwrap_or_default();
        Some(Exception { title, date: date?, spans })
    }

    fn week(&mut self, place: &Place, week: &[v1::DayHours]) -> [Vec<Span>; 7] {
        if week.len() != 7 {
            self.found(place.clone(), format!("a week has seven days, Monday first, and this one has {}", week.len()));
            return Default::default();
        }
        std::array::from_fn(|weekday| self.spans(place, &week[weekday]))
    }

    fn spans(&mut self, place: &Place, hours: &v1::DayHours) -> Vec<Span> {
        let v1::DayHours { spans } = hours;
        let mut read = Vec::with_capacity(spans.len());
        for v1::day_hours::Span { open_minute, close_minute } in spans {
            match (u16::try_from(*open_minute), u16::try_from(*close_minute)) {
                (Ok(open_minute), Ok(close_minute)) => read.push(Span { open_minute, close_minute }),
                _ => {
                    let problem = format!("from minute {open_minute} to minute {close_minute} is not within a day");
                    self.found(place.clone(), problem);
                    break;
                }
            }
        }
        read
    }

    fn date(&mut self, place: &Place, text: &str) -> Option<Date> {
        let date = calendar::parse_date(text);
        if date.is_none() {
            self.found(place.clone(), format!("{} is not a date like 2027-01-31", shown(text)));
        }
        date
    }

    fn optional_title(&mut self, place: &Place, text: &str) -> Option<Title> {
        if text.is_empty() {
            return None;
        }
        Title::new(text).inspect_err(|problem| self.found(place.clone(), format!("{}: {problem}", shown(text)))).ok()
    }

    fn time_zone(&mut self, place: Place, name: &str) -> Title {
        if !name.is_empty() && calendar::zone(name).is_err() {
            self.found(place, format!("there is no time zone {}", shown(name)));
            return Title::new("UTC").expect("three letters are a title");
        }
        self.title(place, name)
    }

    fn slug(&mut self, place: Place, text: &str) -> Slug {
        Slug::new(text).unwrap_or_else(|problem| {
            let stand_in = format!("{:063}", self.stood_in.len());
            self.stood_in.insert(place.clone());
            self.found(place, about(text, &problem));
            // Each is different, and none is anything that a person writes: it is no duplicate of another.
            Slug::new(&stand_in).expect("63 digits are an id")
        })
    }

    fn title(&mut self, place: Place, text: &str) -> Title {
        Title::new(text).unwrap_or_else(|problem| {
            self.found(place, about(text, &problem));
            Title::new("?").expect("a question mark is a title")
        })
    }

    fn centimetres(&mut self, place: Place, metres: f64) -> i32 {
        // Also false if it is not a number.
        if metres.abs() <= METRES_MAX {
            return (metres * 100.0).round() as i32;
        }
        self.found(place, format!("{metres} is not between -{METRES_MAX} and {METRES_MAX} metres"));
        0
    }
}

fn about(text: &str, problem: &carrel_domain::text::TextError) -> String {
    if text.is_empty() { problem.to_string() } else { format!("{}: {problem}", shown(text)) }
}

fn from_policy(draft: &PolicyDraft) -> v1::Policy {
    let PolicyDraft { id, rules } = draft;
    policy::from_rules(id.as_str(), rules)
}

fn from_branch(branch: &BranchDraft) -> v1::Branch {
    let BranchDraft { id, title, time_zone, policy, hours, meals, areas } = branch;
    v1::Branch {
        id: id.to_string(),
        display_name: title.to_string(),
        time_zone: time_zone.to_string(),
        policy: policy.to_string(),
        hours: Some(from_hours(hours)),
        areas: areas.iter().map(from_area).collect(),
        meals: (!meals.is_empty()).then(|| from_spans(meals)),
    }
}

fn from_area(area: &AreaDraft) -> v1::Area {
    let AreaDraft { id, title, policy, hours, seats } = area;
    v1::Area {
        id: id.to_string(),
        display_name: title.to_string(),
        policy: policy.as_ref().map(Slug::to_string).unwrap_or_default(),
        hours: hours.as_ref().map(from_hours),
        seats: seats.iter().map(from_seat).collect(),
    }
}

fn from_seat(seat: &SeatDraft) -> v1::area::Seat {
    let SeatDraft { id, label, amenities, accessible, x_cm, y_cm } = seat;
    v1::area::Seat {
        id: id.to_string(),
        label: label.to_string(),
        amenities: amenities.iter().map(Title::to_string).collect(),
        accessible: *accessible,
        x: f64::from(*x_cm) / 100.0,
        y: f64::from(*y_cm) / 100.0,
    }
}

fn from_hours(hours: &Hours) -> v1::Hours {
    let Hours { week, periods, exceptions } = hours;
    let title = |title: &Option<Title>| title.as_ref().map(Title::to_string).unwrap_or_default();
    let date = |date: Date| calendar::civil_date(date).to_string();
    v1::Hours {
        week: week.iter().map(|spans| from_spans(spans)).collect(),
        periods: periods
            .iter()
            .map(|period| {
                let Period { title: name, first, last, week } = period;
                v1::hours::Period {
                    display_name: title(name),
                    first_date: date(*first),
                    last_date: date(*last),
                    week: week.iter().map(|spans| from_spans(spans)).collect(),
                }
            })
            .collect(),
        exceptions: exceptions
            .iter()
            .map(|exception| {
                let Exception { title: name, date: day, spans } = exception;
                v1::hours::DayException { display_name: title(name), date: date(*day), hours: Some(from_spans(spans)) }
            })
            .collect(),
    }
}

fn from_spans(spans: &[Span]) -> v1::DayHours {
    let spans = spans.iter().map(|Span { open_minute, close_minute }| v1::day_hours::Span {
        open_minute: i32::from(*open_minute),
        close_minute: i32::from(*close_minute),
    });
    v1::DayHours { spans: spans.collect() }
}
