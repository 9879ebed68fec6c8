//! Where a seat may be that somebody wants: looked up, and matched with seats.

use std::collections::BTreeSet;

use crate::id::{AreaId, BranchId, SeatId};
use crate::refusal::Refusal;
use crate::request::{Need, Place};
use crate::state::State;
use crate::text::{Slug, Title};
use crate::waitlist::Scope;

impl State {
    pub(crate) fn find_need(&self, need: &Need<Place<Slug>>) -> Result<Need<Scope>, Refusal> {
        let place = self.find_place(&need.place)?;
        let amenities: BTreeSet<&Title> = need.amenities.iter().collect();
        let amenities = amenities.into_iter().cloned().collect();
        Ok(Need { place, amenities, accessible: need.accessible })
    }

    pub(crate) fn find_place(&self, place: &Place<Slug>) -> Result<Scope, Refusal> {
        let branch = place.branch().as_str();
        let branch_id = self.catalog.find_branch(branch).ok_or(Refusal::BranchNotFound)?;
        match place {
            Place::Seat { seat, .. } => {
                self.catalog.find_seat(branch, seat.as_str()).map(Scope::Seat).ok_or(Refusal::SeatNotFound)
            }
            Place::Area { area, .. } => {
                self.catalog.find_area(branch, area.as_str()).map(Scope::Area).ok_or(Refusal::AreaNotFound)
            }
            Place::Branch { .. } => Ok(Scope::Branch(branch_id)),
        }
    }

    pub(crate) fn branch_of(&self, scope: Scope) -> BranchId {
        match scope {
            Scope::Seat(seat) => self.catalog.seat(seat).branch,
            Scope::Area(area) => self.catalog.area(area).branch,
            Scope::Branch(branch) => branch,
        }
    }

    pub(crate) fn is_among(&self, scope: Scope, seat: SeatId) -> bool {
        match scope {
            Scope::Seat(other) => other == seat,
            Scope::Area(area) => self.catalog.seat(seat).area == area,
            Scope::Branch(branch) => self.catalog.seat(seat).branch == branch,
        }
    }

    pub(crate) fn areas_of(&self, scope: Scope) -> Vec<AreaId> {
        match scope {
            Scope::Seat(seat) => vec![self.catalog.seat(seat).area],
            Scope::Area(area) => vec![area],
            Scope::Branch(branch) => self.catalog.branch(branch).areas().collect(),
        }
    }

    /// The seats of one of its areas, in the order in which they are offered.
    pub(crate) fn seats_of(&self, scope: Scope, area: AreaId) -> &[SeatId] {
        let seats = &self.catalog.area(area).seats;
        match scope {
            Scope::Area(_) | Scope::Branch(_) => seats,
            Scope::Seat(seat) => match seats.iter().position(|&other| other == seat) {
                Some(index) => &seats[index..=index],
                None => &[],
            },
        }
    }

    pub(crate) fn fits(&self, need: &Need<Scope>, seat: SeatId) -> bool {
        let entry = self.catalog.seat(seat);
        !entry.retired && (entry.accessible || !need.accessible) && entry.has_all(&need.amenities)
    }
}
