//! May this person have this seat then? The checks, in the one order that every replica refuses in:
//! permission, suspension, booking window, opening hours, slot grid and length, the person's own overlap, quotas, and
//! last the seat: kept for others, or taken.
//!
//! The same checks decide and explain. Deciding stops at the first that fails; explaining hears all of them.

use std::sync::Arc;

use crate::account::User;
use crate::calendar::Day;
use crate::catalog::Policy;
use crate::claim::overlapping;
use crate::id::{AreaId, BranchId, ClaimId, SeatId};
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};

/// The longest that any policy allows.
pub(crate) const LONGEST_MINUTES: i64 = 7 * 1440;

/// What becomes of the checks that fail.
#[derive(Debug)]
pub(crate) enum Failing {
    /// The first one is the answer.
    First,
    /// Every one is told.
    All(Vec<Refusal>),
}

impl Failing {
    pub fn check(&mut self, outcome: Result<(), Refusal>) -> Result<(), Refusal> {
        match (self, outcome) {
            (Self::All(failed), Err(refusal)) => {
                // What is said once is enough, and that the calendar is missing explains nothing beside a reason.
                if !failed.contains(&refusal) && (refusal != Refusal::CalendarPending || failed.is_empty()) {
                    failed.push(refusal);
                }
                Ok(())
            }
            (_, outcome) => outcome,
        }
    }
}

/// How somebody comes by a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Booked beforehand.
    Ahead,
    /// They sit down now.
    WalkIn,
    /// They have it, and want it for longer.
    Extension,
    /// Staff make an exception.
    Exempt,
    /// Staff make an exception longer.
    ExemptExtension,
}

/// Somebody who wants something in an area.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub user: &'a User,
    pub area: AreaId,
    pub interval: Interval,
    pub way: Way,
    /// Their own claim that would be changed into this one.
    pub instead_of: Option<ClaimId>,
    pub now: Timestamp,
}

impl State {
    /// Every check but the seat's own.
    pub(crate) fn may_have(&self, wanted: &Wanted<'_>, failing: &mut Failing) -> Result<(), Refusal> {
        let Wanted { user, interval, way, instead_of, now, .. } = *wanted;
        failing.check(if user.role.may_reserve() { Ok(()) } else { Err(Refusal::NotPermitted) })?;
        failing.check(match user.suspended_until.filter(|&until| now < until) {
            Some(until) => Err(Refusal::Suspended { until }),
            None => Ok(()),
        })?;
        self.may_be_booked(wanted, failing)?;
        failing.check(match overlapping(&user.live, interval, instead_of) {
            Some(own) => Err(Refusal::OwnOverlap { claim: own.claim }),
            None => Ok(()),
        })?;
        match way {
            Way::Ahead | Way::WalkIn | Way::Extension => self.within_quotas(wanted, failing),
            Way::Exempt | Way::ExemptExtension => Ok(()),
        }
    }

    /// The checks that are the same for everybody of a role: window, hours, grid and length.
    pub(crate) fn may_be_booked(&self, wanted: &Wanted<'_>, failing: &mut Failing) -> Result<(), Refusal> {
        failing.check(self.within_window(wanted))?;
        self.fits_place(wanted.area, wanted.interval, failing)
    }

    /// Too early, too short a notice and too late cannot be at once: one of them is all there is to say.
    fn within_window(&self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        let Wanted { user, area, interval, way, now, .. } = *wanted;
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
        if matches!(way, Way::Extension | Way::ExemptExtension) {
            return Ok(());
        }
        // The slot now running may be booked, earlier starts are in the past.
        if interval.start().plus_us(grid_us) <= now {
            return Err(Refusal::InThePast { earliest: self.slot_start(place.branch, policy, now).unwrap_or(now) });
        }
        if policy.notice_minutes > 0 && way == Way::Ahead && interval.start() < now.plus_minutes(policy.notice_minutes)
        {
            return Err(Refusal::TooSoon { notice_minutes: policy.notice_minutes });
        }
        let today = self.day_at(place.branch, now)?.date;
        if way == Way::Exempt {
            return Ok(());
        }
        let window_days = policy.window_days_of(&user.role);
        let too_far = Refusal::TooFarAhead { window_days };
        match self.day_at(place.branch, interval.start()) {
            Ok(first_day) if first_day.date <= today.plus_days(window_days.cast_signed()) => Ok(()),
            Ok(_) => Err(too_far),
            Err(pending) => {
                // No window reaches beyond a day of 25 hours for each of its dates.
                let horizon = now.plus_us(i64::from(window_days + 1) * (DAY_US + DAY_US / 24));
                Err(if interval.start() > horizon { too_far } else { pending })
            }
        }
    }

    /// Whether the area is open, and its grid and lengths allow it.
    pub(crate) fn fits_place(&self, area: AreaId, interval: Interval, failing: &mut Failing) -> Result<(), Refusal> {
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        // Longer than any calendar is kept for: nobody knows whether it is open, and it need not be known.
        if interval.minutes() <= LONGEST_MINUTES {
            failing.check(self.is_open_throughout(place.branch, area, interval))?;
        }
        let origin = self.day_at(place.branch, interval.start()).ok().map(|day| day.grid_origin);
        fits_grid(policy, origin, interval, failing)
    }

    /// The local day of a branch that contains an instant.
    pub(crate) fn day_at(&self, branch: BranchId, instant: Timestamp) -> Result<&Arc<Day>, Refusal> {
        // Local dates are at most one away from the date in UTC.
        let utc = Date(i32::try_from(instant.0.div_euclid(DAY_US)).unwrap_or(i32::MAX));
        [0, 1, -1]
            .into_iter()
            .filter_map(|offset| self.day_on(branch, utc.plus_days(offset)))
            .find(|day| day.span.contains(instant))
            .ok_or(Refusal::CalendarPending)
    }

    /// A local date, as the hours in force make it.
    pub(crate) fn day_on(&self, branch: BranchId, date: Date) -> Option<&Arc<Day>> {
        let kept = self.calendar.get(&(branch, date))?;
        (kept.hours_revision == self.catalog.branch(branch).hours_revision).then_some(&kept.day)
    }

    /// Opening spans that touch, at midnight or otherwise, count as one.
    pub(crate) fn is_open_throughout(&self, branch: BranchId, area: AreaId, interval: Interval) -> Result<(), Refusal> {
        if self.open_until(branch, area, interval.start(), interval.end())? >= interval.end() {
            Ok(())
        } else {
            Err(Refusal::Closed)
        }
    }

    /// Until when the area stays open from `from` on, as far as `until` asks; `from` itself if it is closed then.
    pub(crate) fn open_until(
        &self,
        branch: BranchId,
        area: AreaId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        let mut reached = from;
        while reached < until {
            let day = self.day_at(branch, reached)?;
            match day.open_in(area).iter().find(|open| open.contains(reached)) {
                Some(open) => reached = open.end(),
                None => break,
            }
        }
        Ok(reached)
    }

    /// Start of the slot that is running at `instant`.
    pub(crate) fn slot_start(
        &self,
        branch: BranchId,
        policy: &Policy,
        instant: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        let origin = self.day_at(branch, instant)?.grid_origin;
        let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
        Ok(instant.plus_us(-(instant.0 - origin.0).rem_euclid(grid_us)))
    }

    // === The seat ===

    /// The seat's own checks.
    pub(crate) fn may_be_given(&self, wanted: &Wanted<'_>, seat: SeatId, failing: &mut Failing) -> Result<(), Refusal> {
        let until = match wanted.way {
            Way::Ahead | Way::WalkIn => self.kept_accessible_until(wanted.user, seat, wanted.interval),
            Way::Extension | Way::Exempt | Way::ExemptExtension => None,
        };
        failing.check(match until.filter(|&until| wanted.now < until) {
            Some(until) => Err(Refusal::KeptAccessible { until }),
            None => Ok(()),
        })?;
        let is_there = matches!(wanted.way, Way::Extension | Way::ExemptExtension);
        let is_free = self.is_free(seat, wanted.interval, wanted.instead_of)
            && (is_there || !self.is_resting(seat, wanted.interval, wanted.now));
        let is_free = is_free || planted::has(Bug::SeatOverlapNotChecked);
        failing.check(if is_free { Ok(()) } else { Err(Refusal::SeatTaken) })
    }

    /// Until when an accessible seat is kept from somebody who needs no such seat.
    pub(crate) fn kept_accessible_until(&self, user: &User, seat: SeatId, interval: Interval) -> Option<Timestamp> {
        let entry = self.catalog.seat(seat);
        let minutes = self.catalog.policy(self.catalog.area(entry.area).policy).accessible_minutes;
        let is_kept = entry.accessible && minutes > 0 && !user.needs_accessible;
        is_kept.then(|| interval.start().minus_minutes(minutes))
    }

    /// Whether nothing else is on the seat then, nor so near that there is no time between them.
    pub(crate) fn is_free(&self, seat: SeatId, interval: Interval, except: Option<ClaimId>) -> bool {
        overlapping(self.claims.book(seat), self.with_buffer(seat, interval), except).is_none()
    }

    /// Whether somebody has left the seat so shortly before a stay would begin that there is no time between them.
    pub(crate) fn is_resting(&self, seat: SeatId, interval: Interval, now: Timestamp) -> bool {
        self.claims.resting.get(&seat).is_some_and(|&until| interval.start().max(now) < until)
    }

    /// The interval, and what has to stay free on both sides of it.
    pub(crate) fn with_buffer(&self, seat: SeatId, interval: Interval) -> Interval {
        let buffer_minutes = self.catalog.policy(self.policy_of(seat)).buffer_minutes;
        interval.widened(i64::from(buffer_minutes) * MINUTE_US)
    }
}

/// Where in the checks' order a refusal stands. Of the places that refuse somebody, the one that got farthest came
/// nearest to what they want, and says best what is in the way.
pub(crate) fn stage(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::InThePast { .. } | Refusal::TooSoon { .. } | Refusal::TooFarAhead { .. } => 1,
        Refusal::Closed => 2,
        Refusal::OffGrid { .. } | Refusal::TooShort { .. } | Refusal::TooLong { .. } => 3,
        Refusal::OwnOverlap { .. } => 4,
        Refusal::TooManyReservations { .. }
        | Refusal::TooManyMinutes { .. }
        | Refusal::TooManyMinutesInWeek { .. }
        | Refusal::TooManyOnDay { .. }
        | Refusal::TooManyInWeek { .. }
        | Refusal::TooManyFuture { .. }
        | Refusal::HoldExists { .. } => 5,
        Refusal::KeptAccessible { .. } => 6,
        Refusal::SeatTaken => 7,
        _ => 0,
    }
}

/// The refusal of the place that came nearer, and of two that came as near the first one's.
pub(crate) fn nearer(known: Option<Refusal>, other: Refusal) -> Option<Refusal> {
    match known {
        Some(known) if stage(known) >= stage(other) => Some(known),
        Some(_) | None => Some(other),
    }
}

/// Without an origin (the day is unknown) only the length can be off.
fn fits_grid(
    policy: &Policy,
    origin: Option<Timestamp>,
    interval: Interval,
    failing: &mut Failing,
) -> Result<(), Refusal> {
    let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
    let offset_us = origin.map_or(0, |origin| interval.start().0 - origin.0);
    let length_us = interval.end().0.saturating_sub(interval.start().0);
    if offset_us % grid_us != 0 || length_us % grid_us != 0 {
        failing.check(Err(Refusal::OffGrid { grid_minutes: policy.grid_minutes }))?;
    }
    if interval.minutes() < i64::from(policy.min_minutes) {
        failing.check(Err(Refusal::TooShort { min_minutes: policy.min_minutes }))?;
    }
    if interval.minutes() > i64::from(policy.max_minutes) {
        failing.check(Err(Refusal::TooLong { max_minutes: policy.max_minutes }))?;
    }
    Ok(())
}
