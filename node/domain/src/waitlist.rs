//! An ordered wait for a seat. Whatever frees an interval offers it, in the same entry, to the first eligible waiter as
//! a claim with a deadline of its own; declined or missed, it goes on to the next.
//!
//! The rule also runs when somebody joins, when a waiter's own claim or suspension ends or their role changes, and when
//! seats, policies or the calendar change, so that no interval stays free while an eligible waiter for it exists.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::claim::{ClaimState, NewClaim, Origin, overlapping};
use crate::deadline::Due;
use crate::effects::Effects;
use crate::id::{AreaId, BranchId, ClaimId, SeatId, UserId, WaitId};
use crate::inbox::ItemKind;
use crate::refusal::Refusal;
use crate::reply::{Event, Reply};
use crate::request::{Need, Place};
use crate::state::State;
use crate::text::{Slug, Title};
use crate::time::{DAY_US, Interval, Timestamp};

/// Waits that one person may have at once.
pub const WAITS_PER_USER_MAX: u32 = 10;
/// Of those, and of waits that are over and still shown; the oldest that is over goes when there would be more.
const WAITS_KEPT_MAX: usize = 50;
/// Offers that may be missed before a wait goes to the end of the line.
const MISSED_BEFORE_LAST: u32 = 2;
/// Seats that may be let go before a wait ends: whoever lets so many go is not waiting.
const PASSED_MAX: usize = 20;
/// A wait that is over stays visible for a day.
const SHOWN_AFTERWARDS_US: i64 = DAY_US;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    pub id: WaitId,
    pub user: UserId,
    pub need: Need<Scope>,
    pub interval: Interval,
    pub state: WaitState,
    /// Place in the line: smaller is earlier. The id at first.
    pub rank: u64,
    /// Offers declined or let go.
    pub missed: u32,
    /// Seats that the waiter let go, as an offer or as a claim of their own: not offered again.
    pub passed: Vec<SeatId>,
    pub created_at: Timestamp,
    /// When the state was entered.
    pub changed_at: Timestamp,
}

/// Where a seat may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    Seat(SeatId),
    Area(AreaId),
    Branch(BranchId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitState {
    Waiting,
    Offered { claim: ClaimId },
    Fulfilled { claim: ClaimId },
    Left,
    Expired,
}

impl Wait {
    /// When it expires; once it is over, when it is forgotten.
    pub(crate) fn due_at(&self) -> Timestamp {
        if self.state.is_live() {
            self.interval.end()
        } else {
            self.interval.end().max(self.changed_at).plus_us(SHOWN_AFTERWARDS_US)
        }
    }
}

impl WaitState {
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Waiting | Self::Offered { .. })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Waitlist {
    /// Ids and later places in line are drawn from one counter, so that who joins is behind who was sent to the end.
    pub next: u64,
    /// Live, or over since less than a day.
    pub waits: OrdMap<WaitId, Arc<Wait>>,
    /// Those in state WAITING, by rank: the line in front of each seat, area and branch on each day (in UTC) that the
    /// interval touches, so that what is freed today does not meet who waits for next week.
    pub lines: OrdMap<(Scope, i64, u64), WaitId>,
}

impl Default for Waitlist {
    /// People read these numbers: they count from 1.
    fn default() -> Waitlist {
        Waitlist { next: 1, waits: OrdMap::new(), lines: OrdMap::new() }
    }
}

impl Waitlist {
    fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub fn stand_in_line(&mut self, wait: &Wait) {
        for day in days_of(wait.interval) {
            self.lines.insert((wait.need.place, day, wait.rank), wait.id);
        }
    }

    fn leave_line(&mut self, wait: &Wait) {
        for day in days_of(wait.interval) {
            self.lines.remove(&(wait.need.place, day, wait.rank));
        }
    }
}

/// At most nine: nobody waits for longer than a week.
pub(crate) fn days_of(interval: Interval) -> RangeInclusive<i64> {
    interval.start().0.div_euclid(DAY_US)..=(interval.end().0 - 1).div_euclid(DAY_US)
}

impl State {
    pub(crate) fn join_waitlist(
        &mut self,
        by: UserId,
        need: &Need<Place<Slug>>,
        interval: Interval,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if !user.role.may_reserve() {
            return Err(Refusal::NotPermitted);
        }
        if let Some(until) = user.suspended_until.filter(|&until| fx.now() < until) {
            return Err(Refusal::Suspended { until });
        }
        let place = self.find_place(&need.place)?;
        let amenities: BTreeSet<&Title> = need.amenities.iter().collect();
        let amenities = amenities.into_iter().cloned().collect();
        let need = Need { place, amenities, accessible: need.accessible };
        self.could_be_met(&need, interval, fx.now())?;
        let live =
            || user.waits.iter().filter_map(|id| self.waitlist.waits.get(id)).filter(|wait| wait.state.is_live());
        if live().any(|wait| wait.need == need && wait.interval == interval) {
            return Err(Refusal::AlreadyWaiting);
        }
        if live().count() >= WAITS_PER_USER_MAX as usize {
            return Err(Refusal::TooManyWaits { max: WAITS_PER_USER_MAX });
        }
        if user.waits.len() >= WAITS_KEPT_MAX {
            let over = |id: &&WaitId| self.waitlist.waits.get(*id).is_some_and(|wait| !wait.state.is_live());
            let oldest = user.waits.iter().find(over).copied();
            self.forget_wait(oldest.expect("more waits are kept than may be live"));
        }
        let rank = self.waitlist.draw();
        let id = WaitId(rank);
        let wait = Wait {
            id,
            user: by,
            need,
            interval,
            state: WaitState::Waiting,
            rank,
            missed: 0,
            passed: Vec::new(),
            created_at: fx.now(),
            changed_at: fx.now(),
        };
        self.waitlist.stand_in_line(&wait);
        self.deadlines.insert((wait.due_at(), Due::Wait(id)));
        fx.happened(Event::WaitChanged(wait.clone()));
        self.waitlist.waits.insert(id, Arc::new(wait));
        self.accounts.user_mut(by).expect("looked up above").waits.push(id);
        self.offer_anywhere(id, fx);
        Ok(Reply::Wait(self.wait_view_of(id)))
    }

    pub(crate) fn leave_waitlist(&mut self, by: UserId, id: WaitId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let wait = self.waitlist.waits.get(&id).filter(|wait| wait.user == by).ok_or(Refusal::WaitNotFound)?;
        match wait.state {
            WaitState::Left => {}
            WaitState::Waiting => self.end_wait(id, WaitState::Left, fx),
            WaitState::Offered { claim } => {
                self.end_wait(id, WaitState::Left, fx);
                self.cancel_claim(claim, fx);
            }
            WaitState::Fulfilled { .. } | WaitState::Expired => return Err(Refusal::WaitIsOver),
        }
        Ok(Reply::Wait(self.wait_view_of(id)))
    }

    fn find_place(&self, place: &Place<Slug>) -> Result<Scope, Refusal> {
        let (Place::Seat { branch, .. } | Place::Area { branch, .. } | Place::Branch { branch }) = place;
        let branch = branch.as_str();
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

    fn is_among(&self, scope: Scope, seat: SeatId) -> bool {
        match scope {
            Scope::Seat(other) => other == seat,
            Scope::Area(area) => self.catalog.seat(seat).area == area,
            Scope::Branch(branch) => self.catalog.seat(seat).branch == branch,
        }
    }

    fn areas_of(&self, scope: Scope) -> Vec<AreaId> {
        match scope {
            Scope::Seat(seat) => vec![self.catalog.seat(seat).area],
            Scope::Area(area) => vec![area],
            Scope::Branch(branch) => self.catalog.branch(branch).areas().collect(),
        }
    }

    /// The seats of one of its areas, in the order in which they are offered.
    fn seats_of(&self, scope: Scope, area: AreaId) -> &[SeatId] {
        let seats = &self.catalog.area(area).seats;
        match scope {
            Scope::Area(_) | Scope::Branch(_) => seats,
            Scope::Seat(seat) => match seats.iter().position(|&other| other == seat) {
                Some(index) => &seats[index..=index],
                None => &[],
            },
        }
    }

    fn fits(&self, need: &Need<Scope>, seat: SeatId) -> bool {
        let entry = self.catalog.seat(seat);
        !entry.retired && (entry.accessible || !need.accessible) && entry.has_all(&need.amenities)
    }

    /// Whether there is a seat at all that could answer the need, and a time at which it could be booked.
    fn could_be_met(&self, need: &Need<Scope>, interval: Interval, now: Timestamp) -> Result<(), Refusal> {
        let mut refusal = Refusal::SeatNotFound;
        for area in self.areas_of(need.place) {
            if !self.seats_of(need.place, area).iter().any(|&seat| self.fits(need, seat)) {
                continue;
            }
            match self.may_be_booked(area, interval, now) {
                Ok(()) => return Ok(()),
                Err(first) if refusal == Refusal::SeatNotFound => refusal = first,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    // === Offers ===

    /// A seat has become free for a while: to the first in line whom it suits, and what is left to the next.
    pub(crate) fn offer_freed(&mut self, seat: SeatId, freed: Interval, fx: &mut Effects) {
        let entry = self.catalog.seat(seat);
        let (area, scopes) = (entry.area, [Scope::Seat(seat), Scope::Area(entry.area), Scope::Branch(entry.branch)]);
        let mut line = BTreeMap::new();
        for scope in scopes {
            let days = days_of(freed);
            let standing = self.waitlist.lines.range((scope, *days.start(), 0)..=(scope, *days.end(), u64::MAX));
            line.extend(standing.map(|(&(.., rank), &id)| (rank, id)));
        }
        for id in line.into_values() {
            let Some(wait) = self.waiting(id).filter(|wait| wait.interval.overlaps(freed)) else { continue };
            if let Some(rest) = self.rest_of(&wait, area, fx.now())
                && self.is_offered_to(&wait, seat, rest)
                && self.may_be_offered(&wait, area, rest, fx.now())
            {
                self.offer(&wait, seat, rest, fx);
            }
        }
    }

    /// Everything that a person waits for, after something that stood in the way is gone.
    pub(crate) fn reconsider_waits_of(&mut self, user: UserId, fx: &mut Effects) {
        let waits = self.accounts.user(user).map(|user| user.waits.clone()).unwrap_or_default();
        for id in waits {
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

    fn offer_anywhere(&mut self, id: WaitId, fx: &mut Effects) {
        let Some(wait) = self.waiting(id) else { return };
        for area in self.areas_of(wait.need.place) {
            let Some(rest) = self.rest_of(&wait, area, fx.now()) else { continue };
            if !self.may_be_offered(&wait, area, rest, fx.now()) {
                continue;
            }
            let seats = self.seats_of(wait.need.place, area);
            if let Some(seat) = seats.iter().copied().find(|&seat| self.is_offered_to(&wait, seat, rest)) {
                return self.offer(&wait, seat, rest, fx);
            }
        }
    }

    fn waiting(&self, id: WaitId) -> Option<Arc<Wait>> {
        self.waitlist.waits.get(&id).filter(|wait| wait.state == WaitState::Waiting).cloned()
    }

    /// What is still to come of the interval, from the slot now running on, if it is long enough to be booked.
    pub(crate) fn rest_of(&self, wait: &Wait, area: AreaId, now: Timestamp) -> Option<Interval> {
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let slot_start = self.slot_start(place.branch, policy, now).ok()?;
        let rest = Interval::new(wait.interval.start().max(slot_start), wait.interval.end()).ok()?;
        (rest.minutes() >= i64::from(policy.min_minutes)).then_some(rest)
    }

    /// Whether the waiter may have a seat in the area. Hours, grid, length and quota are judged by all of what they
    /// wait for, not by the rest of it: so it takes an event, never just the passing of time, to make an offer
    /// possible.
    pub(crate) fn may_be_offered(&self, wait: &Wait, area: AreaId, rest: Interval, now: Timestamp) -> bool {
        self.accounts.user(wait.user).is_some_and(|user| {
            user.role.may_reserve()
                && user.suspended_until.is_none_or(|until| until <= now)
                && overlapping(&user.live, rest).is_none()
                && self.fits_place(area, wait.interval).is_ok()
                && self.within_quota(user, area, wait.interval).is_ok()
        })
    }

    /// Whether the seat is free and what the waiter wants.
    pub(crate) fn is_offered_to(&self, wait: &Wait, seat: SeatId, rest: Interval) -> bool {
        overlapping(self.claims.book(seat), rest).is_none()
            && self.fits(&wait.need, seat)
            && !wait.passed.contains(&seat)
    }

    fn offer(&mut self, wait: &Wait, seat: SeatId, interval: Interval, fx: &mut Effects) {
        let policy_id = self.policy_of(seat);
        let policy = self.catalog.policy(policy_id);
        // Whoever accepts must still be able to check in.
        let from = interval.start().max(fx.now());
        let deadline = fx
            .now()
            .plus_minutes(policy.offer_minutes)
            .min(from.plus_minutes(policy.grace_minutes))
            .min(interval.end());
        let claim = self.add_claim(
            NewClaim {
                seat,
                interval,
                holder: wait.user,
                origin: Origin::Offer,
                state: ClaimState::Held { deadline },
                policy: policy_id,
                wait: Some(wait.id),
            },
            fx,
        );
        self.change_wait(wait.id, fx, |wait| wait.state = WaitState::Offered { claim });
        self.notify(wait.user, ItemKind::OfferMade { claim }, fx);
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

    /// Whatever state it is in, as long as it is live.
    pub(crate) fn end_wait(&mut self, id: WaitId, state: WaitState, fx: &mut Effects) {
        if self.waitlist.waits.get(&id).is_some_and(|wait| wait.state.is_live()) {
            self.change_wait(id, fx, |wait| wait.state = state);
        }
    }

    pub(crate) fn wait_due(&mut self, id: WaitId, fx: &mut Effects) {
        let wait = self.waitlist.waits.get(&id).expect("a deadline leaves with its wait").clone();
        match wait.state {
            WaitState::Waiting => {
                self.end_wait(id, WaitState::Expired, fx);
                self.notify(wait.user, ItemKind::WaitExpired { wait: id }, fx);
            }
            WaitState::Offered { .. } => {
                unreachable!("an offer ends with its interval at the latest, and claims fall due before waits")
            }
            WaitState::Fulfilled { .. } | WaitState::Left | WaitState::Expired => self.forget_wait(id),
        }
    }

    fn forget_wait(&mut self, id: WaitId) {
        let Some(wait) = self.waitlist.waits.remove(&id) else { return };
        self.deadlines.remove(&(wait.due_at(), Due::Wait(id)));
        if let Some(user) = self.accounts.user_mut(wait.user) {
            user.waits.retain(|other| *other != id);
        }
    }

    /// The one place where a wait changes: keeps the lines to those who stand in them, and its deadline.
    fn change_wait(&mut self, id: WaitId, fx: &mut Effects, change: impl FnOnce(&mut Wait)) {
        let Waitlist { waits, .. } = &mut self.waitlist;
        let wait = waits.get_mut(&id).expect("waits are changed by those who looked them up");
        let before = wait.clone();
        let after = Arc::make_mut(wait);
        change(after);
        if after.state != before.state {
            after.changed_at = fx.now();
        }
        let after = after.clone();
        if before.state == WaitState::Waiting {
            self.waitlist.leave_line(&before);
        }
        if after.state == WaitState::Waiting {
            self.waitlist.stand_in_line(&after);
        }
        self.deadlines.remove(&(before.due_at(), Due::Wait(id)));
        self.deadlines.insert((after.due_at(), Due::Wait(id)));
        fx.happened(Event::WaitChanged(after));
    }
}
