//! What the library does with its seats: maintenance and closures, and what becomes of those who had booked there.
//! Whoever loses a seat gets an equivalent one that is free, or is told, and gets no strike.

use std::collections::BTreeSet;

use crate::claim::{Claim, ClaimState, Origin, check_in_deadline, first_ending_after, overlapping};
use crate::effects::Effects;
use crate::id::{AreaId, ClaimId, SeatId, UserId};
use crate::inbox::ItemKind;
use crate::lifecycle::{NewClaim, Relocation};
use crate::refusal::Refusal;
use crate::reply::{ClosureSummary, Reply};
use crate::request::{Closing, Place};
use crate::state::State;
use crate::text::{Slug, Title};
use crate::time::{Interval, MINUTE_US};

/// Longest closure: beyond, the seats are taken out of the catalogue.
const CLOSED_MINUTES_MAX: u32 = 366 * 1440;
/// Claims that one closure ends, so that no entry takes long: more than a large branch has on a day. Whoever closes for
/// longer closes area by area.
pub const CLOSED_CLAIMS_MAX: u32 = 10_000;
/// Areas in which one entry looks for another seat for somebody, so that none takes long; the others are told.
const SEARCHES_MAX: u32 = 2_000;

/// Who has to leave, and which seats are no way out.
pub(crate) struct Displacement {
    closed: BTreeSet<SeatId>,
    searches_left: u32,
    pub moved_count: u32,
    pub displaced_count: u32,
    /// Claims as they were: what they left is passed on once everybody has left.
    left: Vec<Claim>,
}

impl Displacement {
    pub fn from(closed: BTreeSet<SeatId>) -> Self {
        Self { closed, searches_left: SEARCHES_MAX, moved_count: 0, displaced_count: 0, left: Vec::new() }
    }

    /// Who had to leave: what they wait for may be theirs now.
    pub fn holders(&self) -> BTreeSet<UserId> {
        self.left.iter().filter_map(|claim| claim.holder).collect()
    }
}

impl State {
    /// Another seat, of the same area or else of the branch, or none at all and word of it. Nothing is passed on yet.
    pub(crate) fn displace(
        &mut self,
        id: ClaimId,
        area: Option<AreaId>,
        displacement: &mut Displacement,
        fx: &mut Effects,
    ) {
        let claim = self.claims.get(id).expect("looked up by the caller");
        if let Some(seat) = area.and_then(|area| self.equivalent_of_branch(&claim, area, displacement)) {
            let policy = claim.policy;
            let grace_minutes = self.catalog.policy(policy).grace_minutes;
            let state = match claim.state {
                // They have to find it first.
                ClaimState::Confirmed { .. } => {
                    ClaimState::Confirmed { deadline: check_in_deadline(claim.interval, fx.now(), grace_minutes) }
                }
                state => state,
            };
            let to = Relocation { seat, interval: claim.interval, state, policy };
            displacement.left.push(self.relocate(id, to, fx));
            displacement.moved_count += 1;
            if let Some(holder) = claim.holder {
                self.notify(holder, ItemKind::Moved { claim: id }, fx);
            }
            return;
        }
        if let (Some(wait), ClaimState::Held { .. }) = (claim.wait, claim.state) {
            self.offer_taken_back(wait, fx);
        }
        if let Some(holder) = claim.holder {
            self.notify(holder, ItemKind::Displaced { claim: id }, fx);
            displacement.displaced_count += 1;
        }
        displacement.left.push(self.end_quietly(id, ClaimState::Displaced, fx));
    }

    /// Everybody has left: what is free now goes to those who wait.
    pub(crate) fn pass_on_all(&mut self, displacement: &mut Displacement, fx: &mut Effects) {
        for claim in std::mem::take(&mut displacement.left) {
            self.pass_on_unless_moved(&claim, fx);
        }
    }

    fn pass_on_unless_moved(&mut self, left: &Claim, fx: &mut Effects) {
        if left.state.is_blocking() {
            self.offer_freed(left.seat, left.interval, fx);
        } else {
            self.pass_on(left, fx);
        }
    }

    /// In their area, and if there is none, in another one of the branch, those with the same rules first.
    fn equivalent_of_branch(&self, claim: &Claim, area: AreaId, displacement: &mut Displacement) -> Option<SeatId> {
        claim.holder.filter(|_| !matches!(claim.state, ClaimState::Held { .. }))?;
        let place = self.catalog.area(area);
        let mut areas: Vec<AreaId> = self.catalog.branch(place.branch).areas().collect();
        areas.sort_by_key(|&other| (other != area, self.catalog.area(other).policy != place.policy));
        areas.into_iter().find_map(|area| self.equivalent_of(claim, area, displacement))
    }

    /// The first free seat that has what theirs had. Nobody waits for it, or it would not be free.
    fn equivalent_of(&self, claim: &Claim, area: AreaId, displacement: &mut Displacement) -> Option<SeatId> {
        displacement.searches_left = displacement.searches_left.checked_sub(1)?;
        let old = self.catalog.seat(claim.seat);
        let place = self.catalog.area(area);
        if self.is_open_throughout(place.branch, area, claim.interval) == Err(Refusal::Closed) {
            return None;
        }
        // Also by the rules under which they had booked.
        let buffer_minutes = self.catalog.policy(claim.policy).buffer_minutes;
        let with_buffer = claim.interval.widened(i64::from(buffer_minutes) * MINUTE_US);
        let is_equivalent = |&seat: &SeatId| {
            let entry = self.catalog.seat(seat);
            seat != claim.seat
                && !displacement.closed.contains(&seat)
                && entry.accessible == old.accessible
                && entry.has_all(&old.amenities)
                && self.is_free(seat, claim.interval, None)
                && !self.is_resting(seat, claim.interval, self.at.time)
                && overlapping(self.claims.book(seat), with_buffer, None).is_none()
        };
        place.seats.iter().copied().find(is_equivalent)
    }

    pub(crate) fn close_seats(
        &mut self,
        by: UserId,
        place: &Place<Slug>,
        interval: Interval,
        closing: Closing,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let seats = self.seats_to_run(by, place)?;
        let now = fx.now();
        let interval = Interval::new(interval.start().max(now), interval.end())
            .map_err(|_| Refusal::InThePast { earliest: now })?;
        if now.plus_minutes(CLOSED_MINUTES_MAX) < interval.end() {
            return Err(Refusal::TooLong { max_minutes: CLOSED_MINUTES_MAX });
        }
        let people = |&seat: &SeatId| {
            let area = self.catalog.seat(seat).area;
            self.live_on(seat, interval, |claim| claim.holder.is_some()).into_iter().map(move |claim| (claim, area))
        };
        let in_the_way: Vec<(ClaimId, AreaId)> =
            seats.iter().flat_map(people).take(CLOSED_CLAIMS_MAX as usize + 1).collect();
        if in_the_way.len() > CLOSED_CLAIMS_MAX as usize {
            return Err(Refusal::TooManyAtOnce { max: CLOSED_CLAIMS_MAX });
        }
        fx.noted(Some(reason));
        let mut displacement = Displacement::from(seats.iter().copied().collect());
        for (claim, area) in in_the_way {
            self.displace(claim, Some(area), &mut displacement, fx);
        }
        let origin = match closing {
            Closing::Maintenance => Origin::Maintenance,
            Closing::Closure => Origin::Closure,
        };
        for &seat in &seats {
            for gap in self.gaps(seat, interval) {
                let state = ClaimState::Confirmed { deadline: gap.end() };
                let policy = self.policy_of(seat);
                let (holder, wait, exempt) = (None, None, true);
                self.add_claim(NewClaim { seat, interval: gap, holder, origin, state, policy, wait, exempt }, fx);
            }
        }
        self.pass_on_all(&mut displacement, fx);
        let Displacement { moved_count, displaced_count, .. } = displacement;
        Ok(Reply::Closure(ClosureSummary { seat_count: seats.len() as u32, moved_count, displaced_count }))
    }

    /// Whatever closes one of these seats in the interval ends.
    pub(crate) fn reopen_seats(
        &mut self,
        by: UserId,
        place: &Place<Slug>,
        interval: Interval,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let seats = self.seats_to_run(by, place)?;
        fx.noted(Some(reason));
        let mut seat_count = 0;
        for seat in seats {
            let closing = self.live_on(seat, interval, |claim| claim.holder.is_none());
            let ended = closing.into_iter().map(|claim| self.end_quietly(claim, ClaimState::Cancelled, fx));
            let ended: Vec<Interval> = ended.map(|claim| claim.interval).collect();
            let (Some(first), Some(last)) = (ended.first(), ended.last()) else { continue };
            seat_count += 1;
            // Not piece by piece: whoever is first in line may have waited for more than one of them.
            let freed = Interval::new(first.start(), last.end()).expect("they are in order");
            self.offer_freed(seat, freed, fx);
        }
        Ok(Reply::Closure(ClosureSummary { seat_count, moved_count: 0, displaced_count: 0 }))
    }

    /// The seats of a place, if `by` runs its branch.
    fn seats_to_run(&self, by: UserId, place: &Place<Slug>) -> Result<Vec<SeatId>, Refusal> {
        let staff = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let branch = self.catalog.find_branch(place.branch().as_str());
        if !branch.is_some_and(|branch| staff.role.runs_branch(branch)) {
            return Err(Refusal::NotPermitted);
        }
        let scope = self.find_place(place)?;
        let areas = self.areas_of(scope).into_iter();
        Ok(areas.flat_map(|area| self.seats_of(scope, area).iter().copied()).collect())
    }

    fn live_on(&self, seat: SeatId, interval: Interval, which: impl Fn(&Claim) -> bool) -> Vec<ClaimId> {
        let book = self.claims.book(seat);
        let later = book[first_ending_after(book, interval.start())..].iter();
        let touched = later.take_while(|live| live.interval.start() < interval.end()).map(|live| live.claim);
        touched.filter(|&claim| self.claims.get(claim).is_some_and(|claim| which(&claim))).collect()
    }

    /// What of an interval nothing is on.
    fn gaps(&self, seat: SeatId, interval: Interval) -> Vec<Interval> {
        let book = self.claims.book(seat);
        let later = book[first_ending_after(book, interval.start())..].iter();
        let (mut gaps, mut from) = (Vec::new(), interval.start());
        for live in later.take_while(|live| live.interval.start() < interval.end()) {
            gaps.extend(Interval::new(from, live.interval.start()));
            from = live.interval.end();
        }
        gaps.extend(Interval::new(from, interval.end()));
        gaps
    }
}
