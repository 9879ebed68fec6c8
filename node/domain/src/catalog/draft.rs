//! A catalogue as a person writes it.

use serde::{Deserialize, Serialize};

use crate::catalog::policy::Policy;
use crate::text::{Slug, Title};
use crate::time::Date;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub policies: Vec<PolicyDraft>,
    pub branches: Vec<BranchDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyDraft {
    pub id: Slug,
    pub rules: Policy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchDraft {
    pub id: Slug,
    pub title: Title,
    /// IANA name. Only the edge knows what it means.
    pub time_zone: Title,
    pub policy: Slug,
    pub hours: Hours,
    /// When people eat, every day: who steps away then has longer.
    pub meals: Vec<Span>,
    pub areas: Vec<AreaDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AreaDraft {
    pub id: Slug,
    pub title: Title,
    /// The branch's if none.
    pub policy: Option<Slug>,
    /// The branch's if none.
    pub hours: Option<Hours>,
    pub seats: Vec<SeatDraft>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeatDraft {
    pub id: Slug,
    pub label: Title,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    /// Centimetres on the area's map.
    pub x_cm: i32,
    pub y_cm: i32,
}

/// Opening hours on the clock on the wall. The first of: exception for the date, period that contains it, week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Monday first.
    pub week: [Vec<Span>; 7],
    pub periods: Vec<Period>,
    pub exceptions: Vec<Exception>,
}

/// Other weekly hours from one local date to another, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub title: Option<Title>,
    pub first: Date,
    pub last: Date,
    pub week: [Vec<Span>; 7],
}

/// One local date with hours of its own; no spans: closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub title: Option<Title>,
    pub date: Date,
    pub spans: Vec<Span>,
}

/// Minutes after local midnight, `open < close <= 1440`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub open_minute: u16,
    pub close_minute: u16,
}

pub const MINUTES_PER_DAY: u16 = 1440;

impl Hours {
    /// The spans of a local date.
    #[must_use]
    pub fn on(&self, date: Date) -> &[Span] {
        // 1970-01-01 was a Thursday.
        let weekday = (date.0 + 3).rem_euclid(7) as usize;
        if let Some(exception) = self.exceptions.iter().find(|exception| exception.date == date) {
            return &exception.spans;
        }
        let period = self.periods.iter().find(|period| period.first <= date && date <= period.last);
        period.map_or(&self.week[weekday], |period| &period.week[weekday])
    }
}
