//! How claims begin, change and end: the only functions that touch their indexes and deadlines. What becomes free is
//! offered in the same entry.

use crate::account::Live;
use crate::claim::{Claim, ClaimState, Origin, enter, leave};
use crate::deadline::Due;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{ClaimId, PolicyId, SeatId, UserId, WaitId};
use crate::inbox::ItemKind;
use crate::planted::{self, Bug};
use crate::state::State;
use crate::strike::StrikeCause;
use crate::time::{Interval, Timestamp};
use crate::waitlist::WaitState;

/// A claim about to be made. Whoever makes one has checked that the seat and the holder are free.
pub(crate) struct NewClaim {
    pub seat: SeatId,
    pub interval: Interval,
    pub holder: Option<UserId>,
    pub origin: Origin,
    pub state: ClaimState,
    pub policy: PolicyId,
    pub wait: Option<WaitId>,
    pub exempt: bool,
}

/// What a claim becomes when it is changed and goes on.
pub(crate) struct Relocation {
    pub seat: SeatId,
    pub interval: Interval,
    pub state: ClaimState,
    pub policy: PolicyId,
}

impl State {
    pub(crate) fn add_claim(&mut self, new: NewClaim, fx: &mut Effects) -> ClaimId {
        let id = self.claims.next_id();
        let live = Live { interval: new.interval, claim: id };
        enter(self.claims.book_mut(new.seat), live);
        let previous = new.holder.and_then(|holder| {
            let holder = self.accounts.user_mut(holder).expect("a claim is made for somebody who exists");
            enter(&mut holder.live, live);
            holder.newest_claim.replace(id)
        });
        let claim = Claim {
            id,
            seat: new.seat,
            interval: new.interval,
            holder: new.holder,
            origin: new.origin,
            state: new.state,
            policy: new.policy,
            revision: 1,
            created_at: fx.now(),
            changed_at: fx.now(),
            previous,
            wait: new.wait,
            exempt: new.exempt,
        };
        if let Some(deadline) = claim.due_out_of_turn() {
            self.deadlines.insert((deadline, Due::Claim(id)));
        }
        fx.happened(Change::Claim { before: None, after: claim.clone() });
        self.claims.push(&claim);
        self.follow_book(new.seat, id);
        if let Some(holder) = new.holder {
            self.follow(holder, self.catalog.seat(new.seat).branch, fx);
        }
        id
    }

    /// The one place where a claim changes: its deadline follows, and the change is told.
    fn change_claim(&mut self, id: ClaimId, fx: &mut Effects, change: impl FnOnce(&mut Claim)) -> Claim {
        let before = self.claims.get(id).expect("claims are changed by those who looked them up");
        assert!(before.state.is_blocking(), "a terminal state never changes: {before:?}");
        let mut after = before.clone();
        change(&mut after);
        after.revision += 1;
        self.claims.set(&after);
        let (due_before, due) = (before.due_out_of_turn(), after.due_out_of_turn());
        if let Some(due_before) = due_before.filter(|_| due != due_before) {
            self.deadlines.remove(&(due_before, Due::Claim(id)));
        }
        // Between the two: what was due out of turn may be due in turn at the same instant, and the other way round.
        self.follow_book(before.seat, id);
        if after.seat != before.seat {
            self.follow_book(after.seat, id);
        }
        if let Some(due) = due.filter(|_| due != due_before) {
            self.deadlines.insert((due, Due::Claim(id)));
        }
        fx.happened(Change::Claim { before: Some(before), after: after.clone() });
        after
    }

    /// Into another state; what a claim that ends leaves behind goes to those who wait.
    pub(crate) fn move_claim(&mut self, id: ClaimId, state: ClaimState, fx: &mut Effects) {
        let now = fx.now();
        let claim = self.change_claim(id, fx, |claim| (claim.state, claim.changed_at) = (state, now));
        if !state.is_blocking() {
            self.vacate(&claim, fx);
            self.pass_on(&claim, fx);
        }
    }

    /// Ends a claim without passing on what becomes free: the caller has plans for it, and passes on the rest.
    pub(crate) fn end_quietly(&mut self, id: ClaimId, state: ClaimState, fx: &mut Effects) -> Claim {
        assert!(!state.is_blocking(), "{id:?} does not end as {state:?}");
        let now = fx.now();
        let claim = self.change_claim(id, fx, |claim| (claim.state, claim.changed_at) = (state, now));
        self.vacate(&claim, fx);
        claim
    }

    /// Another seat, time or both for a claim that goes on. Whoever does it has checked that there is room, and passes
    /// on what becomes free: what the claim was is returned.
    pub(crate) fn relocate(&mut self, id: ClaimId, to: Relocation, fx: &mut Effects) -> Claim {
        let before = self.claims.get(id).expect("looked up by the caller");
        let (old, new) = (Live { interval: before.interval, claim: id }, Live { interval: to.interval, claim: id });
        leave(self.claims.book_mut(before.seat), old);
        enter(self.claims.book_mut(to.seat), new);
        if let Some(holder) = before.holder.and_then(|holder| self.accounts.user_mut(holder)) {
            leave(&mut holder.live, old);
            enter(&mut holder.live, new);
        }
        let now = fx.now();
        self.change_claim(id, fx, |claim| {
            if claim.state != to.state {
                claim.changed_at = now;
            }
            (claim.seat, claim.interval, claim.state, claim.policy) = (to.seat, to.interval, to.state, to.policy);
        });
        before
    }

    fn vacate(&mut self, claim: &Claim, fx: &Effects) {
        let live = Live { interval: claim.interval, claim: claim.id };
        leave(self.claims.book_mut(claim.seat), live);
        if claim.holder.is_some() && matches!(claim.state, ClaimState::Completed | ClaimState::Released) {
            self.rest(claim.seat, fx.now().min(claim.interval.end()), fx.now());
        }
        if let Some(holder) = claim.holder.and_then(|holder| self.accounts.user_mut(holder)) {
            leave(&mut holder.live, live);
            let was_used = matches!(claim.state, ClaimState::Completed | ClaimState::Released | ClaimState::NoShow);
            let used = Interval::new(claim.interval.start(), fx.now().min(claim.interval.end()));
            if let (true, Ok(used)) = (was_used, used) {
                holder.has_used(used, fx.now());
            }
        }
    }

    /// Somebody has got up: nobody else sits down before the buffer of the seat is over.
    fn rest(&mut self, seat: SeatId, left_at: Timestamp, now: Timestamp) {
        let until = left_at.plus_minutes(self.catalog.policy(self.policy_of(seat)).buffer_minutes);
        if until <= now {
            return;
        }
        if let Some(before) = self.claims.resting.insert(seat, until) {
            self.deadlines.remove(&(before, Due::Rest(seat)));
        }
        self.deadlines.insert((until, Due::Rest(seat)));
    }

    /// The slot that is running may be had again, and whoever waits for it is offered it.
    pub(crate) fn rest_due(&mut self, seat: SeatId, fx: &mut Effects) {
        let Some(until) = self.claims.resting.remove(&seat) else { return };
        if let Ok(rested) = Interval::new(until.minus_minutes(1), until) {
            self.offer_freed(seat, rested, fx);
        }
    }

    /// What a claim that is over has left free.
    pub(crate) fn pass_on(&mut self, claim: &Claim, fx: &mut Effects) {
        if let Some(holder) = claim.holder
            && fx.now() < claim.interval.end()
            && claim.state != ClaimState::Displaced
        {
            self.let_go(holder, claim.seat, claim.interval, fx);
        }
        // All of it, though what is past is of no use: a waiter may have been kept from the slot now running.
        self.offer_freed(claim.seat, claim.interval, fx);
        if let Some(holder) = claim.holder {
            self.reconsider_waits_of(holder, fx);
        }
    }

    /// Whatever state it is in, as long as it blocks.
    pub(crate) fn cancel_claim(&mut self, id: ClaimId, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("looked up by the caller");
        let state = match claim.state {
            ClaimState::CheckedIn | ClaimState::Away { .. } => ClaimState::Completed,
            _ => ClaimState::Cancelled,
        };
        self.move_claim(id, state, fx);
    }

    pub(crate) fn claim_due(&mut self, id: ClaimId, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("a deadline leaves with its claim");
        let (holder, wait, seat) = (claim.holder, claim.wait, claim.seat);
        match claim.state {
            ClaimState::Held { .. } if planted::has(Bug::HoldsNeverExpire) => {}
            ClaimState::Held { .. } => {
                if let Some(wait) = wait {
                    self.offer_missed(wait, seat, WaitState::Expired, fx);
                }
                if let Some(holder) = holder {
                    let kind = match wait {
                        Some(_) => ItemKind::OfferExpired { claim: id },
                        None => ItemKind::HoldExpired { claim: id },
                    };
                    self.notify(holder, kind, fx);
                }
                self.move_claim(id, ClaimState::Expired, fx);
            }
            ClaimState::Confirmed { .. } => match holder {
                Some(holder) => {
                    self.notify(holder, ItemKind::NoShow { claim: id }, fx);
                    self.strike(holder, id, StrikeCause::NoShow, fx);
                    self.move_claim(id, ClaimState::NoShow, fx);
                }
                // The institution needs the seat no longer.
                None => self.move_claim(id, ClaimState::Completed, fx),
            },
            ClaimState::Away { deadline, .. } if deadline < claim.interval.end() => {
                if let Some(holder) = holder {
                    self.notify(holder, ItemKind::Released { claim: id }, fx);
                    if self.catalog.policy(self.claims.get(id).expect("looked up above").policy).release_strikes {
                        self.strike(holder, id, StrikeCause::Released, fx);
                    }
                }
                self.move_claim(id, ClaimState::Released, fx);
            }
            ClaimState::CheckedIn | ClaimState::Away { .. } => self.move_claim(id, ClaimState::Completed, fx),
            ClaimState::Expired
            | ClaimState::Cancelled
            | ClaimState::Displaced
            | ClaimState::NoShow
            | ClaimState::Released
            | ClaimState::Completed => unreachable!("a terminal state has no deadline"),
        }
    }

    /// Moves the deadline of a claim whose window an outage has cut short.
    pub(crate) fn extend_deadline(&mut self, id: ClaimId, by_us: i64, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("a deadline leaves with its claim");
        let old = claim.deadline().expect("only claims with a deadline are due");
        let moved = old.plus_us(by_us).min(claim.interval.end());
        // Ends of intervals never move.
        if moved == old || claim.state == ClaimState::CheckedIn {
            return;
        }
        self.change_claim(id, fx, |claim| match &mut claim.state {
            ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } | ClaimState::Away { deadline, .. } => {
                *deadline = moved;
            }
            other => unreachable!("{other:?} has no deadline that moves"),
        });
    }
}

/// When what is held for somebody goes to others: whoever takes it must still be able to check in.
pub(crate) fn held_until(interval: Interval, now: Timestamp, minutes: u32, grace_minutes: u32) -> Timestamp {
    let from = interval.start().max(now);
    now.plus_minutes(minutes).min(from.plus_minutes(grace_minutes)).min(interval.end())
}
