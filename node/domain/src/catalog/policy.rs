//! The rules of booking, as a library sets them.

use serde::{Deserialize, Serialize};

use crate::account::Role;

/// A claim keeps the version under which it was made; whoever changes a booking agrees to the version of that day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Claims start and end on this grid, counted from local midnight.
    pub grid_minutes: u32,
    pub min_minutes: u32,
    pub max_minutes: u32,
    /// How many local days ahead one may book.
    pub window_days: u32,
    /// The same for staff; 0: as everybody.
    pub staff_window_days: u32,
    /// How long before its start a booking is made at the latest; 0: the slot now running may be booked.
    pub notice_minutes: u32,
    /// Kept free between two claims, and after somebody has left.
    pub buffer_minutes: u32,
    /// Until so long before the start, accessible seats are kept for those who need one; 0: they never are.
    pub accessible_minutes: u32,
    /// Not checked in this long after the start: a no-show.
    pub grace_minutes: u32,
    /// Check-in opens this long before the start.
    pub lead_minutes: u32,
    /// Whoever checks in shows that they are there: by the code that the seat shows, or to staff.
    pub proof_required: bool,
    /// How long a seat is held for who is still deciding.
    pub hold_minutes: u32,
    /// How long somebody has to accept an offer, or an invitation to a group.
    pub offer_minutes: u32,
    /// How long one may leave the seat.
    pub away_minutes: u32,
    /// The same for who leaves in a meal window.
    pub meal_away_minutes: u32,
    /// How long the holder of a seat that was reported empty has to check in again.
    pub report_minutes: u32,
    /// Live claims of one person.
    pub max_reservations: u32,
    /// Of those, the ones that nobody has checked in to; 0: as many as there may be.
    pub max_future: u32,
    /// Of one person, on one local day.
    pub max_minutes_per_day: u32,
    /// From Monday to Sunday; 0: no limit.
    pub max_minutes_per_week: u32,
    /// Claims of one person that start on one local day; 0: no limit.
    pub max_per_day: u32,
    /// From Monday to Sunday; 0: no limit.
    pub max_per_week: u32,
    /// Strikes within `strike_days` that suspend; 0: never.
    pub strikes_to_suspend: u32,
    pub strike_days: u32,
    pub suspension_days: u32,
    /// Whether staying away too long is a strike, as a no-show is.
    pub release_strikes: bool,
    /// Cancelled this long before the start or later: a strike; 0: never.
    pub late_cancel_minutes: u32,
}

/// Claims that a quota may count, and so as many as must be remembered.
pub const COUNTED_MAX: u32 = 100;

impl Default for Policy {
    /// What most libraries would want, and nothing that a patron would have to be told about first.
    fn default() -> Self {
        Self {
            grid_minutes: 30,
            min_minutes: 30,
            max_minutes: 240,
            window_days: 14,
            staff_window_days: 0,
            notice_minutes: 0,
            buffer_minutes: 0,
            accessible_minutes: 0,
            grace_minutes: 15,
            lead_minutes: 15,
            proof_required: false,
            hold_minutes: 2,
            offer_minutes: 10,
            away_minutes: 30,
            meal_away_minutes: 60,
            report_minutes: 15,
            max_reservations: 3,
            max_future: 0,
            max_minutes_per_day: 360,
            max_minutes_per_week: 0,
            max_per_day: 0,
            max_per_week: 0,
            strikes_to_suspend: 3,
            strike_days: 30,
            suspension_days: 7,
            release_strikes: true,
            late_cancel_minutes: 0,
        }
    }
}

impl Policy {
    /// How many local days ahead somebody of this role may book.
    #[must_use]
    pub fn window_days_of(&self, role: &Role) -> u32 {
        match role {
            Role::Librarian(_) | Role::Admin => self.window_days.max(self.staff_window_days),
            Role::Patron | Role::Auditor | Role::Kiosk => self.window_days,
        }
    }

    /// What is wrong, with the field that is.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        // Bounds beyond which a number is a slip of the pen rather than a rule of a library.
        let bounds = [
            ("grid_minutes", self.grid_minutes, 1, 1440),
            ("min_minutes", self.min_minutes, 1, 7 * 1440),
            ("max_minutes", self.max_minutes, 1, 7 * 1440),
            ("window_days", self.window_days, 0, 365),
            ("staff_window_days", self.staff_window_days, 0, 365),
            ("notice_minutes", self.notice_minutes, 0, 7 * 1440),
            ("buffer_minutes", self.buffer_minutes, 0, 240),
            ("accessible_minutes", self.accessible_minutes, 0, 365 * 1440),
            ("grace_minutes", self.grace_minutes, 1, 1440),
            ("lead_minutes", self.lead_minutes, 0, 1440),
            ("hold_minutes", self.hold_minutes, 1, 60),
            ("offer_minutes", self.offer_minutes, 1, 1440),
            ("away_minutes", self.away_minutes, 1, 1440),
            ("meal_away_minutes", self.meal_away_minutes, 1, 1440),
            ("report_minutes", self.report_minutes, 1, 240),
            ("max_reservations", self.max_reservations, 1, 1000),
            ("max_future", self.max_future, 0, 1000),
            ("max_minutes_per_day", self.max_minutes_per_day, 1, 25 * 60),
            ("max_minutes_per_week", self.max_minutes_per_week, 0, 7 * 25 * 60),
            ("max_per_day", self.max_per_day, 0, COUNTED_MAX),
            ("max_per_week", self.max_per_week, 0, COUNTED_MAX),
            ("strikes_to_suspend", self.strikes_to_suspend, 0, 100),
            ("strike_days", self.strike_days, 1, 365),
            ("suspension_days", self.suspension_days, 0, 365),
            ("late_cancel_minutes", self.late_cancel_minutes, 0, 7 * 1440),
        ];
        let mut faults: Vec<_> = bounds
            .into_iter()
            .filter(|&(_, value, min, max)| value < min || value > max)
            .map(|(field, value, min, max)| (field, format!("{value} is not between {min} and {max}")))
            .collect();
        if self.min_minutes > self.max_minutes {
            faults.push(("min_minutes", format!("is more than max_minutes, {}", self.max_minutes)));
        }
        if self.meal_away_minutes < self.away_minutes {
            faults.push(("meal_away_minutes", format!("is less than away_minutes, {}", self.away_minutes)));
        }
        if self.grid_minutes > 0 {
            for (field, minutes) in [("min_minutes", self.min_minutes), ("max_minutes", self.max_minutes)] {
                if !minutes.is_multiple_of(self.grid_minutes) {
                    faults.push((field, format!("{minutes} is not a multiple of grid_minutes, {}", self.grid_minutes)));
                }
            }
        }
        faults
    }
}
