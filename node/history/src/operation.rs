//! All sendings of one request are one operation: it began with the first, and it had happened by the first answer.

use std::collections::BTreeMap;

use crate::Violation;
use crate::call::{Attempt, Command, Outcome, Person, Request, Seat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub request: Request,
    pub person: Person,
    pub seat: Seat,
    pub command: Command,
    pub called_us: u64,
    /// None: nobody was ever told.
    pub returned_us: Option<u64>,
    pub outcome: Outcome,
}

/// By request, and every request that was not answered alike each time.
#[must_use]
pub fn operations(attempts: &[Attempt]) -> (Vec<Operation>, Vec<Violation>) {
    let mut sorted: Vec<&Attempt> = attempts.iter().collect();
    sorted.sort_by_key(|attempt| attempt.returned_us);
    let mut operations: BTreeMap<Request, Operation> = BTreeMap::new();
    let mut violations = Vec::new();
    for attempt in sorted {
        let known = attempt.outcome != Outcome::Unknown;
        let operation = operations.entry(attempt.request).or_insert(Operation {
            request: attempt.request,
            person: attempt.person,
            seat: attempt.seat,
            command: attempt.command,
            called_us: attempt.called_us,
            returned_us: None,
            outcome: Outcome::Unknown,
        });
        operation.called_us = operation.called_us.min(attempt.called_us);
        if known && operation.outcome == Outcome::Unknown {
            operation.outcome = attempt.outcome;
            operation.returned_us = Some(attempt.returned_us);
        } else if known && operation.outcome != attempt.outcome {
            let (request, first, then) = (attempt.request, operation.outcome, attempt.outcome);
            violations.push(Violation::AnswersDiffer { request, first, then });
        }
    }
    (operations.into_values().collect(), violations)
}
