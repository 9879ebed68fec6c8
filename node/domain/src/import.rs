//! Importing a catalogue and its calendar. Neither ever leaves a claim on a seat that is gone or closed: whoever loses
//! a seat is told, and gets no strike.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Live, Role};
use crate::calendar::{DAYS_BEHIND, DAYS_BEYOND_WINDOW, Day};
use crate::catalog::{self, Draft};
use crate::claim::first_ending_after;
use crate::closure::Displacement;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{AreaId, BranchId, ClaimId, UserId};
use crate::refusal::Refusal;
use crate::reply::{ImportSummary, Reply};
use crate::state::State;
use crate::time::Date;
use crate::waitlist::Wait;

/// Days that one request may bring: a year and a half.
pub const DAYS_PER_REQUEST_MAX: usize = 550;

/// A day, and the hours that it was expanded from: after those have changed it counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptDay {
    pub hours_revision: u64,
    pub day: Arc<Day>,
}

impl State {
    pub(crate) fn import_catalog(
        &mut self,
        by: Option<UserId>,
        draft: &Draft,
        expected_revision: Option<u64>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        if let Some(by) = by
            && self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role != Role::Admin
        {
            return Err(Refusal::NotPermitted);
        }
        let revision = self.catalog.revision;
        if expected_revision.is_some_and(|expected| expected != revision) {
            return Err(Refusal::CatalogChanged { revision });
        }
        let faults = catalog::faults(draft);
        if !faults.is_empty() {
            return Err(Refusal::CatalogInvalid { fault_count: u32::try_from(faults.len()).unwrap_or(u32::MAX) });
        }
        let before = std::mem::take(&mut self.catalog);
        self.catalog = Arc::new(before.replaced_by(draft));
        fx.happened(Change::CatalogReplaced { revision: self.catalog.revision });
        let mut homeless: Vec<(ClaimId, AreaId)> = Vec::new();
        for (id, old) in before.seats() {
            let seat = self.catalog.seat(id);
            let claims = self.claims.book(id).iter();
            if seat.retired {
                homeless.extend(claims.map(|live| (live.claim, old.area)));
            } else if seat.area != old.area {
                // In another room it may be closed when it was open before.
                let closed = claims.filter(|live| self.closed_to(live, seat.branch, seat.area));
                homeless.extend(closed.map(|live| (live.claim, old.area)));
            }
        }
        let mut displacement = Displacement::from(BTreeSet::new());
        for (claim, area) in homeless {
            let area = (!self.catalog.area(area).retired).then_some(area);
            self.displace(claim, area, &mut displacement, fx);
        }
        // Not seat by seat: of those who lost theirs, none comes before who has waited for longer.
        self.reconsider_waits(|_, _| true, fx);
        let branches: Vec<BranchId> = self.catalog.branches().map(|(id, _)| id).collect();
        let areas = branches.iter().flat_map(|&id| self.catalog.branch(id).areas());
        let areas: Vec<_> = areas.map(|id| self.catalog.area(id)).collect();
        Ok(Reply::Catalog(ImportSummary {
            revision: self.catalog.revision,
            branch_count: branches.len() as u32,
            area_count: areas.len() as u32,
            seat_count: areas.iter().map(|area| area.seats.len() as u32).sum(),
            displaced_count: displacement.displaced_count,
        }))
    }

    pub(crate) fn fill_calendar(
        &mut self,
        branch: BranchId,
        hours_revision: u64,
        days: &[Day],
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let current = self.catalog.branches().find(|(id, _)| *id == branch).map(|(_, branch)| branch.hours_revision);
        if current != Some(hours_revision) || days.len() > DAYS_PER_REQUEST_MAX {
            return Err(Refusal::CalendarOutdated);
        }
        for day in days {
            let kept = KeptDay { hours_revision, day: Arc::new(day.clone()) };
            self.calendar.insert((branch, day.date), kept);
        }
        let displaced = self.displace_outside_hours(branch, days, fx);
        self.drop_old_days(branch, fx);
        fx.happened(Change::CalendarFilled { branch });
        let touched = |state: &Self, wait: &Wait| {
            let is_there = state.branch_of(wait.need.place) == branch;
            displaced.contains(&wait.user) || is_there && days.iter().any(|day| day.span.overlaps(wait.interval))
        };
        self.reconsider_waits(touched, fx);
        Ok(Reply::Done)
    }

    /// Claims that began before the change of hours and no longer fit, and whose they were. A date that is still
    /// missing displaces nobody: it is judged when it comes.
    fn displace_outside_hours(&mut self, branch: BranchId, days: &[Day], fx: &mut Effects) -> BTreeSet<UserId> {
        let Some(first) = days.iter().map(|day| day.span.start()).min() else { return BTreeSet::new() };
        let mut outside = Vec::new();
        for area in self.catalog.branch(branch).areas() {
            for &seat in &self.catalog.area(area).seats {
                let book = self.claims.book(seat);
                let touched = book[first_ending_after(book, first)..].iter();
                outside.extend(touched.filter(|live| self.closed_to(live, branch, area)).map(|live| live.claim));
            }
        }
        let mut displacement = Displacement::from(BTreeSet::new());
        for claim in outside {
            // Where it is closed, no seat of the same area is open.
            self.displace(claim, None, &mut displacement, fx);
        }
        displacement.holders()
    }

    /// Whether a claim lies outside the hours of an area. The institution closes seats whenever it likes.
    fn closed_to(&self, live: &Live, branch: BranchId, area: AreaId) -> bool {
        let is_persons = self.claims.get(live.claim).is_some_and(|claim| claim.holder.is_some());
        is_persons && self.is_open_throughout(branch, area, live.interval) == Err(Refusal::Closed)
    }

    fn drop_old_days(&mut self, branch: BranchId, fx: &Effects) {
        let Ok(today) = self.day_at(branch, fx.now()) else { return };
        let first_kept = today.date.plus_days(-DAYS_BEHIND);
        let range = (branch, Date(i32::MIN))..(branch, first_kept);
        let old: Vec<_> = self.calendar.range(range).map(|(key, _)| *key).collect();
        for key in old {
            self.calendar.remove(&key);
        }
    }

    /// Dates of a branch that the rules need and do not have, given today's date there; in order.
    #[must_use]
    pub fn missing_days(&self, branch: BranchId, today: Date) -> Vec<Date> {
        let entry = self.catalog.branch(branch);
        let window_days = entry
            .areas()
            .map(|area| self.catalog.policy(self.catalog.area(area).policy))
            .map(|policy| policy.window_days.max(policy.staff_window_days))
            .max();
        let ahead = window_days.unwrap_or(0).cast_signed() + DAYS_BEYOND_WINDOW;
        (-DAYS_BEHIND..=ahead)
            .map(|offset| today.plus_days(offset))
            .filter(|&date| {
                self.calendar.get(&(branch, date)).is_none_or(|kept| kept.hours_revision != entry.hours_revision)
            })
            .collect()
    }
}
