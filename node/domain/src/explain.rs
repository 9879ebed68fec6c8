//! "Why not?" Every rule that a wish fails, by the code that decides, and what could be had instead.

use std::collections::BTreeSet;

use crate::id::{AreaId, SeatId, UserId};
use crate::query::SeatView;
use crate::refusal::Refusal;
use crate::request::Wish;
use crate::rules::{Failing, Wanted};
use crate::state::State;
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
        let wanted = Wanted { user, area, interval: wish.interval, way, instead_of: None, now };
        let mut failing = Failing::All(Vec::new());
        self.may_have(&wanted, &mut failing)?;
        self.may_be_given(&wanted, seat, &mut failing)?;
        let Failing::All(failing) = failing else { unreachable!("explaining hears of every check") };
        let alternatives = self.alternatives_to(&wanted, seat);
        Ok(Explanation { failing, alternatives })
    }

    /// Another seat at the same time, the same seat at another time, another seat nearby at another time: what there is
    /// of each, and more of the first if one is missing.
    fn alternatives_to(&self, wanted: &Wanted<'_>, seat: SeatId) -> Vec<Alternative> {
        if !wanted.user.role.may_reserve() || wanted.user.suspended_until.is_some_and(|until| wanted.now < until) {
            return Vec::new();
        }
        let others = self.seats_near(seat);
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
        let view = |(seat, interval)| Alternative { seat: self.seat_view_for(seat, interval), interval };
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
