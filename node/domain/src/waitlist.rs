//! An ordered wait for a seat. Whatever frees an interval offers it, in the same entry, to the first eligible waiter as
//! a claim with a deadline of its own; declined or missed, it goes on to the next.
//!
//! The rule also runs when somebody joins, when a waiter's own claim or suspension ends or their role changes, and when
//! seats, policies or the calendar change, so that no interval stays free while an eligible waiter for it exists.

use std::ops::RangeInclusive;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::account::User;
use crate::deadline::Due;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{AreaId, BranchId, ClaimId, SeatId, UserId, WaitId};
use crate::inbox::ItemKind;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::{Need, Place};
use crate::rules::{Failing, LONGEST_MINUTES, Wanted, Way, nearer};
use crate::state::State;
use crate::text::Slug;
use crate::time::{DAY_US, Interval, MINUTE_US, Timestamp};

/// Waits that one person may have at once.
pub const WAITS_PER_USER_MAX: u32 = 10;
/// Of those, and of waits that are over and still shown; the oldest that is over goes when there would be more.
const WAITS_KEPT_MAX: usize = 50;
/// Starts that one wait may accept: a whole day of half hours, so that a line of flexible people is looked through
/// quickly.
pub const STARTS_MAX: u32 = 48;
/// A wait that is over stays visible for a day.
const SHOWN_AFTERWARDS_US: i64 = DAY_US;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    pub id: WaitId,
    pub user: UserId,
    pub need: Need<Scope>,
    /// From the earliest start to the end of a stay that starts at the latest.
    pub interval: Interval,
    /// How long a stay: all of the interval, or less for who is flexible.
    pub minutes: u32,
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
    /// The latest start.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.interval.end().minus_minutes(self.minutes)
    }

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
    pub fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub fn stand_in_line(&mut self, wait: &Wait) {
        for day in days_of(wait.interval) {
            self.lines.insert((wait.need.place, day, wait.rank), wait.id);
        }
    }

    pub fn leave_line(&mut self, wait: &Wait) {
        for day in days_of(wait.interval) {
            self.lines.remove(&(wait.need.place, day, wait.rank));
        }
    }
}

/// Nobody waits for longer than a week, wherever in it the stay may be.
pub(crate) const DAYS_MAX: i64 = 9;

/// In a state that requests made, at most [`DAYS_MAX`].
pub(crate) fn days_of(interval: Interval) -> RangeInclusive<i64> {
    interval.start().0.div_euclid(DAY_US)..=(interval.end().0 - 1).div_euclid(DAY_US)
}

impl State {
    pub(crate) fn join_waitlist(
        &mut self,
        by: UserId,
        need: &Need<Place<Slug>>,
        interval: Interval,
        minutes: Option<u32>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if !user.role.may_reserve() {
            return Err(Refusal::NotPermitted);
        }
        if let Some(until) = user.suspended_until.filter(|&until| fx.now() < until) {
            return Err(Refusal::Suspended { until });
        }
        let need = self.find_need(need)?;
        let longest = u32::try_from(interval.minutes()).unwrap_or(u32::MAX);
        let minutes = minutes.unwrap_or(longest);
        if minutes > longest {
            return Err(Refusal::TooLong { max_minutes: longest });
        }
        self.could_be_met(user, &need, interval, minutes, fx.now())?;
        let live =
            || user.waits.iter().filter_map(|id| self.waitlist.waits.get(id)).filter(|wait| wait.state.is_live());
        if live().any(|wait| wait.need == need && wait.interval == interval && wait.minutes == minutes) {
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
            minutes,
            state: WaitState::Waiting,
            rank,
            missed: 0,
            passed: Vec::new(),
            created_at: fx.now(),
            changed_at: fx.now(),
        };
        self.waitlist.stand_in_line(&wait);
        self.deadlines.insert((wait.due_at(), Due::Wait(id)));
        let wait = Arc::new(wait);
        fx.happened(Change::Wait { before: None, after: wait.clone() });
        self.waitlist.waits.insert(id, wait);
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

    /// Whether there is a seat at all that could answer the need, and a time at which it could be booked.
    fn could_be_met(
        &self,
        user: &User,
        need: &Need<Scope>,
        interval: Interval,
        minutes: u32,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut refusal = None;
        for area in self.areas_of(need.place) {
            if !self.seats_of(need.place, area).iter().any(|&seat| self.fits(need, seat)) {
                continue;
            }
            match self.could_be_booked(user, area, interval, minutes, now) {
                Ok(()) => return Ok(()),
                Err(of_area) => refusal = nearer(refusal, of_area),
            }
        }
        Err(refusal.unwrap_or(Refusal::SeatNotFound))
    }

    /// For whoever is flexible, at one of the starts at least.
    fn could_be_booked(
        &self,
        user: &User,
        area: AreaId,
        interval: Interval,
        minutes: u32,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let grid_minutes = self.catalog.policy(self.catalog.area(area).policy).grid_minutes;
        let latest = interval.end().minus_minutes(minutes);
        let last_start = interval.start().plus_minutes((STARTS_MAX - 1) * grid_minutes);
        let is_fixed = latest.0.saturating_sub(interval.start().0) < MINUTE_US;
        if !is_fixed && (last_start < latest || interval.minutes() > LONGEST_MINUTES) {
            return Err(Refusal::TooFlexible { max_starts: STARTS_MAX });
        }
        let mut refusal = None;
        let mut start = interval.start();
        for _ in 0..STARTS_MAX {
            let stay = if is_fixed { Ok(interval) } else { Interval::new(start, start.plus_minutes(minutes)) };
            let Some(interval) = stay.ok().filter(|stay| stay.start() <= latest) else { break };
            let wanted = Wanted { user, area, interval, way: Way::WalkIn, instead_of: None, now };
            match self.may_be_booked(&wanted, &mut Failing::First) {
                Ok(()) => return Ok(()),
                Err(of_start) => refusal = nearer(refusal, of_start),
            }
            start = start.plus_minutes(grid_minutes);
        }
        Err(refusal.unwrap_or(Refusal::TooShort { min_minutes: grid_minutes }))
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

    pub(crate) fn forget_wait(&mut self, id: WaitId) {
        let Some(wait) = self.waitlist.waits.remove(&id) else { return };
        self.deadlines.remove(&(wait.due_at(), Due::Wait(id)));
        if let Some(user) = self.accounts.user_mut(wait.user) {
            user.waits.retain(|other| *other != id);
        }
    }

    /// The one place where a wait changes: keeps the lines to those who stand in them, and its deadline.
    pub(crate) fn change_wait(&mut self, id: WaitId, fx: &mut Effects, change: impl FnOnce(&mut Wait)) {
        let Waitlist { waits, .. } = &mut self.waitlist;
        let wait = waits.get_mut(&id).expect("waits are changed by those who looked them up");
        let before = wait.clone();
        let changed = Arc::make_mut(wait);
        change(changed);
        if changed.state != before.state {
            changed.changed_at = fx.now();
        }
        let after = wait.clone();
        if before.state == WaitState::Waiting {
            self.waitlist.leave_line(&before);
        }
        if after.state == WaitState::Waiting {
            self.waitlist.stand_in_line(&after);
        }
        self.deadlines.remove(&(before.due_at(), Due::Wait(id)));
        self.deadlines.insert((after.due_at(), Due::Wait(id)));
        fx.happened(Change::Wait { before: Some(before), after });
    }
}
