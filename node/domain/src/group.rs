//! Several bookings in one entry: of a group, all or nothing; of one person's week or term, each by itself.

use std::collections::BTreeSet;

use crate::claim::{ClaimState, Origin, check_in_deadline};
use crate::effects::Effects;
use crate::id::{SeatId, UserId};
use crate::inbox::ItemKind;
use crate::lifecycle::{NewClaim, held_until};
use crate::query::ClaimView;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::{GroupSeat, Wish};
use crate::rules::{Failing, Wanted, Way};
use crate::state::State;
use crate::time::Interval;

/// Seats of one group: the largest table.
pub const GROUP_MAX: u32 = 8;
/// Wishes of one request: a month of days, and more than the weeks of a term.
pub const WISHES_MAX: u32 = 31;

impl State {
    /// Whoever books for others holds their seats until they have agreed; staff book for them.
    pub(crate) fn reserve_group(
        &mut self,
        by: UserId,
        seats: &[GroupSeat],
        interval: Interval,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        if seats.is_empty() || seats.len() > GROUP_MAX as usize {
            return Err(Refusal::TooManyAtOnce { max: GROUP_MAX });
        }
        let (members, by_staff) = self.find_members(by, seats)?;
        for (position, &(seat, member)) in (0..).zip(&members) {
            let user = self.accounts.user(member).expect("found above");
            let area = self.catalog.seat(seat).area;
            let wanted = Wanted { user, area, interval, way: Way::Ahead, instead_of: None, now: fx.now() };
            // What is wrong with the time is told; what is wrong with somebody else is theirs.
            self.may_be_booked(&wanted, &mut Failing::First)?;
            match self.may_have(&wanted, &mut Failing::First) {
                Err(refusal) if member == by => return Err(refusal),
                Err(_) => return Err(Refusal::MemberUnavailable { position }),
                Ok(()) => {}
            }
            match self.may_be_given(&wanted, seat, &mut Failing::First) {
                Err(Refusal::SeatTaken) => return Err(Refusal::GroupSeatTaken { position }),
                outcome => outcome?,
            }
        }
        let mut views: Vec<Result<ClaimView, Refusal>> = Vec::with_capacity(members.len());
        for (seat, member) in members {
            let policy_id = self.policy_of(seat);
            let policy = self.catalog.policy(policy_id);
            let is_settled = member == by || by_staff;
            let state = if is_settled {
                ClaimState::Confirmed { deadline: check_in_deadline(interval, fx.now(), policy.grace_minutes) }
            } else {
                let deadline = held_until(interval, fx.now(), policy.offer_minutes, policy.grace_minutes);
                ClaimState::Held { deadline }
            };
            let new = NewClaim {
                seat,
                interval,
                holder: Some(member),
                origin: Origin::Booking,
                state,
                policy: policy_id,
                wait: None,
                exempt: false,
            };
            let id = self.add_claim(new, fx);
            if member != by {
                self.notify(member, ItemKind::BookedForYou { claim: id }, fx);
            }
            views.push(Ok(self.claim_view_of(id)));
        }
        Ok(Reply::Claims(views))
    }

    /// A seat and a person for each place, nobody and nothing twice; and whether staff are booking.
    pub(crate) fn find_members(
        &self,
        by: UserId,
        seats: &[GroupSeat],
    ) -> Result<(Vec<(SeatId, UserId)>, bool), Refusal> {
        let actor = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let mut members: Vec<(SeatId, UserId)> = Vec::with_capacity(seats.len());
        let mut persons = BTreeSet::new();
        let mut by_staff = true;
        for (position, GroupSeat { seat, person }) in (0..).zip(seats) {
            let seat = self.find_seat(seat)?;
            let person = self.accounts.find(person).map(|user| user.id);
            by_staff &= actor.role.runs_branch(self.catalog.seat(seat).branch);
            let Some(person) = person.filter(|&person| persons.insert(person)) else {
                return Err(Refusal::MemberUnavailable { position });
            };
            if members.iter().any(|&(other, _)| other == seat) {
                return Err(Refusal::GroupSeatTaken { position });
            }
            members.push((seat, person));
        }
        // A group is one's own.
        if by_staff || persons.contains(&by) { Ok((members, by_staff)) } else { Err(Refusal::NotPermitted) }
    }

    pub(crate) fn reserve_many(&mut self, by: UserId, wishes: &[Wish], fx: &mut Effects) -> Result<Reply, Refusal> {
        if wishes.is_empty() || wishes.len() > WISHES_MAX as usize {
            return Err(Refusal::TooManyAtOnce { max: WISHES_MAX });
        }
        let outcomes = wishes.iter().map(|wish| match self.reserve(by, wish, fx) {
            Ok(Reply::Claim(view)) => Ok(view),
            Ok(other) => unreachable!("a booking is answered with a claim, not {other:?}"),
            Err(refusal) => Err(refusal),
        });
        Ok(Reply::Claims(outcomes.collect()))
    }
}
