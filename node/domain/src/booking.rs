//! May this person have this seat then? The checks, in the one order that every replica refuses in:
//! permission, suspension, booking window, opening hours, slot grid and length, the person's own overlap, quota, and
//! last the seat's overlap.

use std::sync::Arc;

use crate::account::User;
use crate::calendar::Day;
use crate::catalog::Policy;
use crate::claim::{ClaimState, NewClaim, Origin, check_in_deadline, overlapping};
use crate::effects::Effects;
use crate::id::{AreaId, BranchId, PolicyId, SeatId, UserId};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::SeatName;
use crate::state::State;
use crate::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};

/// The longest that any policy allows.
const LONGEST_MINUTES: i64 = 7 * 1440;

impl State {
    pub(crate) fn reserve(
        &mut self,
        by: UserId,
        seat: &SeatName,
        interval: Interval,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let seat = self.find_seat(seat)?;
        let area = self.catalog.seat(seat).area;
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        self.may_have(user, area, interval, fx.now())?;
        if overlapping(self.claims.book(seat), interval).is_some() {
            return Err(Refusal::SeatTaken);
        }
        let policy = self.catalog.area(area).policy;
        let deadline = check_in_deadline(interval, fx.now(), self.catalog.policy(policy).grace_minutes);
        let id = self.add_claim(
            NewClaim {
                seat,
                interval,
                holder: by,
                origin: Origin::Booking,
                state: ClaimState::Confirmed { deadline },
                policy,
                wait: None,
            },
            fx,
        );
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn find_seat(&self, name: &SeatName) -> Result<SeatId, Refusal> {
        let branch = self.catalog.find_branch(name.branch.as_str()).ok_or(Refusal::BranchNotFound)?;
        let slug = self.catalog.branch(branch).slug.as_str();
        self.catalog.find_seat(slug, name.seat.as_str()).ok_or(Refusal::SeatNotFound)
    }

    /// Every check but the seat's own.
    pub(crate) fn may_have(
        &self,
        user: &User,
        area: AreaId,
        interval: Interval,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !user.role.may_reserve() {
            return Err(Refusal::NotPermitted);
        }
        if let Some(until) = user.suspended_until.filter(|&until| now < until) {
            return Err(Refusal::Suspended { until });
        }
        self.may_be_booked(area, interval, now)?;
        if let Some(own) = overlapping(&user.live, interval) {
            return Err(Refusal::OwnOverlap { claim: own.claim });
        }
        self.within_quota(user, area, interval)
    }

    /// The checks that do not depend on the person: window, hours, grid and length.
    pub(crate) fn may_be_booked(&self, area: AreaId, interval: Interval, now: Timestamp) -> Result<(), Refusal> {
        self.within_window(area, interval, now)?;
        self.fits_place(area, interval)
    }

    fn within_window(&self, area: AreaId, interval: Interval, now: Timestamp) -> Result<(), Refusal> {
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
        // The slot now running may be booked, earlier starts are in the past.
        if interval.start().plus_us(grid_us) <= now {
            return Err(Refusal::InThePast { earliest: self.slot_start(place.branch, policy, now).unwrap_or(now) });
        }
        let today = self.day_at(place.branch, now)?.date;
        let too_far = Refusal::TooFarAhead { window_days: policy.window_days };
        match self.day_at(place.branch, interval.start()) {
            Ok(first_day) if first_day.date <= today.plus_days(policy.window_days.cast_signed()) => Ok(()),
            Ok(_) => Err(too_far),
            Err(pending) => {
                // No window reaches beyond a day of 25 hours for each of its dates.
                let horizon = now.plus_us(i64::from(policy.window_days + 1) * (DAY_US + DAY_US / 24));
                Err(if interval.start() > horizon { too_far } else { pending })
            }
        }
    }

    /// Whether the area is open, and its grid and lengths allow it.
    pub(crate) fn fits_place(&self, area: AreaId, interval: Interval) -> Result<(), Refusal> {
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        if interval.minutes() > LONGEST_MINUTES {
            // Longer than any calendar is kept for: the length is what is wrong with it.
            return Err(Refusal::TooLong { max_minutes: policy.max_minutes });
        }
        self.is_open_throughout(place.branch, area, interval)?;
        fits_grid(policy, self.day_at(place.branch, interval.start())?, interval)
    }

    /// The local day of a branch that contains an instant.
    pub(crate) fn day_at(&self, branch: BranchId, instant: Timestamp) -> Result<&Arc<Day>, Refusal> {
        // Local dates are at most one away from the date in UTC.
        let utc = Date(i32::try_from(instant.0.div_euclid(DAY_US)).unwrap_or(i32::MAX));
        let hours_revision = self.catalog.branch(branch).hours_revision;
        [0, 1, -1]
            .into_iter()
            .filter_map(|offset| self.calendar.get(&(branch, utc.plus_days(offset))))
            .find(|kept| kept.day.span.contains(instant) && kept.hours_revision == hours_revision)
            .map(|kept| &kept.day)
            .ok_or(Refusal::CalendarPending)
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

    pub(crate) fn within_quota(&self, user: &User, area: AreaId, interval: Interval) -> Result<(), Refusal> {
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        if user.live.len() >= policy.max_reservations as usize {
            return Err(Refusal::TooManyReservations { max: policy.max_reservations });
        }
        let mut instant = interval.start();
        while instant < interval.end() {
            let day = self.day_at(place.branch, instant)?;
            let us_of = |other: Interval| other.intersection(day.span).map_or(0, Interval::length_us);
            let taken = user.live.iter().map(|live| live.interval).chain(user.used.iter().copied());
            let left_us = i64::from(policy.max_minutes_per_day) * MINUTE_US - taken.map(us_of).sum::<i64>();
            if us_of(interval) > left_us {
                return Err(Refusal::TooManyMinutes {
                    max_per_day: policy.max_minutes_per_day,
                    left: u32::try_from(left_us / MINUTE_US).unwrap_or(0),
                });
            }
            instant = day.span.end();
        }
        Ok(())
    }

    pub(crate) fn policy_of(&self, seat: SeatId) -> PolicyId {
        self.catalog.area(self.catalog.seat(seat).area).policy
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
}

fn fits_grid(policy: &Policy, first_day: &Day, interval: Interval) -> Result<(), Refusal> {
    let grid_us = i64::from(policy.grid_minutes) * MINUTE_US;
    let offset_us = interval.start().0 - first_day.grid_origin.0;
    if offset_us % grid_us != 0 || (interval.end().0 - interval.start().0) % grid_us != 0 {
        return Err(Refusal::OffGrid { grid_minutes: policy.grid_minutes });
    }
    if interval.minutes() < i64::from(policy.min_minutes) {
        return Err(Refusal::TooShort { min_minutes: policy.min_minutes });
    }
    if interval.minutes() > i64::from(policy.max_minutes) {
        return Err(Refusal::TooLong { max_minutes: policy.max_minutes });
    }
    Ok(())
}
