//! Accounts, what counts for and against a person, and what is remembered of their requests.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::Role;
use crate::catalog::Policy;
use crate::claim::{Claim, ClaimState};
use crate::id::{ClaimId, UserId};
use crate::invariants::grouped;
use crate::state::State;
use crate::strike::{STRIKES_KEPT_MAX, StrikeCause};
use crate::time::{Interval, MINUTE_US, Timestamp};

pub(super) fn records_are_counted(state: &State, found: &mut Vec<String>) {
    found.extend(state.records.faults());
}

/// The most that the policies of some claims allow; none if one of them has no limit.
fn most<'a>(state: &State, claims: impl IntoIterator<Item = &'a Claim>, limit: impl Fn(&Policy) -> u32) -> Option<i64> {
    let limits = claims.into_iter().map(|claim| limit(state.catalog.policy(claim.policy)));
    limits.map(|limit| (limit > 0).then_some(i64::from(limit))).try_fold(0, |most, limit| Some(limit?.max(most)))
}

/// Under the policy that each claim was made under: a later one may be stricter. Exceptions are recorded as such.
pub(super) fn quotas_hold(state: &State, found: &mut Vec<String>) {
    for (user, live) in grouped(state, |claim| claim.holder) {
        let claims: Vec<Claim> = live.iter().filter_map(|live| state.claims.get(live.claim)).collect();
        if claims.iter().any(|claim| claim.exempt) {
            continue;
        }
        let mut compare = |what: &str, counted: i64, most: Option<i64>| {
            if most.is_some_and(|most| counted > most) {
                found.push(format!("{user:?} has {counted} {what}, of at most {most:?}"));
            }
        };
        compare("live claims", claims.len() as i64, most(state, &claims, |policy| policy.max_reservations));
        let booked = |claim: &&Claim| matches!(claim.state, ClaimState::Held { .. } | ClaimState::Confirmed { .. });
        let to_come: Vec<&Claim> = claims.iter().filter(booked).collect();
        compare(
            "claims to come",
            to_come.len() as i64,
            most(state, to_come.iter().copied(), |policy| policy.max_future),
        );
        // Of one branch, so that all are counted by the same local days.
        let branches: BTreeSet<_> = claims.iter().map(|claim| state.catalog.seat(claim.seat).branch).collect();
        for branch in branches {
            let here = |claim: &&Claim| state.catalog.seat(claim.seat).branch == branch;
            let days = state.calendar.iter().filter(|((of, _), _)| *of == branch).map(|(_, kept)| kept.day.span);
            let weeks: BTreeSet<Interval> =
                claims.iter().filter_map(|claim| state.week_at(branch, claim.interval.start()).ok()).collect();
            let is_day = days.map(|day| (day, true)).chain(weeks.into_iter().map(|week| (week, false)));
            for (span, is_day) in is_day {
                let touching = claims.iter().filter(here).filter(|claim| claim.interval.overlaps(span));
                let touching: Vec<&Claim> = touching.collect();
                let us = touching.iter().filter_map(|claim| claim.interval.intersection(span));
                let minutes = us.map(Interval::length_us).sum::<i64>() / MINUTE_US;
                let starting: Vec<&Claim> =
                    touching.iter().copied().filter(|claim| span.contains(claim.interval.start())).collect();
                let max_minutes =
                    |policy: &Policy| if is_day { policy.max_minutes_per_day } else { policy.max_minutes_per_week };
                let max_count = |policy: &Policy| if is_day { policy.max_per_day } else { policy.max_per_week };
                compare("minutes", minutes, most(state, touching.iter().copied(), max_minutes));
                compare("starts", starting.len() as i64, most(state, starting.iter().copied(), max_count));
            }
        }
    }
}

pub(super) fn strikes_have_causes(state: &State, found: &mut Vec<String>) {
    let mut causes: BTreeMap<UserId, BTreeSet<(ClaimId, StrikeCause)>> = BTreeMap::new();
    for claim in state.claims.iter() {
        let policy = state.catalog.policy(claim.policy);
        let cause = match claim.state {
            ClaimState::NoShow => Some(StrikeCause::NoShow),
            ClaimState::Released if policy.release_strikes => Some(StrikeCause::Released),
            _ => None,
        };
        if let (Some(cause), Some(holder)) = (cause, claim.holder) {
            causes.entry(holder).or_default().insert((claim.id, cause));
        }
    }
    for user in state.accounts.users.iter().flatten() {
        let struck: Vec<_> = user.strikes.iter().map(|strike| (strike.claim, strike.cause)).collect();
        let mut expected = causes.remove(&user.id).unwrap_or_default();
        let cancelled = struck.iter().copied().filter(|&(claim, cause)| {
            cause == StrikeCause::LateCancel
                && state.claims.get(claim).is_some_and(|claim| claim.state == ClaimState::Cancelled)
        });
        expected.extend(cancelled);
        let distinct: BTreeSet<_> = struck.iter().copied().collect();
        if !distinct.is_subset(&expected) || distinct.len() < struck.len() {
            found.push(format!("{:?} has strikes {struck:?} for {expected:?}", user.id));
        }
        if struck.len() < expected.len().min(STRIKES_KEPT_MAX) {
            found.push(format!("{:?} has no strike for some of {expected:?}", user.id));
        }
        let until = state.suspended_by_strikes(user).max(user.staff_suspension.unwrap_or(Timestamp::MIN));
        let until = (state.at.time < until).then_some(until);
        if user.suspended_until != until {
            found.push(format!("{:?} is suspended until {:?}, not {until:?}", user.id, user.suspended_until));
        }
    }
}

pub(super) fn accounts_are_indexed(state: &State, found: &mut Vec<String>) {
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
