//! Seats and the claims on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::claim::{ClaimState, Origin};
use crate::deadline::Due;
use crate::id::{ClaimId, SeatId};
use crate::invariants::{blocking, grouped, overlaps};
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::{MINUTE_US, Timestamp};

pub(super) fn seats_are_one_persons(state: &State, found: &mut Vec<String>) {
    for (seat, live) in grouped(state, |claim| Some(claim.seat)) {
        found.extend(overlaps(&live).map(|pair| format!("{seat:?}: {pair:?}")));
        for pair in live.windows(2) {
            let claims = [pair[0].claim, pair[1].claim].map(|id| state.claims.get(id).expect("it was grouped"));
            // What the institution closes may begin and end where somebody sits.
            if claims.iter().any(|claim| claim.holder.is_none()) {
                continue;
            }
            // The later of the two was made with regard to its own policy.
            let buffers = claims.map(|claim| state.catalog.policy(claim.policy).buffer_minutes);
            let gap_us = pair[1].interval.start().0 - pair[0].interval.end().0;
            if gap_us < i64::from(buffers[0].min(buffers[1])) * MINUTE_US {
                found.push(format!("{seat:?}: no time between {:?} and {:?}", pair[0].claim, pair[1].claim));
            }
        }
    }
}

pub(super) fn people_are_in_one_place(state: &State, found: &mut Vec<String>) {
    for (user, live) in grouped(state, |claim| claim.holder) {
        found.extend(overlaps(&live).map(|pair| format!("{user:?}: {pair:?}")));
    }
}

pub(super) fn books_hold_the_blocking(state: &State, found: &mut Vec<String>) {
    let by_seat = grouped(state, |claim| Some(claim.seat));
    for seat in (0..state.claims.books.len()).map(|index| SeatId(index as u32)) {
        let expected = by_seat.get(&seat).map_or(&[][..], Vec::as_slice);
        if state.claims.book(seat) != expected {
            found.push(format!("the book of {seat:?} is {:?}, not {expected:?}", state.claims.book(seat)));
        }
    }
    found.extend(
        by_seat
            .keys()
            .filter(|seat| seat.0 as usize >= state.claims.books.len())
            .map(|seat| format!("{seat:?} has no book")),
    );
    let by_user = grouped(state, |claim| claim.holder);
    for user in state.accounts.users.iter().flatten() {
        let expected = by_user.get(&user.id).map_or(&[][..], Vec::as_slice);
        if user.live != expected {
            found.push(format!("{:?} has {:?}, not {expected:?}", user.id, user.live));
        }
        let ordered = user.used.windows(2).all(|pair| pair[0].end() < pair[1].start());
        if !ordered {
            found.push(format!("what {:?} has used is out of order: {:?}", user.id, user.used));
        }
        let mut newest = None;
        for claim in state.claims.iter().filter(|claim| claim.holder == Some(user.id)) {
            let begins = newest.is_none() && claim.previous.is_none_or(|previous| state.is_let_go(previous));
            if claim.previous != newest && !begins {
                found.push(format!("{:?} follows {:?}, not {newest:?}", claim.id, claim.previous));
            }
            newest = Some(claim.id);
        }
        let is_all_let_go = newest.is_none() && user.newest_claim.is_some_and(|id| state.is_let_go(id));
        if user.newest_claim != newest && !is_all_let_go {
            found.push(format!("the newest of {:?} is {:?}, not {newest:?}", user.id, user.newest_claim));
        }
    }
    for (user, _) in by_user {
        if state.accounts.user(user).is_none() {
            found.push(format!("{user:?} is gone and has claims"));
        }
    }
}

pub(super) fn deadlines_belong_to_the_living(state: &State, found: &mut Vec<String>) {
    let mut expected: BTreeSet<(Timestamp, Due)> = BTreeSet::new();
    // Of those on a seat that are due in turn only the next is there, and before all others of them.
    let mut in_turn: BTreeMap<SeatId, BTreeSet<(Timestamp, Timestamp, ClaimId)>> = BTreeMap::new();
    for claim in state.claims.iter() {
        expected.extend(claim.due_out_of_turn().map(|at| (at, Due::Claim(claim.id))));
        if claim.is_due_in_turn() {
            let due = claim.deadline().expect("who is due in turn is due");
            in_turn.entry(claim.seat).or_default().insert((claim.interval.start(), due, claim.id));
        }
        if claim.deadline().is_some_and(|deadline| deadline > claim.interval.end()) {
            found.push(format!("{claim:?} lasts beyond its interval"));
        }
    }
    for (seat, claims) in &in_turn {
        expected.extend(claims.first().map(|&(_, due, claim)| (due, Due::Claim(claim))));
        let dues: Vec<Timestamp> = claims.iter().map(|(_, due, _)| *due).collect();
        if !dues.is_sorted_by(|one, next| one < next) {
            found.push(format!("the claims on {seat:?} are not due in turn: {claims:?}"));
        }
    }
    expected.extend(state.waitlist.waits.values().map(|wait| (wait.due_at(), Due::Wait(wait.id))));
    expected.extend(state.accounts.sessions.iter().map(|(&token, session)| (session.expires_at, Due::Session(token))));
    expected.extend(state.claims.resting.iter().map(|(&seat, &until)| (until, Due::Rest(seat))));
    let users = state.accounts.users.iter().flatten();
    let suspended = users.filter_map(|user| Some((user.suspended_until?, Due::Suspension(user.id))));
    expected.extend(suspended);
    for due in state.deadlines.iter().filter(|due| !expected.contains(due)) {
        found.push(format!("{due:?} belongs to nothing"));
    }
    for due in expected.iter().filter(|due| !state.deadlines.contains(*due)) {
        found.push(format!("{due:?} is missing"));
    }
    if let Some(late) = expected.first().filter(|(at, _)| *at <= state.at.time) {
        found.push(format!("{late:?} should have happened by {:?}", state.at.time));
    }
}

pub(super) fn seats_of_claims_exist(state: &State, found: &mut Vec<String>) {
    for claim in blocking(state) {
        let seat = state.catalog.seat(claim.seat);
        if seat.retired {
            found.push(format!("{:?} is on {}, which is gone", claim.id, seat.slug));
        } else if claim.holder.is_some()
            && state.is_open_throughout(seat.branch, seat.area, claim.interval) == Err(Refusal::Closed)
        {
            found.push(format!("{:?} is on {}, which is closed then", claim.id, seat.slug));
        }
    }
}

pub(super) fn only_the_institution_closes(state: &State, found: &mut Vec<String>) {
    for claim in state.claims.iter() {
        let closes = matches!(claim.origin, Origin::Maintenance | Origin::Closure);
        if closes != claim.holder.is_none() {
            found.push(format!("{:?} of {:?} is a {:?}", claim.id, claim.holder, claim.origin));
        }
        let is_in_use =
            matches!(claim.state, ClaimState::CheckedIn | ClaimState::Away { .. } | ClaimState::Held { .. });
        if closes && is_in_use {
            found.push(format!("{:?} is the institution's, and {:?}", claim.id, claim.state));
        }
    }
}
