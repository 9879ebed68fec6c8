//! "Why not?" Every rule that a wish fails, by the code that decides, and what could be had instead.

use std::collections::BTreeSet;

use crate::id::{AreaId, ClaimId, SeatId, UserId};
use crate::query::SeatView;
use crate::refusal::Refusal;
use crate::request::{GroupSeat, Need, Place, SeatName, Wish};
use crate::rules::{Failing, Wanted, Way, stage};
use crate::state::State;
use crate::text::{Slug, UserName};
use crate::time::{Interval, MINUTE_US, Timestamp};

/// Most alternatives to one wish.
pub const ALTERNATIVES_MAX: usize = 3;
/// Other starts that are tried, earlier and later: a day of half hours.
const STARTS_TRIED: i64 = 48;
/// Seats nearby that are tried at other times.
const SEATS_TRIED: usize = 16;

/// What stands against a wish; nothing: it would be granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// In the order of the checks: the first is what a request would be refused with.
    pub failing: Vec<Refusal>,
    /// Each would be granted now.
    pub alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    pub seat: SeatView,
    pub interval: Interval,
    /// Of a group: a seat for each, in their order; the first is `seat`.
    pub group: Vec<SeatView>,
}

impl State {
    /// # Errors
    /// If the wish names something that does not exist, or somebody for whom `by` may not ask.
    pub fn explain(&self, by: UserId, wish: &Wish) -> Result<Explanation, Refusal> {
        let (holder, way) = self.holder_of(by, wish)?;
        let user = self.accounts.user(holder).ok_or(Refusal::SessionExpired)?;
        let need = self.find_need(&wish.need)?;
        // As for a request that is decided next.
        let now = self.at.time.plus_us(1);
        if self.choose(user, wish, way, now).is_ok() {
            return Ok(Explanation { failing: Vec::new(), alternatives: Vec::new() });
        }
        // Of several seats, the first is as good as any to say what is wrong.
        let seats = self.areas_of(need.place).into_iter().flat_map(|area| self.seats_of(need.place, area));
        let seat = seats.copied().find(|&seat| self.fits(&need, seat)).ok_or(Refusal::SeatNotFound)?;
        let area = self.catalog.seat(seat).area;
        self.explain_wanted(&Wanted { user, area, interval: wish.interval, way, instead_of: None, now }, seat)
    }

    /// What stands against another seat or time for a claim, or a later end. Alternatives are those of an exchange.
    ///
    /// # Errors
    /// If there is no such claim or seat, or the claim is not `by`'s to change.
    pub fn explain_change(
        &self,
        by: UserId,
        id: ClaimId,
        seat: Option<&SeatName>,
        interval: Interval,
    ) -> Result<Explanation, Refusal> {
        let claim = self.claim_for(by, id)?;
        let holder = claim.holder.ok_or(Refusal::NotPermitted)?;
        let user = self.accounts.user(holder).ok_or(Refusal::UserNotFound)?;
        let new_seat = seat.map(|seat| self.find_seat(seat)).transpose()?.unwrap_or(claim.seat);
        let is_longer = new_seat == claim.seat && interval.start() == claim.interval.start();
        let way = match (claim.exempt && holder != by, is_longer) {
            (false, false) => Way::Ahead,
            (false, true) => Way::Extension,
            (true, false) => Way::Exempt,
            (true, true) => Way::ExemptExtension,
        };
        let (area, now) = (self.catalog.seat(new_seat).area, self.at.time.plus_us(1));
        self.explain_wanted(&Wanted { user, area, interval, way, instead_of: Some(id), now }, new_seat)
    }

    /// What stands against sitting down now.
    ///
    /// # Errors
    /// If there is no such seat or person, or nothing could start now and end then.
    pub fn explain_walk_in(
        &self,
        by: UserId,
        seat: &SeatName,
        end: Timestamp,
        person: Option<&UserName>,
    ) -> Result<Explanation, Refusal> {
        let seat = self.find_seat(seat)?;
        let holder = self.walk_in_holder(by, seat, person)?;
        self.explain_wanted(&self.walk_in_wanted(holder, seat, end, self.at.time.plus_us(1))?, seat)
    }

    /// What stands against waiting for a seat that nobody could ever give, and what could be had at once instead.
    ///
    /// # Errors
    /// If the need names something that does not exist.
    pub fn explain_wait(
        &self,
        by: UserId,
        need: &Need<Place<Slug>>,
        interval: Interval,
        minutes: Option<u32>,
    ) -> Result<Explanation, Refusal> {
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let need = self.find_need(need)?;
        let end = minutes.map_or(interval.end(), |minutes| interval.start().plus_minutes(minutes).min(interval.end()));
        let interval = Interval::new(interval.start(), end).unwrap_or(interval);
        let now = self.at.time.plus_us(1);
        let mut nearest: Option<(Refusal, Wanted<'_>, SeatId)> = None;
        for area in self.areas_of(need.place) {
            let wanted = Wanted { user, area, interval, way: Way::WalkIn, instead_of: None, now };
            let Some(&seat) = self.seats_of(need.place, area).iter().find(|&&seat| self.fits(&need, seat)) else {
                continue;
            };
            let Err(refusal) = self.may_be_booked(&wanted, &mut Failing::First) else {
                // Here one could wait: what is wrong is with the person, or with how often they wait.
                return Ok(Explanation { failing: Vec::new(), alternatives: Vec::new() });
            };
            if nearest.as_ref().is_none_or(|(known, ..)| stage(*known) < stage(refusal)) {
                nearest = Some((refusal, wanted, seat));
            }
        }
        let (_, wanted, seat) = nearest.ok_or(Refusal::SeatNotFound)?;
        let mut failing = Failing::All(Vec::new());
        self.may_be_booked(&wanted, &mut failing)?;
        let Failing::All(failing) = failing else { unreachable!("explaining hears of every check") };
        let alternatives = self.alternatives_to(&Wanted { way: Way::Ahead, ..wanted }, seat);
        Ok(Explanation { failing, alternatives })
    }

    /// What stands against a group, and what it could have instead: other seats for those whose are taken, or the same
    /// seats at another time. What is wrong with somebody else is theirs to know.
    ///
    /// # Errors
    /// If a seat or person is named twice or does not exist, or it is no group of `by`'s.
    pub fn explain_group(&self, by: UserId, seats: &[GroupSeat], interval: Interval) -> Result<Explanation, Refusal> {
        let (members, _) = self.find_members(by, seats)?;
        let now = self.at.time.plus_us(1);
        let mut failing = Failing::All(Vec::new());
        let mut only_seats = true;
        for (position, &(seat, member)) in (0..).zip(&members) {
            let wanted = self.wanted_by_member(member, seat, interval, now)?;
            only_seats &= self.may_have(&wanted, &mut Failing::First).is_ok();
            self.may_be_booked(&wanted, &mut failing)?;
            if member == by {
                self.may_have(&wanted, &mut failing)?;
            } else if self.may_be_booked(&wanted, &mut Failing::First).is_ok()
                && self.may_have(&wanted, &mut Failing::First).is_err()
            {
                failing.check(Err(Refusal::MemberUnavailable { position }))?;
            }
            match self.may_be_given(&wanted, seat, &mut Failing::First) {
                Err(Refusal::SeatTaken) => failing.check(Err(Refusal::GroupSeatTaken { position }))?,
                outcome => failing.check(outcome)?,
            }
        }
        let Failing::All(failing) = failing else { unreachable!("explaining hears of every check") };
        let mut alternatives: Vec<Alternative> = Vec::new();
        if !failing.is_empty() {
            alternatives.extend(only_seats.then(|| self.other_seats_for(&members, interval, now)).flatten());
            let (seat, member) = members[0];
            let starts = self.other_starts(&self.wanted_by_member(member, seat, interval, now)?);
            let granted = |&interval: &Interval| self.is_group_granted(&members, interval, now);
            let at = |interval| self.group_alternative(members.iter().map(|&(seat, _)| seat), interval);
            alternatives
                .extend(starts.into_iter().filter(granted).filter_map(at).take(ALTERNATIVES_MAX - alternatives.len()));
        }
        Ok(Explanation { failing, alternatives })
    }

    fn wanted_by_member(
        &self,
        member: UserId,
        seat: SeatId,
        interval: Interval,
        now: Timestamp,
    ) -> Result<Wanted<'_>, Refusal> {
        let user = self.accounts.user(member).ok_or(Refusal::UserNotFound)?;
        Ok(Wanted { user, area: self.catalog.seat(seat).area, interval, way: Way::Ahead, instead_of: None, now })
    }

    /// For those whose seats are taken the nearest others, nobody's twice; nothing if there are not enough.
    fn other_seats_for(&self, members: &[(SeatId, UserId)], interval: Interval, now: Timestamp) -> Option<Alternative> {
        let mut taken: BTreeSet<SeatId> = members.iter().map(|&(seat, _)| seat).collect();
        let mut chosen = Vec::with_capacity(members.len());
        for &(seat, member) in members {
            let user = self.accounts.user(member)?;
            let granted = |seat: SeatId| {
                let wanted = self.wanted_by_member(member, seat, interval, now);
                wanted.is_ok_and(|wanted| self.is_granted(&wanted, seat))
            };
            let other = if granted(seat) {
                seat
            } else {
                let near = self.seats_near(seat, user).into_iter().map(|(_, other)| other);
                near.filter(|other| !taken.contains(other)).find(|&other| granted(other))?
            };
            taken.insert(other);
            chosen.push(other);
        }
        self.group_alternative(chosen.into_iter(), interval)
    }

    fn is_group_granted(&self, members: &[(SeatId, UserId)], interval: Interval, now: Timestamp) -> bool {
        members.iter().all(|&(seat, member)| {
            let wanted = self.wanted_by_member(member, seat, interval, now);
            wanted.is_ok_and(|wanted| self.is_granted(&wanted, seat))
        })
    }

    fn group_alternative(&self, seats: impl Iterator<Item = SeatId>, interval: Interval) -> Option<Alternative> {
        let group: Vec<SeatView> = seats.map(|seat| self.seat_view_for(seat, interval)).collect();
        Some(Alternative { seat: group.first()?.clone(), interval, group })
    }

    fn alternative(&self, seat: SeatId, interval: Interval) -> Alternative {
        Alternative { seat: self.seat_view_for(seat, interval), interval, group: Vec::new() }
    }

    fn explain_wanted(&self, wanted: &Wanted<'_>, seat: SeatId) -> Result<Explanation, Refusal> {
        let mut failing = Failing::All(Vec::new());
        self.may_have(wanted, &mut failing)?;
        self.may_be_given(wanted, seat, &mut failing)?;
        let Failing::All(failing) = failing else { unreachable!("explaining hears of every check") };
        let alternatives = match wanted.way {
            _ if failing.is_empty() => Vec::new(),
            Way::Extension | Way::ExemptExtension => self.earlier_end(wanted, seat).into_iter().collect(),
            Way::Ahead | Way::WalkIn | Way::Exempt => self.alternatives_to(wanted, seat),
        };
        Ok(Explanation { failing, alternatives })
    }

    /// Instead of a later end the latest that there is.
    fn earlier_end(&self, wanted: &Wanted<'_>, seat: SeatId) -> Option<Alternative> {
        let current = wanted.instead_of.and_then(|id| self.claims.get(id))?.interval;
        let policy = self.catalog.policy(self.catalog.area(wanted.area).policy);
        let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
        let slots = (wanted.interval.end().0.saturating_sub(current.end().0) / grid_us).min(STARTS_TRIED);
        let until = |slots: i64| Interval::new(current.start(), current.end().plus_us(slots * grid_us)).ok();
        let granted = |&interval: &Interval| self.is_granted(&Wanted { interval, ..*wanted }, seat);
        let interval = (1..=slots).rev().filter_map(until).find(granted)?;
        Some(self.alternative(seat, interval))
    }

    /// Another seat at the same time, the same seat at another time, another seat nearby at another time: what there is
    /// of each, and more of the first if one is missing.
    fn alternatives_to(&self, wanted: &Wanted<'_>, seat: SeatId) -> Vec<Alternative> {
        if !wanted.user.role.may_reserve() || wanted.user.suspended_until.is_some_and(|until| wanted.now < until) {
            return Vec::new();
        }
        let others = self.seats_near(seat, wanted.user);
        let granted_in = |area: AreaId| self.may_have(&Wanted { area, ..*wanted }, &mut Failing::First).is_ok();
        let areas = self.catalog.branch(self.catalog.seat(seat).branch).areas();
        let areas: BTreeSet<AreaId> = areas.filter(|&area| granted_in(area)).collect();
        let given = |&(area, other): &(AreaId, SeatId)| {
            areas.contains(&area) && self.may_be_given(&Wanted { area, ..*wanted }, other, &mut Failing::First).is_ok()
        };
        let mut same_time = others.iter().copied().filter(given).map(|(_, other)| (other, wanted.interval));
        let mut found: Vec<(SeatId, Interval)> = same_time.by_ref().take(1).collect();
        let spare: Vec<_> = same_time.take(ALTERNATIVES_MAX).collect();
        let starts = self.other_starts(wanted);
        let at_other_times = |area: AreaId, seat: SeatId| {
            let granted = |&&interval: &&Interval| self.is_granted(&Wanted { area, interval, ..*wanted }, seat);
            starts.iter().find(granted).map(|&interval| (seat, interval))
        };
        found.extend(at_other_times(wanted.area, seat));
        found.extend(others.iter().take(SEATS_TRIED).find_map(|&(area, other)| at_other_times(area, other)));
        found.extend(spare);
        found.truncate(ALTERNATIVES_MAX);
        let view = |(seat, interval)| self.alternative(seat, interval);
        found.into_iter().map(view).collect()
    }

    fn is_granted(&self, wanted: &Wanted<'_>, seat: SeatId) -> bool {
        self.may_have(wanted, &mut Failing::First).is_ok()
            && self.may_be_given(wanted, seat, &mut Failing::First).is_ok()
    }

    /// The same length at other times, the nearest first, and of two equally near the later.
    fn other_starts(&self, wanted: &Wanted<'_>) -> Vec<Interval> {
        let place = self.catalog.area(wanted.area);
        let policy = self.catalog.policy(place.policy);
        let Ok(start) = self.slot_start(place.branch, policy, wanted.interval.start()) else { return Vec::new() };
        let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
        // A wish of a length that cannot be had is answered with one that can.
        let slots = (wanted.interval.length_us() / grid_us).max(1) * grid_us;
        let (least, most) = (i64::from(policy.min_minutes) * MINUTE_US, i64::from(policy.max_minutes) * MINUTE_US);
        let length_us = slots.clamp(least, most);
        let at = |steps: i64| {
            let start = Timestamp(start.0.saturating_add(steps * grid_us));
            Interval::new(start, start.plus_us(length_us)).ok()
        };
        let nearest_first = std::iter::once(0).chain((1..=STARTS_TRIED).flat_map(|steps| [steps, -steps]));
        nearest_first.filter_map(at).filter(|&interval| interval != wanted.interval).collect()
    }
}
