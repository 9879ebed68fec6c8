//! Everything that may be wrong with a catalogue, found all at once and with its place.

use std::collections::BTreeSet;
use std::fmt;

use crate::catalog::draft::{Draft, Hours, MINUTES_PER_DAY, Span};

/// Bounds of one catalogue: ten times a large university, and still one log entry of a few megabytes.
pub const BRANCHES_MAX: usize = 200;
pub const AREAS_MAX: usize = 2_000;
pub const SEATS_MAX: usize = 30_000;
pub const POLICIES_MAX: usize = 100;
pub const AMENITIES_PER_SEAT_MAX: usize = 16;
pub const PERIODS_MAX: usize = 50;
pub const EXCEPTIONS_MAX: usize = 400;
/// No door opens and closes every half hour.
const SPANS_PER_DAY_MAX: usize = 48;
/// No map is larger than ten kilometres, so that distances on it can be computed.
pub const COORDINATE_CM_MAX: i32 = 1_000_000;

/// Where in a draft something is wrong: indexes into it, as far down as they go.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub policy: Option<usize>,
    pub branch: Option<usize>,
    pub area: Option<usize>,
    pub seat: Option<usize>,
    /// The field, as it is written in a catalogue file.
    pub field: &'static str,
}

/// One thing wrong with a draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub place: Place,
    pub problem: String,
}

/// "branches[3].areas[1].seats[40].label".
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, branch, area, seat, field } = self;
        for (kind, index) in [("policies", policy), ("branches", branch), ("areas", area), ("seats", seat)] {
            if let Some(index) = index {
                write!(f, "{kind}[{index}].")?;
            }
        }
        f.write_str(field)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, problem } = self;
        write!(f, "{place}: {problem}")
    }
}

/// Everything wrong with a draft, as far as it can be seen without time zones.
#[must_use]
pub fn faults(draft: &Draft) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut found = |place: Place, problem: String| faults.push(Fault { place, problem });

    for (counted, max, field) in [
        (draft.policies.len(), POLICIES_MAX, "policies"),
        (draft.branches.len(), BRANCHES_MAX, "branches"),
        (draft.branches.iter().map(|branch| branch.areas.len()).sum(), AREAS_MAX, "areas"),
        (draft.branches.iter().flat_map(|branch| &branch.areas).map(|area| area.seats.len()).sum(), SEATS_MAX, "seats"),
    ] {
        if counted > max {
            found(Place { field, ..Place::default() }, format!("{counted} are more than the {max} allowed"));
        }
    }

    let mut policies = BTreeSet::new();
    for (index, policy) in draft.policies.iter().enumerate() {
        let place = |field| Place { policy: Some(index), field, ..Place::default() };
        if !policies.insert(&policy.id) {
            found(place("id"), format!("there is already a policy '{}'", policy.id));
        }
        for (field, problem) in policy.rules.faults() {
            found(place(field), problem);
        }
    }

    let mut branches = BTreeSet::new();
    for (branch_index, branch) in draft.branches.iter().enumerate() {
        let place = |field| Place { branch: Some(branch_index), field, ..Place::default() };
        if !branches.insert(&branch.id) {
            found(place("id"), format!("there is already a branch '{}'", branch.id));
        }
        if !policies.contains(&branch.policy) {
            found(place("policy"), format!("there is no policy '{}'", branch.policy));
        }
        for problem in branch.hours.faults() {
            found(place("hours"), problem);
        }
        for problem in span_faults(&branch.meals) {
            found(place("meals"), problem);
        }
        let mut areas = BTreeSet::new();
        let mut seats = BTreeSet::new();
        for (area_index, area) in branch.areas.iter().enumerate() {
            let place = |field| Place { area: Some(area_index), ..place(field) };
            if !areas.insert(&area.id) {
                found(place("id"), format!("there is already an area '{}' in branch '{}'", area.id, branch.id));
            }
            if let Some(policy) = area.policy.as_ref().filter(|policy| !policies.contains(policy)) {
                found(place("policy"), format!("there is no policy '{policy}'"));
            }
            for problem in area.hours.iter().flat_map(Hours::faults) {
                found(place("hours"), problem);
            }
            for (seat_index, seat) in area.seats.iter().enumerate() {
                let place = |field| Place { seat: Some(seat_index), ..place(field) };
                if !seats.insert(&seat.id) {
                    found(place("id"), format!("there is already a seat '{}' in branch '{}'", seat.id, branch.id));
                }
                for (field, coordinate) in [("x_cm", seat.x_cm), ("y_cm", seat.y_cm)] {
                    if coordinate.unsigned_abs() > COORDINATE_CM_MAX.unsigned_abs() {
                        found(place(field), format!("{coordinate} is more than {COORDINATE_CM_MAX} from the origin"));
                    }
                }
                if seat.amenities.len() > AMENITIES_PER_SEAT_MAX {
                    found(place("amenities"), format!("more than {AMENITIES_PER_SEAT_MAX}"));
                }
                let distinct: BTreeSet<_> = seat.amenities.iter().collect();
                if distinct.len() < seat.amenities.len() {
                    found(place("amenities"), "one of them is named twice".to_owned());
                }
                if let Some(loud) = seat.amenities.iter().find(|a| a.as_str() != a.as_str().to_lowercase()) {
                    found(place("amenities"), format!("'{loud}' is not lower case"));
                }
            }
        }
    }
    faults
}

impl Hours {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.periods.len() > PERIODS_MAX {
            faults.push(format!("more than {PERIODS_MAX} periods"));
        }
        if self.exceptions.len() > EXCEPTIONS_MAX {
            faults.push(format!("more than {EXCEPTIONS_MAX} exceptions"));
        }
        let weeks = self.periods.iter().flat_map(|period| &period.week);
        let days = self.week.iter().chain(weeks).chain(self.exceptions.iter().map(|exception| &exception.spans));
        faults.extend(days.flat_map(|spans| span_faults(spans)));
        for period in &self.periods {
            if period.last < period.first {
                faults.push("a period ends before it begins".to_owned());
            }
        }
        for (index, period) in self.periods.iter().enumerate() {
            if self.periods[..index].iter().any(|other| other.first <= period.last && period.first <= other.last) {
                faults.push("two periods overlap".to_owned());
            }
        }
        let dates: BTreeSet<_> = self.exceptions.iter().map(|exception| exception.date).collect();
        if dates.len() < self.exceptions.len() {
            faults.push("two exceptions for one date".to_owned());
        }
        faults
    }
}

/// Of one day.
fn span_faults(spans: &[Span]) -> Vec<String> {
    let mut faults = Vec::new();
    if spans.len() > SPANS_PER_DAY_MAX {
        faults.push(format!("more than {SPANS_PER_DAY_MAX} spans in a day"));
    }
    if spans.iter().any(|span| span.open_minute >= span.close_minute || span.close_minute > MINUTES_PER_DAY) {
        faults.push("a span closes before it opens, or after 24:00".to_owned());
    }
    if spans.windows(2).any(|pair| pair[0].close_minute > pair[1].open_minute) {
        faults.push("spans of one day overlap or are out of order".to_owned());
    }
    faults
}
