//! What must hold after every entry, checked from scratch: slow, and independent of the indexes that the rules use.
//!
//! The numbers are those of the invariants list: I1 no double booking, I2 nobody in two places, I5 records, I6 claims
//! and their deadlines, I8 one offer per wait, I9 nobody waits for what is free, I10 quotas, I11 strikes, I12 inbox,
//! I13 unread, I22 no claim on a seat that is gone or closed. Properties, stories and the simulation use the same ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{Live, Role};
use crate::claim::{Claim, ClaimState, Origin, STRIKES_KEPT_MAX};
use crate::deadline::Due;
use crate::id::{ClaimId, Position, SeatId, UserId, WaitId};
use crate::inbox::{ITEMS_PER_STREAM_MAX, ItemKind, Stream};
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::{Interval, MINUTE_US, Timestamp};
use crate::waitlist::{Scope, WaitState, days_of};

/// Something that must never be, in words that name what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// Looks at a state and adds what it finds.
type Check = fn(&State, &mut Vec<String>);

/// Everything that is wrong with a state; nothing, if the rules are right.
#[must_use]
pub fn check(state: &State) -> Vec<Violation> {
    let checks: [(&'static str, Check); 13] = [
        ("I1 no double booking", seats_are_one_persons),
        ("I2 nobody in two places", people_are_in_one_place),
        ("I5 request records", records_are_counted),
        ("I6 claims and waits have their deadlines", deadlines_belong_to_the_living),
        ("I6 terminal claims are in no index", books_hold_the_blocking),
        ("I8 one live offer per wait", offers_answer_waits),
        ("I9 nobody waits for what is free", nobody_waits_for_what_is_free),
        ("I10 quotas", quotas_hold),
        ("I11 strikes", strikes_have_causes),
        ("I12 inbox", streams_are_counted),
        ("I13 read cursor", unread_is_a_recount),
        ("I22 no claim on a seat that is gone or closed", seats_of_claims_exist),
        ("accounts", accounts_are_indexed),
    ];
    let mut violations = Vec::new();
    for (invariant, check) in checks {
        let mut found = Vec::new();
        check(state, &mut found);
        violations.extend(found.into_iter().map(|what| Violation { invariant, what }));
    }
    violations
}

fn blocking(state: &State) -> impl Iterator<Item = &Claim> {
    state.claims.all.iter().filter(|claim| claim.state.is_blocking())
}

/// Claims by somebody or something, each in order of their starts.
fn grouped<K: Ord>(state: &State, key: impl Fn(&Claim) -> Option<K>) -> BTreeMap<K, Vec<Live>> {
    let mut groups: BTreeMap<K, Vec<Live>> = BTreeMap::new();
    for claim in blocking(state) {
        if let Some(key) = key(claim) {
            groups.entry(key).or_default().push(Live { interval: claim.interval, claim: claim.id });
        }
    }
    for live in groups.values_mut() {
        live.sort_by_key(|live| live.interval.start());
    }
    groups
}

fn overlaps(live: &[Live]) -> impl Iterator<Item = (ClaimId, ClaimId)> {
    live.windows(2)
        .filter(|pair| pair[0].interval.overlaps(pair[1].interval))
        .map(|pair| (pair[0].claim, pair[1].claim))
}

fn seats_are_one_persons(state: &State, found: &mut Vec<String>) {
    for (seat, live) in grouped(state, |claim| Some(claim.seat)) {
        found.extend(overlaps(&live).map(|pair| format!("{seat:?}: {pair:?}")));
    }
}

fn people_are_in_one_place(state: &State, found: &mut Vec<String>) {
    for (user, live) in grouped(state, |claim| claim.holder) {
        found.extend(overlaps(&live).map(|pair| format!("{user:?}: {pair:?}")));
    }
}

fn books_hold_the_blocking(state: &State, found: &mut Vec<String>) {
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
        for claim in state.claims.all.iter().filter(|claim| claim.holder == Some(user.id)) {
            if claim.previous != newest {
                found.push(format!("{:?} follows {:?}, not {newest:?}", claim.id, claim.previous));
            }
            newest = Some(claim.id);
        }
        if user.newest_claim != newest {
            found.push(format!("the newest of {:?} is {:?}, not {newest:?}", user.id, user.newest_claim));
        }
    }
    for (user, _) in by_user {
        if state.accounts.user(user).is_none() {
            found.push(format!("{user:?} is gone and has claims"));
        }
    }
}

fn deadlines_belong_to_the_living(state: &State, found: &mut Vec<String>) {
    let mut expected: BTreeSet<(Timestamp, Due)> = BTreeSet::new();
    for claim in state.claims.all.iter() {
        expected.extend(claim.deadline().map(|at| (at, Due::Claim(claim.id))));
        if claim.deadline().is_some_and(|deadline| deadline > claim.interval.end()) {
            found.push(format!("{claim:?} lasts beyond its interval"));
        }
    }
    expected.extend(state.waitlist.waits.values().map(|wait| (wait.due_at(), Due::Wait(wait.id))));
    expected.extend(state.accounts.sessions.iter().map(|(&token, session)| (session.expires_at, Due::Session(token))));
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

fn records_are_counted(state: &State, found: &mut Vec<String>) {
    let mut counts: BTreeMap<Option<UserId>, u32> = BTreeMap::new();
    for (owner, _) in state.records.places.keys() {
        *counts.entry(*owner).or_default() += 1;
    }
    let owners = (0..state.accounts.users.len()).map(|user| Some(UserId(user as u64))).chain([None]);
    for owner in owners {
        let (counted, expected) = (state.records.count(owner), counts.get(&owner).copied().unwrap_or(0));
        if counted != expected {
            found.push(format!("{owner:?} has {counted} records, not {expected}"));
        }
    }
    let queue = &state.records.queue;
    if queue.iter().zip(queue.iter().skip(1)).any(|((.., one), (.., next))| one.at.time >= next.at.time) {
        found.push("the order of records is not that of time".to_owned());
    }
    for ((owner, id), place) in &state.records.places {
        let lies = place.checked_sub(state.records.first).and_then(|place| queue.get(place as usize));
        if lies.is_none_or(|(of, other, _)| (of, other) != (owner, id)) {
            found.push(format!("the record {id:?} of {owner:?} is not in its place"));
        }
    }
}

fn offers_answer_waits(state: &State, found: &mut Vec<String>) {
    for claim in state.claims.all.iter().filter(|claim| claim.origin == Origin::Offer) {
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

fn nobody_waits_for_what_is_free(state: &State, found: &mut Vec<String>) {
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
            let Some(rest) = state.rest_of(wait, seat.area, state.at.time) else { continue };
            if is_free(by_seat.get(&id), rest)
                && is_free(by_user.get(&wait.user), rest)
                && state.may_be_offered(wait, seat.area, rest, state.at.time)
            {
                found.push(format!("{:?} waits while {} is free for {rest:?}", wait.id, seat.slug));
            }
        }
    }
}

/// Under the policy that each claim was made under: a later one may be stricter.
fn quotas_hold(state: &State, found: &mut Vec<String>) {
    for (user, live) in grouped(state, |claim| claim.holder) {
        let policies = || live.iter().filter_map(|live| state.claims.get(live.claim)).map(|claim| claim.policy);
        let most = policies().map(|policy| state.catalog.policy(policy).max_reservations).max().unwrap_or(0);
        if live.len() > most as usize {
            found.push(format!("{user:?} has {} live claims of at most {most}", live.len()));
        }
    }
    // Of one branch, so that all are counted by the same local days.
    let branch_of = |claim: &Claim| Some((claim.holder?, state.catalog.seat(claim.seat).branch));
    for ((user, branch), live) in grouped(state, branch_of) {
        let policies = live.iter().filter_map(|live| state.claims.get(live.claim)).map(|claim| claim.policy);
        let most = policies.map(|policy| state.catalog.policy(policy).max_minutes_per_day).max().unwrap_or(0);
        for kept in state.calendar.iter().filter(|((of, _), _)| *of == branch).map(|(_, kept)| kept) {
            let on_day = live.iter().filter_map(|live| live.interval.intersection(kept.day.span));
            let booked_us: i64 = on_day.map(Interval::length_us).sum();
            if booked_us > i64::from(most) * MINUTE_US {
                found.push(format!("{user:?} has {booked_us} µs on {:?} in {branch:?}", kept.day.date));
            }
        }
    }
}

fn strikes_have_causes(state: &State, found: &mut Vec<String>) {
    for user in state.accounts.users.iter().flatten() {
        let struck: Vec<ClaimId> = user.strikes.iter().map(|strike| strike.claim).collect();
        let no_shows = state.claims.all.iter().filter(|claim| claim.holder == Some(user.id));
        let causes: BTreeSet<ClaimId> =
            no_shows.filter(|claim| claim.state == ClaimState::NoShow).map(|claim| claim.id).collect();
        let distinct: BTreeSet<ClaimId> = struck.iter().copied().collect();
        if !distinct.is_subset(&causes) || distinct.len() < struck.len() {
            found.push(format!("{:?} has strikes {struck:?} for {causes:?}", user.id));
        }
        if struck.len() < causes.len().min(STRIKES_KEPT_MAX) {
            found.push(format!("{:?} has no strike for some of {causes:?}", user.id));
        }
    }
}

fn streams_are_counted(state: &State, found: &mut Vec<String>) {
    let mut counts: BTreeMap<Stream, u32> = BTreeMap::new();
    for (stream, position) in state.inbox.items.keys() {
        *counts.entry(*stream).or_default() += 1;
        if *position > Position::end_of(state.at.index) {
            found.push(format!("{position:?} of {stream:?} is in the future"));
        }
        if let Stream::User(user) = stream
            && state.accounts.user(*user).is_none()
        {
            found.push(format!("{stream:?} belongs to nobody"));
        }
    }
    let of = |stream| counts.get(&stream).copied().unwrap_or(0);
    if state.inbox.everyone_count != of(Stream::Everyone) {
        found.push(format!("{} announcements, not {}", state.inbox.everyone_count, of(Stream::Everyone)));
    }
    for user in state.accounts.users.iter().flatten() {
        if user.item_count != of(Stream::User(user.id)) {
            found.push(format!("{:?} has {} items, not {}", user.id, user.item_count, of(Stream::User(user.id))));
        }
    }
    found.extend(counts.iter().filter(|(_, n)| **n > ITEMS_PER_STREAM_MAX).map(|(s, n)| format!("{s:?} holds {n}")));
}

fn unread_is_a_recount(state: &State, found: &mut Vec<String>) {
    for user in state.accounts.users.iter().flatten() {
        let unread = state.inbox.items.iter().filter(|((stream, position), item)| {
            let is_sent = matches!(&item.kind, ItemKind::Message { sender, recipients, .. }
                if *sender == user.id && !recipients.contains(&user.id));
            let is_theirs = match stream {
                Stream::User(other) => *other == user.id,
                Stream::Everyone => position.index > user.created.index,
            };
            is_theirs && !is_sent && *position > user.read_up_to
        });
        let (unread, counted) = (unread.count() as u32, state.unread_count(user.id));
        if unread != counted {
            found.push(format!("{:?} has {unread} unread, counted {counted}", user.id));
        }
        if user.read_up_to > Position::end_of(state.at.index) {
            found.push(format!("{:?} has read the future", user.id));
        }
    }
}

fn seats_of_claims_exist(state: &State, found: &mut Vec<String>) {
    for claim in blocking(state) {
        let seat = state.catalog.seat(claim.seat);
        if seat.retired {
            found.push(format!("{:?} is on {}, which is gone", claim.id, seat.slug));
        } else if state.is_open_throughout(seat.branch, seat.area, claim.interval) == Err(Refusal::Closed) {
            found.push(format!("{:?} is on {}, which is closed then", claim.id, seat.slug));
        }
    }
}

fn accounts_are_indexed(state: &State, found: &mut Vec<String>) {
    let users = || state.accounts.users.iter().flatten();
    let names: BTreeMap<_, _> = users().map(|user| (user.name.key(), user.id)).collect();
    if !state.accounts.names.iter().map(|(name, id)| (name.clone(), *id)).eq(names) {
        found.push("names do not lead to their accounts".to_owned());
    }
    let admins = users().filter(|user| user.role == Role::Admin).count();
    if state.accounts.admin_count as usize != admins {
        found.push(format!("{} admins, not {admins}", state.accounts.admin_count));
    }
    for user in users() {
        let mut own: Vec<_> = user.sessions.clone();
        own.sort_unstable();
        let sessions = state.accounts.sessions.iter();
        let open = sessions.filter(|(_, session)| session.user == user.id && !session.ended);
        if !open.map(|(token, _)| *token).eq(own) {
            found.push(format!("the sessions of {:?} are not those that are open", user.id));
        }
    }
}
