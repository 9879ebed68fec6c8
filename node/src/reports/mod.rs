//! How the library is used: what a report is, whoever counts. The relational record does where there is one
//! (`projection::reports`), else the nodes, over what they hold; tests hold both against each other.

use std::collections::BTreeMap;

use carrel_domain::catalog::Catalog;
use carrel_domain::claim::StateName;
use carrel_domain::id::{AreaId, BranchId};
use carrel_domain::request::At;
use carrel_domain::time::{Interval, Timestamp};

pub mod walls;
pub mod counting;

use crate::calendar::ExpandError;
use crate::reports::walls::Hours;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// None: all.
    pub branch: Option<BranchId>,
    pub interval: Interval,
    pub grouping: Grouping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    All,
    Branch,
    Area,
    Hour,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    All,
    Branch(BranchId),
    Area(AreaId),
    Hour(u8),
}

/// Lines in order of their groups, and up to where they have everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Report<T> {
    pub lines: Vec<(Group, T)>,
    pub at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Utilization {
    pub seats: u64,
    pub reservations: u64,
    /// Of all seats together.
    pub open_s: i64,
    pub kept_s: i64,
    pub used_s: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoShows {
    pub due: u64,
    pub no_shows: u64,
    pub released: u64,
    pub cancelled: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits {
    pub waits: u64,
    pub fulfilled: u64,
    pub expired: u64,
    pub left: u64,
    pub mean_minutes: f64,
    pub median_minutes: f64,
    pub ninetieth_minutes: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    pub seats: u64,
    pub kept: u64,
    pub at: Option<Timestamp>,
}

/// What was counted of an area for its utilization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By the hour in which they start.
    pub reservations: [u64; 24],
    pub kept: Hours,
    pub used: Hours,
}

/// A claim kept its seat until it ended, whether anybody sat there or not; one that was cancelled, displaced or never
/// confirmed kept nothing.
#[must_use]
pub const fn kept(state: StateName) -> bool {
    use StateName as S;
    matches!(state, S::Confirmed | S::CheckedIn | S::Away | S::Completed | S::NoShow | S::Released)
}

/// Somebody had checked in.
#[must_use]
pub const fn used(state: StateName) -> bool {
    use StateName as S;
    matches!(state, S::CheckedIn | S::Away | S::Completed | S::Released)
}

impl Question {
    #[must_use]
    pub fn covers(&self, branch: BranchId) -> bool {
        self.branch.is_none_or(|only| only == branch)
    }

    /// The areas that are asked about, those that are gone included: what was, was.
    pub fn areas<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = AreaId> + 'a {
        catalog.every_area().filter(|(_, area)| self.covers(area.branch)).map(|(id, _)| id)
    }

    #[must_use]
    pub fn group(&self, branch: BranchId, area: Option<AreaId>, hour: u8) -> Group {
        match (self.grouping, area) {
            (Grouping::All, _) => Group::All,
            (Grouping::Area, Some(area)) => Group::Area(area),
            (Grouping::Branch | Grouping::Area, _) => Group::Branch(branch),
            (Grouping::Hour, _) => Group::Hour(hour),
        }
    }
}

/// Seats that are there now.
#[must_use]
pub fn seat_count(catalog: &Catalog, area: AreaId) -> u64 {
    let here = catalog.area(area).seats.iter().filter(|&&seat| !catalog.seat(seat).retired);
    if catalog.area(area).retired { 0 } else { here.count() as u64 }
}

/// Lines from what was counted of each area.
///
/// # Errors
/// If the time zone of a branch is unknown here.
pub fn utilization(
    catalog: &Catalog,
    question: &Question,
    tallies: impl Fn(AreaId) -> Tally,
) -> Result<Vec<(Group, Utilization)>, ExpandError> {
    let mut lines: BTreeMap<Group, Utilization> = BTreeMap::new();
    let open = walls::open(catalog, question)?;
    for area in question.areas(catalog) {
        let (tally, seats) = (tallies(area), seat_count(catalog, area));
        let open = open.get(&area).copied().unwrap_or_default();
        let branch = catalog.area(area).branch;
        let is_anything = seats > 0 || tally != Tally::default();
        match question.grouping {
            Grouping::Hour => {
                for hour in 0..24_u8 {
                    let line = lines.entry(Group::Hour(hour)).or_default();
                    line.seats += seats;
                    line.open_s += open.of(hour) * seats.cast_signed();
                    line.kept_s += tally.kept.of(hour);
                    line.used_s += tally.used.of(hour);
                    line.reservations += tally.reservations[usize::from(hour)];
                }
            }
            Grouping::All | Grouping::Branch | Grouping::Area if is_anything => {
                let line = lines.entry(question.group(branch, Some(area), 0)).or_default();
                line.seats += seats;
                line.reservations += tally.reservations.iter().sum::<u64>();
                line.open_s += open.sum() * seats.cast_signed();
                line.kept_s += tally.kept.sum();
                line.used_s += tally.used.sum();
            }
            Grouping::All | Grouping::Branch | Grouping::Area => {}
        }
    }
    Ok(lines.into_iter().collect())
}
