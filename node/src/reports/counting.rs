//! Reports over what the nodes hold, where no relational record is configured: one look at every claim or wait.

use std::collections::BTreeMap;

use carrel_domain::catalog::Catalog;
use carrel_domain::claim::{Claim, StateName};
use carrel_domain::id::{AreaId, BranchId};
use carrel_domain::state::State;
use carrel_domain::time::{Interval, SECOND_US, Timestamp};
use carrel_domain::waitlist::{Scope, WaitState};

use crate::calendar::ExpandError;
use crate::reports::walls::{Offsets, hour_of, offsets};
use crate::reports::{Group, NoShows, Peak, Question, Report, Tally, Utilization, Waits, kept, seat_count, used};

/// Claims of people, in areas that are asked about.
fn claims<'a>(state: &'a State, question: &'a Question) -> impl Iterator<Item = (Claim, BranchId, AreaId)> {
    let of_people = state.every_claim().filter(|claim| claim.holder.is_some());
    let placed = of_people.map(|claim| {
        let seat = state.catalog().seat(claim.seat);
        (claim, seat.branch, seat.area)
    });
    placed.filter(|(_, branch, _)| question.covers(*branch))
}

/// When the claim kept its seat, as far as that lies in the interval: of one that ended, until then.
fn kept_within(claim: &Claim, interval: Interval) -> Option<(Timestamp, Timestamp)> {
    let (start, end) = (claim.interval.start(), claim.interval.end());
    if !kept(claim.state.name()) || start >= interval.end() || end <= interval.start() {
        return None;
    }
    let ended = if claim.state.is_blocking() { end } else { end.min(claim.changed_at.max(start)) };
    let start = start.max(interval.start());
    Some((start, ended.min(interval.end()).max(start)))
}

/// The clocks on the walls of all branches.
struct Walls<'a> {
    catalog: &'a Catalog,
    by_zone: BTreeMap<String, Offsets>,
}

impl<'a> Walls<'a> {
    fn new(catalog: &'a Catalog, question: &Question) -> Result<Self, ExpandError> {
        Ok(Self { catalog, by_zone: offsets(catalog, question)? })
    }

    fn offset_s(&self, branch: BranchId, at: Timestamp) -> i64 {
        let zone = self.catalog.branch(branch).time_zone.as_str();
        self.by_zone.get(zone).map_or(0, |offsets| offsets.at(at))
    }

    fn hour(&self, branch: BranchId, at: Timestamp) -> u8 {
        hour_of(at.0.div_euclid(SECOND_US) + self.offset_s(branch, at))
    }
}

/// # Errors
/// If the time zone of a branch is unknown here.
pub fn utilization(state: &State, question: &Question) -> Result<Report<Utilization>, ExpandError> {
    let walls = Walls::new(state.catalog(), question)?;
    let mut tallies: BTreeMap<AreaId, Tally> = BTreeMap::new();
    for (claim, branch, area) in claims(state, question) {
        let Some((start, end)) = kept_within(&claim, question.interval) else { continue };
        let offset = walls.offset_s(branch, claim.interval.start());
        let second = |at: Timestamp| at.0.div_euclid(SECOND_US) + offset;
        let tally = tallies.entry(area).or_default();
        if claim.interval.start() >= question.interval.start() {
            tally.reservations[usize::from(hour_of(second(start)))] += 1;
        }
        tally.kept.add_span(second(start), second(end));
        if used(claim.state.name()) {
            tally.used.add_span(second(start), second(end.min(state.at().time).max(start)));
        }
    }
    let tally = |area| tallies.get(&area).cloned().unwrap_or_default();
    let lines = super::utilization(state.catalog(), question, tally)?;
    Ok(Report { lines, at: state.at() })
}

/// # Errors
/// If the time zone of a branch is unknown here.
pub fn no_shows(state: &State, question: &Question) -> Result<Report<NoShows>, ExpandError> {
    let walls = Walls::new(state.catalog(), question)?;
    let mut lines: BTreeMap<Group, NoShows> = BTreeMap::new();
    for (claim, branch, area) in claims(state, question) {
        let start = claim.interval.start();
        if !question.interval.contains(start) {
            continue;
        }
        let line = lines.entry(question.group(branch, Some(area), walls.hour(branch, start))).or_default();
        let state = claim.state.name();
        line.due += u64::from(used(state) || state == StateName::NoShow);
        line.no_shows += u64::from(state == StateName::NoShow);
        line.released += u64::from(state == StateName::Released);
        line.cancelled += u64::from(state == StateName::Cancelled);
    }
    Ok(Report { lines: lines.into_iter().collect(), at: state.at() })
}

/// # Errors
/// If the time zone of a branch is unknown here.
pub fn waits(state: &State, question: &Question) -> Result<Report<Waits>, ExpandError> {
    let (catalog, walls) = (state.catalog(), Walls::new(state.catalog(), question)?);
    let mut lines: BTreeMap<Group, (Waits, Vec<f64>)> = BTreeMap::new();
    for wait in state.every_wait() {
        let (branch, area) = match wait.need.place {
            Scope::Seat(seat) => (catalog.seat(seat).branch, Some(catalog.seat(seat).area)),
            Scope::Area(area) => (catalog.area(area).branch, Some(area)),
            Scope::Branch(branch) => (branch, None),
        };
        let start = wait.interval.start();
        if !question.covers(branch) || !question.interval.contains(start) {
            continue;
        }
        let (line, took) = lines.entry(question.group(branch, area, walls.hour(branch, start))).or_default();
        line.waits += 1;
        match wait.state {
            WaitState::Fulfilled { .. } => {
                line.fulfilled += 1;
                took.push((wait.changed_at.0 - wait.created_at.0) as f64 / 60e6);
            }
            WaitState::Expired => line.expired += 1,
            WaitState::Left => line.left += 1,
            WaitState::Waiting | WaitState::Offered { .. } => {}
        }
    }
    let finished = |(group, (mut line, mut took)): (Group, (Waits, Vec<f64>))| {
        took.sort_by(f64::total_cmp);
        if !took.is_empty() {
            line.mean_minutes = took.iter().sum::<f64>() / took.len() as f64;
            line.median_minutes = percentile(&took, 0.5);
            line.ninetieth_minutes = percentile(&took, 0.9);
        }
        (group, line)
    };
    Ok(Report { lines: lines.into_iter().map(finished).collect(), at: state.at() })
}

/// Between the two that are nearest, of a list in order that is not empty.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// Not by hour: a claim lies in many.
#[must_use]
pub fn peaks(state: &State, question: &Question) -> Report<Peak> {
    let mut steps: BTreeMap<Group, BTreeMap<Timestamp, i64>> = BTreeMap::new();
    for (claim, branch, area) in claims(state, question) {
        let Some((start, end)) = kept_within(&claim, question.interval) else { continue };
        let of_group = steps.entry(question.group(branch, Some(area), 0)).or_default();
        *of_group.entry(start).or_default() += 1;
        *of_group.entry(end).or_default() -= 1;
    }
    let mut lines = seats(state.catalog(), question);
    for (group, steps) in steps {
        let line = lines.entry(group).or_default();
        let mut now = 0;
        for (at, step) in steps {
            now += step;
            if now > line.kept.cast_signed() {
                (line.kept, line.at) = (now.cast_unsigned(), Some(at));
            }
        }
    }
    Report { lines: lines.into_iter().collect(), at: state.at() }
}

/// A line for each group that has seats.
#[must_use]
pub fn seats(catalog: &Catalog, question: &Question) -> BTreeMap<Group, Peak> {
    let mut lines: BTreeMap<Group, Peak> = BTreeMap::new();
    for area in question.areas(catalog) {
        let seats = seat_count(catalog, area);
        if seats > 0 {
            lines.entry(question.group(catalog.area(area).branch, Some(area), 0)).or_default().seats += seats;
        }
    }
    lines
}
