//! Who waits, and what they are offered.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::Live;
use crate::claim::{ClaimState, Origin, overlapping};
use crate::event::{Change, Event};
use crate::id::{UserId, WaitId};
use crate::invariants::grouped;
use crate::state::State;
use crate::time::Interval;
use crate::waitlist::{Scope, WaitState, days_of};

pub(super) fn offers_answer_waits(state: &State, found: &mut Vec<String>) {
    for claim in state.claims.iter().filter(|claim| claim.origin == Origin::Offer) {
        let wait = claim.wait.and_then(|id| state.waitlist.waits.get(&id));
        match (claim.state, wait.map(|wait| wait.state)) {
            (ClaimState::Held { .. }, Some(WaitState::Offered { claim: offered })) if offered == claim.id => {}
            (ClaimState::Held { .. }, other) => {
                found.push(format!("{:?} is held for a wait that is {other:?}", claim.id))
            }
            _ => {}
        }
    }
    let mut lines = BTreeMap::new();
    for wait in state.waitlist.waits.values() {
        if let WaitState::Offered { claim } = wait.state
            && !state.claims.get(claim).is_some_and(|claim| claim.wait == Some(wait.id) && claim.state.is_blocking())
        {
            found.push(format!("{:?} is offered {claim:?}, which is over", wait.id));
        }
        if wait.state == WaitState::Waiting {
            lines.extend(days_of(wait.interval).map(|day| ((wait.need.place, day, wait.rank), wait.id)));
        }
        if wait.state.is_live() && state.accounts.user(wait.user).is_none() {
            found.push(format!("{:?} waits for somebody who is gone", wait.id));
        }
    }
    let standing: BTreeMap<(Scope, i64, u64), WaitId> = state.waitlist.lines.iter().map(|(k, v)| (*k, *v)).collect();
    if standing != lines {
        found.push(format!("in line are {standing:?}, not {lines:?}"));
    }
    for user in state.accounts.users.iter().flatten() {
        let own: Vec<WaitId> =
            state.waitlist.waits.values().filter(|wait| wait.user == user.id).map(|wait| wait.id).collect();
        if user.waits != own {
            found.push(format!("{:?} has waits {:?}, not {own:?}", user.id, user.waits));
        }
    }
}

pub(super) fn nobody_waits_for_what_is_free(state: &State, found: &mut Vec<String>) {
    let by_seat = grouped(state, |claim| Some(claim.seat));
    let by_user = grouped(state, |claim| claim.holder);
    let is_free = |live: Option<&Vec<Live>>, interval: Interval| {
        live.is_none_or(|live| !live.iter().any(|live| live.interval.overlaps(interval)))
    };
    for wait in state.waitlist.waits.values().filter(|wait| wait.state == WaitState::Waiting) {
        for (id, seat) in state.catalog.seats() {
            let within = match wait.need.place {
                Scope::Seat(only) => only == id,
                Scope::Area(area) => seat.area == area,
                Scope::Branch(branch) => seat.branch == branch,
            };
            let wanted = within
                && !seat.retired
                && seat.has_all(&wait.need.amenities)
                && (seat.accessible || !wait.need.accessible)
                && !wait.passed.contains(&id);
            if !wanted {
                continue;
            }
            for stay in state.stays_of(wait, seat.area, state.at.time) {
                let kept = state.with_buffer(id, stay);
                if is_free(by_seat.get(&id), kept)
                    && is_free(by_user.get(&wait.user), stay)
                    && state.is_offered_to(wait, id, stay)
                {
                    found.push(format!("{:?} waits while {} is free for {stay:?}", wait.id, seat.slug));
                }
            }
        }
    }
}

pub(super) fn nobody_has_two_offers(state: &State, found: &mut Vec<String>) {
    let offered = state.waitlist.waits.values().filter(|wait| matches!(wait.state, WaitState::Offered { .. }));
    let mut users = BTreeSet::<UserId>::new();
    found.extend(offered.filter(|wait| !users.insert(wait.user)).map(|wait| format!("{:?} has two", wait.user)));
    let mut holds = BTreeSet::<UserId>::new();
    for claim in state.claims.iter() {
        let is_hold = claim.origin == Origin::Hold && matches!(claim.state, ClaimState::Held { .. });
        if is_hold && !claim.holder.is_some_and(|holder| holds.insert(holder)) {
            found.push(format!("{:?} holds two seats", claim.holder));
        }
    }
}

/// I8, of one entry: who was passed over when it offered something, though they stood further in front and could have
/// had it. Of those whom the entry touched besides, nobody can say afterwards what they could have had at that moment.
#[must_use]
pub fn passed_over(state: &State, events: &[Event]) -> Vec<String> {
    let touched: BTreeSet<UserId> = events
        .iter()
        .filter_map(|event| match &event.change {
            Change::Claim { after, .. } => after.holder,
            Change::Wait { after, .. } => Some(after.user),
            Change::User { after, .. } => Some(after.id),
            _ => None,
        })
        .collect();
    let offers = events.iter().filter_map(|event| match &event.change {
        Change::Claim { before: None, after } => after.wait.map(|wait| (after, wait)),
        _ => None,
    });
    let mut found = Vec::new();
    for (claim, wait) in offers {
        let Some(offered) =
            state.waitlist.waits.get(&wait).filter(|wait| wait.state == WaitState::Offered { claim: claim.id })
        else {
            continue;
        };
        let waiting = state.waitlist.waits.values().filter(|wait| wait.state == WaitState::Waiting);
        for front in waiting.filter(|wait| wait.rank < offered.rank && !touched.contains(&wait.user)) {
            let seat = state.catalog.seat(claim.seat);
            let is_among = match front.need.place {
                Scope::Seat(only) => only == claim.seat,
                Scope::Area(area) => seat.area == area,
                Scope::Branch(branch) => seat.branch == branch,
            };
            let could_have = state.stays_of(front, seat.area, state.at.time).into_iter().find(|&stay| {
                let kept = state.with_buffer(claim.seat, stay);
                overlapping(state.claims.book(claim.seat), kept, Some(claim.id)).is_none()
                    && !state.is_resting(claim.seat, stay, state.at.time)
                    && state.is_wanted(front, claim.seat, stay)
            });
            if let (true, Some(stay)) = (is_among, could_have) {
                found.push(format!("{:?} was passed over with {:?} for {stay:?}, for {wait:?}", front.id, claim.seat));
            }
        }
    }
    found
}
