//! What there is to sit on: branches, areas, seats, and the policies of booking them.
//!
//! A `Draft` is a catalogue as a person writes it; `Catalog` is what the state holds, where everything has an id that
//! stays the same from one import to the next. The whole of it is one immutable value, replaced by an import.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{AreaId, BranchId, PolicyId, SeatId};
use crate::text::{Slug, Title};
use crate::time::Date;

/// Bounds of one catalogue: ten times a large university, and still one log entry of a few megabytes.
pub const BRANCHES_MAX: usize = 200;
pub const AREAS_MAX: usize = 2_000;
pub const SEATS_MAX: usize = 30_000;
pub const POLICIES_MAX: usize = 100;
pub const AMENITIES_PER_SEAT_MAX: usize = 16;
pub const PERIODS_MAX: usize = 50;
pub const EXCEPTIONS_MAX: usize = 400;
/// No map is larger than ten kilometres, so that distances on it can be computed.
pub const COORDINATE_CM_MAX: i32 = 1_000_000;

// === As a person writes it ===

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub policies: Vec<PolicyDraft>,
    pub branches: Vec<BranchDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyDraft {
    pub id: Slug,
    pub rules: Policy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchDraft {
    pub id: Slug,
    pub title: Title,
    /// IANA name. Only the edge knows what it means.
    pub time_zone: Title,
    pub policy: Slug,
    pub hours: Hours,
    pub areas: Vec<AreaDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AreaDraft {
    pub id: Slug,
    pub title: Title,
    /// The branch's if none.
    pub policy: Option<Slug>,
    /// The branch's if none.
    pub hours: Option<Hours>,
    pub seats: Vec<SeatDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeatDraft {
    pub id: Slug,
    pub label: Title,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    /// Centimetres on the area's map.
    pub x_cm: i32,
    pub y_cm: i32,
}

/// The rules of booking. A claim keeps the version under which it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Claims start and end on this grid, counted from local midnight.
    pub grid_minutes: u32,
    pub min_minutes: u32,
    pub max_minutes: u32,
    /// How many local days ahead one may book.
    pub window_days: u32,
    /// Not checked in this long after the start: a no-show.
    pub grace_minutes: u32,
    /// Check-in opens this long before the start.
    pub lead_minutes: u32,
    /// How long a waiter has to accept an offer.
    pub offer_minutes: u32,
    /// Live claims of one person.
    pub max_reservations: u32,
    /// Of one person, on one local day.
    pub max_minutes_per_day: u32,
    /// No-shows within `strike_days` that suspend; 0: never.
    pub strikes_to_suspend: u32,
    pub strike_days: u32,
    pub suspension_days: u32,
}

/// Opening hours on the clock on the wall. The first of: exception for the date, period that contains it, week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Monday first.
    pub week: [Vec<Span>; 7],
    pub periods: Vec<Period>,
    pub exceptions: Vec<Exception>,
}

/// Other weekly hours from one local date to another, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub title: Option<Title>,
    pub first: Date,
    pub last: Date,
    pub week: [Vec<Span>; 7],
}

/// One local date with hours of its own; no spans: closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub title: Option<Title>,
    pub date: Date,
    pub spans: Vec<Span>,
}

/// Minutes after local midnight, `open < close <= 1440`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub open_minute: u16,
    pub close_minute: u16,
}

pub const MINUTES_PER_DAY: u16 = 1440;

impl Hours {
    /// The spans of a local date.
    #[must_use]
    pub fn on(&self, date: Date) -> &[Span] {
        // 1970-01-01 was a Thursday.
        let weekday = (date.0 + 3).rem_euclid(7) as usize;
        if let Some(exception) = self.exceptions.iter().find(|exception| exception.date == date) {
            return &exception.spans;
        }
        let period = self.periods.iter().find(|period| period.first <= date && date <= period.last);
        period.map_or(&self.week[weekday], |period| &period.week[weekday])
    }
}

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

impl Policy {
    fn faults(&self) -> Vec<(&'static str, String)> {
        // Bounds beyond which a number is a slip of the pen rather than a rule of a library.
        let bounds = [
            ("grid_minutes", self.grid_minutes, 1, 1440),
            ("min_minutes", self.min_minutes, 1, 7 * 1440),
            ("max_minutes", self.max_minutes, 1, 7 * 1440),
            ("window_days", self.window_days, 0, 365),
            ("grace_minutes", self.grace_minutes, 1, 1440),
            ("lead_minutes", self.lead_minutes, 0, 1440),
            ("offer_minutes", self.offer_minutes, 1, 1440),
            ("max_reservations", self.max_reservations, 1, 1000),
            ("max_minutes_per_day", self.max_minutes_per_day, 1, 25 * 60),
            ("strikes_to_suspend", self.strikes_to_suspend, 0, 100),
            ("strike_days", self.strike_days, 1, 365),
            ("suspension_days", self.suspension_days, 0, 365),
        ];
        let mut faults: Vec<_> = bounds
            .into_iter()
            .filter(|&(_, value, min, max)| value < min || value > max)
            .map(|(field, value, min, max)| (field, format!("{value} is not between {min} and {max}")))
            .collect();
        if self.min_minutes > self.max_minutes {
            faults.push(("min_minutes", format!("is more than max_minutes, {}", self.max_minutes)));
        }
        if self.grid_minutes > 0 {
            for (field, minutes) in [("min_minutes", self.min_minutes), ("max_minutes", self.max_minutes)] {
                if !minutes.is_multiple_of(self.grid_minutes) {
                    faults.push((field, format!("{minutes} is not a multiple of grid_minutes, {}", self.grid_minutes)));
                }
            }
        }
        faults
    }
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
        for spans in days {
            if spans.iter().any(|span| span.open_minute >= span.close_minute || span.close_minute > MINUTES_PER_DAY) {
                faults.push("a span closes before it opens, or after 24:00".to_owned());
            }
            if spans.windows(2).any(|pair| pair[0].close_minute > pair[1].open_minute) {
                faults.push("spans of one day overlap or are out of order".to_owned());
            }
        }
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

// === As the state holds it ===

/// Invariant: ids are indexes, and nothing is ever taken out of these lists: what an import no longer names is retired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Grows with every import; 0 before the first.
    pub revision: u64,
    policies: Vec<Arc<Policy>>,
    branches: Vec<Branch>,
    areas: Vec<Area>,
    seats: Vec<Seat>,
    branch_ids: BTreeMap<Slug, BranchId>,
    policy_ids: BTreeMap<Slug, PolicyId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    pub slug: Slug,
    pub title: Title,
    pub time_zone: Title,
    pub policy: Slug,
    pub hours: Hours,
    pub retired: bool,
    /// Grows whenever hours or time zone of the branch or one of its areas change.
    pub hours_revision: u64,
    area_ids: BTreeMap<Slug, AreaId>,
    seat_ids: BTreeMap<Slug, SeatId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    pub slug: Slug,
    pub branch: BranchId,
    pub title: Title,
    /// Of its own, by name.
    pub own_policy: Option<Slug>,
    /// The version in force.
    pub policy: PolicyId,
    /// Of its own.
    pub hours: Option<Hours>,
    pub retired: bool,
    /// In the order of the import.
    pub seats: Vec<SeatId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub slug: Slug,
    pub branch: BranchId,
    pub area: AreaId,
    pub label: Title,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    pub x_cm: i32,
    pub y_cm: i32,
    pub retired: bool,
}

impl Seat {
    #[must_use]
    pub fn has_all(&self, amenities: &[Title]) -> bool {
        amenities.iter().all(|wanted| self.amenities.contains(wanted))
    }
}

impl Branch {
    /// Areas that are not retired, by id.
    pub fn areas(&self) -> impl Iterator<Item = AreaId> + '_ {
        self.area_ids.values().copied()
    }
}

impl Catalog {
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> &Arc<Policy> {
        &self.policies[id.0 as usize]
    }

    #[must_use]
    pub fn branch(&self, id: BranchId) -> &Branch {
        &self.branches[id.0 as usize]
    }

    #[must_use]
    pub fn area(&self, id: AreaId) -> &Area {
        &self.areas[id.0 as usize]
    }

    #[must_use]
    pub fn seat(&self, id: SeatId) -> &Seat {
        &self.seats[id.0 as usize]
    }

    /// Branches that are not retired, in order of their names.
    pub fn branches(&self) -> impl Iterator<Item = (BranchId, &Branch)> {
        self.branch_ids.values().map(|&id| (id, self.branch(id)))
    }

    /// Every seat there ever was.
    pub fn seats(&self) -> impl Iterator<Item = (SeatId, &Seat)> {
        self.seats.iter().enumerate().map(|(index, seat)| (SeatId(index as u32), seat))
    }

    #[must_use]
    pub fn seat_count(&self) -> usize {
        self.seats.len()
    }

    #[must_use]
    pub fn find_branch(&self, branch: &str) -> Option<BranchId> {
        self.branch_ids.get(branch).copied()
    }

    #[must_use]
    pub fn find_area(&self, branch: &str, area: &str) -> Option<AreaId> {
        self.branch(self.find_branch(branch)?).area_ids.get(area).copied()
    }

    #[must_use]
    pub fn find_seat(&self, branch: &str, seat: &str) -> Option<SeatId> {
        self.branch(self.find_branch(branch)?).seat_ids.get(seat).copied()
    }

    /// What follows from this catalogue when `draft` is imported. The draft has no faults.
    #[must_use]
    pub fn replaced_by(&self, draft: &Draft) -> Self {
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        next.branch_ids.clear();
        next.policy_ids.clear();
        for policy in &draft.policies {
            // A policy that did not change keeps its version, so that an import of the same file changes nothing.
            let same = self.policy_ids.get(&policy.id).filter(|&&id| **self.policy(id) == policy.rules);
            let id = same.copied().unwrap_or_else(|| {
                next.policies.push(Arc::new(policy.rules.clone()));
                PolicyId(next.policies.len() as u32 - 1)
            });
            next.policy_ids.insert(policy.id.clone(), id);
        }
        for branch in &mut next.branches {
            branch.retired = true;
            branch.area_ids.clear();
            branch.seat_ids.clear();
        }
        for area in &mut next.areas {
            area.retired = true;
            area.seats.clear();
        }
        for seat in &mut next.seats {
            seat.retired = true;
        }
        // Names that were retired come back under their old ids.
        let old_branches: BTreeMap<Slug, u32> =
            self.branches.iter().enumerate().map(|(index, branch)| (branch.slug.clone(), index as u32)).collect();
        let old_areas: BTreeMap<(BranchId, Slug), u32> = self
            .areas
            .iter()
            .enumerate()
            .map(|(index, area)| ((area.branch, area.slug.clone()), index as u32))
            .collect();
        let old_seats: BTreeMap<(BranchId, Slug), u32> = self
            .seats
            .iter()
            .enumerate()
            .map(|(index, seat)| ((seat.branch, seat.slug.clone()), index as u32))
            .collect();
        for branch in &draft.branches {
            let id = BranchId(old_branches.get(&branch.id).copied().unwrap_or(next.branches.len() as u32));
            let mut entry = Branch {
                slug: branch.id.clone(),
                title: branch.title.clone(),
                time_zone: branch.time_zone.clone(),
                policy: branch.policy.clone(),
                hours: branch.hours.clone(),
                retired: false,
                hours_revision: next.revision,
                area_ids: BTreeMap::new(),
                seat_ids: BTreeMap::new(),
            };
            for area in &branch.areas {
                let area_id = AreaId(old_areas.get(&(id, area.id.clone())).copied().unwrap_or(next.areas.len() as u32));
                let mut seats = Vec::with_capacity(area.seats.len());
                for seat in &area.seats {
                    let seat_id =
                        SeatId(old_seats.get(&(id, seat.id.clone())).copied().unwrap_or(next.seats.len() as u32));
                    let seat_entry = Seat {
                        slug: seat.id.clone(),
                        branch: id,
                        area: area_id,
                        label: seat.label.clone(),
                        amenities: seat.amenities.clone(),
                        accessible: seat.accessible,
                        x_cm: seat.x_cm,
                        y_cm: seat.y_cm,
                        retired: false,
                    };
                    put(&mut next.seats, seat_id.0, seat_entry);
                    entry.seat_ids.insert(seat.id.clone(), seat_id);
                    seats.push(seat_id);
                }
                let policy = area.policy.as_ref().unwrap_or(&branch.policy);
                let area_entry = Area {
                    slug: area.id.clone(),
                    branch: id,
                    title: area.title.clone(),
                    own_policy: area.policy.clone(),
                    policy: next.policy_ids[policy],
                    hours: area.hours.clone(),
                    retired: false,
                    seats,
                };
                put(&mut next.areas, area_id.0, area_entry);
                entry.area_ids.insert(area.id.clone(), area_id);
            }
            if let Some(old) = self.branches.get(id.0 as usize)
                && self.same_hours(old, &next, &entry)
            {
                entry.hours_revision = old.hours_revision;
            }
            put(&mut next.branches, id.0, entry);
            next.branch_ids.insert(branch.id.clone(), id);
        }
        next
    }

    fn same_hours(&self, old: &Branch, next: &Self, new: &Branch) -> bool {
        let area_hours = |catalog: &Self, branch: &Branch| -> Vec<(AreaId, Hours)> {
            // Areas without hours of their own come and go as they like.
            branch.areas().filter_map(|id| Some((id, catalog.area(id).hours.clone()?))).collect()
        };
        !old.retired
            && old.time_zone == new.time_zone
            && old.hours == new.hours
            && area_hours(self, old) == area_hours(next, new)
    }

    /// The draft that would make this catalogue.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let policies = self.policy_ids.iter();
        let policies =
            policies.map(|(id, &version)| PolicyDraft { id: id.clone(), rules: self.policy(version).as_ref().clone() });
        let seat = |&id: &SeatId| {
            let Seat { slug, label, amenities, accessible, x_cm, y_cm, .. } = self.seat(id).clone();
            SeatDraft { id: slug, label, amenities, accessible, x_cm, y_cm }
        };
        let area = |id: AreaId| {
            let area = self.area(id);
            AreaDraft {
                id: area.slug.clone(),
                title: area.title.clone(),
                policy: area.own_policy.clone(),
                hours: area.hours.clone(),
                seats: area.seats.iter().map(seat).collect(),
            }
        };
        let branches = self.branches().map(|(_, branch)| BranchDraft {
            id: branch.slug.clone(),
            title: branch.title.clone(),
            time_zone: branch.time_zone.clone(),
            policy: branch.policy.clone(),
            hours: branch.hours.clone(),
            areas: branch.areas().map(area).collect(),
        });
        Draft { policies: policies.collect(), branches: branches.collect() }
    }
}

fn put<T>(list: &mut Vec<T>, index: u32, value: T) {
    match list.get_mut(index as usize) {
        Some(slot) => *slot = value,
        None => {
            assert_eq!(list.len(), index as usize, "new ids follow the last");
            list.push(value);
        }
    }
}
