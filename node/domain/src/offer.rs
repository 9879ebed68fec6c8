//! Offers: whatever becomes free goes, in the same entry, to the first in line who may have it.
//!
//! Hours, grid, length and quota are judged by a whole stay, not by what is left of it, and an accessible seat is
//! offered only to who needs one: so it takes an event, never just the passing of time, to make an offer possible.
//! Nobody has two offers at once, and who has one is passed over without losing their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::User;
use crate::claim::{Claim, ClaimState, Origin, check_in_deadline, overlapping};
use crate::effects::Effects;
use crate::id::{AreaId, ClaimId, SeatId, UserId, WaitId};
use crate::inbox::ItemKind;
use crate::lifecycle::{NewClaim, held_until};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::rules::{Failing, Wanted, Way};
use crate::state::State;
use crate::time::{Interval, Timestamp};
use crate::waitlist::{STARTS_MAX, Scope, Wait, WaitState, days_of};

/// Offers that may be missed before a wait goes to the end of the line.
const MISSED_BEFORE_LAST: u32 = 2;
/// Seats that may be let go before a wait ends: whoever lets so many go is not waiting.
const PASSED_MAX: usize = 20;

impl State {
    /// A seat has become free for a while: to the first in line whom it suits, and what is left to the next.
    pub(crate) fn offer_freed(&mut self, seat: SeatId, freed: Interval, fx: &mut Effects) {
        let entry = self.catalog.seat(seat);
        let (area, scopes) = (entry.area, [Scope::Seat(seat), Scope::Area(entry.area), Scope::Branch(entry.branch)]);
        // What was kept free around it is free as well.
        let freed = self.with_buffer(seat, freed);
        let mut line = BTreeMap::new();
        for scope in scopes {
            let days = days_of(freed);
            let standing = self.waitlist.lines.range((scope, *days.start(), 0)..=(scope, *days.end(), u64::MAX));
            line.extend(standing.map(|(&(.., rank), &id)| (rank, id)));
        }
        for id in line.into_values() {
            let Some(wait) = self.waiting(id).filter(|wait| wait.interval.overlaps(freed)) else { continue };
            let stays = self.stays_of(&wait, area, fx.now());
            if let Some(&stay) = stays.iter().find(|&&stay| self.is_offered_to(&wait, seat, stay)) {
                self.offer(&wait, seat, stay, fx);
            }
        }
    }

    /// Everything that a person waits for, after something that stood in the way is gone.
    pub(crate) fn reconsider_waits_of(&mut self, user: UserId, fx: &mut Effects) {
        let waits = self.accounts.user(user).map(|user| user.waits.clone()).unwrap_or_default();
        let waiting = waits.into_iter().filter_map(|id| self.waiting(id));
        let line: BTreeMap<u64, WaitId> = waiting.map(|wait| (wait.rank, wait.id)).collect();
        for id in line.into_values() {
            self.offer_anywhere(id, fx);
        }
    }

    /// Everybody who waits for something that matches, after seats, hours or policies have changed.
    pub(crate) fn reconsider_waits(&mut self, matching: impl Fn(&Self, &Wait) -> bool, fx: &mut Effects) {
        let waits = self.waitlist.waits.values();
        let waiting = waits.filter(|wait| wait.state == WaitState::Waiting && matching(self, wait));
        let line: BTreeMap<u64, WaitId> = waiting.map(|wait| (wait.rank, wait.id)).collect();
        for id in line.into_values() {
            self.offer_anywhere(id, fx);
        }
    }

    pub(crate) fn offer_anywhere(&mut self, id: WaitId, fx: &mut Effects) {
        let Some(wait) = self.waiting(id) else { return };
        for area in self.areas_of(wait.need.place) {
            let stays = self.stays_of(&wait, area, fx.now());
            // The earliest start at any seat comes before a later one at a better seat.
            let found = stays.iter().find_map(|&stay| {
                let mut seats = self.seats_of(wait.need.place, area).iter().copied();
                seats.find(|&seat| self.is_offered_to(&wait, seat, stay)).map(|seat| (seat, stay))
            });
            if let Some((seat, stay)) = found {
                return self.offer(&wait, seat, stay, fx);
            }
        }
    }

    fn waiting(&self, id: WaitId) -> Option<Arc<Wait>> {
        self.waitlist.waits.get(&id).filter(|wait| wait.state == WaitState::Waiting).cloned()
    }

    /// The stays in an area that the waiter may have, earliest first: at every start that is still to come or in the
    /// slot now running; after the latest, what is left of the last stay, if it is long enough to be booked.
    pub(crate) fn stays_of(&self, wait: &Wait, area: AreaId, now: Timestamp) -> Vec<Interval> {
        let Some(user) = self.accounts.user(wait.user).filter(|user| self.may_be_offered(user, now)) else {
            return Vec::new();
        };
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let Ok(slot_start) = self.slot_start(place.branch, policy, now) else { return Vec::new() };
        let latest = wait.latest();
        let mut stays = Vec::new();
        let mut start = wait.interval.start();
        for _ in 0..STARTS_MAX {
            // A start that has passed is one of the slot now running, which nobody has asked for.
            let is_to_come = slot_start <= start;
            let is_last = latest < start.plus_minutes(policy.grid_minutes);
            let from = if is_to_come { start } else { slot_start };
            if is_to_come || is_last {
                let end = start.plus_minutes(wait.minutes);
                let (whole, rest) = (Interval::new(start, end), Interval::new(from, end));
                if let (Ok(whole), Ok(rest)) = (whole, rest)
                    && rest.minutes() >= i64::from(policy.min_minutes)
                    && overlapping(&user.live, rest, None).is_none()
                {
                    let wanted = Wanted { user, area, interval: whole, way: Way::Ahead, instead_of: None, now };
                    let is_possible = self
                        .fits_place(area, whole, &mut Failing::First)
                        .and_then(|()| self.within_quotas(&wanted, &mut Failing::First));
                    stays.extend(is_possible.is_ok().then_some(rest));
                }
            }
            if is_last {
                break;
            }
            start = start.plus_minutes(policy.grid_minutes);
        }
        stays
    }

    /// Whether a person may be offered anything at all.
    fn may_be_offered(&self, user: &User, now: Timestamp) -> bool {
        let has_offer = |id: &WaitId| {
            let wait = self.waitlist.waits.get(id);
            wait.is_some_and(|wait| matches!(wait.state, WaitState::Offered { .. }))
        };
        user.role.may_reserve()
            && user.suspended_until.is_none_or(|until| until <= now)
            && !user.waits.iter().any(has_offer)
    }

    /// Whether the seat is free and what the waiter wants.
    pub(crate) fn is_offered_to(&self, wait: &Wait, seat: SeatId, stay: Interval) -> bool {
        self.is_free(seat, stay, None) && !self.is_resting(seat, stay, self.at.time) && self.is_wanted(wait, seat, stay)
    }

    /// Whether the waiter wants the seat, has not let it go before, and may have it.
    pub(crate) fn is_wanted(&self, wait: &Wait, seat: SeatId, stay: Interval) -> bool {
        let is_kept = |user: &User| self.kept_accessible_until(user, seat, stay).is_some();
        self.fits(&wait.need, seat)
            && !wait.passed.contains(&seat)
            && !self.accounts.user(wait.user).is_none_or(is_kept)
    }

    fn offer(&mut self, wait: &Wait, seat: SeatId, interval: Interval, fx: &mut Effects) {
        let policy_id = self.policy_of(seat);
        let policy = self.catalog.policy(policy_id);
        let deadline = held_until(interval, fx.now(), policy.offer_minutes, policy.grace_minutes);
        let claim = self.add_claim(
            NewClaim {
                seat,
                interval,
                holder: Some(wait.user),
                origin: Origin::Offer,
                state: ClaimState::Held { deadline },
                policy: policy_id,
                wait: Some(wait.id),
                exempt: false,
            },
            fx,
        );
        self.change_wait(wait.id, fx, |wait| wait.state = WaitState::Offered { claim });
        self.notify(wait.user, ItemKind::OfferMade { claim }, fx);
    }

    pub(crate) fn accept_offer(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.own_offer(by, id)?;
        if claim.holder != Some(by) {
            return Err(Refusal::NotPermitted);
        }
        let (interval, wait) = (claim.interval, claim.wait.expect("an offer answers a wait"));
        let grace_minutes = self.catalog.policy(claim.policy).grace_minutes;
        match claim.state {
            ClaimState::Held { .. } => {
                let deadline = check_in_deadline(interval, fx.now(), grace_minutes);
                self.end_wait(wait, WaitState::Fulfilled { claim: id }, fx);
                self.move_claim(id, ClaimState::Confirmed { deadline }, fx);
                // With no offer open any more, there may be another.
                self.reconsider_waits_of(by, fx);
            }
            ClaimState::Confirmed { .. } => {}
            ClaimState::Expired => return Err(Refusal::OfferExpired),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn decline_offer(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.own_offer(by, id)?;
        let (holder, seat, wait) = (claim.holder, claim.seat, claim.wait.expect("an offer answers a wait"));
        match claim.state {
            ClaimState::Held { .. } => {
                if let Some(holder) = holder.filter(|&holder| holder != by) {
                    self.notify(holder, ItemKind::CancelledByStaff { claim: id }, fx);
                }
                self.offer_missed(wait, seat, WaitState::Left, fx);
                self.move_claim(id, ClaimState::Cancelled, fx);
            }
            ClaimState::Cancelled => {}
            ClaimState::Expired => return Err(Refusal::OfferExpired),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    fn own_offer(&self, by: UserId, id: ClaimId) -> Result<Claim, Refusal> {
        let claim = self.claim_for(by, id)?;
        match claim.wait {
            Some(_) => Ok(claim),
            None => Err(Refusal::StateConflict { state: claim.state.name() }),
        }
    }

    /// The offered seat was not taken. Who waits for this seat alone, or has let many go, waits no more.
    pub(crate) fn offer_missed(&mut self, id: WaitId, seat: SeatId, ended: WaitState, fx: &mut Effects) {
        let Some(wait) = self.waitlist.waits.get(&id).filter(|wait| wait.state.is_live()) else { return };
        if matches!(wait.need.place, Scope::Seat(_)) || wait.passed.len() + 1 >= PASSED_MAX {
            return self.change_wait(id, fx, |wait| wait.state = ended);
        }
        let last_rank = (wait.missed + 1 >= MISSED_BEFORE_LAST).then(|| self.waitlist.draw());
        self.change_wait(id, fx, |wait| {
            wait.passed.push(seat);
            wait.missed += 1;
            wait.state = WaitState::Waiting;
            wait.rank = last_rank.unwrap_or(wait.rank);
        });
    }

    /// The library has taken the offer back: nobody's fault, so the wait keeps its place.
    pub(crate) fn offer_taken_back(&mut self, id: WaitId, fx: &mut Effects) {
        if self.waitlist.waits.get(&id).is_some_and(|wait| wait.state.is_live()) {
            self.change_wait(id, fx, |wait| wait.state = WaitState::Waiting);
        }
    }

    /// A person has let a seat go while there was time left on it: none of their waits brings it back.
    pub(crate) fn let_go(&mut self, user: UserId, seat: SeatId, interval: Interval, fx: &mut Effects) {
        let waits = self.accounts.user(user).map(|user| user.waits.clone()).unwrap_or_default();
        for id in waits {
            let Some(wait) = self.waiting(id).filter(|wait| wait.interval.overlaps(interval)) else { continue };
            if !self.is_among(wait.need.place, seat) || wait.passed.contains(&seat) {
                continue;
            }
            if matches!(wait.need.place, Scope::Seat(_)) || wait.passed.len() + 1 >= PASSED_MAX {
                self.end_wait(wait.id, WaitState::Left, fx);
            } else {
                self.change_wait(wait.id, fx, |wait| wait.passed.push(seat));
            }
        }
    }
}
