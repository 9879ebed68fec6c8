//! How much one person may have: at once, ahead, on a day, in a week. Days and weeks are those of the branch.

use crate::account::User;
use crate::claim::{ClaimState, Origin};
use crate::id::{AreaId, BranchId, ClaimId, UserId};
use crate::refusal::Refusal;
use crate::rules::{Failing, Wanted, Way};
use crate::state::State;
use crate::time::{Date, Interval, MINUTE_US, Timestamp};

/// What of a quota is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u32,
    /// None: no limit.
    pub max: Option<u32>,
}

/// All quotas of one person in one area, for an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub reservations: Usage,
    pub future: Usage,
    pub minutes_on_day: Usage,
    pub minutes_in_week: Usage,
    pub on_day: Usage,
    pub in_week: Usage,
}

impl State {
    pub(crate) fn within_quotas(&self, wanted: &Wanted<'_>, failing: &mut Failing) -> Result<(), Refusal> {
        let Wanted { user, area, interval, way, instead_of, .. } = *wanted;
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let live_count = user.live.len() - usize::from(instead_of.is_some());
        if live_count >= policy.max_reservations as usize {
            failing.check(Err(Refusal::TooManyReservations { max: policy.max_reservations }))?;
        }
        let is_future = policy.max_future > 0 && matches!(way, Way::Ahead | Way::Exempt);
        if is_future && self.to_come(user, instead_of) >= policy.max_future as usize {
            failing.check(Err(Refusal::TooManyFuture { max: policy.max_future }))?;
        }
        let mut instant = interval.start();
        while instant < interval.end() {
            let Ok(day) = self.day_at(place.branch, instant) else {
                return failing.check(Err(Refusal::CalendarPending));
            };
            let max_us = i64::from(policy.max_minutes_per_day) * MINUTE_US;
            let left_us = max_us - taken_us(user, day.span, instead_of);
            if us_within(interval, day.span) > left_us {
                failing.check(Err(Refusal::TooManyMinutes {
                    max_per_day: policy.max_minutes_per_day,
                    left: whole_minutes(left_us),
                }))?;
            }
            instant = day.span.end();
        }
        if policy.max_per_day > 0 {
            let day = self.day_at(place.branch, interval.start()).map(|day| day.span);
            let full = day.map(|day| starts(user, day, instead_of) >= policy.max_per_day as usize);
            failing.check(match full {
                Ok(false) => Ok(()),
                Ok(true) => Err(Refusal::TooManyOnDay { max: policy.max_per_day }),
                Err(pending) => Err(pending),
            })?;
        }
        if policy.max_minutes_per_week == 0 && policy.max_per_week == 0 {
            return Ok(());
        }
        let mut instant = interval.start();
        while instant < interval.end() {
            let Ok(week) = self.week_at(place.branch, instant) else {
                return failing.check(Err(Refusal::CalendarPending));
            };
            let max_us = i64::from(policy.max_minutes_per_week) * MINUTE_US;
            let left_us = max_us - taken_us(user, week, instead_of);
            if policy.max_minutes_per_week > 0 && us_within(interval, week) > left_us {
                failing.check(Err(Refusal::TooManyMinutesInWeek {
                    max_per_week: policy.max_minutes_per_week,
                    left: whole_minutes(left_us),
                }))?;
            }
            let is_first = week.contains(interval.start());
            if is_first && policy.max_per_week > 0 && starts(user, week, instead_of) >= policy.max_per_week as usize {
                failing.check(Err(Refusal::TooManyInWeek { max: policy.max_per_week }))?;
            }
            instant = week.end();
        }
        Ok(())
    }

    /// From the first instant of a Monday to the first of the next.
    pub(crate) fn week_at(&self, branch: BranchId, instant: Timestamp) -> Result<Interval, Refusal> {
        let Date(date) = self.day_at(branch, instant)?.date;
        // 1970-01-01 was a Thursday.
        let monday = Date(date - (date + 3).rem_euclid(7));
        let day = |days| self.day_on(branch, monday.plus_days(days)).ok_or(Refusal::CalendarPending);
        let week = Interval::new(day(0)?.span.start(), day(6)?.span.end());
        week.ok().filter(|week| week.contains(instant)).ok_or(Refusal::CalendarPending)
    }

    /// What a person has used of the quotas of an area, for the day and week of an instant.
    ///
    /// # Errors
    /// If there is no such person, or the calendar does not reach the instant.
    pub fn quotas(&self, user: UserId, area: AreaId, instant: Timestamp) -> Result<Quotas, Refusal> {
        let user = self.accounts.user(user).ok_or(Refusal::UserNotFound)?;
        let place = self.catalog.area(area);
        let policy = self.catalog.policy(place.policy);
        let day = self.day_at(place.branch, instant)?.span;
        let week = self.week_at(place.branch, instant)?;
        let limit = |max: u32| (max > 0).then_some(max);
        let usage = |used: usize, max| Usage { used: u32::try_from(used).unwrap_or(u32::MAX), max };
        Ok(Quotas {
            reservations: usage(user.live.len(), Some(policy.max_reservations)),
            future: usage(self.to_come(user, None), limit(policy.max_future)),
            minutes_on_day: Usage {
                used: whole_minutes(taken_us(user, day, None)),
                max: Some(policy.max_minutes_per_day),
            },
            minutes_in_week: Usage {
                used: whole_minutes(taken_us(user, week, None)),
                max: limit(policy.max_minutes_per_week),
            },
            on_day: usage(starts(user, day, None), limit(policy.max_per_day)),
            in_week: usage(starts(user, week, None), limit(policy.max_per_week)),
        })
    }

    /// Claims that nobody has checked in to. Time alone does not change their number, and so makes no offer possible.
    fn to_come(&self, user: &User, except: Option<ClaimId>) -> usize {
        let live = user.live.iter().filter_map(|live| self.claims.get(live.claim));
        live.filter(|claim| {
            Some(claim.id) != except && matches!(claim.state, ClaimState::Held { .. } | ClaimState::Confirmed { .. })
        })
        .count()
    }

    /// The hold that a person has already.
    pub(crate) fn hold_of(&self, user: &User) -> Option<ClaimId> {
        let is_hold = |id: &ClaimId| {
            let claim = self.claims.get(*id);
            claim.is_some_and(|claim| claim.origin == Origin::Hold && matches!(claim.state, ClaimState::Held { .. }))
        };
        user.live.iter().map(|live| live.claim).find(is_hold)
    }
}

fn us_within(interval: Interval, span: Interval) -> i64 {
    interval.intersection(span).map_or(0, Interval::length_us)
}

fn whole_minutes(us: i64) -> u32 {
    u32::try_from(us / MINUTE_US).unwrap_or(0)
}

fn intervals(user: &User, except: Option<ClaimId>) -> impl Iterator<Item = Interval> + '_ {
    let live = user.live.iter().filter(move |live| except.is_none_or(|except| live.claim != except));
    live.map(|live| live.interval)
}

/// Booked and used.
fn taken_us(user: &User, span: Interval, except: Option<ClaimId>) -> i64 {
    intervals(user, except).chain(user.used.iter().copied()).map(|interval| us_within(interval, span)).sum()
}

/// Claims that start within, live and used.
fn starts(user: &User, span: Interval, except: Option<ClaimId>) -> usize {
    let live = intervals(user, except).map(Interval::start);
    live.chain(user.used_starts.iter().copied()).filter(|&start| span.contains(start)).count()
}
