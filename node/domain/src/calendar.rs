//! Local days as instants. The edge, which knows time zones, expands opening hours; the rules only compare instants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::AreaId;
use crate::time::{Date, Interval, Timestamp};

/// How far behind and ahead of today days are kept. A claim may last a week, and quotas look at the whole weeks of its
/// first and last day.
pub const DAYS_BEHIND: i32 = 8;
pub const DAYS_BEYOND_WINDOW: i32 = 14;

/// One local date of one branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    pub date: Date,
    /// From local midnight to the next: 23, 24 or 25 hours.
    pub span: Interval,
    /// From where slots are counted.
    pub grid_origin: Timestamp,
    /// When the branch is open; in order, disjoint, within `span`.
    pub open: Vec<Interval>,
    /// The same for areas with hours of their own.
    pub area_open: BTreeMap<AreaId, Vec<Interval>>,
    /// When people eat: in order, disjoint, within `span`.
    pub meals: Vec<Interval>,
}

impl Day {
    #[must_use]
    pub fn open_in(&self, area: AreaId) -> &[Interval] {
        self.area_open.get(&area).unwrap_or(&self.open)
    }
}
