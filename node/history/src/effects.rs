//! What stands at the end is what the calls account for: nothing acknowledged is missing, nothing is there that nobody
//! asked for, and nothing has happened more often than it was asked for.

use std::collections::BTreeMap;

use crate::Violation;
use crate::call::{Claim, Command, Interval, Listing, Outcome, Person, Request, Seat, Standing, State};
use crate::operation::Operation;

/// The calls that concern one claim, as far as they may have had an effect.
#[derive(Default)]
struct Story<'a> {
    made_by: Option<&'a Operation>,
    changes: Vec<&'a Operation>,
}

#[must_use]
pub fn check(operations: &[Operation], end: &[Standing]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let stories = stories(operations, &mut violations);
    let standing: BTreeMap<Claim, &Standing> = end.iter().map(|standing| (standing.claim, standing)).collect();
    for (&claim, story) in &stories {
        let acknowledged = story.made_by.into_iter().chain(story.changes.iter().copied());
        let acknowledged = acknowledged.filter(|operation| matches!(operation.outcome, Outcome::Done(_)));
        match standing.get(&claim) {
            None => violations.extend(acknowledged.map(|o| Violation::Lost { request: o.request, claim })),
            Some(standing) => check_story(story, standing, &mut violations),
        }
    }
    check_unclaimed(operations, &stories, &standing, &mut violations);
    check_overlaps(end, &mut violations);
    violations
}

/// A list that began after an answer to its person shows what was answered.
#[must_use]
pub fn check_listing(by_claim: &BTreeMap<Claim, Vec<&Operation>>, listing: &Listing) -> Vec<Violation> {
    let mut violations = Vec::new();
    let shown: BTreeMap<Claim, State> = listing.standing.iter().map(|s| (s.claim, s.state)).collect();
    for (&claim, operations) in by_claim {
        let before = operations.iter().filter(|o| o.returned_us.is_some_and(|returned| returned < listing.called_us));
        let mut before = before.filter(|o| matches!(o.outcome, Outcome::Done(_)));
        let honoured = before.all(|operation| match (operation.command, shown.get(&claim)) {
            (_, None) => false,
            (Command::Reserve { .. }, Some(_)) => true,
            (Command::CheckIn { .. }, Some(state)) => !matches!(state, State::Confirmed),
            (Command::Cancel { .. } | Command::CheckOut { .. }, Some(state)) => !state.is_live(),
        });
        if !honoured {
            violations.push(Violation::StaleList { person: listing.person, called_us: listing.called_us, claim });
        }
    }
    violations
}

fn stories<'a>(operations: &'a [Operation], violations: &mut Vec<Violation>) -> BTreeMap<Claim, Story<'a>> {
    let mut stories: BTreeMap<Claim, Story<'a>> = BTreeMap::new();
    for operation in operations {
        match (operation.command, operation.outcome) {
            (_, Outcome::Refused(_)) | (Command::Reserve { .. }, Outcome::Unknown) => {}
            (Command::Reserve { .. }, Outcome::Done(answer)) => {
                let story = stories.entry(answer.claim).or_default();
                match story.made_by {
                    None => story.made_by = Some(operation),
                    Some(first) => {
                        let both = Violation::OneEffectForTwo(first.request, operation.request, answer.claim);
                        violations.push(both);
                    }
                }
            }
            (
                Command::Cancel { claim } | Command::CheckIn { claim } | Command::CheckOut { claim },
                Outcome::Done(_) | Outcome::Unknown,
            ) => stories.entry(claim).or_default().changes.push(operation),
        }
    }
    stories
}

fn check_story(story: &Story<'_>, standing: &Standing, violations: &mut Vec<Violation>) {
    let (claim, state) = (standing.claim, standing.state);
    if let Some(made_by) = story.made_by {
        let Command::Reserve { interval } = made_by.command else { unreachable!("only a reservation makes a claim") };
        let asked_for = (made_by.person, made_by.seat, interval);
        if asked_for != (standing.person, standing.seat, standing.interval) {
            violations.push(Violation::Undone { request: made_by.request, claim, state });
        }
    }
    let done = |operation: &&&Operation| matches!(operation.outcome, Outcome::Done(_));
    for operation in story.changes.iter().filter(done) {
        let kept = match operation.command {
            Command::Reserve { .. } => true,
            Command::Cancel { .. } => state == State::Cancelled,
            Command::CheckIn { .. } => matches!(state, State::CheckedIn | State::Completed),
            Command::CheckOut { .. } => state == State::Completed,
        };
        if !kept {
            violations.push(Violation::Undone { request: operation.request, claim, state });
        }
    }
    let asked_for = |wanted: fn(Command) -> bool| story.changes.iter().any(|operation| wanted(operation.command));
    let caused = match state {
        State::Confirmed => true,
        State::CheckedIn => asked_for(|command| matches!(command, Command::CheckIn { .. })),
        State::Cancelled => asked_for(|command| matches!(command, Command::Cancel { .. })),
        State::Completed => asked_for(|command| matches!(command, Command::CheckOut { .. })),
        State::Other => false,
    };
    if !caused {
        violations.push(Violation::UncausedState { claim, state });
    }
    // Two calls that ask for the same change make one, so that what was acknowledged counts once per kind.
    let kinds = |wanted: fn(Command) -> bool| {
        u64::from(story.changes.iter().filter(done).any(|operation| wanted(operation.command)))
    };
    let least = kinds(|command| matches!(command, Command::Cancel { .. }))
        + kinds(|command| matches!(command, Command::CheckIn { .. }))
        + kinds(|command| matches!(command, Command::CheckOut { .. }));
    let most = story.changes.len() as u64;
    let changes = standing.revision.saturating_sub(1);
    if changes < least || changes > most {
        violations.push(Violation::Repeated { claim, changes, least, most });
    }
}

/// Claims that nobody was told of need a reservation whose outcome nobody knows, one each.
fn check_unclaimed(
    operations: &[Operation],
    stories: &BTreeMap<Claim, Story<'_>>,
    standing: &BTreeMap<Claim, &Standing>,
    violations: &mut Vec<Violation>,
) {
    let mut unknown: BTreeMap<(Person, Seat, Interval), Vec<Request>> = BTreeMap::new();
    for operation in operations {
        if let (Command::Reserve { interval }, Outcome::Unknown) = (operation.command, operation.outcome) {
            unknown.entry((operation.person, operation.seat, interval)).or_default().push(operation.request);
        }
    }
    for (claim, standing) in standing {
        let story = stories.get(claim);
        if story.is_some_and(|story| story.made_by.is_some()) {
            continue;
        }
        let key = (standing.person, standing.seat, standing.interval);
        if unknown.get_mut(&key).and_then(Vec::pop).is_none() {
            violations.push(Violation::Uncaused(**standing));
        }
        if story.is_none() {
            check_story(&Story::default(), standing, violations);
        }
    }
}

fn check_overlaps(end: &[Standing], violations: &mut Vec<Violation>) {
    let mut seats: BTreeMap<Seat, Vec<&Standing>> = BTreeMap::new();
    let mut persons: BTreeMap<Person, Vec<&Standing>> = BTreeMap::new();
    for standing in end.iter().filter(|standing| standing.state.is_live()) {
        seats.entry(standing.seat).or_default().push(standing);
        persons.entry(standing.person).or_default().push(standing);
    }
    violations.extend(overlaps(seats.into_values()).map(|(a, b)| Violation::DoublyBooked(a, b)));
    violations.extend(overlaps(persons.into_values()).map(|(a, b)| Violation::PersonTwice(a, b)));
}

fn overlaps<'a>(groups: impl Iterator<Item = Vec<&'a Standing>>) -> impl Iterator<Item = (Claim, Claim)> {
    groups.flat_map(|mut group| {
        group.sort_by_key(|standing| standing.interval);
        let pairs = group.windows(2).filter(|pair| pair[0].interval.overlaps(pair[1].interval));
        pairs.map(|pair| (pair[0].claim, pair[1].claim)).collect::<Vec<_>>()
    })
}
