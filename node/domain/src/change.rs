//! What people do with a seat that they have: give it up, keep it for longer, exchange it for another.

use crate::claim::{Claim, ClaimState, check_in_deadline};
use crate::effects::Effects;
use crate::id::{ClaimId, SeatId, UserId};
use crate::inbox::ItemKind;
use crate::lifecycle::Relocation;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::SeatName;
use crate::rules::{Failing, Wanted, Way};
use crate::state::State;
use crate::strike::StrikeCause;
use crate::text::Title;
use crate::time::{Interval, Timestamp};

impl State {
    pub(crate) fn cancel(
        &mut self,
        by: UserId,
        id: ClaimId,
        reason: Option<&Title>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        let (state, holder, wait) = (claim.state, claim.holder, claim.wait);
        fx.noted(reason);
        match state {
            ClaimState::Held { .. } | ClaimState::Confirmed { .. } if reason.is_none() && holder != Some(by) => {
                return Err(Refusal::ReasonMissing);
            }
            ClaimState::Cancelled => {}
            ClaimState::Held { .. } if wait.is_some() => return self.decline_offer(by, id, fx),
            ClaimState::Held { .. } | ClaimState::Confirmed { .. } => {
                match holder {
                    Some(holder) if holder != by => self.notify(holder, ItemKind::CancelledByStaff { claim: id }, fx),
                    Some(holder) if self.is_late(id, fx.now()).is_some() => {
                        self.notify(holder, ItemKind::CancelledLate { claim: id }, fx);
                        self.strike(holder, id, StrikeCause::LateCancel, fx);
                    }
                    Some(_) | None => {}
                }
                self.cancel_claim(id, fx);
            }
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// How late is too late, if it is: when others can no longer plan with a seat that is given up.
    fn is_late(&self, id: ClaimId, now: Timestamp) -> Option<u32> {
        let claim = self.claims.get(id)?;
        let minutes = self.catalog.policy(claim.policy).late_cancel_minutes;
        let is_late = minutes > 0
            && matches!(claim.state, ClaimState::Confirmed { .. })
            && claim.interval.start().minus_minutes(minutes) <= now;
        is_late.then_some(minutes)
    }

    /// For longer, if nobody else has a right to it: it never displaces.
    pub(crate) fn extend(
        &mut self,
        by: UserId,
        id: ClaimId,
        end: Timestamp,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        let (Some(holder), ClaimState::Confirmed { .. } | ClaimState::CheckedIn | ClaimState::Away { .. }) =
            (claim.holder, claim.state)
        else {
            return Err(Refusal::StateConflict { state: claim.state.name() });
        };
        let booked_minutes = u32::try_from(claim.interval.minutes()).unwrap_or(u32::MAX);
        let too_short = Refusal::TooShort { min_minutes: booked_minutes };
        let interval = Interval::new(claim.interval.start(), end).map_err(|_| too_short)?;
        if interval.end() < claim.interval.end() {
            return Err(too_short);
        }
        if interval != claim.interval {
            let state = claim.state;
            let way = if claim.exempt && holder != by { Way::ExemptExtension } else { Way::Extension };
            self.may_become(&claim, holder, claim.seat, interval, way, fx)?;
            let (seat, policy) = (claim.seat, self.policy_of(claim.seat));
            self.relocate(id, Relocation { seat, interval, state, policy }, fx);
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// One exchange: the old place is let go only if the new one is granted.
    pub(crate) fn reschedule(
        &mut self,
        by: UserId,
        id: ClaimId,
        seat: &SeatName,
        interval: Interval,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        let (Some(holder), ClaimState::Confirmed { .. }) = (claim.holder, claim.state) else {
            return Err(Refusal::StateConflict { state: claim.state.name() });
        };
        let seat = self.find_seat(seat)?;
        let is_staff = |by| {
            let user = self.accounts.user(by);
            user.is_some_and(|user| user.role.runs_branch(self.catalog.seat(seat).branch))
        };
        if holder != by && !is_staff(by) {
            return Err(Refusal::NotPermitted);
        }
        if (seat, interval) != (claim.seat, claim.interval) {
            if let Some(minutes) = self.is_late(id, fx.now()).filter(|_| holder == by) {
                return Err(Refusal::TooLateToChange { minutes });
            }
            let way = if claim.exempt && holder != by { Way::Exempt } else { Way::Ahead };
            self.may_become(&claim, holder, seat, interval, way, fx)?;
            let policy = self.policy_of(seat);
            let deadline = check_in_deadline(interval, fx.now(), self.catalog.policy(policy).grace_minutes);
            let state = ClaimState::Confirmed { deadline };
            let before = self.relocate(id, Relocation { seat, interval, state, policy }, fx);
            if holder != by {
                self.notify(holder, ItemKind::Moved { claim: id }, fx);
            }
            self.let_go(holder, before.seat, before.interval, fx);
            self.offer_freed(before.seat, before.interval, fx);
            self.reconsider_waits_of(holder, fx);
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    fn may_become(
        &self,
        claim: &Claim,
        holder: UserId,
        seat: SeatId,
        interval: Interval,
        way: Way,
        fx: &Effects,
    ) -> Result<(), Refusal> {
        let user = self.accounts.user(holder).ok_or(Refusal::UserNotFound)?;
        let area = self.catalog.seat(seat).area;
        let wanted = Wanted { user, area, interval, way, instead_of: Some(claim.id), now: fx.now() };
        self.may_have(&wanted, &mut Failing::First)?;
        self.may_be_given(&wanted, seat, &mut Failing::First)
    }
}
