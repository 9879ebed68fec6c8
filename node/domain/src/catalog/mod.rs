//! What there is to sit on: branches, areas, seats, and the policies of booking them.
//!
//! A `Draft` is a catalogue as a person writes it; `Catalog` is what the state holds, where everything has an id that
//! stays the same from one import to the next. The whole of it is one immutable value, replaced by an import.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{AreaId, BranchId, PolicyId, SeatId};
use crate::text::{Slug, Title};

mod draft;
mod faults;
mod policy;

pub use draft::{
    AreaDraft, BranchDraft, Draft, Exception, Hours, MINUTES_PER_DAY, Period, PolicyDraft, SeatDraft, Span,
};
pub use faults::{
    AMENITIES_PER_SEAT_MAX, AREAS_MAX, BRANCHES_MAX, COORDINATE_CM_MAX, EXCEPTIONS_MAX, Fault, PERIODS_MAX,
    POLICIES_MAX, Place, SEATS_MAX, faults,
};
pub use policy::{COUNTED_MAX, Policy};

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
    /// When people eat, on the clock on the wall.
    pub meals: Vec<Span>,
    pub retired: bool,
    /// Grows whenever hours, meals or time zone of the branch or one of its areas change.
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

    /// Every version of every policy that there ever was.
    pub(crate) fn every_policy(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(Arc::as_ref)
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

    /// Also those that are retired.
    pub fn every_branch(&self) -> impl Iterator<Item = (BranchId, &Branch)> {
        self.branches.iter().enumerate().map(|(index, branch)| (BranchId(index as u32), branch))
    }

    /// Also those that are retired.
    pub fn every_area(&self) -> impl Iterator<Item = (AreaId, &Area)> {
        self.areas.iter().enumerate().map(|(index, area)| (AreaId(index as u32), area))
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
                meals: branch.meals.clone(),
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
            && old.meals == new.meals
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
            meals: branch.meals.clone(),
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
