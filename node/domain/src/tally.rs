//! How many claims of each branch are in which state, and how many people wait: kept up from event to event, so that
//! nobody has to count a million claims to know. No part of the state: whoever wants it keeps it beside one.

use crate::catalog::Catalog;
use crate::claim::{Claim, ClaimState, Origin};
use crate::event::{Change, Event};
use crate::id::BranchId;
use crate::state::State;
use crate::waitlist::{Scope, Wait};

/// By branch, retired ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    branches: Vec<BranchTally>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BranchTally {
    pub standing: Standing,
    pub turnover: Turnover,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub held: u64,
    pub confirmed: u64,
    pub checked_in: u64,
    pub away: u64,
    /// Maintenance and closures.
    pub closed: u64,
    pub waits: u64,
}

/// What has happened since the counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    pub begun: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub displaced: u64,
    pub no_show: u64,
    pub released: u64,
    pub completed: u64,
    pub offers_made: u64,
    pub offers_accepted: u64,
    pub offers_declined: u64,
    pub offers_missed: u64,
}

impl Tally {
    /// Of a state that was not followed from its beginning: what stands in it, and no turnover yet.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut tally = Self::default();
        for claim in state.claims.iter() {
            tally.stand(state.catalog(), &claim, 1);
        }
        for wait in state.waitlist.waits.values() {
            tally.wait(state.catalog(), wait, 1);
        }
        tally
    }

    /// What an entry made happen; `catalog` is the one after it.
    pub fn observe(&mut self, catalog: &Catalog, events: &[Event]) {
        for event in events {
            match &event.change {
                Change::Claim { before, after } => {
                    if let Some(before) = before {
                        self.stand(catalog, before, -1);
                    }
                    self.stand(catalog, after, 1);
                    self.turn(catalog, before.as_ref(), after);
                }
                Change::Wait { before, after } => {
                    if let Some(before) = before {
                        self.wait(catalog, before, -1);
                    }
                    self.wait(catalog, after, 1);
                }
                Change::CatalogReplaced { .. }
                | Change::CalendarFilled { .. }
                | Change::PresenceKeySet { .. }
                | Change::User { .. }
                | Change::UserDeleted { .. }
                | Change::ReadUpTo { .. }
                | Change::Strike { .. }
                | Change::ItemAppended { .. }
                | Change::ItemRemoved { .. }
                | Change::Block { .. }
                | Change::ReachChanged { .. }
                | Change::ClaimsLetGo { .. }
                | Change::PseudonymKeySet
                | Change::Webhook { .. } => {}
            }
        }
    }

    #[must_use]
    pub fn branch(&self, branch: BranchId) -> BranchTally {
        self.branches.get(branch.0 as usize).copied().unwrap_or_default()
    }

    fn branch_mut(&mut self, branch: BranchId) -> &mut BranchTally {
        let place = branch.0 as usize;
        if self.branches.len() <= place {
            self.branches.resize(place + 1, BranchTally::default());
        }
        &mut self.branches[place]
    }

    fn stand(&mut self, catalog: &Catalog, claim: &Claim, change: i64) {
        let standing = &mut self.branch_mut(catalog.seat(claim.seat).branch).standing;
        let count = match (claim.state, claim.holder) {
            (state, None) if state.is_blocking() => &mut standing.closed,
            (ClaimState::Held { .. }, _) => &mut standing.held,
            (ClaimState::Confirmed { .. }, _) => &mut standing.confirmed,
            (ClaimState::CheckedIn, _) => &mut standing.checked_in,
            (ClaimState::Away { .. }, _) => &mut standing.away,
            (
                ClaimState::Expired
                | ClaimState::Cancelled
                | ClaimState::Displaced
                | ClaimState::NoShow
                | ClaimState::Released
                | ClaimState::Completed,
                _,
            ) => return,
        };
        *count = count.saturating_add_signed(change);
    }

    fn wait(&mut self, catalog: &Catalog, wait: &Wait, change: i64) {
        if !wait.state.is_live() {
            return;
        }
        let branch = match wait.need.place {
            Scope::Seat(seat) => catalog.seat(seat).branch,
            Scope::Area(area) => catalog.area(area).branch,
            Scope::Branch(branch) => branch,
        };
        let waits = &mut self.branch_mut(branch).standing.waits;
        *waits = waits.saturating_add_signed(change);
    }

    fn turn(&mut self, catalog: &Catalog, before: Option<&Claim>, after: &Claim) {
        if after.holder.is_none() {
            return;
        }
        let turnover = &mut self.branch_mut(catalog.seat(after.seat).branch).turnover;
        let is_offer = after.origin == Origin::Offer;
        let Some(before) = before else {
            *(if is_offer { &mut turnover.offers_made } else { &mut turnover.begun }) += 1;
            return;
        };
        if before.state.name() == after.state.name() {
            return;
        }
        if is_offer && matches!(before.state, ClaimState::Held { .. }) {
            match after.state {
                ClaimState::Confirmed { .. } => turnover.offers_accepted += 1,
                ClaimState::Cancelled => turnover.offers_declined += 1,
                ClaimState::Expired => turnover.offers_missed += 1,
                ClaimState::Held { .. }
                | ClaimState::CheckedIn
                | ClaimState::Away { .. }
                | ClaimState::Displaced
                | ClaimState::NoShow
                | ClaimState::Released
                | ClaimState::Completed => {}
            }
        }
        match after.state {
            ClaimState::Held { .. }
            | ClaimState::Confirmed { .. }
            | ClaimState::CheckedIn
            | ClaimState::Away { .. } => {}
            ClaimState::Expired => turnover.expired += 1,
            ClaimState::Cancelled => turnover.cancelled += 1,
            ClaimState::Displaced => turnover.displaced += 1,
            ClaimState::NoShow => turnover.no_show += 1,
            ClaimState::Released => turnover.released += 1,
            ClaimState::Completed => turnover.completed += 1,
        }
    }
}
