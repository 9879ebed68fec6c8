//! What happens by itself when log time passes: in (deadline, id) order, before the request of the entry that brought
//! the time. And what an outage took from people is given back.
//!
//! Claims on a seat do not overlap, and most are due within their own time, so that they are due in the order of the
//! book: of all of these only the next one stands among the deadlines, and whatever changes in the book sees to that. A
//! million bookings to come are so as many deadlines as there are seats.

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
            .claims_due(outage.start(), last)
            .into_iter()
            .filter_map(|(at, id)| {
                let opened_at = self.claims.get(id)?.window_opened_at();
                let lost = Interval::new(opened_at, at).ok()?.intersection(outage)?;
                let lost_us = lost.end().0 - lost.start().0;
                Some((id, lost_us.min(CREDIT_MAX_US)))
            })
            .collect();
        for (id, lost_us) in cut_short {
            self.extend_deadline(id, lost_us, fx);
        }
    }

    /// All claims that are due from `first` to `last`, in the order in which they are.
    fn claims_due(&self, first: Timestamp, last: Timestamp) -> Vec<(Timestamp, ClaimId)> {
        let mut found = Vec::new();
        for &(at, due) in self.deadlines.iter().take_while(|(at, _)| *at <= last) {
            let Due::Claim(id) = due else { continue };
            match self.claims.get(id) {
                Some(claim) if claim.is_due_in_turn() => {
                    let in_turn = self.claims.due_in_turn(claim.seat, claim.interval.start());
                    let due = in_turn.filter_map(|claim| Some((claim.deadline()?, claim.id)));
                    found.extend(due.take_while(|(at, _)| *at <= last));
                }
                Some(_) => found.push((at, id)),
                None => {}
            }
        }
        found.retain(|(at, _)| *at >= first);
        found.sort_unstable();
        found
    }

    /// After `changed` has changed, or come to the seat or gone: the next one of the book is among the deadlines.
    pub(crate) fn follow_book(&mut self, seat: SeatId, changed: ClaimId) {
        let before = self.claims.next_due(seat);
        // Whoever stands in front of the others stands there, whatever becomes of these.
        let first = self.claims.book(seat).first().map(|live| live.claim);
        if before.is_some_and(|(_, next)| next != changed && Some(next) == first) {
            return;
        }
        let next = self.claims.due_in_turn(seat, Timestamp::MIN).next();
        let next = next.and_then(|claim| Some((claim.deadline()?, claim.id)));
        if next == before {
            return;
        }
        if let Some((at, claim)) = before {
            self.deadlines.remove(&(at, Due::Claim(claim)));
        }
        if let Some((at, claim)) = next {
            self.deadlines.insert((at, Due::Claim(claim)));
        }
        self.claims.set_next_due(seat, next);
    }
}
