//! Every answer names the log entry that decided it, so the whole history can be replayed in that order: it agrees with
//! real time, no entry decides two requests, and at no entry do two live claims overlap.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::call::{Claim, Command, Interval, Outcome, Person, Request, Seat};
use crate::operation::Operation;

/// An acknowledged operation with its entry.
type Entry<'a> = (u64, Claim, &'a Operation);

#[must_use]
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let mut entries: Vec<Entry<'_>> = operations
        .iter()
        .filter_map(|operation| match operation.outcome {
            Outcome::Done(answer) => Some((answer.index, answer.claim, operation)),
            Outcome::Refused(_) | Outcome::Unknown => None,
        })
        .collect();
    entries.sort_by_key(|(index, _, _)| *index);
    let mut violations = Vec::new();
    for pair in entries.windows(2) {
        if pair[0].0 == pair[1].0 {
            violations.push(Violation::OneEntryForTwo(pair[0].2.request, pair[1].2.request, pair[0].0));
        }
    }
    check_time(&entries, &mut violations);
    check_overlaps(operations, &entries, &mut violations);
    violations
}

/// What had been answered before a call began has the smaller index.
fn check_time(entries: &[Entry<'_>], violations: &mut Vec<Violation>) {
    let mut by_return: Vec<(u64, u64, Request)> = entries
        .iter()
        .filter_map(|(index, _, operation)| Some((operation.returned_us?, *index, operation.request)))
        .collect();
    by_return.sort_unstable();
    let mut by_call: Vec<&Entry<'_>> = entries.iter().collect();
    by_call.sort_by_key(|(_, _, operation)| operation.called_us);
    let mut answered = by_return.into_iter().peekable();
    let mut latest: Option<(u64, Request)> = None;
    for (index, _, operation) in by_call {
        while let Some((_, answered_index, request)) = answered.next_if(|next| next.0 < operation.called_us) {
            if latest.is_none_or(|(index, _)| index < answered_index) {
                latest = Some((answered_index, request));
            }
        }
        if let Some((earlier_index, earlier)) = latest.filter(|(latest, _)| latest > index) {
            let (later, later_index) = (operation.request, *index);
            violations.push(Violation::AgainstTime { earlier, earlier_index, later, later_index });
        }
    }
}

fn check_overlaps(operations: &[Operation], entries: &[Entry<'_>], violations: &mut Vec<Violation>) {
    // Where a claim may have been given back by a call that nobody knows the outcome of, nobody knows when either.
    let doubtful: BTreeSet<Claim> = operations
        .iter()
        .filter(|operation| operation.outcome == Outcome::Unknown)
        .filter_map(|operation| match operation.command {
            Command::Cancel { claim } | Command::CheckOut { claim } => Some(claim),
            Command::Reserve { .. } | Command::CheckIn { .. } => None,
        })
        .collect();
    let mut seats: BTreeMap<Seat, BTreeMap<Interval, Claim>> = BTreeMap::new();
    let mut persons: BTreeMap<Person, BTreeMap<Interval, Claim>> = BTreeMap::new();
    let mut live: BTreeMap<Claim, (Seat, Person, Interval)> = BTreeMap::new();
    for (_, claim, operation) in entries {
        match operation.command {
            Command::Reserve { interval } if !doubtful.contains(claim) => {
                let seat = seats.entry(operation.seat).or_default();
                let person = persons.entry(operation.person).or_default();
                violations.extend(overlapping(seat, interval).map(|other| Violation::DoublyBooked(other, *claim)));
                violations.extend(overlapping(person, interval).map(|other| Violation::PersonTwice(other, *claim)));
                seat.insert(interval, *claim);
                person.insert(interval, *claim);
                live.insert(*claim, (operation.seat, operation.person, interval));
            }
            Command::Cancel { claim } | Command::CheckOut { claim } => {
                let Some((seat, person, interval)) = live.remove(&claim) else { continue };
                seats.entry(seat).or_default().remove(&interval);
                persons.entry(person).or_default().remove(&interval);
            }
            Command::Reserve { .. } | Command::CheckIn { .. } => {}
        }
    }
}

/// A few dozen intervals at most are live on one seat at once.
fn overlapping(live: &BTreeMap<Interval, Claim>, interval: Interval) -> impl Iterator<Item = Claim> {
    live.iter().filter(move |(other, _)| other.overlaps(interval)).map(|(_, claim)| *claim)
}
