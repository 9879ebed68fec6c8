//! A seat for somebody: booked, held, or sat down at. What is wished for is looked up, judged by the rules, and becomes
//! a claim.

use crate::account::User;
use crate::claim::{ClaimState, Origin, check_in_deadline};
use crate::effects::Effects;
use crate::id::{ClaimId, PolicyId, SeatId, UserId};
use crate::inbox::ItemKind;
use crate::lifecycle::{NewClaim, held_until};
use crate::presence::Proof;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::{Behalf, Need, SeatName, Wish};
use crate::rules::{Failing, Wanted, Way, nearer};
use crate::state::State;
use crate::text::UserName;
use crate::time::{Interval, Timestamp};
use crate::waitlist::Scope;

impl State {
    pub(crate) fn reserve(&mut self, by: UserId, wish: &Wish, fx: &mut Effects) -> Result<Reply, Refusal> {
        let (holder, way) = self.holder_of(by, wish)?;
        let user = self.accounts.user(holder).ok_or(Refusal::SessionExpired)?;
        let seat = self.choose(user, wish, way, fx.now())?;
        let grace_minutes = self.catalog.policy(self.policy_of(seat)).grace_minutes;
        let deadline = check_in_deadline(wish.interval, fx.now(), grace_minutes);
        fx.noted(wish.behalf.as_ref().map(|behalf| &behalf.reason));
        let claim = self.grant(seat, holder, wish.interval, way, Origin::Booking, ClaimState::Confirmed { deadline });
        let id = self.add_granted(by, claim, fx);
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// Held for who is still deciding: one seat per person.
    pub(crate) fn hold(&mut self, by: UserId, wish: &Wish, fx: &mut Effects) -> Result<Reply, Refusal> {
        let (holder, way) = self.holder_of(by, wish)?;
        let user = self.accounts.user(holder).ok_or(Refusal::SessionExpired)?;
        if let Some(claim) = self.hold_of(user) {
            return Err(Refusal::HoldExists { claim });
        }
        let seat = self.choose(user, wish, way, fx.now())?;
        let policy = self.catalog.policy(self.policy_of(seat));
        let deadline = held_until(wish.interval, fx.now(), policy.hold_minutes, policy.grace_minutes);
        fx.noted(wish.behalf.as_ref().map(|behalf| &behalf.reason));
        let claim = self.grant(seat, holder, wish.interval, way, Origin::Hold, ClaimState::Held { deadline });
        let id = self.add_granted(by, claim, fx);
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// Of a hold, or of the seat that somebody has kept in their group for the holder.
    pub(crate) fn confirm(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        if claim.wait.is_some() {
            return self.accept_offer(by, id, fx);
        }
        if claim.holder != Some(by) {
            return Err(Refusal::NotPermitted);
        }
        match claim.state {
            ClaimState::Held { .. } => {
                let grace_minutes = self.catalog.policy(claim.policy).grace_minutes;
                let deadline = check_in_deadline(claim.interval, fx.now(), grace_minutes);
                self.move_claim(id, ClaimState::Confirmed { deadline }, fx);
            }
            ClaimState::Confirmed { .. } => {}
            ClaimState::Expired => return Err(Refusal::HoldExpired),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// Somebody sits down: from the slot now running on, and checked in at once.
    pub(crate) fn walk_in(
        &mut self,
        by: UserId,
        seat: &SeatName,
        end: Timestamp,
        person: Option<&UserName>,
        proof: Option<Proof>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let seat = self.find_seat(seat)?;
        let holder = self.walk_in_holder(by, seat, person)?;
        let wanted = self.walk_in_wanted(holder, seat, end, fx.now())?;
        self.may_have(&wanted, &mut Failing::First)?;
        self.may_be_given(&wanted, seat, &mut Failing::First)?;
        let (interval, way, policy) = (wanted.interval, wanted.way, self.catalog.policy(self.policy_of(seat)));
        if policy.proof_required && holder == by && !self.is_proven(seat, proof, fx.now()) {
            return Err(Refusal::PresenceNotProven);
        }
        let claim = self.grant(seat, holder, interval, way, Origin::WalkIn, ClaimState::CheckedIn);
        let id = self.add_granted(by, claim, fx);
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    /// Who sits down: by staff, whoever is named. A kiosk cannot tell who stands before it.
    pub(crate) fn walk_in_holder(
        &self,
        by: UserId,
        seat: SeatId,
        person: Option<&UserName>,
    ) -> Result<UserId, Refusal> {
        let actor = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        match person {
            Some(name) if actor.role.runs_branch(self.catalog.seat(seat).branch) => {
                Ok(self.accounts.find(name).ok_or(Refusal::UserNotFound)?.id)
            }
            Some(name) if self.accounts.find(name).map(|user| user.id) != Some(by) => Err(Refusal::NotPermitted),
            Some(_) | None => Ok(by),
        }
    }

    /// From the slot now running on.
    pub(crate) fn walk_in_wanted(
        &self,
        holder: UserId,
        seat: SeatId,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<Wanted<'_>, Refusal> {
        let entry = self.catalog.seat(seat);
        let policy = self.catalog.policy(self.policy_of(seat));
        let start = self.slot_start(entry.branch, policy, now)?;
        let too_short = Refusal::TooShort { min_minutes: policy.min_minutes };
        let interval = Interval::new(start, end).map_err(|_| too_short)?;
        let user = self.accounts.user(holder).ok_or(Refusal::SessionExpired)?;
        Ok(Wanted { user, area: entry.area, interval, way: Way::WalkIn, instead_of: None, now })
    }

    fn grant(
        &self,
        seat: SeatId,
        holder: UserId,
        interval: Interval,
        way: Way,
        origin: Origin,
        state: ClaimState,
    ) -> NewClaim {
        let (policy, exempt) = (self.policy_of(seat), way == Way::Exempt);
        NewClaim { seat, interval, holder: Some(holder), origin, state, policy, wait: None, exempt }
    }

    /// Whoever has not asked for it is told.
    fn add_granted(&mut self, by: UserId, claim: NewClaim, fx: &mut Effects) -> ClaimId {
        let others = claim.holder.filter(|&holder| holder != by);
        let claim = self.add_claim(claim, fx);
        if let Some(holder) = others {
            self.notify(holder, ItemKind::BookedForYou { claim }, fx);
        }
        claim
    }

    /// For whom a wish is, and by which rules it is judged.
    pub(crate) fn holder_of(&self, by: UserId, wish: &Wish) -> Result<(UserId, Way), Refusal> {
        let Some(Behalf { person, exempt, .. }) = &wish.behalf else { return Ok((by, Way::Ahead)) };
        let branch = self.catalog.find_branch(wish.need.place.branch().as_str());
        let staff = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if !branch.is_some_and(|branch| staff.role.runs_branch(branch)) {
            return Err(Refusal::NotPermitted);
        }
        let person = self.accounts.find(person).ok_or(Refusal::UserNotFound)?;
        Ok((person.id, if *exempt { Way::Exempt } else { Way::Ahead }))
    }

    /// The first seat that answers the wish and may be had.
    pub(crate) fn choose(&self, user: &User, wish: &Wish, way: Way, now: Timestamp) -> Result<SeatId, Refusal> {
        let need = self.find_need(&wish.need)?;
        if let Scope::Seat(seat) = need.place {
            let area = self.catalog.seat(seat).area;
            let wanted = Wanted { user, area, interval: wish.interval, way, instead_of: None, now };
            if !self.fits(&need, seat) {
                return Err(Refusal::SeatNotFound);
            }
            self.may_have(&wanted, &mut Failing::First)?;
            self.may_be_given(&wanted, seat, &mut Failing::First)?;
            return Ok(seat);
        }
        let mut refusal = None;
        for area in self.areas_of(need.place) {
            let wanted = Wanted { user, area, interval: wish.interval, way, instead_of: None, now };
            match self.choose_in(&wanted, &need) {
                Ok(Some(seat)) => return Ok(seat),
                Ok(None) => {}
                Err(of_area) => refusal = nearer(refusal, of_area),
            }
        }
        Err(refusal.unwrap_or(Refusal::SeatNotFound))
    }

    /// Nothing if no seat of the area is of the kind that is wanted.
    fn choose_in(&self, wanted: &Wanted<'_>, need: &Need<Scope>) -> Result<Option<SeatId>, Refusal> {
        let mut seats = self.seats_of(need.place, wanted.area).iter().copied().filter(|&seat| self.fits(need, seat));
        let Some(first) = seats.next() else { return Ok(None) };
        self.may_have(wanted, &mut Failing::First)?;
        let given = |seat| self.may_be_given(wanted, seat, &mut Failing::First);
        let Err(refusal) = given(first) else { return Ok(Some(first)) };
        match seats.find(|&seat| given(seat).is_ok()) {
            Some(seat) => Ok(Some(seat)),
            None => Err(refusal),
        }
    }

    pub(crate) fn find_seat(&self, name: &SeatName) -> Result<SeatId, Refusal> {
        let branch = self.catalog.find_branch(name.branch.as_str()).ok_or(Refusal::BranchNotFound)?;
        let slug = self.catalog.branch(branch).slug.as_str();
        self.catalog.find_seat(slug, name.seat.as_str()).ok_or(Refusal::SeatNotFound)
    }

    pub(crate) fn policy_of(&self, seat: SeatId) -> PolicyId {
        self.catalog.area(self.catalog.seat(seat).area).policy
    }
}
