//! What happens by itself when log time passes: in (deadline, id) order, before the request of the entry that brought
//! the time. And what an outage took from people is given back.

use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::id::{ClaimId, SeatId, TokenDigest, UserId, WaitId};
use crate::planted::{self, Bug};
use crate::state::State;
use crate::time::{Interval, MINUTE_US, SECOND_US, Timestamp};

/// The leader proposes at least every second, so a longer gap between two entries means that nobody could do anything.
pub const OUTAGE_US: i64 = 3 * SECOND_US;
/// The most that one outage gives back.
pub const CREDIT_MAX_US: i64 = 15 * MINUTE_US;

/// Something that a deadline belongs to. The order is part of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Due {
    Claim(ClaimId),
    Wait(WaitId),
    Suspension(UserId),
    Session(TokenDigest),
    /// The buffer after a stay.
    Rest(SeatId),
}

impl State {
    /// When something happens by itself next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.get_min().map(|&(at, _)| at)
    }

    pub(crate) fn fire_deadlines(&mut self, fx: &mut Effects) {
        while let Some(&earliest) = self.deadlines.get_min() {
            let (at, due) = self.in_some_order(earliest, fx);
            if at > fx.now() {
                return;
            }
            self.deadlines.remove(&(at, due));
            match due {
                Due::Claim(claim) => self.claim_due(claim, fx),
                Due::Wait(wait) => self.wait_due(wait, fx),
                Due::Suspension(user) => self.suspension_due(user, fx),
                Due::Session(token) => self.session_due(token),
                Due::Rest(seat) => self.rest_due(seat, fx),
            }
        }
    }

    /// The earliest, unless a bug is planted: then perhaps the latest of those that are due.
    fn in_some_order(&self, earliest: (Timestamp, Due), fx: &Effects) -> (Timestamp, Due) {
        if !planted::by_chance(Bug::DeadlinesInHashOrder) {
            return earliest;
        }
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= fx.now());
        due.last().copied().unwrap_or(earliest)
    }

    /// Moves every deadline whose window was open during the outage by as much of the window as the outage took.
    pub(crate) fn credit_outage(&mut self, outage: Interval, fx: &mut Effects) {
        // Windows are at most a day long (the bound of every policy), so a later deadline was not open yet.
        let last = outage.end().plus_minutes(1440);
        let cut_short: Vec<(ClaimId, i64)> = self
            .deadlines
            .range((outage.start(), Due::Claim(ClaimId(0)))..)
            .take_while(|&&(at, _)| at <= last)
            .filter_map(|&(at, due)| match due {
                Due::Claim(id) => {
                    let opened_at = self.claims.get(id)?.window_opened_at();
                    let lost = Interval::new(opened_at, at).ok()?.intersection(outage)?;
                    let lost_us = lost.end().0 - lost.start().0;
                    Some((id, lost_us.min(CREDIT_MAX_US)))
                }
                Due::Wait(_) | Due::Suspension(_) | Due::Session(_) | Due::Rest(_) => None,
            })
            .collect();
        for (id, lost_us) in cut_short {
            self.extend_deadline(id, lost_us, fx);
        }
    }
}
