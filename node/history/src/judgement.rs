//! All judges over one history.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::call::{Claim, Command, Look, Outcome, Person, Seat, Standing};
use crate::linearizable::{self, Verdict};
use crate::operation::{Operation, operations};
use crate::recorder::History;
use crate::{effects, order};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Requests, however often each was sent.
    pub requests: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Requests that were sent more than once.
    pub repeated: usize,
    pub seats: usize,
    pub violations: Vec<Violation>,
    /// Seats whose history was too much for the judge.
    pub undecided: Vec<Seat>,
}

impl Judgement {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

/// `end` is everything that stands when all is over.
#[must_use]
pub fn judge(history: &History, end: &[Standing]) -> Judgement {
    let (operations, mut violations) = operations(&history.attempts);
    violations.extend(effects::check(&operations, end));
    violations.extend(order::check(&operations));
    let by_claim = by_claim(&operations);
    for listing in &history.listings {
        violations
            .extend(by_claim.get(&listing.person).into_iter().flat_map(|own| effects::check_listing(own, listing)));
    }
    let seats: BTreeSet<Seat> =
        operations.iter().map(|operation| operation.seat).chain(history.looks.iter().map(|look| look.seat)).collect();
    let mut undecided = Vec::new();
    for &seat in &seats {
        let of_seat: Vec<&Operation> = operations.iter().filter(|operation| operation.seat == seat).collect();
        let looks: Vec<&Look> = history.looks.iter().filter(|look| look.seat == seat).collect();
        let end: Vec<Standing> = end.iter().filter(|standing| standing.seat == seat).copied().collect();
        match linearizable::check(seat, &of_seat, &looks, &end) {
            Verdict::Linearizable => {}
            Verdict::Illegal(violation) => violations.push(violation),
            Verdict::Undecided(seat) => undecided.push(seat),
        }
    }
    let count = |wanted: fn(&Outcome) -> bool| operations.iter().filter(|o| wanted(&o.outcome)).count();
    Judgement {
        requests: operations.len(),
        acknowledged: count(|outcome| matches!(outcome, Outcome::Done(_))),
        refused: count(|outcome| matches!(outcome, Outcome::Refused(_))),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown)),
        repeated: repeated(history),
        seats: seats.len(),
        violations,
        undecided,
    }
}

fn by_claim(operations: &[Operation]) -> BTreeMap<Person, BTreeMap<Claim, Vec<&Operation>>> {
    let mut by_claim: BTreeMap<Person, BTreeMap<Claim, Vec<&Operation>>> = BTreeMap::new();
    for operation in operations {
        let claim = match (operation.command, operation.outcome) {
            (Command::Reserve { .. }, Outcome::Done(answer)) => answer.claim,
            (Command::Reserve { .. }, Outcome::Refused(_) | Outcome::Unknown) => continue,
            (Command::Cancel { claim } | Command::CheckIn { claim } | Command::CheckOut { claim }, _) => claim,
        };
        by_claim.entry(operation.person).or_default().entry(claim).or_default().push(operation);
    }
    by_claim
}

fn repeated(history: &History) -> usize {
    let mut sendings = BTreeMap::new();
    for attempt in &history.attempts {
        *sendings.entry(attempt.request).or_insert(0_u32) += 1;
    }
    sendings.values().filter(|&&count| count > 1).count()
}
